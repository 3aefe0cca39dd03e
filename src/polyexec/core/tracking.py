"""Orders whose money is not final yet, and how each piece of evidence moves the ledger.

An answer books at once what it proves. It leaves two things open: orders that may still trade, and
the exact fee of what has traded (an answer gives totals, the fee is charged fill by fill). Both are
closed by the fills of the order, in any order and any number of times.
"""

import threading
from collections.abc import Sequence

import msgspec

from polyexec import _impl
from polyexec.core.candidates import WORST_FEE_RATE_MICRO, PricedLeg
from polyexec.core.ledger import COLLATERAL, Ledger, Reservation
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Clock, Fill
from polyexec.enums import LegState, Side
from polyexec.models import OrderId
from polyexec.numbers import MICRO, PRICE_SCALE

__all__ = ["FeeRule", "OrderTracker", "TrackedOrder", "total_fee_bound"]


class FeeRule(msgspec.Struct, frozen=True):
    """A market's taker fee."""

    rate_micro: int
    exponent: int

    def fee_micro(self, fill: Fill) -> int:
        """Return what the exchange charges a taker for one fill."""
        return _impl.fill_fee(fill.price_e4, fill.size_micro, self.rate_micro, self.exponent)


class TrackedOrder:
    """One of our orders, and what the ledger has booked for it so far."""

    __slots__ = (
        "fee_micro",
        "filled_micro",
        "leg",
        "order_id",
        "paid_micro",
        "reservation",
        "state",
    )

    def __init__(
        self, order_id: OrderId, leg: PricedLeg, reservation: Reservation, state: LegState
    ) -> None:
        self.order_id = order_id
        self.leg = leg
        self.reservation = reservation
        self.state = state
        self.filled_micro = 0
        self.paid_micro = 0
        self.fee_micro = 0

    def __repr__(self) -> str:
        return f"TrackedOrder({self.order_id[:10]}…, {self.state}, filled={self.filled_micro})"


class OrderTracker:
    """Books answers and fills of orders into the ledger. Every method is atomic."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._orders: dict[OrderId, TrackedOrder] = {}

    @property
    def orders(self) -> tuple[TrackedOrder, ...]:
        """Orders that are not final: open, unknown, or with a fee that is only a bound."""
        with self._lock:
            return tuple(self._orders.values())

    def book_answer(
        self, *, order_id: OrderId, leg: PricedLeg, reservation: Reservation, outcome: LegOutcome
    ) -> int:
        """Book what the answer to the POST says of a leg; return the fee that was booked."""
        order = TrackedOrder(order_id, leg, reservation, outcome.state)
        with self._lock:
            if outcome.filled_micro:
                fee = total_fee_bound(leg, outcome.filled_micro, outcome.paid_micro)
                self._book(order, outcome.filled_micro, outcome.paid_micro, fee)
            if not outcome.state.is_open:
                self._end(reservation)
            if outcome.state.is_open or order.filled_micro:
                self._orders[order_id] = order
            return order.fee_micro

    def book_fills(
        self, order_id: OrderId, fills: Sequence[Fill], state: LegState, fee_rule: FeeRule
    ) -> None:
        """Book the exact figures of an order: all of its fills, and its state of now.

        Idempotent: the same fills again change nothing. Fills that failed to settle do not count.
        """
        with self._lock:
            order = self._orders.get(order_id)
            if order is None:
                return
            counted = [fill for fill in fills if fill.status != "FAILED"]
            filled = sum(fill.size_micro for fill in counted)
            if filled == order.filled_micro:
                paid = order.paid_micro  # the answer's total is exact; price x size need not be
            else:
                paid = sum(fill.price_e4 * fill.size_micro // PRICE_SCALE for fill in counted)
            fee = sum(fee_rule.fee_micro(fill) for fill in counted if fill.is_taker)
            if filled < order.filled_micro:
                return  # older than what the answer already proved
            self._book(order, filled, paid, fee)
            order.state = state
            if not state.is_open:
                self._end(order.reservation)
                del self._orders[order_id]

    def _book(self, order: TrackedOrder, filled: int, paid: int, fee: int) -> None:
        """Move the ledger from what was booked of the order to these totals."""
        at_ms = self._clock.time_ms()
        ledger, leg = self._ledger, order.leg
        shares = filled - order.filled_micro
        money = paid - order.paid_micro
        extra_fee = fee - order.fee_micro
        if leg.side is Side.BUY:
            self._spend(order.reservation, money + extra_fee, at_ms)
            ledger.book(leg.token_id, shares, at_ms=at_ms)
        else:
            self._spend(order.reservation, shares, at_ms)
            ledger.book(COLLATERAL, money - extra_fee, at_ms=at_ms)
        order.filled_micro, order.paid_micro, order.fee_micro = filled, paid, fee

    def _end(self, reservation: Reservation) -> None:
        if reservation.is_open:
            self._ledger.release(reservation)

    def _spend(self, reservation: Reservation, micro: int, at_ms: int) -> None:
        """Take from the reservation what it still holds, and book the difference outright."""
        held = min(max(micro, 0), reservation.held_micro)
        if held:
            self._ledger.spend(reservation, held, at_ms=at_ms)
        self._ledger.book(reservation.asset, held - micro, at_ms=at_ms)


def total_fee_bound(leg: PricedLeg, filled_micro: int, paid_micro: int) -> int:
    """Return the taker fee of a fill known only by its totals: never less than the true one.

    The curve is concave for the exponents 0 and 1, so the fee at the average price bounds the sum
    over the fills; each fill is rounded by itself, which the rounding up to 1e-5 does not cover,
    so the exact figure waits for the fills.
    """
    rate = WORST_FEE_RATE_MICRO if leg.fee_rate_micro is None else leg.fee_rate_micro
    e = leg.fee_exponent
    # size * rate * (p(1-p))^e with p = paid/filled, in exact integers
    numerator = filled_micro * rate
    denominator = MICRO
    for _ in range(e):
        numerator *= paid_micro * (filled_micro - paid_micro)
        denominator *= filled_micro * filled_micro
    fee = -(-numerator // denominator)
    return -(-fee // 10) * 10
