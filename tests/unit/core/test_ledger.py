"""The money: available, held, pending; a reservation ends exactly once."""

import copy
import gc
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from polyexec.core import ledger as face
from polyexec.core.ledger import COLLATERAL, Ledger, Reservation, Shortage, asset_given
from polyexec.enums import Side
from polyexec.errors import InternalError
from polyexec.models import TokenId
from polyexec.numbers import MAX_MICRO
from tests.implementations import BOTH, FAST, NOT_BUILT, PURE, face_of

A, B = TokenId("111"), TokenId("222")
HUGE = 10**5000  # Python prints no int of so many digits
NO_AMOUNTS = [-1, True, 1.0, float("nan"), MAX_MICRO + 1, -(2**70), "1", None, HUGE]
IDS = [f"{type(value).__name__}{number}" for number, value in enumerate(NO_AMOUNTS)]


@pytest.fixture(params=BOTH)
def new_ledger(request: pytest.FixtureRequest) -> Any:
    return face_of(face.Ledger, request.param)


@pytest.fixture
def ledger(new_ledger: Any) -> Ledger:
    ledger: Ledger = new_ledger()
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


def test_a_shortage_tells_of_its_moment_and_never_changes(ledger: Ledger) -> None:
    short = ledger.reserve([(B, 1)])
    with pytest.raises(AttributeError):
        short.needed_micro = 0  # type: ignore[misc, union-attr]


def test_an_unknown_token_has_nothing_to_sell(ledger: Ledger) -> None:
    assert ledger.reserve([(B, 1)]) == Shortage(B, 1, 0)


@pytest.mark.parametrize("micro", [0, *NO_AMOUNTS], ids=["zero", *IDS])
def test_a_claim_that_is_no_amount_is_refused_and_nothing_changes(
    ledger: Ledger, micro: Any
) -> None:
    before = figures(ledger)
    with pytest.raises(InternalError, match="cannot reserve"):
        ledger.reserve([(COLLATERAL, 10), (A, micro)])
    assert figures(ledger) == before


@pytest.mark.parametrize("held", [29, 31])
def test_check_finds_a_broken_sum(held: int) -> None:
    # The compiled words are out of reach from here: tests/concurrency breaks those.
    ledger = face_of(Ledger, PURE)()
    ledger.update(COLLATERAL, 100, as_of_ms=10)
    reservation = reserve(ledger, 30)
    ledger.check()
    reservation._held = held  # type: ignore[attr-defined]
    with pytest.raises(InternalError, match=f"held 30 is not the sum {held}"):
        ledger.check()


@pytest.mark.parametrize("spent", [-1, 1])
def test_a_reservation_that_does_not_add_up_is_found_when_it_ends(spent: int) -> None:
    ledger = face_of(Ledger, PURE)()
    ledger.update(COLLATERAL, 100, as_of_ms=10)
    reservation = reserve(ledger, 30)
    reservation._spent = spent  # type: ignore[attr-defined]
    with pytest.raises(InternalError, match="does not add up"):
        ledger.release(reservation)


def test_an_asset_is_known_by_its_text_and_not_by_its_object(ledger: Ledger) -> None:
    again = TokenId("".join(["1", "1", "1"]))
    assert again == A
    assert again is not A
    reserve(ledger, 30, again)
    assert (ledger.held(A), ledger.available(again)) == (30, 20)
    ledger.check()


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


@pytest.mark.parametrize("micro", [31, *NO_AMOUNTS], ids=["more", *IDS])
def test_no_more_can_be_spent_than_is_held(ledger: Ledger, micro: Any) -> None:
    reservation = reserve(ledger, 30)
    before = figures(ledger)
    with pytest.raises(InternalError, match="not held"):
        ledger.spend(reservation, micro, at_ms=20)
    assert figures(ledger) == before


def test_a_reservation_of_another_ledger_is_refused(ledger: Ledger, new_ledger: Any) -> None:
    other = new_ledger()
    other.update(COLLATERAL, 100, as_of_ms=1)
    mine, theirs = reserve(ledger, 30), reserve(other, 30)
    assert mine.id == theirs.id
    for no_reservation in (theirs, None, mine.id):
        with pytest.raises(InternalError, match="no reservation of this ledger"):
            ledger.release(no_reservation)
        with pytest.raises(InternalError, match="no reservation of this ledger"):
            ledger.spend(no_reservation, 1, at_ms=20)
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


