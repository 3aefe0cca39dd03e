"""The closed vocabulary: every enum that a caller meets.

Strings are the exchange's own spellings, so a member goes onto the wire as it is.
"""

from enum import IntEnum, StrEnum

__all__ = [
    "Generation",
    "GroupStep",
    "LegState",
    "NoticeKind",
    "OrderType",
    "RejectCode",
    "SentState",
    "Settlement",
    "Side",
    "SignatureType",
    "SkipReason",
    "Strategy",
    "VenueMode",
]


class Side(StrEnum):
    """Side of an order, as the payload spells it."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def code(self) -> int:
        """The ``uint8`` that is signed: BUY 0, SELL 1."""
        return 0 if self is Side.BUY else 1


class OrderType(StrEnum):
    """Time in force. There is no IOC: the exchange calls it FAK."""

    GTC = "GTC"
    GTD = "GTD"
    FOK = "FOK"
    FAK = "FAK"

    @property
    def is_immediate(self) -> bool:
        """True for FOK and FAK, which never rest and have their own amount rules."""
        return self is OrderType.FOK or self is OrderType.FAK


class SignatureType(IntEnum):
    """Who holds the money of an order and how its signature is checked."""

    EOA = 0
    POLY_PROXY = 1
    POLY_GNOSIS_SAFE = 2
    POLY_1271 = 3


class Generation(IntEnum):
    """Order generation; the value is the EIP-712 domain version."""

    CLOB_V1 = 1
    CLOB_V2 = 2
    EXCHANGE_V3 = 3

    @classmethod
    def _missing_(cls, value: object) -> "Generation | None":
        # The domain version is a string ("2") in EIP-712 and in the recorded vectors.
        return cls(int(value)) if isinstance(value, str) and value in {"1", "2", "3"} else None


class Strategy(StrEnum):
    """Named strategies; ``core.strategy`` holds the legs of each."""

    POLYMARKET_TRIANGLE_BUY = "POLYMARKET_TRIANGLE_BUY"
    POLYMARKET_COMPLEMENT_BUY = "POLYMARKET_COMPLEMENT_BUY"
    SELL_PARENT_BUY_CHILDREN = "SELL_PARENT_BUY_CHILDREN"
    BUY_PARENT_SELL_CHILDREN = "BUY_PARENT_SELL_CHILDREN"


class SkipReason(StrEnum):
    """Why we refused a signal ourselves. Nothing was sent and nothing stays reserved.

    The first nine are checked in this order. The values are the words that dashboards of the
    original system already know.
    """

    TRADING_DISABLED = "TradingDisabled"
    ALREADY_SUBMITTING = "AlreadySubmitting"
    COOLDOWN_ACTIVE = "CooldownActive"
    NO_CANDIDATES = "NoCandidates"
    INSUFFICIENT_LIQUIDITY = "InsufficientLiquidity"
    PNL_BELOW_THRESHOLD = "PnlBelowThreshold"
    INVALID_SIZE = "InvalidSize"
    INSUFFICIENT_POSITION = "InsufficientPosition"
    INSUFFICIENT_BALANCE = "InsufficientBalance"
    FEE_UNKNOWN = "FeeUnknown"
    """The market's taker fee is not known, so the edge cannot be."""
    OFF_TICK = "OffTick"
    """A price does not lie on its market's tick."""
    QUEUE_FULL = "QueueFull"
    """``submit_nowait`` found the bounded queue full."""
    CLOSED = "Closed"
    """The executor was closed before the signal's turn came."""
    NOT_CONNECTED = "NotConnected"
    """No usable connection to the venue; nothing left this process."""
    RECOVERING = "Recovering"
    """Orders of an earlier run are not resolved yet."""
    JOURNAL_FAILED = "JournalFailed"
    """The intent could not be kept, so nothing was sent."""
    HALTED = "Halted"
    """``halt()`` was called; nothing is sent until ``resume()``."""
    REDUCE_ONLY = "ReduceOnly"
    """Only legs that give up inventory may be sent, and one of these does not."""
    MAX_UNKNOWN_GROUPS = "MaxUnknownGroups"
    """As many groups as allowed have a leg whose fate is not known."""
    RATE_LIMITED = "RateLimited"
    """As many submissions as allowed were made within the last second, or the exchange's limit of
    orders is reached."""
    MAX_GROUP_COST = "MaxGroupCost"
    """The group costs more than one group may."""
    MAX_LEGGING_LOSS = "MaxLeggingLoss"
    """Were only some legs to trade, more could be lost than is allowed."""
    MAX_DAILY_COST = "MaxDailyCost"
    """The group would take the day (UTC) above its allowance."""
    MAX_EXPOSURE = "MaxExposure"
    """The group would take what is tied up in open groups above its limit."""
    STALE_QUOTE = "StaleQuote"
    """The signal is older than ``max_quote_age_ms``, or from the future."""
    CROSSED_QUOTE = "CrossedQuote"
    """A bid is not below its ask: the quote is no state of a book."""
    VENUE_RESTARTING = "VenueRestarting"
    """The exchange's matching engine restarts: it takes nothing."""
    VENUE_POST_ONLY = "VenuePostOnly"
    """The exchange takes post-only orders alone, and one of these is not."""
    VENUE_CANCEL_ONLY = "VenueCancelOnly"
    """The exchange takes cancels alone."""
    VENUE_DISABLED = "VenueDisabled"
    """The exchange has switched trading off."""


