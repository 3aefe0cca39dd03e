"""Callbacks that cannot hurt the path: bounded queues, and threads of their own."""

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, TypeVar

__all__ = ["Publisher"]

_log = logging.getLogger("polyexec.callbacks")
_QUEUE_SIZE: Final = 4096

EventT = TypeVar("EventT")


class Publisher(Generic[EventT]):
    """Hands events to subscribers without waiting for any of them.

    A plain function runs in a thread of its own, a coroutine function on the executor's loop. A
    subscriber that raises is logged; one that is slow delays only itself, and loses its oldest
    events (counted in ``dropped``) once 4096 wait. Those that call themselves quick share one queue
    and one thread: one is woken for all of them.

    Parameters
    ----------
    name : str
        For thread names and log lines.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._subscribers: tuple[_Subscriber[EventT], ...] = ()
        self._quick: _Subscriber[EventT] | None = None
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dropped_before = 0

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Name the loop that runs coroutine callbacks."""
        self._loop = loop

    @property
    def dropped(self) -> int:
        """Events that subscribers were too slow for."""
        return self._dropped_before + sum(s.dropped for s in self._subscribers)

    def subscribe(
        self, callback: Callable[[EventT], object], *, is_quick: bool = False
    ) -> Callable[[], None]:
        """Add a subscriber; the function returned removes it (again: no effect).

        A quick one takes microseconds and waits for nothing: it puts the event into a queue of its
        own, or counts it.
        """
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {type(callback).__name__}")
        call = partial(callback)  # itself alone: one function may subscribe twice
        with self._lock:
            subscriber = self._quick if is_quick else None
            if subscriber is None:
                subscriber = _Subscriber(self._name, self)
                self._subscribers = (*self._subscribers, subscriber)
                if is_quick:
                    self._quick = subscriber
            subscriber.calls = (*subscriber.calls, call)

        def unsubscribe() -> None:
            with self._lock:
                if subscriber not in self._subscribers:
                    return
                left = tuple(each for each in subscriber.calls if each is not call)
                if left:
                    subscriber.calls = left
                    return
                self._subscribers = tuple(s for s in self._subscribers if s is not subscriber)
                self._dropped_before += subscriber.dropped
                if self._quick is subscriber:
                    self._quick = None
            subscriber.stop()

        return unsubscribe

    def publish(self, event: EventT) -> None:
        """Queue an event for every subscriber and return at once."""
        for subscriber in self._subscribers:
            subscriber.put(event)

    def flush(self, timeout_s: float) -> None:
        """Wait until each subscriber has seen what is queued, for at most ``timeout_s`` each."""
        for subscriber in self._subscribers:
            subscriber.flush(timeout_s)

    def close(self, timeout_s: float) -> None:
        """Let the subscribers finish what is queued, for at most ``timeout_s`` each."""
        for subscriber in self._subscribers:
            subscriber.stop()
        for subscriber in self._subscribers:
            subscriber.join(timeout_s)

    def start_coroutine(self, coroutine: Any) -> None:
        """Run a coroutine callback on the loop, and wait for it in the subscriber's thread."""
        loop = self._loop
        if loop is None or loop.is_closed():
            coroutine.close()
            _log.warning("callback_without_loop", extra={"event_kind": self._name})
            return
        asyncio.run_coroutine_threadsafe(coroutine, loop).result()


class _Subscriber(Generic[EventT]):
    def __init__(self, name: str, owner: Publisher[EventT]) -> None:
        self._name = name
        self.calls: tuple[Callable[[EventT], object], ...] = ()
        self._owner = owner
        self._events: deque[EventT] = deque()
        lock = threading.RLock()
        self._wakeup = threading.Condition(lock)
        self._idle = threading.Condition(lock)  # its own: a wake-up is for the thread alone
        self._stopping = False
        self._is_busy = False
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def put(self, event: EventT) -> None:
        with self._wakeup:
            if self._stopping:
                return
            if len(self._events) >= _QUEUE_SIZE:
                self._events.popleft()
                self.dropped += 1
            self._events.append(event)
            if self._thread is None:
                # Started with the first event: subscribing alone costs no thread.
                self._thread = threading.Thread(
                    target=self._run, name=f"polyexec-{self._name}", daemon=True
                )
                self._thread.start()
            self._wakeup.notify()

    def flush(self, timeout_s: float) -> None:
        if self._thread is not threading.current_thread():
            with self._idle:
                self._idle.wait_for(lambda: not (self._events or self._is_busy), timeout_s)

    def stop(self) -> None:
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()

    def join(self, timeout_s: float) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._wakeup:
                self._is_busy = False
                if not self._events:
                    self._idle.notify_all()
                while not self._events:
                    if self._stopping:
                        return
                    self._wakeup.wait()
                event = self._events.popleft()
                self._is_busy = True
            for call in self.calls:
                try:
                    returned = call(event)
                    if inspect.iscoroutine(returned):
                        self._owner.start_coroutine(returned)
                except BaseException:  # sys.exit() in one must not end the subscription unheard
                    _log.exception("callback_failed", extra={"event_kind": self._name})
