"""The wire: TLS on loopback, HTTP/2 by ALPN, otherwise HTTP/1.1 and its WebSockets.

Requests of one connection are handled in the order in which they are complete. With a request
hook each runs in its own task, so that a delayed answer does not hold up the others.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from polyexec.paper.http import Fault, Held, OnRequest, Request, Response, json_response
from polyexec.paper.http1 import Http1
from polyexec.paper.websocket import Session, WebSocket

__all__ = ["Server", "when_due"]

MAX_BODY = 1 << 20
MAX_STREAMS = 256
_WINDOW = 1 << 20
_Answer = TypeVar("_Answer")
_log = logging.getLogger(__name__)


class Server:
    """Listens on loopback and feeds complete requests to a handler.

    Parameters
    ----------
    handle : callable
        From a request to its response, or to when there is one; never raises for what a client
        sent.
    open_session : callable
        From the path of a WebSocket to what it is connected to; None: no such path.
    """

    def __init__(
        self,
        handle: Callable[[Request], Response | Held],
        *,
        open_session: Callable[[str, WebSocket], Session | None],
    ) -> None:
        self.handle = handle
        self._open_session = open_session
        self.on_request: OnRequest | None = None
        self.request_count = 0
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection | Http1 | WebSocket] = set()
        self.tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int, ssl_context: ssl.SSLContext) -> int:
        """Listen with a certificate, and ``h2`` and ``http/1.1`` by ALPN; returns the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), host, port, ssl=ssl_context
        )
        return cast("int", self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening, close every connection, end every task."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task that ends with the server."""
        task = asyncio.ensure_future(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def answer(self, request: Request) -> Response | Held:
        """Answer a request; a mistake of ours is an answer too."""
        what = f"{request.method} {request.path}"
        answer = _guarded(partial(self.handle, request), what)
        if not isinstance(answer, Held):
            return answer
        return Held(answer.wait_ms, partial(_guarded, answer.finish, what))

    async def respond(self, request: Request) -> Response | Fault:
        """Ask the hook first, then answer when the answer is due."""
        outcome: Response | Fault | None = None
        if self.on_request is not None:
            try:
                outcome = await self.on_request(request)
            except Exception:
                _log.exception("paper_hook_failed")
                return json_response({"error": "Internal server error"}, 500)
        if outcome is Fault.HANDLE_THEN_DROP:
            await when_due(self.answer(request))
        return outcome or await when_due(self.answer(request))

    def http1(self) -> Http1:
        """Return the protocol of a connection that does not speak HTTP/2."""

        async def respond(request: Request) -> Response | Fault:
            self.request_count += 1
            return await self.respond(request)

        connection = Http1(
            respond,
            websocket=self._websocket,
            run=self.run,
            on_closed=self.closed,
            max_body=MAX_BODY,
        )
        self.opened(connection)
        return connection

    def _websocket(self) -> WebSocket:
        return WebSocket(self._open_session, on_opened=self.opened, on_closed=self.closed)

    def opened(self, connection: "_Connection | Http1 | WebSocket") -> None:
        """Remember a connection."""
        self._connections.add(connection)

    def closed(self, connection: "_Connection | Http1 | WebSocket") -> None:
        """Forget a connection."""
        self._connections.discard(connection)


async def when_due(answer: Response | Held) -> Response:
    """Wait for an answer; what is held is matched whether or not anybody still listens."""
    if isinstance(answer, Held):
        await asyncio.sleep(answer.wait_ms / 1000)
        return answer.finish()
    return answer


def _guarded(answer: Callable[[], _Answer], what: str) -> _Answer | Response:
    try:
        return answer()
    except Exception:
        # An error of ours, not of the client: it must not take the connection with it.
        _log.exception("paper_request_failed", extra={"request": what})
        return json_response({"error": "Internal server error"}, 500)


class _Stream:
    __slots__ = ("body", "headers", "too_large")

    def __init__(self, headers: dict[str, str]) -> None:
        self.headers = headers
        self.body = bytearray()
        self.too_large = False


class _Connection(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, _Stream] = {}
        self._unsent: dict[int, bytes] = {}  # response bodies waiting for flow-control window
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = transport.get_extra_info("ssl_object")
        if tls.selected_alpn_protocol() != "h2":
            other = self._server.http1()
            self._transport.set_protocol(other)
            other.connection_made(transport)
            return
        self._server.opened(self)
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 1 << 16,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.closed(self)
        self._transport = None
        self._streams.clear()
        self._unsent.clear()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except (h2.exceptions.ProtocolError, UnicodeDecodeError):
            self._flush()  # the GOAWAY that says why
            if self._transport is not None:
                self._transport.close()
            return
        for event in events:
            self._on_event(event)
        self._flush()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _on_event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            headers = {str(name): str(value) for name, value in event.headers}
            self._streams[event.stream_id] = _Stream(headers)
        elif isinstance(event, h2.events.DataReceived):
            self._on_data(event)
        elif isinstance(event, h2.events.StreamEnded):
            stream = self._streams.pop(event.stream_id, None)
            if stream is not None:
                self._on_complete(event.stream_id, stream)
        elif isinstance(event, h2.events.StreamReset):
            self._streams.pop(event.stream_id, None)
            self._unsent.pop(event.stream_id, None)
        elif isinstance(event, h2.events.WindowUpdated | h2.events.RemoteSettingsChanged):
            for stream_id in list(self._unsent):
                self._send_body(stream_id)
        elif isinstance(event, h2.events.ConnectionTerminated) and self._transport is not None:
            self._transport.close()

    def _on_data(self, event: h2.events.DataReceived) -> None:
        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        stream = self._streams.get(event.stream_id)
        if stream is None or stream.too_large:
            return
        if len(stream.body) + len(event.data) > MAX_BODY:
            stream.too_large = True
            stream.body.clear()
        else:
            stream.body += event.data

    def _on_complete(self, stream_id: int, stream: _Stream) -> None:
        server = self._server
        server.request_count += 1
        if stream.too_large:
            self._respond(stream_id, json_response({"error": "Payload too large"}, 413))
            return
        path, _, query = stream.headers.get(":path", "").partition("?")
        request = Request(
            method=stream.headers.get(":method", ""),
            path=path,
            query=dict(parse_qsl(query, keep_blank_values=True)),
            headers=stream.headers,
            body=bytes(stream.body),
        )
        if server.on_request is not None:
            server.run(self._respond_later(stream_id, server.respond(request)))
            return
        answer = server.answer(request)
        if isinstance(answer, Response):
            self._respond(stream_id, answer)
        else:
            server.run(self._respond_later(stream_id, when_due(answer)))

    async def _respond_later(
        self, stream_id: int, coming: Coroutine[Any, Any, Response | Fault]
    ) -> None:
        outcome = await coming
        if outcome is Fault.CLOSE:
            self.abort()
        elif isinstance(outcome, Response):
            self._respond(stream_id, outcome)
            self._flush()

    def _respond(self, stream_id: int, response: Response) -> None:
        headers = [
            (":status", str(response.status)),
            ("content-length", str(len(response.body))),
            *response.headers.items(),
        ]
        try:
            self._h2.send_headers(stream_id, headers, end_stream=not response.body)
        except h2.exceptions.ProtocolError:
            return  # the client reset the stream or is gone
        if response.body:
            self._unsent[stream_id] = response.body
            self._send_body(stream_id)

    def _send_body(self, stream_id: int) -> None:
        body = self._unsent.get(stream_id, b"")
        try:
            while body:
                window = self._h2.local_flow_control_window(stream_id)
                size = min(window, self._h2.max_outbound_frame_size, len(body))
                if size <= 0:
                    self._unsent[stream_id] = body
                    return
                self._h2.send_data(stream_id, body[:size], end_stream=size == len(body))
                body = body[size:]
        except h2.exceptions.ProtocolError:
            pass  # the stream is gone; so is its body
        self._unsent.pop(stream_id, None)

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)
