"""The balance watch: what it believes, what it refuses, and what trouble of a source costs."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.errors import InputError
from polyexec.observers.balance import (
    BalanceAlarm,
    BalanceFault,
    BalanceRules,
    BalanceWatch,
    CallableSource,
    Reading,
)
from tests.unit.core.support import FakeClock

WAIT_S = 5.0


class Told:
    """A source that says what it is told to, or raises it."""

    name = "told"

    def __init__(self, says: Any = None) -> None:
        self.says = says or Reading("100")
        self.asked = 0
        self.asked_any = asyncio.Event()
        self.closed = False

    async def read(self) -> Reading:
        self.asked += 1
        self.asked_any.set()
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says

    async def close(self) -> None:
        self.closed = True


class Shares:
    """Positions as a mapping."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.held = held
        self.asked: list[str] = []

    def tokens(self) -> Iterable[str]:
        return self.held

    async def read(self, token_id: str) -> Reading:
        self.asked.append(token_id)
        if isinstance(self.held[token_id], BaseException):
            raise self.held[token_id]
        return Reading(self.held[token_id])


class Desk:
    """A watch that is asked by hand, and what it fed."""

    def __init__(self, source: Any = None, **changes: Any) -> None:
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.alarms: list[BalanceAlarm] = []
        self.source = source or Told()
        positions = changes.pop("positions", None)
        known_micro = changes.pop("known_micro", None)
        on_alarm: Callable[[BalanceAlarm], object] = changes.pop("on_alarm", self.alarms.append)
        self.watch = BalanceWatch(
            self.source,
            lambda asset, micro, as_of_ms: self.ledger.update(asset, micro, as_of_ms=as_of_ms),
            time_ms=self.clock.time_ms,
            rules=BalanceRules(**{"timeout_s": 0.05} | changes),
            positions=positions,
            known_micro=known_micro,
            on_alarm=on_alarm,
        )

    async def hear(self, says: Any) -> bool:
        self.source.says = says
        return await self.watch.refresh()

    @property
    def faults(self) -> list[BalanceFault | None]:
        return [alarm.fault for alarm in self.alarms]


async def test_a_balance_is_taken_with_the_time_at_which_it_was_asked_for() -> None:
    desk = Desk()
    assert desk.watch.age_s is None
    assert await desk.hear(Reading("12.34"))
    assert desk.ledger.available() == 12_340_000
    assert desk.ledger.as_of_ms() == desk.clock.ms
    desk.clock.advance(1500)
    assert desk.watch.age_s == 1.5
    assert desk.alarms == []


async def test_what_traded_after_the_as_of_time_is_counted_on_top() -> None:
    desk = Desk()
    await desk.hear(Reading(100))
    (held,) = desk.ledger.reserve([(COLLATERAL, 30_000_000)])
    desk.clock.advance(1000)
    desk.ledger.spend(held, 30_000_000, at_ms=desk.clock.ms)
    # A writer took it before the trade and we read it after.
    assert await desk.hear(Reading(100, desk.clock.ms - 500))
    assert desk.ledger.available() == 70_000_000
    assert await desk.hear(Reading(70, desk.clock.ms))
    assert desk.ledger.available() == 70_000_000


async def test_an_older_reading_changes_nothing_and_is_no_trouble() -> None:
    desk = Desk()
    await desk.hear(Reading(100))
    assert await desk.hear(Reading(5, desk.clock.ms - 1000))
    assert desk.ledger.available() == 100_000_000
    assert desk.watch.last_micro == 100_000_000
    assert desk.alarms == []


async def test_a_time_of_the_future_counts_as_now() -> None:
    desk = Desk()
    assert await desk.hear(Reading(100, desk.clock.ms + 3_600_000))
    assert desk.ledger.as_of_ms() == desk.clock.ms


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "twelve",
        "-1",
        -0.01,
        "NaN",
        float("nan"),
        "inf",
        "1e400",
        "0.0000001",
        True,
        None,
        b"12",
        [1],
        Decimal("sNaN"),
        2**63,
        "9" * 5000,
    ],
    ids=lambda value: repr(value)[:12],
)
async def test_garbage_is_refused_and_the_last_value_stays(garbage: Any) -> None:
    desk = Desk()
    await desk.hear(Reading(100))
    desk.clock.advance(1000)
    assert not await desk.hear(Reading(garbage))
    assert desk.ledger.available() == 100_000_000
    assert desk.faults == [BalanceFault.GARBAGE]
    assert "balance=" in desk.alarms[0].detail
    assert len(desk.alarms[0].detail) <= 200
    assert desk.alarms[0].age_s == 1.0


