"""Tables that people look things up in name everything there is, and nothing that is not."""

import argparse
import re
from pathlib import Path

from polyexec import cli
from polyexec.config import VARIABLES, ExecutorConfig
from polyexec.enums import SkipReason

ROOT = Path(__file__).resolve().parent.parent.parent
REFERENCE = ROOT / "docs" / "reference"


def first_cells(page: str) -> list[str]:
    """Return the first column of every table of a reference page."""
    lines = (REFERENCE / page).read_text().splitlines()
    return [line.split("|")[1] for line in lines if line.startswith("| `")]


def test_every_variable_is_in_the_reference() -> None:
    documented = set(
        re.findall(r"`([A-Z0-9_]+)(?:\*|=1)?`", " ".join(first_cells("environment.md")))
    )
    known = {name for names in VARIABLES.values() for name in names}
    assert known - documented == set()
    others = {name for name in documented - known if not name.startswith("POLYEXEC_")}
    assert others == {"_FILE", "REDIS_", "DB_", "BALANCE_"}


def test_env_example_is_read_without_complaint() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    env = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    names = {name for names in VARIABLES.values() for name in names}
    assert set(env) - names == set()
    config = ExecutorConfig.from_env(env)
    # Copied as it stands it must trade nothing, and change nothing.
    assert not config.trading_enabled
    defaults = ExecutorConfig()
    for setting in ("default_size", "min_pnl_threshold_percent", "opportunity_timeout_ms"):
        assert getattr(config, setting) == getattr(defaults, setting)
    optional = re.findall(r"^# ([A-Z_]+)=", "\n".join(lines), re.MULTILINE)
    accepted = (*names, *(f"{name}_FILE" for name in VARIABLES["private_key"]))
    assert [
        n for n in optional if n not in accepted and not n.startswith(("REDIS_", "DB_", "BALANCE_"))
    ] == []


def test_every_skip_reason_is_in_the_reference() -> None:
    listed = {cell.strip(" `") for cell in first_cells("errors.md")}
    assert listed | {SkipReason.QUEUE_FULL.value} == {reason.value for reason in SkipReason}


def test_every_command_is_in_the_reference() -> None:
    (commands,) = (
        action
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    listed = {cell.strip(" `").removeprefix("polyexec ") for cell in first_cells("cli.md")}
    assert listed == set(commands.choices)
