"""validate -> reserve -> price -> sign -> encode, and the way back from the answer to the result.

``Pipeline.prepare`` turns a signal into the bytes of a POST, or into the reason why not;
``Pipeline.finish`` turns its outcome into the money that moved and a ``TradeResult``. Neither does
I/O. Whatever happens between, every reservation ends exactly once or stays held for an order that
may live.
"""

from collections.abc import Callable
from typing import Final, TypeAlias, cast

import msgspec

from polyexec._impl import LegTable
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.core.candidates import (
    Edge,
    PricedLeg,
    PricingPolicy,
    Skip,
    check_edge,
    check_liquidity,
    check_size,
    price_signal,
    priced_legs,
    worst_loss_micro,
)
from polyexec.core.gate import Gate
from polyexec.core.journal import Answered, Close, Intent, IntentLeg, Record, Sent
from polyexec.core.ledger import COLLATERAL, Ledger, Reservation, Shortage
from polyexec.core.orders import encode_orders, order_of, split_batch
from polyexec.core.outcome import LegOutcome, SentLeg, classify
from polyexec.core.ports import Clock, GuardedVenue, Journal, OrderBatch, Outcome
from polyexec.core.profit import cost_of, expected_pnl
from polyexec.core.risk import RiskGuard, Ticket, check_quotes
from polyexec.core.shapes import FollowUp, Shape, shape_of
from polyexec.core.signer import OrderSigner
from polyexec.core.tracking import OrderTracker, TrackedOrder
from polyexec.core.venue_mode import VenueModes, may_take, mode_news
from polyexec.enums import LegState, SkipReason, VenueMode
from polyexec.errors import JournalError
from polyexec.models import OrderId, TokenId
from polyexec.numbers import from_micro
from polyexec.results import Latency, LegResult, TradeResult
from polyexec.signals import LegsSignal, Signal

__all__ = ["Pipeline", "Plan"]

_ORDERS_PATH: Final = "/orders"

