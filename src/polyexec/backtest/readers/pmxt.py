"""The hourly Parquet files of the PMXT archive, of both generations.

v2 (from 2026-04-13T19) has 16 typed columns, v1 (from 2026-02-21) five, one of them JSON. Both are
sorted by market, token and time within the hour, so every hour is sorted by time first, out of
core. Source: the archive's v2 data overview.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from polyexec.backtest.readers.fields import token_set
from polyexec.backtest.readers.lines import list_files
from polyexec.backtest.readers.parquet import ParquetRows
from polyexec.backtest.readers.sorting import Sorter
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.readers.times import HOUR_NS, hour_name
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.core.market_events import (
    BookEvent,
    LastTradePrice,
    Level,
    PriceChange,
    PriceChanges,
    TickSizeChange,
)
from polyexec.errors import InputError

__all__ = ["Pmxt", "PmxtEvent", "pmxt_version"]

PmxtEvent: TypeAlias = BookEvent | PriceChanges | LastTradePrice | TickSizeChange

_HOUR: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d)\.parquet\Z")
_V1: Final = {
    "timestamp_received": "time",
    "timestamp_created_at": "time",
    "market_id": "text",
    "update_type": "text",
    "data": "text",
}
_V2: Final = {
    "timestamp_received": "time",
    "timestamp": "time",
    "market": "text",
    "event_type": "text",
    "asset_id": "text",
    "bids": "text",
    "asks": "text",
    "price": "decimal",
    "size": "decimal",
    "side": "text",
    "best_bid": "decimal",
    "best_ask": "decimal",
    "fee_rate_bps": "int",
    "transaction_hash": "text",
    "old_tick_size": "decimal",
    "new_tick_size": "decimal",
}
_levels = msgspec.json.Decoder(list[tuple[str, str]])


class _Data(msgspec.Struct):
    """The JSON of a row of v1."""

    token_id: str
    timestamp: Decimal
    best_bid: str | None = None
    best_ask: str | None = None
    change_price: str | None = None
    change_size: str | None = None
    change_side: str | None = None
    bids: list[tuple[str, str]] | None = None
    asks: list[tuple[str, str]] | None = None


_data = msgspec.json.Decoder(_Data)


class Pmxt:
    """Hours of the PMXT archive.

    The hour of a file is that of its name. An hour without a file, or with an empty one, voids
    every book until its next snapshot. Two files of one hour are refused: of v1 and v2, too.

    Parameters
    ----------
    path : path, or several
        A folder stands for every ``.parquet`` file in and below it.
    tokens, markets : iterable of str, or None
        What is read, by token id and by condition id; None: everything, which is 50,000 markets.
        Row groups that hold none of them are not read.

    Raises
    ------
    InputError
        A file is not Parquet, or not of this schema; there are two files of one hour.
    """

    truth: Truth = "L2"

    def __init__(
        self,
        path: Path | str | Iterable[Path | str],
        *,
        tokens: Iterable[str] | None = None,
        markets: Iterable[str] | None = None,
    ) -> None:
        files = [file for file in list_files(path) if file.suffix.lower() == ".parquet"]
        if not files:
            raise InputError(str(path), 0, "Parquet files are in it")
        self.name = str(path) if isinstance(path, Path | str) else str(files[0])
        self._tokens = token_set(tokens)
        if isinstance(markets, str):
            raise InputError("markets", markets, "must be a list of condition ids, not one text")
        self._markets = None if markets is None else frozenset(markets)
        self._files = _by_hour(files)
        for _, file in self._files:
            rows = ParquetRows(file)
            rows.require(_V1 if pmxt_version(rows) == 1 else _V2)
            rows.close()
        self._tally = Tally(self.truth)
        self._ignored = 0

    def events(self) -> Iterator[Stamped]:
        """Yield everything by time of receipt; the changes of a market at one time as one event.

        Raises
        ------
        InputError
            A row cannot be read, or an hour overlaps the one before it; names file and row.
        """
        tally = self._tally = Tally(self.truth)
        self._ignored = 0
        for hour, file in self._files:
            rows = ParquetRows(file)
            try:
                if hour >= 0 and rows.total:
                    hole = tally.mark_hour(hour)
                    if hole is not None:
                        yield hole
                sorter: Sorter[PmxtEvent] = Sorter(PmxtEvent)
                with sorter:
                    for number, time_ns, event in self._read(rows):
                        sorter.add(time_ns, number, event)
                    yield from self._stamped(sorter, rows.name, hour)
            finally:
                rows.close()
        if self._ignored:
            tally.notes.append(f"{self._ignored} rows of unknown types left out")

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        return self._tally.coverage()

    def _stamped(self, sorter: Sorter[PmxtEvent], name: str, hour: int) -> Iterator[Stamped]:
        tally = self._tally
        held: Stamped | None = None
        for time_ns, number, event in sorter.drain():
            hole = tally.admit(time_ns, f"{name}:row {number}", hour=hour)
            if held is not None and (hole is not None or not _join(held, event, tally.now_ns)):
                yield held
                held = None
            if hole is not None:
                yield hole
            if held is None:
                held = Stamped(received_ns=tally.now_ns, event=event)
            if not isinstance(event, PriceChanges):
                tally.tokens.add(event.asset_id)
        if held is not None:
            yield held

    def _read(self, rows: ParquetRows) -> Iterator[tuple[int, int, PmxtEvent]]:
        version = pmxt_version(rows)
        found = rows.read(
            tuple(_V1 if version == 1 else _V2),
            where=self._filter(version),
            matching=self._matching(version),
        )
        convert = _from_v1 if version == 1 else _from_v2
        for number, values in found:
            if values[0] is None or values[1] is None:
                raise InputError(f"{rows.name}:row {number}", None, "has no time")
            try:
                event = convert(*values)
            except (msgspec.MsgspecError, TypeError, AttributeError) as error:
                where = f"{rows.name}:row {number}"
                raise InputError(
                    where, values[3], f"is a row that cannot be read: {error}"
                ) from None
            if event is None:
                self._ignored += 1
            else:
                yield number, values[0], event

    def _filter(self, version: int) -> dict[str, frozenset[str]]:
        found: dict[str, frozenset[str]] = {}
        if self._markets is not None:
            found["market_id" if version == 1 else "market"] = self._markets
        if self._tokens is not None and version != 1:
            found["asset_id"] = self._tokens
        return found

    def _matching(self, version: int) -> tuple[str, str] | None:
        if version != 1 or self._tokens is None:
            return None
        return "data", rf'"token_id"\s*:\s*"({"|".join(sorted(self._tokens))})"'


def pmxt_version(rows: ParquetRows) -> int:
    """Return the generation of a file's schema.

    Raises
    ------
    InputError
        It is of none.
    """
    if {"timestamp_created_at", "update_type"} <= set(rows.columns):
        return 1
    if {"timestamp_received", "event_type", "asset_id"} <= set(rows.columns):
        return 2
    problem = "are columns of neither PMXT v1 nor v2: map them with columns="
    raise InputError(rows.name, ", ".join(rows.columns), problem)


def _by_hour(files: list[Path]) -> list[tuple[int, Path]]:
    found: dict[int, Path] = {}
    rest: list[tuple[int, Path]] = []
    for file in files:
        match = _HOUR.search(file.name)
        if match is None:
            rest.append((-1, file))
            continue
        start = datetime.strptime(match[1], "%Y-%m-%dT%H").replace(tzinfo=UTC)
        hour = int(start.timestamp()) * 1_000_000_000 // HOUR_NS
        other = found.setdefault(hour, file)
        if other is not file:
            problem = f"has a second file, {other}: leave one out"
            raise InputError(str(file), hour_name(hour), problem)
    return rest + sorted(found.items())


def _join(held: Stamped, event: PmxtEvent, now_ns: int) -> bool:
    """Add a change to the one before, where both came in one message; return whether they did."""
    first = held.event
    if (
        type(first) is PriceChanges
        and type(event) is PriceChanges
        and held.received_ns == now_ns
        and first.market == event.market
        and first.timestamp == event.timestamp
    ):
        first.price_changes.extend(event.price_changes)
        return True
    return False


def _from_v2(
    _received: int,
    time_ns: int,
    market: str,
    kind: str,
    token: str,
    bids: str | None,
    asks: str | None,
    price: str | None,
    size: str | None,
    side: str | None,
    best_bid: str | None,
    best_ask: str | None,
    fee_rate_bps: int | None,
    transaction_hash: str | None,
    old_tick: str | None,
    new_tick: str | None,
) -> PmxtEvent | None:
    timestamp = str(time_ns // 1_000_000)
    if kind == "price_change":
        change = PriceChange(
            token, _short(price), _short(size), side or "", None, _best(best_bid), _best(best_ask)
        )
        return PriceChanges(timestamp=timestamp, market=market, price_changes=[change])
    if kind == "book":
        return BookEvent(
            asset_id=token,
            market=market,
            timestamp=timestamp,
            bids=_book_side(_levels.decode(bids or "[]")),
            asks=_book_side(_levels.decode(asks or "[]")),
        )
    if kind == "last_trade_price":
        return LastTradePrice(
            asset_id=token,
            market=market,
            timestamp=timestamp,
            price=_short(price),
            size=_short(size),
            side=side,
            fee_rate_bps=None if fee_rate_bps is None else str(fee_rate_bps),
            transaction_hash=transaction_hash or None,
        )
    if kind == "tick_size_change":
        return TickSizeChange(
            asset_id=token,
            market=market,
            timestamp=timestamp,
            old_tick_size=_best(old_tick),
            new_tick_size=_short(new_tick),
        )
    return None


def _from_v1(_received: int, _created: int, market: str, kind: str, text: str) -> PmxtEvent | None:
    if kind not in ("price_change", "book_snapshot"):
        return None
    data = _data.decode(text)
    timestamp = str(int(data.timestamp * 1000))
    if kind == "book_snapshot":
        return BookEvent(
            asset_id=data.token_id,
            market=market,
            timestamp=timestamp,
            bids=_book_side(data.bids or []),
            asks=_book_side(data.asks or []),
        )
    price, size, side = data.change_price, data.change_size, data.change_side
    if price is None or size is None or side is None:
        raise TypeError("a price_change without price, size or side")
    change = PriceChange(data.token_id, price, size, side, None, data.best_bid, data.best_ask)
    return PriceChanges(timestamp=timestamp, market=market, price_changes=[change])


def _book_side(levels: list[tuple[str, str]]) -> list[Level]:
    return [Level(price, size) for price, size in levels]


def _short(text: Any) -> str:
    """Return a decimal as the exchange writes it: without the zeros of its column's scale."""
    short: str = text.rstrip("0").rstrip(".") if "." in text else text
    return short or "0"


def _best(text: str | None) -> str | None:
    return None if text is None else _short(text)
