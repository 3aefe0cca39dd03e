"""What the other endpoints say, read into records; recorded answers included."""

import gzip
import json
import re
from decimal import Decimal

import pytest

from polyexec.clob import wire
from polyexec.core.answers import decode_json
from polyexec.enums import Generation, LegState, Side
from polyexec.errors import AuthError, InputError, UnexpectedResponseError
from polyexec.models import TokenId

TOKEN = TokenId("105955946702365014297053362985971231005691647824521281956010356611609364884791")
OTHER = TokenId("86535067147570507002635384075153744871406745354236984711518019842677747458838")
MARKET = {
    "c": "0x" + "ab" * 32,
    "t": [{"t": TOKEN, "o": "Yes"}, {"t": OTHER, "o": "No"}],
    "mos": 5,
    "mts": 0.01,
    "nr": True,
    "fd": {"r": 0.07, "e": 1, "to": True},
}
ORDER = {
    "id": "0x" + "11" * 32,
    "status": "LIVE",
    "asset_id": TOKEN,
    "side": "BUY",
    "original_size": "10",
    "size_matched": "0",
    "price": "0.57",
    "associate_trades": ["t1"],
}
TRADE = {
    "id": "t1",
    "taker_order_id": "0xtaker",
    "asset_id": TOKEN,
    "side": "BUY",
    "size": "7.5",
    "price": "0.4",
    "status": "TRADE_STATUS_MATCHED",
    "match_time": "1726043102",
    "maker_orders": [],
}


def exact(value):
    """As it comes off the wire: numbers with a fraction are Decimal."""
    return decode_json(json.dumps(value).encode())


def test_market_is_read_exactly():
    market = wire.parse_market(exact(MARKET), TOKEN)
    assert (market.token_id, market.condition_id) == (TOKEN, MARKET["c"])
    assert (market.tick_e4, market.min_order_size_micro) == (100, 5_000_000)
    assert (market.neg_risk, market.generation) == (True, Generation.CLOB_V2)
    assert (market.fee_rate_micro, market.fee_exponent) == (70_000, 1)


def test_market_without_fee_data_is_free():
    for fee in (None, {}):
        assert wire.parse_market(exact({**MARKET, "fd": fee}), TOKEN).fee_rate_micro == 0


def test_market_that_does_not_hold_the_token_is_refused():
    with pytest.raises(UnexpectedResponseError, match="does not hold the token"):
        wire.parse_market(exact(MARKET), TokenId("7"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("c", None),
        ("t", None),
        ("mos", "x"),
        ("mos", None),
        ("mts", 0.03),
        ("mts", None),
        ("nr", 1),
        ("fd", 3),
        ("fd", {"e": 1}),
        ("fd", {"r": 2, "e": 1}),
        ("fd", {"r": 0, "e": 9}),
        ("fd", {"r": 0, "e": True}),
    ],
)
def test_odd_market_is_refused(field, value):
    with pytest.raises(UnexpectedResponseError):
        wire.parse_market(exact({**MARKET, field: value}), TOKEN)


def test_generation_follows_the_recorded_asset_ids(vectors):
    # The rest of the file is condition ids, in hex.
    cases = [case for case in vectors("asset-ids") if case["asset_id"].isdigit()]
    assert len(cases) > 20
    for case in cases:
        number = int(case["asset_id"])
        position = case["is_protocol_v2_position_id"] and number >= 2**40
        expected = Generation.EXCHANGE_V3 if position else Generation.CLOB_V2
        assert wire.generation_of(case["asset_id"]) is expected


def test_small_made_up_id_is_not_a_position():
    assert wire.generation_of("1234") is Generation.CLOB_V2
    assert wire.generation_of(str(2**40 - 1)) is Generation.CLOB_V2
    with pytest.raises(InputError):
        wire.generation_of("0x12")


@pytest.mark.parametrize("name", ["binary", "negrisk"])
def test_recorded_book_lists_the_best_level_last(shared_dir, name):
    path = shared_dir / f"data/captured/rest/polyarb_get_book_{name}_2026-06-28.json"
    raw = json.loads(path.read_text())
    book = wire.parse_book(decode_json(path.read_bytes()))
    assert len(book.bids) == len(raw["bids"])
    assert book.best_bid.price_e4 == max(round(float(x["price"]) * 10_000) for x in raw["bids"])
    assert book.best_ask.price_e4 == min(round(float(x["price"]) * 10_000) for x in raw["asks"])
    assert [x.price_e4 for x in book.bids] == sorted(x.price_e4 for x in book.bids)
    assert (book.hash, str(book.timestamp_ms)) == (raw["hash"], raw["timestamp"])
    turned = {**raw, "bids": raw["bids"][::-1], "asks": raw["asks"][::-1]}
    assert wire.parse_book(exact(turned)) == book


def test_recorded_rounds_of_books_are_read(shared_dir):
    path = shared_dir / "data/captured/rest/post_books_5_rounds_a_2026-07-21.json.gz"
    text = gzip.decompress(path.read_bytes())
    lists = []

    def collect(value):
        if isinstance(value, dict):
            if "bids" in value and "asset_id" in value:
                lists.append(value)
            else:
                for inner in value.values():
                    collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(decode_json(text))
    assert len(lists) > 100
    books = wire.parse_books(lists)
    assert all(b.best_bid.price_e4 < b.best_ask.price_e4 for b in books if b.bids and b.asks)


