"""Kill live executors, at length: ``python -m tests.kills.run --kills 1000 --seed 1``."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.kills.nursery import Nursery
from tests.kills.world import World

_PER_WORLD = 25
_ENOUGH = 20
"""Violations after which no more are looked for."""


class Summary(msgspec.Struct):
    """What many kills came to."""

    kills: Counter[str]
    orders: int = 0
    violations: list[str] = msgspec.field(default_factory=list)


def run(kills: int, seed: int, *, first: int = 0) -> Summary:
    """Kill so many processes, in worlds of their own after every 25."""
    summary = Summary(Counter())
    with Nursery() as nursery:
        number = first
        while summary.kills.total() < kills and len(summary.violations) < _ENOUGH:
            left = min(_PER_WORLD, kills - summary.kills.total())
            with tempfile.TemporaryDirectory() as folder:
                world = World(seed, number, Path(folder), nursery)
                asyncio.run(world.run(left))
            summary.kills += world.kills
            summary.orders += world.orders
            summary.violations += world.violations
            for violation in world.violations:
                print(violation, flush=True)
            number += 1
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first world")
    options = parser.parse_args()
    started = time.monotonic()
    summary = run(options.kills, options.seed, first=options.first)
    for phase, count in sorted(summary.kills.items()):
        print(f"{count:6} killed: {phase}")
    print(f"{time.monotonic() - started:.0f} s")
    print(
        f"kills={summary.kills.total()} orders={summary.orders} "
        f"violations={len(summary.violations)} seed={options.seed}"
    )
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
