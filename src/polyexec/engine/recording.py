"""What the market channel sent, written down as it came, and read again.

A recording is a folder of files, ``market-<time>-<number>.jsonl.gz``, one JSON object per line::

    {"received_ns": 81240, "received_ms": 1782852249137, "connection": 0, "frame": "[{...}]"}
    {"received_ns": 81990, "received_ms": 1782852249201, "connection": 0, "event": "down"}

``frame`` is the text as it was sent; ``received_ns`` is of ``time.perf_counter_ns`` and compares
only within one run, ``received_ms`` is unix time. ``event`` is ``up`` (a connection is there, and
was asked for everything), ``down`` (what was known from it is void) or ``lost`` (so many ``lines``
could not be written: what follows has a gap).
"""

import gzip
import io
import logging
import queue
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from polyexec.errors import InputError, UsageError

__all__ = ["FrameRecord", "Recorder", "RecorderCounts", "read_frames"]

log = logging.getLogger("polyexec.engine")

_FLUSH_S: Final = 2.0
_RETRY_S: Final = 5.0
_MOST_WAITING: Final = 50_000
_encoder = msgspec.json.Encoder()


class FrameRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of a recording."""

    received_ns: int
    received_ms: int
    connection: int
    frame: str | None = None
    event: Literal["up", "down", "lost"] | None = None
    lines: int = 0
    """Of ``lost``: how many."""


class RecorderCounts(msgspec.Struct):
    """What a recorder has done."""

    frames: int = 0
    lines: int = 0
    """Written and flushed."""
    files: int = 0
    lost: int = 0
    """Lines that were not written, as far as is known: the disk was full, or slower than the
    feed."""
    failures: int = 0
    """Times that the file could not be written or opened."""


class Recorder:
    """Writes frames into a folder, in a thread of its own; the feed's ``tap``.

    Lines wait in memory, at most 50,000 of them; the file is flushed every two seconds, so a kill
    costs no more and leaves a file that can be read. A disk that is full, or gone, is told once in
    the log and tried again with a new file; meanwhile lines are lost and counted. The feed never
    waits.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    rotate_s : float
        Seconds until the next file is begun.
    time_ms : callable
        Unix time in milliseconds.

    Raises
    ------
    InputError
        The folder cannot be made.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        rotate_s: float = 3600.0,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.folder = Path(folder)
        self.counts = RecorderCounts()
        if not rotate_s > 0:
            raise InputError("rotate_s", rotate_s, "must be above 0 seconds")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError("out", str(folder), f"cannot be made: {error.strerror}") from None
        self._rotate_s = rotate_s
        self._time_ms = time_ms
        self._waiting: queue.Queue[FrameRecord | None] = queue.Queue(_MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._file: gzip.GzipFile | None = None
        self._begun_s = self._failed_s = 0.0
        self._gap = self._unflushed = 0
        self._is_failing = False

    def start(self) -> Self:
        """Begin to write."""
        if self._thread is not None:
            raise UsageError("the recorder runs already")
        self._thread = threading.Thread(target=self._run, name="polyexec-recorder", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Write what waits, and end the file."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the feed's thread --------------------------------------------------------------------

    def on_frame(self, connection: int, frame: bytes, received_ns: int) -> None:
        """Take a frame."""
        self.counts.frames += 1
        self._put(
            FrameRecord(
                received_ns=received_ns,
                received_ms=self._time_ms(),
                connection=connection,
                frame=frame.decode("utf-8", "replace"),
            )
        )

    def on_up(self, connection: int) -> None:
        """Note that a connection is there."""
        self._put_event(connection, "up")

    def on_down(self, connection: int) -> None:
        """Note that a connection is gone."""
        self._put_event(connection, "down")

    def _put_event(self, connection: int, event: Literal["up", "down"]) -> None:
        self._put(
            FrameRecord(
                received_ns=time.perf_counter_ns(),
                received_ms=self._time_ms(),
                connection=connection,
                event=event,
            )
        )

    def _put(self, record: FrameRecord) -> None:
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            # Counted by the thread that writes too, and int += int is not atomic: a field each.
            self._gap += 1

    # --- the writer's thread ------------------------------------------------------------------

    def _run(self) -> None:
        flushed_s = time.monotonic()
        seen_gap = 0
        while True:
            try:
                record = self._waiting.get(timeout=_FLUSH_S)
            except queue.Empty:
                self._try(self._flush)
                flushed_s = time.monotonic()
                continue
            if record is None:
                break
            gap = self._gap
            if gap > seen_gap:
                self._lose(gap - seen_gap)
                seen_gap = gap
            self._write(record)
            if time.monotonic() - flushed_s >= _FLUSH_S:
                self._try(self._flush)
                flushed_s = time.monotonic()
        self._try(self._end)

    def _write(self, record: FrameRecord) -> None:
        now_s = time.monotonic()
        if self._file is not None and now_s - self._begun_s >= self._rotate_s:
            self._try(self._end)
        if self._file is None:
            if self._is_failing and now_s - self._failed_s < _RETRY_S:
                self._lose(1)
                return
            if not self._try(self._begin):
                self._lose(1)
                return
        self._try(self._write_line, record)

    def _begin(self) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._time_ms() / 1000))
        number = 0
        while True:
            path = self.folder / f"market-{stamp}-{number}.jsonl.gz"
            try:
                raw = path.open("xb", buffering=0)
                break
            except FileExistsError:
                number += 1
        self._file = gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, filename="")
        # GzipFile does not close what it was given.
        self._file.myfileobj = raw
        self._begun_s = time.monotonic()
        self.counts.files += 1
        if self.counts.lost:
            record = FrameRecord(
                received_ns=time.perf_counter_ns(),
                received_ms=self._time_ms(),
                connection=-1,
                event="lost",
                lines=self.counts.lost,
            )
            self._write_line(record)

    def _write_line(self, record: FrameRecord) -> None:
        assert self._file is not None  # noqa: S101 - _write has begun one
        self._unflushed += 1
        self._file.write(_encoder.encode(record) + b"\n")

    def _flush(self) -> None:
        if self._file is not None:
            self._file.flush(zlib.Z_SYNC_FLUSH)
            self._count_written()

    def _end(self) -> None:
        if self._file is not None:
            self._flush()
            self._file.close()
            self._file = None

    def _count_written(self) -> None:
        self.counts.lines += self._unflushed
        self._unflushed = 0

    def _lose(self, lines: int) -> None:
        self.counts.lost += lines

    def _try(self, call: Callable[..., None], *arguments: FrameRecord) -> bool:
        try:
            call(*arguments)
        except OSError as error:
            self.counts.failures += 1
            self._failed_s = time.monotonic()
            if not self._is_failing:
                log.error(
                    "recording_failed",
                    extra={"folder": str(self.folder), "reason": error.strerror or str(error)},
                )
            self._is_failing = True
            self._abandon()
            return False
        if call == self._begin and self._is_failing:
            self._is_failing = False
            log.warning("recording_resumed", extra={"lost": self.counts.lost})
        return True

    def _abandon(self) -> None:
        """Let go of a file that cannot be written; what stands in it stays readable."""
        self._lose(self._unflushed)
        self._unflushed = 0
        file, self._file = self._file, None
        if file is not None and file.myfileobj is not None:
            raw, file.myfileobj = file.myfileobj, None
            file.fileobj = io.BytesIO()  # its end goes nowhere
            file.close()
            raw.close()


