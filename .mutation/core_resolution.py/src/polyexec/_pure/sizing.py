"""The largest set size that every leg can trade exactly (protocol notes, orders.md 6)."""

from collections.abc import Sequence
from math import gcd, lcm
from typing import SupportsIndex

from polyexec._pure.checks import checked_int64, checked_range

__all__ = ["group_size"]

_CENT = 10_000  # micro-units in a hundredth
_SELL_UNIT = 100  # micro-units in the fourth decimal, the finest of immediate proceeds
_MOST_LEGS = 16
_INT64_MAX = (1 << 63) - 1


def group_size(legs: Sequence[tuple[SupportsIndex, ...]], wanted_micro: SupportsIndex) -> int:
    """Return the largest size, not above the wanted one, that every leg can trade exactly; or 0.

    Shares have two decimals. On top of that, ``price * size`` is

    * anything for a resting order: its exact product is what is signed;
    * whole cents for an immediate BUY, which spends two decimals;
    * four decimals at most for an immediate SELL, whose proceeds are then not rounded.

    Parameters
    ----------
    legs : sequence of 1 to 16 tuples
        ``(price_e4, tick_e4, side, is_immediate, min_size_micro, min_notional_micro)``: ``tick_e4``
        0 when it is not known, ``side`` BUY 0 or SELL 1, ``is_immediate`` 0 or 1. A price off its
        tick has no size.
    wanted_micro : int, shares x 1e6
    """
    wanted = checked_int64(wanted_micro)
    if not isinstance(legs, tuple | list):
        raise TypeError(f"legs must be a tuple or list, not {type(legs).__name__}")
    if not 1 <= len(legs) <= _MOST_LEGS:
        raise ValueError(f"legs must be 1 to {_MOST_LEGS}, not {len(legs)}")
    if wanted < 0:
        raise ValueError(f"wanted_micro must not be negative, not {wanted}")
    rules = [_checked_leg(leg) for leg in tuple(legs)]
    step = 1
    for price, tick, is_sell, is_immediate, _, _ in rules:
        if tick and (price % tick or price > 10_000 - tick):
            return 0
        if is_immediate:
            unit = _SELL_UNIT if is_sell else _CENT
            step = lcm(step, unit // gcd(price, unit))
    cents = wanted // _CENT // step * step
    for price, _, _, _, min_size, min_notional in rules:
        if cents * _CENT < min_size or cents * price < min_notional:
            return 0
    return cents * _CENT


def _checked_leg(leg: tuple[SupportsIndex, ...]) -> tuple[int, int, int, int, int, int]:
    if not isinstance(leg, tuple):
        raise TypeError(f"a leg must be a tuple, not {type(leg).__name__}")
    if len(leg) != 6:
        raise ValueError(f"a leg must be 6 numbers, not {len(leg)}")
    price, tick, side, is_immediate, min_size, min_notional = leg
    return (
        checked_range(price, 1, 9999, "price_e4"),
        checked_range(tick, 0, 9999, "tick_e4"),
        checked_range(side, 0, 1, "side"),
        checked_range(is_immediate, 0, 1, "is_immediate"),
        checked_range(min_size, 0, _INT64_MAX, "min_size_micro"),
        checked_range(min_notional, 0, _INT64_MAX, "min_notional_micro"),
    )
