"""How each piece of evidence about an order moves the money, in any order, any number of times."""

from typing import Any

import pytest

from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Fill
from polyexec.core.tracking import FeeRule, OrderTracker, total_fee_bound
from polyexec.enums import LegState, Side
from polyexec.models import Leg, OrderId, TokenId
from tests.unit.core.support import FakeClock, leg, priced

ORDER = OrderId("0x" + "a" * 64)
TOKEN = TokenId("1")
START = 100_000_000
SHARES = 50_000_000


FEE_OF_THE_MARKET = FeeRule(70_000, 1)


class Books:
    """A ledger, a tracker and one order whose answer is due."""

    def __init__(self, given: Leg | None = None, **rules: Any) -> None:
        self.clock = FakeClock(ms=1_000_000)
        self.ledger = Ledger()
        self.ledger.update(COLLATERAL, START, as_of_ms=self.clock.ms)
        self.ledger.update(TOKEN, SHARES, as_of_ms=self.clock.ms)
        self.clock.advance(10_000)
        self.tracker = OrderTracker(self.ledger, self.clock)
        (self.leg,) = priced(given or leg(fee_rate="0.07"), **rules)
        asset = COLLATERAL if self.leg.side is Side.BUY else self.leg.token_id
        made = self.ledger.reserve([(asset, self.leg.reserve_micro)])
        assert isinstance(made, tuple)
        (self.reservation,) = made

    def answer(self, state: LegState, filled: int = 0, paid: int = 0) -> int:
        outcome = LegOutcome(state=state, filled_micro=filled, paid_micro=paid)
        return self.tracker.book_answer(
            order_id=ORDER, leg=self.leg, reservation=self.reservation, outcome=outcome
        )

    def follow(self, state: LegState, *fills: Fill) -> None:
        self.tracker.book_fills(ORDER, fills, state, FEE_OF_THE_MARKET)

    @property
    def figures(self) -> tuple[int, int, int]:
        """Balance and held collateral, balance of shares; relative to the start."""
        self.ledger.check()
        return (
            self.ledger.balance() - START,
            self.ledger.held(),
            self.ledger.balance(TOKEN) - SHARES,
        )


def fill(size: int, price_e4: int = 4000, *, name: str = "t", **changes: Any) -> Fill:
    given: dict[str, Any] = {
        "trade_id": name,
        "order_id": ORDER,
        "token_id": TOKEN,
        "side": Side.BUY,
        "is_taker": True,
        "status": "CONFIRMED",
        "match_time_s": 1010,
    }
    given |= changes
    given.setdefault("update_time_s", given["match_time_s"])
    return Fill(price_e4=price_e4, size_micro=size, **given)


# answers ------------------------------------------------------------------------------------------


def test_a_full_match_spends_price_and_fee_and_frees_the_rest() -> None:
    books = Books(leg(fee_rate="0.07", order_type="FOK"))
    assert books.reservation.held_micro == 4_000_000 + 280_000
    fee = books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    assert fee == 168_000  # 10 x 0.07 x 0.4 x 0.6
    assert books.figures == (-4_168_000, 0, 10_000_000)
    assert not books.reservation.is_open
    assert [order.order_id for order in books.tracker.orders] == [ORDER]  # the fee is a bound


@pytest.mark.parametrize(
    "state", [LegState.REJECTED, LegState.NOT_SENT, LegState.CANCELLED, LegState.EXPIRED]
)
def test_an_order_that_does_not_exist_gives_everything_back(state: LegState) -> None:
    books = Books()
    assert books.answer(state) == 0
    assert books.figures == (0, 0, 0)
    assert books.ledger.available() == START
    assert books.tracker.orders == ()


@pytest.mark.parametrize(
    "state", [LegState.UNKNOWN, LegState.LIVE, LegState.DELAYED, LegState.UNMATCHED]
)
def test_an_order_that_may_trade_keeps_its_money_held(state: LegState) -> None:
    books = Books()
    books.answer(state)
    assert books.figures == (0, 4_168_000, 0)
    assert [order.state for order in books.tracker.orders] == [state]


def test_a_partial_match_spends_its_part_and_holds_the_rest() -> None:
    books = Books()
    assert books.answer(LegState.PARTIAL, 5_000_000, 2_000_000) == 84_000
    assert books.figures == (-2_084_000, 2_084_000, 5_000_000)


