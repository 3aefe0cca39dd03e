"""Books what the user channel tells of our orders, and asks where it cannot have told all."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from polyexec.clob.user_channel import UserChannel
from polyexec.clob.venue import ClobVenue
from polyexec.config import ExecutorConfig
from polyexec.core.auth import ApiCredentials
from polyexec.core.evidence import furthest
from polyexec.core.fills import FillBook, OrderRecord
from polyexec.core.ports import Clock, Fill, OrderStatus, Venue
from polyexec.core.tracking import FeeRule, OrderTracker, TrackedOrder
from polyexec.enums import LegState
from polyexec.models import OrderId
from polyexec.reconciliation import follow_orders

__all__ = ["OrderListener", "open_listener"]

_log = logging.getLogger("polyexec.executor")
# An order event and the trade event that belongs to it come one after the other, in any order.
_GRACE_S: Final = 0.25
_FREEZE_S: Final = 15.0
# The exchange's seconds and ours: how far back to ask for trades, beyond the gap itself.
_MARGIN_S: Final = 60


class OrderListener:
    """Hands the ledger whatever is told of our orders, as ``clob.user_channel.UserEvents``.

    A set of fills is booked only when it can be whole. Otherwise the order is asked for, which the
    follower does in any case, only later.

    Parameters
    ----------
    venue : Venue
        Is asked for orders; its ``fetch_fills`` must put what it learns into ``fills`` with
        :meth:`~polyexec.core.fills.FillBook.complete`.
    fills : FillBook
    fetch_trades : callable
        Yields all fills of the account's trades since a unix time in seconds, page by page.
    tracker : OrderTracker
    clock : Clock
    grace_s : float
        How long what is missing may still come by itself.
    freeze_s : float
        An accepted order of which nothing was told for so long means that the channel is frozen.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        fills: FillBook,
        fetch_trades: Callable[[int], AsyncIterator[Sequence[Fill]]],
        tracker: OrderTracker,
        clock: Clock,
        grace_s: float = _GRACE_S,
        freeze_s: float = _FREEZE_S,
    ) -> None:
        self.channel: UserChannel | None = None
        self._venue = venue
        self._fills = fills
        self._fetch_trades = fetch_trades
        self._tracker = tracker
        self._clock = clock
        self._grace_s = grace_s
        self._freeze_s = freeze_s
        self._loop = asyncio.get_running_loop()
        self._owed: dict[OrderId, float] = {}
        self._wanted: dict[OrderId, None] = {}
        self._wanted_any = asyncio.Event()
        tracker.listen(self._on_booked)

    def start(self, channel: UserChannel) -> list[asyncio.Task[None]]:
        """Listen to a channel; whoever cancels the tasks stops it."""
        self.channel = channel
        return [asyncio.create_task(channel.run()), asyncio.create_task(self.ask_for_missing())]

    def answered(self, order_ids: Sequence[OrderId], started_ns: int) -> None:
        """Take note, from any thread, that the answer to the POST of these orders is booked.

        ``started_ns`` is a ``time.perf_counter_ns`` from before they were sent.
        """
        self._loop.call_soon_threadsafe(self._on_answered, order_ids, started_ns)

    # events -----------------------------------------------------------------------------------

    def on_order(self, status: OrderStatus) -> None:
        """Take in the state of an order."""
        self._owed.pop(status.order_id, None)
        if self._fills.hear_order(status):
            self._on_news(status.order_id)

    def on_fills(self, fills: Sequence[Fill]) -> None:
        """Take in fills; whose they are shows when an order of ours has the id."""
        for fill in fills:
            self._owed.pop(fill.order_id, None)
        for order_id in self._fills.hear_fills(fills):
            self._on_news(order_id)

    def on_gap(self) -> None:
        """Trust no set of fills to be whole until it has been asked for."""
        self._fills.missed()
        self._owed.clear()

    async def backfill(self, since_ms: int) -> None:
        """Ask for the trades of a gap, and for every order that is not final."""
        self.on_gap()
        if since_ms:
            async for fills in self._fetch_trades(since_ms // 1000 - _MARGIN_S):
                self.on_fills(fills)
        await follow_orders(self._venue, self._tracker, self._tracker.orders, self._clock)

    @property
    def is_owed(self) -> bool:
        """An order was accepted a while ago, and nothing was told of it."""
        oldest = min(self._owed.values(), default=None)
        return oldest is not None and self._loop.time() - oldest > self._freeze_s

    async def ask_for_missing(self) -> None:
        """Ask for orders of which something is missing, after the grace period; for ever."""
        while True:
            await self._wanted_any.wait()
            await asyncio.sleep(self._grace_s)
            self._wanted_any.clear()
            wanted, self._wanted = self._wanted, {}
            orders = [order for order in map(self._tracker.find, wanted) if order is not None]
            short = [o for o in orders if _is_short(o, self._fills.record(o.order_id))]
            try:
                await follow_orders(self._venue, self._tracker, short, self._clock)
            except Exception:
                _log.warning("ask_failed", extra={"orders": len(short)}, exc_info=True)

    def _on_answered(self, order_ids: Sequence[OrderId], started_ns: int) -> None:
        since_ns = self.channel.since_ns if self.channel is not None else None
        for order_id in order_ids:
            order = self._tracker.find(order_id)
            if order is None:
                continue
            if since_ns is not None and since_ns <= started_ns:
                self._fills.expect(order_id)
            record = self._fills.record(order_id)
            if record.fills or record.state is not LegState.UNKNOWN:
                self._on_news(order_id)
            elif since_ns is not None and order.state.is_accepted:
                self._owed[order_id] = self._loop.time()

    def _on_booked(self, order: TrackedOrder, _fills: Sequence[Fill]) -> None:
        """Let go of an order that has become final. Called from any thread."""
        if self._tracker.find(order.order_id) is None:
            self._fills.forget(order.order_id)

    def _on_news(self, order_id: OrderId) -> None:
        order = self._tracker.find(order_id)
        if order is None:
            return  # not ours, final, or not answered yet: the book keeps it for a while
        record = self._fills.record(order_id)
        rate_micro = order.leg.fee_rate_micro
        if rate_micro is None or _is_short(order, record):
            self._wanted[order_id] = None
            self._wanted_any.set()
            return
        state = furthest(order.state, record.state)
        rule = FeeRule(rate_micro, order.leg.fee_exponent)
        self._tracker.book_fills(order_id, record.fills, state, rule)


def _is_short(order: TrackedOrder, record: OrderRecord) -> bool:
    """Return whether an order may have more fills than its record, or no end where it says so."""
    if not record.is_complete or order.leg.fee_rate_micro is None:
        return True
    matched = record.matched_micro
    taken = sum(fill.size_micro for fill in record.fills if fill.is_taker)
    if matched < max(record.filled_micro, order.filled_micro) or taken < order.answer.filled_micro:
        return True
    if record.state is LegState.UNKNOWN and not record.fills:
        return True  # told with a word that is not known
    # "Matched" is also said of an order of which a part was matched: of the rest, ask.
    is_matched = furthest(order.state, record.state) is LegState.MATCHED
    return order.state.is_open and is_matched and matched < order.leg.size_micro


def open_listener(
    config: ExecutorConfig,
    venue: ClobVenue,
    *,
    ws_url: str,
    ssl_context: ssl.SSLContext | None,
    credentials: ApiCredentials,
    tracker: OrderTracker,
    clock: Clock,
) -> tuple[OrderListener, list[asyncio.Task[None]]]:
    """Start listening to the channels at ``ws_url``; whoever cancels the tasks stops it."""
    fills = venue.fills = FillBook(is_followed=lambda each: tracker.find(each) is not None)
    listener = OrderListener(
        venue=venue,
        fills=fills,
        fetch_trades=lambda after_s: venue.client.trade_pages(after_s=after_s),
        tracker=tracker,
        clock=clock,
    )
    channel = UserChannel(
        ws_url,
        credentials=credentials,
        events=listener,
        ssl_context=ssl_context,
        connect_timeout_s=config.post_timeout_s,
        time_ms=clock.time_ms,
    )
    return listener, listener.start(channel)
