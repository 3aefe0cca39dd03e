"""The money: available, held, pending; a reservation ends exactly once."""

import sys
import threading
from typing import Any

import pytest

from polyexec.core.ledger import COLLATERAL, Ledger, Reservation, Shortage, asset_given
from polyexec.enums import Side
from polyexec.errors import InternalError
from polyexec.models import TokenId
from polyexec.numbers import MAX_MICRO

A, B = TokenId("111"), TokenId("222")


@pytest.fixture
def ledger() -> Ledger:
    ledger = Ledger()
    ledger.update(COLLATERAL, 100, as_of_ms=10)
    ledger.update(A, 50, as_of_ms=10)
    return ledger


def figures(ledger: Ledger) -> Any:
    return [
        (ledger.balance(asset), ledger.held(asset), ledger.available(asset), ledger.as_of_ms(asset))
        for asset in (COLLATERAL, A, B)
    ] + [repr(reservation) for reservation in ledger.open_reservations]


def reserve(ledger: Ledger, micro: int, asset: TokenId = COLLATERAL) -> Reservation:
    made = ledger.reserve([(asset, micro)])
    assert isinstance(made, tuple)
    return made[0]


# reserve ------------------------------------------------------------------------------------------


def test_reserved_money_is_held_and_not_available(ledger: Ledger) -> None:
    reservation = reserve(ledger, 30)
    assert (reservation.reserved_micro, reservation.held_micro) == (30, 30)
    assert reservation.is_open
    assert (ledger.held(), ledger.available(), ledger.balance()) == (30, 70, 100)
    assert ledger.open_reservations == (reservation,)


def test_all_of_the_claims_are_held_or_none(ledger: Ledger) -> None:
    before = figures(ledger)
    short = ledger.reserve([(COLLATERAL, 60), (A, 50), (COLLATERAL, 41)])
    assert short == Shortage(COLLATERAL, 101, 100)
    assert figures(ledger) == before
    made = ledger.reserve([(COLLATERAL, 60), (A, 50), (COLLATERAL, 40)])
    assert isinstance(made, tuple)
    assert [reservation.asset for reservation in made] == [COLLATERAL, A, COLLATERAL]
    assert len({reservation.id for reservation in made}) == 3
    assert ledger.available() == ledger.available(A) == 0


def test_missing_shares_are_reported_before_missing_money(ledger: Ledger) -> None:
    short = ledger.reserve([(COLLATERAL, 101), (A, 51)])
    assert short == Shortage(A, 51, 50)


def test_an_unknown_token_has_nothing_to_sell(ledger: Ledger) -> None:
    assert ledger.reserve([(B, 1)]) == Shortage(B, 1, 0)


@pytest.mark.parametrize("micro", [0, -1, float("nan")])
def test_a_claim_that_is_no_amount_is_refused_and_nothing_changes(
    ledger: Ledger, micro: Any
) -> None:
    before = figures(ledger)
    with pytest.raises(InternalError, match="cannot reserve"):
        ledger.reserve([(COLLATERAL, 10), (A, micro)])
    assert figures(ledger) == before


# the end of a reservation -------------------------------------------------------------------------


def test_released_money_is_available_again(ledger: Ledger) -> None:
    reservation = reserve(ledger, 30)
    assert ledger.release(reservation) == 30
    assert (ledger.held(), ledger.available(), ledger.balance()) == (0, 100, 100)
    assert not reservation.is_open
    assert ledger.open_reservations == ()


def test_spent_money_is_pending_until_a_balance_contains_it(ledger: Ledger) -> None:
    reservation = reserve(ledger, 30)
    ledger.spend(reservation, 30, at_ms=20)
    assert (ledger.held(), ledger.available(), ledger.balance()) == (0, 70, 70)
    ledger.update(COLLATERAL, 100, as_of_ms=19)
    assert (ledger.available(), ledger.balance()) == (70, 70)
    ledger.update(COLLATERAL, 70, as_of_ms=20)
    assert (ledger.available(), ledger.balance()) == (70, 70)


