"""The balance out of a real Redis."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyexec.errors import ConfigError, InputError
from polyexec.observers.balance import BalanceFault, BalanceRules, SourceError
from polyexec.observers.redis_balance import RedisBalance, RedisSettings
from polyexec.secret import Secret
from tests.unit.core.support import FakeClock
from tests.unit.observers.redis_server import redis_server
from tests.unit.observers.test_balance import Desk

redis = pytest.importorskip("redis.asyncio")

KEY = "WORKER_USDC_BALANCE"
NOW_MS = FakeClock().ms


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with redis_server(tmp_path_factory.mktemp("redis")) as path:
        yield path


def settings(path: str, **variables: str) -> RedisSettings:
    given = {"REDIS_URL": f"unix://{path}"} | variables
    return RedisSettings.read({name: Secret(value) for name, value in given.items()})


async def heard(path: str, values: dict[str, Any], **variables: str) -> Desk:
    """Return a desk that has asked a Redis with these values."""
    client = redis.Redis(unix_socket_path=path)
    try:
        await client.flushall()
        for key, value in values.items():
            await client.set(key, value)
    finally:
        await client.aclose()
    clock = FakeClock()
    desk = Desk(RedisBalance(settings(path, **variables), clock.time_ms), timeout_s=5)
    await desk.watch.refresh()
    await desk.watch.close()
    return desk


@pytest.mark.parametrize("value", ["1234.56", " 1234.56\n", '{"balance": 1234.56}'])
async def test_a_bare_number_counts_as_old_as_it_may_be(path: str, value: str) -> None:
    desk = await heard(path, {KEY: value})
    assert desk.alarms == []
    assert desk.ledger.available() == 1_234_560_000
    assert desk.ledger.as_of_ms() == NOW_MS - 10_000
    assert desk.watch.age_s == 10


async def test_the_lag_of_a_bare_number_is_a_setting(path: str) -> None:
    desk = await heard(path, {KEY: "5"}, REDIS_BALANCE_LAG_S="0.5")
    assert desk.ledger.as_of_ms() == NOW_MS - 500


async def test_an_object_carries_its_time(path: str) -> None:
    value = json.dumps({"balance": "77.000001", "as_of_ms": NOW_MS - 42, "by": "worker"})
    desk = await heard(path, {"mine": value}, REDIS_BALANCE_KEY="mine")
    assert desk.ledger.available() == 77_000_001
    assert desk.ledger.as_of_ms() == NOW_MS - 42


async def test_a_second_key_carries_the_time(path: str) -> None:
    desk = await heard(path, {KEY: "77", "at": str(NOW_MS - 7)}, REDIS_BALANCE_TIME_KEY="at")
    assert desk.ledger.as_of_ms() == NOW_MS - 7


async def test_a_worker_that_has_stopped_is_seen(path: str) -> None:
    value = json.dumps({"balance": 50, "as_of_ms": NOW_MS - 61_000})
    desk = await heard(path, {KEY: value})
    assert desk.faults == [BalanceFault.TOO_OLD]
    assert desk.ledger.as_of_ms() == 0


@pytest.mark.parametrize(
    "value",
    [
        "twelve",
        "",
        "-5",
        "NaN",
        '{"balance": NaN}',
        '{"balance": Infinity}',
        '{"amount": 5}',
        '{"balance": {}}',
        '{"balance": 5, "as_of_ms": "now"}',
        '{"balance": 5',
        "{" * 3000,
        b"\xff\xfe\x00",
        "1" * 100_000,
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_a_value_that_is_no_balance_is_refused(path: str, value: Any) -> None:
    desk = await heard(path, {KEY: value})
    assert desk.faults == [BalanceFault.GARBAGE]
    assert desk.ledger.as_of_ms() == 0


@pytest.mark.parametrize("time", ["soon", "-1", "1e3", ""])
async def test_a_time_that_is_none_is_refused(path: str, time: str) -> None:
    desk = await heard(path, {KEY: "5", "at": time}, REDIS_BALANCE_TIME_KEY="at")
    assert desk.faults == [BalanceFault.GARBAGE]


async def test_a_missing_key_is_told_by_its_name(path: str) -> None:
    desk = await heard(path, {})
    assert desk.faults == [BalanceFault.FAILED]
    assert KEY in desk.alarms[0].detail
    desk = await heard(path, {KEY: "5"}, REDIS_BALANCE_TIME_KEY="at")
    assert "'at'" in desk.alarms[0].detail


async def test_a_key_of_another_kind_is_trouble_and_no_balance(path: str) -> None:
    client = redis.Redis(unix_socket_path=path)
    await client.flushall()
    await client.hset(KEY, "balance", "5")
    await client.aclose()
    source = RedisBalance(settings(path), FakeClock().time_ms)
    with pytest.raises(SourceError, match="no key"):
        await source.read()
    await source.close()


async def test_a_redis_that_is_gone_is_told_and_heard_again_when_it_is_back(tmp_path: Path) -> None:
    source = RedisBalance(settings(str(tmp_path / "redis.sock")), FakeClock().time_ms)
    desk = Desk(source, timeout_s=5)
    assert not await desk.watch.refresh()
    for balance in ("10", "20"):
        with redis_server(tmp_path) as path:
            client = redis.Redis(unix_socket_path=path)
            await client.set(KEY, balance)
            await client.aclose()
            desk.clock.advance(1000)
            source._time_ms = desk.clock.time_ms
            assert await desk.watch.refresh()
        assert desk.ledger.available() == int(balance) * 1_000_000
        assert not await desk.watch.refresh()
    assert desk.faults == [BalanceFault.FAILED, None] * 2 + [BalanceFault.FAILED]
    assert desk.ledger.available() == 20_000_000
    await source.close()


async def test_a_redis_that_never_answers_costs_one_question(tmp_path: Path) -> None:
    held: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    path = str(tmp_path / "mute.sock")
    server = await asyncio.start_unix_server(accept, path)
    source = RedisBalance(settings(path), FakeClock().time_ms)
    desk = Desk(source, timeout_s=0.1)
    assert not await desk.watch.refresh()
    assert desk.faults == [BalanceFault.HANGING]
    await source.close()
    server.close()
    for writer in held:
        writer.close()


async def test_a_password_is_used_and_never_shown(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--requirepass", "hunter2") as path:
        right = RedisBalance(settings(path, REDIS_URL=f"unix://:hunter2@{path}"), lambda: 0)
        with pytest.raises(SourceError, match="no key"):
            await right.read()
        wrong = RedisBalance(settings(path, REDIS_URL=f"unix://:hunter3@{path}"), lambda: 0)
        with pytest.raises(SourceError, match="cannot be asked") as caught:
            await wrong.read()
        await right.close()
        await wrong.close()
    assert "hunter" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert "hunter" not in repr(settings(path, REDIS_PASSWORD="hunter2"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "http://host"),
        ("REDIS_PORT", "http"),
        ("REDIS_PORT", "65536"),
        ("REDIS_DB", "-1"),
        ("REDIS_TLS", "perhaps"),
        ("REDIS_BALANCE_LAG_S", "soon"),
        ("REDIS_BALANCE_LAG_S", "-1"),
        ("REDIS_BALANCE_LAG_S", "NaN"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        RedisSettings.read({name: Secret(value)})


def test_the_separate_variables_are_read() -> None:
    values = {
        "REDIS_HOST": "cache.example",
        "REDIS_PORT": "6380",
        "REDIS_DB": "2",
        "REDIS_USERNAME": "bot",
        "REDIS_PASSWORD": "hunter2",
        "REDIS_TLS": "true",
    }
    read = RedisSettings.read({name: Secret(value) for name, value in values.items()})
    source = RedisBalance(read, lambda: 0)
    options = source._redis.connection_pool.connection_kwargs
    assert options["host"] == "cache.example"
    assert (options["port"], options["db"]) == (6380, 2)
    assert (options["username"], options["password"]) == ("bot", "hunter2")
    assert "SSL" in source._redis.connection_pool.connection_class.__name__


def test_rules_are_seconds() -> None:
    with pytest.raises(InputError, match="interval_s"):
        BalanceRules(interval_s=1e6)
