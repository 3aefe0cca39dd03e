"""One TLS connection that any thread may write to and the event loop reads from.

The socket is ours, so a request is framed, encrypted and handed to the kernel in the caller's own
thread. One lock covers the framing state and the TLS object: neither may be used twice at once.
Callbacks run outside the lock.
"""

import asyncio
import logging
import secrets
import select
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
    Pong,
    Ready,
    RequestRefused,
    Response,
    StreamLost,
)
from polyexec.core.ports import Answer, AnswerCallback, NoAnswer, Outcome
from polyexec.enums import SentState
from polyexec.errors import NotSentError, OutcomeUnknownError, TransportError

__all__ = ["OrderConnection", "deliver", "describe", "outcome_future", "settle"]

log = logging.getLogger("polyexec.clob")

_RECORD = 16_384
_READS_PER_WAKEUP = 32
# A flood of tiny frames is slow to read with h2: the loop has other work, and a send waits too.
_READ_S = 0.01
_MAX_BLOCKED = 1024 * 1024
# The exchange's edge ends a connection with GOAWAY after 10,000 requests: be gone before.
_MOST_REQUESTS = 9_000
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
    """A connected TLS socket with HTTP/2 on it, as ``clob.dialing.Dialer`` makes it.

    Parameters
    ----------
    tls : ssl.SSLSocket
        Connected, hands shaken, non-blocking. The connection owns it from here.
    framing : Framing
        Fresh.
    timeout_s : float
        A request without an answer for so long is of unknown outcome.

    Attributes
    ----------
    retired : asyncio.Event
        Set when it takes no new requests.
    worn : asyncio.Event
        Set when it has carried so many that it is time for another one.
    changed : asyncio.Event
        Set with the first of the two.
    reason : str
        Why it takes no new requests; empty: it does.
    """

    def __init__(self, tls: ssl.SSLSocket, framing: Framing, *, timeout_s: float) -> None:
        self.retired = asyncio.Event()
        self.worn = asyncio.Event()
        self.changed = asyncio.Event()
        self.reason = ""
        self.was_lost = False  # it broke before anybody had retired it
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._tls = tls
        self._fd = tls.fileno()
        self._framing = framing
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        # Everything below belongs to the lock.
        self._pending: dict[int, _Request] = {}  # in order of deadline: the time-out is one
        self._pings: dict[bytes, asyncio.Future[None]] = {}
        self._left = _MOST_REQUESTS
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

    @property
    def tls_session(self) -> ssl.SSLSession | None:
        """What a later connection may resume."""
        with self._lock:
            return None if self._released else self._tls.session

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

    async def ping(self, timeout_s: float) -> None:
        """Ask the peer for a sign of life; one that gives none gets no more requests."""
        payload = secrets.token_bytes(8)
        answered: asyncio.Future[None] = self._loop.create_future()
        verdicts: Verdicts = []
        with self._lock:
            if self.reason:
                return
            self._pings[payload] = answered
            self._framing.ping(payload)
            self._flush(verdicts)
        deliver(verdicts)
        try:
            async with asyncio.timeout(timeout_s):
                await answered
        except TimeoutError:
            self.retire(f"no answer to a PING within {timeout_s:g} s")
        finally:
            self._pings.pop(payload, None)

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
        self._left -= 1
        if not self._left:
            self._on_loop(self._announce, self.worn)
        data = self._framing.take_output()
        now = time.monotonic()
        self._pending[stream_id] = _Request(on_outcome, now, now + self._timeout_s)
        try:
            self._write(data)
        except OSError as error:
            reason = f"the connection broke while writing ({describe(error)})"
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
            self._fail(f"the connection broke while writing ({describe(error)})", verdicts)
        else:
            # The first is what blocked, a request perhaps; behind it wait only acknowledgements.
            if sum(map(len, islice(self._blocked, 1, None))) > _MAX_BLOCKED:
                self._fail("the peer does not read", verdicts)

    def _read(self, verdicts: Verdicts) -> None:
        """Read what is there, or the first of it: then the loop reads on."""
        more = True
        started = time.monotonic()
        for _ in range(_READS_PER_WAKEUP):
            if self._failed:
                return
            try:
                data = self._tls.recv(_RECORD)
            except _BLOCKED:
                more = False
                break
            except OSError as error:
                self._fail(f"the connection broke ({describe(error)})", verdicts)
                return
            if not data:
                self._fail("the peer closed the connection", verdicts)
                return
            self._last_read = time.monotonic()
            received_ns = time.perf_counter_ns()
            for event in self._framing.receive(data):
                self._apply(event, received_ns, verdicts)
            # A full record may hide another one inside the TLS object, where no selector looks.
            if len(data) < _RECORD and not self._tls.pending():
                more = False
                break
            if time.monotonic() - started > _READ_S:
                break
        self._flush(verdicts)
        self._close_soon_if_idle()
        if more:
            self._on_loop(self._on_readable)

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
            self._on_loop(settle, self._ready, None)
        elif isinstance(event, Closing):
            self._retire(event.reason)
        elif isinstance(event, Pong):
            asked = self._pings.get(event.payload)
            if asked is not None:
                self._on_loop(settle, asked, None)
        elif isinstance(event, ConnectionLost):
            # Tell the peer why before the socket goes.
            self._flush([])
            self._fail(event.reason, verdicts)

    def _retire(self, reason: str) -> None:
        if not self.reason:
            self.reason = reason
            self._on_loop(_log_end, logging.INFO, "connection_retired", reason, self.in_flight)
            self._on_loop(self._announce, self.retired)
            self._close_soon_if_idle()

    def _announce(self, event: asyncio.Event) -> None:
        event.set()
        self.changed.set()

    def _close_soon_if_idle(self) -> None:
        if self.reason and not self._pending and not self._failed:
            self._on_loop(self._close_if_idle)

    def _fail(self, reason: str, verdicts: Verdicts) -> None:
        if self._failed:
            return
        self._failed = True
        self.was_lost = not self.reason
        if self._pending:
            self._on_loop(_log_end, logging.WARNING, "connection_lost", reason, self.in_flight)
        for request in self._pending.values():
            verdicts.append(
                (request.on_outcome, _no_answer(f"no answer: {reason}", SentState.MAYBE))
            )
        self._pending.clear()
        for asked in self._pings.values():
            self._on_loop(settle, asked, None)
        self._retire(reason)
        self._on_loop(self._release)

    def _on_readable(self) -> None:
        verdicts: Verdicts = []
        with self._lock:
            if self._failed:
                return
            self._read(verdicts)
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
                self._fail(f"the connection broke while writing ({describe(error)})", verdicts)
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

    def on_outcome(outcome: Outcome) -> None:
        loop.call_soon_threadsafe(settle, future, outcome)

    return future, on_outcome


def settle(future: "asyncio.Future[T]", result: T) -> None:
    """Set a future's result unless it is done."""
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


def describe(error: OSError | UnicodeError) -> str:
    """Return what went wrong, without addresses or data."""
    if isinstance(error, UnicodeError):
        return "the host name cannot be encoded"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    return error.strerror or type(error).__name__
