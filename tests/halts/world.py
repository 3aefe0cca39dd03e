"""One exchange, one account, threads that submit without a pause, and halts at any moment.

After a halt has answered, a request is sent on the one order connection, which keeps its order: a
POST of orders that the exchange reads behind that fence began after the halt.
"""

import asyncio
import contextlib
import faulthandler
import json
import os
import random
import signal as signal_module
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polyexec as px
from polyexec.clob.venue import ClobVenue
from polyexec.commands import request_of
from polyexec.control import Account
from polyexec.control_socket import ask
from polyexec.controlling import open_control
from polyexec.core.ports import Outcome
from polyexec.paper import Fault, PaperExchange, PaperMarket, Request, Response

__all__ = ["WAYS", "World"]

WAYS = ("halt", "switch", "socket", "signal")
_THREADS = 4
_PATIENCE_S = 20.0
_LONGEST_WAIT_S = 0.006
_TIMEOUT_S = 0.15
_REFUSED = {px.SkipReason.HALTED, px.SkipReason.TRADING_DISABLED}


class World:
    """Halts so many times while threads submit, and looks for what should not be.

    Parameters
    ----------
    ways : tuple of str
        How it is halted, some of ``WAYS``.

    Attributes
    ----------
    halts : Counter
        By way.
    orders : int
        Orders that the exchange was sent.
    held_back : int
        Signals that had passed every check and were stopped at the door.
    violations : list of str
    """

    def __init__(
        self, seed: int, number: int, folder: Path, *, ways: tuple[str, ...] = WAYS
    ) -> None:
        self._name = f"seed {seed} world {number}"
        self._rng = rng = random.Random(f"halts/{seed}/{number}")
        self._folder = folder
        self._ways = ways
        self._key = rng.randbytes(32).hex()
        self._faults = rng.choice((0.0, 0.0, 0.05))
        self._policy = rng.choice(("hold", "hold", "complete, unwind"))
        self._most = rng.choice((1, 2, 8))
        self._journal = rng.choice(("off", "os"))
        self._going = threading.Event()
        self._over = threading.Event()
        self._record: list[str] = []
        """What the exchange read, in order: ``POST`` and fences by number."""
        self._sent: set[str] = set()
        self._known: set[str] = set()
        self._due: set[px.Submission] = set()
        self._lock = threading.Lock()
        self._doing = ""
        self.halts: Counter[str] = Counter()
        self.orders = 0
        self.held_back = 0
        self.violations: list[str] = []

    async def run(self, halts: int) -> None:
        """Halt so many times."""
        async with PaperExchange() as self._exchange:
            self._address = px.OrderSigner(self._key).address
            self._exchange.deposit(self._address, 1_000_000)
            self._market = self._exchange.add_market("m", fee_rate="0.07")
            self._other = self._exchange.add_market("n", fee_rate="0.07")
            self._exchange.on_request = self._on_request
            async with px.Executor(self._config(), self._venue()) as self._executor:
                self._count_held(self._executor)
                self._executor.on_trade_result(self._learn)
                self._executor.on_group(self._learn)
                accounts = {"main": Account(self._executor)}
                async with open_control(self._executor.config, accounts):
                    await self._storm(halts)
        self.orders = len(self._sent)

    async def _storm(self, halts: int) -> None:
        self._going.set()
        threads = [
            threading.Thread(target=self._submit, args=(random.Random(self._rng.random()),))
            for _ in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        try:
            for number in range(halts):
                self._offer()
                await asyncio.sleep(self._rng.random() * _LONGEST_WAIT_S)
                async with asyncio.timeout(4 * _PATIENCE_S):
                    await self._once(number, self._rng.choice(self._ways))
                if self.violations:
                    return
        except TimeoutError:
            self._violate(f"stuck while {self._doing}")
            faulthandler.dump_traceback()
        finally:
            self._over.set()
            self._going.set()
            for thread in threads:
                await asyncio.to_thread(thread.join)
        await self._until(lambda: not self._due, "a submission has no result")
        # What the exchange was sent is in a result, or followed: callbacks come a little later.
        await self._until(
            lambda: self._sent <= self._known | {o.order_id for o in self._executor.orders},
            "an order that was sent is in no result and not followed",
        )

    async def _once(self, number: int, way: str) -> None:
        executor = self._executor
        self._going.clear()  # the threads go on until they are refused
        self._doing = f"halting by {way}"
        await asyncio.to_thread(self._halt, way)
        self._doing = "looking for what is left"
        self.halts[way] += 1
        await self._fence(f"fence {number}")
        if executor.submit(self._signal(self._rng)).skipped is None:
            self._violate(f"{way}: what was submitted after the halt was sent")
        if executor.in_flight > self._most:
            self._violate(f"{executor.in_flight} in flight, at most {self._most} may be")
        self._doing = "draining"
        await executor.drain()
        await self._until(
            lambda: not self._due, f"{way}: a submission has no result after draining"
        )
        self._doing = "looking again"
        await self._fence(f"fence {number} again")
        behind = self._record[self._record.index(f"fence {number}") :]
        if "POST" in behind:
            self._violate(f"{way}: {behind.count('POST')} POSTs began after the halt had answered")
        await self._until(
            lambda: self._live() <= {order.order_id for order in executor.orders},
            f"{way}: an order rests that nobody follows",
        )
        self._record.clear()
        if self._rng.random() < 0.1:
            # Worlds with faults are impatient: one may time out.
            self._doing = "cancelling"
            with contextlib.suppress(px.errors.TransportError):
                await executor.cancel_all()
        executor.resume()
        executor.set_trading_enabled(True)
        self._going.set()

    def _halt(self, way: str) -> None:
        """Halt; when this returns, the halt has answered."""
        match way:
            case "halt":
                self._executor.halt("storm")
            case "switch":
                self._executor.set_trading_enabled(False)
            case "socket":
                ask(self._folder / "run" / "bot.sock", request_of("halt", "storm"))
            case _:
                os.kill(os.getpid(), signal_module.SIGUSR1)
                while self._executor.halted is None:  # a signal has no other answer
                    pass
                # It is only known to be under way: the same again returns when it is done.
                self._executor.halt("storm")

    async def _fence(self, name: str) -> None:
        """Send a request behind everything that was written before."""
        loop = asyncio.get_running_loop()
        venue = self._executor.venue
        assert isinstance(venue, ClobVenue)
        for _ in range(10):
            done: asyncio.Future[Outcome] = loop.create_future()

            def on_outcome(outcome: Outcome, done: asyncio.Future[Outcome] = done) -> None:
                loop.call_soon_threadsafe(done.set_result, outcome)

            venue.transport.send("GET", "/time", {"x-fence": name}, b"", on_outcome)
            await done
            if name in self._record:
                return
            await asyncio.sleep(0.05)  # an impatient world: it was not read in time
        self._violate(f"{name} was never read")

    # those who submit --------------------------------------------------------------------------

    def _submit(self, rng: random.Random) -> None:
        while not self._over.is_set():
            submission = self._executor.submit(self._signal(rng))
            if submission.skipped is None:
                with self._lock:
                    self._due.add(submission)
                submission._future.add_done_callback(lambda _, one=submission: self._done(one))
                with contextlib.suppress(TimeoutError):
                    submission.result(rng.choice((0, 0.001, 0.01)))
            elif submission.skipped in _REFUSED:
                self._going.wait()
            else:  # the others wait for their answers: spinning would keep the loop from them
                time.sleep(0.0005)

    def _count_held(self, executor: px.Executor) -> None:
        """Count who is asked why: only a signal at the shut door."""
        why_shut = executor._why_shut

        def counted() -> tuple[px.SkipReason, str]:
            self.held_back += 1
            return why_shut()

        executor._why_shut = counted  # type: ignore[method-assign]

    def _done(self, submission: px.Submission) -> None:
        with self._lock:
            self._due.discard(submission)

    def _learn(self, result: px.TradeResult) -> None:
        self._known.update(leg.order_id for leg in (*result.legs, *result.follow_ups))

    def _signal(self, rng: random.Random) -> px.LegsSignal:
        price = rng.choice(("0.25", "0.30", "0.31"))
        markets = rng.sample((self._market, self._other), rng.choice((1, 1, 2)))
        return px.LegsSignal([_leg(market, price) for market in markets])

    # the exchange ------------------------------------------------------------------------------

    def _offer(self) -> None:
        size = self._rng.choice((3, 20, 200))
        for market in (self._market, self._other):
            self._exchange.set_book(market.yes, bids=[("0.20", 100)], asks=[("0.30", size)])

    def _live(self) -> set[str]:
        return set(self._exchange.engine.live) & self._sent

    async def _on_request(self, request: Request) -> Response | Fault | None:
        fence = request.headers.get("x-fence", "")
        if fence:
            self._record.append(fence)
        if (request.method, request.path) != ("POST", "/orders"):
            return None
        self._record.append("POST")
        answer = self._exchange.handle(request)
        told: Any = json.loads(answer.body)
        if isinstance(told, list):
            self._sent.update(entry["orderID"] for entry in told if entry["orderID"])
        return Fault.DROP if self._rng.random() < self._faults else answer

    # -------------------------------------------------------------------------------------------

    def _config(self) -> px.ExecutorConfig:
        self._credentials = self._exchange.credentials(self._key)
        return px.ExecutorConfig(
            private_key=self._key,
            clob_url=self._exchange.url,
            ssl_context=self._exchange.ssl_context,
            api_key=self._credentials.api_key,
            api_secret=self._credentials.secret,
            api_passphrase=self._credentials.passphrase,
            trading_enabled=True,
            opportunity_timeout_ms=0,
            max_in_flight=self._most,
            max_unknown_groups=1_000_000,
            post_timeout_s=_TIMEOUT_S if self._faults else 5,
            follow_interval_s=0.05,
            unknown_resend_after_s=0.02 if self._faults else None,
            group_policy=px.GroupPolicy(self._policy, patience_ms=20),
            journal_mode=self._journal,  # type: ignore[arg-type]
            journal_folder=str(self._folder / "journals"),
            control_socket=str(self._folder / "run" / "bot.sock"),
        )

    def _venue(self) -> ClobVenue:
        return ClobVenue(
            self._exchange.url,
            signer_address=self._address,
            credentials=self._credentials,
            signature_type=px.SignatureType.EOA,
            ssl_context=self._exchange.ssl_context,
            timeout_s=_TIMEOUT_S if self._faults else 5,
            connections=1,  # so that the fence is behind every POST
        )

    async def _until(self, holds: Callable[[], bool], otherwise: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while not holds():  # noqa: ASYNC110  what is waited for has no event to offer
                    await asyncio.sleep(0.001)
        except TimeoutError:
            self._violate(otherwise)

    def _violate(self, what: str) -> None:
        self.violations.append(f"{self._name} halt {self.halts.total()}: {what}")


def _leg(market: PaperMarket, price: str) -> px.Leg:
    return px.Leg(market.yes, "BUY", price, 5, "GTC", tick_size="0.01", fee_rate="0.07")
