"""Limits, modes, clock, markets and heartbeat: the executor against the paper exchange."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

import polyexec as px
from polyexec.clob.limits import RateLimits
from polyexec.core.auth import L2Signer
from polyexec.paper import PaperExchange, PaperMarket, Request, Response, json_response

KEY = "0x" + "17" * 32
ADDRESS = px.OrderSigner(KEY).address
WAIT_S = 5.0


class Clock(px.SystemClock):
    """The machine's, pushed by a test."""

    def __init__(self) -> None:
        self.pushed_ms = 0
        self.unix_pushed_ms = 0

    def time_ms(self) -> int:
        return super().time_ms() + self.unix_pushed_ms

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.pushed_ms * 1_000_000


class World:
    """A paper exchange whose clock can be pushed, and what it was asked."""

    def __init__(self) -> None:
        self.ahead_ms = 0
        self.exchange = PaperExchange(clock=lambda: time.time_ns() // 1_000_000 + self.ahead_ms)
        self.asked: list[str] = []
        self.answer: Callable[[Request], Response | None] = lambda request: None
        self.clock = Clock()

    async def hook(self, request: Request) -> Response | None:
        self.asked.append(f"{request.method} {request.path}")
        return self.answer(request)

    @property
    def posts(self) -> int:
        return self.asked.count("POST /orders")

    def market(self, slug: str = "m") -> PaperMarket:
        market = self.exchange.add_market(slug, fee_rate=0)
        self.exchange.seed_book(market.yes, bids=[("0.40", 1000)], asks=[("0.45", 1000)])
        return market

    @asynccontextmanager
    async def executor(self, **changes: Any) -> AsyncIterator[px.Executor]:
        credentials = self.exchange.credentials(KEY)
        settings: dict[str, Any] = {
            "private_key": KEY,
            "clob_url": self.exchange.url,
            "ssl_context": self.exchange.ssl_context,
            "api_key": credentials.api_key,
            "api_secret": credentials.secret,
            "api_passphrase": credentials.passphrase,
            "trading_enabled": True,
            "opportunity_timeout_ms": 0,
            "follow_interval_s": 1000,
        }
        executor = px.Executor(px.ExecutorConfig(**settings | changes), clock=self.clock)
        async with executor:
            yield executor

    def client(self, **options: Any) -> px.ClobClient:
        return px.ClobClient(
            self.exchange.url,
            signer=L2Signer(ADDRESS, self.exchange.credentials(KEY)),
            ssl_context=self.exchange.ssl_context,
            **options,
        )


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    async with world.exchange as exchange:
        exchange.on_request = world.hook
        exchange.deposit(ADDRESS, 1000)
        yield world


def legs(*markets: PaperMarket, price: str = "0.45", **rules: Any) -> px.LegsSignal:
    return px.LegsSignal(
        [
            px.Leg(market.yes, "BUY", price, 10, tick_size="0.01", fee_rate=0, **rules)
            for market in markets
        ]
    )


def quote(market: PaperMarket) -> px.LegsSignal:
    return legs(market, price="0.41", post_only=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  what is waited for has no event to offer
            await asyncio.sleep(0.001)


# rate limits --------------------------------------------------------------------------------------


async def test_what_the_answers_say_is_left_is_not_exceeded(world: World) -> None:
    world.exchange.set_rate_limits(orders=(1, 5), cancels=(1, 5))
    markets = [world.market(name) for name in "abc"]
    async with world.executor() as executor:
        assert (await executor.submit(legs(*markets))).success
        result = await executor.submit(legs(*markets))
        assert result.skipped is px.SkipReason.RATE_LIMITED
        assert executor.ledger.held() == 0
        assert world.posts == 1
        assert (await executor.submit(legs(*markets[:2]))).success
        assert world.posts == 2


async def test_a_refused_batch_is_rejected_and_the_next_waits_here(world: World) -> None:
    world.exchange.set_rate_limits(orders=(1, 2), cancels=(1, 2))
    markets = [world.market(name) for name in "abc"]
    async with world.executor() as executor:
        result = await executor.submit(legs(*markets))
        assert [leg.code for leg in result.legs] == [px.RejectCode.RATE_LIMITED] * 3
        assert executor.ledger.held() == 0
        result = await executor.submit(legs(markets[0]))
        assert result.skipped is px.SkipReason.RATE_LIMITED
        assert world.posts == 1


async def test_the_tier_is_asked_for_when_the_venue_opens(world: World) -> None:
    world.exchange.set_rate_limits(orders=(600, 900), cancels=(1200, 1800), tier="Elite")
    async with world.executor() as executor:
        assert isinstance(executor.venue, px.ClobVenue)
        limits = executor.venue.limits
        await until(lambda: limits.tier == "elite")
        assert limits.tokens("orders") == 900


async def test_a_batch_that_raced_past_the_check_is_not_sent(world: World) -> None:
    markets = [world.market(name) for name in "abc"]
    async with world.executor() as executor:
        assert isinstance(executor.venue, px.ClobVenue)
        limits = executor.venue.limits
        executor.venue.orders_wait_ms = lambda count: 0  # type: ignore[method-assign]
        limits.try_take("POST /orders", 60)
        result = await executor.submit(legs(*markets))
        assert [leg.state for leg in result.legs] == [px.LegState.NOT_SENT] * 3
        assert "rate limit of 60 orders per signer" in result.legs[0].error
        assert executor.ledger.held() == 0
        assert world.posts == 0


async def test_a_question_waits_for_its_turn(world: World) -> None:
    limits = RateLimits()
    async with world.client(limits=limits) as client:
        while limits.try_take("GET /balance-allowance/update") is None:
            pass
        await client.update_balance_allowance()
        assert world.asked == ["GET /balance-allowance/update"]


async def test_a_question_whose_turn_is_far_off_is_not_sent(world: World) -> None:
    world.answer = lambda request: json_response({"error": "slow"}, 429, {"retry-after": "60"})
    async with world.client() as client:
        with pytest.raises(px.RateLimitedError) as caught:
            await client.api_keys()
        assert caught.value.retry_after_s == 60
        with pytest.raises(px.NotSentError, match="GET /auth/api-keys not sent: rate limit"):
            await client.api_keys()
        assert world.asked == ["GET /auth/api-keys"]


async def test_cancels_are_charged_for_what_they_cancelled(world: World) -> None:
    market = world.market()
    async with world.executor() as executor:
        assert isinstance(executor.venue, px.ClobVenue)
        limits = executor.venue.limits
        for _ in range(3):
            assert (await executor.submit(quote(market))).success
        before = limits.tokens("cancels")
        # as an exchange that says nothing of what remains
        real = world.exchange.handle
        world.answer = lambda request: (
            Response(200, real(request).body) if request.path == "/cancel-all" else None
        )
        assert len(await executor.cancel_all()) == 3
        assert before == 120
        # a token came back for every 12.5 ms that went by
        assert limits.tokens("cancels") >= 116
        world.answer = lambda request: None
        await executor.cancel_all()
        assert limits.tokens("cancels") > 100_000


# modes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (px.VenueMode.POST_ONLY, px.SkipReason.VENUE_POST_ONLY),
        (px.VenueMode.CANCEL_ONLY, px.SkipReason.VENUE_CANCEL_ONLY),
        (px.VenueMode.DISABLED, px.SkipReason.VENUE_DISABLED),
    ],
)
async def test_takers_stand_down_and_come_back(
    world: World, mode: px.VenueMode, reason: px.SkipReason
) -> None:
    market = world.market()
    async with world.executor() as executor:
        assert executor.venue_mode is px.VenueMode.NORMAL
        assert (await executor.submit(quote(market))).success
        world.exchange.set_mode(mode)
        refused = await executor.submit(legs(market))
        assert refused.legs[0].state is px.LegState.REJECTED
        assert executor.venue_mode is mode
        posts = world.posts
        skipped = await executor.submit(legs(market))
        assert (skipped.skipped, world.posts) == (reason, posts)
        quoted = await executor.submit(quote(market))
        assert (quoted.skipped is None) == (mode is px.VenueMode.POST_ONLY)
        assert len(await executor.cancel_all()) == (2 if mode is px.VenueMode.POST_ONLY else 1)

        # One group is let through to see, and nothing more while it is refused.
        world.clock.pushed_ms += 60_000
        assert (await executor.submit(legs(market))).legs[0].state is px.LegState.REJECTED
        assert (await executor.submit(legs(market))).skipped is reason
        world.exchange.set_mode("NORMAL")
        world.clock.pushed_ms += 120_000
        assert (await executor.submit(legs(market))).success
        assert executor.venue_mode is px.VenueMode.NORMAL
        assert (await executor.submit(legs(market))).success
        assert (await executor.reconcile()).held_micro == 0


