"""What a set of legs risks before it is sent, and what it exposes to after some of it traded.

One formula for both: the shares of each token that a group changes hands for, times what the token
pays in an outcome of the world, plus the collateral that moved. Shares sold out of inventory count
as negative, so their loss is measured against keeping them: the payoff given up minus the proceeds.
"""

from collections.abc import Collection, Sequence
from typing import TypeAlias

import msgspec

from polyexec.core.candidates import PricedLeg
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Side, Strategy
from polyexec.models import Leg, Quote
from polyexec.numbers import MICRO
from polyexec.signals import LegsSignal, Signal

__all__ = [
    "Exposure",
    "GroupRisk",
    "Payoffs",
    "build_exposure",
    "payoffs_of",
    "sources_of",
    "whole_sets",
    "worst_loss",
]

Payoffs: TypeAlias = tuple[tuple[int, ...], ...] | None
"""One row per outcome of the world: micro-dollars that a share of each leg's token pays then.

``None``: the tokens are not known to hang together, each pays 0 or 1 by itself.
"""


class GroupRisk(msgspec.Struct, frozen=True):
    """What a group can lose if only some of its legs trade and it is left as it is.

    Attributes
    ----------
    loss_micro : int
        The most, in micro-dollars, fees in; 0 when no partial outcome loses anything.
    legs : tuple of int
        The legs whose trading makes that loss; the others have not traded.
    outcome : int or None
        Row of the payoffs in which it happens; ``None`` when each token pays by itself.
    losses_micro : tuple of tuples
        What each leg loses when it trades in full, per outcome; negative is a gain.
    """

    loss_micro: int
    legs: tuple[int, ...]
    outcome: int | None
    losses_micro: tuple[tuple[int, ...], ...]

    def loss_of(self, traded: Collection[int]) -> int:
        """Return the worst loss when exactly these legs trade in full; negative is a sure gain.

        Parameters
        ----------
        traded : collection of int
            Places of the legs, from 0.
        """
        legs = set(traded)
        if any(not 0 <= leg < len(self.losses_micro[0]) for leg in legs):
            raise IndexError(f"legs {sorted(legs)} of {len(self.losses_micro[0])}")
        return max(sum(row[leg] for leg in legs) for row in self.losses_micro)


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """What a group has done to the account, and what may come of it. Micro-units, against us."""

    shares_micro: tuple[int, ...]
    """Change of each leg's token: bought is positive, sold negative."""
    sets_micro: int
    """Complete sets: the same share of every leg."""
    leftover_micro: tuple[int, ...]
    """Shares beyond complete sets, signed as ``shares_micro``."""
    cash_micro: int
    """Collateral received minus collateral paid, fees in: mostly negative."""
    fee_micro: int
    """Fees in ``cash_micro``: exact where every fill is known, else at most."""
    worst_micro: int
    """Profit in the worst outcome; a SELL counts against keeping its shares."""
    best_micro: int
    """Profit in the best one."""
    is_final: bool
    """Nothing is open, every fill is known, and each is CONFIRMED or FAILED."""

    @property
    def is_whole(self) -> bool:
        """Nothing but complete sets."""
        return not any(self.leftover_micro)

    @property
    def pnl_micro(self) -> int:
        """Provisional profit: what trades that have not failed make in the worst outcome."""
        return self.worst_micro

    @property
    def final_pnl_micro(self) -> int | None:
        """The same once all of it is settled; ``None`` before."""
        return self.worst_micro if self.is_final else None

    @property
    def at_risk_micro(self) -> int:
        """The most that can still be lost, 0 if nothing."""
        return max(0, -self.worst_micro)


def sources_of(signal: Signal) -> tuple[Quote | Leg, ...]:
    """Return what each leg of a signal was made from, in the order of the legs."""
    if isinstance(signal, LegsSignal):
        return signal.legs
    rules = STRATEGIES[Strategy(signal.strategy)].legs
    return tuple(getattr(signal, rule.role) for rule in rules)


def payoffs_of(signal: Signal, legs: Sequence[PricedLeg]) -> Payoffs:
    """Return what each leg's token pays in each outcome that can happen.

    A leg that buys where the signal sells trades the complement, so it pays the rest of 1.
    """
    if isinstance(signal, LegsSignal):
        sides = [leg.side for leg in signal.legs]
        rows = signal.outcomes_micro
    else:
        rules = STRATEGIES[Strategy(signal.strategy)].legs
        sides = [rule.side for rule in rules]
        rows = tuple(
            tuple(pay * MICRO for pay in column)
            for column in zip(*(rule.pays for rule in rules), strict=True)
        )
    if rows is None:
        return None
    return tuple(
        tuple(
            pay if leg.side is side else MICRO - pay
            for leg, side, pay in zip(legs, sides, row, strict=True)
        )
        for row in rows
    )


