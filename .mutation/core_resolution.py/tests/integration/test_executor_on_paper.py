"""The whole path over real TLS and HTTP/2: executor, order connection, paper exchange."""

import asyncio
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

import polyexec as px
from polyexec.paper import PaperExchange, PaperMarket

KEY = "0x" + "17" * 32
ADDRESS = px.OrderSigner(KEY).address


@pytest.fixture
async def exchange() -> AsyncIterator[PaperExchange]:
    async with PaperExchange() as exchange:
        yield exchange


def market_with_book(exchange: PaperExchange, slug: str = "m", **rules: Any) -> PaperMarket:
    market = exchange.add_market(slug, fee_rate="0.07", **rules)
    exchange.seed_book(market.yes, bids=[("0.40", 100)], asks=[("0.45", 20), ("0.46", 100)])
    return market


def config(exchange: PaperExchange, **changes: Any) -> px.ExecutorConfig:
    credentials = exchange.credentials(KEY)
    settings: dict[str, Any] = {
        "private_key": KEY,
        "clob_url": exchange.url,
        "ssl_context": exchange.ssl_context,
        "api_key": credentials.api_key,
        "api_secret": credentials.secret,
        "api_passphrase": credentials.passphrase,
        "trading_enabled": True,
        "opportunity_timeout_ms": 0,
        "follow_interval_s": 1000,
    }
    return px.ExecutorConfig(**settings | changes)


def buy(market: PaperMarket, size: object = 10, price: str = "0.45", **rules: Any) -> px.LegsSignal:
    leg = px.Leg(
        market.yes,
        "BUY",
        price,
        size,  # type: ignore[arg-type]
        tick_size="0.01",
        fee_rate="0.07",
        neg_risk=market.neg_risk,
        generation=market.generation,
        **rules,
    )
    return px.LegsSignal([leg])


async def test_a_leg_is_matched_and_the_books_agree_to_the_micro_unit(
    exchange: PaperExchange,
) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)
    async with px.Executor(config(exchange)) as executor:
        result = await executor.submit(buy(market))
        assert result.success
        (leg,) = result.legs
        assert (leg.state, leg.filled_size) == (px.LegState.MATCHED, Decimal(10))
        # 10 x 0.45, and 10 x 0.07 x 0.45 x 0.55 on top
        assert result.total_cost == Decimal("4.67325")
        assert result.latency.write_us > 0
        assert result.latency.response_us > 0
        report = await executor.reconcile()
        assert report.is_exact
        assert report.held_micro == 0
        assert executor.ledger.balance() == 95_326_750
    assert exchange.balance(ADDRESS) == Decimal("95.32675")
    assert exchange.position(ADDRESS, market.yes) == 10


@pytest.mark.parametrize("order_type", ["GTC", "FOK", "FAK"])
async def test_an_improved_price_is_booked_as_it_traded(
    exchange: PaperExchange, order_type: str
) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)
    async with px.Executor(config(exchange)) as executor:
        # a limit of 0.50 meets 20 at 0.45 and the rest at 0.46
        result = await executor.submit(buy(market, 30, "0.50", order_type=order_type))
        assert result.success
        (leg,) = result.legs
        assert (leg.filled_size > 30) == (order_type != "GTC")
        assert (await executor.reconcile()).is_exact


async def test_the_rest_of_a_partial_fill_keeps_its_money_until_it_is_cancelled(
    exchange: PaperExchange,
) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)
    async with px.Executor(config(exchange)) as executor:
        result = await executor.submit(buy(market, 50))
        (leg,) = result.legs
        assert (leg.state, leg.filled_size) == (px.LegState.PARTIAL, Decimal(20))
        held = executor.ledger.held()
        assert held >= 30 * 450_000
        assert await executor.cancel_all() == (leg.order_id,)
        report = await executor.reconcile()
        assert report.is_exact
        assert (report.held_micro, report.open_orders) == (0, ())


async def test_one_leg_of_three_refused_is_not_a_success(exchange: PaperExchange) -> None:
    markets = [market_with_book(exchange, name) for name in "abc"]
    exchange.deposit(ADDRESS, 100)
    legs = [
        px.Leg(market.yes, "BUY", price, 10, "FOK", tick_size="0.01", fee_rate="0.07")
        for market, price in zip(markets, ("0.45", "0.30", "0.45"), strict=True)
    ]
    async with px.Executor(config(exchange)) as executor:
        result = await executor.submit(px.LegsSignal(legs, payout=2))
        assert not result.success
        assert [leg.state for leg in result.legs] == ["MATCHED", "REJECTED", "MATCHED"]
        assert "fully filled" in result.failed_orders[0].error
        assert len(result.order_ids) == 2
        assert (await executor.reconcile()).is_exact


