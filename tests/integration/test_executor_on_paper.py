<<<<<<< HEAD
"""The whole path over real TLS and HTTP/2: executor, order connection, paper exchange."""

import asyncio
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
=======
"""The executor against the paper exchange over real TLS and HTTP/2: both books must agree."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
>>>>>>> part-tests
from typing import Any

import pytest

<<<<<<< HEAD
import polyexec as px
from polyexec.paper import Fault, PaperExchange, PaperMarket, Request, Response

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


async def test_a_time_out_is_unknown_and_its_money_stays_held(exchange: PaperExchange) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)

    async def lose_the_answer(request: Request) -> Response | Fault | None:
        return Fault.HANDLE_THEN_DROP if request.method == "POST" else None

    async with px.Executor(config(exchange, post_timeout_s=0.05)) as executor:
        exchange.on_request = lose_the_answer
        result = await executor.submit(buy(market))
        assert not result.success
        assert [leg.state for leg in result.unknown_orders] == [px.LegState.UNKNOWN]
        assert result.failed_orders == ()
        assert executor.ledger.held() == 4_673_250
        exchange.on_request = None
        # it had been filled all along, and asking says so
        report = await executor.reconcile()
        assert report.is_exact
        assert (report.held_micro, report.unknown_orders) == (0, ())


async def test_an_order_that_never_arrived_stays_unknown(exchange: PaperExchange) -> None:
    market = market_with_book(exchange)
    exchange.deposit(ADDRESS, 100)

    async def swallow(request: Request) -> Response | Fault | None:
        return Fault.CLOSE if request.method == "POST" else None

    async with px.Executor(config(exchange)) as executor:
        exchange.on_request = swallow
        result = await executor.submit(buy(market))
        assert [leg.state for leg in result.legs] == [px.LegState.UNKNOWN]
        exchange.on_request = None
        report = await executor.reconcile()
        # not found right after a time-out is no proof of absence
        assert report.unknown_orders == (result.legs[0].order_id,)
        assert report.held_micro == 4_673_250
        assert not report.is_exact


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
    async with px.Executor(mode) as executor:
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
=======
from polyexec import sync
from polyexec.config import ExecutorConfig
from polyexec.enums import LegState, SkipReason
from polyexec.errors import UsageError
from polyexec.executor import Executor
from polyexec.models import ArbSignal, Leg, LegsSignal, Quote
from polyexec.numbers import from_e4
from polyexec.paper import PaperExchange
from polyexec.paper.book import PaperMarket
from polyexec.paper.http import Fault, Request
from tests.unit.core.support import FakeClock

KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
FEE = "0.07"
STEP_MS = 10_000


class Desk:
    """An exchange with three markets, an executor, and one clock for both."""

    def __init__(self, exchange: PaperExchange, executor: Executor, clock: FakeClock) -> None:
        self.exchange = exchange
        self.executor = executor
        self.clock = clock
        self.markets: list[PaperMarket] = []

    @property
    def tokens(self) -> list[str]:
        return [market.token_ids[0] for market in self.markets]

    def leg(self, token: str, side: str, price: Any, size: Any = 10, **changes: Any) -> Leg:
        return Leg(token, side, price, size, **{"tick_size": "0.01", "fee_rate": FEE} | changes)

    def learn_positions(self) -> None:
        address = self.executor.address
        self.executor.update_positions(
            {token: self.exchange.position(address, token) for token in self.tokens}
        )

    async def assert_books_agree(self) -> None:
        found = await self.executor.reconcile()
        ledger, address = self.executor.ledger, self.executor.address
        assert found.is_exact, found
        assert found.open_orders == ()
        assert ledger.held() == 0
        assert ledger.open_reservations == ()
        assert self.exchange.balance(address) * 1_000_000 == ledger.balance()
        for token in self.tokens:
            assert self.exchange.position(address, token) * 1_000_000 == ledger.balance(token)
        self.exchange.audit()


@asynccontextmanager
async def open_desk(**settings: Any) -> AsyncIterator[Desk]:
    clock = FakeClock()
    async with PaperExchange(clock=clock.time_ms) as exchange:
        credentials = exchange.credentials(KEY)
        given: dict[str, Any] = {
            "private_key": KEY,
            "api_key": credentials.api_key,
            "api_secret": credentials.secret,
            "api_passphrase": credentials.passphrase,
            "clob_url": exchange.url,
            "ssl_context": exchange.ssl_context,
            "trading_enabled": True,
            "opportunity_timeout_ms": 0,
            "follow_interval_s": 1000,
        }
        executor = Executor(ExecutorConfig(**given | settings), clock=clock)
        exchange.deposit(executor.address, 10_000)
        desk = Desk(exchange, executor, clock)
        for number in range(3):
            market = exchange.add_market(f"market-{number}", fee_rate=FEE)
            desk.markets.append(market)
            exchange.seed_book(
                market.token_ids[0], bids=[("0.29", 100)], asks=[("0.30", 100), ("0.31", 100)]
            )
        async with executor:
            yield desk


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    async with open_desk() as desk:
        yield desk


def triangle(desk: Desk, **changes: Any) -> ArbSignal:
    quotes = [
        Quote(
            token,
            best_bid="0.29",
            best_ask="0.30",
            best_bid_size=100,
            best_ask_size=100,
            tick_size="0.01",
            fee_rate=FEE,
        )
        for token in desk.tokens
    ]
    return ArbSignal("POLYMARKET_COMPLEMENT_BUY", *quotes, **changes)


@pytest.mark.parametrize("kind", ["GTC", "FOK", "FAK"])
async def test_a_signal_is_filled_and_both_books_agree_to_the_micro_unit(kind: str) -> None:
    async with open_desk(order_type=kind) as desk:
        result = await desk.executor.submit(triangle(desk, size=20))
        assert result.success, result
        assert [leg.state for leg in result.legs] == [LegState.MATCHED] * 3
        assert [leg.filled_size for leg in result.legs] == [20] * 3
        # 20 x 0.30 and 20 x 0.07 x 0.30 x 0.70, three times
        assert result.cost_micro == 3 * (6_000_000 + 294_000)
        assert result.expected_pnl_micro == 20_000_000 - result.cost_micro
        await desk.assert_books_agree()


async def test_a_resting_rest_that_fills_later_is_booked_once(desk: Desk) -> None:
    token = desk.tokens[0]
    result = await desk.executor.submit(LegsSignal([desk.leg(token, "BUY", "0.31", 250)]))
    assert [leg.state for leg in result.legs] == [LegState.PARTIAL]
    assert result.legs[0].filled_size == 200
    desk.clock.advance(STEP_MS)
    await desk.executor.refresh_balance()
    desk.clock.advance(STEP_MS)
    desk.exchange.set_book(token, asks=[("0.31", 50)])
    desk.clock.advance(STEP_MS)
    await desk.executor.refresh_balance()
    await desk.assert_books_agree()
    assert desk.executor.ledger.balance(token) == 250_000_000  # type: ignore[arg-type]


async def test_the_exchanges_refusal_of_one_leg_frees_only_that_leg(desk: Desk) -> None:
    first, second, third = desk.tokens
    legs = [
        desk.leg(first, "BUY", "0.30"),
        desk.leg(second, "BUY", "0.31", post_only=True),  # crosses
        desk.leg(third, "BUY", "0.20", 300, order_type="FOK"),  # nobody sells there
    ]
    result = await desk.executor.submit(LegsSignal(legs))
    states = [leg.state for leg in result.legs]
    assert states == [LegState.MATCHED, LegState.REJECTED, LegState.REJECTED]
    assert "crosses" in result.failed_orders[0].error
    assert "FOK" in result.failed_orders[1].error
    await desk.assert_books_agree()


async def test_a_sell_needs_a_position_and_gives_it(desk: Desk) -> None:
    token = desk.tokens[0]
    sell = LegsSignal([desk.leg(token, "SELL", "0.29")])
    skipped = await desk.executor.submit(sell)
    assert skipped.skipped is SkipReason.INSUFFICIENT_POSITION
    desk.exchange.set_position(desk.executor.address, token, 25)
    desk.learn_positions()
    desk.clock.advance(STEP_MS)
    result = await desk.executor.submit(sell)
    assert result.success
    assert desk.exchange.position(desk.executor.address, token) == 15
    await desk.assert_books_agree()


@pytest.mark.parametrize("fault", [Fault.DROP, Fault.HANDLE_THEN_DROP, Fault.CLOSE])
async def test_an_answer_that_never_comes_keeps_the_hold_until_the_truth_is_known(
    fault: Fault,
) -> None:
    async def lose_posts(request: Request) -> Fault | None:
        return fault if request.method == "POST" else None

    async with open_desk(post_timeout_s=0.05) as desk:
        desk.exchange.on_request = lose_posts
        result = await desk.executor.submit(triangle(desk))
        assert [leg.state for leg in result.legs] == [LegState.UNKNOWN] * 3
        held = desk.executor.ledger.held()
        assert held == 3 * (3_000_000 + 147_000)
        desk.clock.advance(STEP_MS)
        found = await desk.executor.reconcile()
        if fault is Fault.HANDLE_THEN_DROP:
            await desk.assert_books_agree()
        else:
            assert len(found.unknown_orders) == 3
            assert desk.executor.ledger.held() == held


@pytest.mark.parametrize("seed", range(4))
async def test_after_a_random_session_both_books_agree(seed: int) -> None:
    print(f"seed={seed}")
    source = random.Random(seed)
    async with open_desk(default_size=10) as desk:
        states = set()
        for _ in range(60):
            desk.clock.advance(STEP_MS)
            action = source.choice(["legs", "legs", "house", "house", "refresh", "reconcile"])
            if action == "legs":
                tokens = source.sample(desk.tokens, source.randint(1, 3))
                legs = [
                    desk.leg(
                        token,
                        source.choice(["BUY", "BUY", "SELL"]),
                        from_e4(100 * source.randint(26, 34)),
                        source.randint(5, 120),
                        order_type=source.choice(["GTC", "FOK", "FAK"]),
                    )
                    for token in tokens
                ]
                result = await desk.executor.submit(LegsSignal(legs))
                states |= {leg.state for leg in result.legs}
                desk.executor.ledger.check()
            elif action == "house":
                middle = 100 * source.randint(27, 33)
                desk.exchange.set_book(
                    source.choice(desk.tokens),
                    bids=[(from_e4(middle - 100), source.randint(5, 100))],
                    asks=[(from_e4(middle), source.randint(5, 100))],
                )
            elif action == "refresh":
                await desk.executor.refresh_balance()
                desk.learn_positions()
            else:
                found = await desk.executor.reconcile()
                assert found.is_exact, found
        assert {LegState.MATCHED, LegState.LIVE, LegState.REJECTED, LegState.PARTIAL} <= states
        await desk.executor.cancel_all()
        desk.clock.advance(STEP_MS)
        await desk.assert_books_agree()


async def test_paper_mode_needs_no_account_and_has_its_exchange() -> None:
    config = ExecutorConfig(
        KEY, executor_mode="paper", trading_enabled=True, opportunity_timeout_ms=0
    )
    executor = Executor(config)
    with pytest.raises(UsageError, match="paper"):
        _ = executor.exchange
    async with executor:
        exchange = executor.exchange
        exchange.deposit(executor.address, 100)
        market = exchange.add_market(fee_rate=FEE)
        token = market.token_ids[0]
        exchange.seed_book(token, asks=[("0.40", 100)])
        assert await executor.refresh_balance() == 100_000_000
        result = await executor.submit(LegsSignal([Leg(token, "BUY", "0.40", 10, fee_rate=FEE)]))
        assert result.success
        assert exchange.balance(executor.address) * 1_000_000 == executor.ledger.balance()


def test_the_twin_trades_on_paper_too() -> None:
    config = ExecutorConfig(
        KEY, executor_mode="paper", trading_enabled=True, opportunity_timeout_ms=0
    )
    with sync.Executor(config) as executor:
        executor.exchange.deposit(executor.address, 100)
        token = executor.exchange.add_market().token_ids[0]
        executor.exchange.seed_book(token, asks=[("0.40", 100)])
        executor.refresh_balance()
        signal = LegsSignal([Leg(token, "BUY", "0.40", 10, fee_rate=0)])
        result = executor.submit(signal).result(5)
        assert result.success
        assert executor.reconcile().is_exact
>>>>>>> part-tests
