"""Signals that wait for their turn."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable

from polyexec.signals import Signal

__all__ = ["SignalQueue"]

_log = logging.getLogger("polyexec.executor")


class SignalQueue:
    """Takes signals from any thread and hands them on, each after the answer to the one before.

    Parameters
    ----------
    most : int
        So many may wait; one more is dropped.

    Attributes
    ----------
    dropped : int
        Signals for which there was no room.
    """

    def __init__(self, most: int) -> None:
        self.dropped = 0
        self._most = most
        self._lock = threading.Lock()
        self._signals: deque[Signal] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._any = asyncio.Event()

    def __len__(self) -> int:
        return len(self._signals)

    def start(self, submit: Callable[[Signal], Awaitable[object]]) -> asyncio.Task[None]:
        """Hand on to ``submit`` on the running loop; whoever cancels the task stops it."""
        self._loop = asyncio.get_running_loop()
        return asyncio.create_task(self._hand_on(submit))

    def put(self, signal: Signal) -> bool:
        """Queue a signal; False: it was dropped."""
        with self._lock:
            if len(self._signals) >= self._most:
                self.dropped += 1
                return False
            self._signals.append(signal)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._any.set)
        return True

    def take_all(self) -> list[Signal]:
        """Empty the queue."""
        with self._lock:
            left = list(self._signals)
            self._signals.clear()
        return left

    async def _hand_on(self, submit: Callable[[Signal], Awaitable[object]]) -> None:
        while True:
            await self._any.wait()
            self._any.clear()
            while (signal := self._next()) is not None:
                try:
                    await submit(signal)
                except Exception:  # whatever it was, the next signal must have its turn
                    _log.exception("queued_signal_failed")

    def _next(self) -> Signal | None:
        with self._lock:
            return self._signals.popleft() if self._signals else None
