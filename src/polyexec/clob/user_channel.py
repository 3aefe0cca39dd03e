"""The exchange's user channel: our own order and trade events, as they happen.

A socket tells sooner than a question, but proves nothing by its silence: there are no sequence
numbers and no replay. So whoever listens is told of every gap, and asks for what it may have
missed. Source: protocol notes, websocket.md 2.
"""

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
import orjson
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.uri import WebSocketURI

from polyexec.clob import wire
from polyexec.clob.origin import default_ssl_context, parse_ws_url
from polyexec.core.answers import decode_json
from polyexec.core.auth import ApiCredentials
from polyexec.core.ports import Fill, OrderStatus
from polyexec.errors import NotSentError, UnexpectedResponseError

__all__ = ["ChannelCounts", "ChannelEvents", "UserChannel", "UserEvents", "decode_events"]

log = logging.getLogger("polyexec.clob")

_ALPN: Final = "http/1.1"
_MAX_MESSAGE: Final = 4 * 1024 * 1024
_FIRST_BACKOFF_S: Final = 0.25
_MAX_BACKOFF_S: Final = 30.0
_CLOSE_S: Final = 1.0
_LEAST_PINGS: Final = 2
_BY_TYPE: Final = {"PLACEMENT": "LIVE", "UPDATE": "LIVE", "CANCELLATION": "CANCELED"}

# The first frame is made of secrets, and the library logs frames when debugging.
_quiet = logging.Logger("polyexec.clob.websocket", logging.INFO)
_quiet.addHandler(logging.NullHandler())


class UserEvents(Protocol):
    """What listens to a user channel. Called on the loop; an exception is logged, no more."""

    def on_order(self, status: OrderStatus) -> None:
        """Take in the state of an order. May come twice, late, or before the answer to its POST."""
        ...

    def on_fills(self, fills: Sequence[Fill]) -> None:
        """Take in the fills of a trade: our own and, in the same trade, those of others."""
        ...

    def on_gap(self) -> None:
        """Take note that from now on events are missed, until :meth:`backfill` has been called."""
        ...

    async def backfill(self, since_ms: int) -> None:
        """Ask for what may have been missed; called after every connect, while events come.

        ``since_ms`` is when the last connection was heard of, 0 for the first one. It is called
        again after a pause when it raises.
        """
        ...

    @property
    def is_owed(self) -> bool:
        """An event is certainly due for longer than the exchange takes: the channel is frozen."""
        ...


class ChannelEvents(msgspec.Struct, frozen=True):
    """One message of the channel, read."""

    orders: tuple[OrderStatus, ...] = ()
    trades: tuple[tuple[Fill, ...], ...] = ()
    ignored: int = 0
    """Of an event type that is not known."""
    unreadable: int = 0


class ChannelCounts(msgspec.Struct):
    """What a channel has seen since it was started."""

    connects: int = 0
    """Connections on which the exchange took the credentials."""
    failures: int = 0
    """Connections that could not be made, or on which it did not."""
    silences: int = 0
    """Connections given up because nothing came, not even the answer to a ping."""
    freezes: int = 0
    """Connections given up because events that were due did not come."""
    events: int = 0
    ignored: int = 0
    unreadable: int = 0
    backfills: int = 0


def decode_events(data: str | bytes) -> ChannelEvents:
    """Read a message of the user channel, one event or an array of them. Never raises."""
    try:
        value = decode_json(data.encode() if isinstance(data, str) else data)
    except ValueError:  # a lone surrogate cannot be encoded, which is one too
        return ChannelEvents(unreadable=1)
    orders, trades, ignored, unreadable = [], [], 0, 0
    for item in value if isinstance(value, list) else [value]:
        kind = item.get("event_type") if isinstance(item, dict) else None
        try:
            if kind == "order":
                orders.append(wire.parse_order(_plain_order(item)))
            elif kind == "trade":
                trades.append(wire.parse_trade(_plain_trade(item)))
            elif isinstance(kind, str):
                ignored += 1
            else:
                unreadable += 1
        except UnexpectedResponseError:
            unreadable += 1
    return ChannelEvents(tuple(orders), tuple(trades), ignored, unreadable)


