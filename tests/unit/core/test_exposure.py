"""What a set can lose and what has traded exposes to, in figures that a hand can check."""

import re
from typing import Any

import pytest

from polyexec.core.complement import complement_leg
from polyexec.core.exposure import (
    Exposure,
    GroupRisk,
    Payoffs,
    build_exposure,
    payoffs_of,
    sources_of,
    whole_sets,
    worst_loss,
)
from polyexec.enums import Side, Strategy
from polyexec.signals import LegsSignal
from tests.unit.core.support import build_legs, leg, policy, priced, signal

USD = 1_000_000
BUY, SELL = Side.BUY, Side.SELL
# Of the complement: parent NO, upper YES, child YES; one row per outcome.
COMPLEMENT = ((USD, 0, 0), (0, 0, USD), (0, USD, 0))


def exposure(
    sides: tuple[Side, ...],
    shares: tuple[int, ...],
    payoffs: Payoffs = None,
    *,
    weights: tuple[int, ...] | None = None,
    cash: int = 0,
    is_final: bool = False,
) -> Exposure:
    return build_exposure(
        sides,
        shares,
        weights=weights or (1,) * len(sides),
        payoffs=payoffs,
        cash_micro=cash,
        fee_micro=3,
        is_final=is_final,
    )


# what the legs were made from, and what they pay --------------------------------------------------


def test_the_sources_of_a_strategy_are_its_quotes_in_the_order_of_its_legs() -> None:
    given = signal()
    assert sources_of(given) == (given.parent, given.parent_upper, given.child)


def test_the_sources_of_explicit_legs_are_the_legs() -> None:
    legs = (leg(1), leg(2))
    assert sources_of(LegsSignal(legs)) == legs


def test_the_legs_of_a_strategy_pay_by_the_outcome() -> None:
    given = signal()
    legs = build_legs(given, policy())
    assert isinstance(legs, tuple)
    assert payoffs_of(given, legs) == COMPLEMENT


def test_a_sale_that_became_a_purchase_of_the_complement_pays_the_rest() -> None:
    sell, other = leg(1, "SELL", complement_token_id=2), leg(3)
    buy = complement_leg(sell)
    assert buy is not None
    given = LegsSignal([sell, other], outcomes=[[0, 1], [1, 0], ["0.3", "0.4"]])
    rows = ((0, USD), (USD, 0), (300_000, 400_000))
    assert payoffs_of(given, priced(sell, other)) == rows
    assert payoffs_of(given, priced(buy, other)) == ((USD, USD), (0, 0), (700_000, 400_000))


def test_legs_without_outcomes_do_not_hang_together() -> None:
    legs = (leg(1), leg(2))
    assert payoffs_of(LegsSignal(legs), priced(*legs)) is None


@pytest.mark.parametrize("given", [signal(), LegsSignal([leg(1), leg(2)], outcomes=[[0, 1]])])
def test_legs_of_another_signal_have_no_payoffs(given: Any) -> None:
    with pytest.raises(ValueError, match="zip"):
        payoffs_of(given, priced(leg(1)))


# what can be lost ---------------------------------------------------------------------------------


def test_the_worst_is_what_loses_in_the_outcome_where_most_is_lost() -> None:
    given = signal(Strategy.POLYMARKET_COMPLEMENT_BUY, ("0.30", "0.30", "0.20"))
    legs = build_legs(given, policy())
    assert isinstance(legs, tuple)
    assert worst_loss(legs, COMPLEMENT) == GroupRisk(
        loss_micro=6 * USD,
        legs=(0, 1),
        outcome=1,
        losses_micro=(
            (-7 * USD, 3 * USD, 2 * USD),
            (3 * USD, 3 * USD, -8 * USD),
            (3 * USD, -7 * USD, 2 * USD),
        ),
    )


def test_without_outcomes_each_token_pays_what_is_worse() -> None:
    legs = priced(leg(1, "BUY", "0.40"), leg(2, "SELL", "0.30"))
    risk = worst_loss(legs, None)
    assert risk == GroupRisk(11 * USD, (0, 1), None, ((4 * USD, 7 * USD),))


