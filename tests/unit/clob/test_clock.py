"""The estimate of the exchange's clock: whole seconds in, narrow bounds out."""

import logging

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from polyexec.clob.clock import ServerClock
from polyexec.core.ports import Answer

START = 1_800_000_000.0


class World:
    """Our clock, which may be wrong, and the exchange's, which is right."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.true_s = START
        self.ahead_s = ahead_s  # of the exchange before us
        self.clock = ServerClock(unix_s=self.unix_s, steady_s=lambda: self.true_s - 1000)

    def unix_s(self) -> float:
        return self.true_s - self.ahead_s

    def ask(self, there_s: float = 0.02, back_s: float = 0.02) -> None:
        sent = self.unix_s()
        self.true_s += there_s
        said = int(self.true_s)
        self.true_s += back_s
        self.clock.observe(Answer(status=200, body=str(said).encode()), sent, self.unix_s())

    def ask_often(self, times: int = 20) -> None:
        for _ in range(times):
            self.ask()
            self.true_s += 20.37


def test_nothing_is_corrected_before_anything_is_known() -> None:
    world = World(5.0)
    assert world.clock.bounds_s is None
    assert (world.clock.offset_s, world.clock.is_off) == (0.0, False)
    assert world.clock.now_s() == world.unix_s()


def test_one_answer_leaves_a_second_of_doubt() -> None:
    world = World(5.0)
    world.ask()
    bounds = world.clock.bounds_s
    assert bounds is not None
    assert bounds[0] <= 5.0 <= bounds[1]
    assert 1.0 <= bounds[1] - bounds[0] <= 1.05


@pytest.mark.parametrize("ahead_s", [-3600.0, -1.7, 1.7, 40.0])
def test_several_answers_find_a_wrong_clock(
    ahead_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(ahead_s)
    world.ask_often()
    assert world.clock.offset_s == pytest.approx(ahead_s, abs=0.15)
    assert world.clock.now_s() == pytest.approx(world.true_s, abs=0.15)
    assert world.clock.is_off
    assert [r.message for r in caplog.records] == ["clock_off"]


@pytest.mark.parametrize("ahead_s", [0.0, 0.01, -0.01])
def test_a_good_clock_is_left_alone(ahead_s: float) -> None:
    world = World(ahead_s)
    for _ in range(50):
        world.ask()
        world.true_s += 7.3
        assert abs(world.clock.offset_s) <= 0.01
    assert not world.clock.is_off


def test_less_than_a_second_is_no_alarm() -> None:
    world = World(0.8)
    world.ask_often()
    assert world.clock.offset_s == pytest.approx(0.8, abs=0.15)
    assert not world.clock.is_off


def test_a_step_of_our_clock_voids_what_was_learnt(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = World(40.0)
    world.ask_often()
    world.ahead_s = 0.0  # somebody set it right
    assert world.clock.offset_s == 0.0
    assert world.clock.now_s() == world.true_s
    world.ask()
    assert world.clock.offset_s == 0.0
    assert not world.clock.is_off
    assert [r.message for r in caplog.records] == ["clock_off", "clock_right"]


def test_an_exchange_that_steps_is_believed_at_once() -> None:
    world = World()
    world.ask_often()
    sent = world.unix_s()
    said = int(world.true_s) + 30
    world.clock.add(said, sent, sent + 0.01)
    assert world.clock.offset_s == pytest.approx(30, abs=1.01)


def test_old_answers_are_forgotten() -> None:
    world = World()
    world.ask()
    world.true_s += 1000.9
    world.ask()
    bounds = world.clock.bounds_s
    assert bounds is not None
    assert bounds[1] - bounds[0] >= 1.0


def test_slow_answers_and_a_clock_that_went_back_meanwhile_tell_nothing() -> None:
    clock = World().clock
    clock.add(int(START), START, START + 6)
    clock.add(int(START), START, START - 1)
    assert clock.bounds_s is None


def test_the_date_serves_where_the_body_does_not() -> None:
    world = World(7.0)
    headers = {"date": "Fri, 15 Jan 2027 08:00:07 GMT"}
    world.clock.observe(Answer(status=404, body=b"", headers=headers), START, START + 0.1)
    assert world.clock.bounds_s == pytest.approx((7 - 0.1 - 0.25, 8.25))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"date": "yesterday"},
        {"date": ""},
        {"date": "Fri, 15 Jan 99999 08:00:07 GMT"},
        {"date": "Fri, 15 Jan 2027 08:00:07 GMT", "age": "31"},
    ],
)
@pytest.mark.parametrize("body", [b"", b"[]", b"1800000000.5", b"-1", b"1" * 40])
def test_what_is_no_time_tells_nothing(body: bytes, headers: dict[str, str]) -> None:
    clock = World().clock
    clock.observe(Answer(status=200, body=body, headers=headers), START, START)
    assert clock.bounds_s is None


@given(
    ahead_s=st.floats(-100, 100),
    trips=st.lists(
        st.tuples(st.floats(0, 2), st.floats(0, 2), st.floats(0, 60)), min_size=1, max_size=30
    ),
)
def test_the_truth_is_always_within_the_bounds(
    ahead_s: float, trips: list[tuple[float, float, float]]
) -> None:
    world = World(ahead_s)
    widths = []
    for there, back, pause in trips:
        world.ask(there, back)
        bounds = world.clock.bounds_s
        assert bounds is not None
        low, high = bounds
        assert low - 1e-6 <= ahead_s <= high + 1e-6
        assert low <= world.clock.offset_s <= high
        assert abs(world.clock.offset_s) <= abs(ahead_s) + 1e-6
        widths.append(high - low)
        world.true_s += pause
    assume(len(widths) > 1)
    assert widths[-1] <= 1 + sum(trips[-1][:2]) + 1e-6
