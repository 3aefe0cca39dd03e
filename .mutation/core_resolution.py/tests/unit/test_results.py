"""Results: every leg is in exactly one of the three lists, and figures read as dollars."""

from decimal import Decimal
from typing import Any

import pytest

from polyexec.enums import LegState, OrderType, Side, SkipReason
from polyexec.models import ArbSignal, OrderId, TokenId
from polyexec.results import Latency, LegResult, TradeResult

SIGNAL = ArbSignal("POLYMARKET_TRIANGLE_BUY")


def leg(state: LegState, **changes: Any) -> LegResult:
    given: dict[str, Any] = {
        "state": state,
        "order_id": OrderId(f"0x{state}"),
        "token_id": TokenId("1"),
        "market_slug": "",
        "side": Side.BUY,
        "order_type": OrderType.GTC,
        "neg_risk": False,
        "price_e4": 2900,
        "size_micro": 5_000_000,
    }
    return LegResult(**given | changes)


def result(*states: LegState) -> TradeResult:
    return TradeResult(signal=SIGNAL, legs=tuple(leg(state) for state in states))


@pytest.mark.parametrize("state", LegState)
def test_each_leg_is_in_one_list_and_success_means_accepted(state: LegState) -> None:
    one = result(state)
    lists = (one.successful_orders, one.failed_orders, one.unknown_orders)
    assert sum(len(legs) for legs in lists) == 1
    assert one.success is state.is_accepted
    assert one.order_ids == ((OrderId(f"0x{state}"),) if state.is_accepted else ())
    # What may live is never in the list of what certainly does not exist.
    assert not (state.is_open and one.failed_orders)


@pytest.mark.parametrize("state", [s for s in LegState if not s.is_accepted])
def test_one_leg_that_was_not_accepted_spoils_the_success(state: LegState) -> None:
    mixed = result(LegState.MATCHED, state, LegState.LIVE)
    assert not mixed.success
    assert mixed.order_ids == ("0xMATCHED", "0xLIVE")


def test_a_skipped_signal_is_no_success_and_has_no_orders() -> None:
    skipped = TradeResult(signal=SIGNAL, skipped=SkipReason.NO_CANDIDATES)
    assert not skipped.success
    assert skipped.order_ids == ()
    assert skipped.failed_orders == ()
    assert skipped.total_cost == skipped.expected_pnl == 0
    assert skipped.latency == Latency()
    assert skipped.latency.total_us == 0


def test_figures_are_exact_dollars_and_shares() -> None:
    one = leg(LegState.PARTIAL, filled_micro=1_234_567, fee_micro=10)
    assert (one.price, one.size) == (Decimal("0.29"), 5)
    assert (one.filled_size, one.fee) == (Decimal("1.234567"), Decimal("0.00001"))
    money = TradeResult(signal=SIGNAL, legs=(one,), cost_micro=1_450_001, expected_pnl_micro=-3)
    assert (money.total_cost, money.expected_pnl) == (Decimal("1.450001"), Decimal("-0.000003"))


def test_a_result_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        result(LegState.LIVE).skipped = SkipReason.CLOSED  # type: ignore[misc]
