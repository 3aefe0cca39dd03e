"""Everything that can befall a journal, at length: ``python -m tests.journal_storm.run``.

Each part prints its counts; a violation is an AssertionError that names the seed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.journal_storm import kills, storm


def cuts(records: int, stride: int) -> int:
    """Cut a journal at every byte of every ``stride``-th record, and at its boundaries."""
    journal = storm.build(records)
    return storm.run_cuts(journal, range(0, records, stride))


def corruptions(count: int, seed: int) -> Counter[str]:
    """Damage a journal in that many ways."""
    journal = storm.build(60)
    seen: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed}:{number}")
        name, damaged = storm.corrupt(journal, rng)
        try:
            seen[storm.check_corruption(journal, damaged)] += 1
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, number {number}, {name}: {error}") from error
    return seen


def power_losses(count: int, seed: int) -> Counter[str]:
    """Lose the sectors that were not synced, in that many ways."""
    journal = storm.build(60)
    seen: Counter[str] = Counter()
    for number in range(count):
        rng = random.Random(f"{seed}:{number}")
        try:
            seen[storm.check_power_loss(journal, rng.randrange(len(journal.records)), rng)] += 1
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, number {number}: {error}") from error
    return seen


def killed(count: int, seed: int) -> int:
    """Kill that many writers, in both modes; return the groups they had acknowledged."""
    rng = random.Random(seed)
    groups = 0
    for number in range(count):
        mode = ("os", "fsync")[number % 2]
        with tempfile.TemporaryDirectory() as folder:
            groups += kills.run(Path(folder) / "journal", mode, rng.randrange(1, 60))
    return groups


def main() -> int:
    """Run every part, and print the counts last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=10_000, help="records of the cut journal")
    parser.add_argument("--stride", type=int, default=1, help="cut every so many records")
    parser.add_argument("--corruptions", type=int, default=100_000)
    parser.add_argument("--power-losses", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    made = cuts(options.records, options.stride)
    print(f"cuts of a journal of {options.records} records: {made}", flush=True)
    seen = corruptions(options.corruptions, options.seed)
    print(f"corruptions: {dict(seen)}", flush=True)
    lost = power_losses(options.power_losses, options.seed)
    print(f"power losses: {dict(lost)}", flush=True)
    groups = killed(options.kills, options.seed)
    print(f"kills: {options.kills}, with {groups} acknowledged groups")
    print(f"{time.monotonic() - started:.0f} s")
    print(
        f"cuts={made} corruptions={options.corruptions} power_losses={options.power_losses} "
        f"kills={options.kills} seed={options.seed} violations=0"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
