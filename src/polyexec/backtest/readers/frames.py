"""Frames of the market channel as others record them."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from polyexec.backtest.readers.guard import hold_resolutions
from polyexec.backtest.readers.lines import KEEP_ALIVE, Lines, list_files, read_document
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.readers.times import parse_time_ns
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.core.market_events import (
    BookEvent,
    LastTradePrice,
    MarketEvent,
    MarketResolved,
    Unreadable,
    decode_frame,
    parse_time_ms,
)
from polyexec.errors import InputError

__all__ = ["FrameLines", "Layout"]

_MS_NS: Final = 1_000_000
_FRAME_KEYS: Final = (
    "raw_frame",
    "frame",
    "raw_message",
    "raw",
    "message",
    "msg",
    "payload",
    "data",
    "event",
)
_OWN_TIMES: Final = [
    "received",
    "received_at",
    "receive_time",
    "received_time",
    "recv",
    "recv_ts",
    "recv_time",
    "recv_at",
    "ts_recv",
    "received_ts",
    "received_timestamp",
    "timestamp_received",
    "rx",
    "rx_ts",
    "local_timestamp",
    "local_ts",
    "local_time",
    "capture_ts",
    "captured_at",
    "capture_time",
    "arrival_ts",
    "arrival_time",
    "ingest_ts",
    "ingested_at",
    "recorded_at",
]
# Of an event these are the exchange's own, of an envelope the recorder's.
_TIMES: Final = [*_OWN_TIMES, "ts", "time", "timestamp", "t"]
_UNITS: Final = ("", "ns", "us", "ms", "s")
_LOST: Final = re.compile(r"disconnect|reconnect|down|clos|gap|lost|error", re.IGNORECASE)
_HARMLESS: Final = re.compile(r"open|connect|up|subscri|ping|pong|heartbeat|start", re.IGNORECASE)
_raw_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raw_items = msgspec.json.Decoder(list[msgspec.Raw])


class Layout(msgspec.Struct, frozen=True):
    """How the lines of a file hold frame and time of receipt."""

    time_key: str = ""
    """Empty: there is none, the exchange's time stands in."""
    unit: str = ""
    frame_key: str = ""
    """Empty: the line is the frame."""
    is_pair: bool = False
    """``[time, frame]``."""


class FrameLines:
    """Frames of the market channel as others record them, one per line; plain, ``.gz``, ``.zst``.

    A line is the frame itself (one event or a list), an event that the recorder has given a time of
    receipt, an envelope with time and frame (an object or its text), or ``[time, frame]``. A JSON
    file that is not made of lines is one frame, or a list of them.

    Without a time of receipt the exchange's stands in for it: nothing is late in such a replay. The
    order of the lines is then the order of receipt; the snapshots that answer a subscription may
    be older.

    Parameters
    ----------
    path : path, or several
        A folder stands for its files by name; each has to follow the one before in time.
    """

    truth: Truth = "L2"

    def __init__(self, path: Path | str | Iterable[Path | str]) -> None:
        self._files = list_files(path)
        self.name = str(path) if isinstance(path, Path | str) else str(self._files[0])
        self._tally = Tally(self.truth)

    def events(self) -> Iterator[Stamped]:
        """Yield every frame, a gap for each hour that is missing, and resolutions at their time.

        Raises
        ------
        InputError
            A line is no frame, of another layout than the first, or more than five seconds older
            than one before it; names file and line.
        """
        return hold_resolutions(self._events())

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        return self._tally.coverage()

    def _events(self) -> Iterator[Stamped]:
        self._tally = Tally(self.truth)
        for file in self._files:
            layout: Layout | None = None
            for where, line in _frames_of(file):
                if line in KEEP_ALIVE:
                    continue
                if layout is None:
                    layout = find_layout(line, where)
                yield from self._take(line, where, layout)

    def _take(self, line: bytes, where: str, layout: Layout) -> Iterator[Stamped]:
        time_ns, frame = _open(line, where, layout)
        if frame in KEEP_ALIVE:
            return
        if frame is None:
            if self._is_loss(line, where):
                hole = self._tally.admit(time_ns, where)
                yield hole or self._tally.gap(self._tally.now_ns)
            return
        events = decode_frame(frame)
        if not events or any(isinstance(event, Unreadable) for event in events):
            raise InputError(where, line[:40], "is no market event, as the lines before are")
        if not layout.time_key and not layout.is_pair:
            if all(map(_is_dated_resolution, events)):
                # It waits for its own time, which may be long after that of its neighbours.
                yield Stamped(received_ns=self._tally.now_ns, frame=frame)
                return
            time_ns = self._exchange_ns(events, is_list=frame.lstrip()[:1] == b"[")
        hole = self._tally.admit(time_ns, where)
        if hole is not None:
            yield hole
        for event in events:
            if isinstance(event, BookEvent | LastTradePrice):
                self._tally.tokens.add(event.asset_id)
        now_ns = self._tally.now_ns
        if len(events) == 1:
            yield Stamped(received_ns=now_ns, event=events[0])
        else:
            yield Stamped(received_ns=now_ns, frame=frame)

    def _exchange_ns(self, events: Iterable[MarketEvent], *, is_list: bool) -> int:
        """Return when a frame came at the earliest.

        A snapshot has the time of the book's last change: that of a quiet market, which answers a
        subscription, can be old.
        """
        now_ms = self._tally.now_ns // _MS_NS
        times = []
        for event in events:
            time_ms = parse_time_ms(getattr(event, "timestamp", ""))
            is_answer = isinstance(event, BookEvent) and (
                is_list or event.asset_id not in self._tally.tokens
            )
            if time_ms < 0 or isinstance(event, MarketResolved):
                continue
            times.append(max(time_ms, now_ms) if is_answer else time_ms)
        return max(times, default=now_ms) * _MS_NS

    @staticmethod
    def _is_loss(line: bytes, where: str) -> bool:
        """Return whether a line without a frame says that the connection was lost."""
        words = " ".join(str(value) for value in orjson.loads(line).values())
        if _LOST.search(words):
            return True
        if _HARMLESS.search(words):
            return False
        raise InputError(where, line[:40], "holds no frame, as the lines before do: mixed formats")


