"""Evidence about one order only grows, and what it adds up to is exact or against us."""

from itertools import permutations
from typing import Any

import pytest

from polyexec.core.evidence import OrderEvidence, Tally
from polyexec.core.ports import Fill
from polyexec.enums import LegState, Settlement, Side
from polyexec.models import OrderId
from tests.unit.core.support import leg, priced

ORDER = OrderId("0x1")
SHARE = 1_000_000
NEWEST_LAST = (
    LegState.UNKNOWN,
    LegState.DELAYED,
    LegState.UNMATCHED,
    LegState.NOT_SENT,
    LegState.LIVE,
    LegState.PARTIAL,
    LegState.REJECTED,
    LegState.EXPIRED,
    LegState.CANCELLED,
    LegState.MATCHED,
)
ENDED = (LegState.EXPIRED, LegState.CANCELLED, LegState.MATCHED)
MATCHED, MINED, RETRYING, CONFIRMED, FAILED = (
    Settlement.MATCHED,
    Settlement.MINED,
    Settlement.RETRYING,
    Settlement.CONFIRMED,
    Settlement.FAILED,
)


def evidence(side: str = "BUY", **changes: Any) -> OrderEvidence:
    """Return what is known of 10 shares at 0.40, of which a taker pays 7 %: nothing."""
    given = {"fee_rate": "0.07", "order_type": "GTC"} | changes
    (one,) = priced(leg(1, side, "0.40", 10, **given))
    return OrderEvidence(ORDER, one, 0, None, 0)


def fill(
    trade: str, size: int, price_e4: int = 4_000, *, taker: bool = True, counter: str = "a"
) -> Fill:
    return Fill(
        trade_id=trade,
        order_id=ORDER,
        token_id=evidence().leg.token_id,
        side=Side.BUY,
        price_e4=price_e4,
        size_micro=size,
        is_taker=taker,
        status="MATCHED",
        match_time_s=0,
        counter_order_id=counter,
    )


def tally(one: OrderEvidence, *fills: Fill, **stands: Settlement) -> Tally:
    for each in fills:
        one.hear_fill(each)
    return one.tally(dict.fromkeys((each.trade_id for each in fills), CONFIRMED) | stands)


# what is heard ------------------------------------------------------------------------------------


def test_at_first_nothing_is_known() -> None:
    one = evidence()
    assert (one.state, one.total, one.paid, one.told) == (LegState.UNKNOWN, None, None, False)
    assert one.tally({}) == Tally(0, 0, 0, 0, is_on_chain=True, is_final=True)


@pytest.mark.parametrize(("earlier", "later"), list(permutations(NEWEST_LAST, 2)))
def test_a_state_moves_forward_whatever_comes_first(earlier: LegState, later: LegState) -> None:
    one = evidence()
    one.hear(earlier, None, None)
    one.hear(later, None, None)
    assert one.state is max(earlier, later, key=NEWEST_LAST.index)


@pytest.mark.parametrize("state", LegState)
@pytest.mark.parametrize("filled", [None, 0, SHARE])
def test_the_end_is_told_only_together_with_a_total(state: LegState, filled: int | None) -> None:
    one = evidence()
    one.hear(state, filled, None)
    traded_after_all = state is LegState.REJECTED and filled == SHARE
    assert one.told is (filled is not None and (state in ENDED or traded_after_all))
    assert one.total == filled


def test_a_refusal_of_what_has_traded_is_a_cancellation() -> None:
    one, other = evidence(), evidence()
    one.hear(LegState.REJECTED, SHARE, None)
    other.hear(LegState.REJECTED, 0, None)
    assert (one.state, other.state) == (LegState.CANCELLED, LegState.REJECTED)


def test_what_was_told_of_the_end_stays_told() -> None:
    one = evidence()
    one.hear(LegState.CANCELLED, 0, None)
    one.hear(LegState.LIVE, None, None)
    assert one.told


def test_a_total_never_falls_and_a_state_without_one_changes_none() -> None:
    one = evidence()
    one.hear(LegState.PARTIAL, 4 * SHARE, 1_600_000)
    one.hear(LegState.PARTIAL, 3 * SHARE, 9_000_000)
    one.hear(LegState.PARTIAL, None, 9_000_000)
    assert (one.total, one.paid) == (4 * SHARE, 1_600_000)
    one.hear(LegState.PARTIAL, 5 * SHARE, None)
    assert (one.total, one.paid) == (5 * SHARE, None)
    one.hear(LegState.PARTIAL, 5 * SHARE, 2_000_000)
    assert (one.total, one.paid) == (5 * SHARE, 2_000_000)


