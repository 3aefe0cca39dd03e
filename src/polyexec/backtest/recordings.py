"""Recordings as sources: what ``polyexec record`` writes, and plain lines of frames."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, cast

from polyexec.backtest.stream import Coverage, Source, Stamped
from polyexec.core.market_events import MarketEvent, Unreadable, decode_frame, parse_time_ms
from polyexec.engine.recording import read_frames
from polyexec.errors import InputError

__all__ = ["FrameLines", "Recording", "open_source"]

_MS_NS: Final = 1_000_000


class Recording:
    """A file or a folder that ``polyexec record`` has written.

    A lost connection, and lines that were not written, void every book until its next snapshot.
    """

    truth = "L2"

    def __init__(self, path: Path | str) -> None:
        self.name = str(path)
        self._path = path
        self._gaps = 0

    def events(self) -> Iterator[Stamped]:
        """Yield frames and gaps, in the order in which they were recorded."""
        self._gaps = 0
        last_ns = 0
        for record in read_frames(self._path):
            # The machine's clock may have been set back meanwhile; what came later stays later.
            last_ns = max(last_ns, record.received_ms * _MS_NS)
            if record.frame is not None:
                yield Stamped(received_ns=last_ns, frame=record.frame.encode())
            elif record.event in ("down", "lost"):
                self._gaps += 1
                yield Stamped(received_ns=last_ns, kind="gap")

    def coverage(self) -> Coverage:
        """Return how often something is missing."""
        detail = f"{self._gaps} times without a connection or lines" if self._gaps else ""
        return Coverage(is_partial=self._gaps > 0, detail=detail)


class FrameLines:
    """Frames of the market channel, one per line, as they came; ``.gz`` or plain.

    They have no time of receipt, so the exchange's own stands in for it: nothing is late in such a
    replay.
    """

    truth = "L2"

    def __init__(self, path: Path | str) -> None:
        self.name = str(path)
        self._path = Path(path)

    def events(self) -> Iterator[Stamped]:
        """Yield every line as a frame.

        Raises
        ------
        InputError
            A line is no JSON, or older than one before it; names file and line.
        """
        last_ms = 0
        with _opened(self._path) as stream:
            for number, line in enumerate(_lines(stream, self.name), 1):
                if not line.strip():
                    continue
                events = decode_frame(line)
                if not events or any(isinstance(event, Unreadable) for event in events):
                    raise InputError(f"{self.name}:{number}", line[:40], "is no market event")
                time_ms = max(map(_time_ms, events)) or last_ms
                if time_ms < last_ms:
                    problem = f"is {last_ms - time_ms} ms older than the line before: not in order"
                    raise InputError(f"{self.name}:{number}", time_ms, problem)
                last_ms = time_ms
                yield Stamped(received_ns=time_ms * _MS_NS, frame=line)

    def coverage(self) -> Coverage:
        """Return that nothing is known of what is missing."""
        return Coverage()


def open_source(path: Path | str) -> Source:
    """Return the source of a recording, by what its first line is.

    Raises
    ------
    InputError
        There is no such file, or its first line is of no format that is known.
    """
    where = Path(path)
    if where.is_dir():
        return Recording(where)
    with _opened(where) as stream:
        first = next(_lines(stream, str(where)), b"")
    try:
        value = json.loads(first)
    except ValueError as error:
        raise InputError(f"{where}:1", first[:40], f"is not JSON: {error}") from None
    if isinstance(value, dict) and "received_ns" in value:
        return Recording(where)
    if isinstance(value, list) or (isinstance(value, dict) and "event_type" in value):
        return FrameLines(where)
    raise InputError(f"{where}:1", first[:40], "is neither a recording nor a market-channel frame")


def _opened(path: Path) -> IO[bytes]:
    try:
        if path.suffix == ".gz":
            return cast("IO[bytes]", gzip.open(path, "rb"))
        return path.open("rb")
    except OSError as error:
        raise InputError("path", str(path), f"cannot be read: {error}") from None


def _lines(stream: IO[bytes], name: str) -> Iterator[bytes]:
    number = 0
    try:
        for line in stream:
            number += 1
            yield line
    except (OSError, EOFError) as error:
        raise InputError(name, number, f"lines, then the file is damaged: {error}") from None


def _time_ms(event: MarketEvent) -> int:
    return max(0, parse_time_ms(getattr(event, "timestamp", "")))
