"""Replay recorded markets through the code that trades live; only clock and venue differ.

Its parts are loaded when they are used: a bot that trades live does not pay for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyexec.backtest.recordings import FrameLines, Recording, open_source
    from polyexec.backtest.report import LegRow, Report, TradeRow
    from polyexec.backtest.runner import run, sweep
    from polyexec.backtest.stream import Coverage, Source, Stamped
    from polyexec.backtest.tape import Tape, cache

__all__ = [
    "Coverage",
    "FrameLines",
    "LegRow",
    "Recording",
    "Report",
    "Source",
    "Stamped",
    "Tape",
    "TradeRow",
    "cache",
    "open_source",
    "run",
    "sweep",
]

_HOME = {
    "Coverage": "stream",
    "FrameLines": "recordings",
    "LegRow": "report",
    "Recording": "recordings",
    "Report": "report",
    "Source": "stream",
    "Stamped": "stream",
    "Tape": "tape",
    "TradeRow": "report",
    "cache": "tape",
    "open_source": "recordings",
    "run": "runner",
    "sweep": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
