"""One TLS connection that any thread may write to and the event loop reads from.

The socket is ours, so a request is framed, encrypted and handed to the kernel in the caller's own
thread. One lock covers the framing state and the TLS object: neither may be used twice at once.
Callbacks run outside the lock.
"""

import asyncio
import logging
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TypeVar

from polyexec.clob.http2 import (
    Closing,
    ConnectionLost,
    Event,
    Framing,
    FramingName,
    Ready,
    RequestRefused,
    Response,
    StreamLost,
    new_framing,
)
from polyexec.clob.origin import Origin
from polyexec.core.ports import Answer, AnswerCallback, NoAnswer, Outcome
from polyexec.enums import SentState
from polyexec.errors import NotSentError, OutcomeUnknownError, TransportError

__all__ = ["OrderConnection", "deliver", "open_connection", "outcome_future"]

log = logging.getLogger("polyexec.clob")

_RECORD = 16_384
_READS_PER_WAKEUP = 32
_MAX_BLOCKED = 1024 * 1024
_LOOP_CLOSED = "the event loop that reads the answers is closed"
# What a socket or TLS object says when it has nothing to give or no room: not a fault.
_BLOCKED = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError, InterruptedError)

T = TypeVar("T")
Verdicts = list[tuple[AnswerCallback, Outcome]]


class _Request:
    __slots__ = ("deadline", "on_outcome", "written")

    def __init__(self, on_outcome: AnswerCallback, written: float, deadline: float) -> None:
        self.on_outcome = on_outcome
        self.written = written
        self.deadline = deadline


