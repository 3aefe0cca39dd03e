"""PostgreSQL, by asyncpg. The connection lives on a loop of its own, in a thread of its own."""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Coroutine, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeVar

from polyexec.errors import ConfigError, StoreError
from polyexec.journal.database.location import Location
from polyexec.journal.database.ports import (
    RowRefusedError,
    UnavailableError,
    check_version,
    missing_migrations,
    statements_of,
)
from polyexec.journal.database.schema import VERSIONS_TABLE, Rows

try:
    import asyncpg
except ImportError:
    raise ConfigError(
        "a PostgreSQL trade store needs asyncpg: pip install 'polyexec[postgres]'"
    ) from None

if TYPE_CHECKING:
    from asyncpg import Connection

__all__ = ["PostgresDatabase"]

_T = TypeVar("_T")
_CONNECT_S: Final = 5.0
_COMMAND_S: Final = 15.0
# Of our own: it keeps two processes from making the tables at once.
_MIGRATION_LOCK: Final = 0x706F6C79
# Somebody has to change something before these go away.
_DEFINITE: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.ClientConfigurationError,
)
_REFUSED: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_LOST: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class PostgresDatabase:
    """A database of a server; the search path of its user says in which schema the tables are.

    Parameters
    ----------
    location : Location
        With a URL or parts.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._loop = _LoopThread()
        self._connection: Connection[Any] | None = None

    def open(self) -> None:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        self._connection = self._loop.run(self._connect())
        try:
            self._loop.run(self._migrate(self._connection))
        except StoreError:
            self.close()
            raise
        except _DEFINITE as error:
            self.close()
            raise StoreError(str(self._location), str(error)) from None
        except _LOST as error:
            self.close()
            raise UnavailableError(_text(error)) from None

    def write(self, rows: Rows) -> None:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        connection = self._connection
        if connection is None:
            raise UnavailableError("is not open")
        try:
            self._loop.run(self._write(connection, rows))
        except _REFUSED as error:
            raise RowRefusedError(_text(error)) from None
        except Exception as error:  # whatever it is, the rows can be written later
            raise UnavailableError(_text(error)) from None

    def select(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        try:
            return self._loop.run(self._select(statement, values))
        except StoreError as error:
            raise UnavailableError(error.problem) from None
        except _LOST as error:
            raise UnavailableError(_text(error)) from None

    def close(self) -> None:
        """See :class:`~polyexec.journal.database.ports.Database`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._loop.run(_disconnect(connection))
        self._loop.close()

    async def _connect(self) -> "Connection[Any]":
        arguments: dict[str, Any] = {
            name: value.reveal() for name, value in self._location.parts.items()
        }
        if "port" in arguments:
            arguments["port"] = int(arguments["port"])
        if self._location.url:
            arguments["dsn"] = self._location.url.reveal()
        try:
            return await asyncpg.connect(
                timeout=_CONNECT_S,
                command_timeout=_COMMAND_S,
                server_settings={"application_name": "polyexec"},
                **arguments,
            )
        # None of these carries on to its cause: tracebacks would show the arguments.
        except _DEFINITE as error:
            raise StoreError(str(self._location), str(error)) from None
        except _LOST as error:
            raise UnavailableError(_text(error)) from None
        except ValueError as error:
            problem = f"its URL cannot be used ({type(error).__name__})"
            raise StoreError(str(self._location), problem) from None

    async def _migrate(self, connection: "Connection[Any]") -> None:
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
            await connection.execute(VERSIONS_TABLE)
            found = await connection.fetchval("SELECT max(version) FROM polyexec_schema") or 0
            problem = check_version(found)
            if problem:
                raise StoreError(str(self._location), problem)
            for number, statements in missing_migrations(found):
                for statement in statements:
                    await connection.execute(statement)
                await connection.execute(
                    "INSERT INTO polyexec_schema VALUES ($1, $2)",
                    number,
                    time.time_ns() // 1_000_000,
                )

    async def _write(self, connection: "Connection[Any]", rows: Rows) -> None:
        async with connection.transaction():
            for statement, values in statements_of(rows):
                await connection.executemany(_numbered(statement), values)

    async def _select(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = await self._connect()
        try:
            return [tuple(row) for row in await connection.fetch(_numbered(statement), *values)]
        finally:
            await _disconnect(connection)


class _LoopThread:
    """Runs coroutines for threads that wait, whether or not they have a loop themselves."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(
                    target=_run_loop, args=(self._loop,), name="polyexec-postgres", daemon=True
                ).start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def close(self) -> None:
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


async def _disconnect(connection: "Connection[Any]") -> None:
    try:
        await connection.close(timeout=_CONNECT_S)
    except _LOST:
        with contextlib.suppress(*_LOST):
            connection.terminate()


def _numbered(statement: str) -> str:
    """Return a statement with ``$1, $2`` for its ``?``."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", statement)


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