def _is_dated_resolution(event: MarketEvent) -> bool:
    return isinstance(event, MarketResolved) and parse_time_ms(event.timestamp) > 0


def find_layout(line: bytes, where: str) -> Layout:
    """Return the layout that a first line has.

    Raises
    ------
    InputError
        It is neither a market-channel frame nor an envelope of one; names the record.
    """
    problem = "is neither a recording nor a market-channel frame"
    try:
        if line.lstrip()[:1] == b"[":
            items = _raw_items.decode(line)
            is_pair = len(items) == 2 and bytes(items[0])[:1] not in b"[{"
            return Layout(is_pair=is_pair)
        fields = _raw_fields.decode(line)
    except msgspec.MsgspecError as error:
        raise InputError(where, line[:40], f"is not JSON, or {problem}: {error}") from None
    if "event_type" in fields:
        return _timed(fields, _OWN_TIMES, "")
    for key in _FRAME_KEYS:
        if key in fields and bytes(fields[key]).lstrip(b'"')[:1] in (b"[", b"{"):
            layout = _timed(fields, _TIMES, key)
            if layout.time_key:
                return layout
    raise InputError(where, line[:40], problem)


def _timed(fields: dict[str, Any], bases: list[str], frame_key: str) -> Layout:
    plain = {key.lower().replace("_", ""): key for key in fields if key != frame_key}
    for base in bases:
        for unit in _UNITS:
            key = plain.get(base.replace("_", "") + unit)
            if key is not None:
                return Layout(key, unit, frame_key)
    return Layout(frame_key=frame_key)


def _open(line: bytes, where: str, layout: Layout) -> tuple[int, bytes | None]:
    """Return time of receipt (0: it has none) and frame (None: it holds none)."""
    if not layout.time_key and not layout.is_pair:
        return 0, line
    try:
        if layout.is_pair:
            time, raw = _raw_items.decode(line)
        else:
            fields = _raw_fields.decode(line)
            time, raw = fields[layout.time_key], fields.get(layout.frame_key, msgspec.Raw(b"null"))
        frame = bytes(raw)
        if frame[:1] == b'"':
            frame = msgspec.json.decode(frame, type=str).encode()
        value = _number(time)
    except (msgspec.MsgspecError, KeyError, ValueError):
        problem = "is not of the layout of the first line: mixed formats, or damage"
        raise InputError(where, line[:40], problem) from None
    time_ns = parse_time_ns(value, where, unit=layout.unit)
    if not layout.frame_key and not layout.is_pair:
        return time_ns, line
    return time_ns, None if frame == b"null" else frame


def _number(raw: msgspec.Raw) -> Any:
    """Return a number by its text: a float would lose nanoseconds."""
    text = bytes(raw)
    return msgspec.json.decode(text) if text[:1] == b'"' else text.decode()


def _frames_of(file: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines; of a file that is one JSON text, its frames."""
    lines = Lines(file)
    for line in lines:
        if lines.number == 1 and not _is_json(line):
            break
        if line[:2] == b"[[":  # frames in one list
            for number, frame in enumerate(_raw_items.decode(line), 1):
                yield f"{lines.where}#{number}", bytes(frame)
        else:
            yield lines.where, line
    else:
        return
    value = read_document(file)
    nested = isinstance(value, list) and any(isinstance(one, list) for one in value)
    for number, frame in enumerate(value if nested else [value], 1):
        yield f"{file}#{number}", orjson.dumps(frame, default=lambda one: format(one, "f"))


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except ValueError:
        return line[:4] in KEEP_ALIVE
    return True
