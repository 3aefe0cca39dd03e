"""The one thread that writes: batches from a bounded queue to the database, or to the spill.

An outage is no event for anybody else. While the database cannot be used, rows go to disk; when it
can be again, they are written from there. Rows may be written twice and in any order, so nothing
here has to be remembered exactly.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias

import msgspec

from polyexec.errors import StoreError
from polyexec.journal.database.breath import breathe
from polyexec.journal.database.ports import Database, RowRefusedError, UnavailableError
from polyexec.journal.database.rows import add_rows, gathered
from polyexec.journal.database.schema import Rows
from polyexec.journal.database.spill import Spill

__all__ = ["Event", "StoreCounts", "Writer"]

Event: TypeAlias = Callable[[], Iterable[Rows]]
"""Makes the rows of something that happened, part by part; called by the thread."""

_log = logging.getLogger("polyexec.store")
_LINGER_S: Final = 0.1
_BATCH: Final = 500
# Events in a record of the spill: the core is somebody else's again soon.
_SPILLED: Final = 32
_SLOWEST_RETRY_S: Final = 30.0


class StoreCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of the events that a store was told of."""

    queued: int = 0
    """Waiting in memory now."""
    written: int = 0
    """Rows that the database has taken, repeated ones included."""
    spilled: int = 0
    """Events that went to disk because the database could not be used."""
    spill_bytes: int = 0
    """On disk now."""
    dropped: int = 0
    """Events that found no room, in memory or on disk. The journal brings sent orders back."""
    refused: int = 0
    """Rows that the database does not take as they are."""
    outages: int = 0


