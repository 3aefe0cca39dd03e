"""Modes, rate limits and the dead man's switch of the paper exchange, as requests meet them."""

import json
from typing import Any

import pytest

from polyexec.enums import VenueMode
from polyexec.errors import InputError
from polyexec.paper import PaperExchange, PaperMarket, Request, Response

from .support import Clock, Trader

POST_ONLY = {"postOnly": True}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exchange(clock: Clock) -> PaperExchange:
    return PaperExchange(clock=clock)


@pytest.fixture
def market(exchange: PaperExchange) -> PaperMarket:
    market = exchange.add_market("m")
    exchange.seed_book(market.yes, asks=[("0.50", 1000)])
    return market


@pytest.fixture
def trader(exchange: PaperExchange, clock: Clock) -> Trader:
    trader = Trader(exchange)
    exchange.deposit(trader.address, 1000)
    return trader


def post(trader: Trader, *entries: dict[str, Any]) -> tuple[Response, Any]:
    return send(trader, "POST", "/orders", list(entries))


def send(trader: Trader, method: str, path: str, body: Any = None) -> tuple[Response, Any]:
    raw = b"" if body is None else json.dumps(body).encode()
    request = Request(method, path, headers=trader.headers(method, path, raw), body=raw)
    response = trader.exchange.handle(request)
    return response, json.loads(response.body)


def quote(trader: Trader, market: PaperMarket) -> dict[str, Any]:
    return trader.limit(market.yes, "BUY", "0.40", "10", outer=POST_ONLY)


# modes --------------------------------------------------------------------------------------------


def test_a_restart_takes_nothing_then_quotes_then_all(
    exchange: PaperExchange, market: PaperMarket, trader: Trader, clock: Clock
) -> None:
    exchange.restart(down_s=60, post_only_s=120)
    for method, path, body in (
        ("POST", "/orders", [quote(trader, market)]),
        ("POST", "/order", quote(trader, market)),
        ("DELETE", "/order", {"orderID": "0x1"}),
        ("DELETE", "/cancel-all", None),
    ):
        response, said = send(trader, method, path, body)
        assert (response.status, response.headers["retry-after"]) == (425, "60")
        assert "restarting" in said["error"]
    assert send(trader, "GET", "/data/orders")[0].status == 200
    clock.now_ms += 60_000
    assert exchange.mode is VenueMode.POST_ONLY
    response, (taker, maker) = post(
        trader, trader.limit(market.yes, "BUY", "0.50", "10"), quote(trader, market)
    )
    assert response.status == 200
    assert taker["errorMsg"].startswith("post-only mode:")
    assert (taker["success"], taker["orderID"], maker["status"]) == (True, "", "live")
    response, said = send(trader, "POST", "/order", trader.limit(market.yes, "BUY", "0.50", "10"))
    assert response.status == 503
    assert (said["code"], said["retry_after_seconds"]) == ("post_only_mode", 120)
    clock.now_ms += 120_000
    _, (taker,) = post(trader, trader.limit(market.yes, "BUY", "0.50", "10"))
    assert taker["status"] == "matched"


@pytest.mark.parametrize(
    ("mode", "text"), [("CANCEL_ONLY", "cancel-only"), ("DISABLED", "disabled")]
)
def test_without_new_orders_cancels_still_work(
    exchange: PaperExchange, market: PaperMarket, trader: Trader, mode: str, text: str
) -> None:
    _, (resting,) = post(trader, quote(trader, market))
    exchange.set_mode(mode)
    for entry in (quote(trader, market), trader.limit(market.yes, "BUY", "0.50", "10")):
        response, said = post(trader, entry)
        assert response.status == 503
        assert text in said["error"]
    response, said = send(trader, "DELETE", "/order", {"orderID": resting["orderID"]})
    assert said["canceled"] == [resting["orderID"]]


def test_odd_modes_and_times_are_refused(exchange: PaperExchange) -> None:
    with pytest.raises(InputError, match="mode='ASLEEP': must be one of NORMAL"):
        exchange.set_mode("ASLEEP")
    with pytest.raises(InputError, match="down_s=-1"):
        exchange.restart(down_s=-1)
    assert exchange.mode is VenueMode.NORMAL


# rate limits --------------------------------------------------------------------------------------


