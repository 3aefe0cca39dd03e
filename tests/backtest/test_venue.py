"""The simulated exchange: the wire's fills are the replay's, and both are the recording's."""

import asyncio
import gzip
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

import polyexec as px
from polyexec.backtest.loop import VirtualClock, run_virtual
from polyexec.backtest.venue import InProcessVenue
from polyexec.enums import Side
from polyexec.paper import PaperExchange, Request
from polyexec.paper.conditions import Conditions
from polyexec.paper.http import Held
from polyexec.paper.latency import LatencyModel

from ..unit.paper.support import Clock, Trader

M = 1_000_000
Send = Callable[[str, dict[str, str], bytes], Awaitable[tuple[int, bytes]]]


# --- the wire and the process -----------------------------------------------------------------


class World:
    """A seeded sequence of recorded books, recorded trades and signed orders of every kind."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = Clock()
        conditions = Conditions(
            queue="pro_rata", reject_rate="0.05", delay_ms=1, maker_rebate="0.2", seed=seed
        )
        self.exchange = PaperExchange(clock=self.clock, conditions=conditions)
        self.exchange._exchange.accounts._seed = b"the same keys in both worlds"
        self.market = self.exchange.add_market("m", fee_rate="0.07", min_order_size=1)
        self.shown: dict[str, list[list[tuple[int, int]]]] = {}
        self.books = self.exchange.recorded_books(self._lay)
        self.traders = [Trader(self.exchange, key) for key in (1, 2)]
        for trader in self.traders:
            self.exchange.deposit(trader.address, 2000)
            for token in self.market.token_ids:
                self.exchange.set_position(trader.address, token, 400)
        self.recorded: list[list[tuple[int, int]]] = [[], []]
        self.answers: list[tuple[int, Any]] = []

    def _lay(self, token: str) -> None:
        self.books[self.market].show(0, *self.recorded)

    def _move(self) -> None:
        middle = self.rng.randint(20, 80)
        sides = [range(middle - 5, middle), range(middle + 1, middle + 6)]
        self.recorded = [
            [(100 * cents, self.rng.randint(1, 60) * M) for cents in side] for side in sides
        ]
        for market in self.books.ours():
            self.books[market].show(0, *self.recorded)

    async def play(self, send: Send) -> None:
        for _ in range(150):
            self.clock.now_ms += self.rng.choice((1, 60, 300))
            match self.rng.choice(("move", "trade", "order", "order", "batch")):
                case "move":
                    self._move()
                case "trade":
                    price, shares = self.rng.randint(15, 85) * 100, self.rng.randint(1, 40) * M
                    side, token = self.rng.choice(list(Side)), self.rng.randrange(2)
                    self.books[self.market].trade(token, side, price, shares)
                case "order":
                    await self._send(send, "/order", self._entry(trader := self._trader()), trader)
                case "batch":
                    trader = self._trader()
                    entries = [self._entry(trader) for _ in range(self.rng.randint(2, 5))]
                    await self._send(send, "/orders", entries, trader)

    def _trader(self) -> Trader:
        return self.rng.choice(self.traders)

    def _entry(self, trader: Trader) -> dict[str, Any]:
        side, kind = self.rng.choice(("BUY", "SELL")), self.rng.choice(("GTC", "FOK", "FAK", "GTD"))
        token, cents = self.rng.choice(self.market.token_ids), self.rng.randint(15, 85)
        changes = {}
        if kind == "GTD":
            changes["expiration"] = str(self.clock.now_ms // 1000 + 200)
        size = str(self.rng.randint(1, 40))
        return trader.limit(token, side, f"{cents / 100:.2f}", size, kind, **changes)

    async def _send(self, send: Send, path: str, value: Any, trader: Trader) -> None:
        body = json.dumps(value, separators=(",", ":")).encode()
        status, answer = await send(path, trader.headers("POST", path, body), body)
        self.answers.append((status, orjson.loads(answer)))

    def outcome(self) -> dict[str, Any]:
        engine = self.exchange.engine
        self.exchange.audit()
        return {
            "answers": self.answers,
            "trades": [
                (t.trade_id, t.price_e4, t.shares_micro, t.cash_micro, t.fee_micro, t.rebate_micro,
                 [(f.order.account, f.shares_micro, f.cash_micro) for f in t.makers])
                for t in engine.trades.values()
                if t.taker.account != "house"
            ],
            "balances": {k: v for k, v in engine.ledger._balances.items() if v},
            "orders": [(o.order_id, o.status, o.filled_micro) for o in engine.orders.values()
                       if o.account != "house"],
            "bounds": [*self.books.fill_bounds()],
        }  # fmt: skip


def in_process(seed: int) -> dict[str, Any]:
    world = World(seed)

    async def send(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        answer = world.exchange.begin(Request("POST", path, headers=headers, body=body))
        answer = answer.finish() if isinstance(answer, Held) else answer
        return answer.status, answer.body

    asyncio.run(world.play(send))
    return world.outcome()


def over_the_wire(seed: int) -> dict[str, Any]:
    world = World(seed)

    async def main() -> None:
        async with (
            world.exchange as exchange,
            httpx.AsyncClient(
                http2=True, verify=exchange.ssl_context, base_url=exchange.url, trust_env=False
            ) as http,
        ):

            async def send(path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
                answer = await http.post(path, headers=headers, content=body)
                assert answer.http_version == "HTTP/2"
                return answer.status_code, answer.content

            await world.play(send)

    asyncio.run(main())
    return world.outcome()


@pytest.mark.parametrize("seed", range(4))
def test_the_wire_and_the_process_fill_alike(seed: int) -> None:
    here, there = in_process(seed), over_the_wire(seed)
    assert here == there
    assert len(here["trades"]) > 20
    assert any(bounds.filled_micro for bounds in here["bounds"])
    assert in_process(seed) == here  # and again


# --- latency ------------------------------------------------------------------------------------


def test_orders_meet_the_book_of_their_arrival_to_the_microsecond() -> None:
    clock = VirtualClock()
    conditions = Conditions(latency=LatencyModel.constant(10.5, 7.25), delay_ms=250)
    exchange = PaperExchange(clock=clock.time_ms, conditions=conditions)
    market = exchange.add_market("m", tick_size="0.01")
    key = "0x" + "11" * 32
    credentials = exchange.credentials(key)
    config = px.ExecutorConfig(
        private_key=key,
        trading_enabled=True,
        opportunity_timeout_ms=0,
        api_key=credentials.api_key,
        api_secret=credentials.secret,
        api_passphrase=credentials.passphrase,
    )
    address = px.OrderSigner(key).address
    exchange.deposit(address, 100)
    exchange.seed_book(market.yes, asks=[("0.50", 100)])

    async def main() -> tuple[int, px.TradeResult]:
        venue = InProcessVenue(exchange, address=address, credentials=credentials, clock=clock)
        loop = asyncio.get_running_loop()
        async with px.Executor(config, venue, clock=clock) as executor:
            sent_us = clock.now_us
            leg = px.Leg(market.yes, "BUY", "0.50", 10, "GTC", tick_size="0.01", fee_rate=0)
            submission = executor.submit(px.LegsSignal([leg]))
            move = exchange.set_book
            # Ten microseconds before it is matched the offer gets better, and worse just after it.
            loop.call_later(0.26049, lambda: move(market.yes, asks=[("0.40", 100)]))
            loop.call_later(0.26051, lambda: move(market.yes, asks=[("0.45", 100)]))
            result = await submission
            return clock.now_us - sent_us, result

    took_us, result = run_virtual(clock, main())
    assert result.legs[0].paid_micro == 4 * M
    assert took_us == 10_500 + 250_000 + 7_250


def test_a_quicker_order_does_not_overtake_the_one_before() -> None:
    clock = VirtualClock()
    latency = LatencyModel.empirical([(1, 1), (90, 1)], seed=1)
    exchange = PaperExchange(clock=clock.time_ms)
    arrived: list[int] = []

    async def main() -> None:
        venue = InProcessVenue(
            exchange,
            address="0x" + "22" * 20,
            credentials=exchange.credentials("0x" + "33" * 32),
            clock=clock,
            latency=latency,
        )
        done = asyncio.Event()

        def told(number: int, outcome: object) -> None:
            arrived.append(number)
            if len(arrived) == 30:
                done.set()

        for number in range(30):
            batch = px.OrderBatch(path="/orders", body=b"[]", headers={}, order_ids=())
            venue.post_orders(batch, lambda outcome, number=number: told(number, outcome))
        await done.wait()

    run_virtual(clock, main())
    assert arrived == [*range(30)]


# --- what was recorded ----------------------------------------------------------------------------


def recorded_books(shared_dir: Path) -> Iterator[tuple[str, list[tuple[int, int]], list]]:
    """Yield (which, bids, asks), best first, of every snapshot of the recordings."""
    captured = shared_dir / "data" / "captured"
    for path in sorted((captured / "l2").glob("*_books_*.jsonl.gz")):
        with gzip.open(path, "rt") as stream:
            for line in stream:
                book = json.loads(line)
                yield path.name, _levels(book["bids"])[::-1], _levels(book["asks"])
    rounds = captured / "rest" / "post_books_5_rounds_a_2026-07-21.json.gz"
    with gzip.open(rounds, "rt") as stream:
        for one in json.load(stream)["rounds"]:
            for book in one["books"]:
                yield book["asset_id"], _levels(book["bids"])[::-1], _levels(book["asks"])


def _levels(levels: list[dict[str, str]]) -> list[tuple[int, int]]:
    read = [(int(Decimal(one["price"]) * 10_000), int(Decimal(one["size"]) * M)) for one in levels]
    return sorted(level for level in read if level[1])


def _by_hand(levels: list[tuple[int, int]], shares: int) -> tuple[int, list[tuple[int, int]]]:
    """Return what so many shares cost at recorded prices (times 1e4), and what that takes."""
    cost, taken = 0, []
    for price, size in levels:
        part = min(size, shares)
        if part:
            cost, shares = cost + part * price, shares - part
            taken.append((price, part))
    assert not shares
    return cost, taken


def test_taker_fills_are_the_recorded_prices_and_the_book_is_the_recorded_one(
    shared_dir: Path,
) -> None:
    exchange = PaperExchange(clock=Clock())
    trader = Trader(exchange)
    markets: dict[str, Any] = {}
    rng = random.Random(7)
    books = exchange.recorded_books(lambda token: None)
    snapshots = fills = 0
    for which, bids, asks in recorded_books(shared_dir):
        if which not in markets:
            market = markets[which] = exchange.add_market(which, tick_size="0.001", fee_rate="0.07")
            exchange.set_position(trader.address, market.yes, 10**7)
        market = markets[which]
        books[market].show(0, bids, asks)
        view = exchange.snapshot(market.yes)
        shown = [_levels(view["bids"])[::-1], _levels(view["asks"])]
        gone = books[market].impact
        snapshots += 1
        assert shown == [
            [(price, left) for price, size in side if (left := size - gone.get((bid, price), 0))]
            for bid, side in ((True, bids), (False, asks))
        ]
        if rng.random() > 0.1 or gone:
            continue
        assert shown == [bids, asks]
        for side, levels in (("BUY", asks), ("SELL", bids)):
            deep = levels[: rng.randint(1, 4)]
            total = sum(size for _, size in deep) // 10_000 * 10_000
            if not total or deep[-1][0] < 500:
                continue
            shares = max(5 * M, rng.randint(1, total // 10_000) * 10_000)
            if shares > total:
                continue
            exchange.deposit(trader.address, 10**7)
            price = f"{deep[-1][0] / 10_000:.4f}"
            entry = trader.limit(market.yes, side, price, f"{shares / M:.2f}", "GTC")
            status, answer = trader.post(entry)
            assert status == 200, answer
            cost, taken = _by_hand(deep, shares)
            cash = answer["makingAmount" if side == "BUY" else "takingAmount"]
            exact = Decimal(cost) / 10_000
            rounded = exact.to_integral_value("ROUND_CEILING" if side == "BUY" else "ROUND_FLOOR")
            assert abs(Decimal(cash) * M - rounded) < len(taken)  # one rounding for each level
            trades = [exchange.engine.trades[one] for one in answer["tradeIDs"]]
            assert [(trade.price_e4, trade.shares_micro) for trade in trades] == taken
            fills += len(taken)
    exchange.audit()
    assert snapshots > 1000
    assert fills > 200
