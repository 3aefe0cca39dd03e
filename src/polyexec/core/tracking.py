"""Orders whose money is not final yet, and how each piece of evidence moves the ledger.

An answer books at once what it proves. It leaves three things open: orders that may still trade,
the exact fee of what has traded (an answer gives totals, the fee is charged fill by fill), and
whether the trades settle. All are closed by the fills of the order, in any order and any number of
times. What has not settled is undated in the ledger: a balance of the exchange does not contain it.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from polyexec import _impl
from polyexec.core.candidates import WORST_FEE_RATE_MICRO, PricedLeg
from polyexec.core.journal import Ack, Close, Release, Trade
from polyexec.core.ledger import COLLATERAL, UNDATED, Ledger, Reservation, asset_given
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Clock, Fill, Journal
from polyexec.core.resolution import NextStep, ResolutionPolicy, UnknownOrder
from polyexec.enums import LegState, Settlement, Side
from polyexec.models import OrderId, TokenId
from polyexec.numbers import MICRO, PRICE_SCALE

__all__ = ["FeeRule", "OrderTracker", "OrderUpdate", "TrackedOrder", "total_fee_bound"]


class FeeRule(msgspec.Struct, frozen=True):
    """A market's taker fee."""

    rate_micro: int
    exponent: int

    def fee_micro(self, fill: Fill) -> int:
        """Return what the exchange charges a taker for one fill."""
        return _impl.fill_fee(fill.price_e4, fill.size_micro, self.rate_micro, self.exponent)


class Flow(msgspec.Struct, frozen=True):
    """Shares, collateral and fee that moved at one time."""

    filled_micro: int = 0
    paid_scaled: int = 0
    """Price x size, unrounded: micro-dollars times ``PRICE_SCALE``."""
    fee_micro: int = 0

    def plus(self, other: "Flow", sign: int = 1) -> "Flow":
        return Flow(
            self.filled_micro + sign * other.filled_micro,
            self.paid_scaled + sign * other.paid_scaled,
            self.fee_micro + sign * other.fee_micro,
        )


_NOTHING: Final = Flow()
_DEFAULT_RESOLUTION: Final = ResolutionPolicy()
# A delayed order was taken, but can still be dropped without a trace.
_FATE_UNKNOWN: Final = frozenset({LegState.UNKNOWN, LegState.UNMATCHED, LegState.DELAYED})


class TrackedOrder:
    """One of our orders, and what the ledger has booked for it so far.

    ``entry`` is the signed order as it was sent; ``unknown`` says when to ask for an order whose
    fate is not known. ``flows`` keeps each movement with the time at which it settled, because a
    balance that was taken later contains it: a correction of such a movement must not count again.
    """

    __slots__ = (
        "__weakref__",  # who asks for it is kept by those who ask
        "answer",
        "answer_ms",
        "entry",
        "fills",
        "flows",
        "group",
        "has_ended",
        "leg",
        "order_id",
        "reservation",
        "state",
        "times",
        "unknown",
    )

    def __init__(
        self,
        order_id: OrderId,
        leg: PricedLeg,
        reservation: Reservation,
        state: LegState,
        entry: bytes,
        group: int,
        has_ended: bool,
    ) -> None:
        self.order_id = order_id
        self.leg = leg
        self.reservation = reservation
        self.state = state
        self.entry = entry
        self.group = group
        self.has_ended = has_ended
        self.unknown: UnknownOrder | None = None
        self.answer = _NOTHING
        self.answer_ms = 0
        self.fills: tuple[Fill, ...] | None = None
        self.flows: dict[int, Flow] = {}
        self.times: dict[tuple[object, ...], int] = {}

    @property
    def filled_micro(self) -> int:
        """Shares that are booked as traded."""
        return sum(flow.filled_micro for flow in self.flows.values())

    @property
    def traded_micro(self) -> int:
        """Shares that ever traded, those of failed trades included."""
        return max(self.answer.filled_micro, _shares(self.fills or ()))

    @property
    def is_unsettled(self) -> bool:
        """Some of what has traded is in no balance of the exchange yet."""
        return UNDATED in self.flows

    def moves(self, asset: TokenId) -> bool:
        """Whether a trade of it changes the balance of an asset."""
        return asset in (COLLATERAL, self.leg.token_id)

    @property
    def fee_micro(self) -> int:
        """Taker fee that is booked."""
        return sum(flow.fee_micro for flow in self.flows.values())

    @property
    def paid_micro(self) -> int:
        """Collateral that is booked for what has traded, without fee."""
        return _round(sum(flow.paid_scaled for flow in self.flows.values()), self.leg)

    def __repr__(self) -> str:
        return f"TrackedOrder({self.order_id[:10]}…, {self.state}, filled={self.filled_micro})"


class OrderUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """News of one of our orders, after its answer: what is booked of it now."""

    order_id: OrderId
    leg: PricedLeg
    state: LegState
    filled_micro: int
    """Shares that traded, those of failed trades not counted."""
    paid_micro: int
    """Collateral for them, without fee."""
    fee_micro: int
    fills: tuple[Fill, ...]
    """All of them, each with its settlement; empty: the news is another."""


class OrderTracker:
    """Books answers and fills of orders into the ledger. Every method is atomic.

    Parameters
    ----------
    ledger : Ledger
    clock : Clock
    resolution : ResolutionPolicy
        When an unknown order is asked for, sent again, given up.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        resolution: ResolutionPolicy = _DEFAULT_RESOLUTION,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._resolution = resolution
        self._journal: Journal | None = None
        self._listeners: tuple[Callable[[TrackedOrder, Sequence[Fill]], None], ...] = ()
        self._open_legs: dict[int, int] = {}  # group -> orders of it that are not final
        self._lock = threading.Lock()
        self._orders: dict[OrderId, TrackedOrder] = {}

    def listen(
        self, listener: Callable[[TrackedOrder, Sequence[Fill]], None]
    ) -> Callable[[], None]:
        """Call ``listener`` after every change of an order that came after its answer.

        In the thread that brought the news, one listener after the other. Returns the way to stop.
        """
        with self._lock:
            self._listeners += (listener,)

        def stop() -> None:
            with self._lock:
                self._listeners = tuple(one for one in self._listeners if one != listener)

        return stop

    def _publish(self, order: TrackedOrder, fills: Sequence[Fill]) -> None:
        for listener in self._listeners:
            listener(order, fills)

    def keep(self, journal: Journal) -> None:
        """Tell a journal from now on what is booked, which reservations end, and which groups."""
        self._journal = journal

    @property
    def orders(self) -> tuple[TrackedOrder, ...]:
        """Orders that are not final: open, unknown, or with trades that have not settled."""
        with self._lock:
            return tuple(self._orders.values())

    def find(self, order_id: OrderId) -> TrackedOrder | None:
        """Return an order that is not final, or None."""
        with self._lock:
            return self._orders.get(order_id)

    def book_answer(
        self,
        *,
        order_id: OrderId,
        leg: PricedLeg,
        reservation: Reservation,
        outcome: LegOutcome,
        entry: bytes = b"",
        group: int = 0,
        has_ended: bool = False,
    ) -> int:
        """Book what the answer to the POST says of a leg; return the fee that was booked.

        ``group`` is one that :meth:`open_group` was told of, or 0. ``has_ended``: its reservation
        ended in an earlier run, as the journal knows, and this one holds what it had spent.
        """
        order = TrackedOrder(order_id, leg, reservation, outcome.state, entry, group, has_ended)
        with self._lock:
            self._learn(order, outcome)
            return order.fee_micro

    def open_group(self, group: int, legs: int) -> None:
        """Expect that many answers for a group; when all of it is final, the journal is told.

        One more than it has legs: not before :meth:`leave_group`, too.
        """
        with self._lock:
            self._open_legs[group] = legs

    def leave_group(self, group: int) -> None:
        """Say that nothing more will be done about a group. Once."""
        with self._lock:
            self._leave_group(group)

    def book_resend(self, order_id: OrderId, outcome: LegOutcome) -> None:
        """Book the answer to the same signed bytes, sent again.

        Only an acceptance tells something. A refusal is one of the second copy: the first may be
        the very reason, as its money is missing now.
        """
        with self._lock:
            order = self._orders.get(order_id)
            if order is None or order.unknown is None:
                return
            if outcome.state.is_accepted:
                order.state = outcome.state
                self._learn(order, outcome)
            elif outcome.state is not LegState.NOT_SENT:
                order.unknown.resent(self._clock.time_ms())
        self._publish(order, ())

    def not_found(self, order_id: OrderId, asked_ms: int) -> NextStep:
        """Book that the exchange does not know an order, as of a question at ``asked_ms``.

        After enough evidence the order is taken to be absent, and its money is free again.
        """
        with self._lock:
            order = self._orders.get(order_id)
            if order is None or order.unknown is None:
                return NextStep.ASK
            step = order.unknown.not_found(asked_ms, self._clock.time_ms())
            if step is NextStep.RESEND and not order.entry:
                step = NextStep.ASK
            if step is NextStep.ABSENT:
                order.state = LegState.NOT_SENT
                self._forget(order)
        if step is NextStep.ABSENT:
            self._publish(order, ())
        return step

    def not_answered(self, order_id: OrderId) -> None:
        """Book that a question for an order failed, which says nothing about it."""
        with self._lock:
            order = self._orders.get(order_id)
            if order is not None and order.unknown is not None:
                order.unknown.not_answered(self._clock.time_ms())

    def give_up(self, order_id: OrderId) -> bool:
        """Take an unknown order to be absent because a person says so; False: it is not unknown."""
        with self._lock:
            order = self._orders.get(order_id)
            if order is None or order.unknown is None:
                return False
            if self._journal is not None:
                note = "given up by a person"
                self._journal.append(Ack(order_id=order_id, at_ms=self._clock.time_ms(), note=note))
            order.state = LegState.NOT_SENT
            self._forget(order)
        self._publish(order, ())
        return True

    @property
    def unknown_orders(self) -> tuple[TrackedOrder, ...]:
        """Orders whose fate is not known, the one to ask for first ahead."""
        with self._lock:
            found = [order for order in self._orders.values() if order.unknown is not None]
        return tuple(sorted(found, key=_due_ms))

    def book_fills(
        self, order_id: OrderId, fills: Sequence[Fill], state: LegState, fee_rule: FeeRule
    ) -> None:
        """Book the exact figures of an order: all of its fills, and its state of now.

        Idempotent: the same fills again change nothing. A fill that failed to settle gives its
        money and shares back. An order is followed until all of its fills settled or failed.
        """
        with self._lock:
            order = self._orders.get(order_id)
            if order is None or _shares(fills) < order.traded_micro:
                return  # not ours, or older than what is proved already
            if order.fills == tuple(fills) and order.state is state and order.unknown is None:
                return  # nothing new, as mostly while a trade waits to be mined
            order.fills = tuple(fills)
            if self._journal is not None:
                self._journal.append(_trade(order_id, fills, state, fee_rule, self._clock))
            self._book(order, self._flows(order, fills, fee_rule))
            order.state = state
            self._watch(order)
            if not state.is_open:
                self._end(order)
                if all(Settlement.read(fill.status).is_final for fill in fills):
                    self._forget(order)
        self._publish(order, fills)

    def unsettled_micro(self, asset: TokenId) -> int:
        """Return what is booked of an asset and in no balance yet; negative: it will leave."""
        with self._lock:
            return sum(_unsettled(order, asset) for order in self._orders.values())

    def _learn(self, order: TrackedOrder, outcome: LegOutcome) -> None:
        """Book what an answer says of an order whose fills are not known yet."""
        if outcome.filled_micro:
            fee = total_fee_bound(order.leg, outcome.filled_micro, outcome.paid_micro)
            order.answer = Flow(outcome.filled_micro, outcome.paid_micro * PRICE_SCALE, fee)
            order.answer_ms = self._clock.time_ms()
            self._book(order, {UNDATED: order.answer})
        self._watch(order)
        if not outcome.state.is_open:
            self._end(order)
        if outcome.state.is_open or outcome.filled_micro:
            self._orders[order.order_id] = order
        else:
            self._orders.pop(order.order_id, None)
            self._leave_group(order.group)

    def _watch(self, order: TrackedOrder) -> None:
        if order.state not in _FATE_UNKNOWN:
            order.unknown = None
        elif order.unknown is None:
            order.unknown = UnknownOrder(self._resolution, self._clock.time_ms())

    def _forget(self, order: TrackedOrder) -> None:
        self._end(order)
        del self._orders[order.order_id]
        self._leave_group(order.group)

    def _leave_group(self, group: int) -> None:
        left = self._open_legs.get(group, 0) - 1
        if left > 0:
            self._open_legs[group] = left
        elif self._open_legs.pop(group, None) is not None and self._journal is not None:
            self._journal.append(Close(group=group, at_ms=self._clock.time_ms()))

    def _flows(
        self, order: TrackedOrder, fills: Sequence[Fill], fee_rule: FeeRule
    ) -> dict[int, Flow]:
        """Return what the fills moved, by the time at which it settled."""
        now = self._clock.time_ms()
        flows: dict[int, Flow] = {}
        answered = _NOTHING
        answered_last = 0
        for fill in fills:
            key = (fill.trade_id, fill.counter_order_id, fill.price_e4, fill.size_micro)
            settlement = Settlement.read(fill.status)
            at_ms = UNDATED
            if settlement.is_mined:
                at_ms = order.times.setdefault(key, _settled_ms(fill, now))
            elif settlement is Settlement.FAILED:
                if key not in order.times:
                    continue  # nothing ever moved
                at_ms = order.times[key]
            fee = fee_rule.fee_micro(fill) if fill.is_taker else 0
            flow = Flow(fill.size_micro, fill.price_e4 * fill.size_micro, fee)
            flows[at_ms] = flows.get(at_ms, _NOTHING).plus(flow)
            if _is_answered(order, fill):
                answered = answered.plus(flow)
                answered_last = max(answered_last, at_ms)
            if settlement is Settlement.FAILED:
                back_ms = order.times.setdefault((*key, "back"), now)
                flows[back_ms] = flows.get(back_ms, _NOTHING).plus(flow, -1)
        if answered.filled_micro and answered.filled_micro == order.answer.filled_micro:
            # the answer's total is exact; price x size need not be
            excess = order.answer.paid_scaled - answered.paid_scaled
            flows[answered_last] = flows[answered_last].plus(Flow(paid_scaled=excess))
        return flows

    def _book(self, order: TrackedOrder, flows: dict[int, Flow]) -> None:
        """Move the ledger from what was booked of the order to these flows."""
        leg = order.leg
        gives = asset_given(leg.side, leg.token_id)
        gets = leg.token_id if leg.side is Side.BUY else COLLATERAL
        times = sorted(order.flows.keys() | flows.keys())
        paid = {at_ms: _given(leg, order.flows.get(at_ms, _NOTHING)) for at_ms in times}
        due = {at_ms: _given(leg, flows.get(at_ms, _NOTHING)) for at_ms in times}
        unspent = max(0, sum(due.values()) - sum(paid.values()))
        # Undated is last: what has settled is booked with its time before it is taken back without
        # one, so that nobody finds it available in between.
        for at_ms in times:
            held = order.reservation.held_micro
            spent = max(0, min(due[at_ms] - paid[at_ms], unspent, held))
            if spent:
                self._ledger.spend(order.reservation, spent, at_ms=at_ms)
                unspent -= spent
            self._shift(gives, -paid[at_ms] - spent, -due[at_ms], at_ms)
            before = _got(leg, order.flows.get(at_ms, _NOTHING))
            self._shift(gets, before, _got(leg, flows.get(at_ms, _NOTHING)), at_ms)
        order.flows = flows

    def _shift(self, asset: TokenId, before: int, after: int, at_ms: int) -> None:
        """Make of an amount that was booked at a time another one at that time."""
        change = after - before
        if at_ms != UNDATED or change * before >= 0:
            self._ledger.book(asset, change, at_ms=at_ms)
        elif after * before >= 0:
            self._ledger.take_back(asset, -change)
        else:
            self._ledger.book(asset, after, at_ms=at_ms)
            self._ledger.take_back(asset, before)

    def _end(self, order: TrackedOrder) -> None:
        reservation = order.reservation
        if reservation.is_open:
            self._ledger.release(reservation)
        if self._journal is not None and not order.has_ended:
            self._journal.append(
                Release(
                    order_id=order.order_id,
                    at_ms=self._clock.time_ms(),
                    spent_micro=reservation.spent_micro,
                    released_micro=reservation.released_micro,
                )
            )
        order.has_ended = True


def _trade(
    order_id: OrderId, fills: Sequence[Fill], state: LegState, fee_rule: FeeRule, clock: Clock
) -> Trade:
    return Trade(
        order_id=order_id,
        at_ms=clock.time_ms(),
        state=state,
        fills=tuple(fills),
        fee_rate_micro=fee_rule.rate_micro,
        fee_exponent=fee_rule.exponent,
    )


def _due_ms(order: TrackedOrder) -> int:
    return order.unknown.due_ms if order.unknown else 0


def _shares(fills: Sequence[Fill]) -> int:
    return sum(fill.size_micro for fill in fills)


def _is_answered(order: TrackedOrder, fill: Fill) -> bool:
    """Return whether the answer to the POST counted a fill: it tells what the order took."""
    if not order.answer.filled_micro or not fill.is_taker:
        return False
    return fill.match_time_s * 1000 <= order.answer_ms


def _settled_ms(fill: Fill, now_ms: int) -> int:
    """Return a time at which a balance surely contains a fill that has settled.

    The exchange tells whole seconds, read as their end: until the next balance a fill may count
    twice, which makes less available than there is, never more.
    """
    if not fill.update_time_s:
        return now_ms
    return min(now_ms, fill.update_time_s * 1000 + 999)


def _given(leg: PricedLeg, flow: Flow) -> int:
    """Return what a flow took from us, micro-units of the asset that the leg gives."""
    if leg.side is Side.SELL:
        return flow.filled_micro
    return _round(flow.paid_scaled, leg) + flow.fee_micro


def _got(leg: PricedLeg, flow: Flow) -> int:
    """Return what a flow brought us, micro-units of the other asset."""
    if leg.side is Side.BUY:
        return flow.filled_micro
    return _round(flow.paid_scaled, leg) - flow.fee_micro


def _unsettled(order: TrackedOrder, asset: TokenId) -> int:
    flow = order.flows.get(UNDATED, _NOTHING)
    if asset == asset_given(order.leg.side, order.leg.token_id):
        return -_given(order.leg, flow)
    return _got(order.leg, flow) if order.moves(asset) else 0


def _round(scaled: int, leg: PricedLeg) -> int:
    """Return micro-dollars; a fraction of one is paid up by a BUY and lost by a SELL."""
    return -(-scaled // PRICE_SCALE) if leg.side is Side.BUY else scaled // PRICE_SCALE


def total_fee_bound(leg: PricedLeg, filled_micro: int, paid_micro: int) -> int:
    """Return the taker fee of fills known only by their totals, at most.

    The curve is concave for the exponents 0 and 1, so there the fee at the average price bounds
    the sum over the fills; for higher ones the dearest price that the limit allows does. Each fill
    is rounded by itself, which the rounding up to 1e-5 does not cover: the exact figure waits for
    the fills.
    """
    rate = WORST_FEE_RATE_MICRO if leg.fee_rate_micro is None else leg.fee_rate_micro
    e = leg.fee_exponent
    part, whole = paid_micro, filled_micro
    if e > 1:
        half = PRICE_SCALE // 2
        part = min(leg.limit_e4, half) if leg.side is Side.BUY else max(leg.limit_e4, half)
        whole = PRICE_SCALE
    # size * rate * (p(1-p))^e with p = part/whole, in exact integers
    numerator = filled_micro * rate
    denominator = MICRO
    for _ in range(e):
        numerator *= part * (whole - part)
        denominator *= whole * whole
    fee = -(-numerator // denominator)
    return -(-fee // 10) * 10
