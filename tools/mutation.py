"""``make mutation``: break the money code one line at a time, and count the tests that notice.

Works on copies in ``.mutation``, where nothing is compiled: the readable twins run, which the
property tests hold the compiled functions to. Prints what survived; the last line is the score.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".mutation"
LEAST_PERCENT = 90


class Target(NamedTuple):
    """A module, and the tests that answer for it."""

    module: str
    tests: tuple[str, ...]


TARGETS = (
    Target("_pure/ledger.py", ("unit/core/test_ledger.py", "property/test_ledger.py")),
    Target("_pure/legs.py", ("unit/core/test_candidates.py", "property/test_candidates.py")),
    Target("core/candidates.py", ("unit/core/test_candidates.py", "property/test_candidates.py")),
    Target("core/outcome.py", ("unit/core/test_outcome.py",)),
    Target("core/refusals.py", ("unit/core/test_refusals.py",)),
    Target("core/resolution.py", ("unit/core/test_resolution.py",)),
    Target(
        "core/tracking.py",
        (
            "unit/core/test_tracking.py",
            "unit/test_unknown_orders.py",
            "unit/test_reconciliation.py",
            "property/test_tracking.py",
        ),
    ),
)
# Of no consequence for what is decided: annotations are not evaluated, and texts for people differ.
SKIPPED_OPERATORS = ("core/ReplaceBinaryOperator_BitOr", "core/RemoveDecorator")


def copy_tree(folder: Path) -> None:
    """Copy what the tests need, without anything compiled."""
    ignore = shutil.ignore_patterns("*.so", "*.c", "*.egg-info", "__pycache__")
    for part in ("src", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)


def cosmic_ray(folder: Path, *arguments: str) -> str:
    """Run cosmic-ray in the copy; return what it prints."""
    env = os.environ | {
        "PYTHONPATH": str(folder / "src"),
        "POLYEXEC_SHARED": os.environ.get("POLYEXEC_SHARED", str(ROOT.parent / "shared")),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "cosmic_ray.cli", *arguments],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"cosmic-ray {arguments[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def run(target: Target) -> list[dict[str, Any]]:
    """Return what became of every mutant of one module."""
    folder = WORK / target.module.replace("/", "_")
    copy_tree(folder)
    tests = " ".join(f"tests/{test}" for test in target.tests)
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {tests}"
    config = folder / "session.toml"
    config.write_text(
        "[cosmic-ray]\n"
        f"module-path = {json.dumps('src/polyexec/' + target.module)}\n"
        "timeout = 120.0\n"
        "excluded-modules = []\n"
        f"test-command = {json.dumps(command)}\n"
        '[cosmic-ray.distributor]\nname = "local"\n'
    )
    cosmic_ray(folder, "init", "session.toml", "session.sqlite")
    cosmic_ray(folder, "baseline", "session.toml")
    cosmic_ray(folder, "exec", "session.toml", "session.sqlite")
    found = []
    for line in cosmic_ray(folder, "dump", "session.sqlite").splitlines():
        job, result = json.loads(line)
        (mutation,) = job["mutations"]
        if mutation["operator_name"].startswith(SKIPPED_OPERATORS) or result is None:
            continue
        found.append(mutation | {"killed": result["test_outcome"] == "TestOutcome.KILLED"} | result)
    return found


def main() -> int:
    """Run every target, two at a time, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="part of a module's path")
    options = parser.parse_args()
    targets = [target for target in TARGETS if options.only in target.module]
    shutil.rmtree(WORK, ignore_errors=True)
    total = killed = 0
    with ThreadPoolExecutor(2) as pool:
        for target, mutants in zip(targets, pool.map(run, targets), strict=True):
            dead = sum("killed" in str(mutant["test_outcome"]).lower() for mutant in mutants)
            for mutant in mutants:
                if "killed" not in str(mutant["test_outcome"]).lower():
                    line = mutant["start_pos"][0]
                    print(f"{target.module}:{line}: survived {mutant['operator_name']}")
            print(f"{target.module}: {dead} of {len(mutants)}", flush=True)
            total += len(mutants)
            killed += dead
    percent = 100 * killed / total if total else 0.0
    print(f"mutants={total} killed={killed} score={percent:.1f}")
    return 0 if percent >= LEAST_PERCENT else 1


if __name__ == "__main__":
    sys.exit(main())
