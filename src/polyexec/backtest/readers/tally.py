"""What every reader keeps of what it has read: order, gaps, hours, tokens."""

from collections.abc import Iterable
from typing import Final

from polyexec.backtest.readers.times import HOUR_NS, hour_name
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.errors import InputError

__all__ = ["LATE_NS", "Tally"]

LATE_NS: Final = 5_000_000_000
_NAMED: Final = 3


class Tally:
    """The order of a source, and its coverage.

    A record that is older than one before it by at most five seconds is taken where it stands, at
    the time of the one before, and counted: clocks are set and threads overtake each other. More is
    no recording in order of receipt, and is refused: it would be replayed wrongly.

    Parameters
    ----------
    truth : Truth
    is_dense : bool
        An hour of the clock without a record is missing.
    knows_gaps : bool
        The source says itself when it lost something, so a missing hour voids no book.
    """

    def __init__(self, truth: Truth, *, is_dense: bool = True, knows_gaps: bool = False) -> None:
        self.truth: Truth = truth
        self.now_ns = 0
        self.duplicates = self.gaps = self.late = self.records = 0
        self.tokens: set[str] = set()
        self.notes: list[str] = []
        self._is_dense = is_dense
        self._voids = is_dense and not knows_gaps
        self._first_ns: int | None = None
        self._latest_ns = 0
        self._hours: set[int] = set()
        self._newest_hour = -1
        self._broken_days: set[int] = set()
        self._truncated: list[str] = []

    def admit(
        self, time_ns: int, where: str, *, late_ns: int = LATE_NS, hour: int = -1
    ) -> Stamped | None:
        """Take the time of a record: :attr:`now_ns` is when it counts as received.

        ``hour`` is the hour since 1970 that it belongs to, where its file says so: a record that
        came a moment after the hour does not make the next one there.

        Returns
        -------
        Stamped or None
            The gap of a missing hour, which belongs before the record.

        Raises
        ------
        InputError
            It is too much older than the one before; names the record.
        """
        if time_ns < self.now_ns:
            if self.now_ns - time_ns > late_ns:
                problem = (
                    f"is {(self.now_ns - time_ns) // 1_000_000} ms older than the record before: "
                    "not in order of receipt, or a file that overlaps another; sort it, or leave "
                    "one out"
                )
                raise InputError(where, time_ns // 1_000_000, problem)
            self.late += 1
            self._latest_ns = max(self._latest_ns, self.now_ns - time_ns)
            time_ns = self.now_ns
        hour = time_ns // HOUR_NS if hour < 0 else hour
        hole = None if hour == self._newest_hour else self.mark_hour(hour)
        self.now_ns = time_ns
        self.records += 1
        if self._first_ns is None:
            self._first_ns = time_ns
        return hole

    def mark_hour(self, hour: int) -> Stamped | None:
        """Note that there is something of an hour; return the gap where hours before it miss."""
        last = self._newest_hour
        self._hours.add(hour)
        self._newest_hour = max(last, hour)
        if not self._voids or last < 0 or hour <= last + 1:
            return None
        return self.gap(max(self.now_ns, (last + 1) * HOUR_NS))

    def gap(self, time_ns: int, tokens: Iterable[str] = ()) -> Stamped:
        """Return a gap, counted."""
        self.gaps += 1
        self._broken_days.add(time_ns // HOUR_NS // 24)
        return Stamped(received_ns=time_ns, kind="gap", tokens=tuple(sorted(tokens)))

    def cut(self, name: str) -> None:
        """Note that a file ends in the middle."""
        self._truncated.append(name)
        self._broken_days.add(self.now_ns // HOUR_NS // 24)

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        missing: list[int] = []
        partial: list[int] = []
        if self._is_dense and self._hours:
            first, last = min(self._hours), max(self._hours)
            missing = [hour for hour in range(first, last) if hour not in self._hours]
            days = range(first // 24, last // 24 + 1)
            partial = [day for day in days if day in self._broken_days or self._count(day) < 24]
        return Coverage(
            is_partial=bool(self.gaps or missing or partial or self._truncated),
            detail="; ".join(self._words(missing, partial)),
            truth=self.truth,
            records=self.records,
            duplicates=self.duplicates,
            late=self.late,
            gaps=self.gaps,
            first_ns=self._first_ns,
            last_ns=None if self._first_ns is None else self.now_ns,
            hours=tuple(hour_name(hour) for hour in sorted(self._hours)),
            missing_hours=tuple(map(hour_name, missing)),
            partial_days=tuple(_day_name(day) for day in partial),
            tokens=tuple(sorted(self.tokens)),
            truncated=tuple(self._truncated),
        )

    def _count(self, day: int) -> int:
        return sum(hour in self._hours for hour in range(24 * day, 24 * day + 24))

    def _words(self, missing: list[int], partial: list[int]) -> list[str]:
        words = [f"{self.gaps} times without a connection or lines"] if self.gaps else []
        if missing:
            words.append(f"hours missing: {_some([hour_name(hour) for hour in missing])}")
        if partial:
            told = [f"{_day_name(day)} ({self._count(day)} of 24 hours)" for day in partial]
            words.append(f"days that are partial: {_some(told)}")
        words += [f"{name} ends in the middle" for name in self._truncated]
        if self.late:
            words.append(f"{self.late} records late, by {self._latest_ns // 1_000_000} ms at most")
        if self.duplicates:
            words.append(f"{self.duplicates} duplicates left out")
        return words + self.notes


def _day_name(day: int) -> str:
    return hour_name(24 * day)[:10]


def _some(names: list[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
