"""The cold client over real TLS and HTTP/2."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import anyio
import pytest

from polyexec.clob import cold
from polyexec.clob.client import ClobClient
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.enums import LegState, Side, SignatureType, VenueMode
from polyexec.errors import (
    AuthError,
    ConfigError,
    InputError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    UnexpectedResponseError,
    UsageError,
    VenueError,
    VenueModeError,
)
from polyexec.models import OrderId, TokenId

from . import h2_server as faults
from .client_tools import (
    ADDRESS,
    CONDITION,
    CREDENTIALS,
    KEY,
    KEYS,
    ORDER,
    ORDER_ID,
    OTHER,
    POSITION,
    TOKEN,
    query,
)
from .h2_server import H2Server, Request, client_context, until


@asynccontextmanager
async def asked(**options: Any) -> AsyncIterator[tuple[H2Server, ClobClient]]:
    async with H2Server() as server:
        signer = L2Signer(ADDRESS, ApiCredentials(*CREDENTIALS))
        options = {"signer": signer, "ssl_context": client_context(), **options}
        async with ClobClient(server.url, now_s=lambda: 1_700_000_000.9, **options) as client:
            yield server, client


def test_create_derive_and_delete_api_key(run):
    async def body():
        async with asked() as (server, client):
            server.routes[("POST", "/auth/api-key")] = KEYS
            server.routes[("GET", "/auth/derive-api-key")] = KEYS
            server.routes[("GET", "/auth/api-keys")] = {"apiKeys": [CREDENTIALS[0]]}
            server.routes[("DELETE", "/auth/api-key")] = "OK"
            for credentials in (
                await client.create_api_key(KEY),
                await client.derive_api_key(KEY, nonce=3),
                await client.create_or_derive_api_key(KEY),
            ):
                assert (credentials.api_key, credentials.secret) == CREDENTIALS[:2]
                assert credentials.passphrase == CREDENTIALS[2]
            assert await client.api_keys() == (CREDENTIALS[0],)
            await client.delete_api_key()
            create, derive, *_ = server.requests
            assert create.headers["poly_address"] == ADDRESS
            assert create.headers["poly_timestamp"] == "1700000000"
            assert len(create.headers["poly_signature"]) == 132
            assert (create.headers["poly_nonce"], derive.headers["poly_nonce"]) == ("0", "3")
            assert server.requests[-1].headers["poly_api_key"] == CREDENTIALS[0]

    run(body())


def test_derives_only_when_the_key_exists_already(run):
    async def body():
        async with asked() as (server, client):
            server.routes[("GET", "/auth/derive-api-key")] = KEYS
            create = ("POST", "/auth/api-key")
            server.routes[create] = (400, {"error": "Could not create api key"})
            assert (await client.create_or_derive_api_key(KEY)).api_key == CREDENTIALS[0]
            asked_before = len(server.requests)
            for status, kind in ((401, AuthError), (429, RateLimitedError), (500, VenueError)):
                server.routes[create] = (status, {"error": "no"})
                with pytest.raises(kind):
                    await client.create_or_derive_api_key(KEY)
            assert len(server.requests) == asked_before + 3

    run(body())


def test_private_request_is_signed_over_the_path_without_its_query(run):
    async def body():
        async with asked() as (server, client):
            server.routes[("GET", "/balance-allowance")] = {"balance": "5", "allowances": {}}
            await client.balance_allowance()
            (request,) = server.requests
            signer = L2Signer(ADDRESS, ApiCredentials(*CREDENTIALS))
            for name, value in signer.headers(1_700_000_000, "GET", "/balance-allowance").items():
                assert request.headers[name.lower()] == value

    run(body())


def test_private_request_without_credentials_is_a_usage_error(run):
    async def body():
        async with asked(signer=None) as (server, client):
            with pytest.raises(UsageError, match="needs API credentials"):
                await client.cancel_all()
            assert not server.requests

    run(body())


def test_market_data(run):
    async def body():
        async with asked() as (server, client):
            server.routes.update(
                {
                    ("GET", "/time"): 1_700_000_123,
                    ("GET", "/version"): {"version": 2},
                    ("GET", "/tick-size"): b'{"minimum_tick_size":0.001}',
                    ("GET", "/neg-risk"): {"neg_risk": True},
                    ("GET", "/fee-rate"): {"base_fee": 1000},
                    ("GET", "/price"): {"price": "0.53"},
                    ("GET", "/midpoint"): {"mid": "0.5255"},
                    ("GET", f"/markets-by-token/{TOKEN}"): {"condition_id": CONDITION},
                    ("GET", f"/clob-markets/{CONDITION}"): {
                        "c": CONDITION,
                        "t": [{"t": TOKEN}, {"t": OTHER}],
                        "mos": 5,
                        "mts": 0.001,
                        "nr": False,
                        "fd": {"r": 0.07, "e": 1},
                    },
                    ("GET", "/book"): {
                        "market": CONDITION,
                        "asset_id": TOKEN,
                        "timestamp": "1",
                        "bids": [{"price": "0.1", "size": "1"}, {"price": "0.2", "size": "2"}],
                        "asks": [{"price": "0.9", "size": "1"}, {"price": "0.8", "size": "2"}],
                    },
                    ("POST", "/books"): [],
                }
            )
            assert await client.time() == 1_700_000_123
            assert await client.version() == 2
            assert await client.tick_size(TOKEN) == 10
            assert await client.neg_risk(TOKEN) is True
            assert await client.fee_rate(TOKEN) == 1000
            assert await client.price(TOKEN, Side.BUY) == Decimal("0.53")
            assert await client.midpoint(TOKEN) == Decimal("0.5255")
            market = await client.market_by_token(TOKEN)
            assert (market.tick_e4, market.fee_rate_micro) == (10, 70_000)
            book = await client.book(TOKEN)
            assert (book.best_bid.price_e4, book.best_ask.price_e4) == (2000, 8000)
            assert await client.books([TOKEN, OTHER]) == ()
            last = server.requests[-1]
            assert json.loads(last.body) == [{"token_id": TOKEN}, {"token_id": OTHER}]
            sides = [query(r) for r in server.requests if r.path.startswith("/price")]
            assert sides == [{"token_id": TOKEN, "side": "BUY"}]
            assert len(server.peers) == 1

    run(body())


def test_odd_market_data_is_unexpected(run):
    async def body():
        async with asked() as (server, client):
            server.routes.update(
                {
                    ("GET", "/time"): True,
                    ("GET", "/version"): [],
                    ("GET", "/neg-risk"): {"neg_risk": "no"},
                    ("GET", "/fee-rate"): b"<html>",
                }
            )
            for ask in (
                client.time(),
                client.version(),
                client.neg_risk(TOKEN),
                client.fee_rate(TOKEN),
            ):
                with pytest.raises(UnexpectedResponseError):
                    await ask

    run(body())


def test_ids_that_would_lead_elsewhere_are_not_sent(run):
    async def body():
        async with asked() as (server, client):
            with pytest.raises(InputError):
                await client.tick_size(TokenId("1&x=2"))
            with pytest.raises(UsageError):
                await client.order(OrderId("../auth/api-keys"))
            with pytest.raises(UsageError):
                await client.cancel_market_orders()
            assert not server.requests

    run(body())


def test_balance_names_wallet_and_kind_of_token(run):
    async def body():
        async with asked(signature_type=SignatureType.POLY_PROXY) as (server, client):
            server.routes[("GET", "/balance-allowance")] = {"balance": "1933630"}
            server.routes[("GET", "/balance-allowance/update")] = b""
            assert (await client.balance_allowance()).balance_micro == 1_933_630
            await client.balance_allowance(TOKEN)
            await client.balance_allowance(POSITION)
            await client.update_balance_allowance()
            assert [query(r) for r in server.requests] == [
                {"asset_type": "COLLATERAL", "signature_type": "1"},
                {"asset_type": "CONDITIONAL", "signature_type": "1", "token_id": TOKEN},
                {"asset_type": "CONDITIONAL-V2", "signature_type": "1", "token_id": POSITION},
                {"asset_type": "COLLATERAL", "signature_type": "1"},
            ]

    run(body())


@pytest.mark.parametrize("missing", [(404, {"error": "not found"}), b"null"])
def test_order_by_id_falls_back_to_the_list(run, missing):
    async def body():
        async with asked() as (server, client):
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = ORDER
            order = await client.order(ORDER_ID)
            assert (order.state, order.filled_micro) == (LegState.PARTIAL, 5_000_000)
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = missing
            server.routes[("GET", "/data/orders")] = {"data": [ORDER], "next_cursor": "LTE="}
            assert await client.order(ORDER_ID) == order
            assert query(server.requests[-1]) == {"id": ORDER_ID}
            server.routes[("GET", "/data/orders")] = {"data": [], "next_cursor": "LTE="}
            assert await client.order(ORDER_ID) is None

    run(body())


def test_order_that_cannot_be_asked_for_is_not_unknown(run):
    async def body():
        async with asked() as (server, client):
            server.routes[("GET", f"/data/order/{ORDER_ID}")] = (500, {"error": "x"})
            with pytest.raises(VenueError):
                await client.order(ORDER_ID)

    run(body())


def test_lists_are_read_to_their_last_page(run):
    async def body():
        async with asked() as (server, client):

            def page(request: Request) -> Any:
                asked_for = query(request)
                assert asked_for["market"] == CONDITION
                number = {"MA==": 1, "Mg==": 2, "Mw==": 3}[asked_for["next_cursor"]]
                cursor = {1: "Mg==", 2: "Mw==", 3: "LTE="}[number]
                return {"data": [{**ORDER, "id": f"0x{number}"}], "next_cursor": cursor}

            server.routes[("GET", "/data/orders")] = page
            orders = await client.open_orders(market=CONDITION)
            assert [order.order_id for order in orders] == ["0x1", "0x2", "0x3"]

    run(body())


def test_pages_that_go_in_circles_end(run):
    async def body():
        async with asked() as (server, client):
            server.routes[("GET", "/data/trades")] = {"data": [], "next_cursor": "Mg=="}
            with pytest.raises(UnexpectedResponseError, match="do not end"):
                await client.trades()
            assert len(server.requests) == 2

    run(body())


def test_cancels(run):
    async def body():
        async with asked() as (server, client):

            def cancel(request: Request) -> Any:
                ids = json.loads(request.body) if request.body else ["0xall"]
                return {"canceled": ids, "not_canceled": {}}

            server.routes[("DELETE", "/orders")] = cancel
            server.routes[("DELETE", "/cancel-all")] = cancel
            server.routes[("DELETE", "/order")] = {"not_canceled": {ORDER_ID: "matched"}}
            server.routes[("DELETE", "/cancel-market-orders")] = {"canceled": []}
            assert (await client.cancel_order(ORDER_ID)).not_canceled == {ORDER_ID: "matched"}
            assert json.loads(server.requests[0].body) == {"orderID": ORDER_ID}
            ids = [OrderId(f"0x{i}") for i in range(1500)]
            # Repeated ids are sent once, and no request holds more than a thousand.
            assert (await client.cancel_orders([*ids, ids[0]])).canceled == tuple(ids)
            assert [len(json.loads(r.body)) for r in server.requests[1:3]] == [1000, 500]
            assert (await client.cancel_orders([])).canceled == ()
            assert (await client.cancel_all()).canceled == ("0xall",)
            await client.cancel_market_orders(token_id=TOKEN)
            assert json.loads(server.requests[-1].body) == {"asset_id": TOKEN}
            # What is signed is what is sent.
            signer = L2Signer(ADDRESS, ApiCredentials(*CREDENTIALS))
            request = server.requests[1]
            expected = signer.headers(1_700_000_000, "DELETE", "/orders", request.body)
            assert request.headers["poly_signature"] == expected["POLY_SIGNATURE"]

    run(body())


def test_refusals_are_mapped_with_their_text(run):
    async def body():
        async with asked() as (server, client):
            cases = [
                (401, {"error": "Unauthorized/Invalid api key"}, AuthError),
                (403, b"<html><title>Blocked</title>", AuthError),
                (425, {}, VenueModeError),
                (429, {"error": "slow"}, RateLimitedError),
                (502, b"<html>", UnexpectedResponseError),
                (301, b"", UnexpectedResponseError),
            ]
            for status, answer, kind in cases:
                server.routes[("DELETE", "/cancel-all")] = (status, answer)
                with pytest.raises(kind) as caught:
                    await client.cancel_all()
                assert caught.value.status == status
            server.routes[("DELETE", "/cancel-all")] = (503, {"error": "trading is disabled"})
            with pytest.raises(VenueModeError) as mode:
                await client.cancel_all()
            assert mode.value.mode is VenueMode.DISABLED

    run(body())


def test_write_that_broke_is_unknown_and_never_repeated(run):
    async def body():
        async with asked() as (server, client):
            server.default = faults.hang_up
            with pytest.raises(OutcomeUnknownError, match="DELETE /cancel-all"):
                await client.cancel_all()
            assert len(server.requests) == 1

    run(body())


def test_read_that_broke_is_asked_once_more(run):
    async def body():
        async with asked() as (server, client):
            server.script.append(faults.hang_up)
            server.script.append(faults.answer(b"17"))
            assert await client.time() == 17
            server.script.extend([faults.hang_up, faults.hang_up])
            with pytest.raises(OutcomeUnknownError):
                await client.time()
            assert len(server.requests) == 4

    run(body())


def test_timeout_is_unknown(run):
    async def body():
        async with asked(timeout_s=0.1) as (server, client):
            server.default = faults.silent
            with pytest.raises(OutcomeUnknownError):
                await client.time()
            assert len(server.requests) == 1

    run(body())


def test_answer_that_drips_in_for_ever_is_cut_off(run):
    async def drip(peer: Any, stream: int, request: Request) -> None:
        peer.h2.send_headers(stream, [(":status", "200")])
        while not peer.transport.is_closing():
            peer.h2.send_data(stream, b"1")
            peer.flush()
            await asyncio.sleep(0.01)

    async def body():
        async with asked(timeout_s=0.05) as (server, client):
            server.default = drip
            with pytest.raises(OutcomeUnknownError):
                await client.time()

    run(body())


def test_nobody_listens_is_not_sent(run):
    async def body():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            async with ClobClient(f"https://127.0.0.1:{taken.getsockname()[1]}") as client:
                with pytest.raises(NotSentError, match="GET /time"):
                    await client.time()

    run(body())


def test_untrusted_certificate_is_not_sent_and_proxies_are_ignored(run, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    async def body():
        async with asked() as (server, client):
            server.routes[("GET", "/time")] = 5
            assert await client.time() == 5
            async with ClobClient(server.url) as stranger:
                with pytest.raises(NotSentError, match=r"(?i)certificate"):
                    await stranger.time()

    run(body())


@pytest.mark.parametrize("escaped", [anyio.EndOfStream(), ValueError("status"), LookupError()])
def test_what_escapes_from_the_library_is_an_unknown_outcome(run, monkeypatch, escaped):
    async def body():
        async with asked() as (_, client):

            async def send(*args: Any, **options: Any) -> Any:
                raise escaped

            monkeypatch.setattr(client._http._client.http, "send", send)
            with pytest.raises(OutcomeUnknownError, match="DELETE /cancel-all"):
                await client.cancel_all()

    run(body())


def test_connections_are_replaced_after_many_requests_and_none_of_them_fails(run, monkeypatch):
    monkeypatch.setattr(cold, "_MOST_REQUESTS", 3)

    async def body():
        async with asked() as (server, client):
            server.routes[("GET", "/time")] = 5
            client._http._client.left = 3
            for _ in range(4):
                assert await asyncio.gather(*(client.time() for _ in range(5))) == [5] * 5
            assert len(server.requests) == 20
            assert not client._http._worn  # all answered: all closed
            await until(lambda: server.lost == len(server.peers) - 1 == 6)

    run(body())


def test_worn_connections_stay_open_while_an_answer_is_due(run, monkeypatch):
    monkeypatch.setattr(cold, "_MOST_REQUESTS", 1)

    async def body():
        async with asked() as (server, client):
            server.routes[("GET", "/time")] = 5
            client._http._client.left = 2
            held = client._http._take()
            assert await client.time() == 5
            assert await client.time() == 5
            assert not held.http.is_closed
            await client._http._give_back(held)
            assert held.http.is_closed
            assert await client.time() == 5

    run(body())


def test_a_worn_connection_that_cannot_be_closed_costs_no_answer(run, monkeypatch):
    monkeypatch.setattr(cold, "_MOST_REQUESTS", 1)

    async def body():
        async with asked() as (server, client):
            server.routes[("GET", "/time")] = 5
            first = client._http._client

            async def aclose() -> None:
                raise anyio.EndOfStream

            first.left = 1
            monkeypatch.setattr(first.http, "aclose", aclose)
            assert await client.time() == 5
            monkeypatch.undo()
            await first.http.aclose()

    run(body())


def test_closed_client_is_a_usage_error(run):
    async def body():
        async with asked() as (_server, client):
            await client.close()
            with pytest.raises(UsageError):
                await client.time()

    run(body())


def test_plain_http_is_refused():
    with pytest.raises(ConfigError):
        ClobClient("http://127.0.0.1:1")