async def test_without_a_connection_nothing_is_sent_and_nothing_held(
    exchange: PaperExchange,
) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)
    async with px.Executor(config(exchange)) as executor:
        await exchange.close()
        for _ in range(200):
            if not executor.venue.transport.connected:  # type: ignore[attr-defined]
                break
            await asyncio.sleep(0.005)
        result = await executor.submit(buy(market))
        assert [leg.state for leg in result.legs] == [px.LegState.NOT_SENT]
        assert executor.ledger.held() == 0


async def test_signals_from_other_threads_are_sent_there(exchange: PaperExchange) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 1000)
    results: list[px.TradeResult] = []
    async with px.Executor(config(exchange, max_in_flight=4)) as executor:

        def trade() -> None:
            for _ in range(5):
                results.append(executor.submit(buy(market, 5)).result(timeout=10))

        threads = [threading.Thread(target=trade) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert len(results) == 20
        assert all(result.success for result in results)
        assert len({result.order_ids for result in results}) == 20
        assert (await executor.reconcile()).is_exact


async def test_waiting_for_an_answer_on_the_loop_thread_is_refused(
    exchange: PaperExchange,
) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)
    async with px.Executor(config(exchange)) as executor:
        submission = executor.submit(buy(market))
        if not submission.done():
            with pytest.raises(px.UsageError, match="await submission"):
                submission.result()
        assert (await submission).success


async def test_a_queue_of_signals_is_worked_off_in_order(exchange: PaperExchange) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 1000)
    seen: list[px.TradeResult] = []
    done = asyncio.Event()

    async def on_result(result: px.TradeResult) -> None:
        seen.append(result)
        if len(seen) == 16:
            done.set()

    async with px.Executor(config(exchange)) as executor:
        executor.on_trade_result(on_result)
        accepted = [executor.submit_nowait(buy(market, 5, price="0.46")) for _ in range(20)]
        assert accepted == [True] * 16 + [False] * 4
        assert executor.dropped_signals == 4
        async with asyncio.timeout(10):
            await done.wait()
    assert all(result.success for result in seen)


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize("neg_risk", [False, True])
@pytest.mark.parametrize("kind", [0, 1, 2, 3])
async def test_every_wallet_kind_trades_every_generation(
    exchange: PaperExchange, generation: int, neg_risk: bool, kind: int
) -> None:
    market = market_with_book(exchange, generation=generation, neg_risk=neg_risk)
    wallets = [ADDRESS, px.proxy_wallet(ADDRESS), px.safe_wallet(ADDRESS)]
    funder = (*wallets, px.deposit_wallet(ADDRESS))[kind]
    if kind:
        exchange.deposit(funder, 100, owner=ADDRESS, signature_type=px.SignatureType(kind))
    else:
        exchange.deposit(funder, 100)
    changes = {"proxy_address": funder} if kind else {}
    async with px.Executor(config(exchange, **changes)) as executor:
        result = await executor.submit(buy(market))
        assert result.success, result.legs
        assert (await executor.reconcile()).is_exact
    assert exchange.balance(funder) == Decimal("95.32675")


async def test_credentials_are_created_with_the_key_when_none_are_given(
    exchange: PaperExchange,
) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)
    bare = px.ExecutorConfig(
        private_key=KEY,
        clob_url=exchange.url,
        ssl_context=exchange.ssl_context,
        trading_enabled=True,
    )
    async with px.Executor(bare) as executor:
        assert (await executor.submit(buy(market))).success


async def test_paper_mode_needs_nothing_but_a_key() -> None:
    mode = px.ExecutorConfig(private_key=KEY, executor_mode="paper", trading_enabled=True)
    closed = px.Executor(mode)
    with pytest.raises(px.UsageError, match="paper"):
        _ = closed.exchange
    async with closed as executor:
        market = market_with_book(executor.exchange)
        executor.exchange.deposit(executor.address, 100)
        await executor.refresh_balance()
        assert (await executor.submit(buy(market))).success


async def test_a_fee_that_the_signal_does_not_know_is_asked_for(exchange: PaperExchange) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)
    async with px.Executor(config(exchange)) as executor:
        leg = px.Leg(market.yes, "BUY", "0.45", 10)
        assert (await executor.submit(px.LegsSignal([leg]))).success
        assert (await executor.reconcile()).is_exact


def test_the_sync_twin_does_the_same() -> None:
    mode = px.ExecutorConfig(private_key=KEY, executor_mode="paper", trading_enabled=True)
    with px.sync.Executor(mode) as executor:
        market = market_with_book(executor.exchange)
        executor.exchange.deposit(executor.address, 100)
        executor.refresh_balance()
        submission = executor.submit(buy(market))
        assert submission.result(timeout=5).success
        assert executor.reconcile().is_exact
        assert executor.cancel_all() == ()