@pytest.mark.parametrize("as_of", [-1, True, "yesterday", 1.5])
async def test_a_time_that_is_none_is_refused(as_of: Any) -> None:
    desk = Desk()
    assert not await desk.hear(Reading(100, as_of))
    assert desk.ledger.as_of_ms() == 0
    assert desk.faults == [BalanceFault.GARBAGE]


async def test_what_is_no_reading_is_refused() -> None:
    desk = Desk()
    assert not await desk.hear("100")
    assert desk.faults == [BalanceFault.GARBAGE]


async def test_a_value_that_is_too_old_is_refused() -> None:
    desk = Desk(max_age_s=60)
    assert await desk.hear(Reading(100, desk.clock.ms - 60_000))
    desk.clock.advance(61_000)
    assert not await desk.hear(Reading(200, desk.clock.ms - 60_001))
    assert desk.ledger.available() == 100_000_000
    assert desk.faults == [BalanceFault.TOO_OLD]


async def test_a_jump_beyond_the_bound_waits_for_a_person() -> None:
    desk = Desk(max_jump_micro=50_000_000)
    await desk.hear(Reading(100))
    desk.clock.advance(5000)
    assert await desk.hear(Reading(150))
    assert not await desk.hear(Reading("200.000001"))
    assert not await desk.hear(Reading(0))
    assert desk.ledger.available() == 150_000_000
    assert desk.faults == [BalanceFault.JUMP]
    assert "at most 50 at once" in desk.alarms[0].detail
    desk.watch.trust_next()
    assert await desk.hear(Reading(1000))
    assert not await desk.hear(Reading(2000))
    assert desk.ledger.available() == 1_000_000_000
    assert desk.faults == [BalanceFault.JUMP, None, BalanceFault.JUMP]


async def test_the_first_reading_is_held_against_what_was_known() -> None:
    desk = Desk(max_jump_micro=50_000_000, known_micro=100_000_000)
    assert not await desk.hear(Reading(1_000_000))
    assert desk.faults == [BalanceFault.JUMP]


async def test_a_source_that_hangs_is_told_once_and_its_end_too() -> None:
    desk = Desk()
    never = asyncio.Event()

    async def hang() -> Reading:
        await never.wait()
        return Reading(1)

    read, desk.source.read = desk.source.read, hang
    assert not await desk.watch.refresh()
    assert not await desk.watch.refresh()
    desk.source.read = read
    assert await desk.watch.refresh()
    assert desk.faults == [BalanceFault.HANGING, None]
    assert (desk.watch.readings, desk.watch.refused) == (1, 2)
    assert desk.watch.fault is None


async def test_trouble_that_stays_is_told_again_now_and_then() -> None:
    desk = Desk(repeat_s=300)
    for _ in range(10):
        await desk.hear(RuntimeError("redis://:hunter2@host is down"))
        desk.clock.advance(100_000)
    assert len(desk.alarms) == 4
    assert {alarm.detail for alarm in desk.alarms} == {"RuntimeError"}
    assert len({alarm.since_ms for alarm in desk.alarms}) == 1


