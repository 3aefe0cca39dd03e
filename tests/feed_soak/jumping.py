"""A loop whose clock jumps over the time in which nothing happens; its sockets are real."""

import asyncio
import os
import selectors
import time
from typing import Any

_LOOKS = 3


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Looks for bytes; where there are none, the time until the next timer passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Return what is ready."""
        found: list[Any] = super().select(0)
        if found or timeout == 0:
            return found
        # What was sent over loopback is there for the other end at once. Look again all the same,
        # and give other threads a moment: a late byte would only be a slow network.
        for _ in range(_LOOKS):
            os.sched_yield()
            found = super().select(0)
            if found:
                return found
        if timeout is None:
            return super().select(0.05)
        self.skipped_s += timeout
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """Counts the time that was jumped over as passed."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return seconds, real and jumped."""
        return time.monotonic() + self._jumping.skipped_s
