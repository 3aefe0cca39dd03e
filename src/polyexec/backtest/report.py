"""What a backtest has found: decisions, fills, money; integers inside, frames on request."""

import html
from collections import Counter
from importlib import import_module
from typing import Any

import msgspec

from polyexec.errors import UsageError
from polyexec.numbers import from_micro

__all__ = ["LegRow", "Report", "TradeRow"]


class LegRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order; money in micro-dollars, shares in millionths, prices in 1e-4 dollars."""

    trade: int
    """Number of its trade."""
    token_id: str
    side: str
    price_e4: int
    size_micro: int
    filled_micro: int
    paid_micro: int
    fee_micro: int
    state: str
    error: str


class TradeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One signal and what became of it; times are unix milliseconds."""

    number: int
    time_ms: int
    finished_ms: int
    group_key: str
    strategy: str
    skipped: str
    """Reason; empty when it was sent."""
    is_whole: bool
    cost_micro: int
    expected_pnl_micro: int
    at_risk_micro: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one backtest."""

    trades: tuple[TradeRow, ...]
    legs: tuple[LegRow, ...]
    balance_before_micro: int
    balance_micro: int
    """Collateral at the end, resolved positions not redeemed."""
    resolved_micro: int
    """What the positions pay whose resolution was in the data."""
    unresolved: tuple[tuple[str, int], ...]
    """Token and micro-shares of the others: worth nothing is claimed of them."""
    events: int
    first_ms: int
    last_ms: int
    digest: str
    """SHA-256 over every decision and fill; the same data, settings and seed give the same."""
    is_cancelled: bool
    partial: tuple[str, ...]
    """Sources that were not complete, in words."""

    @property
    def skips(self) -> dict[str, int]:
        """How often each reason kept a signal from being sent."""
        return dict(Counter(one.skipped for one in self.trades if one.skipped))

    @property
    def fees_micro(self) -> int:
        """Taker fees, micro-dollars."""
        return sum(leg.fee_micro for leg in self.legs)

    @property
    def fee_share(self) -> float:
        """Fees by what was paid or received for shares; 0 when nothing traded."""
        turnover = sum(leg.paid_micro for leg in self.legs)
        return self.fees_micro / turnover if turnover else 0.0

    @property
    def fill_ratio(self) -> float:
        """Shares traded by shares asked for; 0 when nothing was sent."""
        asked = sum(leg.size_micro for leg in self.legs)
        return sum(leg.filled_micro for leg in self.legs) / asked if asked else 0.0

    @property
    def legging_at_risk_micro(self) -> int:
        """The most that groups which are not whole can lose, micro-dollars."""
        return sum(one.at_risk_micro for one in self.trades if not one.is_whole)

    @property
    def is_partial(self) -> bool:
        """It was cancelled, or a source was not complete."""
        return self.is_cancelled or bool(self.partial)

    def to_pandas(self) -> Any:
        """Return the legs as a pandas data frame."""
        return _library("pandas").DataFrame(self._rows())

    def to_polars(self) -> Any:
        """Return the legs as a polars data frame."""
        return _library("polars").DataFrame(self._rows())

    def to_arrow(self) -> Any:
        """Return the legs as an Arrow table."""
        return _library("pyarrow").Table.from_pylist(self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        times = {one.number: one.time_ms for one in self.trades}
        return [{"time_ms": times[leg.trade], **msgspec.structs.asdict(leg)} for leg in self.legs]

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._figures()
        )
        return f"<table>{cells}</table>"

    def __str__(self) -> str:
        return "\n".join(f"{name:<22} {value}" for name, value in self._figures())

    def _figures(self) -> list[tuple[str, str]]:
        skips = ", ".join(f"{name} {count}" for name, count in sorted(self.skips.items()))
        rows = [
            ("events", str(self.events)),
            ("signals", str(len(self.trades))),
            ("skipped", skips or "none"),
            ("fill ratio", f"{self.fill_ratio:.4f}"),
            ("fees", f"${from_micro(self.fees_micro)} ({self.fee_share:.4%} of turnover)"),
            ("collateral", f"${from_micro(self.balance_micro)}"),
            ("resolved positions", f"${from_micro(self.resolved_micro)}"),
            ("unresolved positions", str(len(self.unresolved))),
            ("legging at risk", f"${from_micro(self.legging_at_risk_micro)}"),
            ("digest", self.digest),
        ]
        if self.is_cancelled:
            rows.append(("partial", "cancelled before the end of the data"))
        rows += [("partial", text) for text in self.partial]
        return rows


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise UsageError(f"{name} is not installed: pip install {name}") from None
