"""SQLite with everything that can be wrong with a file."""

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from polyexec.errors import StoreError
from polyexec.journal.database import ports, schema, sqlite
from polyexec.journal.database.sqlite import SqliteDatabase
from tests.unit.journal.database.support import order_id, result, store

ROOT_CAN_WRITE = pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trades.db"


def trades(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM polyexec_trades").fetchone()[0])


def test_the_file_is_its_owner_s_and_in_wal_mode(path: Path, tmp_path: Path) -> None:
    with store(path, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
            # A reader with a transaction open does not hold the writer up.
            connection.execute("BEGIN")
            assert connection.execute("SELECT count(*) FROM polyexec_trades").fetchone() == (1,)
            opened.put_result(result(2))
            assert opened.flush()
            assert opened.counts.spilled == 0
    assert trades(path) == 2


def test_a_file_that_is_no_database_is_refused_and_not_changed(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"my notes, not a database" * 100)
    with pytest.raises(StoreError, match=r"trades\.db: cannot be opened: file is not a database"):
        store(path, tmp_path).open()
    assert path.read_bytes() == b"my notes, not a database" * 100


def test_a_folder_in_the_place_of_the_file_is_refused(path: Path, tmp_path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        store(path, tmp_path).open()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"):
        store(tmp_path / "file" / "trades.db", tmp_path).open()


@ROOT_CAN_WRITE
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o500)
    with pytest.raises(StoreError, match="Permission denied"):
        store(folder / "trades.db", tmp_path).open()


def test_tables_of_a_newer_version_are_refused_and_not_changed(path: Path, tmp_path: Path) -> None:
    with store(path, tmp_path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO polyexec_schema VALUES (99, 0)")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="version 99, this polyexec knows 1: install the version"):
        store(path, tmp_path).open()
    assert path.read_bytes() == before


def test_older_tables_are_brought_forward_with_their_rows(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(path, tmp_path) as opened:
        opened.put_result(result(1))
    later = (*schema.MIGRATIONS, ("ALTER TABLE polyexec_trades ADD COLUMN note TEXT",))
    monkeypatch.setattr(ports, "MIGRATIONS", later)
    monkeypatch.setattr(ports, "VERSION", 2)
    for _ in range(2):
        with store(path, tmp_path) as opened:
            opened.put_result(result(2))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT max(version) FROM polyexec_schema").fetchone() == (2,)
        assert connection.execute("SELECT note FROM polyexec_trades").fetchall() == [(None,)] * 2


def test_a_migration_that_fails_changes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store(path, tmp_path):
        pass
    broken = (*schema.MIGRATIONS, ("CREATE TABLE half (a)", "ALTER TABLE nowhere ADD COLUMN b"))
    monkeypatch.setattr(ports, "MIGRATIONS", broken)
    monkeypatch.setattr(ports, "VERSION", 2)
    with pytest.raises(StoreError, match="no such table: nowhere"):
        store(path, tmp_path).open()
    monkeypatch.undo()
    with sqlite3.connect(path) as connection:
        names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "half" not in names
    with store(path, tmp_path):
        pass


def test_a_locked_database_delays_nobody_and_loses_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.01)
    with store(path, tmp_path) as opened:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        opened.put_result(result(1))
        assert opened.flush()
        assert opened.counts.spilled == 1
        assert "locked" in opened.failure
        other.execute("ROLLBACK")
        other.close()
        assert opened.catch_up()
        assert opened.failure == ""
        assert [t.trade_id for t in opened.reader.trades()] == [order_id(1)]


def test_a_database_that_is_locked_at_the_start_is_waited_for(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_S", 0.01)
    with store(path, tmp_path):
        pass
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with store(path, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        other.execute("ROLLBACK")
        other.close()
        assert opened.catch_up()
    assert trades(path) == 1


def test_a_full_disk_delays_nobody_and_loses_nothing(path: Path, tmp_path: Path) -> None:
    with store(path, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        database = opened._own_writer._database
        assert isinstance(database, SqliteDatabase)
        assert database._connection is not None
        # What SQLite says of a full disk it says of a full database too.
        pages = database._connection.execute("PRAGMA page_count").fetchone()[0]
        database._connection.execute(f"PRAGMA max_page_count = {pages}")
        opened.put_result(result(*range(10, 400)))
        assert opened.flush()
        assert opened.counts.spilled == 1
        assert opened.catch_up()  # the next connection has no such bound
        assert len(opened.reader.orders()) == 391


def test_a_file_that_was_moved_away_gets_a_successor(path: Path, tmp_path: Path) -> None:
    with store(path, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        for file in tmp_path.glob("trades.db*"):
            file.rename(file.with_name(f"old-{file.name}"))
        opened.put_result(result(2))
        assert opened.flush()
        assert opened.catch_up()
    assert (trades(tmp_path / "old-trades.db"), trades(path)) == (1, 1)


def test_a_question_to_a_file_that_is_not_there(tmp_path: Path) -> None:
    opened = store(tmp_path / "no.db", tmp_path)
    with pytest.raises(StoreError, match="cannot be asked: there is no such file"):
        opened.reader.trades()
    assert not (tmp_path / "no.db").exists()


def test_a_disk_that_became_read_only_delays_nobody_and_loses_nothing(
    path: Path, tmp_path: Path
) -> None:
    with store(path, tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        database = opened._own_writer._database
        assert isinstance(database, SqliteDatabase)
        assert database._connection is not None
        database._connection.execute("PRAGMA query_only = 1")
        opened.put_result(result(2))
        assert opened.flush()
        assert opened.counts.spilled == 1
        assert opened.catch_up()
    assert trades(path) == 2
