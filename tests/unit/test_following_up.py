"""Orders that do not come to their end, around a real executor."""

import asyncio
import logging
from typing import Any

import msgspec
import pytest

from polyexec.core.ports import NoAnswer, OrderBatch, Outcome
from polyexec.enums import LegState
from polyexec.errors import InputError, OutcomeUnknownError
from polyexec.executor import Executor
from polyexec.following_up import open_follow_up
from polyexec.observers.followup import FollowUpRules, FollowUpWatch, OrderAlarm, OrderTrouble
from tests.unit.core.support import FakeClock, signal
from tests.unit.test_executor import config, until
from tests.unit.test_grouping import Desk, settle, status
from tests.unit.venues import ScriptedVenue, all_live, all_matched, answer_with


def lost(batch: OrderBatch) -> Outcome:
    return NoAnswer(error=OutcomeUnknownError("reset"))


class Watched:
    """A watch that looks when told to, over the orders of an executor."""

    def __init__(self, executor: Executor, **bounds: Any) -> None:
        self.clock = FakeClock()
        self.alarms: list[OrderAlarm] = []
        self.watch = FollowUpWatch(
            lambda: executor.orders,
            time_ms=self.clock.time_ms,
            rules=FollowUpRules(**bounds),
            on_alarm=self.alarms.append,
        )
        self.watch.look()

    def after(self, seconds: float) -> list[tuple[OrderTrouble, bool]]:
        """Look again after so long; return the alarms that it gave."""
        before = len(self.alarms)
        self.clock.advance(round(seconds * 1000))
        self.watch.look()
        return [(alarm.trouble, alarm.is_over) for alarm in self.alarms[before:]]


@pytest.mark.parametrize(
    ("answer", "trouble", "bound"),
    [
        (lost, OrderTrouble.UNKNOWN, "unknown_s"),
        (
            lambda batch: answer_with(batch, {"status": "delayed"}),
            OrderTrouble.DELAYED,
            "delayed_s",
        ),
        (all_live, OrderTrouble.RESTING, "resting_s"),
        (all_matched, OrderTrouble.UNSETTLED, "unsettled_s"),
    ],
)
async def test_an_order_past_its_bound_is_told_once_and_again_later(
    answer: Any, trouble: OrderTrouble, bound: str
) -> None:
    async with Executor(config(), ScriptedVenue(answer)) as executor:
        await executor.submit(signal())
        given: dict[str, Any] = dict.fromkeys(("unknown_s", "delayed_s", "unsettled_s"))
        watched = Watched(executor, **given | {bound: 30, "repeat_s": 100})
        assert watched.after(29.999) == []
        assert watched.after(0.001) == [(trouble, False)] * 3
        assert watched.after(99) == []
        assert len(watched.watch.troubled) == 3
        assert watched.after(1) == [(trouble, False)] * 3
    assert {alarm.order_id for alarm in watched.alarms} == {o.order_id for o in executor.orders}
    assert "at most 30" in watched.alarms[0].detail


async def test_the_end_of_trouble_is_told() -> None:
    async with Executor(config(), ScriptedVenue(lost)) as executor:
        await executor.submit(signal())
        watched = Watched(executor, unknown_s=30)
        watched.after(30)
        first, *_ = executor.orders
        executor.give_up_unknown(first.order_id)
        assert watched.after(1) == [(OrderTrouble.UNKNOWN, True)]
        assert watched.alarms[-1].order_id == first.order_id
        assert watched.alarms[-1].state is LegState.NOT_SENT
        assert len(watched.watch.troubled) == 2


async def test_an_order_that_moves_on_begins_its_time_again() -> None:
    venue = Desk(all_live)
    async with Executor(config(), venue) as executor:
        await executor.submit(signal())
        watched = Watched(executor, resting_s=30, unsettled_s=30)
        assert watched.after(20) == []
        settle(venue, 0, "MATCHED")
        await executor.reconcile()
        assert watched.after(20) == []
        assert watched.after(29) == []
        assert watched.after(1) == [(OrderTrouble.UNSETTLED, False)] * 3


async def test_a_failed_trade_and_a_part_that_was_cancelled_are_told_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    venue = Desk(all_live)
    alarms: list[OrderAlarm] = []
    async with (
        Executor(config(), venue) as executor,
        open_follow_up(config(), executor, on_alarm=alarms.append),
    ):
        await executor.submit(signal())
        settle(venue, 0, "CONFIRMED")
        failed, partly, _ = venue.batches[0].order_ids
        venue.fills[failed] = (msgspec.structs.replace(venue.fills[failed][0], status="FAILED"),)
        venue.fills[partly] = (
            msgspec.structs.replace(venue.fills[partly][0], size_micro=4_000_000),
        )
        venue.statuses[partly] = status(partly, LegState.CANCELLED, 4_000_000)
        with caplog.at_level(logging.WARNING, "polyexec.followup"):
            await executor.reconcile()
            await until(lambda: len(alarms) == 2)
        assert executor.orders == ()
    told = {alarm.order_id: (alarm.trouble, alarm.detail) for alarm in alarms}
    assert told[failed][0] is OrderTrouble.TRADE_FAILED
    assert "10 shares" in told[failed][1]
    assert told[partly] == (OrderTrouble.PARTLY_CANCELLED, "4 of 10 shares have traded")
    assert [record.message for record in caplog.records] == ["order_trouble"] * 2


async def test_unknown_orders_are_told_of_before_they_are_given_up() -> None:
    venue = ScriptedVenue(lost)
    settings = config(unknown_absent_after_s=0.2, follow_interval_s=0.005)
    alarms: list[OrderAlarm] = []
    async with Executor(settings, venue) as executor:
        async with open_follow_up(settings, executor) as watch:
            assert watch._rules.unknown_s == 0.1
        rules = FollowUpRules(unknown_s=0.001, interval_s=0.001)
        async with open_follow_up(settings, executor, rules=rules, on_alarm=alarms.append):
            await executor.submit(signal())
            await until(lambda: sum(alarm.is_over for alarm in alarms) == 3)
    assert {alarm.trouble for alarm in alarms} == {OrderTrouble.UNKNOWN}


async def test_a_listener_that_raises_or_hangs_does_not_end_the_watching() -> None:
    async with Executor(config(), ScriptedVenue(lost)) as executor:
        await executor.submit(signal())
        watched = Watched(executor, unknown_s=1, repeat_s=1)
        watched.watch._on_alarm = lambda alarm: 1 // 0
        watched.after(1)
        watched.watch._on_alarm = watched.alarms.append
        assert len(watched.after(1)) == 3
        never = asyncio.Event()
        rules = FollowUpRules(unknown_s=0.001, interval_s=0.001, repeat_s=0.001)

        async def hang(alarm: OrderAlarm) -> None:
            await never.wait()

        async with open_follow_up(config(), executor, rules=rules, on_alarm=hang) as watch:
            await until(lambda: len(watch.troubled) == 3)
            never.set()


async def test_nothing_is_heard_after_the_end() -> None:
    venue = ScriptedVenue(lost)
    async with Executor(config(), venue) as executor:
        await executor.submit(signal())
        async with open_follow_up(config(), executor) as watch:
            pass
        watch.heard(executor.orders[0], ())
        executor.give_up_unknown(executor.orders[0].order_id)


@pytest.mark.parametrize(
    ("field", "value"), [("unknown_s", 0), ("repeat_s", -1), ("resting_s", 1e9)]
)
def test_bounds_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=field):
        FollowUpRules(**{field: value})
