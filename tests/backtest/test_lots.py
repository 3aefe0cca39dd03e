"""Money locked in positions, first in, first out, to the micro-dollar."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from polyexec.backtest.lots import Fill, Resolution, capital_of

DAY = 86_400_000


def fill(day: float, shares: int, dollars: float, token: str = "1") -> Fill:
    return Fill(
        time_ms=round(day * DAY),
        token_id=token,
        shares_micro=shares * 10**6,
        cost_micro=round(dollars * 10**6),
    )


def resolution(day: float, pays: float, token: str = "1") -> Resolution:
    return Resolution(time_ms=round(day * DAY), token_id=token, pays_micro=round(pays * 10**6))


def test_a_set_that_resolves_after_ten_days_returns_what_a_person_would_say() -> None:
    # 97 dollars in a set that pays 100, for ten days.
    fills = [fill(0, 100, 57, "a"), fill(0, 100, 40, "b")]
    capital = capital_of(fills, [resolution(10, 1, "a"), resolution(10, 0, "b")], 20 * DAY)
    assert (capital.locked_micro, capital.peak_micro) == (0, 97_000_000)
    assert (capital.released_micro, capital.realised_micro) == (97_000_000, 3_000_000)
    assert capital.held_ms == 10 * DAY
    assert capital.annualised_return == float(Fraction(3, 97) * Fraction(365, 10))


def test_what_is_still_open_is_locked_and_promises_nothing() -> None:
    capital = capital_of([fill(1, 10, 4)], [], 3 * DAY)
    assert capital.locked_micro == 4_000_000
    assert capital.open_micro_ms == 4_000_000 * 2 * DAY
    assert capital.annualised_return is None
    assert capital.held_ms is None


def test_a_sale_takes_the_oldest_lot_first() -> None:
    fills = [fill(0, 10, 4), fill(1, 10, 6), fill(2, -15, -9)]
    capital = capital_of(fills, [], 2 * DAY)
    assert capital.released_micro == 7_000_000
    assert capital.realised_micro == 2_000_000
    assert capital.locked_micro == 3_000_000
    assert capital.released_micro_ms == 4_000_000 * 2 * DAY + 3_000_000 * DAY


def test_what_trades_after_it_was_decided_is_not_locked_for_ever() -> None:
    capital = capital_of([fill(2, 10, 9)], [resolution(1, 1)], 5 * DAY)
    assert (capital.locked_micro, capital.realised_micro) == (0, 1_000_000)


_FILLS = st.lists(
    st.builds(
        Fill,
        time_ms=st.integers(0, 10**6),
        token_id=st.sampled_from(["1", "2", "3"]),
        shares_micro=st.integers(1, 10**9),
        cost_micro=st.integers(0, 10**9),
    ),
    max_size=30,
)


@given(bought=_FILLS, sold=_FILLS, pays=st.integers(0, 10**6))
def test_no_money_is_made_or_lost_in_the_books(
    bought: list[Fill], sold: list[Fill], pays: int
) -> None:
    sales = [
        Fill(
            time_ms=one.time_ms,
            token_id=one.token_id,
            shares_micro=-one.shares_micro,
            cost_micro=-one.cost_micro,
        )
        for one in sold
    ]
    before = capital_of([*bought, *sales], [], 10**6)
    spent = sum(one.cost_micro for one in bought)
    got = sum(one.cost_micro for one in sold)
    # Bought = still locked + released; realised = received - released.
    assert spent == before.locked_micro + before.released_micro
    assert before.realised_micro == got - before.released_micro
    assert 0 <= before.locked_micro <= before.peak_micro <= spent
    after = capital_of([*bought, *sales], [Resolution(time_ms=10**6, token_id=t, pays_micro=pays)
                                           for t in ("1", "2", "3")], 10**6)  # fmt: skip
    assert (after.locked_micro, after.released_micro) == (0, spent)
    assert after.realised_micro >= got - spent
