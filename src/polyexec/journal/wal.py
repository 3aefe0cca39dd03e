"""The journal's files: one process, one folder, one file that only grows until it is compacted.

``journal.wal`` holds the records, ``journal.new`` is a compaction that is not finished (and is
dropped when one is found), ``journal.lock`` says who has the folder. Nothing here reads a clock.
"""

import fcntl
import logging
import os
import threading
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from polyexec.core.journal import (
    Account,
    Answered,
    Close,
    Intent,
    NullJournal,
    Record,
    Recovered,
    Replay,
    Signed,
)
from polyexec.core.ports import Journal
from polyexec.errors import InputError, InternalError, JournalError
from polyexec.journal.frames import (
    DamageError,
    FileInfo,
    Place,
    is_current,
    read_preamble,
    read_records,
)
from polyexec.journal.record_file import RecordFile
from polyexec.models import OrderId

__all__ = ["MAX_BYTES", "FileJournal", "JournalMode", "open_journal"]

JournalMode: TypeAlias = Literal["fsync", "os", "off"]

MAX_BYTES: Final = 16 * 2**20
"""A file above this size is compacted: some 4,000 groups."""

_log = logging.getLogger("polyexec.journal")
_PID_WIDTH: Final = 20
_USED: Final = b"a journal was made here\n"
_ROUNDS: Final = 3
_LONG: Final = 2**15

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def open_journal(
    folder: str | Path, account: Account, *, mode: JournalMode, max_bytes: int = MAX_BYTES
) -> Journal:
    """Open the journal of an account, and read what it holds.

    Parameters
    ----------
    folder : str or Path
        Of this account alone; made when it does not exist.
    account : Account
        Of the signer: ``core.journal.account_of(signer)``.
    mode : "fsync", "os" or "off"
        What ``seal`` waits for: the disk, the operating system, nothing.
    max_bytes : int
        Size above which closed groups are dropped from the file.

    Raises
    ------
    JournalError
        Another process has it, it is another account's or another version's, it is damaged, or the
        disk refuses. Nothing was changed.
    InputError
        Not a mode, or a size below 4096.
    """
    if mode not in ("fsync", "os", "off"):
        raise InputError("mode", mode, "must be 'fsync', 'os' or 'off'")
    if max_bytes < 4096:
        raise InputError("max_bytes", max_bytes, "must be at least 4096")
    if mode == "off":
        return NullJournal()
    return FileJournal(Path(folder), account, syncs=mode == "fsync", max_bytes=max_bytes)


