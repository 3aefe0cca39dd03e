"""The exchange's clock, estimated from what it says and when. No I/O.

Requests carry the time in whole seconds and the exchange compares them with its own clock. One
answer says that the clock read second S between our sending and receiving, which bounds the
difference of the clocks on both sides; the bounds of several answers together are narrow.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from polyexec.core.ports import Answer

__all__ = ["ServerClock"]

log = logging.getLogger("polyexec.clob")

_SAMPLES: Final = 32
_MAX_AGE_S: Final = 900.0
_MAX_ROUND_TRIP_S: Final = 5.0
_DRIFT: Final = 1e-4  # a bad quartz
_STEP_S: Final = 0.25
_ALARM_S: Final = 1.0
# A proxy's Date is the proxy's clock, not the exchange's.
_DATE_SLACK_S: Final = 0.25


class ServerClock:
    """How far the exchange's clock is from ours. May be used from any thread.

    Parameters
    ----------
    unix_s : callable
        Our own unix time in seconds; a person or NTP may step it.
    steady_s : callable
        Seconds of a clock that never steps: it tells a step of the other.

    Notes
    -----
    The exchange's whole seconds leave a second of doubt per answer. Answers at different parts of
    the second leave less: the bounds are intersected, and widened with age by 0.1 ms per second.
    Of what remains, :attr:`offset_s` is the value next to zero: our own clock is corrected by what
    is proven, no more. When our clock steps, everything learnt before is dropped.
    """

    def __init__(
        self,
        *,
        unix_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unix_s = unix_s
        self._steady_s = steady_s
        self._lock = threading.Lock()
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=_SAMPLES)
        self._bounds: tuple[float, float] | None = None
        self._base_s = 0.0  # unix minus steady time when the bounds were learnt
        self._offset_s = 0.0
        self._alarm = False

    def __repr__(self) -> str:
        return f"ServerClock(offset={self.offset_s:+.3f} s, bounds={self._bounds})"

    @property
    def bounds_s(self) -> tuple[float, float] | None:
        """Least and greatest that the exchange's clock can be ahead of ours; None: not known."""
        return self._bounds

    @property
    def offset_s(self) -> float:
        """Seconds to add to our clock; 0 while nothing is proven to be wrong with it."""
        offset = self._offset_s
        if offset and abs(self._unix_s() - self._steady_s() - self._base_s) > _STEP_S:
            return 0.0  # our clock was set since: what was learnt of it is void
        return offset

    @property
    def is_off(self) -> bool:
        """Our clock is proven to be more than a second wrong: set it."""
        return self._alarm

    def now_s(self) -> float:
        """Return the exchange's unix time in seconds, for the timestamps of requests."""
        return self._unix_s() + self.offset_s

    def observe(self, answer: Answer, sent_s: float, received_s: float) -> None:
        """Learn from an answer to ``GET /time``, or from the date of any other.

        Parameters
        ----------
        answer : Answer
        sent_s, received_s : float
            When it was asked and answered, by ``unix_s``.
        """
        body = answer.body.strip()
        if answer.status == 200 and body.isdigit() and len(body) <= 12:
            self.add(int(body), sent_s, received_s)
            return
        date = _date_s(answer.headers)
        if date is not None:
            self.add(date, sent_s, received_s, slack_s=_DATE_SLACK_S)

    def add(self, server_s: int, sent_s: float, received_s: float, *, slack_s: float = 0.0) -> None:
        """Learn that the exchange's clock showed ``server_s`` between these two of our times."""
        if not 0 <= received_s - sent_s <= _MAX_ROUND_TRIP_S:
            return  # our clock stepped meanwhile, or the answer says too little
        low = server_s - received_s - slack_s
        high = server_s + 1 - sent_s + slack_s
        now, base = self._steady_s(), self._unix_s() - self._steady_s()
        with self._lock:
            if abs(base - self._base_s) > _STEP_S:
                self._samples.clear()
            self._base_s = base
            self._samples.append((now, low, high))
            self._bounds = bounds = self._intersect(now)
            self._offset_s = min(max(bounds[0], 0.0), bounds[1])
            was, self._alarm = self._alarm, abs(self._offset_s) > _ALARM_S
            offset = self._offset_s
        if self._alarm and not was:
            log.error("clock_off", extra={"offset_s": round(offset, 3)})
        elif was and not self._alarm:
            log.info("clock_right", extra={"offset_s": round(offset, 3)})

    def _intersect(self, now: float) -> tuple[float, float]:
        """Return what the newest samples agree on; older ones that contradict are forgotten."""
        low, high = float("-inf"), float("inf")
        kept = 0
        for at, sample_low, sample_high in reversed(self._samples):
            spread = (now - at) * _DRIFT
            narrower = max(low, sample_low - spread), min(high, sample_high + spread)
            if now - at > _MAX_AGE_S or narrower[0] > narrower[1]:
                break
            low, high = narrower
            kept += 1
        while len(self._samples) > kept:
            self._samples.popleft()
        return low, high


def _date_s(headers: Mapping[str, str]) -> int | None:
    text = headers.get("date")
    # An answer out of a cache has the date of when it was put there.
    if text is None or headers.get("age", "0") != "0":
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, TypeError, OverflowError):
        return None