async def test_a_restart_is_waited_out_without_sending_an_order(world: World) -> None:
    market = world.market()
    changes: list[px.VenueModeChange] = []
    over = asyncio.Event()

    async def on_change(change: px.VenueModeChange) -> None:
        changes.append(change)
        if change.new is px.VenueMode.POST_ONLY:
            over.set()

    async def sleep(seconds: float) -> None:
        pause_ms = round(seconds * 1000) + 1
        world.clock.pushed_ms += pause_ms
        world.clock.unix_pushed_ms += pause_ms
        world.ahead_ms += pause_ms
        await asyncio.sleep(0)

    async with world.executor() as executor:
        executor.on_venue_mode(on_change)
        executor._watch._sleep = sleep
        world.exchange.restart(down_s=20, post_only_s=120)
        refused = await executor.submit(legs(market))
        assert refused.legs[0].code is px.RejectCode.TRADING_SUSPENDED
        posts = world.posts
        async with asyncio.timeout(WAIT_S):
            await over.wait()
        assert world.exchange.mode is px.VenueMode.POST_ONLY
        assert world.posts == posts
        assert "DELETE /order" in world.asked
        skipped = await executor.submit(legs(market))
        assert skipped.skipped is px.SkipReason.VENUE_POST_ONLY
        assert (await executor.submit(quote(market))).success
        await sleep(160)
        assert (await executor.submit(legs(market))).success
        await until(lambda: len(changes) == 3)
        assert [change.new for change in changes] == [
            px.VenueMode.RESTARTING,
            px.VenueMode.POST_ONLY,
            px.VenueMode.NORMAL,
        ]
        # Not one taker met the post-only phase.
        assert world.posts == posts + 2


