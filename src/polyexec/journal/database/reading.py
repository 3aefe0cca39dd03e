"""Reading a trade store: rows as records, as data frames, as files."""

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from polyexec.errors import InputError, StoreError, UsageError
from polyexec.journal.database.location import Location, parse_location
from polyexec.journal.database.ports import UnavailableError, open_database
from polyexec.journal.database.schema import FILLS, ORDERS, TRADES, Table
from polyexec.numbers import from_micro
from polyexec.secret import Secret

__all__ = ["StoredFill", "StoredOrder", "StoredRows", "StoredTrade", "TradeReader", "When"]

When: TypeAlias = datetime | str | int
"""A time: a datetime (without a zone: UTC), its ISO text, or unix milliseconds."""

_MOST: Final = 2**63 - 1


class StoredTrade(msgspec.Struct, frozen=True, kw_only=True):
    """A signal and what became of it. Money in micro-dollars, times in unix milliseconds."""

    trade_id: str
    """Id of its first order; of a signal that was not sent: a made-up one."""
    account: str
    source: str
    """``live``, or ``journal``: the store missed it, so its signal is not known."""
    strategy: str
    group_key: str
    event_slug: str
    crypto: str
    signal_ms: int
    signal: str | None
    """JSON; :func:`polyexec.decode_signal` reads it."""
    success: bool
    skipped: str
    """Reason; empty when it was sent."""
    failure_type: str
    """``skipped``, ``not_sent``, ``rejected``, ``partial``, ``unknown``; empty for a success."""
    detail: str
    order_ids: tuple[str, ...]
    """Of the accepted orders."""
    error_messages: tuple[str, ...]
    cost_micro: int
    expected_pnl_micro: int
    worst_loss_micro: int
    is_whole: bool
    at_risk_micro: int
    provisional_pnl_micro: int
    final_pnl_micro: int | None
    retry_order_ids: tuple[str, ...]
    """Follow-ups that the group policy sent."""
    retry_count: int
    latency: str
    """JSON: microseconds by stage."""
    started_ms: int
    finished_ms: int
    updated_ms: int

    def line(self) -> str:
        """Return it as a line for people: time (UTC), what became of it, cost and profit."""
        time = datetime.fromtimestamp(self.finished_ms / 1000, UTC).isoformat(" ", "milliseconds")
        name = " ".join(filter(None, (self.strategy, self.group_key))) or self.trade_id
        if self.skipped:
            return f"{time[:23]}  skipped   {name}  {self.skipped}: {self.detail}"
        word = self.failure_type or "executed"
        profit = self.expected_pnl_micro if self.final_pnl_micro is None else self.final_pnl_micro
        kind = "expected" if self.final_pnl_micro is None else "final"
        money = f"cost {from_micro(self.cost_micro)}  {kind} {from_micro(profit)}"
        errors = "".join(f"  {error}" for error in self.error_messages[:1])
        return f"{time[:23]}  {word:<8}  {name}  {money}{errors}"


class StoredOrder(msgspec.Struct, frozen=True, kw_only=True):
    """One order. Prices in ten-thousandths of a dollar, the rest in micro-units."""

    order_id: str
    trade_id: str
    """Empty: its trade is not known."""
    account: str
    position: int
    """Among the legs, or among the follow-ups."""
    purpose: str
    """``leg`` or ``follow_up``."""
    token_id: str
    market_slug: str
    side: str
    order_type: str
    neg_risk: bool
    price_e4: int
    size_micro: int
    state: str
    filled_micro: int
    paid_micro: int
    fee_micro: int
    code: str
    error: str
    exchange_trade_ids: tuple[str, ...]
    updated_ms: int


class StoredFill(msgspec.Struct, frozen=True, kw_only=True):
    """One match of one order, and where its settlement stands."""

    order_id: str
    account: str
    exchange_trade_id: str
    counter_order_id: str
    token_id: str
    side: str
    price_e4: int
    size_micro: int
    is_taker: bool
    matched_ms: int
    settlement: str
    settled_ms: int
    """When it became so; 0: not told."""


RowT = TypeVar("RowT", bound=msgspec.Struct)


class StoredRows(Sequence[RowT], Generic[RowT]):
    """Rows of one kind, oldest first: a sequence, and the ways out of it."""

    def __init__(self, kind: type[RowT], rows: list[RowT]) -> None:
        self._kind = kind
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[RowT]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return f"<{len(self._rows)} rows of {self._kind.__name__}>"

    def to_pandas(self) -> Any:
        """Return a pandas data frame (extra ``frames``)."""
        return _library("pandas").DataFrame(self._columns())

    def to_polars(self) -> Any:
        """Return a polars data frame (extra ``frames``)."""
        return _library("polars").DataFrame(self._columns())

    def to_arrow(self) -> Any:
        """Return an Arrow table (extra ``frames``)."""
        return _library("pyarrow").table(self._columns())

    def to_csv(self, path: str | Path) -> None:
        """Write a CSV file with a header; lists are JSON.

        Raises
        ------
        InputError
            The file cannot be written.
        """
        columns = self._columns()
        try:
            with Path(path).open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(columns)
                writer.writerows(
                    [json.dumps(cell) if isinstance(cell, list) else cell for cell in row]
                    for row in zip(*columns.values(), strict=True)
                )
        except OSError as error:
            raise InputError("path", str(path), f"cannot be written: {error}") from None

    def to_parquet(self, path: str | Path) -> None:
        """Write a Parquet file (extra ``frames``).

        Raises
        ------
        InputError
            The file cannot be written.
        """
        table, parquet = self.to_arrow(), _library("pyarrow.parquet")
        try:
            parquet.write_table(table, str(path))
        except OSError as error:
            raise InputError("path", str(path), f"cannot be written: {error}") from None

    def _columns(self) -> dict[str, list[Any]]:
        def plain(value: Any) -> Any:
            return list(value) if isinstance(value, tuple) else value

        return {
            field.name: [plain(getattr(row, field.name)) for row in self._rows]
            for field in msgspec.structs.fields(self._kind)
        }


