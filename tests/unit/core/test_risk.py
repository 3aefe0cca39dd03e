"""Limits outside the strategy: each refuses by itself, and in doubt."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from polyexec.core.candidates import Skip
from polyexec.core.risk import RiskGuard, RiskLimits, Ticket, check_quotes
from polyexec.enums import SkipReason
from polyexec.errors import InternalError
from polyexec.signals import ArbSignal
from tests.unit.core.support import quote, signal
from tests.unit.core.test_gate import in_threads

USD = 1_000_000
NOON = 1_800_000_000_000 // 86_400_000 * 86_400_000 + 43_200_000
DAY = 86_400_000


def admitted(guard: RiskGuard, cost: int = 10, loss: int = 0, now: int = NOON) -> Ticket:
    ticket = guard.admit(cost * USD, loss * USD, now)
    assert isinstance(ticket, Ticket), ticket
    return ticket


def refusal(
    guard: RiskGuard, cost: int = 10, loss: int = 0, now: int = NOON, **k: Any
) -> SkipReason:
    skip = guard.admit(cost * USD, loss * USD, now, **k)
    assert isinstance(skip, Skip)
    return skip.reason


def test_without_limits_only_an_unknown_group_stops_the_next() -> None:
    guard = RiskGuard(RiskLimits())
    ticket = admitted(guard, cost=10**9, loss=10**9)
    guard.set_unknown(ticket, True)
    guard.set_unknown(ticket, True)
    assert guard.unknown_groups == 1
    assert refusal(guard) is SkipReason.MAX_UNKNOWN_GROUPS
    guard.set_unknown(ticket, False)
    admitted(guard)


@pytest.mark.parametrize(
    ("limits", "cost", "loss", "reason"),
    [
        ({"max_group_cost": 10}, 10, 0, SkipReason.MAX_GROUP_COST),
        ({"max_daily_cost": 10}, 10, 0, SkipReason.MAX_DAILY_COST),
        ({"max_open_exposure": 10}, 10, 0, SkipReason.MAX_EXPOSURE),
        ({"max_legging_loss": 3}, 10, 3, SkipReason.MAX_LEGGING_LOSS),
    ],
)
def test_a_limit_admits_its_own_figure_and_refuses_one_micro_dollar_more(
    limits: dict[str, int], cost: int, loss: int, reason: SkipReason
) -> None:
    guard = RiskGuard(RiskLimits(**limits))
    above = guard.admit(cost * USD + (not loss), loss * USD + bool(loss), NOON)
    assert isinstance(above, Skip)
    assert above.reason is reason
    assert next(iter(limits)) in above.detail
    assert guard.spent_micro == guard.exposure_micro == 0
    admitted(guard, cost, loss)


def test_a_limit_of_zero_is_a_limit() -> None:
    assert refusal(RiskGuard(RiskLimits(max_group_cost=0))) is SkipReason.MAX_GROUP_COST


def test_the_true_cost_counts_once_it_is_known() -> None:
    guard = RiskGuard(RiskLimits(max_daily_cost=20, max_open_exposure=20))
    ticket = admitted(guard, cost=15)
    assert refusal(guard) is SkipReason.MAX_DAILY_COST
    guard.settle(ticket, 10 * USD)
    second = admitted(guard)
    guard.commit(second)
    assert (guard.spent_micro, guard.exposure_micro) == (20 * USD, 20 * USD)
    guard.close(ticket)
    assert (guard.spent_micro, guard.exposure_micro) == (20 * USD, 10 * USD)
    assert refusal(guard) is SkipReason.MAX_DAILY_COST


def test_a_group_that_was_not_sent_costs_nothing_but_its_place_in_the_second() -> None:
    guard = RiskGuard(RiskLimits(max_daily_cost=10, max_submits_per_second=1))
    ticket = admitted(guard)
    guard.set_unknown(ticket, True)
    guard.give_back(ticket)
    assert guard.spent_micro == guard.exposure_micro == guard.unknown_groups == 0
    assert refusal(guard) is SkipReason.RATE_LIMITED
    admitted(guard, now=NOON + 1000)


Ender = Callable[[RiskGuard, Ticket], None]
ENDERS: list[Ender] = [
    lambda guard, ticket: guard.commit(ticket),
    lambda guard, ticket: guard.settle(ticket, 3 * USD),
    lambda guard, ticket: guard.give_back(ticket),
]


@pytest.mark.parametrize("second", ENDERS)
@pytest.mark.parametrize("first", ENDERS)
def test_a_ticket_ends_exactly_once(first: Ender, second: Ender) -> None:
    guard = RiskGuard(RiskLimits())
    ticket = admitted(guard)
    with pytest.raises(InternalError):
        guard.close(ticket)
    first(guard, ticket)
    spent, exposure = guard.spent_micro, guard.exposure_micro
    with pytest.raises(InternalError):
        second(guard, ticket)
    assert (guard.spent_micro, guard.exposure_micro) == (spent, exposure)


def test_a_group_is_closed_once() -> None:
    guard = RiskGuard(RiskLimits())
    ticket = admitted(guard)
    guard.commit(ticket)
    guard.set_unknown(ticket, True)
    guard.close(ticket)
    assert (guard.exposure_micro, guard.unknown_groups) == (0, 0)
    with pytest.raises(InternalError):
        guard.close(ticket)
    assert "closed" in repr(ticket)


def test_groups_that_are_summed_tie_up_and_cost_what_they_did_before() -> None:
    guard = RiskGuard(RiskLimits(max_open_exposure=30))
    one, other = admitted(guard, cost=10), admitted(guard, cost=20)
    guard.commit(one)
    guard.settle(other, 15 * USD)
    guard.expose(one, 4 * USD)
    guard.absorb(one, other)
    assert (one.cost_micro, one.exposed_micro) == (25 * USD, 19 * USD)
    assert (other.is_exposed, other.exposed_micro) == (False, 0)
    assert guard.exposure_micro == 19 * USD
    guard.expose(other, USD)  # it is in the sum: nothing of its own
    assert guard.exposure_micro == 19 * USD
    with pytest.raises(InternalError, match="twice"):
        guard.close(other)
    guard.set_unknown(other, True)  # a late word on it counts all the same, until it is taken back
    assert guard.unknown_groups == 1
    guard.set_unknown(other, False)
    guard.close(one)
    assert (guard.exposure_micro, guard.unknown_groups) == (0, 0)
    assert guard.spent_micro == 25 * USD


def test_only_what_is_just_exposed_is_summed() -> None:
    guard = RiskGuard(RiskLimits(max_unknown_groups=10))
    good, ended = admitted(guard), admitted(guard)
    guard.commit(good)
    is_open, closed, unknown = (admitted(guard) for _ in range(3))
    guard.commit(ended)
    guard.give_back(closed)
    guard.commit(unknown)
    guard.set_unknown(unknown, True)
    before = guard.exposure_micro
    for bad in (is_open, closed, unknown, good):
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(InternalError, match="summed"):
                guard.absorb(*pair)
    assert guard.exposure_micro == before
    guard.absorb(good, ended)
    assert guard.exposure_micro == before


def test_the_day_turns_at_midnight_utc_and_exposure_does_not() -> None:
    guard = RiskGuard(RiskLimits(max_daily_cost=10))
    midnight = NOON + DAY // 2
    ticket = admitted(guard, now=midnight - 1)
    assert refusal(guard, now=midnight - 1) is SkipReason.MAX_DAILY_COST
    second = admitted(guard, now=midnight)
    assert guard.exposure_micro == 20 * USD
    # yesterday's ticket ends with another cost: today's sum is not its business
    guard.settle(ticket, 1 * USD)
    assert (guard.spent_micro, guard.exposure_micro) == (10 * USD, 11 * USD)
    guard.settle(second, 4 * USD)
    assert guard.spent_micro == 4 * USD


def test_a_clock_that_goes_back_opens_no_day_and_no_second() -> None:
    guard = RiskGuard(RiskLimits(max_daily_cost=10, max_submits_per_second=2))
    admitted(guard, cost=5)
    assert refusal(guard, cost=6, now=NOON - DAY) is SkipReason.MAX_DAILY_COST
    admitted(guard, cost=5, now=NOON - 2000)
    assert refusal(guard, cost=0, now=NOON - 5000) is SkipReason.RATE_LIMITED
    assert refusal(guard, cost=0, now=NOON + 999) is SkipReason.RATE_LIMITED
    admitted(guard, cost=0, now=NOON + 1000)


def test_no_window_of_a_second_holds_more_than_the_rate() -> None:
    guard = RiskGuard(RiskLimits(max_submits_per_second=3))
    times = [NOON + 130 * step for step in range(100)]
    taken = [now for now in times if isinstance(guard.admit(0, 0, now), Ticket)]
    assert all(later - first >= 1000 for first, later in zip(taken, taken[3:], strict=False))
    assert len(taken) > 30


def test_halt_stops_even_what_reduces_and_says_why() -> None:
    guard = RiskGuard(RiskLimits())
    guard.halt("operator")
    skip = guard.admit(0, 0, NOON, reduces=True)
    assert skip == Skip(SkipReason.HALTED, "operator")
    assert guard.halted == "operator"
    guard.resume()
    assert guard.halted is None
    admitted(guard)
    guard.halt("")
    assert refusal(guard) is SkipReason.HALTED


def test_reduce_only_lets_pass_what_gives_up_inventory() -> None:
    guard = RiskGuard(RiskLimits())
    guard.reduce_only(True)
    assert guard.is_reduce_only
    assert refusal(guard) is SkipReason.REDUCE_ONLY
    assert isinstance(guard.admit(0, 0, NOON, reduces=True), Ticket)
    guard.reduce_only(False)
    unknown = admitted(guard)
    guard.set_unknown(unknown, True)
    assert isinstance(guard.admit(0, 0, NOON, reduces=True), Ticket)


def test_groups_of_an_earlier_run_count_whatever_the_limits_say() -> None:
    guard = RiskGuard(RiskLimits(max_daily_cost=10, max_open_exposure=100))
    old = guard.restore(30 * USD, NOON - DAY, is_unknown=False)
    today = guard.restore(20 * USD, NOON, is_unknown=True)
    assert (guard.spent_micro, guard.exposure_micro) == (20 * USD, 50 * USD)
    assert refusal(guard) is SkipReason.MAX_UNKNOWN_GROUPS
    guard.set_unknown(today, False)
    assert refusal(guard) is SkipReason.MAX_DAILY_COST
    guard.settle(today, 5 * USD)
    guard.settle(old, 0)
    assert (guard.spent_micro, guard.exposure_micro) == (5 * USD, 5 * USD)
    late = guard.restore(USD, NOON - DAY, is_unknown=False)
    assert guard.spent_micro == 5 * USD
    assert late.day == today.day - 1


@pytest.mark.parametrize(
    "call",
    [
        lambda guard, _: guard.admit(-1, 0, NOON),
        lambda guard, _: guard.admit(0, -1, NOON),
        lambda guard, ticket: guard.settle(ticket, -1),
        lambda guard, _: guard.restore(-1, NOON, is_unknown=False),
    ],
)
def test_negative_money_is_a_bug_and_changes_nothing(call: Callable[..., Any]) -> None:
    guard = RiskGuard(RiskLimits())
    ticket = admitted(guard)
    with pytest.raises(InternalError):
        call(guard, ticket)
    assert guard.spent_micro == guard.exposure_micro == 10 * USD


def test_threads_never_admit_more_than_the_limits_allow() -> None:
    guard = RiskGuard(RiskLimits(max_open_exposure=100))
    peak, lock = [0], threading.Lock()
    open_now = [0]

    def trade(number: int) -> None:
        for step in range(300):
            ticket = guard.admit((1 + (number + step) % 40) * USD, 0, NOON)
            if isinstance(ticket, Skip):
                continue
            with lock:
                open_now[0] += ticket.cost_micro
                peak[0] = max(peak[0], open_now[0])
            with lock:
                open_now[0] -= ticket.cost_micro
            guard.give_back(ticket)

    in_threads(trade)
    assert 0 < peak[0] <= 100 * USD
    assert guard.exposure_micro == guard.spent_micro == 0


# quotes -------------------------------------------------------------------------------------------

ROLES = ("parent", "parent_upper", "child")


def fresh(**changes: Any) -> ArbSignal:
    quotes = {role: quote(number, "0.30", "0.29") for number, role in enumerate(ROLES, 1)}
    return signal(**quotes | changes)


@pytest.mark.parametrize(
    ("made", "stale"),
    [(0, True), (NOON - 501, True), (NOON - 500, False), (NOON + 1000, False), (NOON + 1001, True)],
)
def test_a_signal_of_another_time_is_stale(made: int, stale: bool) -> None:
    skip = check_quotes(fresh(timestamp_ms=made), NOON, 500)
    assert (skip is not None and skip.reason is SkipReason.STALE_QUOTE) is stale
    assert check_quotes(fresh(timestamp_ms=made), NOON, None) is None


@pytest.mark.parametrize(("bid", "crossed"), [("0.29", False), ("0.30", True), ("0.31", True)])
def test_a_bid_that_is_not_below_its_ask_is_crossed(bid: str, crossed: bool) -> None:
    given = fresh().replace(child=quote(3, "0.30", bid))
    skip = check_quotes(given, NOON, None)
    assert (skip is not None) is crossed
    if skip is not None:
        assert skip.reason is SkipReason.CROSSED_QUOTE
        assert "child" in skip.detail


def test_an_empty_side_is_not_crossed() -> None:
    assert check_quotes(fresh().replace(child=quote(3, "0.30", None)), NOON, None) is None


def test_closed_groups_of_an_earlier_run_count_for_their_day_only() -> None:
    guard = RiskGuard(RiskLimits(max_daily_cost=10))
    guard.restore_spent(NOON // DAY - 1, 50 * USD)
    guard.restore_spent(NOON // DAY, 9 * USD)
    guard.restore_spent(NOON // DAY - 1, 50 * USD)
    assert guard.spent_micro == 9 * USD
    assert guard.exposure_micro == 0
    refused = guard.admit(2 * USD, 0, NOON)
    assert isinstance(refused, Skip)
    assert refused.reason is SkipReason.MAX_DAILY_COST
    assert isinstance(guard.admit(USD, 0, NOON), Ticket)
    assert isinstance(guard.admit(10 * USD, 0, NOON + DAY), Ticket)
    with pytest.raises(InternalError):
        guard.restore_spent(NOON // DAY, -1)
