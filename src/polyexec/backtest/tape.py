"""Recordings as tapes: columns of integers in a Parquet file, which compiled code plays.

A tape says what its sources said, in the same order: what could not be read is on it as something
that cannot be read. It is made once and read many times, a block at a time.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from polyexec._impl import plain_scaled
from polyexec._pure.prices import STATES_NOTHING
from polyexec._pure.tapes import COLUMNS, Kind
from polyexec.backtest.stream import Coverage, Source, Stamped, Truth, merge
from polyexec.core.market_events import (
    BookEvent,
    LastTradePrice,
    Level,
    MarketEvent,
    PriceChange,
    PriceChanges,
    TickSizeChange,
    Unreadable,
    decode_frame,
    parse_time_ms,
)
from polyexec.errors import InputError, UsageError
from polyexec.numbers import PRICE_SCALE
from polyexec.parsing import parse_tick_e4

__all__ = ["Tape", "cache", "write_tape"]

FORMAT: Final = 1
_BLOCK_ROWS: Final = 1 << 17
_KEY: Final = b"polyexec"
_SIDES: Final = ("BUY", "SELL")
_UNREADABLE: Final = -1
_MARKET: Final = "@"
"""Before the market of a gap that names no token: whose books those are, a replay knows."""
_ARROW: Final = {"q": "int64", "i": "int32", "b": "int8"}

Block = Sequence[Any]
"""One buffer for each of ``COLUMNS``."""


class _About(msgspec.Struct):
    """What stands in the file beside the columns."""

    format: int
    tokens: list[str]
    truth: Truth
    coverage: Coverage
    made_of: list[tuple[str, int, int]]
    """Name, size and time of change of every file; of every source its options as a hash."""
    first_ns: int
    last_ns: int


class Tape:
    """A tape as a source; see :func:`cache`.

    Parameters
    ----------
    path : path

    Raises
    ------
    InputError
        There is no such file, or it is no tape of this format.
    """

    def __init__(self, path: Path | str) -> None:
        self.name = str(path)
        self._path = Path(path)
        about = _read_about(self._path)
        self.tokens: tuple[str, ...] = tuple(about.tokens)
        """The token of each number in its rows."""
        self.truth: Truth = about.truth
        self.first_ns = about.first_ns
        self.last_ns = about.last_ns
        self.made_of = tuple(map(tuple, about.made_of))
        self._coverage = about.coverage

    def coverage(self) -> Coverage:
        """Return what there was of its sources."""
        return self._coverage

    def blocks(self) -> Iterator[Block]:
        """Yield its columns, a block at a time; blocks end where messages do."""
        parquet = _arrow("pyarrow.parquet")
        try:
            with parquet.ParquetFile(self._path) as file:
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number).combine_chunks()
                    yield [_buffer(table.column(name), code) for name, code in COLUMNS]
        except (OSError, _arrow("pyarrow").ArrowException) as error:
            raise InputError("tape", self.name, f"is damaged: {error}") from None

    def events(self) -> Iterator[Stamped]:
        """Yield what its sources yielded: the same prices and sizes, as the shortest texts."""
        for block in self.blocks():
            row = 0
            while row < len(block[0]):
                one, row = self.event_at(block, row)
                yield one

    def event_at(self, block: Block, row: int) -> tuple[Stamped, int]:
        """Return the message that begins at a row, and the row after it."""
        received, times, kinds, ends, tokens, sides, prices, sizes, bids, asks = block
        kind, token = kinds[row], self._token(tokens[row])
        received_ns, timestamp = received[row], _plain(times[row], 0)
        event: MarketEvent
        if kind == Kind.CHANGE:
            changes = []
            while True:
                changes.append(
                    PriceChange(
                        self._token(tokens[row]),
                        _plain(prices[row], 4),
                        _plain(sizes[row], 6),
                        _SIDES[sides[row]] if sides[row] >= 0 else "",
                        None,
                        _stated_text(bids[row]),
                        _stated_text(asks[row]),
                    )
                )
                row += 1
                if ends[row - 1]:
                    break
            event = PriceChanges(timestamp=timestamp, price_changes=changes)
            return Stamped(received_ns=received_ns, event=event), row
        if kind == Kind.BOOK:
            levels: tuple[list[Level], list[Level]] = ([], [])
            tick, end = prices[row], row + 1 + sizes[row]
            for at in range(row + 1, end):
                levels[sides[at]].append(Level(_plain(prices[at], 4), _plain(sizes[at], 6)))
            event = BookEvent(
                asset_id=token,
                timestamp=timestamp,
                bids=levels[0],
                asks=levels[1],
                tick_size=(_plain(tick, 4) or "?") if tick else None,
            )
            return Stamped(received_ns=received_ns, event=event), end
        if kind == Kind.GAP:
            if token.startswith(_MARKET):
                market = token.removeprefix(_MARKET)
                event = Unreadable("recorded", is_book_news=True, market=market)
                return Stamped(received_ns=received_ns, event=event), row + 1
            named = (token,) if token else ()
            return Stamped(received_ns=received_ns, kind="gap", tokens=named), row + 1
        if kind == Kind.RESOLUTION:
            return Stamped(
                received_ns=received_ns, kind="resolution", tokens=(token,), pays_micro=sizes[row]
            ), row + 1
        if kind == Kind.MID:
            mid = _plain(sizes[row], 6)
            return Stamped(received_ns=received_ns, kind="mid", tokens=(token,), mid=mid), row + 1
        if kind == Kind.TICK:
            event = TickSizeChange(
                asset_id=token, new_tick_size=_plain(prices[row], 4), timestamp=timestamp
            )
        else:
            event = LastTradePrice(
                asset_id=token,
                price=_plain(prices[row], 4),
                size=_plain(sizes[row], 6) or None,
                side=_SIDES[sides[row]] if sides[row] >= 0 else None,
                timestamp=timestamp,
            )
        return Stamped(received_ns=received_ns, event=event), row + 1

    def _token(self, number: int) -> str:
        return self.tokens[number] if number >= 0 else ""

    def __repr__(self) -> str:
        return f"Tape({self.name!r}, {len(self.tokens)} tokens)"


def cache(source: Source | Iterable[Source], path: Path | str) -> Tape:
    """Return the tape at a path, made of these sources if it is not yet, or no longer.

    A tape is made anew when a file of its sources has another size or time of change, when they are
    others or read with other options, and when its format is an older one.

    Parameters
    ----------
    source : Source, or several
        Merged by time of receipt, as :func:`run` does.
    path : path
        Of the tape.

    Raises
    ------
    InputError
        A source cannot be read; no tape is left behind then.
    UsageError
        pyarrow is not installed.
    """
    sources = [*source] if isinstance(source, Iterable) else [source]
    wanted = tuple(stamp for one in sources for stamp in _stamps(one))
    if Path(path).exists():
        try:
            tape = Tape(path)
        except InputError:
            pass  # of another format, or cut while it was written
        else:
            if tape.made_of == wanted:
                return tape
    return write_tape(sources, path)


def write_tape(sources: Sequence[Source], path: Path | str) -> Tape:
    """Write what sources say as a tape; errors as :func:`cache`."""
    target = Path(path)
    stamps = [stamp for one in sources for stamp in _stamps(one)]
    unfinished = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        writer = _Writer(unfinished)
        try:
            for one in merge(sources):
                writer.take(one)
            told = [one.coverage() for one in sources]
            writer.finish(
                _About(
                    format=FORMAT,
                    tokens=[],
                    truth=_truth(sources),
                    coverage=told[0] if len(told) == 1 else _together(sources, told),
                    made_of=stamps,
                    first_ns=0,
                    last_ns=0,
                )
            )
        finally:
            writer.close()
        unfinished.replace(target)
    except OSError as error:
        raise InputError("path", str(path), f"cannot be written: {error}") from None
    finally:
        unfinished.unlink(missing_ok=True)
    return Tape(target)


def _together(sources: Sequence[Source], told: Sequence[Coverage]) -> Coverage:
    pairs = list(zip(sources, told, strict=True))
    known = [one for one in told if one.first_ns is not None]

    def joined(field: str) -> tuple[str, ...]:
        return tuple(sorted({text for one in told for text in getattr(one, field)}))

    return Coverage(
        is_partial=any(one.is_partial for one in told),
        detail="; ".join(f"{source.name}: {one.detail}" for source, one in pairs if one.detail),
        truth=_truth(sources),
        records=sum(one.records for one in told),
        duplicates=sum(one.duplicates for one in told),
        late=sum(one.late for one in told),
        gaps=sum(one.gaps for one in told),
        first_ns=min((one.first_ns or 0 for one in known), default=None),
        last_ns=max((one.last_ns or 0 for one in known), default=None),
        hours=joined("hours"),
        missing_hours=joined("missing_hours"),
        partial_days=joined("partial_days"),
        tokens=joined("tokens"),
        truncated=joined("truncated"),
    )


def _truth(sources: Sequence[Source]) -> Truth:
    """Return the most that any of the sources knows."""
    known = {one.truth for one in sources}
    return next((one for one in get_args(Truth) if one in known), "L2")


def _stamps(source: Source) -> Iterator[tuple[str, int, int]]:
    """Yield what tells that a source is the same as before: its options, and all its files."""
    paths: dict[Path, None] = {Path(source.name): None}
    options = _plain_of(getattr(source, "__dict__", {}), paths)
    text = json.dumps([type(source).__qualname__, source.name, options], sort_keys=True)
    yield (hashlib.sha256(text.encode()).hexdigest(), 0, 0)
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                status = file.stat()
                yield (str(file), status.st_size, status.st_mtime_ns)


def _plain_of(value: Any, paths: dict[Path, None]) -> Any:
    """Return what options say, in an order of their own, and note the paths among them.

    What is neither is the state of a reader, which begins anew at each reading.
    """
    if isinstance(value, Path):
        paths[value] = None
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain_of(one, paths) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(_plain_of(one, paths)) for one in value)
    if isinstance(value, list | tuple):
        return [_plain_of(one, paths) for one in value]
    return value if isinstance(value, str | int | float | None) else ""


class _Writer:
    """Turns stamped events into rows, and rows into row groups."""

    def __init__(self, path: Path) -> None:
        self._arrow = _arrow("pyarrow")
        parquet = _arrow("pyarrow.parquet")
        fields = [(name, getattr(self._arrow, _ARROW[code])()) for name, code in COLUMNS]
        self._schema = self._arrow.schema(fields)
        self._file = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._tokens: dict[str, int] = {}
        self._rows: list[tuple[int, ...]] = []
        self._first_ns = self._last_ns = -1

    def take(self, one: Stamped) -> None:
        received_ns = one.received_ns
        if self._first_ns < 0:
            self._first_ns = received_ns
        self._last_ns = received_ns
        if one.kind == "gap":
            for token in one.tokens or ("",):
                self._row(received_ns, kind=Kind.GAP, token=self._number(token))
        elif one.kind == "resolution":
            for token in one.tokens:
                self._pays(received_ns, token, one.pays_micro)
        elif one.kind == "mid":
            for token in one.tokens:
                mid_micro = plain_scaled(one.mid, 6)
                self._row(
                    received_ns, kind=Kind.MID, token=self._number(token), size_micro=mid_micro
                )
        elif one.frame is not None:
            for event in decode_frame(one.frame):
                self._event(received_ns, event)
        elif one.event is not None:
            self._event(received_ns, one.event)
        if len(self._rows) >= _BLOCK_ROWS:
            self._flush()

    def finish(self, about: _About) -> None:
        self._flush()
        about.tokens = list(self._tokens)
        about.first_ns, about.last_ns = self._first_ns, self._last_ns
        self._file.add_key_value_metadata({_KEY: msgspec.json.encode(about)})

    def close(self) -> None:
        self._file.close()

    def _flush(self) -> None:
        if not self._rows:
            return
        columns = [
            array(code, values)
            for (_, code), values in zip(COLUMNS, zip(*self._rows, strict=True), strict=True)
        ]
        self._rows = []
        arrays = [
            self._arrow.Array.from_buffers(
                field.type, len(column), [None, self._arrow.py_buffer(column)]
            )
            for field, column in zip(self._schema, columns, strict=True)
        ]
        table = self._arrow.Table.from_arrays(arrays, schema=self._schema)
        self._file.write_table(table, row_group_size=len(columns[0]))

    def _number(self, token: str) -> int:
        return self._tokens.setdefault(token, len(self._tokens)) if token else -1

    def _row(
        self,
        received_ns: int,
        *,
        kind: Kind,
        token: int,
        time_ms: int = 0,
        is_last: bool = True,
        side: int = 0,
        price_e4: int = 0,
        size_micro: int = 0,
        best_bid_e4: int = STATES_NOTHING,
        best_ask_e4: int = STATES_NOTHING,
    ) -> None:
        self._rows.append(
            (
                *(received_ns, time_ms, kind, is_last, token, side),
                *(price_e4, size_micro, best_bid_e4, best_ask_e4),
            )
        )

    def _event(self, received_ns: int, event: MarketEvent) -> None:
        if type(event) is PriceChanges:
            self._changes(received_ns, event)
        elif type(event) is BookEvent:
            self._book(received_ns, event)
        elif isinstance(event, TickSizeChange):
            tick_e4 = _tick(event.new_tick_size)
            token = self._number(event.asset_id)
            if tick_e4 < 0:
                self._row(received_ns, kind=Kind.GAP, token=token)
            else:
                self._row(
                    received_ns,
                    kind=Kind.TICK,
                    token=token,
                    time_ms=parse_time_ms(event.timestamp),
                    price_e4=tick_e4,
                )
        elif isinstance(event, LastTradePrice):
            self._trade(received_ns, event)
        elif isinstance(event, Unreadable) and event.is_book_news:
            named = [*event.token_ids, *([_MARKET + event.market] if event.market else [])]
            for one in named or [""]:
                self._row(received_ns, kind=Kind.GAP, token=self._number(one))

    def _changes(self, received_ns: int, event: PriceChanges) -> None:
        time_ms, left = parse_time_ms(event.timestamp), len(event.price_changes)
        for change in event.price_changes:
            left -= 1
            self._rows.append(  # as _row, which most of the time would go into
                (
                    received_ns,
                    time_ms,
                    Kind.CHANGE,
                    left == 0,
                    self._number(change.asset_id),
                    _SIDES.index(change.side) if change.side in _SIDES else _UNREADABLE,
                    _price(change.price),
                    plain_scaled(change.size, 6),
                    _stated(change.best_bid),
                    _stated(change.best_ask),
                )
            )

    def _book(self, received_ns: int, event: BookEvent) -> None:
        token, time_ms = self._number(event.asset_id), parse_time_ms(event.timestamp)
        left = len(event.bids) + len(event.asks)
        self._row(
            received_ns,
            kind=Kind.BOOK,
            token=token,
            time_ms=time_ms,
            is_last=left == 0,
            price_e4=_tick(event.tick_size) if event.tick_size else 0,
            size_micro=left,
        )
        for side, levels in enumerate((event.bids, event.asks)):
            for level in levels:
                left -= 1
                self._row(
                    received_ns,
                    kind=Kind.LEVEL,
                    token=token,
                    time_ms=time_ms,
                    is_last=left == 0,
                    side=side,
                    price_e4=_price(level.price),
                    size_micro=plain_scaled(level.size, 6),
                )

    def _trade(self, received_ns: int, event: LastTradePrice) -> None:
        self._row(
            received_ns,
            kind=Kind.TRADE,
            token=self._number(event.asset_id),
            time_ms=parse_time_ms(event.timestamp),
            side=_SIDES.index(event.side) if event.side in _SIDES else _UNREADABLE,
            price_e4=_price(event.price),
            size_micro=plain_scaled(event.size, 6) if event.size else 0,
        )

    def _pays(self, received_ns: int, token: str, pays_micro: int) -> None:
        number = self._number(token)
        self._row(received_ns, kind=Kind.RESOLUTION, token=number, size_micro=pays_micro)


def _price(text: str) -> int:
    price_e4 = plain_scaled(text, 4)
    return price_e4 if 0 <= price_e4 <= PRICE_SCALE else _UNREADABLE


def _stated(text: str | None) -> int:
    if not text:
        return STATES_NOTHING
    price_e4 = _price(text)
    return price_e4 % PRICE_SCALE if price_e4 >= 0 else -4  # Fault.BAD_PRICE


def _stated_text(price_e4: int) -> str | None:
    if price_e4 == STATES_NOTHING:
        return None
    return _plain(price_e4, 4) if price_e4 >= 0 else "?"


def _tick(text: str) -> int:
    try:
        return parse_tick_e4(text)
    except InputError:
        return _UNREADABLE


def _plain(value: int, places: int) -> str:
    """Return an integer of so many decimals as text; nothing where it could not be read."""
    if value < 0:
        return ""
    whole, part = divmod(value, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".") if part else str(whole)


def _buffer(column: Any, code: str) -> memoryview:
    chunk = column.combine_chunks() if hasattr(column, "combine_chunks") else column
    if chunk.null_count:
        raise InputError("tape", column, "has empty cells")
    buffer = memoryview(chunk.buffers()[1]).cast("B")
    width = array(code).itemsize
    start = chunk.offset * width
    return buffer[start : start + len(chunk) * width].cast(code)  # type: ignore[call-overload, no-any-return]


def _read_about(path: Path) -> _About:
    parquet = _arrow("pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            text = (file.metadata.metadata or {}).get(_KEY)
    except (OSError, _arrow("pyarrow").ArrowException) as error:
        raise InputError("tape", str(path), f"cannot be read: {error}") from None
    if text is None or names != [name for name, _ in COLUMNS]:
        raise InputError("tape", str(path), "is not a tape: make one with polyexec.backtest.cache")
    found = json.loads(text)
    if found.get("format") != FORMAT:
        problem = f"is of format {found.get('format')}, not {FORMAT}: make it anew"
        raise InputError("tape", str(path), problem)
    return msgspec.convert(found, _About)


def _arrow(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError("tapes need pyarrow: pip install 'polyexec[backtest]'") from None
