"""The runner: the live evaluator, executor and book keeper on a clock that the data turns."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from polyexec._impl import TapePlayer
from polyexec._pure.tapes import Stop as TapeStop
from polyexec.account import build_signer
from polyexec.backtest.loop import VirtualClock, VirtualLoop, run_virtual
from polyexec.backtest.progress import Advance, Progress, shown
from polyexec.backtest.replay import Books, ReplayedMarket, ReplayedVenue
from polyexec.backtest.report import LegRow, QueueRow, Report, TradeRow
from polyexec.backtest.statement import Statement
from polyexec.backtest.stream import Source, Stamped, merge
from polyexec.backtest.tape import Block, Tape
from polyexec.config import ExecutorConfig
from polyexec.core.forms import Form
from polyexec.core.opportunities import Found, SignalBuilder
from polyexec.core.signer import OrderSigner
from polyexec.dispatch import Publisher
from polyexec.engine.engine import build_evaluator
from polyexec.engine.following import FeedSettings
from polyexec.errors import InputError
from polyexec.executor import Executor
from polyexec.models import OrderId
from polyexec.numbers import Number, to_micro
from polyexec.paper import Conditions, PaperExchange
from polyexec.paper.queueing import FillBounds
from polyexec.results import TradeResult
from polyexec.signals import ArbSignal, Signal
from polyexec.submission import Submission

__all__ = ["NoBooksError", "Stop", "Strategy", "run"]

_MS_NS = 1_000_000
_OPENING_MS = 10_000  # the executor opens before the first event
_SETTLING_MS = 60_000
_TOLD_EVERY = 1_000  # events, for who wants to know the progress
# The wallet of the settings is somebody else's money, and so is the journal in their folder.
_NOT_OF_A_REPLAY: Final[dict[str, Any]] = {
    "signer_address": "",
    "proxy_address": "",
    "signature_type": None,
    "chain_id": 137,
    "executor_mode": "live",
    "journal_mode": "off",
    "presign": 0,
}

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
    latency_ms: tuple[int, int] | None = (20, 20),
    conditions: Conditions | None = None,
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
        Thresholds, sizes and policies; its key, wallet, hosts, modes and journal are not used. As
        a mapping (settings by name) it can be sent to another process; an ``ExecutorConfig`` holds
        secrets and cannot.
    balance : number
        Dollars at the start.
    latency_ms : (int, int) or None
        Until an order arrives, and until its answer is back; None: as ``conditions`` have it.
    conditions : Conditions or None
        What else the exchange does to orders: other latencies, queue estimate, matching delay,
        refusals, settlement and its failures, rebates. None: nothing.
    seed : int
        Of the account; ``conditions`` have their own, and nothing else is random.
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
    if latency_ms is None:
        travel_ms = 2 * _OPENING_MS
    elif len(latency_ms) == 2 and all(type(one) is int and one >= 0 for one in latency_ms):
        travel_ms = 2 * sum(latency_ms)
    else:
        raise InputError("latency_ms", latency_ms, "must be two whole numbers of 0 or more")
    first_ns, feed = _feed_of(sources)
    clock = VirtualClock(first_ns // _MS_NS - _OPENING_MS - travel_ms)
    job = _Run(
        strategy if callable(strategy) else None,
        known,
        clock,
        latency_ms,
        stop,
        conditions or Conditions(),
        first_ns // _MS_NS,
    )
    if not isinstance(config, ExecutorConfig):
        config = ExecutorConfig(**{**(config or {}), "private_key": "1" * 64})
    job.prepare(config, to_micro(balance, "balance"), seed)
    with shown(progress, unit="event", label="backtest") as advance:
        report = run_virtual(clock, job.play(feed, advance))
    if not job.market.keeper.counts.books and not report.is_cancelled:
        names = [one.name for one in sources]
        raise NoBooksError("data", names, "has no snapshot of a book that the forms name")
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


class _Stopped(Exception):
    """Somebody wants the run to end."""


class _Groups(Publisher[TradeResult]):
    """Keeps what has become of each group, by its first order."""

    def __init__(self) -> None:
        super().__init__("group")
        self.latest: dict[OrderId, TradeResult] = {}

    def publish(self, event: TradeResult) -> None:
        self.latest[event.legs[0].order_id] = event
        super().publish(event)


class _Executor(Executor):
    """An executor whose orders have the same ids in every run with the same key."""

    def __init__(
        self, config: ExecutorConfig, venue: ReplayedVenue, *, clock: VirtualClock
    ) -> None:
        super().__init__(config, venue, clock=clock)
        self._groups = self.groups = _Groups()
        salts = random.Random(f"polyexec/salt/{self.address}")  # noqa: S311 - nobody else's orders
        self._signer = OrderSigner(
            config.private_key.reveal(),
            chain_id=config.chain_id,
            salt=partial(salts.getrandbits, 53),
        )


class _Run:
    """One replay."""

    def __init__(
        self,
        strategy: Strategy | None,
        forms: Sequence[Form],
        clock: VirtualClock,
        latency_ms: tuple[int, int] | None,
        stop: Stop | None,
        conditions: Conditions,
        first_ms: int,
    ) -> None:
        self._strategy = strategy
        self._clock = clock
        self._latency_ms = latency_ms
        self._stop = stop
        self._forms = forms
        self._first_ms = first_ms
        self._exchange = PaperExchange(clock=clock.time_ms, conditions=conditions)
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
            **_NOT_OF_A_REPLAY,
        )
        self._evaluator = build_evaluator(self.market.table, self._config)
        if self._strategy is None:
            for form in self._forms:
                self._evaluator.add(form)
        self._balance_micro = balance_micro
        self._credentials = credentials

    async def play(self, feed: Tape | Iterator[Stamped], advance: Advance) -> Report:
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
        executor = _Executor(self._config, venue, clock=self._clock)
        async with executor as self._executor:
            self._statement = Statement(
                self._exchange.engine,
                self._account,
                bid_of=self._bid_of,
                exposure=lambda: self._executor.risk.exposure_micro,
            )
            try:
                if isinstance(feed, Tape):
                    await self._play_tape(loop, feed, advance)
                else:
                    await self._play_events(loop, feed, advance)
                cancelled = False
            except (KeyboardInterrupt, asyncio.CancelledError, _Stopped):
                cancelled = True
            last_ms = self._clock.now_ms
            await loop.advance(last_ms + _SETTLING_MS)  # answers and follow-ups that are due
            results = [(ms, await submission) for ms, _, submission in self._asked]
            latest = executor.groups.latest
            results = [
                (ms, latest.get(result.legs[0].order_id, result) if result.legs else result)
                for ms, result in results
            ]
        self._exchange.audit()
        return self._report(results, last_ms, cancelled)

    async def _play_events(
        self, loop: VirtualLoop, events: Iterator[Stamped], advance: Advance
    ) -> None:
        curve = self._statement.curve
        for one in events:
            self._check_stop()
            await loop.advance(one.received_ns // _MS_NS)
            if self._clock.now_ms >= curve.due_ms:
                curve.sample(self._clock.now_ms)
            self._take(one)
            if not self._events % _TOLD_EVERY:
                advance(_TOLD_EVERY)
        advance(self._events % _TOLD_EVERY)

    async def _play_tape(self, loop: VirtualLoop, tape: Tape, advance: Advance) -> None:
        table = self.market.table
        slots = [table.slot(token) for token in tape.tokens]
        player = TapePlayer(self._evaluator, table, slots, ahead_ms=FeedSettings().ahead_ms)
        player.stops_at_touch = self._strategy is not None
        others = told = 0
        try:
            for block in tape.blocks():
                player.load(block)
                others += await self._play_block(loop, tape, player, block)
                done = others + player.counts()["messages"]
                advance(done - told)
                told = done
        finally:
            counts, of_player = self.market.keeper.counts, player.counts()
            counts.books += of_player["books"]
            counts.changes += of_player["changes"]
            self._events += of_player["messages"]

    async def _play_block(
        self, loop: VirtualLoop, tape: Tape, player: TapePlayer, block: Block
    ) -> int:
        """Play a block; return how many messages of it were not the player's."""
        curve, at_least_ns, others = self._statement.curve, 0, 0
        watched: list[int] | None = None
        while True:
            self._check_stop()
            slots = self.market.our_slots()
            if slots is not watched:
                player.watch(slots)
                watched = slots
            due_ns = min(loop.next_due_ns(), curve.due_ms * _MS_NS)
            why = player.play(max(due_ns, at_least_ns))
            if why is TapeStop.END:
                return others
            if why is TapeStop.DUE:
                received_ns = block[0][player.row]
                await loop.advance(received_ns // _MS_NS)
                curve.sample(self._clock.now_ms)
                at_least_ns = received_ns + 1  # what was due has been done
                continue
            await loop.advance(player.received_ns // _MS_NS)
            if why is TapeStop.FOUND:
                for finds in player.finds:
                    self._submit_finds(finds)
            elif why is TapeStop.TOUCHED:
                self._look(player.touched, player.received_ns, player.voided)
            else:
                others += 1
                self._take(tape.event_at(block, player.row - 1)[0])

    def _check_stop(self) -> None:
        if self._stop is not None and self._stop.is_set():
            raise _Stopped

    def _take(self, one: Stamped) -> None:
        self._events += 1
        if one.kind == "resolution":
            self._statement.resolve(one.tokens, one.pays_micro, self._clock.now_ms)
            for token in one.tokens:
                self.market.resolve(token, one.pays_micro)
            return
        self.market.take(one, partial(self._after_event, one.received_ns))

    def _after_event(self, received_ns: int) -> None:
        touched, self._touched = dict.fromkeys(self._touched), []
        self._look(tuple(touched), received_ns)

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

    def _look(self, touched: tuple[int, ...], received_ns: int, voided: Sequence[int] = ()) -> None:
        """Let resting orders meet the new books, then look for what pays."""
        if self.market.is_ours:
            self.market.follow((*touched, *voided))
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
        self, results: list[tuple[int, TradeResult]], last_ms: int, cancelled: bool
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
            first_ms=self._first_ms,
            last_ms=last_ms,
            digest=digest,
            is_cancelled=cancelled,
            partial=(),
            curve=self._statement.curve.finish(last_ms),
            fills=self._statement.fills,
            resolutions=self._statement.resolutions,
            queues=_queues(self.market.fill_bounds()),
        )


def _queues(bounds: Iterable[FillBounds]) -> tuple[QueueRow, ...]:
    return tuple(
        QueueRow(
            order_id=one.order_id,
            size_micro=one.size_micro,
            lower_micro=one.lower_micro,
            filled_micro=one.filled_micro,
            upper_micro=one.upper_micro,
        )
        for one in bounds
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