# clock --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_s", [-45, 45])
async def test_a_wrong_clock_of_ours_is_corrected(
    world: World, ahead_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.ahead_ms = ahead_s * 1000
    market = world.market()
    # Without the correction every request is refused: the exchange allows 30 s.
    async with world.client() as client:
        with pytest.raises(px.AuthError):
            await client.balance_allowance()
    async with world.executor() as executor:
        assert isinstance(executor.venue, px.ClobVenue)
        assert executor.venue.clock.offset_s == pytest.approx(ahead_s, abs=1.1)
        assert executor.venue.clock.is_off
        assert (await executor.submit(legs(market))).success
        assert await executor.refresh_balance() > 0
    assert "clock_off" in [r.message for r in caplog.records]


async def test_a_right_clock_is_left_alone(world: World) -> None:
    async with world.executor() as executor:
        assert isinstance(executor.venue, px.ClobVenue)
        assert executor.venue.clock.bounds_s is not None
        assert executor.venue.clock.offset_s == pytest.approx(0, abs=0.05)


# markets ------------------------------------------------------------------------------------------


async def test_market_records_are_kept_and_follow_the_stream(world: World) -> None:
    market = world.market()
    async with world.executor() as executor:
        venue = executor.venue
        assert isinstance(venue, px.ClobVenue)
        found = await asyncio.gather(*(venue.fetch_market(market.yes) for _ in range(5)))
        assert {record.tick_e4 for record in found} == {100}
        assert world.asked.count(f"GET /clob-markets/{market.condition_id}") == 1

        def on_message(message: dict[str, Any]) -> None:
            if message["event_type"] == "tick_size_change":
                venue.markets.tick_size_change(
                    message["asset_id"], message["new_tick_size"], condition_id=message["market"]
                )

        world.exchange.subscribe(on_message)
        world.exchange.set_tick_size(market.yes, "0.001")
        assert (await venue.fetch_market(market.yes)).tick_e4 == 10
        assert world.asked.count(f"GET /clob-markets/{market.condition_id}") == 1


async def test_the_other_questions(world: World) -> None:
    market = world.market()
    async with world.executor() as executor, world.client() as client:
        await executor.submit(legs(market))
        assert await client.spread(market.yes) == Decimal("0.05")
        assert await client.last_trade_price(market.yes) == Decimal("0.45")
        assert await client.closed_only() is False
        assert await client.rate_limit_tier() == "Paper"


# heartbeat ----------------------------------------------------------------------------------------


async def test_when_the_executor_is_gone_its_orders_go_too(world: World) -> None:
    market = world.market()
    async with world.executor(heartbeat=True) as executor:
        assert isinstance(executor.venue, px.ClobVenue)
        beats = executor.venue.heartbeat
        assert beats is not None
        await until(lambda: beats.is_alive)
        assert (await executor.submit(quote(market))).success
    world.ahead_ms += 9_000
    async with world.client(now_s=lambda: time.time() + world.ahead_ms / 1000) as client:
        assert len(await client.open_orders()) == 1
        world.ahead_ms += 2_000
        assert await client.open_orders() == ()


async def test_a_beat_of_somebody_else_is_answered_at_once(world: World) -> None:
    async with world.executor(heartbeat=True) as executor, world.client() as client:
        assert isinstance(executor.venue, px.ClobVenue)
        beats = executor.venue.heartbeat
        assert beats is not None
        await until(lambda: beats.is_alive)
        other = await client.heartbeat()
        assert other.accepted
        stale = await client.heartbeat("00000000-0000-4000-8000-000000000000")
        assert (stale.accepted, stale.heartbeat_id) == (False, other.heartbeat_id)
        assert await beats.beat()
        assert world.asked.count("POST /v1/heartbeats") == 5


async def test_without_being_asked_for_there_is_no_heartbeat(world: World) -> None:
    async with world.executor() as executor:
        assert isinstance(executor.venue, px.ClobVenue)
        assert executor.venue.heartbeat is None
        await executor.reconcile()
    assert "POST /v1/heartbeats" not in world.asked
