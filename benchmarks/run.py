"""Run the benchmarks: ``python -m benchmarks.run --only regex``.

Every ``bench_*.py`` beside this file has a function ``rows()`` that returns a list of
``harness.Row``.
"""

import argparse
import importlib
import re
import sys

from benchmarks import harness


def discover() -> list[harness.Row]:
    """Return the rows of every benchmark module, in the order of the file names."""
    rows: list[harness.Row] = []
    for path in sorted(harness.HERE.glob("bench_*.py")):
        rows += importlib.import_module(f"benchmarks.{path.stem}").rows()
    names = [row.name for row in rows]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise SystemExit(f"two benchmark rows share a name: {', '.join(sorted(repeated))}")
    return rows


def main() -> int:
    """Measure, write the files, and print the count last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=".", help="regular expression over row names")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per row")
    parser.add_argument("--check", action="store_true", help="compare outputs, time nothing")
    options = parser.parse_args()
    everything = discover()
    rows = [row for row in everything if re.search(options.only, row.name)]
    if not rows:
        raise SystemExit(
            f"no row matches {options.only!r}: {', '.join(r.name for r in everything)}"
        )
    results = []
    for row in rows:
        if options.check:
            row.check()
            print(f"{row.name}: equal")
            continue
        result = harness.measure(row, seconds=options.seconds)
        results.append(result)
        print(
            f"{row.name:28} median {result['median_us']:9.2f} us   p99 {result['p99_us']:9.2f}   "
            + "   ".join(
                f"{name} {median:.2f} ({median / result['median_us']:.1f}x)"
                for name, median in result["baselines"].items()
            )
        )
    if not options.check:
        where = harness.environment()
        harness.write_json(results, where)
        # A part of the rows must not replace the published table of all of them.
        if len(rows) == len(everything):
            harness.write_table(results, where)
    print(f"rows={len(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
