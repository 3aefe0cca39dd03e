"""The spill: what a kill leaves is told from damage, and nothing is in the way of the next row."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from polyexec.errors import StoreError
from polyexec.journal.database import schema, spill
from polyexec.journal.database.schema import Rows
from polyexec.journal.database.spill import Spill

SOME: list[Rows] = [{"polyexec_trades": [[f"trade-{number}", 1, None]]} for number in range(3)]


def everything(opened: Spill) -> list[Rows]:
    rows: list[Rows] = []
    while not opened.is_empty:
        rows += opened.oldest()
        opened.drop_oldest()
    return rows


def filled(folder: Path) -> Path:
    """Return the one segment of a spill that was closed with three records."""
    opened = Spill(folder)
    assert all(opened.append(rows) for rows in SOME)
    opened.close()
    (segment,) = folder.glob("*.spill")
    return segment


def test_rows_come_back_in_order_also_in_another_process(tmp_path: Path) -> None:
    filled(tmp_path)
    opened = Spill(tmp_path)
    assert not opened.is_empty
    assert opened.size_bytes > 0
    assert everything(opened) == SOME
    assert (opened.size_bytes, opened.is_empty) == (0, True)
    assert list(tmp_path.glob("*.spill")) == []
    opened.close()


def test_rows_may_come_while_the_oldest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "_SEGMENT", 150)
    opened = Spill(tmp_path)
    for rows in SOME:
        opened.append(rows)
    first = next(opened.oldest())
    opened.append({"polyexec_trades": [["late", 1, None]]})
    assert first == SOME[0]
    assert everything(opened)[-1] == {"polyexec_trades": [["late", 1, None]]}
    opened.close()


def test_every_cut_leaves_the_records_before_it(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole").read_bytes()
    counts = []
    for cut in range(len(whole) + 1):
        folder = tmp_path / f"cut{cut}"
        folder.mkdir()
        (folder / "000000000001.spill").write_bytes(whole[:cut])
        opened = Spill(folder)
        rows = everything(opened)
        opened.close()
        assert rows == SOME[: len(rows)]
        assert not list(folder.glob("*.damaged"))
        counts.append(len(rows))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 3)


def test_damage_is_kept_for_a_person_and_not_in_the_way(tmp_path: Path) -> None:
    segment = filled(tmp_path)
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 0xFF
    segment.write_bytes(data)
    opened = Spill(tmp_path)
    rows = everything(opened)
    assert rows == SOME[:1]
    assert opened.is_empty
    assert list(tmp_path.glob("*.damaged"))
    assert opened.append(SOME[0])
    opened.close()


def test_rows_of_a_newer_version_are_kept_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "VERSION", schema.VERSION + 1)
    filled(tmp_path)
    monkeypatch.undo()
    opened = Spill(tmp_path)
    assert everything(opened) == []
    assert list(tmp_path.glob("*.damaged"))
    opened.close()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = Spill(tmp_path)
    assert opened.append(SOME[0])
    write = os.pwrite

    def half(fd: int, data: bytes, offset: int) -> int:
        write(fd, data[: len(data) // 2], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill.os, "pwrite", half)
    assert not opened.append(SOME[1])
    monkeypatch.undo()
    assert opened.append(SOME[2])
    assert everything(opened) == [SOME[0], SOME[2]]
    opened.close()


def test_a_disk_without_room_for_a_segment_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Spill(tmp_path)

    def full(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill.os, "open", full)
    assert not opened.append(SOME[0])
    monkeypatch.undo()
    assert opened.is_empty
    assert opened.append(SOME[0])
    assert everything(opened) == [SOME[0]]
    opened.close()


def test_a_folder_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        Spill(tmp_path / "file" / "spill")