def test_a_sell_gives_shares_and_its_income_is_not_available_yet() -> None:
    books = Books(leg(1, "SELL", fee_rate="0.07"))
    books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    assert books.figures == (4_000_000 - 168_000, 0, -10_000_000)
    assert books.ledger.available() == START
    assert books.ledger.available(TOKEN) == SHARES - 10_000_000


def test_an_improved_immediate_buy_books_more_shares_and_its_larger_fee_fits() -> None:
    books = Books(leg(fee_rate="0.07", order_type="FOK"))
    held = books.reservation.held_micro
    fee = books.answer(LegState.MATCHED, 40_000_000, 4_000_000)  # at 0.10
    assert fee == 252_000
    assert 4_000_000 + fee <= held
    assert books.figures == (-4_252_000, 0, 40_000_000)


# fills --------------------------------------------------------------------------------------------


def test_fills_make_the_fee_of_an_answer_exact_and_end_the_order() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 3_500_000)
    books.follow(LegState.MATCHED, fill(5_000_000, 4000), fill(5_000_000, 3000))
    assert books.figures == (-3_500_000 - 84_000 - 73_500, 0, 10_000_000)
    assert books.tracker.orders == ()


def test_the_total_of_the_answer_is_exact_where_price_times_size_is_not() -> None:
    books = Books()
    books.answer(LegState.PARTIAL, 3_333_333, 1_333_340)  # 0.40 x 3.333333 is 1.3333332
    answered = fill(3_333_333, match_time_s=1009)
    books.follow(LegState.PARTIAL, answered)
    assert books.figures[0] == -1_333_340 - 56_000
    books.clock.advance(20_000)
    later = fill(6_666_667, 3000, name="2", is_taker=False, match_time_s=1020)
    books.follow(LegState.MATCHED, later, answered)
    assert books.figures == (-1_333_340 - 56_000 - 2_000_001, 0, 10_000_000)


def test_fills_of_an_unknown_order_are_spent_from_its_reservation() -> None:
    books = Books()
    books.answer(LegState.UNKNOWN)
    books.follow(LegState.MATCHED, fill(10_000_000))
    assert books.figures == (-4_168_000, 0, 10_000_000)
    assert books.reservation.spent_micro == 4_168_000
    assert books.tracker.orders == ()


def test_maker_fills_pay_no_fee() -> None:
    books = Books()
    books.answer(LegState.LIVE)
    books.follow(LegState.MATCHED, fill(10_000_000, is_taker=False))
    assert books.figures == (-4_000_000, 0, 10_000_000)
    assert books.reservation.released_micro == 168_000


def test_the_same_fills_again_change_nothing() -> None:
    books = Books()
    books.answer(LegState.LIVE)
    first, second = fill(4_000_000, name="1"), fill(6_000_000, name="2")
    for _ in range(3):
        books.follow(LegState.PARTIAL, first)
        assert books.figures == (-1_667_200, 2_500_800, 4_000_000)
    for _ in range(3):
        books.follow(LegState.MATCHED, second, first)
        assert books.figures == (-4_168_000, 0, 10_000_000)


def test_older_evidence_than_the_answer_changes_nothing() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    before = books.figures
    books.follow(LegState.LIVE)
    books.follow(LegState.CANCELLED, fill(4_000_000))
    assert books.figures == before
    (order,) = books.tracker.orders
    assert order.state is LegState.MATCHED


@pytest.mark.parametrize("state", [LegState.CANCELLED, LegState.EXPIRED])
def test_a_cancelled_rest_frees_its_money(state: LegState) -> None:
    books = Books()
    books.answer(LegState.PARTIAL, 5_000_000, 2_000_000)
    books.follow(state, fill(5_000_000))
    assert books.figures == (-2_084_000, 0, 5_000_000)
    assert books.tracker.orders == ()


def test_an_unknown_order_that_never_was_frees_its_money_when_that_is_known() -> None:
    books = Books()
    books.answer(LegState.UNKNOWN)
    books.follow(LegState.UNKNOWN)
    assert books.figures == (0, 4_168_000, 0)
    books.follow(LegState.CANCELLED)
    assert books.figures == (0, 0, 0)


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_match_that_failed_to_settle_gives_money_and_shares_back(side: str) -> None:
    books = Books(leg(1, side, fee_rate="0.07"))
    books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    books.follow(LegState.MATCHED, fill(10_000_000, status="FAILED"))
    assert books.figures == (0, 0, 0)
    assert books.tracker.orders == ()


