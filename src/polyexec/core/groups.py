"""A submitted group: what is known of its legs, and what to do while only some have traded.

``LegGroup`` keeps evidence and decides from it. Every piece of evidence only adds to what is known
(states and settlements move forward, fills are a set, totals grow), so late, doubled and reordered
news lead to the same group. A decision is a pure function of the evidence and of the orders sent so
far: asking again gives the same answer until something new is known.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from polyexec import _impl
from polyexec.constants import AMOUNT_DECIMALS
from polyexec.core.candidates import PricedLeg
from polyexec.core.evidence import OrderEvidence, Tally
from polyexec.core.exposure import Exposure, build_exposure, payoffs_of, sources_of, whole_sets
from polyexec.core.ports import Fill
from polyexec.enums import GroupStep, LegState, Settlement, Side
from polyexec.errors import InternalError, UsageError
from polyexec.models import Leg, OrderId, TokenId, TopOfBook
from polyexec.numbers import MICRO, PRICE_SCALE, from_e4, from_micro
from polyexec.policies import GroupPolicy
from polyexec.signals import ArbSignal, Signal

__all__ = ["Cancel", "Done", "GroupAction", "LegGroup", "Purpose", "Send", "Wait"]

Purpose: TypeAlias = Literal["complete", "unwind", "level"]

_LOT_MICRO: Final = 10_000
_CENT_E4: Final = 100
_MIN_SHARES_MICRO: Final = 5 * MICRO
_MIN_MARKETABLE_MICRO: Final = MICRO
_RESTING: Final = (LegState.LIVE, LegState.PARTIAL)


class Wait(msgspec.Struct, frozen=True):
    """Nothing may be done before more is known of these orders."""

    reason: str
    order_ids: tuple[OrderId, ...]
    until_ms: int | None = None
    """When patience with one of them is over; ``None``: nothing changes without news."""


class Cancel(msgspec.Struct, frozen=True):
    """Cancel what rests, then report each order's state and how much of it has traded."""

    order_ids: tuple[OrderId, ...]


class Send(msgspec.Struct, frozen=True):
    """Send these legs through the ordinary path, without slippage: their prices are the bound.

    Before the POST call :meth:`LegGroup.sent`, or :meth:`LegGroup.skipped` if they are refused.
    """

    purpose: Purpose
    legs: tuple[Leg, ...]
    places: tuple[int, ...]
    """Which leg of the group each one belongs to."""
    number: int
    """Follow-ups sent before it."""

    @property
    def reduces(self) -> bool:
        """It only gives up inventory."""
        return all(leg.side is Side.SELL for leg in self.legs)


class Done(msgspec.Struct, frozen=True):
    """Nothing is left to do. Only a trade that fails to settle can change that."""

    exposure: Exposure
    detail: str


GroupAction: TypeAlias = Wait | Cancel | Send | Done