@pytest.mark.parametrize(("side", "kept"), [("BUY", 1_700_000), ("SELL", 1_600_000)])
@pytest.mark.parametrize("order", [(1_600_000, 1_700_000), (1_700_000, 1_600_000)])
def test_of_two_amounts_for_one_total_the_worse_is_kept(
    side: str, kept: int, order: tuple[int, int]
) -> None:
    one = evidence(side)
    for paid in (*order, None):
        one.hear(LegState.PARTIAL, 4 * SHARE, paid)
    assert one.paid == kept


# what it adds up to -------------------------------------------------------------------------------


def test_matches_add_up_exactly_and_only_a_taker_pays_a_fee() -> None:
    one = evidence()
    fills = (fill("t1", 4 * SHARE), fill("t2", 6 * SHARE, 3_900, taker=False))
    assert tally(one, *fills) == Tally(
        shares_micro=10 * SHARE,
        paid_micro=3_940_000,
        fee_micro=67_200,  # 4 x 7 % x 0.4 x 0.6
        traded_micro=10 * SHARE,
        is_on_chain=True,
        is_final=True,
    )


def test_a_match_that_is_told_twice_counts_once_and_another_of_its_trade_counts() -> None:
    one = evidence()
    again = (fill("t1", SHARE), fill("t1", SHARE), fill("t1", SHARE, counter="b"))
    assert tally(one, *again).shares_micro == 2 * SHARE


@pytest.mark.parametrize(("side", "paid"), [("BUY", 3_334), ("SELL", 3_333)])
def test_a_sum_that_is_no_whole_micro_dollar_is_rounded_against_us(side: str, paid: int) -> None:
    assert tally(evidence(side), fill("t1", 10_001, 3_333)).paid_micro == paid


def test_a_failed_trade_moved_nothing_but_had_traded() -> None:
    one = evidence()
    fills = (fill("t1", 4 * SHARE), fill("t2", 6 * SHARE))
    assert tally(one, *fills, t2=FAILED) == Tally(
        shares_micro=4 * SHARE,
        paid_micro=1_600_000,
        fee_micro=67_200,
        traded_micro=10 * SHARE,
        is_on_chain=True,
        is_final=True,
    )


@pytest.mark.parametrize(
    ("stands", "is_on_chain", "is_final"),
    [
        ((CONFIRMED, CONFIRMED), True, True),
        ((CONFIRMED, MINED), True, False),
        ((CONFIRMED, MATCHED), False, False),
        ((CONFIRMED, RETRYING), False, False),
        ((MATCHED, MATCHED), False, False),
        ((FAILED, MATCHED), False, False),
        ((FAILED, CONFIRMED), True, True),
        ((FAILED, FAILED), True, True),
    ],
)
def test_it_is_final_when_every_trade_is_and_on_chain_when_the_kept_ones_are(
    stands: tuple[Settlement, Settlement], is_on_chain: bool, is_final: bool
) -> None:
    fills = (fill("t1", 4 * SHARE), fill("t2", 6 * SHARE))
    made = tally(evidence(), *fills, t1=stands[0], t2=stands[1])
    assert (made.is_on_chain, made.is_final) == (is_on_chain, is_final)


def test_the_told_amount_is_exact_where_the_matches_are_its_total() -> None:
    one = evidence()
    one.hear(LegState.PARTIAL, 4 * SHARE, 1_599_999)
    assert tally(one, fill("t1", 4 * SHARE)).paid_micro == 1_599_999


def test_the_told_amount_says_nothing_of_more_or_of_failed_matches() -> None:
    one, other = evidence(), evidence()
    for each in (one, other):
        each.hear(LegState.PARTIAL, 4 * SHARE, 1_599_999)
    more = tally(one, fill("t1", 4 * SHARE), fill("t2", SHARE))
    assert (more.shares_micro, more.paid_micro) == (5 * SHARE, 2_000_000)
    failed = tally(other, fill("t1", 3 * SHARE), fill("t2", SHARE), t2=FAILED)
    assert (failed.shares_micro, failed.paid_micro) == (3 * SHARE, 1_200_000)


def test_a_leg_whose_rate_is_not_known_pays_the_highest() -> None:
    known, unknown = evidence(fee_rate="0.01"), evidence(fee_rate=None)
    assert tally(known, fill("t1", 10 * SHARE)).fee_micro == 24_000
    assert tally(unknown, fill("t1", 10 * SHARE)).fee_micro == 168_000


@pytest.mark.parametrize(("exponent", "fee"), [(0, 700_000), (1, 168_000), (2, 40_320)])
def test_the_exponent_of_the_fee_is_the_legs(exponent: int, fee: int) -> None:
    assert tally(evidence(fee_exponent=exponent), fill("t1", 10 * SHARE)).fee_micro == fee


