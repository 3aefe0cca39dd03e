"""Sorting by time, out of core."""

import heapq
import struct
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar

import msgspec

__all__ = ["Sorter"]

_T = TypeVar("_T")
_Packed: TypeAlias = tuple[int, int, bytes]
_HEAD: Final = struct.Struct("<qqI")
_OVERHEAD: Final = 160  # of a tuple with two integers and its bytes


class Sorter(Generic[_T]):
    """Takes records in any order and gives them back by (time, row).

    They wait packed; what is above ``run_bytes`` is sorted and written to a file in a temporary
    folder. Of ``fan_in`` files one is made, so neither memory nor open files grow with the input.

    Parameters
    ----------
    kind : type or union
        Of the records, as msgspec understands it.
    """

    def __init__(self, kind: Any, *, run_bytes: int = 1 << 24, fan_in: int = 64) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._run_bytes = run_bytes
        self._fan_in = fan_in
        self._waiting: list[_Packed] = []
        self._size = 0
        self._levels: list[list[Path]] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    @property
    def files(self) -> int:
        """How many files were written."""
        return self._files

    def add(self, time_ns: int, row: int, record: _T) -> None:
        """Take a record; ``row`` is its place among those of the same time, and unique there."""
        packed = self._encoder.encode(record)
        self._waiting.append((time_ns, row, packed))
        self._size += len(packed) + _OVERHEAD
        if self._size >= self._run_bytes:
            self._waiting.sort()
            self._spill(iter(self._waiting), 0)
            self._waiting, self._size = [], 0

    def drain(self) -> Iterator[tuple[int, int, _T]]:
        """Yield (time, row, record) in order."""
        self._waiting.sort()
        runs = [_read(path) for path in chain.from_iterable(self._levels)]
        decode = self._decoder.decode
        for time_ns, row, packed in heapq.merge(*runs, self._waiting):
            yield time_ns, row, decode(packed)

    def _spill(self, records: Iterator[_Packed], level: int) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="polyexec-sort-")
        path = Path(self._folder.name) / str(self._files)
        self._files += 1
        with path.open("wb") as file:
            for time_ns, row, packed in records:
                file.write(_HEAD.pack(time_ns, row, len(packed)))
                file.write(packed)
        while len(self._levels) <= level:
            self._levels.append([])
        runs = self._levels[level]
        runs.append(path)
        if len(runs) >= self._fan_in:
            self._levels[level] = []
            self._spill(heapq.merge(*map(_read, runs)), level + 1)
            for run in runs:
                run.unlink()


def _read(path: Path) -> Iterator[_Packed]:
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            time_ns, row, size = _HEAD.unpack(head)
            yield time_ns, row, file.read(size)
