"""One market, recorded in four ways: the backtest decides the same from each."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from benchmarks import inputs, market
from polyexec.backtest import open_source, run
from tests.backtest import test_readers_pmxt as pmxt

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TRIOS = 80
START = inputs.TIMESTAMP_MS
SETTINGS = {"order_type": "FOK", "opportunity_timeout_ms": 0}


def recorded() -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (unix milliseconds, event): books out of line now and then, and changes."""
    watched = market.watched(TRIOS)
    found: list[dict[str, Any]] = []
    for token, sides in watched.books.items():
        bids, asks = (
            [{"price": market.text(p, 4), "size": market.text(s, 6)} for p, s in side]
            for side in sides
        )
        found.append({"event_type": "book", "asset_id": token, "bids": bids, "asks": asks})
    found += [json.loads(one) for one in market.frames(watched.pairs, watched.books, 600)]
    for number, event in enumerate(found):
        yield START + number, event | {"market": "0x" + "4f" * 32, "timestamp": str(START + number)}


def own(folder: Path) -> Path:
    lines = [
        {"received_ns": 1, "received_ms": ms, "connection": 0, "frame": json.dumps(event)}
        for ms, event in recorded()
    ]
    return _lines(folder / "market-20260101T000000Z-0.jsonl", lines)


def frames(folder: Path) -> Path:
    return _lines(folder / "frames.jsonl", [event for _, event in recorded()])


def envelopes(folder: Path) -> Path:
    lines = [{"ts": ms / 1000, "data": json.dumps([event])} for ms, event in recorded()]
    return _lines(folder / "envelopes.jsonl", lines)


def _lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def archive(folder: Path) -> Path:
    rows = []
    for ms, event in recorded():
        common = {"timestamp_received": ms, "timestamp": ms, "market": event["market"].encode()}
        common["event_type"] = event["event_type"]
        if event["event_type"] == "book":
            sides = {
                side: json.dumps([[one["price"], one["size"]] for one in event[side]])
                for side in ("bids", "asks")
            }
            rows.append(common | {"asset_id": event["asset_id"]} | sides)
        for change in event.get("price_changes", ()):
            numbers = ("price", "size", "best_bid", "best_ask")
            exact = {name: Decimal(change[name]) for name in numbers}
            texts = {"asset_id": change["asset_id"], "side": change["side"]}
            rows.append(common | texts | exact)
    rows.sort(key=lambda one: (one["asset_id"], one["timestamp_received"]))
    path = folder / "polymarket_orderbook_2026-01-01T00.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=pmxt.V2), path, row_group_size=500)
    return path


def test_every_format_gives_the_same_decisions(tmp_path: Path) -> None:
    forms = market.watched(TRIOS).forms
    reports = {
        make.__name__: run(None, open_source(make(tmp_path)), forms=forms, config=SETTINGS)
        for make in (own, frames, envelopes, archive)
    }
    first = reports["own"]
    assert any(leg.filled_micro for leg in first.legs)
    assert first.partial  # of the day there are some seconds
    assert {name: report.digest for name, report in reports.items()} == dict.fromkeys(
        reports, first.digest
    )
    assert {report.events for report in reports.values()} == {first.events}
