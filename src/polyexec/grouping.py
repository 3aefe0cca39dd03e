"""What becomes of a group of legs after its answer: completed, given back, or reported as it is."""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from polyexec.core.groups import Cancel, Done, GroupAction, LegGroup, Send, Wait
from polyexec.core.holdings import Holdings
from polyexec.core.journal import OpenGroup
from polyexec.core.ledger import Ledger
from polyexec.core.pipeline import Pipeline, Plan
from polyexec.core.ports import AnswerCallback, Clock, Fill, OrderBatch, Outcome, Venue
from polyexec.core.risk import RiskGuard, Ticket
from polyexec.core.shapes import FollowUp
from polyexec.core.tracking import OrderTracker, TrackedOrder
from polyexec.enums import LegState, Side
from polyexec.errors import TransportError, VenueError
from polyexec.models import OrderId, TokenId
from polyexec.policies import GroupPolicy
from polyexec.reconciliation import follow_orders, take_balance
from polyexec.results import LegResult, TradeResult
from polyexec.resuming import resume_groups
from polyexec.signals import LegsSignal

__all__ = ["GroupKeeper"]

_log = logging.getLogger("polyexec.executor")
_MOST_ROUNDS: Final = 1000
_RETRY_S: Final = 1.0
_OPEN_OR_UNKNOWN: Final = frozenset({LegState.UNKNOWN, LegState.UNMATCHED})


class _Kept:
    """One group, and what the executor has to know besides."""

    __slots__ = ("follow_ups", "group", "is_busy", "is_final", "news", "numbers", "result")

    def __init__(self, group: LegGroup, result: TradeResult, numbers: list[int]) -> None:
        self.group = group
        self.result = result
        self.numbers = numbers  # in the journal, until it is left
        self.is_busy = False
        self.is_final = False
        self.follow_ups: list[LegResult] = []
        self.news = asyncio.Event()


