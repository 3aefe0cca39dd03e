"""Files of lines: plain, gzip or zstd by their first bytes, and never whole in memory."""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from polyexec.core.answers import decode_json
from polyexec.errors import ConfigError, InputError

__all__ = ["KEEP_ALIVE", "Lines", "as_path", "head", "list_files", "read_document"]

_BLOCK: Final = 1 << 14
_LONGEST_LINE: Final = 1 << 24
_LONGEST_DOCUMENT: Final = 1 << 26
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_KNOWN: Final = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")
KEEP_ALIVE: Final = (b"PING", b"PONG", b"[]")
"""Lines that are no news."""
_PACKED: Final = (".gz", ".zst")


class Lines:
    """The lines of a file with their numbers, blank ones left out.

    Parameters
    ----------
    path : Path
    may_be_cut : bool
        A file that ends in the middle is read as far as it goes; :attr:`is_cut` says so. Otherwise
        that is an ``InputError``.
    """

    def __init__(self, path: Path, *, may_be_cut: bool = False) -> None:
        self.name = str(path)
        self.number = 0
        """Of the last line."""
        self.is_cut = False
        self.is_torn = False
        """The last line has no end, since the file ends in the middle."""
        self._path = path
        self._may_be_cut = may_be_cut

    def __iter__(self) -> Iterator[bytes]:
        """Yield every line without its end.

        Raises
        ------
        InputError
            The file cannot be read, is damaged, or is no file of lines; names file and line.
        """
        self.number, self.is_cut, self.is_torn = 0, False, False
        begun, size = [b""], 0  # the line that has begun, in parts: adding them up is quadratic
        for block in self._blocks():
            first, *whole = block.split(b"\n")
            begun.append(first)
            size += len(first)
            if whole:
                whole, last = [b"".join(begun), *whole[:-1]], whole[-1]
                begun, size = [last], len(last)
                for line in whole:
                    self.number += 1
                    if line := line.strip():
                        yield line
            if size > _LONGEST_LINE:
                self.number += 1
                raise InputError(self.where, begun[0][:40], "is longer than 16 MiB: no line")
        rest = b"".join(begun)
        if self.is_cut and not self._may_be_cut:
            problem = "lines, then the file is damaged: it ends in the middle (truncated)"
            raise InputError(self.name, self.number, problem)
        if rest := rest.strip():
            self.number += 1
            self.is_torn = self.is_cut
            yield rest

    @property
    def where(self) -> str:
        """File and number of the last line."""
        return f"{self.name}:{self.number}"

    def _blocks(self) -> Iterator[bytes]:
        try:
            with self._path.open("rb") as raw:
                first = raw.read(_BLOCK)
                if first.startswith(_GZIP):
                    yield from self._unpack(raw, first, _inflater)
                elif first.startswith(_ZSTD):
                    yield from self._unpack(raw, first, _zstd_inflater())
                else:
                    while first:
                        yield first
                        first = raw.read(_BLOCK)
        except OSError as error:
            raise InputError(self.name, error.strerror, "so it cannot be read") from None

    def _unpack(self, raw: Any, block: bytes, make: Any) -> Iterator[bytes]:
        damaged, inflate = _damages(), make()
        while block:
            while block:
                try:
                    data = inflate.decompress(block)
                except damaged as error:
                    problem = f"lines, then the file is damaged: {error}"
                    raise InputError(self.name, self.number, problem) from None
                if data:
                    yield data
                block = inflate.unused_data
                if inflate.eof:
                    inflate = make()
                    self.is_cut = False
                else:
                    self.is_cut = True
            block = raw.read(_BLOCK)


def _inflater() -> Any:
    return zlib.decompressobj(wbits=31)


def _zstd_inflater() -> Any:
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("zstandard is not installed: pip install 'polyexec[backtest]'") from None
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj


def _damages() -> tuple[type[Exception], ...]:
    try:
        from zstandard import ZstdError  # noqa: PLC0415 - an extra
    except ImportError:
        return (zlib.error,)
    return (zlib.error, ZstdError)


def head(path: Path) -> bytes:
    """Return the first line with content, of a Parquet file its mark; empty if there is none.

    Raises
    ------
    InputError
        There is no such file, or it cannot be unpacked.
    """
    try:
        with path.open("rb") as raw:
            if raw.read(4) == b"PAR1":
                return b"PAR1"
    except OSError as error:
        raise InputError(str(path), error.strerror, "so it cannot be read") from None
    lines = Lines(path, may_be_cut=True)
    for line in lines:
        if line not in KEEP_ALIVE:
            return b"" if lines.is_torn else line
    return b""


def read_document(path: Path) -> Any:
    """Return the value of a file that is one JSON text, its fractions as ``Decimal``.

    Raises
    ------
    InputError
        It is not JSON, or above 64 MiB: such a file has to come as lines.
    """
    parts, size = [], 0
    for line in Lines(path):
        size += len(line) + 1
        if size > _LONGEST_DOCUMENT:
            raise InputError(str(path), size, "bytes in one JSON text: give one record per line")
        parts.append(line)
    text = b"\n".join(parts)
    try:
        return decode_json(text)
    except ValueError as error:
        raise InputError(str(path), text[:40], f"is not JSON: {error}") from None


def as_path(path: Path | str) -> Path:
    """Return the path of a file or folder that is there.

    Raises
    ------
    InputError
        There is none.
    """
    where = Path(path)
    if not where.exists():
        raise InputError(str(path), None, "cannot be read: no such file or folder")
    return where


def list_files(path: Path | str | Iterable[Path | str]) -> list[Path]:
    """Return the files of a folder and those below it, by name; or the file, or the files given.

    Raises
    ------
    InputError
        There are none.
    """
    if not isinstance(path, Path | str):
        return [file for one in path for file in list_files(one)]
    where = as_path(path)
    if where.is_file():
        return [where]
    files = sorted(one for one in where.rglob("*") if one.is_file() and _is_data(one))
    if not files:
        raise InputError(str(path), 0, "recordings (.jsonl, .json, .csv, .parquet) are in it")
    return files


def _is_data(file: Path) -> bool:
    suffixes = [one.lower() for one in file.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return bool(suffixes) and suffixes[-1] in _KNOWN and not file.name.startswith(".")
