"""What being right about money adds to a plan: checks, limits, reservation, gate, journal."""

import atexit
import time
from typing import Any

from benchmarks import bench_journal, bench_plan, inputs
from benchmarks.harness import Row
from polyexec import SystemClock
from polyexec.core.candidates import (
    Skip,
    check_edge,
    check_liquidity,
    check_size,
    price_signal,
    worst_loss_micro,
)
from polyexec.core.journal import account_of
from polyexec.core.pipeline import Plan
from polyexec.core.risk import RiskGuard, check_quotes
from polyexec.journal.wal import open_journal
from polyexec.policies import RiskLimits

LIMITS = RiskLimits(
    max_group_cost=1000,
    max_daily_cost=10**9,
    max_open_exposure=10**9,
    max_legging_loss=1000,
    max_quote_age_ms=86_400_000,
)
_MANY = 60_000


def rows() -> list[Row]:
    guards, journaled = Guards(), Journaled()
    return [
        Row(
            "guards_3_legs",
            "of a plan with every limit set: validate, edge, sizes, worst loss, limits, "
            "reservation and gate; its floor is the whole plan",
            guards,
            floor=bench_plan.DETERMINISTIC,
            before=guards.give_back,
        ),
        Row(
            "plan_3_legs_journal_os",
            "the plan with an intent kept before it is signed and sealed after; one write() of "
            "4 KB dominates what it adds",
            journaled,
            floor=bench_plan.DETERMINISTIC,
            before=journaled.give_back,
        ),
    ]


class Guards:
    """What is checked and held for a plan; ``give_back`` is not timed."""

    def __init__(self) -> None:
        self.maker = bench_plan.pipeline(inputs.signer(), max_in_flight=_MANY)
        self.maker._risk = RiskGuard(LIMITS)
        self.clock = SystemClock()
        self.signal = bench_plan.signal(self.clock.time_ms())
        self.table: Any = price_signal(
            self.signal, self.maker._policy, self.maker._ledger.available
        )
        self.held: list[Any] = []

    def __call__(self) -> object:
        maker, signal, table = self.maker, self.signal, self.table
        now_ns = time.monotonic_ns()
        refusal = maker._gate.check(now_ns)
        stale = check_quotes(signal, self.clock.time_ms(), LIMITS.max_quote_age_ms)
        skip = check_liquidity(table)
        edge = check_edge(signal, table, maker._policy)
        skip = skip or check_size(table)
        ticket: Any = maker._admit(table, worst_loss_micro(signal, table))
        held: Any = maker._enter(table, now_ns)
        if refusal or stale or skip or type(edge) is Skip or type(ticket) is Skip:
            raise SystemExit(f"skipped: {refusal} {stale} {skip} {edge} {ticket}")
        self.held.append((held, ticket))
        return held

    def give_back(self) -> None:
        for held, ticket in self.held:
            self.maker._withdraw(held, ticket, guarded=True)
        self.held.clear()


class Journaled:
    """A plan of a pipeline with a journal, opened when it is first used."""

    def __init__(self) -> None:
        self.maker = bench_plan.pipeline(inputs.signer(), max_in_flight=_MANY)
        self.signal = bench_plan.signal()
        self.plans: list[Plan] = []

    def __call__(self) -> Plan:
        if self.maker._journal is None:
            journal = open_journal(
                bench_journal.new_folder(), account_of(self.maker._signer), mode="os"
            )
            atexit.register(journal.close)
            self.maker._journal = journal
        plan = self.maker.prepare(self.signal)
        if not isinstance(plan, Plan):
            raise SystemExit(f"skipped: {plan.skipped} {plan.detail}")
        self.plans.append(plan)
        return plan

    def give_back(self) -> None:
        for plan in self.plans:
            self.maker.withdraw(plan)
        self.plans.clear()
