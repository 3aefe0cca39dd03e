"""Spans are made from results, with the times that the path took."""

import sys

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from polyexec.enums import LegState
from polyexec.errors import ConfigError
from polyexec.observers.tracing import Spans
from polyexec.results import Latency, TradeResult
from tests.unit.observers.support import rejected, result, skipped


def spans_of(*results: TradeResult) -> list[ReadableSpan]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    spans = Spans(provider)
    for one in results:
        spans.add(one)
    return list(exporter.get_finished_spans())


def test_a_group_holds_a_span_for_each_stage_that_was_reached() -> None:
    latency = Latency(validate_us=2, sign_us=30, write_us=12.5, response_us=3000, total_us=3100)
    *stages, group = spans_of(result(latency=latency))
    assert group.name == "polyexec.group"
    assert group.end_time == 1_700_000_000_000 * 1_000_000
    assert group.end_time - (group.start_time or 0) == 3_100_000
    told = [(one.name, (one.end_time or 0) - (one.start_time or 0)) for one in stages]
    assert told == [
        ("polyexec.validate", 2000),
        ("polyexec.sign", 30_000),
        ("polyexec.write", 12_500),
        ("polyexec.response", 3_000_000),
    ]
    at = group.start_time
    for one in stages:
        assert one.parent is not None
        assert one.parent.span_id == group.context.span_id
        assert one.start_time == at
        at = one.end_time
    assert (at or 0) <= group.end_time


def test_stages_longer_than_the_whole_stay_inside_it() -> None:
    *stages, group = spans_of(result(latency=Latency(sign_us=50, response_us=100, total_us=90)))
    assert max(one.end_time or 0 for one in stages) == group.end_time
    assert min(one.start_time or 0 for one in stages) == group.start_time


def test_the_group_tells_what_became_of_it() -> None:
    *_, group = spans_of(result())
    assert group.attributes is not None
    assert dict(group.attributes) == {
        "polyexec.strategy": "POLYMARKET_TRIANGLE_BUY",
        "polyexec.group_key": "BTC-1d",
        "polyexec.event_slug": "btc-price",
        "polyexec.success": True,
        "polyexec.order_ids": ("0x" + "ab" * 32,),
        "polyexec.leg_states": ("MATCHED",),
        "polyexec.cost_dollars": 4.67325,
        "polyexec.expected_pnl_dollars": 0.12,
    }
    assert group.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("given", "words"), [(rejected(), "failed"), (result(LegState.UNKNOWN), "unknown")]
)
def test_what_did_not_succeed_is_an_error(given: TradeResult, words: str) -> None:
    *_, group = spans_of(given)
    assert (group.status.status_code, group.status.description) == (StatusCode.ERROR, words)


def test_a_skipped_signal_makes_none() -> None:
    assert spans_of(skipped()) == []


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match=r"pip install 'polyexec\[otel\]'"):
        Spans()
