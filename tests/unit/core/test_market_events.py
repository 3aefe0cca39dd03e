"""Frames of the market channel: every shape there was, and what is none."""

import json
from typing import Any

import pytest

from polyexec.core.market_events import (
    BestBidAsk,
    BookEvent,
    Ignored,
    LastTradePrice,
    Level,
    MarketResolved,
    NewMarket,
    PriceChange,
    PriceChanges,
    TickSizeChange,
    Unreadable,
    decode_frame,
    parse_time_ms,
    read_books,
)

BOOK = {
    "event_type": "book",
    "market": "0xm",
    "asset_id": "1",
    "timestamp": "1782852249137",
    "hash": "ab",
    "bids": [{"price": "0.1", "size": "5"}],
    "asks": [],
    "tick_size": "0.001",
    "last_trade_price": "0.002",
    "version": "v2",
}
ENTRY = {"asset_id": "1", "price": "0.1", "size": "0", "side": "BUY", "hash": "cd"}
CHANGE = {
    "event_type": "price_change",
    "market": "0xm",
    "timestamp": "1782852249138",
    "price_changes": [ENTRY | {"best_bid": "0.2", "best_ask": ""}, ENTRY | {"asset_id": "2"}],
}


def decoded(value: Any) -> Any:
    text = json.dumps(value)
    found = decode_frame(text.encode())
    assert list(found) == list(decode_frame(text))
    return list(found)


def test_objects_and_arrays_are_read() -> None:
    (book,) = decoded(BOOK)
    assert (book.bids, book.asks) == ([Level("0.1", "5")], [])
    assert (book.tick_size, book.last_trade_price, book.hash) == ("0.001", "0.002", "ab")
    assert (book.min_order_size, book.neg_risk) == (None, None)
    again, changes = decoded([BOOK, CHANGE])
    assert again == book
    first, second = changes.price_changes
    assert first == PriceChange("1", "0.1", "0", "BUY", "cd", "0.2", "")
    assert (second.asset_id, second.best_bid) == ("2", None)


def test_older_shapes_of_a_change_are_read() -> None:
    plain = {"event_type": "price_change", "asset_id": "1", "market": "0xm", "timestamp": "5"}
    levels = [
        {"price": "0.1", "size": "2", "side": "BUY"},
        {"price": "0.2", "size": "3", "side": "SELL"},
    ]
    (several,) = decoded(plain | {"hash": "ab", "changes": levels})
    assert [(c.asset_id, c.price, c.side, c.hash) for c in several.price_changes] == [
        ("1", "0.1", "BUY", None),  # the hash is that of the book after both
        ("1", "0.2", "SELL", "ab"),
    ]
    (flat,) = decoded(plain | levels[0] | {"hash": "ab"})
    assert flat.price_changes == [PriceChange("1", "0.1", "2", "BUY", "ab")]


def test_numbers_are_taken_for_their_texts_and_old_names_for_the_new() -> None:
    old = {
        "event_type": "book",
        "asset_id": "1",
        "timestamp": 1782852249137,
        "buys": [{"price": 0.1, "size": 5}],
        "sells": None,
    }
    (book,) = decoded(old)
    assert book == BookEvent(
        asset_id="1", timestamp="1782852249137", bids=[Level("0.1", "5")], asks=[]
    )
    (trade,) = decoded(
        {"event_type": "last_trade_price", "asset_id": "1", "price": 0.29, "size": None}
    )
    assert trade == LastTradePrice(asset_id="1", price="0.29")


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TickSizeChange, {"asset_id": "1", "new_tick_size": "0.001"}),
        (LastTradePrice, {"asset_id": "1", "price": "0.1"}),
        (BestBidAsk, {"asset_id": "1", "best_bid": None, "best_ask": ""}),
        (NewMarket, {"id": "1", "market": "0x", "tags": [1]}),
        (MarketResolved, {"market": "0x", "assets_ids": ["1"]}),
    ],
)
def test_every_other_type_is_read(kind: Any, fields: dict[str, Any]) -> None:
    (event,) = decoded(fields | {"event_type": kind.__struct_config__.tag})
    assert type(event) is kind


def test_keep_alives_are_no_events() -> None:
    for text in ("PONG", "PING"):
        assert list(decode_frame(text)) == list(decode_frame(text.encode())) == []
    assert decoded([]) == []


def test_unknown_types_are_passed_over() -> None:
    assert decoded([{"event_type": "news"}, BOOK])[0] == Ignored("news")


@pytest.mark.parametrize(
    "data", [b"{", b"\xff\xfe", b"[" * 100_000, b"1e999999999999", "\ud800", ""]
)
def test_what_is_no_json_can_have_been_about_anything(data: bytes | str) -> None:
    (fault,) = decode_frame(data)
    assert isinstance(fault, Unreadable)
    assert fault.is_book_news
    assert (fault.token_ids, fault.market) == ((), "")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (7, Unreadable("not_an_event", is_book_news=True)),
        ({}, Unreadable("not_an_event", is_book_news=True)),
        ({"event_type": 5, "market": "0xm"}, Unreadable("not_an_event", True, (), "0xm")),
        (BOOK | {"bids": "x"}, Unreadable("bad_book", True, ("1",), "0xm")),
        (BOOK | {"bids": [7]}, Unreadable("bad_book", True, ("1",), "0xm")),
        (BOOK | {"timestamp": None}, Unreadable("bad_book", True, ("1",), "0xm")),
        (BOOK | {"asset_id": True}, Unreadable("bad_book", True, (), "0xm")),
        (
            CHANGE | {"price_changes": [ENTRY | {"size": []}, 5, {"asset_id": "2"}]},
            Unreadable("bad_price_change", True, ("1", "2"), "0xm"),
        ),
        (CHANGE | {"price_changes": 5}, Unreadable("bad_price_change", True, (), "0xm")),
        (
            {"event_type": "best_bid_ask", "asset_id": "1", "best_bid": {}},
            Unreadable("bad_best_bid_ask", False, ("1",)),
        ),
    ],
)
def test_a_bad_event_says_what_it_was_about_and_spoils_no_other(value: Any, fault: Any) -> None:
    assert decoded([value, CHANGE])[0] == fault
    assert isinstance(decoded([value, CHANGE])[1], PriceChanges)


def test_answers_of_rest_are_books() -> None:
    plain = {name: value for name, value in BOOK.items() if name != "event_type"}
    both = json.dumps([plain | {"min_order_size": "5", "neg_risk": True}, 7])
    book, fault = read_books(both)
    assert isinstance(book, BookEvent)
    assert (book.min_order_size, book.neg_risk) == ("5", True)
    assert isinstance(fault, Unreadable)
    assert isinstance(read_books(b"{")[0], Unreadable)


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("1782852249137", 1_782_852_249_137),
        ("1782852249", 1_782_852_249_000),
        ("0", 0),
        ("", -1),
        ("-5", -1),
        ("1.5", -1),
        ("٣", -1),
        ("9" * 17, -1),
    ],
)
def test_times(text: str, time_ms: int) -> None:
    assert parse_time_ms(text) == time_ms
