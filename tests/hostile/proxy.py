"""A wire between client and server that can be cut, reset or held up behind any byte.

It sees bytes and knows nothing of TLS, which stays whole from end to end.
"""

import asyncio
import contextlib
import socket
import struct
from enum import StrEnum
from typing import Self

LINGER_NOT = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST
CHUNK = 65_536


class Way(StrEnum):
    """Which bytes are counted."""

    REQUEST = "request"
    RESPONSE = "response"


class Fault(StrEnum):
    """What befalls the connection."""

    CUT = "cut"
    """Both ends see the end of the stream; bytes behind it never existed."""
    RESET = "reset"
    """Both ends see RST."""
    DELAY = "delay"
    """The rest waits until :meth:`Plan.release`."""


class Plan:
    """One fault, for the next connection of orders over which the client speaks.

    Parameters
    ----------
    way : Way
    offset : int
        So many bytes get through.
    fault : Fault or None
        None: only count.
    """

    def __init__(self, way: Way, offset: int, fault: Fault | None) -> None:
        self.way = way
        self.offset = offset
        self.fault = fault
        self.passed = dict.fromkeys(Way, 0)
        self.struck = asyncio.Event()
        """The fault has happened."""
        self._released = asyncio.Event()
        self.link: _Link | None = None

    def release(self) -> None:
        """Let pass what is held up."""
        self._released.set()

    async def let_through(self, link: "_Link", way: Way, data: bytes) -> bytes:
        """Count bytes; return those that may go on, at once."""
        left = self.offset - self.passed[way]
        self.passed[way] += len(data)
        if self.fault is None or way is not self.way or len(data) < left or self.struck.is_set():
            return data
        if self.fault is Fault.DELAY:
            await link.write(way, data[:left])
            self.struck.set()
            await self._released.wait()
            return data[left:]
        # What came before the fault arrives.
        await link.write(way, data[:left])
        link.end(reset=self.fault is Fault.RESET)
        self.struck.set()
        raise ConnectionAbortedError


class _Link:
    """One connection of a client and the one behind it.

    Orders and questions come from one client to one address. The greeting tells them apart: who
    sends orders offers HTTP/2 alone.
    """

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._ends = {Way.REQUEST: (client, server), Way.RESPONSE: (server, client)}
        self._carries_orders = False
        self._greeted = False

    async def write(self, way: Way, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._ends[way][1], data)

    def end(self, *, reset: bool) -> None:
        """Choose how both connections end when their sockets are closed."""
        for end in self._ends[Way.REQUEST]:
            if reset:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
            else:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    async def carry(self, way: Way) -> None:
        loop = asyncio.get_running_loop()
        source, target = self._ends[way]
        while data := await loop.sock_recv(source, CHUNK):
            if not self._greeted:
                self._greeted = True
                self._carries_orders = b"http/1.1" not in data
            plan = self._proxy.plan
            speaks = way is Way.REQUEST and self._carries_orders
            if plan is not None and plan.link is None and speaks:
                plan.link = self
            if plan is not None and plan.link is self:
                data = await plan.let_through(self, way, data)
            await self.write(way, data)
        target.shutdown(socket.SHUT_WR)


class Proxy:
    """Listens on loopback and carries to a port there."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.plan: Plan | None = None
        self.links = 0

    async def __aenter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._tasks.add(asyncio.create_task(self._accept()))
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            client, _ = await loop.sock_accept(self._listener)
            self.links += 1
            task = asyncio.create_task(self._connect(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: socket.socket) -> None:
        server = socket.socket()
        try:
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(server, ("127.0.0.1", self._target))
            link = _Link(self, client, server)
            # Both stop before the sockets are closed: a loop must not wait for a closed one.
            async with asyncio.TaskGroup() as carriers:
                for way in Way:
                    carriers.create_task(link.carry(way))
        except* OSError:
            pass
        finally:
            client.close()
            server.close()
