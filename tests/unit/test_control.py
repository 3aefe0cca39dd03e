"""A bot under control: over its real socket, by real signals, from this and other processes."""

import asyncio
import contextlib
import io
import json
import os
import signal as signal_module
import socket
import stat
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec import cli
from polyexec.commands import COMMANDS, Request, parse_request, request_of
from polyexec.control import Account, Control, status_of
from polyexec.control_socket import ask, find_socket
from polyexec.controlling import open_control
from polyexec.errors import ConfigError, InputError, NotSentError, UsageError
from polyexec.looping import LoopThread
from tests.unit.core.support import signal
from tests.unit.test_executor import config, until
from tests.unit.venues import ScriptedVenue, all_live


class Bot:
    """An executor under control."""

    def __init__(self, executor: px.Executor, venue: ScriptedVenue, path: Path) -> None:
        self.executor = executor
        self.venue = venue
        self.path = path
        self.env: dict[str, str] = {"MAX_GROUP_COST": "50", "PRIVATE_KEY": "11" * 32}
        self.ended = asyncio.Event()
        self.control: Control

    def read(self) -> px.ExecutorConfig:
        return px.ExecutorConfig.from_env(self.env)

    async def ask(self, command: str, argument: str | None = None, **more: Any) -> dict[str, Any]:
        return await asyncio.to_thread(ask, self.path, request_of(command, argument, **more))

    async def one(self, command: str, argument: str | None = None) -> dict[str, Any]:
        told: dict[str, Any] = (await self.ask(command, argument))["accounts"]["main"]
        return told


@pytest.fixture
async def bot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bot]:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # no terminal, wherever the tests run
    venue = ScriptedVenue(all_live)
    path = tmp_path / "run" / "bot.sock"
    async with px.Executor(config(control_socket=str(path)), venue) as executor:
        bot = Bot(executor, venue, path)
        accounts = {"main": Account(executor, read=bot.read)}
        async with open_control(executor.config, accounts, shutdown=bot.ended.set) as bot.control:
            yield bot


async def test_a_halt_from_outside_holds_until_it_is_ended(bot: Bot) -> None:
    assert (await bot.executor.submit(signal())).success
    told = await bot.one("halt", "fat finger")
    assert (told["halted"], told["trading"], told["in_flight"]) == ("fat finger", True, 0)
    assert told["open_orders"] == len(bot.executor.orders) > 0
    refused = await bot.executor.submit(signal())
    assert (refused.skipped, refused.detail) == (px.SkipReason.HALTED, "fat finger")
    assert len(bot.venue.batches) == 1
    assert (await bot.one("resume"))["halted"] is None
    assert (await bot.executor.submit(signal())).success


async def test_the_trading_switch_and_reduce_only_are_thrown_from_outside(bot: Bot) -> None:
    assert (await bot.one("disable"))["trading"] is False
    assert bot.executor.submit(signal()).skipped is px.SkipReason.TRADING_DISABLED
    assert (await bot.one("enable"))["trading"] is True
    assert (await bot.one("reduce-only", "on"))["reduce_only"] is True
    assert bot.executor.submit(signal()).skipped is px.SkipReason.REDUCE_ONLY
    assert (await bot.one("reduce-only", "off"))["reduce_only"] is False
    assert (await bot.executor.submit(signal())).success


async def test_what_is_open_is_cancelled_from_outside(bot: Bot) -> None:
    result = await bot.executor.submit(signal())
    bot.executor.halt()
    cancelled = (await bot.one("cancel-all"))["cancelled"]
    assert cancelled == [leg.order_id for leg in result.legs]


async def test_a_status_tells_money_limits_and_switches_and_no_secret(bot: Bot) -> None:
    answer = await bot.ask("status")
    told = answer["accounts"]["main"]
    assert answer["ok"] is True
    assert (told["balance"], told["available"], told["held"]) == ("1000", "1000", "0")
    assert told["open"] is True
    assert told["limits"]["max_unknown_groups"] == 1000
    assert told["address"] == bot.executor.address
    assert bot.executor.config.private_key.reveal().removeprefix("0x") not in json.dumps(answer)


async def test_a_status_before_the_bot_is_open_says_so() -> None:
    executor = px.Executor(config(), ScriptedVenue(all_live))
    told = status_of(executor)
    assert (told["open"], told["balance"]) == (False, "0")


