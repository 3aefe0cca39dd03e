"""A small HTTP/2 server over real TLS on loopback, with faults that a test scripts."""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.events
import h2.settings
import trustme

_CA = trustme.CA()
_CERT = _CA.issue_cert("localhost", "127.0.0.1")


def client_context() -> ssl.SSLContext:
    """Trusts the server below and nothing else changes."""
    context = ssl.create_default_context()
    _CA.configure_trust(context)
    return context


def write_ca(path: Path) -> None:
    """Write the server's authority as a bundle."""
    _CA.cert_pem.write_to_path(str(path))


class Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """One accepted connection."""

    def __init__(self, server: "H2Server", transport: asyncio.Transport) -> None:
        self.server = server
        self.transport = transport
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self.open: dict[int, tuple[dict[str, str], bytearray]] = {}

    def flush(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(self.h2.data_to_send())

    def reply(self, stream: int, body: bytes = b"[]", status: int = 200, **headers: str) -> None:
        fields = [(":status", str(status)), *((k.replace("_", "-"), v) for k, v in headers.items())]
        self.h2.send_headers(stream, fields)
        self.h2.send_data(stream, body, end_stream=True)
        self.flush()

    def goaway(self, last: int, code: int = 0) -> None:
        """Raw, because h2 refuses to go on after its own."""
        payload = last.to_bytes(4, "big") + code.to_bytes(4, "big")
        self.raw(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + payload)

    def raw(self, data: bytes) -> None:
        self.flush()
        self.transport.write(data)


Behaviour = Callable[[Peer, int, Request], Awaitable[None] | None]


class _Protocol(asyncio.Protocol):
    def __init__(self, server: "H2Server") -> None:
        self.server = server

    def connection_made(self, transport: Any) -> None:
        self.peer = Peer(self.server, transport)
        self.server.peers.append(self.peer)
        if self.server.refuse_after_tls:
            transport.close()
            return
        codes = h2.settings.SettingCodes
        self.peer.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                codes.MAX_CONCURRENT_STREAMS: self.server.max_concurrent,
                codes.INITIAL_WINDOW_SIZE: self.server.window,
            },
        )
        self.peer.h2.initiate_connection()
        if self.server.settings_gate is None:
            self.peer.flush()

    def data_received(self, data: bytes) -> None:
        peer = self.peer
        self.server.reads += 1
        try:
            events = peer.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.server.protocol_errors.append(error)
            peer.transport.close()
            return
        for event in events:
            if isinstance(event, h2.events.RequestReceived):
                peer.open[event.stream_id] = (dict(event.headers), bytearray())
                if self.server.on_headers is not None:
                    self.server.on_headers(peer, event.stream_id)
            elif isinstance(event, h2.events.DataReceived):
                if event.stream_id in peer.open:
                    peer.open[event.stream_id][1].extend(event.data)
                if self.server.acknowledge:
                    peer.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                headers, body = peer.open.pop(event.stream_id)
                request = Request(headers[":method"], headers[":path"], headers, bytes(body))
                self.server.take(peer, event.stream_id, request)
            elif isinstance(event, h2.events.StreamReset):
                self.server.resets.append(event.stream_id)
            elif isinstance(event, h2.events.ConnectionTerminated):
                self.server.goaways += 1
        if self.server.settings_gate is None:
            peer.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.lost += 1


class H2Server:
    """Answers ``GET /ok`` by itself; a POST gets the next scripted behaviour, or ``[]``."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.script: deque[Behaviour] = deque()
        self.default: Behaviour = lambda peer, stream, request: peer.reply(stream)
        self.on_headers: Callable[[Peer, int], None] | None = None
        self.warm: Behaviour = lambda peer, stream, request: peer.reply(stream, b'"OK"')
        self.routes: dict[tuple[str, str], Any] = {}
        self.peers: list[Peer] = []
        self.resets: list[int] = []
        self.protocol_errors: list[Exception] = []
        self.tasks: list[asyncio.Future[None]] = []
        self.settings_gate: asyncio.Event | None = None
        self.refuse_after_tls = False
        self.max_concurrent = 200
        self.window = 65_535
        self.acknowledge = True
        self.alpn = ["h2"]
        self.goaways = 0
        self.lost = 0
        self.reads = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> "H2Server":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _CERT.configure_cert(context)
        context.set_alpn_protocols(self.alpn)
        self.server = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(self), "127.0.0.1", 0, ssl=context
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.stop()
        await self.server.wait_closed()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await until(lambda: self.lost == len(self.peers))

    def stop(self) -> None:
        """Refuse connections from here on and drop those that are open."""
        self.server.close()
        for peer in self.peers:
            peer.transport.abort()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def posts(self) -> list[Request]:
        return [r for r in self.requests if r.method == "POST"]

    def release_settings(self) -> None:
        assert self.settings_gate is not None
        self.settings_gate = None
        for peer in self.peers:
            peer.flush()

    def take(self, peer: Peer, stream: int, request: Request) -> None:
        self.requests.append(request)
        path = request.path.partition("?")[0]
        route = self.routes.get((request.method, path))
        if route is not None:
            answer = route(request) if callable(route) else route
            status, body = answer if isinstance(answer, tuple) else (200, answer)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            peer.reply(stream, raw, status)
            return
        if request.path == "/ok":
            behaviour = self.warm
        else:
            behaviour = self.script.popleft() if self.script else self.default
        result = behaviour(peer, stream, request)
        if result is not None:
            self.tasks.append(asyncio.ensure_future(result))


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# behaviours ------------------------------------------------------------------------------------


def silent(peer: Peer, stream: int, request: Request) -> None:
    """Take the request and say nothing."""


def hang_up(peer: Peer, stream: int, request: Request) -> None:
    """Close the connection instead of answering."""
    peer.transport.close()


def abort(peer: Peer, stream: int, request: Request) -> None:
    """Drop the connection without a TLS goodbye."""
    peer.transport.abort()


def half_answer(peer: Peer, stream: int, request: Request) -> None:
    """Send headers and a part of the body, then hang up."""
    peer.h2.send_headers(stream, [(":status", "200"), ("content-length", "100")])
    peer.h2.send_data(stream, b'[{"success":')
    peer.flush()
    peer.transport.close()


def reset(code: int) -> Behaviour:
    def behave(peer: Peer, stream: int, request: Request) -> None:
        peer.h2.reset_stream(stream, code)
        peer.flush()

    return behave


def answer(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    return lambda peer, stream, request: peer.reply(stream, body, status, **headers)
