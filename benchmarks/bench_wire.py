"""The order connection over TLS on loopback: the POST of three orders, and the whole submit."""

import asyncio
import atexit
import functools
import time
from collections.abc import Callable
from typing import Any

import httpx

import polyexec as px
from benchmarks import bench_floor, bench_guards, bench_journal, bench_plan, inputs
from benchmarks.baselines import official, unified
from benchmarks.harness import Row
from benchmarks.peers import floor
from benchmarks.peers.worker import Remote
from benchmarks.targets import C_FLOOR, HTTPX, OFFICIAL, UNIFIED
from polyexec.clob.pool import OrderTransport
from polyexec.core.journal import account_of
from polyexec.core.pipeline import Plan
from polyexec.core.ports import NoAnswer
from polyexec.core.risk import RiskGuard
from polyexec.errors import NotSentError
from polyexec.journal.wal import open_journal

BODY = b"x" * floor.BODY_BYTES
HEADERS = dict.fromkeys(
    ("POLY_ADDRESS", "POLY_API_KEY", "POLY_PASSPHRASE", "POLY_SIGNATURE", "POLY_TIMESTAMP"),
    "0123456789abcdef0123456789abcdef0123456789",
)
OURS_H2 = "ours, framed by h2"
_now = time.perf_counter_ns


class Paced(Remote):
    """Calls of this process, one after the other is answered; ``clock`` reads what is counted."""

    def __init__(
        self,
        write: Callable[[], object],
        answer: Callable[[], object],
        *,
        whole: bool = False,
        clock: Callable[[], int] = _now,
        idle_s: float = 0.0,
    ) -> None:
        for name, value in locals().items():
            object.__setattr__(self, name, value)

    write: Callable[[], object]
    answer: Callable[[], object]
    whole: bool
    clock: Callable[[], int]
    idle_s: float

    def sample(self, calls: int) -> list[float]:
        clock, write, answer, durations = self.clock, self.write, self.answer, []
        if not self.idle_s:  # one that does not count, as in every turn and in the C program
            write()
            answer()
        for _ in range(calls):
            if self.idle_s:
                time.sleep(self.idle_s)
            start = clock()
            written = write()
            end = clock()
            answer()
            if self.whole:
                end = clock()
            durations.append(float((written if type(written) is int else end) - start))
        return durations

    def __call__(self) -> object:
        return self.sample(1)


class Ours:
    """One warm order connection, used from the loop's own thread."""

    def __init__(self, framing: Any = "fast") -> None:
        self.transport: OrderTransport | None = None
        self.framing = framing
        self.answered: asyncio.Future[Any] | None = None

    def opened(self) -> OrderTransport:
        if self.transport is None:
            self.loop = asyncio.new_event_loop()
            self.transport = OrderTransport(
                floor.url(),
                ssl_context=floor.client_context(),
                size=2,
                framing=self.framing,
                warm_interval_s=3600,
                ping_interval_s=3600,
            )
            self.loop.run_until_complete(self.transport.open())
            atexit.register(self.close)
        return self.transport

    def close(self) -> None:
        if self.transport is not None:
            self.loop.run_until_complete(self.transport.close())
        self.loop.close()

    def send(self, path: str, headers: Any, body: bytes) -> None:
        transport = self.transport or self.opened()
        self.answered = self.loop.create_future()
        transport.send("POST", path, headers, body, self.answered.set_result)

    def write(self) -> None:
        self.send("/orders", HEADERS, BODY)

    def answer(self) -> None:
        assert self.answered is not None
        outcome = self.loop.run_until_complete(self.answered)
        assert not isinstance(outcome, NoAnswer), outcome


class TracedClient(httpx.Client):
    """An httpx client over HTTP/2 whose trace tells when the last byte of a body was written."""

    def __init__(self) -> None:
        super().__init__(http2=True, verify=floor.client_context(), base_url=floor.url())
        self.written = 0
        atexit.register(self.close)

    def send(self, request: httpx.Request, **arguments: Any) -> httpx.Response:
        request.extensions["trace"] = self._trace
        return super().send(request, **arguments)

    def _trace(self, event: str, _info: object) -> None:
        if event == "http2.send_request_body.complete":
            self.written = _now()


