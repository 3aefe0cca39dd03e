"""Our books against the exchange's: what is found, what is booked, what stays held."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import BalanceSnapshot, Fill, OrderStatus
from polyexec.core.resolution import ResolutionPolicy
from polyexec.core.tracking import OrderTracker, TrackedOrder
from polyexec.enums import LegState, Side
from polyexec.errors import VenueError
from polyexec.models import OrderId, TokenId
from polyexec.reconciliation import Reconciliation, follow_orders, reconcile
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


# several at a time --------------------------------------------------------------------------------


class SlowVenue(ScriptedVenue):
    """Answers about orders and positions only when told to, and counts who is waiting."""

    def __init__(self) -> None:
        super().__init__(balance=START)
        self.waiting_for: dict[str, asyncio.Future[None]] = {}
        self.most = 0
        self.broken: set[str] = set()

    async def _wait(self, name: str) -> None:
        assert name not in self.waiting_for, f"{name} is asked for twice at the same time"
        done = self.waiting_for[name] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.waiting_for))
        try:
            await done
        finally:
            del self.waiting_for[name]
        if name in self.broken:
            raise VenueError(500, name)

    def answer_now(self, names: Iterable[str] = ()) -> None:
        for name in tuple(names) or tuple(self.waiting_for):
            self.waiting_for[name].set_result(None)

    async def fetch_order(self, order_id: OrderId) -> OrderStatus | None:
        self.asked.append(order_id)
        status = self.statuses.get(order_id)
        await self._wait(order_id)
        return status

    async def fetch_position(self, token_id: TokenId) -> BalanceSnapshot:
        await self._wait(token_id)
        return await super().fetch_position(token_id)


class Desk:
    """Orders of 10 shares at 0.40 whose outcome is unknown, and questions that take their time."""

    def __init__(self, count: int = 1, **policy: Any) -> None:
        self.clock, self.ledger, self.venue = FakeClock(), Ledger(), SlowVenue()
        self.ledger.update(COLLATERAL, 10 * START, as_of_ms=1)
        self.tracker = OrderTracker(self.ledger, self.clock, ResolutionPolicy(**policy))
        (self.leg,) = priced(leg(fee_rate="0.07"))
        for number in range(count):
            made = self.ledger.reserve([(COLLATERAL, self.leg.reserve_micro)])
            assert isinstance(made, tuple)
            self.tracker.book_answer(
                order_id=OrderId(f"0x{number}"),
                leg=self.leg,
                reservation=made[0],
                outcome=LegOutcome(state=LegState.UNKNOWN),
                entry=b"{}",
            )

    def know(self, state: LegState, *order_ids: str) -> None:
        """Let the exchange know orders."""
        for order_id in map(OrderId, order_ids):
            self.venue.statuses[order_id] = OrderStatus(
                order_id=order_id,
                state=state,
                token_id=TOKEN,
                side=Side.BUY,
                price_e4=4000,
                size_micro=10_000_000,
                filled_micro=0,
                status=state,
            )

    def follow(self, resend: Callable[[TrackedOrder], None] | None = None) -> asyncio.Task[None]:
        tracker = self.tracker
        return asyncio.create_task(
            follow_orders(self.venue, tracker, tracker.orders, self.clock, resend)
        )

    async def finish(self, *tasks: asyncio.Task[Any]) -> None:
        """Answer question after question until the tasks are done."""
        while not all(task.done() for task in tasks):
            await settle()
            self.venue.answer_now()


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_orders_are_asked_for_several_at_a_time_and_no_more() -> None:
    desk = Desk(30)
    desk.know(LegState.CANCELLED, *(f"0x{number}" for number in range(30)))
    task = desk.follow()
    await desk.finish(task)
    await task
    assert desk.venue.most == 16
    assert len(desk.venue.asked) == 30
    assert desk.tracker.orders == ()
    assert desk.ledger.held() == 0


async def test_a_slow_order_does_not_hold_up_the_others() -> None:
    desk = Desk(20)
    desk.know(LegState.CANCELLED, *(f"0x{number}" for number in range(20)))
    task = desk.follow()
    await settle()
    while set(desk.venue.waiting_for) != {"0x3"}:
        desk.venue.answer_now(set(desk.venue.waiting_for) - {"0x3"})
        await settle()
    assert [order.order_id for order in desk.tracker.orders] == ["0x3"]
    await desk.finish(task)


async def test_what_fails_does_not_end_the_rest_and_is_raised_last() -> None:
    desk = Desk(10)
    desk.know(LegState.CANCELLED, *(f"0x{number}" for number in range(10)))
    desk.venue.broken = {"0x2", "0x7"}
    task = desk.follow()
    await desk.finish(task)
    with pytest.raises(VenueError, match="0x2"):
        await task
    assert len(desk.venue.asked) == 10
    assert [order.order_id for order in desk.tracker.orders] == ["0x2", "0x7"]
    assert desk.ledger.held() == 2 * desk.leg.reserve_micro


async def test_an_exchange_that_answers_nothing_is_not_asked_for_ever() -> None:
    desk = Desk(100)
    desk.venue.broken = {f"0x{number}" for number in range(100)}
    task = desk.follow()
    await desk.finish(task)
    with pytest.raises(VenueError):
        await task
    assert len(desk.venue.asked) < 40


async def test_a_cancelled_round_leaves_no_question_behind() -> None:
    desk = Desk(20)
    before = asyncio.all_tasks()
    task = desk.follow()
    await settle()
    assert len(desk.venue.waiting_for) == 16
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert desk.venue.waiting_for == {}
    assert asyncio.all_tasks() == before
    # And nobody waits for a turn that never comes.
    again = desk.follow()
    await desk.finish(again)
    await again


async def test_an_older_answer_never_comes_after_a_newer_one() -> None:
    desk = Desk()
    desk.know(LegState.LIVE, "0x0")
    first = desk.follow()
    await settle()
    desk.know(LegState.CANCELLED, "0x0")
    second = desk.follow()
    await settle()
    assert desk.venue.asked == ["0x0"]  # the second waits for its turn
    await desk.finish(first, second)
    assert desk.venue.asked == ["0x0", "0x0"]
    assert desk.tracker.orders == ()
    assert desk.ledger.held() == 0


async def test_questions_of_one_moment_are_one_proof_of_absence() -> None:
    desk = Desk(least_answers=3, absent_after_ms=1_000)
    desk.clock.advance(5_000)
    tasks = [desk.follow() for _ in range(10)]
    await desk.finish(*tasks)
    # One that was on its way, and one for all who asked meanwhile.
    assert desk.venue.asked == ["0x0", "0x0"]
    (order,) = desk.tracker.orders
    assert order.state is LegState.UNKNOWN
    await desk.finish(desk.follow())
    assert desk.tracker.orders == ()


async def test_who_waited_asks_again_when_the_question_failed() -> None:
    desk = Desk()
    desk.know(LegState.CANCELLED, "0x0")
    desk.venue.broken = {"0x0"}
    first, second = desk.follow(), desk.follow()
    await settle()
    desk.venue.answer_now()
    with pytest.raises(VenueError):
        await first
    desk.venue.broken = set()
    await desk.finish(second)
    await second
    assert desk.tracker.orders == ()


async def test_one_of_all_who_ask_sends_an_order_again() -> None:
    desk = Desk(least_answers=1, resend_after_ms=1_000)
    desk.clock.advance(5_000)
    again: list[OrderId] = []

    def resend(order: TrackedOrder) -> None:
        assert order.unknown is not None
        order.unknown.resent(desk.clock.time_ms())
        again.append(order.order_id)

    tasks = [desk.follow(resend) for _ in range(5)]
    await desk.finish(*tasks)
    for task in tasks:
        await task
    assert again == ["0x0"]


async def test_positions_are_asked_for_several_at_a_time() -> None:
    desk = Desk(0)
    for number in range(20, 40):
        desk.ledger.update(TokenId(str(number)), 5, as_of_ms=1)
        desk.venue.positions[TokenId(str(number))] = 5
    desk.venue.positions[TokenId("33")] = 4
    task = asyncio.create_task(reconcile(desk.venue, desk.ledger, desk.tracker, desk.clock))
    await desk.finish(task)
    assert (await task).position_differences == {"33": -1}
    assert desk.venue.most == 16
