"""Recorded books as liquidity: what we took stays taken, and our resting orders get their turn."""

from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from polyexec import paper
from polyexec.enums import Side
from polyexec.errors import InternalError
from polyexec.paper.conditions import Conditions, QueueEstimate
from polyexec.paper.ledger import HOUSE
from polyexec.paper.queueing import LAG_MS, WINDOW_MS

from .support import Clock, Trader

M = 1_000_000
Levels = Sequence[tuple[int, int]]


class Replay:
    """One market, its recording, and one trader; sizes are whole shares, prices cents."""

    def __init__(self, queue: QueueEstimate = "fifo") -> None:
        self.clock = Clock()
        self.exchange = paper.PaperExchange(clock=self.clock, conditions=Conditions(queue=queue))
        self.market = self.exchange.add_market("m", min_order_size=1)
        self.yes, self.no = self.market.token_ids
        self.books = self.exchange.recorded_books(lambda token: None)
        self.book = self.books[self.market]
        self.trader = Trader(self.exchange)
        self.exchange.deposit(self.trader.address, 1_000_000)

    def show(self, bids: Levels = (), asks: Levels = (), token: int = 0) -> None:
        self.book.show(token, _scaled(bids), _scaled(asks))

    def order(
        self, side: str, cents: int, size: int, kind: str = "GTC", token: str = "", **more: str
    ) -> str:
        price = f"{cents / 100:.2f}"
        entry = self.trader.limit(token or self.yes, side, price, str(size), kind, **more)
        status, answer = self.trader.post(entry)
        assert status in (200, 400), answer
        return str(answer.get("orderID", ""))

    def filled(self, order_id: str) -> float:
        return self.exchange.engine.orders[order_id].filled_micro / M

    def trade(self, side: Side, cents: int, size: int, token: int = 0) -> None:
        self.book.trade(token, side, cents * 100, size * M)

    def wait(self, ms: int = WINDOW_MS + 1) -> None:
        self.clock.now_ms += ms

    def available(self, token: str = "") -> tuple[dict[int, float], dict[int, float]]:
        view = self.exchange.snapshot(token or self.yes)
        bids, asks = (
            {round(float(one["price"]) * 100): float(one["size"]) for one in view[side]}
            for side in ("bids", "asks")
        )
        return bids, asks


def _scaled(levels: Levels) -> list[tuple[int, int]]:
    return [(cents * 100, shares * M) for cents, shares in levels]


@pytest.fixture
def replay() -> Replay:
    return Replay()


def test_the_book_is_what_is_recorded_from_both_tokens(replay: Replay) -> None:
    replay.show([(40, 100), (39, 5)], [(42, 7)])
    assert replay.available() == ({40: 100, 39: 5}, {42: 7})
    assert replay.available(replay.no) == ({58: 7}, {60: 100, 61: 5})
    replay.show([(58, 9)], [(60, 1)], token=1)
    assert replay.available() == ({40: 1}, {42: 9})
    assert not replay.book.is_ours


def test_what_we_took_stays_taken_until_the_level_is_new(replay: Replay) -> None:
    replay.show(asks=[(42, 100)])
    replay.order("BUY", 42, 30)
    assert replay.available()[1] == {42: 70}
    for recorded, there in ((100, 70), (120, 90), (110, 90), (80, 80), (85, 85)):
        replay.show(asks=[(42, recorded)])
        assert replay.available()[1] == {42: there}, recorded
    replay.order("BUY", 42, 85)
    assert replay.available()[1] == {}
    replay.show(asks=[(42, 90)])  # five more have come
    assert replay.available()[1] == {42: 5}
    replay.show(asks=[(43, 10)])
    replay.show(asks=[(42, 90)])  # another level at the same price
    assert replay.available()[1] == {42: 90}
    assert not replay.book.is_ours


def test_a_book_that_moves_does_not_cross_itself_on_the_way(replay: Replay) -> None:
    replay.show([(40, 10)], [(42, 10)])
    replay.show([(45, 10)], [(47, 10)])
    replay.show([(35, 10)], [(36, 10)])
    assert replay.available() == ({35: 10}, {36: 10})
    assert not replay.exchange.engine.trades


