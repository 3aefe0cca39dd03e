"""Takes notices to one endpoint: one post after the other, for as long as it takes."""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

import httpx
import msgspec

from polyexec.observers.endpoints import Delivered, Endpoint, Later, Post, Refused, Verdict
from polyexec.observers.notices import Batch
from polyexec.observers.outbox import Outbox

__all__ = ["THREAD_NAME", "Courier", "DeliveryCounts"]

THREAD_NAME: Final = "polyexec-notify"

_log = logging.getLogger("polyexec.notify")

_FIRST_BACKOFF_S: Final = 1.0
_MAX_BACKOFF_S: Final = 60.0
_MOST_AGE_S: Final = 86_400.0
_MAX_ANSWER: Final = 64 * 1024


def _is_not_ours(record: logging.LogRecord) -> bool:
    return record.threadName != THREAD_NAME


class DeliveryCounts(msgspec.Struct):
    """What became of the notices for one endpoint."""

    delivered: int = 0
    """Notices that it took."""
    lost: int = 0
    """Notices that it refused, or did not take within a day or before the end."""
    attempts: int = 0
    """Posts that were tried."""
    failures: int = 0
    """Of those, without success."""


class Courier:
    """Posts what waits in an outbox; never gives up on an endpoint, and waits longer and longer.

    Parameters
    ----------
    endpoint : Endpoint
    outbox : Outbox
        ``wake`` is to be called, on the loop, when something waits in it.
    ssl_context : ssl.SSLContext
        What is trusted.
    timeout_s : float
        For every wait for the peer; a whole exchange has three times that, however slowly its bytes
        drip in.
    unix_s, monotonic_ns, sleep
        Clocks and waiting.

    Attributes
    ----------
    counts : DeliveryCounts
    in_hand : int
        Notices that were taken from the outbox and not delivered or lost yet.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        outbox: Outbox,
        *,
        ssl_context: ssl.SSLContext,
        timeout_s: float,
        unix_s: Callable[[], float],
        monotonic_ns: Callable[[], int],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.counts = DeliveryCounts()
        self.in_hand = 0
        self._endpoint = endpoint
        self._outbox = outbox
        self._timeout_s = timeout_s
        self._unix_s = unix_s
        self._monotonic_ns = monotonic_ns
        self._sleep = sleep
        self._any = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failed = 0
        # When debugging, httpcore logs the headers of answers: a redirect repeats the URL.
        for library in ("httpcore.connection", "httpcore.http11"):
            logging.getLogger(library).addFilter(_is_not_ours)
        # Not httpx.AsyncClient: it logs every URL, and these are secrets. No proxy and no
        # certificate switch is taken from the environment, and no redirect is followed.
        self._transport = httpx.AsyncHTTPTransport(
            verify=ssl_context,
            trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
        )

    def wake(self) -> None:
        """Say that something waits."""
        self._idle.clear()
        self._any.set()

    @property
    def name(self) -> str:
        """Of the endpoint."""
        return self._endpoint.name

    async def idle(self) -> None:
        """Wait until nothing waits and everything has been taken."""
        await self._idle.wait()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                await self._any.wait()
                self._any.clear()
                while (batch := self._outbox.take()) is not None:
                    await self._tell(batch)
                if not self._any.is_set():
                    self._idle.set()
        finally:
            await self._transport.aclose()

    async def _tell(self, batch: Batch) -> None:
        self.in_hand = len(batch.notices)
        try:
            for post in self._endpoint.render(batch):
                await self._deliver(post)
                self.in_hand -= post.notices
        except Exception:  # a fault of ours costs this batch, not the endpoint
            _log.exception("notify_failed")
            self.counts.lost += self.in_hand
            self.in_hand = 0

    async def _deliver(self, post: Post) -> None:
        counts, name = self.counts, self._endpoint.name
        begun_ns = self._monotonic_ns()
        while True:
            await self._keep_pace()
            counts.attempts += 1
            verdict = await self._post(post.body)
            if isinstance(verdict, Delivered):
                counts.delivered += post.notices
                if self._failed:
                    _log.info("notify_recovered", extra={"endpoint": name})
                self._failed = 0
                return
            counts.failures += 1
            is_late = (self._monotonic_ns() - begun_ns) / 1e9 > _MOST_AGE_S
            is_lost = isinstance(verdict, Refused) or is_late
            if is_lost:
                counts.lost += post.notices
            reason = self._hide(verdict.reason)
            if isinstance(verdict, Refused):
                _log.warning("notify_refused", extra={"endpoint": name, "reason": reason})
            elif not self._failed:  # the first time in a row
                _log.warning("notify_delayed", extra={"endpoint": name, "reason": reason})
            self._failed += 1
            asked_s = verdict.after_s if isinstance(verdict, Later) else 0.0
            await self._sleep(max(asked_s, self._backoff_s()))
            if is_lost:
                return

    async def _keep_pace(self) -> None:
        pace = self._endpoint.pace
        while wait_ns := pace.wait_ns(1, self._monotonic_ns()):
            await self._sleep(wait_ns / 1e9)
        pace.take(1, self._monotonic_ns())

    async def _post(self, body: bytes) -> Verdict:
        """Send a body once. Whatever happens is a verdict."""
        try:
            url, headers = self._endpoint.request(body, int(self._unix_s()))
            headers = {**headers, "accept-encoding": "identity", "user-agent": "polyexec"}
            # The library's own limits as well: on a cancelled handshake it leaves its socket open.
            waits = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
            async with asyncio.timeout(3 * self._timeout_s):
                request = httpx.Request(
                    "POST", url, headers=headers, content=body, extensions={"timeout": waits}
                )
                response = await self._transport.handle_async_request(request)
                try:
                    answer = await _read(response)
                finally:
                    await response.aclose()
            return self._endpoint.verdict(
                response.status_code, {k.lower(): v for k, v in response.headers.items()}, answer
            )
        except (TimeoutError, httpx.TimeoutException):
            return Later("no answer in time")
        except Exception as error:  # garbage makes the library raise more than its own errors
            return Later(f"{type(error).__name__}: {error}")

    def _hide(self, text: str) -> str:
        """Return a text from outside without what is secret, should it repeat that."""
        for secret in self._endpoint.secrets:
            text = text.replace(secret, "***")
        return text

    def _backoff_s(self) -> float:
        longest = min(_FIRST_BACKOFF_S * 2.0 ** min(self._failed - 1, 10), _MAX_BACKOFF_S)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > _MAX_ANSWER:
            break  # what matters stands at the beginning
    return bytes(content[:_MAX_ANSWER])
