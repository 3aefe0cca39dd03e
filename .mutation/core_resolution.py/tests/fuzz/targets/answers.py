"""What the exchange sends: any bytes give a reading or a documented error, and never a guess."""

import random
from collections.abc import Callable
from typing import Any

from polyexec.clob import wire
from polyexec.core.answers import decode_json, parse_error, parse_order_answers
from polyexec.core.outcome import SentLeg, classify
from polyexec.core.ports import Answer
from polyexec.enums import LegState, OrderType, Side
from polyexec.errors import UnexpectedResponseError, VenueError
from polyexec.models import OrderId, TokenId
from tests.fuzz import generate
from tests.fuzz.registry import target

TOKEN = TokenId("52114319501245915516055106046884209969926127482827954674443846427813813222426")
ORDER = "0x" + "ab" * 32
CONDITION = "0x" + "cd" * 32

ACCEPTED = {
    "success": True,
    "errorMsg": "",
    "orderID": ORDER,
    "status": "matched",
    "makingAmount": "3.3",
    "takingAmount": "10",
    "transactionsHashes": ["0x01"],
    "tradeIDs": ["t1"],
}
REFUSED = {
    "success": True,
    "errorMsg": "not enough balance / allowance",
    "orderID": "",
    "status": "",
}

ORDER_RECORD = {
    "id": ORDER,
    "status": "LIVE",
    "market": CONDITION,
    "asset_id": TOKEN,
    "side": "BUY",
    "original_size": "10",
    "size_matched": "2.5",
    "price": "0.33",
    "outcome": "Yes",
    "owner": "owner",
    "maker_address": "0x" + "11" * 20,
    "expiration": "0",
    "order_type": "GTC",
    "associate_trades": ["t1"],
    "created_at": 1767225600,
}
TRADE_RECORD = {
    "id": "t1",
    "taker_order_id": ORDER,
    "market": CONDITION,
    "asset_id": TOKEN,
    "side": "BUY",
    "size": "10",
    "fee_rate_bps": "0",
    "price": "0.33",
    "status": "MATCHED",
    "match_time": "1767225600",
    "last_update": "1767225600",
    "outcome": "Yes",
    "owner": "owner",
    "maker_address": "0x" + "11" * 20,
    "trader_side": "TAKER",
    "transaction_hash": "0x01",
    "maker_orders": [
        {
            "order_id": "0x" + "12" * 32,
            "owner": "other",
            "maker_address": "0x" + "22" * 20,
            "matched_amount": "10",
            "price": "0.33",
            "fee_rate_bps": "0",
            "asset_id": TOKEN,
            "outcome": "Yes",
            "side": "SELL",
        }
    ],
}
BOOK = {
    "market": CONDITION,
    "asset_id": TOKEN,
    "timestamp": "1767225600000",
    "hash": "00",
    "bids": [{"price": "0.30", "size": "5"}, {"price": "0.32", "size": "7"}],
    "asks": [{"price": "0.36", "size": "5"}, {"price": "0.34", "size": "7"}],
    "tick_size": "0.01",
    "min_order_size": "5",
    "neg_risk": False,
    "last_trade_price": "0.33",
}
MARKET = {
    "c": CONDITION,
    "t": [{"t": TOKEN, "o": "Yes"}, {"t": "1", "o": "No"}],
    "mts": 0.01,
    "mos": 5,
    "nr": True,
    "fd": {"r": 0.07, "e": 1, "to": True},
    "v": 2,
}
READERS: dict[str, tuple[Callable[..., Any], Any]] = {
    "credentials": (
        wire.parse_credentials,
        {"apiKey": "key", "secret": "c2VjcmV0", "passphrase": "pass"},
    ),
    "api_keys": (wire.parse_api_keys, {"apiKeys": ["a", "b"]}),
    "tick": (wire.parse_tick, {"minimum_tick_size": 0.01}),
    "condition_id": (wire.parse_condition_id, {"condition_id": CONDITION}),
    "price": (lambda value: wire.parse_price(value, "price"), {"price": "0.33"}),
    "market": (lambda value: wire.parse_market(value, TOKEN), MARKET),
    "book": (wire.parse_book, BOOK),
    "books": (wire.parse_books, [BOOK, BOOK]),
    "balance": (wire.parse_balance, {"balance": "1000000", "allowances": {"0x01": "1"}}),
    "cancel": (wire.parse_cancel, {"canceled": [ORDER], "not_canceled": {"0x02": "matched"}}),
    "order": (wire.parse_order, ORDER_RECORD),
    "order_page": (
        wire.parse_order_page,
        {"data": [ORDER_RECORD], "next_cursor": "LTE=", "limit": 100, "count": 1},
    ),
    "trade": (wire.parse_trade, TRADE_RECORD),
    "trade_page": (wire.parse_trade_page, {"data": [TRADE_RECORD], "next_cursor": "LTE="}),
}


