"""The runner: the live evaluator, executor and book keeper on a clock that the data turns."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as Pool
from itertools import chain
from typing import Any, Protocol, TypeAlias

import msgspec

from polyexec._impl import TapePlayer
from polyexec._pure.tapes import Stop as TapeStop
from polyexec.account import build_signer
from polyexec.backtest.loop import VirtualClock, VirtualLoop, run_virtual
from polyexec.backtest.replay import Books, ReplayedMarket, ReplayedVenue
from polyexec.backtest.report import LegRow, Report, TradeRow
from polyexec.backtest.stream import Source, Stamped, merge
from polyexec.backtest.tape import Block, Tape
from polyexec.config import ExecutorConfig
from polyexec.core.forms import Form
from polyexec.core.opportunities import Found, SignalBuilder
from polyexec.engine.engine import build_evaluator
from polyexec.engine.following import FeedSettings
from polyexec.errors import InputError
from polyexec.executor import Executor
from polyexec.numbers import Number, to_micro
from polyexec.paper import PaperExchange
from polyexec.results import TradeResult
from polyexec.signals import ArbSignal, Signal
from polyexec.submission import Submission

__all__ = ["Stop", "Strategy", "run", "sweep"]

_MS_NS = 1_000_000
_OPENING_MS = 10_000  # the executor opens before the first event
_SETTLING_MS = 60_000

Strategy: TypeAlias = Callable[[Books, int], Signal | Iterable[Signal] | None]
"""Called with the books and unix milliseconds whenever a book has changed."""


class Stop(Protocol):
    """What tells a run to end early: a ``threading.Event``, for one."""

    def is_set(self) -> bool:
        """Return True when the run has to end."""
        ...


def run(
    strategy: Strategy | str | None,
    data: Source | Iterable[Source],
    *,
    forms: Iterable[Form],
    config: ExecutorConfig | Mapping[str, Any] | None = None,
    balance: Number = 10_000,
    latency_ms: tuple[int, int] = (20, 20),
    seed: int = 0,
    stop: Stop | None = None,
) -> Report:
    """Replay recordings through the live code and report what would have traded.

    Parameters
    ----------
    strategy : callable, "engine" or None
        None or "engine": the library's own evaluator, over ``forms``.
    data : Source, or several
        Merged by time of receipt.
    forms : iterable of Form
        What is evaluated; for a callable, what it may look at and trade.
    config : ExecutorConfig, mapping or None
        Thresholds, sizes and policies; its key and hosts are not used. As a mapping (settings by
        name) it can be sent to another process; an ``ExecutorConfig`` holds secrets and cannot.
    balance : number
        Dollars at the start.
    latency_ms : (int, int)
        Until an order arrives, and until its answer is back.
    seed : int
        Of the account; nothing else is random.
    stop : object with ``is_set``, or None
        Ends the run early with a report that says so, as Ctrl-C does.

    Raises
    ------
    InputError
        No forms, no source, no snapshot of any of their books, or a latency that cannot be.
    """
    if strategy is not None and strategy != "engine" and not callable(strategy):
        raise InputError("strategy", strategy, "must be a callable, 'engine' or None")
    known = tuple(forms)
    if not known:
        raise InputError("forms", known, "name at least one: they say which books are followed")
    sources = [*data] if isinstance(data, Iterable) else [data]
    if not sources:
        raise InputError("data", sources, "name at least one source")
    if len(latency_ms) != 2 or not all(type(one) is int and one >= 0 for one in latency_ms):
        raise InputError("latency_ms", latency_ms, "must be two whole numbers of 0 or more")
    first_ns, feed = _feed_of(sources)
    clock = VirtualClock(first_ns // 1_000_000 - _OPENING_MS - 2 * sum(latency_ms))
    job = _Run(strategy if callable(strategy) else None, known, clock, latency_ms, stop)
    if not isinstance(config, ExecutorConfig):
        config = ExecutorConfig(**{**(config or {}), "private_key": "1" * 64})
    job.prepare(config, to_micro(balance, "balance"), seed)
    report = run_virtual(clock, job.play(feed))
    if not job.market.keeper.counts.books and not report.is_cancelled:
        names = [one.name for one in sources]
        raise InputError("data", names, "has no snapshot of a book that the forms name")
    told = [(one.name, one.coverage()) for one in sources]
    partial = tuple(f"{name}: {one.detail or 'partial'}" for name, one in told if one.is_partial)
    return msgspec.structs.replace(report, partial=partial)


def _feed_of(sources: Sequence[Source]) -> tuple[int, Tape | Iterator[Stamped]]:
    """Return when the data begins, and the data: a tape by itself is played as it is."""
    names = [one.name for one in sources]
    if len(sources) == 1 and isinstance(sources[0], Tape):
        if sources[0].first_ns < 0:
            raise InputError("data", names, "has no event")
        return sources[0].first_ns, sources[0]
    events = merge(sources)
    first = next(events, None)
    if first is None:
        raise InputError("data", names, "has no event")
    return first.received_ns, chain((first,), events)


def sweep(
    grid: Iterable[Mapping[str, Any]],
    data: Source | Sequence[Source],
    *,
    executor: Pool | None = None,
    strategy: Strategy | str | None = None,
    **common: Any,
) -> list[Report]:
    """Run once for each set of parameters; the reports come in the order of ``grid``.

    Parameters
    ----------
    grid : iterable of mappings
        Arguments of :func:`run`, which replace those in ``common``.
    executor : concurrent.futures.Executor or None
        Where the runs are done; sources, forms and strategy must pickle for processes.
    """
    jobs = [(strategy, data, {**common, **one}) for one in grid]
    if executor is None:
        return [_run_job(job) for job in jobs]
    futures = [executor.submit(_run_job, job) for job in jobs]
    return [future.result() for future in futures]


def _run_job(job: tuple[Any, Any, dict[str, Any]]) -> Report:
    strategy, data, arguments = job
    return run(strategy, data, **arguments)


class _Stopped(Exception):
    """Somebody wants the run to end."""


class _Run:
    """One replay."""

    def __init__(
        self,
        strategy: Strategy | None,
        forms: Sequence[Form],
        clock: VirtualClock,
        latency_ms: tuple[int, int],
        stop: Stop | None,
    ) -> None:
        self._strategy = strategy
        self._clock = clock
        self._latency_ms = latency_ms
        self._stop = stop
        self._forms = forms
        self._exchange = PaperExchange(clock=clock.time_ms)
        self.market = ReplayedMarket(forms, self._exchange, self._on_touched)
        self._books = Books(self.market.table)
        self._builder = SignalBuilder()
        self._asked: list[tuple[int, Signal, Submission]] = []
        self._pays: dict[str, int] = {}
        self._touched: list[int] = []
        self._events = 0

    def prepare(self, config: ExecutorConfig, balance_micro: int, seed: int) -> None:
        key = hashlib.sha256(f"polyexec/backtest/{seed}".encode()).hexdigest()
        credentials = self._exchange.credentials(key)
        self._config = config.replace(
            private_key=key,
            api_key=credentials.api_key,
            api_secret=credentials.secret,
            api_passphrase=credentials.passphrase,
            trading_enabled=True,
        )
        self._evaluator = build_evaluator(self.market.table, self._config)
        if self._strategy is None:
            for form in self._forms:
                self._evaluator.add(form)
        self._balance_micro = balance_micro
        self._credentials = credentials

    async def play(self, feed: Tape | Iterator[Stamped]) -> Report:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)  # noqa: S101
        address = build_signer(self._config).address
        self._account = address.lower()
        self._exchange.engine.ledger.deposit(self._account, self._balance_micro)
        venue = ReplayedVenue(
            self.market,
            address=address,
            credentials=self._credentials,
            clock=self._clock,
            latency_ms=self._latency_ms,
        )
        first_ms = self._clock.now_ms + _OPENING_MS + 2 * sum(self._latency_ms)
        async with Executor(self._config, venue, clock=self._clock) as self._executor:
            try:
                if isinstance(feed, Tape):
                    await self._play_tape(loop, feed)
                else:
                    await self._play_events(loop, feed)
                cancelled = False
            except (KeyboardInterrupt, asyncio.CancelledError, _Stopped):
                cancelled = True
            last_ms = self._clock.now_ms
            await loop.advance(last_ms + _SETTLING_MS)  # answers and follow-ups that are due
            results = [(ms, await submission) for ms, _, submission in self._asked]
        self._exchange.audit()
        return self._report(results, first_ms, last_ms, cancelled)

    async def _play_events(self, loop: VirtualLoop, events: Iterator[Stamped]) -> None:
        for one in events:
            self._check_stop()
            await loop.advance(one.received_ns // _MS_NS)
            self._take(one)

    async def _play_tape(self, loop: VirtualLoop, tape: Tape) -> None:
        table = self.market.table
        slots = [table.slot(token) for token in tape.tokens]
        player = TapePlayer(self._evaluator, table, slots, ahead_ms=FeedSettings().ahead_ms)
        player.stops_at_touch = self._strategy is not None
        for block in tape.blocks():
            player.load(block)
            await self._play_block(loop, tape, player, block)
        counts, of_player = self.market.keeper.counts, player.counts()
        counts.books += of_player["books"]
        counts.changes += of_player["changes"]
        self._events += of_player["messages"]

    async def _play_block(
        self, loop: VirtualLoop, tape: Tape, player: TapePlayer, block: Block
    ) -> None:
        at_least_ns = 0
        while True:
            self._check_stop()
            player.watch(self.market.our_slots())
            why = player.play(max(loop.next_due_ns(), at_least_ns))
            if why is TapeStop.END:
                return
            if why is TapeStop.DUE:
                received_ns = block[0][player.row]
                await loop.advance(received_ns // _MS_NS)
                at_least_ns = received_ns + 1  # what was due has been done
                continue
            await loop.advance(player.received_ns // _MS_NS)
            if why is TapeStop.FOUND:
                for finds in player.finds:
                    self._submit_finds(finds)
            elif why is TapeStop.TOUCHED:
                self._look(player.touched, player.received_ns)
            else:
                self._take(tape.event_at(block, player.row - 1)[0])

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise _Stopped

    def _take(self, one: Stamped) -> None:
        self._events += 1
        if one.kind == "resolution":
            self._pays.update(dict.fromkeys(one.tokens, one.pays_micro))
            return
        self.market.take(one)
        touched, self._touched = dict.fromkeys(self._touched), []
        self._look(tuple(touched), one.received_ns)

    def _on_touched(self, slot: int) -> None:
        # Looked at after the keeper has returned: a strategy's mistake must not count as the feed's
        self._touched.append(slot)

    def _look(self, touched: tuple[int, ...], received_ns: int) -> None:
        """Let resting orders meet the new books, then look for what pays."""
        if self.market.is_ours:
            self.market.follow()
        for slot in touched:
            if self._strategy is None:
                self._submit_finds(self._evaluator.touched(slot, received_ns))
                continue
            found = self._strategy(self._books, self._clock.now_ms)
            one = found is not None and not isinstance(found, Iterable)
            for signal in (found,) if one else found or ():  # type: ignore[union-attr]
                self._submit(signal)  # type: ignore[arg-type]

    def _submit_finds(self, finds: Iterable[Found]) -> None:
        for each in sorted(finds, key=lambda find: -find.net_micro):
            self._submit(self._builder.build(each, self._clock.now_ms))

    def _submit(self, signal: Signal) -> None:
        self._asked.append((self._clock.now_ms, signal, self._executor.submit(signal)))

    def _report(
        self, results: list[tuple[int, TradeResult]], first_ms: int, last_ms: int, cancelled: bool
    ) -> Report:
        trades, legs = [], []
        for number, (time_ms, result) in enumerate(results):
            trades.append(_trade_row(number, time_ms, result))
            legs += [_leg_row(number, leg) for leg in (*result.legs, *result.follow_ups)]
        digest = hashlib.sha256(msgspec.json.encode([trades, legs])).hexdigest()
        ledger = self._exchange.engine.ledger
        held = [
            (token, ledger.balance(self._account, token)) for token in self._exchange.engine.tokens
        ]
        resolved = sum(
            shares * self._pays[token] // 1_000_000 for token, shares in held if token in self._pays
        )
        return Report(
            trades=tuple(trades),
            legs=tuple(legs),
            balance_before_micro=self._balance_micro,
            balance_micro=ledger.balance(self._account),
            resolved_micro=resolved,
            unresolved=tuple((t, s) for t, s in held if s and t not in self._pays),
            events=self._events,
            first_ms=first_ms,
            last_ms=last_ms,
            digest=digest,
            is_cancelled=cancelled,
            partial=(),
        )


def _trade_row(number: int, time_ms: int, result: TradeResult) -> TradeRow:
    signal = result.signal
    return TradeRow(
        number=number,
        time_ms=time_ms,
        finished_ms=result.finished_ms,
        group_key=signal.group_key,
        strategy=str(signal.strategy) if isinstance(signal, ArbSignal) else "",
        skipped="" if result.skipped is None else str(result.skipped),
        is_whole=result.is_whole,
        cost_micro=result.cost_micro,
        expected_pnl_micro=result.expected_pnl_micro,
        at_risk_micro=result.at_risk_micro,
    )


def _leg_row(number: int, leg: Any) -> LegRow:
    return LegRow(
        trade=number,
        token_id=leg.token_id,
        side=str(leg.side),
        price_e4=leg.price_e4,
        size_micro=leg.size_micro,
        filled_micro=leg.filled_micro,
        paid_micro=leg.paid_micro,
        fee_micro=leg.fee_micro,
        state=str(leg.state),
        error=leg.error,
    )
