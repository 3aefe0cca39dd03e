"""``polyexec run --ui``: what a bot does, on a terminal.

``Watcher`` listens, ``Watcher.look`` takes a ``View`` of the moment, ``render`` draws it. Only
``look`` touches the bot, on its loop and some times a second; drawing is done in another thread.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from polyexec.engine.engine import Engine
from polyexec.enums import VenueMode
from polyexec.errors import ConfigError
from polyexec.executor import Executor
from polyexec.numbers import from_e4, from_micro
from polyexec.results import Latency, TradeResult
from polyexec.signals import ArbSignal, Signal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

__all__ = ["View", "Watcher", "open_dashboard", "render"]

_PAUSE_S: Final = 0.5
_RECENT: Final = 1000
"""Results whose latencies count."""
_ROWS: Final = 8
_STAGES: Final = tuple(Latency.__struct_fields__)


class GroupRow(msgspec.Struct, frozen=True):
    """The latest of one group."""

    key: str
    strategy: str
    edge_bps: str
    net: str
    """Dollars per set."""
    state: str


class OrderRow(msgspec.Struct, frozen=True):
    """An order that is followed."""

    side: str
    token: str
    price: str
    size: str
    filled: str
    state: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is shown, at one moment. Money in micro-dollars."""

    title: str
    trading: bool = False
    halted: str | None = None
    reduce_only: bool = False
    venue_mode: str = ""
    in_flight: int = 0
    balance_micro: int = 0
    available_micro: int = 0
    held_micro: int = 0
    spent_micro: int = 0
    exposure_micro: int = 0
    unknown_groups: int = 0
    counts: dict[str, int] = {}
    skips: list[tuple[str, int]] = []
    latency_us: list[tuple[str, float, float, float]] = []
    """Stage, then the 50th, 90th and 99th percentile of the last sent groups."""
    groups: list[GroupRow] = []
    orders: list[OrderRow] = []
    open_orders: int = 0
    feed: dict[str, str] = {}
    lines: list[str] = []


class Watcher:
    """Keeps what a dashboard shows of an executor and an engine.

    Parameters
    ----------
    executor : Executor or None
    engine : Engine or None
    """

    def __init__(self, executor: Executor | None, engine: Engine | None = None) -> None:
        self._executor = executor
        self._engine = engine
        self._counts: Counter[str] = Counter()
        self._skips: Counter[str] = Counter()
        self._latencies: deque[Latency] = deque(maxlen=_RECENT)
        self._groups: dict[tuple[str, str], GroupRow] = {}
        self._lines: deque[str] = deque(maxlen=_ROWS)
        self._stops: list[Callable[[], None]] = []
        if executor is not None:
            self._stops += [
                executor.on_trade_result(self._on_result),
                executor.on_group(self._on_group),
            ]
        elif engine is not None:
            self._stops.append(engine.on_signal(self._on_signal))

    def show(self, line: str) -> None:
        """Keep a line that would have been printed; from any thread."""
        self._lines.append(line)

    def close(self) -> None:
        """Listen no more."""
        for stop in self._stops:
            stop()

    def look(self) -> View:
        """Return the state of the moment; on the loop."""
        engine, executor = self._engine, self._executor
        shown: dict[str, Any] = {
            "title": " + ".join(
                f"{name} {mode}"
                for name, mode in (
                    ("engine", engine and engine.config.engine_mode),
                    ("executor", executor and executor.config.executor_mode),
                )
                if mode
            ),
            "counts": dict(self._counts),
            "skips": self._skips.most_common(_ROWS),
            "latency_us": _percentiles(list(self._latencies)),
            "groups": list(self._groups.values())[: -_ROWS - 1 : -1],
            "lines": list(self._lines),
        }
        if executor is not None:
            shown |= _executor_view(executor)
        if engine is not None:
            shown["feed"] = _feed_view(engine)
        return View(**shown)

    def _on_result(self, result: TradeResult) -> None:
        self._counts["signals"] += 1
        if result.skipped is not None:
            self._counts["skipped"] += 1
            self._skips[str(result.skipped)] += 1
            self._note(result.signal, f"skipped {result.skipped}")
            return
        outcome = (
            "unknown" if result.unknown_orders else "executed" if result.success else "rejected"
        )
        self._counts[outcome] += 1
        self._latencies.append(result.latency)
        self._on_group(result)

    def _on_group(self, result: TradeResult) -> None:
        if result.skipped is not None:
            return
        filled = sum(leg.filled_micro > 0 for leg in result.legs)
        profit = result.provisional_pnl_micro
        if result.final_pnl_micro is not None:
            state = f"settled, profit {from_micro(result.final_pnl_micro)}"
        else:
            state = f"{filled}/{len(result.legs)} legs traded, profit so far {from_micro(profit)}"
        self._note(result.signal, state)

    def _on_signal(self, signal: Signal) -> None:
        self._counts["signals"] += 1
        self._note(signal, "signal")

    def _note(self, signal: Signal, state: str) -> None:
        key = signal.group_key or "-"
        edge, net = signal.profit_bps, signal.profit_abs
        strategy = str(signal.strategy) if isinstance(signal, ArbSignal) else "LEGS"
        strategy = strategy.removeprefix("POLYMARKET_")
        last = self._groups.pop((key, strategy), None)  # the latest goes last
        if last is not None and state.startswith("skipped") and "skipped" not in last.state:
            state = last.state  # what it traded is worth more than that it did not trade again
        self._groups[key, strategy] = GroupRow(
            key=key,
            strategy=strategy,
            edge_bps="" if edge is None else f"{edge:.1f}",
            net="" if net is None else f"{net:.4f}",
            state=state,
        )
        while len(self._groups) > 4 * _ROWS:
            del self._groups[next(iter(self._groups))]