@pytest.mark.parametrize(
    ("side", "kind", "losses"),
    [
        # 10 at 0.40, fee 0.168 at the limit
        ("BUY", "GTC", (4_168_000, -832_000, -5_832_000)),
        # An immediate BUY that fills at a better price pays a fee of up to 7 % of its 4 dollars;
        # where the token pays 1 the shares that it gains are worth more.
        ("BUY", "FAK", (4_280_000, -720_000, -5_832_000)),
        ("SELL", "GTC", (-3_832_000, 1_168_000, 6_168_000)),
        ("SELL", "FAK", (-3_832_000, 1_168_000, 6_168_000)),
    ],
)
def test_a_leg_loses_what_it_gives_and_its_fee_less_what_it_gets(
    side: str, kind: str, losses: tuple[int, ...]
) -> None:
    legs = priced(leg(1, side, "0.40", 10, fee_rate="0.07", order_type=kind))
    risk = worst_loss(legs, ((0,), (USD // 2,), (USD,)))
    assert risk.losses_micro == tuple((loss,) for loss in losses)


@pytest.mark.parametrize(("side", "loss"), [("BUY", 334_002), ("SELL", -334_001)])
def test_a_payoff_that_is_no_whole_micro_dollar_counts_against_us(side: str, loss: int) -> None:
    # 5.01 shares that pay 0.333333 each: 1669998.33 micro-dollars
    legs = priced(leg(1, side, "0.40", "5.01"))
    assert worst_loss(legs, ((333_333,),)).losses_micro == ((loss,),)


def test_nothing_can_be_lost_where_every_outcome_gains() -> None:
    legs = priced(leg(1, "BUY", "0.40"))
    risk = worst_loss(legs, ((500_000,), (USD,)))
    assert (risk.loss_micro, risk.legs) == (0, ())


def test_a_leg_that_comes_out_even_is_none_that_loses() -> None:
    legs = priced(leg(1, "BUY", "0.40"), leg(2, "BUY", "0.30"))
    assert worst_loss(legs, ((400_000, 0),)).legs == (1,)


def test_one_micro_dollar_is_a_loss() -> None:
    legs = priced(leg(1, "BUY", "0.50", "0.01"), leg(2, "BUY", "0.50", "0.01"))
    risk = worst_loss(legs, ((499_999, 500_000),))
    assert (risk.loss_micro, risk.legs, risk.losses_micro) == (1, (0,), ((1, 0),))


def test_payoffs_of_other_legs_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        worst_loss(priced(leg(1), leg(2)), ((0,),))


def test_the_loss_of_exactly_some_legs_is_that_of_the_worst_outcome() -> None:
    risk = GroupRisk(6, (0, 1), 1, ((-7, 3, 2), (3, 3, -8), (3, -7, 2)))
    assert [risk.loss_of(legs) for legs in ((), (0,), (1,), (2,))] == [0, 3, 3, 2]
    assert [risk.loss_of(legs) for legs in ((0, 1), [2, 0], {1, 2})] == [6, 5, 5]
    assert risk.loss_of((0, 0, 1)) == 6
    assert risk.loss_of((0, 1, 2)) == -2


@pytest.mark.parametrize("places", [[-1], [3], [0, 4]])
def test_the_loss_of_a_leg_that_is_not_there_is_refused(places: list[int]) -> None:
    risk = GroupRisk(6, (0, 1), 1, ((-7, 3, 2),))
    with pytest.raises(IndexError, match=re.escape(f"legs {places} of 3")):
        risk.loss_of(places)


# what has traded exposes to -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "shares", "weights", "sets", "leftover"),
    [
        ((BUY, BUY), (10, 10), (1, 1), 10, (0, 0)),
        ((BUY, BUY), (10, 7), (1, 1), 7, (3, 0)),
        ((BUY, SELL), (10, -7), (1, 1), 7, (3, 0)),
        ((BUY, SELL), (5, -7), (1, 1), 5, (0, -2)),
        ((SELL, SELL), (-5, -7), (1, 1), 5, (0, -2)),
        ((BUY, BUY), (10, 0), (1, 1), 0, (10, 0)),
        ((BUY, SELL), (0, -7), (1, 1), 0, (0, -7)),
        # against the direction of its leg: an unwind that went too far
        ((BUY, SELL), (-1, -7), (1, 1), 0, (-1, -7)),
        ((BUY, SELL), (10, -7), (2, 1), 5, (0, -2)),
    ],
)
def test_what_is_beyond_complete_sets_is_left_over(
    sides: tuple[Side, ...],
    shares: tuple[int, ...],
    weights: tuple[int, ...],
    sets: int,
    leftover: tuple[int, ...],
) -> None:
    made = exposure(sides, shares, weights=weights)
    assert (made.shares_micro, made.sets_micro, made.leftover_micro) == (shares, sets, leftover)
    assert made.is_whole is (leftover == (0,) * len(sides))


@pytest.mark.parametrize(
    ("progress", "weights", "kept"),
    [
        ((1, 1), (1, 1), (1, 1)),
        ((10, 3), (3, 2), (4, 3)),  # 3 of 2 are 4.5 of 3
        ((3, 10), (2, 3), (3, 4)),
        ((6, 8), (2, 3), (5, 8)),
        ((6, 4, 9), (2, 1, 3), (6, 3, 9)),
        ((9, 8, 7), (1, 1, 1), (7, 7, 7)),
        ((7, 8, 9), (1, 1, 1), (7, 7, 7)),
        ((0, 5), (1, 1), (0, 0)),
        ((-1, 5), (1, 1), (0, 0)),
    ],
)
def test_the_leg_that_is_furthest_behind_decides_the_sets(
    progress: tuple[int, ...], weights: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    assert whole_sets(progress, weights) == kept


def test_tokens_that_do_not_hang_together_pay_what_is_worse_for_us() -> None:
    made = exposure((BUY, SELL, BUY, SELL), (5, -7, 4, -2), cash=-3)
    assert (made.worst_micro, made.best_micro) == (-3 - 9, -3 + 9)


def test_every_micro_share_counts() -> None:
    made = exposure((BUY, SELL, BUY), (1, -1, 0))
    assert (made.worst_micro, made.best_micro) == (-1, 1)


def test_outcomes_pay_all_tokens_together() -> None:
    made = exposure((BUY, SELL), (10, -4), ((USD, USD), (0, USD), (USD, 0)), cash=-3)
    assert (made.worst_micro, made.best_micro) == (-3 - 4, -3 + 10)


@pytest.mark.parametrize(("shares", "worth"), [(1, 0), (-1, -1), (3, 1), (4, 1), (-4, -2)])
def test_a_value_that_is_no_whole_micro_dollar_is_rounded_against_us(
    shares: int, worth: int
) -> None:
    made = exposure((BUY,), (shares,), ((333_334,),))
    assert made.worst_micro == made.best_micro == worth


def test_the_figures_of_an_exposure() -> None:
    made = exposure((BUY,), (10,), ((0,), (USD,)), cash=-4)
    assert (made.cash_micro, made.fee_micro, made.is_final) == (-4, 3, False)
    assert (made.pnl_micro, made.best_micro, made.at_risk_micro) == (-4, 6, 4)
    assert made.final_pnl_micro is None


def test_profit_is_final_once_all_of_it_is_settled_and_a_gain_is_no_risk() -> None:
    made = exposure((BUY,), (10,), ((USD,),), cash=-4, is_final=True)
    assert (made.pnl_micro, made.final_pnl_micro, made.at_risk_micro) == (6, 6, 0)


@pytest.mark.parametrize(
    ("sides", "shares", "weights", "payoffs"),
    [
        ((BUY,), (1, 1), (1, 1), None),
        ((BUY, BUY), (1, 1), (1,), None),
        ((BUY, BUY), (1, 1), (1, 1), ((USD,),)),
        ((BUY, BUY), (0, 1), (1, 1), ((USD, 0, 0),)),
    ],
)
def test_figures_of_different_groups_are_refused(
    sides: Any, shares: Any, weights: Any, payoffs: Any
) -> None:
    with pytest.raises(ValueError, match="zip"):
        exposure(sides, shares, payoffs, weights=weights)


def test_what_was_worked_out_never_changes() -> None:
    records: tuple[Any, ...] = (exposure((BUY,), (1,)), worst_loss(priced(leg(1)), None))
    for record in records:
        for name in type(record).__struct_fields__:
            with pytest.raises(AttributeError):
                setattr(record, name, None)
    positional: Any = Exposure
    with pytest.raises(TypeError):
        positional(*(getattr(records[0], name) for name in Exposure.__struct_fields__))
