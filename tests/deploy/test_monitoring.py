"""Dashboard, alerts and documentation speak of metrics that exist, by labels that they have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from polyexec.engine.engine import EngineCounts
from polyexec.engine.following import FeedCounts
from polyexec.enums import VenueMode
from polyexec.observers.metrics import METRICS
from polyexec.results import Latency

promql_parser = pytest.importorskip("promql_parser", reason="needs promql-parser")

ROOT = Path(__file__).resolve().parent.parent.parent
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "polyexec.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())

# Labels that Prometheus adds to all that it scrapes.
TARGET = {"instance", "job"}
# What labels with a closed set of values can be.
VALUES: dict[str, set[str]] = {
    "outcome": {"success", "failure", "unknown", "skipped", "delivered", "lost"},
    "stage": {name.removesuffix("_us") for name in Latency.__struct_fields__},
    "mode": set(VenueMode),
    "word": {"balance", "available", "reserved", "pending"},
    "event": {*EngineCounts.__struct_fields__, *FeedCounts.__struct_fields__} - {"faults"},
    "rank": {"median", "oldest"},
    "state": {"up", "down"},
}


def exposed() -> dict[str, set[str]]:
    """Return the labels of every series."""
    series = {}
    for metric in METRICS:
        if metric.kind == "histogram":
            series[f"{metric.name}_bucket"] = {*metric.labels, "le"}
            series[f"{metric.name}_sum"] = series[f"{metric.name}_count"] = set(metric.labels)
        else:
            series[metric.name] = set(metric.labels)
    return series


EXPOSED = exposed()


def panels() -> Iterator[dict[str, Any]]:
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries() -> Iterator[tuple[str, str, str]]:
    """Yield where a query stands, the query, and its legend."""
    for panel in panels():
        for target in panel.get("targets", []):
            yield f"dashboard: {panel['title']}", target["expr"], target["legendFormat"]
    for note in DASHBOARD["annotations"]["list"]:
        yield f"dashboard: {note['name']}", note["expr"], ""
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            text = " ".join(rule["annotations"].values())
            yield f"alert: {rule['alert']}", rule["expr"], text


def parsed(query: str) -> Any:
    return promql_parser.parse(query.replace("$__rate_interval", "5m"))


QUERIES = list(queries())


@pytest.mark.parametrize(("where", "query", "legend"), QUERIES, ids=[q[0] for q in QUERIES])
def test_a_query_is_promql_over_metrics_that_exist(where: str, query: str, legend: str) -> None:
    parsed(query)
    names = set(re.findall(r"polyexec_\w+", query))
    assert names - set(EXPOSED) == set()
    assert names or query.startswith("up{")
    for name, selector in re.findall(r"(polyexec_\w+)\{([^}]*)\}", query):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', selector):
            assert label in EXPOSED[name] | TARGET, f"{name} has no label {label!r}"
            if label in VALUES and value != "$instance":
                words = set(value.split("|")) if "~" in operator else {value}
                assert words <= VALUES[label]
    known = set().union(*(EXPOSED[name] for name in names)) | TARGET
    for labels in re.findall(r"\bby \(([^)]*)\)", query):
        assert {label.strip() for label in labels.split(",")} <= known
    for label in re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", legend):
        assert label in known


@pytest.mark.parametrize(("where", "query", "legend"), QUERIES, ids=[q[0] for q in QUERIES])
def test_counters_are_seen_as_rates_and_gauges_are_not(where: str, query: str, legend: str) -> None:
    counters = {metric.name for metric in METRICS if metric.kind == "counter"}
    counters |= {name for name in EXPOSED if name.endswith(("_bucket", "_sum", "_count"))}
    for name, rest in re.findall(r"(polyexec_\w+)(?:\{[^}]*\})?(\[)?", query):
        is_annotation = name == "polyexec_halted" and "changes(" in query
        assert (name in counters) == bool(rest) or is_annotation


def test_the_dashboard_shows_every_metric() -> None:
    shown = set(re.findall(r"polyexec_\w+", json.dumps(DASHBOARD)))
    bare = {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown}
    assert {metric.name for metric in METRICS} - bare - shown == set()


def test_panels_do_not_overlap_and_have_their_own_ids() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))


def test_every_alert_says_what_it_is_about() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]


def test_the_documentation_lists_every_metric_with_its_labels() -> None:
    page = (ROOT / "docs" / "howto" / "monitoring.md").read_text()
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `polyexec_")]
    listed = {}
    for cells in rows:
        (name,) = re.findall(r"`(\w+)`", cells[0])
        assert name not in listed
        listed[name] = (cells[1].strip(), set(re.findall(r"`(\w+)`", cells[2])))
    assert listed == {metric.name: (metric.kind, set(metric.labels)) for metric in METRICS}