@contextlib.asynccontextmanager
async def open_dashboard(
    executor: Executor | None,
    engine: Engine | None = None,
    *,
    console: "Console | None" = None,
    pause_s: float = _PAUSE_S,
) -> AsyncIterator[Callable[[str], None]]:
    """Draw a bot until the block ends; gives the function that takes the lines for it.

    Without a terminal nothing is drawn: the lines are printed as they come.

    Raises
    ------
    ConfigError
        The ``cli`` extra is not installed.
    """
    try:
        from rich.console import Console  # noqa: PLC0415  an extra
        from rich.live import Live  # noqa: PLC0415
    except ImportError:
        raise ConfigError("--ui needs rich: pip install 'polyexec[cli]'") from None
    console = console or Console()
    if not console.is_terminal:
        yield print
        return
    watcher = Watcher(executor, engine)
    with (
        Live(render(watcher.look()), console=console, auto_refresh=False, screen=True) as live,
        contextlib.closing(watcher),
    ):

        async def draw() -> None:
            while True:
                await asyncio.sleep(pause_s)
                # Drawing takes milliseconds, which the loop has for its answers.
                await asyncio.to_thread(_draw, live, watcher.look())

        task = asyncio.create_task(draw())
        try:
            yield watcher.show
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _draw(live: "Live", view: View) -> None:
    live.update(render(view), refresh=True)


def render(view: View) -> "RenderableType":
    """Return what is drawn of a view."""
    from rich.columns import Columns  # noqa: PLC0415  an extra
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    head = Text(f"polyexec  {view.title}  ")
    head.append(*_switch(view))
    if view.venue_mode:
        style = "green" if view.venue_mode == VenueMode.NORMAL else "bold red"
        head.append(f"   exchange {view.venue_mode}", style=style)
    left = [
        _pairs("Money", _money_rows(view)),
        _pairs("Signals", [(name, str(count)) for name, count in view.counts.items()]),
        _pairs("Skipped", [(name, str(count)) for name, count in view.skips]),
        _pairs("Feed", list(view.feed.items())),
        _table(
            "Latency, us",
            ("stage", "p50", "p90", "p99"),
            [(name, *(f"{value:.0f}" for value in values)) for name, *values in view.latency_us],
        ),
    ]
    groups = _table(
        "Groups",
        ("group", "strategy", "edge bps", "net/set", "state"),
        [msgspec.structs.astuple(row) for row in view.groups],
    )
    orders = _table(
        f"Open orders: {view.open_orders}",
        ("side", "token", "price", "size", "filled", "state"),
        [msgspec.structs.astuple(row) for row in view.orders],
    )
    return Group(
        head, Columns([one for one in left if one.row_count]), groups, orders, *_texts(view.lines)
    )


