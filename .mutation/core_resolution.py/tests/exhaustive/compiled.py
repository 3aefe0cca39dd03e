"""Builds ``grid.pyx`` against the ``.pxd`` of the installed package, and runs it on two threads."""

import os
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from tests import compiled

CENT = 10_000
CHUNK = 500


def build(folder: Path) -> ModuleType:
    """Compile the grid check into ``folder`` and import it."""
    return compiled.build(Path(__file__).with_name("grid.pyx"), folder)


def dense_sizes(cents: int, stride: int, awkward: tuple[int, ...]) -> "array[int]":
    """Return every hundredth up to ``cents``, then every ``stride``-th up to 10,000.00 shares."""
    grid = [n * CENT for n in range(1, cents + 1)]
    grid += [n * CENT for n in range(cents + stride, 1_000_000, stride)]
    rests = [size + CENT - 1 for size in grid[::13]] + [size + 1 for size in grid[::29]]
    return array("q", [*grid, 1_000_000 * CENT, *rests, *awkward])


def check(
    grid: ModuleType, ticks: dict[int, int], sizes: "array[int]", lost: int = 0
) -> tuple[int, int]:
    """Return the number of cases and of mismatches over every price of every tick."""
    jobs = [
        (tick, first, min(first + (CHUNK - 1) * tick, 10_000 - tick), decimals, sizes, lost)
        for tick, decimals in ticks.items()
        for first in range(tick, 10_000, CHUNK * tick)
    ]
    cases = mismatches = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for job, (done, wrong, first) in zip(
            jobs, pool.map(lambda job: grid.check(*job), jobs), strict=True
        ):
            cases += done
            mismatches += wrong
            if wrong and not lost:
                print(f"tick={job[0]}: first mismatch at price, size, side {first}")
    return cases, mismatches
