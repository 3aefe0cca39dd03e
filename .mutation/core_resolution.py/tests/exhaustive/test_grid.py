"""The grid check runs small in the ordinary test-suite, and sees a wrong amount."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from polyexec import _impl
from polyexec._pure import amounts as pure
from tests.exhaustive import compiled, run
from tests.implementations import NOT_BUILT


@pytest.mark.parametrize("implementation", [pure, _impl], ids=["pure", _impl.IMPLEMENTATION])
def test_every_price_of_every_tick_gives_exact_amounts(implementation: object) -> None:
    cases, mismatches = run.check(3, implementation)
    assert mismatches == 0
    assert cases == 4 * len(run.sizes(3)) * sum(9999 // tick for tick in run.DECIMALS)


@pytest.mark.parametrize("lost", [1, 100, 10_000])
def test_a_lost_unit_is_seen(lost: int) -> None:
    def limit_amounts(price: int, size: int, side: int) -> tuple[int, int]:
        maker, taker = pure.limit_amounts(price, size, side)
        return maker, taker - lost

    wrong = SimpleNamespace(limit_amounts=limit_amounts, market_amounts=pure.market_amounts)
    cases, mismatches = run.check(0, wrong)
    assert mismatches * 2 == cases


def test_a_rounded_up_market_amount_is_seen() -> None:
    assert run.market_is_right(3300, 10_000_000, run.BUY, 4, (10_000_000, 30_303_000))
    assert not run.market_is_right(3300, 10_000_000, run.BUY, 4, (10_000_000, 30_303_100))
    assert not run.market_is_right(3300, 10_000_000, run.BUY, 6, (10_000_000, 30_303_030))


@NOT_BUILT
@pytest.mark.slow
def test_the_compiled_loop_passes_and_sees_a_lost_unit(tmp_path: Path) -> None:
    grid = compiled.build(tmp_path)
    sizes = compiled.dense_sizes(50, 99_991, run.AWKWARD)
    expected = 4 * len(sizes) * sum(9999 // tick for tick in run.DECIMALS)
    assert compiled.check(grid, run.DECIMALS, sizes) == (expected, 0)
    for lost in (1, 100, -1, -100, 10_000):
        assert compiled.check(grid, run.DECIMALS, sizes, lost) == (expected, expected)
