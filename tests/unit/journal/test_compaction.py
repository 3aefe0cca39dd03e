"""Threads that write at once, and files that are replaced while they do."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyexec.core.journal import Close, Replay, Sent
from polyexec.errors import JournalError
from polyexec.journal import frames, wal
from polyexec.journal.record_file import RecordFile
from tests.unit.journal.support import (
    NOW,
    compact,
    in_thread,
    length,
    life,
    lives,
    open_one,
    submit,
    write,
)

MODES = pytest.mark.parametrize("mode", ["os", "fsync"])


@MODES
def test_threads_that_submit_at_once_lose_nothing(mode: str, opened: Callable[..., Any]) -> None:
    journal = opened(mode, max_bytes=60_000)
    each = 60
    kept: list[int] = []

    def work() -> None:
        for number in range(each):
            group = submit(journal)
            journal.append(Sent(group=group, at_ms=NOW))
            if number % 10:
                journal.append(Close(group=group, at_ms=NOW))
            else:
                kept.append(group)

    threads = [in_thread(work) for _ in range(6)]
    compact(journal)  # while they write
    for thread, errors in threads:
        thread.join(60)
        assert errors == []
    journal.close()
    recovered = opened(mode).recovered
    assert sorted(group.group for group in recovered.groups) == sorted(kept)
    assert all(group.sent_ms == NOW for group in recovered.groups)
    assert recovered.next_group == 6 * each + 1


def test_a_compaction_keeps_the_open_groups_and_drops_the_closed(
    opened: Callable[..., Any], folder: Path
) -> None:
    journal = opened("os")
    first = submit(journal)
    for record in lives(400):
        if getattr(record, "group", 1) != first:
            write(journal, record)
    journal.append(Sent(group=first, at_ms=NOW))
    before = journal._replay.groups()
    compact(journal)
    assert length(folder) < 20_000
    journal.close()
    again = opened("os").recovered
    assert again.groups == before
    assert again.groups[0].group == first
    assert sorted(os.listdir(folder)) == ["journal.lock", "journal.wal"]


@MODES
def test_a_compaction_that_was_killed_leaves_the_old_journal(
    mode: str, opened: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(mode)
    new: list[bytes] = []

    def keep(self: Any) -> None:
        new.append(self._new_path.read_bytes())
        raise OSError(errno.EIO, "killed here")

    monkeypatch.setattr(wal.FileJournal, "_put_in_place", keep)
    for record in lives(60):
        write(journal, record)
    with journal._lock:
        journal._limit = 0
        journal._work.notify()
        assert journal._synced.wait_for(lambda: new, timeout=20)
    submit(journal, group=99)  # a compaction that fails stops no order
    expected = journal._replay.groups()
    journal.close()
    monkeypatch.undo()
    for cut in range(0, len(new[-1]) + 1, 97):
        (folder / "journal.new").write_bytes(new[-1][:cut])
        again = open_one(folder, mode)
        again.close()
        assert again.recovered.groups == expected
        assert not (folder / "journal.new").exists()


@MODES
def test_a_compacted_journal_goes_on_where_the_old_one_ended(
    mode: str, opened: Callable[..., Any]
) -> None:
    journal = opened(mode)
    for record in lives(100):
        write(journal, record)
    expected = journal._replay.groups()
    compact(journal)
    assert journal._replay.groups() == expected
    submit(journal, group=99)
    journal.close()
    again = opened(mode)
    assert again._info.generation == 1
    assert again.recovered.groups[:-1] == expected
    assert again.recovered.groups[-1].group == 99
    assert again.new_group() == 100


@pytest.mark.parametrize("rounds", [0, 3])
@MODES
def test_what_is_written_during_a_compaction_is_in_the_new_file(
    mode: str, rounds: int, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened(mode)
    submit(journal)
    real = RecordFile.create

    def create_late(path: Path, info: Any) -> Any:
        if path.name == "journal.new":
            journal.append(Sent(group=1, at_ms=NOW))
        return real(path, info)

    monkeypatch.setattr(wal, "_ROUNDS", rounds)  # 0: the last records go over under the lock
    monkeypatch.setattr(RecordFile, "create", create_late)
    compact(journal)
    journal.close()
    again = opened(mode)
    assert again._info.generation == 1
    assert again.recovered.groups[0].sent_ms == NOW
    assert again.recovered.records == 3


def test_a_new_directory_entry_that_is_not_synced_stops_the_journal(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened("fsync")

    def refuse(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with journal._lock:
        journal._limit = 0
        journal._work.notify()
        assert journal._synced.wait_for(lambda: journal.failure is not None, timeout=20)
    with pytest.raises(JournalError, match="Input/output error"):
        submit(journal)


@MODES
def test_the_costs_of_closed_groups_survive_compactions(
    mode: str, opened: Callable[..., Any], folder: Path
) -> None:
    journal = opened(mode)
    for record in life(1):
        write(journal, record)
    compact(journal)
    for record in life(2):
        write(journal, record)
    compact(journal)
    journal.close()
    recovered = opened(mode).recovered
    assert recovered.groups == ()
    (spent,) = recovered.spent
    single = Replay()
    for record in life(1):
        single.add(record)
    assert spent.cost_micro == 2 * single.spent()[0].cost_micro


def test_a_journal_of_the_last_version_is_read_and_written_anew(
    opened: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "VERSION", 2)
    journal = opened("os")
    kept = submit(journal)
    for record in life(2):
        write(journal, record)
    journal.close()
    monkeypatch.undo()
    path = folder / "journal.wal"
    assert path.read_bytes()[8] == 2
    journal = opened("os")
    assert path.read_bytes()[8] == frames.VERSION
    assert [group.group for group in journal.recovered.groups] == [kept]
    assert len(journal.recovered.spent) == 1
    journal.append(Sent(group=kept, at_ms=NOW))
    assert submit(journal) == 3
    journal.close()
    again = opened("os").recovered
    assert [group.group for group in again.groups] == [kept, 3]
    assert again.groups[0].sent_ms == NOW
    assert again.spent == journal.recovered.spent


def test_a_journal_of_a_newer_version_is_refused_and_not_changed(folder: Path) -> None:
    journal = open_one(folder)
    for record in life(1):
        write(journal, record)
    journal.close()
    path = folder / "journal.wal"
    data = path.read_bytes()
    newer = data[:8] + bytes([frames.VERSION + 1]) + data[9:]
    path.write_bytes(newer)
    with pytest.raises(JournalError, match=r"install the version .* Nothing was changed"):
        open_one(folder)
    assert path.read_bytes() == newer
    path.write_bytes(data)
    open_one(folder).close()


def test_a_full_disk_leaves_a_journal_of_the_last_version_as_it_was(
    opened: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(frames, "VERSION", 2)
        journal = opened("os")
        submit(journal)
        journal.close()
    before = (folder / "journal.wal").read_bytes()

    def full(self: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as disk:
        disk.setattr(RecordFile, "sync", full)
        with pytest.raises(JournalError, match="no space"):
            opened("os")
    assert (folder / "journal.wal").read_bytes() == before
    assert len(opened("os").recovered.groups) == 1
