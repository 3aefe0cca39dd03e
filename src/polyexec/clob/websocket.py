"""What both channels share: one WebSocket over TLS that is kept alive, and made again when lost.

Frames are parsed by the ``websockets`` library, without its asyncio part: messages are handed over
in the call in which their bytes arrive, not through a queue and a task. Source: protocol notes,
websocket.md.
"""

import asyncio
import logging
import random
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidState, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import WebSocketURI

from polyexec.clob.origin import default_ssl_context, parse_ws_url
from polyexec.errors import NotSentError

__all__ = ["Channel", "ChannelCounts", "Socket", "backoff_s"]

log = logging.getLogger("polyexec.clob")

_ALPN: Final = "http/1.1"
_FIRST_BACKOFF_S: Final = 0.25
_MAX_BACKOFF_S: Final = 30.0
_LEAST_PINGS: Final = 2

# First frames are made of secrets, and the library logs frames when debugging.
_quiet = logging.Logger("polyexec.clob.websocket", logging.INFO)
_quiet.addHandler(logging.NullHandler())


class ChannelCounts(msgspec.Struct):
    """What a channel has seen since it was started."""

    connects: int = 0
    """Connections on which the exchange took the first frame."""
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


def backoff_s(failed: int, jitter: Callable[[], float]) -> float:
    """Return how long to wait after so many failures in a row: 0.25 s doubling to 30 s, jittered.

    ``jitter`` returns a random number from 0 to 1.
    """
    return min(_FIRST_BACKOFF_S * 2.0 ** min(failed, 10), _MAX_BACKOFF_S) * (0.5 + jitter() / 2)


