"""A SELL and the BUY of its complement are one trade: same cost, same payoff, same fee."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.core.complement import complement_leg, complement_quote
from polyexec.core.exposure import payoffs_of, worst_loss
from polyexec.enums import Side
from polyexec.errors import InputError
from polyexec.numbers import from_e4, from_micro
from polyexec.signals import LegsSignal
from tests.unit.core.support import leg, priced, quote

TICKS = (1000, 100, 50, 25, 10, 1)


@given(
    st.sampled_from(TICKS).flatmap(
        lambda tick: st.tuples(st.just(tick), st.integers(1, 10_000 // tick - 1))
    ),
    st.integers(500, 10**7),
    st.integers(0, 1_000_000),
    st.integers(0, 4),
)
def test_cost_fee_and_payoff_of_both_forms_agree(
    grid: tuple[int, int], cents: int, rate: int, exponent: int
) -> None:
    tick, steps = grid
    sell = leg(
        1,
        "SELL",
        from_e4(tick * steps),
        from_micro(cents * 10_000),
        tick_size=from_e4(tick),
        fee_rate=from_micro(rate),
        fee_exponent=exponent,
        complement_token_id=2,
        available_size=7,
        order_type="GTC",
        post_only=True,
    )
    buy = complement_leg(sell)
    assert buy is not None
    (sold,), (bought,) = priced(sell), priced(buy)
    assert bought.cost_micro == sold.cost_micro
    assert bought.fee_micro == sold.fee_micro
    assert bought.size_micro == sold.size_micro
    # In each outcome of the world, against keeping the shares.
    given_signal = LegsSignal([sell], outcomes=[[0], [1], ["0.5"]])
    as_sell = worst_loss([sold], payoffs_of(given_signal, [sold]))
    as_buy = worst_loss([bought], payoffs_of(given_signal, [bought]))
    for one, other in zip(as_sell.losses_micro, as_buy.losses_micro, strict=True):
        assert abs(one[0] - other[0]) <= 1  # half a dollar of an odd micro-share
    assert as_sell.losses_micro[:2] == as_buy.losses_micro[:2]
    assert bought.taker_micro == sold.maker_micro


def test_everything_of_the_market_is_carried_over() -> None:
    sell = leg(
        1,
        "SELL",
        "0.305",
        12,
        tick_size="0.005",
        neg_risk=True,
        generation=3,
        market_slug="m",
        order_type="GTD",
        expiration=9,
        complement_token_id=2,
        min_order_size=6,
    )
    buy = complement_leg(sell)
    assert buy is not None
    assert (buy.token_id, buy.complement_token_id) == ("2", "1")
    assert (buy.side, buy.price) == (Side.BUY, Decimal("0.695"))
    assert buy.replace(token_id=1, complement_token_id=2, side="SELL", price="0.305") == sell


def test_without_the_other_token_there_is_no_other_form() -> None:
    assert complement_leg(leg(1, "SELL")) is None
    assert complement_quote(quote(1, "0.4")) is None


def test_a_buy_is_not_replaced() -> None:
    with pytest.raises(InputError, match="side"):
        complement_leg(leg(1, "BUY", complement_token_id=2))


def test_the_bid_of_one_token_is_the_ask_of_the_other() -> None:
    yes = quote(1, "0.42", "0.40", best_bid_size=7, best_ask_size=9, complement_token_id=2)
    no = complement_quote(yes)
    assert no is not None
    assert (no.token_id, no.best_ask, no.best_bid) == ("2", Decimal("0.6"), Decimal("0.58"))
    assert (no.best_ask_size, no.best_bid_size) == (7, 9)
    assert complement_quote(no) == yes


def test_an_empty_side_stays_empty() -> None:
    no = complement_quote(quote(1, "0.42", None, complement_token_id=2))
    assert no is not None
    assert no.best_ask is None
    assert no.best_bid == Decimal("0.58")