def test_a_recorded_order_that_crosses_ours_meets_it(replay: Replay) -> None:
    replay.show([(40, 10)], [(45, 10)])
    bid = replay.order("BUY", 42, 20)
    replay.show([(40, 10)], [(41, 8), (45, 10)])
    assert replay.filled(bid) == 8
    assert replay.exchange.engine.orders[bid].cash_micro == 8 * 420_000  # at our price
    assert replay.available()[1] == {45: 10}
    replay.show([(40, 10)], [(41, 11), (45, 10)])
    assert replay.filled(bid) == 11
    replay.exchange.audit()


def test_resting_orders_wait_for_their_turn(replay: Replay) -> None:
    replay.show([(40, 100)], [(45, 10)])
    bid = replay.order("BUY", 40, 20)
    replay.wait()
    replay.trade(Side.SELL, 40, 90)
    replay.show([(40, 10)], [(45, 10)])
    assert replay.filled(bid) == 0
    replay.trade(Side.SELL, 40, 15)
    assert replay.filled(bid) == 5
    replay.trade(Side.BUY, 40, 50)  # lifts asks, which are not ours
    assert replay.filled(bid) == 5
    replay.trade(Side.SELL, 39, 50)
    assert replay.filled(bid) == 20
    (bounds,) = replay.books.fill_bounds()
    assert bounds[1:] == (20 * M,) * 4
    replay.exchange.audit()


def test_a_trade_of_the_other_token_is_one_of_ours(replay: Replay) -> None:
    replay.show([(40, 10)], [])
    bid = replay.order("BUY", 40, 20)
    replay.wait()
    replay.trade(Side.BUY, 60, 14, token=1)  # mints with who bids 40 for the first
    assert replay.filled(bid) == 4
    other = replay.order("BUY", 50, 20, token=replay.no)
    replay.wait()
    replay.trade(Side.SELL, 49, 6, token=1)
    assert replay.filled(other) == 6
    assert replay.exchange.position(replay.trader.address, replay.no) == 6
    replay.exchange.audit()


def test_the_chosen_estimate_decides_and_the_bounds_tell_of_the_others() -> None:
    got = {}
    for queue in ("fifo", "pro_rata"):
        replay = Replay(queue)  # type: ignore[arg-type]
        replay.show([(40, 100)], [(45, 10)])
        bid = replay.order("BUY", 40, 20)
        replay.show([(40, 200)], [(45, 10)])
        replay.show([(40, 100)], [(45, 10)])  # a hundred are cancelled, who knows where
        replay.wait()
        replay.trade(Side.SELL, 40, 60)
        got[queue] = replay.filled(bid)
        (bounds,) = replay.books.fill_bounds()
        assert (bounds.lower_micro, bounds.upper_micro) == (0, 20 * M)
    assert got == {"fifo": 0, "pro_rata": 10}


def test_a_gap_leaves_nothing_to_take_and_our_place_in_the_queue(replay: Replay) -> None:
    replay.show([(40, 100), (39, 7)], [(45, 10)])
    bid = replay.order("BUY", 40, 20)
    replay.book.void()
    assert replay.order("BUY", 45, 5, "FOK") == ""
    replay.show([(40, 300), (39, 7)], [(45, 10)])
    replay.wait()
    replay.trade(Side.SELL, 40, 90)
    assert replay.filled(bid) == 0
    replay.trade(Side.SELL, 40, 15)
    assert replay.filled(bid) == 5
    assert replay.available() == ({40: 315, 39: 7}, {45: 10})  # with the rest of ours


def test_a_cancelled_order_leaves_the_queue_and_is_reported(replay: Replay) -> None:
    replay.show([(40, 100)], [(45, 10)])
    bid = replay.order("BUY", 40, 20)
    assert replay.book.is_ours
    replay.trader.request("DELETE", "/order", {"orderID": bid})
    assert not replay.book.is_ours
    assert replay.books.ours() == []
    (bounds,) = replay.books.fill_bounds()
    assert bounds == (bid, 20 * M, 0, 0, 0)


