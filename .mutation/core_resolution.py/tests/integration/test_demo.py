"""``polyexec demo``: generated and recorded, and the same every time."""

from pathlib import Path

import orjson
import pytest

from polyexec.cli import main
from polyexec.demo.books import BookTable
from polyexec.demo.recordings import read_recordings
from polyexec.demo.run import run_demo
from polyexec.errors import InputError


async def test_seed_1_reconciles_to_the_micro_unit() -> None:
    lines: list[str] = []
    summary = await run_demo(seed=1, show=lines.append)
    assert summary.signals >= 200
    assert summary.executed >= 50
    assert summary.unknown == 0
    assert summary.fills == 3 * summary.executed
    report = summary.reconciliation
    assert report is not None
    assert report.ledger_micro == report.venue_micro
    assert report.held_micro == 0
    assert report.position_differences == {}
    spent = summary.balance_before_micro - report.ledger_micro
    assert spent > summary.fees_micro > 0
    assert lines[-1] == (
        f"signals={summary.signals} executed={summary.executed} skipped={summary.skipped} "
        "unknown=0 reconciled=yes"
    )


async def test_the_same_seed_makes_the_same_decisions() -> None:
    runs = [await run_demo(seed=3, steps=60, show=lambda line: None) for _ in range(2)]
    assert len({(run.last_line(), run.fees_micro, str(run.skips)) for run in runs}) == 1
    other = await run_demo(seed=4, steps=60, show=lambda line: None)
    assert other.last_line() != runs[0].last_line()


async def test_recorded_ladders_and_frames_are_replayed(shared_dir: Path) -> None:
    lines: list[str] = []
    summary = await run_demo(replay=shared_dir / "data" / "captured", show=lines.append)
    assert any("btc_ladder_quotes" in line and "216 steps" in line for line in lines)
    assert any("polyarb_ws_market" in line and "5 steps" in line for line in lines)
    assert summary.executed > 0
    assert summary.reconciled
    assert summary.unknown == 0
    # every price change of the recording states the best prices after it
    assert (summary.books_checked, summary.book_mismatches) == (16, 0)


def test_real_token_ids_are_used_where_a_group_was_recorded(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "captured" / "range_groups"
    group = orjson.loads((folder / "group_btc-2026-02-05.json").read_bytes())["group"]
    known = {market["slug"]: market["clobTokenIds"] for market in group["parents"]}
    (ladder,) = read_recordings(folder / "btc_ladder_quotes_2026-01-28_2026-02-06.jsonl.gz")
    markets = {
        market.slug: [market.yes, market.no]
        for step in ladder.steps
        for group, _ in step.updates
        for market in group.markets
    }
    assert known.items() <= markets.items()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[1, 2", "a.json.*is not JSON"),
        ("a.jsonl", b'{"commit_time": "2026-01-01T00:00:00Z", "rows": []}\n{', "a.jsonl:2"),
        ("a.jsonl.gz", b"\x1f\x8b\x08", "a.jsonl.gz.*cannot be read"),
        (
            "a.jsonl",
            b'{"commit_time": "2026-01-01T00:00:00Z", "rows": [{"slug": "x-on-y"}]}',
            "a.jsonl:1.*bad quote row",
        ),
        ("a.json", b'{"what": "else"}', "holds no ladder quotes"),
    ],
)
def test_a_damaged_recording_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_recordings(tmp_path / name)


def test_a_missing_recording_is_a_clear_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--replay", "/no/such/file"]) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_a_change_without_a_snapshot_rebuilds_nothing() -> None:
    table = BookTable()
    change = {"asset_id": "1", "price": "0.5", "size": "10", "side": "BUY", "best_bid": "0.5"}
    message = {"event_type": "price_change", "timestamp": "1", "price_changes": [change]}
    assert table.apply(message) == set()
    assert table.apply({"event_type": "something_new"}) == set()


def test_a_wrong_best_price_is_a_mismatch() -> None:
    table = BookTable()
    table.apply({"event_type": "book", "asset_id": "1", "timestamp": "1", "bids": [], "asks": []})
    change = {"asset_id": "1", "price": "0.5", "size": "10", "side": "SELL", "best_ask": "0.4"}
    table.apply({"event_type": "price_change", "timestamp": "2", "price_changes": [change]})
    assert [(what, stated, ours) for _, what, stated, ours in table.mismatches] == [
        ("best_ask", "0.4", "5000")
    ]
