"""The executor against the paper exchange over real TLS and HTTP/2: both books must agree."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from polyexec.config import ExecutorConfig
from polyexec.enums import LegState, SkipReason
from polyexec.executor import Executor
from polyexec.models import Leg, Quote
from polyexec.numbers import from_e4
from polyexec.paper import PaperExchange
from polyexec.paper.book import PaperMarket
from polyexec.paper.http import Fault, Request
from polyexec.signals import ArbSignal, LegsSignal
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

    async def assert_books_agree(self, *, within_micro: int = 0) -> None:
        found = await self.executor.reconcile()
        ledger, address = self.executor.ledger, self.executor.address
        assert abs(found.difference_micro) <= within_micro, found
        assert found.position_differences == {}
        assert found.open_orders == found.unknown_orders == ()
        assert ledger.held() == 0
        assert ledger.open_reservations == ()
        assert self.exchange.balance(address) * 1_000_000 == found.venue_micro
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


@pytest.mark.parametrize("kinds", [["GTC"], ["GTC", "FOK", "FAK"]], ids=["resting", "all"])
@pytest.mark.parametrize("seed", range(2))
async def test_after_a_random_session_both_books_agree(seed: int, kinds: list[str]) -> None:
    """Whole shares at whole cents agree to the micro-unit.

    An immediate BUY takes fractions of shares, so that others are filled in fractions as well: for
    which side the exchange rounds such a fill of a resting order is not in its trade.
    """
    print(f"seed={seed}")
    rounding = 0 if kinds == ["GTC"] else 20
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
                        order_type=source.choice(kinds),
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
                assert abs(found.difference_micro) <= rounding, found
                assert found.position_differences == {}
        assert LegState.LIVE in states
        assert len(states) > 1
        await desk.executor.cancel_all()
        desk.clock.advance(STEP_MS)
        await desk.assert_books_agree(within_micro=rounding)
