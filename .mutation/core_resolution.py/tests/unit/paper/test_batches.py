"""POST /orders: one answer per leg, and when the whole batch is refused."""

from typing import Any

import pytest

from polyexec import paper

from .support import Trader


def test_batch_answers_in_order_and_a_refused_leg_looks_like_a_success(
    exchange: paper.PaperExchange, alice: Trader, market: paper.PaperMarket
) -> None:
    exchange.seed_book(market.yes, asks=[("0.40", 10)])
    entries = [
        alice.limit(market.yes, "BUY", "0.40", "10", "FOK"),
        alice.limit(market.yes, "BUY", "0.40", "10", "FOK"),
        alice.limit(market.yes, "BUY", "0.30", "10"),
    ]
    status, legs = alice.request("POST", "/orders", entries)
    assert status == 200
    assert [leg["status"] for leg in legs] == ["matched", "", "live"]
    assert legs[1] == {
        "errorMsg": "order couldn't be fully filled. FOK orders are fully filled or killed.",
        "orderID": "",
        "takingAmount": "",
        "makingAmount": "",
        "status": "",
        "transactionsHashes": [],
        "tradeIDs": [],
        "success": True,
    }


def test_batch_of_sixteen_is_refused_as_a_whole(alice: Trader, market: paper.PaperMarket) -> None:
    entries = [alice.limit(market.yes, "BUY", "0.10", "5") for _ in range(16)]
    assert alice.request("POST", "/orders", entries) == (
        400,
        {"error": "Too many orders in payload: 16, max allowed: 15"},
    )
    assert alice.request("GET", "/data/orders")[1]["data"] == []
    assert alice.request("POST", "/orders", entries[:15])[0] == 200


@pytest.mark.parametrize("body", [[], {}, "x", None, [5]], ids=str)
def test_unreadable_batch_places_nothing(
    alice: Trader, market: paper.PaperMarket, body: Any
) -> None:
    if body == [5]:
        body = [alice.limit(market.yes, "BUY", "0.10", "5"), 5]
    assert alice.request("POST", "/orders", body) == (400, {"error": "Invalid order payload"})
    assert alice.request("GET", "/data/orders")[1]["data"] == []
