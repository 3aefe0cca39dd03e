"""The evaluators against the exact model; ``make engine-storm`` plays a million."""

import subprocess
import sys
from collections import Counter
from fractions import Fraction
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.conftest import ROOT
from tests.engine.model import Settings, best
from tests.engine.storm import faults_of
from tests.engine.worlds import random_world
from tests.implementations import FAST, PURE

KINDS = [functions for functions in (PURE, FAST) if functions is not None]


@settings(max_examples=200)
@given(st.randoms(use_true_random=False))
def test_evaluators_find_what_the_model_finds(random: Random) -> None:
    assert list(faults_of(random_world(random), KINDS, Counter())) == []


def test_books_of_fixed_seeds_pay_often_enough_to_mean_something() -> None:
    seen: Counter[str] = Counter()
    for seed in range(300):
        assert list(faults_of(random_world(Random(seed)), KINDS, seen)) == []
    assert seen["paying"] > 100


def test_a_wrong_evaluator_is_noticed() -> None:
    class Greedy:
        """The real table, and an evaluator that knows no fees."""

        PriceTable = PURE.PriceTable

        class Evaluator(PURE.Evaluator):
            def add(self, form: object) -> int:
                number = super().add(form)
                watched = self._forms[number]
                watched.legs = [leg._replace(rate_micro=0) for leg in watched.legs]
                return number

    faults = [
        fault
        for seed in range(100)
        for fault in faults_of(random_world(Random(seed)), [Greedy], Counter())
    ]
    assert len(faults) > 10


def test_the_command_counts_and_says_so() -> None:
    command = [sys.executable, "-m", "tests.engine.storm", "--books", "40", "--with-pure"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "books=40 mismatches=0"


def test_the_model_agrees_with_a_sum_done_by_hand() -> None:
    world = random_world(Random(1))
    form = world.forms[0]
    # Triangle at 0.60 + 0.65 + 0.60 = 1.85, 100 sets, 7 % fee curve: 100 x 0.07 x the products.
    changes = {"fee_rate_micro": 70_000, "fee_exponent": 1, "min_order_size_micro": 0}
    legs = tuple(replace(leg, market=replace(leg.market, **changes)) for leg in form.legs)
    form = replace(form, legs=legs)
    taken = [[(Fraction(price), Fraction(100))] for price in ("0.60", "0.65", "0.60")]
    found = best(form, taken, Settings(0, 0, 10**9, is_immediate=True))
    assert found is not None
    assert found.size == 100
    assert found.cost == Fraction("185") + Fraction("1.68") * 2 + Fraction("1.5925")
    assert found.net == 200 - found.cost
