"""The common size of a set: every rule alone, together, and when nothing fits."""

from typing import Any

import pytest

from tests.implementations import BOTH

BUY, SELL = 0, 1
RESTING, IMMEDIATE = 0, 1


def leg(
    price: int,
    side: int = BUY,
    kind: int = IMMEDIATE,
    *,
    tick: int = 1,
    least: int = 0,
    cost: int = 0,
) -> tuple[int, ...]:
    return price, tick, side, kind, least, cost


@pytest.mark.parametrize("functions", BOTH)
@pytest.mark.parametrize(
    ("legs", "wanted", "size"),
    [
        # hundredths of a share, nothing else, while the order rests
        ([leg(3333, BUY, RESTING)], 9_999_999, 9_990_000),
        ([leg(3333, SELL, RESTING)], 9_999_999, 9_990_000),
        # an immediate BUY spends whole cents
        ([leg(5000)], 9_990_000, 9_980_000),
        ([leg(2900)], 10_500_000, 10_000_000),
        ([leg(3330)], 25_000_000, 20_000_000),
        ([leg(3333)], 99_990_000, 0),
        ([leg(3333)], 100_000_000, 100_000_000),
        # an immediate SELL takes four decimals
        ([leg(3300, SELL)], 9_990_000, 9_990_000),
        ([leg(3330, SELL)], 9_990_000, 9_900_000),
        ([leg(3333, SELL)], 9_990_000, 9_000_000),
        ([leg(3325, SELL)], 9_990_000, 9_960_000),
        # together: multiples of 0.02 and of 0.25 make 0.50
        ([leg(5000), leg(400)], 10_490_000, 10_000_000),
        ([leg(5000), leg(400), leg(3333, SELL)], 10_490_000, 10_000_000),
        ([leg(3330), leg(2510)], 9_990_000, 0),
        # minimums hold at the size that is found, not at the one that was wanted
        ([leg(5000, least=9_980_000)], 9_990_000, 9_980_000),
        ([leg(5000, least=9_980_001)], 9_990_000, 0),
        ([leg(5000), leg(9000, BUY, RESTING, least=6_000_000)], 5_990_000, 0),
        ([leg(2000, cost=1_000_000)], 5_490_000, 5_450_000),
        ([leg(2000, cost=1_000_000)], 5_000_000, 5_000_000),
        ([leg(2000, cost=1_000_001)], 5_000_000, 0),
        # a price off its tick, or next to one dollar, has no size
        ([leg(5050, tick=100)], 10_000_000, 0),
        ([leg(9500, BUY, RESTING, tick=1000)], 10_000_000, 0),
        ([leg(6000, BUY, RESTING, tick=6000)], 10_000_000, 0),
        ([leg(5050, tick=50)], 10_000_000, 10_000_000),
        ([leg(5051, tick=0)], 100_000_000, 100_000_000),
        # nothing wanted
        ([leg(5000)], 0, 0),
        ([leg(5000, BUY, RESTING)], 9_999, 0),
        # the largest numbers
        ([leg(9999)] * 16, 2**63 - 1, (2**63 - 1) // 100_000_000 * 100_000_000),
        ([leg(9999, cost=2**63 - 1)], 2**63 - 1, 0),
        ([leg(5000, least=2**63 - 1)], 2**63 - 1, 0),
    ],
)
def test_largest_size_that_every_leg_can_trade(
    functions: Any, legs: list[Any], wanted: int, size: int
) -> None:
    assert functions.group_size(legs, wanted) == size
    assert functions.group_size(tuple(reversed(legs)), wanted) == size


@pytest.mark.parametrize("functions", BOTH)
def test_an_index_that_empties_the_list_it_came_from_does_no_harm(functions: Any) -> None:
    legs: list[Any] = []

    class Emptier:
        def __index__(self) -> int:
            legs.clear()
            return 5000

    legs += [(Emptier(), 100, BUY, IMMEDIATE, 0, 0), leg(2900)]
    assert functions.group_size(legs, 10_500_000) == 10_000_000


@pytest.mark.parametrize("functions", BOTH)
@pytest.mark.parametrize(
    ("value", "places", "expected"),
    [
        ("12", 6, 12_000_000),
        ("0.50", 4, 5000),
        (".5", 4, 5000),
        ("5.", 4, 50_000),
        ("0.5000000000", 4, 5000),
        ("000000000000000000000000000000000012", 0, 12),
        ("9223372036854.775807", 6, 2**63 - 1),
        (2**63 - 1, 0, 2**63 - 1),
        (0.29, 4, 2900),
        (True, 4, -1),
        ("9223372036854.775808", 6, -1),
        ("9223372036855", 6, -1),
        (2**63, 0, -1),
        (9_223_372_036_855, 6, -1),
        (10**400, 6, -1),
        (-1, 6, -1),
        (-0.0, 6, -1),
        (1e22, 0, -1),
        (float("nan"), 6, -1),
        ("0.00001", 4, -1),
        ("", 4, -1),
        (".", 4, -1),
        ("1.2.3", 4, -1),
        ("+1", 4, -1),
        (" 1", 4, -1),
        ("1_0", 4, -1),
        ("1e1", 4, -1),
        ("٣", 4, -1),
        ("1é", 4, -1),
        ("1\n", 4, -1),
        ("1\0", 4, -1),
        (b"1", 4, -1),
        (None, 4, -1),
    ],
)
def test_plain_numbers_are_read_and_all_others_are_left(
    functions: Any, value: Any, places: int, expected: int
) -> None:
    assert functions.plain_scaled(value, places) == expected
