"""Absence needs evidence, and a second send starts the evidence anew."""

from typing import Any

import pytest

from polyexec.core.resolution import NextStep, ResolutionPolicy, UnknownOrder
from polyexec.errors import InputError

ASK, RESEND, ABSENT = NextStep.ASK, NextStep.RESEND, NextStep.ABSENT


def order(**changes: Any) -> UnknownOrder:
    return UnknownOrder(ResolutionPolicy(**{"least_answers": 3} | changes), 1_000)


def test_not_found_right_after_a_timeout_is_no_proof_of_absence() -> None:
    unknown = order(absent_after_ms=60_000)
    assert [unknown.not_found(ms, ms) for ms in (1_200, 1_600, 2_400, 60_999)] == [ASK] * 4
    assert unknown.not_found(61_000, 61_001) is ABSENT


def test_a_question_older_than_the_order_does_not_count_as_an_answer() -> None:
    unknown = order(absent_after_ms=10, least_answers=2)
    assert [unknown.not_found(ms, 1_100) for ms in (998, 999, 1_010)] == [ASK] * 3
    assert unknown.not_found(1_011, 1_200) is ABSENT


def test_a_question_in_the_millisecond_of_the_order_counts() -> None:
    unknown = order(absent_after_ms=10, least_answers=2)
    assert [unknown.not_found(ms, ms) for ms in (1_000, 1_010)] == [ASK, ABSENT]


def test_by_default_absence_takes_two_minutes_and_five_answers() -> None:
    slow, quick = (UnknownOrder(ResolutionPolicy(), 0) for _ in range(2))
    assert [slow.not_found(ms, ms) for ms in (1, 2, 3, 4, 119_999)] == [ASK] * 5
    assert slow.not_found(120_000, 120_000) is ABSENT
    assert [quick.not_found(120_000, 120_000) for _ in range(5)] == [ASK] * 4 + [ABSENT]


def test_by_default_the_questions_come_at_first_often_then_every_five_seconds() -> None:
    unknown = UnknownOrder(ResolutionPolicy(), 0)
    pauses = [unknown.due_ms]
    for _ in range(6):
        unknown.not_answered(0)
        pauses.append(unknown.due_ms)
    assert pauses == [200, 400, 800, 1_600, 3_200, 5_000, 5_000]


def test_one_late_answer_is_too_few() -> None:
    unknown = order(absent_after_ms=1)
    assert [unknown.not_found(ms, ms) for ms in (90_000, 90_001, 90_002)] == [ASK, ASK, ABSENT]


def test_a_failed_question_is_no_evidence() -> None:
    unknown = order(absent_after_ms=1)
    for ms in range(2_000, 9_000, 1_000):
        unknown.not_answered(ms)
    assert [unknown.not_found(ms, ms) for ms in (10_000, 10_001, 10_002)] == [ASK, ASK, ABSENT]


def test_without_a_limit_it_stays_unknown_until_a_person_decides() -> None:
    unknown = order(absent_after_ms=None)
    assert {unknown.not_found(ms, ms) for ms in range(2_000, 10**9, 10**6)} == {ASK}


def test_pauses_double_up_to_the_longest() -> None:
    unknown = order(first_ask_ms=100, longest_pause_ms=500)
    assert unknown.due_ms == 1_100
    dues = []
    for _ in range(4):
        now = unknown.due_ms
        unknown.not_found(now, now)
        dues.append(unknown.due_ms - now)
    assert dues == [200, 400, 500, 500]


def test_it_is_sent_again_once_and_only_after_evidence() -> None:
    unknown = order(resend_after_ms=2_000, absent_after_ms=10_000)
    assert [unknown.not_found(ms, ms) for ms in (1_500, 2_000, 2_500)] == [ASK] * 3
    assert unknown.not_found(3_000, 3_000) is RESEND
    assert not unknown.was_resent
    unknown.resent(3_100)
    assert unknown.was_resent
    assert unknown.due_ms == 3_300
    # A question from before the second send says nothing about it.
    assert unknown.not_found(3_050, 3_200) is ASK
    assert [unknown.not_found(ms, ms) for ms in (5_200, 6_000, 13_099)] == [ASK] * 3
    assert unknown.not_found(13_100, 13_100) is ABSENT


def test_an_order_that_cannot_be_sent_again_is_absent_in_the_end() -> None:
    # Trading is off, so nobody took up the RESEND: its money must not be held for ever.
    unknown = order(resend_after_ms=2_000, absent_after_ms=10_000)
    steps = [unknown.not_found(ms, ms) for ms in (2_000, 4_000, 6_000, 10_999, 11_000)]
    assert steps == [ASK, ASK, RESEND, RESEND, ABSENT]


@pytest.mark.parametrize(
    "changes",
    [
        {"first_ask_ms": 0},
        {"longest_pause_ms": 0},
        {"least_answers": 0},
        {"absent_after_ms": 0},
        {"resend_after_ms": -1},
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_name(changes: dict[str, Any]) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(InputError) as caught:
        ResolutionPolicy(**changes)
    assert (caught.value.field, caught.value.value) == (name, value)


def test_the_least_of_every_setting_is_one() -> None:
    names = ("first_ask_ms", "longest_pause_ms", "least_answers", "absent_after_ms")
    policy = ResolutionPolicy(**dict.fromkeys((*names, "resend_after_ms"), 1))
    unknown = UnknownOrder(policy, 0)
    assert unknown.due_ms == 1
    assert unknown.not_found(1, 1) is ABSENT


def test_a_policy_is_written_by_name_and_never_changes() -> None:
    positional: Any = ResolutionPolicy
    with pytest.raises(TypeError):
        positional(200)
    with pytest.raises(AttributeError):
        ResolutionPolicy().least_answers = 1  # type: ignore[misc]