class LegState(StrEnum):
    """What is known of one order. UNKNOWN is not a failure: its money stays held."""

    NOT_SENT = "NOT_SENT"
    UNKNOWN = "UNKNOWN"
    REJECTED = "REJECTED"
    LIVE = "LIVE"
    MATCHED = "MATCHED"
    PARTIAL = "PARTIAL"
    DELAYED = "DELAYED"
    UNMATCHED = "UNMATCHED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"

    @property
    def is_accepted(self) -> bool:
        """The exchange has (or had) the order: live, matched, partly matched or delayed."""
        return self in _ACCEPTED

    @property
    def is_open(self) -> bool:
        """The order may still trade, so its reservation must stay."""
        return self in _OPEN


class RejectCode(StrEnum):
    """Why the exchange refused an order. Its own text stands beside it."""

    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    """The request's shape: a fault of the sender."""
    WRONG_VERSION = "WRONG_VERSION"
    """The order generation is not the one that the market takes."""
    INVALID_SIGNATURE = "INVALID_SIGNATURE"
    WRONG_ACCOUNT = "WRONG_ACCOUNT"
    """Owner, signer or wallet do not belong to the API key."""
    ACCOUNT_RESTRICTED = "ACCOUNT_RESTRICTED"
    """Banned, closed-only, or the region."""
    NOT_AUTHORISED = "NOT_AUTHORISED"
    """L2 authentication: clock, credentials."""
    OFF_TICK = "OFF_TICK"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    """Fewer shares, or fewer dollars of a marketable BUY, than the market takes."""
    INVALID_AMOUNTS = "INVALID_AMOUNTS"
    """Too many decimals for the order type."""
    CROSSES_BOOK = "CROSSES_BOOK"
    """A post-only order would have taken liquidity."""
    POST_ONLY_MODE = "POST_ONLY_MODE"
    """The exchange takes post-only orders and cancels for a while."""
    NOT_ENOUGH_MONEY = "NOT_ENOUGH_MONEY"
    """Balance, shares or allowance, or the exchange's cache of them."""
    INVALID_EXPIRATION = "INVALID_EXPIRATION"
    INVALID_NONCE = "INVALID_NONCE"
    NOT_FILLED = "NOT_FILLED"
    """An immediate order found nothing, or not all, to match: the normal miss."""
    CANCELLED_ON_CHAIN = "CANCELLED_ON_CHAIN"
    MARKET_NOT_OPEN = "MARKET_NOT_OPEN"
    RATE_LIMITED = "RATE_LIMITED"
    TIMED_OUT = "TIMED_OUT"
    """The matching engine gave up before placing it; it may be sent again."""
    TRADING_SUSPENDED = "TRADING_SUSPENDED"
    """Restarting, cancel-only or disabled."""
    OTHER = "OTHER"
    """A text that is not known; read it."""


