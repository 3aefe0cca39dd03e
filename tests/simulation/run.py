"""``make soak``: simulated sessions with faults, and an account of what they broke."""

import argparse
import sys
import time

from tests.simulation.session import run, run_session


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first session")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the trace stays the same")
    parser.add_argument("--trace", action="store_true", help="print what happens, for one session")
    options = parser.parse_args()
    if options.trace:
        lines: list[str] = []
        try:
            run_session(options.seed, options.first, lines=lines)
        finally:
            print(*lines, sep="\n")
        return 0
    started = time.perf_counter()
    summary = run(options.sessions, options.seed, first=options.first, jobs=options.jobs)
    took_s = time.perf_counter() - started
    for violation in summary.violations[:20]:
        print(violation)
    print(
        f"{summary.sessions / took_s:.0f} sessions/s, "
        f"{summary.faults / max(1, summary.sessions):.1f} faults/session, trace {summary.trace}"
    )
    print(
        f"sessions={summary.sessions} faults={summary.faults} "
        f"violations={len(summary.violations)} seed={options.seed}"
    )
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
