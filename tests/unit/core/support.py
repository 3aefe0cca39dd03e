"""Signals, policies and a clock for the tests of the core."""

from decimal import Decimal
from typing import Any

from polyexec import _impl
from polyexec.core.candidates import PricedLeg, PricingPolicy, Skip, price_signal, priced_legs
from polyexec.core.journal import IntentLeg
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import OrderType, Side, Strategy
from polyexec.models import Leg, Quote
from polyexec.numbers import to_micro
from polyexec.signals import ArbSignal, LegsSignal, Signal

MICRO = 1_000_000


class FakeClock:
    """Time that moves when told to."""

    def __init__(self, ms: int = 1_800_000_000_000) -> None:
        self.ms = ms
        self.ns = 0

    def time_ms(self) -> int:
        return self.ms

    def monotonic_ns(self) -> int:
        return self.ns

    def advance(self, ms: int) -> None:
        self.ms += ms
        self.ns += ms * 1_000_000


def policy(**changes: Any) -> PricingPolicy:
    given: dict[str, Any] = {
        "default_size_micro": to_micro(changes.pop("default_size", 10), "default_size"),
        "order_type": OrderType(changes.pop("order_type", "GTC")),
        "slippage_enabled": False,
        "min_pnl_percent": Decimal(str(changes.pop("min_pnl", "0.1"))),
    }
    return PricingPolicy(**given | changes)


def quote(token: int, ask: Any = None, bid: Any = None, **changes: Any) -> Quote:
    given: dict[str, Any] = {
        "best_bid": bid,
        "best_ask": ask,
        "best_bid_size": 1000,
        "best_ask_size": 1000,
        "tick_size": "0.01",
        "fee_rate": 0,
    }
    return Quote(token, f"market-{token}", **given | changes)


def intent_leg(priced: PricedLeg, salt: int) -> IntentLeg:
    """Return a leg as the journal keeps it: the figures in the order of ``LegTable.row``."""
    p = priced
    row = (
        *(p.side.code, _impl.ORDER_TYPES.index(p.order_type), int(p.generation), int(p.neg_risk)),
        *(p.quote_e4, p.limit_e4, p.wanted_micro, p.size_micro, p.maker_micro, p.taker_micro),
        -1 if p.available_micro is None else p.available_micro,
        p.min_order_size_micro,
        -1 if p.fee_rate_micro is None else p.fee_rate_micro,
        *(p.fee_exponent, p.fee_micro, p.fee_reserve_micro, p.expiration),
        *(int(p.post_only), int(p.is_taker)),
    )
    return IntentLeg(p.token_id, p.market_slug, row, salt)


def signal(
    strategy: str = Strategy.POLYMARKET_COMPLEMENT_BUY,
    prices: tuple[Any, Any, Any] = ("0.30", "0.30", "0.20"),
    *,
    quotes: dict[str, Any] | None = None,
    **changes: Any,
) -> ArbSignal:
    """Return a signal whose quotes have only the side that it takes, at these prices."""
    roles = ("parent", "parent_upper", "child")
    rule = STRATEGIES.get(strategy)  # type: ignore[call-overload]
    sells = {leg.role for leg in rule.legs if leg.side is Side.SELL} if rule else set()
    made = {
        role: quote(
            number,
            None if role in sells else price,
            price if role in sells else None,
            **(quotes or {}),
        )
        for number, (role, price) in enumerate(zip(roles, prices, strict=True), start=1)
    }
    return ArbSignal(strategy, **made | changes)


def leg(token: int = 1, side: str = "BUY", price: Any = "0.40", size: Any = 10, **c: Any) -> Leg:
    return Leg(token, side, price, size, **{"tick_size": "0.01", "fee_rate": 0} | c)


def table_of(*legs: Leg, **changes: Any) -> _impl.LegTable:
    """Return legs as the pipeline prices them."""
    made = price_signal(LegsSignal(legs), policy(**changes))
    assert not isinstance(made, Skip), made
    return made


def priced(*legs: Leg, **changes: Any) -> tuple[PricedLeg, ...]:
    """Return the same as records."""
    return priced_legs(table_of(*legs, **changes))


def build_legs(given: Signal, rules: PricingPolicy) -> tuple[PricedLeg, ...] | Skip:
    """Return a signal's legs as the pipeline prices them, or why there are none."""
    made = price_signal(given, rules)
    return made if isinstance(made, Skip) else priced_legs(made)