def test_card_of_a_book_begins_with_its_best_prices(shared_dir):
    name = "polyarb_get_book_binary_2026-06-28.json"
    book = wire.parse_book(decode_json((shared_dir / "data/captured/rest" / name).read_bytes()))
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", book._repr_html_())
    assert cells[1] == "2026-06-28 18:15:40 UTC"
    assert cells[4] == str(Decimal(book.best_bid.price_e4).scaleb(-4).normalize())
    assert cells[5] == str(Decimal(book.best_ask.price_e4).scaleb(-4).normalize())
    assert "levels more" in book._repr_html_()


def test_empty_book_has_no_best():
    book = wire.parse_book({"asset_id": "1", "market": "0x1", "bids": [], "asks": None})
    assert (book.best_bid, book.best_ask, book.tick_e4, book.timestamp_ms) == (None, None, None, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"bids": {}},
        {"bids": [1]},
        {"bids": [{"price": "2", "size": "1"}]},
        {"bids": [{"price": "0.5"}]},
        {"bids": [{"price": "0.5", "size": "-1"}]},
        {"timestamp": "x"},
        {"asset_id": ""},
        {"market": None},
        {"tick_size": "0.3"},
    ],
)
def test_odd_book_is_refused(change):
    with pytest.raises(UnexpectedResponseError):
        wire.parse_book({"asset_id": "1", "market": "0x1", "bids": [], "asks": [], **change})
    with pytest.raises(UnexpectedResponseError):
        wire.parse_books({})


def test_recorded_prices_are_exact(shared_dir):
    folder = shared_dir / "data/captured/rest"
    read = {
        name: decode_json((folder / f"{name}.json").read_bytes())
        for name in ("polyarb_get_midpoint", "polyarb_get_price", "polycopy_get_tick_size")
    }
    assert wire.parse_price(read["polyarb_get_midpoint"], "mid") == Decimal("0.0655")
    assert wire.parse_price(read["polyarb_get_price"], "price") == Decimal("0.063")
    assert wire.parse_tick(read["polycopy_get_tick_size"]) == 100


@pytest.mark.parametrize(
    "value", [{}, {"mid": "x"}, {"mid": None}, {"mid": "NaN"}, {"mid": "2"}, 3]
)
def test_odd_price_is_refused(value):
    with pytest.raises(UnexpectedResponseError):
        wire.parse_price(value, "mid")


@pytest.mark.parametrize(
    ("word", "matched", "state"),
    [
        ("LIVE", "0", LegState.LIVE),
        ("LIVE", "3.5", LegState.PARTIAL),
        ("ORDER_STATUS_LIVE", "0", LegState.LIVE),
        ("live", "0", LegState.LIVE),
        ("MATCHED", "10", LegState.MATCHED),
        ("CANCELED", "3", LegState.CANCELLED),
        ("CANCELED_MARKET_RESOLVED", "0", LegState.CANCELLED),
        ("INVALID", "0", LegState.REJECTED),
        ("SOMETHING_NEW", "0", LegState.UNKNOWN),
    ],
)
def test_order_status_words(word, matched, state):
    order = wire.parse_order(exact({**ORDER, "status": word, "size_matched": matched}))
    assert order.state is state
    assert order.status == word.upper().removeprefix("ORDER_STATUS_")


def test_order_is_read_exactly():
    order = wire.parse_order(exact({**ORDER, "size_matched": "2.25"}))
    assert (order.price_e4, order.size_micro, order.filled_micro) == (5700, 10_000_000, 2_250_000)
    assert (order.side, order.token_id, order.trade_ids) == (Side.BUY, TOKEN, ("t1",))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", ""),
        ("status", None),
        ("side", "HOLD"),
        ("side", 3),
        ("price", "2"),
        ("original_size", "x"),
        ("size_matched", None),
    ],
)
def test_odd_order_is_refused(field, value):
    with pytest.raises(UnexpectedResponseError):
        wire.parse_order(exact({**ORDER, field: value}))


def test_recorded_trade_gives_taker_and_maker_their_own_numbers(shared_dir):
    path = shared_dir / "data/captured/rest/nautilus_get_trades_item_2024-09-11.json"
    taker, maker = wire.parse_trade(decode_json(path.read_bytes()))
    assert taker.order_id.startswith("0x4505aada")
    assert maker.order_id.startswith("0x6dd169f8")
    assert (taker.is_taker, maker.is_taker) == (True, False)
    # The record is of before the makers had a side: on the same token it is the other one.
    assert (taker.side, maker.side) == (Side.BUY, Side.SELL)
    for fill in (taker, maker):
        assert (fill.price_e4, fill.size_micro, fill.status) == (4890, 5_000_000, "CONFIRMED")
        assert fill.match_time_s == 1726043102