def add_reader(name: str, reader: Callable[..., Any], example: Any) -> None:
    reader(
        decode_json(generate.json_bytes(_Sane(), example))
    )  # the example itself must be readable

    @target(f"wire.{name}", refuses=(UnexpectedResponseError,))
    def read(source: random.Random) -> None:
        try:
            value = decode_json(generate.json_bytes(source, example))
        except ValueError:
            return
        reader(value)


class _Sane(random.Random):
    """Always chooses to change nothing."""

    def random(self) -> float:
        return 0.99


for _name, (_reader, _example) in READERS.items():
    add_reader(_name, _reader, _example)


def order_answer_body(source: random.Random, count: int) -> bytes:
    legs = [source.choice([ACCEPTED, REFUSED]) for _ in range(count)]
    return generate.json_bytes(source, legs)


@target("answers.parse_order_answers")
def order_answers(source: random.Random) -> None:
    if source.random() < 0.1:
        parse_order_answers(generate.bytes_of(source))
    else:
        parse_order_answers(order_answer_body(source, source.randrange(4)))


@target("answers.parse_error")
def error_answer(source: random.Random) -> None:
    example = source.choice([{"error": "order 0x1 is invalid"}, {"errorMsg": "x", "code": "y"}])
    body = (
        generate.bytes_of(source) if source.random() < 0.3 else generate.json_bytes(source, example)
    )
    status = source.choice([400, 401, 403, 404, 425, 429, 500, 503, source.randrange(600)])
    headers = {"retry-after": generate.text(source)} if source.random() < 0.5 else {}
    error = parse_error(status, body, headers)
    assert isinstance(error, VenueError)
    assert len(str(error)) < 2000


@target("outcome.classify")
def classify_answer(source: random.Random) -> None:
    legs = [
        SentLeg(
            order_id=OrderId("0x" + f"{number:02x}" * 32),
            side=source.choice(list(Side)),
            order_type=source.choice([OrderType.GTC, OrderType.FOK, OrderType.FAK]),
            maker_micro=3_300_000,
            taker_micro=10_000_000,
        )
        for number in range(source.randrange(1, 5))
    ]
    answers = [
        {**source.choice([ACCEPTED, REFUSED]), "orderID": source.choice([leg.order_id, ""])}
        for leg in legs
    ]
    status = source.choice([200, 200, 200, 400, 500, 503, source.randrange(600)])
    body = generate.json_bytes(source, answers)
    outcomes = classify(legs, Answer(status=status, body=body, headers={}))
    assert len(outcomes) == len(legs)
    for leg, outcome in zip(legs, outcomes, strict=True):
        assert outcome.state is not LegState.NOT_SENT, "an answer came, so it was sent"
        given = outcome.paid_micro if leg.side is Side.BUY else outcome.filled_micro
        assert 0 <= given <= leg.maker_micro, "more was given than the order allows"
