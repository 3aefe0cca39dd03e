"""Simulated sessions, the seeds that once failed, and proof that the checker can fail.

``make soak SESSIONS=1000000 ARGS="--jobs 8"`` runs more of the same.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyexec import executor as executor_module
from polyexec.core import outcome
from polyexec.core.gate import Gate
from polyexec.core.journal import Release
from polyexec.core.ledger import Ledger
from polyexec.core.pipeline import Pipeline
from polyexec.core.ports import OrderBatch
from polyexec.core.resolution import NextStep, UnknownOrder
from polyexec.core.tracking import OrderTracker, TrackedOrder
from polyexec.grouping import GroupKeeper
from polyexec.recovery import Restored
from polyexec.submission import Submission
from tests.simulation.session import Report, run, run_session

ROOT = Path(__file__).parents[2]
_SEEDS = [
    tuple(map(int, line.split()[:2]))
    for line in (Path(__file__).parent / "seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]
_PLANTED_SEED = 7
_MOST_SESSIONS = 400


def test_no_session_with_faults_loses_or_doubles_anything() -> None:
    summary = run(2000, seed=1)
    assert summary.violations == []
    assert summary.faults > 8000


@pytest.mark.parametrize(("seed", "number"), _SEEDS)
def test_a_session_that_once_failed_does_not(seed: int, number: int) -> None:
    assert run_session(seed, number).violations == ()


def test_the_same_seed_is_the_same_trace_in_any_process() -> None:
    here = run(40, seed=3)
    assert run(40, seed=3).trace == here.trace
    assert run(40, seed=4).trace != here.trace
    command = [sys.executable, "-m", "tests.simulation.run"]
    command += ["--sessions", "40", "--seed", "3", "--jobs", "2"]
    environment = os.environ | {"PYTHONHASHSEED": "5"}
    there = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert there[-2].endswith(f"trace {here.trace}")
    assert there[-1] == f"sessions=40 faults={here.faults} violations=0 seed=3"


# faults of our own, each of which the checker has to find -----------------------------------------


def first_violation() -> str:
    for number in range(_MOST_SESSIONS):
        report: Report = run_session(_PLANTED_SEED, number)
        if report.violations:
            return report.violations[0]
    return ""


def believe_the_first_answer(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UnknownOrder, "not_found", lambda self, asked_ms, now_ms: NextStep.ABSENT)


def hold_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "held", lambda self, asset="": 0)


def sign_anew_to_resend(patch: pytest.MonkeyPatch) -> None:
    def resend(self: Any, order: TrackedOrder) -> OrderBatch:
        time_ms = self._clock.time_ms()
        body, ids = self._sign_and_encode_v1((order.leg,), time_ms, None)
        headers = self._auth.headers(time_ms // 1000, "POST", "/orders", body)
        return OrderBatch(path="/orders", body=body, headers=headers, order_ids=ids)

    patch.setattr(Pipeline, "resend", resend)


def send_before_the_intent_is_kept(patch: pytest.MonkeyPatch) -> None:
    def journaled(self: Any, journal: Any, table: Any, time_ms: int, shape: Any) -> Any:
        return journal.new_group(), *self._sign_and_encode(table, time_ms)

    patch.setattr(Pipeline, "_journaled", journaled)


def end_reservations_twice(patch: pytest.MonkeyPatch) -> None:
    end = OrderTracker._end

    def end_twice(self: Any, order: TrackedOrder) -> None:
        end(self, order)
        order.has_ended = False
        end(self, order)

    patch.setattr(OrderTracker, "_end", end_twice)


def release_more_than_is_left(patch: pytest.MonkeyPatch) -> None:
    def release(**fields: Any) -> Release:
        return Release(**fields | {"released_micro": fields["released_micro"] + 1})

    patch.setattr("polyexec.core.tracking.Release", release)


def leave_the_switch_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "set_enabled", lambda self, flag: None)


def forget_what_was_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(executor_module, "restore", lambda groups, **shared: Restored(frozenset(), {}))


def never_leave_a_group(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(GroupKeeper, "_leave", lambda self, kept: False)


def trade_before_recovery(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(executor_module.BaseExecutor, "_has_recovered", lambda self: True)


def take_server_errors_for_refusals(patch: pytest.MonkeyPatch) -> None:
    statuses = outcome._DEFINITE_STATUSES | {500, 502, 503}
    patch.setattr(outcome, "_DEFINITE_STATUSES", statuses)


def take_answers_by_place(patch: pytest.MonkeyPatch) -> None:
    def match(legs: Any, answers: Any) -> list[Any]:
        return [answers[i] if i < len(answers) else None for i in range(len(legs))]

    patch.setattr(outcome, "_match", match)


def believe_old_balances(patch: pytest.MonkeyPatch) -> None:
    update = Ledger.update

    def update_always(self: Any, asset: str, micro: int, *, as_of_ms: int) -> bool:
        return update(self, asset, micro, as_of_ms=max(as_of_ms, self.as_of_ms(asset)))

    patch.setattr(Ledger, "update", update_always)


def count_fills_twice(patch: pytest.MonkeyPatch) -> None:
    book_fills = OrderTracker.book_fills

    def book_twice(self: Any, order_id: Any, fills: Any, state: Any, rule: Any) -> None:
        again = tuple(type(fill)(**_fields(fill) | {"trade_id": "again"}) for fill in fills)
        book_fills(self, order_id, (*fills, *again), state, rule)

    patch.setattr(OrderTracker, "book_fills", book_twice)


def answer_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Submission, "_resolve", lambda self, result: None)


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (believe_the_first_answer, "held|promises"),
        (hold_nothing, "held 0 of"),
        (sign_anew_to_resend, "left before its intent was kept"),
        (send_before_the_intent_is_kept, "left before its intent was kept"),
        (end_reservations_twice, "ended|contradicts"),
        (release_more_than_is_left, "is not the reserved"),
        (leave_the_switch_on, "left while trading was off"),
        (forget_what_was_open, "held|promises|the books differ|never closed"),
        (never_leave_a_group, "never closed"),
        (trade_before_recovery, "before those of the last run were resolved"),
        (take_server_errors_for_refusals, "held|was said not to exist"),
        (take_answers_by_place, "was said|held|not resolved"),
        (believe_old_balances, "promises"),
        (count_fills_twice, "a group says|the books differ|promises|held"),
        (answer_nobody, "was never answered"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    violation = first_violation()
    assert any(part in violation for part in found.split("|")), violation or "nothing was found"
