"""One list of trades answers for all who look for fills at the same time."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from polyexec.clob.trade_search import TradeSearch
from polyexec.core.ports import Fill
from polyexec.enums import Side
from polyexec.errors import VenueError
from polyexec.models import ConditionId, OrderId, TokenId

MARKET = ConditionId("0xc")


def fill(order_id: str, trade_id: str) -> Fill:
    return Fill(
        trade_id=trade_id,
        order_id=OrderId(order_id),
        token_id=TokenId("1"),
        side=Side.BUY,
        price_e4=4000,
        size_micro=1,
        is_taker=True,
        status="MATCHED",
        match_time_s=0,
    )


class Lists:
    """Answers when told to, with every fill there is by then."""

    def __init__(self) -> None:
        self.search = TradeSearch(self._list)
        self.asked: list[tuple[ConditionId | None, int | None]] = []
        self.fills: list[Fill] = []
        self.open: list[asyncio.Future[None]] = []

    async def _list(
        self, market: ConditionId | None, after_s: int | None
    ) -> AsyncIterator[Sequence[Fill]]:
        self.asked.append((market, after_s))
        found = tuple(self.fills)
        done = asyncio.get_running_loop().create_future()
        self.open.append(done)
        await done
        for one in found:
            yield (one,)

    def look(
        self, order_id: str, market: ConditionId | None = None, after_s: int | None = 100
    ) -> asyncio.Task[tuple[Fill, ...]]:
        return asyncio.create_task(self.search.fills(OrderId(order_id), market, after_s))

    async def answer(self, error: Exception | None = None) -> None:
        await settle()
        answered, self.open = self.open, []
        for done in answered:
            if error is not None:
                done.set_exception(error)
            elif not done.done():
                done.set_result(None)
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_while_a_list_is_on_its_way_shares_the_next_one() -> None:
    lists = Lists()
    first = lists.look("0x1", after_s=100)
    await settle()
    lists.fills = [fill("0x1", "a"), fill("0x2", "b"), fill("0x2", "b"), fill("0x3", "c")]
    others = [lists.look(f"0x{number}", after_s=90 + number) for number in range(2, 12)]
    await lists.answer()
    await lists.answer()
    assert await first == ()  # its list was asked for before there was anything
    assert [trade.trade_id for trade in await others[0]] == ["b"]
    assert [trade.trade_id for trade in await others[1]] == ["c"]
    assert await others[9] == ()
    assert lists.asked == [(None, 100), (None, 92)]  # as far back as any of them looks


async def test_markets_and_endless_searches_have_lists_of_their_own() -> None:
    lists = Lists()
    tasks = [lists.look("0x1"), lists.look("0x1", MARKET), lists.look("0x2", MARKET, None)]
    await lists.answer()
    assert lists.asked == [(None, 100), (MARKET, 100), (MARKET, None)]
    await asyncio.gather(*tasks)


async def test_a_list_that_failed_is_asked_for_again_by_who_waited() -> None:
    lists = Lists()
    lists.fills = [fill("0x2", "b")]
    first = lists.look("0x1", after_s=50)
    await settle()
    second = lists.look("0x2")
    await lists.answer(VenueError(500, "internal"))
    with pytest.raises(VenueError):
        await first
    await lists.answer()
    assert len(await second) == 1
    assert lists.asked == [(None, 50), (None, 100)]


async def test_who_gives_up_leaves_the_others_their_turn() -> None:
    lists = Lists()
    lists.fills = [fill("0x2", "b")]
    first, second = lists.look("0x1"), lists.look("0x2")
    await settle()
    first.cancel()
    await settle()
    await lists.answer()
    assert len(await second) == 1
    with pytest.raises(asyncio.CancelledError):
        await first
    assert lists.search._lists == {}
