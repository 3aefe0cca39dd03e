"""The balance watch around a real executor on the paper exchange."""

import asyncio
import time
from typing import Any

import pytest

from polyexec.balancing import BalanceSettings, open_balance
from polyexec.config import ExecutorConfig
from polyexec.errors import ConfigError
from polyexec.executor import Executor
from polyexec.models import TokenId
from polyexec.observers.balance import BalanceAlarm, BalanceFault, BalanceRules
from polyexec.secret import Secret
from tests.unit.core.support import signal
from tests.unit.test_executor import config, until
from tests.unit.venues import ScriptedVenue, all_matched


def rules(**changes: Any) -> BalanceRules:
    return BalanceRules(**{"interval_s": 1000, "pause_s": 0.001} | changes)


async def test_the_paper_exchange_is_asked_and_asked_again() -> None:
    paper = ExecutorConfig(
        "0x" + "11" * 32,
        executor_mode="paper",
        balance={"BALANCE_INTERVAL_S": "0.01"},
    )
    async with Executor(paper) as executor, open_balance(paper, executor) as watch:
        assert executor.ledger.available() == 0
        executor.exchange.deposit(executor.address, "500")
        await until(lambda: executor.ledger.available() == 500_000_000)
        assert watch.last_micro == 500_000_000
        assert watch.fault is None


async def test_a_fill_makes_it_ask_for_balance_and_positions() -> None:
    venue = ScriptedVenue(all_matched)
    venue.balance_ms = time.time_ns() // 1_000_000
    tokens = {TokenId(str(token)) for token in (1, 2, 3)}
    async with (
        Executor(config(), venue) as executor,
        open_balance(config(), executor, rules=rules()) as watch,
    ):
        await until(lambda: watch.readings == 1)
        venue.positions = dict.fromkeys(tokens, 10_000_000)
        await executor.submit(signal())
        await until(lambda: executor.ledger.available("1") == 10_000_000)
        assert executor.tokens == tokens
        await until(lambda: watch.readings >= 5)


async def test_a_function_is_a_source_and_its_trouble_is_told_in_a_thread() -> None:
    alarms: list[BalanceAlarm] = []
    says: list[Any] = ["NaN"]
    async with Executor(config(), ScriptedVenue()) as executor:
        before = executor.ledger.available()
        async with open_balance(
            config(),
            executor,
            source=lambda: says[0],
            rules=rules(),
            on_alarm=alarms.append,
        ) as watch:
            await until(lambda: alarms)
            assert alarms[0].fault is BalanceFault.GARBAGE
            assert executor.ledger.available() == before
            says[0] = 250
            watch.poke()
            await until(lambda: executor.ledger.available() == 250_000_000)
            await until(lambda: len(alarms) == 2)


async def test_a_source_that_hangs_costs_the_executor_nothing() -> None:
    async def hang() -> float:
        await asyncio.Event().wait()
        return 1.0

    alarms: list[BalanceAlarm] = []
    async with Executor(config(), ScriptedVenue(all_matched)) as executor:
        given = rules(timeout_s=0.01, interval_s=0.001)
        async with open_balance(
            config(), executor, source=hang, rules=given, on_alarm=alarms.append
        ):
            for _ in range(5):
                assert (await executor.submit(signal())).success
            await until(lambda: alarms)
    assert alarms[0].fault is BalanceFault.HANGING


async def test_a_slow_listener_of_alarms_does_not_stop_the_watching() -> None:
    never = asyncio.Event()

    async def wait(alarm: BalanceAlarm) -> None:
        await never.wait()

    async with Executor(config(), ScriptedVenue()) as executor:
        given = rules(interval_s=0.001, repeat_s=0.001)
        async with open_balance(
            config(), executor, source=lambda: "x", rules=given, on_alarm=wait
        ) as watch:
            await until(lambda: watch.refused >= 5)
            never.set()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BALANCE_SOURCE", "bank", "must be exchange, redis, rpc or off"),
        ("BALANCE_SOURCE", "rpc", "BALANCE_RPC_URL: missing"),
        ("BALANCE_INTERVAL_S", "0", "interval_s"),
        ("BALANCE_INTERVAL_S", "soon", "BALANCE_INTERVAL_S='soon'"),
        ("BALANCE_TIMEOUT_S", "1e9", "BALANCE_TIMEOUT_S"),
        ("BALANCE_MAX_JUMP", "-1", "BALANCE_MAX_JUMP"),
        ("BALANCE_MAX_JUMP", "0", "max_jump"),
        ("BALANCE_MAXJUMP", "5", "BALANCE_MAXJUMP: is no setting"),
    ],
)
def test_a_variable_that_cannot_be_is_refused_by_name(name: str, value: str, words: str) -> None:
    read = ExecutorConfig.from_env({name: value})
    with pytest.raises(ConfigError, match=words):
        BalanceSettings.read(read.balance)


def test_the_variables_are_read() -> None:
    env = {
        "BALANCE_SOURCE": "RPC",
        "BALANCE_RPC_URL": "https://node/hunter2",
        "BALANCE_INTERVAL_S": "2.5",
        "BALANCE_TIMEOUT_S": "1",
        "BALANCE_MAX_AGE_S": "30",
        "BALANCE_MAX_JUMP": "100.5",
    }
    read = BalanceSettings.read(ExecutorConfig.from_env(env).balance)
    assert read == BalanceSettings(
        source="rpc",
        rpc_url=Secret("https://node/hunter2"),
        rules=BalanceRules(
            interval_s=2.5, timeout_s=1.0, max_age_s=30.0, max_jump_micro=100_500_000
        ),
    )
    assert "hunter2" not in repr(read)


async def test_each_named_source_is_built() -> None:
    pytest.importorskip("redis")
    async with Executor(config(), ScriptedVenue()) as executor:
        for given, name in (
            ({"BALANCE_SOURCE": "redis"}, "redis:WORKER_USDC_BALANCE"),
            ({"BALANCE_SOURCE": "rpc", "BALANCE_RPC_URL": "http://127.0.0.1:9"}, "rpc:127.0.0.1"),
            ({}, "exchange"),
        ):
            alarms: list[BalanceAlarm] = []
            chosen = config(balance=given, redis={"REDIS_PORT": "9"})
            async with open_balance(chosen, executor, on_alarm=alarms.append) as watch:
                await until(lambda: watch.readings or alarms)  # noqa: B023
            assert watch._source.name == name
