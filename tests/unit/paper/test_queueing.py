"""The queue at one price: three estimates of one order's turn, and that they bound each other."""

from itertools import count

import hypothesis.strategies as st
from hypothesis import given

from polyexec.enums import Generation, OrderType, Side
from polyexec.paper.book import Order, PaperMarket
from polyexec.paper.conditions import QueueEstimate
from polyexec.paper.queueing import LAG_MS, WINDOW_MS, LevelQueue

M = 1_000_000
_MARKET = PaperMarket(
    "0x" + "01" * 32, ("11", "22"), "m", 100, False, Generation.CLOB_V2, 0, 1, 5 * M
)
_ids = count()


def order(shares: int) -> Order:
    return Order(
        f"{next(_ids)}", "a", _MARKET, 0, Side.BUY, OrderType.GTC, shares // 2, shares, 5000
    )


class Level:
    """A queue and the clock of its recording."""

    def __init__(self, estimate: QueueEstimate = "fifo", shown: int = 0, size: int = 10) -> None:
        self.queue = LevelQueue(estimate)
        self.now_ms = 0
        self.order = order(size)
        self.queue.join(self.order, shown, 0)
        self.wait(LAG_MS)

    def wait(self, ms: int) -> None:
        self.now_ms += ms

    def fall(self, shares: int, total: int) -> None:
        self.queue.fall(shares, total, self.now_ms)

    def trade(self, shares: int) -> int:
        """Return what of a trade our order gets."""
        fills, _ = self.queue.trade((shares,) * 3, self.now_ms)
        for filled, got in fills:
            filled.filled_micro += got
        return sum(got for filled, got in fills if filled is self.order)

    @property
    def ahead(self) -> tuple[int, int, int]:
        return self.queue.ahead_micro(self.order, self.now_ms)


def test_trades_take_from_the_front_and_then_it_is_our_turn() -> None:
    level = Level(shown=100)
    assert level.trade(60) == 0
    assert level.ahead == (40, 40, 40)
    assert level.trade(45) == 5
    assert level.trade(45) == 5  # no more than it wants


def test_cancels_come_from_behind_ahead_or_in_proportion() -> None:
    level = Level(shown=100)
    level.fall(60, 400)  # 300 have come behind it
    level.wait(WINDOW_MS + 1)
    assert level.ahead == (100, 85, 40)
    level.fall(300, 340)
    level.wait(WINDOW_MS + 1)
    assert level.ahead == (40, 10, 0)  # 40 are left in all


def test_a_fall_that_a_trade_explains_is_no_cancel_whichever_comes_first() -> None:
    for fall_first in (True, False):
        level = Level(shown=100)
        if fall_first:
            level.fall(30, 400)
        level.wait(27)
        level.trade(30)
        if not fall_first:
            level.wait(27)
            level.fall(30, 400)
        level.wait(WINDOW_MS + 1)
        assert level.ahead == (70, 70, 70), fall_first


def test_a_trade_long_after_a_fall_explains_nothing() -> None:
    level = Level(shown=100)
    level.fall(30, 100)
    level.wait(WINDOW_MS + 1)
    level.trade(30)
    assert level.ahead == (40, 40, 40)


def test_a_trade_told_right_after_joining_may_be_older_and_only_the_upper_bound_believes_it() -> (
    None
):
    level = Level()
    late = order(10)
    level.queue.join(late, 0, level.now_ms)
    level.order.filled_micro = 10
    level.queue.leave(level.order)
    fills, _ = level.queue.trade((10,) * 3, level.now_ms + LAG_MS - 1)
    assert fills == []
    (bounds,) = level.queue.bounds()
    assert (bounds.lower_micro, bounds.filled_micro, bounds.upper_micro) == (0, 0, 10)


def test_a_trade_at_a_worse_price_went_through_us() -> None:
    level = Level(shown=100)
    fills, left = level.queue.trade_through((4, 4, 4), level.now_ms)
    assert fills == [(level.order, 4)]
    assert left == (0, 0, 0)
    assert level.ahead == (0, 0, 0)


def test_the_older_of_two_orders_is_served_first() -> None:
    level = Level(shown=20)
    newer = order(10)
    level.queue.join(newer, 50, level.now_ms)  # 30 more have come in between
    level.wait(LAG_MS)
    assert level.trade(25) == 5
    fills, _ = level.queue.trade((36,) * 3, level.now_ms)
    assert fills == [(level.order, 5), (newer, 1)]  # between them 30 of others


def test_what_we_take_ourselves_was_ahead() -> None:
    level = Level(shown=100)
    level.queue.taken(30)
    assert level.ahead == (70, 70, 70)


def test_an_order_that_leaves_tells_its_bounds() -> None:
    level = Level(shown=100, size=10)
    level.fall(50, 200)
    level.wait(WINDOW_MS + 1)
    assert level.trade(60) == 0
    assert level.queue.leave(level.order) == (level.order.order_id, 10, 0, 0, 10)
    assert level.queue.leave(level.order) is None


_STEPS = st.lists(
    st.tuples(st.sampled_from(("fall", "grow", "trade", "through", "wait", "join", "taken")),
              st.integers(1, 120)),
    max_size=40,
)  # fmt: skip


@given(_STEPS, st.sampled_from(("fifo", "pro_rata")), st.integers(0, 200))
def test_bounds_are_bounds_whatever_happens(
    steps: list[tuple[str, int]], estimate: QueueEstimate, shown: int
) -> None:
    level, total = Level(estimate, shown, size=50), shown
    known = [level.order]
    for what, amount in steps:
        if what == "fall":
            gone = min(amount, total)
            if gone:
                level.fall(gone, total)
            total -= gone
        elif what == "grow":
            total += amount
        elif what == "trade":
            level.trade(amount)
        elif what == "through":
            fills, _ = level.queue.trade_through((amount,) * 3, level.now_ms)
            for filled, got in fills:
                filled.filled_micro += got
        elif what == "wait":
            level.wait(3 * amount)
        elif what == "taken":
            level.queue.taken(min(amount, total))
            total -= min(amount, total)
        else:
            known.append(order(amount))
            level.queue.join(known[-1], total, level.now_ms)
        for bounds in level.queue.bounds():
            assert (
                0 <= bounds.lower_micro <= bounds.filled_micro <= bounds.upper_micro
                <= bounds.size_micro
            )  # fmt: skip
        for one in known:
            fifo, pro_rata, earliest = level.queue.ahead_micro(one, level.now_ms)
            assert fifo >= pro_rata >= earliest >= 0
