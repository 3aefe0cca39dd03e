"""Every fuzz target holds for a few cases, and the runner sees what it is there to see."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import registry

ROOT = Path(__file__).resolve().parent.parent.parent
TARGETS = registry.load_targets()


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_target_holds(name: str) -> None:
    for number in range(100):
        case = f"test:{name}:{number}"
        error = TARGETS[name].execute(case)
        assert error is None, f"{case}: {error!r}"


def test_a_documented_refusal_is_no_crash() -> None:
    def refuse(source: random.Random) -> None:
        raise KeyError(source.random())

    assert registry.Target("t", refuse, (KeyError,)).execute("1") is None
    assert isinstance(registry.Target("t", refuse, ()).execute("1"), KeyError)


def test_a_case_can_be_repeated() -> None:
    seen = []
    target = registry.Target("t", lambda source: seen.append(source.random()), ())
    target.execute("a")
    target.execute("a")
    target.execute("b")
    assert seen[0] == seen[1] != seen[2]


@pytest.mark.parametrize(
    "body", ["raise RuntimeError('planted')", "import os; os.abort()"], ids=["raise", "abort"]
)
def test_a_planted_crash_is_counted(body: str, tmp_path: Path) -> None:
    # The worker is a process of its own, so the crash is planted in a copy of the runner.
    package = tmp_path / "tests" / "fuzz"
    (package / "targets").mkdir(parents=True)
    for name in ("__init__", "registry", "run"):
        source = ROOT / "tests" / "fuzz" / f"{name}.py"
        (package / f"{name}.py").write_text(source.read_text())
    (tmp_path / "tests" / "__init__.py").touch()
    (package / "targets" / "__init__.py").touch()
    (package / "targets" / "planted.py").write_text(
        "from tests.fuzz.registry import target\n\n"
        "@target('planted')\n"
        f"def planted(source):\n    {body}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", "--seconds", "0"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "executions=1 crashes=1"
    assert "crash in 1:planted:0" in done.stderr
