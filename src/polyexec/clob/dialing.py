"""Making an order connection: addresses known before, whichever answers first, TLS resumed."""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Final

from aiohappyeyeballs import AddrInfoType, start_connection

from polyexec.clob.connection import OrderConnection, describe, settle
from polyexec.clob.http2 import FramingName, new_framing
from polyexec.clob.origin import Origin
from polyexec.errors import NotSentError

__all__ = ["Dialer"]

log = logging.getLogger("polyexec.clob")

_ADDRESS_AGE_S: Final = 60.0
# RFC 8305, section 5: how long an address may hesitate before the next one is tried beside it.
_NEXT_ADDRESS_S: Final = 0.25
# CPython, from 3.10 on, never frees what the getter of a TLS session copies: 6 kB for each look.
_SESSION_AGE_S: Final = 600.0


class Dialer:
    """Connects to one host.

    Its addresses are asked for once a minute, off the path, so that a connection that replaces a
    broken one does not wait for a name server. TLS sessions that :meth:`learn` has seen are
    resumed, which saves the server's certificate and its check.

    Parameters
    ----------
    origin : Origin
    context : ssl.SSLContext
        Its ALPN list is overwritten.
    timeout_s : float
        For the requests of its connections.
    max_response_bytes : int
    framing : "fast" or "h2"
    """

    def __init__(
        self,
        origin: Origin,
        context: ssl.SSLContext,
        *,
        timeout_s: float,
        max_response_bytes: int,
        framing: FramingName = "fast",
    ) -> None:
        self._origin = origin
        self._context = context
        self._timeout_s = timeout_s
        self._max_response_bytes = max_response_bytes
        self._framing: FramingName = framing
        self._addresses: Sequence[AddrInfoType] = ()
        self._resolved_at = 0.0
        self._session: ssl.SSLSession | None = None
        self._learn_at = 0.0
        self.resumed = 0
        """Connections whose TLS session was resumed."""

    async def dial(self) -> OrderConnection:
        """Connect, shake hands and wait for the peer's settings.

        Raises
        ------
        NotSentError
            Any step failed; the text says which.
        """
        origin = self._origin
        try:
            plain = await self._connect()
            tls = await self._handshake(plain)
        except ssl.SSLError as error:
            self._forget_session()
            raise NotSentError(f"TLS with {origin.authority} failed: {describe(error)}") from error
        except (OSError, UnicodeError) as error:
            reason = describe(error)
            raise NotSentError(f"cannot connect to {origin.authority}: {reason}") from error
        self.resumed += bool(tls.session_reused)
        if not tls.session_reused:
            self._forget_session()
        fresh = new_framing(
            self._framing, origin.authority, max_response_bytes=self._max_response_bytes
        )
        connection = OrderConnection(tls, fresh, timeout_s=self._timeout_s)
        try:
            await connection.start()
        except BaseException:
            connection.close("not usable in time")
            raise
        return connection

    def learn(self, connection: OrderConnection) -> None:
        """Keep the TLS session of a connection that has carried an answer: tickets come late.

        One that is resumed is good for ten minutes; until then there is nothing to learn.
        """
        if time.monotonic() < self._learn_at:
            return
        self._learn_at = time.monotonic() + _SESSION_AGE_S
        session = connection.tls_session
        if session is not None and session.has_ticket:
            self._session = session

    def _forget_session(self) -> None:
        """Learn another one, of the next connection that carries an answer."""
        self._session, self._learn_at = None, 0.0

    async def keep_addresses(self) -> None:
        """Ask for the addresses again before they are old; for ever."""
        while True:
            await asyncio.sleep(_ADDRESS_AGE_S)
            # Those that are known may still be right: only a connection can tell.
            with contextlib.suppress(OSError, UnicodeError):
                await self._resolve()

    async def _resolve(self) -> None:
        loop = asyncio.get_running_loop()
        self._addresses = await loop.getaddrinfo(
            self._origin.host, self._origin.port, type=socket.SOCK_STREAM
        )
        self._resolved_at = time.monotonic()

    async def _connect(self) -> socket.socket:
        is_known = bool(self._addresses)
        if not is_known or time.monotonic() - self._resolved_at > 2 * _ADDRESS_AGE_S:
            await self._resolve()
            is_known = False
        try:
            plain = await self._race()
        except OSError:
            if not is_known:
                raise
            # The host may have moved since.
            await self._resolve()
            plain = await self._race()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return plain

    async def _race(self) -> socket.socket:
        return await start_connection(
            self._addresses, happy_eyeballs_delay=_NEXT_ADDRESS_S, interleave=1
        )

    async def _handshake(self, plain: socket.socket) -> ssl.SSLSocket:
        loop = asyncio.get_running_loop()
        try:
            # The same context serves the cold client, which sets its own list: set ours each time.
            self._context.set_alpn_protocols(["h2"])
            tls = self._context.wrap_socket(
                plain,
                server_hostname=self._origin.host,
                do_handshake_on_connect=False,
                session=self._session,
            )
        except BaseException:
            plain.close()
            raise
        try:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    await _until(loop.add_reader, loop.remove_reader, tls.fileno())
                except ssl.SSLWantWriteError:
                    await _until(loop.add_writer, loop.remove_writer, tls.fileno())
            if tls.selected_alpn_protocol() != "h2":
                raise NotSentError(f"{self._origin.authority} does not speak HTTP/2")
        except BaseException:
            tls.close()
            raise
        return tls


async def _until(
    add: Callable[..., object], remove: Callable[[int], object], descriptor: int
) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(descriptor, settle, ready, None)
    try:
        await ready
    finally:
        remove(descriptor)
