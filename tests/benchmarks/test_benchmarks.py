"""A benchmark compares equal work, and its files say everything that is needed to judge it."""

import dataclasses
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import harness, inputs, report, targets
from benchmarks.peers import cargo, floor, nautilus
from benchmarks.peers.worker import Remote, Worker

ROW_KEYS = {
    "name",
    "median_us",
    "p99_us",
    "min_us",
    "n",
    "kept_blocks",
    "peak_bytes",
    "floor",
    "baselines",
    "peers",
    "date",
    "cpu",
    "versions",
    "command",
}
# Answers every question with the same durations; greets first, as a worker must.
SLOW_WORKER = """
import json, sys
print("{}", flush=True)
for line in sys.stdin:
    print(json.dumps({"ns": [9_000] * json.loads(line)["calls"]}), flush=True)
"""

_NOT_INSTALLED = "a package of the benchmarks is not installed: `make bench` installs it"


@pytest.fixture
def slow_worker() -> Iterator[Worker]:
    worker = Worker("slow", [sys.executable, "-c", SLOW_WORKER])
    yield worker
    worker.close()


@pytest.fixture
def _quick_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(harness, "WARM_UP_NS", 0)


def _result(name: str, **changed: Any) -> dict[str, Any]:
    timing = {"median_us": 10.0, "p99_us": 20.0, "min_us": 9.0, "n": 100}
    memory = {"kept_blocks": 1, "kept_bytes": 1, "peak_bytes": 1}
    row = {"name": name, "what": "", "floor": None, "baselines": {}, "peers": {}}
    return {**row, **timing, **memory, **changed}


def test_every_row_gives_the_same_output_as_its_baselines() -> None:
    pytest.importorskip("py_clob_client_v2", reason=_NOT_INSTALLED)
    pytest.importorskip("polymarket", reason=_NOT_INSTALLED)
    from benchmarks.run import discover

    rows = discover()
    assert rows
    for row in rows:
        row.check()


def test_every_promise_names_a_row_and_contestants_that_exist() -> None:
    pytest.importorskip("py_clob_client_v2", reason=_NOT_INSTALLED)
    pytest.importorskip("polymarket", reason=_NOT_INSTALLED)
    from benchmarks.run import discover

    rows = {row.name: row for row in discover()}
    prepared = "plan_3_legs_prepared"  # a row only where the signer has prepared nonces
    for target in targets.TARGETS:
        assert target.row in rows or target.row == prepared
        row = rows.get(target.row)
        if row is None or target.against in (targets.P99, targets.MEDIAN):
            continue
        if target.against == targets.FLOOR:
            assert row.floor in rows
        elif isinstance(target.against, str):
            # The public backtester has an environment of its own, which `make bench` makes.
            optional = target.against == nautilus.NAME and not nautilus.is_built()
            assert optional or target.against in row.baselines


def test_a_request_with_another_price_is_not_accepted() -> None:
    official = pytest.importorskip("benchmarks.baselines.official", reason=_NOT_INSTALLED)
    request = official.requests()()
    inputs.check_request("official", request)
    cheaper = dataclasses.replace(request, body=request.body.replace(b'"3300000"', b'"3200000"'))
    with pytest.raises(SystemExit, match="HMAC of official"):
        inputs.check_request("official", cheaper)
    with pytest.raises(SystemExit, match="makerAmount of official"):
        inputs.check_orders("official", cheaper.body)


def test_a_request_signed_over_something_else_is_not_accepted() -> None:
    official = pytest.importorskip("benchmarks.baselines.official", reason=_NOT_INSTALLED)
    orders = json.loads(official.requests()().body)
    orders[1]["order"]["signature"] = orders[0]["order"]["signature"]
    body = json.dumps(orders).encode()
    for deterministic, part in ((True, "signature"), (False, "signer")):
        with pytest.raises(SystemExit, match=f"{part} of official"):
            inputs.check_orders("official", body, deterministic=deterministic)


