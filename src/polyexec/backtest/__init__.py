"""Replay recorded markets through the code that trades live; only clock and venue differ."""

from polyexec.backtest.report import LegRow, Report, TradeRow
from polyexec.backtest.run import run, sweep

__all__ = ["LegRow", "Report", "TradeRow", "run", "sweep"]