class FileJournal:
    """A journal in a folder; made by :func:`open_journal`. Every method is atomic."""

    def __init__(self, folder: Path, account: Account, *, syncs: bool, max_bytes: int) -> None:
        self._account = account
        self._syncs = syncs
        self._path = folder / "journal.wal"
        self._new_path = folder / "journal.new"
        self._folder_fd = self._lock_fd = -1
        self._max_bytes = self._limit = max_bytes
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._synced = threading.Condition(self._lock)
        self._failure: JournalError | None = None
        self._closing = False
        self._pid = os.getpid()
        # Group -> its intent, its payload in `os` mode, the write that it was in `fsync` mode.
        self._begun: dict[int, tuple[Intent, bytes, int]] = {}
        # Writes are numbered: how many there were, up to which one must be, and is, on the disk.
        self._written = self._wanted = self._durable = 0
        self._meanwhile: list[bytes] | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            self._take_folder(folder / "journal.lock")
            self._info, self._replay, self._file = self._read_or_create()
        except OSError as error:
            self._let_go()
            raise JournalError(str(folder), f"cannot be opened: {error}") from error
        except BaseException:
            self._let_go()
            raise
        self._file.make_room()
        self._groups = count(self._replay.next_group)
        self._thread = threading.Thread(target=self._run, name="polyexec-journal", daemon=True)
        self._thread.start()

    @property
    def recovered(self) -> Recovered:
        """What was in the journal when it was opened."""
        return self._recovered

    @property
    def failure(self) -> JournalError | None:
        """Why this journal takes no further intent, or None while it does."""
        return self._failure

    def new_group(self) -> int:
        """Return a number that no group of this journal has or had."""
        with self._lock:
            return next(self._groups)

    def begin(self, intent: Intent) -> None:
        """Take the intent in; in ``fsync`` mode it is on its way to the disk when this returns.

        Raises
        ------
        JournalError
            The journal failed, now or before: send nothing.
        """
        payload = _encode(intent)
        with self._lock:
            self._check()
            if intent.group in self._begun:
                raise InternalError(f"group {intent.group} has begun already")
            if not self._syncs:
                self._begun[intent.group] = (intent, payload, 0)
                return
            self._replay.add(intent)
            self._begun[intent.group] = (intent, b"", self._write((payload,)))
            self._want(self._written)

    def seal(self, group: int, body: bytes, order_ids: Sequence[OrderId]) -> None:
        """Keep the signed bytes, and wait until the intent is as durable as the mode promises.

        Raises
        ------
        JournalError
            It is not certain that the intent is kept: send nothing.
        """
        signed = Signed(group=group, order_ids=tuple(order_ids), body=body)
        payload = _encode(signed)
        with self._lock:
            begun = self._begun.pop(group, None)
            self._check()
            if begun is None:
                raise InternalError(f"group {group} is sealed, but has not begun")
            intent, intent_payload, write = begun
            if not self._syncs:
                self._replay.add(intent)
                self._replay.add(signed)
                self._write((intent_payload, payload))
                return
            self._replay.add(signed)
            last = self._write((payload,))
            # Prepared nonces sign differently every time: then the bytes themselves must be kept.
            awaited = write if intent.resignable else last
            self._want(awaited)
            while self._durable < awaited and self._failure is None:
                self._synced.wait()
            self._check()

    def append(self, record: Record) -> None:
        """Keep a later record. Trouble with the disk is told by ``failure``, not here.

        A record of a closed group is dropped; so is everything after a failure.

        Raises
        ------
        InternalError
            The record contradicts those before it: our bug.
        """
        payload = _encode(record)
        if len(payload) > _LONG and isinstance(record, Answered):
            record = record.shortened()
            payload = _encode(record)
        with self._lock:
            if self._failure is not None or os.getpid() != self._pid:
                return
            if type(record) is Close:
                begun = self._begun.pop(record.group, None)
                if begun is not None and begun[1]:
                    return  # given up before anything of it was written
            if not self._replay.add(record):
                return
            try:
                self._write((payload,))
            except JournalError:
                return

    def close(self) -> None:
        """Bring everything to the disk in ``fsync`` mode, and let the next process have the folder.

        Later intents are refused. Calling it again does nothing.
        """
        with self._lock:
            if self._closing:
                return
            self._closing = True
            if self._syncs:
                self._wanted = self._written
            self._work.notify()
        self._thread.join()
        with self._lock:
            if self._failure is None:
                self._failure = JournalError(str(self._path), "is closed")
            self._synced.notify_all()
            self._let_go()

    def __repr__(self) -> str:
        mode = "fsync" if self._syncs else "os"
        return f"FileJournal({str(self._path)!r}, {mode}, failure={self._failure!s})"

    # opening ----------------------------------------------------------------------------------

    def _take_folder(self, path: Path) -> None:
        self._lock_fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(self._lock_fd, _PID_WIDTH, 0).decode("ascii", "replace").strip()
            raise JournalError(
                str(path),
                f"process {pid or 'unknown'} has this journal open: one process, one folder",
            ) from None
        os.pwrite(self._lock_fd, f"{self._pid:<{_PID_WIDTH - 1}}\n".encode(), 0)

    def _read_or_create(self) -> tuple[FileInfo, Replay, RecordFile]:
        self._new_path.unlink(missing_ok=True)
        if not self._path.exists():
            if os.pread(self._lock_fd, len(_USED), _PID_WIDTH):
                raise JournalError(
                    str(self._path),
                    "is missing, but there was one: bring it back, or delete the whole folder when "
                    "no order of it can be open",
                )
            self._recovered = Recovered()
            info = FileInfo(account=self._account, generation=0, first_sequence=1, next_group=1)
            file = RecordFile.create(self._new_path, info)
            file.sync()
            self._put_in_place()
            os.fsync(self._folder_fd)
            os.pwrite(self._lock_fd, _USED, _PID_WIDTH)
            return info, Replay(), file
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            with open(fd, "rb", closefd=False) as stream:
                data = stream.read()
            info, replay, place = self._replayed(data)
            if place.offset < len(data):
                os.ftruncate(fd, place.offset)
            if self._recovered.truncated_bytes:
                _log.warning("journal_torn", extra={"warning": self._recovered.warning})
                os.fsync(fd)
            if not is_current(data):
                return self._renewed(info, replay, RecordFile(fd, place))
        except BaseException:
            os.close(fd)
            raise
        return info, replay, RecordFile(fd, place)

    def _renewed(
        self, info: FileInfo, replay: Replay, old: RecordFile
    ) -> tuple[FileInfo, Replay, RecordFile]:
        """Write an older version's file anew, before any record that it did not know."""
        info = _next_info(info, old.place, replay)
        new = RecordFile.create(self._new_path, info)
        try:
            new.write([_encode(record) for record in replay.records()])
            new.sync()
            self._put_in_place()
            os.fsync(self._folder_fd)
        except BaseException:
            new.close()
            raise
        old.close()
        return info, replay, new

    def _replayed(self, data: bytes) -> tuple[FileInfo, Replay, Place]:
        name = str(self._path)
        records = 0
        try:
            info, place = read_preamble(data)
            if info.account != self._account:
                raise DamageError(0, f"it is the journal of {info.account}, not of {self._account}")
            replay = Replay(info.next_group)
            for payload, following in read_records(data, place):
                try:
                    record = _decode(payload)
                    if isinstance(record, Intent):
                        record.check()
                    replay.add(record)
                except (msgspec.MsgspecError, InternalError) as error:
                    raise DamageError(
                        place.offset, f"record {place.sequence} makes no sense: {error}"
                    ) from error
                place = following
                records += 1
        except DamageError as error:
            raise JournalError(
                name, f"{error.problem}. Nothing was changed", offset=error.offset
            ) from error
        torn = max(0, len(data.rstrip(b"\0")) - place.offset)
        self._recovered = Recovered(
            groups=replay.groups(),
            next_group=replay.next_group,
            spent=replay.spent(),
            records=records,
            truncated_bytes=torn,
            warning=f"{name}: a torn write of {torn} bytes at byte {place.offset} was cut off"
            if torn
            else "",
        )
        return info, replay, place

    def _put_in_place(self) -> None:
        os.rename(self._new_path, self._path)

    def _let_go(self) -> None:
        if "_file" in vars(self):
            self._file.trim()
            self._file.close()
        for fd in (self._lock_fd, self._folder_fd):
            if fd >= 0:
                os.close(fd)
        self._lock_fd = self._folder_fd = -1

    # writing; the lock is held ----------------------------------------------------------------

    def _check(self) -> None:
        if self._failure is not None:
            raise JournalError(str(self._path), self._failure.problem)
        if os.getpid() != self._pid:
            raise JournalError(
                str(self._path), f"belongs to process {self._pid}: a forked child cannot write it"
            )

    def _write(self, payloads: Sequence[bytes]) -> int:
        """Append records in one write; return its number."""
        try:
            while not self._file.write(payloads):
                self._synced.wait()  # the thread is about to have made room
        except BaseException as error:
            self._break(error)
            if isinstance(error, Exception):
                raise JournalError(str(self._path), self._problem) from error
            raise
        self._written += 1
        if self._meanwhile is not None:
            self._meanwhile += payloads
        elif self._file.size > self._limit or self._file.wants_room:
            self._work.notify()
        return self._written

    def _want(self, write: int) -> None:
        if write > self._wanted:
            self._wanted = write
            self._work.notify()

    def _break(self, error: BaseException) -> None:
        """Take no further intent: after a failed write or sync nobody knows what the disk has."""
        if self._failure is None:
            self._failure = JournalError(
                str(self._path),
                f"cannot be written: {str(error) or type(error).__name__}; no order "
                "is sent until the disk is well and the journal was opened again",
            )
            _log.error("journal_failed", extra={"error": str(self._failure)})
        self._synced.notify_all()

    @property
    def _problem(self) -> str:
        return self._failure.problem if self._failure else ""

    # the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._has_work():
                    self._work.wait()
                if self._failure is not None or (self._closing and self._wanted <= self._durable):
                    return
                wanted, reached, file = self._wanted > self._durable, self._written, self._file
                # While one waits for the disk, nothing else is done.
                fills = not wanted and file.claim_room()
            try:
                if wanted:
                    file.sync()
                elif fills:
                    reached = self._fill(file)
                else:
                    reached = self._compact()
            except BaseException as error:
                with self._lock:
                    self._break(error)
                return
            with self._lock:
                self._durable = max(self._durable, reached)
                self._synced.notify_all()

    def _has_work(self) -> bool:
        return (
            self._closing
            or self._failure is not None
            or self._wanted > self._durable
            or self._file.size > self._limit
            or self._file.wants_room
        )

    def _fill(self, file: RecordFile) -> int:
        """Write zeros behind the records; return the last write that is on the disk."""
        file.fill()
        with self._lock:
            file.take_room()
            reached = self._written
            self._synced.notify_all()
        if not self._syncs:
            return 0
        file.sync()  # or the next group would wait for all these zeros
        return reached

    def _compact(self) -> int:
        """Write a file with the open groups only, and put it in the place of the old one.

        Killed at any point, it leaves the old file or the new one, complete. Returns the last write
        that is on the disk.
        """
        with self._lock:
            old, self._meanwhile = self._file, []
            records = tuple(self._replay.records())
            info = _next_info(self._info, old.place, self._replay)
        new: RecordFile | None = None
        try:
            new = RecordFile.create(self._new_path, info)
            new.write([_encode(record) for record in records])
            new.make_room()
            new.sync()
            for left in range(_ROUNDS, -1, -1):
                with self._lock:
                    late, self._meanwhile = self._meanwhile, []
                    if not late or not left:
                        new.write(late)
                        if late:
                            new.sync()
                        self._put_in_place()
                        self._file, self._info, self._meanwhile = new, info, None
                        self._limit = max(self._max_bytes, 2 * new.size)
                        reached = self._written
                        break
                new.write(late)
                new.sync()
        except OSError as error:
            # The old file is as good as before; a disk that is full will show in the next write.
            _log.warning("journal_not_compacted", extra={"error": str(error)})
            with self._lock:
                self._meanwhile = None
                self._limit = 2 * old.size
            if new is not None:
                new.close()
            return 0
        old.close()
        os.fsync(self._folder_fd)
        return reached


def _next_info(info: FileInfo, place: Place, replay: Replay) -> FileInfo:
    return msgspec.structs.replace(
        info,
        generation=info.generation + 1,
        first_sequence=place.sequence,
        next_group=replay.next_group,
    )