@pytest.mark.parametrize("micro", [*NO_AMOUNTS, float("inf")], ids=[*IDS, "inf"])
def test_a_balance_that_cannot_be_is_refused_and_nothing_changes(
    ledger: Ledger, micro: Any
) -> None:
    before = figures(ledger)
    with pytest.raises(InternalError, match="balance"):
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


def test_repr_of_a_reservation_shows_its_words(ledger: Ledger) -> None:
    reservation = reserve(ledger, 5)
    ledger.spend(reservation, 2, at_ms=20)
    assert repr(reservation) == (
        "Reservation(1, collateral, reserved=5, held=3, spent=2, released=0)"
    )
    token = ledger.recover("123456789", 5)
    assert "Reservation(2, 12345678," in repr(token)


@pytest.mark.parametrize("word", ["id", "asset", "held_micro", "is_open"])
def test_nobody_but_the_ledger_changes_a_reservation(ledger: Ledger, word: str) -> None:
    reservation = reserve(ledger, 5)
    with pytest.raises(AttributeError):
        setattr(reservation, word, 1)
    with pytest.raises(TypeError, match="only a ledger"):
        type(reservation)()
    with pytest.raises(TypeError):
        copy.copy(reservation)
    with pytest.raises(TypeError, match="it ends once"):
        pickle.dumps(reservation)


@NOT_BUILT
def test_a_compiled_reservation_without_a_ledger_has_no_words() -> None:
    empty = FAST.Reservation.__new__(FAST.Reservation)
    for read in (repr, hash, lambda r: r.held_micro, lambda r: r.asset, lambda r: r.is_open):
        with pytest.raises(TypeError, match="only a ledger"):
            read(empty)


def test_the_open_reservations_are_exported_with_what_they_hold(ledger: Ledger) -> None:
    first, second, third = (reserve(ledger, micro) for micro in (5, 6, 7))
    ledger.spend(first, 2, at_ms=20)
    ledger.release(second)
    exported = [(r.id, r.asset, r.held_micro, r.spent_micro) for r in ledger.open_reservations]
    assert exported == [(1, COLLATERAL, 3, 2), (3, COLLATERAL, 7, 0)]
    assert ledger.open_reservations == (first, third)
    assert len({first, *ledger.open_reservations}) == 2
    assert first != second
    assert first != first.id


def test_a_forgotten_reservation_stays_held_and_can_be_found(ledger: Ledger) -> None:
    reserve(ledger, 30)
    gc.collect()
    assert ledger.held() == 30
    (found,) = ledger.open_reservations
    assert ledger.release(found) == 30


def test_an_ended_reservation_keeps_its_words_when_its_place_is_used_again(ledger: Ledger) -> None:
    ended = reserve(ledger, 30)
    ledger.spend(ended, 10, at_ms=20)
    ledger.release(ended)
    others = [reserve(ledger, 1) for _ in range(20)]
    assert (ended.reserved_micro, ended.spent_micro, ended.released_micro) == (30, 10, 20)
    with pytest.raises(InternalError, match="already ended"):
        ledger.release(ended)
    del ended
    others += [reserve(ledger, 1) for _ in range(20)]
    assert len({r.id for r in others}) == 40
    ledger.check()


def test_thousands_can_be_open_at_once(ledger: Ledger) -> None:
    ledger.update(A, 3_000, as_of_ms=20)
    held = [reserve(ledger, 1, A) for _ in range(3_000)]
    assert ledger.open_reservations == tuple(held)
    assert ledger.reserve([(A, 1)]) == Shortage(A, 1, 0)
    ledger.check()
    for reservation in held[::2] + held[1::2]:
        ledger.release(reservation)
    assert ledger.available(A) == 3_000
    assert ledger.open_reservations == ()
    ledger.check()


# recovery -----------------------------------------------------------------------------------------


def test_a_recovered_hold_is_held_even_when_the_balance_is_short(ledger: Ledger) -> None:
    recovered = ledger.recover(COLLATERAL, 130)
    assert (ledger.held(), ledger.available()) == (130, -30)
    assert ledger.reserve([(COLLATERAL, 1)]) == Shortage(COLLATERAL, 1, -30)
    assert ledger.open_reservations == (recovered,)
    ledger.check()
    ledger.spend(recovered, 50, at_ms=20)
    ledger.update(COLLATERAL, 50, as_of_ms=20)
    assert (ledger.held(), ledger.available()) == (80, -30)
    assert ledger.release(recovered) == 80
    assert ledger.available() == 50


