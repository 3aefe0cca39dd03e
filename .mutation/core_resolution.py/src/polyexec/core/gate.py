"""The switch, the submitting guard and the cooldown: may a signal be acted on now?"""

import threading

from polyexec.enums import SkipReason
from polyexec.errors import InternalError

__all__ = ["Gate"]


class Gate:
    """State that every submitting thread shares. Every method is atomic.

    Parameters
    ----------
    enabled : bool
        Trading switch at start.
    cooldown_ns : int
        Least time between two executions, on the monotonic clock.
    max_in_flight : int
        Submissions that may be without an answer at the same time.
    """

    def __init__(self, *, enabled: bool, cooldown_ns: int, max_in_flight: int) -> None:
        self._lock = threading.Lock()
        self._enabled = enabled
        self._cooldown_ns = cooldown_ns
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._last_executed_ns: int | None = None

    @property
    def enabled(self) -> bool:
        """The trading switch."""
        return self._enabled

    @property
    def in_flight(self) -> int:
        """Submissions without an answer."""
        return self._in_flight

    def set_enabled(self, flag: bool) -> None:
        """Set the trading switch; no submission enters after this returned with False."""
        with self._lock:
            self._enabled = flag

    def check(self, now_ns: int) -> SkipReason | None:
        """Return why a submission may not start, without starting one."""
        with self._lock:
            return self._refusal(now_ns)

    def enter(self, now_ns: int) -> SkipReason | None:
        """Start a submission, or return why not.

        The checks are made again under the lock: what ``check`` said is no longer certain.
        """
        with self._lock:
            refusal = self._refusal(now_ns)
            if refusal is None:
                self._in_flight += 1
            return refusal

    def stamp(self, now_ns: int) -> SkipReason | None:
        """Start the cooldown for an entered submission that holds its reservation.

        Returns ``COOLDOWN_ACTIVE`` when another one stamped since (``max_in_flight`` above 1).
        """
        with self._lock:
            if self._is_cooling(now_ns):
                return SkipReason.COOLDOWN_ACTIVE
            self._last_executed_ns = now_ns
            return None

    def leave(self) -> None:
        """End a submission that entered."""
        with self._lock:
            if self._in_flight == 0:
                raise InternalError("a submission left that never entered")
            self._in_flight -= 1

    def _refusal(self, now_ns: int) -> SkipReason | None:
        if not self._enabled:
            return SkipReason.TRADING_DISABLED
        if self._in_flight >= self._max_in_flight:
            return SkipReason.ALREADY_SUBMITTING
        return SkipReason.COOLDOWN_ACTIVE if self._is_cooling(now_ns) else None

    def _is_cooling(self, now_ns: int) -> bool:
        # Another thread may have stamped after this one read the clock: with the cooldown switched
        # off that must not count as "too recent".
        last = self._last_executed_ns
        return last is not None and 0 < self._cooldown_ns > now_ns - last
