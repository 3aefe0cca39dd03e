"""The executor: from a signal to its trade result.

``submit`` walks validate -> reserve -> price -> sign -> encode -> write in the caller's own thread
and returns when the bytes are with the kernel. Only the answer comes through the event loop.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from polyexec.account import build_signer
from polyexec.books import Booked
from polyexec.clob.user_channel import UserChannel
from polyexec.clob.venue import ClobVenue
from polyexec.clocks import SystemClock
from polyexec.config import ExecutorConfig
from polyexec.core.groups import LegGroup
from polyexec.core.ledger import COLLATERAL
from polyexec.core.pipeline import Pipeline, Plan
from polyexec.core.ports import (
    AnswerCallback,
    BalanceSnapshot,
    Clock,
    GuardedVenue,
    Journal,
    OrderBatch,
    Outcome,
    Venue,
)
from polyexec.enums import SkipReason, VenueMode
from polyexec.errors import InputError, UsageError
from polyexec.following import Follower
from polyexec.grouping import GroupKeeper
from polyexec.listening import OrderListener, open_listener
from polyexec.live_settings import check_live
from polyexec.models import OrderId, TokenId
from polyexec.observing import Observed
from polyexec.opening import (
    clob_venue,
    find_credentials,
    open_own_journal,
    pricing_policy,
    resolution_policy,
    wants_user_channel,
)
from polyexec.posting import AnswersDue, post
from polyexec.queueing import SignalQueue
from polyexec.reconciliation import Reconciliation, fetch_settled, reconcile, take_balance
from polyexec.recovery import Restored, restore
from polyexec.results import TradeResult
from polyexec.signals import ArbSignal, LegsSignal, Signal
from polyexec.submission import Submission
from polyexec.switching import Switched
from polyexec.venue_watch import VenueWatch

if TYPE_CHECKING:
    from polyexec.paper import PaperExchange

__all__ = ["BaseExecutor", "Executor"]

_log = logging.getLogger("polyexec.executor")


class BaseExecutor(Booked, Observed, Switched):
    """Everything of an executor but its way of waiting; see :class:`Executor`."""

    def __init__(
        self,
        config: ExecutorConfig,
        venue: Venue | None = None,
        *,
        clock: Clock | None = None,
        journal: Journal | None = None,
    ) -> None:
        if not isinstance(config, ExecutorConfig):
            raise InputError("config", config, "must be an ExecutorConfig")
        Booked.__init__(self, clock or SystemClock(), resolution_policy(config))
        self._watch = VenueWatch(self._clock)
        Observed.__init__(self, self._watch.changes)
        Switched.__init__(self, config)
        self._config = config
        self._venue = venue
        self._exchange: PaperExchange | None = None
        self._journal = journal
        self._recovering: frozenset[OrderId] = frozenset()
        self._signer = build_signer(config)
        self._pipeline: Pipeline | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread = 0
        self._due = AnswersDue()
        self._queue = SignalQueue(config.queue_size)
        self._follower: Follower | None = None
        self._keeper: GroupKeeper | None = None
        self._listener: OrderListener | None = None
        self._tasks: list[asyncio.Task[None]] = []

    # state ------------------------------------------------------------------------------------

    @property
    def config(self) -> ExecutorConfig:
        """The settings it was built with, or as changed last by :meth:`retune`."""
        return self._config

    @property
    def address(self) -> str:
        """Checksummed address of the EOA that signs."""
        return self._signer.address

    @property
    def funder(self) -> str:
        """Wallet that holds the money."""
        return self._signer.funder

    @property
    def is_open(self) -> bool:
        """It takes signals: opened, and not closed yet."""
        return self._pipeline is not None and not self._closed

    @property
    def venue(self) -> Venue:
        """Where the orders go.

        Raises
        ------
        UsageError
            The executor is not open and was not given one.
        """
        if self._venue is None:
            raise UsageError("the executor is not open: use `async with Executor(config)`")
        return self._venue

    @property
    def exchange(self) -> "PaperExchange":
        """The embedded paper exchange of ``executor_mode="paper"``.

        Raises
        ------
        UsageError
            The executor is not open, or trades elsewhere.
        """
        if self._exchange is None:
            raise UsageError("no embedded exchange: open an executor with executor_mode='paper'")
        return self._exchange

    @property
    def venue_mode(self) -> VenueMode:
        """What the exchange accepts, as far as its answers have told."""
        return self._watch.modes.mode

    @property
    def user_channel(self) -> UserChannel | None:
        """The connection that tells of our orders; None: not open, or not listening."""
        return self._listener.channel if self._listener is not None else None

    @property
    def leg_groups(self) -> tuple[LegGroup, ...]:
        """Groups with an order that is not final."""
        return () if self._keeper is None else self._keeper.groups

    @property
    def dropped_signals(self) -> int:
        """Signals that ``submit_nowait`` refused because its queue was full."""
        return self._queue.dropped

    def _positions_changed(self) -> None:
        if self._keeper is not None:
            self._keeper.observe_positions()

    def set_trading_enabled(self, flag: bool) -> bool:
        """Set the trading switch; switched on, groups of an earlier run go on. See ``Switched``."""
        is_done = super().set_trading_enabled(flag)
        if flag:
            self._go_on()
        return is_done

    def resume(self, *, source: str = "") -> None:
        """End the halt of one source; after the last, groups of an earlier run go on."""
        super().resume(source=source)
        self._go_on()

    def _go_on(self) -> None:
        if self._keeper is not None and self._loop is not None and not self._closed:
            self._loop.call_soon_threadsafe(self._keeper.resume)

    def retune(self, config: ExecutorConfig) -> None:
        """Go on with other limits, sizes and thresholds, from the next signal.

        Parameters
        ----------
        config : ExecutorConfig
            May differ from :attr:`config` in the settings that ``LIVE_SETTINGS`` names.

        Raises
        ------
        ConfigError
            It differs in another, which is named; nothing changes.
        """
        check_live(self._config, config)
        with self._switching:
            self._risk.change_limits(config.limits)
            if self._pipeline is not None:
                self._pipeline.retune(pricing_policy(config))
            self._config = config

    # the path ---------------------------------------------------------------------------------

    def submit(self, signal: Signal) -> Submission:
        """Act on a signal: when this returns, its orders are on the wire or it was refused.

        May be called from any thread.

        Returns
        -------
        Submission
            Awaitable; ``.skipped`` is known at once. Its result is never an exception for a
            refusal, by us or by the exchange.

        Raises
        ------
        InputError
            ``signal`` is not a signal.
        UsageError
            The executor is not open.
        """
        pipeline = self._ready(signal)
        submission = Submission(self._loop_thread)
        if self._has_recovered():
            plan = pipeline.prepare(signal)
        else:
            detail = f"{len(self._recovering)} orders of an earlier run are not resolved yet"
            plan = pipeline.skip(signal, SkipReason.RECOVERING, detail)
        if isinstance(plan, TradeResult):
            self._finish(submission, plan)
        else:
            self._send(pipeline, plan, submission)
        self._signals.publish(signal)
        return submission

    def submit_nowait(self, signal: Signal) -> bool:
        """Queue a signal; the executor takes one after the other, each after the last's answer.

        Returns
        -------
        bool
            False: the queue (``config.queue_size``) is full and the signal was dropped.

        Raises
        ------
        InputError, UsageError
            As :meth:`submit`.
        """
        self._ready(signal)
        return self._queue.put(signal)

    def _send(self, pipeline: Pipeline, plan: Plan, submission: Submission) -> None:
        written_ns = 0
        answered = threading.Lock()

        def on_outcome(outcome: Outcome) -> None:
            if not answered.acquire(blocking=False):
                _log.error("second_outcome", extra={"orders": plan.batch.order_ids})
                return
            try:
                result = pipeline.finish(
                    plan, outcome, written_ns=written_ns or time.perf_counter_ns()
                )
            except BaseException as error:
                submission._fail(error)
                raise
            finally:
                self._due.less()
            if self._keeper is None:
                self._finish(submission, result)
            else:
                self._keeper.answered(plan, result, lambda last: self._finish(submission, last))
            if result.unknown_orders and self._follower is not None:
                self._follower.wake()
            self._on_answer(plan.batch.order_ids, plan.started_ns)

        self._due.more()
        # The last step: a switch that was thrown since the checks still holds this back.
        if not self._door.enter():
            self._due.less()
            pipeline.withdraw(plan)
            self._finish(submission, pipeline.skip(plan.signal, *self._why_shut()))
            return
        try:
            post(self.venue, plan.batch, on_outcome)
        finally:
            self._door.leave()
        written_ns = time.perf_counter_ns()
        pipeline.sent(plan)

    def _post_more(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        """Post a follow-up, or an order again. :meth:`drain` waits for the answer."""
        answered = threading.Lock()

        def on_first(outcome: Outcome) -> None:
            if not answered.acquire(blocking=False):
                _log.error("second_outcome", extra={"orders": batch.order_ids})
                return
            try:
                on_outcome(outcome)
            finally:
                self._due.less()

        self._due.more()
        self._door.post(self.venue, batch, on_first)

    def _on_answer(self, order_ids: Sequence[OrderId], started_ns: int) -> None:
        if self._listener is not None:
            self._listener.answered(order_ids, started_ns)

    def _has_recovered(self) -> bool:
        """Return False while an order of an earlier run is unknown: nothing may be sent then."""
        if self._recovering:
            unknown = {order.order_id for order in self._tracker.unknown_orders}
            self._recovering &= unknown
        return not self._recovering

    def _finish(self, submission: Submission, result: TradeResult) -> None:
        submission._resolve(result)
        self._results.publish(result)

    def _ready(self, signal: Signal) -> Pipeline:
        if not isinstance(signal, ArbSignal | LegsSignal):
            raise InputError("signal", signal, "must be an ArbSignal or a LegsSignal")
        if self._closed:
            raise UsageError("the executor is closed")
        if self._pipeline is None:
            raise UsageError("the executor is not open: use `async with Executor(config)`")
        return self._pipeline

    # lifecycle --------------------------------------------------------------------------------

    def _check_unopened(self) -> None:
        # Before anything that a failure to open would undo: it must not close an open executor.
        if self._loop is not None or self._closed:
            raise UsageError("an executor is opened once")

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._bind_callbacks(self._loop)
        config = self._config
        url, trust = config.clob_url, config.ssl_context
        ws_url, ws_trust = config.channels_url, config.ssl_context
        if self._venue is None and config.executor_mode == "paper":
            from polyexec.paper import PaperExchange  # noqa: PLC0415  a live bot needs none of it

            self._exchange = PaperExchange(clock=self._clock.time_ms, chain_id=config.chain_id)
            await self._exchange.start()
            url, trust = self._exchange.url, self._exchange.ssl_context
            ws_url, ws_trust = self._exchange.ws_url, self._exchange.ssl_context
        credentials = await find_credentials(
            config, self._now_s, exchange=self._exchange, has_venue=self._venue is not None
        )
        listens = self._venue is None and wants_user_channel(
            config, ws_url, is_embedded=self._exchange is not None
        )
        if self._venue is None:
            self._venue = clob_venue(
                config,
                self._signer,
                credentials,
                url=url,
                ssl_context=trust,
                now_s=self._now_s,
            )
        if config.executor_mode != "off":
            await self._venue.open()
        restored = self._open_journal()
        self._pipeline = Pipeline(
            signer=self._signer,
            credentials=credentials,
            ledger=self._ledger,
            gate=self._gate,
            tracker=self._tracker,
            policy=pricing_policy(config),
            clock=self._clock,
            stopwatch=time.perf_counter_ns,
            builder=config.builder_code,
            journal=self._journal,
            risk=self._risk,
            modes=self._watch.modes,
            guard=self._venue if isinstance(self._venue, GuardedVenue) else None,
            keeps_groups=self._journal is not None and config.group_policy.acts,
        )
        self._keeper = GroupKeeper(
            venue=self._venue,
            pipeline=self._pipeline,
            tracker=self._tracker,
            ledger=self._ledger,
            risk=self._risk,
            clock=self._clock,
            policy=config.group_policy,
            post=self._post_more,
            publish=self._groups.publish,
            on_answer=self._on_answer,
            tickets=restored.tickets,
            on_order=self._tell_order,
        )
        self._keeper.restore(restored.groups)
        self._follower = Follower(
            venue=self._venue,
            pipeline=self._pipeline,
            tracker=self._tracker,
            clock=self._clock,
            post=self._post_more,
            interval_s=config.follow_interval_s,
        )
        self._tasks = [
            self._queue.start(self.submit),
            *self._follower.start(),
            self._keeper.start(config.follow_interval_s),
            *self._watch.start(self._venue),
        ]
        if listens and isinstance(self._venue, ClobVenue):
            self._listener, tasks = open_listener(
                config,
                self._venue,
                ws_url=ws_url,
                ssl_context=ws_trust,
                credentials=credentials,
                tracker=self._tracker,
                clock=self._clock,
            )
            self._tasks += tasks
        if config.executor_mode != "off":
            await self._refresh_balance()
            self._follower.wake()
            self._keeper.begin()

    async def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.set_trading_enabled(False)
        for task in self._tasks:
            task.cancel()
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):  # of before; what is open is closed all the same
                _log.error("task_failed", exc_info=ended)
        self._skip_queue()
        if self._keeper is not None:
            await self._keeper.close()
        await self._drain()
        if self._venue is not None and self._config.executor_mode != "off":
            await self._venue.close()
        if self._exchange is not None:
            await self._exchange.close()
        await self._close_callbacks()
        self._signer.close()
        if self._journal is not None:
            await asyncio.to_thread(self._journal.close)

    async def _drain(self) -> None:
        """Wait for the answers that are due, no longer than the last of them may take."""
        await self._due.wait(self._config.post_timeout_s + 1)

    def _open_journal(self) -> Restored:
        """Hold what an earlier run left open, before anything can be sent."""
        config = self._config
        if self._journal is None:
            is_exchange = isinstance(self._venue, ClobVenue)
            self._journal = open_own_journal(config, self._signer, is_exchange=is_exchange)
        if self._journal is None:
            return Restored(frozenset(), {})
        recovered = self._journal.recovered
        if recovered.warning:
            _log.warning("journal_truncated", extra={"detail": recovered.warning})
        self._tracker.keep(self._journal)
        restored = restore(
            recovered,
            ledger=self._ledger,
            tracker=self._tracker,
            journal=self._journal,
            risk=self._risk,
            signer=build_signer(config.replace(presign=0)),
            clock=self._clock,
            continues=config.group_policy.acts,
        )
        self._recovering = restored.unknown
        return restored

    def _skip_queue(self) -> None:
        for signal in self._queue.take_all():
            if self._pipeline is not None:
                reason = SkipReason.CLOSED
                self._results.publish(self._pipeline.skip(signal, reason, "executor closed"))

    def _now_s(self) -> float:
        return self._clock.time_ms() / 1000

    # asking the exchange ----------------------------------------------------------------------

    async def _refresh_balance(self) -> int:
        return await take_balance(self.venue, self._ledger, self._tracker, self._clock)

    async def _reconcile(self) -> Reconciliation:
        return await reconcile(self.venue, self._ledger, self._tracker, self._clock)

    async def _cancel_all(self) -> tuple[OrderId, ...]:
        return await self.venue.cancel_all()


class Executor(BaseExecutor):
    """Executes signals: one call from signal to orders and their true outcome.

    Use as ``async with Executor(config) as executor``. Signals may be submitted from any thread;
    results come through the loop that opened it.

    Parameters
    ----------
    config : ExecutorConfig
    venue : Venue or None
        Where the orders go; ``None``: what ``config`` says. A venue that is given is opened and
        closed with the executor.
    clock : Clock or None
        The machine's clocks by default.
    journal : Journal or None
        Keeps what is about to be sent, instead of the one that ``config`` names; closed with the
        executor.

    Raises
    ------
    ConfigError, SigningError
        The settings cannot work: a bad key, a wallet that does not belong to it.
    """

    async def __aenter__(self) -> Self:
        self._check_unopened()
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def close(self) -> None:
        """Refuse new signals, wait for answers that are due, close every connection."""
        await self._close()

    async def drain(self) -> None:
        """Wait until every submission has its answer, or is unknown because none came in time.

        Switch trading off before: others may be submitted meanwhile. What is cancelled afterwards
        is all that was open.
        """
        await self._drain()

    async def refresh_balance(self) -> int:
        """Ask the exchange for the balance; return it in micro-dollars."""
        return await self._refresh_balance()

    async def fetch_balance(self, token_id: TokenId = COLLATERAL) -> BalanceSnapshot:
        """Ask the exchange for the collateral or for the shares of a token, and change nothing.

        What has settled is asked for first: until that is known, the balance would count it twice.
        """
        return await fetch_settled(self.venue, self._tracker, self._clock, token_id)

    async def reconcile(self) -> Reconciliation:
        """Follow up every order that is not final, then compare our books with the exchange's."""
        return await self._reconcile()

    async def cancel_all(self) -> tuple[OrderId, ...]:
        """Cancel every open order of the account; return the ids that were cancelled."""
        return await self._cancel_all()