def _plain_order(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an order event as the REST interface would show the order."""
    status = fields.get("status") or _BY_TYPE.get(str(fields.get("type")), "")
    size = fields.get("size_matched")
    if size in ("", None):
        # Seen on a killed FOK, of which nothing can have traded. Of any other end we do not know
        # what is left, so it is no end that may be acted on.
        size = "0"
        ended = str(status).upper().startswith("CANCELED")
        if ended and fields.get("order_type") != "FOK":
            status = "UNKNOWN"
    return fields | {"status": status, "size_matched": size}


def _plain_trade(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"match_time": fields.get("match_time") or fields.get("matchtime")}


class UserChannel:
    """Keeps one authenticated connection to the user channel, for all markets of the account.

    Parameters
    ----------
    url : str
        ``wss://host[:port][/path]``, the root of the channels; no other host is ever contacted,
        redirects are not followed and proxies not used.
    credentials : ApiCredentials
    events : UserEvents
        What listens.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted. Its ALPN list is overwritten.
    ping_interval_s : float
        Seconds between pings.
    silence_s : float
        A connection on which nothing has come for so long is given up.
    connect_timeout_s : float
        For address, handshakes and the answer to the first ping, each.
    time_ms, jitter : callable
        Unix time in milliseconds; a random number from 0 to 1.

    Raises
    ------
    ConfigError
        The URL is not a wss host.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: ApiCredentials,
        events: UserEvents,
        ssl_context: ssl.SSLContext | None = None,
        ping_interval_s: float = 10.0,
        silence_s: float = 30.0,
        connect_timeout_s: float = 10.0,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.origin, path = parse_ws_url(url)
        self._path = f"{path}/user"
        self.counts = ChannelCounts()
        self._credentials = credentials
        self._events = events
        self._ssl_context = default_ssl_context() if ssl_context is None else ssl_context
        self._ping_interval_s = ping_interval_s
        self._silence_s = silence_s
        self._connect_timeout_s = connect_timeout_s
        self._time_ms = time_ms
        self._jitter = jitter
        self._since_ns: int | None = None
        self._heard_ms = 0
        self._heard_s = 0.0
        self._unanswered = 0
        self._pong = asyncio.Event()

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"UserChannel({self.origin.authority!r}, {state})"

    @property
    def is_connected(self) -> bool:
        """The exchange has taken the credentials and sends events."""
        return self._since_ns is not None

    @property
    def since_ns(self) -> int | None:
        """``time.perf_counter_ns`` since which no event was missed; None: not connected."""
        return self._since_ns

    async def run(self) -> None:
        """Connect, listen, connect again, for ever; cancel it to stop."""
        failed = 0
        while True:
            try:
                reason = await self._live()
                failed = 0
            except NotSentError as error:
                self.counts.failures += 1
                failed += 1
                reason = str(error)
            except Exception as error:  # nothing that it meets may end the listening
                log.exception("user_channel_failed")
                self.counts.failures += 1
                failed += 1
                reason = type(error).__name__
            pause_s = min(_FIRST_BACKOFF_S * 2.0 ** min(failed, 10), _MAX_BACKOFF_S)
            pause_s *= 0.5 + self._jitter() / 2
            log.warning("user_channel_down", extra={"reason": reason, "retry_s": pause_s})
            await asyncio.sleep(pause_s)

    async def check(self) -> None:
        """Connect, hand over the credentials and hang up; nothing is listened to.

        Raises
        ------
        NotSentError
            The exchange was not reached, or did not take the credentials; the text says which.
        """
        connection = await self._connect()
        reader = asyncio.create_task(self._read(connection))
        try:
            await self._authenticate(connection, reader)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            connection.transport.abort()

    async def _live(self) -> str:
        """Return why a connection that had worked ended; raise where it never did."""
        connection = await self._connect()
        tasks: list[asyncio.Task[Any]] = []
        try:
            reader = asyncio.create_task(self._read(connection))
            tasks.append(reader)
            await self._authenticate(connection, reader)
            since_ms, self._heard_ms = self._heard_ms, self._time_ms()
            self._since_ns = time.perf_counter_ns()
            self.counts.connects += 1
            log.info("user_channel_up", extra={"host": self.origin.authority})
            keeper = asyncio.create_task(self._keep_alive(connection))
            tasks += [keeper, asyncio.create_task(self._backfill(since_ms))]
            await asyncio.wait((reader, keeper), return_when=asyncio.FIRST_COMPLETED)
            return keeper.result() if keeper.done() else reader.result()
        finally:
            if self._since_ns is not None:
                self._since_ns = None
                self._tell(self._events.on_gap)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            connection.transport.abort()

    async def _connect(self) -> ClientConnection:
        where = self.origin.authority
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await self._handshake()
        except InvalidStatus as error:
            reason = f"the answer was {error.response.status_code}"
            raise NotSentError(f"no WebSocket with {where}: {reason}") from error
        except (OSError, UnicodeError, EOFError, InvalidHandshake) as error:
            raise NotSentError(f"no WebSocket with {where}: {type(error).__name__}") from error

    async def _handshake(self) -> ClientConnection:
        # By hand, because the library's connect() follows redirects and asks for proxies, and the
        # credentials are in the first frame.
        loop = asyncio.get_running_loop()
        host, port = self.origin.host, self.origin.port
        plain, _ = await loop.create_connection(asyncio.Protocol, host, port)
        transport: asyncio.BaseTransport = plain
        try:
            connection = ClientConnection(
                ClientProtocol(
                    WebSocketURI(True, host, port, self._path, ""),
                    max_size=_MAX_MESSAGE,
                    logger=_quiet,
                ),
                ping_interval=None,
                close_timeout=_CLOSE_S,
            )
            # The same context may serve the order connection, which sets its own list each time.
            self._ssl_context.set_alpn_protocols([_ALPN])
            tls = await loop.start_tls(plain, connection, self._ssl_context, server_hostname=host)
            if tls is None:
                raise ConnectionResetError
            transport = tls
            if tls.get_extra_info("ssl_object").selected_alpn_protocol() not in (None, _ALPN):
                raise NotSentError(f"{self.origin.authority} does not speak HTTP/1.1")
            connection.connection_made(tls)
            await connection.handshake(user_agent_header=None)
        except BaseException:
            transport.abort()  # type: ignore[attr-defined]
            raise
        return connection

    async def _authenticate(self, connection: ClientConnection, reader: asyncio.Task[str]) -> None:
        """Send the credentials; that a ping behind them is answered says they were taken."""
        key = self._credentials
        auth = {"apiKey": key.api_key, "secret": key.secret, "passphrase": key.passphrase}
        self._pong.clear()
        with contextlib.suppress(ConnectionClosed):  # the reader knows why
            await connection.send(orjson.dumps({"type": "user", "auth": auth}).decode())
            await connection.send("PING")
        pong = asyncio.create_task(self._pong.wait())
        try:
            await asyncio.wait(
                (pong, reader),
                timeout=self._connect_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            pong.cancel()
        if reader.done():
            raise NotSentError(f"the credentials were not taken: {reader.result()}")
        if not self._pong.is_set():
            raise NotSentError("the first ping was not answered")

    async def _read(self, connection: ClientConnection) -> str:
        """Take in messages; return why they ended."""
        loop = asyncio.get_running_loop()
        self._heard_s = loop.time()
        self._unanswered = 0
        while True:
            try:
                message = await connection.recv(decode=False)
            except ConnectionClosed as error:
                close = error.rcvd
                return f"closed with {close.code} {close.reason}" if close else "connection lost"
            self._heard_s = loop.time()
            self._unanswered = 0
            if self.is_connected:
                self._heard_ms = self._time_ms()
            if message == b"PONG":
                self._pong.set()
            else:
                self._take(decode_events(message))

    def _take(self, found: ChannelEvents) -> None:
        counts = self.counts
        counts.events += len(found.orders) + len(found.trades)
        counts.ignored += found.ignored
        if found.unreadable:
            counts.unreadable += found.unreadable
            log.warning("user_channel_unreadable", extra={"events": found.unreadable})
        for status in found.orders:
            self._tell(self._events.on_order, status)
        for fills in found.trades:
            self._tell(self._events.on_fills, fills)

    async def _keep_alive(self, connection: ClientConnection) -> str:
        """Ping; return why the connection is given up."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ping_interval_s)
            # Not by the time alone: a loop that was held up has not looked.
            is_late = loop.time() - self._heard_s > self._silence_s
            if is_late and self._unanswered >= _LEAST_PINGS:
                self.counts.silences += 1
                return f"silent for more than {self._silence_s:g} s"
            if self._events.is_owed:
                self.counts.freezes += 1
                return "events that are due do not come"
            self._unanswered += 1
            try:
                await connection.send("PING")
            except ConnectionClosed:
                return "connection lost"

    async def _backfill(self, since_ms: int) -> None:
        failed = 0
        while True:
            try:
                await self._events.backfill(since_ms)
            except Exception:
                failed += 1
                log.warning("user_channel_backfill_failed", exc_info=True)
                pause_s = min(_FIRST_BACKOFF_S * 2.0 ** min(failed, 10), _MAX_BACKOFF_S)
                await asyncio.sleep(pause_s * (0.5 + self._jitter() / 2))
            else:
                self.counts.backfills += 1
                return

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:
            log.exception("user_event_failed")
