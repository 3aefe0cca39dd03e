"""From a signal to the bytes of the request: validate, reserve, price, sign, encode."""

import json
import time
from decimal import Decimal

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import official
from benchmarks.harness import Row
from polyexec.core.candidates import PricingPolicy
from polyexec.core.gate import Gate
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.pipeline import Pipeline, Plan
from polyexec.core.tracking import OrderTracker

_PRICES = ("0.33", "0.34", "0.35")


def _pipeline() -> Pipeline:
    clock = px.SystemClock()
    ledger = Ledger()
    ledger.update(COLLATERAL, 10**12, as_of_ms=clock.time_ms())
    return Pipeline(
        signer=inputs.signer(),
        credentials=px.ApiCredentials(inputs.OWNER, inputs.SECRET, "passphrase"),
        ledger=ledger,
        gate=Gate(enabled=True, cooldown_ns=0, max_in_flight=1),
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


def _signal() -> px.ArbSignal:
    quotes = [
        px.Quote(token, "", "0.30", price, 100, 100, tick_size="0.01", fee_rate=0)
        for token, price in zip(inputs.TOKENS, _PRICES, strict=True)
    ]
    return px.ArbSignal(px.Strategy.POLYMARKET_TRIANGLE_BUY, *quotes, profit_abs="0.98")


def rows() -> list[Row]:
    pipeline, signal = _pipeline(), _signal()
    signers = [official.signing(order) for order in inputs.orders()]

    def ours() -> bytes:
        plan = pipeline.prepare(signal)
        if not isinstance(plan, Plan):
            raise SystemExit(f"skipped: {plan.skipped} {plan.detail}")
        pipeline.withdraw(plan)
        return plan.batch.body

    def theirs() -> bytes:
        for price in _PRICES:
            official.limit_amounts(float(price), 10.0)
        body = official.body([sign() for sign in signers], "GTC")
        official.build_hmac_signature(
            inputs.SECRET, str(int(time.time())), "POST", "/orders", body.decode()
        )
        return body

    def same_orders() -> None:
        fields = ("maker", "tokenId", "makerAmount", "takerAmount", "side", "signatureType")
        bodies = [
            [{name: entry["order"][name] for name in fields} for entry in json.loads(body)]
            for body in (ours(), theirs())
        ]
        inputs.same("orders", *bodies)

    return [
        Row(
            "submit_offline_3_orders",
            "signal to request bytes, three legs, all gates; the three signatures dominate",
            ours,
            {"py-clob-client-v2": theirs},
            same_orders,
        )
    ]