def test_the_worker_without_coincurve_signs_with_eth_keys() -> None:
    pytest.importorskip("polymarket", reason=_NOT_INSTALLED)
    from benchmarks.peers import serve

    program = (
        "import sys; sys.argv[1:] = ['--without', 'coincurve']\n"
        "from benchmarks.peers import serve\n"
        "serve.main()\n"
        "from eth_keys import KeyAPI\n"
        "print(type(KeyAPI().backend).__name__)\n"
    )
    root = str(harness.HERE.parent)
    worker = Worker("native", [sys.executable, "-c", program], environment={"PYTHONPATH": root})
    process = worker._process
    out, _ = process.communicate("", timeout=60)
    worker.__dict__.pop("_process")
    assert serve.__doc__
    assert process.returncode == 0
    assert out.splitlines() == ["NativeECCBackend"]


def test_a_worker_in_python_times_itself() -> None:
    program = (
        "import itertools\n"
        "from benchmarks.bench_wire import Paced\n"
        "from benchmarks.peers.serve import answer_questions\n"
        "clock = itertools.count(0, 7).__next__\n"
        "nothing = lambda: None\n"
        "answer_questions({'paced': Paced(nothing, nothing, clock=clock), 'plain': nothing})\n"
    )
    root = str(harness.HERE.parent)
    worker = Worker("timed", [sys.executable, "-c", program], environment={"PYTHONPATH": root})
    try:
        assert Remote(worker, "paced").sample(3) == [7.0, 7.0, 7.0], "it knows what to count"
        assert len(Remote(worker, "plain").sample(3)) == 3
    finally:
        worker.close()


def test_who_measures_against_the_floor_shares_its_server_with_the_others() -> None:
    if reason := floor.build():
        pytest.skip(reason)
    assert floor.url() == f"https://127.0.0.1:{floor.port()}"
    assert floor.url(1000) != floor.url()


def test_rust_peers_give_the_same_output() -> None:
    if not cargo.is_built():
        pytest.skip("the Rust peers are not built: make bench")
    for who, remote in cargo.requests().items():
        output = remote.output()
        inputs.check_request(who, inputs.Request(output.pop("body").encode(), **output))


def test_without_cargo_the_rust_peers_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cargo, "BINARY", tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cargo.build() == "cargo is not installed"
    assert cargo.requests() == {}
    assert cargo.signatures() == {}


def test_a_failed_build_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "cargo"
    fake.write_text("#!/bin/sh\necho 'error: no linker' >&2\nexit 101\n")
    fake.chmod(0o755)
    monkeypatch.setattr(cargo, "BINARY", tmp_path / "absent")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert cargo.build() == "cargo build failed: error: no linker"


