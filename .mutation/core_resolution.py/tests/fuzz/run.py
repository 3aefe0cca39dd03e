"""Run every fuzz target for a while: ``python -m tests.fuzz.run --seconds 60``.

The targets run in a child process, so a segmentation fault is counted like any other crash. Every
case has a name (``seed:target:number``); ``--case NAME`` runs that one again.
"""

import argparse
import faulthandler
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.fuzz.registry import Target, load_targets

CASE_WIDTH = 120
ROOT = Path(__file__).resolve().parent.parent.parent


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", default=".", help="regular expression over target names")
    parser.add_argument("--case", help="run one case again and show what it raises")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def work(targets: list[Target], options: argparse.Namespace) -> None:
    """Run cases until the time is up; keep the current one and the counts in the worker file."""
    faulthandler.enable()
    deadline = time.monotonic() + options.seconds
    number = options.start
    crashes = 0
    shown = set()
    with options.worker.open("r+", buffering=1) as file:
        while True:
            for target in targets:
                case = f"{options.seed}:{target.name}:{number}"
                # Written before the call: it is all that is left when the process dies in it.
                file.seek(0)
                file.write(f"{number} {crashes} {case}".ljust(CASE_WIDTH) + "\n")
                error = target.execute(case)
                if error is not None:
                    crashes += 1
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    kind = (target.name, type(error), where.filename, where.lineno)
                    if kind not in shown:
                        shown.add(kind)
                        print(f"crash in {case}", file=sys.stderr)
                        traceback.print_exception(error, limit=-4, file=sys.stderr)
            number += 1
            if time.monotonic() > deadline:
                break
        file.seek(0)
        file.write(f"{number} {crashes} done".ljust(CASE_WIDTH) + "\n")


def supervise(targets: list[Target], options: argparse.Namespace) -> tuple[int, int]:
    """Start workers until the time is up; return executions and crashes."""
    deadline = time.monotonic() + options.seconds
    rounds = crashes = 0
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "case")
        while True:
            notes.write_text(f"{rounds} 0 start".ljust(CASE_WIDTH) + "\n")
            left = max(deadline - time.monotonic(), 0)
            command = [sys.executable, "-m", "tests.fuzz.run", "--worker", str(notes)]
            command += ["--seconds", str(left), "--seed", options.seed, "--only", options.only]
            child = subprocess.run([*command, "--start", str(rounds)], cwd=ROOT, check=False)
            number, found, case = notes.read_text().split(maxsplit=2)
            rounds, crashes = int(number), crashes + int(found)
            if case.strip() == "done":
                break
            if case.strip() == "start":
                raise SystemExit(f"the fuzz worker did not start (status {child.returncode})")
            crashes += 1
            rounds += 1
            print(f"crash in {case.strip()}: status {child.returncode}", file=sys.stderr)
            if time.monotonic() > deadline:
                break
    return rounds * len(targets), crashes


def main() -> int:
    """Run, and print the counts last."""
    options = arguments()
    registry = load_targets()
    if options.case:
        error = registry[options.case.split(":")[1]].execute(options.case)
        if error is not None:
            traceback.print_exception(error)
        print(f"executions=1 crashes={int(error is not None)}")
        return int(error is not None)
    targets = [item for name, item in sorted(registry.items()) if re.search(options.only, name)]
    if not targets:
        raise SystemExit(f"no fuzz target matches {options.only!r}: {', '.join(sorted(registry))}")
    if options.worker:
        work(targets, options)
        return 0
    print(f"{len(targets)} targets, seed {options.seed}: {', '.join(t.name for t in targets)}")
    executions, crashes = supervise(targets, options)
    print(f"executions={executions} crashes={crashes}")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
