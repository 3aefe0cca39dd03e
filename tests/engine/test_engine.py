"""The engine over the real wire: markets found, books followed, signals handed on."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import polyexec as px
from polyexec.demo.ladder import Group
from polyexec.demo.live import list_group, set_books
from polyexec.demo.world import BookUpdate, generate_group, generate_updates
from polyexec.engine.engine import Engine
from polyexec.enums import Strategy
from polyexec.errors import ConfigError, InputError, UsageError
from polyexec.models import TopOfBook
from polyexec.paper import PaperExchange
from polyexec.signals import Signal

KEY = "0x" + "35" * 32
SHARES = 50_000_000


def config(**changes: Any) -> px.ExecutorConfig:
    given: dict[str, Any] = {
        "private_key": KEY,
        "engine_mode": "paper",
        "executor_mode": "paper",
        "order_type": "FOK",
        "opportunity_timeout_ms": 0,
        "trading_enabled": True,
        "min_profit_abs": "0.001",
    }
    return px.ExecutorConfig(**given | changes)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  what is waited for happens on other tasks
            await asyncio.sleep(0.005)


class Market:
    """A group whose books are fair, until one is not."""

    def __init__(self, exchange: PaperExchange) -> None:
        self.exchange = exchange
        self.group: Group = generate_group(1)
        self.listed = {m.slug: (m, one) for m, one in list_group(exchange, self.group, days=2)}
        for updates in generate_updates(self.group, 1, 1):
            set_books(exchange, updates)

    def offer_cheap(self, slug: str) -> None:
        """Let a child's YES be bid far above what it is worth: its NO is cheap."""
        market = next(m for m in self.group.markets if m.slug == slug)
        update = BookUpdate(market, bids=((6000, SHARES),), asks=((6500, SHARES),))
        set_books(self.exchange, [update])


CHILD = "bitcoin-between-88k-90k-demo-1"


@pytest.fixture
async def market() -> AsyncIterator[Market]:
    async with PaperExchange() as exchange:
        yield Market(exchange)


async def watching(engine: Engine) -> None:
    await until(lambda: len(engine.forms) > 20)
    table = engine.table
    tokens = {leg.token_id for form in engine.forms for leg in form.legs}
    await until(lambda: all(table.state(table.slot(token)) == 1 for token in tokens))


async def test_what_pays_becomes_a_signal_for_subscribers(market: Market) -> None:
    seen: list[Signal] = []
    tops: list[TopOfBook] = []
    async with Engine(config(executor_mode="off"), exchange=market.exchange) as engine:
        engine.on_signal(seen.append)
        engine.on_top_of_book(tops.append)
        await watching(engine)
        assert engine.counts.signals == 0  # fair books
        market.offer_cheap(CHILD)
        await until(lambda: len(seen) >= 2)
        assert engine.counts.submitted == 0
    triangle = next(s for s in seen if getattr(s, "strategy", "") == "POLYMARKET_TRIANGLE_BUY")
    assert isinstance(triangle, px.ArbSignal)
    assert triangle.child is not None
    assert triangle.child.market_slug == CHILD
    assert triangle.child.best_ask_e4 == 4000
    assert triangle.profit_abs is not None
    assert triangle.profit_abs > 0.03
    assert triangle.gross_abs is not None
    assert triangle.gross_abs > triangle.profit_abs
    assert triangle.group_key.startswith("btc-")
    assert any(top.best_ask_e4 == 4000 for top in tops)


async def test_other_thresholds_and_sizes_hold_from_the_next_touch_on(market: Market) -> None:
    proud = config(executor_mode="off", min_profit_abs=2, default_size=10)
    seen: list[Signal] = []
    async with Engine(proud, exchange=market.exchange) as engine:
        engine.on_signal(seen.append)
        await watching(engine)
        watched = engine.forms
        market.offer_cheap(CHILD)
        await until(lambda: engine.looks["unprofitable"] > 0)
        assert engine.counts.signals == 0
        with pytest.raises(ConfigError, match="order_type: cannot change"):
            engine.retune(proud.replace(order_type="GTC"))
        engine.retune(proud.replace(min_profit_abs="0.001", default_size=7))
        assert engine.forms == watched
        market.exchange.channels.cut()  # the same books again
        await until(lambda: len(seen) > 0)