def test_a_worker_that_dies_is_named() -> None:
    worker = Worker("gone", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(SystemExit, match="gone: its process ended with code 3"):
        worker.ask(case="any")
    worker.close()


def test_a_row_with_another_output_is_not_timed() -> None:
    timed = []
    row = harness.Row("r", "", lambda: timed.append(1), check=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        harness.measure(row, seconds=0)
    assert timed == []


@pytest.mark.usefixtures("_quick_runs")
def test_every_turn_is_prepared_and_the_floor_is_timed_beside_it(slow_worker: Worker) -> None:
    order: list[str] = []
    row = harness.Row(
        "r",
        "",
        lambda: order.append("call"),
        {"slow": Remote(slow_worker, "any")},
        floor="unit",
        before=lambda: order.append("before"),
    )
    result = harness.measure(row, seconds=0, floor=lambda: order.append("floor"))
    turns = [name for name in ("".join(order).split("before")) if name]
    assert len(turns) > 10
    assert all(turn.startswith("call") for turn in turns)
    assert result["floor"]["name"] == "unit"
    assert result["baselines"] == {"slow": 9.0}
    assert result["peers"]["slow"]["ratio"] == pytest.approx(9.0 / result["median_us"], rel=0.01)


@pytest.mark.usefixtures("_quick_runs")
def test_a_burst_that_spoils_one_long_turn_is_not_in_the_p99_of_a_turn(
    slow_worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = iter([[20.0] * 10, [500.0] * 10, [30.0] * 10])
    remote = Remote(slow_worker, "a")
    monkeypatch.setattr(Remote, "sample", lambda self, calls: next(turns) if calls == 10 else [1.0])
    contestant = harness._Contestant(remote, turn_calls=10)
    for _ in range(3):
        contestant.turn()
    told = contestant.timing.summary()
    assert (told["p99_us"], told["turn_p99_us"]) == (0.5, 0.03)


def test_a_promise_of_the_p99_is_held_by_the_median_of_the_turns() -> None:
    peers = {targets.NOTHING: {"p99_us": 10.0, "turn_p99_us": 100.0}}
    row = _result("submit_attended", turn_p99_us=104.0, peers=peers)
    (promise,) = (p for p in targets.evaluate([row]) if p["row"] == row["name"])
    assert (promise["measured"], promise["holds"]) == (1.04, True)


@pytest.mark.usefixtures("_quick_runs")
def test_the_memory_of_a_result_is_counted() -> None:
    kept = harness.measure(harness.Row("r", "", lambda: [bytes(5000), bytes(6000)]), seconds=0)
    assert kept["kept_blocks"] >= 3
    assert 11_000 < kept["kept_bytes"] <= kept["peak_bytes"] < 20_000


@pytest.mark.usefixtures("_quick_runs")
def test_the_memory_of_another_process_is_not_told(slow_worker: Worker) -> None:
    told = harness.measure(harness.Row("r", "", Remote(slow_worker, "any")), seconds=0)
    assert (told["kept_blocks"], told["kept_bytes"], told["peak_bytes"]) == (None, None, None)
    report.write([told], harness.environment(), [])
    assert "| - | - |" in report.RESULTS.read_text()


@pytest.mark.usefixtures("_quick_runs")
def test_a_run_is_written_with_losses() -> None:
    row = harness.Row("slow", "adds up", lambda: sum(range(3000)), {"quick": lambda: None})
    result = harness.measure(row, seconds=0)
    assert result["n"] >= 100
    assert result["min_us"] <= result["median_us"] <= result["p99_us"]
    where = harness.environment(skipped=["Rust peers: no cargo"])
    promises = targets.evaluate([result])
    harness.write_json([result], where, promises)
    (written,) = json.loads(harness.LATEST.read_text())["rows"]
    assert set(written) >= ROW_KEYS
    report.write([result], where, promises)
    table = report.RESULTS.read_text()
    assert "Slower than a baseline: `slow` against quick." in table
    assert "skipped: Rust peers: no cargo" in table
    assert where["cpu"] in table
    assert where["versions"]["python"] in table
    assert table.count("not measured") == len(targets.TARGETS)


def test_a_missed_promise_is_written_down() -> None:
    floor = {"name": "f", "median_us": 8.0, "p99_us": 9.0, "min_us": 7.0, "ratio": 0.8}
    peers = {name: {"ratio": ratio} for name, ratio in zip(cargo.CLIENTS, (3, 0.9), strict=False)}
    plan = _result("plan_3_legs_deterministic", floor=floor, peers=peers)
    said = {
        promise["what"]: (promise["measured"], promise["holds"])
        for promise in targets.evaluate([plan])
        if promise["row"] == plan["name"]
    }
    assert said == {
        "3-leg plan / three raw libsecp256k1 signatures": (1.25, False),
        "py-clob-client-v2 with coincurve / plan": (None, None),
        "py-clob-client-v2 without coincurve / plan": (None, None),
        "quickest Rust peer / plan": (0.9, False),
        "p99 / median of the plan": (2.0, True),
    }


@pytest.mark.usefixtures("_quick_runs")
def test_the_plot_shows_every_contestant(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason=_NOT_INSTALLED)
    from benchmarks import plot

    where = harness.environment()
    rows = [_result("one", baselines={"other client": 20.0}), _result("two")]
    harness.write_json(rows, where)
    assert plot.main() == 0
    picture = Path(capsys.readouterr().out.strip())
    for text in ("one", "two", "polyexec", "other client"):
        assert f"<!-- {text} -->" in picture.read_text()


def test_pinning_keeps_to_one_core() -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system has no processor affinity")
    before = os.sched_getaffinity(0)
    try:
        assert harness.pin(-1) is None
        assert os.sched_getaffinity(0) == before
        core = harness.pin(None)
        assert os.sched_getaffinity(0) == {core}
    finally:
        os.sched_setaffinity(0, before)
    with pytest.raises(SystemExit, match="cannot be had"):
        harness.pin(10**6)
