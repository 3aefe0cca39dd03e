"""The trade store: takes results in and makes nobody wait, whatever becomes of the database."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from polyexec.core.tracking import OrderUpdate
from polyexec.errors import UsageError
from polyexec.journal.database.location import Location, parse_location
from polyexec.journal.database.ports import UnavailableError, open_database
from polyexec.journal.database.reading import TradeReader
from polyexec.journal.database.refill import journal_rows
from polyexec.journal.database.rows import FROM_RESULT, rows_of_order, rows_of_result
from polyexec.journal.database.schema import Rows
from polyexec.journal.database.spill import MAX_BYTES, Spill
from polyexec.journal.database.writing import StoreCounts, Writer
from polyexec.results import TradeResult
from polyexec.signals import Signal

__all__ = ["TradeStore"]

_log = logging.getLogger("polyexec.store")
_QUEUE_SIZE: Final = 10_000
_RETRY_S: Final = 1.0


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class TradeStore:
    """Keeps every result, its orders and their fills in a database, off the path of trading.

    Use as ``async with TradeStore(...) as store`` or ``with``. A database that cannot be reached is
    no error: rows wait on disk until it can.

    Parameters
    ----------
    where : Location, str or Path
        The database; a text is read by
        :func:`~polyexec.journal.database.location.parse_location`.
    account : str
        Whose trades these are; a column of every row.
    spill_folder : Path or None
        Where rows wait during an outage, of this account alone. ``None``: beside the SQLite file.
    journal : Path or None
        The ``journal.wal`` of the account: sent orders that the store missed come from there.
    now_ms : callable
        Returns unix milliseconds; the machine's clock by default.
    queue_size : int
        Events that may wait in memory; the rest is dropped and counted.
    max_spill_bytes : int
        What may wait on disk.
    retry_s : float
        Until the database is tried again after a failure; doubled up to 30 s.

    Raises
    ------
    StoreError
        When it is opened: wrong password or database, tables of a newer version, a file that is no
        database, a disk that refuses, another process that stores for this account.
    ConfigError
        The location, or a driver that is not installed.
    """

    def __init__(
        self,
        where: Location | str | Path,
        *,
        account: str = "",
        spill_folder: Path | None = None,
        journal: Path | None = None,
        now_ms: Callable[[], int] = _wall_ms,
        queue_size: int = _QUEUE_SIZE,
        max_spill_bytes: int = MAX_BYTES,
        retry_s: float = _RETRY_S,
    ) -> None:
        self._location = where if isinstance(where, Location) else parse_location(where, "where")
        path = self._location.path
        if spill_folder is None and path is None:
            raise UsageError("spill_folder: is needed for a store on a server")
        self._spill_folder = spill_folder or Path(f"{path}.spill", account or "default")
        self._account = account
        self._journal = journal
        self._now_ms = now_ms
        self._sizes = (queue_size, max_spill_bytes)
        self._retry_s = retry_s
        self._reader = TradeReader(self._location)
        self._writer: Writer | None = None
        self._run = secrets.token_hex(8)
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._revision = FROM_RESULT

    # taking in --------------------------------------------------------------------------------

    def put_result(self, result: TradeResult) -> None:
        """Take in the answer to a signal, skipped ones included."""
        self._put(result, FROM_RESULT)

    def put_signal(self, signal: Signal) -> None:
        """Take in a signal that nobody submits, as of an engine without an executor."""
        now_ms = self._now_ms()
        self.put_result(TradeResult(signal=signal, detail="not submitted", finished_ms=now_ms))

    def put_group(self, result: TradeResult) -> None:
        """Take in a result that has changed after it was delivered."""
        self._put(result, self._next_revision())

    def put_order(self, update: OrderUpdate) -> None:
        """Take in what became known of an order."""
        revision, now_ms = self._next_revision(), self._now_ms()
        account = self._account
        self._own_writer.put(
            lambda: rows_of_order(update, account=account, revision=revision, now_ms=now_ms)
        )

    def _put(self, result: TradeResult, revision: int) -> None:
        make = partial(
            rows_of_result,
            result,
            # Nothing else names a signal that was not sent, and two of them may be equal.
            trade_id=f"unsent-{self._run}-{next(self._numbers)}",
            account=self._account,
            revision=revision,
            now_ms=self._now_ms(),
        )
        self._own_writer.put(make)

    def _next_revision(self) -> int:
        """Return the time in microseconds, always later than the last."""
        with self._lock:
            self._revision = max(self._revision + 1, 1000 * self._now_ms())
            return self._revision

    # giving back ------------------------------------------------------------------------------

    @property
    def reader(self) -> TradeReader:
        """Asks the same database, on connections of its own."""
        return self._reader

    @property
    def counts(self) -> StoreCounts:
        """What has become of what the store was told."""
        return self._own_writer.counts

    @property
    def failure(self) -> str:
        """Why the database cannot be used now; empty while it can."""
        return self._own_writer.failure

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until what was put before is in the database, or on disk if that cannot be."""
        return self._own_writer.flush(timeout_s)

    def catch_up(self, timeout_s: float = 60.0) -> bool:
        """Wait until everything, what an outage left included, is in the database."""
        return self._own_writer.catch_up(timeout_s)

    # lifecycle --------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the database and start to write; see the class for what may be raised."""
        if self._writer is not None:
            raise UsageError("a trade store is opened once")
        queue_size, max_spill_bytes = self._sizes
        database = open_database(self._location)
        spill = Spill(self._spill_folder, max_bytes=max_spill_bytes)
        failure = ""
        try:
            try:
                database.open()
            except UnavailableError as error:
                failure = str(error) or "not available"
                _log.warning("store_unavailable", extra={"error": failure})
            self._writer = Writer(
                database,
                spill,
                self._missed,
                failure=failure,
                queue_size=queue_size,
                retry_s=self._retry_s,
            )
        except BaseException:
            spill.close()
            raise

    def close(self) -> None:
        """Write or spill what is queued, and disconnect. Again: no effect."""
        if self._writer is not None:
            self._writer.close()
        self._reader.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.open)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        state = "not open" if self._writer is None else self.failure or "well"
        return f"TradeStore({str(self._location)!r}, {state})"

    @property
    def _own_writer(self) -> Writer:
        if self._writer is None:
            raise UsageError("the trade store is not open: use `async with TradeStore(...)`")
        return self._writer

    def _missed(self) -> Iterable[Rows]:
        return () if self._journal is None else journal_rows(self._journal, self._account)
