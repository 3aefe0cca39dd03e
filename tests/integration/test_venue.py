"""The live venue over real TLS: orders on one connection, questions on the other."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from polyexec.clob.venue import ClobVenue
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.core.ports import Answer, LookupVenue, NoAnswer, OrderBatch, Outcome, Venue
from polyexec.enums import LegState
from polyexec.errors import (
    NotSentError,
    OutcomeUnknownError,
    VenueError,
)

from . import h2_server as faults
from .client_tools import (
    ADDRESS,
    CONDITION,
    CREDENTIALS,
    KEY,
    KEYS,
    ORDER,
    ORDER_ID,
    SECRET,
    TOKEN,
    query,
    trade,
)
from .h2_server import H2Server, Request, client_context, until


@asynccontextmanager
async def opened(**options: Any) -> AsyncIterator[tuple[H2Server, ClobVenue]]:
    async with H2Server() as server:
        venue = ClobVenue(
            server.url,
            signer_address=ADDRESS,
            credentials=ApiCredentials(*CREDENTIALS),
            ssl_context=client_context(),
            now_s=lambda: 1_700_000_000.9,
            **options,
        )
        await venue.open()
        try:
            yield server, venue
        finally:
            await venue.close()


def batch(body: bytes = b"[]") -> OrderBatch:
    headers = L2Signer(ADDRESS, ApiCredentials(*CREDENTIALS)).headers(1, "POST", "/orders", body)
    return OrderBatch(path="/orders", body=body, headers=headers, order_ids=())


def test_venue_posts_and_reads(run):
    async def body():
        async with opened() as (server, venue):
            assert isinstance(venue, Venue)
            outcomes: list[Outcome] = []
            venue.post_orders(batch(b"[1]"), outcomes.append)
            await until(lambda: outcomes)
            assert isinstance(outcomes[0], Answer)
            (posted,) = server.posts
            assert (posted.path, posted.body) == ("/orders", b"[1]")
            server.routes.update(
                {
                    ("GET", "/balance-allowance"): {"balance": "7"},
                    ("GET", f"/data/order/{ORDER_ID}"): ORDER,
                    ("DELETE", "/orders"): {"canceled": [ORDER_ID]},
                    ("DELETE", "/cancel-all"): {"canceled": []},
                }
            )
            balance = await venue.fetch_balance()
            assert (balance.balance_micro, balance.as_of_ms) == (7, 1_700_000_000_900)
            assert (await venue.fetch_position(TOKEN)).balance_micro == 7
            assert (await venue.fetch_order(ORDER_ID)).order_id == ORDER_ID
            assert await venue.cancel_orders([ORDER_ID]) == (ORDER_ID,)
            assert await venue.cancel_all() == ()

    run(body())


def test_fills_come_from_the_trades_that_the_order_names(run):
    async def body():
        async with opened() as (server, venue):
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = ORDER
            server.routes[("GET", "/data/trades")] = lambda request: {
                "data": [trade(query(request)["id"], ORDER_ID)],
                "next_cursor": "LTE=",
            }
            fills = await venue.fetch_fills(ORDER_ID)
            assert {fill.trade_id for fill in fills} == {"t1", "t2"}
            for fill in fills:
                assert (fill.token_id, fill.price_e4, fill.is_taker) == (TOKEN, 4000, False)

    run(body())


def test_fills_are_searched_when_the_order_does_not_name_them_all(run):
    async def body():
        async with opened() as (server, venue):
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = {
                **ORDER,
                "associate_trades": ["t1"],
            }
            server.routes[("GET", f"/markets-by-token/{TOKEN}")] = {"condition_id": CONDITION}

            def trades(request: Request) -> Any:
                if "id" in query(request):
                    return {"data": [trade("t1", ORDER_ID)]}
                assert query(request)["market"] == CONDITION
                mine = [trade("t1", ORDER_ID), trade("t2", ORDER_ID), trade("t2", ORDER_ID)]
                return {"data": [*mine, trade("t3", "0xother")]}

            server.routes[("GET", "/data/trades")] = trades
            fills = await venue.fetch_fills(ORDER_ID)
            assert [fill.trade_id for fill in fills] == ["t1", "t2"]

    run(body())


def test_fills_of_an_order_that_the_exchange_forgot(run):
    async def body():
        async with opened() as (server, venue):
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = (404, {"error": "not found"})
            server.routes[("GET", "/data/orders")] = {"data": []}
            server.routes[("GET", "/data/trades")] = {"data": [trade("t1", ORDER_ID)]}
            (fill,) = await venue.fetch_fills(ORDER_ID)
            assert fill.trade_id == "t1"

    run(body())


def test_fills_of_an_unanswered_order_are_searched_from_when_it_was_sent(run):
    async def body():
        async with opened() as (server, venue):
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = (404, {"error": "not found"})
            server.routes[("GET", "/data/orders")] = {"data": []}
            asked: list[dict[str, str]] = []

            def trades(request: Request) -> Any:
                asked.append(query(request))
                return {"data": [trade("t1", ORDER_ID)]}

            server.routes[("GET", "/data/trades")] = trades
            before_s = int(venue.clock.now_s())
            venue._remember_unanswered([ORDER_ID])
            (fill,) = await venue.fetch_fills(ORDER_ID)
            assert fill.trade_id == "t1"
            assert before_s - 120 < int(asked[0]["after"]) < before_s - 60
            others = [f"0x{number:064x}" for number in range(5000)]
            venue._remember_unanswered(others)
            assert len(venue._sent_after_s) == 4096

    run(body())


def test_an_order_is_looked_up_with_its_fills_in_one_request_each(run):
    async def body():
        async with opened() as (server, venue):
            assert isinstance(venue, LookupVenue)
            asked: list[str] = []
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = counted(asked, ORDER)
            server.routes[("GET", "/data/trades")] = lambda request: {
                "data": [trade(query(request)["id"], ORDER_ID)]
            }
            status, fills = await venue.look_up(ORDER_ID, TOKEN)
            assert status is not None
            assert status.filled_micro == sum(fill.size_micro for fill in fills) == 5_000_000
            assert len(asked) == 1

    run(body())


def test_an_order_that_rests_untouched_has_no_trades_to_search(run):
    async def body():
        async with opened() as (server, venue):
            resting = {**ORDER, "size_matched": "0", "associate_trades": []}
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = resting
            status, fills = await venue.look_up(ORDER_ID, TOKEN)  # no other route is there
            assert status is not None
            assert (status.state, fills) == (LegState.LIVE, ())

    run(body())


def test_trades_of_a_cancelled_order_are_searched_whatever_it_names(run):
    async def body():
        async with opened() as (server, venue):
            ended = {**ORDER, "status": "CANCELED", "size_matched": "0", "associate_trades": []}
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = ended
            server.routes[("GET", f"/markets-by-token/{TOKEN}")] = {"condition_id": CONDITION}
            server.routes[("GET", "/data/trades")] = {"data": [trade("t1", ORDER_ID)]}
            _, fills = await venue.look_up(ORDER_ID, TOKEN)
            assert [fill.trade_id for fill in fills] == ["t1"]

    run(body())


@pytest.mark.parametrize(
    ("created_at", "after"),
    [
        (1_700_000_000, "1699999999"),
        ("1699990000", "1699989999"),
        (1_800_000_000, None),  # in the future: no reason to look nowhere
        ("2023-11-14T22:13:20Z", None),
        (True, None),
        (None, None),
    ],
)
def test_trades_of_a_known_order_are_searched_from_when_it_was_created(run, created_at, after):
    async def body():
        async with opened() as (server, venue):
            ended = {**ORDER, "associate_trades": [], "created_at": created_at}
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = {**ended, "status": "MATCHED"}
            server.routes[("GET", f"/markets-by-token/{TOKEN}")] = {"condition_id": CONDITION}
            asked: list[dict[str, str]] = []
            server.routes[("GET", "/data/trades")] = counted(
                asked, {"data": [trade("t1", ORDER_ID), trade("t2", ORDER_ID)]}
            )
            _, fills = await venue.look_up(ORDER_ID, TOKEN)
            assert len(fills) == 2
            assert asked[0].get("after") == after
            assert asked[0]["market"] == CONDITION

    run(body())


def test_an_unknown_order_is_searched_in_its_market_or_where_that_is_gone_in_all(run):
    async def body():
        async with opened() as (server, venue):
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = (404, {"error": "not found"})
            server.routes[("GET", "/data/orders")] = {"data": []}
            asked: list[dict[str, str]] = []
            server.routes[("GET", "/data/trades")] = counted(asked, {"data": []})
            place = ("GET", f"/markets-by-token/{TOKEN}")
            server.routes[place] = (404, {"error": "market not found"})
            assert await venue.look_up(ORDER_ID, TOKEN) == (None, ())
            server.routes[place] = (500, {"error": "internal"})
            with pytest.raises(VenueError):
                await venue.look_up(ORDER_ID, TOKEN)
            server.routes[place] = {"condition_id": CONDITION}
            assert await venue.look_up(ORDER_ID, TOKEN) == (None, ())
            assert [query.get("market") for query in asked] == [None, CONDITION]

    run(body())


def test_orders_of_a_post_that_was_refused_as_a_whole_are_searched_from_then_on(run):
    async def body():
        async with opened() as (server, venue):
            server.routes[("POST", "/orders")] = (500, {"error": "internal error"})
            outcomes: list[Outcome] = []
            sent = OrderBatch(path="/orders", body=b"[1]", headers={}, order_ids=(ORDER_ID,))
            venue.post_orders(sent, outcomes.append)
            await until(lambda: outcomes)
            assert ORDER_ID in venue._sent_after_s

    run(body())


def counted(asked: list[Any], answer: Any) -> Any:
    """Return a route that keeps the query of each request."""

    def route(request: Request) -> Any:
        asked.append(query(request))
        return answer

    return route


def test_venue_that_cannot_be_reached_says_so_and_leaves_nothing_open(run):
    async def body():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            venue = ClobVenue(
                f"https://127.0.0.1:{taken.getsockname()[1]}",
                signer_address=ADDRESS,
                credentials=ApiCredentials(*CREDENTIALS),
            )
            with pytest.raises(NotSentError):
                await venue.open()
            outcomes: list[Outcome] = []
            venue.post_orders(batch(), outcomes.append)
            assert isinstance(outcomes[0], NoAnswer)
            assert isinstance(outcomes[0].error, NotSentError)
            await venue.close()

    run(body())


def test_nothing_but_the_configured_host_is_contacted(run, monkeypatch):
    seen: set[tuple[str, int]] = set()
    real = asyncio.BaseEventLoop.getaddrinfo

    async def watched(self: Any, host: Any, port: Any, **options: Any) -> Any:
        seen.add((host, port))
        return await real(self, host, port, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", watched)

    async def body() -> int:
        async with opened() as (server, venue):
            server.routes[("GET", "/time")] = (302, b"")
            with pytest.raises(VenueError):
                await venue.client.time()
            venue.post_orders(batch(), lambda outcome: None)
            await until(lambda: server.posts)
            return server.port

    port = run(body())
    assert seen <= {("127.0.0.1", port)}


def test_secrets_stay_out_of_logs_reprs_and_errors(run, caplog):
    shown: list[str] = []

    async def body():
        async with opened() as (server, venue):
            server.routes[("GET", "/auth/derive-api-key")] = {**KEYS, "secret": 5}
            server.routes[("GET", "/auth/api-keys")] = (401, {"error": "Unauthorized"})
            server.default = faults.hang_up
            shown.extend((repr(venue), repr(venue.client), repr(batch())))
            for ask in (
                venue.client.derive_api_key(KEY),
                venue.client.api_keys(),
                venue.client.cancel_all(),
            ):
                with pytest.raises((VenueError, OutcomeUnknownError)) as caught:
                    await ask
                shown.extend((repr(caught.value), str(caught.value), repr(vars(caught.value))))
            outcomes: list[Outcome] = []
            venue.post_orders(batch(), outcomes.append)
            await until(lambda: outcomes)
            shown.append(repr(outcomes))

    with caplog.at_level(logging.DEBUG):
        run(body())
    text = "\n".join([*shown, *(str(vars(r)) for r in caplog.records), caplog.text])
    assert "connected" in text
    for secret in (SECRET, CREDENTIALS[2], KEY[2:], batch().headers["POLY_SIGNATURE"]):
        assert secret not in text
