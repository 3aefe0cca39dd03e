"""The switch in Redis, against a real server that also dies and comes back."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.commands import request_of
from polyexec.control import Account
from polyexec.control_socket import ask
from polyexec.controlling import open_control
from polyexec.errors import ConfigError
from polyexec.redis_switch import RedisSettings, RedisSwitch
from polyexec.secret import Secret
from tests.unit.core.support import signal
from tests.unit.test_executor import config, until
from tests.unit.venues import ScriptedVenue, all_live

redis = pytest.importorskip("redis")
PASSWORD = "pa:ss@word"
KEY = "polyexec:switch"


class Server:
    """A Redis of our own on a free port."""

    def __init__(self, folder: Path) -> None:
        self.binary = shutil.which("redis-server")
        if self.binary is None:
            pytest.skip("no redis-server on this machine")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(port=self.port, password=PASSWORD)

    def start(self) -> None:
        assert self.binary is not None
        self.process = subprocess.Popen(
            [
                *(self.binary, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--requirepass", PASSWORD, "--save", "", "--dir", str(self.folder)),
            ],
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if b"Ready to accept" in line:
                return
        pytest.fail("redis-server did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def say(self, value: str | bytes) -> None:
        self.client.set(KEY, value)

    def variables(self, **more: str) -> dict[str, str]:
        return {
            "REDIS_PORT": str(self.port),
            "REDIS_PASSWORD": PASSWORD,
            "REDIS_CONTROL_KEY": KEY,
            "REDIS_CONTROL_POLL_MS": "10",
        } | more


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    try:
        yield server
    finally:
        server.client.close()
        server.stop()


class Watched:
    def __init__(self, executor: px.Executor, switch: RedisSwitch, alarms: list[str]) -> None:
        self.executor = executor
        self.switch = switch
        self.alarms = alarms


@contextlib.asynccontextmanager
async def watching(server: Server, **more: str) -> AsyncIterator[Watched]:
    settings = RedisSettings.of(config(redis=server.variables(**more)).redis)
    assert settings is not None
    alarms: list[str] = []
    async with px.Executor(config(), ScriptedVenue(all_live)) as executor:
        switch = RedisSwitch(settings, [executor], alarms.append)
        try:
            yield Watched(executor, switch, alarms)
        finally:
            await switch.close()


@pytest.mark.parametrize(
    ("value", "halted"),
    [
        ("halt", "redis: halt"),
        ("halt: too hot", "redis: too hot"),
        ("HALT:x", "redis: x"),
        ("off", "redis: off"),
        ("0", "redis: off"),
        ("false", "redis: off"),
    ],
)
async def test_a_value_halts_and_on_ends_it(server: Server, value: str, halted: str) -> None:
    async with watching(server) as one:
        await one.switch.look()
        assert (one.executor.halted, one.switch.state.value) == (None, "")  # no key: no opinion
        server.say(value)
        await one.switch.look()
        assert one.executor.halted == halted
        assert one.executor.submit(signal()).skipped is px.SkipReason.HALTED
        server.client.delete(KEY)
        await one.switch.look()
        assert one.executor.halted == halted  # a key that is gone has not said "on"
        server.say("on")
        await one.switch.look()
        assert one.executor.halted is None
        assert (await one.executor.submit(signal())).success
    assert one.alarms == []


async def test_reduce_only_and_back(server: Server) -> None:
    async with watching(server) as one:
        server.say("reduce-only")
        await one.switch.look()
        assert one.executor.submit(signal()).skipped is px.SkipReason.REDUCE_ONLY
        server.say("1")
        await one.switch.look()
        assert (await one.executor.submit(signal())).success


async def test_it_ends_no_halt_of_others_and_switches_nothing_on(server: Server) -> None:
    async with watching(server) as one:
        one.executor.halt("by hand")
        one.executor.set_trading_enabled(False)
        one.executor.reduce_only()
        server.say("on")
        await one.switch.look()
        assert one.executor.halted == "by hand"
        assert not one.executor.trading_enabled
        assert one.executor.risk.is_reduce_only
        server.say("halt: later")
        await one.switch.look()
        one.executor.resume()
        await one.switch.look()
        assert one.executor.halted == "redis: later"


@pytest.mark.parametrize(
    "value",
    ["onn", "", " ", "halt it", "on\n\x00", b"\xff\xfe", "x" * 10_000, "2", "halt: " + "x" * 400],
)
async def test_garbage_changes_nothing_and_raises_one_alarm(
    server: Server, value: str | bytes
) -> None:
    async with watching(server) as one:
        server.say("halt: before")
        await one.switch.look()
        server.say(value)
        for _ in range(3):
            await one.switch.look()
        assert one.executor.halted == "redis: before"
        assert one.switch.state.refused == len(one.alarms) == (1 if value else 0)
        assert all("nothing changes" in alarm for alarm in one.alarms)


async def test_another_kind_of_key_is_told_and_changes_nothing(server: Server) -> None:
    async with watching(server) as one:
        server.client.rpush(KEY, "halt")
        await one.switch.look()
        assert one.executor.halted is None
        assert one.switch.state.is_lost
        assert "ResponseError" in one.alarms[0]


@pytest.mark.parametrize("on_loss", ["keep", "halt"])
async def test_a_dead_redis_is_told_once_and_halts_if_it_should(
    server: Server, on_loss: str
) -> None:
    async with watching(server, REDIS_CONTROL_ON_LOSS=on_loss) as one:
        server.say("on")
        await one.switch.look()
        server.stop()
        for _ in range(3):
            await one.switch.look()
        assert one.switch.state.is_lost
        assert one.switch.state.losses == len(one.alarms) == 1
        expected = "redis-loss: the switch cannot be read" if on_loss == "halt" else None
        assert one.executor.halted == expected
        server.start()
        server.say("on")
        await one.switch.look()
        assert not one.switch.state.is_lost
        assert one.executor.halted is None
        assert one.alarms[1:] == ["Redis answers again"]


async def test_a_halt_from_before_the_loss_is_still_one_after_it(server: Server) -> None:
    async with watching(server, REDIS_CONTROL_ON_LOSS="halt") as one:
        server.say("halt")
        await one.switch.look()
        server.stop()
        await one.switch.look()
        assert one.executor.halted == "redis: halt; redis-loss: the switch cannot be read"
        server.start()  # it has forgotten its keys
        await one.switch.look()
        assert one.executor.halted == "redis: halt"


async def test_a_halt_that_was_said_during_the_loss_leaves_no_gap(server: Server) -> None:
    async with watching(server, REDIS_CONTROL_ON_LOSS="halt") as one:
        server.stop()
        await one.switch.look()
        server.start()
        server.say("halt: bad news")
        opened: list[str] = []
        door = one.executor._door
        one.executor._door = WatchedDoor(door, opened)  # type: ignore[assignment]
        await one.switch.look()
        assert one.executor.halted == "redis: bad news"
        assert opened == []


class WatchedDoor:
    """Notes when it is opened."""

    def __init__(self, door: Any, opened: list[str]) -> None:
        self._door = door
        self._opened = opened

    def open(self) -> None:
        self._opened.append("open")
        self._door.open()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._door, name)


async def test_an_answer_of_another_kind_is_a_loss_and_no_end_of_the_switch(
    server: Server,
) -> None:
    # As with `?decode_responses=True` in the address: text instead of bytes.
    async with watching(
        server, REDIS_URL=f"redis://:pa%3Ass%40word@127.0.0.1:{server.port}?decode_responses=True"
    ) as one:
        server.say("halt")
        await one.switch.look()
        assert one.switch.state.is_lost
        assert one.alarms == ["Redis cannot be asked (TypeError); what it said last holds"]


async def test_a_wrong_password_is_a_loss_and_is_not_shown(server: Server) -> None:
    async with watching(server, REDIS_PASSWORD="secret-word") as one:
        await one.switch.look()
        assert one.switch.state.is_lost
        assert "secret-word" not in "".join(one.alarms)


async def test_an_alarm_that_fails_does_not_end_the_switch(server: Server) -> None:
    async with watching(server) as one:
        one.switch._on_alarm = lambda text: 1 / 0
        server.say("junk")
        await one.switch.look()
        server.say("halt")
        await one.switch.look()
        assert one.executor.halted == "redis: halt"


async def test_a_client_that_swallows_the_cancel_does_not_keep_the_switch_running(
    server: Server,
) -> None:
    asked = asyncio.Event()

    class Swallows:
        async def getrange(self, *arguments: object) -> bytes:
            asked.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return b"on"

        async def aclose(self) -> None:
            pass

    async with watching(server) as one:
        await one.switch.close()
        one.switch._client = Swallows()
        running = asyncio.create_task(one.switch.run())
        await asked.wait()
        running.cancel()
        done, _ = await asyncio.wait({running}, timeout=10)
        assert done == {running}


async def test_a_bot_obeys_before_its_first_signal_and_tells_its_state(
    server: Server, tmp_path: Path
) -> None:
    server.say("halt: not yet")
    path = tmp_path / "run" / "bot.sock"
    given = config(redis=server.variables(), control_socket=str(path))
    async with px.Executor(given, ScriptedVenue(all_live)) as executor:
        accounts = {"main": Account(executor)}
        async with open_control(given, accounts):
            assert executor.halted == "redis: not yet"
            server.say("on")
            await until(lambda: executor.halted is None)
            told = await asyncio.to_thread(ask, path, request_of("status"))
            assert told["watched"]["redis"]["value"] == "on"
            assert PASSWORD not in str(told)
            server.stop()
            await until(lambda: (accounts and _state(path))["is_lost"])


def _state(path: Path) -> dict[str, Any]:
    state: dict[str, Any] = ask(path, request_of("status"))["watched"]["redis"]
    return state


# settings -----------------------------------------------------------------------------------------


def settings(**variables: str) -> RedisSettings | None:
    return RedisSettings.of({name: Secret(value) for name, value in variables.items()})


def test_without_a_key_there_is_no_switch() -> None:
    assert settings(REDIS_HOST="h", REDIS_PASSWORD="p") is None


def test_the_address_is_never_shown() -> None:
    made = settings(REDIS_URL="rediss://u:hidden@h/1", REDIS_PASSWORD="b", REDIS_CONTROL_KEY="k")
    assert made is not None
    assert made.address.url is not None
    assert made.address.url.reveal() == "rediss://u:hidden@h/1"
    assert "hidden" not in repr(made)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_PORT", "x"),
        ("REDIS_DB", "one"),
        ("REDIS_TLS", "perhaps"),
        ("REDIS_CONTROL_POLL_MS", "1"),
        ("REDIS_CONTROL_POLL_MS", "soon"),
        ("REDIS_CONTROL_ON_LOSS", "panic"),
    ],
)
def test_a_malformed_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable}="):
        settings(REDIS_CONTROL_KEY="k", **{variable: value})


def test_a_malformed_address_is_refused_without_its_password() -> None:
    made = settings(REDIS_URL="redis://u:hidden@h:port", REDIS_CONTROL_KEY="k")
    assert made is not None
    with pytest.raises(ConfigError, match="REDIS_URL: malformed") as caught:
        RedisSwitch(made, [])
    assert "hidden" not in str(caught.value)
    assert caught.value.__context__ is None
