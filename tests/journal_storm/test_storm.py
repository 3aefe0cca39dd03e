"""The storm blows a little in the ordinary test-suite, and sees a journal that is wrong."""

import random
import sys
from pathlib import Path

import pytest

from tests.journal_storm import kills, run, storm


def test_a_cut_at_any_byte_keeps_every_record_before_it() -> None:
    assert run.cuts(10_000, stride=199) > 20_000


def test_every_record_boundary_of_ten_thousand_is_a_complete_journal() -> None:
    journal = storm.build(10_000)
    for index in range(10_000):
        storm.check_boundary(journal, index)


def test_random_damage_is_never_taken_for_the_truth() -> None:
    seen = run.corruptions(3000, seed=1)
    assert seen["refused"] > 2800
    assert seen.total() == 3000


def test_power_loss_takes_no_synced_record() -> None:
    seen = run.power_losses(2000, seed=1)
    assert seen["recovered"] > 500  # the rest is refused: holes that real disks hardly leave
    assert seen.total() == 2000


@pytest.mark.parametrize("mode", ["os", "fsync"])
def test_a_killed_process_leaves_every_acknowledged_group(mode: str, tmp_path: Path) -> None:
    # 40 groups are several compactions
    assert kills.run(tmp_path / "journal", mode, 40) >= 40


def test_a_checksum_that_is_not_checked_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyexec.journal.frames.crc32c", lambda data, value=0: 0)
    with pytest.raises(AssertionError, match=r"never written|without a word|torn write"):
        run.corruptions(300, seed=1)


def test_a_torn_write_that_is_taken_for_a_record_is_seen() -> None:
    journal = storm.build(3)
    longer = journal._replace(places=[*journal.places[:1], *journal.places[:1], *journal.places])
    with pytest.raises((AssertionError, ValueError)):
        storm.run_cuts(longer, [0])


def test_a_journal_that_forgets_is_seen() -> None:
    journal = storm.build(20)
    start, end = (journal.places[i].offset for i in (19, 20))
    with pytest.raises(AssertionError, match="without a word"):
        storm.check_corruption(journal, journal.data[:start] + journal.data[end:])


def test_the_run_prints_its_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "--records 20 --corruptions 20 --power-losses 20 --kills 1 --seed 7"
    monkeypatch.setattr(sys, "argv", ["run", *small.split()])
    assert run.main() == 0
    counts = "corruptions=20 power_losses=20 kills=1 seed=7 violations=0"
    assert capsys.readouterr().out.splitlines()[-1].endswith(counts)


def test_the_same_seed_damages_alike() -> None:
    journal = storm.build(20)
    first, again = (storm.corrupt(journal, random.Random("1:1")) for _ in range(2))
    assert first == again