def read_frames(path: Path | str) -> Iterator[FrameRecord]:
    """Yield the lines of a recording: one file, or every file of a folder in order.

    A file that ends in the middle (it is still being written, or its writer was killed) is read as
    far as it goes. Frames are texts: :func:`~polyexec.core.market_events.decode_frame` reads them.

    Raises
    ------
    InputError
        There is no such file, or what is no line stands before its end.
    """
    where = Path(path)
    if where.is_dir():
        files = sorted(where.glob("market-*.jsonl.gz"), key=_order)
        if not files:
            raise InputError("path", str(path), "holds no recording")
    elif where.is_file():
        files = [where]
    else:
        raise InputError("path", str(path), "no such file or folder")
    for file in files:
        yield from _read_file(file)


def _read_file(file: Path) -> Iterator[FrameRecord]:
    decoder = msgspec.json.Decoder(FrameRecord)
    pending: InputError | None = None
    for number, line in enumerate(_lines(file), 1):
        if pending is not None:
            raise pending
        try:
            yield decoder.decode(line)
        except msgspec.MsgspecError as error:
            # The last one may be torn; in front of others it is damage.
            pending = InputError("path", f"{file.name}:{number}", f"is no recorded line: {error}")


def _lines(file: Path) -> Iterator[bytes]:
    rest = b""
    inflate = zlib.decompressobj(wbits=31)
    with file.open("rb") as raw:
        while block := raw.read(1 << 16):
            while block:
                try:
                    rest += inflate.decompress(block)
                except zlib.error as error:
                    raise InputError("path", file.name, f"is damaged: {error}") from None
                block, inflate = (
                    inflate.unused_data,
                    zlib.decompressobj(wbits=31) if inflate.eof else inflate,
                )
            *whole, rest = rest.split(b"\n")
            yield from (line for line in whole if line)
    if rest:
        yield rest


def _order(file: Path) -> tuple[str, int]:
    stamp, _, number = file.name.removesuffix(".jsonl.gz").rpartition("-")
    return stamp, int(number) if number.isdigit() else 0
