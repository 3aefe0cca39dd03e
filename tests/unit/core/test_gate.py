"""The submitting guard, the switch and the cooldown, also when threads race for them."""

import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from polyexec.core import gate as face
from polyexec.core.gate import Gate
from polyexec.enums import SkipReason
from polyexec.errors import InternalError
from tests.implementations import BOTH, face_of

SECOND = 1_000_000_000
MANY = 200


@pytest.fixture
def _switch_threads_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], None], count: int = 8) -> None:
    start = threading.Barrier(count)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


@pytest.fixture(autouse=True, params=BOTH)
def _each_implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(face, "Gate", face_of(Gate, request.param))


def gate(*, enabled: bool = True, cooldown_ns: int = 0, max_in_flight: int = 1) -> Gate:
    return face.Gate(enabled=enabled, cooldown_ns=cooldown_ns, max_in_flight=max_in_flight)


def test_switched_off_nothing_enters() -> None:
    closed = gate(enabled=False)
    assert not closed.enabled
    assert closed.check(0) is closed.enter(0) is SkipReason.TRADING_DISABLED
    assert closed.in_flight == 0
    closed.set_enabled(True)
    assert closed.enter(0) is None
    closed.set_enabled(False)
    assert closed.in_flight == 1
    closed.leave()


def test_check_reports_without_taking_the_place() -> None:
    one = gate()
    assert one.check(0) is None
    assert one.check(0) is None
    assert one.in_flight == 0


def test_the_reasons_come_in_the_order_of_the_mission() -> None:
    one = gate(cooldown_ns=SECOND)
    assert one.enter(0) is None
    assert one.stamp(0) is None
    assert one.check(0) is SkipReason.ALREADY_SUBMITTING
    one.set_enabled(False)
    assert one.check(0) is SkipReason.TRADING_DISABLED
    one.set_enabled(True)
    one.leave()
    assert one.check(0) is SkipReason.COOLDOWN_ACTIVE


@pytest.mark.parametrize(
    ("now", "refusal"),
    [
        (5 * SECOND, SkipReason.COOLDOWN_ACTIVE),
        (6 * SECOND - 1, SkipReason.COOLDOWN_ACTIVE),
        (6 * SECOND, None),
        (6 * SECOND + 1, None),
        (4 * SECOND, SkipReason.COOLDOWN_ACTIVE),
    ],
)
def test_cooldown_ends_exactly_when_it_has_passed(now: int, refusal: SkipReason | None) -> None:
    one = gate(cooldown_ns=SECOND)
    one.enter(5 * SECOND)
    one.stamp(5 * SECOND)
    one.leave()
    assert one.check(now) is refusal
    assert one.enter(now) is refusal
    assert one.in_flight == (refusal is None)


def test_an_entry_without_a_stamp_starts_no_cooldown() -> None:
    one = gate(cooldown_ns=SECOND)
    one.enter(0)
    one.leave()
    assert one.enter(1) is None


def test_the_clock_starts_at_zero_and_that_counts_as_executed() -> None:
    one = gate(cooldown_ns=SECOND)
    assert one.check(0) is None
    one.enter(0)
    one.stamp(0)
    one.leave()
    assert one.check(0) is SkipReason.COOLDOWN_ACTIVE


def test_no_cooldown_never_refuses_a_thread_that_read_the_clock_earlier() -> None:
    one = gate(cooldown_ns=0, max_in_flight=2)
    assert one.enter(10) is None
    assert one.enter(9) is None
    assert one.stamp(10) is None
    assert one.stamp(9) is None


def test_leaving_without_having_entered_is_our_bug() -> None:
    one = gate()
    with pytest.raises(InternalError):
        one.leave()
    assert one.enter(0) is None
    one.leave()
    with pytest.raises(InternalError):
        one.leave()
    assert one.in_flight == 0


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.usefixtures("_switch_threads_often")
def test_never_more_in_flight_than_allowed(limit: int) -> None:
    one = gate(max_in_flight=limit)
    inside: list[int] = []
    most: list[int] = []
    entered: list[int] = []

    def work(number: int) -> None:
        for _ in range(MANY):
            if one.enter(0) is None:
                inside.append(number)
                most.append(len(inside))
                entered.append(number)
                inside.pop()
                one.leave()

    in_threads(work)
    assert 0 < max(most) <= limit
    assert len(entered) >= limit
    assert one.in_flight == 0


