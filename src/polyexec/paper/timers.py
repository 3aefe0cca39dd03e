"""What an exchange does later: on the loop that runs it, and not after it has closed."""

import asyncio
from collections.abc import Callable

from polyexec.errors import UsageError

__all__ = ["Timers"]


class Timers:
    """Timers of one exchange."""

    def __init__(self) -> None:
        self._handles: set[asyncio.TimerHandle] = set()

    def after(self, delay_ms: int, event: Callable[[], object]) -> None:
        """Call ``event`` in so many milliseconds of the running loop.

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
            event()

        handle = loop.call_later(delay_ms / 1000, happen)
        self._handles.add(handle)

    def cancel(self) -> None:
        """Let nothing of it happen any more."""
        for handle in self._handles:
            handle.cancel()
        self._handles.clear()