async def test_limits_are_read_again_and_what_cannot_change_is_told(bot: Bot) -> None:
    bot.env |= {"MAX_GROUP_COST": "0.5", "CLOB_URL": "https://x.org", "REAL_TRADING_ENABLED": "1"}
    for _ in range(2):  # what was refused still waits for a restart
        told = await bot.one("reload")
        assert told["refused"] == {
            "clob_url": "needs a restart",
            "trading_enabled": "the switch is not a setting once it runs: use enable or disable",
        }
    assert bot.executor.submit(signal()).skipped is px.SkipReason.MAX_GROUP_COST
    bot.env["MAX_GROUP_COST"] = "70"
    assert (await bot.one("reload"))["changed"] == {"max_group_cost": "0.5 -> 70"}
    assert (await bot.executor.submit(signal())).success
    assert bot.executor.config.clob_url != "https://x.org"


async def test_what_code_has_set_stays_when_settings_are_read_again(bot: Bot) -> None:
    bot.executor.retune(bot.executor.config.replace(max_daily_cost=77))
    bot.env["MAX_GROUP_COST"] = "70"
    await bot.one("reload")
    assert (bot.executor.config.max_group_cost, bot.executor.config.max_daily_cost) == (70, 77)


async def test_settings_that_cannot_be_read_change_nothing(bot: Bot) -> None:
    before = bot.executor.config
    bot.env |= {"MAX_GROUP_COST": "-1", "MAX_DAILY_COST": "7"}
    with pytest.raises(UsageError, match=r"reload: MAX_GROUP_COST: max_group_cost=.*-1"):
        await bot.ask("reload")
    assert bot.executor.config is before


async def test_a_bot_is_ended_from_outside_if_it_wants(bot: Bot) -> None:
    assert (await bot.ask("shutdown"))["shutdown"] == "under way"
    await asyncio.wait_for(bot.ended.wait(), 5)
    bot.control._shutdown = None
    with pytest.raises(UsageError, match="decides itself"):
        await bot.ask("shutdown")


async def test_a_stuck_loop_is_halted_all_the_same(bot: Bot) -> None:
    halted = threading.Event()

    def ask_from_elsewhere() -> None:
        ask(bot.path, request_of("halt", "stuck"))
        halted.set()

    thread = threading.Thread(target=ask_from_elsewhere)
    thread.start()
    assert halted.wait(10)  # this very loop does nothing meanwhile
    thread.join()
    assert bot.executor.halted == "stuck"


# what comes over the socket -----------------------------------------------------------------------


def raw(path: Path, data: bytes) -> list[Any]:
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(path))
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)
        with peer.makefile("rb") as stream:
            return [json.loads(line) for line in stream]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"halt\n", "is no command"),
        (b'{"command": "HALT"}\n', "is no command"),
        (b'{"command": "halt", "reason": 7}\n', "is no command"),
        (b'{"command": "halt", "resaon": "x"}\n', "is no command"),
        (b'{"command": "halt", "reason": "a\\nb"}\n', "must be one line of at most 200"),
        (b'{"command": "halt", "account": "B"}\n', "account='B': is not one of this process: main"),
        (b"\xff\xfe\n", "is no command"),
        (b"x" * 5000 + b"\n", "a line of more than 4096 bytes"),
    ],
)
async def test_what_is_no_command_is_refused_and_does_nothing(
    bot: Bot, line: bytes, error: str
) -> None:
    (answer,) = await asyncio.to_thread(raw, bot.path, line)
    assert answer["ok"] is False
    assert error in answer["error"]
    assert bot.executor.halted is None
    assert (await bot.one("status"))["trading"] is True  # others are served


async def test_half_a_line_is_no_command(bot: Bot) -> None:
    assert await asyncio.to_thread(raw, bot.path, b'{"command": "halt"}') == []
    assert bot.executor.halted is None


async def test_several_commands_on_one_connection_are_carried_out_in_turn(bot: Bot) -> None:
    lines = b'{"command":"halt"}\n{"command":"resume"}\n{"command":"disable"}\n'
    answers = await asyncio.to_thread(raw, bot.path, lines)
    assert [answer["accounts"]["main"]["halted"] for answer in answers] == [
        "halted from outside",
        None,
        None,
    ]
    assert not bot.executor.trading_enabled


