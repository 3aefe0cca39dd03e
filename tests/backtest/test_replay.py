"""A replayed market: queues and own impact through the executor, on recorded events."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import polyexec as px
from benchmarks import market as generated
from polyexec.backtest.loop import VirtualClock, VirtualLoop, run_virtual
from polyexec.backtest.replay import ReplayedMarket, ReplayedVenue
from polyexec.backtest.stream import Stamped
from polyexec.backtest.venue import InProcessVenue
from polyexec.paper import PaperExchange, Request
from polyexec.paper.conditions import Conditions

M = 1_000_000
_KEY = "0x" + "5a" * 32
Play = Callable[["Replay", px.Executor], Awaitable[None]]


class Replay:
    """Events of one token, by hand, under an executor."""

    def __init__(self, **conditions: Any) -> None:
        self.clock = VirtualClock()
        self.exchange = PaperExchange(clock=self.clock.time_ms, conditions=Conditions(**conditions))
        self.form = generated.watched(1).forms[0]
        self.leg = self.form.legs[0]
        self.token = self.leg.token_id
        self.market = ReplayedMarket([self.form], self.exchange, lambda slot: None)

    async def tell(self, *events: dict[str, Any], after_ms: int = 100) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        await loop.advance(self.clock.now_ms + after_ms)
        now_ms = self.clock.now_ms
        for event in events:
            event |= {"asset_id": self.token, "timestamp": str(now_ms)}
            frame = json.dumps(event).encode()
            self.market.take(Stamped(received_ns=now_ms * M, frame=frame))
            if self.market.is_ours:
                self.market.follow()

    async def book(self, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> None:
        sides = {"bids": bids, "asks": asks}
        levels = {k: [{"price": p, "size": s} for p, s in v] for k, v in sides.items()}
        await self.tell({"event_type": "book", "tick_size": "0.001"} | levels)

    async def trade(self, side: str, price: str, size: str) -> None:
        await self.tell(
            {"event_type": "last_trade_price", "side": side, "price": price, "size": size}
        )

    def order(self, side: str, price: str, size: int, kind: str) -> px.LegsSignal:
        terms = {"tick_size": "0.001", "fee_rate": self._fee()}
        return px.LegsSignal([px.Leg(self.token, side, price, size, kind, **terms)])  # type: ignore[arg-type]

    def _fee(self) -> str:
        return str((self.leg.market.fee_rate_micro or 0) / M)

    def play(self, play: Play) -> None:
        credentials = self.exchange.credentials(_KEY)
        config = px.ExecutorConfig(
            private_key=_KEY,
            trading_enabled=True,
            opportunity_timeout_ms=0,
            api_key=credentials.api_key,
            api_secret=credentials.secret,
            api_passphrase=credentials.passphrase,
        )
        address = px.OrderSigner(_KEY).address
        self.exchange.deposit(address, 1000)
        self.account = address.lower()

        async def main() -> None:
            venue = ReplayedVenue(
                self.market, address=address, credentials=credentials, clock=self.clock
            )
            async with px.Executor(config, venue, clock=self.clock) as executor:
                await play(self, executor)
            self.exchange.audit()

        run_virtual(self.clock, main())

    @property
    def filled(self) -> float:
        orders = self.exchange.engine.orders.values()
        return sum(o.filled_micro for o in orders if o.account == self.account) / M


def test_a_resting_order_waits_for_its_turn() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50")])
        submission = executor.submit(replay.order("BUY", "0.40", 20, "GTC"))
        await replay.trade("SELL", "0.40", "95")
        await replay.book([("0.40", "5")], [("0.45", "50")])
        assert replay.filled == 0
        await replay.trade("SELL", "0.40", "12")
        assert replay.filled == 7
        await replay.trade("SELL", "0.399", "30")
        assert replay.filled == 20
        (bounds,) = replay.market.fill_bounds()
        assert bounds.filled_micro == 20 * M
        replay.market.follow()
        assert not replay.market.is_ours
        result = await submission
        assert result.legs[0].filled_micro == 0  # as it was when it was answered
        assert replay.exchange.position(replay.account, replay.token) == 20

    Replay().play(play)


def test_what_was_taken_is_gone_until_the_level_is_new() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50")])
        await executor.submit(replay.order("BUY", "0.45", 40, "GTC"))
        assert replay.filled == 40
        for asks, there in (([("0.45", "50")], 10), ([("0.45", "60")], 20), ([("0.46", "9")], 9)):
            await replay.book([("0.40", "100")], asks)
            assert replay.exchange.snapshot(replay.token)["asks"][-1]["size"] == str(there)
        assert not replay.market.is_ours or replay.market._books.ours() == []

    Replay().play(play)


def test_a_gap_leaves_nothing_to_trade_with() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50")])
        replay.market.take(Stamped(received_ns=replay.clock.now_us * 1000, kind="gap"))
        result = await executor.submit(replay.order("BUY", "0.45", 40, "FOK"))
        assert result.legs[0].filled_micro == 0
        await replay.book([("0.40", "100")], [("0.45", "50")])
        await executor.submit(replay.order("BUY", "0.45", 40, "FOK"))
        assert replay.filled == 40

    Replay().play(play)


def test_the_other_token_trades_against_the_mirrored_book() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50")])
        request = Request("GET", "/book", query={"token_id": replay.leg.complement_token_id})
        view = json.loads(replay.exchange.handle(request).body)
        assert view["asks"] == [{"price": "0.6", "size": "100"}]

    Replay().play(play)


def test_a_held_order_meets_the_recording_of_later() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50")])
        submission = executor.submit(replay.order("BUY", "0.45", 10, "FOK"))
        await replay.book([("0.40", "100")], [("0.41", "50")])
        result = await submission
        assert result.legs[0].paid_micro * 10_000 // result.legs[0].filled_micro == 4100

    Replay(delay_ms=250).play(play)


def test_a_resolved_market_pays_and_is_left_alone() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50")])
        await executor.submit(replay.order("BUY", "0.45", 40, "GTC"))
        before = replay.exchange.balance(replay.account)
        for _ in range(2):
            replay.market.resolve(replay.token, M)
        assert replay.exchange.balance(replay.account) == before  # until somebody redeems
        assert replay.exchange.redeem(replay.token, replay.account) == 40
        assert replay.exchange.balance(replay.account) == before + 40
        await replay.book([("0.40", "100")], [("0.45", "50")])
        result = await executor.submit(replay.order("BUY", "0.45", 10, "GTC"))
        assert result.legs[0].filled_micro == 0

    Replay().play(play)


def test_trades_that_cannot_be_read_are_counted() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50")])
        await executor.submit(replay.order("BUY", "0.40", 20, "GTC"))
        await replay.trade("HOLD", "0.40", "5")
        await replay.trade("SELL", "0.40", "0.0000001")
        assert replay.market.off_grid == 2
        assert replay.filled == 0

    Replay().play(play)


def test_asking_for_the_fills_of_an_order_does_not_read_those_of_all_others() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        await replay.book([("0.40", "100")], [("0.45", "50000")])
        venue = ReplayedVenue(
            replay.market,
            address=executor.address,
            credentials=replay.exchange.credentials(_KEY),
            clock=replay.clock,
        )
        asked: list[int] = []

        async def ask(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            answer = await InProcessVenue.ask(venue, method, path, *args, **kwargs)
            asked.append(answer["count"] if path == "/data/trades" else 0)
            return answer

        venue.ask = ask  # type: ignore[method-assign]
        for _ in range(120):  # more than a page
            result = await executor.submit(replay.order("BUY", "0.45", 5, "GTC"))
        (fill,) = await venue.fetch_fills(result.legs[0].order_id)
        assert fill.size_micro == 5 * M
        assert asked == [0, 1]
        assert await venue.fetch_fills(px.OrderId("0x" + "00" * 32)) == ()

    Replay().play(play)


def test_news_of_one_market_do_not_lay_the_books_of_all_others() -> None:
    async def play(replay: Replay, executor: px.Executor) -> None:
        laid: list[str] = []
        show = replay.market.show
        replay.market.show = lambda token: (laid.append(token), show(token))  # type: ignore[method-assign,assign,return-value]
        tokens = [leg.token_id for leg in replay.form.legs]
        for token in tokens:
            replay.token = token
            await replay.book([("0.40", "100")], [("0.45", "50")])
            await executor.submit(replay.order("BUY", "0.45", 40, "GTC"))
        assert len(replay.market.our_slots()) == len(tokens) == len({*tokens}) > 1
        laid.clear()
        await replay.book([("0.40", "100")], [("0.45", "60")])
        assert laid == tokens[-1:]
        assert replay.exchange.snapshot(tokens[-1])["asks"][-1]["size"] == "20"
        replay.market.take(Stamped(received_ns=replay.clock.now_us * 1000, kind="gap"))
        replay.market.follow()
        assert laid[1:] == tokens
        assert not replay.market.is_ours
        assert replay.market.our_slots() == []

    Replay().play(play)
