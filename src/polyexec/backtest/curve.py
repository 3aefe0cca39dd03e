"""The equity curve of a replay: a bounded number of points, evenly in time, however long it is."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from polyexec.errors import InputError

__all__ = ["Curve", "CurvePoint", "added", "drawdown_micro"]

_FIRST_STEP_MS: Final = 1_000
_MOST_POINTS: Final = 512


class CurvePoint(msgspec.Struct, frozen=True, kw_only=True):
    """The account at one moment; micro-dollars, time in unix milliseconds."""

    time_ms: int
    cash_micro: int
    """Collateral; what open orders tie up is still in it."""
    locked_micro: int
    """What the open positions have cost, fees in; they are open until their market resolves."""
    value_micro: int
    """Positions at the recorded best bids, whatever depth is behind them; those that have resolved,
    what they pay. A position without a bid is worth nothing."""
    exposure_micro: int
    """What the executor counts as tied up in groups that are not closed."""

    @property
    def equity_micro(self) -> int:
        """Collateral and positions at the bids; ``cash_micro`` alone is the pessimistic figure."""
        return self.cash_micro + self.value_micro


class Curve:
    """Keeps at most ``limit`` points; the step doubles whenever they are full.

    Parameters
    ----------
    read : callable
        Takes unix milliseconds and returns the point; called for kept points only.
    limit : int
        An even number of at least 4.
    """

    def __init__(self, read: Callable[[int], CurvePoint], *, limit: int = _MOST_POINTS) -> None:
        if limit < 4 or limit % 2:
            raise InputError("limit", limit, "must be an even number of at least 4")
        self._read = read
        self._limit = limit
        self._points: list[CurvePoint] = []
        self._step_ms = _FIRST_STEP_MS
        self._first_ms = 0
        self.due_ms = 0
        """The next point is taken at the first event from then on."""

    def sample(self, now_ms: int) -> None:
        """Take a point when one is due; cheap otherwise."""
        if now_ms < self.due_ms:
            return
        if not self._points:
            self._first_ms = now_ms
        self._points.append(self._read(now_ms))
        if len(self._points) == self._limit:
            del self._points[1::2]
            self._step_ms *= 2
        passed = (now_ms - self._first_ms) // self._step_ms
        self.due_ms = self._first_ms + (passed + 1) * self._step_ms

    def finish(self, now_ms: int) -> tuple[CurvePoint, ...]:
        """Return the points; the last one is of now."""
        if self._points and self._points[-1].time_ms >= now_ms:
            self._points.pop()
        return (*self._points, self._read(now_ms))


def drawdown_micro(values: Iterable[int]) -> int:
    """Return the deepest fall from a peak to what came after it; 0 when it only rose."""
    deepest = 0
    peak: int | None = None
    for value in values:
        peak = value if peak is None else max(peak, value)
        deepest = max(deepest, peak - value)
    return deepest


def added(
    curves: Sequence[Sequence[CurvePoint]], *, limit: int = _MOST_POINTS
) -> tuple[CurvePoint, ...]:
    """Return the sum of the curves of separate accounts, at most ``limit`` points of it.

    Before its first point an account counts with what it began with, after its last as that was.
    """
    curves = [curve for curve in curves if curve]
    times = sorted({point.time_ms for curve in curves for point in curve})
    if len(times) > limit:
        last = len(times) - 1
        times = [times[number * last // (limit - 1)] for number in range(limit)]
    nexts = [0] * len(curves)
    points = []
    for time_ms in times:
        for which, curve in enumerate(curves):
            while nexts[which] < len(curve) and curve[nexts[which]].time_ms <= time_ms:
                nexts[which] += 1
        at = [curve[max(0, upto - 1)] for curve, upto in zip(curves, nexts, strict=True)]
        points.append(
            CurvePoint(
                time_ms=time_ms,
                cash_micro=sum(point.cash_micro for point in at),
                locked_micro=sum(point.locked_micro for point in at),
                value_micro=sum(point.value_micro for point in at),
                exposure_micro=sum(point.exposure_micro for point in at),
            )
        )
    return tuple(points)