async def test_a_fault_of_ours_is_named_and_not_shown(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(request: Request) -> None:
        raise ZeroDivisionError("the key is 1234")

    monkeypatch.setattr(bot.executor, "halt", lambda *args, **more: fails(args))
    with pytest.raises(UsageError, match="halt: ZeroDivisionError: see the log of the bot"):
        await bot.ask("halt")


# who may ask --------------------------------------------------------------------------------------


async def test_only_this_user_can_reach_the_socket(bot: Bot) -> None:
    assert stat.S_IMODE(bot.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(bot.path.parent.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_users_process_is_sent_away(bot: Bot) -> None:
    # As if its permissions had been opened: the kernel still tells who it is.
    for path in (bot.path.parent, *bot.path.parents[1:4]):
        path.chmod(0o755)
    bot.path.chmod(0o666)
    child = os.fork()
    if not child:
        os.setuid(65534)
        try:
            os._exit(len(raw(bot.path, b'{"command":"halt"}\n')))
        except OSError:
            os._exit(99)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, 99)
    assert bot.executor.halted is None


@contextlib.asynccontextmanager
async def running(path: Path | str = "") -> AsyncIterator[px.Executor]:
    async with (
        px.Executor(config(control_socket=str(path)), ScriptedVenue()) as executor,
        open_control(executor.config, {"main": Account(executor)}),
    ):
        yield executor


async def opened(path: Path | str) -> None:
    async with running(path):
        pass


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_a_folder_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        await opened(tmp_path / "bot.sock")
    assert names(tmp_path) == []


async def test_two_bots_do_not_share_a_socket(bot: Bot) -> None:
    with pytest.raises(ConfigError, match="another process listens there; set CONTROL_SOCKET"):
        await opened(bot.path)
    assert (await bot.one("status"))["trading"] is True


async def test_nothing_is_left_of_a_bot_that_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "run" / "bot.sock"
    given = config(control_socket=str(path))
    async with px.Executor(given, ScriptedVenue()) as executor:
        accounts = {"main": Account(executor)}
        for _ in range(2):
            async with open_control(given, accounts):
                assert path.exists()
                with pytest.raises(ConfigError, match="another process listens"):
                    async with open_control(given, accounts):
                        pass
                assert path.exists()
            assert list(path.parent.iterdir()) == []


async def test_the_socket_of_a_killed_bot_is_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "bot.sock"))
    await opened(folder / "bot.sock")
    assert names(folder) == []


@pytest.mark.parametrize(
    ("path", "error"),
    [("x" * 120, "longer than 100 bytes"), ("/proc/none/bot.sock", "cannot be opened")],
)
async def test_a_path_that_cannot_be_is_named(path: str, error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        await opened(path)


async def test_off_means_no_socket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    await opened("off")
    assert names(tmp_path) == []


async def test_without_settings_to_read_there_is_nothing_to_reload(tmp_path: Path) -> None:
    async with px.Executor(config(), ScriptedVenue()) as executor:
        control = Control({"main": Account(executor)})
        with pytest.raises(UsageError, match="was not told where its settings come from"):
            await control.carry_out(Request("reload"))


# the command line ---------------------------------------------------------------------------------


async def test_the_command_line_finds_the_bot_and_halts_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("MAX_GROUP_COST", "malformed")  # no setting is in the way of a halt
    monkeypatch.delenv("CONTROL_SOCKET", raising=False)
    assert await asyncio.to_thread(cli.main, ["control", "halt"]) == 2
    assert "no bot of this user listens" in capsys.readouterr().err
    async with running() as executor:
        socket_path = tmp_path / "polyexec" / f"{os.getpid()}.sock"
        assert find_socket(tmp_path / "polyexec") == socket_path
        arguments = ["control", "halt", "lunch time"]
        assert await asyncio.to_thread(cli.main, arguments) == 0
        assert executor.halted == "lunch time"
        answer = json.loads(capsys.readouterr().out)
        assert answer["accounts"]["main"]["halted"] == "lunch time"
        assert await asyncio.to_thread(cli.main, ["control", "resume", "--all"]) == 0
        assert executor.halted is None
        named = ["control", "reload", "--socket", str(socket_path)]
        assert await asyncio.to_thread(cli.main, named) == 1
        assert "reload: " in capsys.readouterr().err
    assert not socket_path.exists()
    monkeypatch.setenv("CONTROL_SOCKET", str(socket_path))
    assert await asyncio.to_thread(cli.main, ["control", "halt"]) == 1
    assert f"no bot listens at {socket_path}" in capsys.readouterr().err


async def test_of_several_bots_one_has_to_be_named(bot: Bot) -> None:
    other = bot.path.with_name("other.sock")
    async with running(other):
        with pytest.raises(UsageError, match=r"several bots run: .*bot\.sock .*other\.sock"):
            await asyncio.to_thread(find_socket, bot.path.parent)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("status", "now"), "does not take"),
        (("reduce-only", "maybe"), "must be on or off"),
        (("halt", "a\nb"), "must be one line"),
        (("halt", "x" * 201), "must be one line"),
    ],
)
def test_a_bad_argument_is_refused_before_it_is_sent(
    arguments: tuple[str, str], error: str
) -> None:
    with pytest.raises(InputError, match=error):
        request_of(*arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_can_be_said(command: str) -> None:
    import msgspec

    request = request_of(command)
    assert parse_request(msgspec.json.encode(request)) == request


def test_nobody_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotSentError, match="no bot listens at"):
        ask(tmp_path / "none.sock", request_of("halt"))


