"""Any table with a row per event: the names of its columns are given."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import orjson

from polyexec.backtest.readers.fields import CsvRows, amount_text, side_text
from polyexec.backtest.readers.lines import Lines, head, list_files
from polyexec.backtest.readers.parquet import ParquetRows
from polyexec.backtest.readers.sorting import Sorter
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.readers.times import parse_time_ns
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.core.market_events import BookEvent, LastTradePrice, Level, PriceChange, PriceChanges
from polyexec.errors import InputError
from polyexec.parsing import parse_token_id

__all__ = ["ColumnKind", "Columns"]

ColumnKind: TypeAlias = Literal["books", "tops", "trades", "changes"]
_Event: TypeAlias = BookEvent | LastTradePrice | PriceChanges
_Row: TypeAlias = Mapping[str, Any]

_TOPS: Final = ("bid_price", "bid_size", "ask_price", "ask_size")
_FIELDS: Final = ("received", "time", "token", "market", "side", "price", "size", "bids", "asks")
_NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "books": ("bids", "asks"),
    "tops": _TOPS,
    "trades": ("price", "size"),
    "changes": ("side", "price", "size"),
}
_TRUTHS: Final[dict[str, Truth]] = {
    "books": "snapshots",
    "tops": "snapshots",
    "trades": "prints",
    "changes": "L2",
}


class Columns:
    """A vendor's table, Parquet or CSV, by the names of its columns.

    Parameters
    ----------
    path : path, or several
    columns : mapping
        Canonical field -> name of the column. ``received`` is needed. ``bids`` and ``asks``
        (lists of price and size, or the JSON of one) give books; ``bid_price``, ``bid_size``,
        ``ask_price``, ``ask_size`` books of one level; ``price``, ``size`` and ``side`` trades, or
        changes of a level. ``time`` is the exchange's own time; ``token`` and ``market`` say whose.
    kind : str or None
        ``books``, ``tops``, ``trades`` or ``changes``; needed between the last two.
    unit : str
        Of numeric times: ``s``, ``ms``, ``us``, ``ns``; empty: told by the magnitude. Timestamps of
        Parquet and ISO texts have their own.
    token_id : str, int or None
        Of the whole table, where no column says it.
    tokens : mapping or None
        What stands in the column ``token`` -> token id; rows with other values are left out.
    is_sorted : bool
        False: sort by ``received`` first, out of core.

    Raises
    ------
    InputError
        A field is not known, or missing for the kind; a column is not in the file.
    """

    def __init__(
        self,
        path: Path | str | Iterable[Path | str],
        *,
        columns: Mapping[str, str],
        kind: ColumnKind | None = None,
        unit: Literal["", "s", "ms", "us", "ns"] = "",
        token_id: str | int | None = None,
        tokens: Mapping[str, str | int] | None = None,
        is_sorted: bool = True,
    ) -> None:
        self._files = list_files(path)
        self.name = str(path) if isinstance(path, Path | str) else str(self._files[0])
        self._columns = dict(columns)
        self._kind: ColumnKind = _checked_kind(self._columns, kind)
        if unit not in ("", "s", "ms", "us", "ns"):
            raise InputError("unit", unit, "must be s, ms, us, ns or empty")
        if (token_id is None) is ("token" not in self._columns):
            raise InputError("token_id", token_id, "give it, or a column for token; not both")
        self._token = None if token_id is None else parse_token_id(token_id)
        self._tokens = (
            None if tokens is None else {key: parse_token_id(one) for key, one in tokens.items()}
        )
        self._unit = unit
        self._is_sorted = is_sorted
        self.truth: Truth = _TRUTHS[self._kind]
        self._tally = self._begin()

    def events(self) -> Iterator[Stamped]:
        """Yield an event per row.

        Raises
        ------
        InputError
            A row cannot be read, or is not in order; names file and row.
        """
        tally = self._tally = self._begin()
        for where, time_ns, event in self._ordered():
            hole = tally.admit(time_ns, where)
            if hole is not None:
                yield hole
            if isinstance(event, PriceChanges):
                tally.tokens.add(event.price_changes[0].asset_id)
            else:
                tally.tokens.add(event.asset_id)
            yield Stamped(received_ns=tally.now_ns, event=event)

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        return self._tally.coverage()

    def _begin(self) -> Tally:
        return Tally(self.truth, is_dense=self._kind != "trades")

    def _ordered(self) -> Iterator[tuple[str, int, _Event]]:
        if self._is_sorted:
            yield from self._events()
            return
        sorter: Sorter[_Event] = Sorter(_Event)
        with sorter:
            for row, (_, time_ns, event) in enumerate(self._events()):
                sorter.add(time_ns, row, event)
            for time_ns, row, event in sorter.drain():
                yield f"{self.name}:{row}", time_ns, event

    def _events(self) -> Iterator[tuple[str, int, _Event]]:
        for where, row, unit in self._rows():
            token = self._token
            if token is None:
                value = str(row["token"])
                if self._tokens is None:
                    token = parse_token_id(value, f"{where} token")
                elif value in self._tokens:
                    token = self._tokens[value]
                else:
                    continue
            time_ns = parse_time_ns(row["received"], f"{where} received", unit=unit)
            stamp = parse_time_ns(row.get("time", time_ns), f"{where} time", unit=unit)
            if "time" not in row:
                stamp = time_ns
            market = str(row.get("market") or "")
            yield where, time_ns, self._event(row, where, token, market, str(stamp // 1_000_000))

    def _event(self, row: _Row, where: str, token: str, market: str, stamp: str) -> _Event:
        if self._kind in ("books", "tops"):
            sides = (
                [_levels(row[side], f"{where} {side}") for side in ("bids", "asks")]
                if self._kind == "books"
                else [_level(row, side, where) for side in ("bid", "ask")]
            )
            return BookEvent(
                asset_id=token, market=market, timestamp=stamp, bids=sides[0], asks=sides[1]
            )
        price, size = (amount_text(row[field], f"{where} {field}") for field in ("price", "size"))
        side = side_text(row["side"], where) if row.get("side") else None
        if self._kind == "trades":
            return LastTradePrice(
                asset_id=token, market=market, timestamp=stamp, price=price, size=size, side=side
            )
        change = PriceChange(token, price, size, side or "")
        return PriceChanges(timestamp=stamp, market=market, price_changes=[change])

    def _rows(self) -> Iterator[tuple[str, _Row, str]]:
        for file in self._files:
            if head(file) == b"PAR1":
                yield from self._parquet_rows(file)
            else:
                yield from self._csv_rows(file)

    def _parquet_rows(self, file: Path) -> Iterator[tuple[str, _Row, str]]:
        rows = ParquetRows(file)
        try:
            self._check(rows.columns, str(file))
            unit = "ns" if rows.is_time(self._columns["received"]) else self._unit
            names = list(self._columns)
            for number, values in rows.read([self._columns[name] for name in names]):
                yield f"{file}:row {number}", dict(zip(names, values, strict=True)), unit
        finally:
            rows.close()

    def _csv_rows(self, file: Path) -> Iterator[tuple[str, _Row, str]]:
        rows = CsvRows(Lines(file))
        self._check(rows.names, str(file))
        for where, row in rows:
            yield where, {name: row[column] for name, column in self._columns.items()}, self._unit

    def _check(self, there: Sequence[str], file: str) -> None:
        for name, column in self._columns.items():
            if column not in there:
                known = ", ".join(there)
                raise InputError(f"columns[{name}]", column, f"is no column of {file}: has {known}")


def _checked_kind(columns: Mapping[str, str], kind: ColumnKind | None) -> ColumnKind:
    for name in columns:
        if name not in (*_FIELDS, *_TOPS):
            raise InputError("columns", name, f"must be one of {', '.join((*_FIELDS, *_TOPS))}")
    if kind is None:
        if "bids" in columns:
            kind = "books"
        elif "bid_price" in columns:
            kind = "tops"
        else:
            raise InputError("kind", kind, "say whether these are trades or changes")
    if kind not in _NEEDS:
        raise InputError("kind", kind, f"must be one of {', '.join(_NEEDS)}")
    missing = [name for name in ("received", *_NEEDS[kind]) if name not in columns]
    if missing:
        raise InputError("columns", missing, f"must be named too, for {kind}")
    return kind


def _levels(value: Any, where: str) -> list[Level]:
    if isinstance(value, str):
        try:
            value = orjson.loads(value or "[]")
        except orjson.JSONDecodeError as error:
            raise InputError(where, value, f"are no levels: {error}") from None
    levels = []
    for one in value or ():
        pair = (one.get("price"), one.get("size")) if isinstance(one, dict) else one
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InputError(where, one, "is no level: needs price and size")
        levels.append(Level(amount_text(pair[0], where), amount_text(pair[1], where)))
    return levels


def _level(row: _Row, side: str, where: str) -> list[Level]:
    price, size = row[f"{side}_price"], row[f"{side}_size"]
    if price in (None, "") or size in (None, ""):
        return []  # nobody is there
    return [
        Level(
            amount_text(price, f"{where} {side}_price"), amount_text(size, f"{where} {side}_size")
        )
    ]
