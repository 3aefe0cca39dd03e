"""The market cache: one fetch for all who ask, an age limit, and no tick but the exchange's."""

import asyncio
from typing import Any

import msgspec
import pytest

from polyexec.clob.markets import MarketCache
from polyexec.enums import Generation
from polyexec.errors import InputError, NotSentError
from polyexec.models import ConditionId, Market, TokenId

YES, NO, OTHER = TokenId("11"), TokenId("12"), TokenId("21")
CONDITION = {YES: ConditionId("0x1"), NO: ConditionId("0x1"), OTHER: ConditionId("0x2")}
RECORD = Market(
    token_id=YES,
    condition_id=CONDITION[YES],
    tick_e4=100,
    min_order_size_micro=5_000_000,
    neg_risk=False,
    generation=Generation.CLOB_V2,
    fee_rate_micro=70_000,
)


class Exchange:
    """Answers when told to, and counts."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.tick_e4 = 100
        self.asked: list[str] = []
        self.gate: asyncio.Event | None = None
        self.fault: Exception | None = None
        self.while_answering: Any = None
        self.cache = MarketCache(
            self.condition_of, self.market, max_age_s=60, steady_s=lambda: self.now
        )

    async def condition_of(self, token_id: TokenId) -> ConditionId:
        self.asked.append(f"condition {token_id}")
        return CONDITION[token_id]

    async def market(self, condition_id: ConditionId, token_id: TokenId) -> Market:
        self.asked.append(f"market {token_id}")
        found = msgspec.structs.replace(
            RECORD, token_id=token_id, condition_id=condition_id, tick_e4=self.tick_e4
        )
        if self.gate is not None:
            await self.gate.wait()
        if self.while_answering is not None:
            self.while_answering()
        if self.fault is not None:
            raise self.fault
        return found


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


async def test_a_record_is_fetched_once_and_kept_for_its_age(exchange: Exchange) -> None:
    cache = exchange.cache
    assert cache.peek(YES) is None
    first = await cache.get(YES)
    assert first.tick_e4 == 100
    assert await cache.get(YES) is first
    assert cache.peek(YES) is first
    exchange.now += 60
    assert cache.peek(YES) is first
    exchange.now += 0.001
    assert cache.peek(YES) is None
    exchange.tick_e4 = 10
    assert (await cache.get(YES)).tick_e4 == 10
    # the condition never changes
    assert exchange.asked == ["condition 11", "market 11", "market 11"]


async def test_many_who_ask_at_once_share_one_fetch(exchange: Exchange) -> None:
    exchange.gate = asyncio.Event()
    askers = [asyncio.create_task(exchange.cache.get(YES)) for _ in range(5)]
    await asyncio.sleep(0)
    askers[0].cancel()  # gives up, and takes nothing from the others
    await asyncio.sleep(0)
    exchange.gate.set()
    found = await asyncio.gather(*askers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(market is found[1] for market in found[1:])
    assert exchange.asked == ["condition 11", "market 11"]


async def test_a_failure_reaches_all_and_is_not_kept(exchange: Exchange) -> None:
    exchange.fault = NotSentError("no route")
    outcomes = await asyncio.gather(
        *(exchange.cache.get(YES) for _ in range(3)), return_exceptions=True
    )
    assert all(outcome is exchange.fault for outcome in outcomes)
    exchange.fault = None
    assert (await exchange.cache.get(YES)).token_id == YES


async def test_a_record_beyond_its_age_is_not_served_when_the_fetch_fails(
    exchange: Exchange,
) -> None:
    await exchange.cache.get(YES)
    exchange.now += 61
    exchange.fault = NotSentError("no route")
    with pytest.raises(NotSentError):
        await exchange.cache.get(YES)


async def test_a_tick_change_holds_for_both_tokens_of_the_market(exchange: Exchange) -> None:
    for token in (YES, NO, OTHER):
        await exchange.cache.get(token)
    exchange.cache.tick_size_change(YES, "0.001", condition_id="0x1")
    ticks = {t: (await exchange.cache.get(t)).tick_e4 for t in (YES, NO, OTHER)}
    assert ticks == {YES: 10, NO: 10, OTHER: 100}
    exchange.cache.tick_size_change(NO, "0.01")
    assert (await exchange.cache.get(YES)).tick_e4 == 100


async def test_a_fetch_that_a_tick_change_overtook_asks_again(exchange: Exchange) -> None:
    def change() -> None:
        exchange.while_answering = None
        exchange.tick_e4 = 10
        exchange.cache.tick_size_change(YES, "0.001")

    exchange.while_answering = change
    assert (await exchange.cache.get(YES)).tick_e4 == 10
    assert exchange.asked == ["condition 11", "market 11", "market 11"]
    assert exchange.cache.peek(YES) is not None


async def test_a_tick_that_never_rests_is_not_kept(exchange: Exchange) -> None:
    exchange.while_answering = lambda: exchange.cache.tick_size_change(YES, "0.001")
    await exchange.cache.get(YES)
    assert exchange.asked.count("market 11") == 3
    assert exchange.cache.peek(YES) is None


@pytest.mark.parametrize("tick", ["0.02", "0", "nan", None, "x"])
async def test_what_is_no_tick_is_refused_and_asked_for(exchange: Exchange, tick: Any) -> None:
    await exchange.cache.get(YES)
    with pytest.raises(InputError, match="tick_size="):
        exchange.cache.tick_size_change(YES, tick)
    assert exchange.cache.peek(YES) is None
    assert (await exchange.cache.get(YES)).tick_e4 == 100


async def test_changes_of_tokens_that_nobody_asked_for_are_not_kept(exchange: Exchange) -> None:
    for token in range(1000):
        exchange.cache.tick_size_change(str(token), "0.01")
    assert exchange.cache._changes == {}


async def test_forgetting_fetches_again(exchange: Exchange) -> None:
    await exchange.cache.get(YES)
    exchange.cache.forget(YES)
    assert exchange.cache.peek(YES) is None
    await exchange.cache.get(YES)
    assert exchange.asked.count("market 11") == 2


async def test_closing_stops_what_is_on_its_way(exchange: Exchange) -> None:
    exchange.gate = asyncio.Event()
    asker = asyncio.create_task(exchange.cache.get(YES))
    await asyncio.sleep(0)
    await exchange.cache.close()
    with pytest.raises(asyncio.CancelledError):
        await asker


async def test_odd_token_ids_are_refused(exchange: Exchange) -> None:
    with pytest.raises(InputError, match="token_id="):
        await exchange.cache.get(TokenId("0x1"))
    assert exchange.asked == []