class LegGroup:
    """One submitted group and its follow-ups. Every method is atomic.

    Parameters
    ----------
    signal : Signal
    legs : sequence of PricedLeg
        As they were sent.
    order_ids : sequence of OrderId
        Of the legs, in their order.
    policy : GroupPolicy
    started_ms : int
        When the legs were sent.

    Notes
    -----
    A set is one share of each leg, except where the legs of a ``LegsSignal`` without payout want
    different sizes: there it is in proportion to them.
    """

    def __init__(
        self,
        signal: Signal,
        legs: Sequence[PricedLeg],
        order_ids: Sequence[OrderId],
        policy: GroupPolicy,
        *,
        started_ms: int,
    ) -> None:
        self._lock = threading.Lock()
        self._legs = tuple(legs)
        self._payoffs = payoffs_of(signal, legs)
        self._ticks = tuple(source.tick_e4 for source in sources_of(signal))
        self._policy = policy
        self._orders = {
            order_id: OrderEvidence(order_id, leg, place, None, started_ms)
            for place, (leg, order_id) in enumerate(zip(legs, order_ids, strict=True))
        }
        if len(self._orders) != len(self._legs):
            raise UsageError("two legs of a group have the same order id")
        self._settlements: dict[str, Settlement] = {}
        self._sent: dict[Purpose, int] = {"complete": 0, "unwind": 0, "level": 0}
        is_set = (
            isinstance(signal, ArbSignal)
            or signal.payout_micro is not None
            or len({leg.wanted_micro for leg in legs}) == 1
        )
        least = min(leg.size_micro for leg in legs)
        self._goals = tuple(least if is_set else leg.size_micro for leg in legs)
        self._weights = (1,) * len(self._legs) if is_set else self._goals

    @property
    def order_ids(self) -> tuple[OrderId, ...]:
        """Of the legs and of every follow-up so far."""
        with self._lock:
            return tuple(self._orders)

    @property
    def is_unknown(self) -> bool:
        """Whether an order may exist or trade in a way that is not known."""
        with self._lock:
            return bool(self._unknown(self._tallies()))

    @property
    def exposure(self) -> Exposure:
        """What the group exposes to, by what is known now."""
        with self._lock:
            return self._exposure(self._tallies())

    def on_order(
        self,
        order_id: OrderId,
        state: LegState,
        filled_micro: int | None = None,
        paid_micro: int | None = None,
    ) -> bool:
        """Take note of an order's state. Return False for an order of another group.

        Parameters
        ----------
        filled_micro : int or None
            Shares that had traded in that state. An order that ended is followed up until it is
            told.
        paid_micro : int or None
            Collateral for them, without fee; not told: at the limit price.
        """
        if min(filled_micro or 0, paid_micro or 0) < 0:
            raise UsageError(f"negative amounts: {filled_micro}, {paid_micro}")
        with self._lock:
            order = self._orders.get(order_id)
            if order is not None:
                order.hear(LegState(state), filled_micro, paid_micro)
            return order is not None

    def on_fill(self, fill: Fill) -> bool:
        """Take note of a match and of its settlement. Return False when it is another group's."""
        with self._lock:
            order = self._orders.get(fill.order_id)
            if order is None:
                return False
            order.hear_fill(fill)
            self._settle(fill.trade_id, Settlement.read(fill.status))
            return True

    def on_settlement(self, trade_id: str, settlement: Settlement) -> None:
        """Take note of where a trade stands, whether or not its matches are known yet."""
        with self._lock:
            self._settle(trade_id, Settlement(settlement))

    def next_action(
        self, now_ms: int, quotes: Mapping[TokenId, TopOfBook] | None = None
    ) -> GroupAction:
        """Return what to do now. Asking changes nothing.

        Parameters
        ----------
        now_ms : int
            Unix time; only measures patience.
        quotes : mapping or None
            Top of the books where it is known. A follow-up BUY is then priced at an ask that holds
            enough, and is not sent when the ask is beyond the cap.
        """
        with self._lock:
            return self._decide(now_ms, quotes or {})

    def sent(
        self,
        send: Send,
        legs: Sequence[PricedLeg],
        order_ids: Sequence[OrderId],
        *,
        now_ms: int,
    ) -> None:
        """Take in the orders of a follow-up. To be called before their POST: they may exist then.

        Raises
        ------
        UsageError
            The follow-up was answered for already, or ids are known or do not belong to it.
        InternalError
            A leg was priced beyond its bound; nothing was taken in and nothing may be sent.
        """
        if not len(send.legs) == len(legs) == len(order_ids) == len(set(order_ids)):
            raise UsageError(f"{len(legs)} legs and {len(order_ids)} ids for {len(send.legs)} legs")
        for wanted, leg in zip(send.legs, legs, strict=True):
            if (leg.token_id, leg.side, leg.limit_e4) != (
                wanted.token_id,
                wanted.side,
                wanted.price_e4,
            ) or leg.size_micro > wanted.size_micro:
                raise InternalError(f"{send.purpose}: a leg was priced differently than asked")
        with self._lock:
            if any(order_id in self._orders for order_id in order_ids):
                raise UsageError("an order id of the follow-up is known already")
            self._use(send)
            for place, leg, order_id in zip(send.places, legs, order_ids, strict=True):
                self._orders[order_id] = OrderEvidence(order_id, leg, place, send.purpose, now_ms)

    def resume(
        self,
        purpose: Purpose,
        places: Sequence[int],
        legs: Sequence[PricedLeg],
        order_ids: Sequence[OrderId],
        *,
        sent_ms: int,
    ) -> None:
        """Take in a follow-up that an earlier run has sent: its attempt is used.

        Raises
        ------
        UsageError
            It does not belong to this group, or its ids are known already.
        """
        least, most = min(places, default=-1), max(places, default=-1)
        if purpose not in self._sent or least < 0 or most >= len(self._legs):
            raise UsageError(f"no follow-up of this group: {purpose!r} for legs {tuple(places)}")
        with self._lock:
            if any(order_id in self._orders for order_id in order_ids):
                raise UsageError("an order id of the follow-up is known already")
            self._sent[purpose] += 1
            for place, leg, order_id in zip(places, legs, order_ids, strict=True):
                self._orders[order_id] = OrderEvidence(order_id, leg, place, purpose, sent_ms)

    def skipped(self, send: Send) -> None:
        """Take note that a follow-up was refused before it was sent: its attempt is used."""
        with self._lock:
            self._use(send)

    # --- evidence -----------------------------------------------------------------------------

    def _use(self, send: Send) -> None:
        if send.number != sum(self._sent.values()):
            raise UsageError("this follow-up was answered for already")
        self._sent[send.purpose] += 1

    def _settle(self, trade_id: str, news: Settlement) -> None:
        known = self._settlements.get(trade_id)
        self._settlements[trade_id] = news if known is None else known.after(news)

    def _tallies(self) -> list[tuple[OrderEvidence, Tally]]:
        return [(order, order.tally(self._settlements)) for order in self._orders.values()]

    def _unknown(self, tallies: list[tuple[OrderEvidence, Tally]]) -> tuple[OrderId, ...]:
        return tuple(
            order.order_id
            for order, tally in tallies
            if order.state_of(tally.traded_micro) is LegState.UNKNOWN
        )

    def _exposure(self, tallies: list[tuple[OrderEvidence, Tally]]) -> Exposure:
        shares = [0] * len(self._legs)
        cash = fees = 0
        is_final = True
        for order, tally in tallies:
            sign = 1 if order.leg.side is Side.BUY else -1
            shares[order.place] += sign * tally.shares_micro
            cash -= sign * tally.paid_micro + tally.fee_micro
            fees += tally.fee_micro
            state = order.state_of(tally.traded_micro)
            is_final = is_final and tally.is_final and not state.is_open
        return build_exposure(
            [leg.side for leg in self._legs],
            shares,
            weights=self._weights,
            payoffs=self._payoffs,
            cash_micro=cash,
            fee_micro=fees,
            is_final=is_final,
        )

    # --- decision -----------------------------------------------------------------------------

    def _decide(self, now_ms: int, quotes: Mapping[TokenId, TopOfBook]) -> GroupAction:
        tallies = self._tallies()
        unknown = self._unknown(tallies)
        if unknown:
            return Wait("not known", unknown)
        exposure = self._exposure(tallies)
        progress = tuple(
            change if leg.side is Side.BUY else -change
            for leg, change in zip(self._legs, exposure.shares_micro, strict=True)
        )
        resting = [order for order, _ in tallies if order.state in _RESTING]
        if resting:
            return self._outlast(resting, exposure, now_ms)
        if not any(progress):
            return Done(exposure, "nothing is left traded")
        ready = [min(done, goal) for done, goal in zip(progress, self._goals, strict=True)]
        targets = self._targets(ready)
        highest = targets[0] if targets else progress
        if all(done >= need for done, need in zip(progress, highest, strict=True)):
            # No leg is behind another, but an improved BUY may be ahead.
            action = self._level(progress, tallies, quotes)
            return action or Done(exposure, "whole" if exposure.is_whole else "surplus held")
        for purpose in self._remaining_steps():
            if purpose == "complete":
                action = self._take("complete", progress, targets, tallies, quotes)
            else:
                action = self._give_back("unwind", progress, tallies, quotes)
            if action is not None:
                return action
        return Done(exposure, "exposure held")

    def _outlast(
        self, resting: list[OrderEvidence], exposure: Exposure, now_ms: int
    ) -> Wait | Cancel:
        """Let orders rest, or cancel them before anything else is done."""
        ids = tuple(order.order_id for order in resting)
        first = [order for order in resting if order.purpose is None]
        is_even = len(first) == len(self._legs) and exposure.is_whole
        holds = self._policy.steps[0] is GroupStep.HOLD
        impatient = [
            order for order in resting if not (order.purpose is None and (holds or is_even))
        ]
        ends = {order.order_id: order.sent_ms + self._policy.patience_ms for order in impatient}
        overdue = tuple(order_id for order_id, end_ms in ends.items() if end_ms <= now_ms)
        return (
            Cancel(overdue) if overdue else Wait("resting", ids, min(ends.values(), default=None))
        )

    def _remaining_steps(self) -> list[Purpose]:
        """Return the steps that may still act; one that began ends those before it."""
        steps: list[Purpose] = []
        for step in self._policy.steps:
            if step is GroupStep.HOLD:
                break
            purpose: Purpose = "complete" if step is GroupStep.COMPLETE else "unwind"
            if self._sent[purpose]:
                steps.clear()
            if self._sent[purpose] < self._policy.attempts:
                steps.append(purpose)
        return steps

    def _level(
        self,
        progress: tuple[int, ...],
        tallies: list[tuple[OrderEvidence, Tally]],
        quotes: Mapping[TokenId, TopOfBook],
    ) -> GroupAction | None:
        if self._policy.level == "off" or self._sent["level"] >= self._policy.attempts:
            return None
        if self._policy.level == "sell":
            return self._give_back("level", progress, tallies, quotes)
        return self._take("level", progress, self._targets(progress), tallies, quotes)

    def _targets(self, heights: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the sets that bring every leg as far as one of them is, largest first."""
        targets = {
            tuple(weight * height // unit for weight in self._weights)
            for height, unit in zip(heights, self._weights, strict=True)
            if height > 0
        }
        return sorted(targets, reverse=True)

    def _take(
        self,
        purpose: Purpose,
        progress: tuple[int, ...],
        targets: list[tuple[int, ...]],
        tallies: list[tuple[OrderEvidence, Tally]],
        quotes: Mapping[TokenId, TopOfBook],
    ) -> Send | None:
        """Take what is missing to the largest target that every leg can reach.

        A target that one leg cannot reach, because what it misses is too small to be sent, would
        only make the others stand out more.
        """
        budget = self._budget(tallies)
        for target in targets:
            missing = [goal - done for goal, done in zip(target, progress, strict=True)]
            total = sum(part for part in missing if part > 0)
            if total == 0:
                continue
            band = self._policy.complete_band_e4
            if budget is not None:
                band = min(band, budget * PRICE_SCALE // total)
            legs = [
                self._follow_up(place, self._legs[place].side, part, band, quotes)
                for place, part in enumerate(missing)
                if part > 0
            ]
            made = [leg for leg in legs if leg is not None]
            if len(made) == len(legs):
                places = tuple(place for place, part in enumerate(missing) if part > 0)
                return Send(purpose, tuple(made), places, sum(self._sent.values()))
        return None

    def _give_back(
        self,
        purpose: Purpose,
        progress: tuple[int, ...],
        tallies: list[tuple[OrderEvidence, Tally]],
        quotes: Mapping[TokenId, TopOfBook],
    ) -> GroupAction | None:
        """Give back what is beyond complete sets, once it can be given."""
        kept = whole_sets(progress, self._weights)
        made: list[Leg] = []
        places: list[int] = []
        for place, (done, keep) in enumerate(zip(progress, kept, strict=True)):
            side = Side.SELL if self._legs[place].side is Side.BUY else Side.BUY
            leg = self._follow_up(place, side, done - keep, self._policy.unwind_band_e4, quotes)
            if leg is not None:
                made.append(leg)
                places.append(place)
        # Shares that are not on chain yet cannot be sold: the exchange would refuse the order.
        settling = tuple(
            order.order_id
            for order, tally in tallies
            if order.place in places
            and order.leg.side is Side.BUY
            and not tally.is_on_chain
            and self._legs[order.place].side is Side.BUY
        )
        if settling:
            return Wait("settling", settling)
        if not made:
            return None
        return Send(purpose, tuple(made), tuple(places), sum(self._sent.values()))

    def _budget(self, tallies: list[tuple[OrderEvidence, Tally]]) -> int | None:
        """Return what completing may still cost beyond the legs' limits."""
        most = self._policy.max_extra_cost_micro
        if most is None:
            return None
        used = 0
        for order, tally in tallies:
            if (
                order.purpose in ("complete", "level")
                and order.leg.side is self._legs[order.place].side
            ):
                at_limit = self._legs[order.place].limit_e4 * tally.shares_micro
                extra = tally.paid_micro * PRICE_SCALE - at_limit
                extra = extra if order.leg.side is Side.BUY else -extra
                used += max(0, -(-extra // PRICE_SCALE))
        return max(0, most - used)

    def _follow_up(
        self,
        place: int,
        side: Side,
        size_micro: int,
        band_e4: int,
        quotes: Mapping[TokenId, TopOfBook],
    ) -> Leg | None:
        """Return a leg that trades this much within the band; None: too small, or no such price."""
        leg, tick, kind = self._legs[place], self._ticks[place], self._policy.order_type
        size = max(size_micro, 0) // _LOT_MICRO * _LOT_MICRO
        if size < max(_MIN_SHARES_MICRO, leg.min_order_size_micro):
            return None
        limit = _bound(leg.limit_e4, side, band_e4, tick)
        quote = quotes.get(leg.token_id)
        if quote is not None and kind.is_immediate:
            best = quote.best_ask_e4 if side is Side.BUY else quote.best_bid_e4
            if best is None or (best > limit if side is Side.BUY else best < limit):
                return None
            # At an ask that holds enough a FAK BUY gets the shares it asks for, at the cap more.
            if (
                side is Side.BUY
                and quote.best_ask_size_micro >= size
                and (tick is None or best % tick == 0)
            ):
                limit = best
        if kind.is_immediate:
            spend = limit * size // PRICE_SCALE if side is Side.BUY else size
            decimals = AMOUNT_DECIMALS.get(tick or 0, 4)
            maker, taker = _impl.market_amounts(limit, spend, side.code, decimals)
        else:
            maker, taker = _impl.limit_amounts(limit, size, side.code)
        if taker == 0 or (side is Side.BUY and maker < _MIN_MARKETABLE_MICRO):
            return None
        return Leg(
            leg.token_id,
            side,
            from_e4(limit),
            from_micro(size),
            order_type=kind,
            market_slug=leg.market_slug,
            neg_risk=leg.neg_risk,
            tick_size=None if tick is None else from_e4(tick),
            generation=leg.generation,
            fee_rate=None if leg.fee_rate_micro is None else from_micro(leg.fee_rate_micro),
            fee_exponent=leg.fee_exponent,
            min_order_size=from_micro(leg.min_order_size_micro),
        )


def _bound(limit_e4: int, side: Side, band_e4: int, tick_e4: int | None) -> int:
    """Return the worst price within the band of a limit, on its grid and inside the book."""
    # Without a tick only whole cents away from a price that was good are known to be good.
    step = tick_e4 or _CENT_E4
    steps = band_e4 // step
    if side is Side.BUY:
        return limit_e4 + step * min(steps, (PRICE_SCALE - 1 - limit_e4) // step)
    return limit_e4 - step * min(steps, (limit_e4 - 1) // step)