def test_a_total_beyond_the_known_matches_counts_in_full() -> None:
    one = evidence()
    one.hear(LegState.MATCHED, 10 * SHARE, 3_900_000)
    assert tally(one, fill("t1", 4 * SHARE)) == Tally(
        shares_micro=10 * SHARE,
        paid_micro=3_900_000,
        fee_micro=166_530,  # 10 x 7 % x 0.39 x 0.61
        traded_micro=10 * SHARE,
        is_on_chain=False,
        is_final=False,
    )


def test_a_total_without_an_amount_counts_at_the_limit() -> None:
    one = evidence()
    one.hear(LegState.MATCHED, 10 * SHARE, None)
    made = one.tally({})
    assert (made.shares_micro, made.paid_micro, made.fee_micro) == (10 * SHARE, 4_000_000, 168_000)


def test_a_failed_match_is_taken_out_of_a_total_that_is_not_explained() -> None:
    one = evidence()
    one.hear(LegState.MATCHED, 10 * SHARE, 3_900_000)
    made = tally(one, fill("t1", 4 * SHARE, 3_000), t1=FAILED)
    assert (made.shares_micro, made.paid_micro) == (6 * SHARE, 2_700_000)
    assert made.traded_micro == 10 * SHARE


@pytest.mark.parametrize(
    ("told", "price_e4", "paid"),
    [
        (1_000_000, 9_000, 0),  # more was given back than was told
        (9_000_000, 100, 6_000_000),  # more than a dollar a share would be left
    ],
)
def test_what_is_left_of_a_told_amount_is_between_nothing_and_a_dollar_a_share(
    told: int, price_e4: int, paid: int
) -> None:
    one = evidence()
    one.hear(LegState.MATCHED, 10 * SHARE, told)
    assert tally(one, fill("t1", 4 * SHARE, price_e4), t1=FAILED).paid_micro == paid


@pytest.mark.parametrize(("side", "paid"), [("BUY", 3_899_967), ("SELL", 3_899_966)])
def test_what_is_left_of_a_told_amount_is_rounded_against_us(side: str, paid: int) -> None:
    one = evidence(side)
    one.hear(LegState.MATCHED, 10 * SHARE, 3_900_000)
    made = tally(one, fill("t1", 100, 3_333), fill("t2", SHARE), t1=FAILED)  # 33.33 go back
    assert (made.shares_micro, made.paid_micro) == (10 * SHARE - 100, paid)


def test_a_total_of_which_everything_failed_costs_nothing() -> None:
    one = evidence()
    one.hear(LegState.MATCHED, 10 * SHARE, 4_000_000)
    made = tally(one, fill("t1", 10 * SHARE), t1=FAILED)
    assert (made.shares_micro, made.paid_micro, made.fee_micro) == (0, 0, 0)
    assert made.is_final


# what to act on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [LegState.NOT_SENT, LegState.REJECTED])
def test_an_order_that_was_never_there_and_has_traded_is_a_question(state: LegState) -> None:
    one = evidence()
    one.hear(state, None, None)
    assert one.state_of(0) is state
    assert one.state_of(1) is LegState.UNKNOWN


@pytest.mark.parametrize("state", [LegState.UNKNOWN, LegState.DELAYED, LegState.UNMATCHED])
def test_what_is_open_and_does_not_rest_is_a_question(state: LegState) -> None:
    one = evidence()
    one.hear(state, None, None)
    assert one.state_of(0) is LegState.UNKNOWN


@pytest.mark.parametrize("state", [LegState.LIVE, LegState.PARTIAL])
def test_what_rests_rests_and_an_immediate_order_cannot(state: LegState) -> None:
    resting, immediate = evidence(), evidence(order_type="FAK")
    for one in (resting, immediate):
        one.hear(state, None, None)
    assert resting.state_of(0) is state
    assert immediate.state_of(0) is LegState.UNKNOWN


@pytest.mark.parametrize("state", ENDED)
def test_an_end_of_which_the_total_is_not_told_is_a_question(state: LegState) -> None:
    one, told = evidence(), evidence()
    one.hear(state, None, None)
    told.hear(state, SHARE, None)
    assert one.state_of(SHARE) is LegState.UNKNOWN
    assert told.state_of(SHARE) is state


@pytest.mark.parametrize("traded", [10 * SHARE, 11 * SHARE])
def test_a_match_of_the_whole_size_needs_no_total(traded: int) -> None:
    one, cancelled = evidence(), evidence()
    one.hear(LegState.MATCHED, None, None)
    cancelled.hear(LegState.CANCELLED, None, None)
    assert one.state_of(10 * SHARE - 1) is LegState.UNKNOWN
    assert one.state_of(traded) is LegState.MATCHED
    assert cancelled.state_of(traded) is LegState.UNKNOWN


def test_a_tally_never_changes() -> None:
    made = evidence().tally({})
    with pytest.raises(AttributeError):
        made.shares_micro = 1  # type: ignore[misc]
