"""The user channel over real TLS: cut, silent, frozen, hostile; and the executor that listens."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Response

import polyexec as px
from polyexec.clob.user_channel import UserChannel
from polyexec.core.auth import ApiCredentials
from polyexec.core.ports import Fill, OrderStatus
from polyexec.paper import PaperExchange, PaperMarket

from .h2_server import _CERT, client_context, until

Run = Callable[[Any], Any]
KEY = "0x" + "17" * 32
ADDRESS = px.OrderSigner(KEY).address
SECRET = "c2VjcmV0LXRoYXQtbXVzdC1ub3Qtc2hvdw=="
CREDENTIALS = ApiCredentials("key-id", SECRET, "pass-phrase-that-must-not-show")
FAST = {"ping_interval_s": 0.01, "silence_s": 60.0, "jitter": lambda: 0.0}


class Events:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.orders: list[OrderStatus] = []
        self.fills: list[Fill] = []
        self.gaps = 0
        self.backfills: list[int] = []
        self.fault: Exception | None = None
        self.is_owed = False

    def on_order(self, status: OrderStatus) -> None:
        self.orders.append(status)
        if self.fault is not None:
            raise self.fault

    def on_fills(self, fills: Sequence[Fill]) -> None:
        self.fills += fills

    def on_gap(self) -> None:
        self.gaps += 1

    async def backfill(self, since_ms: int) -> None:
        self.backfills.append(since_ms)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault


@asynccontextmanager
async def listening(
    url: str, context: ssl.SSLContext, credentials: ApiCredentials = CREDENTIALS, **settings: Any
) -> AsyncIterator[tuple[UserChannel, Events]]:
    events = Events()
    channel = UserChannel(
        url, credentials=credentials, events=events, ssl_context=context, **FAST | settings
    )
    task = asyncio.create_task(channel.run())
    try:
        yield channel, events
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def hostile(handle: Callable[[ServerConnection], Any], **rest: Any) -> AsyncIterator[str]:
    """A WebSocket server of the library's own that a test scripts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _CERT.configure_cert(context)
    async with serve(handle, "127.0.0.1", 0, ssl=context, ping_interval=None, **rest) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"wss://127.0.0.1:{port}/ws"


async def polite(connection: ServerConnection) -> None:
    """Take the credentials and answer one ping."""
    await connection.recv()
    assert await connection.recv() == "PING"
    await connection.send("PONG")


def test_a_cut_connection_comes_back_and_says_since_when(run: Run) -> None:
    async def main() -> None:
        async with (
            PaperExchange() as exchange,
            listening(exchange.ws_url, exchange.ssl_context, exchange.credentials(KEY)) as (
                channel,
                events,
            ),
        ):
            await until(lambda: channel.counts.backfills == 1)
            assert channel.is_connected
            assert channel.since_ns is not None
            assert events.backfills == [0]
            exchange.channels.cut()
            await until(lambda: channel.counts.backfills == 2)
            assert (channel.counts.connects, events.gaps) == (2, 1)
            assert events.backfills[1] > 1_700_000_000_000
        assert not channel.is_connected
        assert events.gaps == 2

    run(main())


def test_a_silent_connection_is_given_up(run: Run) -> None:
    async def main() -> None:
        async with (
            PaperExchange() as exchange,
            listening(
                exchange.ws_url, exchange.ssl_context, exchange.credentials(KEY), silence_s=0.1
            ) as (channel, _),
        ):
            await until(lambda: channel.is_connected)
            exchange.channels.silent = True
            await until(lambda: channel.counts.silences)
            exchange.channels.silent = False
            await until(lambda: channel.counts.connects == 2)

    run(main())


