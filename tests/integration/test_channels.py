"""The paper exchange's WebSocket channels over real TLS, asked by a client that is not ours."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from polyexec import paper
from polyexec.paper.views import book_hash

from ..unit.paper.support import Clock, Trader
from .h2_server import until

Run = Callable[[Any], Any]


@asynccontextmanager
async def channel(
    exchange: paper.PaperExchange, name: str, first: Any = None, **rest: Any
) -> AsyncIterator[ClientConnection]:
    context = exchange.ssl_context
    context.set_alpn_protocols(["http/1.1"])
    url = f"{exchange.ws_url}/{name}"
    async with connect(url, ssl=context, proxy=None, ping_interval=None, **rest) as client:
        if first is not None:
            await client.send(json.dumps(first))
        yield client


async def said(client: ClientConnection) -> list[dict[str, Any]]:
    """Return all that was sent before the answer to a ping."""
    await client.send("PING")
    found: list[dict[str, Any]] = []
    while (message := await client.recv()) != "PONG":
        value = json.loads(message)
        found += value if isinstance(value, list) else [value]
    return found


def auth(trader: Trader, **changes: Any) -> dict[str, Any]:
    key = trader.credentials
    raw = {"apiKey": key.api_key, "secret": key.secret, "passphrase": key.passphrase}
    return {"type": "user", "auth": raw | changes}


def started(**settings: Any) -> tuple[paper.PaperExchange, Trader, Trader]:
    exchange = paper.PaperExchange(clock=Clock(), **settings)
    alice, bob = Trader(exchange, 1), Trader(exchange, 2)
    for trader in (alice, bob):
        exchange.deposit(trader.address, 1000)
    return exchange, alice, bob


# user channel -------------------------------------------------------------------------------------


def test_orders_and_trades_are_told_to_both_parties(run: Run) -> None:
    async def main() -> None:
        exchange, alice, bob = started(settle_at_once=False)
        market = exchange.add_market("m")
        async with (
            exchange,
            channel(exchange, "user", auth(alice)) as hers,
            channel(exchange, "user", auth(bob)) as his,
        ):
            assert await said(hers) == await said(his) == []
            _, placed = alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
            (event,) = await said(hers)
            assert (event["event_type"], event["type"]) == ("order", "PLACEMENT")
            assert (event["id"], event["status"]) == (placed["orderID"], "LIVE")
            assert event["timestamp"] == str(exchange.engine.clock())
            assert await said(his) == []
            # complementary: bob buys the other token, a set is minted
            bob.post(bob.limit(market.no, "BUY", "0.60", "4", "FOK"))
            update, trade = await said(hers)
            assert (update["type"], update["size_matched"]) == ("UPDATE", "4")
            assert (trade["trader_side"], trade["status"]) == ("MAKER", "MATCHED")
            (mine,) = trade["maker_orders"]
            assert (mine["order_id"], mine["matched_amount"]) == (placed["orderID"], "4")
            assert (mine["asset_id"], mine["side"]) == (market.yes, "BUY")
            assert trade["asset_id"] == market.no
            placement, theirs = await said(his)
            assert (placement["type"], placement["status"]) == ("PLACEMENT", "MATCHED")
            assert theirs["trader_side"] == "TAKER"
            assert theirs["transaction_hash"] is None
            (deal,) = exchange.engine.trades.values()
            for step in ("mine", "retry", "mine", "settle", "fail", "mine"):
                getattr(exchange.engine, step)(deal)
            for client in (hers, his):
                words = [event["status"] for event in await said(client)]
                assert words == ["MINED", "RETRYING", "MINED", "CONFIRMED"]
            alice.request("DELETE", "/cancel-all")
            (event,) = await said(hers)
            assert (event["type"], event["status"]) == ("CANCELLATION", "CANCELED")
            assert event["size_matched"] == "4"

    run(main())


def test_ends_of_orders_say_why(run: Run) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        market = exchange.add_market("m")
        async with exchange, channel(exchange, "user", auth(alice)) as client:
            await said(client)
            alice.error(alice.limit(market.yes, "BUY", "0.40", "10", "FOK"))
            alice.error(alice.limit(market.yes, "BUY", "0.40", "10", "FAK"))
            clock = exchange.engine.clock
            expires = clock() // 1000 + 300
            alice.post(alice.limit(market.yes, "BUY", "0.40", "10", "GTD", expiration=str(expires)))
            clock.now_ms += 600_000  # type: ignore[attr-defined]
            exchange.engine.expire()
            fok, fak, placed, expired = await said(client)
            assert fok["status"].startswith("CANCELED_order couldn't be fully filled")
            assert fok["size_matched"] == ""
            assert fak["status"].startswith("CANCELED_no orders found")
            assert placed["expiration"] == str(expires)
            assert expired["status"] == "CANCELED_EXPIRED_ORDER"

    run(main())


def test_markets_filter_and_its_changes(run: Run) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        one, two = exchange.add_market("one"), exchange.add_market("two")
        first = auth(alice) | {"markets": [one.condition_id]}
        async with exchange, channel(exchange, "user", first) as client:
            await said(client)

            async def heard() -> set[str]:
                for market in (one, two):
                    alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
                return {event["market"] for event in await said(client)}

            assert await heard() == {one.condition_id}
            await client.send(
                json.dumps({"operation": "subscribe", "markets": [two.condition_id, 7]})
            )
            await said(client)
            assert await heard() == {one.condition_id, two.condition_id}
            await client.send(
                json.dumps({"operation": "unsubscribe", "markets": [one.condition_id]})
            )
            await client.send("not json")
            await client.send("[]")
            await said(client)
            assert await heard() == {two.condition_id}

    run(main())


@pytest.mark.parametrize(
    "first",
    [
        "no object",
        {},
        {"type": "market", "assets_ids": []},
        {"type": "user"},
        {"type": "user", "auth": {"apiKey": 1, "secret": None}},
        {"secret": "c2VjcmV0"},
        {"passphrase": "é"},
        {"apiKey": "00000000-0000-0000-0000-000000000000"},
    ],
)
def test_bad_credentials_close_the_socket(run: Run, first: Any) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        if isinstance(first, dict) and first and "type" not in first:
            frame = auth(alice, **first)
        else:
            frame = first
        async with exchange, channel(exchange, "user", frame) as client:
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1008
            assert alice.credentials.secret not in caught.value.rcvd.reason
            assert exchange.channels.user_sessions == 0

    run(main())


# market channel -----------------------------------------------------------------------------------


def test_a_local_book_is_followed_to_the_hash(run: Run) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        market = exchange.add_market("m", fee_rate="0.07")
        exchange.seed_book(market.yes, bids=[("0.40", 100), ("0.39", 5)], asks=[("0.45", 20)])
        first = {"type": "market", "assets_ids": [market.yes]}
        async with exchange, channel(exchange, "market", first) as client:
            (book,) = await said(client)
            assert book["event_type"] == "book"
            assert [level["price"] for level in book["bids"]] == ["0.39", "0.4"]
            exchange.set_level(market.yes, "BUY", "0.41", 7)
            exchange.set_level(market.yes, "BUY", "0.39", 0)
            exchange.set_level(market.no, "BUY", "0.50", 9)  # an ask at 0.50 of the first token
            changes = await said(client)
            assert {change["event_type"] for change in changes} == {"price_change"}
            for change in changes:
                entries = {entry["asset_id"]: entry for entry in change["price_changes"]}
                assert set(entries) == set(market.token_ids)  # both, though one was asked for
                apply(book, entries[market.yes], change["timestamp"])
                full = book | {"min_order_size": "5", "neg_risk": False}
                assert book_hash(full) == entries[market.yes]["hash"]
            assert (book["bids"][-1]["price"], book["asks"][0]["price"]) == ("0.41", "0.5")
            alice.post(alice.limit(market.yes, "BUY", "0.45", "10", "FOK"))
            kinds = [event["event_type"] for event in await said(client)]
            assert kinds == ["last_trade_price", "price_change", "book"]
            exchange.set_tick_size(market.yes, "0.001")
            (tick,) = await said(client)
            assert (tick["asset_id"], tick["new_tick_size"]) == (market.yes, "0.001")

    run(main())


def apply(book: dict[str, Any], entry: dict[str, str], timestamp: str) -> None:
    """Put a change into a local book, as a client does."""
    side = book["bids"] if entry["side"] == "BUY" else book["asks"]
    side[:] = [level for level in side if level["price"] != entry["price"]]
    if entry["size"] != "0":
        side.append({"price": entry["price"], "size": entry["size"]})
    side.sort(key=lambda level: float(level["price"]), reverse=entry["side"] == "SELL")
    book["timestamp"] = timestamp


def test_subscriptions_change_and_the_flag_brings_the_best_prices(run: Run) -> None:
    async def main() -> None:
        exchange, _, _ = started()
        one, two = exchange.add_market("one"), exchange.add_market("two")
        first = {"type": "market", "assets_ids": [one.yes, "17"]}
        async with exchange, channel(exchange, "market", first) as client:

            async def change(**frame: Any) -> list[dict[str, Any]]:
                await client.send(json.dumps(frame))
                return await said(client)

            assert [event["asset_id"] for event in await said(client)] == [one.yes]
            # a duplicate brings nothing, but its flag counts
            assert (
                await change(
                    operation="subscribe", assets_ids=[one.yes], custom_feature_enabled=True
                )
                == []
            )
            exchange.set_level(one.yes, "BUY", "0.40", 7)
            exchange.set_level(one.yes, "BUY", "0.40", 8)  # the best price stays
            exchange.set_level(two.yes, "BUY", "0.40", 7)  # not subscribed
            kinds = [event["event_type"] for event in await said(client)]
            assert kinds == ["price_change", "best_bid_ask", "price_change"]
            exchange.set_level(one.yes, "SELL", "0.43", 7)
            best = (await said(client))[-1]
            assert (best["best_bid"], best["best_ask"], best["spread"]) == ("0.4", "0.43", "0.03")
            books = await change(operation="subscribe", assets_ids=[two.yes, two.no])
            assert [event["asset_id"] for event in books] == [two.yes, two.no]
            await change(operation="unsubscribe", assets_ids=[one.yes])
            exchange.clear_book(one.yes)
            assert await said(client) == []
            exchange.clear_book(two.yes)
            last = [e for e in await said(client) if e["event_type"] == "best_bid_ask"]
            assert {(e["best_bid"], e["best_ask"], e["spread"]) for e in last} == {("", "", "")}
        await until(lambda: not exchange.channels.market_sessions)

    run(main())


# the wire -----------------------------------------------------------------------------------------


def test_faults_on_request(run: Run) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        market = exchange.add_market("m")
        async with exchange, channel(exchange, "user", auth(alice)) as client:
            await said(client)
            channels = exchange.channels
            assert repr(channels) == "Channels(0 market, 1 user sessions)"
            channels.withhold = lambda message: message["event_type"] == "order"
            alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
            assert await said(client) == []
            channels.withhold = None
            channels.silent = True
            alice.post(alice.limit(market.yes, "BUY", "0.40", "10"))
            await client.send("PING")
            await (await client.ping())  # the framing is alive, and the text was read
            channels.silent = False
            assert await said(client) == []
            channels.cut()
            with pytest.raises(ConnectionClosed):
                await client.recv()
            await until(lambda: not exchange.channels.user_sessions)

    run(main())


def test_client_that_does_not_read_is_dropped(run: Run) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        market = exchange.add_market("m")
        context = exchange.ssl_context
        context.set_alpn_protocols(["http/1.1"])
        async with exchange, channel(exchange, "user", auth(alice)) as reader:
            slow = socket.create_connection(("127.0.0.1", int(exchange.url.rpartition(":")[2])))
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            first = {"type": "market", "assets_ids": [market.yes]}
            async with channel(exchange, "market", first, sock=slow, max_queue=1) as client:
                await until(lambda: exchange.channels.market_sessions)
                client.transport.pause_reading()
                for number in range(20_000):
                    exchange.set_level(market.yes, "BUY", "0.40", number % 2 + 1)
                    if number % 100 == 0:
                        await asyncio.sleep(0)
                        if not exchange.channels.market_sessions:
                            break
                await until(lambda: not exchange.channels.market_sessions)
                client.transport.abort()
            assert await said(reader) == []  # the others do not notice

    run(main())


def test_pieces_pings_binary_and_nonsense(run: Run) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        async with exchange:
            async with channel(exchange, "user") as client:
                await (await client.ping())
                text = json.dumps(auth(alice))
                await client.send(b"PING")  # not a text: ignored
                await client.send([text[:20], text[20:]])
                assert await said(client) == []
                assert exchange.channels.user_sessions == 1
                await client.send("x" * 70_000)
                with pytest.raises(ConnectionClosed) as caught:
                    await client.recv()
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1009
            async with channel(exchange, "user") as client:
                client.protocol.send_text(b"\xff\xff")
                client.transport.write(b"".join(client.protocol.data_to_send()))
                with pytest.raises(ConnectionClosed) as caught:
                    await client.recv()
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1007
            with pytest.raises(InvalidStatus, match="404"):
                async with channel(exchange, "sports"):
                    pass

    run(main())


def test_closing_the_exchange_drops_the_sockets(run: Run) -> None:
    async def main() -> None:
        exchange, alice, _ = started()
        async with exchange, channel(exchange, "user", auth(alice)) as client:
            await said(client)
            await exchange.close()
            with pytest.raises(ConnectionClosed):
                await client.recv()

    run(main())
