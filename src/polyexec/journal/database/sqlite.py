"""SQLite: one file, one connection that writes, and readers that it does not disturb (WAL)."""

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from polyexec.errors import StoreError
from polyexec.journal.database.ports import (
    RowRefusedError,
    UnavailableError,
    check_version,
    missing_migrations,
    statements_of,
)
from polyexec.journal.database.schema import VERSIONS_TABLE, Rows

__all__ = ["SqliteDatabase"]

_BUSY_S: Final = 5.0
_OLDEST: Final = (3, 24)  # the first that knows ON CONFLICT
_REFUSED: Final = (
    *(sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError),
    OverflowError,
)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SqliteDatabase:
    """A file. Made with its folder, readable by its owner only.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode = 0

    def open(self) -> None:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        if sqlite3.sqlite_version_info < _OLDEST:
            raise StoreError(str(self._path), "needs SQLite 3.24 or newer")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._inode = self._path.stat().st_ino
            self._connection = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            # NORMAL: a killed process loses nothing; what a power failure takes, the journal has.
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL"):
                self._connection.execute(f"PRAGMA {pragma}")
            self._migrate(self._connection)
        except OSError as error:
            raise StoreError(str(self._path), f"cannot be opened: {error}") from error
        except sqlite3.Error as error:
            self.close()
            if _code(error) in _BUSY:
                raise UnavailableError(str(error)) from error
            raise StoreError(str(self._path), f"cannot be opened: {error}") from error
        except BaseException:
            self.close()
            raise

    def write(self, rows: Rows) -> None:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        connection = self._connection
        if connection is None:
            raise UnavailableError("is not open")
        try:
            if self._path.stat().st_ino != self._inode:
                raise UnavailableError("the file was replaced")  # rows would go to the old one
            connection.execute("BEGIN IMMEDIATE")
            for statement, values in statements_of(rows):
                connection.executemany(statement, values)
            connection.execute("COMMIT")
        except _REFUSED as error:
            self._roll_back()
            raise RowRefusedError(str(error)) from error
        except (sqlite3.Error, OSError) as error:
            self._roll_back()
            raise UnavailableError(str(error)) from error

    def select(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        if not self._path.exists():
            raise UnavailableError("there is no such file")
        uri = f"{self._path.resolve().as_uri()}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(uri, timeout=_BUSY_S, uri=True)) as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise UnavailableError(str(error)) from error

    def close(self) -> None:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # another process may be at it
        connection.execute(VERSIONS_TABLE)
        ((found,),) = connection.execute("SELECT max(version) FROM polyexec_schema").fetchall()
        problem = check_version(found or 0)
        if problem:
            connection.execute("ROLLBACK")
            raise StoreError(str(self._path), problem)
        for number, statements in missing_migrations(found or 0):
            for statement in statements:
                connection.execute(statement)
            now_ms = time.time_ns() // 1_000_000
            connection.execute("INSERT INTO polyexec_schema VALUES (?, ?)", (number, now_ms))
        connection.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")


def _code(error: sqlite3.Error) -> int:
    """Return the primary code: the lower byte of what SQLite tells."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
