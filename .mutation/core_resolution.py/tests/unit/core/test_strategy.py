"""Strategies: legs in the mission's order, and payouts that the world agrees with."""

from itertools import product

import pytest

from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Side, Strategy

# Which tokens the signal's quotes stand for: NO where the mission's table buys NO.
BUYS_NO = {
    Strategy.POLYMARKET_TRIANGLE_BUY: {"parent_upper", "child"},
    Strategy.POLYMARKET_COMPLEMENT_BUY: {"parent"},
    Strategy.SELL_PARENT_BUY_CHILDREN: set[str](),
    Strategy.BUY_PARENT_SELL_CHILDREN: set[str](),
}


def test_every_strategy_has_its_legs_in_the_order_of_the_table() -> None:
    table = {
        strategy: [(leg.role, str(leg.side)) for leg in rule.legs]
        for strategy, rule in STRATEGIES.items()
    }
    roles = ("parent", "parent_upper", "child")
    assert table == {
        Strategy.POLYMARKET_TRIANGLE_BUY: [(role, "BUY") for role in roles],
        Strategy.POLYMARKET_COMPLEMENT_BUY: [(role, "BUY") for role in roles],
        Strategy.SELL_PARENT_BUY_CHILDREN: list(zip(roles, ("SELL", "BUY", "BUY"), strict=True)),
        Strategy.BUY_PARENT_SELL_CHILDREN: list(zip(roles, ("BUY", "SELL", "SELL"), strict=True)),
    }
    assert set(table) == set(Strategy)


@pytest.mark.parametrize("strategy", Strategy)
def test_a_set_pays_the_same_whatever_happens(strategy: Strategy) -> None:
    """A SELL counts as buying the complement; settle at a price of every possible kind."""
    k1, k2 = 100, 200
    for price in (50, 100, 150, 200, 250):
        yes = {
            "parent": price >= k1,
            "parent_upper": price >= k2,
            "child": k1 <= price < k2,
        }
        paid = 0
        for leg in STRATEGIES[strategy].legs:
            pays = yes[leg.role] != (leg.role in BUYS_NO[strategy])
            paid += pays if leg.side is Side.BUY else not pays
        assert paid == STRATEGIES[strategy].payout


def test_no_strategy_takes_a_role_twice() -> None:
    for (_, rule), role in product(STRATEGIES.items(), ("parent", "parent_upper", "child")):
        assert sum(leg.role == role for leg in rule.legs) == 1
