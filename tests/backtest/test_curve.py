"""The curve: bounded, even, honest about its end; sums and falls of curves."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.backtest.curve import Curve, CurvePoint, added, drawdown_micro
from polyexec.errors import InputError


def point(time_ms: int, cash: int = 0) -> CurvePoint:
    return CurvePoint(
        time_ms=time_ms, cash_micro=cash, locked_micro=1, value_micro=2, exposure_micro=3
    )


@given(
    gaps=st.lists(st.integers(0, 400_000), min_size=1, max_size=600),
    start=st.integers(0, 10**13),
    limit=st.sampled_from([4, 8, 64]),
)
def test_is_bounded_in_order_begins_and_ends_with_the_data(
    gaps: list[int], start: int, limit: int
) -> None:
    curve = Curve(point, limit=limit)
    times = [start + passed for passed in itertools.accumulate(gaps)]
    for now in times:
        curve.sample(now)
    kept = [one.time_ms for one in curve.finish(times[-1])]
    assert len(kept) <= limit
    assert kept == sorted(set(kept))
    assert (kept[0], kept[-1]) == (times[0], times[-1])


@pytest.mark.parametrize("length_s", [10, 1_000, 86_400])
def test_points_are_even_in_time_and_read_only_when_kept(length_s: int) -> None:
    read: list[int] = []

    def reading(now_ms: int) -> CurvePoint:
        read.append(now_ms)
        return point(now_ms)

    curve = Curve(reading, limit=64)
    for now in range(0, length_s * 1000 + 1, 100):
        curve.sample(now)
    kept = [one.time_ms for one in curve.finish(length_s * 1000)]
    gaps = {later - earlier for earlier, later in itertools.pairwise(kept[:-1])}
    assert len(gaps) == 1
    if length_s > 64:
        assert len(kept) >= 32
    assert len(read) < 64 * 12


def test_a_limit_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(InputError, match="limit=5: must be an even number"):
        Curve(point, limit=5)


@given(st.lists(st.integers(-(10**12), 10**12), max_size=40))
def test_drawdown_is_the_worst_of_all_pairs(values: list[int]) -> None:
    falls = [values[i] - values[j] for i in range(len(values)) for j in range(i, len(values))]
    assert drawdown_micro(values) == max([0, *falls])


def test_a_sum_counts_accounts_before_and_after_their_own_points() -> None:
    one = (point(10, 100), point(30, 90))
    other = (point(20, 50), point(40, 70))
    total = added([one, other, ()])
    assert [(each.time_ms, each.cash_micro) for each in total] == [
        (10, 150),
        (20, 150),
        (30, 140),
        (40, 160),
    ]
    assert total[-1].locked_micro == 2
    assert added([]) == ()


def test_a_sum_keeps_both_ends_when_it_has_to_leave_points_out() -> None:
    long = [tuple(point(7 * n + k, n) for n in range(400)) for k in range(3)]
    total = added(long, limit=100)
    assert len(total) == 100
    assert (total[0].time_ms, total[-1].time_ms) == (0, 7 * 399 + 2)
    assert total[-1].cash_micro == 3 * 399
