"""Both channels: any message gives a reading, and the readings make one record in any order."""

import random

from polyexec._impl import PriceTable
from polyexec._pure.prices import BookState
from polyexec.clob.user_channel import decode_events
from polyexec.core.fills import FillBook
from polyexec.core.market_events import decode_frame
from polyexec.engine.following import FeedSettings
from polyexec.engine.keeping import BookKeeper
from polyexec.models import TokenId
from tests.fuzz import generate
from tests.fuzz.registry import target
from tests.fuzz.targets.answers import ORDER_RECORD, TRADE_RECORD

ORDER_EVENT = ORDER_RECORD | {"event_type": "order", "type": "UPDATE", "timestamp": "1767225600123"}
TRADE_EVENT = TRADE_RECORD | {"event_type": "trade", "type": "TRADE", "bucket_index": 0}


@target("user_channel.decode_events")
def any_message(source: random.Random) -> None:
    if source.random() < 0.1:
        decode_events(generate.bytes_of(source))
        return
    example = source.choice([ORDER_EVENT, TRADE_EVENT, [ORDER_EVENT, TRADE_EVENT]])
    data = generate.json_bytes(source, example)
    found = decode_events(data)
    if data.isascii():
        assert found == decode_events(data.decode())


@target("fills.any_order")
def any_order(source: random.Random) -> None:
    found = [decode_events(generate.json_bytes(source, TRADE_EVENT)) for _ in range(4)]
    trades = [fills for events in found for fills in events.trades]
    # Whichever end of a trade comes first stays: two ends of one are no news but a contradiction.
    if {"CONFIRMED", "FAILED"} <= {fill.status for fills in trades for fill in fills}:
        return
    records = []
    for _ in range(2):
        book = FillBook()
        for fills in source.sample(trades, len(trades)) + trades[:1]:
            book.hear_fills(fills)
        ids = sorted({fill.order_id for fills in trades for fill in fills})
        records.append([book.record(order_id) for order_id in ids])
    assert records[0] == records[1]


MARKET_EVENTS = [
    {
        "event_type": "book",
        "market": "0x01",
        "asset_id": "1",
        "timestamp": "1767225600123",
        "hash": "ab",
        "bids": [{"price": "0.4", "size": "10"}],
        "asks": [{"price": "0.6", "size": "10"}],
        "tick_size": "0.01",
        "last_trade_price": "0.500",
    },
    {
        "event_type": "price_change",
        "market": "0x01",
        "timestamp": "1767225600124",
        "price_changes": [
            {"asset_id": "1", "price": "0.41", "size": "5", "side": "BUY", "best_bid": "0.41"}
        ],
    },
    {"event_type": "tick_size_change", "asset_id": "1", "new_tick_size": "0.001"},
    {"event_type": "best_bid_ask", "asset_id": "1", "best_bid": "0.4", "best_ask": ""},
    {"event_type": "last_trade_price", "asset_id": "1", "price": "0.5", "market": "0x01"},
]


@target("engine.keeping")
def any_frame(source: random.Random) -> None:
    table, wanted = PriceTable(2), []
    keeper = BookKeeper(
        table, FeedSettings(), on_touched=lambda slot: None, on_wanted=wanted.append
    )
    token = keeper.follow(TokenId("1"), 0)
    for number in range(6):
        data = generate.json_bytes(source, source.choice([*MARKET_EVENTS, MARKET_EVENTS]))
        keeper.take(
            decode_frame(data), owner=0, now_s=number, now_ms=1767225600200, received_ns=number
        )
        keeper.check_hashes(2, now_s=number)
        keeper.review(token, now_s=number)
        # What is not believed is in the table neither.
        assert token.is_loaded == (table.state(token.slot) is not BookState.EMPTY)
    assert keeper.counts.callback_errors == 0
