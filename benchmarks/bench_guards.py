"""What being right about money adds to a plan: checks, limits, reservation, gate, journal."""

import time
from pathlib import Path
from typing import Any

from benchmarks import bench_journal, bench_plan, inputs
from benchmarks.harness import Call, Row
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
    max_daily_cost=10**6,
    max_open_exposure=10**6,
    max_legging_loss=1000,
    max_quote_age_ms=1000,
)


def rows() -> list[Row]:
    plan = bench_plan.planned(inputs.signer())
    return [
        Row(
            "guards_3_legs",
            "of a plan with every limit set: validate, edge, sizes, worst loss, limits, "
            "reservation and gate, and giving all of it back; its floor is the whole plan",
            _guards(),
            floor="plan_3_legs_deterministic",
        ),
        Row(
            "plan_3_legs_journal_os",
            "the plan with an intent kept before it is signed and sealed after; one write() of "
            "4 KB dominates what it adds",
            _journaled(),
            {"the plan without a journal": plan},
            floor="plan_3_legs_deterministic",
        ),
    ]


def _guards() -> Call:
    maker = bench_plan.pipeline(inputs.signer())
    maker._risk = RiskGuard(LIMITS)
    clock = SystemClock()
    wanted = bench_plan.signal()
    table: Any = price_signal(wanted, maker._policy, maker._ledger.available)

    def call() -> object:
        now_ns = time.monotonic_ns()
        skips = (
            maker._gate.check(now_ns),
            check_quotes(wanted, clock.time_ms(), None),
            check_liquidity(table),
            check_size(table),
        )
        edge = check_edge(wanted, table, maker._policy)
        ticket = maker._admit(table, worst_loss_micro(wanted, table))
        held = maker._enter(table, now_ns)
        if (
            any(skips)
            or isinstance(edge, Skip)
            or isinstance(ticket, Skip)
            or isinstance(held, Skip)
        ):
            raise SystemExit(f"skipped: {skips} {edge} {ticket} {held}")
        maker._withdraw(held, ticket, guarded=True)
        return held

    return call


def _journaled() -> Call:
    signer = inputs.signer()
    maker = bench_plan.pipeline(signer)
    journal: Any = None
    wanted = bench_plan.signal()

    def call() -> Plan:
        nonlocal journal
        if journal is None:
            folder: Path = bench_journal.new_folder()
            journal = maker._journal = open_journal(folder, account_of(signer), mode="os")
        plan = maker.prepare(wanted)
        if not isinstance(plan, Plan):
            raise SystemExit(f"skipped: {plan.skipped} {plan.detail}")
        maker.withdraw(plan)
        return plan

    return call
