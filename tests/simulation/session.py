"""A session: one account, one exchange, and a run of things that a bot and a bad day do.

The production ``Executor`` runs unchanged, with its pipeline, ledger, tracker, follower, journal
and recovery, on a virtual clock; everything random follows from the session's seed and number.
"""

import asyncio
import contextlib
import hashlib
import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from decimal import Decimal
from functools import partial
from pathlib import Path

import msgspec

import polyexec as px
from polyexec.account import build_signer
from polyexec.backtest.loop import VirtualClock, run_virtual
from polyexec.core.groups import LegGroup
from polyexec.core.journal import Intent, Signed, account_of
from polyexec.core.ports import Journal
from polyexec.journal.wal import open_journal
from tests.quiet import quiet
from tests.simulation.checker import Checker
from tests.simulation.journals import KilledError, MortalJournal
from tests.simulation.venue import SimulatedVenue, simulated_exchange
from tests.unit.journals import MemoryJournal

_MARKETS = 3
_PRICES = [("0.30", "0.32"), ("0.48", "0.52"), ("0.61", "0.66")]
_FAULT_RATES = (0.0, 0.3, 0.7, 0.7, 0.95)
_ANSWERED_AFTER_MS = 10_000
_RESOLVED_AFTER_S = 600
_POLICIES: tuple[px.GroupPolicy, ...] = (
    *(px.GroupPolicy("hold"),) * 3,
    px.GroupPolicy("complete, unwind", complete_band="0.10", unwind_band="0.20", level="sell"),
    px.GroupPolicy("unwind", unwind_band="0.30", attempts=3, patience_ms=500),
    px.GroupPolicy("complete, hold", complete_band="0.05", level="buy", patience_ms=20_000),
)
_NOT_RIGHT = (float("nan"), -1, "1e400", "0.0000001", "a lot", None)


class Report(msgspec.Struct, frozen=True):
    """What became of one session."""

    number: int
    faults: int
    digest: bytes
    violations: tuple[str, ...]


