"""The paper exchange without its wire, and with every way in which a wire and an exchange fail.

``SimulatedVenue`` outlives the executors of its session, as the real exchange does: what was sent
by a process that has died still arrives. It is also where orders are seen to leave, so the rules
about sending are checked here (:class:`~tests.simulation.checker.Checker`).
"""

import asyncio
import random
from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

import orjson

import polyexec as px
from polyexec.backtest.loop import VirtualClock
from polyexec.backtest.venue import InProcessVenue
from polyexec.core.orders import split_batch
from polyexec.core.ports import AnswerCallback, Outcome
from polyexec.paper import PaperExchange, Request
from tests.simulation.checker import Checker

_Answer = TypeVar("_Answer")
BEFORE = (  # the exchange does not see the order
    "never_sent",
    "lost_before",
    "too_early",
    "rate_limited",
    "disabled",
    "unavailable_html",
    "server_error_before",
)
AFTER = (  # it does, and the answer is lost or bent
    "lost_after",
    "late",
    "late",
    "twice",
    "outcome_twice",
    "raises",
    "server_error_after",
    "bad_gateway_html",
    "delayed",
    "delayed",
    "delayed_then_dropped",
    "empty",
    "garbage",
    "shuffled",
    "missing_leg",
    "doubled_leg",
    "other_id",
    "no_id",
    "no_amounts",
)
_LONGEST_QUEUE_MS = 40_000  # has been seen: rest.md 3
_LONGEST_LIE_MS = 20_000


def simulated_exchange(clock: VirtualClock, *, settle_at_once: bool, seed: bytes) -> PaperExchange:
    """Return a paper exchange whose API keys follow from a seed."""
    exchange = PaperExchange(
        clock=clock.time_ms,
        auth_window_s=600,  # a queue behind the check makes orders late, not unauthentic
        settle_at_once=settle_at_once,
    )
    exchange._exchange.accounts._seed = seed
    return exchange


