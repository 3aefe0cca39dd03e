"""Hammer one ledger from threads without the GIL: ``python -m tests.concurrency.run``."""

import argparse
import os
import sys
import tempfile
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from polyexec._fast.gate import GateCore
from polyexec._fast.ledger import LedgerCore
from tests import compiled

SOURCE = Path(__file__).with_name("storm.pyx")
ROUND = 4_000_000  # operations after which the sums are settled
THREADS = max(4, os.cpu_count() or 1)  # more than cores: some are interrupted in the middle


def hammer(
    storm: ModuleType, operations: int, *, seed: int = 1, sabotage: int = 0, size: int = ROUND
) -> tuple[int, int]:
    """Return the number of operations on a ledger, and of violations."""
    shared = storm.Storm(LedgerCore())
    done = violations = 0
    with ThreadPoolExecutor(THREADS) as pool:
        for number, start in enumerate(range(0, operations, size)):
            each = -(-min(size, operations - start) // THREADS)
            shared.begin(number)
            runs = [
                pool.submit(
                    shared.run,
                    seed * 1_000_003 + number * THREADS + i,
                    each,
                    number % 2 == 0,
                    sabotage,
                )
                for i in range(THREADS)
            ]
            results = [run.result() for run in runs]
            broken = sum(wrong for wrong, _ in results)
            broken += shared.finish([tallies for _, tallies in results])
            done += each * THREADS
            violations += broken
            if broken and not sabotage:
                print(f"seed={seed} round={number}: {broken} violations")
    return done, violations


def hammer_gate(storm: ModuleType, times: int) -> int:
    """Return the violations of a gate that threads pass, with and without a cooldown."""
    violations = 0
    for most in (1, THREADS - 1):
        for cooldown in (0, 5):
            gate = GateCore(enabled=True, cooldown_ns=cooldown, max_in_flight=most)
            inside = array("q", [0])
            with ThreadPoolExecutor(THREADS) as pool:
                results = list(
                    pool.map(
                        lambda _, g=gate, i=inside, m=most: storm.gate_storm(g, i, m, 0, times),
                        range(THREADS),
                    )
                )
            violations += sum(wrong for wrong, _ in results) + gate.in_flight + inside[0]
            stamps = sum(stamped for _, stamped in results)
            # One stamp in five nanoseconds: whoever stamps, the clock has to go on.
            violations += cooldown > 0 and stamps > -(-times // cooldown)
            violations += stamps == 0
    return violations


def main() -> int:
    """Hammer, and print the counts last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--operations", type=int, default=1_000_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed={options.seed} threads={THREADS}")
    with tempfile.TemporaryDirectory() as folder:
        storm = compiled.build(SOURCE, Path(folder))
    started = time.monotonic()
    operations, violations = hammer(storm, options.operations, seed=options.seed)
    took = time.monotonic() - started
    print(f"{took:.0f} s, {operations / took / 1e6:.1f} million operations a second")
    violations += hammer_gate(storm, min(options.operations, 10_000_000))
    print(f"operations={operations} violations={violations}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
