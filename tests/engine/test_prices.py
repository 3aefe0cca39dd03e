"""Both price tables: events as texts, faults as values, books as the exchange has them."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import pytest

from polyexec._pure.prices import (
    DEPTH_CHANGED,
    STALE_EVENT,
    TOP_CHANGED,
    BookState,
    Fault,
)
from polyexec.enums import Side
from tests.implementations import BOTH

TOKEN = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
NEW_TOP = TOP_CHANGED | DEPTH_CHANGED
BIDS = [("0.10", "100"), ("0.30", "20"), ("0.31", "5.5")]
ASKS = [("0.90", "7"), ("0.40", "30"), ("0.35", "8")]


@pytest.fixture(params=BOTH)
def functions(request: pytest.FixtureRequest) -> Any:
    return request.param


def loaded(functions: Any, tick_e4: int = 100) -> tuple[Any, int]:
    table = functions.PriceTable(8)
    slot = table.add(TOKEN, tick_e4)
    assert load(table, slot) == NEW_TOP
    return table, slot


def load(table: Any, slot: int, **changes: Any) -> int:
    given = {"bids": BIDS, "asks": ASKS, "tick_e4": 0, "time_ms": 1000, "received_ns": 5} | changes
    return table.load_book(slot, given.pop("bids"), given.pop("asks"), **given)


def change(table: Any, slot: int, side: str, price: str, size: str, **changes: Any) -> int:
    given = {"best_bid": "", "best_ask": "", "time_ms": 1001, "received_ns": 6} | changes
    return table.apply_change(slot, side, price, size, *given.values())


def test_a_snapshot_is_a_book(functions: Any) -> None:
    table, slot = loaded(functions)
    assert table.levels(slot, "BUY") == [(3100, 5_500_000), (3000, 20_000_000), (1000, 100_000_000)]
    assert table.levels(slot, Side.SELL) == [
        (3500, 8_000_000),
        (4000, 30_000_000),
        (9000, 7_000_000),
    ]
    top = table.top(slot)
    assert top == (3100, 3500, 5_500_000, 8_000_000, 1000, 5, 100, BookState.LIVE, 0)
    assert table.state(slot) is top.state is BookState.LIVE
    assert table.token_id_of(slot) == TOKEN
    assert table.slot(TOKEN) == slot
    assert TOKEN in table
    assert len(table) == 1


def test_levels_come_in_any_order_and_as_objects(functions: Any) -> None:
    table, slot = loaded(functions)
    before = table.levels(slot, "BUY"), table.levels(slot, "SELL")
    as_objects = [SimpleNamespace(price=price, size=size) for price, size in reversed(BIDS)]
    assert load(table, slot, bids=as_objects, asks=ASKS[1:] + ASKS[:1]) == DEPTH_CHANGED
    assert (table.levels(slot, "BUY"), table.levels(slot, "SELL")) == before


def test_a_snapshot_level_of_size_zero_is_none(functions: Any) -> None:
    table, slot = loaded(functions)
    load(table, slot, bids=[("0.10", "1"), ("0.20", "0")])
    assert table.levels(slot, "BUY") == [(1000, 1_000_000)]


def test_changes_set_the_total_at_a_price(functions: Any) -> None:
    table, slot = loaded(functions)
    assert change(table, slot, "BUY", "0.20", "4") == DEPTH_CHANGED
    assert change(table, slot, "BUY", "0.20", "4") == 0
    assert change(table, slot, "BUY", "0.31", "5") == NEW_TOP
    assert change(table, slot, Side.SELL, "0.34", "1", best_ask="0.34") == NEW_TOP
    assert change(table, slot, "SELL", "0.34", "0", best_ask="0.350", best_bid="0.31") == NEW_TOP
    assert change(table, slot, "SELL", "0.34", "0") == 0
    assert table.levels(slot, "BUY") == [
        (3100, 5_000_000),
        (3000, 20_000_000),
        (2000, 4_000_000),
        (1000, 100_000_000),
    ]
    assert table.levels(slot, "SELL")[0] == (3500, 8_000_000)


def test_many_levels_stay_sorted(functions: Any) -> None:
    table, slot = loaded(functions, tick_e4=0)
    prices = [*range(300, 0, -7), *range(5, 310, 7)]
    for price in prices:
        assert change(table, slot, "BUY", f"0.{price:03d}0", f"{price}") >= 0
    found = table.levels(slot, "BUY")
    assert found == sorted(set(found), reverse=True)
    assert {(price * 10, price * 1_000_000) for price in prices if price != 100} <= set(found)


def test_a_side_may_be_empty(functions: Any) -> None:
    table, slot = loaded(functions)
    assert load(table, slot, asks=[]) == NEW_TOP
    assert table.state(slot) is BookState.LIVE
    assert table.top(slot).best_ask_e4 == table.top(slot).best_ask_size_micro == 0
    assert change(table, slot, "BUY", "0.31", "0", best_ask="1", best_bid="0.30") == NEW_TOP
    assert load(table, slot, bids=[], asks=[], time_ms=1001) == NEW_TOP
    assert table.state(slot) is BookState.LIVE
    assert change(table, slot, "BUY", "0.31", "0", best_ask="0", best_bid="0") == 0


@pytest.mark.parametrize("price", ["0.35", "0.40"])
def test_a_crossed_book_is_marked(functions: Any, price: str) -> None:
    table, slot = loaded(functions)
    assert change(table, slot, "BUY", price, "1", best_bid=price, best_ask="0.35") == NEW_TOP
    assert table.state(slot) is BookState.CROSSED
    assert change(table, slot, "BUY", price, "0") == NEW_TOP
    assert table.state(slot) is BookState.LIVE


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"side": "buy"}, Fault.BAD_SIDE),
        ({"side": ""}, Fault.BAD_SIDE),
        ({"side": None}, Fault.BAD_SIDE),
        ({"price": "0.305"}, Fault.OFF_TICK),
        ({"price": "0.995"}, Fault.OFF_TICK),
        ({"price": "0"}, Fault.BAD_PRICE),
        ({"price": "1"}, Fault.BAD_PRICE),
        ({"price": "1.01"}, Fault.BAD_PRICE),
        ({"price": "0.30001"}, Fault.BAD_PRICE),
        ({"price": "-0.30"}, Fault.BAD_PRICE),
        ({"price": "nan"}, Fault.BAD_PRICE),
        ({"price": "3e-1"}, Fault.BAD_PRICE),
        ({"price": ""}, Fault.BAD_PRICE),
        ({"price": "."}, Fault.BAD_PRICE),
        ({"price": "0.3\0"}, Fault.BAD_PRICE),
        ({"price": "٠.٣"}, Fault.BAD_PRICE),
        ({"price": None}, Fault.BAD_PRICE),
        ({"price": 0.3}, Fault.BAD_PRICE),
        ({"price": b"0.30"}, Fault.BAD_PRICE),
        ({"price": "9" * 400}, Fault.BAD_PRICE),
        ({"size": "-1"}, Fault.BAD_SIZE),
        ({"size": "-0"}, Fault.BAD_SIZE),
        ({"size": "1.0000001"}, Fault.BAD_SIZE),
        ({"size": "288230376152"}, Fault.BAD_SIZE),
        ({"size": "9" * 400}, Fault.BAD_SIZE),
        ({"size": "ten"}, Fault.BAD_SIZE),
        ({"size": None}, Fault.BAD_SIZE),
        ({"size": 5}, Fault.BAD_SIZE),
        ({"best_bid": "0.30"}, Fault.BEST_DIFFERS),
        ({"best_ask": "0.36"}, Fault.BEST_DIFFERS),
        ({"best_ask": "0"}, Fault.BEST_DIFFERS),
        ({"best_ask": "x"}, Fault.BAD_PRICE),
        ({"best_bid": "1.1"}, Fault.BAD_PRICE),
        ({"best_bid": 0.31}, Fault.BAD_PRICE),
        ({"time_ms": -1}, Fault.BAD_TIME),
        ({"time_ms": 10**30}, Fault.BAD_TIME),
        ({"time_ms": -(10**30)}, Fault.BAD_TIME),
        ({"time_ms": 5001}, Fault.FROM_FUTURE),
        ({"time_ms": "5001"}, Fault.FROM_FUTURE),
        ({"time_ms": "soon"}, Fault.BAD_TIME),
        ({"time_ms": ""}, Fault.BAD_TIME),
        ({"time_ms": "-1"}, Fault.BAD_TIME),
        ({"time_ms": "9" * 30}, Fault.BAD_TIME),
    ],
)
def test_a_bad_change_drops_the_book(functions: Any, given: dict[str, Any], fault: Fault) -> None:
    table, slot = loaded(functions)
    table.horizon_ms = 5000
    good = {"side": "BUY", "price": "0.20", "size": "1"}
    assert change(table, slot, **good | {key: given[key] for key in given}) == fault
    assert table.state(slot) is BookState.EMPTY
    assert table.levels(slot, "BUY") == table.levels(slot, "SELL") == []
    assert table.top(slot)[:4] == (0, 0, 0, 0)
    assert change(table, slot, **good) == Fault.NOT_LOADED
    assert load(table, slot, time_ms=1001) == NEW_TOP
    assert table.state(slot) is BookState.LIVE


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"bids": None}, Fault.BAD_BOOK),
        ({"bids": "0.1"}, Fault.BAD_BOOK),
        ({"asks": [("0.5",)]}, Fault.BAD_BOOK),
        ({"asks": [("0.5", "1", "2")]}, Fault.BAD_BOOK),
        ({"asks": [None]}, Fault.BAD_PRICE),
        ({"asks": [{"price": "0.5", "size": "1"}]}, Fault.BAD_PRICE),
        ({"asks": [SimpleNamespace(price="0.5")]}, Fault.BAD_SIZE),
        ({"asks": [("0.5", "1"), ("0.50", "2")]}, Fault.DOUBLE_LEVEL),
        ({"asks": [("0.5", "-2")]}, Fault.BAD_SIZE),
        ({"bids": [("0.005", "2")]}, Fault.OFF_TICK),
        ({"tick_e4": -1}, Fault.BAD_TICK),
        ({"tick_e4": 5001}, Fault.BAD_TICK),
        ({"time_ms": -1}, Fault.BAD_TIME),
        ({"time_ms": 10**30}, Fault.BAD_TIME),
        ({"time_ms": 5001}, Fault.FROM_FUTURE),
    ],
)
def test_a_bad_snapshot_leaves_no_book(functions: Any, given: dict[str, Any], fault: Fault) -> None:
    table, slot = loaded(functions)
    table.horizon_ms = 5000
    assert load(table, slot, **given) == fault
    assert table.state(slot) is BookState.EMPTY
    assert table.levels(slot, "BUY") == table.levels(slot, "SELL") == []
    assert load(table, slot) == NEW_TOP


def test_an_unknown_slot_is_a_fault_of_events_and_an_error_of_readers(functions: Any) -> None:
    table, slot = loaded(functions)
    for other in (-1, slot + 1, 8, 10**6):
        assert load(table, other) == Fault.UNKNOWN_SLOT
        assert change(table, other, "BUY", "0.2", "1") == Fault.UNKNOWN_SLOT
        for read in (table.top, table.state, table.token_id_of, table.invalidate):
            with pytest.raises(IndexError, match=f"slot {other} has no token"):
                read(other)
        with pytest.raises(IndexError):
            table.levels(other, "BUY")
        with pytest.raises(IndexError):
            table.start_epoch(other, 10)
    assert table.slot("unknown") == -1
    with pytest.raises(ValueError, match="side must be"):
        table.levels(slot, "bid")


def test_a_time_may_be_text(functions: Any) -> None:
    table, slot = loaded(functions)
    assert change(table, slot, "BUY", "0.20", "1", time_ms="1002") == DEPTH_CHANGED
    assert table.top(slot).time_ms == 1002
    assert load(table, slot, time_ms="1003") == DEPTH_CHANGED


def test_an_older_event_is_not_applied(functions: Any) -> None:
    table, slot = loaded(functions)
    assert change(table, slot, "BUY", "0.20", "1", time_ms=1500) == DEPTH_CHANGED
    before = table.top(slot), table.levels(slot, "BUY")
    assert change(table, slot, "BUY", "0.20", "9", time_ms=1499, received_ns=9) == STALE_EVENT
    assert load(table, slot, time_ms=1499, received_ns=9) == STALE_EVENT
    assert (table.top(slot), table.levels(slot, "BUY")) == before
    assert change(table, slot, "BUY", "0.20", "9", time_ms=1500) == DEPTH_CHANGED


def test_a_snapshot_must_know_of_what_was_seen_while_there_was_no_book(functions: Any) -> None:
    table, slot = loaded(functions)
    table.invalidate(slot)
    assert change(table, slot, "BUY", "0.20", "1", time_ms=2000) == Fault.NOT_LOADED
    assert load(table, slot, time_ms=1999) == STALE_EVENT
    assert table.state(slot) is BookState.EMPTY
    assert load(table, slot, time_ms=2000) == NEW_TOP


def test_a_new_tick_size_starts_an_epoch(functions: Any) -> None:
    table, slot = loaded(functions)
    table.start_epoch(slot, 10)
    assert table.top(slot) == (0, 0, 0, 0, 1000, 5, 10, BookState.EMPTY, 1)
    assert change(table, slot, "BUY", "0.201", "1") == Fault.NOT_LOADED
    assert load(table, slot, bids=[("0.201", "1")], time_ms=1001) == NEW_TOP
    assert load(table, slot, tick_e4=10, time_ms=1001) == NEW_TOP
    assert table.top(slot).epoch == 1
    assert load(table, slot, tick_e4=100, time_ms=1001) == DEPTH_CHANGED
    assert table.top(slot).epoch == 2
    assert table.top(slot).tick_e4 == 100
    for wrong in (-1, 5001):
        with pytest.raises(ValueError, match="tick_e4 must be"):
            table.start_epoch(slot, wrong)


def test_a_book_that_is_seen_unchanged_is_young_again(functions: Any) -> None:
    table, slot = loaded(functions)
    table.confirm(slot, 50)
    table.confirm(slot, 40)
    assert table.top(slot).received_ns == 50
    assert table.top(slot).time_ms == 1000


def test_a_slot_is_given_again_and_says_so(functions: Any) -> None:
    table = functions.PriceTable(2)
    first, second = table.add("1", 100), table.add("2")
    assert {first, second} == {0, 1}
    assert table.add("1", 10) == first
    assert table.top(first).tick_e4 == 100
    assert table.add("2", 10) == second
    assert table.top(second).tick_e4 == 10
    with pytest.raises(OverflowError, match="holds 2 tokens"):
        table.add("3")
    load(table, first)
    epoch = table.top(first).epoch
    table.remove("1")
    table.remove("1")
    assert table.slot("1") == -1
    assert load(table, first) == Fault.UNKNOWN_SLOT
    assert table.add("3") == first
    assert table.top(first) == (0, 0, 0, 0, 0, 0, 0, BookState.EMPTY, epoch + 1)
    assert table.token_id_of(first) == "3"
    assert len(table) == 2


def test_what_a_program_passes_wrongly_is_an_error(functions: Any) -> None:
    for capacity in (0, 2**24 + 1):
        with pytest.raises(ValueError, match="capacity must be"):
            functions.PriceTable(capacity)
    table, slot = loaded(functions)
    with pytest.raises(TypeError, match="token_id must be text"):
        table.add(7)
    with pytest.raises(ValueError, match="tick_e4 must be"):
        table.add("7", 5001)
    for wrong in (True, 1.0, None):
        with pytest.raises(TypeError):
            change(table, slot, "BUY", "0.20", "1", time_ms=wrong)
        with pytest.raises(TypeError):
            change(table, wrong, "BUY", "0.20", "1")
    for act in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled"):
            act(table)
    assert repr(table) == "PriceTable(1 of 8 slots)"


def test_numpy_reads_the_slots_without_copying(functions: Any) -> None:
    numpy = pytest.importorskip("numpy")
    table, slot = loaded(functions)
    rows = numpy.asarray(table.view())
    assert rows.shape == (8,)
    assert rows.dtype.itemsize == 64
    assert not rows.flags.writeable
    change(table, slot, "BUY", "0.32", "1")
    assert rows["best_bid_e4"][slot] == 3200
    assert rows["best_ask_size_micro"].tolist() == [8_000_000] + [0] * 7
    for name in rows.dtype.names:
        if name != "tenant":
            assert rows[name][slot] == getattr(table.top(slot), name)
    table.remove(TOKEN)
    assert rows["tenant"].tolist() == [2] + [0] * 7
    del table
    assert rows["best_bid_e4"][slot] == 0


def test_a_view_cannot_be_written(functions: Any) -> None:
    table, _ = loaded(functions)
    view = table.view()
    assert view.readonly
    assert (view.nbytes, view.shape) == (8 * 64, (8,))
    assert view.format.startswith("T{<q:best_bid_e4:")


@pytest.mark.parametrize("kind", BOTH[1:])
def test_a_table_is_a_buffer(kind: Any) -> None:
    table, _ = loaded(kind)
    assert memoryview(table).nbytes == 8 * 64
    with pytest.raises(TypeError):
        memoryview(table).cast("B")[0] = 1
