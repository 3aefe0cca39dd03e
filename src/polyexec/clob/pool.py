"""The order transport: warm connections to one host, sends from any thread."""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from functools import partial

from polyexec.clob.connection import OrderConnection, deliver, outcome_future
from polyexec.clob.dialing import Dialer
from polyexec.clob.http2 import FramingName
from polyexec.clob.origin import default_ssl_context, parse_origin
from polyexec.core.ports import Answer, AnswerCallback, NoAnswer, Outcome
from polyexec.errors import ConfigError, NotSentError, TransportError, UsageError

__all__ = ["OrderTransport"]

log = logging.getLogger("polyexec.clob")

_MAX_CONNECTIONS = 10
_FIRST_BACKOFF_S = 0.05
_MAX_BACKOFF_S = 5.0
_SHORT_LIFE_S = 1.0
_MOST_PING_S = 2.0


class OrderTransport:
    """Keeps connections open and warm; :meth:`send` writes in the caller's own thread.

    Parameters
    ----------
    url : str
        ``https://host[:port]``; no other host is ever contacted.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted. Its ALPN list is overwritten.
    timeout_s : float
        Without an answer so long after the write, the outcome of a request is unknown.
    connect_timeout_s : float
        For address, handshake and settings together.
    size : int
        Connections to keep, 1 to 10.
    warm_interval_s : float
        Every so often a connection carries ``GET warm_path``.
    ping_interval_s : float
        Every so often it is asked for a sign of life between two of those; without one for 2 s it
        is replaced.
    max_response_bytes : int
        A longer answer is dropped with its connection.
    on_warm : callable or None
        Called on the loop with every answer to a warming request, and the seconds that it took.
    framing : "fast" or "h2"
        Our own compiled HTTP/2, or the one of the ``h2`` library.

    Attributes
    ----------
    losses : int
        Connections that broke, and attempts to connect that failed, once it was open.

    Raises
    ------
    ConfigError
        The URL is not https, or a number is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        ssl_context: ssl.SSLContext | None = None,
        timeout_s: float = 5.0,
        connect_timeout_s: float = 5.0,
        size: int = 2,
        warm_interval_s: float = 20.0,
        ping_interval_s: float = 5.0,
        warm_path: str = "/ok",
        max_response_bytes: int = 4 * 1024 * 1024,
        on_warm: Callable[[Answer, float], None] | None = None,
        framing: FramingName = "fast",
    ) -> None:
        if not 1 <= size <= _MAX_CONNECTIONS:
            raise ConfigError(f"size: {size} is not between 1 and {_MAX_CONNECTIONS} connections")
        for name, value in (
            ("timeout_s", timeout_s),
            ("connect_timeout_s", connect_timeout_s),
            ("warm_interval_s", warm_interval_s),
            ("ping_interval_s", ping_interval_s),
        ):
            if not 0 < value <= 86_400:
                raise ConfigError(f"{name}: {value} is not between 0 and 86400 seconds")
        self.losses = 0
        self.origin = parse_origin(url)
        self._dialer = Dialer(
            self.origin,
            default_ssl_context() if ssl_context is None else ssl_context,
            timeout_s=timeout_s,
            max_response_bytes=max_response_bytes,
            framing=framing,
        )
        self._connect_timeout_s = connect_timeout_s
        self._size = size
        self._warm_interval_s = warm_interval_s
        self._ping_interval_s = ping_interval_s
        self._ping_timeout_s = min(timeout_s, _MOST_PING_S)
        self._warm_path = warm_path
        self._on_warm = on_warm
        # Replaced whole by the loop's thread, so that any thread may read it without a lock.
        self._usable: tuple[OrderConnection, ...] = ()
        self._draining: set[OrderConnection] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._why_not = "the transport is not open"
        self._closed = False

    def __repr__(self) -> str:
        return f"OrderTransport({self.origin.url!r}, {len(self._usable)} connected)"

    @property
    def connected(self) -> int:
        """Connections that take requests now."""
        return len(self._usable)

    async def open(self) -> None:
        """Connect and warm every connection on the running loop, and keep them so.

        Raises
        ------
        NotSentError
            The first attempt failed; nothing is left running.
        UsageError
            It was opened before.
        """
        if self._keepers or self._closed:
            raise UsageError("a transport is opened once")
        self._keepers.append(asyncio.create_task(self._dialer.keep_addresses()))
        try:
            # One first: the others resume its TLS session.
            await self._start_keeper()
            await asyncio.gather(*(self._start_keeper() for _ in range(self._size - 1)))
        except BaseException:
            await self.close()
            raise

    def _start_keeper(self) -> "asyncio.Future[None]":
        """Return a future of the first time that one more connection is warm."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        keeper = asyncio.create_task(self._keep(first))
        keeper.add_done_callback(partial(_report_keeper, first))
        self._keepers.append(keeper)
        return first

    async def close(self) -> None:
        """Close every connection. Requests still without an answer are of unknown outcome."""
        self._closed = True
        self._why_not = "the transport is closed"
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        connections, self._usable = {*self._usable, *self._draining}, ()
        self._draining.clear()
        for connection in connections:
            connection.close("closed by us before the answer came")

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        on_outcome: AnswerCallback,
    ) -> None:
        """Write one request; when this returns, the kernel has it or it certainly was not sent.

        Callable from any thread. ``on_outcome`` is called exactly once, from any thread, possibly
        before this returns, and network trouble is always an outcome, never an exception.
        """
        usable = self._usable
        refused = ""
        if usable:
            # The first of those with the fewest requests in flight: its caches are warm.
            best = usable[0] if not usable[0].in_flight else min(usable, key=_in_flight)
            refused = best.send(method, path, headers, body, on_outcome)
            if not refused:
                return
            for connection in usable:
                if connection is not best:
                    refused = connection.send(method, path, headers, body, on_outcome)
                    if not refused:
                        return
        error = NotSentError(f"not sent: {refused or self._why_not}")
        deliver([(on_outcome, NoAnswer(error=error, received_ns=time.perf_counter_ns()))])

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Outcome:
        """Send and wait. On the loop of :meth:`open`."""
        outcome, settle = outcome_future()
        self.send(method, path, headers, body, settle)
        return await outcome

    async def _keep(self, first: asyncio.Future[None]) -> None:
        """Keep one place of the pool filled with a connection that is open and warm."""
        worn: OrderConnection | None = None
        failures = 0
        while True:
            try:
                connection = await self._connect()
            except TransportError as error:
                if not first.done():
                    first.set_exception(error)
                    return
                failures += 1
                self.losses += 1
                self._why_not = str(error)
                if worn is not None and worn.retired.is_set():
                    self._drop(worn)
                    worn = None
                log.warning("connect_failed", extra={"reason": str(error), "attempt": failures})
                await _back_off(failures)
                continue
            since = time.monotonic()
            self._usable = (*self._usable, connection)
            log.info("connected", extra={"host": self.origin.authority})
            await self._warm(connection)
            if not first.done():
                first.set_result(None)
            if worn is not None:
                # Only now: a submit never waits while it can be replaced.
                worn.retire("it has carried many requests")
                self._drop(worn)
            await self._keep_warm(connection)
            if not connection.retired.is_set():
                worn = connection
                continue
            worn = None
            self._drop(connection)
            self.losses += connection.was_lost
            self._why_not = connection.reason
            # A peer that accepts and hangs up at once must not be hammered.
            failures = failures + 1 if time.monotonic() - since < _SHORT_LIFE_S else 0
            if failures > 1:
                await _back_off(failures)

    def _drop(self, connection: OrderConnection) -> None:
        """Give a connection no more requests; those in flight are still answered."""
        self._draining = {c for c in self._draining if not c.is_closed} | {connection}
        self._usable = tuple(c for c in self._usable if c is not connection)

    async def _connect(self) -> OrderConnection:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                return await self._dialer.dial()
        except TimeoutError:
            raise NotSentError(
                f"{self.origin.authority} was not ready within {self._connect_timeout_s:g} s"
            ) from None

    async def _keep_warm(self, connection: OrderConnection) -> None:
        """Use a connection now and then, until it is retired or worn."""
        loop = asyncio.get_running_loop()
        # Jitter, so that a fleet of bots does not knock in step.
        warm_at = loop.time() + self._warm_interval_s * random.uniform(0.9, 1.0)  # noqa: S311
        while not (connection.retired.is_set() or connection.worn.is_set()):
            pause_s = min(self._ping_interval_s, max(0.0, warm_at - loop.time()))
            try:
                async with asyncio.timeout(pause_s):
                    await connection.changed.wait()
            except TimeoutError:
                if loop.time() < warm_at:
                    await connection.ping(self._ping_timeout_s)
                    continue
                await self._warm(connection)
                warm_at = loop.time() + self._warm_interval_s * random.uniform(0.9, 1.0)  # noqa: S311

    async def _warm(self, connection: OrderConnection) -> None:
        outcome, settle = outcome_future()
        started = time.perf_counter()
        if connection.send("GET", self._warm_path, {}, b"", settle):
            return
        result = await outcome
        if isinstance(result, NoAnswer):
            connection.retire(f"the warmer got no answer ({result.error})")
            return
        self._dialer.learn(connection)
        if self._on_warm is not None:
            self._on_warm(result, time.perf_counter() - started)


def _in_flight(connection: OrderConnection) -> int:
    return connection.in_flight


def _report_keeper(first: "asyncio.Future[None]", keeper: "asyncio.Task[None]") -> None:
    if keeper.cancelled():
        first.cancel()
        return
    error = keeper.exception()
    if error is not None and not first.done():
        first.set_exception(error)
    elif error is not None:
        log.critical("keeper_died", exc_info=error)


async def _back_off(failures: int) -> None:
    ceiling = min(_MAX_BACKOFF_S, _FIRST_BACKOFF_S * 2 ** min(failures, 10))
    await asyncio.sleep(ceiling * random.uniform(0.5, 1.0))  # noqa: S311
