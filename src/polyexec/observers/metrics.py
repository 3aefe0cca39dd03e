"""Prometheus metrics: what there is, and an endpoint that is asked for it.

Results are counted in the thread of their callback; everything else is read when the endpoint is
scraped. Nothing of this is on the path of a signal.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import msgspec

from polyexec.enums import NoticeKind
from polyexec.errors import ConfigError
from polyexec.observers.notices import outcome_of
from polyexec.results import Latency, TradeResult

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

__all__ = ["METRICS", "Metric", "Metrics", "MetricsServer", "Reader", "Sample"]

_log = logging.getLogger("polyexec.metrics")


class Metric(msgspec.Struct, frozen=True):
    """One metric, named as it is exposed."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


Sample: TypeAlias = tuple[str, tuple[str, ...], float]
"""Name of a metric, its label values, its value."""
Reader: TypeAlias = Callable[[], Iterable[Sample]]
"""Is asked at every scrape."""

_RESULTS: Final = (
    Metric(
        "polyexec_results_total",
        "counter",
        "Results by outcome: success, failure, unknown, skipped.",
        ("outcome",),
    ),
    Metric("polyexec_skips_total", "counter", "Signals that we refused, by reason.", ("reason",)),
    Metric("polyexec_legs_total", "counter", "Legs that were sent, by their state.", ("state",)),
    Metric(
        "polyexec_rejects_total", "counter", "Legs that the exchange refused, by code.", ("code",)
    ),
    Metric("polyexec_cost_dollars_total", "counter", "Cost of the accepted legs, fees in."),
    Metric(
        "polyexec_expected_pnl_dollars_total",
        "counter",
        "Expected profit of complete sets, fees in; losses are not subtracted.",
    ),
    Metric(
        "polyexec_stage_seconds",
        "histogram",
        "Time that each stage of a sent group took; total is from submit to the result.",
        ("stage",),
    ),
)
_EXECUTOR: Final = (
    Metric("polyexec_info", "gauge", "Always 1; what runs.", ("version", "implementation")),
    Metric("polyexec_trading_enabled", "gauge", "1: the trading switch is on."),
    Metric("polyexec_halted", "gauge", "1: halted, nothing is sent."),
    Metric("polyexec_reduce_only", "gauge", "1: only legs that give up inventory are sent."),
    Metric("polyexec_venue_mode", "gauge", "1 for what the exchange accepts now.", ("mode",)),
    Metric(
        "polyexec_ledger_dollars",
        "gauge",
        "Collateral: balance (what the exchange should report) = available + reserved + pending "
        "(income that has not settled).",
        ("word",),
    ),
    Metric("polyexec_balance_age_seconds", "gauge", "Age of the exchange's balance."),
    Metric("polyexec_reservations", "gauge", "Open reservations of all assets."),
    Metric("polyexec_open_orders", "gauge", "Orders that are not final."),
    Metric("polyexec_unknown_orders", "gauge", "Orders whose fate is not known."),
    Metric("polyexec_unknown_groups", "gauge", "Groups with a leg whose fate is not known."),
    Metric(
        "polyexec_risk_used_dollars",
        "gauge",
        "Used of a limit: daily_cost, open_exposure.",
        ("limit",),
    ),
    Metric("polyexec_risk_limit_dollars", "gauge", "Limits that are set.", ("limit",)),
    Metric("polyexec_in_flight", "gauge", "Submissions without an answer."),
    Metric("polyexec_queued_signals", "gauge", "Signals that wait for their turn."),
    Metric(
        "polyexec_dropped_total",
        "counter",
        "Lost because a queue was full: signals, callbacks, engine callbacks.",
        ("queue",),
    ),
    Metric("polyexec_order_connections", "gauge", "Order connections that take requests."),
    Metric(
        "polyexec_connection_losses_total",
        "counter",
        "Connections that were lost or could not be made.",
        ("connection",),
    ),
    Metric("polyexec_user_channel_up", "gauge", "1: our own orders are told of."),
    Metric(
        "polyexec_rate_limit_tokens",
        "gauge",
        "What may be sent now by the signer's limits: orders, cancels; below 0: owed.",
        ("bucket",),
    ),
    Metric(
        "polyexec_rate_limit_warnings_total", "counter", "Warnings of the exchange about limits."
    ),
    Metric("polyexec_clock_offset_seconds", "gauge", "How far the exchange's clock is ahead."),
    Metric("polyexec_journal_failed", "gauge", "1: the journal takes no intent, nothing is sent."),
)
_ENGINE: Final = (
    Metric("polyexec_engine_events_total", "counter", "What the engine has done.", ("event",)),
    Metric(
        "polyexec_engine_looks_total", "counter", "What became of looks at forms.", ("verdict",)
    ),
    Metric("polyexec_engine_forms", "gauge", "Forms that are evaluated."),
    Metric("polyexec_feed_events_total", "counter", "What the market feed has seen.", ("event",)),
    Metric(
        "polyexec_feed_faults_total", "counter", "What could not be read or believed.", ("kind",)
    ),
    Metric("polyexec_feed_connections", "gauge", "Feed connections by state.", ("state",)),
    Metric("polyexec_books", "gauge", "Books by state; only live ones are traded.", ("state",)),
    Metric(
        "polyexec_book_age_seconds",
        "gauge",
        "Since a loaded book was last heard of: median and oldest.",
        ("rank",),
    ),
)
_NOTIFIER: Final = (
    Metric(
        "polyexec_notices_total",
        "counter",
        "Notices by endpoint: delivered, lost.",
        ("endpoint", "outcome"),
    ),
    Metric("polyexec_notices_folded_total", "counter", "Notices told as a number only."),
    Metric("polyexec_notices_waiting", "gauge", "Notices in the queues."),
)
_STORE: Final = (
    Metric(
        "polyexec_store_total",
        "counter",
        "Trade store: rows written or refused, events spilled to disk or dropped, outages.",
        ("what",),
    ),
    Metric("polyexec_store_waiting", "gauge", "Events that wait in memory for the store."),
    Metric("polyexec_store_spilled_bytes", "gauge", "What waits on disk for the database."),
    Metric("polyexec_store_up", "gauge", "1: the database takes rows."),
)
_OWN: Final = (
    Metric("polyexec_scrape_errors_total", "counter", "Readers that failed during a scrape."),
)