class SimulatedVenue(InProcessVenue):
    """A venue whose faults come from a generator; ``fault_rate`` 0 makes it honest."""

    def __init__(
        self,
        exchange: PaperExchange,
        *,
        address: str,
        credentials: px.ApiCredentials,
        clock: VirtualClock,
        rng: random.Random,
        checker: Checker,
    ) -> None:
        super().__init__(exchange, address=address, credentials=credentials, clock=clock)
        self._virtual_clock = clock
        self._rng = rng
        self._checker = checker
        self._arrived: dict[str, int] = {}  # order id -> when the exchange first had its POST
        self._told: dict[str, px.OrderStatus] = {}
        self._process = 0
        self.in_flight = 0
        self.fault_rate = 0.0
        self.faults = 0

    def process_died(self) -> None:
        """Answer nothing any more to what was asked so far; what was sent arrives all the same."""
        self._process += 1

    # orders -----------------------------------------------------------------------------------

    def post_orders(self, batch: px.OrderBatch, on_outcome: AnswerCallback) -> None:
        self._checker.leaves(batch.order_ids, split_batch(batch.body))
        fault = "none"
        if self._rng.random() < self.fault_rate:
            fault = self._rng.choice(self._rng.choice((BEFORE, AFTER)))
            self.faults += 1
        self._checker.note("post", fault, *batch.order_ids)
        outcome: Outcome
        travel_ms = self._rng.choice((0, 0, 1, 30, 400))
        if fault in BEFORE:
            self._tell(on_outcome, _UNSEEN[fault], travel_ms)
        elif fault == "delayed_then_dropped":
            self._tell(on_outcome, _delayed(batch), travel_ms)
        elif fault in ("late", "delayed"):
            self._later(self._rng.randint(1, _LONGEST_QUEUE_MS), partial(self._reach, batch))
            outcome = _delayed(batch) if fault == "delayed" else _lost("time-out")
            self._tell(on_outcome, outcome, self._rng.choice((0, 5_000)))
        elif fault == "raises":
            self._reach(batch)
            raise OSError("broken pipe")
        elif travel_ms:
            self._later(travel_ms, partial(self._arrive_and_answer, batch, fault, on_outcome))
        else:
            self._arrive_and_answer(batch, fault, on_outcome)

    def _arrive_and_answer(
        self, batch: px.OrderBatch, fault: str, on_outcome: AnswerCallback
    ) -> None:
        answer = self._reach(batch)
        if fault == "twice":
            answer = self._reach(batch)
        outcome = self._bent(fault, answer)
        travel_ms = self._rng.choice((0, 1, 25, 300))
        self._tell(on_outcome, outcome, travel_ms)
        if fault == "outcome_twice":
            self._tell(on_outcome, _lost("and again"), travel_ms)

    def _reach(self, batch: px.OrderBatch) -> px.Answer:
        headers = {name.lower(): value for name, value in batch.headers.items()}
        answer = self.exchange.handle(Request("POST", batch.path, headers=headers, body=batch.body))
        for order_id in batch.order_ids:
            self._arrived.setdefault(order_id, self._virtual_clock.now_ms)
        self._checker.note("arrived", answer.status, answer.body.decode())
        return px.Answer(status=answer.status, body=answer.body)

    def _tell(self, on_outcome: AnswerCallback, outcome: Outcome, delay_ms: int) -> None:
        process = self._process

        def deliver() -> None:
            if process == self._process:
                on_outcome(outcome)

        if delay_ms:
            self._later(delay_ms, deliver)
        else:
            deliver()

    def _later(self, delay_ms: int, event: Any) -> None:
        self.in_flight += 1

        def happen() -> None:
            self.in_flight -= 1
            event()

        asyncio.get_running_loop().call_later(delay_ms / 1000, happen)

    def _bent(self, fault: str, answer: px.Answer) -> Outcome:
        body = answer.body
        legs = orjson.loads(body)
        match fault:
            case "lost_after":
                return _lost("reset")
            case "server_error_after":
                return px.Answer(status=500, body=b'{"error":"could not insert order"}')
            case "bad_gateway_html":
                return px.Answer(status=502, body=b"<html><title>Bad gateway</title></html>")
            case "empty":
                return px.Answer(status=200, body=self._rng.choice((b"", b"[]", b"null", b"{}")))
            case "garbage":
                return px.Answer(status=200, body=body[: self._rng.randrange(len(body))])
        if isinstance(legs, list):
            leg = self._rng.choice(legs)
            match fault:
                case "shuffled":
                    self._rng.shuffle(legs)
                case "missing_leg":
                    legs.remove(leg)
                case "doubled_leg":
                    legs.append(leg)
                case "other_id":
                    leg["orderID"] = "0x" + "ab" * 32
                case "no_id" if leg["orderID"]:
                    leg["orderID"] = ""
                case "no_amounts":
                    leg.update(makingAmount="", takingAmount="")
        return px.Answer(status=answer.status, body=orjson.dumps(legs))

    # questions --------------------------------------------------------------------------------

    def _fault(self, *kinds: str) -> str:
        if self._rng.random() >= self.fault_rate / 2:
            return ""
        self.faults += 1
        return self._rng.choice(kinds)

    async def _asked(self, fault: str, answer: Awaitable[_Answer]) -> _Answer:
        """Wait for an answer; with the fault ``error`` it gets lost."""
        value = await answer
        self._checker.note("asked", fault)
        if fault == "error":
            raise self._rng.choice(_READ_ERRORS)()
        return value

    async def travel(self) -> None:
        await asyncio.sleep(self._rng.choice((0, 0.001, 0.02, 0.2)))

    async def fetch_order(self, order_id: px.OrderId) -> px.OrderStatus | None:
        fault = self._fault("error", "not_found", "stale")
        status = await self._asked(fault, super().fetch_order(order_id))
        now = self._virtual_clock.now_ms
        # What lies for ever cannot be seen through; absence is only believed after two minutes.
        if fault == "not_found" and now < self._arrived.get(order_id, now) + _LONGEST_LIE_MS:
            return None
        if fault == "stale" and order_id in self._told:
            return self._told[order_id]
        if status is not None:
            self._told[order_id] = status
        return status

    async def fetch_trades(self, order_id: px.OrderId) -> list[px.Fill]:
        fault = self._fault("error", "missing", "doubled", "shuffled")
        fills = await self._asked(fault, super().fetch_trades(order_id))
        if fault == "missing":
            fills = fills[: self._rng.randint(0, len(fills))]
        elif fault == "doubled":
            fills += fills
        elif fault == "shuffled":
            self._rng.shuffle(fills)
        return fills

    async def _balance(self, **query: str) -> px.BalanceSnapshot:
        return await self._asked(self._fault("error"), super()._balance(**query))

    async def _cancel(self, path: str, body: bytes) -> tuple[px.OrderId, ...]:
        fault = self._fault("lost_before", "lost_after", "rate_limited")
        self._checker.note("cancel", fault)
        if fault in ("lost_before", "rate_limited"):
            await self.travel()
            raise _UNHEARD[fault]()
        canceled = await super()._cancel(path, body)
        if fault == "lost_after":
            raise px.OutcomeUnknownError("reset")
        return canceled


def _lost(why: str) -> px.NoAnswer:
    return px.NoAnswer(error=px.OutcomeUnknownError(why))


def _delayed(batch: px.OrderBatch) -> px.Answer:
    legs = [
        {"success": True, "errorMsg": "", "orderID": order_id, "status": "delayed"}
        for order_id in batch.order_ids
    ]
    return px.Answer(status=200, body=orjson.dumps(legs))


_UNSEEN: dict[str, Outcome] = {
    "never_sent": px.NoAnswer(error=px.NotSentError("no connection")),
    "lost_before": _lost("reset"),
    "too_early": px.Answer(status=425, body=b'{"error":"Too Early"}'),
    "rate_limited": px.Answer(status=429, body=b'{"error":"slow down"}'),
    "disabled": px.Answer(status=503, body=b'{"error":"Trading is currently disabled"}'),
    "unavailable_html": px.Answer(status=503, body=b"<html><title>Unavailable</title></html>"),
    "server_error_before": px.Answer(status=500, body=b'{"error":"internal"}'),
}
_UNHEARD = {
    "lost_before": lambda: px.OutcomeUnknownError("reset"),
    "rate_limited": lambda: px.RateLimitedError(429, "slow down"),
}
_READ_ERRORS = (
    lambda: px.NotSentError("no connection"),
    lambda: px.OutcomeUnknownError("time-out"),
    lambda: px.RateLimitedError(429, "slow down"),
    lambda: px.UnexpectedResponseError(200, "the answer is not JSON"),
    lambda: px.VenueError(500, "internal"),
)