def test_one_failed_match_of_two_gives_back_its_part() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    books.follow(LegState.MATCHED, fill(4_000_000, status="FAILED"), fill(6_000_000))
    assert books.figures == (-2_400_000 - 100_800, 0, 6_000_000)


def test_a_failed_match_that_was_never_counted_changes_nothing() -> None:
    books = Books()
    books.answer(LegState.LIVE)
    for _ in range(2):
        books.follow(LegState.LIVE, fill(10_000_000, status="FAILED"))
        assert books.figures == (0, 4_168_000, 0)


def test_a_price_beyond_the_reservation_is_still_counted() -> None:
    books = Books()
    books.answer(LegState.UNKNOWN)
    books.follow(LegState.MATCHED, fill(10_000_000, 9000))
    assert books.figures == (-9_063_000, 0, 10_000_000)
    assert books.ledger.available() == START - 9_063_000


def test_news_of_an_order_that_is_not_tracked_changes_nothing() -> None:
    books = Books()
    books.tracker.book_fills(OrderId("0x1"), [fill(5)], LegState.MATCHED, FEE_OF_THE_MARKET)
    assert books.figures == (0, 4_168_000, 0)


# with refreshes between ---------------------------------------------------------------------------


def test_an_exact_fee_known_after_a_refresh_is_not_counted_twice() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 3_500_000)
    exact = 84_000 + 73_500
    books.clock.advance(5_000)
    books.ledger.update(COLLATERAL, START - 3_500_000 - exact, as_of_ms=books.clock.ms)
    books.clock.advance(5_000)
    books.follow(LegState.MATCHED, fill(5_000_000, 4000), fill(5_000_000, 3000))
    assert books.ledger.balance() == START - 3_500_000 - exact
    assert books.ledger.available() == START - 3_500_000 - exact


def test_fills_from_before_a_refresh_are_not_counted_twice() -> None:
    books = Books()
    books.answer(LegState.UNKNOWN)
    books.clock.advance(5_000)
    books.ledger.update(COLLATERAL, START - 4_168_000, as_of_ms=books.clock.ms)
    books.clock.advance(5_000)
    books.follow(LegState.MATCHED, fill(10_000_000, match_time_s=1010))
    assert books.ledger.balance() == START - 4_168_000
    assert books.ledger.available() == START - 4_168_000


def test_in_the_second_of_a_settlement_too_little_is_available_never_too_much() -> None:
    books = Books()
    books.answer(LegState.PARTIAL, 5_000_000, 2_000_000)
    books.clock.advance(100)
    # This balance contains what has traded, and it cannot know so from whole seconds.
    books.ledger.update(COLLATERAL, START - 2_084_000, as_of_ms=books.clock.ms)
    books.clock.advance(100)
    fills = fill(5_000_000), fill(5_000_000, name="u", is_taker=False)
    books.follow(LegState.MATCHED, *fills)
    assert books.ledger.available() == START - 2 * 2_084_000 - 2_000_000
    books.ledger.update(COLLATERAL, START - 4_084_000, as_of_ms=books.clock.ms)
    assert books.ledger.available() == START - 4_084_000


def test_fills_from_after_a_refresh_count() -> None:
    books = Books()
    books.answer(LegState.LIVE)
    books.clock.advance(5_000)
    books.ledger.update(COLLATERAL, START, as_of_ms=books.clock.ms)
    books.clock.advance(5_000)
    books.follow(LegState.MATCHED, fill(10_000_000, match_time_s=1018))
    assert books.ledger.balance() == START - 4_168_000


@pytest.mark.parametrize("seconds", [0, 5_000_000])
def test_a_fill_without_a_time_or_from_the_future_counts_from_now(seconds: int) -> None:
    books = Books()
    books.answer(LegState.LIVE)
    books.follow(LegState.MATCHED, fill(10_000_000, match_time_s=seconds))
    assert books.ledger.balance() == START - 4_168_000
    books.clock.advance(1)
    books.ledger.update(COLLATERAL, START - 4_168_000, as_of_ms=books.clock.ms)
    assert books.ledger.balance() == START - 4_168_000


