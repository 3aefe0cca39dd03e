"""Follows orders that are not final: unknown ones at once, resting ones now and then."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

from polyexec.core.pipeline import Pipeline
from polyexec.core.ports import AnswerCallback, Clock, OrderBatch, Outcome, Venue
from polyexec.core.tracking import OrderTracker, TrackedOrder
from polyexec.reconciliation import AT_ONCE, follow_orders

__all__ = ["Follower"]

_log = logging.getLogger("polyexec.executor")
_IDLE_S: Final = 3600.0


class Follower:
    """Asks the exchange for orders until each is final, and books what it says.

    Parameters
    ----------
    venue : Venue
    pipeline : Pipeline
    tracker : OrderTracker
    clock : Clock
    post : callable
        Sends a batch and calls back with its outcome exactly once.
    interval_s : float
        Seconds between questions about orders that are not unknown.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        pipeline: Pipeline,
        tracker: OrderTracker,
        clock: Clock,
        post: Callable[[OrderBatch, AnswerCallback], None],
        interval_s: float,
    ) -> None:
        self._venue = venue
        self._pipeline = pipeline
        self._tracker = tracker
        self._clock = clock
        self._post = post
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._unknown_seen = asyncio.Event()

    def start(self) -> list[asyncio.Task[None]]:
        """Start on the running loop; whoever cancels the tasks stops it."""
        return [
            asyncio.create_task(self._follow_open()),
            asyncio.create_task(self._resolve_unknown()),
        ]

    def wake(self) -> None:
        """Say, from any thread, that there is a new unknown order."""
        self._loop.call_soon_threadsafe(self._unknown_seen.set)

    async def _follow_open(self) -> None:
        asked = 0
        while True:
            await asyncio.sleep(self._interval_s)
            orders = self._tracker.orders
            if not orders:
                continue
            # In turns: orders that stay unknown must not keep the others from being asked for.
            first = asked % len(orders)
            turn = (orders[first:] + orders[:first])[:AT_ONCE]
            asked = first + len(turn)
            await self._ask_for(turn)

    async def _resolve_unknown(self) -> None:
        """Ask for each order whose fate is unknown as soon as it is due."""
        while True:
            unknown = self._tracker.unknown_orders
            now_ms = self._clock.time_ms()
            due = [o for o in unknown if o.unknown is not None and o.unknown.due_ms <= now_ms]
            if due:
                await self._ask_for(due[:AT_ONCE])
                continue
            pause_s = _IDLE_S
            if unknown and unknown[0].unknown is not None:
                pause_s = (unknown[0].unknown.due_ms - now_ms) / 1000
            self._unknown_seen.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._unknown_seen.wait()

    async def _ask_for(self, orders: Sequence[TrackedOrder]) -> None:
        try:
            await follow_orders(self._venue, self._tracker, orders, self._clock, self._resend)
        except Exception:
            _log.warning("follow_failed", exc_info=True)

    def _resend(self, order: TrackedOrder) -> None:
        """Send the same signed bytes once more: the exchange takes a hash only once."""
        batch = self._pipeline.resend(order)
        if batch is None or order.unknown is None:
            return

        def on_outcome(outcome: Outcome) -> None:
            self._pipeline.finish_resend(order, outcome)

        _log.warning("resending_unknown", extra={"order_id": order.order_id})
        order.unknown.resent(self._clock.time_ms())
        self._post(batch, on_outcome)
