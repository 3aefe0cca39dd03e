"""The token bucket: exact, whatever the rate and however time is cut."""

from hypothesis import given
from hypothesis import strategies as st

from polyexec.core.buckets import TokenBucket, take_from_all

SECOND = 1_000_000_000


def test_it_starts_full_and_gives_no_more_than_it_holds() -> None:
    bucket = TokenBucket(60, 40, SECOND, 0)
    assert bucket.wait_ns(60, 0) == 0
    bucket.take(60, 0)
    assert bucket.tokens(0) == 0
    assert bucket.wait_ns(1, 0) == SECOND // 40
    assert bucket.wait_ns(61, 0) == -1


def test_a_rate_that_does_not_divide_a_second_does_not_drift() -> None:
    bucket = TokenBucket(10, 3, SECOND, 0)
    bucket.take(10, 0)
    # a third of a second is no whole number of nanoseconds
    assert bucket.wait_ns(1, 0) == 333_333_334
    assert bucket.tokens(333_333_333) == 0
    for now in range(0, 3 * SECOND, 7_654_321):
        bucket.take(0, now)
    assert bucket.tokens(3 * SECOND) == 9


def test_what_was_taken_in_excess_is_owed() -> None:
    bucket = TokenBucket(120, 80, SECOND, 0)
    bucket.take(1000, 0)
    assert bucket.tokens(0) == -880
    assert bucket.wait_ns(1, 0) == 881 * SECOND // 80 + 1 - (881 * SECOND % 80 == 0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(10, 10, SECOND, 5 * SECOND)
    bucket.take(10, 5 * SECOND)
    bucket.take(0, 0)
    assert bucket.tokens(5 * SECOND) == 0
    assert bucket.tokens(6 * SECOND) == 10


def test_being_told_more_than_it_holds_makes_it_larger() -> None:
    bucket = TokenBucket(60, 40, SECOND, 0)
    bucket.put(900, 0)
    assert (bucket.capacity, bucket.tokens(0)) == (900, 900)
    bucket.put(-5, 0)
    assert bucket.tokens(0) == -5


def test_a_new_size_keeps_what_is_missing() -> None:
    bucket = TokenBucket(60, 40, SECOND, 0)
    bucket.take(20, 0)
    bucket.resize(300, 200, 0)
    assert bucket.tokens(0) == 280
    bucket.resize(10, 5, 0)
    assert bucket.tokens(0) == -10


@given(
    capacity=st.integers(1, 1000),
    refill=st.integers(1, 1000),
    per_ns=st.integers(1, 10**12),
    steps=st.lists(st.tuples(st.integers(0, 10**10), st.integers(1, 50)), max_size=40),
)
def test_never_more_than_burst_and_rate_allow(
    capacity: int, refill: int, per_ns: int, steps: list[tuple[int, int]]
) -> None:
    bucket = TokenBucket(capacity, refill, per_ns, 0)
    now, passed = 0, 0
    for pause, cost in steps:
        now += pause
        wait = bucket.wait_ns(cost, now)
        if cost > capacity:
            assert wait == -1
            continue
        if wait:
            # The answer is exact: one nanosecond earlier it would not pass.
            assert bucket.wait_ns(cost, now + wait) == 0
            assert bucket.wait_ns(cost, now + wait - 1) > 0
            continue
        bucket.take(cost, now)
        passed += cost
        assert passed * per_ns <= capacity * per_ns + now * refill


@given(
    rates=st.lists(
        st.tuples(st.integers(1, 20), st.integers(1, 100), st.integers(1, 10**10)),
        min_size=1,
        max_size=4,
    ),
    pauses=st.lists(st.integers(0, 10**9), max_size=60),
)
def test_several_buckets_give_all_together_or_nothing(
    rates: list[tuple[int, int, int]], pauses: list[int]
) -> None:
    together = [TokenBucket(*rate, 0) for rate in rates]
    apart = [TokenBucket(*rate, 0) for rate in rates]
    now = 0
    for pause in pauses:
        now += pause
        lacking = [index for index, bucket in enumerate(apart) if bucket.wait_ns(1, now)]
        found = take_from_all(together, now)
        assert found is (together[lacking[0]] if lacking else None)
        if not lacking:
            for bucket in apart:
                bucket.take(1, now)
        assert [b.tokens(now) for b in together] == [b.tokens(now) for b in apart]