def test_a_hold_is_recovered_before_any_balance_is_known(new_ledger: Any) -> None:
    ledger = new_ledger()
    ledger.recover(A, 5)
    assert ledger.available(A) == -5
    ledger.update(A, 7, as_of_ms=1)
    assert ledger.available(A) == 2


@pytest.mark.parametrize("micro", [0, *NO_AMOUNTS], ids=["zero", *IDS])
def test_what_cannot_be_held_is_not_recovered(ledger: Ledger, micro: Any) -> None:
    before = figures(ledger)
    with pytest.raises(InternalError, match="cannot hold"):
        ledger.recover(COLLATERAL, micro)
    assert figures(ledger) == before


# the edges of 63 bits -----------------------------------------------------------------------------


def test_the_largest_balance_can_be_reserved_spent_and_refreshed(ledger: Ledger) -> None:
    ledger.update(COLLATERAL, MAX_MICRO, as_of_ms=20)
    all_of_it = reserve(ledger, MAX_MICRO)
    assert ledger.available() == 0
    ledger.spend(all_of_it, MAX_MICRO - 1, at_ms=30)
    ledger.update(COLLATERAL, 0, as_of_ms=20)
    assert ledger.available() == -MAX_MICRO
    ledger.check()
    ledger.update(COLLATERAL, MAX_MICRO, as_of_ms=30)
    assert ledger.release(all_of_it) == 1
    assert ledger.available() == MAX_MICRO
    ledger.check()


def test_what_is_bound_never_exceeds_63_bits(ledger: Ledger) -> None:
    ledger.update(COLLATERAL, 0, as_of_ms=10)
    whole = ledger.recover(COLLATERAL, MAX_MICRO - 1)
    ledger.book(COLLATERAL, -1, at_ms=20)
    before = figures(ledger)
    with pytest.raises(InternalError, match="cannot hold 1 micro-units more"):
        ledger.recover(COLLATERAL, 1)
    with pytest.raises(InternalError, match="cannot book -1 micro-units more"):
        ledger.book(COLLATERAL, -1, at_ms=20)
    with pytest.raises(InternalError, match="cannot book -9223372036854775808 micro-units more"):
        ledger.book(COLLATERAL, -(2**63), at_ms=20)
    assert figures(ledger) == before
    assert ledger.available() == -MAX_MICRO
    ledger.update(COLLATERAL, MAX_MICRO, as_of_ms=15)
    with pytest.raises(InternalError, match="cannot hold"):
        ledger.recover(COLLATERAL, 1)
    ledger.spend(whole, MAX_MICRO - 1, at_ms=20)
    ledger.check()
    assert (ledger.available(), ledger.balance()) == (0, 0)
    ledger.update(COLLATERAL, MAX_MICRO, as_of_ms=20)
    assert ledger.available() == MAX_MICRO
    ledger.check()


def test_income_beyond_63_bits_is_refused_and_the_balance_stays_exact(ledger: Ledger) -> None:
    ledger.book(COLLATERAL, MAX_MICRO, at_ms=20)
    before = figures(ledger)
    with pytest.raises(InternalError, match="cannot book 1 micro-units more"):
        ledger.book(COLLATERAL, 1, at_ms=20)
    assert figures(ledger) == before
    assert ledger.balance() == MAX_MICRO + 100
    ledger.book(COLLATERAL, 1, at_ms=9)  # contained already


def test_claims_that_only_together_exceed_63_bits_are_refused(ledger: Ledger) -> None:
    ledger.update(COLLATERAL, MAX_MICRO, as_of_ms=20)
    before = figures(ledger)
    with pytest.raises(InternalError, match="exceed 2"):
        ledger.reserve([(A, 1), (COLLATERAL, MAX_MICRO), (COLLATERAL, 1)])
    assert figures(ledger) == before


@pytest.mark.parametrize("micro", NO_AMOUNTS, ids=IDS)
def test_what_cannot_be_booked_changes_nothing(ledger: Ledger, micro: Any) -> None:
    before = figures(ledger)
    if micro == -1:
        micro = -(2**63) - 1
    with pytest.raises(InternalError, match="cannot book"):
        ledger.book(COLLATERAL, micro, at_ms=99)
    assert figures(ledger) == before