def _texts(lines: Sequence[str]) -> list[Any]:
    from rich.text import Text  # noqa: PLC0415

    # As text: what a market is called must not be read as markup.
    return [Text(line, no_wrap=True, overflow="ellipsis", style="dim") for line in lines]


def _switch(view: View) -> tuple[str, str]:
    if view.halted is not None:
        return f"HALTED: {view.halted}", "bold white on red"
    if not view.trading:
        return "trading is off", "bold yellow"
    if view.reduce_only:
        return "reduce-only", "bold yellow"
    return "trading", "bold green"


def _money_rows(view: View) -> list[tuple[str, str]]:
    if not view.venue_mode:  # an engine alone
        return []
    rows = [
        ("balance", view.balance_micro),
        ("available", view.available_micro),
        ("held", view.held_micro),
        ("spent today", view.spent_micro),
        ("exposure", view.exposure_micro),
    ]
    return [
        *((name, f"{from_micro(micro):.2f}") for name, micro in rows),
        ("in flight", str(view.in_flight)),
        ("unknown groups", str(view.unknown_groups)),
    ]


def _pairs(title: str, rows: Sequence[tuple[str, str]]) -> "Table":
    return _table(title, ("", ""), rows)


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[object]]) -> "Table":
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, box=box.SIMPLE, title_justify="left", show_header=any(headings))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if not number else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(str(cell), overflow="ellipsis") for cell in row))
    return table


def _executor_view(executor: Executor) -> dict[str, Any]:
    ledger, risk, orders = executor.ledger, executor.risk, executor.orders
    return {
        "trading": executor.trading_enabled,
        "halted": risk.halted,
        "reduce_only": risk.is_reduce_only,
        "venue_mode": str(executor.venue_mode),
        "in_flight": executor.in_flight,
        "balance_micro": ledger.balance(),
        "available_micro": ledger.available(),
        "held_micro": ledger.held(),
        "spent_micro": risk.spent_micro,
        "exposure_micro": risk.exposure_micro,
        "unknown_groups": risk.unknown_groups,
        "open_orders": len(orders),
        "orders": [
            OrderRow(
                side=str(order.leg.side),
                token=order.leg.market_slug or f"{order.leg.token_id[:10]}…",
                price=str(from_e4(order.leg.limit_e4)),
                size=str(from_micro(order.leg.size_micro)),
                filled=str(from_micro(order.traded_micro)),
                state=str(order.state),
            )
            for order in orders[-_ROWS:]
        ],
    }


def _feed_view(engine: Engine) -> dict[str, str]:
    ages = sorted(engine.book_ages_ms())
    counts = engine.feed_counts
    shown = {
        "forms": str(len(engine.forms)),
        "live books": str(len(ages)),
        "frames": str(counts.frames),
        "connections lost": str(counts.losses),
    }
    if ages:
        shown["book age p50"] = f"{ages[len(ages) // 2] / 1000:.1f} s"
        shown["oldest book"] = f"{ages[-1] / 1000:.1f} s"
    return shown


def _percentiles(latencies: Sequence[Latency]) -> list[tuple[str, float, float, float]]:
    if not latencies:
        return []
    rows = []
    for stage in _STAGES:
        values = sorted(getattr(latency, stage) for latency in latencies)
        p50, p90, p99 = (values[min(len(values) - 1, len(values) * p // 100)] for p in (50, 90, 99))
        rows.append((stage.removesuffix("_us"), p50, p90, p99))
    return rows
