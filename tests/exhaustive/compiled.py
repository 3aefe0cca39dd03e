"""Builds a ``.pyx`` of the tests against the ``.pxd`` of the package, and runs ``grid.pyx``."""

import importlib.util
import os
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import polyexec

CENT = 10_000
CHUNK = 500
GRID = Path(__file__).with_name("grid.pyx")


def build(folder: Path, source: Path = GRID) -> ModuleType:
    """Compile a module of the tests into ``folder`` and import it."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    copy = folder / source.name
    copy.write_text(source.read_text())
    extensions = cythonize(
        [Extension(source.stem, [str(copy)], extra_compile_args=["-O2"])],
        include_path=[str(Path(polyexec.__file__).parent.parent)],
        quiet=True,
    )
    command = build_ext(Distribution({"name": source.stem, "ext_modules": extensions}))
    command.build_lib = command.build_temp = str(folder)
    command.ensure_finalized()
    command.run()
    spec = importlib.util.spec_from_file_location(
        source.stem, command.get_ext_fullpath(source.stem)
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