def test_maker_of_a_complementary_match_keeps_its_token_side_and_price():
    maker = {
        "order_id": "0xmaker",
        "asset_id": OTHER,
        "matched_amount": "7.5",
        "price": "0.6",
        "side": "BUY",
    }
    taker, made = wire.parse_trade(exact({**TRADE, "maker_orders": [maker]}))
    assert (taker.token_id, taker.price_e4) == (TOKEN, 4000)
    assert (made.token_id, made.side, made.price_e4) == (OTHER, Side.BUY, 6000)
    del maker["side"]
    assert wire.parse_trade(exact({**TRADE, "maker_orders": [maker]}))[1].side is Side.BUY


def test_a_trade_with_two_makers_is_two_matches_of_its_taker_each_with_its_own_fee():
    makers = [
        {"order_id": name, "matched_amount": amount, "price": "0.4", "side": "SELL"}
        for name, amount in (("0xa", "5"), ("0xb", "2.5"))
    ]
    fills = wire.parse_trade(exact({**TRADE, "maker_orders": makers}))
    assert [(f.order_id, f.counter_order_id, f.size_micro, f.is_taker) for f in fills] == [
        ("0xtaker", "0xa", 5_000_000, True),
        ("0xtaker", "0xb", 2_500_000, True),
        ("0xa", "0xtaker", 5_000_000, False),
        ("0xb", "0xtaker", 2_500_000, False),
    ]


def test_a_trade_that_hides_some_makers_is_one_match_of_its_taker():
    maker = {"order_id": "0xa", "matched_amount": "5", "price": "0.4", "side": "SELL"}
    fills = wire.parse_trade(exact({**TRADE, "maker_orders": [maker]}))
    assert [(f.order_id, f.size_micro) for f in fills if f.is_taker] == [("0xtaker", 7_500_000)]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("TRADE_STATUS_CONFIRMED", "CONFIRMED"),
        ("MINED", "MINED"),
        ("FAILED", "FAILED"),
        ("TRADE_STATUS_MATCHED_NOT_BROADCASTED", "MATCHED"),
    ],
)
def test_trade_status_words(word, expected):
    assert wire.parse_trade(exact({**TRADE, "status": word}))[0].status == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", None),
        ("side", ""),
        ("size", "NaN"),
        ("price", "0"),
        ("maker_orders", {"a": 1}),
        ("maker_orders", [1]),
        ("match_time", "soon"),
        ("match_time", True),
    ],
)
def test_odd_trade_is_refused(field, value):
    with pytest.raises(UnexpectedResponseError):
        wire.parse_trade(exact({**TRADE, field: value}))


def test_pages_end_at_their_cursor():
    page = wire.parse_order_page({"data": [exact(ORDER)], "next_cursor": "Mg=="})
    assert (len(page.items), page.next_cursor) == (1, "Mg==")
    for cursor in ("LTE=", "", None):
        assert wire.parse_trade_page({"data": None, "next_cursor": cursor}).next_cursor is None
    for odd in ([], {"data": 3}):
        with pytest.raises(UnexpectedResponseError):
            wire.parse_order_page(odd)


def test_balance_is_base_units_and_an_unlimited_approval_fits():
    balance = wire.parse_balance({"balance": "1933630", "allowances": {"0xa": str(2**256 - 1)}})
    assert balance.balance_micro == 1_933_630
    assert balance.allowances == {"0xa": 2**63 - 1}
    assert wire.parse_balance({"balance": "0"}).allowances == {}


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"balance": "1.5"},
        {"balance": -1},
        {"balance": None},
        {"balance": True},
        {"balance": "1", "allowances": []},
        [],
    ],
)
def test_odd_balance_is_refused(value):
    with pytest.raises(UnexpectedResponseError):
        wire.parse_balance(value)


def test_cancel_answer():
    answer = wire.parse_cancel({"canceled": ["0x1"], "not_canceled": {"0x2": "already matched"}})
    assert answer.canceled == ("0x1",)
    assert answer.not_canceled == {"0x2": "already matched"}
    assert wire.parse_cancel({"canceled": None}).canceled == ()
    for odd in (None, {"canceled": [1]}, {"not_canceled": [1]}):
        with pytest.raises(UnexpectedResponseError):
            wire.parse_cancel(odd)


def test_credentials_are_never_quoted_in_the_error():
    with pytest.raises(UnexpectedResponseError) as caught:
        wire.parse_credentials({"apiKey": "key-1", "secret": 5, "passphrase": "pass-2"})
    assert "pass-2" not in str(caught.value)
    with pytest.raises(UnexpectedResponseError):
        wire.parse_api_keys({"apiKeys": [1]})
    assert wire.parse_api_keys({"apiKeys": ["a", "b"]}) == ("a", "b")


def test_body_that_is_not_json_is_unexpected_and_an_error_status_is_raised():
    assert wire.parse_body(200, b'"OK"', {}) == "OK"
    with pytest.raises(UnexpectedResponseError, match="not JSON"):
        wire.parse_body(200, b"<html>", {})
    with pytest.raises(AuthError):
        wire.parse_body(401, b'{"error":"Unauthorized"}', {})
    with pytest.raises(UnexpectedResponseError):
        wire.parse_body(302, b"", {})
