"""What the store missed comes from the journal, also while the journal is being written."""

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyexec.core.journal import Ack, Answered, Close, Record, Sent, Signed
from polyexec.enums import LegState
from polyexec.journal.database import refill
from polyexec.journal.database import store as store_module
from polyexec.journal.database.refill import journal_rows
from polyexec.journal.database.store import TradeStore
from tests.unit.journal.database.support import ACCOUNT, result, store
from tests.unit.journal.database.test_store import Blocked
from tests.unit.journal.support import (
    NOW,
    fill,
    ids,
    intent,
    life,
    open_one,
    release,
    trade,
    write,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def journal_of(folder: Path, *records: Record) -> Path:
    journal = open_one(folder)
    for record in records:
        write(journal, record)
    journal.close()
    return folder / "journal.wal"


def opened_on(journal: Path, tmp_path: Path) -> TradeStore:
    return store(tmp_path / "trades.db", tmp_path, journal=journal)


def test_a_long_journal_is_read_in_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record for group in range(1, 17) for record in life(group)]
    journal, breaths = journal_of(folder, *records), []
    monkeypatch.setattr(refill, "breathe", lambda: breaths.append(None))
    assert len(list(journal_rows(journal, ACCOUNT))) == 16
    assert len(breaths) == -(-len(records) // 32)


def test_a_closed_group_is_found_with_answers_and_fills(folder: Path, tmp_path: Path) -> None:
    with opened_on(journal_of(folder, *life(1)), tmp_path) as opened:
        assert opened.catch_up()
        (row,) = opened.reader.trades()
        orders, fills = opened.reader.orders(trade_id=row.trade_id), opened.reader.fills()
    assert (row.trade_id, row.account, row.source, row.signal) == (
        ids(1)[0],
        ACCOUNT,
        "journal",
        None,
    )
    assert (row.failure_type, row.started_ms, row.finished_ms) == ("partial", NOW, NOW + 2)
    assert [(o.order_id, o.state) for o in orders] == list(
        zip(ids(1), ("MATCHED", "MATCHED", "REJECTED"), strict=True)
    )
    assert [(o.filled_micro, o.paid_micro) for o in orders[:2]] == [(1_000_000, 400_000)] * 2
    assert [f.order_id for f in fills] == list(ids(1)[:2])


def test_a_group_without_answer_is_unknown_and_one_that_was_not_signed_is_no_row(
    folder: Path, tmp_path: Path
) -> None:
    signed = Signed(group=1, order_ids=ids(1), body=b"[]")
    journal = journal_of(folder, intent(1), signed, Sent(group=1, at_ms=NOW + 1))
    unsigned = intent(2)
    running = open_one(folder)
    running.begin(unsigned)
    with opened_on(journal, tmp_path) as opened:
        assert opened.catch_up()
        (row,) = opened.reader.trades()
    running.close()
    assert (row.failure_type, row.finished_ms) == ("unknown", NOW + 1)


def test_a_group_that_was_held_back_is_no_row(folder: Path, tmp_path: Path) -> None:
    signed = Signed(group=1, order_ids=ids(1), body=b"[]")
    # Held back before its POST; and one that an earlier run may have sent, and found absent.
    absent = []
    for index, order_id in enumerate(ids(2)):
        end = release(order_id, index=index)
        absent.append(msgspec.structs.replace(end, spent_micro=0, released_micro=end.spent_micro))
    journal = journal_of(
        folder,
        *(intent(1), signed, Close(group=1, at_ms=NOW)),
        *(intent(2), Signed(group=2, order_ids=ids(2), body=b"[]"), *absent),
        Close(group=2, at_ms=NOW + 1),
    )
    with opened_on(journal, tmp_path) as opened:
        assert opened.catch_up()
        assert [row.trade_id for row in opened.reader.trades()] == [ids(2)[0]]


def test_what_a_person_decided_and_what_failed_to_settle(folder: Path, tmp_path: Path) -> None:
    first, second, third = ids(1)
    failed = trade(second, fills=(fill(second), fill(second, status="FAILED", trade_id="t-2")))
    ack = Ack(order_id=third, at_ms=NOW + 9, note="not there")
    records = [record for record in life(1)[:4]]
    with opened_on(journal_of(folder, *records, failed, ack), tmp_path) as opened:
        assert opened.catch_up()
        orders = {o.order_id: o for o in opened.reader.orders()}
        fills = opened.reader.fills(order_id=second)
    assert orders[first].state == "MATCHED"
    assert orders[second].filled_micro == 1_000_000, "what failed moved nothing"
    assert {f.settlement for f in fills} == {"MATCHED", "FAILED"}
    assert orders[third].state == "NOT_SENT"


def test_every_prefix_of_a_journal_is_read_without_a_fault(folder: Path) -> None:
    path = journal_of(folder, *life(1), *life(2))
    data = path.read_bytes().rstrip(b"\0")
    found = []
    for cut in range(0, len(data), 7):
        path.write_bytes(data[:cut])
        found.append(len(list(journal_rows(path, ACCOUNT))))
    assert found == sorted(found)
    assert found[-1] == 2


def test_a_journal_that_is_not_there_or_not_one_is_no_fault(tmp_path: Path) -> None:
    assert list(journal_rows(tmp_path / "no.wal", ACCOUNT)) == []
    (tmp_path / "x.wal").write_bytes(b"something else")
    assert list(journal_rows(tmp_path / "x.wal", ACCOUNT)) == []
    assert list(journal_rows(tmp_path, ACCOUNT)) == []


def test_a_journal_in_use_is_read_while_it_is_compacted(folder: Path) -> None:
    journal = open_one(folder, max_bytes=4096)
    stop = threading.Event()
    faults: list[BaseException] = []

    def ask() -> None:
        while not stop.is_set():
            try:
                list(journal_rows(folder / "journal.wal", ACCOUNT))
            except BaseException as error:
                faults.append(error)
                return

    thread = threading.Thread(target=ask)
    thread.start()
    for group in range(1, 60):
        for record in life(group):
            write(journal, record)
    stop.set()
    thread.join()
    journal.close()
    assert faults == []


def test_dropped_events_come_back_from_the_journal_when_there_is_room_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Blocked()
    monkeypatch.setattr(store_module, "open_database", lambda location: database)
    path = folder / "journal.wal"
    with store(tmp_path / "x.db", tmp_path, journal=path, queue_size=1) as opened:
        opened.put_result(result(1))
        assert database.entered.wait(10)
        opened.put_result(result(2))
        opened.put_result(result(3))  # no room
        assert opened.counts.dropped == 1
        journal_of(folder, *life(1))
        database.release.set()
        assert opened.catch_up()
    keys: set[Any] = {row[0] for rows in database.rows for row in rows["polyexec_trades"]}
    assert ids(1)[0] in keys


def test_a_journal_that_cannot_be_made_into_rows_holds_nothing_else_up(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(path: Path, account: str) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(store_module, "journal_rows", breaks)
    with opened_on(journal_of(folder, *life(1)), tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.catch_up()
        assert (opened.failure, opened.counts.outages) == ("", 0)
        assert len(opened.reader.trades()) == 1


def test_a_stale_answer_in_the_journal_does_not_undo_what_is_known(
    folder: Path, tmp_path: Path
) -> None:
    records = life(1)
    path = journal_of(folder, *records)
    with opened_on(path, tmp_path) as opened:
        assert opened.catch_up()
        before = list(opened.reader.orders())
    early = [r for r in records[:4] if not isinstance(r, Answered)]
    other = journal_of(tmp_path / "early", *early)
    with opened_on(other, tmp_path) as opened:
        assert opened.catch_up()
        assert [(o.state, o.filled_micro) for o in opened.reader.orders()] == [
            (o.state, o.filled_micro) for o in before
        ]
    assert {o.state for o in before} == {LegState.MATCHED.value, LegState.REJECTED.value}