class Settlement(StrEnum):
    """Where a trade stands on chain; the second axis beside :class:`LegState`.

    REST's ``TRADE_STATUS_`` prefix and its ``MATCHED_NOT_BROADCASTED`` are read as well.
    """

    MATCHED = "MATCHED"
    MINED = "MINED"
    RETRYING = "RETRYING"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"
    """Shares and money go back."""

    @classmethod
    def _missing_(cls, value: object) -> "Settlement | None":
        if not isinstance(value, str):
            return None
        word = value.upper().removeprefix("TRADE_STATUS_")
        word = "MATCHED" if word == "MATCHED_NOT_BROADCASTED" else word
        return cls.__members__.get(word)

    @classmethod
    def read(cls, word: str) -> "Settlement":
        """Return what the exchange's word means; one of tomorrow proves a match and no more."""
        try:
            return cls(word)
        except ValueError:
            return cls.MATCHED

    @property
    def is_mined(self) -> bool:
        """The chain has moved the money, and can still take that back while it is MINED."""
        return self is Settlement.MINED or self is Settlement.CONFIRMED

    @property
    def is_final(self) -> bool:
        """CONFIRMED and FAILED: nothing changes them any more."""
        return self is Settlement.CONFIRMED or self is Settlement.FAILED

    def after(self, news: "Settlement") -> "Settlement":
        """Return what is known after more news, which may be late, doubled or out of order.

        Only forward: MATCHED, MINED, RETRYING, then CONFIRMED or FAILED, whichever came first.
        """
        if self.is_final:
            return self
        return max(self, news, key=_SETTLEMENT_ORDER.index)


class GroupStep(StrEnum):
    """What may be done about a group of which only some legs traded."""

    COMPLETE = "complete"
    """Take the missing shares of the missing legs, up to a cap price."""
    UNWIND = "unwind"
    """Give back what is beyond complete sets, within a band."""
    HOLD = "hold"
    """Leave it, and report what it exposes to."""


class SentState(StrEnum):
    """Whether the bytes of a request can have reached the exchange."""

    NO = "NO"
    MAYBE = "MAYBE"


class VenueMode(StrEnum):
    """What the exchange accepts at the moment."""

    NORMAL = "NORMAL"
    RESTARTING = "RESTARTING"
    POST_ONLY = "POST_ONLY"
    CANCEL_ONLY = "CANCEL_ONLY"
    DISABLED = "DISABLED"


class NoticeKind(StrEnum):
    """What a person can be told of."""

    SUCCESS = "success"
    """A group was executed: every leg was accepted."""
    FAILURE = "failure"
    """A group was sent, and not every leg was accepted."""
    UNKNOWN = "unknown"
    """A leg may exist or not; its money stays held."""
    GROUP = "group"
    """A group changed after its result: its policy acted, or all of it has settled."""
    HALT = "halt"
    """Started, stopped, halted, resumed, reduce-only, or the trading switch was moved."""
    VENUE = "venue"
    """The exchange changed what it accepts."""
    RECONNECTS = "reconnects"
    """A connection is lost again and again."""
    ALARM = "alarm"
    """Something was logged as an error."""
    SUMMARY = "summary"
    """Once a day: what the day came to."""


# RETRYING may lie between any two of the others; none but the last two moves money.
_SETTLEMENT_ORDER = tuple(Settlement)
_ACCEPTED = frozenset({LegState.LIVE, LegState.MATCHED, LegState.PARTIAL, LegState.DELAYED})
_OPEN = frozenset(
    {LegState.UNKNOWN, LegState.LIVE, LegState.PARTIAL, LegState.DELAYED, LegState.UNMATCHED}
)