def test_a_mistake_of_ours_ends_the_replay(
    replay: Replay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(paper.RecordedBook, "on_fill", lambda self, event: 1 / 0)
    replay.show(asks=[(42, 100)])
    assert replay.order("BUY", 42, 30)  # the order does not suffer
    with pytest.raises(InternalError, match="recorded books"):
        replay.books.ours()
    assert "paper_watcher_failed" in caplog.text


def test_house_orders_are_forgotten_when_they_end(replay: Replay) -> None:
    replay.order("BUY", 1, 100)
    for step in range(300):
        replay.show([(30 + step % 9, 10 + step)], [(60 + step % 7, 5 + step)])
    engine = replay.exchange.engine
    assert len(engine.orders) == len(engine.live) == 3
    assert not engine.trades


_SIDES = st.lists(st.tuples(st.integers(1, 99), st.integers(1, 50)), max_size=5)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("show"), _SIDES, st.integers(0, 98), st.sampled_from((0, 1))),
        st.tuples(
            st.just("order"),
            st.sampled_from(("BUY", "SELL")),
            st.integers(1, 99),
            st.integers(5, 60),
            st.sampled_from(("GTC", "FAK", "FOK")),
            st.sampled_from((0, 1)),
        ),
        st.tuples(st.just("trade"), st.sampled_from(Side), st.integers(1, 99), st.integers(1, 60)),
        st.tuples(st.just("wait"), st.sampled_from((1, LAG_MS, WINDOW_MS + 1))),
        st.just(("void",)),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(_STEPS, st.sampled_from(("fifo", "pro_rata")))
def test_no_recording_makes_or_loses_anything(steps: list, queue: QueueEstimate) -> None:
    replay = Replay(queue)
    for token in (replay.yes, replay.no):
        replay.exchange.set_position(replay.trader.address, token, 10_000)
    recorded: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for what, *rest in steps:
        if what == "show":
            levels, middle, token = rest
            bids = {price: size for price, size in levels if price <= middle}
            asks = {price: size for price, size in levels if price > middle}
            replay.show([*bids.items()], [*asks.items()], token)
            if token:
                bids, asks = (
                    {100 - price: size for price, size in side.items()} for side in (asks, bids)
                )
            recorded = (bids, asks)
        elif what == "order":
            side, cents, size, kind, token = rest
            replay.order(side, cents, size, kind, replay.market.token_ids[token])
        elif what == "trade":
            replay.trade(*rest)
        elif what == "wait":
            replay.wait(*rest)
        else:
            replay.book.void()
            recorded = ({}, {})
        engine = replay.exchange.engine
        for is_bid, levels in zip((True, False), recorded, strict=True):
            for price, size in levels.items():
                there = replay.exchange._exchange.house_micro(replay.market, is_bid, price * 100)
                gone = replay.book.impact.get((is_bid, price * 100), 0)
                assert there + gone == size * M
        for trade in engine.trades.values():
            assert {trade.taker.account, *(f.order.account for f in trade.makers)} != {HOUSE}
        for bounds in replay.books.fill_bounds():
            assert bounds.lower_micro <= bounds.filled_micro <= bounds.upper_micro
        replay.exchange.audit()


@pytest.mark.parametrize("how", ["trade", "crossing"])
def test_an_order_past_its_time_does_not_trade(replay: Replay, how: str) -> None:
    replay.show([(40, 100)], [(45, 50)])
    ends_s = replay.clock.now_ms // 1000 + 200
    bid = replay.order("BUY", 40, 20, "GTD", expiration=str(ends_s))
    replay.wait(139_000)
    replay.trade(Side.SELL, 39, 5)
    assert replay.filled(bid) == 5
    replay.wait(1_000)  # a GTD order ends a minute before the time that it states
    if how == "trade":
        replay.trade(Side.SELL, 39, 50)
    else:
        replay.show([(39, 100)], [(40, 50)])
    assert replay.filled(bid) == 5
    assert replay.exchange.engine.orders[bid].status == "CANCELED"
