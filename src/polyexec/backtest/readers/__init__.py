"""Readers of recorded market data, one per format; :func:`open_source` tells them apart.

Each yields one stream of :class:`~polyexec.backtest.stream.Stamped` by time of receipt. Prices and
sizes stay texts until the price table puts them on its grid, and no file is ever whole in memory.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import orjson

from polyexec.backtest.readers.columns import Columns
from polyexec.backtest.readers.fields import csv_names
from polyexec.backtest.readers.frames import FrameLines, find_layout
from polyexec.backtest.readers.lines import head, list_files, read_document
from polyexec.backtest.readers.parquet import ParquetRows
from polyexec.backtest.readers.pmxt import Pmxt, pmxt_version
from polyexec.backtest.readers.price_history import PriceHistory
from polyexec.backtest.readers.recording import Recording
from polyexec.backtest.readers.resolutions import Resolutions
from polyexec.backtest.readers.token_lines import TokenLines
from polyexec.backtest.readers.trades import DataApiTrades
from polyexec.backtest.stream import Source
from polyexec.errors import InputError

__all__ = [
    "Columns",
    "DataApiTrades",
    "FrameLines",
    "Pmxt",
    "PriceHistory",
    "Recording",
    "Resolutions",
    "TokenLines",
    "open_source",
]

_READERS: Final[dict[str, Callable[..., Source]]] = {
    "recording": Recording,
    "frames": FrameLines,
    "token-lines": TokenLines,
    "pmxt": Pmxt,
    "trades": DataApiTrades,
    "prices-history": PriceHistory,
    "resolutions": Resolutions,
    "columns": Columns,
}
_SHOWN: Final = 40
_PEEK: Final = 1 << 12


def open_source(path: Path | str, *, format: str | None = None, **options: Any) -> Source:
    """Return the source of a recording, by what its first record is.

    Parameters
    ----------
    path : path
        A file, or a folder whose files are all of one format.
    format : str or None
        ``recording``, ``frames``, ``token-lines``, ``pmxt``, ``trades``, ``prices-history``,
        ``resolutions`` or ``columns``; None: told by the content.
    **options
        Of the reader: ``tokens``, ``token_id``, ``columns``, ...

    Raises
    ------
    InputError
        There is no such file, its first record is of no format that is known, files of several
        formats are in the folder, or an option is not one of this format's.
    """
    if format is None:
        format = "columns" if "columns" in options else _find_format(path)
    reader = _READERS.get(format)
    if reader is None:
        raise InputError("format", format, f"must be one of {', '.join(_READERS)}")
    try:
        inspect.signature(reader).bind(path, **options)
    except TypeError as error:
        raise InputError("options", sorted(options), f"do not fit {format}: {error}") from None
    return reader(path, **options)


def _find_format(path: Path | str) -> str:
    found: dict[str, Path] = {}
    for file in list_files(path):
        # A recorder that was killed at once leaves a file without a whole line.
        if first := head(file):
            found.setdefault(_format_of(file, first), file)
    if not found:
        raise InputError(str(path), 0, "whole records are in it: empty, or truncated")
    if len(found) > 1:
        told = ", ".join(f"{name} ({file.name})" for name, file in found.items())
        raise InputError(str(path), len(found), f"formats in it: {told}; open them one by one")
    return next(iter(found))


def _format_of(file: Path, first: bytes) -> str:
    if first == b"PAR1":
        rows = ParquetRows(file)
        try:
            pmxt_version(rows)
        finally:
            rows.close()
        return "pmxt"
    try:
        value = orjson.loads(first)
    except orjson.JSONDecodeError as error:
        return _format_of_text(file, first, error)
    return _format_of_value(value, first, f"{file}:1")


def _format_of_value(value: Any, first: bytes, where: str) -> str:
    one = value
    while isinstance(one, list) and one:  # a pair of time and frame ends at its time
        one = one[0]
    if isinstance(one, dict):
        if {"received_ns", "received_ms", "connection"} <= one.keys():
            return "recording"
        if "event_type" not in one:
            if {"asset", "price", "side"} <= one.keys():
                return "trades"
            if "clobTokenIds" in one or "clobTokenIds" in (one.get("raw") or ()):
                return "resolutions"
            if isinstance(one.get("markets"), list):
                return "resolutions"
            if "history" in one:
                return "prices-history"
            if "asset_id" not in one and ({"bids", "asks"} <= one.keys() or _is_print(one)):
                return "token-lines"
    find_layout(first, where)
    return "frames"


def _is_print(one: dict[str, Any]) -> bool:
    return {"price", "size", "side", "timestamp"} <= one.keys()


def _format_of_text(file: Path, first: bytes, error: ValueError) -> str:
    """Return the format of CSV, or of a JSON text on many lines, by the names that stand first."""
    names = csv_names(first)
    if {"timestamp", "asset", "price", "size", "side"} <= set(names):
        return "trades"
    if first[:1] in b"[{" and len(first) < _PEEK:
        return _format_of_document(file)
    if len(names) > 2:
        problem = "is CSV of no format that is known: say with columns= what its columns are"
        raise InputError(f"{file}:1", first[:_SHOWN], problem)
    raise InputError(f"{file}:1", first[:_SHOWN], f"is not JSON: {error}")


def _format_of_document(file: Path) -> str:
    value = read_document(file)
    one = value
    while isinstance(one, list) and one:
        one = one[0]
    text = orjson.dumps(one, default=str)
    return _format_of_value(one, text, str(file))