class OrderConnection:
    """A connected TLS socket with HTTP/2 on it. Build it with :func:`open_connection`.

    Parameters
    ----------
    tls : ssl.SSLSocket
        Connected, hands shaken, non-blocking. The connection owns it from here.
    framing : Framing
        Fresh.
    timeout_s : float
        A request without an answer for so long is of unknown outcome.
    """

    def __init__(self, tls: ssl.SSLSocket, framing: Framing, *, timeout_s: float) -> None:
        self.retired = asyncio.Event()
        """Set when it takes no new requests. Wait for it on the loop."""
        self.reason = ""
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._tls = tls
        self._fd = tls.fileno()
        self._framing = framing
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        # Everything below belongs to the lock.
        self._pending: dict[int, _Request] = {}  # in order of deadline: the time-out is one
        self._blocked: deque[bytes] = deque()
        self._failed = False
        self._released = False
        self._writer_on = False
        self._timer_on = False
        self._last_read = time.monotonic()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return len(self._pending)

    @property
    def is_closed(self) -> bool:
        """The socket is gone, or about to be."""
        return self._failed

    async def start(self) -> None:
        """Send the preface and wait for the peer's settings.

        Raises
        ------
        NotSentError
            The connection broke before it was usable.
        """
        self._loop.add_reader(self._fd, self._on_readable)
        with self._lock:
            self._framing.start()
            self._flush([])
        await self._ready

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        on_outcome: AnswerCallback,
    ) -> str:
        """Write a request. Any thread.

        Returns
        -------
        str
            Empty: taken, and ``on_outcome`` is called once. Otherwise why certainly nothing of it
            can be processed, and ``on_outcome`` is never called.
        """
        verdicts: Verdicts = []
        arm = False
        with self._lock:
            refused = self._send(method, path, headers, body, on_outcome, verdicts=verdicts)
            if not refused and self._pending and not self._timer_on:
                arm = self._timer_on = True
        if arm and not self._on_loop(self._arm, self._timeout_s):
            # Closed between our look and now: nobody will read the answer.
            with self._lock:
                self._fail(_LOOP_CLOSED, verdicts)
        deliver(verdicts)
        return refused

    def retire(self, reason: str) -> None:
        """Take no new requests; close once those in flight are answered. Any thread."""
        with self._lock:
            self._retire(reason)

    def close(self, reason: str) -> None:
        """Close now; requests in flight are of unknown outcome. On the loop only."""
        verdicts: Verdicts = []
        with self._lock:
            if not self._failed:
                self._framing.close()
                self._flush(verdicts)
            self._fail(reason, verdicts)
        self._release()
        deliver(verdicts)

    def _send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        on_outcome: AnswerCallback,
        *,
        verdicts: Verdicts,
    ) -> str:
        # A close or GOAWAY that lies unread in the kernel makes the difference between "not
        # sent" and "unknown": look before writing. A microsecond when there is nothing.
        if not self._failed and self._poll.poll(0):
            self._read(verdicts)
        if self.reason:
            return self.reason
        if self._loop.is_closed():
            return _LOOP_CLOSED
        if self._blocked:
            return "the connection does not take bytes at the moment"
        try:
            stream_id = self._framing.request(method, path, headers, body)
        except RequestRefused as error:
            if self._framing.closing:
                self._retire(str(error))
            return str(error)
        data = self._framing.take_output()
        now = time.monotonic()
        self._pending[stream_id] = _Request(on_outcome, now, now + self._timeout_s)
        try:
            self._write(data)
        except OSError as error:
            reason = f"the connection broke while writing ({_describe(error)})"
            # A TLS record is decrypted whole or not at all, and the kernel refused its end.
            certain = len(data) <= _RECORD
            if certain:
                del self._pending[stream_id]
            # What the peer said last (answers, a GOAWAY) may still be readable.
            self._read(verdicts)
            self._fail(reason, verdicts)
            return reason if certain else ""
        return ""

    def _write(self, data: bytes) -> None:
        if self._blocked:
            self._blocked.append(data)
            return
        try:
            sent = self._tls.send(data)
        except _BLOCKED:
            # OpenSSL has encrypted it and wants the same bytes again.
            self._blocked.append(data)
        else:
            if sent < len(data):
                self._blocked.append(data[sent:])
        if self._blocked and not self._writer_on:
            self._writer_on = True
            self._on_loop(self._watch_writable)

    def _flush(self, verdicts: Verdicts) -> None:
        data = self._framing.take_output()
        if not data or self._failed:
            return
        try:
            self._write(data)
        except OSError as error:
            self._fail(f"the connection broke while writing ({_describe(error)})", verdicts)
        else:
            # The first is what blocked, a request perhaps; behind it wait only acknowledgements.
            if sum(map(len, islice(self._blocked, 1, None))) > _MAX_BLOCKED:
                self._fail("the peer does not read", verdicts)

    def _read(self, verdicts: Verdicts) -> bool:
        """Read what is there; return True when there may be more."""
        more = True
        for _ in range(_READS_PER_WAKEUP):
            if self._failed:
                return False
            try:
                data = self._tls.recv(_RECORD)
            except _BLOCKED:
                more = False
                break
            except OSError as error:
                self._fail(f"the connection broke ({_describe(error)})", verdicts)
                return False
            if not data:
                self._fail("the peer closed the connection", verdicts)
                return False
            self._last_read = time.monotonic()
            received_ns = time.perf_counter_ns()
            for event in self._framing.receive(data):
                self._apply(event, received_ns, verdicts)
            # A full record may hide another one inside the TLS object, where no selector looks.
            if len(data) < _RECORD and not self._tls.pending():
                more = False
                break
        self._flush(verdicts)
        self._close_soon_if_idle()
        return more

    def _apply(self, event: Event, received_ns: int, verdicts: Verdicts) -> None:
        if isinstance(event, Response):
            request = self._pending.pop(event.stream_id, None)
            if request is not None:
                answer = Answer(
                    status=event.status,
                    body=event.body,
                    headers=event.headers,
                    received_ns=received_ns,
                )
                verdicts.append((request.on_outcome, answer))
        elif isinstance(event, StreamLost):
            request = self._pending.pop(event.stream_id, None)
            if request is not None:
                verdicts.append((request.on_outcome, _no_answer(event.reason, event.sent)))
        elif isinstance(event, Ready):
            self._on_loop(_settle, self._ready, None)
        elif isinstance(event, Closing):
            self._retire(event.reason)
        elif isinstance(event, ConnectionLost):
            # Tell the peer why before the socket goes.
            self._flush([])
            self._fail(event.reason, verdicts)

    def _retire(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            self._on_loop(_log_end, logging.INFO, "connection_retired", reason, self.in_flight)
            self._on_loop(self.retired.set)
            self._close_soon_if_idle()

    def _close_soon_if_idle(self) -> None:
        if self.reason and not self._pending and not self._failed:
            self._on_loop(self._close_if_idle)

    def _fail(self, reason: str, verdicts: Verdicts) -> None:
        if self._failed:
            return
        self._failed = True
        if self._pending:
            self._on_loop(_log_end, logging.WARNING, "connection_lost", reason, self.in_flight)
        for request in self._pending.values():
            verdicts.append(
                (request.on_outcome, _no_answer(f"no answer: {reason}", SentState.MAYBE))
            )
        self._pending.clear()
        self._retire(reason)
        self._on_loop(self._release)

    def _on_readable(self) -> None:
        verdicts: Verdicts = []
        with self._lock:
            if self._failed:
                return
            more = self._read(verdicts)
        if more:
            self._loop.call_soon(self._on_readable)
        deliver(verdicts)

    def _watch_writable(self) -> None:
        if not self._released:
            self._loop.add_writer(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        verdicts: Verdicts = []
        with self._lock:
            try:
                while self._blocked and not self._failed:
                    sent = self._tls.send(self._blocked[0])
                    rest = self._blocked.popleft()[sent:]
                    if rest:
                        self._blocked.appendleft(rest)
            except _BLOCKED:
                return
            except OSError as error:
                self._fail(f"the connection broke while writing ({_describe(error)})", verdicts)
            self._writer_on = False
        if not self._released:
            self._loop.remove_writer(self._fd)
        deliver(verdicts)

    def _arm(self, delay_s: float) -> None:
        self._loop.call_later(max(delay_s, 0.001), self._on_deadline)

    def _on_deadline(self) -> None:
        verdicts: Verdicts = []
        rearm: float | None = None
        now = time.monotonic()
        with self._lock:
            # The answer may lie in the kernel when the loop was held up.
            if self._pending and not self._failed:
                self._read(verdicts)
            for stream_id, request in list(self._pending.items()):
                if request.deadline > now:
                    rearm = request.deadline - now
                    break
                del self._pending[stream_id]
                self._framing.cancel(stream_id)
                reason = f"no answer within {self._timeout_s:g} s of the write"
                verdicts.append((request.on_outcome, _no_answer(reason, SentState.MAYBE)))
                if self._last_read < request.written:
                    self._retire("the connection is silent")
            self._timer_on = rearm is not None
            self._flush(verdicts)
            self._close_soon_if_idle()
        if rearm is not None:
            self._arm(rearm)
        deliver(verdicts)

    def _close_if_idle(self) -> None:
        verdicts: Verdicts = []
        with self._lock:
            if not self._pending:
                if not self._failed:
                    self._framing.close()
                    self._flush(verdicts)
                self._fail(self.reason, verdicts)
        deliver(verdicts)

    def _release(self) -> None:
        """Give the descriptor back. On the loop, whose selector must forget it first."""
        with self._lock:
            if self._released:
                return
            self._released = True
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
                self._loop.remove_writer(self._fd)
            self._poll.unregister(self._fd)
            self._blocked.clear()
            self._tls.close()
        if not self._ready.done():
            self._ready.set_exception(NotSentError(f"not connected: {self.reason}"))
            # The waiter may have given up at its own time limit.
            self._ready.exception()

    def _on_loop(self, call: Callable[..., object], *args: object) -> bool:
        try:
            if threading.get_ident() == self._loop_thread:
                self._loop.call_soon(call, *args)
            else:
                self._loop.call_soon_threadsafe(call, *args)
        except RuntimeError:  # how asyncio says that the loop is closed
            return False
        return True


async def open_connection(
    origin: Origin,
    context: ssl.SSLContext,
    *,
    timeout_s: float,
    max_response_bytes: int,
    framing: FramingName = "fast",
) -> OrderConnection:
    """Connect, shake hands and wait for the peer's settings.

    Raises
    ------
    NotSentError
        Any step failed; the text says which.
    """
    loop = asyncio.get_running_loop()
    try:
        plain = await _connect(loop, origin)
        tls = await _handshake(loop, plain, origin, context)
    except ssl.SSLError as error:
        raise NotSentError(f"TLS with {origin.authority} failed: {_describe(error)}") from error
    except (OSError, UnicodeError) as error:
        raise NotSentError(f"cannot connect to {origin.authority}: {_describe(error)}") from error
    fresh = new_framing(framing, origin.authority, max_response_bytes=max_response_bytes)
    connection = OrderConnection(tls, fresh, timeout_s=timeout_s)
    try:
        await connection.start()
    except BaseException:
        connection.close("not usable in time")
        raise
    return connection


async def _connect(loop: asyncio.AbstractEventLoop, origin: Origin) -> socket.socket:
    failure: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in await loop.getaddrinfo(
        origin.host, origin.port, type=socket.SOCK_STREAM
    ):
        plain = socket.socket(family, kind, protocol)
        try:
            plain.setblocking(False)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await loop.sock_connect(plain, address)
        except OSError as error:
            failure = error
            plain.close()
        except BaseException:
            plain.close()
            raise
        else:
            return plain
    raise failure


async def _handshake(
    loop: asyncio.AbstractEventLoop, plain: socket.socket, origin: Origin, context: ssl.SSLContext
) -> ssl.SSLSocket:
    try:
        # The same context serves the cold client, which sets its own list: set ours each time.
        context.set_alpn_protocols(["h2"])
        tls = context.wrap_socket(plain, server_hostname=origin.host, do_handshake_on_connect=False)
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
            raise NotSentError(f"{origin.authority} does not speak HTTP/2")
    except BaseException:
        tls.close()
        raise
    return tls


async def _until(
    add: Callable[..., object], remove: Callable[[int], object], descriptor: int
) -> None:
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    add(descriptor, _settle, ready, None)
    try:
        await ready
    finally:
        remove(descriptor)


def deliver(verdicts: Verdicts) -> None:
    """Hand every verdict to its callback; one that raises does not cost another its own."""
    for on_outcome, outcome in verdicts:
        try:
            on_outcome(outcome)
        except Exception:
            log.exception("outcome_callback_failed")


def outcome_future() -> tuple["asyncio.Future[Outcome]", AnswerCallback]:
    """Return a future of the running loop and the callback, for any thread, that settles it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome] = loop.create_future()

    def settle(outcome: Outcome) -> None:
        loop.call_soon_threadsafe(_settle, future, outcome)

    return future, settle


def _settle(future: "asyncio.Future[T]", result: T) -> None:
    if not future.done():
        future.set_result(result)


def _log_end(level: int, event: str, reason: str, in_flight: int) -> None:
    # Called on the loop: a log handler must not run under the connection's lock.
    log.log(level, event, extra={"reason": reason, "in_flight": in_flight})


def _no_answer(reason: str, sent: SentState) -> NoAnswer:
    error: TransportError = (
        NotSentError(reason) if sent is SentState.NO else OutcomeUnknownError(reason)
    )
    return NoAnswer(error=error, received_ns=time.perf_counter_ns())


def _describe(error: OSError | UnicodeError) -> str:
    if isinstance(error, UnicodeError):
        return "the host name cannot be encoded"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    return error.strerror or type(error).__name__