def test_a_batch_over_the_limit_is_refused_whole(
    exchange: PaperExchange, market: PaperMarket, trader: Trader, clock: Clock
) -> None:
    exchange.set_rate_limits(orders=(2, 4), cancels=(1, 2), tier="Standard")
    response, _ = post(trader, *(quote(trader, market) for _ in range(3)))
    assert response.headers["poly-ratelimit-remaining"] == "1"
    assert response.headers["poly-ratelimit-tier"] == "Standard"
    assert int(response.headers["poly-ratelimit-reset"]) == clock.now_ms // 1000 + 2
    response, said = post(trader, *(quote(trader, market) for _ in range(2)))
    assert (response.status, response.headers["retry-after"]) == (429, "1")
    assert said == {"error": "Rate limit exceeded: 2 orders"}
    assert response.headers["poly-ratelimit-remaining"] == "1"
    assert len(exchange.engine.live) == 3 + 1  # the house's
    clock.now_ms += 500
    assert post(trader, *(quote(trader, market) for _ in range(2)))[0].status == 200
    other = Trader(exchange, key=2)
    exchange.deposit(other.address, 100)
    assert post(other, quote(other, market))[0].headers["poly-ratelimit-remaining"] == "3"


def test_a_cancel_all_costs_what_it_cancels(
    exchange: PaperExchange, market: PaperMarket, trader: Trader
) -> None:
    exchange.set_rate_limits(orders=(100, 100), cancels=(1, 2))
    post(trader, *(quote(trader, market) for _ in range(5)))
    response, said = send(trader, "DELETE", "/cancel-all")
    assert len(said["canceled"]) == 5
    assert response.headers["poly-ratelimit-remaining"] == "-4"
    assert "poly-ratelimit-tier" not in response.headers
    assert send(trader, "DELETE", "/cancel-all")[0].status == 429


def test_limits_below_one_are_refused(exchange: PaperExchange) -> None:
    with pytest.raises(InputError, match=r"cancels=\(0, 1\)"):
        exchange.set_rate_limits(orders=(1, 1), cancels=(0, 1))


def test_the_tier_can_be_asked_for(exchange: PaperExchange, trader: Trader) -> None:
    assert send(trader, "GET", "/v1/user/rate-limit-tier")[1]["tier"] == "Paper"
    exchange.set_rate_limits(orders=(1, 1), cancels=(1, 1), tier="Gold")
    assert send(trader, "GET", "/v1/user/rate-limit-tier")[1]["tier"] == "Gold"


# heartbeat ----------------------------------------------------------------------------------------


def beat(trader: Trader, heartbeat_id: str) -> tuple[int, Any]:
    response, said = send(trader, "POST", "/v1/heartbeats", {"heartbeat_id": heartbeat_id})
    return response.status, said


def test_orders_are_cancelled_when_the_beats_stop(
    exchange: PaperExchange, market: PaperMarket, trader: Trader, clock: Clock
) -> None:
    quiet = Trader(exchange, key=2)
    exchange.deposit(quiet.address, 100)
    post(quiet, quote(quiet, market))
    post(trader, quote(trader, market))
    status, first = beat(trader, "")
    assert status == 200
    clock.now_ms += 10_000
    status, second = beat(trader, first["heartbeat_id"])
    assert (status, len(send(trader, "GET", "/data/orders")[1]["data"])) == (200, 1)
    clock.now_ms += 10_001
    assert send(trader, "GET", "/data/orders")[1]["data"] == []
    # who never sent a beat keeps the orders
    assert len(send(quiet, "GET", "/data/orders")[1]["data"]) == 1
    assert beat(trader, second["heartbeat_id"])[0] == 200
    post(trader, quote(trader, market))
    assert len(send(trader, "GET", "/data/orders")[1]["data"]) == 1


def test_a_stale_id_is_refused_with_the_one_expected(
    exchange: PaperExchange, trader: Trader
) -> None:
    _, first = beat(trader, "")
    _, second = beat(trader, first["heartbeat_id"])
    status, said = beat(trader, first["heartbeat_id"])
    assert status == 400
    assert said == {
        "error_msg": "Invalid Heartbeat ID",
        "heartbeat_id": second["heartbeat_id"],
    }


def test_odd_beats_are_refused(trader: Trader) -> None:
    for body in ([], {}, {"heartbeat_id": 5}):
        assert send(trader, "POST", "/v1/heartbeats", body)[0].status == 400


def test_the_last_trade_price(exchange: PaperExchange, market: PaperMarket, trader: Trader) -> None:
    ask = Request("GET", "/last-trade-price", {"token_id": market.yes})
    assert exchange.handle(ask).status == 404
    post(trader, trader.limit(market.yes, "BUY", "0.50", "10"))
    assert json.loads(exchange.handle(ask).body) == {"price": "0.5"}
