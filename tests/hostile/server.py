"""A server that plays a script: raw bytes, frames, pauses and closes over real TLS on loopback.

It speaks TLS through memory, so a script decides what of it reaches the socket, and how it ends.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Self

from tests.hostile.certificates import context
from tests.unit.clob.framings import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    SETTINGS,
    answer,
    frame,
    settings,
)

PREFACE = 24
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
Frame = tuple[int, int, int, bytes]


class Gone(Exception):
    """The client closed the connection, or broke it."""


class Wire:
    """The server's end of one connection."""

    def __init__(self, plain: socket.socket, certificate: str) -> None:
        self.plain = plain
        self.loop = asyncio.get_running_loop()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context(certificate).wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._read = bytearray()
        self._frames: deque[Frame] = deque()
        self._preface = PREFACE
        self.played = asyncio.Event()
        """Everything hostile is on its way."""

    # --- TLS ------------------------------------------------------------------------------------

    async def handshake(self) -> None:
        """Shake hands; an alert of the client is :class:`Gone`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self.flush()
                await self._fill()
            except ssl.SSLError as error:
                await self.flush()
                raise Gone(str(error)) from error
            else:
                await self.flush()
                return

    def seal(self, data: bytes) -> bytes:
        """Return the records that carry the data."""
        self._tls.write(data)
        return self._outgoing.read()

    async def raw(self, data: bytes) -> None:
        """Put bytes on the socket as they are."""
        try:
            await self.loop.sock_sendall(self.plain, data)
        except OSError as error:
            raise Gone(str(error)) from error

    async def flush(self) -> None:
        data = self._outgoing.read()
        if data:
            await self.raw(data)

    async def send(self, *frames: bytes) -> None:
        """Send whole, in as few records as it takes."""
        await self.raw(self.seal(b"".join(frames)))

    async def _fill(self) -> None:
        try:
            data = await self.loop.sock_recv(self.plain, 65_536)
        except OSError as error:
            raise Gone(str(error)) from error
        if not data:
            raise Gone("end of file")
        self._incoming.write(data)

    # --- what the client says -------------------------------------------------------------------

    async def next_frame(self) -> Frame:
        """Return the next frame of the client."""
        while not self._frames:
            try:
                data = self._tls.read(65_536)
            except ssl.SSLWantReadError:
                await self.flush()
                await self._fill()
                continue
            except ssl.SSLError as error:
                raise Gone(str(error)) from error
            if not data:
                raise Gone("closed")
            self._cut(data)
        return self._frames.popleft()

    def _cut(self, data: bytes) -> None:
        skipped = min(self._preface, len(data))
        self._preface -= skipped
        self._read += data[skipped:]
        while len(self._read) >= 9:
            end = 9 + int.from_bytes(self._read[:3], "big")
            if len(self._read) < end:
                return
            head, payload = self._read[:9], bytes(self._read[9:end])
            del self._read[:end]
            self._frames.append((head[3], head[4], int.from_bytes(head[5:9], "big"), payload))

    async def headers(self) -> int:
        """Wait for HEADERS and return their stream; a body may follow."""
        while True:
            kind, _, stream, _ = await self.next_frame()
            if kind == HEADERS:
                return stream
            if kind == GOAWAY:
                raise Gone("GOAWAY")

    async def request(self) -> int:
        """Wait for a whole request and return its stream."""
        while True:
            kind, flags, stream, _ = await self.next_frame()
            if kind in {HEADERS, DATA} and flags & END_STREAM:
                return stream
            if kind == GOAWAY:
                raise Gone("GOAWAY")

    async def hear(self, kind: int) -> Frame:
        """Wait for a frame of a kind."""
        while True:
            heard = await self.next_frame()
            if heard[0] == kind:
                return heard

    async def drain(self) -> None:
        """Read until the client is gone."""
        while True:
            await self.next_frame()

    # --- ways to end ----------------------------------------------------------------------------

    async def goodbye(self) -> None:
        """End TLS and leave the socket open: half a close."""
        with contextlib.suppress(ssl.SSLError):  # wants the client's goodbye
            self._tls.unwrap()
        await self.flush()

    def finish(self) -> None:
        """End the stream of bytes without a TLS goodbye, and go on reading."""
        self.plain.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Answer everything with RST."""
        self.plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.plain.close()
        raise Gone("reset by the script")

    # --- good manners ---------------------------------------------------------------------------

    async def greet(self, values: dict[int, int] | None = None) -> None:
        await self.handshake()
        await self.send(settings(values or {}), frame(SETTINGS, ACK, 0))

    async def warm(self, values: dict[int, int] | None = None) -> None:
        """Greet, and answer the request that warms the connection."""
        await self.greet(values)
        await self.send(answer(await self.request(), ends=True))

    async def serve(self, after: int = 0) -> None:
        """Answer every request as one should; those up to ``after`` have their answers."""
        while True:
            stream = await self.request()
            if stream > after:
                await self.send(answer(stream, ends=True))


Script = Callable[[Wire], Awaitable[None]]


async def good(wire: Wire) -> None:
    """Be a good server."""
    await wire.greet()
    wire.played.set()
    await wire.serve()


class HostileServer:
    """Plays the script on its first connection and is good on every later one.

    Parameters
    ----------
    script : callable
        Gets the :class:`Wire` before the handshake. When it returns the socket is closed.
    certificate : str
        One of ``certificates.CONTEXTS``, for every connection.
    always : bool
        Play the script on every connection.
    """

    def __init__(self, script: Script, *, certificate: str = "good", always: bool = False) -> None:
        self._script = script
        self._certificate = certificate
        self._always = always
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.played = asyncio.Event()
        """The script has played what is hostile on the first connection."""
        self.faults: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept())
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            plain, _ = await loop.sock_accept(self._listener)
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            script = self._script if self.connections == 1 or self._always else good
            self._start(self._play(script, plain))

    async def _play(self, script: Script, plain: socket.socket) -> None:
        wire = Wire(plain, self._certificate)
        if self.connections == 1:
            wire.played = self.played
        try:
            await script(wire)
        except Gone:
            pass
        except Exception as error:
            self.faults.append(error)  # the script's own: the case must not pass by it
        finally:
            wire.played.set()
            plain.close()