class Writer:
    """Takes events from any thread without making it wait.

    Parameters
    ----------
    database : Database
        Open, or to be opened by the thread.
    spill : Spill
    refill : callable
        Yields rows of whatever may have been missed; asked at the start and after a drop.
    failure : str
        Why the database is not open; empty when it is.
    queue_size : int
        Events that may wait in memory.
    retry_s : float
        Until the first try after a failure; then twice as long each time, at most half a minute.
    """

    def __init__(
        self,
        database: Database,
        spill: Spill,
        refill: Callable[[], Iterable[Rows]],
        *,
        failure: str,
        queue_size: int,
        retry_s: float,
    ) -> None:
        self._database = database
        self._spill = spill
        self._refill = refill
        self._failure = failure
        self._is_up = not failure
        self._first_retry_s = self._retry_s = retry_s
        self._retry_at = 0.0
        self._queue: deque[Event] = deque()
        self._queue_size = queue_size
        lock = threading.RLock()
        self._lock = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._closing = False
        self._hurries = 0
        self._put = self._done = 0
        # How often something was missed that the journal may hold, and how often it was asked.
        self._missed, self._asked = 1, 0
        self._counts = StoreCounts(outages=1 if failure else 0)
        self._thread = threading.Thread(target=self._run, name="polyexec-store", daemon=True)
        self._thread.start()

    @property
    def counts(self) -> StoreCounts:
        """See :class:`StoreCounts`."""
        with self._lock:
            return msgspec.structs.replace(
                self._counts, queued=len(self._queue), spill_bytes=self._spill.size_bytes
            )

    @property
    def failure(self) -> str:
        """Why the database cannot be used now; empty while it can."""
        return self._failure

    def put(self, event: Event) -> None:
        """Queue an event. When too many wait, it is dropped and counted."""
        with self._lock:
            if self._closing or len(self._queue) >= self._queue_size:
                self._count(dropped=1)
                self._missed += 1
                return
            self._queue.append(event)
            self._put += 1
            if len(self._queue) == 1 or len(self._queue) == _BATCH:
                self._lock.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until what was put before is written, or spilled if that cannot be."""
        return self._wait(lambda: True, timeout_s)

    def catch_up(self, timeout_s: float) -> bool:
        """Wait until what was put before, spilled or missed is in the database."""
        return self._wait(
            lambda: self._is_up and self._spill.is_empty and self._asked == self._missed, timeout_s
        )

    def close(self) -> None:
        """Write or spill what is queued, and end. What is spilled waits for the next opening."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        self._thread.join()
        self._database.close()
        self._spill.close()

    def _wait(self, is_done: Callable[[], bool], timeout_s: float) -> bool:
        with self._lock:
            wanted = self._put
            self._hurries += 1
            self._lock.notify_all()
            try:
                return self._settled.wait_for(lambda: self._done >= wanted and is_done(), timeout_s)
            finally:
                self._hurries -= 1

    # the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            events, closing = self._take()
            try:
                self._keep(events)
                if not closing:
                    self._catch_up()
            except Exception as error:  # a bug: it must cost these rows, not all that follow
                _log.exception("store_failed")
                self._fell(repr(error))  # not again at once
            with self._lock:
                self._done += len(events)
                self._settled.notify_all()
                if closing and not self._queue:
                    return

    def _take(self) -> tuple[list[Event], bool]:
        """Wait for something to do; return what to write, and whether the end has come."""
        with self._lock:
            self._lock.wait_for(lambda: self._queue or self._closing, self._until_due())
            if self._queue:
                self._lock.wait_for(
                    lambda: self._closing or self._hurries or len(self._queue) >= _BATCH, _LINGER_S
                )
            most = _BATCH if self._is_up else _SPILLED
            events = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
            return events, self._closing

    def _until_due(self) -> float | None:
        """Return the seconds until there is something to do without news."""
        if not self._is_up:
            return max(0.0, self._retry_at - time.monotonic())
        return None if self._spill.is_empty and self._asked == self._missed else 0.0

    def _keep(self, events: list[Event]) -> None:
        rows: Rows = {}
        for event in events:
            try:
                add_rows(rows, gathered(_unhurried(event())))
            except Exception:  # the others can be kept
                _log.exception("store_row_failed")
                self._count(refused=1)
        if not rows or (self._is_up and self._wrote(rows)):
            return
        if self._spill.append(rows):
            self._count(spilled=len(events))
        else:
            self._count(dropped=len(events))
            with self._lock:
                self._missed += 1

    def _wrote(self, rows: Rows) -> bool:
        """Write rows; False: the database cannot be used."""
        try:
            try:
                self._database.write(rows)
                self._count(written=sum(map(len, rows.values())))
            except RowRefusedError:
                for row in _one_by_one(rows):
                    self._write_one(row)
        except UnavailableError as error:
            self._fell(str(error))
            return False
        self._retry_s = self._first_retry_s
        return True

    def _write_one(self, row: Rows) -> None:
        try:
            self._database.write(row)
            self._count(written=1)
        except RowRefusedError as error:
            _log.error("store_row_refused", extra={"error": str(error), "table": next(iter(row))})
            self._count(refused=1)

    def _fell(self, problem: str) -> None:
        _log.warning("store_unavailable", extra={"error": problem})
        # One that can be opened but takes nothing is still the same outage.
        if self._is_up and self._retry_s == self._first_retry_s:
            self._count(outages=1)
        self._failure = problem
        self._is_up = False
        try:
            self._database.close()
        except Exception:  # a driver's bug; the next opening makes a new connection
            _log.exception("store_not_closed")
        self._retry_at = time.monotonic() + self._retry_s
        self._retry_s = min(2 * self._retry_s, _SLOWEST_RETRY_S)

    def _catch_up(self) -> None:
        """Do one step of what an outage or the time before the start has left."""
        if not self._is_up:
            if time.monotonic() < self._retry_at:
                return
            try:
                self._database.open()
            except (UnavailableError, StoreError) as error:
                self._fell(str(error))
                return
            self._is_up, self._failure = True, ""
            _log.info("store_available")
        if not self._spill.is_empty:
            if self._wrote_all(self._spill.oldest()):
                self._spill.drop_oldest()
        elif self._asked < self._missed and not self._queue:  # what is new comes first
            missed = self._missed
            try:
                is_done = self._wrote_all(self._refill())
            except Exception:  # a bug: it costs what was missed, not what is new
                _log.exception("store_not_refilled")
                is_done = True
            if is_done:
                self._asked = missed

    def _wrote_all(self, parts: Iterable[Rows]) -> bool:
        """Write many rows; False: not all of them. The end of the process is not kept waiting."""
        return all(not self._closing and self._wrote(rows) for rows in _merged(parts))

    def _count(self, **more: int) -> None:
        with self._lock:
            counts = {name: getattr(self._counts, name) + n for name, n in more.items()}
            self._counts = msgspec.structs.replace(self._counts, **counts)


def _unhurried(parts: Iterable[Rows]) -> Iterator[Rows]:
    for part in parts:
        yield part
        breathe()


def _merged(parts: Iterable[Rows]) -> Iterator[Rows]:
    """Yield the same rows in larger parts: a transaction costs more than a row."""
    rows: Rows = {}
    for part in _unhurried(parts):
        add_rows(rows, part)
        if sum(map(len, rows.values())) >= _BATCH:
            yield rows
            rows = {}
    if rows:
        yield rows


def _one_by_one(rows: Rows) -> Iterator[Rows]:
    for name, values in rows.items():
        for row in values:
            yield {name: [row]}
