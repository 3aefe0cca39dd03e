"""What is told without a callback: halts, storms, the day's sum, errors in the log."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.enums import LegState, NoticeKind, SkipReason
from polyexec.observers.notices import Notice
from polyexec.observers.watches import (
    AlarmHandler,
    DailySummary,
    HaltWatch,
    StormWatch,
    TradingState,
)
from tests.unit.observers.support import rejected, result, skipped

DAY = 86_400_000
MIDNIGHT = 20_000 * DAY


def state(enabled: bool = True, halted: str | None = None, reduce: bool = False) -> TradingState:
    return TradingState(enabled=enabled, halted=halted, reduce_only=reduce)


def titles(notices: object) -> list[str]:
    return [one.title for one in notices]  # type: ignore[attr-defined]


def test_a_halt_is_told_once_with_its_reason_and_so_is_its_end() -> None:
    states = iter([state(), state(), state(halted="too hot"), state(halted="too hot"), state()])
    watch = HaltWatch(lambda: next(states))
    assert list(watch(1)) == []
    (told,) = watch(2)
    assert (told.kind, told.title, told.fields) == (
        NoticeKind.HALT,
        "Halted",
        (("reason", "too hot"),),
    )
    assert list(watch(3)) == []
    assert titles(watch(4)) == ["Resumed"]


def test_switch_and_reduce_only_are_told() -> None:
    states = iter([state(), state(False, reduce=True), state()])
    watch = HaltWatch(lambda: next(states))
    assert titles(watch(1)) == [
        "Reduce-only is on: only legs that give up inventory",
        "Trading is switched off",
    ]
    assert titles(watch(2)) == ["Reduce-only is off", "Trading is switched on"]


class Losses:
    def __init__(self, **counts: int) -> None:
        self.counts = counts

    def __call__(self) -> dict[str, int]:
        return dict(self.counts)


def test_a_storm_is_told_once_and_when_it_is_over() -> None:
    losses = Losses(orders=7)
    watch = StormWatch(losses)
    assert list(watch(0)) == []  # what was before is no storm of now
    for second in range(1, 5):
        losses.counts["orders"] += 1
        assert list(watch(second * 1000)) == []
    losses.counts["orders"] += 1
    (told,) = watch(5000)
    assert (told.kind, told.title, told.fields) == (
        NoticeKind.RECONNECTS,
        "Connection is lost again and again: orders",
        (("losses since start", "12"),),
    )
    losses.counts["orders"] += 100
    assert list(watch(6000)) == []
    assert list(watch(306_000)) == []
    assert titles(watch(306_001)) == ["Connection holds again: orders"]


def test_losses_now_and_then_are_no_storm() -> None:
    losses = Losses(orders=0)
    watch = StormWatch(losses)
    told: list[Notice] = []
    for minute in range(0, 24 * 60, 2):
        losses.counts["orders"] += 1
        told += watch(minute * 60_000)
    assert told == []


def test_every_connection_has_its_own_storm() -> None:
    losses = Losses(orders=0, feed=0)
    watch = StormWatch(losses)
    list(watch(0))
    losses.counts.update(orders=5, feed=4)
    assert titles(watch(1000)) == ["Connection is lost again and again: orders"]
    losses.counts["feed"] = 5
    assert titles(watch(2000)) == ["Connection is lost again and again: feed"]


def summary_fields(notice: Notice) -> dict[str, str]:
    return dict(notice.fields)


def test_the_summary_sums_up_and_begins_anew() -> None:
    summary = DailySummary(0, MIDNIGHT + 1, lambda: {"available": "5 dollars"})
    for one in (
        result(),
        result(),
        rejected(),
        result(LegState.UNKNOWN),
        skipped(),
        skipped(),
        skipped(SkipReason.HALTED),
    ):
        summary.add(one)
    assert list(summary(MIDNIGHT + DAY - 1)) == []
    (told,) = summary(MIDNIGHT + DAY)
    assert told.title == "Summary of 24.0 hours"
    assert summary_fields(told) == {
        "signals": "7",
        "executed": "2",
        "not executed": "1",
        "unknown when answered": "1",
        "skipped": "CooldownActive 2, Halted 1",
        "cost": "18.693 dollars",
        "expected pnl": "0.48 dollars",
        "available": "5 dollars",
    }
    assert list(summary(MIDNIGHT + DAY + 1)) == []
    (empty,) = summary(MIDNIGHT + 2 * DAY)
    assert summary_fields(empty)["signals"] == "0"
    assert summary_fields(empty)["skipped"] == "0"


def test_days_without_a_look_are_one_summary() -> None:
    summary = DailySummary(0, MIDNIGHT)
    (told,) = summary(MIDNIGHT + 3 * DAY + 5)
    assert told.title == "Summary of 72.0 hours"
    assert list(summary(MIDNIGHT + 3 * DAY + 6)) == []


def test_a_clock_that_steps_back_repeats_no_summary() -> None:
    summary = DailySummary(0, MIDNIGHT)
    assert len(list(summary(MIDNIGHT + DAY))) == 1
    assert list(summary(MIDNIGHT + DAY - 5000)) == []
    assert list(summary(MIDNIGHT + DAY + 5000)) == []


@given(minute=st.integers(0, 1439), start=st.integers(0, DAY - 1))
def test_the_first_summary_comes_at_the_next_such_minute(minute: int, start: int) -> None:
    summary = DailySummary(minute, MIDNIGHT + start)
    due = MIDNIGHT + minute * 60_000
    due += DAY if due <= MIDNIGHT + start else 0
    assert list(summary(due - 1)) == []
    assert len(list(summary(due))) == 1


@pytest.fixture
def alarms() -> list[Notice]:
    return []


@pytest.fixture
def log(alarms: list[Notice]) -> logging.Logger:
    handler = AlarmHandler(alarms.append)
    logger = logging.Logger("polyexec.clob")
    logger.addHandler(handler)
    return logger


def test_an_error_in_the_log_is_an_alarm_with_its_fields(
    log: logging.Logger, alarms: list[Notice]
) -> None:
    log.error("clock_off", extra={"offset_s": 3.2})
    log.warning("venue_mode", extra={"mode": "RESTARTING"})
    (told,) = alarms
    assert (told.kind, told.title) == (NoticeKind.ALARM, "Error logged: clock_off")
    assert told.fields == (("logger", "polyexec.clob"), ("offset_s", "3.2"))


def test_an_exception_is_told_by_its_class_alone(log: logging.Logger, alarms: list[Notice]) -> None:
    try:
        raise ValueError("perhaps a secret")
    except ValueError:
        log.exception("group_failed")
    (told,) = alarms
    assert told.fields == (("logger", "polyexec.clob"), ("exception", "ValueError"))


def test_what_cannot_be_told_is_no_alarm(alarms: list[Notice]) -> None:
    logger = logging.Logger("polyexec.notify")
    logger.addHandler(AlarmHandler(alarms.append))
    logger.error("notify_failed")
    assert alarms == []


def test_a_field_that_cannot_be_shown_hurts_nobody(
    log: logging.Logger, alarms: list[Notice], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.error("group_failed", extra={"value": Broken()})
    assert alarms == []
