"""What is drawn of a report, and how: by Plotly, or by matplotlib where Plotly is missing."""

import html
from collections import Counter
from datetime import UTC, datetime
from importlib.util import find_spec
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from polyexec.backtest.frames import library
from polyexec.errors import UsageError

if TYPE_CHECKING:
    from polyexec.backtest.report import Report
    from polyexec.backtest.studies import Study

__all__ = ["Panel", "Series", "draws_with", "fragments", "panels_of", "panels_of_study", "plot"]

Kind: TypeAlias = Literal["steps", "line", "bars"]
_MOST_GROUPS = 20
_HEIGHT = 320
# Newer versions offer to send the chart to a server of Plotly's: nobody's trades go there.
_QUIET = {
    "displaylogo": False,
    "responsive": True,
    "showSendToCloud": False,
    "plotlyServerURL": "",
}


class Series(msgspec.Struct, frozen=True):
    """Values of one name; floats, for the eye only."""

    name: str
    x: tuple[Any, ...]
    """Unix milliseconds, numbers or texts."""
    y: tuple[float, ...]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One plot, whoever draws it."""

    title: str
    unit: str
    kind: Kind
    is_time: bool = False
    x_title: str = ""
    series: tuple[Series, ...]


def panels_of(report: "Report") -> list[Panel]:
    """Return the panels of a report for which there is something to draw."""
    panels = []
    if report.curve:
        panels += _money_panels(report)
    if report.sent:
        panels.append(_expected(report))
        panels.append(_groups(report))
    if report.skips:
        names, counts = zip(*sorted(report.skips.items()), strict=True)
        bars = Series("signals", names, tuple(map(float, counts)))
        panels.append(
            Panel(title="Skipped, by reason", unit="signals", kind="bars", series=(bars,))
        )
    return panels


def panels_of_study(study: "Study") -> list[Panel]:
    """Return what a study shows: money and fills over the parameter."""
    rows = study.rows()
    money = (
        ("expected of whole groups", "expected_pnl_micro"),
        ("profit at best bids", "marked_profit_micro"),
        ("fees", "fees_micro"),
        ("legging loss", "legging_loss_micro"),
    )
    counts = (("sent", "sent"), ("whole", "whole"))
    x_title = f"{study.parameter}, {study.unit}"
    return [
        Panel(
            title=f"Money by {study.parameter}",
            unit="dollars",
            kind="line",
            x_title=x_title,
            series=tuple(
                Series(name, study.values, tuple(getattr(row, field) / 1e6 for row in rows))
                for name, field in money
            ),
        ),
        Panel(
            title=f"Groups by {study.parameter}",
            unit="groups",
            kind="line",
            x_title=x_title,
            series=tuple(
                Series(name, study.values, tuple(float(getattr(row, field)) for row in rows))
                for name, field in counts
            ),
        ),
    ]


def _money_panels(report: "Report") -> list[Panel]:
    points = report.curve
    times = tuple(point.time_ms for point in points)
    peaks = accumulate((point.equity_micro for point in points), max)
    falls = tuple(
        (point.equity_micro - peak) / 1e6 for point, peak in zip(points, peaks, strict=True)
    )

    def over_time(title: str, *named: tuple[str, tuple[float, ...]]) -> Panel:
        series = tuple(Series(name, times, values) for name, values in named)
        return Panel(title=title, unit="dollars", kind="steps", is_time=True, series=series)

    def dollars(field: str) -> tuple[float, ...]:
        return tuple(getattr(point, field) / 1e6 for point in points)

    return [
        over_time(
            "Equity",
            ("positions at best bids", dollars("equity_micro")),
            ("collateral: positions worth nothing", dollars("cash_micro")),
        ),
        over_time(
            "Locked until resolution",
            ("cost of open positions", dollars("locked_micro")),
            ("exposure of groups that are not closed", dollars("exposure_micro")),
        ),
        over_time("Drawdown at best bids", ("below the peak", falls)),
    ]


def _expected(report: "Report") -> Panel:
    sent = sorted(report.sent, key=lambda one: one.finished_ms)
    times = tuple(one.finished_ms for one in sent)
    sets = {one.number for one in report.whole}
    whole = accumulate(one.expected_pnl_micro if one.number in sets else 0 for one in sent)
    legged = {one.number for one in report.legged}
    losses = accumulate(
        max(0, -one.provisional_pnl_micro) if one.number in legged else 0 for one in sent
    )
    return Panel(
        title="Groups sent, summed up",
        unit="dollars",
        kind="steps",
        is_time=True,
        series=(
            Series("expected of whole groups", times, tuple(each / 1e6 for each in whole)),
            Series("legging losses", times, tuple(each / 1e6 for each in losses)),
        ),
    )


def _groups(report: "Report") -> Panel:
    costs: Counter[str] = Counter()
    expected: Counter[str] = Counter()
    sets = {one.number for one in report.whole}
    for one in report.sent:
        name = one.group_key or "no group"
        costs[name] += one.cost_micro
        expected[name] += one.expected_pnl_micro if one.number in sets else 0
    names = tuple(name for name, _ in costs.most_common(_MOST_GROUPS))
    title = f"Cost and expected profit of the {len(names)} largest groups"
    return Panel(
        title=title if len(names) < len(costs) else "Cost and expected profit by group",
        unit="dollars",
        kind="bars",
        series=(
            Series("cost", names, tuple(costs[name] / 1e6 for name in names)),
            Series("expected", names, tuple(expected[name] / 1e6 for name in names)),
        ),
    )


# --- drawing ---------------------------------------------------------------------------------


def draws_with() -> Literal["plotly", "matplotlib"]:
    """Return the library that draws.

    Raises
    ------
    UsageError
        There is none.
    """
    if find_spec("plotly") is not None:
        return "plotly"
    if find_spec("matplotlib") is not None:
        return "matplotlib"
    hint = "neither plotly nor matplotlib is installed: pip install 'polyexec[viz]'"
    raise UsageError(hint)


def plot(panels: list[Panel]) -> Any:
    """Return one figure with the panels below each other."""
    return _plotly(panels) if draws_with() == "plotly" else _matplotlib(panels)


def fragments(panels: list[Panel]) -> tuple[list[str], str]:
    """Return HTML for each panel, and the script that all of them need."""
    if draws_with() == "matplotlib":
        return [_svg(panel) for panel in panels], ""
    made = [
        _plotly([panel]).to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"plot-{number}",
            config=_QUIET,
        )
        for number, panel in enumerate(panels)
    ]
    return made, library("plotly.offline", "viz").get_plotlyjs()


def _plotly(panels: list[Panel]) -> Any:
    objects = library("plotly.graph_objects", "viz")
    # A panel that stands alone has its title above it, on the page.
    is_alone = len(panels) == 1
    titles = None if is_alone or not panels else [_safe(panel.title) for panel in panels]
    figure = library("plotly.subplots", "viz").make_subplots(
        rows=max(1, len(panels)), cols=1, subplot_titles=titles
    )
    for row, panel in enumerate(panels, 1):
        for one in panel.series:
            name = _safe(one.name)
            group: dict[str, Any] = (
                {}
                if is_alone
                else {"legendgroup": str(row), "legendgrouptitle_text": _safe(panel.title)}
            )
            if panel.kind == "bars":
                # A name that looks like a number or a date has to stay a name
                texts = [_safe(str(each)) for each in one.x]
                trace = objects.Bar(name=name, x=texts, y=one.y, **group)
            else:
                x = [_time(each) for each in one.x] if panel.is_time else one.x
                shape = "hv" if panel.kind == "steps" else "linear"
                mode = "lines" if len(one.x) > 1 and panel.is_time else "lines+markers"
                trace = objects.Scatter(
                    name=name, x=x, y=one.y, mode=mode, line={"shape": shape}, **group
                )
            figure.add_trace(trace, row=row, col=1)
        kind = {"bars": "category"}.get(panel.kind, "date" if panel.is_time else "linear")
        figure.update_xaxes(row=row, col=1, type=kind, title_text=_safe(panel.x_title))
        figure.update_yaxes(row=row, col=1, title_text=_safe(panel.unit), tickformat=",~f")
    figure.update_layout(
        height=_HEIGHT * max(1, len(panels)),
        template="plotly_white",
        modebar={"remove": ["sendChartToCloud", "sendDataToCloud"]},
        margin={"l": 70, "r": 20, "t": 30 if is_alone else 50, "b": 50},
        hovermode="x unified" if is_alone and panels[0].kind != "bars" else "closest",
        legend={"orientation": "h", "y": 1.15} if is_alone else {"groupclick": "toggleitem"},
    )
    return figure


def _matplotlib(panels: list[Panel]) -> Any:
    # Without pyplot: no global state, no display, nothing to close.
    figure = library("matplotlib.figure", "viz").Figure(
        figsize=(10, 3.2 * max(1, len(panels))), layout="constrained"
    )
    for row, panel in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, row)
        axes.set_title(_plain(panel.title))
        axes.set_xlabel(_plain(panel.x_title))
        axes.set_ylabel(_plain(panel.unit))
        for number, one in enumerate(panel.series):
            label = _plain(one.name)
            if panel.kind == "bars":
                width = 0.8 / len(panel.series)
                places = [at + width * (number + 0.5) - 0.4 for at in range(len(one.x))]
                axes.bar(places, one.y, width, label=label)
                ticks = [_plain(str(each)) for each in one.x]
                axes.set_xticks(range(len(one.x)), ticks, rotation=20, ha="right")
                continue
            x = [datetime.fromtimestamp(each / 1000, UTC) for each in one.x]
            style = {"drawstyle": "steps-post"} if panel.kind == "steps" else {"marker": "o"}
            axes.plot(x if panel.is_time else one.x, one.y, label=label, **style)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def _svg(panel: Panel) -> str:
    out = StringIO()
    _matplotlib([panel]).savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return f'<div class="drawn">{text[text.index("<svg") :]}</div>'


def _safe(text: str) -> str:
    """Plotly reads a little HTML in its texts: ours have none."""
    return html.escape(text)


def _plain(text: str) -> str:
    """Dollars begin a formula in matplotlib."""
    return text.replace("$", r"\$")


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
