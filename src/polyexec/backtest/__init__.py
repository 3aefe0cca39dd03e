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
    from polyexec.backtest.recordings import FrameLines, Recording, open_source
    from polyexec.backtest.report import LegRow, Report, TradeRow
    from polyexec.backtest.runner import run
    from polyexec.backtest.stream import Coverage, Source, Stamped
    from polyexec.backtest.studies import Study, capacity, sensitivity
    from polyexec.backtest.sweeping import sweep

__all__ = [
    "Capital",
    "Coverage",
    "CurvePoint",
    "Fill",
    "FrameLines",
    "LegRow",
    "Recording",
    "Report",
    "Resolution",
    "Source",
    "Stamped",
    "Study",
    "TradeRow",
    "capacity",
    "forms_from_metadata",
    "load_forms",
    "merged",
    "open_source",
    "run",
    "save_forms",
    "sensitivity",
    "sweep",
]

_HOME = {
    "Capital": "lots",
    "Coverage": "stream",
    "CurvePoint": "curve",
    "Fill": "lots",
    "FrameLines": "recordings",
    "LegRow": "report",
    "Recording": "recordings",
    "Report": "report",
    "Resolution": "lots",
    "Source": "stream",
    "Stamped": "stream",
    "Study": "studies",
    "TradeRow": "report",
    "capacity": "studies",
    "forms_from_metadata": "forms",
    "load_forms": "forms",
    "merged": "merging",
    "open_source": "recordings",
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
