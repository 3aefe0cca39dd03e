"""What the feed knows of each token beside its book, and what it counts."""

from typing import Final

import msgspec

from polyexec.core.market_events import BookEvent
from polyexec.models import TokenId

__all__ = ["FeedCounts", "FeedSettings", "Followed"]

_FIRST_PAUSE_S: Final = 0.25
_LONGEST_PAUSE_S: Final = 30.0


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a feed listens.

    Times are seconds of the event loop's clock.
    """

    tokens_per_connection: int = 200
    """What the exchange bears per connection is not documented; others stay at 200."""
    stale_after_s: float = 30.0
    """A token of which nothing came for so long is asked about."""
    snapshot_timeout_s: float = 10.0
    """A book that was asked for and has not come by then does not come."""
    watch_interval_s: float = 0.5
    best_grace_s: float = 1.0
    """``best_bid_ask`` runs ahead of the change that it tells of (2 ms were recorded); a book that
    still differs after this time has missed it."""
    hash_checks_per_s: int = 50
    hash_interval_s: float = 1.0
    """Between two checks of one token."""
    ahead_ms: int = 60_000
    """Events from further in the future are not believed."""
    ping_interval_s: float = 10.0
    silence_s: float = 30.0
    connect_timeout_s: float = 10.0
    custom_features: bool = True
    """Ask for ``best_bid_ask``, ``new_market`` and ``market_resolved`` too."""


class FeedCounts(msgspec.Struct):
    """What a feed has seen since it was made."""

    frames: int = 0
    events: int = 0
    books: int = 0
    """Snapshots applied."""
    changes: int = 0
    """Changes applied."""
    old: int = 0
    """Not applied: older than the book."""
    unloaded: int = 0
    """Changes of books of which there is no snapshot yet."""
    foreign: int = 0
    """Changes of tokens that this connection was not asked for: the other side of a market."""
    ignored: int = 0
    """Events of unknown types."""
    faults: dict[str, int] = msgspec.field(default_factory=dict)
    """By kind: what could not be read or believed."""
    losses: int = 0
    """Connections lost, with all that was known from them."""
    freezes: int = 0
    """Connections given up because books that were asked for did not come."""
    stale: int = 0
    """Times that a token was asked about because nothing came."""
    asked: int = 0
    """Snapshots asked for."""
    missing: int = 0
    """Snapshots that did not come."""
    confirmed: int = 0
    """Silent books that were right after all."""
    hash_checks: int = 0
    hash_mismatches: int = 0
    hash_unprovable: int = 0
    """Snapshots that do not have their own hash: these tokens cannot be checked."""
    callback_errors: int = 0


class Followed:
    """One token that is subscribed to."""

    __slots__ = (
        "ask_at_s",
        "asked_s",
        "asks",
        "bests",
        "bests_s",
        "checked_s",
        "differs_s",
        "has_answered",
        "hash",
        "heard_s",
        "is_crossed",
        "is_loaded",
        "is_proved",
        "is_queued",
        "is_verifying",
        "last_asked_s",
        "last_trade",
        "market",
        "min_order_size",
        "misses",
        "neg_risk",
        "owner",
        "slot",
        "snapshot",
        "tick_e4",
        "tick_size",
        "time_ms",
        "timestamp",
        "token_id",
        "traded",
    )

    def __init__(self, token_id: TokenId, slot: int, owner: int) -> None:
        self.token_id = token_id
        self.slot = slot
        self.owner = owner
        """Number of the connection that it is subscribed on."""
        self.market = ""
        self.tick_e4 = 0
        self.is_loaded = False
        """There is a book, complete as far as is known."""
        self.heard_s = 0.0
        self.asked_s = 0.0
        """When its book was asked for; 0: no answer is due."""
        self.is_verifying = False
        """It was asked for by REST, to compare."""
        self.ask_at_s = 0.0
        """When to ask again; 0: no need."""
        self.asks = 0
        """In a row."""
        self.has_answered = False
        """Its book has come on this connection."""
        self.misses = 0
        """Answers in a row that did not come."""
        self.last_asked_s = 0.0
        self.differs_s = 0.0
        """When REST has shown another book, whose changes have to come; 0: it has not."""
        self.bests: tuple[int, int] | None = None
        """What ``best_bid_ask`` has said last, where it differed."""
        self.bests_s = 0.0
        self.is_crossed = False
        # Of the last event that was applied, for the hash.
        self.time_ms = 0
        self.timestamp = ""
        self.hash: str | None = None
        self.tick_size = ""
        self.last_trade: str | None = None
        self.traded: tuple[str, ...] = ()
        """Prices of trades since: one of them may have become the last price of the book."""
        self.min_order_size = ""
        self.neg_risk: bool | None = None
        self.snapshot: BookEvent | None = None
        """As it came, until it has proved that our way to its hash is right."""
        self.is_proved = False
        self.is_queued = False
        self.checked_s = 0.0

    def __repr__(self) -> str:
        state = "loaded" if self.is_loaded else "not loaded"
        return f"Followed({self.token_id!r}, slot={self.slot}, owner={self.owner}, {state})"

    def void(self) -> None:
        """Forget what was known of its book."""
        self.is_loaded = self.is_crossed = self.is_verifying = False
        self.differs_s = 0.0
        self.bests = self.hash = self.snapshot = None
        self.traded = ()

    def pause_s(self) -> float:
        """Return how long to wait before asking again."""
        if not self.asks:
            return 0.0
        return min(_FIRST_PAUSE_S * 2.0 ** min(self.asks - 1, 10), _LONGEST_PAUSE_S)
