"""Looks for the fills of orders in the account's lists of trades."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from polyexec.core.ports import Fill
from polyexec.models import ConditionId, OrderId
from polyexec.sharing import SharedAnswer

__all__ = ["TradeSearch", "own_fills"]

_Index: TypeAlias = Mapping[OrderId, Sequence[Fill]]


class TradeSearch:
    """Lists trades once for all orders that are looked for at the same time.

    A list has many pages where an account trades much, and a page counts for the rate limit as
    much as an order: one list per order would leave nothing for other questions. Of a page only
    the fills that somebody looks for are kept.

    Parameters
    ----------
    list_trades : callable
        Yields all fills of the account's trades of a market (None: of any) since a unix time in
        seconds (None: ever), page by page.
    """

    def __init__(
        self,
        list_trades: Callable[[ConditionId | None, int | None], AsyncIterator[Sequence[Fill]]],
    ) -> None:
        self._list_trades = list_trades
        self._lists: dict[tuple[ConditionId | None, bool], _List] = {}

    async def fills(
        self, order_id: OrderId, market: ConditionId | None, after_s: int | None
    ) -> tuple[Fill, ...]:
        """Return the fills of an order, from a list that was asked for after this call."""
        key = (market, after_s is None)  # who looks back for ever does not make all do so
        shared = self._lists.setdefault(key, _List())
        wanted = (order_id, after_s or 0)
        shared.wanted.append(wanted)

        async def ask() -> _Index:
            oldest_s = None if after_s is None else min(since_s for _, since_s in shared.wanted)
            found: dict[OrderId, list[Fill]] = {each: [] for each, _ in shared.wanted}
            async for page in self._list_trades(market, oldest_s):
                for fill in page:
                    if fill.order_id in found:
                        found[fill.order_id].append(fill)
            return found

        try:
            index = await shared.answer.get(ask)
        finally:
            shared.wanted.remove(wanted)
            if not shared.wanted:
                del self._lists[key]
        return own_fills(order_id, index[order_id])


class _List:
    """One list, and who waits for it: each order and how far back it is looked for."""

    __slots__ = ("answer", "wanted")

    def __init__(self) -> None:
        self.answer: SharedAnswer[_Index] = SharedAnswer()
        self.wanted: list[tuple[OrderId, int]] = []


def own_fills(order_id: OrderId, fills: Iterable[Fill]) -> tuple[Fill, ...]:
    """Return the fills of one order, each once."""
    # By key: a page boundary may show a trade twice.
    mine = {
        (fill.trade_id, fill.counter_order_id): fill for fill in fills if fill.order_id == order_id
    }
    return tuple(mine.values())
