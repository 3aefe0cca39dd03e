"""Fills of one order from several sources: each trade counts once, and nothing goes back."""

from typing import Any

import pytest

from polyexec.core.fills import FillBook, OrderRecord
from polyexec.core.ports import Fill, OrderStatus
from polyexec.enums import LegState, Settlement, Side
from polyexec.models import OrderId, TokenId

MINE, OTHER = OrderId("0xmine"), OrderId("0xother")


def fill(trade: str = "t1", size: int = 10, **changes: Any) -> Fill:
    given: dict[str, Any] = {
        "trade_id": trade,
        "order_id": MINE,
        "token_id": TokenId("1"),
        "side": Side.BUY,
        "price_e4": 4000,
        "size_micro": size,
        "is_taker": True,
        "status": "MATCHED",
        "match_time_s": 1_800_000_000,
        "counter_order_id": "0xmaker",
    }
    return Fill(**given | changes)


def status(state: LegState = LegState.LIVE, filled: int = 0) -> OrderStatus:
    return OrderStatus(
        order_id=MINE,
        state=state,
        token_id=TokenId("1"),
        side=Side.BUY,
        price_e4=4000,
        size_micro=100,
        filled_micro=filled,
        status=state.value,
    )


def test_nothing_is_known_of_a_new_order() -> None:
    assert FillBook().record(MINE) == OrderRecord()


def test_the_same_fill_again_is_no_news() -> None:
    book = FillBook()
    assert book.hear_fills([fill()]) == (MINE,)
    assert book.hear_fills([fill()]) == ()
    assert book.record(MINE).matched_micro == 10


def test_settlement_only_moves_forward() -> None:
    book = FillBook()
    for told in ("MINED", "MATCHED", "RETRYING", "CONFIRMED", "FAILED", "MINED"):
        book.hear_fills([fill(status=told)])
    assert [f.status for f in book.record(MINE).fills] == ["CONFIRMED"]


def test_a_status_word_of_tomorrow_proves_a_match_and_no_more() -> None:
    book = FillBook()
    book.hear_fills([fill(status="TELEPORTED")])
    assert book.record(MINE).fills[0].status == "MATCHED"
    assert Settlement.read("TRADE_STATUS_MINED") is Settlement.MINED


@pytest.mark.parametrize("whole_first", [True, False])
def test_a_trade_told_whole_and_match_by_match_counts_once(whole_first: bool) -> None:
    whole = [fill(size=10, counter_order_id="", status="CONFIRMED")]
    parts = [fill(size=4, counter_order_id="0xa"), fill(size=6, counter_order_id="0xb")]
    book = FillBook()
    for view in (whole, parts) if whole_first else (parts, whole):
        book.hear_fills(view)
    record = book.record(MINE)
    assert record.matched_micro == 10
    assert [f.size_micro for f in record.fills] == [4, 6]  # the fee is charged match by match
    assert {f.status for f in record.fills} == {"CONFIRMED"}


def test_fills_of_others_in_the_same_trade_are_not_ours() -> None:
    book = FillBook()
    assert set(book.hear_fills([fill(), fill(order_id=OTHER, size=3)])) == {MINE, OTHER}
    assert book.record(MINE).matched_micro == 10


def test_state_and_total_of_an_order_only_grow() -> None:
    book = FillBook()
    assert book.hear_order(status(LegState.PARTIAL, 5))
    assert not book.hear_order(status(LegState.LIVE, 0))
    assert book.hear_order(status(LegState.CANCELLED, 7))
    assert not book.hear_order(status(LegState.PARTIAL, 6))
    record = book.record(MINE)
    assert (record.state, record.filled_micro) == (LegState.CANCELLED, 7)


def test_an_answer_adds_to_what_was_told() -> None:
    book = FillBook()
    book.hear_fills([fill("t2", 20, status="CONFIRMED")])
    assert not book.record(MINE).is_complete
    fills = book.complete(MINE, [fill("t1", 10), fill("t2", 20), fill("t3", order_id=OTHER)])
    assert [(f.trade_id, f.status) for f in fills] == [("t1", "MATCHED"), ("t2", "CONFIRMED")]
    assert book.record(MINE).is_complete
    assert book.record(OTHER) == OrderRecord()


def test_after_a_gap_no_order_is_complete() -> None:
    book = FillBook()
    book.expect(MINE)
    assert book.record(MINE).is_complete
    book.missed()
    assert not book.record(MINE).is_complete


def test_strangers_are_bounded_and_do_not_push_out_our_own() -> None:
    book = FillBook(most_orders=2, most_strangers=2)
    book.hear_fills([fill()])
    book.expect(MINE)
    for number in range(5):
        book.hear_fills([fill(order_id=OrderId(f"0x{number}"))])
    assert len(book) == 3
    assert book.record(MINE).matched_micro == 10
    assert book.record(OrderId("0x0")) == OrderRecord()
    for number in range(5):
        book.expect(OrderId(f"0xnew{number}"))
    assert book.record(MINE) == OrderRecord()  # forgotten means not complete: it is asked for


def test_what_is_asked_for_of_an_order_that_is_not_followed_is_not_kept() -> None:
    book = FillBook(is_followed=lambda order_id: order_id != MINE)
    other = fill(order_id=OTHER)
    assert book.complete(MINE, [fill(), other]) == (fill(),)
    assert len(book) == 0
    assert book.complete(OTHER, [fill(), other]) == (other,)
    assert len(book) == 1
    book.forget(OTHER)
    assert len(book) == 0
