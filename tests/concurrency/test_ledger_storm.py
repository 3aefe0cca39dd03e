"""Threads on one ledger, at random: never more reserved than there is, exact sums at the end."""

import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from polyexec.core.ledger import COLLATERAL, Ledger, Reservation, Shortage
from polyexec.errors import InternalError
from polyexec.models import TokenId
from tests.implementations import BOTH, FAST, NOT_BUILT, PURE, face_of

ASSETS = (COLLATERAL, TokenId("1"), TokenId("2"))
BALANCE = 5_000
SEEDS = (1, 2)
WORKERS = 4


@pytest.fixture(autouse=True)
def _switch_threads_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


class Worker(threading.Thread):
    """Does random things to a ledger, and counts what it was told."""

    def __init__(self, ledger: Any, seed: int, operations: int, shared: list[Any]) -> None:
        super().__init__()
        self.ledger = ledger
        self.draw = random.Random(seed)
        self.operations = operations
        self.shared = shared
        self.mine: list[Reservation] = []
        self.totals: Counter[tuple[str, str]] = Counter()
        self.refused = self.lost_races = 0
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            for _ in range(self.operations):
                self.step(self.draw.random())
            while self.mine:
                self.end(self.mine.pop())
        except BaseException as error:
            self.fault = error

    def step(self, what: float) -> None:
        ledger, draw = self.ledger, self.draw
        if what < 0.4 and len(self.mine) < 30:
            claims = [
                (draw.choice(ASSETS), draw.randint(1, 400)) for _ in range(draw.randint(1, 3))
            ]
            made = ledger.reserve(claims)
            if isinstance(made, Shortage):
                self.refused += 1
                assert made.available_micro < made.needed_micro
                return
            for asset, micro in claims:
                self.totals["reserved", asset] += micro
            self.mine += made
        elif what < 0.65 and self.mine:
            self.end(self.mine.pop(draw.randrange(len(self.mine))))
        elif what < 0.75 and self.mine:
            # Both have it from now on, and may end it at the same time.
            place = draw.randrange(len(self.shared))
            theirs, self.shared[place] = self.shared[place], draw.choice(self.mine)
            if theirs is not None:
                self.mine.append(theirs)
        elif what < 0.85 and self.mine:
            reservation, micro = draw.choice(self.mine), draw.randint(1, 20)
            try:
                ledger.spend(reservation, micro, at_ms=2)
            except InternalError:  # ended, or less is left: another was quicker
                self.lost_races += 1
            else:
                self.totals["spent", reservation.asset] += micro
        elif what < 0.9:
            asset, micro = draw.choice(ASSETS), draw.randint(1, 20)
            ledger.book(asset, micro, at_ms=2)
            self.totals["booked", asset] += micro
        elif what < 0.91:
            assert ledger.update(draw.choice(ASSETS), BALANCE, as_of_ms=1)
            assert not ledger.update(draw.choice(ASSETS), 0, as_of_ms=0)
        elif what < 0.912:
            ledger.check()
            assert all(r.asset in ASSETS for r in ledger.open_reservations)
        assert ledger.available(draw.choice(ASSETS)) >= 0

    def end(self, reservation: Reservation) -> None:
        try:
            self.totals["freed", reservation.asset] += self.ledger.release(reservation)
        except InternalError:
            self.lost_races += 1


def storm(ledger: Any, seed: int, operations: int) -> list[Worker]:
    """Run the workers, and check that their counts explain every word."""
    print(f"seed={seed}")
    for asset in ASSETS:
        ledger.update(asset, BALANCE, as_of_ms=1)
    shared: list[Any] = [None] * 8
    workers = [
        Worker(ledger, seed * 1_000 + number, operations // WORKERS, shared)
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    faults = [worker.fault for worker in workers if worker.fault]
    assert not faults, faults
    totals = sum((worker.totals for worker in workers), Counter())
    assert ledger.open_reservations == ()
    ledger.check()
    for asset in ASSETS:
        reserved, freed, spent, booked = (
            totals[what, asset] for what in ("reserved", "freed", "spent", "booked")
        )
        assert reserved == freed + spent
        assert ledger.held(asset) == 0
        assert ledger.available(asset) == BALANCE - spent
        assert ledger.balance(asset) == BALANCE + booked - spent
    return workers


@pytest.mark.parametrize("functions", BOTH)
@pytest.mark.parametrize("seed", SEEDS)
def test_threads_never_reserve_more_than_there_is(functions: Any, seed: int) -> None:
    operations = 60_000 if functions is PURE else 120_000
    workers = storm(face_of(Ledger, functions)(), seed, operations)
    assert sum(worker.refused for worker in workers) > 0, "the balance was meant to run out"
    assert sum(worker.lost_races for worker in workers) > 0, "holds were meant to be raced for"


def test_a_lost_update_is_seen() -> None:
    ledger = face_of(Ledger, PURE)()

    class Unlocked:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    class Slow(type(ledger._accounts[""])):  # type: ignore[misc]
        """Leaves a gap between looking and taking, in which a thread can be interrupted."""

        @property
        def available(self) -> int:
            available: int = super().available
            for _ in range(20):
                pass
            return available

    ledger._lock = Unlocked()
    for asset in ASSETS:
        ledger._accounts[asset] = Slow()
    sys.setswitchinterval(1e-6)
    with pytest.raises(AssertionError):
        storm(ledger, 1, 60_000)


@pytest.fixture(scope="module")
def compiled_storm(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    from tests import compiled
    from tests.concurrency.run import SOURCE

    folder: Path = tmp_path_factory.mktemp("storm")
    return compiled.build(SOURCE, folder)


@NOT_BUILT
@pytest.mark.slow
def test_threads_without_the_gil_lose_nothing(compiled_storm: ModuleType) -> None:
    from tests.concurrency import run

    assert run.hammer(compiled_storm, 4_000_000, size=1_000_000) == (4_000_000, 0)
    assert run.hammer_gate(compiled_storm, 100_000) == 0


@NOT_BUILT
@pytest.mark.slow
def test_a_store_where_a_swap_belongs_is_seen(compiled_storm: ModuleType) -> None:
    from tests.concurrency import run

    _, violations = run.hammer(compiled_storm, 2_000_000, sabotage=1)
    assert violations > 0


@NOT_BUILT
@pytest.mark.slow
@pytest.mark.parametrize("what", ["held", "available", "hold"])
def test_broken_words_are_found_and_stop_the_ledger(compiled_storm: ModuleType, what: str) -> None:
    ledger = face_of(Ledger, FAST)()
    ledger.update(COLLATERAL, 100, as_of_ms=1)
    (reservation,) = ledger.reserve([(COLLATERAL, 30)])
    ledger.check()
    getattr(compiled_storm, f"break_{what}")(ledger)
    with pytest.raises(InternalError, match="does not add up" if what == "hold" else "not the sum"):
        ledger.check()
    if what == "held":
        with pytest.raises(InternalError, match="contradict each other"):
            ledger.release(reservation)
