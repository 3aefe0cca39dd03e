"""Book hashes against recorded books, and the shapes of the market channel."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from polyexec import paper
from polyexec.enums import Generation
from polyexec.paper.views import book_hash

from .support import NOW_MS, Trader


def find_books(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        if {"bids", "asks", "hash", "min_order_size"} <= set(value):
            return [value]
        value = list(value.values())
    if isinstance(value, list):
        return [book for item in value for book in find_books(item)]
    return []


def test_hash_of_every_recorded_rest_book(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "captured" / "rest"
    books = []
    for path in sorted(folder.glob("*book*")):
        raw = path.read_bytes()
        books += find_books(json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw))
    assert len(books) >= 502
    assert [book["hash"] for book in books] == [book_hash(book) for book in books]


def test_book_lists_the_best_level_last_and_carries_its_hash(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader
) -> None:
    exchange.seed_book(
        market.yes, bids=[("0.40", "100.5"), ("0.41", 7)], asks=[("0.45", 9), ("0.43", 8)]
    )
    _, book = alice.request("GET", "/book", token_id=market.yes)
    assert book["bids"] == [{"price": "0.4", "size": "100.5"}, {"price": "0.41", "size": "7"}]
    assert book["asks"] == [{"price": "0.45", "size": "9"}, {"price": "0.43", "size": "8"}]
    assert book["hash"] == book_hash(book)
    assert list(book) == [
        "market",
        "asset_id",
        "timestamp",
        "hash",
        "bids",
        "asks",
        "min_order_size",
        "tick_size",
        "neg_risk",
        "last_trade_price",
    ]
    _, other = alice.request("GET", "/book", token_id=market.no)
    assert other["bids"] == [{"price": "0.55", "size": "9"}, {"price": "0.57", "size": "8"}]
    assert other["asks"] == [{"price": "0.6", "size": "100.5"}, {"price": "0.59", "size": "7"}]
    assert other["hash"] == book_hash(other)


class Follower:
    """Keeps books from messages alone and checks every hash on the way."""

    def __init__(self, market: paper.PaperMarket) -> None:
        self.market = market
        self.kinds: list[str] = []
        self.books: dict[str, dict[str, Any]] = {}

    def __call__(self, message: dict[str, Any]) -> None:
        kind = message["event_type"]
        self.kinds.append(kind)
        if kind == "book":
            message.pop("version", None)
            del message["event_type"]
            self.books[message["asset_id"]] = message
        elif kind == "last_trade_price":
            price = message["price"]
            for book in self.books.values():
                book["last_trade_price"] = price + "0" * (5 - len(price))
        elif kind == "tick_size_change":
            self.books[message["asset_id"]]["tick_size"] = message["new_tick_size"]
        elif kind == "price_change":
            assert len(message["price_changes"]) == 2
            for change in message["price_changes"]:
                self.apply(change, message["timestamp"])

    def apply(self, change: dict[str, Any], timestamp: str) -> None:
        book = self.books[change["asset_id"]]
        name = "bids" if change["side"] == "BUY" else "asks"
        levels = {level["price"]: level["size"] for level in book[name]}
        levels.pop(change["price"], None)
        if change["size"] != "0":
            levels[change["price"]] = change["size"]
        prices = sorted(levels, key=float, reverse=name == "asks")
        book[name] = [{"price": price, "size": levels[price]} for price in prices]
        book["timestamp"] = timestamp
        full = {"min_order_size": "5", "neg_risk": self.market.neg_risk} | book
        assert change["hash"] == book_hash(full)
        assert change["best_bid"] == (book["bids"][-1]["price"] if book["bids"] else "0")
        assert change["best_ask"] == (book["asks"][-1]["price"] if book["asks"] else "1")


@pytest.mark.parametrize("generation", [Generation.CLOB_V2, Generation.EXCHANGE_V3])
def test_follower_of_the_messages_has_the_exchange_s_books(
    exchange: paper.PaperExchange, alice: Trader, generation: Generation
) -> None:
    market = exchange.add_market("followed", generation=generation)
    follower = Follower(market)
    unsubscribe = exchange.subscribe(follower)
    assert follower.kinds == ["book", "book"]
    exchange.seed_book(
        market.yes, bids=[("0.40", 20), ("0.39", 30)], asks=[("0.42", 5), ("0.43", 50)]
    )
    alice.post(alice.limit(market.yes, "BUY", "0.43", "10"))  # takes a level and a half
    assert follower.kinds[6:] == [
        "last_trade_price",
        "price_change",
        "last_trade_price",
        "price_change",
        "book",
        "book",
    ]
    order_id = alice.post(alice.limit(market.no, "BUY", "0.55", "10"))[1]["orderID"]
    alice.request("DELETE", "/order", {"orderID": order_id})
    exchange.set_level(market.yes, "BUY", "0.40", 15)
    exchange.set_tick_size(market.yes, "0.001")
    exchange.set_level(market.no, "SELL", "0.599", 15)
    for token_id in market.token_ids:
        _, book = alice.request("GET", "/book", token_id=token_id)
        mine = follower.books[token_id] | {"hash": book["hash"]}
        assert {key: book[key] for key in mine} == mine
    unsubscribe()
    seen = len(follower.kinds)
    exchange.clear_book(market.yes)
    assert len(follower.kinds) == seen


def test_messages_have_the_recorded_keys(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader, shared_dir: Path
) -> None:
    messages: list[dict[str, Any]] = []
    exchange.subscribe(messages.append)
    exchange.seed_book(market.yes, asks=[("0.40", 10)])
    alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
    exchange.set_tick_size(market.no, "0.001")
    ours = {message["event_type"]: message for message in messages}
    folder = shared_dir / "data" / "captured" / "ws"
    recorded = {}
    for path in folder.glob("*.json"):
        if "legacy" in path.name or "2024" in path.name or "user" in path.name:
            continue
        events = json.loads(path.read_text())
        stack = [events]
        while stack:
            item = stack.pop()
            if isinstance(item, list):
                stack += item
            elif "event_type" in item:
                recorded[item["event_type"]] = item
    for kind in ("book", "price_change", "last_trade_price", "tick_size_change"):
        assert set(ours[kind]) == set(recorded[kind]), kind
    assert set(ours["price_change"]["price_changes"][0]) == set(
        recorded["price_change"]["price_changes"][0]
    )


def test_broken_subscriber_does_not_stop_a_match(
    exchange: paper.PaperExchange,
    market: paper.PaperMarket,
    alice: Trader,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(message: dict[str, Any]) -> None:
        if message["event_type"] != "book":
            raise RuntimeError("mine")

    exchange.subscribe(broken)
    exchange.seed_book(market.yes, asks=[("0.40", 10)])
    assert alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))[1]["status"] == "matched"
    exchange.audit()
    assert "paper_subscriber_failed" in caplog.text


def test_orders_and_trades_show_both_parties_their_side(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader, bob: Trader
) -> None:
    maker_id = alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))[1]["orderID"]
    answer = bob.post(bob.limit(market.no, "BUY", "0.65", "6"))[1]
    assert (answer["makingAmount"], answer["takingAmount"]) == ("3.6", "6")
    (trade_id,) = answer["tradeIDs"]
    _, page = alice.request("GET", "/data/trades", id=trade_id)
    (trade,) = page["data"]
    (maker,) = trade.pop("maker_orders")
    assert trade == {
        "id": trade_id,
        "taker_order_id": answer["orderID"],
        "market": market.condition_id,
        "asset_id": market.no,
        "side": "BUY",
        "size": "6",
        "fee_rate_bps": "0",
        "price": "0.6",
        "status": "TRADE_STATUS_CONFIRMED",
        "match_time": str(NOW_MS // 1000),
        "match_time_nano": str(NOW_MS * 1_000_000),
        "last_update": str(NOW_MS // 1000),
        "outcome": "No",
        "bucket_index": 0,
        "owner": alice.credentials.api_key,
        "maker_address": alice.address,
        "transaction_hash": answer["transactionsHashes"][0],
        "trader_side": "MAKER",
    }
    assert maker == {
        "order_id": maker_id,
        "owner": alice.credentials.api_key,
        "maker_address": alice.address,
        "matched_amount": "6",
        "price": "0.4",
        "fee_rate_bps": "0",
        "asset_id": market.yes,
        "outcome": "Yes",
        "side": "BUY",
    }
    (mine,) = bob.request("GET", "/data/trades")[1]["data"]
    assert (mine["trader_side"], mine["owner"]) == ("TAKER", bob.credentials.api_key)
    assert alice.request("GET", f"/data/order/{maker_id}")[1] == {
        "id": maker_id,
        "status": "LIVE",
        "owner": alice.credentials.api_key,
        "maker_address": alice.address,
        "market": market.condition_id,
        "asset_id": market.yes,
        "side": "BUY",
        "original_size": "10",
        "size_matched": "6",
        "price": "0.4",
        "outcome": "Yes",
        "expiration": "0",
        "order_type": "GTC",
        "associate_trades": [trade_id],
        "created_at": NOW_MS // 1000,
    }