def test_a_frozen_connection_is_given_up(run: Run) -> None:
    async def main() -> None:
        async with (
            PaperExchange() as exchange,
            listening(exchange.ws_url, exchange.ssl_context, exchange.credentials(KEY)) as (
                channel,
                events,
            ),
        ):
            await until(lambda: channel.is_connected)
            events.is_owed = True
            await until(lambda: channel.counts.freezes)
            events.is_owed = False
            await until(lambda: channel.counts.connects >= 2)
            assert channel.counts.silences == 0

    run(main())


def test_bad_credentials_are_failures_and_not_connections(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with (
            PaperExchange() as exchange,
            listening(exchange.ws_url, exchange.ssl_context) as (channel, events),
        ):
            await until(lambda: channel.counts.failures >= 2)
            assert (channel.counts.connects, events.gaps, events.backfills) == (0, 0, [])

    run(main())
    reasons = [getattr(record, "reason", "") for record in caplog.records]
    assert any("Unauthorized" in reason for reason in reasons)
    shown = "\n".join([caplog.text, *reasons, *(str(r.__dict__) for r in caplog.records)])
    assert SECRET not in shown
    assert "must-not-show" not in shown


def test_bad_messages_are_counted_and_the_good_ones_arrive(run: Run) -> None:
    order = (
        '{"event_type":"order","type":"PLACEMENT","id":"0x1","asset_id":"1","side":"BUY",'
        '"original_size":"5","size_matched":"0","price":"0.2","status":"LIVE"}'
    )

    async def handle(connection: ServerConnection) -> None:
        await polite(connection)
        for message in ("{", b"\xff\x00", "[" * 5000, f'[{order}, 7, {{"event_type":"news"}}]'):
            await connection.send(message)
        connection.transport.write(b"\x81\x02\xff\xff")  # a text that is none
        await connection.wait_closed()

    async def main() -> None:
        async with (
            hostile(handle) as url,
            listening(url, client_context()) as (channel, events),
        ):
            counts = channel.counts
            await until(lambda: counts.unreadable == 5)
            assert (len(events.orders), counts.ignored, counts.events) == (1, 1, 1)
            await until(lambda: counts.connects == 1)  # it is the same connection

    run(main())


@pytest.mark.parametrize(
    "frame",
    [
        b"\x83\x00",  # an opcode that does not exist
        b"\xc1\x00",  # a reserved bit
        b"\x81\x7f\x00\x00\x01\x00\x00\x00\x00\x00",  # a terabyte is announced
        b"\x80\x00",  # a continuation of nothing
    ],
)
def test_bad_frames_end_the_connection_and_not_the_channel(run: Run, frame: bytes) -> None:
    async def handle(connection: ServerConnection) -> None:
        await polite(connection)
        connection.transport.write(frame)
        await connection.wait_closed()

    async def main() -> None:
        async with hostile(handle) as url, listening(url, client_context()) as (channel, events):
            await until(lambda: channel.counts.connects == 2)
            assert events.gaps >= 1

    run(main())


@pytest.mark.parametrize("status", [302, 403, 503])
def test_an_answer_without_upgrade_is_not_followed(run: Run, status: int) -> None:
    asked: list[str] = []

    def refuse(connection: ServerConnection, request: Any) -> Response:
        asked.append(request.path)
        response = connection.respond(status, "elsewhere")
        response.headers["Location"] = "/other"
        return response

    async def main() -> None:
        async with (
            hostile(polite, process_request=refuse) as url,
            listening(url, client_context()) as (channel, _),
        ):
            await until(lambda: channel.counts.failures >= 2)
        assert set(asked) == {"/ws/user"}

    run(main())


def test_a_server_that_is_not_trusted_or_not_there_is_a_failure(run: Run) -> None:
    async def main() -> None:
        async with hostile(polite) as url:
            strict = ssl.create_default_context()
            async with listening(url, strict) as (channel, _):
                await until(lambda: channel.counts.failures >= 2)
        async with listening(url, client_context()) as (channel, _):  # nobody listens there now
            await until(lambda: channel.counts.failures >= 2)

    run(main())


def test_a_server_that_never_answers_the_ping_is_not_connected(run: Run) -> None:
    async def handle(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async def main() -> None:
        async with (
            hostile(handle) as url,
            listening(url, client_context(), connect_timeout_s=0.05) as (channel, _),
        ):
            await until(lambda: channel.counts.failures >= 2)
            assert channel.counts.connects == 0

    run(main())


def test_a_listener_that_raises_costs_nothing_but_its_event(run: Run) -> None:
    async def main() -> None:
        async with PaperExchange() as exchange:
            market = exchange.add_market("m")
            async with listening(
                exchange.ws_url, exchange.ssl_context, exchange.credentials(KEY)
            ) as (channel, events):
                events.fault = RuntimeError("backfill")
                await until(lambda: channel.counts.backfills == 1)
                assert events.backfills == [0, 0]  # it was tried again
                events.fault = RuntimeError("event")
                exchange.deposit(ADDRESS, 100)
                async with px.Executor(config(exchange, user_channel=False)) as executor:
                    await executor.submit(signal(market))
                    await executor.cancel_all()
                await until(lambda: len(events.orders) == 2)
                assert channel.counts.connects == 1

    run(main())


# the executor -------------------------------------------------------------------------------------


def config(exchange: PaperExchange, **changes: Any) -> px.ExecutorConfig:
    credentials = exchange.credentials(KEY)
    settings: dict[str, Any] = {
        "private_key": KEY,
        "clob_url": exchange.url,
        "ssl_context": exchange.ssl_context,
        "api_key": credentials.api_key,
        "api_secret": credentials.secret,
        "api_passphrase": credentials.passphrase,
        "trading_enabled": True,
        "opportunity_timeout_ms": 0,
        "follow_interval_s": 1000,  # nothing is learnt by polling
        "user_channel": True,
    }
    return px.ExecutorConfig(**settings | changes)


def signal(market: PaperMarket, size: Any = 10, price: str = "0.45", kind: str = "GTC") -> Any:
    leg = px.Leg(market.yes, "BUY", price, size, kind, tick_size="0.01", fee_rate="0.07")
    return px.LegsSignal([leg])


@asynccontextmanager
async def trading(
    exchange: PaperExchange, **changes: Any
) -> AsyncIterator[tuple[px.Executor, UserChannel]]:
    exchange.deposit(ADDRESS, 100)
    async with px.Executor(config(exchange, **changes)) as executor:
        channel = executor.user_channel
        assert channel is not None
        await until(lambda: channel.counts.backfills)
        yield executor, channel


def test_fills_and_cancels_are_booked_without_a_question(run: Run) -> None:
    async def main() -> None:
        async with PaperExchange() as exchange:
            market = exchange.add_market("m", fee_rate="0.07")
            exchange.seed_book(market.yes, asks=[("0.45", 20)])
            async with trading(exchange) as (executor, channel):
                before = exchange.request_count
                result = await executor.submit(signal(market, 50))
                assert result.legs[0].state is px.LegState.PARTIAL
                exchange.seed_book(market.yes, asks=[("0.45", 10)])  # our order makes these
                await until(lambda: executor.ledger.balance(market.yes) == 30_000_000)
                assert exchange.request_count == before + 1
                await executor.cancel_all()
                await until(lambda: executor.ledger.held() == 0)
                assert exchange.request_count == before + 2
                report = await executor.reconcile()
                assert report.is_exact
                assert report.open_orders == ()
                assert channel.counts.unreadable == 0

    run(main())


def test_an_order_whose_answer_is_lost_is_resolved_by_its_events(run: Run) -> None:
    async def main() -> None:
        async with PaperExchange() as exchange:
            market = exchange.add_market("m", fee_rate="0.07")
            exchange.seed_book(market.yes, asks=[("0.45", 20)])
            asked: list[str] = []

            async def lose(request: px.paper.Request) -> px.paper.Fault | None:
                asked.append(request.path)
                is_post = request.path == "/orders"
                return px.paper.Fault.HANDLE_THEN_DROP if is_post else px.paper.Fault.DROP

            async with trading(exchange, post_timeout_s=0.3) as (executor, _):
                exchange.on_request = lose
                result = await executor.submit(signal(market, kind="FOK"))
                assert result.legs[0].state is px.LegState.UNKNOWN
                await until(lambda: executor.ledger.balance(market.yes) == 10_000_000)
                assert executor.ledger.held() == 0
                assert "/orders" in asked
                exchange.on_request = None
                assert (await executor.reconcile()).is_exact

    run(main())


def test_what_a_cut_hid_is_asked_for_after_the_reconnect(run: Run) -> None:
    async def main() -> None:
        async with PaperExchange() as exchange:
            market = exchange.add_market("m", fee_rate="0.07")
            async with trading(exchange) as (executor, channel):
                await executor.submit(signal(market, 10))
                exchange.channels.withhold = lambda message: True
                exchange.seed_book(market.yes, asks=[("0.45", 4)])
                exchange.channels.cut()
                exchange.channels.withhold = None
                await until(lambda: executor.ledger.balance(market.yes) == 4_000_000)
                assert channel.counts.connects == 2
                exchange.seed_book(market.yes, asks=[("0.45", 6)])
                await until(lambda: executor.ledger.held() == 0)
                assert (await executor.reconcile()).is_exact

    run(main())


def test_a_lost_trade_event_is_asked_for(run: Run) -> None:
    async def main() -> None:
        async with PaperExchange() as exchange:
            market = exchange.add_market("m", fee_rate="0.07")
            async with trading(exchange) as (executor, channel):
                await executor.submit(signal(market, 10))
                exchange.channels.withhold = lambda message: message["event_type"] == "trade"
                exchange.seed_book(market.yes, asks=[("0.45", 10)])
                await until(lambda: executor.ledger.balance(market.yes) == 10_000_000)
                assert (channel.counts.connects, executor.ledger.held()) == (1, 0)

    run(main())


def test_a_bot_of_the_same_account_does_not_disturb(run: Run) -> None:
    async def main() -> None:
        async with PaperExchange() as exchange:
            market = exchange.add_market("m", fee_rate="0.07")
            exchange.seed_book(market.yes, asks=[("0.45", 50)])
            async with trading(exchange) as (executor, channel):
                async with px.Executor(config(exchange, user_channel=False)) as other:
                    assert other.user_channel is None
                    await other.submit(signal(market, 10))
                await until(lambda: channel.counts.events >= 3)
                assert executor.ledger.balance(market.yes) == 0

    run(main())


async def test_credentials_are_in_no_log_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with PaperExchange() as exchange:
        credentials = exchange.credentials(KEY)
        async with listening(exchange.ws_url, exchange.ssl_context, credentials) as (channel, _):
            await until(lambda: channel.counts.backfills)
            exchange.channels.cut()
            await until(lambda: channel.counts.connects == 2)
    shown = "\n".join([caplog.text, *(str(record.__dict__) for record in caplog.records)])
    assert "user_channel_up" in shown
    assert credentials.secret not in shown
    assert credentials.passphrase not in shown


async def test_paper_mode_listens_and_off_mode_does_not() -> None:
    async with px.Executor(px.ExecutorConfig(KEY, executor_mode="paper")) as executor:
        channel = executor.user_channel
        assert channel is not None
        await until(lambda: channel.is_connected)
        assert "connected" in repr(channel)
    async with px.Executor(px.ExecutorConfig(KEY, executor_mode="off")) as executor:
        assert executor.user_channel is None


async def test_another_server_on_this_machine_is_left_alone_by_default() -> None:
    async with PaperExchange() as exchange:
        async with px.Executor(config(exchange, user_channel=None)) as executor:
            assert executor.user_channel is None
        assert exchange.channels.user_sessions == 0
