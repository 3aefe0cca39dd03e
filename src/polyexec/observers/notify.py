"""Tells people what happens: notices in, posts to every endpoint out, on a thread of its own.

:meth:`Notifier.notify` costs a lock and an append. Everything else, TLS and waiting for dead hosts
included, happens on the notifier's thread and loop.
"""

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from polyexec.enums import NoticeKind
from polyexec.errors import UsageError
from polyexec.observers.courier import THREAD_NAME, Courier, DeliveryCounts
from polyexec.observers.endpoints import Endpoint
from polyexec.observers.notices import Notice
from polyexec.observers.outbox import Outbox

__all__ = ["Notifier", "Watch"]

_log = logging.getLogger("polyexec.notify")

Watch: TypeAlias = Callable[[int], Iterable[Notice]]
"""Is asked every second, with the unix time in milliseconds, what there is to tell."""

_WATCH_S: Final = 1.0
# Of the loop, in which sockets that were closed let go of their descriptors.
_LAST_ROUNDS: Final = 3


class Notifier:
    """Takes notices to endpoints.

    Parameters
    ----------
    endpoints : sequence of Endpoint
        Each has a queue of its own: one that is dead delays no other.
    kinds : collection of NoticeKind
        What is told; the rest is passed over.
    watches : sequence of callable
        Asked every second, on the notifier's thread, what there is to tell.
    ssl_context : ssl.SSLContext
        What is trusted.
    timeout_s : float
        For every wait for an endpoint; a whole post has three times that.
    time_ms, monotonic_ns, sleep
        Clocks and waiting.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        *,
        ssl_context: ssl.SSLContext,
        kinds: Collection[NoticeKind] = tuple(NoticeKind),
        watches: Sequence[Watch] = (),
        timeout_s: float = 10.0,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._endpoints = tuple(endpoints)
        self._kinds = frozenset(kinds)
        self._watches = tuple(watches)
        self._ssl_context = ssl_context
        self._timeout_s = timeout_s
        self._time_ms = time_ms
        self._monotonic_ns = monotonic_ns
        self._sleep = sleep
        self._outboxes = tuple(
            Outbox(partial(self._wake, number)) for number in range(len(self._endpoints))
        )
        self._couriers: tuple[Courier, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._stop: asyncio.Event | None = None
        self._close_s: float | None = None
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        names = ", ".join(endpoint.name for endpoint in self._endpoints)
        return f"Notifier({names or 'no endpoints'})"

    def notify(self, notice: Notice) -> None:
        """Have a notice told. From any thread; waits for nothing and raises nothing."""
        if notice.kind in self._kinds:
            for outbox in self._outboxes:
                outbox.put(notice)

    @property
    def counts(self) -> Mapping[str, DeliveryCounts]:
        """What became of the notices, by endpoint."""
        pairs = zip(self._endpoints, self._couriers, strict=False)
        return MappingProxyType({endpoint.name: courier.counts for endpoint, courier in pairs})

    @property
    def folded(self) -> int:
        """Notices that were told as a number only, because too many of their kind waited."""
        return sum(outbox.folded for outbox in self._outboxes)

    @property
    def waiting(self) -> int:
        """Notices in the queues: at most 8 of each kind and endpoint."""
        return sum(len(outbox) for outbox in self._outboxes)

    def start(self) -> None:
        """Begin. Notices given before are told now."""
        if self._thread is not None or self._close_s is not None:
            raise UsageError("a notifier is started once")
        self._thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop, after at most ``timeout_s`` for what waits; what is left then is lost.

        Blocks; call it with ``asyncio.to_thread`` from a loop.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._lock:
            self._close_s = timeout_s
            loop, stop = self._loop, self._stop
            if loop is not None and stop is not None:
                loop.call_soon_threadsafe(stop.set)
        thread.join(timeout_s + 1.0)  # a daemon: should it hang, nobody waits for it
        for courier, outbox in zip(self._couriers, self._outboxes, strict=False):
            left = courier.in_hand + len(outbox)
            if left:
                courier.counts.lost += left
                _log.warning("notify_lost", extra={"endpoint": courier.name, "notices": left})

    def _run(self) -> None:
        loop = asyncio.new_event_loop()
        try:
            loop.run_until_complete(self._main(loop))
        except Exception:
            _log.exception("notify_failed")
        finally:
            with self._lock:
                self._loop = None
            loop.close()

    async def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        self._couriers = tuple(map(self._courier, self._endpoints, self._outboxes))
        stop = asyncio.Event()
        with self._lock:
            self._loop, self._stop = loop, stop
            if self._close_s is not None:
                stop.set()
        for courier in self._couriers:
            courier.wake()
        tasks = [loop.create_task(courier.run()) for courier in self._couriers]
        tasks.append(loop.create_task(self._watch()))
        await stop.wait()
        try:
            async with asyncio.timeout(self._close_s):
                for courier in self._couriers:
                    await courier.idle()
        except TimeoutError:
            pass
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(_LAST_ROUNDS):
            await asyncio.sleep(0)

    def _courier(self, endpoint: Endpoint, outbox: Outbox) -> Courier:
        return Courier(
            endpoint,
            outbox,
            ssl_context=self._ssl_context,
            timeout_s=self._timeout_s,
            unix_s=lambda: self._time_ms() / 1000,
            monotonic_ns=self._monotonic_ns,
            sleep=self._sleep,
        )

    def _wake(self, number: int) -> None:
        # Under the lock: the loop must not be closed in between.
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._couriers[number].wake)

    async def _watch(self) -> None:
        failed: set[int] = set()
        while True:
            for number, watch in enumerate(self._watches):
                try:
                    for notice in watch(self._time_ms()):
                        self.notify(notice)
                except Exception:
                    if number not in failed:  # it is asked every second
                        failed.add(number)
                        _log.exception("notify_watch_failed")
            await asyncio.sleep(_WATCH_S)
