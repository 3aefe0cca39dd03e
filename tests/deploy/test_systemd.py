"""The unit is one that systemd loads, starts our command, and gives it little to break."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from polyexec import cli
from polyexec.config import ExecutorConfig, default_journal_folder
from polyexec.variables import VARIABLES
from tests.deploy import confined

ROOT = Path(__file__).resolve().parent.parent.parent
UNIT = ROOT / "deploy" / "systemd" / "polyexec.service"
# `systemd-analyze security` counts from 0 (nothing can be broken) to 100 (everything can).
LEAST_EXPOSED = 15

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


can_confine = pytest.mark.skipif(
    platform.machine() != "x86_64" or not confined.HEADER.exists(),
    reason="the filter is built for x86-64, from the kernel's headers",
)
BREACHES = """
import mmap, os, socket
for name, breach in {
    "packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "chroot": lambda: os.chroot("/"),
    "chown": lambda: os.chown(".", os.getuid(), os.getgid()),
}.items():
    try:
        breach()
    except PermissionError:
        continue
    print(name)
"""


def settings(name: str) -> list[str]:
    return confined.settings(UNIT, name)


def run_confined(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    # A developer's own settings stay out of it.
    kept = {name: value for name, value in os.environ.items() if name.startswith("POLYEXEC_")}
    kept |= {"PATH": os.environ["PATH"], "XDG_STATE_HOME": str(folder), "JOURNAL_MODE": "fsync"}
    return subprocess.run(
        [sys.executable, "-m", "tests.deploy.confined", str(UNIT), *command],
        cwd=ROOT,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def unit(tmp_path: Path) -> str:
    """The unit with a program that exists here; that it exists is part of what is verified."""
    command = str(Path(sys.executable).with_name("polyexec"))
    text, count = re.subn(r"(?m)^ExecStart=\S+", f"ExecStart={command}", UNIT.read_text())
    assert count == 1
    file = tmp_path / UNIT.name
    file.write_text(text)
    return str(file)


@needs_systemd
def test_unit_is_loaded_without_complaint(unit: str) -> None:
    done = analyze("verify", unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_systemd
def test_misspelt_setting_would_be_noticed(unit: str) -> None:
    file = Path(unit)
    file.write_text(file.read_text().replace("ProtectHome=", "ProtectHomes="))
    assert "ProtectHomes" in analyze("verify", unit).stderr


@needs_systemd
def test_little_of_the_system_is_exposed(unit: str) -> None:
    done = analyze("security", "--offline=true", f"--threshold={LEAST_EXPOSED}", unit)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@needs_systemd
@can_confine
def test_bot_trades_and_stops_under_the_filter(tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("polyexec"))
    done = run_confined(command, "run", "--paper", "--seconds", "2", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert "executed=0" not in last
    assert last.endswith("unknown=0 unreadable=0 cancelled=0")
    assert list(tmp_path.glob("polyexec/*/journal.wal"))


@needs_systemd
@can_confine
def test_filter_refuses_what_a_bot_never_does(tmp_path: Path) -> None:
    done = run_confined(sys.executable, "-c", BREACHES, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_command_and_variables_are_ours() -> None:
    (command,) = settings("ExecStart")
    cli._parser().parse_args(shlex.split(command)[1:])
    known = {name for names in VARIABLES.values() for name in names}
    known |= {f"{name}_FILE" for name in VARIABLES["private_key"]}
    set_here = [value.split("=")[0] for value in settings("Environment")]
    assert set(set_here) - known == {"PYTHONUNBUFFERED", "XDG_STATE_HOME"}
    (credential,) = settings("LoadCredential")
    assert f"PRIVATE_KEY_FILE=%d/{credential.split(':')[0]}" in settings("Environment")


def test_example_of_the_environment_leaves_the_journal_where_it_can_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What stands in ``EnvironmentFile`` wins over ``Environment``, empty values too."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    file = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    unit = dict(value.replace("%S", "/var/lib").split("=", 1) for value in settings("Environment"))
    del unit["PRIVATE_KEY_FILE"]
    for name, value in (unit | file).items():
        monkeypatch.setenv(name, value)
    assert ExecutorConfig.from_env(unit | file).journal_folder == ""
    assert default_journal_folder() == f"/var/lib/{settings('StateDirectory')[0]}"
