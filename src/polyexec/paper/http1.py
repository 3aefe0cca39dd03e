"""HTTP/1.1, for clients that do not speak HTTP/2: requests one after the other, and upgrades."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeAlias, cast
from urllib.parse import parse_qsl

import h11

from polyexec.paper.http import Fault, Request, Response, json_response

__all__ = ["Http1"]

_MAX_HEAD: Final = 1 << 16
_END_OF_HEAD: Final = b"\r\n\r\n"
_Respond: TypeAlias = Callable[[Request], Awaitable[Response | Fault]]


class Http1(asyncio.Protocol):
    """A connection over TLS that has not asked for HTTP/2.

    Parameters
    ----------
    respond : callable
        From a request to its response, or to what befalls it.
    websocket : callable
        Makes the protocol of a connection that asks for an upgrade.
    run : callable
        Runs a coroutine in a task of the server.
    max_body : int
        Longest body, in bytes.
    """

    def __init__(
        self,
        respond: _Respond,
        *,
        websocket: Callable[[], asyncio.Protocol],
        run: Callable[[Coroutine[Any, Any, None]], None],
        on_closed: Callable[["Http1"], None],
        max_body: int,
    ) -> None:
        self._respond = respond
        self._websocket = websocket
        self._run = run
        self._on_closed = on_closed
        self._max_body = max_body
        self._transport: asyncio.Transport | None = None
        self._head = bytearray()
        self._is_http = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        self._request: h11.Request | None = None
        self._body = bytearray()
        self._is_too_large = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over a connection that has shaken hands."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        self._transport = None
        self._on_closed(self)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; the first head decides what they are."""
        if self._is_http:
            self._http.receive_data(data)
            self._advance()
            return
        self._head += data
        head, end, _ = bytes(self._head).partition(_END_OF_HEAD)
        if not end and len(head) < _MAX_HEAD:
            return
        if b"\r\nupgrade:" in head.lower() and self._transport is not None:
            transport, websocket = self._transport, self._websocket()
            self._on_closed(self)
            transport.set_protocol(websocket)
            websocket.connection_made(transport)
            websocket.data_received(bytes(self._head))
            return
        self._is_http = True
        self._http.receive_data(bytes(self._head))
        self._head.clear()
        self._advance()

    def eof_received(self) -> None:
        """Close as well: a half-closed TLS connection is of no use."""

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._send(json_response({"error": "Bad request"}, error.error_status_hint))
                self._close()
                return
            if isinstance(event, h11.Request):
                self._request, self._body, self._is_too_large = event, bytearray(), False
            elif isinstance(event, h11.Data):
                # Read to its end all the same: a client that still writes hears no answer.
                self._is_too_large |= len(self._body) + len(event.data) > self._max_body
                if not self._is_too_large:
                    self._body += event.data
            elif isinstance(event, h11.EndOfMessage) and self._request is not None:
                self._run(self._answer(_read(self._request, bytes(self._body))))
            else:  # more bytes are needed, or the answer before has to be given first
                return

    async def _answer(self, request: Request) -> None:
        outcome: Response | Fault
        if self._is_too_large:
            outcome = json_response({"error": "Payload too large"}, 413)
        else:
            outcome = await self._respond(request)
        if outcome is Fault.CLOSE:
            self.abort()
        elif isinstance(outcome, Response):
            self._send(outcome)
            if self._http.our_state is h11.MUST_CLOSE:
                self._close()
            elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
                self._http.start_next_cycle()
                self._advance()

    def _send(self, response: Response) -> None:
        headers = [*response.headers.items(), ("content-length", str(len(response.body)))]
        parts = (
            h11.Response(status_code=response.status, headers=headers),
            h11.Data(data=response.body),
            h11.EndOfMessage(),
        )
        if self._transport is None:
            return
        try:
            data = b"".join(self._http.send(part) or b"" for part in parts)
        except h11.LocalProtocolError:  # they broke the protocol so that nothing can be said
            return
        self._transport.write(data)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _read(request: h11.Request, body: bytes) -> Request:
    path, _, query = request.target.decode("latin-1").partition("?")
    return Request(
        method=request.method.decode("latin-1"),
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.decode(): value.decode("latin-1") for name, value in request.headers},
        body=body,
    )
