"""How a result hangs on one parameter: latency, size."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor as Pool
from html import escape
from typing import Any, Final

import msgspec

from polyexec.backtest.frames import arrow_of, fields_of, pandas_of, polars_of
from polyexec.backtest.progress import Progress
from polyexec.backtest.report import Report
from polyexec.backtest.stream import Source
from polyexec.backtest.sweeping import sweep
from polyexec.config import ExecutorConfig
from polyexec.errors import InputError
from polyexec.numbers import Number, to_decimal

__all__ = ["Study", "StudyRow", "capacity", "sensitivity"]

_LATENCIES_MS: Final = (0, 20, 50, 100, 200, 500)


class StudyRow(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run; money in micro-dollars."""

    value: float
    """Of the parameter, in the unit of the study."""
    signals: int
    sent: int
    whole: int
    fill_ratio: float
    turnover_micro: int
    fees_micro: int
    expected_pnl_micro: int
    profit_micro: int
    """Pessimistic: what has not resolved is worth nothing."""
    marked_profit_micro: int
    """At the best bids of the end."""
    peak_locked_micro: int
    legging_loss_micro: int
    drawdown_micro: int
    digest: str


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """The same backtest at several values of one parameter."""

    parameter: str
    unit: str
    values: tuple[float, ...]
    reports: tuple[Report, ...]

    def rows(self) -> tuple[StudyRow, ...]:
        """Return the figures of each run."""
        return tuple(
            _row(value, report) for value, report in zip(self.values, self.reports, strict=True)
        )

    def to_pandas(self) -> Any:
        """Return the rows as a pandas data frame."""
        return pandas_of(fields_of(StudyRow, self.rows()))

    def to_polars(self) -> Any:
        """Return the rows as a polars data frame."""
        return polars_of(fields_of(StudyRow, self.rows()))

    def to_arrow(self) -> Any:
        """Return the rows as an Arrow table."""
        return arrow_of(fields_of(StudyRow, self.rows()))

    def plot(self) -> Any:
        """Return a figure as :meth:`Report.plot` does."""
        from polyexec.backtest.plots import panels_of_study, plot  # noqa: PLC0415  when used

        return plot(panels_of_study(self))

    def table(self) -> list[tuple[str, ...]]:
        """Return a heading and a line per run, as people read them."""
        lines: list[tuple[str, ...]] = [
            (f"{self.parameter}, {self.unit}", "sent", "whole", "filled", "expected", "at bids")
        ]
        lines += [
            (
                f"{row.value:g}",
                str(row.sent),
                str(row.whole),
                f"{row.fill_ratio:.4f}",
                f"{row.expected_pnl_micro / 1e6:.2f}",
                f"{row.marked_profit_micro / 1e6:.2f}",
            )
            for row in self.rows()
        ]
        return lines

    def __str__(self) -> str:
        return "\n".join(
            f"{line[0]:<16}" + "".join(f"{cell:>12}" for cell in line[1:]) for line in self.table()
        )

    def _repr_html_(self) -> str:
        head, *rows = self.table()
        cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        return f"<table><tr>{heads}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def sensitivity(
    data: Source | Sequence[Source],
    *,
    latencies_ms: Sequence[int] = _LATENCIES_MS,
    executor: Pool | None = None,
    progress: Progress = False,
    **common: Any,
) -> Study:
    """Run at several latencies: how much of the result is being quick.

    Parameters
    ----------
    data, executor, progress
        As in :func:`sweep`.
    latencies_ms : sequence of int
        Milliseconds, each for the way there and for the way back.
    **common
        Other arguments of :func:`sweep` and :func:`run`.
    """
    grid = [{"latency_ms": (each, each)} for each in latencies_ms]
    reports = sweep(grid, data, executor=executor, progress=progress, **common)
    return Study(
        parameter="latency",
        unit="ms each way",
        values=tuple(float(each) for each in latencies_ms),
        reports=tuple(reports),
    )


def capacity(
    data: Source | Sequence[Source],
    *,
    sizes: Sequence[Number],
    config: ExecutorConfig | Mapping[str, Any] | None = None,
    executor: Pool | None = None,
    progress: Progress = False,
    **common: Any,
) -> Study:
    """Run at several sizes: from where on more money does not bring more.

    Parameters
    ----------
    data, executor, progress
        As in :func:`sweep`.
    sizes : sequence of numbers
        Shares per leg: each becomes ``default_size``, which the library's evaluator does not
        exceed. Signals of a callable that name their own size are not changed by it.
    config : ExecutorConfig, mapping or None
        As in :func:`run`.
    **common
        Other arguments of :func:`sweep` and :func:`run`.
    """
    if not sizes:
        raise InputError("sizes", sizes, "name at least one")
    shares = [to_decimal(size, f"sizes[{number}]") for number, size in enumerate(sizes)]
    grid: list[dict[str, Any]] = [
        {
            "config": config.replace(default_size=size)
            if isinstance(config, ExecutorConfig)
            else {**(config or {}), "default_size": size}
        }
        for size in shares
    ]
    reports = sweep(grid, data, executor=executor, progress=progress, **common)
    return Study(
        parameter="size",
        unit="shares per leg",
        values=tuple(float(size) for size in shares),
        reports=tuple(reports),
    )


def _row(value: float, report: Report) -> StudyRow:
    marked = report.marked_profit_micro
    return StudyRow(
        value=value,
        signals=len(report.trades),
        sent=len(report.sent),
        whole=len(report.whole),
        fill_ratio=report.fill_ratio,
        turnover_micro=report.turnover_micro,
        fees_micro=report.fees_micro,
        expected_pnl_micro=report.expected_pnl_micro,
        profit_micro=report.profit_micro,
        marked_profit_micro=report.profit_micro if marked is None else marked,
        peak_locked_micro=report.capital.peak_micro,
        legging_loss_micro=report.legging_loss_micro,
        drawdown_micro=report.drawdown_micro,
        digest=report.digest,
    )