class Session:
    """One account's session; ``run`` plays it to its end."""

    def __init__(self, seed: int, number: int, folder: Path | None = None) -> None:
        self.rng = rng = random.Random(f"polyexec/{seed}/{number}")
        self.checker = Checker(f"seed {seed} session {number}")
        self.clock = VirtualClock()
        self.checker.bind(self.clock)
        self.folder = folder
        self.settles_at_once = rng.random() < 0.7
        self.refreshes = rng.random() < 0.5
        self.fault_rate = rng.choice(_FAULT_RATES)
        self.full_disk_rate = rng.choice((0.0, 0.0, 0.05, 0.2))
        self.kills_left = rng.choice((0, 0, 1, 1, 2, 4))
        self.was_killed = False
        self.other_faults = 0
        self.exchange = simulated_exchange(
            self.clock, settle_at_once=self.settles_at_once, seed=rng.randbytes(32)
        )
        self.tokens: list[px.TokenId] = []
        for market_number in range(_MARKETS):
            market = self.exchange.add_market(
                f"market-{market_number}",
                tick_size="0.01",
                fee_rate="0.07",
                neg_risk=market_number == 2,
            )
            self.tokens += [px.TokenId(token) for token in market.token_ids]
        self.policy = rng.choice(_POLICIES)
        self.acts = self.policy is not _POLICIES[0]
        # Follow-ups take the other side: what rests of an earlier group would meet them.
        self.order_types = ("FOK", "FAK") if self.acts else ("GTC", "GTC", "FOK", "FAK")
        limit = rng.choice((None, None, "8", "25"))
        self.checker.most_cost_micro = None if limit is None else int(limit) * 10**6
        self.checker.most_follow_ups = 3 * self.policy.attempts if self.acts else 0
        self.groups: list[LegGroup] = []
        key = rng.randbytes(32).hex()
        credentials = self.exchange.credentials(key)
        self.config = px.ExecutorConfig(
            private_key=key,
            trading_enabled=True,
            opportunity_timeout_ms=0,
            max_in_flight=rng.choice((1, 3)),
            follow_interval_s=rng.choice((1, 5, 60)),
            unknown_absent_after_s=rng.choice((120, 120, 120, None)),
            unknown_resend_after_s=rng.choice((None, 1, 30)),
            group_policy=self.policy,
            max_group_cost=limit,
            max_unknown_groups=rng.choice((1, 1, 3)),
            api_key=credentials.api_key,
            api_secret=credentials.secret,
            api_passphrase=credentials.passphrase,
        )
        self.address = px.OrderSigner(key).address
        self.account = self.address.lower()
        self.exchange.deposit(self.address, rng.choice(("20", "60", "500")))
        # One side per market and session: the exchange shows an account's trades with itself once.
        self.sides = [rng.choice(("BUY", "BUY", "SELL")) for _ in range(_MARKETS)]
        for market_number, side in enumerate(self.sides):
            if side == "SELL":
                token = self.tokens[2 * market_number]
                self.exchange.set_position(self.address, token, rng.choice((0, 12, 60)))
        self.venue = SimulatedVenue(
            self.exchange,
            address=self.address,
            credentials=credentials,
            clock=self.clock,
            rng=rng,
            checker=self.checker,
        )
        self.submissions: list[px.Submission] = []
        self.old_balances: list[tuple[int, int]] = []

    # a process --------------------------------------------------------------------------------

    @property
    def executor(self) -> px.Executor:
        executor = self.checker.executor
        assert executor is not None
        return executor

    def _journal(self) -> MortalJournal:
        inner: Journal
        if self.folder is None:
            inner = MemoryJournal(self.checker.records)
        else:
            inner = open_journal(self.folder, account_of(build_signer(self.config)), mode="os")
        dies_at = None
        if self.kills_left and self.rng.random() < 0.8:
            dies_at = self.rng.randint(1, 25)
        return MortalJournal(
            inner, self.checker.records, rng=self.rng, dies_at=dies_at, on_fault=self._on_fault
        )

    def _on_fault(self, what: str) -> None:
        self.other_faults += 1
        self.checker.note("fault", what)

    async def start(self) -> None:
        """Start a process, as often as it takes."""
        while True:
            journal = self._journal()
            executor = px.Executor(
                self.config.replace(trading_enabled=self.checker.trading_enabled),
                self.venue,
                clock=self.clock,
                journal=journal,
            )
            executor._signer._salt = partial(self.rng.getrandbits, 53)
            try:
                await executor.__aenter__()
            except KilledError:
                self._bury(journal)
                continue
            except px.InternalError:
                raise  # our bug: another try would end the same, for ever
            except px.PolyexecError as error:
                self.checker.note("not opened", type(error).__name__)
                await asyncio.sleep(1)
                continue
            break
        self.journal = journal
        self.checker.executor = executor
        self.checker.unresolved_at_start = frozenset(
            order.order_id
            for order in executor._tracker.unknown_orders
            if not order.state.is_accepted
        )
        journal.full_disk_rate = self.full_disk_rate
        self._tell_positions()
        self.checker.note("started", len(self.checker.records))

    def _bury(self, journal: MortalJournal) -> None:
        """Take note that the process died: what it had not finished nobody will."""
        self.was_killed = True
        self.kills_left -= 1
        self.venue.process_died()
        self.checker.legs_wanted = 0
        self.groups.clear()  # nobody keeps them up any more
        self.submissions = [s for s in self.submissions if s.done()]
        records = self.checker.records
        if self.folder is None and self.rng.random() < 0.3:
            # The machine died with it: what was appended since the last seal need not be on disk.
            sealed = [i for i, record in enumerate(records) if isinstance(record, Signed)]
            least = sealed[-1] + 1 if sealed else 0
            records = records[: self.rng.randint(least, len(records))]
            self._on_fault("power_loss")
        if self.folder is not None:
            # In the mode `os` an intent is written together with its seal.
            sealed_groups = {record.group for record in records if isinstance(record, Signed)}
            records = [
                record
                for record in records
                if not isinstance(record, Intent) or record.group in sealed_groups
            ]
        self.checker.restart(list(records))
        journal.close()

    async def restart(self) -> None:
        """Bury the process and start another."""
        journal, executor = self.journal, self.executor
        self._bury(journal)
        self.checker.executor = None
        for task in executor._tasks:
            task.cancel()
        with contextlib.suppress(KilledError):  # from a task that died at a record
            await executor.close()
        await self.start()

    def _tell_positions(self) -> None:
        engine = self.exchange.engine
        positions = {
            str(token): Decimal(engine.ledger.balance(self.account, token)) / 10**6
            for token in self.tokens
        }
        self.executor.update_positions(positions)

    # steps ------------------------------------------------------------------------------------

    async def play(self) -> None:
        """Run the session."""
        # The checker looks at outcomes; what a callback raises is often the fault that was wanted.
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        await self.start()
        self.venue.fault_rate = self.fault_rate
        steps = [self._submit] * 6 + [self._move_market] * 2
        steps += [self._submit_and_go_on, self._reconcile, self._cancel, self._switch, self._wait]
        if not self.settles_at_once:
            steps += [self._settle] * 2
        if self.refreshes:
            steps += [self._refresh, self._tell_balance, self._tell_nonsense]
        if self.kills_left:
            steps += [self._kill]
        for _ in range(self.rng.randint(5, 20)):
            await self._step(self.rng.choice(steps))
            await asyncio.sleep(self.rng.choice((0.001, 0.05, 1.5)))
        await self._end()

    async def _step(self, step: Callable[[], Awaitable[None]]) -> None:
        self.checker.note("step", step.__name__)
        try:
            await step()
        except KilledError:
            pass
        except (px.VenueError, px.TransportError) as error:
            self.checker.note("failed", type(error).__name__)
        if self.journal.is_dead:
            await self.restart()
        self._check()

    def _check(self) -> None:
        self.checker.check(self.exchange.engine, self.account)
        keeper = self.executor._keeper
        assert keeper is not None
        self.groups += [group for group in keeper.groups if group not in self.groups]

    def _seed_books(self) -> None:
        for number, (bid, ask) in enumerate(_PRICES):
            size = self.rng.choice((8, 20, 60))
            token = self.tokens[2 * number]
            deep = Decimal(ask) + Decimal("0.02")
            low = Decimal(bid) - Decimal("0.02")
            self.exchange.clear_book(token)
            self.exchange.seed_book(
                token, bids=[(bid, size), (low, 100)], asks=[(ask, size), (deep, 100)]
            )

    def _signal(self) -> px.LegsSignal:
        legs = []
        for number in sorted(self.rng.sample(range(3), self.rng.randint(1, 3))):
            low, high = _PRICES[number]
            side = self.sides[number]
            taking, making = (high, low) if side == "BUY" else (low, high)
            legs.append(
                px.Leg(
                    self.tokens[2 * number],
                    side,
                    self.rng.choice((taking, taking, making, "0.50")),
                    self.rng.choice((5, 10, 17, 25)),
                    self.rng.choice(self.order_types),
                    neg_risk=number == 2,
                    tick_size="0.01",
                    fee_rate="0.07",
                )
            )
        return px.LegsSignal(legs)

    def _send(self) -> px.Submission:
        if self.rng.random() < 0.8:
            self._seed_books()
        signal = self._signal()
        held, records = self.executor.ledger.held(), len(self.checker.records)
        self.checker.legs_wanted = len(signal.legs)
        submission = self.executor.submit(signal)
        self.checker.legs_wanted = 0
        self.submissions.append(submission)
        if submission.skipped is not None:
            if self.executor.ledger.held() != held:
                self.checker.violate(f"{submission.skipped}: held {held} before, not after")
            if any(isinstance(r, Signed) for r in self.checker.records[records:]):
                self.checker.violate(f"{submission.skipped}: an intent was sealed")
        return submission

    async def _submit(self) -> None:
        submission = self._send()
        # A process that dies leaves nobody to wait for; the end of the session misses the answer.
        until_ms = self.clock.now_ms + _ANSWERED_AFTER_MS
        while not (  # noqa: ASYNC110  time is virtual, and a dead process sets no event
            submission.done() or self.journal.is_dead or self.clock.now_ms > until_ms
        ):
            await asyncio.sleep(0.05)
        if submission.done():
            self.checker.answered(await submission)

    async def _submit_and_go_on(self) -> None:
        self._send()

    async def _move_market(self) -> None:
        """Let the others trade with what rests in the books, in part or in whole."""
        number = self.rng.randrange(_MARKETS)
        token = self.tokens[2 * number]
        self.exchange.clear_book(token)
        size = self.rng.choice(("1", "3.5", "12.345678", "40"))
        if self.sides[number] == "BUY":
            self.exchange.seed_book(token, asks=[(_PRICES[number][0], size)])
        else:
            self.exchange.seed_book(token, bids=[(_PRICES[number][1], size)])

    async def _settle(self) -> None:
        engine = self.exchange.engine
        waiting = [t for t in engine.trades.values() if t.status in ("MATCHED", "RETRYING")]
        for trade in waiting:
            fate = self.rng.choice(("wait", "settle", "settle", "fail"))
            if fate == "settle":
                engine.settle(trade)
            elif fate == "fail":
                self._on_fault("settlement_failed")
                engine.fail(trade)

    async def _reconcile(self) -> None:
        await self.executor.reconcile()

    async def _cancel(self) -> None:
        await self.executor.cancel_all()

    async def _switch(self) -> None:
        self._set_trading(not self.checker.trading_enabled)

    def _set_trading(self, enabled: bool) -> None:
        # The checker forbids from the moment at which the call returns.
        self.executor.set_trading_enabled(enabled)
        self.checker.trading_enabled = enabled
        self.checker.note("trading", enabled)

    async def _wait(self) -> None:
        await asyncio.sleep(self.rng.choice((0.2, 3, 30, 150)))

    async def _kill(self) -> None:
        self.journal.die()
        self._on_fault("kill")

    async def _refresh(self) -> None:
        await self.executor.refresh_balance()

    async def _tell_balance(self) -> None:
        """Tell a true balance: now, again, late, or out of order."""
        balance = self.exchange.engine.ledger.balance(self.account)
        self.old_balances.append((balance, self.clock.now_ms))
        self.checker.note("balance", balance)
        told = self.rng.choice((self.old_balances[-1:] * 2, self.old_balances[::-1]))
        for micro, as_of_ms in told:
            if micro >= 0:
                self.executor.update_balance(Decimal(micro) / 10**6, as_of_ms=as_of_ms)
        self.other_faults += len(told) - 1
        await asyncio.sleep(0.001)

    async def _tell_nonsense(self) -> None:
        nonsense = self.rng.choice(_NOT_RIGHT)
        self._on_fault("nonsense")
        before = self.executor.ledger.balances(), self.executor.ledger.available()
        try:
            self.executor.update_balance(nonsense)  # type: ignore[arg-type]
        except px.InputError:
            pass
        else:
            self.checker.violate(f"a balance of {nonsense!r} was believed")
        if before != (self.executor.ledger.balances(), self.executor.ledger.available()):
            self.checker.violate(f"a balance of {nonsense!r} changed the ledger")

    # the end ----------------------------------------------------------------------------------

    async def _end(self) -> None:
        """Let the faults end, everything arrive and settle; then all must be resolved."""
        self.venue.fault_rate = self.journal.full_disk_rate = self.full_disk_rate = 0.0
        self.kills_left = 0
        if self.journal.is_dead:
            await self.restart()
        self.journal._left = None
        self._set_trading(self.rng.random() < 0.7)
        while self.venue.in_flight:  # noqa: ASYNC110  time is virtual
            await asyncio.sleep(5)
        engine = self.exchange.engine
        await self.executor.cancel_all()
        until_ms = self.clock.now_ms + _RESOLVED_AFTER_S * 1000
        keeper = self.executor._keeper
        assert keeper is not None
        while (self.executor._tracker.orders or keeper._tasks) and self.clock.now_ms < until_ms:
            await asyncio.sleep(10)
            for trade in list(engine.trades.values()):
                engine.settle(trade)
            if self.venue.in_flight == 0:
                await self.executor.cancel_all()
            if self.config.unknown_absent_after_s is None:
                self._give_up()
        self._check()
        before = None
        # A balance that was taken between a settlement and the news of it counts that twice.
        if not (self.refreshes or self.acts or self.was_killed) and self.settles_at_once:
            before = await self.executor.reconcile()
        await asyncio.sleep(2)
        await self.executor.refresh_balance()
        self._tell_positions()
        self.checker.check_end(
            engine,
            self.account,
            exact_before=before,
            exact_after=await self.executor.reconcile(),
            submissions=self.submissions,
            was_killed=self.was_killed,
            waiting=keeper.waiting,
        )
        for group in self.groups:
            self.checker.check_group(engine, group)
        await self.executor.close()

    def _give_up(self) -> None:
        """Be the person who knows: the exchange does not have them, and nothing is under way."""
        for order in self.executor._tracker.unknown_orders:
            if order.order_id not in self.exchange.engine.orders and not self.venue.in_flight:
                self.executor.give_up_unknown(order.order_id)