METRICS: Final = (*_RESULTS, *_EXECUTOR, *_ENGINE, *_NOTIFIER, *_STORE, *_OWN)
"""Everything that is exposed."""

_BY_NAME: Final = {metric.name: metric for metric in METRICS}
_STAGES: Final = tuple((name.removesuffix("_us"), name) for name in Latency.__struct_fields__)
# 1 us to 10 s: a stage takes microseconds, an answer milliseconds, a time-out seconds.
_BUCKETS: Final = (
    *(step * 10.0**power for power in range(-6, 1) for step in (1, 2, 5)),
    10.0,
)


class Metrics:
    """Counts results and collects the rest; give ``registry`` to whatever exposes it.

    Parameters
    ----------
    readers : sequence of callable
        Asked at every scrape, in the scraper's thread.

    Raises
    ------
    ConfigError
        ``prometheus_client`` is not installed.
    """

    def __init__(self, readers: Sequence[Reader] = ()) -> None:
        try:
            import prometheus_client  # noqa: PLC0415  an extra, only when asked for
        except ImportError:
            raise ConfigError(
                "METRICS_PORT: needs prometheus-client: pip install 'polyexec[prometheus]'"
            ) from None
        self.registry: CollectorRegistry = prometheus_client.CollectorRegistry(auto_describe=False)
        self._readers = tuple(readers)
        self._errors = 0
        self._lock = threading.Lock()
        made: dict[str, Any] = {}
        for metric in _RESULTS:
            if metric.kind == "counter":
                made[metric.name] = prometheus_client.Counter(
                    metric.name, metric.help, metric.labels, registry=self.registry
                )
        (stages,) = (metric for metric in _RESULTS if metric.kind == "histogram")
        histogram = prometheus_client.Histogram(
            stages.name, stages.help, stages.labels, registry=self.registry, buckets=_BUCKETS
        )
        self._counters = made
        self._stages = [(histogram.labels(stage), name) for stage, name in _STAGES]
        for outcome in (NoticeKind.SUCCESS, NoticeKind.FAILURE, NoticeKind.UNKNOWN, "skipped"):
            # There from the beginning, so that a rate sees the first one.
            made["polyexec_results_total"].labels(str(outcome))
        self.registry.register(self)

    def count(self, result: TradeResult) -> None:
        """Take in a result. From any thread."""
        counters = self._counters
        outcome = outcome_of(result)
        counters["polyexec_results_total"].labels(str(outcome or "skipped")).inc()
        if result.skipped is not None:
            counters["polyexec_skips_total"].labels(str(result.skipped)).inc()
            return
        for leg in result.legs:
            counters["polyexec_legs_total"].labels(str(leg.state)).inc()
            if leg.code is not None:
                counters["polyexec_rejects_total"].labels(str(leg.code)).inc()
        counters["polyexec_cost_dollars_total"].inc(result.cost_micro / 1e6)
        counters["polyexec_expected_pnl_dollars_total"].inc(max(0, result.expected_pnl_micro) / 1e6)
        for stage, name in self._stages:
            took_us = getattr(result.latency, name)
            if took_us > 0:  # a stage that was not reached is 0
                stage.observe(took_us / 1e6)

    def collect(self) -> Iterator["Family"]:
        """Yield what the readers say; for the registry."""
        found: dict[str, list[tuple[tuple[str, ...], float]]] = {}
        for reader in self._readers:
            try:
                for name, labels, value in reader():
                    found.setdefault(name, []).append((labels, value))
            except Exception:  # what was read before counts
                self._failed()
        for name, samples in found.items():
            yield _family(name, samples)
            # Lets go of the GIL: a page of text must not hold up a thread that trades.
            time.sleep(0)
        yield _family("polyexec_scrape_errors_total", [((), float(self._errors))])

    def _failed(self) -> None:
        with self._lock:
            self._errors += 1
            is_first = self._errors == 1
        if is_first:  # it is asked every few seconds
            _log.exception("metrics_reader_failed")


def _family(name: str, samples: Iterable[tuple[tuple[str, ...], float]]) -> "Family":
    from prometheus_client.core import (  # noqa: PLC0415  an extra
        CounterMetricFamily,
        GaugeMetricFamily,
    )

    metric = _BY_NAME[name]
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind == "counter":
        family = CounterMetricFamily(name, metric.help, labels=metric.labels)
    else:
        family = GaugeMetricFamily(name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


class MetricsServer:
    """The endpoint, on threads of its own.

    Parameters
    ----------
    metrics : Metrics
    host : str
        Address to listen on. It tells how much money there is: keep it on this machine or inside
        a network of yours.
    port : int
        0: any that is free.

    Raises
    ------
    ConfigError
        The address cannot be listened on.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        from prometheus_client import start_http_server  # noqa: PLC0415  an extra

        try:
            self._server, self._thread = start_http_server(port, host, metrics.registry)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"METRICS_HOST={host!r}, METRICS_PORT={port}: cannot be listened on: {error}"
            ) from None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    def close(self) -> None:
        """Stop; blocks for up to half a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
