"""Several accounts in one ``polyexec run``: side by side, under one control, ended together."""

import asyncio
import os
import signal as signal_module
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec import cli
from polyexec.bots import run_bots
from polyexec.commands import request_of
from polyexec.control_socket import ask
from polyexec.errors import ConfigError
from tests.unit.test_executor import until

KEYS = {"a": "0x" + "17" * 32, "b": "0x" + "19" * 32}


def reader(folder: Path, name: str, **changes: Any) -> Callable[[], px.ExecutorConfig]:
    given: dict[str, Any] = {
        "private_key": KEYS[name],
        "engine_mode": "paper",
        "executor_mode": "paper",
        "order_type": "FOK",
        "min_profit_abs": "0.001",
        "control_socket": str(folder / "run" / "bots.sock"),
    }
    return lambda: px.ExecutorConfig(**given | changes)


async def test_they_trade_under_their_names_and_obey_one_socket(tmp_path: Path) -> None:
    shown: list[str] = []
    path = tmp_path / "run" / "bots.sock"
    readers = {name: reader(tmp_path, name) for name in KEYS}
    running = asyncio.create_task(run_bots(readers, show=shown.append))
    await until(path.exists)
    for name in KEYS:
        await until(lambda name=name: any(line.startswith(f"{name}: ") for line in shown))
    told = await asyncio.to_thread(ask, path, request_of("halt", "only a", account="a"))
    assert list(told["accounts"]) == ["a"]
    told = await asyncio.to_thread(ask, path, request_of("status"))
    halts = {name: account["halted"] for name, account in told["accounts"].items()}
    assert halts == {"a": "only a", "b": None}
    addresses = {account["address"] for account in told["accounts"].values()}
    assert addresses == {px.OrderSigner(key).address for key in KEYS.values()}
    await asyncio.to_thread(ask, path, request_of("shutdown"))
    summaries = await asyncio.wait_for(running, 60)
    assert list(summaries) == ["a", "b"]
    for name, summary in summaries.items():
        assert summary.signals == sum(line.startswith(f"{name}: ") for line in shown) > 0
    assert not path.exists()


async def test_one_signal_of_the_system_ends_all(tmp_path: Path) -> None:
    path = tmp_path / "run" / "bots.sock"
    readers = {name: reader(tmp_path, name) for name in KEYS}
    running = asyncio.create_task(run_bots(readers, show=str))
    await until(path.exists)
    os.kill(os.getpid(), signal_module.SIGTERM)
    assert list(await asyncio.wait_for(running, 60)) == ["a", "b"]


async def test_one_that_cannot_open_ends_the_others(tmp_path: Path) -> None:
    wrong = {"journal_mode": "os", "journal_folder": "/proc/none"}
    readers = {"a": reader(tmp_path, "a"), "b": reader(tmp_path, "b", **wrong)}
    with pytest.raises(px.errors.JournalError, match="/proc/none"):
        await asyncio.wait_for(run_bots(readers, show=str), 60)
    assert not (tmp_path / "run" / "bots.sock").exists()


async def test_the_same_account_twice_is_refused(tmp_path: Path) -> None:
    readers = {"a": reader(tmp_path, "a"), "b": reader(tmp_path, "a")}
    with pytest.raises(ConfigError, match="accounts a and b have the same key") as caught:
        await run_bots(readers, show=str)
    assert KEYS["a"].removeprefix("0x") not in str(caught.value)


@pytest.mark.parametrize("mode", ["engine_mode", "executor_mode"])
async def test_several_without_an_engine_are_refused(tmp_path: Path, mode: str) -> None:
    readers = {"a": reader(tmp_path, "a"), "b": reader(tmp_path, "b", **{mode: "off"})}
    with pytest.raises(ConfigError, match=r"account b: .* must both be on"):
        await run_bots(readers, show=str)


# the command line ---------------------------------------------------------------------------------


def test_accounts_come_from_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONTROL_SOCKET", "off")
    words = ["run", "--paper", "--seconds", "0.2"]
    for name, key in KEYS.items():
        (tmp_path / name).write_text(f"PRIVATE_KEY={key}\n")
        words += ["--account", f"{name}={tmp_path / name}"]
    assert cli.main(words) == 0
    last = capsys.readouterr().out.splitlines()[-2:]
    assert [line.split("=")[0] for line in last] == ["a: signals", "b: signals"]


@pytest.mark.parametrize(
    "words",
    [
        ("--account", "a"),
        ("--account", "=x"),
        ("--account", "a=x", "--account", "a=y"),
        ("--account", "a=x", "--ui"),
        ("--account", "a=x", "--dotenv", "y"),
    ],
)
def test_a_malformed_account_is_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", *words]) == 2
    assert "--account" in capsys.readouterr().err
