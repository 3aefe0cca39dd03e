"""The whole plan: from a signal to the bytes of POST /orders and its headers."""

import inspect
import time
from decimal import Decimal
from typing import Any

import polyexec as px
from benchmarks import bench_floor, inputs
from benchmarks.baselines import official, unified
from benchmarks.harness import Call, Row
from benchmarks.peers import cargo, native
from benchmarks.peers.worker import Remote
from benchmarks.targets import OFFICIAL, OFFICIAL_NATIVE
from polyexec.core.candidates import PricingPolicy
from polyexec.core.gate import Gate
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.pipeline import Pipeline, Plan
from polyexec.core.tracking import OrderTracker

PREPARED_NONCES = 256
DETERMINISTIC = "plan_3_legs_deterministic"


def pipeline(signer: px.OrderSigner, *, max_in_flight: int = 1) -> Pipeline:
    """Return a pipeline that never runs out of money and never has to wait."""
    clock = px.SystemClock()
    ledger = Ledger()
    ledger.update(COLLATERAL, 10**12, as_of_ms=clock.time_ms())
    return Pipeline(
        signer=signer,
        credentials=px.ApiCredentials(inputs.OWNER, inputs.SECRET, inputs.PASSPHRASE),
        ledger=ledger,
        gate=Gate(enabled=True, cooldown_ns=0, max_in_flight=max_in_flight),
        tracker=OrderTracker(ledger, clock),
        policy=PricingPolicy(
            default_size_micro=10_000_000,
            order_type=px.OrderType.GTC,
            slippage_enabled=False,
            min_pnl_percent=Decimal("0.1"),
        ),
        clock=clock,
        stopwatch=time.perf_counter_ns,
        builder="0x" + "00" * 32,
    )


def signal(timestamp_ms: int = 0) -> px.ArbSignal:
    quotes = [
        px.Quote(token, "", "0.30", price, 100, 100, tick_size="0.01", fee_rate=0)
        for token, price in zip(inputs.TOKENS, inputs.PRICES, strict=True)
    ]
    return px.ArbSignal(
        px.Strategy.POLYMARKET_TRIANGLE_BUY, *quotes, profit_abs="0.98", timestamp_ms=timestamp_ms
    )


def planned(signer: px.OrderSigner) -> Call:
    """Return what is timed: a plan is made, and given up again so that the next one may start."""
    maker, wanted = pipeline(signer), signal()

    def call() -> Plan:
        plan = maker.prepare(wanted)
        if not isinstance(plan, Plan):
            raise SystemExit(f"skipped: {plan.skipped} {plan.detail}")
        maker.withdraw(plan)
        return plan

    return call


def wait_for_nonces(signer: px.OrderSigner) -> None:
    """Wait until a turn's calls find every nonce prepared; the signer's own thread does that."""
    while (info := signer.presign_info()) is not None and info["ready"] < PREPARED_NONCES // 2:
        time.sleep(0.001)


def rows() -> list[Row]:
    found = [
        _row(
            DETERMINISTIC,
            "signal to request bytes and headers, three legs, all gates, RFC 6979 nonces; three "
            "signatures dominate. The others create three orders, the body and its headers",
            inputs.signer(),
            floor=bench_floor.THREE,
        )
    ]
    # Prepared nonces are an option of the signer, where it has it.
    if "presign" in inspect.signature(px.OrderSigner).parameters:
        options: dict[str, Any] = {"presign": PREPARED_NONCES}
        signer = px.OrderSigner(inputs.PRIVATE_KEY, **options)
        found.append(
            _row(
                "plan_3_legs_prepared",
                "the same with nonces prepared ahead of time, so that no curve multiplication is "
                "left; its floor is ONE raw signature, and the promise is to stay below it",
                signer,
                floor=bench_floor.ONE,
                deterministic=False,
                before=lambda: wait_for_nonces(signer),
            )
        )
    return found


def _row(
    name: str,
    what: str,
    signer: px.OrderSigner,
    *,
    floor: str,
    deterministic: bool = True,
    before: Call = lambda: None,
) -> Row:
    call = planned(signer)
    own = {OFFICIAL: official.requests(), "polymarket-client": unified.requests()}
    workers: dict[str, Remote] = {
        OFFICIAL_NATIVE: native.requests("official"),
        "polymarket-client, no coincurve": native.requests("unified"),
        **cargo.requests(),
    }

    def check() -> None:
        plan = call()
        assert isinstance(plan, Plan)
        inputs.check_orders(name, plan.batch.body, deterministic=deterministic)
        headers = plan.batch.headers
        inputs.same(
            "HMAC",
            px.l2_signature(
                inputs.SECRET, headers["POLY_TIMESTAMP"], "POST", "/orders", plan.batch.body
            ),
            headers["POLY_SIGNATURE"],
        )
        for who, request in own.items():
            inputs.check_request(who, request())
        for who, remote in workers.items():
            output = remote.output()
            inputs.check_request(who, inputs.Request(output.pop("body").encode(), **output))

    return Row(name, what, call, {**own, **workers}, check, floor, before)
