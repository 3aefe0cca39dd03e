"""Strategies as data: which token each leg trades, on which side, and what a set pays.

``parent`` is "price >= K1", ``parent_upper`` is "price >= K2", ``child`` is "K1 <= price < K2", so
parent = parent_upper + child at resolution. The quotes in a signal are those of the tokens that
are traded: where a leg buys NO, its quote is the NO token's.
"""

from typing import Final, Literal, TypeAlias

import msgspec

from polyexec.enums import Side, Strategy

__all__ = ["STRATEGIES", "LegRule", "Role", "StrategyRule"]

Role: TypeAlias = Literal["parent", "parent_upper", "child"]


class LegRule(msgspec.Struct, frozen=True):
    """One leg: the quote it takes and its side. A BUY takes the ask, a SELL the bid."""

    role: Role
    side: Side
    pays: tuple[int, int, int]
    """Dollars per share of its token where price < K1, K1 <= price < K2, price >= K2."""


class StrategyRule(msgspec.Struct, frozen=True):
    """Legs of a strategy and the dollars that one share of each pays together.

    A SELL at ``b`` is the same trade as buying the complement at ``1 - b``; counted that way every
    strategy is a set that is bought for its cost and pays ``payout`` dollars.
    """

    legs: tuple[LegRule, ...]
    payout: int


_BUY, _SELL = Side.BUY, Side.SELL
_PARENT, _NO_PARENT = (0, 1, 1), (1, 0, 0)
_UPPER, _NO_UPPER = (0, 0, 1), (1, 1, 0)
_CHILD, _NO_CHILD = (0, 1, 0), (1, 0, 1)

STRATEGIES: Final[dict[Strategy, StrategyRule]] = {
    # parent YES, upper NO, child NO: P + (1 - U) + (1 - C) = 2
    Strategy.POLYMARKET_TRIANGLE_BUY: StrategyRule(
        (
            LegRule("parent", _BUY, _PARENT),
            LegRule("parent_upper", _BUY, _NO_UPPER),
            LegRule("child", _BUY, _NO_CHILD),
        ),
        2,
    ),
    # parent NO, upper YES, child YES: (1 - P) + U + C = 1
    Strategy.POLYMARKET_COMPLEMENT_BUY: StrategyRule(
        (
            LegRule("parent", _BUY, _NO_PARENT),
            LegRule("parent_upper", _BUY, _UPPER),
            LegRule("child", _BUY, _CHILD),
        ),
        1,
    ),
    # the complement, with the parent sold instead of its NO bought
    Strategy.SELL_PARENT_BUY_CHILDREN: StrategyRule(
        (
            LegRule("parent", _SELL, _PARENT),
            LegRule("parent_upper", _BUY, _UPPER),
            LegRule("child", _BUY, _CHILD),
        ),
        1,
    ),
    # the triangle, with both parts sold instead of their NO bought
    Strategy.BUY_PARENT_SELL_CHILDREN: StrategyRule(
        (
            LegRule("parent", _BUY, _PARENT),
            LegRule("parent_upper", _SELL, _UPPER),
            LegRule("child", _SELL, _CHILD),
        ),
        2,
    ),
}
