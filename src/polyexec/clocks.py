"""The machine's time."""

import time

__all__ = ["SystemClock"]


class SystemClock:
    """The machine's clocks."""

    def time_ms(self) -> int:
        """Unix time in milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """A clock that never steps, in nanoseconds."""
        return time.monotonic_ns()
