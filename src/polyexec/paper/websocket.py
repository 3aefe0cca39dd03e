"""One WebSocket of a client: frames in, texts out. What they mean is in :mod:`.channels`."""

import asyncio
import http
import logging
from collections.abc import Callable
from typing import Any, Final, Protocol, cast

import orjson
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

__all__ = ["Session", "WebSocket"]

MAX_FRAME: Final = 1 << 16  # about 800 token ids: longer subscriptions close the socket
MAX_UNREAD: Final = 1 << 20
_MAX_REASON: Final = 120  # bytes of a close frame, its code taken off

# Frames hold API secrets, and the library would log them.
_quiet = logging.Logger("polyexec.paper.websocket", logging.WARNING)
_quiet.addHandler(logging.NullHandler())


class Session(Protocol):
    """What a socket is connected to."""

    def on_text(self, text: str) -> None:
        """Take in a text message."""
        ...

    def on_closed(self) -> None:
        """The socket is gone."""
        ...


class WebSocket(asyncio.Protocol):
    """A connection that asks for an upgrade, over TLS.

    Parameters
    ----------
    open_session : callable
        From path and socket to the session; None: no such path.
    on_opened, on_closed : callable
        Told when the connection is there and when it is gone.
    """

    def __init__(
        self,
        open_session: Callable[[str, "WebSocket"], Session | None],
        *,
        on_opened: Callable[["WebSocket"], None],
        on_closed: Callable[["WebSocket"], None],
    ) -> None:
        self._open_session = open_session
        self._on_opened = on_opened
        self._on_closed = on_closed
        self._transport: asyncio.Transport | None = None
        self._session: Session | None = None
        self._parts: list[bytes] = []
        self._is_text = False
        self._frames = ServerProtocol(max_size=MAX_FRAME, logger=_quiet)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection that has shaken hands."""
        self._transport = cast("asyncio.Transport", transport)
        self._on_opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the session."""
        self._transport = None
        self._on_closed(self)
        if self._session is not None:
            self._session.on_closed()
            self._session = None

    def data_received(self, data: bytes) -> None:
        """Take in bytes; a peer that breaks the protocol is told so and dropped."""
        self._frames.receive_data(data)
        for event in self._frames.events_received():
            if isinstance(event, Request):
                self._upgrade(event)
            elif isinstance(event, Frame):
                self._on_frame(event)
        self._flush()

    def eof_received(self) -> None:
        """Close as well: a half-closed TLS connection is of no use."""

    def send(self, *messages: dict[str, Any]) -> None:
        """Send one message as an object, several as an array."""
        self.send_text(orjson.dumps(messages[0] if len(messages) == 1 else messages))

    def send_text(self, text: bytes) -> None:
        """Send a text; a client that has stopped reading is dropped."""
        if self._transport is None or self._session is None or self._frames.state.name != "OPEN":
            return
        self._frames.send_text(text)
        self._flush()
        if self._transport is not None and self._transport.get_write_buffer_size() > MAX_UNREAD:
            self.abort()

    def close(self, code: int, reason: str) -> None:
        """Close with a close frame."""
        if self._transport is not None and self._frames.state.name == "OPEN":
            self._frames.send_close(code, reason[:_MAX_REASON])
            self._flush()

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _upgrade(self, request: Request) -> None:
        response = self._frames.accept(request)
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            self._session = self._open_session(request.path.partition("?")[0], self)
            if self._session is None:
                response = self._frames.reject(http.HTTPStatus.NOT_FOUND, "not found")
        self._frames.send_response(response)

    def _on_frame(self, frame: Frame) -> None:
        # Pings and closes are answered by the framing.
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._parts, self._is_text = [bytes(frame.data)], frame.opcode is Opcode.TEXT
        elif frame.opcode is Opcode.CONT:
            self._parts.append(bytes(frame.data))
        else:
            return
        if not frame.fin or self._session is None:
            return
        try:
            text = b"".join(self._parts).decode()
        except UnicodeDecodeError:
            self._frames.fail(1007, "not UTF-8")
            return
        if self._is_text:
            self._session.on_text(text)

    def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if self._transport is None:
                return
            if data:
                self._transport.write(data)
            else:  # the framing's word for the end
                self._transport.close()
        if self._transport is not None and self._frames.close_expected():
            self._transport.close()
