"""The user channel: any message gives a reading, and the readings make one record in any order."""

import random

from polyexec.clob.user_channel import decode_events
from polyexec.core.fills import FillBook
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
