"""Run the benchmarks: ``python -m benchmarks.run --only regex``.

Every ``bench_*.py`` beside this file has a function ``rows()`` that returns a list of
``harness.Row``.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Mapping
from typing import Any

from benchmarks import bench_backtest, harness, report, targets
from benchmarks.peers import cargo, nautilus


def discover() -> list[harness.Row]:
    """Return the rows of every benchmark module, in the order of the file names."""
    rows: list[harness.Row] = []
    for path in sorted(harness.HERE.glob("bench_*.py")):
        rows += importlib.import_module(f"benchmarks.{path.stem}").rows()
    names = [row.name for row in rows]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise SystemExit(f"two benchmark rows share a name: {', '.join(sorted(repeated))}")
    unknown = {row.floor for row in rows if row.floor} - set(names)
    if unknown:
        raise SystemExit(f"no row has the name of a floor: {', '.join(sorted(unknown))}")
    return rows


def main() -> int:
    """Measure, write the files, and print the count last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=".", help="regular expression over row names")
    parser.add_argument("--seconds", type=float, default=2.0, help="time per row")
    parser.add_argument("--core", type=int, help="run on this core; -1 for any (default: the last)")
    parser.add_argument("--no-rust", action="store_true", help="leave the Rust peers out")
    parser.add_argument("--check", action="store_true", help="compare outputs, time nothing")
    options = parser.parse_args()
    reason = "left out (--no-rust)" if options.no_rust else cargo.build()
    skipped = [f"Rust peers: {reason}"] if reason else []
    if re.search(options.only, bench_backtest.PUBLIC_ROW) and (reason := nautilus.build()):
        skipped.append(f"{nautilus.NAME}: {reason}")
    for line in skipped:
        print(f"skipped: {line}")
    core = harness.pin(options.core)
    everything = discover()
    if options.no_rust:
        for row in everything:
            row.baselines = {n: c for n, c in row.baselines.items() if n not in cargo.CLIENTS}
    rows = [row for row in everything if re.search(options.only, row.name)]
    if not rows:
        raise SystemExit(
            f"no row matches {options.only!r}: {', '.join(r.name for r in everything)}"
        )
    if options.check:
        for row in rows:
            row.check()
            print(f"{row.name}: equal")
    else:
        calls = {row.name: row.call for row in everything}
        results = []
        for row in rows:
            result = harness.measure(row, seconds=options.seconds, floor=calls.get(row.floor))
            results.append(result)
            print(_line(result), flush=True)
        crates = ({} if skipped else cargo.versions()) | nautilus.versions()
        where = harness.environment(core=core, skipped=skipped, crates=crates)
        promises = targets.evaluate(results)
        harness.write_json(results, where, promises)
        # A part of the rows must not replace the published table of all of them.
        if len(rows) == len(everything):
            report.write(results, where, promises)
    print(f"rows={len(rows)}")
    return 0


def _line(result: dict[str, Any]) -> str:
    beside = dict(result["peers"])
    if result["floor"]:
        beside = {"floor": result["floor"], **beside}
    return (
        f"{result['name']:28} median {result['median_us']:9.2f} us   {_p99(result)}   "
        + "   ".join(
            f"{name} {peer['median_us']:.2f} ({peer['median_us'] / result['median_us']:.2f}x; "
            f"{_p99(peer)})"
            for name, peer in beside.items()
        )
    )


def _p99(timing: Mapping[str, Any]) -> str:
    turns = f", of a turn {timing['turn_p99_us']:.2f}" if "turn_p99_us" in timing else ""
    return f"p99 {timing['p99_us']:.2f}{turns}"


if __name__ == "__main__":
    sys.exit(main())
