"""What the store needs of a database, and the two ways in which one fails."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

from polyexec.journal.database.location import Location
from polyexec.journal.database.schema import (
    FORGET_FOLLOW_UP,
    MIGRATIONS,
    ORDERS,
    TABLES,
    TRADES,
    VERSION,
    Rows,
)

__all__ = [
    "Database",
    "RowRefusedError",
    "UnavailableError",
    "check_version",
    "missing_migrations",
    "open_database",
    "statements_of",
]


# Rows whose trade the journal may have taken for one of its own.
_SUSPECTS: Final = ((TRADES, "source", "journal"), (ORDERS, "purpose", "follow_up"))


class UnavailableError(Exception):
    """The database cannot be used now; the same rows can be written later."""


class RowRefusedError(Exception):
    """The database takes none of these rows as they are, however often they are sent."""


class Database(Protocol):
    """A connection to a database. Used by one thread at a time, which waits."""

    def open(self) -> None:
        """Connect, and bring the tables to the version of this library.

        Raises
        ------
        StoreError
            It cannot be used before somebody changes something.
        UnavailableError
            It may be there later.
        """
        ...

    def write(self, rows: Rows) -> None:
        """Write all rows in one transaction.

        Raises
        ------
        UnavailableError, RowRefusedError
            Nothing was written, or the answer got lost: write them again.
        """
        ...

    def select(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows of a query on a connection of its own.

        Raises
        ------
        UnavailableError
        """
        ...

    def close(self) -> None:
        """Disconnect. May be called in any state."""
        ...


def open_database(location: Location) -> Database:
    """Return the database of a location, not yet connected.

    Raises
    ------
    ConfigError
        Its driver is not installed.
    """
    if location.path is not None:
        from polyexec.journal.database.sqlite import SqliteDatabase  # noqa: PLC0415

        return SqliteDatabase(location.path)
    from polyexec.journal.database.postgres import PostgresDatabase  # noqa: PLC0415  an extra

    return PostgresDatabase(location)


def statements_of(rows: Rows) -> list[tuple[str, list[Sequence[Any]]]]:
    """Return the statements that write rows, each with its values; ``?`` stands for a value."""
    statements: list[tuple[str, list[Sequence[Any]]]] = [
        (table.upsert, list(rows[name])) for name, table in TABLES.items() if rows.get(name)
    ]
    suspects: list[Sequence[Any]] = [
        (row[0],)
        for table, column, value in _SUSPECTS
        for row in rows.get(table.name, ())
        if row[list(table.columns).index(column)] == value
    ]
    if suspects:
        statements.append((FORGET_FOLLOW_UP, suspects))
    return statements


def check_version(found: int) -> str:
    """Say what is wrong with the version of the tables; empty: nothing."""
    if found <= VERSION:
        return ""
    return (
        f"its tables have version {found}, this polyexec knows {VERSION}: install the version of "
        "polyexec that made them, or name another database. Nothing was changed"
    )


def missing_migrations(found: int) -> list[tuple[int, tuple[str, ...]]]:
    """Return the migrations that lead from a version (0: no tables) to ours."""
    return [(number, MIGRATIONS[number - 1]) for number in range(found + 1, VERSION + 1)]
