"""Tables that people look things up in name everything there is, and nothing that is not."""

import argparse
import inspect
import re
import tomllib
from pathlib import Path

import polyexec
from polyexec import cli, errors
from polyexec.config import OBSERVER_VARIABLES, VARIABLES, ExecutorConfig
from polyexec.enums import LegState, RejectCode, SkipReason

ROOT = Path(__file__).resolve().parent.parent.parent
OBSERVERS = {name for names in OBSERVER_VARIABLES.values() for name in names}
REFERENCE = ROOT / "docs" / "reference"
PACKAGE = Path(polyexec.__file__).parent


def first_cells(page: str, heading: str = "") -> list[str]:
    """Return the first column of every table of a reference page, or of one of its sections."""
    text = (REFERENCE / page).read_text()
    if heading:
        (text,) = re.findall(rf"^## {heading}$(.*?)(?:^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]


def words(page: str, heading: str) -> set[str]:
    return {cell.strip(" `") for cell in first_cells(page, heading)}


def test_every_variable_is_in_the_reference() -> None:
    documented = set(
        re.findall(r"`([A-Z0-9_]+)(?:\*|=1)?`", " ".join(first_cells("environment.md")))
    )
    known = {name for names in VARIABLES.values() for name in names}
    assert known - documented == set()
    others = {name for name in documented - known if not name.startswith("POLYEXEC_")}
    assert others == {"_FILE", "REDIS_", "DB_", "BALANCE_"} | OBSERVERS


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
    accepted = (*names, *OBSERVERS, *(f"{name}_FILE" for name in VARIABLES["private_key"]))
    assert [
        n for n in optional if n not in accepted and not n.startswith(("REDIS_", "DB_", "BALANCE_"))
    ] == []


def test_every_skip_reason_is_in_the_reference() -> None:
    listed = words("errors.md", "Why a signal was skipped")
    assert listed | {SkipReason.QUEUE_FULL.value} == {reason.value for reason in SkipReason}


def test_every_error_state_and_refusal_is_in_the_reference() -> None:
    assert words("errors.md", "What is raised") == set(errors.__all__)
    assert words("errors.md", "What became of a leg") == set(LegState)
    assert words("errors.md", "Why the exchange refused a leg") == set(RejectCode)


def test_every_setting_has_a_row_and_its_default() -> None:
    text = (REFERENCE / "environment.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    settings = inspect.signature(ExecutorConfig).parameters
    alone = {cells[1].strip(" `"): cells[3].strip(" `") for cells in rows if "`" in cells[1]}
    mentioned = {name for cells in rows for name in re.findall(r"`([a-z_0-9]+)`", cells[2])}
    assert set(settings) - mentioned - set(alone) == set()
    for name, shown in alone.items():
        if name in settings and name not in VARIABLES and re.fullmatch(r"\d+|[A-Z]+", shown):
            assert str(settings[name].default).removesuffix(".0") == shown, name


def test_every_switch_of_the_library_is_in_the_reference() -> None:
    listed = set(re.findall(r"`(POLYEXEC_[A-Z0-9_]+)", (REFERENCE / "environment.md").read_text()))
    sources = [ROOT / "setup.py", *(ROOT / "tools").glob("*.sh")]
    sources += [file for folder in (PACKAGE, ROOT / "tests") for file in folder.rglob("*.py")]
    texts = "\n".join(source.read_text() for source in sources if source != Path(__file__))
    read = set(re.findall(r"POLYEXEC_[A-Z0-9_]*[A-Z0-9]", texts))
    assert len(read) > 3
    assert read == listed


def test_every_extra_is_on_the_installation_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "intro" / "installation.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert listed == set(project["optional-dependencies"])


def test_every_example_is_on_its_page() -> None:
    page = (ROOT / "docs" / "intro" / "examples.md").read_text()
    shown = re.findall(r"^```\{literalinclude\} \.\./\.\./(examples/\w+\.py)$", page, re.MULTILINE)
    assert sorted(shown) == [
        f"examples/{file.name}" for file in sorted((ROOT / "examples").glob("*.py"))
    ]


def test_architecture_names_modules_that_exist() -> None:
    page = (ROOT / "docs" / "topics" / "architecture.md").read_text()
    named = re.findall(r"`([a-z_]+(?:/\w+)?\.pyx?)`", page)
    assert len(named) > 10
    assert [name for name in named if not (PACKAGE / name).is_file()] == []


def test_every_command_is_in_the_reference() -> None:
    (commands,) = (
        action
        for action in cli._parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    listed = {cell.strip(" `").removeprefix("polyexec ") for cell in first_cells("cli.md")}
    assert listed == set(commands.choices)
