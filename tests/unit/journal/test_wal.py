"""The journal in its folder: kept, found again, refused, full, broken, shared, compacted."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.core.journal import Answered, Close, NullJournal, Sent, Signed
from polyexec.core.outcome import LegOutcome
from polyexec.core.rebuilding import rebuild
from polyexec.enums import LegState
from polyexec.errors import InputError, InternalError, JournalError
from polyexec.journal import record_file, wal
from polyexec.journal.record_file import RecordFile
from tests.unit.journal.support import (
    ACCOUNT,
    KEY,
    NOW,
    OTHER,
    OWNER,
    body,
    groups_in,
    ids,
    in_thread,
    intent,
    length,
    life,
    lives,
    open_one,
    submit,
    trade,
    write,
)

MODES = pytest.mark.parametrize("mode", ["os", "fsync"])


# kept and found again -------------------------------------------------------------------------


@MODES
def test_a_group_is_found_again_with_all_that_is_known_of_it(
    mode: str, opened: Callable[..., Any]
) -> None:
    journal = opened(mode)
    assert journal.recovered.groups == ()
    for record in (*life(1)[:6], *life(2)):
        write(journal, record)
    journal.close()
    again = opened(mode).recovered
    (group,) = again.groups
    assert group.intent == intent(1)
    assert group.signed is not None
    assert (group.signed.body, group.signed.order_ids) == (body(1), ids(1))
    assert (group.sent_ms, group.answered_ms) == (NOW + 1, NOW + 2)
    assert [leg.state for leg in group.legs] == ["MATCHED", "MATCHED", "REJECTED"]
    assert [bool(leg.trade) for leg in group.legs] == [True, True, False]
    assert (again.next_group, again.records, again.truncated_bytes) == (3, 16, 0)


@MODES
def test_group_numbers_go_on_after_a_restart(mode: str, opened: Callable[..., Any]) -> None:
    journal = opened(mode)
    assert [submit(journal) for _ in range(3)] == [1, 2, 3]
    journal.close()
    assert opened(mode).new_group() == 4


def test_a_recovered_group_goes_on_in_the_new_process(
    opened: Callable[..., Any], folder: Path
) -> None:
    journal = opened("fsync")
    journal.begin(intent(1))
    journal.close()
    again = opened("fsync")
    (group,) = again.recovered.groups
    order_ids = rebuild(group.intent, px.OrderSigner(KEY))[1]
    again.append(trade(order_ids[0]))  # not known yet which order this is
    again.append(Signed(group=1, order_ids=order_ids, body=b""))
    again.append(trade(order_ids[1]))
    again.close()
    (group,) = opened("fsync").recovered.groups
    assert [bool(leg.trade) for leg in group.legs] == [False, True, False]


def test_a_mode_can_change_between_openings(opened: Callable[..., Any]) -> None:
    for number, mode in enumerate(("os", "fsync", "os")):
        journal = opened(mode)
        assert len(journal.recovered.groups) == number
        submit(journal)
        journal.close()


def test_os_mode_writes_intent_and_signature_at_once(
    opened: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened("os")
    before = length(folder)
    writes: list[Any] = []
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda *args: writes.append(args) or real(*args))
    journal.begin(intent(1))
    assert writes == []
    assert length(folder) == before
    journal.seal(1, body(1), ids(1))
    assert len(writes) == 1
    assert groups_in(folder) == [1]


@MODES
def test_a_group_that_is_given_up_is_closed(
    mode: str, opened: Callable[..., Any], folder: Path
) -> None:
    journal = opened(mode)
    journal.begin(intent(1))
    journal.append(Close(group=1, at_ms=NOW))
    assert groups_in(folder) == []
    with pytest.raises(InternalError, match="has not begun"):
        journal.seal(1, body(1), ids(1))


@MODES
def test_a_group_is_begun_and_sealed_once(mode: str, opened: Callable[..., Any]) -> None:
    journal = opened(mode)
    with pytest.raises(InternalError, match="has not begun"):
        journal.seal(1, body(1), ids(1))
    journal.begin(intent(1))
    with pytest.raises(InternalError, match="begun already"):
        journal.begin(intent(1))
    journal.seal(1, body(1), ids(1))
    assert journal.failure is None


def test_off_keeps_nothing(folder: Path) -> None:
    assert isinstance(open_one(folder, "off"), NullJournal)
    assert not folder.exists()


def test_no_secret_reaches_the_file(opened: Callable[..., Any], folder: Path) -> None:
    journal = opened("os")
    signer = px.OrderSigner(KEY)
    assert signer.address == ACCOUNT.address
    for record in life(1):
        write(journal, record)
    journal.close()
    stored = (folder / "journal.wal").read_bytes()
    key = bytes.fromhex(KEY[2:])
    for secret in (key, KEY[2:].encode(), KEY[2:].upper().encode()):
        assert secret not in stored
    assert OWNER.encode() in stored  # the key's id is part of every body, and no secret
    assert (folder / "journal.wal").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_answer_of_megabytes_does_not_fill_the_journal(
    opened: Callable[..., Any], folder: Path
) -> None:
    journal = opened("os")
    submit(journal)
    legs = (LegOutcome(state=LegState.REJECTED, error="x" * 4_000_000),) * 3
    journal.append(Answered(group=1, at_ms=NOW, legs=legs))
    assert length(folder) < 20_000
    assert journal.failure is None


@pytest.mark.parametrize(("name", "value"), [("mode", "mmap"), ("max_bytes", 10)])
def test_a_setting_that_cannot_be_is_refused_by_name(folder: Path, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name}="):
        open_one(folder, **{name: value})
    assert not folder.exists()


# durable --------------------------------------------------------------------------------------


class SlowSync:
    """Replaces fdatasync: it waits until it is let go, and remembers how much was in the file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Semaphore(0)
        self.started = threading.Semaphore(0)
        self.error: OSError | None = None
        self.sizes: list[int] = []
        monkeypatch.setattr(os, "fdatasync", self)

    def __call__(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        self.started.release()
        assert self.go.acquire(timeout=20)
        if self.error is not None:
            raise self.error
        self.sizes.append(size)


@pytest.mark.parametrize("resignable", [True, False])
def test_seal_waits_for_the_disk(
    resignable: bool, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened("fsync")
    slow = SlowSync(monkeypatch)
    journal.begin(intent(1, resignable=resignable))
    assert slow.started.acquire(timeout=20)  # while the caller would sign
    thread, errors = in_thread(lambda: journal.seal(1, body(1), ids(1)))
    thread.join(0.01)
    assert thread.is_alive()
    slow.go.release()
    if not resignable:  # the signed bytes cannot be made again, so they are synced as well
        assert slow.started.acquire(timeout=20)
        assert thread.is_alive()
        slow.go.release()
    thread.join(20)
    assert not thread.is_alive()
    assert errors == []
    assert len(slow.sizes) == (1 if resignable else 2)
    slow.go.release(5)


def test_a_failed_sync_refuses_this_intent_and_every_later_one(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    journal = opened("fsync")
    submit(journal)
    slow = SlowSync(monkeypatch)
    slow.error = OSError(errno.EIO, "Input/output error")
    slow.go.release(10)
    journal.begin(intent(2))
    with pytest.raises(JournalError, match=r"Input/output error.*no order is sent"):
        journal.seal(2, body(2), ids(2))
    slow.error = None  # a second sync would say that all is well
    with pytest.raises(JournalError, match="Input/output"):
        journal.begin(intent(3))
    journal.append(Sent(group=1, at_ms=NOW))  # from the answer's thread: never raises
    assert "Input/output" in str(journal.failure)
    journal.close()
    assert "Input/output" in str(journal.failure)
    monkeypatch.undo()
    assert [group.group for group in opened("fsync").recovered.groups] in ([1], [1, 2])


@MODES
def test_a_full_disk_refuses_and_leaves_no_half_record(
    mode: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    for room in range(0, 1300, 149):
        place = folder.with_name(f"{mode}{room}")
        journal = open_one(place, mode)
        submit(journal)
        whole = (place / "journal.wal").read_bytes().rstrip(b"\0")
        left = room

        def short(fd: int, data: bytes, offset: int) -> int:
            nonlocal left
            if left == 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            done = real(fd, data[:left], offset)
            left -= done
            return done

        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", short)
            with pytest.raises(JournalError, match="No space left on device"):
                submit(journal)
            journal.append(Sent(group=1, at_ms=NOW))
        assert (place / "journal.wal").read_bytes().startswith(whole)
        with pytest.raises(JournalError, match="No space left"):
            journal.begin(intent(9))
        journal.close()
        again = open_one(place, mode)
        assert again.recovered.truncated_bytes == 0
        assert again.recovered.groups[0].group == 1
        assert submit(again) > 1
        again.close()


def test_a_half_record_that_cannot_be_taken_back_is_cut_off_at_the_next_opening(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    journal = opened("os")
    submit(journal)
    real, left = os.pwrite, [500]

    def short(fd: int, data: bytes, offset: int) -> int:
        if left[0] == 0:
            raise OSError(errno.EIO, "Input/output error")
        done = real(fd, data[: left[0]], offset)
        left[0] -= done
        return done

    def refuse(fd: int, length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", short)
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(JournalError):
            submit(journal)
        journal.close()
    size = length(folder)
    recovered = opened("os").recovered
    assert [group.group for group in recovered.groups] == [1]
    assert recovered.truncated_bytes == 500
    assert f"torn write of 500 bytes at byte {size - 500}" in recovered.warning


@MODES
def test_a_record_waits_for_the_room_that_is_being_made(
    mode: str, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(record_file, "_ROOM", 8192)
    monkeypatch.setattr(record_file, "_LITTLE_ROOM", 4096)
    journal = opened(mode)
    filling, go = threading.Semaphore(0), threading.Semaphore(0)
    real = RecordFile.fill

    def slow(file: Any) -> None:
        filling.release()
        assert go.acquire(timeout=20)
        real(file)

    monkeypatch.setattr(RecordFile, "fill", slow)
    thread, errors = in_thread(lambda: [submit(journal) for _ in range(5)])
    assert filling.acquire(timeout=20)
    thread.join(0.01)
    go.release(99)
    thread.join(20)
    assert (thread.is_alive(), errors) == (False, [])
    assert groups_in(folder) == [1, 2, 3, 4, 5]


def test_without_space_for_room_records_are_written_all_the_same(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    real = os.pwrite

    def little(fd: int, data: bytes, offset: int) -> int:
        if len(data) > 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", little)
    journal = opened("os")
    assert [submit(journal), submit(journal)] == [1, 2]
    assert (folder / "journal.wal").stat().st_size == length(folder)
    assert journal.failure is None


def test_closing_gives_the_room_back(opened: Callable[..., Any], folder: Path) -> None:
    journal = opened("os")
    submit(journal)
    assert (folder / "journal.wal").stat().st_size > length(folder) + 500_000
    journal.close()
    assert (folder / "journal.wal").stat().st_size == length(folder)


def test_a_full_disk_in_the_answers_thread_is_told_by_failure(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened("os")
    submit(journal)

    def full(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        journal.append(Sent(group=1, at_ms=NOW))
    assert "No space left" in str(journal.failure)
    with pytest.raises(JournalError, match="No space left"):
        journal.begin(intent(2))
    assert "No space left" in repr(journal)


def test_the_real_limit_of_a_file_is_a_full_disk(folder: Path) -> None:
    script = (
        "import resource, sys, pathlib\n"
        "from tests.unit.journal.support import *\n"
        "j = open_one(pathlib.Path(sys.argv[1]), 'os')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from polyexec.errors import JournalError\n"
        "for group in range(1, 99):\n"
        "    try:\n"
        "        j.begin(intent(group)); j.seal(group, body(group), ids(group))\n"
        "    except JournalError as error:\n"
        "        print(group, error); break\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)], capture_output=True, text=True, check=True
    )
    failed, _, words = done.stdout.partition(" ")
    assert "File too large" in words
    journal = open_one(folder)
    assert [g.group for g in journal.recovered.groups] == list(range(1, int(failed)))
    assert journal.recovered.truncated_bytes == 0
    journal.close()


def test_an_interrupt_while_writing_ends_the_journal(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    journal = opened("os")
    submit(journal)
    real = os.pwrite

    def interrupted(fd: int, data: bytes, offset: int) -> int:
        real(fd, data, offset)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", interrupted)
        with pytest.raises(KeyboardInterrupt):
            submit(journal)
    with pytest.raises(JournalError, match="KeyboardInterrupt"):
        submit(journal)
    assert groups_in(folder) == [1]


# refused --------------------------------------------------------------------------------------


def test_a_second_journal_on_the_folder_is_refused_with_the_pid(
    opened: Callable[..., Any], folder: Path
) -> None:
    opened("os")
    with pytest.raises(JournalError, match=f"process {os.getpid()} has this journal open") as e:
        open_one(folder)
    assert e.value.path == str(folder / "journal.lock")


def test_a_second_process_on_the_folder_is_refused_until_the_first_is_dead(folder: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from tests.unit.journal.support import *\n"
        "j = open_one(pathlib.Path(sys.argv[1]), 'os')\n"
        "print('open', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(JournalError, match=f"process {process.pid} has this journal open"):
            open_one(folder)
        process.send_signal(signal.SIGKILL)
    open_one(folder).close()


def test_the_journal_of_another_account_is_refused(
    opened: Callable[..., Any], folder: Path
) -> None:
    journal = opened("os")
    submit(journal)
    journal.close()
    with pytest.raises(
        JournalError, match=f"is the journal of {ACCOUNT.address}.*, not of {OTHER.address}"
    ):
        open_one(folder, account=OTHER)
    assert groups_in(folder) == [1]


def test_a_forked_child_cannot_write(opened: Callable[..., Any], folder: Path) -> None:
    journal = opened("os")
    submit(journal)
    before = (folder / "journal.wal").read_bytes()
    child = os.fork()
    if child == 0:
        refused = False
        try:
            journal.append(Sent(group=1, at_ms=NOW))
            journal.begin(intent(2))
        except JournalError:
            refused = True
        os._exit(0 if refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (folder / "journal.wal").read_bytes() == before
    submit(journal)


def spoil(folder: Path, change: Callable[[bytearray], None]) -> bytes:
    path = folder / "journal.wal"
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(data)
    return bytes(data)


def test_damage_is_refused_and_nothing_is_changed(opened: Callable[..., Any], folder: Path) -> None:
    journal = opened("os")
    for record in lives(30):
        write(journal, record)
    journal.close()

    def flip(data: bytearray) -> None:
        data[3000] ^= 1

    damaged = spoil(folder, flip)
    with pytest.raises(JournalError, match="Nothing was changed") as caught:
        open_one(folder)
    assert caught.value.path == str(folder / "journal.wal")
    assert caught.value.offset is not None
    assert caught.value.offset <= 3000
    assert f"byte {caught.value.offset}" in str(caught.value)
    assert (folder / "journal.wal").read_bytes() == damaged
    with pytest.raises(JournalError, match="Nothing was changed"):  # the folder was let go
        open_one(folder)


def test_a_torn_write_is_cut_off_once(opened: Callable[..., Any], folder: Path) -> None:
    journal = opened("os")
    submit(journal)
    submit(journal)
    journal.close()
    spoil(folder, lambda data: data.__delitem__(slice(-100, None)))
    first = opened("os")
    assert [group.group for group in first.recovered.groups] == [1, 2]
    assert first.recovered.groups[1].signed is None  # INTENT and SIGNED are one write, two records
    assert first.recovered.truncated_bytes > 0
    first.close()
    assert opened("os").recovered.truncated_bytes == 0


def test_a_missing_file_is_refused_where_there_was_one(
    opened: Callable[..., Any], folder: Path
) -> None:
    journal = opened("os")
    submit(journal)
    journal.close()
    (folder / "journal.wal").unlink()
    with pytest.raises(JournalError, match="is missing, but there was one"):
        open_one(folder)


def test_a_record_that_contradicts_the_others_is_refused(
    opened: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = opened("os")
    submit(journal)
    journal._file.write([wal._encode(intent(1))])
    journal.close()
    with pytest.raises(JournalError, match="makes no sense: group 1 is open already"):
        open_one(folder)


@pytest.mark.parametrize("what", ["file", "unwritable"])
def test_a_folder_that_cannot_be_used_is_named(folder: Path, what: str) -> None:
    if what == "file":
        folder.write_text("not a folder")
        place = folder
    else:
        place = Path("/proc/no-such-folder/journal")
    with pytest.raises(JournalError, match="cannot be opened") as caught:
        open_one(place)
    assert caught.value.path == str(place)


def test_a_closed_journal_takes_nothing(opened: Callable[..., Any], folder: Path) -> None:
    journal = opened("fsync")
    submit(journal)
    journal.close()
    journal.close()
    with pytest.raises(JournalError, match="is closed"):
        journal.begin(intent(2))
    journal.append(Sent(group=1, at_ms=NOW))
    assert groups_in(folder) == [1]