async def test_an_alarm_is_logged_with_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(on_alarm=lambda alarm: 1 // 0)
    with caplog.at_level(logging.INFO, "polyexec.balance"):
        await desk.hear(Reading("x"))
        assert await desk.hear(Reading(1))
    messages = [record.message for record in caplog.records]
    assert messages == [
        "balance_alarm",
        "balance_alarm_not_told",
        "balance_recovered",
        "balance_alarm_not_told",
    ]
    assert caplog.records[0].fault == BalanceFault.GARBAGE


async def test_positions_are_asked_for_in_turns() -> None:
    positions = Shares({str(token): token for token in range(1, 21)})
    desk = Desk(positions=positions)
    for _ in range(3):
        await desk.watch.refresh()
    assert len(positions.asked) == 24
    assert set(positions.asked) == set(positions.held)
    assert desk.ledger.available("20") == 20_000_000


async def test_a_bad_position_is_told_by_its_token_and_spares_the_others() -> None:
    positions = Shares({"1": "nan", "2": 7})
    desk = Desk(positions=positions)
    assert await desk.watch.refresh()
    assert [(alarm.asset, alarm.fault) for alarm in desk.alarms] == [("1", BalanceFault.GARBAGE)]
    assert desk.ledger.available("2") == 7_000_000


async def test_positions_of_a_dead_source_cost_one_question_a_round() -> None:
    positions = Shares(dict.fromkeys("123456", OSError()))
    desk = Desk(positions=positions)
    await desk.watch.refresh()
    assert len(positions.asked) == 1
    assert desk.faults == [BalanceFault.FAILED]


async def test_it_asks_at_once_and_when_poked_from_any_thread() -> None:
    desk = Desk(interval_s=1000, pause_s=0.001)
    async with desk.watch as watch, asyncio.timeout(WAIT_S):
        await desk.source.asked_any.wait()
        desk.source.asked_any.clear()
        thread = threading.Thread(target=watch.poke)
        thread.start()
        await desk.source.asked_any.wait()
        thread.join()
    assert desk.source.closed
    watch.poke()  # closed: nothing to wake


async def test_it_asks_again_after_the_interval() -> None:
    desk = Desk(interval_s=0.001, pause_s=0.001)
    async with desk.watch, asyncio.timeout(WAIT_S):
        while desk.source.asked < 3:
            await desk.source.asked_any.wait()
            desk.source.asked_any.clear()


async def test_a_fault_of_the_receiver_does_not_end_the_watching() -> None:
    def full(asset: str, micro: int, as_of_ms: int) -> bool:
        raise ZeroDivisionError

    source = Told()
    rules = BalanceRules(interval_s=0.001, pause_s=0.001)
    async with BalanceWatch(source, full, time_ms=FakeClock().time_ms, rules=rules):
        async with asyncio.timeout(WAIT_S):
            while source.asked < 2:
                await source.asked_any.wait()
                source.asked_any.clear()


async def test_a_source_that_does_not_close_holds_nothing_up() -> None:
    class Sticky(Told):
        async def close(self) -> None:
            await asyncio.Event().wait()

    desk = Desk(Sticky())
    async with asyncio.timeout(WAIT_S):
        async with desk.watch:
            pass


@pytest.mark.parametrize(
    ("field", "value"),
    [("interval_s", 0), ("timeout_s", -1), ("max_age_s", float("nan")), ("max_jump_micro", 0)],
)
def test_rules_that_cannot_be_are_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field.removesuffix("_micro")):
        BalanceRules(**{field: value})


# callables ----------------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread_of_its_own() -> None:
    threads: list[int] = []

    def ask() -> str:
        threads.append(threading.get_ident())
        return "12.5"

    desk = Desk(CallableSource(ask))
    assert await desk.watch.refresh()
    assert desk.ledger.available() == 12_500_000
    assert threads[0] != threading.get_ident()


@pytest.mark.parametrize("value", [7, "7", Decimal(7), Reading(7, 1_800_000_000_000)])
async def test_a_coroutine_function_is_awaited(value: Any) -> None:
    async def ask() -> Any:
        return value

    desk = Desk(CallableSource(ask))
    assert await desk.watch.refresh()
    desk = Desk(CallableSource(partial(ask)))
    assert await desk.watch.refresh()
    assert desk.ledger.available() == 7_000_000


async def test_a_function_that_hangs_gets_one_thread_and_no_second_call() -> None:
    release, calls = threading.Event(), []

    def ask() -> int:
        calls.append(1)
        release.wait()
        return 1

    desk = Desk(CallableSource(ask))
    for _ in range(3):
        assert not await desk.watch.refresh()
    assert len(calls) == 1
    assert desk.faults == [BalanceFault.HANGING, BalanceFault.FAILED]
    assert "has not returned yet" in desk.alarms[1].detail
    release.set()


@pytest.mark.parametrize("raised", [ValueError("secret"), SystemExit(1)])
async def test_a_function_that_raises_is_no_answer(raised: BaseException) -> None:
    def ask() -> int:
        raise raised

    desk = Desk(CallableSource(ask))
    assert not await desk.watch.refresh()
    assert desk.faults == [BalanceFault.FAILED]
    assert "secret" not in desk.alarms[0].detail


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(InputError, match="function"):
        CallableSource(12)  # type: ignore[arg-type]
