"""What nobody calls back about: halts, connections that are lost again and again, the day's sum."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from polyexec.enums import NoticeKind, SkipReason
from polyexec.logs import event_fields
from polyexec.numbers import from_micro
from polyexec.observers.notices import Notice, outcome_of, skip_words
from polyexec.results import TradeResult

__all__ = ["AlarmHandler", "DailySummary", "HaltWatch", "StormWatch", "TradingState"]

STORM_LOSSES: Final = 5
STORM_WINDOW_S: Final = 300

_DAY_MS: Final = 86_400_000


class TradingState(msgspec.Struct, frozen=True, kw_only=True):
    """What may be sent, as far as we decide it."""

    enabled: bool
    """The trading switch."""
    halted: str | None
    """Why nothing is sent; None: something may be."""
    reduce_only: bool


class HaltWatch:
    """Tells when a halt, reduce-only or the trading switch changed.

    Parameters
    ----------
    read : callable
        Returns the state. Looked at once a second: what lasts shorter may be missed.
    """

    def __init__(self, read: Callable[[], TradingState]) -> None:
        self._read = read
        self._known = read()

    def __call__(self, now_ms: int) -> Iterable[Notice]:
        """Return what changed since the last look."""
        state, known = self._read(), self._known
        self._known = state
        if state.halted != known.halted:
            reason = () if state.halted is None else (("reason", state.halted),)
            yield _halt("Resumed" if state.halted is None else "Halted", now_ms, reason)
        if state.reduce_only != known.reduce_only:
            word = "on: only legs that give up inventory" if state.reduce_only else "off"
            yield _halt(f"Reduce-only is {word}", now_ms)
        if state.enabled != known.enabled:
            yield _halt(f"Trading is switched {'on' if state.enabled else 'off'}", now_ms)


def _halt(title: str, now_ms: int, fields: tuple[tuple[str, str], ...] = ()) -> Notice:
    return Notice(kind=NoticeKind.HALT, title=title, at_ms=now_ms, fields=fields)


class StormWatch:
    """Tells when a connection was lost 5 times within 5 minutes, once, and when it is calm again.

    Parameters
    ----------
    read : callable
        Returns, by connection, how often it was lost or could not be made. The figures only grow.
    """

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read
        self._last: dict[str, int] = {}
        self._losses: dict[str, deque[int]] = {}
        self._storms: set[str] = set()

    def __call__(self, now_ms: int) -> Iterable[Notice]:
        """Return the storms that began and ended since the last look."""
        for name, count in self._read().items():
            fresh = count - self._last.get(name, count)
            self._last[name] = count
            losses = self._losses.setdefault(name, deque(maxlen=STORM_LOSSES))
            losses.extend([now_ms] * min(fresh, STORM_LOSSES))
            while losses and now_ms - losses[0] > STORM_WINDOW_S * 1000:
                losses.popleft()
            if len(losses) == STORM_LOSSES and name not in self._storms:
                self._storms.add(name)
                yield _storm(f"Connection is lost again and again: {name}", now_ms, count)
            elif not losses and name in self._storms:
                self._storms.discard(name)
                yield _storm(f"Connection holds again: {name}", now_ms, count)


def _storm(title: str, now_ms: int, count: int) -> Notice:
    fields = (("losses since start", str(count)),)
    return Notice(kind=NoticeKind.RECONNECTS, title=title, at_ms=now_ms, fields=fields)


class DailySummary:
    """Sums up results, and tells the sum once a day.

    Parameters
    ----------
    minute : int
        Of the UTC day, 0 to 1439.
    now_ms : int
        Unix milliseconds: the first summary is due at the next such minute.
    state : callable
        Returns what else to tell: names and values.
    """

    def __init__(
        self, minute: int, now_ms: int, state: Callable[[], Mapping[str, str]] = dict
    ) -> None:
        self._offset_ms = minute * 60_000
        self._state = state
        self._lock = threading.Lock()
        self._day = self._day_of(now_ms)
        self._since_ms = now_ms
        self._begin()

    def add(self, result: TradeResult) -> None:
        """Count a result. From any thread."""
        kind = outcome_of(result)
        with self._lock:
            if kind is None:
                if result.skipped is not None:
                    self._skips[result.skipped] += 1
                return
            self._outcomes[kind] += 1
            self._cost_micro += result.cost_micro
            self._pnl_micro += result.expected_pnl_micro

    def __call__(self, now_ms: int) -> Iterable[Notice]:
        """Return the summary when its time has come; after days without a look it is one."""
        if self._day_of(now_ms) <= self._day:
            return ()
        self._day = self._day_of(now_ms)
        return (self.summary(now_ms),)

    def summary(self, now_ms: int) -> Notice:
        """Return the sum so far, and begin anew."""
        with self._lock:
            outcomes, skips = self._outcomes, self._skips
            cost, pnl, since_ms = self._cost_micro, self._pnl_micro, self._since_ms
            self._since_ms = now_ms
            self._begin()
        hours = (now_ms - since_ms) / 3_600_000
        fields = [
            ("signals", str(outcomes.total() + skips.total())),
            ("executed", str(outcomes[NoticeKind.SUCCESS])),
            ("not executed", str(outcomes[NoticeKind.FAILURE])),
            ("unknown when answered", str(outcomes[NoticeKind.UNKNOWN])),
            ("skipped", skip_words(skips) or "0"),
            ("cost", f"{from_micro(cost)} dollars"),
            ("expected pnl", f"{from_micro(pnl)} dollars"),
        ]
        return Notice(
            kind=NoticeKind.SUMMARY,
            title=f"Summary of {hours:.1f} hours",
            at_ms=now_ms,
            fields=(*fields, *self._state().items()),
        )

    def _begin(self) -> None:
        self._outcomes: Counter[NoticeKind] = Counter()
        self._skips: Counter[SkipReason] = Counter()
        self._cost_micro = self._pnl_micro = 0

    def _day_of(self, now_ms: int) -> int:
        return (now_ms - self._offset_ms) // _DAY_MS


class AlarmHandler(logging.Handler):
    """Turns what polyexec logs as an error into notices.

    Parameters
    ----------
    notify : callable
        Takes each notice; must not log errors itself.
    """

    def __init__(self, notify: Callable[[Notice], object]) -> None:
        super().__init__(logging.ERROR)
        self._notify = notify

    def emit(self, record: logging.LogRecord) -> None:
        """Hand a record on. The text of an exception is left out: it may be anything."""
        if record.name == "polyexec.notify":
            return  # what cannot be told cannot tell of it
        try:
            fields = [("logger", record.name)]
            fields += [(name, str(value)) for name, value in event_fields(record).items()]
            if record.exc_info and record.exc_info[0] is not None:
                fields.append(("exception", record.exc_info[0].__name__))
            notice = Notice(
                kind=NoticeKind.ALARM,
                title=f"Error logged: {record.getMessage()}",
                at_ms=int(record.created * 1000),
                fields=tuple(fields),
            )
            self._notify(notice)
        except Exception:
            self.handleError(record)
