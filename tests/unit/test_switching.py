"""Switches that are thrown while a signal is on its way, and settings that change under it."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pytest

from polyexec.core.ports import OrderBatch
from polyexec.enums import LegState, SkipReason
from polyexec.errors import ConfigError, UsageError
from polyexec.executor import Executor
from polyexec.live_settings import LIVE_SETTINGS, read_again
from polyexec.models import OrderId
from polyexec.posting import Door
from polyexec.signals import LegsSignal
from tests.unit.core.support import leg, signal
from tests.unit.journals import MemoryJournal
from tests.unit.test_executor import config, until
from tests.unit.venues import ScriptedVenue, all_live, all_matched


class ThrowsASwitch(MemoryJournal):
    """Does something when a signal is signed: after its checks, before its POST."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__()
        self._act = act

    def seal(self, group: int, body: bytes, order_ids: Sequence[OrderId]) -> None:
        super().seal(group, body, order_ids)
        self._act()


def throws(name: str, executor: Executor) -> object:
    return executor.halt("stop") if name == "halt" else executor.set_trading_enabled(False)


@pytest.mark.parametrize(
    ("switch", "reason"),
    [("halt", SkipReason.HALTED), ("off", SkipReason.TRADING_DISABLED)],
)
async def test_a_switch_thrown_after_the_checks_holds_the_post_back(
    switch: str, reason: SkipReason
) -> None:
    venue = ScriptedVenue(all_matched)
    journal = ThrowsASwitch(lambda: throws(switch, executor))
    executor = Executor(config(), venue, journal=journal)
    async with executor:
        result = await executor.submit(signal())
        assert result.skipped is reason
        assert venue.batches == []
        # It holds nothing: no money, no place, no exposure, and the journal is done with it.
        assert executor.ledger.available() == venue.balance
        assert executor.in_flight == 0
        assert (executor.risk.exposure_micro, executor.risk.spent_micro) == (0, 0)
        assert journal.kinds == ["Intent", "Signed", "Close"]
        assert executor.submit(signal()).skipped is reason
    assert venue.batches == []


async def test_what_was_held_back_costs_the_next_run_nothing() -> None:
    journal = ThrowsASwitch(lambda: executor.halt("stop"))
    executor = Executor(config(), ScriptedVenue(all_matched), journal=journal)
    async with executor:
        assert (await executor.submit(signal())).skipped is SkipReason.HALTED
    kept = MemoryJournal(journal.records)
    async with Executor(config(), ScriptedVenue(all_matched), journal=kept) as again:
        assert (again.risk.spent_micro, again.risk.exposure_micro) == (0, 0)
        assert (await again.submit(signal())).success


async def test_after_a_halt_and_its_end_trading_goes_on() -> None:
    venue = ScriptedVenue(all_matched)
    async with Executor(config(), venue) as executor:
        assert executor.halt("lunch")
        assert executor.halted == "lunch"
        skipped = await executor.submit(signal())
        assert (skipped.skipped, skipped.detail) == (SkipReason.HALTED, "lunch")
        executor.set_trading_enabled(True)  # of another switch: the halt stays
        assert executor.submit(signal()).skipped is SkipReason.HALTED
        executor.resume()
        assert (await executor.submit(signal())).success
        executor.halt()
        executor.set_trading_enabled(False)
        executor.resume()  # the trading switch stays off
        assert executor.submit(signal()).skipped is SkipReason.TRADING_DISABLED
    assert len(venue.batches) == 1


async def test_a_halt_returns_after_what_is_being_written() -> None:
    begun, go_on = threading.Event(), threading.Event()

    class SlowToWrite(ScriptedVenue):
        def post_orders(self, batch: OrderBatch, on_outcome: Any) -> None:
            begun.set()
            assert go_on.wait(10)
            super().post_orders(batch, on_outcome)

    venue = SlowToWrite(all_live)
    async with Executor(config(), venue) as executor:
        sending = asyncio.create_task(asyncio.to_thread(executor.submit, signal()))
        await asyncio.to_thread(begun.wait)
        halting = asyncio.create_task(asyncio.to_thread(executor.halt, "stop"))
        await until(lambda: executor.halted)
        assert not halting.done()
        go_on.set()
        assert await halting is True
        # What was already being sent is known, and tracked.
        assert len(venue.batches) == 1
        result = await (await sending)
        assert [one.state for one in result.legs] == [LegState.LIVE] * len(result.legs)


