"""What a form earns, from the definition alone: exact fractions of dollars and shares."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import ceil, lcm

from polyexec.core.forms import Form
from polyexec.enums import Side

Levels = list[tuple[Fraction, Fraction]]
"""Price and size in dollars and shares, best first."""

_MICRO = 1_000_000


@dataclass(frozen=True)
class Settings:
    min_profit_micro: int
    min_profit_bps: int
    max_size_micro: int
    is_immediate: bool


@dataclass(frozen=True)
class Best:
    """The find, with a SELL counted as the BUY of its complement."""

    size: Fraction
    prices: tuple[Fraction, ...]
    depths: tuple[Fraction, ...]
    cost: Fraction
    net: Fraction


def best(form: Form, taken: list[Levels], settings: Settings) -> Best | None:
    """Return what an evaluator should find; ``taken``: the side of its book that each leg takes."""
    if any(not levels for levels in taken):
        return None
    books = [_bought(leg.side, levels) for leg, levels in zip(form.legs, taken, strict=True)]
    most = Fraction(settings.max_size_micro, _MICRO)
    depths = [list(accumulate(size for _, size in levels)) for levels in books]
    holds = min(depth[-1] for depth in depths)
    reaches = {depth for summed in depths for depth in summed} | {most}
    found, before = None, Fraction(0)
    for reach in sorted(reach for reach in reaches if reach <= min(most, holds)):
        at = [next(i for i, d in enumerate(summed) if d >= reach) for summed in depths]
        prices = tuple(levels[i][0] for levels, i in zip(books, at, strict=True))
        size = _legal(form, prices, reach, is_immediate=settings.is_immediate)
        if size > before:
            costs = (
                price * size + _fee(leg, price, size)
                for leg, price in zip(form.legs, prices, strict=True)
            )
            cost = sum(costs, Fraction(0))
            net = form.payout * size - cost
            passes = net / size >= Fraction(
                settings.min_profit_micro, _MICRO
            ) and net / cost >= Fraction(settings.min_profit_bps, 10_000)
            if passes and (found is None or net > found.net):
                depth = tuple(summed[i] for summed, i in zip(depths, at, strict=True))
                found = Best(size, prices, depth, cost, net)
        before = reach
    return found


def _bought(side: Side, levels: Levels) -> Levels:
    return levels if side is Side.BUY else [(1 - price, size) for price, size in levels]


def _legal(
    form: Form, prices: tuple[Fraction, ...], most: Fraction, *, is_immediate: bool
) -> Fraction:
    """Return the largest legal size up to the most, or 0."""
    # A size of n hundredths spends n * price cents: whole when the denominator divides n.
    step = lcm(*(price.denominator for price in prices)) if is_immediate else 1
    size = Fraction(most * 100 // step * step, 100)
    for leg, price in zip(form.legs, prices, strict=True):
        least = max(Fraction(5), Fraction(leg.market.min_order_size_micro, _MICRO))
        if size < least or size * price < 1:
            return Fraction(0)
    return size


def _fee(leg: object, price: Fraction, size: Fraction) -> Fraction:
    """Return the taker fee, rounded up to five decimals."""
    market = leg.market  # type: ignore[attr-defined]
    rate = Fraction(market.fee_rate_micro, _MICRO)
    fee = size * rate * (price * (1 - price)) ** market.fee_exponent
    return Fraction(ceil(fee * 100_000), 100_000)