class GroupKeeper:
    """Keeps the groups of one executor and carries out what their policy says.

    Parameters
    ----------
    venue, pipeline, tracker, ledger, risk, clock
        Shared with the executor.
    policy : GroupPolicy
    post : callable
        Sends a batch and calls back with its outcome exactly once.
    publish : callable
        Told every group's result again when it has changed after the submission was answered.
    on_answer : callable
        Told the order ids of every follow-up whose answer is booked, and when it was started.
    tickets : dict
        What the limits count for each order of an earlier run.
    on_order : callable or None
        Told what the tracker learns of an order after its answer.
    """

    def __init__(
        self,
        *,
        venue: Venue,
        pipeline: Pipeline,
        tracker: OrderTracker,
        ledger: Ledger,
        risk: RiskGuard,
        clock: Clock,
        policy: GroupPolicy,
        post: Callable[[OrderBatch, AnswerCallback], None],
        publish: Callable[[TradeResult], None],
        on_answer: Callable[[Sequence[OrderId], int], None],
        tickets: dict[OrderId, Ticket],
        on_order: Callable[[TrackedOrder, Sequence[Fill]], None] | None = None,
    ) -> None:
        self._on_order = on_order
        self._venue = venue
        self._pipeline = pipeline
        self._tracker = tracker
        self._ledger = ledger
        self._risk = risk
        self._clock = clock
        self._policy = policy
        self._post = post
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._of_order: dict[OrderId, _Kept] = {}
        self._answered = on_answer
        self._tickets = tickets
        self._holdings = Holdings(risk)
        for order_id, ticket in tickets.items():
            self._holdings.expect(ticket, (order_id,))
        self._closed = False
        self._tasks: set[asyncio.Task[bool]] = set()
        # Holding needs no orders, so nobody has to wait for anything.
        self._acts = policy.acts
        self._begun = False
        self._resumed: list[_Kept] = []
        self._paused: list[_Kept] = []
        tracker.listen(self._on_news)

    def answered(
        self, plan: Plan, result: TradeResult, deliver: Callable[[TradeResult], None]
    ) -> None:
        """Take in an answered group; ``deliver`` its result once nothing can be done at once.

        May be called from any thread. A group whose policy acts delivers on the loop.
        """
        group = LegGroup(
            plan.signal,
            plan.legs,
            plan.batch.order_ids,
            self._policy,
            started_ms=self._clock.time_ms(),
        )
        _hear(group, result.legs)
        kept = _Kept(group, result, [plan.group])
        kept.is_busy = self._acts
        self._track(kept, plan, result)
        if not self._acts or not any(leg.filled_micro for leg in result.legs):
            deliver(self._reported(kept))
            if not self._acts:
                return
            self._loop.call_soon_threadsafe(self._start, kept, None)
        else:
            self._loop.call_soon_threadsafe(self._start, kept, deliver)

    def restore(self, groups: Sequence[OpenGroup]) -> None:
        """Take in the groups of an earlier run; :meth:`begin` goes on with them."""
        resumed, lost = resume_groups(groups, self._policy)
        for number in lost:
            self._tracker.leave_group(number)
        for found in resumed:
            kept = _Kept(found.group, found.result, found.numbers)
            kept.follow_ups = found.follow_ups
            kept.is_busy = True
            followed = [each for each in found.order_ids if self._tracker.find(each) is not None]
            with self._lock:
                self._of_order.update(dict.fromkeys(followed, kept))
            self._resumed.append(kept)

    def begin(self) -> None:
        """Go on with the groups of an earlier run: the balance is known, which follow-ups need."""
        self._begun = True
        self.resume()

    def resume(self) -> None:
        """Go on with groups that wait, as soon as it is allowed and, of an earlier run, all known.

        Called on the loop, whenever that may have changed.
        """
        if not self._begun or self._closed:
            return
        is_enabled = self._pipeline.is_enabled
        if is_enabled:
            paused, self._paused = self._paused, []
            for kept in paused:
                self._start(kept, None)
        waiting: list[_Kept] = []
        for kept in self._resumed:
            kept.is_busy = False
            if is_enabled and not self._tracker.unknown_orders:
                self._start(kept, None)
            elif self._leave(kept):
                self._publish(self._reported(kept))
            else:
                kept.is_busy = True
                waiting.append(kept)
        self._resumed = waiting

    @property
    def waiting(self) -> frozenset[int]:
        """Groups and follow-ups, resumed or held back, that nothing may be done about yet."""
        kept = (*self._resumed, *self._paused)
        return frozenset(number for each in kept for number in each.numbers)

    @property
    def groups(self) -> tuple[LegGroup, ...]:
        """Groups with an order that is not final."""
        with self._lock:
            return tuple({id(kept): kept.group for kept in self._of_order.values()}.values())

    def start(self, interval_s: float) -> asyncio.Task[None]:
        """Give exposure back now and then; whoever cancels the task stops it."""
        return self._loop.create_task(self._observe_holdings(interval_s))

    def observe_positions(self) -> None:
        """Give back what groups tied up in shares that are no longer there. From any thread."""
        # Shares of orders that are not final belong to groups that tie up their whole cost.
        followed: Counter[TokenId] = Counter()
        for order in self._tracker.orders:
            if order.leg.side is Side.BUY:
                followed[order.leg.token_id] += order.filled_micro
        self._holdings.observe(
            lambda token: self._ledger.balance(token) - followed[token], self._clock.time_ms()
        )

    async def _observe_holdings(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            self.observe_positions()

    async def close(self) -> None:
        """Stop acting. What is not finished is held, and known to the journal."""
        self._closed = True
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, kept: _Kept, deliver: Callable[[TradeResult], None] | None) -> None:
        if self._closed:  # its answer came while the executor was closing: the next run goes on
            if deliver is not None:
                deliver(self._reported(kept))
            return
        kept.is_busy = True
        task = self._loop.create_task(self._carry_out(kept, deliver))
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, kept))

    def _ended(self, kept: _Kept, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is None and task.result():
            self._paused.append(kept)
            self.resume()  # it may be allowed again by now
            return
        kept.is_busy = False
        if kept.news.is_set():
            self._heard(kept)
        else:
            self._leave(kept)

    def _leave(self, kept: _Kept) -> bool:
        """Let the journal forget a group when nothing is left to be done or heard of it."""
        if kept.is_busy or self._closed or not self._acts:
            return False
        if any(self._tracker.find(order_id) for order_id in kept.group.order_ids):
            return False
        if not isinstance(kept.group.next_action(self._clock.time_ms()), Done):
            return False
        numbers, kept.numbers = kept.numbers, []
        for number in numbers:
            self._tracker.leave_group(number)
        return True

    async def _carry_out(self, kept: _Kept, deliver: Callable[[TradeResult], None] | None) -> bool:
        """Act until the group is done; deliver the result at the first pause.

        True: it has to wait until orders may be sent again.
        """
        told = deliver or self._publish
        try:
            for _ in range(_MOST_ROUNDS):
                kept.news.clear()
                action = kept.group.next_action(self._clock.time_ms())
                if isinstance(action, Send) and not self._pipeline.is_enabled:
                    if deliver is not None:
                        told(self._reported(kept))
                    return True  # its attempt is for when it may send again
                if isinstance(action, Send | Cancel):
                    try:
                        await self._act(kept, action)
                    except (TransportError, VenueError):
                        # Neither a cancel nor a question is the worse for being repeated.
                        _log.warning("group_delayed", exc_info=True)
                        await asyncio.sleep(_RETRY_S)
                    continue
                if deliver is not None or isinstance(action, Done):
                    told(self._reported(kept))
                    told, deliver = self._publish, None
                if isinstance(action, Done):
                    return False
                await self._pause(kept, action)
            _log.error("group_not_done", extra={"orders": kept.group.order_ids})
        except asyncio.CancelledError:
            if deliver is not None:
                told(self._reported(kept))
            raise
        except Exception:
            _log.exception("group_failed")
            if deliver is not None:
                told(self._reported(kept))
        return False

    async def _act(self, kept: _Kept, action: Send | Cancel) -> None:
        if isinstance(action, Cancel):
            await self._venue.cancel_orders(action.order_ids)
            # A cancel that found nothing to cancel tells as little as one that did: ask.
            await self._ask(action.order_ids)
            return
        await self._learn_positions(action)
        of = FollowUp(kept.numbers[0], action.purpose, action.places)
        plan = self._pipeline.follow_up(LegsSignal(action.legs, group_key="follow-up"), of)
        if isinstance(plan, TradeResult):
            _log.warning("follow_up_skipped", extra={"reason": plan.skipped})
            kept.group.skipped(action)
            return
        kept.numbers.append(plan.group)
        now_ms = self._clock.time_ms()
        try:
            kept.group.sent(action, plan.legs, plan.batch.order_ids, now_ms=now_ms)
        except Exception:  # a fault of ours, found before anything was sent
            self._pipeline.withdraw(plan)
            raise
        booked: asyncio.Future[None] = self._loop.create_future()

        def book(outcome: Outcome) -> None:
            try:
                self._book_follow_up(kept, plan, outcome)
            except Exception as error:
                booked.set_exception(error)
            else:
                booked.set_result(None)

        def on_outcome(outcome: Outcome) -> None:
            self._loop.call_soon_threadsafe(book, outcome)

        self._post(plan.batch, on_outcome)
        self._pipeline.sent(plan)
        # The orders exist, whoever stops waiting for them: their answer is booked in any case.
        await asyncio.shield(booked)

    def _book_follow_up(self, kept: _Kept, plan: Plan, outcome: Outcome) -> None:
        """Take in the answer to a follow-up."""
        result = self._pipeline.finish(plan, outcome, written_ns=plan.started_ns)
        self._answered(plan.batch.order_ids, plan.started_ns)
        kept.follow_ups += result.legs
        self._track(kept, plan, result)
        _hear(kept.group, result.legs)
        if self._closed:  # nobody acts on it any more
            self._publish(self._reported(kept))

    async def _learn_positions(self, send: Send) -> None:
        """Ask for what is to be sold: bought shares are ours to sell once a balance has them."""
        for token in sorted({leg.token_id for leg in send.legs if leg.side is Side.SELL}):
            await take_balance(self._venue, self._ledger, self._tracker, self._clock, token)

    async def _pause(self, kept: _Kept, action: GroupAction) -> None:
        """Wait for news, or until the patience with resting orders is over."""
        patience_s = None
        if isinstance(action, Wait) and action.until_ms is not None:
            patience_s = max(0.01, (action.until_ms - self._clock.time_ms()) / 1000)
        try:
            async with asyncio.timeout(patience_s):
                await kept.news.wait()
        except TimeoutError:
            pass

    async def _ask(self, order_ids: Sequence[OrderId]) -> None:
        wanted = [order for order in self._tracker.orders if order.order_id in order_ids]
        await follow_orders(self._venue, self._tracker, wanted, self._clock)

    def _track(self, kept: _Kept, plan: Plan, result: TradeResult) -> None:
        legs = [leg for leg in result.legs if leg.state.is_open or leg.filled_micro]
        ids = [leg.order_id for leg in legs]  # the others are final: nothing will be heard of them
        ticket = plan.ticket
        if ticket is not None and ids:
            self._holdings.expect(ticket, ids)
        with self._lock:
            self._of_order.update(dict.fromkeys(ids, kept))
            if ticket is not None:
                self._tickets.update(dict.fromkeys(ids, ticket))
        for leg in legs:
            if self._tracker.find(leg.order_id) is not None:
                continue
            # News of an order can end it before anybody here knows of it.
            with self._lock:
                self._of_order.pop(leg.order_id, None)
                self._tickets.pop(leg.order_id, None)
            if ticket is not None:
                buys = leg.side is Side.BUY
                self._holdings.ended(
                    ticket,
                    leg.order_id,
                    token_id=leg.token_id,
                    bought_micro=leg.filled_micro if buys else 0,
                    spent_micro=leg.paid_micro + leg.fee_micro if buys else 0,
                )

    def _on_news(self, order: TrackedOrder, fills: Sequence[Fill]) -> None:
        """Take in what the tracker learnt of an order. Called from any thread."""
        if self._on_order is not None:
            self._on_order(order, fills)
        with self._lock:
            kept = self._of_order.get(order.order_id)
            ticket = self._tickets.get(order.order_id)
        if ticket is not None and ticket.is_unknown and not self._is_unknown(ticket):
            self._risk.set_unknown(ticket, False)
        if kept is not None:
            for fill in fills:
                kept.group.on_fill(fill)
            kept.group.on_order(order.order_id, order.state, order.traded_micro)
            self._loop.call_soon_threadsafe(self._heard, kept)
        if self._tracker.find(order.order_id) is None:
            if ticket is not None:
                buys = order.leg.side is Side.BUY
                self._holdings.ended(
                    ticket,
                    order.order_id,
                    token_id=order.leg.token_id,
                    bought_micro=order.filled_micro if buys else 0,
                    spent_micro=order.reservation.spent_micro if buys else 0,
                )
            with self._lock:
                self._of_order.pop(order.order_id, None)
                self._tickets.pop(order.order_id, None)
        if self._resumed:
            self._loop.call_soon_threadsafe(self.resume)

    def _heard(self, kept: _Kept) -> None:
        """Go on with a group: its orders moved, or a trade of it has settled or failed."""
        kept.news.set()
        if kept.is_busy or self._closed:
            return
        if self._acts and not isinstance(kept.group.next_action(self._clock.time_ms()), Done):
            self._start(kept, None)
            return
        if kept.group.exposure.is_final and not kept.is_final:
            self._publish(self._reported(kept))
        self._leave(kept)

    def _is_unknown(self, ticket: Ticket) -> bool:
        with self._lock:
            mine = {order_id for order_id, held in self._tickets.items() if held is ticket}
        return any(order.order_id in mine for order in self._tracker.unknown_orders)

    def _reported(self, kept: _Kept) -> TradeResult:
        exposure = kept.group.exposure
        kept.is_final = exposure.is_final
        kept.result = msgspec.structs.replace(
            kept.result,
            follow_ups=tuple(kept.follow_ups),
            at_risk_micro=exposure.at_risk_micro,
            provisional_pnl_micro=exposure.pnl_micro,
            final_pnl_micro=exposure.final_pnl_micro,
            is_whole=exposure.is_whole,
        )
        return kept.result


def _hear(group: LegGroup, legs: Sequence[LegResult]) -> None:
    for leg in legs:
        known = leg.state not in _OPEN_OR_UNKNOWN
        group.on_order(
            leg.order_id,
            leg.state,
            leg.filled_micro if known else None,
            leg.paid_micro if known else None,
        )