def run_session(seed: int, number: int, *, lines: list[str] | None = None) -> Report:
    """Play one session; ``lines`` receives its trace."""
    with _folder_for(number) as folder, quiet():
        session = Session(seed, number, folder)
        session.checker.lines = lines
        try:
            run_virtual(session.clock, session.play())
        except (Exception, KilledError) as error:
            session.checker.violate(f"{type(error).__name__}: {error}")
    return Report(
        number=number,
        faults=session.venue.faults + session.other_faults,
        digest=session.checker.digest,
        violations=tuple(session.checker.violations),
    )


@contextlib.contextmanager
def _folder_for(number: int) -> Iterator[Path | None]:
    """One session in ten has its journal in a real file."""
    if number % 10:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "journal"


class Summary(msgspec.Struct):
    """What became of many sessions."""

    sessions: int = 0
    faults: int = 0
    violations: list[str] = msgspec.field(default_factory=list)
    trace: str = ""


def run(sessions: int, seed: int, *, first: int = 0, jobs: int = 1) -> Summary:
    """Run so many sessions; the same arguments give the same trace, whatever ``jobs`` is."""
    play = partial(run_session, seed)
    numbers = range(first, first + sessions)
    summary, trace = Summary(), hashlib.sha256()
    if jobs == 1:
        reports: Iterator[Report] = map(play, numbers)
        _add(summary, trace, reports)
    else:
        with ProcessPoolExecutor(jobs) as pool:
            _add(summary, trace, pool.map(play, numbers, chunksize=50))
    summary.trace = trace.hexdigest()
    return summary


def _add(summary: Summary, trace: "hashlib._Hash", reports: Iterator[Report]) -> None:
    for report in reports:
        summary.sessions += 1
        summary.faults += report.faults
        summary.violations += report.violations
        trace.update(report.digest)