def worst_loss(legs: Sequence[PricedLeg], payoffs: Payoffs) -> GroupRisk:
    """Return the most that a group can lose, over all partial fills and all outcomes.

    Parameters
    ----------
    legs : sequence of PricedLeg
        With the amounts that will be signed.
    payoffs : Payoffs
        From :func:`payoffs_of`.

    Notes
    -----
    Given the outcome, the loss is a sum over the legs, and each leg's part grows in proportion to
    how much of it trades: it is worst at nothing or at everything. So no subset of legs has to be
    tried: the worst of an outcome is the sum of the parts that lose, and the worst of all is their
    maximum. Between nothing and everything lies nothing worse, a maximum of such sums is convex.

    Prices count at the limit. A fill that improves is never worse: collateral falls faster than a
    fee of ``rate <= 1`` can grow. The exception is an immediate BUY that spends all its collateral
    at any price: where its token pays 1 the shares it gains outweigh the fee, elsewhere the largest
    fee counts, together with the fewest shares. Amounts are those of the order; its fee is rounded
    up once. If the exchange rounds the fee of each fill by itself, each can add up to 0.00001.
    """
    rows = ((None,) * len(legs),) if payoffs is None else payoffs
    losses = tuple(
        tuple(
            max(_leg_loss(leg, 0), _leg_loss(leg, MICRO)) if pay is None else _leg_loss(leg, pay)
            for leg, pay in zip(legs, row, strict=True)
        )
        for row in rows
    )
    worst = [sum(loss for loss in row if loss > 0) for row in losses]
    outcome = max(range(len(worst)), key=worst.__getitem__)
    return GroupRisk(
        loss_micro=worst[outcome],
        legs=tuple(place for place, loss in enumerate(losses[outcome]) if loss > 0),
        outcome=None if payoffs is None else outcome,
        losses_micro=losses,
    )


def build_exposure(
    sides: Sequence[Side],
    shares_micro: Sequence[int],
    *,
    weights: Sequence[int],
    payoffs: Payoffs,
    cash_micro: int,
    fee_micro: int,
    is_final: bool,
) -> Exposure:
    """Return the exposure of a group whose tokens and collateral have changed by this much.

    Parameters
    ----------
    sides : sequence of Side
        Of the legs.
    shares_micro : sequence of int
        Change of each leg's token.
    weights : sequence of int
        Shares of each leg that make a set, in proportion; all 1 for sets of one share each.
    """
    progress = [
        change if side is Side.BUY else -change
        for side, change in zip(sides, shares_micro, strict=True)
    ]
    kept = whole_sets(progress, weights)
    leftover = tuple(
        change - (keep if side is Side.BUY else -keep)
        for side, change, keep in zip(sides, shares_micro, kept, strict=True)
    )
    worst, best = _value_range(shares_micro, payoffs)
    return Exposure(
        shares_micro=tuple(shares_micro),
        sets_micro=min(kept),
        leftover_micro=leftover,
        cash_micro=cash_micro,
        fee_micro=fee_micro,
        worst_micro=cash_micro + worst,
        best_micro=cash_micro + best,
        is_final=is_final,
    )


def whole_sets(progress: Sequence[int], weights: Sequence[int]) -> tuple[int, ...]:
    """Return the shares of each leg that are part of complete sets."""
    if min(progress) <= 0:
        return (0,) * len(progress)
    # The leg that is furthest behind decides; compared as fractions, without rounding.
    least, unit = progress[0], weights[0]
    for done, weight in zip(progress, weights, strict=True):
        if done * unit < least * weight:
            least, unit = done, weight
    return tuple(least * weight // unit for weight in weights)


def _leg_loss(leg: PricedLeg, pay_micro: int) -> int:
    """Return what a leg loses in full where its token pays this much, rounded against us."""
    if leg.side is Side.SELL:
        return -(-leg.maker_micro * pay_micro // MICRO) - leg.taker_micro + leg.fee_micro
    fee = leg.fee_micro if pay_micro == MICRO else leg.fee_reserve_micro
    return leg.maker_micro + fee - leg.taker_micro * pay_micro // MICRO


def _value_range(shares_micro: Sequence[int], payoffs: Payoffs) -> tuple[int, int]:
    """Return the worst and the best that the shares can pay, rounded against us."""
    if payoffs is None:
        return (
            sum(change for change in shares_micro if change < 0),
            sum(change for change in shares_micro if change > 0),
        )
    values = [
        sum(change * pay for change, pay in zip(shares_micro, row, strict=True)) // MICRO
        for row in payoffs
    ]
    return min(values), max(values)
