"""One file of a journal: records one after the other, and room for the next."""

import contextlib
import fcntl
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from polyexec.errors import InternalError
from polyexec.journal.frames import MAX_PAYLOAD, FileInfo, Place, frame, preamble

__all__ = ["RecordFile"]

# Zeros that are written behind the records before anybody needs them, and when to write more.
_ROOM: Final = 2**20
_LITTLE_ROOM: Final = 2**18


class RecordFile:
    """An open journal file and the place of its next record.

    Zeros stand behind the records up to ``_room``. Whoever writes more of them claims a part first,
    so that no record is written where zeros are still on their way.
    """

    def __init__(self, fd: int, place: Place) -> None:
        self._fd = fd
        self.place = place
        self._room = place.offset
        self._claimed = -1  # nothing
        self._has_space = True

    @classmethod
    def create(cls, path: Path, info: FileInfo) -> "RecordFile":
        """Make a file that holds nothing but its preamble."""
        data, place = preamble(info)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = cls(os.open(path, flags, 0o600), place)
        try:
            file._put(data, 0)
        except BaseException:
            file.close()
            raise
        file._room = place.offset
        return file

    @property
    def size(self) -> int:
        """Bytes of preamble and records."""
        return self.place.offset

    @property
    def wants_room(self) -> bool:
        """Whether more zeros are due."""
        return self._has_space and self._room - self.place.offset < _LITTLE_ROOM

    def write(self, payloads: Iterable[bytes]) -> bool:
        """Append records; a write that fails leaves none of them. False: not yet, wait for room."""
        offset, sequence, previous = self.place
        parts = []
        for payload in payloads:
            if len(payload) > MAX_PAYLOAD:
                raise InternalError(f"a record of {len(payload)} bytes")
            data, previous = frame(payload, sequence, previous)
            parts.append(data)
            sequence += 1
        data = b"".join(parts)
        if 0 <= self._claimed < offset + len(data):
            return False
        try:
            self._put(data, offset)
        except BaseException:
            self._cut(offset)  # if that fails too, the next opening finds a torn write
            raise
        self.place = Place(offset + len(data), sequence, previous)
        return True

    def claim_room(self) -> bool:
        """Claim where more zeros go; False when there are enough."""
        if not self.wants_room:
            return False
        self._claimed = max(self._room, self.place.offset)
        return True

    def fill(self) -> None:
        """Write zeros where they were claimed. Without space there is no room, and no fault yet."""
        try:
            self._put(bytes(_ROOM), self._claimed)
        except OSError:
            self._has_space = False

    def take_room(self) -> None:
        """Let records be written there."""
        if self._has_space:
            self._room = self._claimed + _ROOM
        self._claimed = -1

    def make_room(self) -> None:
        """Do the three at once, before anybody else knows of the file."""
        if self.claim_room():
            self.fill()
            self.take_room()

    def trim(self) -> None:
        """Give back the room that no record needed."""
        self._cut(self.place.offset)

    def sync(self) -> None:
        """Return when everything that was written is on the disk."""
        if sys.platform == "darwin":
            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)  # fsync stops at the drive's cache there
        else:
            os.fdatasync(self._fd)

    def close(self) -> None:
        """Close it. Any number of times."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _cut(self, offset: int) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, offset)
        self._room = offset

    def _put(self, data: bytes, offset: int) -> None:
        done = os.pwrite(self._fd, data, offset) if data else 0
        while done < len(data):
            done += os.pwrite(self._fd, data[done:], offset + done)
