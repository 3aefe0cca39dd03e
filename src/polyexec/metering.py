"""Metrics around an executor: what is read of it when somebody asks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final

import msgspec

from polyexec._impl import IMPLEMENTATION
from polyexec._pure.prices import BookState
from polyexec.build import build_info
from polyexec.clob.venue import ClobVenue
from polyexec.config import ExecutorConfig
from polyexec.core.ledger import COLLATERAL
from polyexec.enums import VenueMode
from polyexec.environment import parse_bool
from polyexec.errors import ConfigError, UsageError
from polyexec.executor import BaseExecutor
from polyexec.journal.database.store import TradeStore
from polyexec.notifying import connection_losses
from polyexec.observers.metrics import Metrics, MetricsServer, Reader, Sample
from polyexec.observers.notify import Notifier
from polyexec.observers.tracing import Spans

if TYPE_CHECKING:
    from polyexec.engine.engine import Engine

__all__ = [
    "engine_reader",
    "executor_reader",
    "notifier_reader",
    "open_metrics",
    "store_reader",
]

_DEFAULT_HOST: Final = "127.0.0.1"
# So many books are looked at before another thread gets the GIL.
_BOOKS_AT_ONCE: Final = 64


@contextlib.asynccontextmanager
async def open_metrics(
    config: ExecutorConfig,
    executor: BaseExecutor,
    engine: "Engine | None" = None,
    notifier: Notifier | None = None,
    store: TradeStore | None = None,
) -> AsyncIterator[MetricsServer | None]:
    """Expose what an executor does, as long as the context lasts.

    Parameters
    ----------
    config : ExecutorConfig
        ``metrics``: ``METRICS_PORT`` opens the endpoint, ``METRICS_SPANS`` makes spans.
    executor : Executor
        Open.
    engine : Engine or None
        Open; read too.
    notifier : Notifier or None
        Read too.
    store : TradeStore or None
        Read too.

    Yields
    ------
    MetricsServer or None
        None: no port is set.

    Raises
    ------
    ConfigError
        A variable is malformed, its extra is not installed, or the port is taken.
    """
    port = _port(config)
    stops: list[Callable[[], None]] = []
    server = None
    try:
        if parse_bool(_text(config, "METRICS_SPANS") or "false", "METRICS_SPANS"):
            stops.append(executor.on_trade_result(Spans().add))
        if port is not None:
            readers: list[Reader] = [executor_reader(executor)]
            readers.append(lambda: _losses(executor, engine))
            if engine is not None:
                readers.append(engine_reader(engine))
            if notifier is not None:
                readers.append(notifier_reader(notifier))
            if store is not None:
                readers.append(store_reader(store))
            metrics = Metrics(readers)
            server = MetricsServer(metrics, _text(config, "METRICS_HOST") or _DEFAULT_HOST, port)
            stops.append(executor.on_trade_result(metrics.count, is_quick=True))
        yield server
    finally:
        for stop in stops:
            stop()
        if server is not None:
            await asyncio.to_thread(server.close)


def executor_reader(executor: BaseExecutor) -> Reader:
    """Return what reads an executor. It may be called from any thread."""
    build = build_info()
    version = str(build["version"] or "")

    def read() -> Iterator[Sample]:
        yield "polyexec_info", (version, IMPLEMENTATION), 1
        yield "polyexec_trading_enabled", (), executor.trading_enabled
        yield "polyexec_in_flight", (), executor._gate.in_flight
        yield "polyexec_queued_signals", (), len(executor._queue)
        yield "polyexec_dropped_total", ("signals",), executor.dropped_signals
        yield "polyexec_dropped_total", ("callbacks",), executor.dropped_callbacks
        mode = executor.venue_mode
        for each in VenueMode:
            yield "polyexec_venue_mode", (str(each),), each is mode
        yield from _money(executor)
        yield from _risk(executor)
        journal = executor._journal
        if journal is not None:
            yield "polyexec_journal_failed", (), journal.failure is not None
        channel = executor.user_channel
        if channel is not None:
            yield "polyexec_user_channel_up", (), channel.is_connected
        venue = executor.venue
        if isinstance(venue, ClobVenue):
            limits = venue.limits
            yield "polyexec_rate_limit_tokens", ("orders",), limits.tokens("orders")
            yield "polyexec_rate_limit_tokens", ("cancels",), limits.tokens("cancels")
            yield "polyexec_rate_limit_warnings_total", (), limits.warnings
            yield "polyexec_order_connections", (), venue.transport.connected
            yield "polyexec_clock_offset_seconds", (), venue.clock.offset_s

    return read


def engine_reader(engine: "Engine") -> Reader:
    """Return what reads an engine. It may be called from any thread."""

    def read() -> Iterator[Sample]:
        for event, count in msgspec.structs.asdict(engine.counts).items():
            yield "polyexec_engine_events_total", (event,), count
        yield "polyexec_engine_forms", (), len(engine.forms)
        for verdict, count in engine.looks.items():
            yield "polyexec_engine_looks_total", (verdict,), count
        yield "polyexec_dropped_total", ("engine callbacks",), engine.dropped_events
        try:
            counts = engine.feed_counts
        except UsageError:  # not open yet
            return
        faults = dict(counts.faults)
        for event, count in msgspec.structs.asdict(counts).items():
            if event != "faults":
                yield "polyexec_feed_events_total", (event,), count
        for kind, count in faults.items():
            yield "polyexec_feed_faults_total", (kind,), count
        up = [is_up for is_up, _ in engine._opened_feed().connections]
        yield "polyexec_feed_connections", ("up",), sum(up)
        yield "polyexec_feed_connections", ("down",), len(up) - sum(up)
        yield from _books(engine)

    return read


def notifier_reader(notifier: Notifier) -> Reader:
    """Return what reads a notifier. It may be called from any thread."""

    def read() -> Iterator[Sample]:
        for endpoint, counts in notifier.counts.items():
            yield "polyexec_notices_total", (endpoint, "delivered"), counts.delivered
            yield "polyexec_notices_total", (endpoint, "lost"), counts.lost
        yield "polyexec_notices_folded_total", (), notifier.folded
        yield "polyexec_notices_waiting", (), notifier.waiting

    return read


def store_reader(store: TradeStore) -> Reader:
    """Return what reads a trade store. It may be called from any thread."""

    def read() -> Iterator[Sample]:
        counts = store.counts
        for what in ("written", "spilled", "dropped", "refused", "outages"):
            yield "polyexec_store_total", (what,), getattr(counts, what)
        yield "polyexec_store_waiting", (), counts.queued
        yield "polyexec_store_spilled_bytes", (), counts.spill_bytes
        yield "polyexec_store_up", (), not store.failure

    return read


def _losses(executor: BaseExecutor, engine: "Engine | None") -> Iterator[Sample]:
    for connection, count in connection_losses(executor, engine).items():
        yield "polyexec_connection_losses_total", (connection,), count


def _money(executor: BaseExecutor) -> Iterator[Sample]:
    ledger = executor.ledger
    balance, available, held = ledger.balance(), ledger.available(), ledger.held()
    for word, micro in (
        ("balance", balance),
        ("available", available),
        ("reserved", held),
        ("pending", balance - available - held),
    ):
        yield "polyexec_ledger_dollars", (word,), micro / 1e6
    as_of_ms = ledger.as_of_ms(COLLATERAL)
    if as_of_ms:
        age_ms = executor._clock.time_ms() - as_of_ms
        yield "polyexec_balance_age_seconds", (), age_ms / 1000
    yield "polyexec_reservations", (), len(ledger.open_reservations)
    yield "polyexec_open_orders", (), len(executor._tracker.orders)
    yield "polyexec_unknown_orders", (), len(executor._tracker.unknown_orders)


def _risk(executor: BaseExecutor) -> Iterator[Sample]:
    risk = executor.risk
    yield "polyexec_halted", (), risk.halted is not None
    yield "polyexec_reduce_only", (), risk.is_reduce_only
    yield "polyexec_unknown_groups", (), risk.unknown_groups
    yield "polyexec_risk_used_dollars", ("daily_cost",), risk.spent_micro / 1e6
    yield "polyexec_risk_used_dollars", ("open_exposure",), risk.exposure_micro / 1e6
    limits = risk.limits
    for limit, micro in (
        ("group_cost", limits.max_group_cost_micro),
        ("daily_cost", limits.max_daily_cost_micro),
        ("open_exposure", limits.max_open_exposure_micro),
        ("legging_loss", limits.max_legging_loss_micro),
    ):
        if micro is not None:
            yield "polyexec_risk_limit_dollars", (limit,), micro / 1e6


def _books(engine: "Engine") -> Iterator[Sample]:
    table, now_ns = engine.table, time.perf_counter_ns()
    states = dict.fromkeys(BookState, 0)
    ages_ns: list[int] = []
    for number, token in enumerate(engine._opened_feed().tokens):
        if not number % _BOOKS_AT_ONCE:
            time.sleep(0)
        slot = table.slot(token)
        if slot < 0:  # dropped meanwhile
            continue
        top = table.top(slot)
        states[top.state] += 1
        if top.state is not BookState.EMPTY:
            ages_ns.append(now_ns - top.received_ns)
    for state, count in states.items():
        yield "polyexec_books", (state.name.lower(),), count
    if ages_ns:
        ages_ns.sort()
        yield "polyexec_book_age_seconds", ("median",), max(0, ages_ns[len(ages_ns) // 2]) / 1e9
        yield "polyexec_book_age_seconds", ("oldest",), max(0, ages_ns[-1]) / 1e9


def _port(config: ExecutorConfig) -> int | None:
    text = _text(config, "METRICS_PORT")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65_535):
        raise ConfigError(f"METRICS_PORT={text!r}: must be a port, 0 to 65535; 0: any free one")
    return int(text)


def _text(config: ExecutorConfig, name: str) -> str:
    value = config.metrics.get(name)
    return "" if value is None else value.reveal().strip()