def test_a_part_can_be_spent_and_the_rest_released(ledger: Ledger) -> None:
    reservation = reserve(ledger, 30)
    ledger.spend(reservation, 10, at_ms=20)
    assert (ledger.held(), ledger.available(), ledger.balance()) == (20, 70, 90)
    assert ledger.release(reservation) == 20
    assert (ledger.held(), ledger.available(), ledger.balance()) == (0, 90, 90)
    assert (reservation.spent_micro, reservation.released_micro) == (10, 20)


@pytest.mark.parametrize("first", ["spend", "release"])
@pytest.mark.parametrize("second", ["spend", "release"])
def test_a_reservation_ends_exactly_once(ledger: Ledger, first: str, second: str) -> None:
    reservation = reserve(ledger, 30)
    end = {
        "spend": lambda: ledger.spend(reservation, reservation.held_micro, at_ms=20),
        "release": lambda: ledger.release(reservation),
    }
    end[first]()
    before = figures(ledger)
    with pytest.raises(InternalError, match="already ended"):
        end[second]()
    assert figures(ledger) == before


@pytest.mark.parametrize("micro", [-1, 31, float("nan")])
def test_no_more_can_be_spent_than_is_held(ledger: Ledger, micro: Any) -> None:
    reservation = reserve(ledger, 30)
    before = figures(ledger)
    with pytest.raises(InternalError, match="not held"):
        ledger.spend(reservation, micro, at_ms=20)
    assert figures(ledger) == before


def test_a_reservation_of_another_ledger_is_refused(ledger: Ledger) -> None:
    other = Ledger()
    other.update(COLLATERAL, 100, as_of_ms=1)
    mine, theirs = reserve(ledger, 30), reserve(other, 30)
    assert mine.id == theirs.id
    with pytest.raises(InternalError):
        ledger.release(theirs)
    assert ledger.held() == 30


# balances -----------------------------------------------------------------------------------------


def test_a_refresh_never_touches_a_reservation(ledger: Ledger) -> None:
    reservation = reserve(ledger, 30)
    assert ledger.update(COLLATERAL, 20, as_of_ms=30)
    assert (ledger.held(), ledger.available()) == (30, -10)
    assert reservation.held_micro == 30
    assert ledger.reserve([(COLLATERAL, 1)]) == Shortage(COLLATERAL, 1, -10)


def test_an_older_balance_is_ignored(ledger: Ledger) -> None:
    assert not ledger.update(COLLATERAL, 7, as_of_ms=9)
    assert ledger.balance() == 100
    assert ledger.update(COLLATERAL, 7, as_of_ms=10)
    assert ledger.balance() == 7


@pytest.mark.parametrize("micro", [-1, MAX_MICRO + 1, float("nan"), float("inf")])
def test_a_balance_that_cannot_be_is_refused_and_nothing_changes(
    ledger: Ledger, micro: Any
) -> None:
    before = figures(ledger)
    with pytest.raises(InternalError):
        ledger.update(COLLATERAL, micro, as_of_ms=99)
    assert figures(ledger) == before


def test_income_counts_as_balance_but_is_not_available_before_it_is_settled(
    ledger: Ledger,
) -> None:
    ledger.book(COLLATERAL, 40, at_ms=20)
    assert (ledger.balance(), ledger.available()) == (140, 100)
    ledger.update(COLLATERAL, 140, as_of_ms=20)
    assert (ledger.balance(), ledger.available()) == (140, 140)


def test_a_cost_beyond_the_reservation_lowers_what_is_available_at_once(ledger: Ledger) -> None:
    ledger.book(COLLATERAL, -5, at_ms=20)
    assert (ledger.balance(), ledger.available()) == (95, 95)


def test_news_of_a_trade_that_the_balance_contains_are_not_counted_again(ledger: Ledger) -> None:
    reservation = reserve(ledger, 30)
    ledger.update(COLLATERAL, 75, as_of_ms=40)
    ledger.spend(reservation, 25, at_ms=39)
    ledger.book(COLLATERAL, 3, at_ms=39)
    assert (ledger.held(), ledger.available(), ledger.balance()) == (5, 70, 75)
    ledger.spend(reservation, 5, at_ms=40)
    assert (ledger.held(), ledger.available(), ledger.balance()) == (0, 70, 70)


