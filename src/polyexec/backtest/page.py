"""A report as HTML: a page in one file.

Every text is escaped. The page may load nothing (its own policy forbids it), so it shows the same
wherever it is opened, and tells nobody that it was.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from polyexec.backtest.plots import fragments, panels_of, panels_of_study
from polyexec.errors import InputError
from polyexec.numbers import from_e4, from_micro

if TYPE_CHECKING:
    from polyexec.backtest.report import Report
    from polyexec.backtest.studies import Study

__all__ = ["write_page"]

_MOST_ROWS: Final = 500
_POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2430; background: #fff;
  margin: 2rem auto; max-width: 70rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p { color: #5a6675; margin: .2rem 0 } .warning { color: #8a4b00; background: #fff4e0;
  padding: .5rem .8rem; border-radius: .4rem }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .6rem;
  margin: 1.2rem 0 }
.figures div { border: 1px solid #dde3ea; border-radius: .5rem; padding: .55rem .8rem;
  overflow-wrap: anywhere } .figures b { display: block; font-weight: 600 }
.figures span { color: #5a6675; font-size: .82rem }
.table { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; width: 100% }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid #e6ebf0;
  white-space: nowrap; max-width: 22rem; overflow: hidden; text-overflow: ellipsis }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
svg { max-width: 100%; height: auto } .plotly-graph-div svg { max-width: none }
"""


def write_page(path: Path | str, report: "Report", studies: Sequence["Study"], title: str) -> Path:
    """Write the page of a report and its studies.

    Raises
    ------
    InputError
        It cannot be written there.
    UsageError
        Nothing is installed that draws.
    """
    panels = [*panels_of(report), *(each for one in studies for each in panels_of_study(one))]
    drawn, script = fragments(panels)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_span(report)}</p>",
        *_warnings(report),
        _figures(report),
        *(f"<h2>{escape(panel.title)}</h2>{one}" for panel, one in zip(panels, drawn, strict=True)),
        *(_study(one) for one in studies),
        _trades(report),
        _legs(report),
    ]
    scripts = f"<script>{script}</script>" if script else ""
    text = (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style>{scripts}</head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )
    where = Path(path)
    try:
        where.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError("path", str(path), f"cannot be written: {error}") from None
    return where


def _span(report: "Report") -> str:
    return f"{_time(report.first_ms)} to {_time(report.last_ms)} UTC, {report.events} events"


def _warnings(report: "Report") -> list[str]:
    texts = [value for name, value in report.figures() if name == "partial"]
    return [f"<p class='warning'>Partial: {escape(text)}</p>" for text in texts]


def _figures(report: "Report") -> str:
    boxes = "".join(
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b></div>"
        for name, value in report.figures()
        if name != "partial"
    )
    return f"<div class='figures'>{boxes}</div>"


def _study(study: "Study") -> str:
    head, *rows = study.table()
    return _table(f"By {study.parameter}", head, rows, len(rows), numbers=range(len(head)))


def _trades(report: "Report") -> str:
    head = ("time", "group", "strategy", "skipped", "whole", "cost", "expected", "at risk")
    rows = [
        (
            _time(one.time_ms),
            one.group_key,
            one.strategy,
            one.skipped,
            "" if one.skipped else "yes" if one.is_whole else "no",
            f"{from_micro(one.cost_micro)}",
            f"{from_micro(one.expected_pnl_micro)}",
            f"{from_micro(one.at_risk_micro)}",
        )
        for one in report.trades[:_MOST_ROWS]
    ]
    return _table("Signals", head, rows, len(report.trades), numbers=range(5, 8))


def _legs(report: "Report") -> str:
    head = ("signal", "token", "side", "state", "price", "size", "filled", "paid", "fee", "error")
    rows = [
        (
            str(leg.trade),
            leg.token_id,
            leg.side,
            leg.state,
            f"{from_e4(leg.price_e4)}",
            f"{from_micro(leg.size_micro)}",
            f"{from_micro(leg.filled_micro)}",
            f"{from_micro(leg.paid_micro)}",
            f"{from_micro(leg.fee_micro)}",
            leg.error,
        )
        for leg in report.legs[:_MOST_ROWS]
    ]
    return _table("Orders", head, rows, len(report.legs), numbers=range(4, 9))


def _table(
    title: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    total: int,
    *,
    numbers: range,
) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if at in numbers else ''}>{escape(cell)}</{tag}>"
            for at, cell in enumerate(cells)
        )

    note = f"<p>The first {len(rows)} of {total}.</p>" if len(rows) < total else ""
    body = "".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    return (
        f"<h2>{escape(title)}</h2>{note}<div class='table'><table><tr>{line('th', head)}</tr>"
        f"{body}</table></div>"
    )


def _time(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