@pytest.mark.parametrize("at_ms", [1.0, None, True, 2**63, "1"])
def test_a_time_that_is_none_is_refused_and_nothing_changes(ledger: Ledger, at_ms: Any) -> None:
    reservation = reserve(ledger, 30)
    before = figures(ledger)
    for call in (
        lambda: ledger.update(COLLATERAL, 1, as_of_ms=at_ms),
        lambda: ledger.book(COLLATERAL, 1, at_ms=at_ms),
        lambda: ledger.spend(reservation, 1, at_ms=at_ms),
    ):
        with pytest.raises((TypeError, OverflowError)):
            call()
    assert figures(ledger) == before


def test_a_time_is_named_so_that_it_is_not_taken_for_an_amount(ledger: Ledger) -> None:
    words: Any = ledger
    reservation = reserve(ledger, 30)
    before = figures(ledger)
    for call in (
        lambda: words.update(COLLATERAL, 1, 99),
        lambda: words.book(COLLATERAL, 1, 99),
        lambda: words.spend(reservation, 1, 99),
    ):
        with pytest.raises(TypeError):
            call()
    assert figures(ledger) == before


def test_an_asset_is_named_by_text(ledger: Ledger) -> None:
    number: Any = 111
    for call in (
        lambda: ledger.update(number, 1, as_of_ms=99),
        lambda: ledger.reserve([(COLLATERAL, 1), (number, 1)]),
        lambda: ledger.recover(number, 1),
        lambda: ledger.book(number, 1, at_ms=99),
    ):
        with pytest.raises(InternalError, match="an asset is named by a str, not int"):
            call()
    assert ledger.held() == 0


def test_claims_come_in_any_iterable_and_at_most_sixteen(ledger: Ledger) -> None:
    assert ledger.reserve([]) == ()
    made = ledger.reserve(iter([(COLLATERAL, 1)] * 16))
    assert isinstance(made, tuple)
    assert len(made) == 16
    with pytest.raises(InternalError, match="at most 16 claims at once, not 17"):
        ledger.reserve([(COLLATERAL, 1)] * 17)
    wrong: Any = [(COLLATERAL, 1, 2)]
    with pytest.raises(ValueError, match="unpack"):
        ledger.reserve(wrong)
    assert ledger.held() == 16


def test_an_int_of_another_type_is_an_amount(ledger: Ledger) -> None:
    class Number:
        def __index__(self) -> int:
            return 7

    amount: Any = Number()
    assert reserve(ledger, amount).reserved_micro == 7
    ledger.update(B, amount, as_of_ms=amount)
    assert ledger.balances() == {COLLATERAL: 100, A: 50, B: 7}


def refusals(words: Ledger) -> list[str]:
    """Return what a ledger says of every amount that is none, wherever an amount is taken."""
    words.update(COLLATERAL, 10, as_of_ms=1)
    held = reserve(words, 5)
    calls: list[Callable[[Any], object]] = [
        lambda bad: words.update(A, bad, as_of_ms=1),
        lambda bad: words.reserve([(A, bad)]),
        lambda bad: words.recover(A, bad),
        lambda bad: words.book(A, bad, at_ms=1),
        lambda bad: words.spend(held, bad, at_ms=1),
    ]
    messages = []
    for call in calls:
        for bad in (6, *NO_AMOUNTS):
            try:
                messages.append(repr(call(bad)))
            except InternalError as error:
                messages.append(str(error))
    return messages


@NOT_BUILT
def test_both_implementations_say_the_same() -> None:
    said = [refusals(face_of(face.Ledger, functions)()) for functions in (PURE, FAST)]
    assert said[0] == said[1]


def test_a_buy_gives_collateral_and_a_sell_its_token() -> None:
    assert asset_given(Side.BUY, A) == COLLATERAL
    assert asset_given(Side.SELL, A) == A


# threads ------------------------------------------------------------------------------------------


def test_threads_hammering_one_balance_lose_nothing(new_ledger: Any) -> None:
    ledger = new_ledger()
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


def test_of_many_threads_that_end_one_reservation_one_succeeds(new_ledger: Any) -> None:
    ledger = new_ledger()
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
