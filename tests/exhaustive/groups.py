"""Check exposure and worst loss of three legs: ``python -m tests.exhaustive.groups``.

Every way that three orders can have gone (ten states, partial fills, five settlements), for each
strategy, against a model in fractions. Up to five pieces of news arrive in every order; more of
them in three: as they happened, reversed, and shuffled by the seed. One of them comes twice.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from itertools import permutations, product

from polyexec.core.candidates import PricedLeg, Skip, price_signal, priced_legs
from polyexec.core.exposure import payoffs_of, worst_loss
from polyexec.core.groups import Done, LegGroup, Wait
from polyexec.enums import LegState, Side, Strategy
from polyexec.models import OrderId
from polyexec.numbers import MICRO
from polyexec.policies import GroupPolicy
from polyexec.signals import ArbSignal, Signal
from tests.exhaustive.groups_model import (
    News,
    Way,
    brute_worst_loss,
    news_of,
    truth,
    ways,
)
from tests.unit.core.support import policy, signal

IDS = tuple(OrderId(f"0x{number}") for number in range(3))
PRICES = ("0.61", "0.33", "0.27")
UNRESOLVED = (LegState.UNKNOWN, LegState.DELAYED, LegState.UNMATCHED)
HOLD = GroupPolicy("hold")
SAMPLE = 0.02
MOST_PERMUTED = 5


def worlds() -> Iterator[tuple[ArbSignal, tuple[PricedLeg, ...], tuple[tuple[int, ...], ...]]]:
    """Yield a signal of every strategy with its legs and its payoffs in dollars."""
    for strategy in Strategy:
        given = signal(strategy, PRICES, quotes={"fee_rate": "0.07"}, size=10)
        table = price_signal(given, policy())
        assert not isinstance(table, Skip)
        legs = priced_legs(table)
        rows = payoffs_of(given, legs)
        assert rows is not None
        yield given, legs, tuple(tuple(pay // MICRO for pay in row) for row in rows)


def tell(group: LegGroup, order_id: OrderId, news: News) -> None:
    """Hand one piece of news to a group."""
    if news.state is not None:
        group.on_order(order_id, news.state, news.filled)
    elif news.fill is not None:
        group.on_fill(news.fill)
    else:
        assert news.settlement is not None
        group.on_settlement(news.trade, news.settlement)


def is_right(
    group: LegGroup,
    legs: tuple[PricedLeg, ...],
    gone: tuple[Way, ...],
    rows: tuple[tuple[int, ...], ...],
) -> bool:
    """Compare a group that has heard everything with what truly happened."""
    exposure, true = group.exposure, truth(legs, gone, rows)
    unknown = any(way.state in UNRESOLVED for way in gone)
    action = group.next_action(0)
    resting = any(way.state in (LegState.LIVE, LegState.PARTIAL) for way in gone)
    progress = [
        change if leg.side is Side.BUY else -change
        for leg, change in zip(legs, exposure.shares_micro, strict=True)
    ]
    return (
        exposure.shares_micro == tuple(change * MICRO for change in true.shares)
        and exposure.cash_micro == true.cash * MICRO
        and exposure.worst_micro == true.worst * MICRO
        and exposure.best_micro == true.best * MICRO
        and exposure.sets_micro == max(0, min(progress))
        and exposure.is_final is true.is_final
        and (exposure.final_pnl_micro is None) is not true.is_final
        and group.is_unknown is unknown
        and isinstance(action, Wait if unknown or resting else Done)
    )


def arrivals(count: int, *, all_orders: bool, rng: random.Random) -> Iterator[list[int]]:
    """Yield orders in which that many pieces of news arrive."""
    if all_orders:
        yield from map(list, permutations(range(count)))
        return
    places = list(range(count))
    yield places
    yield places[::-1]
    rng.shuffle(places)
    yield places


def check(*, full: bool, seed: int) -> tuple[int, int]:
    """Return the number of cases and of mismatches; the first few are printed."""
    rng = random.Random(seed)
    cases = mismatches = 0
    for given, legs, rows in worlds():
        case, wrong = check_loss(given, legs, rows, parts=6 if full else 2)
        cases, mismatches = cases + case, mismatches + wrong
        for gone in product(tuple(ways()), repeat=3):
            flat = [
                (order_id, news)
                for way, leg, order_id in zip(gone, legs, IDS, strict=True)
                for news in news_of(way, leg, order_id)
            ]
            if not full and rng.random() > SAMPLE:
                continue
            every = full and len(flat) <= MOST_PERMUTED
            for order in arrivals(len(flat), all_orders=every, rng=rng):
                group = LegGroup(given, legs, IDS, HOLD, started_ms=0)
                for place in (*order, order[0]):
                    tell(group, *flat[place])
                cases += 1
                if is_right(group, legs, gone, rows):
                    continue
                mismatches += 1
                if mismatches <= 10:
                    print(f"{given.strategy} {gone} {order=} {group.exposure}")
    return cases, mismatches


def check_loss(
    given: Signal,
    legs: tuple[PricedLeg, ...],
    rows: tuple[tuple[int, ...], ...],
    *,
    parts: int,
) -> tuple[int, int]:
    """Pin the worst loss from both sides: no partial fill loses more, and one loses as much."""
    risk = worst_loss(legs, payoffs_of(given, legs))
    brute = brute_worst_loss(legs, rows, parts)
    # Each fee is rounded up, to at most a hundred-thousandth of a dollar more.
    exact = 0 <= Fraction(risk.loss_micro, MICRO) - brute < Fraction(len(legs), 10**5)
    return 1, 0 if exact and risk.loss_of(risk.legs) == risk.loss_micro else 1


def main() -> int:
    """Check, and print the counts last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="of the orders that are sampled")
    parser.add_argument("--short", action="store_true", help="a sample, as in the test-suite")
    options = parser.parse_args()
    started = time.monotonic()
    cases, mismatches = check(full=not options.short, seed=options.seed)
    print(f"seed={options.seed}, {time.monotonic() - started:.0f} s")
    print(f"cases={cases} mismatches={mismatches}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
