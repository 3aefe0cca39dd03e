"""What a backtest has found: decisions, fills, money; frames and plots on request."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from polyexec.backtest.curve import CurvePoint, drawdown_micro
from polyexec.backtest.frames import What, arrow_of, columns_of, pandas_of, polars_of
from polyexec.backtest.lots import Capital, Fill, Resolution, capital_of
from polyexec.backtest.rows import LegRow, QueueRow, TradeRow
from polyexec.cards import card
from polyexec.numbers import from_micro

if TYPE_CHECKING:
    from polyexec.backtest.studies import Study

__all__ = ["LegRow", "QueueRow", "Report", "TradeRow"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one backtest. Money in micro-dollars; floats are ratios, made of exact sums."""

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
    curve: tuple[CurvePoint, ...] = ()
    """The account over time: a few hundred points, evenly; the last is the end."""
    fills: tuple[Fill, ...] = ()
    """What the exchange has settled, resting orders included."""
    resolutions: tuple[Resolution, ...] = ()
    queues: tuple[QueueRow, ...] = ()
    """Orders that rested, with the bounds of their place in the queue."""

    # --- decisions ----------------------------------------------------------------------------

    @property
    def sent(self) -> tuple[TradeRow, ...]:
        """The signals whose orders were sent."""
        return tuple(one for one in self.trades if not one.skipped)

    @property
    def whole(self) -> tuple[TradeRow, ...]:
        """Those that have traded complete sets and nothing else."""
        traded = {leg.trade for leg in self.legs if leg.filled_micro}
        return tuple(one for one in self.sent if one.is_whole and one.number in traded)

    @property
    def skips(self) -> dict[str, int]:
        """How often each reason kept a signal from being sent."""
        return dict(Counter(one.skipped for one in self.trades if one.skipped))

    @property
    def fill_ratio(self) -> float:
        """Shares traded by shares asked for; 0 when nothing was sent."""
        asked = sum(leg.size_micro for leg in self.legs)
        return sum(leg.filled_micro for leg in self.legs) / asked if asked else 0.0

    # --- money --------------------------------------------------------------------------------

    @property
    def profit_micro(self) -> int:
        """The pessimistic figure: positions that have not resolved are worth nothing."""
        return self.balance_micro + self.resolved_micro - self.balance_before_micro

    @property
    def marked_profit_micro(self) -> int | None:
        """Positions that have not resolved at the best bids of the end; None without a curve."""
        return self.curve[-1].equity_micro - self.balance_before_micro if self.curve else None

    @property
    def expected_pnl_micro(self) -> int:
        """What the groups pay that are whole, in every outcome, minus their cost: fees in."""
        return sum(one.expected_pnl_micro for one in self.whole)

    @property
    def turnover_micro(self) -> int:
        """What was paid or received for shares, without fees."""
        return sum(abs(fill.cost_micro - fill.fee_micro) for fill in self.fills)

    @property
    def fees_micro(self) -> int:
        """Taker fees as the exchange took them; a leg's own figure is the most that it can be."""
        return sum(fill.fee_micro for fill in self.fills)

    @property
    def fee_share(self) -> float:
        """Fees by turnover; 0 when nothing traded."""
        return self.fees_micro / self.turnover_micro if self.turnover_micro else 0.0

    @property
    def capital(self) -> Capital:
        """What was locked until resolution, for how long, and what it returned."""
        return capital_of(self.fills, self.resolutions, self.last_ms)

    @property
    def drawdown_micro(self) -> int:
        """Deepest fall of the equity at the bids, as the curve saw it."""
        return drawdown_micro(point.equity_micro for point in self.curve)

    @property
    def peak_exposure_micro(self) -> int:
        """The most that was tied up in groups that were not closed, as the curve saw it."""
        return max((point.exposure_micro for point in self.curve), default=0)

    # --- groups of which only some legs traded --------------------------------------------------

    @property
    def legged(self) -> tuple[TradeRow, ...]:
        """Groups that are not whole, or needed follow-up orders to be."""
        return tuple(one for one in self.sent if one.follow_ups or not one.is_whole)

    @property
    def legging_loss_micro(self) -> int:
        """What these lose in their worst outcomes, follow-ups and fees in."""
        return sum(max(0, -one.provisional_pnl_micro) for one in self.legged)

    @property
    def legging_at_risk_micro(self) -> int:
        """The most that groups which are not whole can still lose."""
        return sum(one.at_risk_micro for one in self.trades if not one.is_whole)

    @property
    def is_partial(self) -> bool:
        """It was cancelled, or a source was not complete."""
        return self.is_cancelled or bool(self.partial)

    # --- views --------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """Return the figures by name: whole micro-dollars and milliseconds, ratios as floats."""
        capital = self.capital
        return {
            "events": self.events,
            "signals": len(self.trades),
            "sent": len(self.sent),
            "whole": len(self.whole),
            "skips": dict(sorted(self.skips.items())),
            "fill_ratio": self.fill_ratio,
            "turnover_micro": self.turnover_micro,
            "fees_micro": self.fees_micro,
            "fee_share": self.fee_share,
            "balance_before_micro": self.balance_before_micro,
            "balance_micro": self.balance_micro,
            "resolved_micro": self.resolved_micro,
            "unresolved_positions": len(self.unresolved),
            "profit_micro": self.profit_micro,
            "marked_profit_micro": self.marked_profit_micro,
            "expected_pnl_micro": self.expected_pnl_micro,
            "realised_micro": capital.realised_micro,
            "locked_micro": capital.locked_micro,
            "peak_locked_micro": capital.peak_micro,
            "held_ms": capital.held_ms,
            "annualised_return": capital.annualised_return,
            "peak_exposure_micro": self.peak_exposure_micro,
            "drawdown_micro": self.drawdown_micro,
            "legged": len(self.legged),
            "legging_loss_micro": self.legging_loss_micro,
            "legging_at_risk_micro": self.legging_at_risk_micro,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "is_cancelled": self.is_cancelled,
            "partial": list(self.partial),
            "digest": self.digest,
        }

    def to_pandas(self, what: What = "legs") -> Any:
        """Return ``legs``, ``trades``, ``curve`` or ``fills`` as a pandas data frame.

        Raises
        ------
        UsageError
            pandas is not installed. ``to_polars`` and ``to_arrow`` likewise.
        """
        return pandas_of(columns_of(self, what))

    def to_polars(self, what: What = "legs") -> Any:
        """Return the same as a polars data frame."""
        return polars_of(columns_of(self, what))

    def to_arrow(self, what: What = "legs") -> Any:
        """Return the same as an Arrow table."""
        return arrow_of(columns_of(self, what))

    def plot(self) -> Any:
        """Return a Plotly figure with every panel; a matplotlib figure where Plotly is missing.

        Raises
        ------
        UsageError
            Neither is installed.
        """
        from polyexec.backtest.plots import panels_of, plot  # noqa: PLC0415  costs when used

        return plot(panels_of(self))

    def to_html(self, path: Path | str, *studies: "Study", title: str = "Backtest") -> Path:
        """Write one file that needs no other, no server and no network; return its path.

        Parameters
        ----------
        path : path
            Is overwritten.
        *studies : Study
            Shown as well: :func:`sensitivity`, :func:`capacity`.
        title : str
            Its heading.
        """
        from polyexec.backtest.page import write_page  # noqa: PLC0415  costs when used

        return write_page(path, self, studies, title)

    def _repr_html_(self) -> str:
        return card(self.figures())

    def __str__(self) -> str:
        return "\n".join(f"{name:<22} {value}" for name, value in self.figures())

    def figures(self) -> list[tuple[str, str]]:
        """Return the figures as people read them, with their names."""
        skips = ", ".join(f"{name} {count}" for name, count in sorted(self.skips.items()))
        capital = self.capital
        marked = self.marked_profit_micro
        rows = [
            ("events", str(self.events)),
            ("signals", f"{len(self.trades)}, {len(self.sent)} sent, {len(self.whole)} whole"),
            ("skipped", skips or "none"),
            ("fill ratio", f"{self.fill_ratio:.4f}"),
            ("fees", f"{_money(self.fees_micro)} ({self.fee_share:.4%} of turnover)"),
            ("collateral", _money(self.balance_micro)),
            ("resolved positions", _money(self.resolved_micro)),
            ("unresolved positions", f"{len(self.unresolved)}, counted as worth nothing"),
            ("profit", _money(self.profit_micro)),
            ("profit at best bids", "unknown" if marked is None else _money(marked)),
            ("expected of whole", _money(self.expected_pnl_micro)),
            ("locked in positions", f"{_money(capital.locked_micro)} open, {_peak(capital)}"),
            ("annualised return", _annualised(capital)),
            ("drawdown", f"{_money(self.drawdown_micro)} at best bids"),
            ("peak exposure", _money(self.peak_exposure_micro)),
            ("legging", f"{len(self.legged)} groups, loss {_money(self.legging_loss_micro)}"),
            ("legging at risk", _money(self.legging_at_risk_micro)),
            ("digest", self.digest),
        ]
        if self.is_cancelled:
            rows.append(("partial", "cancelled before the end of the data"))
        rows += [("partial", text) for text in self.partial]
        return rows


def _money(micro: int) -> str:
    return f"{'-' if micro < 0 else ''}${from_micro(abs(micro))}"


def _peak(capital: Capital) -> str:
    return f"at most {_money(capital.peak_micro)}"


def _annualised(capital: Capital) -> str:
    rate, held = capital.annualised_return, capital.held_ms
    if rate is None or held is None:
        return "unknown: no position was sold or has resolved"
    return f"{rate:.2%} of {_money(capital.released_micro)} held {held / 3_600_000:.1f} h"
