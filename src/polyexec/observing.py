"""What can be listened to at an executor."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from polyexec.core.ports import Fill
from polyexec.core.tracking import OrderUpdate, TrackedOrder
from polyexec.core.venue_mode import VenueModeChange
from polyexec.dispatch import Publisher
from polyexec.models import TopOfBook
from polyexec.results import TradeResult
from polyexec.signals import Signal

__all__ = ["Observed"]

_CLOSE_S: Final = 2.0


class Observed:
    """Its events; see ``dispatch`` for how subscribers are told of them."""

    def __init__(self, modes: Publisher[VenueModeChange]) -> None:
        self._results: Publisher[TradeResult] = Publisher("trade-result")
        self._signals: Publisher[Signal] = Publisher("signal")
        self._tops: Publisher[TopOfBook] = Publisher("top-of-book")
        self._groups: Publisher[TradeResult] = Publisher("group")
        self._orders: Publisher[OrderUpdate] = Publisher("order")
        self._modes = modes
        self._publishers: tuple[Publisher[Any], ...] = (
            *(self._results, self._signals, self._tops, self._groups, self._orders),
            modes,
        )

    @property
    def dropped_callbacks(self) -> int:
        """Events that callbacks were too slow for."""
        return sum(publisher.dropped for publisher in self._publishers)

    def on_trade_result(
        self, callback: Callable[[TradeResult], object], *, is_quick: bool = False
    ) -> Callable[[], None]:
        """Call ``callback`` with every result, skipped ones included; return the way to stop it.

        A plain function runs in a thread of its own, a coroutine function on the loop. A plain one
        that takes microseconds and waits for nothing is better called quick: all of these share a
        thread, and cost a bot that trades less.
        """
        return self._results.subscribe(callback, is_quick=is_quick)

    def on_group(
        self, callback: Callable[[TradeResult], object], *, is_quick: bool = False
    ) -> Callable[[], None]:
        """Call ``callback`` with a result again when its group changed after it was delivered.

        That is when its policy acted, and when all that it traded has settled or failed; as
        :meth:`on_trade_result`.
        """
        return self._groups.subscribe(callback, is_quick=is_quick)

    def on_order(
        self, callback: Callable[[OrderUpdate], object], *, is_quick: bool = False
    ) -> Callable[[], None]:
        """Call ``callback`` with what became known of an order after its answer.

        Fills, settlements and cancels, of orders of an earlier run as well; as
        :meth:`on_trade_result`.
        """
        return self._orders.subscribe(callback, is_quick=is_quick)

    def on_venue_mode(self, callback: Callable[[VenueModeChange], object]) -> Callable[[], None]:
        """Call ``callback`` when the venue changes what it accepts; as :meth:`on_trade_result`."""
        return self._modes.subscribe(callback)

    def on_signal(self, callback: Callable[[Signal], object]) -> Callable[[], None]:
        """Call ``callback`` with every submitted signal; as :meth:`on_trade_result`."""
        return self._signals.subscribe(callback)

    def on_top_of_book(self, callback: Callable[[TopOfBook], object]) -> Callable[[], None]:
        """Call ``callback`` with every published top of book; as :meth:`on_trade_result`."""
        return self._tops.subscribe(callback)

    def publish_top_of_book(self, top: TopOfBook) -> None:
        """Hand a change of a book's top to the subscribers."""
        self._tops.publish(top)

    async def flush_callbacks(self, timeout_s: float = _CLOSE_S) -> None:
        """Wait until subscribers have seen what was published before, at most so long each."""
        for publisher in self._publishers:
            await asyncio.to_thread(publisher.flush, timeout_s)

    def _tell_order(self, order: TrackedOrder, fills: Sequence[Fill]) -> None:
        self._orders.publish(
            OrderUpdate(
                order_id=order.order_id,
                leg=order.leg,
                state=order.state,
                filled_micro=order.filled_micro,
                paid_micro=order.paid_micro,
                fee_micro=order.fee_micro,
                fills=tuple(fills),
            )
        )

    def _bind_callbacks(self, loop: asyncio.AbstractEventLoop) -> None:
        for publisher in self._publishers:
            publisher.bind(loop)

    async def _close_callbacks(self) -> None:
        for publisher in self._publishers:
            await asyncio.to_thread(publisher.close, _CLOSE_S)
