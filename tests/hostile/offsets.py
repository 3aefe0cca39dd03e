"""A POST of three orders, its connection cut, reset or held up behind every byte:
``python -m tests.hostile.offsets``, as ``make faults`` runs it.

The executor is the real one, the exchange the embedded one; between them is :mod:`.proxy`. What
the executor says of each leg is compared with what the exchange has, twice: when ``submit``
returns, and when nothing is unknown any more.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import pytest
import uvloop

import polyexec as px
from polyexec.clob import pool, venue
from polyexec.core.resolution import ResolutionPolicy
from polyexec.paper import PaperExchange
from tests.hostile import handshakes
from tests.hostile.proxy import Fault, Plan, Proxy, Way
from tests.quiet import quiet
from tests.unit.core.support import FakeClock

KEY = "0x" + "29" * 32
DEADLINE_S = 0.05
"""Of the lane whose bytes come too late; elsewhere nothing waits for it."""
WATCHDOG_S = 20.0
BATCH = 150
SHOWN = 10


class Lane(NamedTuple):
    """What is done at every offset, and how the executor resolves what is unknown."""

    name: str
    fault: Fault
    resends: bool
    late: bool = False


CUT = Lane("cut", Fault.CUT, resends=False)
RESET = Lane("reset", Fault.RESET, resends=False)
DELAY = Lane("delay", Fault.DELAY, resends=False)
LATE = Lane("late", Fault.DELAY, resends=True, late=True)
RESENT = Lane("cut, sent again", Fault.CUT, resends=True)
LANES = {lane.name: lane for lane in (CUT, RESET, DELAY, LATE, RESENT)}


class Counts(NamedTuple):
    """Sums, and what was wrong in words."""

    cases: int = 0
    wrong: int = 0
    duplicates: int = 0
    verdicts: tuple[tuple[str, int], ...] = ()
    reports: tuple[str, ...] = ()

    def plus(self, other: "Counts") -> "Counts":
        verdicts = dict(self.verdicts)
        for name, count in other.verdicts:
            verdicts[name] = verdicts.get(name, 0) + count
        return Counts(
            self.cases + other.cases,
            self.wrong + other.wrong,
            self.duplicates + other.duplicates,
            tuple(sorted(verdicts.items())),
            self.reports + other.reports,
        )


class Desk:
    """An exchange, an executor, and the wire between them."""

    def __init__(
        self, exchange: PaperExchange, executor: px.Executor, proxy: Proxy, clock: FakeClock
    ) -> None:
        self.exchange = exchange
        self.executor = executor
        self.proxy = proxy
        self.clock = clock
        self.tokens = [exchange.add_market(f"market-{n}", fee_rate="0").yes for n in range(3)]
        for token in self.tokens:
            exchange.seed_book(token, asks=[("0.45", 100_000_000)])

    def signal(self) -> px.LegsSignal:
        legs = [px.Leg(t, "BUY", "0.45", 10, tick_size="0.01", fee_rate="0") for t in self.tokens]
        return px.LegsSignal(legs)

    def has(self, order_id: str) -> bool:
        return order_id in self.exchange.engine.orders

    async def connected(self) -> None:
        """Wait for a warm connection with nothing on it."""
        transport = self.executor.venue.transport  # type: ignore[attr-defined]
        while not transport.connected or any(  # noqa: ASYNC110
            connection.in_flight for connection in transport._usable
        ):
            await asyncio.sleep(0.0005)

    async def allowed(self) -> None:
        """Wait until the rate limit lets a signal pass."""
        while wait_ms := self.executor.venue.orders_wait_ms(3):  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(wait_ms / 1000)

    async def resolve(self) -> None:
        """Let time pass until no order is unknown."""
        follower, tracker = self.executor._follower, self.executor._tracker
        assert follower is not None
        while unknown := tracker.unknown_orders:
            # To the next question, no further: a question takes its time as well.
            due_ms = min(order.unknown.due_ms for order in unknown if order.unknown is not None)
            if due_ms > self.clock.ms:
                self.clock.advance(due_ms - self.clock.ms)
                follower.wake()
            await asyncio.sleep(0.0005)


@contextlib.asynccontextmanager
async def eager() -> AsyncIterator[None]:
    """Connect again at once: the pause after short lives is not what is tried here."""
    with quiet(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_SHORT_LIFE_S", 0.0)
        # One connection that says nothing of its own: what it says next is the POST.
        alone = {"size": 1, "ping_interval_s": 3600}
        patch.setattr(venue, "OrderTransport", lambda *a, **k: pool.OrderTransport(*a, **k | alone))
        yield


@contextlib.asynccontextmanager
async def open_desk(lane: Lane, **settings: Any) -> AsyncIterator[Desk]:
    clock = FakeClock()
    async with eager(), PaperExchange(clock=clock.time_ms) as exchange:
        credentials = exchange.credentials(KEY)
        async with Proxy(int(exchange.url.rpartition(":")[2])) as proxy:
            given: dict[str, Any] = {
                "private_key": KEY,
                "api_key": credentials.api_key,
                "api_secret": credentials.secret,
                "api_passphrase": credentials.passphrase,
                "clob_url": proxy.url,
                "ssl_context": exchange.ssl_context,
                "trading_enabled": True,
                "opportunity_timeout_ms": 0,
                "follow_interval_s": 86_400,
                "warm_interval_s": 86_400,
                "post_timeout_s": DEADLINE_S if lane.late else WATCHDOG_S,
            }
            executor = px.Executor(px.ExecutorConfig(**given | settings), clock=clock)
            # One answer is enough, as this exchange has no queue where an order could wait.
            executor._tracker._resolution = ResolutionPolicy(
                least_answers=1,
                absent_after_ms=100_000 if lane.resends else 1,
                resend_after_ms=1 if lane.resends else None,
            )
            exchange.deposit(executor.address, 100_000_000)
            desk = Desk(exchange, executor, proxy, clock)
            async with executor:
                yield desk


async def measure() -> dict[Way, int]:
    """Return the lengths of one exchange on the wire, in bytes, records of TLS included."""
    async with open_desk(CUT) as desk:
        longest = dict.fromkeys(Way, 0)
        for _ in range(5):  # the numbers in a body vary in length
            await desk.connected()
            plan = desk.proxy.plan = Plan(Way.REQUEST, 0, None)
            await desk.executor.submit(desk.signal())
            desk.proxy.plan = None
            longest = {way: max(longest[way], plan.passed[way]) for way in Way}
        return longest


async def strike(desk: Desk, lane: Lane, way: Way, offset: int) -> tuple[str, list[str]]:
    """Run one case; return the verdict in words, and what is wrong with it."""
    wrong: list[str] = []
    await desk.connected()
    await desk.allowed()
    before = len(desk.exchange.engine.orders)
    plan = desk.proxy.plan = Plan(way, offset, lane.fault)
    submission = asyncio.ensure_future(desk.executor.submit(desk.signal()))
    if lane.fault is Fault.DELAY and not lane.late:
        striking = asyncio.ensure_future(plan.struck.wait())
        await asyncio.wait({striking, submission}, return_when=asyncio.FIRST_COMPLETED)
        striking.cancel()
        plan.release()
    result = await submission
    desk.proxy.plan = None
    states = [leg.state for leg in result.legs]
    ids = [leg.order_id for leg in result.legs]
    if len(states) != 3:
        wrong.append(f"skipped: {result.skipped} {result.detail}")
    for leg in result.legs:
        exists = desk.has(leg.order_id)
        if leg.state.is_accepted and not exists:
            wrong.append(f"{leg.state}, and the exchange does not have it")
        elif leg.state not in {px.LegState.UNKNOWN, px.LegState.NOT_SENT, px.LegState.MATCHED}:
            wrong.append(f"{leg.state}, which nobody said")
        elif leg.state is not px.LegState.MATCHED and lane is DELAY:
            wrong.append(f"{leg.state}, and all that happened was a pause")
    await desk.connected()  # a resend that finds no connection is not tried again
    await desk.resolve()
    plan.release()  # what was held up comes now, when its order was sent again
    if lane.late:
        await desk.connected()
    held = desk.executor.ledger.held()
    if held:
        wrong.append(f"{held} micro-dollars held for orders that are final")
    there = [desk.has(order_id) for order_id in ids]
    bought = [desk.executor.ledger.balance(token) for token in desk.tokens]
    theirs = [
        int(desk.exchange.position(desk.executor.address, token) * 1_000_000)
        for token in desk.tokens
    ]
    if bought != theirs:
        wrong.append(f"books differ: {bought} here, {theirs} there")
    for state, exists in zip(states, there, strict=True):
        if state is px.LegState.NOT_SENT and exists:
            wrong.append("NOT_SENT, and the exchange has it")
        if lane.resends and not exists and state is px.LegState.UNKNOWN:
            wrong.append("sent again, and the exchange does not have it")
    made = len(desk.exchange.engine.orders) - before
    if made != sum(there):
        wrong.append(f"duplicates: {made} orders of {sum(there)}")
    words = "+".join(sorted({str(state) for state in states}))
    return f"{lane.name} {way}: {words}{', exists' if any(there) else ''}", wrong


async def _sweep(lane: Lane, way: Way, offsets: Iterable[int]) -> Counts:
    counts = Counts()
    async with open_desk(lane) as desk:
        for offset in offsets:
            async with asyncio.timeout(WATCHDOG_S):
                verdict, wrong = await strike(desk, lane, way, offset)
            reports = tuple(f"{lane.name}, {way} byte {offset}: {text}" for text in wrong)
            duplicates = sum("duplicates" in text for text in wrong)
            counts = counts.plus(
                Counts(1, bool(wrong), duplicates, ((verdict, 1),), reports[:SHOWN])
            )
        report = await desk.executor.reconcile()
        if not report.is_exact:
            counts = counts.plus(Counts(wrong=1, reports=(f"the books do not agree: {report}",)))
        desk.exchange.audit()
    return counts


def sweep(job: tuple[Lane, Way, tuple[int, ...]]) -> Counts:
    """Run some offsets of a lane, with an exchange and an executor of their own."""
    return uvloop.run(_sweep(*job))


def jobs(
    lengths: dict[Way, int], lanes: Iterable[Lane], stride: int, late_stride: int
) -> Iterator[tuple[Lane, Way, tuple[int, ...]]]:
    """Return what is to be done, in pieces for one process each."""
    for lane, way in itertools.product(lanes, Way):
        step = late_stride if lane.resends else stride
        offsets = list(range(0, lengths[way] + 1, step))
        for start in range(0, len(offsets), BATCH):
            yield lane, way, tuple(offsets[start : start + BATCH])


async def _handshakes(stride: int) -> Counts:
    counts = Counts()
    lengths = await handshakes.measure()
    for fault, way in itertools.product(Fault, Way):
        cases, wrong = await handshakes.sweep(fault, way, range(0, lengths[way] + 1, stride))
        verdicts = ((f"handshake, {fault} {way}", cases),)
        counts = counts.plus(Counts(cases, len(wrong), 0, verdicts, tuple(wrong)))
    return counts


def main() -> int:
    """Run, and print the counts last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, default=1, help="every so many bytes")
    parser.add_argument(
        "--late-stride", type=int, default=8, help="the same where a case waits for a deadline"
    )
    parser.add_argument("--only", choices=LANES, help="one kind of fault")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    lanes = [LANES[options.only]] if options.only else list(LANES.values())
    lengths = uvloop.run(measure())
    print(*(f"{way}: {length} bytes" for way, length in lengths.items()), sep=", ", flush=True)
    total = Counts() if options.only else uvloop.run(_handshakes(options.stride))
    for report in total.reports[:SHOWN]:
        print(report, flush=True)
    work = list(jobs(lengths, lanes, options.stride, options.late_stride))
    with ProcessPoolExecutor(options.processes) as processes:
        for counts in processes.map(sweep, work):
            for report in counts.reports[: max(0, SHOWN - len(total.reports))]:
                print(report, flush=True)
            total = total.plus(counts)
    for name, count in total.verdicts:
        print(f"{name}: {count}")
    print(f"cases={total.cases} wrong={total.wrong} duplicates={total.duplicates}")
    return int(total.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
