"""The switch, the places in flight and the cooldown of submissions, under one lock."""

import threading
from typing import Any, ClassVar, SupportsIndex

from polyexec._pure.checks import checked_int64, checked_range

__all__ = ["GateCore"]

_ENTERED, _DISABLED, _FULL, _COOLING = range(4)


class GateCore:
    """State that every submitting thread shares. Every method is atomic.

    A subclass says what is returned (``_reasons``: entered, switched off, full, cooling down) and
    what a broken rule raises (``_fault``).
    """

    __slots__ = ("_cooldown_ns", "_enabled", "_in_flight", "_lock", "_most", "_stamped_ns")

    _fault: ClassVar[type[Exception]] = ValueError
    _reasons: ClassVar[tuple[Any, Any, Any, Any]] = (None, 1, 2, 3)

    def __init__(
        self, *, enabled: bool, cooldown_ns: SupportsIndex, max_in_flight: SupportsIndex
    ) -> None:
        self._cooldown_ns = checked_range(cooldown_ns, 0, (1 << 63) - 1, "cooldown_ns")
        self._most = checked_range(max_in_flight, 1, (1 << 31) - 1, "max_in_flight")
        self._enabled = bool(enabled)
        self._in_flight = 0
        self._stamped_ns = -1
        self._lock = threading.Lock()

    @property
    def enabled(self) -> bool:
        """The trading switch."""
        return self._enabled

    @property
    def in_flight(self) -> int:
        """Submissions without an answer."""
        return self._in_flight

    def set_enabled(self, flag: object) -> None:
        """Set the trading switch; no submission enters after this returned with False."""
        enabled = bool(flag)
        with self._lock:
            self._enabled = enabled

    def check(self, now_ns: SupportsIndex) -> Any:
        """Return why a submission may not start, without starting one."""
        now = _clock(now_ns)
        with self._lock:
            return self._reasons[self._refusal(now)]

    def enter(self, now_ns: SupportsIndex) -> Any:
        """Start a submission, or return why not. What ``check`` said is checked again."""
        now = _clock(now_ns)
        with self._lock:
            refusal = self._refusal(now)
            if refusal == _ENTERED:
                self._in_flight += 1
            return self._reasons[refusal]

    def stamp(self, now_ns: SupportsIndex) -> Any:
        """Start the cooldown for an entered submission that holds its reservation.

        Returns the reason of the cooldown when another one stamped since.
        """
        now = _clock(now_ns)
        with self._lock:
            if self._is_cooling(now):
                return self._reasons[_COOLING]
            self._stamped_ns = now
            return self._reasons[_ENTERED]

    def leave(self) -> None:
        """End a submission that entered."""
        with self._lock:
            if self._in_flight == 0:
                raise self._fault("a submission left that never entered")
            self._in_flight -= 1

    def _refusal(self, now: int) -> int:
        if not self._enabled:
            return _DISABLED
        if self._in_flight >= self._most:
            return _FULL
        return _COOLING if self._is_cooling(now) else _ENTERED

    def _is_cooling(self, now: int) -> bool:
        # Another thread may have stamped after this one read the clock: with the cooldown switched
        # off that must not count as "too recent".
        return self._stamped_ns >= 0 and 0 < self._cooldown_ns > now - self._stamped_ns


def _clock(now_ns: SupportsIndex) -> int:
    now = checked_int64(now_ns)
    if now < 0:
        raise ValueError(f"now_ns must not be negative, not {now}")
    return now