async def test_a_venue_that_halts_from_within_its_post_does_not_hang() -> None:
    told: list[bool] = []

    class Panics(ScriptedVenue):
        def post_orders(self, batch: OrderBatch, on_outcome: Any) -> None:
            told.append(executor._door.shut(0.001))
            super().post_orders(batch, on_outcome)

    executor = Executor(config(), Panics(all_live))
    async with executor:
        assert (await executor.submit(signal())).success
    assert told == [False]


def test_a_shut_door_lets_nothing_in_and_opens_again() -> None:
    door = Door(is_open=True)
    assert door.enter()
    assert not door.shut(0.001)
    assert not door.enter()
    door.leave()
    assert door.shut(0)
    door.open()
    assert door.enter()


async def test_a_shut_door_reports_orders_as_not_sent() -> None:
    venue, outcomes = ScriptedVenue(all_live), []
    batch = OrderBatch(path="/orders", body=b"[]", headers={}, order_ids=())
    Door(is_open=False).post(venue, batch, outcomes.append)
    assert venue.batches == []
    assert "halted before the orders were sent" in str(outcomes[0].error)
    assert outcomes[0].error.sent == "NO"


async def test_a_closed_executor_is_not_switched_on() -> None:
    async with Executor(config(), ScriptedVenue(all_live)) as executor:
        pass
    with pytest.raises(UsageError, match="closed"):
        executor.set_trading_enabled(True)
    assert not executor.trading_enabled


# settings that change -----------------------------------------------------------------------------


def two_dollars(**changes: Any) -> LegsSignal:
    return LegsSignal([leg(price="0.20", size=10, **changes)])


async def test_limits_hold_from_the_next_signal_on() -> None:
    async with Executor(config(max_daily_cost=3), ScriptedVenue(all_live)) as executor:
        assert executor.submit(two_dollars()).skipped is None
        assert executor.submit(two_dollars()).skipped is SkipReason.MAX_DAILY_COST
        executor.retune(executor.config.replace(max_daily_cost=4))
        assert executor.submit(two_dollars()).skipped is None  # the first one counts
        assert executor.submit(two_dollars()).skipped is SkipReason.MAX_DAILY_COST
        executor.retune(executor.config.replace(max_daily_cost=None, max_group_cost="1.99"))
        assert executor.submit(two_dollars()).skipped is SkipReason.MAX_GROUP_COST
        executor.retune(executor.config.replace(max_group_cost=None, max_quote_age_ms=1000))
        assert executor.submit(two_dollars()).skipped is SkipReason.STALE_QUOTE
        assert executor.config.max_quote_age_ms == 1000


async def test_a_new_size_is_what_the_next_signal_is_priced_with() -> None:
    venue = ScriptedVenue(all_live)
    async with Executor(config(default_size=10), venue) as executor:
        first = await executor.submit(signal())
        executor.retune(executor.config.replace(default_size=20))
        second = await executor.submit(signal())
    assert {one.size for one in first.legs} == {Decimal(10)}
    assert {one.size for one in second.legs} == {Decimal(20)}


async def test_what_is_held_on_to_does_not_change_and_is_named() -> None:
    async with Executor(config(), ScriptedVenue(all_live)) as executor:
        before = executor.config
        with pytest.raises(ConfigError, match="clob_url, queue_size: cannot change while it runs"):
            executor.retune(before.replace(clob_url="https://x.org", queue_size=7, default_size=99))
        assert executor.config is before


def test_a_second_reading_says_what_changed_and_what_was_refused() -> None:
    before = config(max_group_cost=5, api_key="a", api_secret="old", api_passphrase="b")
    now = before.replace(max_group_cost=7, api_secret="new", trading_enabled=False)
    changes, readings = read_again(before, now)
    assert changes == {"max_group_cost": 7}
    assert {one.setting: one.refusal for one in readings} == {
        "max_group_cost": "",
        "api_secret": "needs a restart",
        "trading_enabled": "the switch is not a setting once it runs: use enable or disable",
    }
    assert all("old" not in one.old and "new" not in one.new for one in readings)
    assert read_again(now, now) == ({}, ())


def test_every_live_setting_is_one() -> None:
    assert set(config()._shown) >= LIVE_SETTINGS
