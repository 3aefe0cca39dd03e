"""Looks for the fills of orders in the account's lists of trades."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from polyexec.core.ports import Fill
from polyexec.models import ConditionId, OrderId
from polyexec.sharing import SharedAnswer

__all__ = ["TradeSearch", "own_fills"]

_Index: TypeAlias = Mapping[OrderId, Sequence[Fill]]


class TradeSearch:
    """Lists trades once for all orders that are looked for at the same time.

    A list has many pages where an account trades much, and a page counts for the rate limit as
    much as an order: one list per order would leave nothing for other questions.

    Parameters
    ----------
    list_trades : callable
        All fills of the account's trades of a market (None: of any) since a unix time in seconds
        (None: ever).
    """

    def __init__(
        self,
        list_trades: Callable[[ConditionId | None, int | None], Awaitable[Sequence[Fill]]],
    ) -> None:
        self._list_trades = list_trades
        self._lists: dict[tuple[ConditionId | None, bool], _List] = {}

    async def fills(
        self, order_id: OrderId, market: ConditionId | None, after_s: int | None
    ) -> tuple[Fill, ...]:
        """Return the fills of an order, from a list that was asked for after this call."""
        key = (market, after_s is None)  # who looks back for ever does not make all do so
        shared = self._lists.setdefault(key, _List())
        since_s = after_s or 0
        shared.since_s.append(since_s)

        async def ask() -> _Index:
            oldest_s = None if after_s is None else min(shared.since_s)
            return _by_order(await self._list_trades(market, oldest_s))

        try:
            index = await shared.answer.get(ask)
        finally:
            shared.since_s.remove(since_s)
            if not shared.since_s:
                del self._lists[key]
        return own_fills(order_id, index.get(order_id, ()))


class _List:
    """One list, and how far back those look who wait for it."""

    __slots__ = ("answer", "since_s")

    def __init__(self) -> None:
        self.answer: SharedAnswer[_Index] = SharedAnswer()
        self.since_s: list[int] = []


def own_fills(order_id: OrderId, fills: Iterable[Fill]) -> tuple[Fill, ...]:
    """Return the fills of one order, each once."""
    # By key: a page boundary may show a trade twice.
    mine = {
        (fill.trade_id, fill.counter_order_id): fill for fill in fills if fill.order_id == order_id
    }
    return tuple(mine.values())


def _by_order(fills: Iterable[Fill]) -> _Index:
    found: dict[OrderId, list[Fill]] = {}
    for fill in fills:
        found.setdefault(fill.order_id, []).append(fill)
    return found
