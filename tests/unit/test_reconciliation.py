"""Our books against the exchange's: what is found, what is booked, what stays held."""

from typing import Any

import pytest

from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Fill, OrderStatus
from polyexec.core.tracking import OrderTracker
from polyexec.enums import LegState, Side
from polyexec.models import OrderId, TokenId
from polyexec.reconciliation import Reconciliation, reconcile
from tests.unit.core.support import FakeClock, leg, priced
from tests.unit.venues import ScriptedVenue

START = 100_000_000
ORDER, TOKEN = OrderId("0x1"), TokenId("1")


class Books:
    """One BUY of 10 shares at 0.40, and an exchange that holds what it is told to."""

    def __init__(self, state: LegState, filled: int = 0, paid: int = 0, **rules: Any) -> None:
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.ledger.update(COLLATERAL, START, as_of_ms=1)
        self.tracker = OrderTracker(self.ledger, self.clock)
        (self.leg,) = priced(leg(**{"fee_rate": "0.07"} | rules))
        made = self.ledger.reserve([(COLLATERAL, self.leg.reserve_micro)])
        assert isinstance(made, tuple)
        self.tracker.book_answer(
            order_id=ORDER,
            leg=self.leg,
            reservation=made[0],
            outcome=LegOutcome(state=state, filled_micro=filled, paid_micro=paid),
        )
        self.venue = ScriptedVenue(balance=START)

    def trade(self, *sizes: int, price_e4: int = 4000, fee: int = 0) -> None:
        """Let the exchange match our order."""
        self.venue.fills[ORDER] = tuple(
            Fill(
                trade_id=str(number),
                order_id=ORDER,
                token_id=TOKEN,
                side=Side.BUY,
                price_e4=price_e4,
                size_micro=size,
                is_taker=True,
                status="CONFIRMED",
                match_time_s=0,
            )
            for number, size in enumerate(sizes)
        )
        self.venue.balance = START - sum(sizes) * price_e4 // 10_000 - fee
        self.venue.positions[TOKEN] = sum(sizes)

    def report(self, state: LegState, filled: int) -> None:
        """Let the exchange know our order by its id."""
        self.venue.statuses[ORDER] = OrderStatus(
            order_id=ORDER,
            state=state,
            token_id=TOKEN,
            side=Side.BUY,
            price_e4=4000,
            size_micro=10_000_000,
            filled_micro=filled,
            status=state,
        )

    async def compare(self) -> Reconciliation:
        return await reconcile(self.venue, self.ledger, self.tracker, self.clock)


async def test_books_that_agree_are_exact() -> None:
    books = Books(LegState.MATCHED, 10_000_000, 4_000_000)
    books.trade(4_000_000, 6_000_000, fee=168_000)
    books.report(LegState.MATCHED, 10_000_000)
    found = await books.compare()
    assert found.is_exact
    assert found.ledger_micro == found.venue_micro == START - 4_168_000
    assert (found.held_micro, found.open_orders, found.unknown_orders) == (0, (), ())


async def test_a_resting_order_that_filled_meanwhile_is_booked() -> None:
    books = Books(LegState.LIVE)
    books.trade(10_000_000, fee=168_000)
    books.report(LegState.MATCHED, 10_000_000)
    assert (await books.compare()).is_exact
    assert books.tracker.orders == ()


async def test_a_resting_order_stays_open_and_held() -> None:
    books = Books(LegState.LIVE)
    books.report(LegState.LIVE, 0)
    found = await books.compare()
    assert found.is_exact
    assert found.open_orders == (ORDER,)
    assert found.held_micro == 4_168_000


async def test_not_found_is_no_proof_of_absence() -> None:
    books = Books(LegState.UNKNOWN)
    for _ in range(3):
        found = await books.compare()
        assert not found.is_exact
        assert found.unknown_orders == (ORDER,)
        assert found.held_micro == 4_168_000


async def test_an_unknown_order_that_the_exchange_knows_is_resolved() -> None:
    books = Books(LegState.UNKNOWN)
    books.report(LegState.CANCELLED, 0)
    found = await books.compare()
    assert found.is_exact
    assert found.held_micro == 0


async def test_trades_prove_a_fill_of_an_order_that_is_not_found() -> None:
    books = Books(LegState.UNKNOWN)
    books.trade(10_000_000, fee=168_000)
    assert (await books.compare()).is_exact
    assert books.tracker.orders == ()


async def test_some_trades_of_an_order_that_is_not_found_leave_the_rest_held() -> None:
    books = Books(LegState.UNKNOWN)
    books.trade(5_000_000, fee=84_000)
    found = await books.compare()
    assert found.difference_micro == 0
    assert found.unknown_orders == (ORDER,)
    assert found.held_micro == 2_084_000


async def test_an_order_whose_trades_are_not_all_listed_yet_waits() -> None:
    books = Books(LegState.LIVE)
    books.trade(4_000_000, fee=67_200)
    books.report(LegState.MATCHED, 10_000_000)
    found = await books.compare()
    assert found.open_orders == (ORDER,)
    assert found.held_micro == 4_168_000
    assert not found.is_exact
    books.trade(4_000_000, 6_000_000, fee=168_000)
    assert (await books.compare()).is_exact


async def test_an_unmatched_order_counts_as_unknown() -> None:
    found = await Books(LegState.UNMATCHED).compare()
    assert found.unknown_orders == (ORDER,)
    assert not found.is_exact


async def test_money_that_differs_is_shown_to_the_micro_unit() -> None:
    books = Books(LegState.REJECTED)
    books.venue.balance -= 1
    found = await books.compare()
    assert found.difference_micro == -1
    assert not found.is_exact


async def test_shares_that_differ_are_shown_per_token() -> None:
    books = Books(LegState.REJECTED)
    books.ledger.update(TokenId("7"), 5, as_of_ms=1)
    books.ledger.update(TokenId("8"), 5, as_of_ms=1)
    books.venue.positions = {TokenId("7"): 5, TokenId("8"): 3}
    found = await books.compare()
    assert found.position_differences == {"8": -2}
    assert not found.is_exact


async def test_shares_of_an_unknown_order_that_only_the_exchange_has_are_found() -> None:
    books = Books(LegState.UNKNOWN)
    books.venue.positions[TOKEN] = 10_000_000
    found = await books.compare()
    assert found.position_differences == {TOKEN: 10_000_000}


@pytest.mark.parametrize(("rate", "fee"), [(20_000, 48_000), (None, 168_000)])
async def test_a_fee_rate_that_the_signal_did_not_know_is_asked_for(
    rate: int | None, fee: int
) -> None:
    books = Books(LegState.LIVE, fee_rate=None)
    books.venue.market_rate = rate
    books.trade(10_000_000, fee=fee)
    books.report(LegState.MATCHED, 10_000_000)
    assert (await books.compare()).is_exact
