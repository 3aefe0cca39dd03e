"""A simulated session: the production pipeline and ledger against a venue that loses answers.

Everything but the socket is the real thing: the executor's own pipeline signs and encodes, the
paper exchange authenticates, verifies and matches. Between them sits :class:`FaultyVenue`.
"""

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal

import orjson

import polyexec as px
from polyexec.clob import wire
from polyexec.clob.venue import own_fills
from polyexec.core.auth import L2Signer
from polyexec.core.ports import AnswerCallback
from polyexec.paper import PaperExchange, Request

FAULTS = (
    "never_sent",
    "lost_before",
    "lost_after",
    "http_500",
    "http_502_html",
    "restarting",
    "rate_limited",
    "garbage",
    "shuffled",
    "truncated",
    "other_id",
    "no_amounts",
)
_FAULT_RATE = 0.7
_PRICES = [("0.30", "0.32"), ("0.48", "0.52"), ("0.61", "0.66")]


class SteppedClock:
    """Time that only moves when told."""

    def __init__(self) -> None:
        self.now_ms = 1_790_000_000_000

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic_ns(self) -> int:
        return self.now_ms * 1_000_000


class FaultyVenue:
    """The exchange without its wire, and with every way in which a wire fails."""

    def __init__(
        self,
        exchange: PaperExchange,
        *,
        address: str,
        credentials: px.ApiCredentials,
        clock: SteppedClock,
        rng: random.Random,
    ) -> None:
        self._exchange = exchange
        self._auth = L2Signer(address, credentials)
        self._clock = clock
        self._rng = rng
        self.faults = 0
        self.is_faulty = True

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Nothing to close."""

    def post_orders(self, batch: px.OrderBatch, on_outcome: AnswerCallback) -> None:
        fault = "none"
        if self.is_faulty and self._rng.random() < _FAULT_RATE:
            fault = self._rng.choice(FAULTS)
            self.faults += 1
        on_outcome(self._outcome(fault, batch))

    def _outcome(self, fault: str, batch: px.OrderBatch) -> px.Answer | px.NoAnswer:
        if fault == "never_sent":
            return px.NoAnswer(error=px.NotSentError("no connection"))
        if fault == "lost_before":
            return px.NoAnswer(error=px.OutcomeUnknownError("reset"))
        if fault == "restarting":
            return px.Answer(status=425, body=b'{"error":"Too Early"}')
        if fault == "rate_limited":
            return px.Answer(status=429, body=b'{"error":"slow down"}')
        headers = {name.lower(): value for name, value in batch.headers.items()}
        answer = self._exchange.handle(
            Request("POST", batch.path, headers=headers, body=batch.body)
        )
        if fault == "lost_after":
            return px.NoAnswer(error=px.OutcomeUnknownError("time-out"))
        if fault == "http_500":
            return px.Answer(status=500, body=b'{"error":"could not insert order"}')
        if fault == "http_502_html":
            return px.Answer(status=502, body=b"<html><title>Bad gateway</title></html>")
        if fault == "garbage":
            return px.Answer(status=200, body=answer.body[: len(answer.body) // 2])
        return px.Answer(status=answer.status, body=self._bend(fault, answer.body))

    def _bend(self, fault: str, body: bytes) -> bytes:
        legs = orjson.loads(body)
        if not isinstance(legs, list):
            return body
        if fault == "shuffled":
            self._rng.shuffle(legs)
        elif fault == "truncated":
            legs = legs[:-1]
        elif fault == "other_id":
            legs[0]["orderID"] = "0x" + "ab" * 32
        elif fault == "no_amounts":
            legs[-1].update(makingAmount="", takingAmount="")
        return orjson.dumps(legs)

    def _get(self, path: str, **query: str) -> object:
        headers = self._auth.headers(self._clock.time_ms() // 1000, "GET", path)
        answer = self._exchange.handle(
            Request(
                "GET",
                path,
                query=query,
                headers={name.lower(): value for name, value in headers.items()},
            )
        )
        if answer.status == 404:
            return None
        return wire.parse_body(answer.status, answer.body, {})

    async def fetch_market(self, token_id: px.TokenId) -> px.Market:
        market = self._exchange.market(token_id)
        return wire.parse_market(self._get(f"/clob-markets/{market.condition_id}"), token_id)

    async def fetch_order(self, order_id: px.OrderId) -> px.OrderStatus | None:
        value = self._get(f"/data/order/{order_id}")
        return None if value is None else wire.parse_order(value)

    async def fetch_fills(self, order_id: px.OrderId) -> tuple[px.Fill, ...]:
        fills: list[px.Fill] = []
        cursor = "MA=="
        while cursor:
            page = wire.parse_trade_page(self._get("/data/trades", next_cursor=cursor))
            fills += page.items
            cursor = page.next_cursor or ""
        return own_fills(order_id, fills)

    async def fetch_balance(self) -> px.BalanceSnapshot:
        return self._balance(asset_type="COLLATERAL")

    async def fetch_position(self, token_id: px.TokenId) -> px.BalanceSnapshot:
        return self._balance(asset_type="CONDITIONAL", token_id=token_id)

    def _balance(self, **query: str) -> px.BalanceSnapshot:
        value = self._get("/balance-allowance", signature_type="0", **query)
        return px.BalanceSnapshot(
            balance_micro=wire.parse_balance(value).balance_micro, as_of_ms=self._clock.time_ms()
        )

    async def cancel_orders(self, order_ids: Sequence[px.OrderId]) -> tuple[px.OrderId, ...]:
        raise NotImplementedError("the sessions cancel everything at once")

    async def cancel_all(self) -> tuple[px.OrderId, ...]:
        headers = self._auth.headers(self._clock.time_ms() // 1000, "DELETE", "/cancel-all")
        answer = self._exchange.handle(
            Request("DELETE", "/cancel-all", headers={k.lower(): v for k, v in headers.items()})
        )
        return wire.parse_cancel(orjson.loads(answer.body)).canceled


class World:
    """One exchange and many sessions, each with an account of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = SteppedClock()
        self.exchange = PaperExchange(clock=self.clock.time_ms)
        self.tokens: list[px.TokenId] = []
        for number in range(3):
            market = self.exchange.add_market(
                f"soak-{number}", tick_size="0.01", fee_rate="0.07", neg_risk=number == 2
            )
            self.tokens += [px.TokenId(token) for token in market.token_ids]
        self.faults = 0
        self.violations: list[str] = []

    def _seed_books(self) -> None:
        for number, (bid, ask) in enumerate(_PRICES):
            size = self.rng.choice([8, 20, 60])
            deep = Decimal(ask) + Decimal("0.02")
            self.exchange.set_book(
                self.tokens[2 * number], bids=[(bid, size)], asks=[(ask, size), (deep, 100)]
            )

    async def run_session(self, number: int) -> None:
        key = self.rng.randbytes(32).hex()
        config = px.ExecutorConfig(
            private_key=key,
            trading_enabled=True,
            opportunity_timeout_ms=0,
            follow_interval_s=86_400,
        )
        credentials = self.exchange.credentials(key)
        config = config.replace(
            api_key=credentials.api_key,
            api_secret=credentials.secret,
            api_passphrase=credentials.passphrase,
        )
        address = px.OrderSigner(key).address
        self.exchange.deposit(address, self.rng.choice(["20", "60", "500"]))
        venue = FaultyVenue(
            self.exchange,
            address=address,
            credentials=credentials,
            clock=self.clock,
            rng=self.rng,
        )
        async with px.Executor(config, venue, clock=self.clock) as executor:
            sent: list[px.LegResult] = []
            for _ in range(self.rng.randint(2, 6)):
                self.clock.now_ms += self.rng.randint(1, 3_000)
                self._seed_books()
                result = await executor.submit(self._signal())
                sent += result.legs
                self._check_step(number, executor, address, result)
                if self.rng.random() < 0.2:
                    await executor.reconcile()
            venue.is_faulty = False
            await self._check_end(number, executor, address, sent)
        self.faults += venue.faults

    def _signal(self) -> px.LegsSignal:
        legs = []
        for number in sorted(self.rng.sample(range(3), self.rng.randint(1, 3))):
            kind = self.rng.choice(["GTC", "GTC", "FOK", "FAK"])
            low, high = _PRICES[number]
            price = self.rng.choice([high, high, low, "0.50"])
            legs.append(
                px.Leg(
                    self.tokens[2 * number],
                    "BUY",
                    price,
                    self.rng.choice([5, 10, 17, 25]),
                    kind,
                    neg_risk=number == 2,
                    tick_size="0.01",
                    fee_rate="0.07",
                )
            )
        return px.LegsSignal(legs)

    def _check_step(
        self, number: int, executor: px.Executor, address: str, result: px.TradeResult
    ) -> None:
        executor.ledger.check()
        active = self.exchange.engine.ledger.active(address.lower())
        if executor.ledger.held() < active:
            held = executor.ledger.held()
            self.violations.append(f"session {number}: held {held} under {active} that can trade")
        for leg in result.failed_orders:
            order = self.exchange.engine.orders.get(leg.order_id)
            if order is not None and (leg.order_id in self.exchange.engine.live):
                self.violations.append(f"session {number}: {leg.state} order lives: {order}")

    async def _check_end(
        self, number: int, executor: px.Executor, address: str, sent: list[px.LegResult]
    ) -> None:
        await executor.cancel_all()
        report = await executor.reconcile()
        known = self.exchange.engine.orders
        if abs(report.difference_micro) > self._rounded(address) or report.position_differences:
            self.violations.append(f"session {number}: books differ, {report}")
        for order_id in report.unknown_orders:
            if order_id in known:
                self.violations.append(f"session {number}: {order_id} could have been resolved")
        if not report.unknown_orders and report.held_micro:
            self.violations.append(f"session {number}: {report.held_micro} held for nothing")
        mine = [o for o in known.values() if o.account == address.lower()]
        if {o.order_id for o in mine} - {leg.order_id for leg in sent}:
            self.violations.append(f"session {number}: orders at the exchange that nobody sent")
        self.exchange.audit()

    def _rounded(self, address: str) -> int:
        """Return how many fills of an account were finer than a cent's worth of shares.

        Shares of more than two decimals cost fractions of a micro-dollar. Which side bears one
        depends on the book, and neither trades nor orders tell: an order whose answer was lost
        is known to within one micro-dollar for each such fill, until the next balance.
        """
        return sum(
            1
            for trade in self.exchange.engine.trades.values()
            for fill in trade.makers
            if fill.shares_micro % 10_000
            and address.lower() in (trade.taker.account, fill.order.account)
        )


async def run_sessions(sessions: int, seed: int) -> World:
    """Run so many sessions; the same seed gives the same sessions."""
    world = World(seed)
    for number in range(sessions):
        await world.run_session(number)
    return world


def run(sessions: int, seed: int) -> World:
    """Run so many sessions and return what happened."""
    return asyncio.run(run_sessions(sessions, seed))