def test_an_answer_that_never_comes_is_not_taken_for_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        with pytest.raises(UsageError, match=r"no answer from .* it may have been carried out"):
            ask(tmp_path / "mute.sock", request_of("halt"), timeout_s=0.01)


# signals ------------------------------------------------------------------------------------------


async def test_signals_halt_resume_and_reload(bot: Bot) -> None:
    os.kill(os.getpid(), signal_module.SIGUSR1)
    await until(lambda: bot.executor.halted == "SIGUSR1")
    os.kill(os.getpid(), signal_module.SIGUSR2)
    await until(lambda: bot.executor.halted is None)
    bot.env["MAX_GROUP_COST"] = "33"
    os.kill(os.getpid(), signal_module.SIGHUP)
    await until(lambda: bot.executor.config.max_group_cost == 33)
    bot.env["MAX_GROUP_COST"] = "junk"
    os.kill(os.getpid(), signal_module.SIGHUP)  # refused, and the next one is heard
    os.kill(os.getpid(), signal_module.SIGUSR1)
    await until(lambda: bot.executor.halted == "SIGUSR1")


async def test_a_signal_halts_while_this_thread_is_busy(bot: Bot) -> None:
    os.kill(os.getpid(), signal_module.SIGUSR1)
    patience = time.monotonic() + 10
    while bot.executor.halted is None and time.monotonic() < patience:
        pass  # no await: the loop is stuck here
    assert bot.executor.halted == "SIGUSR1"


async def test_a_halt_by_signal_does_not_wait_for_a_reload_that_hangs(bot: Bot) -> None:
    bot.env["MAX_GROUP_COST"] = "33"
    os.kill(os.getpid(), signal_module.SIGHUP)  # waits for the loop, which is stuck here
    os.kill(os.getpid(), signal_module.SIGUSR1)
    patience = time.monotonic() + 10
    while bot.executor.halted is None and time.monotonic() < patience:
        pass
    assert bot.executor.halted == "SIGUSR1"
    await until(lambda: bot.executor.config.max_group_cost == 33)


async def test_a_terminal_that_is_closed_ends_the_bot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    ended = asyncio.Event()
    given = config(control_socket=str(tmp_path / "run" / "bot.sock"))
    async with (
        px.Executor(given, ScriptedVenue()) as executor,
        open_control(given, {"main": Account(executor)}, shutdown=ended.set),
    ):
        os.kill(os.getpid(), signal_module.SIGHUP)
        await asyncio.wait_for(ended.wait(), 10)


async def test_what_signals_did_before_they_do_again(tmp_path: Path) -> None:
    seen: list[int] = []
    before = signal_module.signal(signal_module.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        await opened(tmp_path / "run" / "bot.sock")
        os.kill(os.getpid(), signal_module.SIGUSR1)
        await until(lambda: seen)
    finally:
        signal_module.signal(signal_module.SIGUSR1, before)
    assert signal_module.getsignal(signal_module.SIGUSR1) is before


async def test_elsewhere_than_in_the_main_thread_there_are_no_signals(tmp_path: Path) -> None:
    def elsewhere() -> None:
        thread = LoopThread()
        try:
            thread.run(opened(tmp_path / "run" / "bot.sock"))
        finally:
            thread.stop()

    await asyncio.to_thread(elsewhere)


# sources of halts ---------------------------------------------------------------------------------


async def test_each_source_ends_its_own_halt_only() -> None:
    async with px.Executor(config(), ScriptedVenue(all_live)) as executor:
        executor.halt("by hand")
        executor.halt("said so", source="redis")
        assert executor.halted == "by hand; redis: said so"
        executor.resume(source="redis")
        assert executor.halted == "by hand"
        executor.halt("again", source="redis")
        executor.resume()
        assert executor.halted == "redis: again"
        assert executor.submit(signal()).skipped is px.SkipReason.HALTED
        executor.resume(source="redis")
        assert (await executor.submit(signal())).success
