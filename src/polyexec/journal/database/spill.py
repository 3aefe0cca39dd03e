"""Rows that the database could not take yet, on disk, until it can.

A folder of segments; whoever has its lock owns it. A record is framed as in the journal, so what a
kill or a power failure left half written is told from what was written.
"""

import fcntl
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from polyexec.errors import StoreError
from polyexec.journal.database.schema import TABLES, VERSION, Rows
from polyexec.journal.frames import MAX_PAYLOAD, DamageError, Place, frame, read_records

__all__ = ["MAX_BYTES", "Spill"]

MAX_BYTES: Final = 512 * 2**20
"""Of all segments, compressed: half a million groups with their fills, or a million signals that
were skipped one by one; those that are skipped in a burst take a tenth of that."""

_SEGMENT: Final = 4 * 2**20
_SUFFIX: Final = ".spill"
_log = logging.getLogger("polyexec.store")


class _Record(msgspec.Struct, frozen=True, array_like=True):
    version: int
    """Of the tables that the rows are for."""
    rows: dict[str, list[list[Any]]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Record).decode


class Spill:
    """A bounded queue on disk. Used by one thread.

    Parameters
    ----------
    folder : Path
        Of this store alone; made when it is needed.
    max_bytes : int
        Of all segments; beyond, rows are not taken.

    Raises
    ------
    StoreError
        Another process has the folder, or it cannot be made.
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._fd = self._lock_fd = -1
        self._place = Place(0, 1, 0)
        self._is_damaged = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._lock_fd, 20, 0).decode("ascii", "replace").strip()
            os.close(self._lock_fd)
            raise StoreError(
                str(folder),
                f"process {pid or 'unknown'} stores the trades of this account already: stop it, "
                "or give each its own database",
            ) from None
        except OSError as error:
            raise StoreError(str(folder), f"cannot be used: {error}") from error
        os.pwrite(self._lock_fd, f"{os.getpid():<19}\n".encode(), 0)
        self._segments = sorted(
            (path for path in folder.iterdir() if path.suffix == _SUFFIX),
            key=lambda path: path.name,
        )
        self._bytes = sum(path.stat().st_size for path in self._segments)

    @property
    def size_bytes(self) -> int:
        """What is on the disk."""
        return self._bytes

    @property
    def is_empty(self) -> bool:
        """Nothing waits."""
        return not self._segments

    def append(self, rows: Rows) -> bool:
        """Keep rows; False: there is no room, or the disk refuses. They survive the process."""
        payload = zlib.compress(_encode(_Record(VERSION, rows)), 1)  # type: ignore[arg-type]
        if self._bytes + len(payload) > self._max_bytes or len(payload) > MAX_PAYLOAD:
            return False
        data, crc = frame(payload, self._place.sequence, self._place.previous)
        offset = self._place.offset
        try:
            if self._fd < 0:
                self._start_segment()
                data, crc = frame(payload, 1, 0)
                offset = 0
            done = 0
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], offset + done)
        except OSError as error:
            _log.error("store_not_spilled", extra={"error": str(error)})
            self._cut(offset)
            return False
        self._bytes += len(data)
        self._place = Place(offset + len(data), self._place.sequence + 1, crc)
        if self._place.offset >= _SEGMENT:
            self._end_segment()
        return True

    def oldest(self) -> Iterator[Rows]:
        """Yield the rows of the oldest segment, record by record.

        What is damaged ends it, with an error in the log; the file is then kept under another name
        by :meth:`drop_oldest`.
        """
        path = self._segments[0]
        if self._fd >= 0 and path == self._segments[-1]:
            self._end_segment()
        self._is_damaged = True
        try:
            for payload, _ in read_records(path.read_bytes(), Place(0, 1, 0)):
                record = _decode(zlib.decompress(payload))
                if record.version > VERSION or not record.rows.keys() <= TABLES.keys():
                    raise DamageError(0, f"rows of version {record.version}, not {VERSION}")
                yield record.rows  # type: ignore[misc]
            self._is_damaged = False
        except (DamageError, OSError, zlib.error, msgspec.MsgspecError) as error:
            _log.error("store_spill_damaged", extra={"file": str(path), "error": str(error)})

    def drop_oldest(self) -> None:
        """Remove the oldest segment: its rows are in the database."""
        path = self._segments.pop(0)
        self._bytes -= path.stat().st_size if path.exists() else 0
        if self._is_damaged:
            path.rename(path.with_suffix(".damaged"))
        else:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the folder; what waits is for the next process."""
        self._end_segment()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    def _start_segment(self) -> None:
        last = int(self._segments[-1].stem) if self._segments else 0
        path = self._folder / f"{last + 1:012d}{_SUFFIX}"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._segments.append(path)
        self._place = Place(0, 1, 0)

    def _end_segment(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut(self, offset: int) -> None:
        if self._fd < 0:
            return
        try:
            os.ftruncate(self._fd, offset)
        except OSError:
            self._end_segment()  # what is torn stands at the end of it