class TradeReader:
    """Asks a trade store, from any process, while another one writes. Each question waits.

    Parameters
    ----------
    where : Location, str or Path
        As of :class:`~polyexec.journal.database.store.TradeStore`.
    """

    def __init__(self, where: Location | str | Path | Secret) -> None:
        self._location = where if isinstance(where, Location) else parse_location(where, "where")
        self._database = open_database(self._location)

    def trades(
        self,
        *,
        since: When | None = None,
        until: When | None = None,
        group: str | None = None,
        account: str | None = None,
        sent: bool | None = None,
        limit: int | None = None,
    ) -> StoredRows[StoredTrade]:
        """Return trades, oldest first.

        Parameters
        ----------
        since, until : datetime, str, int or None
            When the result came: not before, and before.
        group : str or None
            The signal's ``group_key``.
        account : str or None
        sent : bool or None
            Only those with an order that may have left this machine, or only the others.
        limit : int or None
            The newest so many.

        Raises
        ------
        InputError
            A time that is none.
        StoreError
            The database cannot be asked.
        """
        conditions: list[tuple[str, Any]] = []
        if since is not None:
            conditions.append(("finished_ms >= ?", _milliseconds("since", since)))
        if until is not None:
            conditions.append(("finished_ms < ?", _milliseconds("until", until)))
        if group is not None:
            conditions.append(("group_key = ?", group))
        if account is not None:
            conditions.append(("account = ?", account))
        if sent is not None:
            conditions.append(("(failure_type NOT IN ('skipped', 'not_sent')) = ?", sent))
        rows = self._select(TRADES, conditions, "finished_ms DESC, trade_id DESC", limit)
        return StoredRows(StoredTrade, [_made(StoredTrade, row) for row in reversed(rows)])

    def orders(
        self, *, trade_id: str | None = None, account: str | None = None
    ) -> StoredRows[StoredOrder]:
        """Return orders, of one trade or of all, in the order of their trade.

        Raises
        ------
        StoreError
            The database cannot be asked.
        """
        conditions = [] if trade_id is None else [("trade_id = ?", trade_id)]
        conditions += [] if account is None else [("account = ?", account)]
        rows = self._select(ORDERS, conditions, "trade_id, purpose DESC, position, order_id")
        return StoredRows(StoredOrder, [_made(StoredOrder, row) for row in rows])

    def fills(
        self, *, order_id: str | None = None, account: str | None = None
    ) -> StoredRows[StoredFill]:
        """Return fills, of one order or of all, oldest first.

        Raises
        ------
        StoreError
            The database cannot be asked.
        """
        conditions = [] if order_id is None else [("order_id = ?", order_id)]
        conditions += [] if account is None else [("account = ?", account)]
        by = "matched_ms, exchange_trade_id, counter_order_id, price_e4, size_micro, number"
        rows = self._select(FILLS, conditions, by)
        return StoredRows(StoredFill, [_made(StoredFill, row) for row in rows])

    def close(self) -> None:
        """Let go of what questions needed; another question needs it again."""
        self._database.close()

    def _select(
        self,
        table: Table,
        conditions: Sequence[tuple[str, Any]],
        order: str,
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        if limit is not None and (isinstance(limit, bool) or not 1 <= limit <= _MOST):
            raise InputError("limit", limit, "must be a whole number, at least 1")
        wheres = " AND ".join(condition for condition, _ in conditions) or "1 = 1"
        statement = (
            f"SELECT {', '.join(table.columns)} FROM {table.name} WHERE {wheres} "  # noqa: S608
            f"ORDER BY {order}" + ("" if limit is None else " LIMIT ?")
        )
        values = [value for _, value in conditions] + ([] if limit is None else [limit])
        try:
            rows = self._database.select(statement, values)
        except UnavailableError as error:
            raise StoreError(str(self._location), f"cannot be asked: {error}") from None
        return [dict(zip(table.columns, row, strict=True)) for row in rows]


def _made(kind: type[RowT], row: dict[str, Any]) -> RowT:
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        value = row[field.name]
        if field.type == tuple[str, ...]:
            value = tuple(json.loads(value))
        elif field.type is bool:
            value = bool(value)  # SQLite has 0 and 1
        fields[field.name] = value
    return kind(**fields)


def _milliseconds(name: str, when: When) -> int:
    if isinstance(when, int) and not isinstance(when, bool):
        return when
    if isinstance(when, str):
        try:
            when = datetime.fromisoformat(when)
        except ValueError:
            raise InputError(
                name, when, "must be a time as 2026-01-31 or 2026-01-31T12:00"
            ) from None
    if not isinstance(when, datetime):
        raise InputError(name, when, "must be a datetime, its text or unix milliseconds")
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return round(when.timestamp() * 1000)


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(
            f"this needs {name.partition('.')[0]}: pip install 'polyexec[frames]'"
        ) from None
