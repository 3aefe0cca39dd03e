"""Both price tables against an exchange's book that is too simple to be wrong."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from polyexec._pure.prices import STALE_EVENT, BookState, Fault
from tests.engine.worlds import price_text, size_text
from tests.implementations import FAST, PURE

KINDS = [functions for functions in (PURE, FAST) if functions is not None]
SIDES = ("BUY", "SELL")
prices = st.integers(1, 99).map(lambda cents: cents * 100)
sizes = st.integers(1, 5).map(lambda shares: shares * 1_000_000) | st.integers(1, 2**58)
garbage = st.text(max_size=6) | st.none() | st.floats() | st.binary(max_size=3)
books = st.dictionaries(prices, sizes, max_size=6)


class TableMachine(RuleBasedStateMachine):
    """The exchange has one book; what reaches the tables is late, doubled, lost or garbage."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = [functions.PriceTable(4) for functions in KINDS]
        for table in self.tables:
            assert table.add("other") == 0
            assert table.add("7", 100) == 1
        self.book: dict[str, dict[int, int]] = {"BUY": {}, "SELL": {}}
        self.time = 10
        self.is_known = False
        self.sent: list[tuple[Any, ...]] = []

    def both(self, name: str, *args: Any, **kwargs: Any) -> int:
        answers = [getattr(table, name)(*args, **kwargs) for table in self.tables]
        assert len(set(answers)) == 1
        return answers[0]

    def best(self, side: str) -> int:
        levels = self.book[side]
        return (max if side == "BUY" else min)(levels, default=0)

    @rule(bids=books, asks=books)
    def snapshot(self, bids: dict[int, int], asks: dict[int, int]) -> None:
        self.time += 1
        self.book = {"BUY": bids, "SELL": asks}
        self.load()

    @rule()
    def load(self) -> None:
        levels = [
            [(price_text(price), size_text(size)) for price, size in self.book[side].items()]
            for side in SIDES
        ]
        flags = self.both(
            "load_book", 1, *levels, tick_e4=0, time_ms=self.time, received_ns=self.time
        )
        assert flags > 0
        self.is_known = True

    @rule(side=st.sampled_from(SIDES), price=prices, size=sizes | st.just(0), is_lost=st.booleans())
    def change(self, side: str, price: int, size: int, is_lost: bool) -> None:
        self.time += 1
        if size:
            self.book[side][price] = size
        else:
            self.book[side].pop(price, None)
        best = [price_text(self.best(one)) if self.best(one) else "" for one in SIDES]
        sent = (1, side, price_text(price), size_text(size), *best, self.time, self.time)
        self.sent.append(sent)
        if is_lost:
            # Whoever noticed the gap says so.
            self.both("invalidate", 1)
            self.is_known = False
            return
        flags = self.both("apply_change", *sent)
        assert flags >= 0 if self.is_known else flags == Fault.NOT_LOADED

    @rule(data=st.data())
    def doubled(self, data: st.DataObject) -> None:
        if not self.sent:
            return
        sent = data.draw(st.sampled_from(self.sent))
        flags = self.both("apply_change", *sent)
        if not self.is_known:
            assert flags == Fault.NOT_LOADED
        elif sent[6] < self.time:
            assert flags == STALE_EVENT
        else:
            assert flags == 0

    @rule(
        values=st.tuples(garbage, garbage, garbage, garbage, garbage),
        time=st.integers(-(10**30), 10**30),
    )
    def nonsense(self, values: tuple[Any, ...], time: int) -> None:
        # Nothing here is a side, so nothing can be applied.
        assert self.both("apply_change", 1, *values, time, 0) == Fault.BAD_SIDE
        self.is_known = False

    @rule(
        side=st.sampled_from(SIDES),
        price=garbage,
        size=garbage,
        best=st.tuples(garbage, garbage),
    )
    def half_nonsense(self, side: str, price: Any, size: Any, best: tuple[Any, Any]) -> None:
        flags = self.both("apply_change", 1, side, price, size, *best, self.time, self.time)
        if flags < 0:
            self.is_known = False
        else:
            # By chance it was sense: ask for the book again.
            self.load()

    @rule(levels=st.lists(st.tuples(garbage, garbage) | garbage, min_size=1, max_size=3))
    def nonsense_book(self, levels: list[Any]) -> None:
        flags = self.both(
            "load_book", 1, levels, levels, tick_e4=0, time_ms=self.time, received_ns=self.time
        )
        if flags < 0:
            self.is_known = False
        else:
            self.load()

    @rule()
    def new_tenant(self) -> None:
        self.both("remove", "7")
        assert self.both("add", "7", 100) == 1
        self.is_known = False

    @invariant()
    def tables_have_the_exchange_s_book(self) -> None:
        for table in self.tables:
            for side in SIDES:
                book = self.book[side] if self.is_known else {}
                assert table.levels(1, side) == sorted(book.items(), reverse=side == "BUY")
            top = table.top(1)
            if not self.is_known:
                assert top.state is BookState.EMPTY
                assert top[:4] == (0, 0, 0, 0)
                continue
            bid, ask = self.best("BUY"), self.best("SELL")
            assert (top.best_bid_e4, top.best_ask_e4) == (bid, ask)
            assert top.best_bid_size_micro == self.book["BUY"].get(bid, 0)
            assert top.best_ask_size_micro == self.book["SELL"].get(ask, 0)
            is_crossed = bid and ask and bid >= ask
            assert top.state is (BookState.CROSSED if is_crossed else BookState.LIVE)

    @invariant()
    def tables_are_the_same(self) -> None:
        assert len({table.view().tobytes() for table in self.tables}) == 1


TestTableMachine = TableMachine.TestCase
TestTableMachine.settings = settings(max_examples=60, stateful_step_count=40)