async def test_a_signal_reaches_the_executor_in_the_call_of_its_frame() -> None:
    async with px.Executor(config()) as executor:
        executor.exchange.deposit(executor.address, 10_000)
        await executor.refresh_balance()
        market = Market(executor.exchange)
        results: list[px.TradeResult] = []
        executor.on_trade_result(results.append)
        async with Engine(config(), executor) as engine:
            await watching(engine)
            assert engine.exchange is executor.exchange
            market.offer_cheap(CHILD)
            await until(lambda: any(result.success for result in results))
            assert engine.counts.submitted == engine.counts.signals
            assert engine.counts.skipped >= sum(r.skipped is not None for r in results) > 0
        done = next(result for result in results if result.success)
        assert done.expected_pnl > 0
        assert (await executor.reconcile()).is_exact


async def test_a_closed_executor_is_told_once_and_stops_nothing(
    market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    executor = px.Executor(config())
    async with executor:
        pass
    seen: list[Signal] = []
    async with Engine(config(), executor, exchange=market.exchange) as engine:
        engine.on_signal(seen.append)
        await watching(engine)
        market.offer_cheap(CHILD)
        await until(lambda: len(seen) > 1)
        assert engine.counts.submit_errors == engine.counts.signals > 1
    assert [r.msg for r in caplog.records].count("engine_submit_failed") == 1


async def test_nothing_is_told_of_books_that_were_lost(market: Market) -> None:
    async with Engine(config(executor_mode="off"), exchange=market.exchange) as engine:
        await watching(engine)
        market.exchange.channels.withhold = lambda message: True
        market.exchange.channels.cut()
        await until(lambda: engine.feed_counts.losses == 1)
        market.offer_cheap(CHILD)
        await asyncio.sleep(0.1)
        assert engine.counts.signals == 0
        market.exchange.channels.withhold = None
        market.exchange.channels.cut()
        await until(lambda: engine.counts.signals > 0)  # from the new snapshots


async def test_a_market_that_leaves_takes_its_forms_and_tokens_along(market: Market) -> None:
    async with Engine(
        config(executor_mode="off"), exchange=market.exchange, refresh_interval_s=0.05
    ) as engine:
        await watching(engine)
        forms = len(engine.forms)
        tokens = len(engine.table)
        opened, listing = market.listed[CHILD]
        market.exchange.list_market(opened, dataclasses.replace(listing, closed=True))
        await until(lambda: len(engine.forms) < forms)
        assert engine.table.slot(opened.token_ids[0]) == -1
        assert len(engine.table) == tokens - 2
        assert not any(
            leg.market.market_slug == CHILD for form in engine.forms for leg in form.legs
        )


async def test_own_forms_are_watched_beside_those_of_the_groups(market: Market) -> None:
    async with Engine(config(executor_mode="off"), exchange=market.exchange) as engine:
        await watching(engine)
        one = next(f for f in engine.forms if f.strategy is Strategy.POLYMARKET_TRIANGLE_BUY)
        engine.unwatch([one])
        assert one not in engine.forms
        engine.watch([one, one])
        assert engine.forms.count(one) == 1
        await watching(engine)


async def test_a_full_table_is_counted(market: Market) -> None:
    async with Engine(config(executor_mode="off"), exchange=market.exchange, capacity=10) as engine:
        await until(lambda: engine.counts.unplaced > 0)
        assert 0 < len(engine.table) <= 10
        assert engine.forms


async def test_metadata_that_cannot_be_read_is_counted_and_asked_for_again(market: Market) -> None:
    async def refuse(request: Any) -> Any:
        return px.paper.json_response({"error": "no"}, 503) if request.path == "/events" else None

    market.exchange.on_request = refuse
    async with Engine(
        config(executor_mode="off"), exchange=market.exchange, refresh_interval_s=0.02
    ) as engine:
        await until(lambda: engine.counts.refresh_failures > 1)
        with pytest.raises(px.VenueError):
            await engine.refresh()
        market.exchange.on_request = None
        await watching(engine)


async def test_an_engine_without_an_exchange_has_its_own() -> None:
    async with Engine(config(executor_mode="off")) as engine:
        Market(engine.exchange)
        await engine.refresh()
        await watching(engine)


async def test_use_that_cannot_work_is_refused() -> None:
    with pytest.raises(InputError, match="config="):
        Engine(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="refresh_interval_s=0"):
        Engine(config(), refresh_interval_s=0)
    engine = Engine(config(engine_mode="off"))
    for use in (lambda: engine.exchange, lambda: engine.feed_counts, lambda: engine.watch([])):
        with pytest.raises(UsageError):
            use()
    with pytest.raises(UsageError, match="engine_mode is 'off'"):
        async with engine:
            pass
    with pytest.raises(UsageError, match="opened once"):
        async with engine:
            pass
    elsewhere = config(engine_mode="live", clob_url="https://clob.example.com", user_channel=False)
    with pytest.raises(ConfigError, match="ws_url"):
        async with Engine(elsewhere):
            pass