class Theirs:
    """A client that writes and waits in one call; ``make`` is what is done with an httpx client."""

    def __init__(self, make: Callable[[TracedClient], Callable[[], object]]) -> None:
        self.make = make
        self.http: TracedClient | None = None
        self.call: Callable[[], object] = _nothing

    def write(self) -> int:
        if self.http is None:
            self.http = TracedClient()
            self.call = self.make(self.http)
        self.call()
        return self.http.written


def _plain_post(http: TracedClient) -> Callable[[], object]:
    def call() -> None:
        response = http.post("/orders", headers=HEADERS, content=BODY)
        assert response.status_code == 200

    return call


def _nothing() -> None:
    pass


class Submit:
    """A signal through gate, limits, ledger and journal to the kernel; its answer is not timed."""

    def __init__(self, signer: px.OrderSigner) -> None:
        self.wire = Ours()
        self.maker = bench_plan.pipeline(signer)
        self.maker._risk = RiskGuard(bench_guards.LIMITS)
        self.signal = bench_plan.signal(px.SystemClock().time_ms())
        self.signer = signer
        self.plan: Plan | None = None

    def write(self) -> None:
        maker = self.maker
        if maker._journal is None:
            journal = open_journal(bench_journal.new_folder(), account_of(self.signer), mode="os")
            atexit.register(journal.close)
            maker._journal = journal
        plan = maker.prepare(self.signal)
        if not isinstance(plan, Plan):
            raise SystemExit(f"skipped: {plan.skipped} {plan.detail}")
        batch = plan.batch
        self.wire.send(batch.path, batch.headers, batch.body)
        self.plan = plan

    def answer(self) -> None:
        self.wire.answer()
        assert self.plan is not None
        # The server does not trade: the money is free again.
        error = NotSentError("a benchmark")
        self.maker.finish(self.plan, NoAnswer(error=error), written_ns=_now())


def rows() -> list[Row]:
    if floor.build():
        return []
    ours, by_h2, theirs = Ours(), Ours("h2"), Theirs(_plain_post)
    cpu = time.process_time_ns
    return [
        Row(
            "wire_write",
            "POST of three orders, from the call to the last byte with the kernel, answered before "
            "the next",
            Paced(ours.write, ours.answer),
            {
                C_FLOOR: floor.ask("write"),
                OURS_H2: Paced(by_h2.write, by_h2.answer),
                HTTPX: Paced(theirs.write, _nothing),
            },
        ),
        Row(
            "wire_round_trip",
            "the same until the answer is with the caller",
            Paced(ours.write, ours.answer, whole=True),
            {
                C_FLOOR: floor.ask("round_trip"),
                OURS_H2: Paced(by_h2.write, by_h2.answer, whole=True),
                HTTPX: Paced(lambda: theirs.write() and None, _nothing, whole=True),
            },
        ),
        Row(
            "wire_cpu",
            "CPU time of the process for the same",
            Paced(ours.write, ours.answer, whole=True, clock=cpu),
            {
                C_FLOOR: floor.ask("cpu"),
                HTTPX: Paced(lambda: theirs.write() and None, _nothing, whole=True, clock=cpu),
            },
        ),
        *_submits(),
    ]


def _submits() -> list[Row]:
    prepared = px.OrderSigner(inputs.PRIVATE_KEY, presign=bench_plan.PREPARED_NONCES)
    found = []
    for name, signer, below in (
        ("submit_deterministic", inputs.signer(), bench_floor.THREE),
        ("submit_prepared", prepared, bench_floor.ONE),
    ):
        ours = Submit(signer)
        cold = Submit(signer)
        clients = {
            OFFICIAL: Theirs(lambda http: official.posting(floor.url(), http)),
            UNIFIED: Theirs(unified.posting),
        }
        found += [
            Row(
                name,
                "signal to the last byte with the kernel: checks, limits, ledger, journal (os), "
                "signing, HMAC, TLS. The others, with coincurve, create three orders and post them",
                Paced(ours.write, ours.answer),
                {label: Paced(client.write, _nothing) for label, client in clients.items()},
                floor=below,
                before=functools.partial(bench_plan.wait_for_nonces, signer),
            ),
            Row(
                f"{name}_idle_5ms",
                "the same after 5 ms of sleep, when caches are cold",
                Paced(cold.write, cold.answer, idle_s=0.005),
                before=functools.partial(bench_plan.wait_for_nonces, signer),
            ),
        ]
    return found