# settlement ---------------------------------------------------------------------------------------


def test_a_match_stays_out_of_every_balance_until_it_settles() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    for status in ("MATCHED", "RETRYING", "a word of tomorrow"):
        books.follow(LegState.MATCHED, fill(10_000_000, status=status))
        books.clock.advance(5_000)
        # The chain has not moved: the balance is the one before the trade.
        books.ledger.update(COLLATERAL, START, as_of_ms=books.clock.ms)
        assert books.ledger.available() == START - 4_168_000
        assert books.tracker.unsettled_micro(COLLATERAL) == -4_168_000
        assert books.tracker.unsettled_micro(TOKEN) == 10_000_000
        assert [order.order_id for order in books.tracker.orders] == [ORDER]
    seconds = books.clock.ms // 1000 - 1
    books.follow(LegState.MATCHED, fill(10_000_000, status="MINED", update_time_s=seconds))
    assert books.tracker.unsettled_micro(COLLATERAL) == 0
    assert [order.order_id for order in books.tracker.orders] == [ORDER]  # it can still fail
    books.clock.advance(1)
    books.ledger.update(COLLATERAL, START - 4_168_000, as_of_ms=books.clock.ms)
    assert books.ledger.available() == START - 4_168_000
    books.follow(LegState.MATCHED, fill(10_000_000, update_time_s=seconds + 1))
    assert books.tracker.orders == ()
    assert books.ledger.balance() == books.ledger.available() == START - 4_168_000


def test_a_match_that_fails_before_it_is_mined_frees_its_money_at_once() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    books.clock.advance(5_000)
    books.ledger.update(COLLATERAL, START, as_of_ms=books.clock.ms)
    books.follow(LegState.MATCHED, fill(10_000_000, status="FAILED"))
    assert books.ledger.available() == START
    assert books.figures == (0, 0, 0)


def test_a_list_without_a_match_that_is_known_takes_nothing_back() -> None:
    books = Books()
    books.answer(LegState.LIVE)
    failed = fill(5_000_000, name="1", status="FAILED")
    books.follow(LegState.MATCHED, failed, fill(5_000_000, name="2", status="MATCHED"))
    before = books.figures
    assert before[0] == -2_084_000
    # As many shares as are booked, but not those.
    books.follow(LegState.MATCHED, failed)
    assert books.figures == before


def test_a_match_that_was_mined_and_then_retried_counts_again() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 4_000_000)
    books.follow(LegState.MATCHED, fill(10_000_000, status="MINED"))
    books.follow(LegState.MATCHED, fill(10_000_000, status="RETRYING"))
    books.clock.advance(5_000)
    books.ledger.update(COLLATERAL, START, as_of_ms=books.clock.ms)
    assert books.ledger.available() == START - 4_168_000
    books.follow(LegState.MATCHED, fill(10_000_000, status="FAILED"))
    books.clock.advance(5_000)
    books.ledger.update(COLLATERAL, START, as_of_ms=books.clock.ms)
    assert books.ledger.available() == START


def test_of_two_matches_the_one_that_settled_is_in_the_next_balance() -> None:
    books = Books()
    books.answer(LegState.MATCHED, 10_000_000, 4_000_001)  # a micro more than price x size
    first, second = fill(4_000_000, name="1"), fill(6_000_000, name="2", status="MATCHED")
    books.follow(LegState.MATCHED, first, second)
    books.clock.advance(5_000)
    books.ledger.update(COLLATERAL, START - 1_667_200, as_of_ms=books.clock.ms)
    assert books.ledger.available() == START - 4_168_001
    assert books.tracker.unsettled_micro(COLLATERAL) == -2_500_801


# fee bound ----------------------------------------------------------------------------------------


def test_an_unknown_rate_is_bounded_by_the_highest_published() -> None:
    (unknown,) = priced(leg(fee_rate=None))
    (known,) = priced(leg(fee_rate="0.07"))
    assert total_fee_bound(unknown, 10**7, 4 * 10**6) == total_fee_bound(known, 10**7, 4 * 10**6)


def test_repr_of_a_tracked_order_is_short() -> None:
    books = Books()
    books.answer(LegState.UNKNOWN)
    assert repr(books.tracker.orders[0]) == "TrackedOrder(0xaaaaaaaa…, UNKNOWN, filled=0)"
