"""Events in any order, twice or never, and then one backfill: the ledger ends where it must."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from polyexec import _impl
from polyexec.core.fills import FillBook
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Fill, OrderStatus
from polyexec.core.tracking import OrderTracker
from polyexec.enums import LegState, Side
from polyexec.listening import OrderListener
from polyexec.models import OrderId, TokenId
from tests.unit.core.support import FakeClock, leg, priced
from tests.unit.test_listening import FakeChannel, MergingVenue

ORDER, STRANGER, TOKEN = OrderId("0x1"), OrderId("0x2"), TokenId("1")
LOT = 10_000  # price x size is a whole number of micro-dollars
LIMIT_E4 = 4000
RATE = 70_000
SIZE = 100 * 1_000_000
START = 10**9
HISTORIES = (
    ("MATCHED",),
    ("MATCHED", "MINED"),
    ("MATCHED", "CONFIRMED"),
    ("MATCHED", "MINED", "CONFIRMED"),
    ("MATCHED", "MINED", "RETRYING", "MINED", "CONFIRMED"),
    ("MATCHED", "RETRYING", "FAILED"),
    ("CONFIRMED",),
)


@dataclass
class Story:
    """What truly happened to an order, and what was told of it in which order."""

    trades: list[tuple[Fill, ...]]  # as they stand in the end
    events: list[Callable[[OrderListener], None]]
    answer_at: int
    answer: LegOutcome
    end: OrderStatus


@st.composite
def stories(draw: st.DrawFn) -> Story:
    lots = draw(st.lists(st.integers(1, 2000), min_size=0, max_size=4))
    takes = draw(st.integers(0, len(lots)))  # so many of the trades it took, the rest it made
    events: list[Callable[[OrderListener], None]] = [_order(LegState.LIVE, 0)]
    trades = []
    filled = taken = paid = 0
    for number, size in enumerate(lots):
        price = draw(st.integers(1, LIMIT_E4))
        fills = _trade(
            number, size * LOT, price, is_taker=number < takes, parts=draw(st.booleans())
        )
        history = draw(st.sampled_from(HISTORIES))
        filled += size * LOT
        if number < takes:
            taken, paid = taken + size * LOT, paid + size * LOT * price // 10_000
        events += [_told(fills, word) for word in history]
        events.append(_order(LegState.PARTIAL, filled))
        trades.append(tuple(_with(fill, history[-1]) for fill in fills))
    state = draw(st.sampled_from((LegState.CANCELLED, LegState.LIVE)))
    if state is LegState.LIVE and filled:
        state = LegState.PARTIAL
    if state is LegState.CANCELLED:
        events.append(_order(state, filled))
    told = [event for event in events if draw(st.sampled_from((True, True, True, False)))]
    told += draw(st.lists(st.sampled_from(events), max_size=4))
    told = draw(st.permutations(told))
    answers = [LegOutcome(state=LegState.UNKNOWN)]
    answers.append(
        LegOutcome(
            state=LegState.PARTIAL if taken else LegState.LIVE, filled_micro=taken, paid_micro=paid
        )
    )
    answer_at = draw(st.integers(0, len(told)))
    return Story(trades, told, answer_at, draw(st.sampled_from(answers)), _status(state, filled))


@settings(max_examples=300)
@given(stories(), st.booleans())
def test_ledger_ends_where_it_must(story: Story, gap: bool) -> None:
    asyncio.run(_play(story, gap=gap))


async def _play(story: Story, *, gap: bool) -> None:
    clock, ledger, book = FakeClock(), Ledger(), FillBook()
    ledger.update(COLLATERAL, START, as_of_ms=1)
    tracker = OrderTracker(ledger, clock)
    venue = MergingVenue(book)
    everything = [fill for trade in story.trades for fill in trade]

    async def fetch_trades(after_s: int) -> AsyncIterator[list[Fill]]:
        for trade in story.trades:
            yield list(trade)

    listener = OrderListener(
        venue=venue, fills=book, fetch_trades=fetch_trades, tracker=tracker, clock=clock
    )
    listener.channel = FakeChannel()  # type: ignore[assignment]
    (priced_leg,) = priced(leg(price="0.40", size=SIZE // 1_000_000, fee_rate="0.07"))
    worst = SIZE * LIMIT_E4 // 10_000 + _impl.fill_fee(LIMIT_E4, SIZE, RATE, 1)
    started_ns = time.perf_counter_ns()
    (reservation,) = ledger.reserve([(COLLATERAL, worst + 10**6)])
    mine = [fill for fill in everything if fill.order_id == ORDER]
    spent = sum(fill.price_e4 * fill.size_micro // 10_000 + _fee(fill) for fill in mine)
    has_failed = any(fill.status == "FAILED" for fill in mine)

    def check() -> None:
        ledger.check()
        assert ledger.balance(TOKEN) <= sum(fill.size_micro for fill in mine)
        if not has_failed:  # money of a trade that is to fail may be free already
            assert ledger.available(COLLATERAL) <= START - spent

    for place in range(len(story.events) + 1):
        clock.advance(1000)
        if place == story.answer_at:
            tracker.book_answer(
                order_id=ORDER, leg=priced_leg, reservation=reservation, outcome=story.answer
            )
            clock.advance(1000)
            listener.answered((ORDER,), started_ns)
            await asyncio.sleep(0)
        if place < len(story.events):
            story.events[place](listener)
        if gap and place == len(story.events) // 2:
            listener.on_gap()
        check()
    venue.statuses[ORDER] = story.end
    venue.fills[ORDER] = tuple(mine)
    clock.advance(1000)
    await listener.backfill(1_800_000_000_000)
    check()
    kept = [fill for fill in mine if fill.status != "FAILED"]
    paid = sum(fill.price_e4 * fill.size_micro // 10_000 + _fee(fill) for fill in kept)
    assert ledger.balance(TOKEN) == sum(fill.size_micro for fill in kept)
    assert ledger.balance(COLLATERAL) == START - paid
    assert tracker.unknown_orders == ()
    if story.end.state is LegState.CANCELLED:
        assert ledger.held() == 0
    else:
        assert [order.order_id for order in tracker.orders] == [ORDER]


def _fee(fill: Fill) -> int:
    return _impl.fill_fee(fill.price_e4, fill.size_micro, RATE, 1) if fill.is_taker else 0


def _trade(
    number: int, size: int, price_e4: int, *, is_taker: bool, parts: bool
) -> tuple[Fill, ...]:
    """Return our fills of a trade, in one match or two, and one of somebody else."""
    half = size // 2 // LOT * LOT
    sizes = [half, size - half] if parts and is_taker and half else [size]
    own = [
        Fill(
            trade_id=f"t{number}",
            order_id=ORDER,
            token_id=TOKEN,
            side=Side.BUY,
            price_e4=price_e4,
            size_micro=part,
            is_taker=is_taker,
            status="MATCHED",
            match_time_s=0,
            counter_order_id=f"0xcounter{place}",
        )
        for place, part in enumerate(sizes)
    ]
    other = Fill(
        trade_id=f"t{number}",
        order_id=STRANGER,
        token_id=TOKEN,
        side=Side.SELL,
        price_e4=price_e4,
        size_micro=size,
        is_taker=not is_taker,
        status="MATCHED",
        match_time_s=0,
        counter_order_id=ORDER,
    )
    return (*own, other)


def _with(fill: Fill, word: str) -> Fill:
    return msgspec.structs.replace(fill, status=word)


def _told(fills: tuple[Fill, ...], word: str) -> Callable[[OrderListener], None]:
    news = [_with(fill, word) for fill in fills]
    return lambda listener: listener.on_fills(news)


def _order(state: LegState, filled: int) -> Callable[[OrderListener], None]:
    return lambda listener: listener.on_order(_status(state, filled))


def _status(state: LegState, filled: int) -> OrderStatus:
    return OrderStatus(
        order_id=ORDER,
        state=state,
        token_id=TOKEN,
        side=Side.BUY,
        price_e4=LIMIT_E4,
        size_micro=SIZE,
        filled_micro=filled,
        status=state.value,
    )