class Socket(asyncio.Protocol):
    """One connection, from handshake to end.

    Parameters
    ----------
    frames : websockets.client.ClientProtocol
    on_message : callable
        Called with each message and with ``time.perf_counter_ns`` of the moment at which its last
        bytes arrived.

    Attributes
    ----------
    closed : asyncio.Future
        Done when the connection has ended; the result says why.
    """

    def __init__(self, frames: ClientProtocol, on_message: Callable[[bytes, int], None]) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = loop.create_future()
        self._frames = frames
        self._on_message = on_message
        self._answered: asyncio.Future[None] = loop.create_future()
        self._parts: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection that has shaken hands."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; a peer that breaks the protocol is dropped."""
        received_ns = time.perf_counter_ns()
        if self.closed.done():
            return
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Frame):
                self._on_frame(event, received_ns)
            elif isinstance(event, Response) and not self._answered.done():
                self._answered.set_result(None)
        self._flush()

    def eof_received(self) -> None:
        """Close as well: a half-closed TLS connection is of no use."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        self._transport = None
        self._end("connection lost")

    async def handshake(self) -> None:
        """Ask for the upgrade; raise ``InvalidHandshake`` or ``OSError`` where it is not given."""
        self._frames.send_request(self._frames.connect())
        self._flush()
        await asyncio.wait((self._answered, self.closed), return_when=asyncio.FIRST_COMPLETED)
        if self._frames.handshake_exc is not None:
            raise self._frames.handshake_exc
        if not self._answered.done():
            raise ConnectionResetError

    def send(self, text: str | bytes) -> None:
        """Send a text; on a connection that has ended it is dropped."""
        if self._transport is None or self.closed.done():
            return
        try:
            self._frames.send_text(text.encode() if isinstance(text, str) else text)
        except InvalidState:  # the close frame is on its way: the end will be told
            return
        self._flush()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()
        self._end("given up")

    def _on_frame(self, frame: Frame, received_ns: int) -> None:
        opcode = frame.opcode
        if opcode is Opcode.TEXT or opcode is Opcode.BINARY:
            if frame.fin:
                self._on_message(bytes(frame.data), received_ns)
            else:
                self._parts = [bytes(frame.data)]
        elif opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
            if frame.fin:
                parts, self._parts = self._parts, []
                self._on_message(b"".join(parts), received_ns)
        elif opcode is Opcode.CLOSE:
            close = self._frames.close_rcvd
            self._end(f"closed with {close.code} {close.reason}" if close else "connection lost")

    def _flush(self) -> None:
        transport = self._transport
        for data in self._frames.data_to_send():
            if transport is not None and data:
                transport.write(data)
        # The framing expects the end where the peer has broken the protocol, or said goodbye.
        if transport is not None and self._frames.close_expected():
            transport.close()
            if self._answered.done():
                self._end(f"broke the protocol: {type(self._frames.parser_exc).__name__}")

    def _end(self, reason: str) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)


class Channel(ABC):
    """Keeps one connection to a channel of the exchange.

    Parameters
    ----------
    url : str
        ``wss://host[:port][/path]``, the root of the channels; no other host is ever contacted,
        redirects are not followed and proxies not used.
    name : str
        Of the channel: the last part of its path.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted. Its ALPN list is overwritten.
    ping_interval_s : float
        Seconds between pings.
    silence_s : float
        A connection on which nothing has come for so long is given up.
    connect_timeout_s : float
        For address, handshakes and the answer to the first ping, each.
    jitter : callable
        A random number from 0 to 1.
    max_message : int
        Bytes; a longer message ends the connection.

    Raises
    ------
    ConfigError
        The URL is not a wss host.
    """

    _refusal = "the first frame was not taken"

    def __init__(
        self,
        url: str,
        name: str,
        *,
        ssl_context: ssl.SSLContext | None,
        ping_interval_s: float,
        silence_s: float,
        connect_timeout_s: float,
        jitter: Callable[[], float] = random.random,
        max_message: int,
    ) -> None:
        self.origin, path = parse_ws_url(url)
        self.name = name
        self.counts = ChannelCounts()
        self._path = f"{path}/{name}"
        self._ssl_context = default_ssl_context() if ssl_context is None else ssl_context
        self._ping_interval_s = ping_interval_s
        self._silence_s = silence_s
        self._connect_timeout_s = connect_timeout_s
        self._jitter = jitter
        self._max_message = max_message
        self._socket: Socket | None = None
        self._since_ns: int | None = None
        self._heard_s = 0.0
        self._unanswered = 0
        self._pong = asyncio.Event()
        self._given_up = asyncio.Event()
        self._why_given_up = ""

    def __repr__(self) -> str:
        state = "connected" if self.is_connected else "not connected"
        return f"{type(self).__name__}({self.origin.authority!r}, {state})"

    @property
    def is_connected(self) -> bool:
        """The exchange has taken the first frame and sends events."""
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
                log.exception("%s_channel_failed", self.name)
                self.counts.failures += 1
                failed += 1
                reason = type(error).__name__
            pause_s = backoff_s(failed, self._jitter)
            log.warning("%s_channel_down", self.name, extra={"reason": reason, "retry_s": pause_s})
            await asyncio.sleep(pause_s)

    async def check(self) -> None:
        """Connect, send the first frame and hang up; nothing is listened to.

        Raises
        ------
        NotSentError
            The exchange was not reached, or did not take the frame; the text says which.
        """
        connection = await self._connect()
        try:
            await self._greet(connection)
        finally:
            connection.abort()

    def give_up(self, reason: str) -> None:
        """Drop the connection and make a new one: what is due on it does not come."""
        if self._socket is not None and not self._given_up.is_set():
            self.counts.freezes += 1
            self._why_given_up = reason
            self._given_up.set()

    @abstractmethod
    def _first_frames(self) -> list[bytes]:
        """Return what is sent first."""

    @abstractmethod
    def _take(self, message: bytes, received_ns: int) -> None:
        """Take in a message that is no PONG."""

    def _on_up(self) -> list[asyncio.Task[None]]:
        """The exchange has taken the first frame; return what runs while it stays so."""
        return []

    @abstractmethod
    def _on_down(self, *, was_up: bool) -> None:
        """The connection is gone; ``was_up``: the exchange had taken the first frame."""

    def _check_frozen(self) -> str:
        """Return why events that were due do not come, or nothing. Asked before each ping."""
        return ""

    async def _live(self) -> str:
        """Return why a connection that had worked ended; raise where it never did."""
        connection = await self._connect()
        self._given_up.clear()
        tasks: list[asyncio.Task[Any]] = []
        self._socket = connection
        try:
            await self._greet(connection)
            self._since_ns = time.perf_counter_ns()
            self.counts.connects += 1
            log.info("%s_channel_up", self.name, extra={"host": self.origin.authority})
            keeper = asyncio.create_task(self._keep_alive(connection))
            given_up = asyncio.create_task(self._given_up.wait())
            tasks += [keeper, given_up, *self._on_up()]
            await asyncio.wait(
                (connection.closed, keeper, given_up), return_when=asyncio.FIRST_COMPLETED
            )
            if keeper.done():
                return keeper.result()
            return self._why_given_up if given_up.done() else connection.closed.result()
        finally:
            was_up, self._since_ns, self._socket = self.is_connected, None, None
            connection.abort()
            self._on_down(was_up=was_up)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self) -> Socket:
        where = self.origin.authority
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await self._handshake()
        except InvalidStatus as error:
            reason = f"the answer was {error.response.status_code}"
            raise NotSentError(f"no WebSocket with {where}: {reason}") from error
        except (OSError, UnicodeError, EOFError, InvalidHandshake) as error:
            raise NotSentError(f"no WebSocket with {where}: {type(error).__name__}") from error

    async def _handshake(self) -> Socket:
        # By hand, because the library's connect() follows redirects and asks for proxies, and
        # credentials can be in the first frame.
        loop = asyncio.get_running_loop()
        host, port = self.origin.host, self.origin.port
        plain, _ = await loop.create_connection(asyncio.Protocol, host, port)
        transport: asyncio.BaseTransport = plain
        try:
            frames = ClientProtocol(
                WebSocketURI(True, host, port, self._path, ""),
                max_size=self._max_message,
                logger=_quiet,
            )
            connection = Socket(frames, self._hear)
            # The same context may serve the order connection, which sets its own list each time.
            self._ssl_context.set_alpn_protocols([_ALPN])
            tls = await loop.start_tls(plain, connection, self._ssl_context, server_hostname=host)
            if tls is None:
                raise ConnectionResetError
            transport = tls
            if tls.get_extra_info("ssl_object").selected_alpn_protocol() not in (None, _ALPN):
                raise NotSentError(f"{self.origin.authority} does not speak HTTP/1.1")
            connection.connection_made(tls)
            await connection.handshake()
        except BaseException:
            transport.abort()  # type: ignore[attr-defined]
            raise
        return connection

    async def _greet(self, connection: Socket) -> None:
        """Send the first frame; that a ping behind it is answered says it was taken."""
        self._pong.clear()
        self._heard_s = asyncio.get_running_loop().time()
        self._unanswered = 0
        for frame in (*self._first_frames(), b"PING"):
            connection.send(frame)
        pong = asyncio.create_task(self._pong.wait())
        try:
            await asyncio.wait(
                (pong, connection.closed),
                timeout=self._connect_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            pong.cancel()
        if self._pong.is_set():
            return
        if connection.closed.done():
            raise NotSentError(f"{self._refusal}: {connection.closed.result()}")
        raise NotSentError("the first ping was not answered")

    def _hear(self, message: bytes, received_ns: int) -> None:
        self._heard_s = asyncio.get_running_loop().time()
        self._unanswered = 0
        if message == b"PONG":
            self._pong.set()
            return
        try:
            self._take(message, received_ns)
        except Exception:  # a mistake of ours must not cost the connection
            log.exception("%s_message_failed", self.name)

    async def _keep_alive(self, connection: Socket) -> str:
        """Ping; return why the connection is given up."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._ping_interval_s)
            # Not by the time alone: a loop that was held up has not looked.
            is_late = loop.time() - self._heard_s > self._silence_s
            if is_late and self._unanswered >= _LEAST_PINGS:
                self.counts.silences += 1
                return f"silent for more than {self._silence_s:g} s"
            reason = self._check_frozen()
            if reason:
                self.counts.freezes += 1
                return reason
            self._unanswered += 1
            connection.send("PING")
