"""Check the order amounts on every price of every tick: ``python -m tests.exhaustive.run``.

The compiled loop (``grid.pyx``, built when it runs) has every price of every tick and a dense set
of sizes; ``--python`` calls the functions that Python sees instead, on fewer.

The expected values are not computed the way the library does it. They are pinned from both sides:
an amount must satisfy the rule, and one unit more must break it.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from polyexec import _impl
from polyexec._pure import amounts as pure
from tests.exhaustive import compiled

BUY, SELL = 0, 1
CENT = 10_000
# tick in ten-thousandths -> decimals of the computed side (protocol notes, orders.md section 6)
DECIMALS = {1000: 3, 100: 4, 50: 5, 25: 6, 10: 5, 1: 6}
AWKWARD = (5_000_000, 12_340_000, 99_990_000, 4_318_660_000, 999_999_990_000, 9 * 10**14)


def sizes(cents: int) -> list[int]:
    """Return sizes in micro-units: every hundredth up to ``cents``, large ones, and remainders."""
    grid = [number * CENT for number in range(1, cents + 1)]
    return [*grid, *AWKWARD, *(size + CENT - 1 for size in (*grid[::97], *AWKWARD[:-1]))]


def limit_is_right(price: int, size: int, side: int, got: tuple[int, int]) -> bool:
    """Shares are the largest hundredth that fits; collateral is their exact product."""
    shares, collateral = got if side == SELL else got[::-1]
    fits = shares % CENT == 0 and 0 <= size - shares < CENT
    return fits and collateral * 10_000 == shares * price


def market_is_right(
    price: int, amount: int, side: int, decimals: int, got: tuple[int, int]
) -> bool:
    """The maker amount has 2 decimals, the taker at most 4 and the tick's; the rest is dropped."""
    maker, taker = got
    unit = 10 ** (6 - min(4, decimals))
    if maker % CENT or not 0 <= amount - maker < CENT or taker % unit:
        return False
    if side == BUY:
        return taker * price <= maker * 10_000 < (taker + unit) * price
    return taker * 10_000 <= maker * price < (taker + unit) * 10_000


def check(cents: int, implementation: object) -> tuple[int, int]:
    """Return the number of cases and of mismatches; the first few are printed."""
    limit_amounts = implementation.limit_amounts  # type: ignore[attr-defined]
    market_amounts = implementation.market_amounts  # type: ignore[attr-defined]
    cases = mismatches = 0
    for tick, decimals in DECIMALS.items():
        for price in range(tick, 10_000, tick):
            for size in sizes(cents):
                for side in (BUY, SELL):
                    limit = limit_amounts(price, size, side)
                    market = market_amounts(price, size, side, decimals)
                    cases += 2
                    if limit_is_right(price, size, side, limit) and market_is_right(
                        price, size, side, decimals, market
                    ):
                        continue
                    mismatches += 1
                    if mismatches <= 10:
                        print(f"{tick=} {price=} {size=} {side=} {limit=} {market=}")
    return cases, mismatches


def main() -> int:
    """Check, and print the counts last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cents", type=int, default=10_000, help="every size up to this many hundredths"
    )
    parser.add_argument(
        "--stride", type=int, default=97, help="and then every so many, up to 10,000.00 shares"
    )
    parser.add_argument(
        "--python", action="store_true", help="call the Python functions: sizes up to --cents only"
    )
    parser.add_argument("--pure", action="store_true", help="the same for the readable twin")
    options = parser.parse_args()
    started = time.monotonic()
    if options.pure or options.python or _impl.IMPLEMENTATION == "pure":
        print(f"implementation: {'pure' if options.pure else _impl.IMPLEMENTATION}, called")
        cases, mismatches = check(options.cents, pure if options.pure else _impl)
    else:
        sizes = compiled.dense_sizes(options.cents, options.stride, AWKWARD)
        print(f"implementation: fast, compiled loop, {len(sizes)} sizes")
        with tempfile.TemporaryDirectory() as folder:
            cases, mismatches = compiled.check(compiled.build(Path(folder)), DECIMALS, sizes)
    print(f"{time.monotonic() - started:.0f} s")
    print(f"cases={cases} mismatches={mismatches}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