_Nanoseconds: TypeAlias = Callable[[], int]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A batch that is ready to be sent, and what it holds."""

    signal: Signal
    table: LegTable
    edge: Edge | None
    reservations: tuple[Reservation, ...]
    batch: OrderBatch
    group: int
    """Its number in the journal; 0 without one."""
    ticket: Ticket | None
    """Its place in the risk limits."""
    worst_loss_micro: int
    guarded: bool
    """It has a place in the gate, to be left when it is answered."""
    started_ns: int
    at_ms: int
    """When it was made, on the clock that never steps."""
    latency: Latency

    @property
    def legs(self) -> tuple[PricedLeg, ...]:
        """The legs as records."""
        return priced_legs(self.table)


class Pipeline:
    """The path of a signal for one account.

    Parameters
    ----------
    signer : OrderSigner
    credentials : ApiCredentials
        Owner of the orders and key of their authentication.
    ledger, gate, tracker
        State shared with the executor.
    policy : PricingPolicy
    clock : Clock
    stopwatch : callable
        Nanoseconds for the latency of the stages.
    builder : str
        bytes32 hex of every order.
    journal : Journal or None
        Keeps the intent before anything is sent.
    risk : RiskGuard or None
        Limits outside the strategy.
    modes : VenueModes or None
        What the venue accepts; fed with every answer.
    guard : GuardedVenue or None
        Knows the venue's rate limits and clock.
    keeps_groups : bool
        The journal keeps the shape of every group, and the group itself until
        ``tracker.leave_group`` says that nothing more will be done about it.
    """

    def __init__(
        self,
        *,
        signer: OrderSigner,
        credentials: ApiCredentials,
        ledger: Ledger,
        gate: Gate,
        tracker: OrderTracker,
        policy: PricingPolicy,
        clock: Clock,
        stopwatch: _Nanoseconds,
        builder: str,
        journal: Journal | None = None,
        risk: RiskGuard | None = None,
        modes: VenueModes | None = None,
        guard: GuardedVenue | None = None,
        keeps_groups: bool = False,
    ) -> None:
        self._keeps_groups = keeps_groups
        self._modes = modes or VenueModes()
        self._guard = guard
        self._signer = signer
        self._owner = credentials.api_key
        self._auth = L2Signer(signer.address, credentials)
        self._ledger = ledger
        self._gate = gate
        self._tracker = tracker
        self._risk = risk
        self.retune(policy)
        self._clock = clock
        self._stopwatch = stopwatch
        self._builder = builder
        self._journal = journal
        self._batches = signer.batch_builder(owner=credentials.api_key, builder=builder)

    def retune(self, policy: PricingPolicy) -> None:
        """Price by another policy from the next signal on, and take the age limit of the guard."""
        self._policy = policy
        self._exact_policy = msgspec.structs.replace(
            policy, slippage_enabled=False, buys_complements=False
        )
        self._max_age_ms = None if self._risk is None else self._risk.limits.max_quote_age_ms

    def prepare(self, signal: Signal) -> Plan | TradeResult:
        """Return a plan that holds its money and its place, or a skipped result that holds nothing.

        A plan must be given to :meth:`finish` exactly once.
        """
        watch = self._stopwatch
        started = watch()
        now_ns = self._clock.monotonic_ns()
        refusal = self._gate.check(now_ns)
        if refusal is not None:
            return self._skipped(signal, Skip(refusal, _GATE_DETAILS[refusal]), started)
        # Read once each: `retune` may come in between, in another thread.
        policy, max_age_ms = self._policy, self._max_age_ms
        time_ms = 0 if max_age_ms is None else self._clock.time_ms()
        stale = check_quotes(signal, time_ms, max_age_ms)
        if stale is not None:
            return self._skipped(signal, stale, started)
        validated = watch()
        table = price_signal(signal, policy, self._ledger.available)
        priced = watch()
        if isinstance(table, Skip):
            return self._skipped(signal, table, started)
        edge: Edge | None = None
        skip = check_liquidity(table)
        if skip is None:
            found = check_edge(signal, table, policy)
            if isinstance(found, Skip):
                skip = found
            else:
                edge, skip = found, check_size(table)
        if skip is not None:
            return self._skipped(signal, skip, started)
        return self._planned(signal, table, edge, now_ns, (started, validated, priced))

    @property
    def is_enabled(self) -> bool:
        """The trading switch is on, and nothing is halted."""
        return self._gate.enabled and (self._risk is None or self._risk.halted is None)

    def follow_up(self, legs: LegsSignal, of: FollowUp | None = None) -> Plan | TradeResult:
        """Do the same for legs that a group needs because others of it have traded.

        They are priced as asked, outside cooldown and edge: both were about the group. Switch,
        sizes, limits, ledger and journal hold.
        """
        started = self._stopwatch()
        if not self._gate.enabled:
            detail = _GATE_DETAILS[SkipReason.TRADING_DISABLED]
            return self._skipped(legs, Skip(SkipReason.TRADING_DISABLED, detail), started)
        table = price_signal(legs, self._exact_policy)
        skip = table if isinstance(table, Skip) else check_size(table)
        if skip is not None or isinstance(table, Skip):
            return self._skipped(legs, cast("Skip", skip), started)
        priced = self._stopwatch()
        return self._planned(legs, table, None, None, (started, started, priced), of)

    def _planned(
        self,
        signal: Signal,
        table: LegTable,
        edge: Edge | None,
        now_ns: int | None,
        times: tuple[int, int, int],
        of: FollowUp | None = None,
    ) -> Plan | TradeResult:
        """Admit, hold, sign; ``now_ns`` None: a follow-up, which needs no place in the gate."""
        watch = self._stopwatch
        started, validated, priced = times
        at_ms = (self._clock.monotonic_ns() if now_ns is None else now_ns) // 1_000_000
        stands_down = self._stands_down(signal, table.count, at_ms)
        if stands_down is not None:
            return self._skipped(signal, stands_down, started)
        loss = worst_loss_micro(signal, table)
        ticket = self._admit(table, loss)
        if isinstance(ticket, Skip):
            return self._skipped(signal, ticket, started)
        gated = watch()
        reservations = self._enter(table, now_ns)
        if isinstance(reservations, Skip):
            self._give_back(ticket)
            return self._skipped(signal, reservations, started)
        try:
            reserved = watch()
            time_ms = self._clock.time_ms()
            if self._journal is None:
                group = 0
                body, order_ids = self._sign_and_encode(table, time_ms)
            else:
                shape = shape_of(signal, table.sources, of) if self._keeps_groups else None
                group, body, order_ids = self._journaled(self._journal, table, time_ms, shape)
            signed = watch()
            headers = self._auth.headers(self._stamp_s(time_ms), "POST", _ORDERS_PATH, body)
            encoded = watch()
        except JournalError as error:
            self._withdraw(reservations, ticket, guarded=now_ns is not None)
            return self._skipped(signal, Skip(SkipReason.JOURNAL_FAILED, str(error)), started)
        except BaseException:
            self._withdraw(reservations, ticket, guarded=now_ns is not None)
            raise
        return Plan(
            signal=signal,
            table=table,
            edge=edge,
            reservations=reservations,
            batch=OrderBatch(path=_ORDERS_PATH, body=body, headers=headers, order_ids=order_ids),
            group=group,
            ticket=ticket,
            worst_loss_micro=loss,
            guarded=now_ns is not None,
            started_ns=started,
            at_ms=at_ms,
            latency=Latency(
                validate_us=(validated - started + gated - priced) / 1000,
                price_us=(priced - validated) / 1000,
                reserve_us=(reserved - gated) / 1000,
                sign_us=(signed - reserved) / 1000,
                encode_us=(encoded - signed) / 1000,
            ),
        )

    def withdraw(self, plan: Plan) -> None:
        """Give up a plan of which certainly nothing was sent."""
        self._withdraw(plan.reservations, plan.ticket, guarded=plan.guarded)
        self._append(Close(group=plan.group, at_ms=self._clock.time_ms()))

    def sent(self, plan: Plan) -> None:
        """Note that the bytes of a plan are with the kernel."""
        if self._journal is not None:
            self._append(Sent(group=plan.group, at_ms=self._clock.time_ms()))

    def finish(self, plan: Plan, outcome: Outcome, *, written_ns: int) -> TradeResult:
        """Book what the outcome says and return the result. Called exactly once per plan."""
        legs = plan.legs
        sent = [
            _sent(leg, order_id) for leg, order_id in zip(legs, plan.batch.order_ids, strict=True)
        ]
        try:
            outcomes = classify(sent, outcome)
            news = mode_news(outcome, outcomes, takes=may_take(plan.signal))
            if news is not None:
                now_ms = self._clock.monotonic_ns() // 1_000_000
                self._modes.heard(news, sent_ms=plan.at_ms, now_ms=now_ms)
            if self._journal is not None:
                self._tracker.open_group(plan.group, len(legs) + self._keeps_groups)
                at_ms = self._clock.time_ms()
                self._append(Answered(group=plan.group, at_ms=at_ms, legs=outcomes))
            results = tuple(
                self._book(leg, order_id, reservation, leg_outcome, entry, plan.group)
                for leg, order_id, reservation, leg_outcome, entry in zip(
                    legs,
                    plan.batch.order_ids,
                    plan.reservations,
                    outcomes,
                    split_batch(plan.batch.body),
                    strict=True,
                )
            )
        finally:
            if plan.guarded:
                self._gate.leave()
        now = self._stopwatch()
        answered = outcome.received_ns or now
        cost = sum(cost_of(leg, result) for leg, result in zip(legs, results, strict=True))
        if self._risk is not None and plan.ticket is not None:
            self._settle(self._risk, plan.ticket, results, cost)
        return TradeResult(
            signal=plan.signal,
            legs=results,
            detail="" if all(r.state.is_accepted for r in results) else _first_error(results),
            cost_micro=cost,
            worst_loss_micro=plan.worst_loss_micro,
            expected_pnl_micro=expected_pnl(plan.edge, legs, results, cost),
            latency=msgspec.structs.replace(
                plan.latency,
                response_us=max(0, answered - written_ns) / 1000,
                write_us=max(0, written_ns - plan.started_ns) / 1000 - _until_encoded(plan.latency),
                total_us=(now - plan.started_ns) / 1000,
            ),
            finished_ms=self._clock.time_ms(),
        )

    def resend(self, order: TrackedOrder) -> OrderBatch | None:
        """Return the POST of an unknown order's own signed bytes.

        None while trading is off or halted, or the venue would refuse it: that would tell nothing.
        """
        halted = self._risk is not None and self._risk.halted is not None
        if halted or not self._gate.enabled or self._modes.mode is not VenueMode.NORMAL:
            return None
        body = b"[" + order.entry + b"]"
        seconds = self._stamp_s(self._clock.time_ms())
        return OrderBatch(
            path=_ORDERS_PATH,
            body=body,
            headers=self._auth.headers(seconds, "POST", _ORDERS_PATH, body),
            order_ids=(order.order_id,),
        )

    def finish_resend(self, order: TrackedOrder, outcome: Outcome) -> None:
        """Book the outcome of such a POST."""
        (learnt,) = classify([_sent(order.leg, order.order_id)], outcome)
        self._tracker.book_resend(order.order_id, learnt)

    def skip(self, signal: Signal, reason: SkipReason, detail: str) -> TradeResult:
        """Return a skipped result for a signal that never started."""
        return self._skipped(signal, Skip(reason, detail), self._stopwatch())

    def _skipped(self, signal: Signal, skip: Skip, started_ns: int) -> TradeResult:
        took = (self._stopwatch() - started_ns) / 1000
        return TradeResult(
            signal=signal,
            skipped=skip.reason,
            detail=skip.detail,
            latency=Latency(validate_us=took, total_us=took),
            finished_ms=self._clock.time_ms(),
        )

    def _stands_down(self, signal: Signal, count: int, at_ms: int) -> Skip | None:
        """Say why the venue would refuse it: by its rate limits, or by its mode."""
        if self._guard is not None:
            wait_ms = self._guard.orders_wait_ms(count)
            if wait_ms:
                detail = f"the exchange's limit: {count} orders would pass in {wait_ms} ms"
                return Skip(SkipReason.RATE_LIMITED, detail)
        # Last, because letting one through as a probe is done once per probe time.
        if self._modes.mode is VenueMode.NORMAL:
            return None
        return self._modes.refusal(at_ms, takes=may_take(signal))

    def _stamp_s(self, time_ms: int) -> int:
        """Return the second to sign: the exchange compares it with its own clock."""
        offset_ms = 0 if self._guard is None else self._guard.clock_offset_ms
        return (time_ms + offset_ms) // 1000

    def _admit(self, table: LegTable, loss_micro: int) -> Ticket | Skip | None:
        if self._risk is None:
            return None
        cost = table.collateral_micro
        return self._risk.admit(cost, loss_micro, self._clock.time_ms(), reduces=cost == 0)

    def _give_back(self, ticket: Ticket | None) -> None:
        if self._risk is not None and ticket is not None:
            self._risk.give_back(ticket)

    def _settle(
        self, risk: RiskGuard, ticket: Ticket, results: tuple[LegResult, ...], cost_micro: int
    ) -> None:
        """Count a group with what it came to; unknown legs with all that they may cost."""
        is_unknown = any(result.state in _FATE_UNKNOWN for result in results)
        risk.settle(ticket, ticket.cost_micro if is_unknown else max(0, cost_micro))
        risk.set_unknown(ticket, is_unknown)
        if not any(result.state.is_open or result.filled_micro for result in results):
            risk.close(ticket)

    def _enter(self, table: LegTable, now_ns: int | None) -> tuple[Reservation, ...] | Skip:
        """Take the guard, hold the money, start the cooldown: all of it or nothing."""
        if now_ns is None:
            held = self._ledger.reserve(cast("list[tuple[TokenId, int]]", table.claims()))
            return _shortage(held) if isinstance(held, Shortage) else held
        refusal = self._gate.enter(now_ns)
        if refusal is not None:
            return Skip(refusal, _GATE_DETAILS[refusal])
        held = ()
        try:
            held = self._ledger.reserve(cast("list[tuple[TokenId, int]]", table.claims()))
            if isinstance(held, Shortage):
                self._gate.leave()
                return _shortage(held)
            refusal = self._gate.stamp(now_ns)
        except BaseException:
            self._gate.leave()
            raise
        if refusal is not None:
            self._withdraw(held, None, guarded=True)
            return Skip(refusal, _GATE_DETAILS[refusal])
        return held

    def _withdraw(
        self, reservations: tuple[Reservation, ...], ticket: Ticket | None, *, guarded: bool
    ) -> None:
        for reservation in reservations:
            self._ledger.release(reservation)
        self._give_back(ticket)
        if guarded:
            self._gate.leave()

    def _journaled(
        self, journal: Journal, table: LegTable, time_ms: int, shape: Shape | None
    ) -> tuple[int, bytes, tuple[OrderId, ...]]:
        """Sign between the intent and its seal; return the group, the body and the order ids."""
        group = journal.new_group()
        entropy = self._signer.salt_entropy(table.count)
        journal.begin(
            Intent(
                group=group,
                at_ms=time_ms,
                legs=tuple(
                    IntentLeg(
                        source.token_id, source.market_slug, table.row(index), _salt(entropy, index)
                    )
                    for index, source in enumerate(table.sources)
                ),
                timestamp_ms=time_ms,
                owner=self._owner,
                builder=self._builder,
                resignable=self._signer.is_deterministic,
                shape=shape,
            )
        )
        try:
            body, order_ids = self._sign_and_encode(table, time_ms, entropy)
            journal.seal(group, body, order_ids)
        except BaseException:
            self._append(Close(group=group, at_ms=time_ms))
            raise
        return group, body, order_ids

    def _append(self, record: Record) -> None:
        if self._journal is not None:
            self._journal.append(record)

    def _sign_and_encode(
        self, table: LegTable, time_ms: int, salts: bytes | None = None
    ) -> tuple[bytes, tuple[OrderId, ...]]:
        """Return the body of the POST and the ids of its orders."""
        if table.needs_v1:
            return self._sign_and_encode_v1(priced_legs(table), time_ms, salts)
        if salts is None:
            salts = self._signer.given_salts(table.count)
        body, order_ids = self._batches.build_table(table, time_ms, salts)
        return body, cast("tuple[OrderId, ...]", order_ids)

    def _sign_and_encode_v1(
        self, legs: tuple[PricedLeg, ...], time_ms: int, salts: bytes | None
    ) -> tuple[bytes, tuple[OrderId, ...]]:
        """Do the same for a batch with V1 orders, which production no longer takes."""
        drawn = salts or self._signer.salt_entropy(len(legs))
        orders = self._signer.sign_batch(
            order_of(leg, salt=_salt(drawn, i), timestamp_ms=time_ms, builder=self._builder)
            for i, leg in enumerate(legs)
        )
        body = encode_orders(
            orders,
            owner=self._owner,
            order_type=[leg.order_type for leg in legs],
            post_only=[leg.post_only for leg in legs],
        )
        return body, tuple(order.order_id for order in orders)

    def _book(
        self,
        leg: PricedLeg,
        order_id: OrderId,
        reservation: Reservation,
        outcome: LegOutcome,
        entry: bytes,
        group: int,
    ) -> LegResult:
        fee = self._tracker.book_answer(
            order_id=order_id,
            leg=leg,
            reservation=reservation,
            outcome=outcome,
            entry=entry,
            group=group,
        )
        return LegResult(
            state=outcome.state,
            order_id=order_id,
            token_id=leg.token_id,
            market_slug=leg.market_slug,
            side=leg.side,
            order_type=leg.order_type,
            neg_risk=leg.neg_risk,
            price_e4=leg.limit_e4,
            size_micro=leg.size_micro,
            filled_micro=outcome.filled_micro,
            paid_micro=outcome.paid_micro,
            fee_micro=fee,
            code=outcome.code,
            error=outcome.error,
            trade_ids=outcome.trade_ids,
        )


_FATE_UNKNOWN: Final = frozenset({LegState.UNKNOWN, LegState.UNMATCHED})
_GATE_DETAILS: Final = {
    SkipReason.TRADING_DISABLED: "trading is switched off: set_trading_enabled(True)",
    SkipReason.ALREADY_SUBMITTING: "another submission is without its answer (max_in_flight)",
    SkipReason.COOLDOWN_ACTIVE: "the last execution is too recent (opportunity_timeout_ms)",
}


def _salt(entropy: bytes, index: int) -> int:
    return int.from_bytes(entropy[8 * index : 8 * index + 8]) >> 11


def _sent(leg: PricedLeg, order_id: OrderId) -> SentLeg:
    return SentLeg(
        order_id=order_id,
        side=leg.side,
        order_type=leg.order_type,
        maker_micro=leg.maker_micro,
        taker_micro=leg.taker_micro,
    )


def _shortage(shortage: Shortage) -> Skip:
    needed, free = from_micro(shortage.needed_micro), from_micro(shortage.available_micro)
    if shortage.asset == COLLATERAL:
        return Skip(SkipReason.INSUFFICIENT_BALANCE, f"{needed} needed, {free} available")
    return Skip(
        SkipReason.INSUFFICIENT_POSITION,
        f"token {shortage.asset[:8]}…: {needed} shares to sell, {free} available",
    )


def _first_error(results: tuple[LegResult, ...]) -> str:
    return next((result.error for result in results if result.error), "")


def _until_encoded(latency: Latency) -> float:
    return (
        latency.validate_us
        + latency.reserve_us
        + latency.price_us
        + latency.sign_us
        + latency.encode_us
    )
