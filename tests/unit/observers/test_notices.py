"""What people are told of results."""

import pytest

from polyexec.enums import LegState, NoticeKind, SkipReason
from polyexec.observers.notices import (
    clean,
    group_notice,
    more_line,
    notice_lines,
    result_notice,
    skip_words,
    tidy,
)
from polyexec.results import TradeResult
from tests.unit.observers.support import notice, rejected, result, skipped


@pytest.mark.parametrize(
    ("given", "kind", "title"),
    [
        (result(), NoticeKind.SUCCESS, "Executed: TRIANGLE_BUY"),
        (rejected(), NoticeKind.FAILURE, "Not executed: TRIANGLE_BUY"),
        (
            result(LegState.MATCHED, LegState.UNKNOWN),
            NoticeKind.UNKNOWN,
            "Outcome unknown: TRIANGLE_BUY",
        ),
    ],
)
def test_a_result_is_told_by_its_outcome(given: TradeResult, kind: NoticeKind, title: str) -> None:
    told = result_notice(given, now_ms=5)
    assert told is not None
    assert (told.kind, told.title, told.at_ms) == (kind, title, given.finished_ms)


def test_a_skipped_signal_is_not_told() -> None:
    assert result_notice(skipped(), now_ms=5) is None


def test_every_leg_is_told_with_the_words_of_the_exchange() -> None:
    told = result_notice(rejected(), now_ms=5)
    assert told is not None
    assert dict(told.fields) == {
        "event": "btc-price",
        "group": "BTC-1d",
        "leg 1": "BUY 10/10 at 0.45 MATCHED btc-above-100k",
        "leg 2": "BUY 0/10 at 0.45 REJECTED btc-above-100k (NOT_FILLED: no match <b>&</b>)",
        "cost": "4.67325 dollars",
        "expected pnl": "0.12 dollars",
        "took": "3.1 ms",
    }


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({"final_pnl_micro": -500_000}, "Settled: TRIANGLE_BUY"),
        ({"is_whole": True}, "Group is whole: TRIANGLE_BUY"),
        ({"is_whole": False, "at_risk_micro": 4_500_000}, "Group is uneven: TRIANGLE_BUY"),
    ],
)
def test_a_changed_group_is_told(changes: dict[str, object], title: str) -> None:
    told = group_notice(result(**changes), now_ms=7)
    assert (told.kind, told.title, told.at_ms) == (NoticeKind.GROUP, title, 7)
    fields = dict(told.fields)
    assert fields.get("final pnl") == ("-0.5 dollars" if "final_pnl_micro" in changes else None)
    assert fields.get("at risk") == ("4.5 dollars" if "at_risk_micro" in changes else None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("two\nlines\tand  spaces ", "two lines and spaces"),
        ("order \x1b[31m", "order �[31m"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("half \ud800", "half �"),
        ("x" * 401, "x" * 399 + "…"),
        ("x" * 400, "x" * 400),
        (5, "5"),
    ],
)
def test_text_from_outside_is_one_short_printable_line(given: object, expected: str) -> None:
    assert clean(given) == expected


def test_a_tidy_notice_cannot_show_a_field_that_it_has_not() -> None:
    forged = tidy(notice("title\ncost: 0", detail="ok\ncost: 0 dollars"))
    assert forged.title == "title cost: 0"
    assert notice_lines(forged) == ("detail: ok cost: 0 dollars", "2023-11-14 22:13:20 UTC")


def test_what_was_left_out_is_told_as_numbers() -> None:
    assert more_line({}) == ""
    more = {NoticeKind.SUCCESS: 37, NoticeKind.ALARM: 1}
    assert more_line(more) == "and 37 more of success, 1 more of alarm"


def test_skips_are_told_most_frequent_first() -> None:
    skips = {SkipReason.HALTED: 1, SkipReason.COOLDOWN_ACTIVE: 9}
    assert skip_words(skips) == "CooldownActive 9, Halted 1"