@pytest.mark.usefixtures("_switch_threads_often")
def test_one_of_many_racing_threads_takes_the_place() -> None:
    for _ in range(50):
        one = gate()
        outcomes: list[SkipReason | None] = []
        in_threads(lambda _, one=one, seen=outcomes: seen.append(one.enter(0)))  # type: ignore[misc]
        assert sorted(outcomes, key=str) == [SkipReason.ALREADY_SUBMITTING] * 7 + [None]


@pytest.mark.usefixtures("_switch_threads_often")
def test_one_of_many_that_entered_together_gets_the_cooldown() -> None:
    for _ in range(50):
        one = gate(cooldown_ns=SECOND, max_in_flight=8)
        for _ in range(8):
            assert one.enter(5) is None
        outcomes: list[SkipReason | None] = []
        in_threads(lambda _, one=one, seen=outcomes: seen.append(one.stamp(5)))  # type: ignore[misc]
        assert outcomes.count(None) == 1


@pytest.mark.usefixtures("_switch_threads_often")
def test_nothing_enters_after_the_switch_was_turned_off() -> None:
    one = gate(max_in_flight=10**9)
    off = threading.Event()
    late: list[int] = []

    def work(number: int) -> None:
        if number == 0:
            one.set_enabled(False)
            off.set()
            return
        for _ in range(MANY):
            was_off = off.is_set()
            if one.enter(0) is None and was_off:
                late.append(number)

    in_threads(work)
    assert off.is_set()
    assert not late


def test_times_at_the_end_of_63_bits_do_not_wrap() -> None:
    one = gate(cooldown_ns=2**63 - 1)
    assert one.enter(2**63 - 1) is None
    assert one.stamp(2**63 - 1) is None
    one.leave()
    assert one.check(0) is SkipReason.COOLDOWN_ACTIVE
    one = gate(cooldown_ns=2**63 - 1)
    assert one.stamp(0) is None
    assert one.check(2**63 - 2) is SkipReason.COOLDOWN_ACTIVE
    assert one.check(2**63 - 1) is None


@pytest.mark.parametrize(
    ("now", "error"),
    [(-1, ValueError), (1.0, TypeError), (True, TypeError), (2**63, OverflowError)],
)
def test_a_time_that_is_none_is_refused_and_nothing_changes(
    now: Any, error: type[Exception]
) -> None:
    one = gate(cooldown_ns=SECOND)
    for call in (one.check, one.enter, one.stamp):
        with pytest.raises(error):
            call(now)
    assert one.in_flight == 0
    assert one.check(0) is None


@pytest.mark.parametrize(
    ("wrong", "range_"),
    [
        ({"cooldown_ns": -1}, "0 to 9223372036854775807"),
        ({"max_in_flight": 0}, "1 to 2147483647"),
        ({"max_in_flight": 2**31}, "1 to 2147483647"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused(wrong: dict[str, int], range_: str) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"^{name} must be {range_}, not {value}$"):
        gate(**wrong)  # type: ignore[arg-type]


def test_limits_reach_to_the_last_number_of_their_word() -> None:
    assert gate(cooldown_ns=2**63 - 1, max_in_flight=2**31 - 1).enter(0) is None
    with pytest.raises(OverflowError):
        gate(cooldown_ns=2**63)


def test_the_shortest_cooldown_is_a_nanosecond() -> None:
    one = gate(cooldown_ns=1)
    assert one.stamp(5) is None
    assert one.check(5) is SkipReason.COOLDOWN_ACTIVE
    assert one.check(6) is None


def test_what_a_gate_is_made_of_is_named() -> None:
    positional: Any = face.Gate
    with pytest.raises(TypeError):
        positional(True, 0, 1)


@pytest.mark.parametrize("functions", BOTH)
def test_a_gate_that_names_no_reasons_returns_their_numbers(functions: Any) -> None:
    bare = functions.GateCore(enabled=True, cooldown_ns=SECOND, max_in_flight=1)
    assert [bare.enter(0), bare.stamp(0), bare.check(0)] == [None, None, 2]
    bare.leave()
    assert bare.check(0) == 3
    bare.set_enabled(False)
    assert bare.check(0) == 1
    bare.set_enabled(True)
    with pytest.raises(ValueError, match="never entered"):
        bare.leave()
