"""Every recording is parsed and rebuilt, and agrees with itself wherever it says something."""

import subprocess
import sys

import pytest

from polyexec._impl import PriceTable
from polyexec.core.market_events import BookEvent, Level, PriceChange, PriceChanges
from polyexec.engine.following import FeedSettings
from polyexec.engine.keeping import BookKeeper

from . import captured

pytestmark = pytest.mark.skipif(
    not captured.CAPTURED.is_dir(), reason="no recordings beside the checkout"
)


def test_every_recording_agrees_with_itself() -> None:
    command = [sys.executable, "-m", "tests.engine.captured"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    *_, hashes, last = done.stdout.splitlines()
    assert hashes == "hashes=513 hashes_equal=513"
    assert last == "events=5617 stated=4140 equal=4140 mismatches=0"


def test_the_contiguous_recording_has_three_snapshots_and_eight_changes() -> None:
    (path,) = (captured.CAPTURED / "ws").glob("polyarb_ws_market_*.json")
    row = captured.play(path)
    assert (row.books, row.changes, row.orphans) == (3, 8, 0)
    assert (row.hashes, row.hashes_equal, row.mismatches) == (11, 11, [])


def test_a_recording_with_a_lost_change_is_a_mismatch() -> None:
    """The comparison can fail: by the hash at once, by the best price when the top is concerned."""
    row = captured.Row("altered")
    keeper = BookKeeper(
        PriceTable(4), FeedSettings(), on_touched=lambda slot: None, on_wanted=lambda token: None
    )
    levels = [Level("0.4", "10")], [Level("0.6", "10")]
    book = BookEvent(asset_id="1", timestamp="1000", bids=levels[0], asks=levels[1])
    captured._play_event(row, keeper, book)
    assert (row.stated, row.equal) == (2, 2)
    change = PriceChange("1", "0.3", "5", "BUY", best_bid="0.45", best_ask="0.6")
    captured._play_event(row, keeper, PriceChanges(timestamp="1001", price_changes=[change]))
    assert row.mismatches == [
        "PriceChanges: best_differs",
        "best_bid of 1: stated 0.45, ours 0",
        "best_ask of 1: stated 0.6, ours 0",
    ]
