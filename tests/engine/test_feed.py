"""The feed against the paper exchange over real TLS: its books are the exchange's, or not live."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from polyexec._impl import PriceTable
from polyexec._pure.prices import BookState
from polyexec.clob.client import ClobClient
from polyexec.clob.markets import MarketCache
from polyexec.core.market_events import BestBidAsk, LastTradePrice, TickSizeChange
from polyexec.engine.feed import Feed
from polyexec.errors import InputError, UsageError
from polyexec.paper import PaperExchange, PaperMarket
from polyexec.paper.websocket import WebSocket
from tests.integration.conftest import run  # noqa: F401  both kinds of loops
from tests.integration.h2_server import until
from tests.unit.paper.support import Trader

from .support import described, following, is_true, truth

Run = Callable[[Any], Any]


def seeded(exchange: PaperExchange, count: int = 1) -> list[PaperMarket]:
    markets = [exchange.add_market(f"m{number}") for number in range(count)]
    for market in markets:
        exchange.seed_book(market.yes, bids=[("0.40", 100), ("0.39", 50)], asks=[("0.45", 20.5)])
    return markets


def all_true(exchange: PaperExchange, table: PriceTable, feed: Feed) -> bool:
    return all(is_true(exchange, table, token) for token in feed.tokens)


def test_books_follow_the_exchange(run: Run) -> None:  # noqa: F811
    async def main() -> None:
        async with PaperExchange() as exchange:
            (market,) = seeded(exchange)
            async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, heard):
                feed.subscribe(market.token_ids)
                await until(lambda: all_true(exchange, table, feed))
                source = random.Random(7)
                for _ in range(300):
                    side, price = source.choice([("BUY", 15), ("SELL", 45)])
                    exchange.set_level(
                        market.yes,
                        side,
                        f"0.{price + source.randrange(30)}",
                        source.choice([0, 0, 5, 12.34, 0.000001]),
                    )
                await until(lambda: all_true(exchange, table, feed))
                assert feed.counts.faults == {}
                assert feed.counts.changes >= 300
                assert {table.slot(token) for token in market.token_ids} == set(heard.touched)
                bids, _ = truth(exchange, market.no)
                assert heard.tops[-1].best_bid_e4 in (
                    bids[0][0],
                    truth(exchange, market.yes)[0][0][0],
                )
                assert any(isinstance(event, BestBidAsk) for event in heard.events)
            assert table.state(table.slot(market.yes)) is BookState.EMPTY

    run(main())


def test_a_lost_connection_voids_its_books_at_once(run: Run) -> None:  # noqa: F811
    async def main() -> None:
        async with PaperExchange() as exchange:
            (market,) = seeded(exchange)
            async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, _):
                feed.subscribe(market.token_ids)
                await until(lambda: all_true(exchange, table, feed))
                exchange.channels.cut()
                slot = table.slot(market.yes)
                await until(lambda: table.state(slot) is BookState.EMPTY)
                exchange.set_level(market.yes, "BUY", "0.41", 7)  # nobody tells of it
                await until(lambda: all_true(exchange, table, feed))
                await until(lambda: feed.connections[0][1].connects == 2)
                assert feed.counts.losses == 1

    run(main())


async def test_tokens_are_spread_over_connections_and_come_and_go() -> None:
    async with PaperExchange() as exchange:
        markets = seeded(exchange, 130)
        tokens = [token for market in markets for token in market.token_ids]
        settings = {"tokens_per_connection": 120, "capacity": 260}
        async with following(exchange.ws_url, exchange.ssl_context, **settings) as (feed, table, _):
            feed.subscribe(tokens[:240])  # 120 need two frames, the first of 100
            await until(lambda: all_true(exchange, table, feed))
            assert exchange.channels.market_sessions == 2
            feed.subscribe(tokens)  # the old ones too: they stay as they are
            await until(lambda: len(feed.tokens) == 260 and all_true(exchange, table, feed))
            assert exchange.channels.market_sessions == 3
            feed.unsubscribe(tokens[:200])
            assert table.slot(tokens[0]) == -1
            exchange.set_level(markets[0].yes, "BUY", "0.41", 7)
            exchange.set_level(markets[-1].yes, "BUY", "0.41", 7)
            await until(lambda: all_true(exchange, table, feed))
            feed.subscribe(tokens[:10])
            await until(lambda: all_true(exchange, table, feed))
            assert exchange.channels.market_sessions == 3
            assert len(feed.tokens) == 70


async def test_a_change_that_was_lost_is_found_by_the_hash(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, _):
            for record in described(market):
                feed.describe(record)
            feed.subscribe(market.token_ids)
            await until(lambda: feed.counts.hash_checks == 2)
            exchange.channels.withhold = lambda message: True
            exchange.set_level(market.yes, "BUY", "0.30", 7)  # not at the top: no best tells
            exchange.channels.withhold = None
            assert feed.counts.hash_mismatches == 0
            exchange.set_level(market.yes, "BUY", "0.29", 7)
            await until(lambda: feed.counts.hash_mismatches == 2)
            await until(lambda: all_true(exchange, table, feed))
            assert feed.counts.faults == {"hash_mismatch": 2}
            checks = feed.counts.hash_checks
            for number in range(20):  # and all is well again
                exchange.set_level(market.yes, "BUY", "0.28", 7 + number)
            await until(lambda: feed.counts.hash_checks > checks + 1)
            assert feed.counts.hash_mismatches == 2
    assert [r.message for r in caplog.records].count("feed_fault") == 1  # once per kind


async def test_hashes_hold_through_trades() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        trader = Trader(exchange, 1)
        exchange.deposit(trader.address, 1000)
        async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, heard):
            for record in described(market):
                feed.describe(record)
            feed.subscribe(market.token_ids)
            await until(lambda: all_true(exchange, table, feed))
            for number in range(4):
                trader.post(trader.limit(market.yes, "BUY", "0.45", "5", "FOK"))
                exchange.set_level(market.yes, "BUY", "0.20", 1 + number)
                checks = feed.counts.hash_checks
                await until(lambda: feed.counts.hash_checks > checks + 1)  # noqa: B023
            await until(lambda: all_true(exchange, table, feed))
            assert feed.counts.hash_mismatches == feed.counts.hash_unprovable == 0
            trades = [event for event in heard.events if isinstance(event, LastTradePrice)]
            assert [(event.price, event.size) for event in trades] == [("0.45", "5")] * 4


async def test_hashes_that_cannot_be_right_doubt_nothing() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, _):
            for record in described(market):
                feed.describe(msgspec.structs.replace(record, neg_risk=True))
            feed.subscribe(market.token_ids)
            await until(lambda: feed.counts.hash_unprovable == 2)
            for number in range(20):
                exchange.set_level(market.yes, "BUY", "0.28", 7 + number)
            await until(lambda: all_true(exchange, table, feed))
            assert feed.counts.hash_checks == feed.counts.hash_mismatches == 0


async def test_a_lost_change_of_the_top_is_found_by_best_bid_ask() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, _):
            feed.subscribe(market.token_ids)
            await until(lambda: all_true(exchange, table, feed))
            exchange.channels.withhold = lambda m: m["event_type"] == "price_change"
            exchange.set_level(market.yes, "BUY", "0.42", 7)
            await until(lambda: feed.counts.faults.get("best_bid_ask_differs") == 2)
            await until(lambda: all_true(exchange, table, feed))


async def test_a_lost_change_of_the_top_is_found_by_the_next_change() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with following(exchange.ws_url, exchange.ssl_context, custom_features=False) as (
            feed,
            table,
            _,
        ):
            feed.subscribe(market.token_ids)
            await until(lambda: all_true(exchange, table, feed))
            exchange.channels.withhold = lambda message: True
            exchange.set_level(market.yes, "BUY", "0.42", 7)
            exchange.channels.withhold = None
            exchange.set_level(market.yes, "BUY", "0.20", 7)
            await until(lambda: feed.counts.faults.get("best_differs") == 2)
            await until(lambda: all_true(exchange, table, feed))


async def test_a_silent_token_is_subscribed_anew() -> None:
    async with PaperExchange() as exchange:
        quiet, busy = seeded(exchange, 2)
        async with following(
            exchange.ws_url, exchange.ssl_context, stale_after_s=0.2, hash_checks_per_s=0
        ) as (feed, table, _):
            feed.subscribe([*quiet.token_ids, *busy.token_ids])
            await until(lambda: all_true(exchange, table, feed))
            exchange.channels.withhold = lambda m: (
                m.get("market") == quiet.condition_id and (m["event_type"] != "book")
            )
            exchange.set_level(quiet.yes, "BUY", "0.20", 7)
            level = iter(range(1, 10_000))

            def is_well() -> bool:
                exchange.set_level(busy.yes, "BUY", "0.20", next(level))
                return is_true(exchange, table, quiet.yes)

            assert not is_true(exchange, table, quiet.yes)
            await until(is_well)
            assert feed.counts.stale >= 2
            assert feed.connections[0][1].connects == 1
            assert feed.counts.missing == 0


async def test_a_silent_token_is_compared_with_rest() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with ClobClient(exchange.url, ssl_context=exchange.ssl_context) as client:
            given = {"fetch_books": client.book_events}
            async with following(
                exchange.ws_url,
                exchange.ssl_context,
                given=given,
                stale_after_s=0.1,
                hash_checks_per_s=0,
                custom_features=False,
            ) as (feed, table, heard):
                feed.subscribe(market.token_ids)
                await until(lambda: all_true(exchange, table, feed))
                asked = feed.counts.asked
                before = table.top(table.slot(market.yes)).received_ns
                heard.touched.clear()
                await until(lambda: feed.counts.confirmed >= 4)  # it is only quiet
                assert feed.counts.asked == asked
                assert table.top(table.slot(market.yes)).received_ns > before
                assert heard.touched
                exchange.channels.withhold = lambda message: True
                exchange.set_level(market.yes, "BUY", "0.20", 7)
                exchange.channels.withhold = None
                await until(lambda: feed.counts.faults.get("differs_from_rest") == 2)
                await until(lambda: all_true(exchange, table, feed))

                async def fail(_request: Any) -> Any:
                    raise OSError

                feed._fetch_books = fail  # the stream answers instead
                asked = feed.counts.asked
                await until(lambda: feed.counts.asked >= asked + 2)
                await until(lambda: all_true(exchange, table, feed))


async def test_a_frozen_connection_is_found_while_pongs_come() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with following(
            exchange.ws_url, exchange.ssl_context, stale_after_s=0.1, snapshot_timeout_s=0.1
        ) as (feed, table, _):
            feed.subscribe(market.token_ids)
            await until(lambda: all_true(exchange, table, feed))
            exchange.channels.withhold = lambda message: True
            exchange.set_level(market.yes, "BUY", "0.20", 7)
            slot = table.slot(market.yes)
            await until(lambda: table.state(slot) is BookState.EMPTY)
            await until(lambda: feed.counts.freezes)
            exchange.channels.withhold = None
            await until(lambda: all_true(exchange, table, feed))
            counts = feed.connections[0][1]
            await until(lambda: counts.connects > 1)
            assert counts.silences == 0


async def test_a_token_that_does_not_exist_costs_the_others_nothing() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with following(exchange.ws_url, exchange.ssl_context, snapshot_timeout_s=0.05) as (
            feed,
            table,
            _,
        ):
            feed.subscribe(["123", *market.token_ids])
            await until(lambda: feed.counts.missing >= 3)
            assert is_true(exchange, table, market.yes)
            assert table.state(table.slot("123")) is BookState.EMPTY
            assert (feed.counts.freezes, feed.connections[0][1].connects) == (0, 1)


async def test_a_new_tick_starts_anew_and_is_told_to_the_markets() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with ClobClient(exchange.url, ssl_context=exchange.ssl_context) as client:
            markets = MarketCache(client.condition_of, client.market)
            given = {"markets": markets}
            async with following(exchange.ws_url, exchange.ssl_context, given=given) as (
                feed,
                table,
                heard,
            ):
                assert (await markets.get(market.yes)).tick_e4 == 100
                feed.subscribe(market.token_ids)
                await until(lambda: all_true(exchange, table, feed))
                epoch = table.top(table.slot(market.yes)).epoch
                exchange.set_tick_size(market.yes, "0.001")
                exchange.set_level(market.yes, "BUY", "0.401", 7)
                await until(lambda: all_true(exchange, table, feed))
                # Each token is told by itself.
                await until(
                    lambda: (
                        {
                            event.asset_id
                            for event in heard.events
                            if isinstance(event, TickSizeChange)
                        }
                        == set(market.token_ids)
                    )
                )
                assert table.top(table.slot(market.yes)).epoch > epoch
                await until(lambda: all_true(exchange, table, feed))
                assert table.top(table.slot(market.yes)).best_bid_e4 == 4010
                record = markets.peek(market.yes)
                assert record is not None
                assert record.tick_e4 == 10
                assert feed.counts.faults == {}
            await markets.close()


async def test_a_book_that_is_doubted_before_the_first_pong_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held: list[WebSocket] = []
    real = WebSocket.send_text

    def hold_the_first_pong(socket: WebSocket, text: bytes) -> None:
        if text == b"PONG" and not held:
            held.append(socket)
        else:
            real(socket, text)

    monkeypatch.setattr(WebSocket, "send_text", hold_the_first_pong)
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, _):
            feed.subscribe(market.token_ids)
            await until(lambda: all_true(exchange, table, feed))
            exchange.set_tick_size(market.yes, "0.001")
            slots = [table.slot(token) for token in market.token_ids]
            await until(lambda: all(table.state(slot) is BookState.EMPTY for slot in slots))
            real(held[0], b"PONG")
            await until(lambda: all_true(exchange, table, feed))
            assert feed.counts.missing == 0


async def test_observers_that_raise_cost_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)

        def fail(*_arguments: object) -> None:
            raise RuntimeError("observer")

        feed_table = PriceTable(8)
        async with Feed(
            exchange.ws_url,
            feed_table,
            on_touched=fail,
            on_event=fail,
            ssl_context=exchange.ssl_context,
        ) as feed:
            feed.subscribe(market.token_ids)
            await until(lambda: all_true(exchange, feed_table, feed))
            exchange.set_level(market.yes, "BUY", "0.41", 7)
            await until(lambda: all_true(exchange, feed_table, feed))
            assert feed.counts.callback_errors >= 3
    assert "feed_callback_failed" in caplog.text


async def test_both_tokens_are_changed_before_either_is_told() -> None:
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        table = PriceTable(8)
        sums: list[int] = []

        def look(_slot: int) -> None:
            tops = [table.top(table.slot(token)) for token in market.token_ids]
            if all(top.state is BookState.LIVE for top in tops):
                sums.append(tops[0].best_bid_e4 + tops[1].best_ask_e4)

        async with Feed(
            exchange.ws_url, table, on_touched=look, ssl_context=exchange.ssl_context
        ) as feed:
            feed.subscribe(market.token_ids)
            await until(lambda: all_true(exchange, table, feed))
            for cents in (41, 42, 43, 44):
                exchange.set_level(market.yes, "BUY", f"0.{cents}", 7)
            await until(lambda: all_true(exchange, table, feed))
        assert set(sums) == {10_000}
        assert len(sums) >= 8


async def test_misuse_is_refused() -> None:
    table = PriceTable(4)
    feed = Feed("wss://127.0.0.1:9/ws", table, on_touched=print)
    with pytest.raises(UsageError, match="start"):
        feed.subscribe(["1"])
    async with feed:
        with pytest.raises(UsageError, match="already"):
            await feed.start()
        with pytest.raises(InputError, match="token_id"):
            feed.subscribe(["12", "x"])
        assert feed.tokens == ()
        assert repr(feed) == "Feed(0 tokens, 0/0 connected)"
        feed.unsubscribe(["12"])


async def test_an_exchange_that_is_not_there_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    async with PaperExchange() as exchange:
        (market,) = seeded(exchange)
        port = int(exchange.url.rpartition(":")[2])
        context = exchange.ssl_context
        await exchange.close()
        async with following(f"wss://127.0.0.1:{port}/ws", context) as (feed, table, _):
            feed.subscribe(market.token_ids)
            await until(lambda: feed.connections[0][1].failures >= 1)
            exchange._wanted_port = port
            await exchange.start()
            await until(lambda: all_true(exchange, table, feed))
    await asyncio.sleep(0)


async def test_a_bad_message_voids_what_it_was_about(caplog: pytest.LogCaptureFixture) -> None:
    async with PaperExchange() as exchange:
        one, two = seeded(exchange, 2)
        async with following(exchange.ws_url, exchange.ssl_context) as (feed, table, _):
            feed.subscribe([*one.token_ids, *two.token_ids])
            await until(lambda: feed.connections[0][0] and all_true(exchange, table, feed))
            (session,) = exchange.channels._markets
            epochs = feed.counts.books

            def send(text: str) -> None:
                text = text.replace("T1", one.yes).replace("M1", one.condition_id)
                session.socket.send_text(text.encode())

            bad = '"timestamp":"1","price_changes":[{"asset_id":"T1","price":"0.5"}]'
            send('{"event_type":"price_change",' + bad + "}")  # that token
            await until(lambda: feed.counts.books == epochs + 1)
            send('{"event_type":"book","market":"M1","asset_id":7}')  # that market
            await until(lambda: feed.counts.faults.get("bad_book") == 2)
            send('{"event_type":"best_bid_ask","asset_id":"T1","best_bid":[]}')  # no book
            send('[{"event_type":"news"},{"event_type":"news"}]')
            await until(lambda: feed.counts.ignored == 2)
            send("{")  # any
            await until(lambda: feed.counts.faults.get("bad_json") == 4)
            await until(lambda: all_true(exchange, table, feed))
            assert feed.counts.faults == {
                "bad_price_change": 1,
                "bad_book": 2,
                "bad_best_bid_ask": 1,
                "bad_json": 4,
            }
            assert feed.connections[0][1].connects == 1
    assert [record.message for record in caplog.records].count("feed_fault") == 4
