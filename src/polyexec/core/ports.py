"""Ports: what the core needs from the outside. Adapters in layer 3 implement them."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import msgspec

from polyexec.enums import LegState, Side
from polyexec.errors import JournalError, TransportError
from polyexec.models import Market, OrderId, TokenId

if TYPE_CHECKING:
    from polyexec.core.journal import Intent, Record, Recovered  # built from the records here

__all__ = [
    "Answer",
    "AnswerCallback",
    "BalanceSnapshot",
    "Clock",
    "Fill",
    "GuardedVenue",
    "Journal",
    "LookupVenue",
    "NoAnswer",
    "OrderBatch",
    "OrderStatus",
    "Outcome",
    "Venue",
]


class Clock(Protocol):
    """Time as the core sees it; a replay passes its own."""

    def time_ms(self) -> int:
        """Return unix time in milliseconds."""
        ...

    def monotonic_ns(self) -> int:
        """Return a clock that never steps, in nanoseconds."""
        ...


class OrderBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One POST, complete: the body is final and its authentication covers these bytes."""

    path: str
    """``/orders``."""
    body: bytes
    headers: Mapping[str, str]
    """L2 headers over this body. Secret: never logged."""
    order_ids: tuple[OrderId, ...]
    """One per entry of the body, in its order."""

    def __repr__(self) -> str:
        return f"OrderBatch({len(self.order_ids)} orders, {len(self.body)} bytes)"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange answered, with whatever status."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    received_ns: int = 0
    """``time.perf_counter_ns`` when the last byte was read."""


class NoAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """No answer came; ``error.sent`` says whether the request can have been processed."""

    error: TransportError
    received_ns: int = 0


Outcome: TypeAlias = Answer | NoAnswer
AnswerCallback: TypeAlias = Callable[[Outcome], None]


class OrderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One order as the exchange reports it on request."""

    order_id: OrderId
    state: LegState
    token_id: TokenId
    side: Side
    price_e4: int
    size_micro: int
    filled_micro: int
    status: str
    """The exchange's own word."""
    trade_ids: tuple[str, ...] = ()
    created_s: int = 0
    """Unix time at which the exchange took it in; 0: not told."""


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """One match of one of our orders with one counterparty order."""

    trade_id: str
    order_id: OrderId
    token_id: TokenId
    side: Side
    price_e4: int
    size_micro: int
    is_taker: bool
    status: str
    """MATCHED, MINED, CONFIRMED, RETRYING or FAILED."""
    match_time_s: int
    counter_order_id: str = ""
    """The other order, where the exchange names it: a trade may hold several matches."""
    update_time_s: int = 0
    """When ``status`` became what it is; 0: not told."""


class BalanceSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A balance and when it was taken."""

    balance_micro: int
    as_of_ms: int


class Journal(Protocol):
    """Where intents survive a crash. Every method may be called from any thread.

    ``begin`` before the signing, ``seal`` after it, then the POST, then ``append`` for whatever
    becomes of it. A group that is given up before its POST gets a ``Close`` record.
    """

    @property
    def recovered(self) -> "Recovered":
        """What it held when it was opened: resolve that before trading."""
        ...

    @property
    def failure(self) -> JournalError | None:
        """Why this journal takes no further intent, or None while it does."""
        ...

    def new_group(self) -> int:
        """Return a number that no group of this journal has or had."""
        ...

    def begin(self, intent: "Intent") -> None:
        """Take the intent in, and start making it durable.

        Raises
        ------
        JournalError
            It cannot be kept: send nothing.
        """
        ...

    def seal(self, group: int, body: bytes, order_ids: Sequence[OrderId]) -> None:
        """Keep the signed bytes; when this returns, the intent is durable and the POST may go.

        Raises
        ------
        JournalError
            It is not certain that the intent is kept: send nothing.
        """
        ...

    def append(self, record: "Record") -> None:
        """Keep a later record, in order. Trouble with the disk is told by ``failure``, not here.

        A record of a closed group is dropped.
        """
        ...

    def close(self) -> None:
        """Keep all that was appended, and let go of the journal."""
        ...


@runtime_checkable
class Venue(Protocol):
    """A place that takes orders: the live exchange, the paper exchange, a replay.

    ``post_orders`` is the hot path and a plain function; the rest is asked off it.
    """

    async def open(self) -> None:
        """Connect and warm up. Called once, on the loop that will carry the answers."""
        ...

    async def close(self) -> None:
        """Close every connection; requests still without an answer get a ``NoAnswer``."""
        ...

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        """Send the batch in the caller's thread; when this returns, the bytes are written.

        ``on_outcome`` is called exactly once, from any thread, possibly before this returns.
        """
        ...

    async def fetch_market(self, token_id: TokenId) -> Market:
        """Return what pricing and signing need of a token's market."""
        ...

    async def fetch_order(self, order_id: OrderId) -> OrderStatus | None:
        """Return an order in any state, or None when the exchange does not know it."""
        ...

    async def fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        """Return every match of one of our orders."""
        ...

    async def fetch_balance(self) -> BalanceSnapshot:
        """Return the collateral balance; open orders are not subtracted."""
        ...

    async def fetch_position(self, token_id: TokenId) -> BalanceSnapshot:
        """Return the shares held of one token."""
        ...

    async def cancel_orders(self, order_ids: Sequence[OrderId]) -> tuple[OrderId, ...]:
        """Cancel orders; return the ids that were live and are gone."""
        ...

    async def cancel_all(self) -> tuple[OrderId, ...]:
        """Cancel every open order of the account; return their ids."""
        ...


@runtime_checkable
class GuardedVenue(Protocol):
    """What a venue may offer on top: it knows when it would refuse. The executor then asks."""

    @property
    def clock_offset_ms(self) -> int:
        """Milliseconds that its clock is ahead of ours; signed timestamps are corrected by it."""
        ...

    def orders_wait_ms(self, count: int) -> int:
        """Return about how long until a batch of so many orders keeps its rate limits; 0: now.

        Asked on the hot path, from any thread.
        """
        ...

    async def probe(self) -> None:
        """Ask something harmless that its matching engine has to answer.

        Raises
        ------
        VenueModeError
            It restarts, or takes nothing.
        """
        ...


@runtime_checkable
class LookupVenue(Protocol):
    """What a venue may offer on top: an order and its fills at once, with fewer requests."""

    async def look_up(
        self, order_id: OrderId, token_id: TokenId
    ) -> tuple[OrderStatus | None, tuple[Fill, ...]]:
        """Return an order as ``fetch_order`` does, and its fills, at least those of that state.

        Parameters
        ----------
        order_id : str
        token_id : str
            The order's own: says where to look for trades of an order that is not known.
        """
        ...
