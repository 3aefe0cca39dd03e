"""Events of the user channel against the ledger: what is booked, and when it is asked for."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from polyexec.core.fills import FillBook
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Fill, OrderStatus
from polyexec.core.tracking import OrderTracker
from polyexec.enums import LegState, Side
from polyexec.errors import NotSentError
from polyexec.listening import OrderListener
from polyexec.models import OrderId, TokenId
from tests.unit.core.support import FakeClock, leg, priced
from tests.unit.venues import ScriptedVenue

ORDER, TOKEN = OrderId("0x1"), TokenId("1")
MICRO = 1_000_000
PRICE_E4 = 4000
START = 100 * MICRO


class MergingVenue(ScriptedVenue):
    """Puts its answers together with the channel's news, as ``ClobVenue`` does."""

    def __init__(self, book: FillBook) -> None:
        super().__init__()
        self.book = book

    async def fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        return self.book.complete(order_id, await super().fetch_fills(order_id))


class FakeChannel:
    since_ns: int | None = 1


class World:
    """A ledger with one order of 10 shares at 0.40, and its listener."""

    def __init__(self, *, order_type: str = "GTC", fee_rate: Any = 0, **settings: Any) -> None:
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.tracker = OrderTracker(self.ledger, self.clock)
        self.book = FillBook()
        self.venue = MergingVenue(self.book)
        self.trades: list[Fill] = []
        self.asked_since: list[int] = []
        (self.leg,) = priced(
            leg(price="0.40", order_type=order_type, fee_rate=fee_rate), order_type=order_type
        )
        self.ledger.update(COLLATERAL, START, as_of_ms=1)
        self.listener = OrderListener(
            venue=self.venue,
            fills=self.book,
            fetch_trades=self._fetch_trades,
            tracker=self.tracker,
            clock=self.clock,
            **{"grace_s": 0.0} | settings,
        )
        self.listener.channel = FakeChannel()  # type: ignore[assignment]

    async def _fetch_trades(self, after_s: int) -> AsyncIterator[Sequence[Fill]]:
        self.asked_since.append(after_s)
        for trade in self.trades:
            yield (trade,)

    def post(self) -> int:
        """Reserve and send; return when."""
        (self.reservation,) = self.ledger.reserve([(COLLATERAL, 4 * MICRO)])
        return time.perf_counter_ns()

    async def answer(self, state: LegState, filled: int = 0, *, started_ns: int) -> None:
        outcome = LegOutcome(state=state, filled_micro=filled, paid_micro=filled * 4 // 10)
        self.tracker.book_answer(
            order_id=ORDER, leg=self.leg, reservation=self.reservation, outcome=outcome
        )
        self.listener.answered((ORDER,), started_ns)
        await asyncio.sleep(0)

    @property
    def order(self) -> Any:
        return next(iter(self.tracker.orders), None)

    @property
    def shares(self) -> int:
        return self.ledger.balance(TOKEN)


def fill(trade: str = "t1", shares: int = 10, **changes: Any) -> Fill:
    given: dict[str, Any] = {
        "trade_id": trade,
        "order_id": ORDER,
        "token_id": TOKEN,
        "side": Side.BUY,
        "price_e4": PRICE_E4,
        "size_micro": shares * MICRO,
        "is_taker": False,
        "status": "CONFIRMED",
        "match_time_s": 0,
        "counter_order_id": "0xother",
    }
    return Fill(**given | changes)


def status(state: LegState, shares: int = 0) -> OrderStatus:
    return OrderStatus(
        order_id=ORDER,
        state=state,
        token_id=TOKEN,
        side=Side.BUY,
        price_e4=PRICE_E4,
        size_micro=10 * MICRO,
        filled_micro=shares * MICRO,
        status=state.value,
    )


async def test_a_resting_order_fills_without_a_question() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    world.listener.on_order(status(LegState.LIVE))
    world.listener.on_fills([fill("t1", 4)])
    assert world.shares == 4 * MICRO
    world.listener.on_order(status(LegState.MATCHED, 10))
    world.listener.on_fills([fill("t2", 6)])
    assert world.shares == 10 * MICRO
    assert world.order is None
    assert world.ledger.held() == 0
    assert world.venue.asked == []


async def test_events_before_the_answer_are_kept_until_it_comes() -> None:
    world = World(order_type="FOK")
    started_ns = world.post()
    world.listener.on_order(status(LegState.MATCHED, 10))
    world.listener.on_fills([fill(is_taker=True)])
    assert world.shares == 0
    await world.answer(LegState.MATCHED, 10 * MICRO, started_ns=started_ns)
    assert world.order is None
    assert world.shares == 10 * MICRO
    assert world.ledger.balance() == START - 4 * MICRO
    assert world.venue.asked == []


async def test_an_order_that_is_final_is_not_remembered() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    world.listener.on_order(status(LegState.MATCHED, 10))
    world.listener.on_fills([fill("t1", 10, status="MATCHED")])
    assert len(world.book) == 1  # its trade can still fail
    world.listener.on_fills([fill("t1", 10)])
    assert world.order is None
    assert len(world.book) == 0


async def test_an_unknown_order_is_resolved_by_its_events() -> None:
    world = World()
    started_ns = world.post()
    await world.answer(LegState.UNKNOWN, started_ns=started_ns)
    assert len(world.tracker.unknown_orders) == 1
    world.listener.on_order(status(LegState.LIVE))
    assert world.tracker.unknown_orders == ()
    assert world.ledger.held() == 4 * MICRO


async def test_a_killed_unknown_order_frees_its_money() -> None:
    world = World(order_type="FOK")
    await world.answer(LegState.UNKNOWN, started_ns=world.post())
    world.listener.on_order(status(LegState.CANCELLED))
    assert world.order is None
    assert world.ledger.held() == 0
    assert world.ledger.balance() == START


async def test_an_end_that_names_more_than_was_told_is_asked_for() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    asker = asyncio.create_task(world.listener.ask_for_missing())
    world.venue.statuses[ORDER] = status(LegState.CANCELLED, 6)
    world.venue.fills[ORDER] = (fill("t1", 6),)
    world.listener.on_order(status(LegState.CANCELLED, 6))  # and its trade never comes
    assert world.order is not None
    assert world.ledger.held() == 4 * MICRO
    await until(lambda: world.order is None)
    assert world.shares == 6 * MICRO
    assert world.ledger.held() == 0
    asker.cancel()


async def test_what_comes_within_the_grace_is_not_asked_for() -> None:
    world = World(grace_s=0.001)
    await world.answer(LegState.LIVE, started_ns=world.post())
    asker = asyncio.create_task(world.listener.ask_for_missing())
    world.listener.on_order(status(LegState.PARTIAL, 6))
    await asyncio.sleep(0)
    world.listener.on_fills([fill("t1", 6)])
    await until(lambda: not world.listener._wanted)
    assert world.venue.asked == []
    assert world.shares == 6 * MICRO
    asker.cancel()


async def test_matched_is_no_end_while_shares_are_missing() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    asker = asyncio.create_task(world.listener.ask_for_missing())
    world.venue.statuses[ORDER] = status(LegState.PARTIAL, 4)
    world.venue.fills[ORDER] = (fill("t1", 4),)
    world.listener.on_fills([fill("t1", 4)])
    world.listener.on_order(status(LegState.MATCHED, 4))
    await until(lambda: world.venue.asked)
    await asyncio.sleep(0)
    assert world.order.state is LegState.PARTIAL
    assert world.ledger.held() == 6 * MICRO * 4 // 10
    asker.cancel()


async def test_taken_shares_that_no_trade_accounts_for_are_asked_for() -> None:
    # The answer took 5; the trade of that is lost, and a later one has as many shares.
    world = World()
    await world.answer(LegState.PARTIAL, 5 * MICRO, started_ns=world.post())
    asker = asyncio.create_task(world.listener.ask_for_missing())
    lost, later = fill("t1", 5, is_taker=True), fill("t2", 5)
    world.venue.statuses[ORDER] = status(LegState.MATCHED, 10)
    world.venue.fills[ORDER] = (lost, later)
    world.listener.on_fills([later])
    await until(lambda: world.order is None)
    assert world.shares == 10 * MICRO
    asker.cancel()


async def test_after_a_gap_an_event_is_a_reason_to_ask() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    asker = asyncio.create_task(world.listener.ask_for_missing())
    world.listener.on_fills([fill("t1", 2)])
    world.listener.on_gap()  # t2 is missed
    world.venue.statuses[ORDER] = status(LegState.PARTIAL, 6)
    world.venue.fills[ORDER] = (fill("t1", 2), fill("t2", 3), fill("t3", 1))
    world.listener.on_fills([fill("t3", 1)])
    assert world.shares == 2 * MICRO
    await until(lambda: world.shares == 6 * MICRO)
    asker.cancel()


async def test_an_order_sent_before_the_connection_is_not_taken_to_be_whole() -> None:
    world = World()
    started_ns = world.post()
    world.listener.channel.since_ns = time.perf_counter_ns()  # type: ignore[union-attr,misc]
    await world.answer(LegState.LIVE, started_ns=started_ns)
    world.listener.on_fills([fill("t2", 3)])
    assert world.shares == 0
    assert list(world.listener._wanted) == [ORDER]


async def test_backfill_asks_for_trades_and_for_every_order() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    world.venue.statuses[ORDER] = status(LegState.MATCHED, 10)
    world.venue.fills[ORDER] = (fill(),)
    await world.listener.backfill(1_800_000_000_000)
    assert world.asked_since == [1_800_000_000 - 60]
    assert world.order is None
    assert world.shares == 10 * MICRO


async def test_first_connect_has_no_gap_to_ask_trades_for() -> None:
    world = World()
    await world.listener.backfill(0)
    assert world.asked_since == []


async def test_backfill_that_fails_says_so() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    world.venue.fault = NotSentError("down")
    with pytest.raises(NotSentError):
        await world.listener.backfill(0)


async def test_a_failed_settlement_gives_back() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    world.listener.on_fills([fill("t1", 4, status="MATCHED")])
    assert world.shares == 4 * MICRO
    world.listener.on_fills([fill("t1", 4, status="FAILED")])
    assert world.shares == 0
    assert world.ledger.balance() == START


async def test_a_fee_that_is_not_known_is_asked_for() -> None:
    world = World(fee_rate=None)
    await world.answer(LegState.LIVE, started_ns=world.post())
    asker = asyncio.create_task(world.listener.ask_for_missing())
    world.venue.statuses[ORDER] = status(LegState.MATCHED, 10)
    world.venue.fills[ORDER] = (fill(),)
    world.listener.on_fills([fill()])
    await until(lambda: world.order is None)
    asker.cancel()


async def test_an_accepted_order_that_nobody_mentions_is_owed() -> None:
    world = World(freeze_s=-1.0)
    assert not world.listener.is_owed
    await world.answer(LegState.LIVE, started_ns=world.post())
    assert world.listener.is_owed
    world.listener.on_order(status(LegState.LIVE))
    assert not world.listener.is_owed


async def test_nothing_is_owed_across_a_gap_or_of_what_was_told_before() -> None:
    world = World(freeze_s=-1.0)
    started_ns = world.post()
    world.listener.on_order(status(LegState.LIVE))
    await world.answer(LegState.LIVE, started_ns=started_ns)
    assert not world.listener.is_owed
    world.listener._owed[ORDER] = 0.0
    world.listener.on_gap()
    assert not world.listener.is_owed


async def test_a_question_that_fails_does_not_end_the_asking() -> None:
    world = World()
    await world.answer(LegState.LIVE, started_ns=world.post())
    asker = asyncio.create_task(world.listener.ask_for_missing())
    world.venue.fault = NotSentError("down")
    world.listener.on_order(status(LegState.CANCELLED, 6))
    await until(lambda: world.venue.asked)
    world.venue.fault = None
    world.venue.statuses[ORDER] = status(LegState.CANCELLED, 6)
    world.venue.fills[ORDER] = (fill("t1", 6),)
    world.listener.on_fills([fill("t1", 5)])
    await until(lambda: world.order is None)
    assert world.shares == 6 * MICRO
    asker.cancel()


async def until(condition: Any) -> None:
    """Let the loop turn until something holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to pass")
