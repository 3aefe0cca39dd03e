"""A benchmark compares equal work, and its files say everything that is needed to judge it."""

import json
from pathlib import Path

import pytest

from benchmarks import harness

ROW_KEYS = {
    "name",
    "median_us",
    "p99_us",
    "min_us",
    "n",
    "baselines",
    "date",
    "cpu",
    "versions",
}


def test_every_row_gives_the_same_output_as_its_baselines() -> None:
    pytest.importorskip("py_clob_client_v2")
    from benchmarks.run import discover

    rows = discover()
    assert rows
    for row in rows:
        row.check()


def test_a_row_with_another_output_is_not_timed() -> None:
    timed = []
    row = harness.Row("r", "", lambda: timed.append(1), check=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        harness.measure(row, seconds=0)
    assert timed == []


def test_a_run_is_written_with_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(harness, "WARM_UP_NS", 0)
    row = harness.Row("slow", "adds up", lambda: sum(range(3000)), {"quick": lambda: None})
    result = harness.measure(row, seconds=0)
    assert result["n"] >= 100
    assert result["min_us"] <= result["median_us"] <= result["p99_us"]
    where = harness.environment()
    harness.write_json([result], where)
    (written,) = json.loads(harness.LATEST.read_text())["rows"]
    assert set(written) >= ROW_KEYS
    harness.write_table([result], where)
    table = harness.RESULTS.read_text()
    assert "Slower than a baseline: `slow` against quick." in table
    assert where["cpu"] in table
    assert where["versions"]["python"] in table
