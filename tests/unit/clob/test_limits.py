"""Local rate limits: what passes, what is refused, and what the answers teach."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.clob.limits import TIERS, RateLimits
from polyexec.errors import ConfigError

SECOND = 1_000_000_000
ORDERS = "POST /orders"
CANCELS = "DELETE /orders"


class Time:
    """Both clocks of the limits."""

    def __init__(self) -> None:
        self.ns = 0
        self.start_s = 1_800_000_000

    def __call__(self) -> int:
        return self.ns

    def unix_s(self) -> float:
        return self.start_s + self.ns / SECOND


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def limits(time: Time) -> RateLimits:
    return RateLimits(now_ns=time, unix_s=time.unix_s)


def test_a_batch_costs_its_orders_and_is_taken_whole_or_not_at_all(
    limits: RateLimits, time: Time
) -> None:
    for _ in range(19):
        assert limits.try_take(ORDERS, 3) is None
    assert limits.tokens("orders") == 3
    refusal = limits.try_take(ORDERS, 4)
    assert refusal is not None
    assert refusal.wait_ms == 25
    assert limits.tokens("orders") == 3
    assert str(refusal) == "rate limit of 60 orders per signer: would pass in 25 ms"
    time.ns += 25_000_000
    assert limits.wait_ms(ORDERS, 4) == 0
    assert limits.try_take(ORDERS, 4) is None


def test_orders_of_both_endpoints_share_the_signers_bucket(limits: RateLimits) -> None:
    for _ in range(60):
        assert limits.try_take("POST /order") is None
    assert limits.wait_ms(ORDERS) == 25


def test_cancels_do_not_wait_for_orders(limits: RateLimits) -> None:
    assert limits.try_take(ORDERS, 60) is None
    assert limits.try_take(ORDERS, 1) is not None
    assert limits.try_take(CANCELS, 120) is None


def test_a_cancel_larger_than_its_bucket_passes_when_that_is_full(
    limits: RateLimits, time: Time
) -> None:
    assert limits.try_take(CANCELS, 1000) is None
    assert limits.tokens("cancels") == -880
    refusal = limits.try_take("DELETE /cancel-all")
    assert refusal is not None
    assert refusal.wait_ms == 11_013
    time.ns += 11_013_000_000
    assert limits.try_take("DELETE /cancel-all") is None


def test_an_order_batch_that_never_passes_says_so(limits: RateLimits) -> None:
    refusal = limits.try_take(ORDERS, 61)
    assert refusal is not None
    assert refusal.wait_ms is None
    assert "never" in str(refusal)
    assert limits.wait_ms(ORDERS, 61) > 0


def test_what_a_request_turned_out_to_cost_can_be_charged(limits: RateLimits) -> None:
    limits.try_take("DELETE /cancel-all")
    limits.answered("DELETE /cancel-all", 1, 200)
    limits.charge("cancels", 50)
    assert limits.tokens("cancels") == 120 - 51


def test_windows_count_requests_and_hold_over_any_ten_seconds(
    limits: RateLimits, time: Time
) -> None:
    sent = []
    while time.ns < 30 * SECOND:
        if limits.try_take("GET /balance-allowance/update") is None:
            sent.append(time.ns)
        time.ns += 50_000_000
    for start in sent:
        assert sum(start <= at < start + 10 * SECOND for at in sent) <= 50
    assert len(sent) > 100  # most of 150


def test_the_ten_minutes_of_an_endpoint_count_as_well(limits: RateLimits, time: Time) -> None:
    limits.set_tier("elite")
    passed = 0
    for _ in range(60_000):
        time.ns += 10_000_000
        passed += limits.try_take(ORDERS) is None
    assert 15_000 < passed <= 21_000


def test_an_endpoint_without_a_limit_of_its_own_counts_for_all(limits: RateLimits) -> None:
    for _ in range(9000 // 4):
        assert limits.try_take("GET /neg-risk") is None
    refusal = limits.try_take("GET /time")
    assert refusal is not None
    assert refusal.limit == "all endpoints, 9000 in 10 s"
    assert limits.try_take(ORDERS) is not None


# what answers teach -------------------------------------------------------------------------------


def test_remaining_corrects_both_ways(limits: RateLimits) -> None:
    limits.try_take(ORDERS, 3)
    limits.answered(ORDERS, 3, 200, {"poly-ratelimit-remaining": "5"})
    assert limits.tokens("orders") == 5
    limits.try_take(ORDERS, 3)
    limits.answered(ORDERS, 3, 200, {"poly-ratelimit-remaining": "597"})
    assert limits.tokens("orders") == 597
    assert limits.tokens("cancels") == 120


def test_remaining_does_not_know_of_what_is_on_its_way(limits: RateLimits) -> None:
    limits.try_take(ORDERS, 3)
    limits.try_take(ORDERS, 10)
    limits.answered(ORDERS, 3, 200, {"poly-ratelimit-remaining": "57"})
    assert limits.tokens("orders") == 47
    limits.answered(ORDERS, 10)
    limits.try_take(ORDERS, 1)
    limits.answered(ORDERS, 1, 200, {"poly-ratelimit-remaining": "46"})
    assert limits.tokens("orders") == 46


def test_cancels_may_have_less_than_nothing_left(limits: RateLimits) -> None:
    limits.try_take(CANCELS, 1)
    limits.answered(CANCELS, 1, 200, {"poly-ratelimit-remaining": "-80"})
    assert limits.tokens("cancels") == -80
    assert limits.wait_ms(CANCELS) == 1013


def test_the_tier_of_an_answer_changes_the_rates(limits: RateLimits) -> None:
    limits.try_take(ORDERS, 3)
    limits.answered(ORDERS, 3, 200, {"poly-ratelimit-tier": "Gold"})
    assert limits.tier == "gold"
    assert limits.tokens("orders") == 597
    assert limits.tokens("cancels") == 1200


def test_a_tier_that_is_not_known_changes_nothing(limits: RateLimits) -> None:
    assert not limits.set_tier("Unobtainium")
    limits.answered(ORDERS, 0, 200, {"poly-ratelimit-tier": ""})
    assert (limits.tier, limits.tokens("orders")) == ("standard", 60)


def test_a_tier_to_start_with_must_be_known() -> None:
    with pytest.raises(ConfigError, match=r"tier='wood': must be one of standard, copper"):
        RateLimits("wood")


def test_warnings_are_counted(limits: RateLimits) -> None:
    limits.answered(ORDERS, 0, 200, {"poly-ratelimit-warning": "true"})
    assert limits.warnings == 1


@pytest.mark.parametrize(
    ("retry_after_s", "headers", "wait_ms"),
    [
        (7.5, {}, 7500),
        (None, {}, 1000),
        (None, {"poly-ratelimit-reset": "1800000003"}, 3000),
        (2.0, {"poly-ratelimit-reset": "1800000090"}, 2000),
        (None, {"poly-ratelimit-reset": "1700000000"}, 0),
        (86_400.0, {}, 300_000),
        (None, {"poly-ratelimit-reset": "99999999999"}, 300_000),
        (None, {"poly-ratelimit-reset": "soon"}, 1000),
    ],
)
def test_429_closes_everything_that_draws_on_the_same_bucket(
    limits: RateLimits, retry_after_s: float | None, headers: dict[str, str], wait_ms: int
) -> None:
    limits.try_take(ORDERS)
    limits.answered(ORDERS, 1, 429, headers, retry_after_s=retry_after_s)
    assert limits.wait_ms(ORDERS) == wait_ms
    assert limits.wait_ms("POST /order") == wait_ms
    assert limits.wait_ms(CANCELS) == 0
    assert limits.wait_ms("GET /book") == 0


def test_429_of_a_question_closes_only_that(limits: RateLimits, time: Time) -> None:
    limits.answered("GET /book", 1, 429, retry_after_s=4)
    limits.answered("GET /time", 1, 429, retry_after_s=2)
    assert limits.wait_ms("GET /book") == 4000
    assert limits.wait_ms("GET /neg-risk") == 2000
    assert limits.wait_ms("GET /price") == limits.wait_ms(ORDERS) == 0
    time.ns += 4 * SECOND
    assert limits.wait_ms("GET /book") == 0


@pytest.mark.parametrize("odd", ["", "x", "1e9", "NaN", "٣", "1" * 50, "1.5"])
def test_odd_headers_teach_nothing(limits: RateLimits, odd: str) -> None:
    limits.answered(ORDERS, 0, 200, {"poly-ratelimit-remaining": odd, "poly-ratelimit-tier": odd})
    assert (limits.tier, limits.tokens("orders")) == ("standard", 60)


@pytest.mark.parametrize("tier", TIERS)
@given(data=st.data())
def test_no_schedule_gets_more_than_the_tier(tier: str, data: st.DataObject) -> None:
    time = Time()
    limits = RateLimits(tier, now_ns=time, unix_s=time.unix_s)
    rate, burst, _, _ = TIERS[tier]
    passed = 0
    for pause_ms, cost in data.draw(
        st.lists(st.tuples(st.integers(0, 300), st.integers(1, 15)), max_size=60)
    ):
        time.ns += pause_ms * 1_000_000
        wait = limits.wait_ms(ORDERS, cost)
        refusal = limits.try_take(ORDERS, cost)
        assert (refusal is None) == (wait == 0)
        if refusal is None:
            passed += cost
        assert passed * SECOND <= burst * SECOND + rate * time.ns


def test_threads_together_get_no_more_than_one(time: Time) -> None:
    limits = RateLimits("elite", now_ns=time, unix_s=time.unix_s)
    passed: list[int] = []

    def take() -> None:
        for _ in range(200):
            if limits.try_take(ORDERS, 3) is None:
                passed.append(3)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 500 batches in the ten-second window, 300 in the bucket of 900
    assert sum(passed) == 900
    assert limits.tokens("orders") == 0
