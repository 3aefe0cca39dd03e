"""Compare the framings: ``python -m tests.conformance.run --streams 1000000 --seed 1``.

Every case has a name (``seed:number``); ``--case NAME`` runs that one again.
"""

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.conformance.compare import differ

BATCH = 2000
SHOWN = 10


def batch(seed: str, start: int, count: int) -> tuple[Counter[str], list[str]]:
    """Run some cases; return the documented differences and reports of the others."""
    documented: Counter[str] = Counter()
    reports = []
    for number in range(start, start + count):
        case = f"{seed}:{number}"
        found = differ(case)
        if found.startswith("!"):
            reports.append(f"{case}: {found[1:]}")
        elif found:
            documented[found] += 1
    return documented, reports


def main() -> int:
    """Run, and print the counts last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--case", help="run one case again")
    options = parser.parse_args()
    if options.case:
        found = differ(options.case)
        print(found or "equal")
        print(f"streams=1 differences={int(found.startswith('!'))} seed={options.case}")
        return int(found.startswith("!"))
    documented: Counter[str] = Counter()
    differences = 0
    starts = range(0, options.streams, BATCH)
    counts = [min(BATCH, options.streams - start) for start in starts]
    with ProcessPoolExecutor(options.processes) as pool:
        for found, reports in pool.map(batch, [options.seed] * len(starts), starts, counts):
            documented += found
            for report in reports[: max(0, SHOWN - differences)]:
                print(report, flush=True)
            differences += len(reports)
    for name, count in documented.most_common():
        print(f"documented: {name}: {count}")
    print(f"streams={options.streams} differences={differences} seed={options.seed}")
    return int(differences > 0)


if __name__ == "__main__":
    sys.exit(main())
