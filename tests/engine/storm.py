"""Random books against the exact model, for every strategy and the general form.

``python -m tests.engine.storm --books 1000000 --seed 1``: last line ``books=N mismatches=N``.
"""

import argparse
import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from random import Random

from polyexec.core.forms import Form
from polyexec.enums import Side
from tests.engine.model import Best, best
from tests.engine.worlds import RECEIVED_NS, TWINS, World, random_world
from tests.implementations import FAST, PURE

CHUNK = 500


def faults_of(world: World, implementations: list[object], seen: Counter[str]) -> Iterator[str]:
    """Yield what the evaluators say otherwise than the model."""
    expected = [best(form, world.taken(form), world.settings) for form in world.forms]
    seen["forms"] += len(expected)
    seen["paying"] += sum(one is not None for one in expected)
    for functions in implementations:
        table = world.table(functions)
        evaluator = world.evaluator(functions, table)
        numbers = [evaluator.add(form) for form in world.forms]
        got = {
            found.number: found
            for token in world.books
            for found in evaluator.touched(table.slot(token), RECEIVED_NS)
        }
        plain = {}
        for number, form, wanted in zip(numbers, world.forms, expected, strict=True):
            plain[form.strategy] = _plain(form, got.get(number))
            if plain[form.strategy] != wanted:
                yield f"{form.strategy or 'general'}: {plain[form.strategy]}, model {wanted}"
        for one, other in TWINS:
            if plain[one] != plain[other]:
                yield f"{one} and {other} differ: {plain[one]}, {plain[other]}"


def _plain(form: Form, found: object) -> Best | None:
    if found is None:
        return None
    micro = 1_000_000
    prices = (
        price if leg.side is Side.BUY else 10_000 - price
        for leg, price in zip(form.legs, found.limits_e4, strict=True)  # type: ignore[attr-defined]
    )
    return Best(
        Fraction(found.size_micro, micro),  # type: ignore[attr-defined]
        tuple(Fraction(price, 10_000) for price in prices),
        tuple(Fraction(depth, micro) for depth in found.depths_micro),  # type: ignore[attr-defined]
        Fraction(found.cost_micro, micro),  # type: ignore[attr-defined]
        Fraction(found.net_micro, micro),  # type: ignore[attr-defined]
    )


def _chunk(job: tuple[int, int, bool]) -> tuple[Counter[str], list[str]]:
    first, count, with_pure = job
    implementations = [one for one in (FAST, PURE if with_pure else None) if one is not None]
    seen: Counter[str] = Counter()
    faults = []
    for number in range(first, first + count):
        world = random_world(Random(number))
        faults += [f"seed {number}: {fault}" for fault in faults_of(world, implementations, seen)]
        seen["books"] += 1
    return seen, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--books", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1, help="of the first set of books")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--with-pure", action="store_true", help="the readable twin as well")
    options = parser.parse_args()
    with_pure = options.with_pure or FAST is None
    jobs = [
        (first, min(CHUNK, options.seed + options.books - first), with_pure)
        for first in range(options.seed, options.seed + options.books, CHUNK)
    ]
    total: Counter[str] = Counter()
    mismatches = 0
    with multiprocessing.Pool(options.jobs) as pool:
        for seen, faults in pool.imap_unordered(_chunk, jobs):
            total += seen
            mismatches += len(faults)
            for fault in faults[:3]:
                print(fault)
    print(f"{total['forms']} forms, {total['paying']} of them pay")
    print(f"books={total['books']} mismatches={mismatches}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
