"""Replay recorded markets through the code that trades live; only clock and venue differ.

Its parts are loaded when they are used: a bot that trades live does not pay for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyexec.backtest.curve import CurvePoint
    from polyexec.backtest.forms import forms_from_metadata, load_forms, save_forms
    from polyexec.backtest.lots import Capital, Fill, Resolution
    from polyexec.backtest.merging import merged
    from polyexec.backtest.readers import (
        Columns,
        DataApiTrades,
        FrameLines,
        Pmxt,
        PriceHistory,
        Recording,
        Resolutions,
        TokenLines,
        open_source,
    )
    from polyexec.backtest.replay import Books
    from polyexec.backtest.report import LegRow, QueueRow, Report, TradeRow
    from polyexec.backtest.runner import run
    from polyexec.backtest.stream import Coverage, Source, Stamped, merge
    from polyexec.backtest.studies import Study, capacity, sensitivity
    from polyexec.backtest.sweeping import sweep
    from polyexec.backtest.tape import Tape, cache

__all__ = [
    "Books",
    "Capital",
    "Columns",
    "Coverage",
    "CurvePoint",
    "DataApiTrades",
    "Fill",
    "FrameLines",
    "LegRow",
    "Pmxt",
    "PriceHistory",
    "QueueRow",
    "Recording",
    "Report",
    "Resolution",
    "Resolutions",
    "Source",
    "Stamped",
    "Study",
    "Tape",
    "TokenLines",
    "TradeRow",
    "cache",
    "capacity",
    "forms_from_metadata",
    "load_forms",
    "merge",
    "merged",
    "open_source",
    "run",
    "save_forms",
    "sensitivity",
    "sweep",
]

_HOME = {
    "Books": "replay",
    "Capital": "lots",
    "Columns": "readers",
    "Coverage": "stream",
    "CurvePoint": "curve",
    "DataApiTrades": "readers",
    "Fill": "lots",
    "FrameLines": "readers",
    "LegRow": "report",
    "Pmxt": "readers",
    "PriceHistory": "readers",
    "QueueRow": "report",
    "Recording": "readers",
    "Report": "report",
    "Resolution": "lots",
    "Resolutions": "readers",
    "Source": "stream",
    "Stamped": "stream",
    "Study": "studies",
    "Tape": "tape",
    "TokenLines": "readers",
    "TradeRow": "report",
    "cache": "tape",
    "capacity": "studies",
    "forms_from_metadata": "forms",
    "load_forms": "forms",
    "merge": "stream",
    "merged": "merging",
    "open_source": "readers",
    "run": "runner",
    "save_forms": "forms",
    "sensitivity": "studies",
    "sweep": "sweeping",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
