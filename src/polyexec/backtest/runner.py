"""The runner: the live evaluator, executor and book keeper on a clock that the data turns."""

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Protocol, TypeAlias

import msgspec

from polyexec.account import build_signer
from polyexec.backtest.loop import VirtualClock, VirtualLoop, run_virtual
from polyexec.backtest.progress import Advance, Progress, shown
from polyexec.backtest.replay import Books, ReplayedMarket, ReplayedVenue
from polyexec.backtest.report import LegRow, Report, TradeRow
from polyexec.backtest.statement import Statement
from polyexec.backtest.stream import Source, Stamped, merge
from polyexec.config import ExecutorConfig
from polyexec.core.forms import Form
from polyexec.core.opportunities import SignalBuilder
from polyexec.engine.engine import build_evaluator
from polyexec.errors import InputError
from polyexec.executor import Executor
from polyexec.numbers import Number, to_micro
from polyexec.paper import PaperExchange
from polyexec.results import TradeResult
from polyexec.signals import ArbSignal, Signal
from polyexec.submission import Submission

__all__ = ["NoBooksError", "Stop", "Strategy", "run"]

_OPENING_MS = 10_000  # the executor opens before the first event
_SETTLING_MS = 60_000
_TOLD_EVERY = 1_000  # events, for who wants to know the progress

Strategy: TypeAlias = Callable[[Books, int], Signal | Iterable[Signal] | None]
"""Called with the books and unix milliseconds whenever a book has changed."""


class NoBooksError(InputError):
    """The data have no snapshot of any book that the forms name."""


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
    progress: Progress = False,
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
    progress : bool or callable
        True: a bar of tqdm over the events. A callable gets how many are done, and None.

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
    events = merge(sources)
    first = next(events, None)
    if first is None:
        raise InputError("data", [one.name for one in sources], "has no event")
    clock = VirtualClock(first.received_ns // 1_000_000 - _OPENING_MS - 2 * sum(latency_ms))
    job = _Run(strategy if callable(strategy) else None, known, clock, latency_ms, stop)
    if not isinstance(config, ExecutorConfig):
        config = ExecutorConfig(**{**(config or {}), "private_key": "1" * 64})
    job.prepare(config, to_micro(balance, "balance"), seed)
    with shown(progress, unit="event", label="backtest") as advance:
        report = run_virtual(clock, job.play(chain((first,), events), advance))
    if not job.market.keeper.counts.books and not report.is_cancelled:
        names = [one.name for one in sources]
        raise NoBooksError("data", names, "has no snapshot of a book that the forms name")
    told = [(one.name, one.coverage()) for one in sources]
    partial = tuple(f"{name}: {one.detail or 'partial'}" for name, one in told if one.is_partial)
    return msgspec.structs.replace(report, partial=partial)


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

    async def play(self, events: Iterator[Stamped], advance: Advance) -> Report:
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
        cancelled = False
        async with Executor(self._config, venue, clock=self._clock) as self._executor:
            self._statement = Statement(
                self._exchange.engine,
                self._account,
                bid_of=self._bid_of,
                exposure=lambda: self._executor.risk.exposure_micro,
            )
            curve = self._statement.curve
            try:
                for one in events:
                    if self._stop is not None and self._stop.is_set():
                        cancelled = True
                        break
                    await loop.advance(one.received_ns // 1_000_000)
                    self._take(one)
                    if self._clock.now_ms >= curve.due_ms:
                        curve.sample(self._clock.now_ms)
                    if not self._events % _TOLD_EVERY:
                        advance(_TOLD_EVERY)
            except (KeyboardInterrupt, asyncio.CancelledError):
                cancelled = True
            last_ms = self._clock.now_ms
            await loop.advance(last_ms + _SETTLING_MS)  # answers and follow-ups that are due
            results = [(ms, await submission) for ms, _, submission in self._asked]
            advance(self._events % _TOLD_EVERY)
        self._exchange.audit()
        return self._report(results, first_ms, last_ms, cancelled)

    def _take(self, one: Stamped) -> None:
        self._events += 1
        if one.kind == "resolution":
            self._statement.resolve(one.tokens, one.pays_micro, self._clock.now_ms)
            return
        self.market.take(one)
        if self._exchange.engine.live:
            orders = list(self._exchange.engine.live.values())
            self.market.show_open({o.token_id for o in orders if o.account == self._account})
        for slot in self._touched:
            self._look(slot)
        self._touched.clear()

    def _bid_of(self, token: str) -> int:
        """Return the recorded best bid; of a token that is not followed, by its twin's ask."""
        table = self.market.table
        slot = table.slot(token)
        if slot >= 0:
            return table.top(slot).best_bid_e4
        market, which = self._exchange.engine.tokens[token]
        twin = table.slot(market.token_ids[1 - which])
        ask_e4 = 0 if twin < 0 else table.top(twin).best_ask_e4
        return 10_000 - ask_e4 if ask_e4 else 0

    def _on_touched(self, slot: int) -> None:
        # Looked at after the keeper has returned: a strategy's mistake must not count as the feed's
        self._touched.append(slot)

    def _look(self, slot: int) -> None:
        now_ms = self._clock.now_ms
        if self._strategy is not None:
            found = self._strategy(self._books, now_ms)
            one = found is not None and not isinstance(found, Iterable)
            for signal in (found,) if one else found or ():  # type: ignore[union-attr]
                self._submit(signal)  # type: ignore[arg-type]
            return
        finds = self._evaluator.touched(slot, now_ms * 1_000_000)
        for each in sorted(finds, key=lambda find: -find.net_micro):
            self._submit(self._builder.build(each, now_ms))

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
        pays = self._statement.pays
        resolved = sum(shares * pays[token] // 1_000_000 for token, shares in held if token in pays)
        return Report(
            trades=tuple(trades),
            legs=tuple(legs),
            balance_before_micro=self._balance_micro,
            balance_micro=ledger.balance(self._account),
            resolved_micro=resolved,
            unresolved=tuple((t, s) for t, s in held if s and t not in pays),
            events=self._events,
            first_ms=first_ms,
            last_ms=last_ms,
            digest=digest,
            is_cancelled=cancelled,
            partial=(),
            curve=self._statement.curve.finish(last_ms),
            fills=self._statement.fills,
            resolutions=self._statement.resolutions,
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
        provisional_pnl_micro=result.provisional_pnl_micro,
        follow_ups=len(result.follow_ups),
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
