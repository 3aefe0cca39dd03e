"""Authentication, cancels, pages and market data, as the handlers answer them."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data

from polyexec import paper
from polyexec.enums import Generation

from .support import NOW_MS, Clock, Trader, ask

UNAUTHORIZED = (401, {"error": "Unauthorized/Invalid api key"})
BAD_L1 = (401, {"error": "Invalid L1 Request headers"})
NO_BOOK = (404, {"error": "No orderbook exists for the requested token id"})


def l1_headers(
    key: str, *, timestamp: str = str(NOW_MS // 1000), nonce: int = 0, chain_id: int = 137
) -> dict[str, str]:
    account = Account.from_key(key)
    types = {
        "EIP712Domain": [
            {"name": "name", "type": "string"},
            {"name": "version", "type": "string"},
            {"name": "chainId", "type": "uint256"},
        ],
        "ClobAuth": [
            {"name": "address", "type": "address"},
            {"name": "timestamp", "type": "string"},
            {"name": "nonce", "type": "uint256"},
            {"name": "message", "type": "string"},
        ],
    }
    signable = encode_typed_data(
        full_message={
            "types": types,
            "primaryType": "ClobAuth",
            "domain": {"name": "ClobAuthDomain", "version": "1", "chainId": chain_id},
            "message": {
                "address": account.address,
                "timestamp": timestamp,
                "nonce": nonce,
                "message": "This message attests that I control the given wallet",
            },
        }
    )
    return {
        "poly_address": account.address,
        "poly_signature": "0x" + Account.sign_message(signable, key).signature.hex(),
        "poly_timestamp": timestamp,
        "poly_nonce": str(nonce),
    }


KEY = "0x" + "77" * 32


def test_api_key_is_created_once_derived_often_and_deleted(exchange: paper.PaperExchange) -> None:
    headers = l1_headers(KEY)
    assert ask(exchange, "GET", "/auth/derive-api-key", headers=headers)[0] == 400
    status, made = ask(exchange, "POST", "/auth/api-key", headers=headers)
    assert status == 200
    assert set(made) == {"apiKey", "secret", "passphrase"}
    assert ask(exchange, "POST", "/auth/api-key", headers=headers) == (
        400,
        {"error": "Could not create api key"},
    )
    assert ask(exchange, "GET", "/auth/derive-api-key", headers=headers) == (200, made)
    assert exchange.credentials(KEY).api_key == made["apiKey"]
    other = ask(exchange, "POST", "/auth/api-key", headers=l1_headers(KEY, nonce=5))[1]
    assert other["apiKey"] != made["apiKey"]
    trader = Trader(exchange, int(KEY, 16))
    assert set(trader.request("GET", "/auth/api-keys")[1]["apiKeys"]) == {
        made["apiKey"],
        other["apiKey"],
    }
    assert trader.request("GET", "/auth/ban-status/closed-only") == (200, {"closed_only": False})
    assert trader.request("DELETE", "/auth/api-key") == (200, "OK")
    assert trader.request("GET", "/auth/api-keys") == UNAUTHORIZED


@pytest.mark.parametrize(
    "change",
    [
        {"poly_address": "0x" + "11" * 20},
        {"poly_address": "me"},
        {"poly_nonce": "1"},
        {"poly_nonce": "x"},
        {"poly_nonce": "9" * 90},
        {"poly_timestamp": str(NOW_MS // 1000 + 1)},
        {"poly_timestamp": "soon"},
        {"poly_signature": "0x00"},
        {"poly_signature": "nonsense"},
    ],
    ids=str,
)
def test_l1_header_that_was_not_signed(
    exchange: paper.PaperExchange, change: dict[str, str]
) -> None:
    headers = l1_headers(KEY) | change
    assert ask(exchange, "POST", "/auth/api-key", headers=headers) == BAD_L1


def test_l1_of_another_chain_or_time(exchange: paper.PaperExchange) -> None:
    assert ask(exchange, "POST", "/auth/api-key", headers=l1_headers(KEY, chain_id=80002)) == BAD_L1
    stale = l1_headers(KEY, timestamp=str(NOW_MS // 1000 - 31))
    assert ask(exchange, "POST", "/auth/api-key", headers=stale) == BAD_L1
    assert ask(exchange, "POST", "/auth/api-key") == BAD_L1


@pytest.mark.parametrize(
    "change",
    [
        {"poly_api_key": "00000000-0000-0000-0000-000000000000"},
        {"poly_passphrase": "guess"},
        {"poly_passphrase": "gu\xe9ss"},
        {"poly_signature": "AAAA"},
        {"poly_signature": "\xff"},
        {"poly_address": "0x" + "11" * 20},
        {"poly_timestamp": "1"},
        {"poly_timestamp": ""},
    ],
    ids=ascii,
)
def test_l2_header_that_does_not_fit(
    exchange: paper.PaperExchange, alice: Trader, change: dict[str, str]
) -> None:
    headers = alice.headers("GET", "/data/orders")
    assert ask(exchange, "GET", "/data/orders", headers=headers)[0] == 200
    assert ask(exchange, "GET", "/data/orders", headers=headers | change) == UNAUTHORIZED


def test_l2_covers_method_path_and_body(exchange: paper.PaperExchange, alice: Trader) -> None:
    headers = alice.headers("DELETE", "/order", b'{"orderID":"0x1"}')
    assert ask(exchange, "DELETE", "/order", b'{"orderID":"0x1"}', headers)[0] == 200
    assert ask(exchange, "DELETE", "/order", b'{"orderID":"0x2"}', headers) == UNAUTHORIZED
    assert ask(exchange, "DELETE", "/cancel-all", b'{"orderID":"0x1"}', headers) == UNAUTHORIZED


def test_l2_timestamp_may_be_thirty_seconds_off(
    clock: Clock, exchange: paper.PaperExchange, alice: Trader
) -> None:
    headers = alice.headers("GET", "/data/orders")
    for offset, good in ((30_000, True), (-30_000, True), (30_001, False), (-30_001, False)):
        clock.now_ms = NOW_MS + offset
        status, _ = ask(exchange, "GET", "/data/orders", headers=headers)
        assert status == (200 if good else 401), offset


def test_window_of_the_timestamp_is_a_setting(clock: Clock) -> None:
    exchange = paper.PaperExchange(clock=clock, auth_window_s=5)
    alice = Trader(exchange)
    headers = alice.headers("GET", "/data/orders")
    clock.now_ms += 5_001
    assert ask(exchange, "GET", "/data/orders", headers=headers) == UNAUTHORIZED


# --- cancels ------------------------------------------------------------------------------------


def test_cancels_say_what_they_did_and_why_not(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader, bob: Trader
) -> None:
    other = exchange.add_market("other")
    ids = [
        alice.post(alice.limit(token, "BUY", price, "10"))[1]["orderID"]
        for token, price in ((market.yes, "0.1"), (market.no, "0.1"), (other.yes, "0.1"))
    ]
    mine = bob.post(bob.limit(market.yes, "BUY", "0.1", "10"))[1]["orderID"]
    assert alice.request("DELETE", "/order", {"orderID": mine}) == (
        200,
        {"canceled": [], "not_canceled": {mine: "Order not found or already canceled"}},
    )
    body = [ids[0], "0xdead", ids[0]]
    assert alice.request("DELETE", "/orders", body)[1] == {
        "canceled": [ids[0]],
        "not_canceled": {"0xdead": "Order not found or already canceled"},
    }
    _, answer = alice.request("DELETE", "/order", {"orderID": ids[0]})
    assert "already canceled or matched" in answer["not_canceled"][ids[0]]
    assert alice.request(
        "DELETE", "/cancel-market-orders", {"market": market.condition_id, "asset_id": market.no}
    )[1]["canceled"] == [ids[1]]
    assert alice.request("DELETE", "/cancel-market-orders", {"asset_id": market.yes})[1] == {
        "canceled": [],
        "not_canceled": {},
    }
    assert alice.request("DELETE", "/cancel-all")[1]["canceled"] == [ids[2]]
    assert [o["id"] for o in bob.request("GET", "/data/orders")[1]["data"]] == [mine]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/order", {"orderID": 5}),
        ("/order", []),
        ("/orders", {"orderID": "0x1"}),
        ("/orders", [5]),
        ("/cancel-market-orders", {}),
        ("/cancel-market-orders", {"market": 5}),
        ("/cancel-market-orders", []),
    ],
)
def test_cancel_with_a_wrong_body(alice: Trader, path: str, body: Any) -> None:
    assert alice.request("DELETE", path, body) == (400, {"error": "Invalid order payload"})


def test_cancel_of_too_many(alice: Trader) -> None:
    status, body = alice.request("DELETE", "/orders", [f"0x{n}" for n in range(1001)])
    assert (status, body["error"]) == (400, "Too many orders in payload: 1001, max allowed: 1000")


# --- reading ------------------------------------------------------------------------------------


def test_pages_of_orders_follow_the_cursor(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader
) -> None:
    ids = []
    for _ in range(17):
        legs = [alice.limit(market.yes, "BUY", "0.01", "5") for _ in range(6)]
        ids += [leg["orderID"] for leg in alice.request("POST", "/orders", legs)[1]]
    _, first = alice.request("GET", "/data/orders", next_cursor="MA==")
    assert (first["limit"], first["count"]) == (100, 100)
    assert first["next_cursor"] == "MTAw"
    _, last = alice.request("GET", "/data/orders", next_cursor=first["next_cursor"])
    assert (last["count"], last["next_cursor"]) == (2, "LTE=")
    assert [order["id"] for order in first["data"] + last["data"]] == ids
    assert alice.request("GET", "/data/orders", next_cursor="LTE=")[1]["data"] == []
    for bad in ("?", "YQ=="):
        assert alice.request("GET", "/data/orders", next_cursor=bad) == (
            400,
            {"error": "invalid next_cursor"},
        )


def test_orders_are_filtered_and_found_in_any_state(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader, bob: Trader
) -> None:
    killed = alice.limit(market.yes, "BUY", "0.30", "10", "FOK")
    alice.post(killed)
    digest, _ = alice.digest_and_signature(killed["order"], Generation.CLOB_V2, neg_risk=False)
    assert alice.request("GET", "/data/orders")[1]["data"] == []
    (found,) = alice.request("GET", "/data/orders", id=digest)[1]["data"]
    assert (found["status"], found["size_matched"]) == ("CANCELED", "0")
    assert bob.request("GET", "/data/orders", id=digest)[1]["data"] == []
    assert bob.request("GET", f"/data/order/{digest}") == (200, None)
    alice.post(alice.limit(market.yes, "BUY", "0.30", "10"))
    assert len(alice.request("GET", "/data/orders", asset_id=market.yes)[1]["data"]) == 1
    assert alice.request("GET", "/data/orders", asset_id=market.no)[1]["data"] == []
    assert alice.request("GET", "/data/orders", market="0x")[1]["data"] == []


def test_trades_are_filtered(
    clock: Clock,
    exchange: paper.PaperExchange,
    market: paper.PaperMarket,
    alice: Trader,
    bob: Trader,
) -> None:
    exchange.seed_book(market.yes, asks=[("0.40", 100)])
    alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
    clock.now_ms += 2000
    alice.post(alice.limit(market.yes, "BUY", "0.40", "20"))

    def sizes(**query: str) -> list[str]:
        return [row["size"] for row in alice.request("GET", "/data/trades", **query)[1]["data"]]

    assert sizes() == ["10", "20"]
    assert sizes(after=str(NOW_MS // 1000)) == ["20"]
    assert sizes(before=str(NOW_MS // 1000 + 1)) == ["10"]
    assert sizes(market=market.condition_id, maker_address=alice.address) == ["10", "20"]
    assert sizes(asset_id=market.no) == sizes(maker_address=bob.address) == []
    assert bob.request("GET", "/data/trades")[1]["data"] == []
    assert alice.request("GET", "/data/trades", after="x")[0] == 400


def test_balances_are_base_units_and_ignore_open_orders(
    exchange: paper.PaperExchange, market: paper.PaperMarket, alice: Trader
) -> None:
    exchange.set_position(alice.address, market.no, "2.5")
    alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))

    def balance(**query: str) -> tuple[int, Any]:
        return alice.request("GET", "/balance-allowance", **query)

    status, body = balance(asset_type="COLLATERAL", signature_type="0")
    assert (status, body["balance"]) == (200, "1000000000")
    assert all(int(amount) > 10**30 for amount in body["allowances"].values())
    assert len(body["allowances"]) == 3
    assert balance(asset_type="CONDITIONAL", token_id=market.no)[1]["balance"] == "2500000"
    assert balance(asset_type="CONDITIONAL-V2", token_id=market.yes)[1]["balance"] == "0"
    assert balance(asset_type="CONDITIONAL") == (400, {"error": "Invalid token id"})
    assert balance(asset_type="GOLD")[0] == 400
    assert balance(asset_type="COLLATERAL", signature_type="9")[0] == 400
    assert alice.request("GET", "/balance-allowance/update", asset_type="COLLATERAL")[0] == 200


def test_market_data(exchange: paper.PaperExchange, market: paper.PaperMarket) -> None:
    exchange.seed_book(market.yes, bids=[("0.40", 10)], asks=[("0.45", 10)])

    def get(path: str, token: str = market.yes, **query: str) -> Any:
        status, body = ask(exchange, "GET", path, token_id=token, **query)
        assert status == 200, body
        return body

    assert get("/tick-size") == {"minimum_tick_size": 0.01}
    assert get("/neg-risk") == {"neg_risk": False}
    assert get("/fee-rate") == {"base_fee": 1000}
    assert get("/price", side="BUY") == {"price": "0.4"}
    assert get("/price", side="sell") == {"price": "0.45"}
    assert get("/price", market.no, side="BUY") == {"price": "0.55"}
    assert get("/midpoint") == {"mid": "0.425"}
    assert get("/spread", market.no) == {"spread": "0.05"}
    assert get("/time") == NOW_MS // 1000
    assert get("/ok") == "OK"
    assert get("/version") == {"version": 2}
    assert get(f"/markets-by-token/{market.no}") == {
        "condition_id": market.condition_id,
        "primary_token_id": market.yes,
        "secondary_token_id": market.no,
    }
    assert get(f"/clob-markets/{market.condition_id}") == {
        "c": market.condition_id,
        "t": [{"t": market.yes, "o": "Yes"}, {"t": market.no, "o": "No"}],
        "mos": 5,
        "mts": 0.01,
        "mbf": 1000,
        "tbf": 1000,
        "itode": False,
        "nr": False,
        "fd": {"r": 0.07, "e": 1, "to": True},
    }
    raw = f'[{{"token_id":"{market.no}"}},{{"token_id":"1"}},{{"token_id":"{market.yes}"}}]'
    _, books = ask(exchange, "POST", "/books", raw.encode())
    assert [book["asset_id"] for book in books] == [market.no, market.yes]


def test_market_data_that_is_not_there(
    exchange: paper.PaperExchange, market: paper.PaperMarket
) -> None:
    assert ask(exchange, "GET", "/book", token_id="99") == NO_BOOK
    for token in ("", "abc", "-1"):
        assert ask(exchange, "GET", "/book", token_id=token) == (400, {"error": "Invalid token id"})
    assert ask(exchange, "GET", "/midpoint", token_id=market.yes) == NO_BOOK
    assert ask(exchange, "GET", "/spread", token_id=market.yes) == NO_BOOK
    assert ask(exchange, "GET", "/price", token_id=market.yes, side="BUY") == NO_BOOK
    assert ask(exchange, "GET", "/price", token_id=market.yes, side="UP")[0] == 400
    assert ask(exchange, "GET", "/clob-markets/0x12")[0] == 404
    assert ask(exchange, "GET", "/markets-by-token/12")[0] == 404
    assert ask(exchange, "POST", "/books", b"{}")[0] == 400
    assert ask(exchange, "GET", "/nowhere") == (404, {"error": "not found"})
    assert ask(exchange, "GET", "/data/order/") == (404, {"error": "not found"})
    assert ask(exchange, "PUT", "/order") == (405, {"error": "Method not allowed"})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"NaN", b"[" * 2000], ids=ascii)
def test_body_that_is_not_json(exchange: paper.PaperExchange, alice: Trader, body: bytes) -> None:
    headers = alice.headers("POST", "/order", body)
    assert ask(exchange, "POST", "/order", body, headers) == (
        400,
        {"error": "Invalid order payload"},
    )
