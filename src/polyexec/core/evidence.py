"""Evidence about one order, and what it adds up to.

Everything here only grows: the state moves forward, totals rise, matches are a set. So late,
doubled and reordered news end in the same evidence.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from polyexec import _impl
from polyexec.core.candidates import WORST_FEE_RATE_MICRO, PricedLeg
from polyexec.core.ports import Fill
from polyexec.core.tracking import total_fee_bound
from polyexec.enums import LegState, Settlement, Side
from polyexec.models import OrderId
from polyexec.numbers import PRICE_SCALE

__all__ = ["OrderEvidence", "Tally", "furthest"]

# Later in this list is later in the life of an order. NOT_SENT before LIVE, because an order that
# was seen has been sent.
_PROGRESS: Final = (
    LegState.UNKNOWN,
    LegState.DELAYED,
    LegState.UNMATCHED,
    LegState.NOT_SENT,
    LegState.LIVE,
    LegState.PARTIAL,
    LegState.REJECTED,
    LegState.EXPIRED,
    LegState.CANCELLED,
    LegState.MATCHED,
)
_NEVER_THERE: Final = (LegState.NOT_SENT, LegState.REJECTED)
_ENDED: Final = (LegState.EXPIRED, LegState.CANCELLED, LegState.MATCHED)
_RESTING: Final = (LegState.LIVE, LegState.PARTIAL)


def furthest(state: LegState, news: LegState) -> LegState:
    """Return what is known of an order's state after news that may be late or doubled."""
    return max(state, news, key=_PROGRESS.index)


class Tally(msgspec.Struct, frozen=True):
    """What one order has moved, trades that failed taken out."""

    shares_micro: int
    paid_micro: int
    """Collateral without fee: paid by a BUY, received by a SELL."""
    fee_micro: int
    traded_micro: int
    """Shares that ever traded, those of failed trades included."""
    is_on_chain: bool
    is_final: bool


class OrderEvidence:
    """Evidence about one order of the group."""

    __slots__ = (
        "leg",
        "matches",
        "order_id",
        "paid",
        "place",
        "purpose",
        "sent_ms",
        "state",
        "told",
        "total",
    )

    def __init__(
        self, order_id: OrderId, leg: PricedLeg, place: int, purpose: str | None, sent_ms: int
    ) -> None:
        self.order_id = order_id
        self.leg = leg
        self.place = place
        self.purpose = purpose
        self.sent_ms = sent_ms
        self.state = LegState.UNKNOWN
        self.total: int | None = None
        """Shares traded as far as a state has told; None: none has."""
        self.paid: int | None = None
        """Collateral for ``total``; None: not told."""
        self.told = False
        """The order has ended, and how much of it had traded was told with that."""
        self.matches: set[_Match] = set()

    def hear(self, state: LegState, filled: int | None, paid: int | None) -> None:
        """Take note of a state, and of the totals that were told with it."""
        if state is LegState.REJECTED and filled:
            state = LegState.CANCELLED  # it was there, or it could not have traded
        self.state = furthest(self.state, state)
        if filled is not None and state in _ENDED:
            self.told = True
        if filled is None or filled < (self.total or 0):
            return
        if filled == self.total and self.paid is not None:
            # Two sources of one total: keep what is worse for us, whichever came first.
            worse = max if self.leg.side is Side.BUY else min
            paid = self.paid if paid is None else worse(paid, self.paid)
        self.total, self.paid = filled, paid

    def hear_fill(self, fill: Fill) -> None:
        """Take note of a match, once: the same match again is the same element."""
        self.matches.add(
            _Match(
                fill.trade_id,
                fill.counter_order_id,
                fill.price_e4,
                fill.size_micro,
                fill.is_taker,
            )
        )

    def tally(self, settlements: Mapping[str, Settlement]) -> Tally:
        """Return what the order has moved, given where its trades stand.

        Where every match is known their sum is exact. Until then the told total counts, at the
        limit where no collateral was told, with the largest fee.
        """
        at = {match: settlements[match.trade_id] for match in self.matches}
        failed = [match for match in self.matches if at[match] is Settlement.FAILED]
        kept = [match for match in self.matches if at[match] is not Settlement.FAILED]
        seen = sum(match.size_micro for match in self.matches)
        told = self.total or 0
        traded = max(seen, told)
        shares = traded - sum(match.size_micro for match in failed)
        is_complete = seen >= told
        if is_complete:
            paid = self._round(sum(match.price_e4 * match.size_micro for match in kept))
            if seen == told and not failed and self.paid is not None:
                paid = self.paid  # exact, where price x size need not be
            rate = (
                WORST_FEE_RATE_MICRO if self.leg.fee_rate_micro is None else self.leg.fee_rate_micro
            )
            fee = sum(
                _impl.fill_fee(match.price_e4, match.size_micro, rate, self.leg.fee_exponent)
                for match in kept
                if match.is_taker
            )
        else:
            whole = self.paid * PRICE_SCALE if self.paid is not None else told * self.leg.limit_e4
            back = sum(match.price_e4 * match.size_micro for match in failed)
            paid = min(max(self._round(whole - back), 0), shares)
            fee = total_fee_bound(self.leg, shares, paid) if shares else 0
        return Tally(
            shares_micro=shares,
            paid_micro=paid,
            fee_micro=fee,
            traded_micro=traded,
            is_on_chain=is_complete and all(at[match].is_mined for match in kept),
            is_final=is_complete and all(state.is_final for state in at.values()),
        )

    def state_of(self, traded: int) -> LegState:
        """Return the state to act on: UNKNOWN where the evidence leaves something to ask."""
        state = self.state
        if state in _NEVER_THERE:
            return LegState.UNKNOWN if traded else state
        if state.is_open:
            # An immediate order that is called live has not been matched yet.
            immediate = self.leg.order_type.is_immediate
            return state if state in _RESTING and not immediate else LegState.UNKNOWN
        is_full = state is LegState.MATCHED and traded >= self.leg.size_micro
        return state if self.told or is_full else LegState.UNKNOWN

    def _round(self, scaled: int) -> int:
        return -(-scaled // PRICE_SCALE) if self.leg.side is Side.BUY else scaled // PRICE_SCALE


class _Match(msgspec.Struct, frozen=True):
    trade_id: str
    counter_order_id: str
    price_e4: int
    size_micro: int
    is_taker: bool
