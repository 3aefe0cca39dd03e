"""Results: every leg is in exactly one of the three lists, and figures read as dollars."""

from decimal import Decimal
from typing import Any

import pytest

from polyexec.enums import LegState, OrderType, Side, SkipReason
from polyexec.models import OrderId, TokenId
from polyexec.results import Latency, LegResult, TradeResult
from polyexec.signals import ArbSignal

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


def test_risk_and_profit_read_as_dollars() -> None:
    money = TradeResult(
        signal=SIGNAL,
        worst_loss_micro=1_250_000,
        at_risk_micro=1,
        provisional_pnl_micro=-2_000_000,
        final_pnl_micro=10_000,
    )
    assert (money.worst_loss, money.at_risk) == (Decimal("1.25"), Decimal("0.000001"))
    assert (money.provisional_pnl, money.final_pnl) == (-2, Decimal("0.01"))


def test_no_profit_is_final_before_everything_is_settled() -> None:
    assert TradeResult(signal=SIGNAL).final_pnl is None
    assert TradeResult(signal=SIGNAL, final_pnl_micro=0).final_pnl == 0


@pytest.mark.parametrize(
    ("filled", "is_whole", "success"),
    [(5_000_000, True, True), (5_000_000, False, False), (0, True, False), (0, False, False)],
)
def test_follow_ups_succeed_when_they_made_a_group_whole_that_traded(
    filled: int, is_whole: bool, success: bool
) -> None:
    # Unwound to nothing is whole as well, and no success.
    one = TradeResult(
        signal=SIGNAL,
        legs=(leg(LegState.MATCHED, filled_micro=filled), leg(LegState.REJECTED)),
        follow_ups=(leg(LegState.MATCHED, filled_micro=5_000_000),),
        is_whole=is_whole,
    )
    assert one.success is success


def test_nothing_has_traded_and_nothing_is_at_risk_until_somebody_says_so() -> None:
    untouched = leg(LegState.LIVE)
    assert (untouched.filled_micro, untouched.paid_micro, untouched.fee_micro) == (0, 0, 0)
    fresh = result(LegState.LIVE)
    assert fresh.is_whole
    assert (fresh.cost_micro, fresh.expected_pnl_micro) == (0, 0)
    assert fresh.worst_loss_micro == fresh.at_risk_micro == fresh.provisional_pnl_micro == 0
    assert fresh.finished_ms == 0
    assert {getattr(fresh.latency, name) for name in Latency.__struct_fields__} == {0.0}


@pytest.mark.parametrize("record", [leg(LegState.LIVE), Latency(), result(LegState.LIVE)])
def test_records_are_written_by_name_and_never_change(record: Any) -> None:
    names = type(record).__struct_fields__
    for name in names:
        with pytest.raises(AttributeError):
            setattr(record, name, None)
    with pytest.raises(TypeError):
        type(record)(*(getattr(record, name) for name in names))


def test_a_card_says_what_became_of_each_leg() -> None:
    refused = leg(LegState.REJECTED, error="<b>not enough</b>", market_slug="btc")
    traded = leg(LegState.MATCHED, filled_micro=5_000_000, paid_micro=1_450_000)
    one = TradeResult(
        signal=SIGNAL,
        legs=(traded, refused),
        follow_ups=(traded,),
        is_whole=False,
        cost_micro=1_450_000,
        at_risk_micro=1_450_000,
    )
    shown = one._repr_html_()
    assert "success: only some legs traded" in shown
    assert "$1.45" in shown
    assert "&lt;b&gt;not enough" in shown
    assert "follow-up: MATCHED" in shown


def test_a_card_of_a_skipped_signal_says_why_and_claims_no_cost() -> None:
    skipped = TradeResult(signal=SIGNAL, skipped=SkipReason.COOLDOWN_ACTIVE, detail="too recent")
    shown = skipped._repr_html_()
    assert "skipped: CooldownActive" in shown
    assert "too recent" in shown
    assert "cost" not in shown
