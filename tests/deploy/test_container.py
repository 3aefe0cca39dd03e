"""The container file names what exists, and the package builds from what it copies."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from polyexec import cli

ROOT = Path(__file__).resolve().parent.parent.parent
FILE = ROOT / "deploy" / "container" / "Containerfile"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions with their arguments, continued lines joined."""
    text = re.sub(r"\\\n", " ", FILE.read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines]


def copied() -> list[str]:
    """Return what the build stage takes of the repository."""
    return [
        source
        for kind, arguments in instructions()
        if kind == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]


def test_commands_are_ones_that_we_have() -> None:
    last = dict(instructions())
    (program,) = json.loads(last["ENTRYPOINT"])
    assert program == "polyexec"
    cli._parser().parse_args(json.loads(last["CMD"]))
    check = json.loads(last["HEALTHCHECK"].partition(" CMD ")[2])
    assert check[0] == program
    assert cli._parser().parse_args(check[1:]).json


def test_it_does_not_run_as_root() -> None:
    kinds = [kind for kind, _ in instructions()]
    assert kinds.index("USER") > len(kinds) - 1 - kinds[::-1].index("RUN")
    user, group = dict(instructions())["USER"].split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_nothing_is_copied_that_the_ignore_file_leaves_out() -> None:
    ignored = FILE.with_name(FILE.name + ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert {source.removeprefix("./") for source in copied()} == allowed


@pytest.mark.slow
def test_what_it_copies_is_enough_to_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYEXEC_NO_EXTENSIONS", "1")  # that they compile is tested elsewhere
    context = tmp_path / "context"
    context.mkdir()
    for source in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, context / source, ignore=shutil.ignore_patterns("*.so"))
        else:
            shutil.copy(ROOT / source, context / source)
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*wheel, "--wheel-dir", str(tmp_path / "wheels"), str(context)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "wheels").glob("polyexec-*.whl"))) == 1
