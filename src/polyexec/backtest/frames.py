"""Rows as data frames: every column has its type, also when there is no row."""

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import msgspec

from polyexec.backtest.curve import CurvePoint
from polyexec.backtest.lots import Fill
from polyexec.backtest.rows import LegRow, TradeRow
from polyexec.errors import InputError, UsageError

if TYPE_CHECKING:
    from polyexec.backtest.report import Report

__all__ = [
    "Columns",
    "What",
    "arrow_of",
    "columns_of",
    "fields_of",
    "library",
    "pandas_of",
    "polars_of",
]

What: TypeAlias = Literal["legs", "trades", "curve", "fills"]

Columns: TypeAlias = dict[str, tuple[type, list[Any]]]
"""By name: its type and its values."""


def pandas_of(columns: Columns) -> Any:
    """Return a pandas data frame; texts as ``string``, times as ``datetime64[ms, UTC]``."""
    pandas = library("pandas", "frames")
    names: dict[type, str] = {int: "int64", bool: "bool", str: "string", float: "float64"}
    made = {
        name: pandas.Series(values, dtype=names[kind]) for name, (kind, values) in columns.items()
    }
    if "time_ms" in made:
        times = made["time_ms"].astype("datetime64[ms]").dt.tz_localize("UTC")
        made = {"time": times, **made}
    return pandas.DataFrame(made)


def polars_of(columns: Columns) -> Any:
    """Return a polars data frame."""
    polars = library("polars", "frames")
    kinds = {int: polars.Int64, bool: polars.Boolean, str: polars.String, float: polars.Float64}
    frame = polars.DataFrame(
        {name: values for name, (_, values) in columns.items()},
        schema={name: kinds[kind] for name, (kind, _) in columns.items()},
    )
    if "time_ms" not in columns:
        return frame
    time = polars.col("time_ms").cast(polars.Datetime("ms", "UTC")).alias("time")
    return frame.select(time, polars.all())


def arrow_of(columns: Columns) -> Any:
    """Return an Arrow table."""
    arrow = library("pyarrow", "frames")
    kinds = {int: arrow.int64(), bool: arrow.bool_(), str: arrow.string(), float: arrow.float64()}
    made = {name: arrow.array(values, kinds[kind]) for name, (kind, values) in columns.items()}
    if "time_ms" in made:
        made = {"time": made["time_ms"].cast(arrow.timestamp("ms", "UTC")), **made}
    return arrow.table(made)


def library(name: str, extra: str) -> Any:
    """Import an optional library.

    Raises
    ------
    UsageError
        It is not installed; names the extra that brings it.
    """
    try:
        return import_module(name)
    except ImportError:
        hint = f"pip install 'polyexec[{extra}]'"
        raise UsageError(f"{name.split('.', maxsplit=1)[0]} is not installed: {hint}") from None


def columns_of(report: "Report", what: What) -> Columns:
    """Return the columns of one kind of rows.

    Raises
    ------
    InputError
        There is no such kind.
    """
    if what not in get_args(What):
        raise InputError("what", what, f"must be one of {', '.join(get_args(What))}")
    if what == "legs":
        times = {one.number: one.time_ms for one in report.trades}
        own = [times[leg.trade] for leg in report.legs]
        return {"time_ms": (int, own), **fields_of(LegRow, report.legs)}
    if what == "trades":
        return fields_of(TradeRow, report.trades)
    return fields_of(CurvePoint, report.curve) if what == "curve" else fields_of(Fill, report.fills)


def fields_of(kind: type[msgspec.Struct], rows: Iterable[Any]) -> Columns:
    """Return the fields of structs as columns."""
    rows = tuple(rows)
    return {
        field.name: (field.type, [getattr(row, field.name) for row in rows])
        for field in msgspec.structs.fields(kind)
    }
