"""What an exchange does later: on the loop that runs it, and not after it has closed."""

import asyncio
import heapq
from collections.abc import Callable

from polyexec.errors import UsageError

__all__ = ["Timers"]


class Timers:
    """Timers of one exchange or venue; what is due at the same time happens in the order given.

    The loop itself does not promise that.
    """

    def __init__(self) -> None:
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._handles: set[asyncio.TimerHandle] = set()
        self._count = 0

    def after_us(self, delay_us: int, event: Callable[[], object]) -> None:
        """Call ``event`` in so many microseconds of the running loop.

        Raises
        ------
        UsageError
            No loop runs here.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(
                "an exchange with delays needs a running event loop: use it from a coroutine"
            ) from None

        def happen() -> None:
            self._handles.discard(handle)
            _, _, first = heapq.heappop(self._events)  # as many events as timers
            first()

        due_s = loop.time() + delay_us / 1e6
        self._count += 1
        heapq.heappush(self._events, (due_s, self._count, event))
        handle = loop.call_at(due_s, happen)
        self._handles.add(handle)

    def cancel(self) -> None:
        """Let nothing of it happen any more."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
        self._events.clear()
