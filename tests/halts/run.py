"""Halt executors under load, at length: ``python -m tests.halts.run --halts 10000 --seed 1``."""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.halts.world import World

_PER_WORLD = 100
_ENOUGH = 20
"""Violations after which no more are looked for."""


class Summary(msgspec.Struct):
    """What many halts came to."""

    halts: Counter[str]
    orders: int = 0
    held_back: int = 0
    violations: list[str] = msgspec.field(default_factory=list)


def run(halts: int, seed: int, *, first: int = 0) -> Summary:
    """Halt so many times, in worlds of their own after every 100."""
    summary = Summary(Counter())
    number = first
    while summary.halts.total() < halts and len(summary.violations) < _ENOUGH:
        left = min(_PER_WORLD, halts - summary.halts.total())
        with tempfile.TemporaryDirectory() as folder:
            world = World(seed, number, Path(folder))
            try:
                asyncio.run(world.run(left))
            except KeyboardInterrupt:
                halts = 0  # what was seen until now is told
        summary.halts += world.halts
        summary.orders += world.orders
        summary.held_back += world.held_back
        summary.violations += world.violations
        for violation in world.violations:
            print(violation, flush=True)
        number += 1
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--halts", "--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first world")
    options = parser.parse_args()
    started = time.monotonic()
    summary = run(options.halts, options.seed, first=options.first)
    for way, count in sorted(summary.halts.items()):
        print(f"{count:6} halted by: {way}")
    print(f"{time.monotonic() - started:.0f} s")
    print(
        f"orders={summary.orders} held_back={summary.held_back} seed={options.seed} "
        f"halts={summary.halts.total()} violations={len(summary.violations)}"
    )
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
