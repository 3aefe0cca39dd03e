"""Metrics: counted from results, read at scrapes, exposed over HTTP, and no reader can spoil it."""

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from polyexec.enums import LegState, SkipReason
from polyexec.errors import ConfigError
from polyexec.observers.metrics import METRICS, Metrics, MetricsServer, Sample
from polyexec.results import Latency
from tests.unit.observers.support import rejected, result, skipped


def scrape(server: MetricsServer) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by name and labels, as Prometheus would read it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    names = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(names) == len(set(names)), "a metric is exposed twice"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_results_are_counted_by_outcome_reason_state_and_code() -> None:
    metrics = Metrics()
    for one in (
        result(),
        rejected(),
        result(LegState.UNKNOWN),
        skipped(),
        skipped(),
        skipped(SkipReason.HALTED),
    ):
        metrics.count(one)
    for outcome, count in (("success", 1), ("failure", 1), ("unknown", 1), ("skipped", 3)):
        assert value(metrics, "polyexec_results_total", outcome=outcome) == count
    assert value(metrics, "polyexec_skips_total", reason="CooldownActive") == 2
    assert value(metrics, "polyexec_skips_total", reason="Halted") == 1
    assert value(metrics, "polyexec_legs_total", state="MATCHED") == 2
    assert value(metrics, "polyexec_legs_total", state="UNKNOWN") == 1
    assert value(metrics, "polyexec_rejects_total", code="NOT_FILLED") == 1
    assert value(metrics, "polyexec_cost_dollars_total") == pytest.approx(3 * 4.67325)


def test_outcomes_are_there_before_the_first_of_them() -> None:
    assert value(Metrics(), "polyexec_results_total", outcome="unknown") == 0


def test_stages_that_were_reached_go_into_the_histogram_in_seconds() -> None:
    metrics = Metrics()
    metrics.count(result(latency=Latency(sign_us=30.0, response_us=3000.0, total_us=3100.0)))
    assert value(metrics, "polyexec_stage_seconds_sum", stage="sign") == pytest.approx(30e-6)
    assert value(metrics, "polyexec_stage_seconds_bucket", stage="sign", le="5e-05") == 1
    assert value(metrics, "polyexec_stage_seconds_bucket", stage="sign", le="2e-05") == 0
    assert value(metrics, "polyexec_stage_seconds_count", stage="total") == 1
    assert value(metrics, "polyexec_stage_seconds_count", stage="validate") == 0


def test_what_was_skipped_is_not_timed() -> None:
    metrics = Metrics()
    metrics.count(skipped())
    assert value(metrics, "polyexec_stage_seconds_count", stage="total") == 0


def test_a_reader_that_fails_costs_its_rest_and_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> Iterator[Sample]:
        yield "polyexec_halted", (), 1
        raise RuntimeError("gone")

    def fine() -> Iterator[Sample]:
        yield "polyexec_in_flight", (), 3

    metrics = Metrics([broken, fine])
    assert value(metrics, "polyexec_halted") == 1
    assert value(metrics, "polyexec_in_flight") == 3
    assert (value(metrics, "polyexec_scrape_errors_total") or 0) > 2
    events = [record.getMessage() for record in caplog.records]
    assert events.count("metrics_reader_failed") == 1


def test_readers_may_speak_of_the_same_metric() -> None:
    metrics = Metrics(
        [
            lambda: [("polyexec_dropped_total", ("signals",), 1)],
            lambda: [("polyexec_dropped_total", ("engine callbacks",), 2)],
        ]
    )
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        found = scrape(server)
    finally:
        server.close()
    assert found["polyexec_dropped_total", (("queue", "signals"),)] == 1
    assert found["polyexec_dropped_total", (("queue", "engine callbacks"),)] == 2


def test_counting_from_many_threads_loses_nothing() -> None:
    metrics = Metrics()
    one = result()

    def count() -> None:
        for _ in range(500):
            metrics.count(one)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert value(metrics, "polyexec_results_total", outcome="success") == 2000


def test_a_port_that_is_taken_is_named() -> None:
    metrics = Metrics()
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        with pytest.raises(ConfigError, match=rf"METRICS_PORT={server.port}: cannot be listened"):
            MetricsServer(metrics, "127.0.0.1", server.port)
    finally:
        server.close()


def test_a_host_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match=r"METRICS_HOST='no such host'"):
        MetricsServer(Metrics(), "no such host", 0)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ConfigError, match=r"pip install 'polyexec\[prometheus\]'"):
        Metrics()


def test_names_follow_the_rules_of_prometheus() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"polyexec_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")


def test_nothing_of_an_extra_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, polyexec, polyexec.metering, polyexec.notifying\n"
        "print([name for name in ('prometheus_client', 'opentelemetry') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