def test_only_the_pending_part_that_a_balance_contains_is_forgotten(ledger: Ledger) -> None:
    for at_ms, micro in ((20, -5), (30, 7), (40, -11)):
        ledger.book(COLLATERAL, micro, at_ms=at_ms)
    assert ledger.balance() == 91
    ledger.update(COLLATERAL, 95, as_of_ms=25)
    assert (ledger.balance(), ledger.available()) == (91, 84)


def test_balances_lists_what_is_not_zero(ledger: Ledger) -> None:
    ledger.book(B, 5, at_ms=1)
    ledger.book(A, -50, at_ms=20)
    assert ledger.balances() == {COLLATERAL: 100, B: 5}
    assert ledger.as_of_ms(B) == 0
    assert ledger.as_of_ms(A) == 10


def test_reading_an_unknown_token_creates_nothing(ledger: Ledger) -> None:
    nothing = (ledger.available(B), ledger.held(B), ledger.balance(B), ledger.as_of_ms(B))
    assert nothing == (0, 0, 0, 0)
    assert B not in ledger.balances()


def test_check_finds_a_broken_sum(ledger: Ledger) -> None:
    reservation = reserve(ledger, 30)
    ledger.check()
    reservation.held_micro = 29
    with pytest.raises(InternalError, match="held 30 is not the sum 29"):
        ledger.check()


def test_repr_of_a_reservation_shows_its_words() -> None:
    assert repr(Reservation(1, COLLATERAL, 5)) == (
        "Reservation(1, collateral, reserved=5, held=5, spent=0, released=0)"
    )
    assert "12345678," in repr(Reservation(2, TokenId("123456789"), 5))


def test_a_buy_gives_collateral_and_a_sell_its_token() -> None:
    assert asset_given(Side.BUY, A) == COLLATERAL
    assert asset_given(Side.SELL, A) == A


# threads ------------------------------------------------------------------------------------------


def test_threads_hammering_one_balance_lose_nothing() -> None:
    ledger = Ledger()
    ledger.update(COLLATERAL, 50_000, as_of_ms=0)
    ledger.update(A, 50_000, as_of_ms=0)
    rounds, workers = 150, 6
    spent, refused = [0] * workers, [0] * workers
    interval = sys.getswitchinterval()
    start = threading.Barrier(workers)

    def work(number: int) -> None:
        start.wait()
        for step in range(rounds):
            amount = 1 + (number * 31 + step * 7) % 200
            made = ledger.reserve([(COLLATERAL, amount), (A, amount)])
            if isinstance(made, Shortage):
                refused[number] += 1
                continue
            money, shares = made
            part = amount // (1 + step % 3)
            ledger.spend(money, part, at_ms=1)
            spent[number] += part
            if money.is_open:
                ledger.release(money)
            ledger.release(shares)
            ledger.check()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert sum(refused) > 0, "the balance was meant to run out"
    assert ledger.balance() == ledger.available() == 50_000 - sum(spent)
    assert ledger.available() >= 0
    assert ledger.available(A) == 50_000
    assert ledger.held() == ledger.held(A) == 0
    assert ledger.open_reservations == ()


def test_of_many_threads_that_end_one_reservation_one_succeeds() -> None:
    ledger = Ledger()
    ledger.update(COLLATERAL, 10, as_of_ms=0)
    for _ in range(100):
        reservation = reserve(ledger, 10)
        start, wins = threading.Barrier(4), []

        def end(
            reservation: Reservation = reservation,
            start: threading.Barrier = start,
            wins: list[int] = wins,
        ) -> None:
            start.wait()
            try:
                wins.append(ledger.release(reservation))
            except InternalError:
                pass

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wins == [10]
        assert ledger.available() == 10
