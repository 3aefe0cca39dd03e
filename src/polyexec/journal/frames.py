r"""Bytes of a journal file: how records are framed, and how a torn write differs from damage.

::

    file    = preamble record*
    preamble = "\x89PXWAL\r\n" version:u32 length:u32 payload crc:u32
    record  = magic:4s length:u32 sequence:u64 head_crc:u32 payload crc:u32 end:u8

Little-endian. Payloads are msgpack, checksums CRC32C. ``head_crc`` covers the 16 bytes before it;
``crc`` covers the payload and starts from ``head_crc ^ crc of what stands before the record``, so a
record is valid only in its place. Zeros behind the last record are room for the next ones: to
write into bytes that are there already is cheaper than to make a file longer, most of all where
each write has to reach the disk. Pure: bytes in, bytes out.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from crc32c import crc32c

from polyexec.core.journal import Account

__all__ = [
    "HEADER_SIZE",
    "MAX_PAYLOAD",
    "OVERHEAD",
    "READABLE",
    "VERSION",
    "DamageError",
    "FileInfo",
    "Place",
    "frame",
    "is_current",
    "preamble",
    "read_preamble",
    "read_records",
]

VERSION: Final = 3
"""Written. 3 added the costs of days and what a group needs to be gone on with."""
READABLE: Final = (2, 3)
MAX_PAYLOAD: Final = 2**24
HEADER_SIZE: Final = 20
OVERHEAD: Final = HEADER_SIZE + 5

_FILE_MAGIC: Final = b"\x89PXWAL\r\n"
_FILE_HEAD: Final = struct.Struct("<8sII")
# No text holds these bytes: they are not UTF-8. Neither a record's first nor its last byte is
# zero, so a lost sector (zeros) never looks like a part of a record that starts or ends in it.
_MAGIC: Final = b"\xc1\xfePX"
_END: Final = 0xED
_HEAD: Final = struct.Struct("<4sIQ")
_CRC: Final = struct.Struct("<I")
_TAIL: Final = struct.Struct("<IB")

_SECTOR: Final = 512
# Fewer zeros at the edge of a sector can be a damaged byte or two; then a person has to look.
_LOST_ZEROS: Final = 8


class DamageError(ValueError):
    """Bytes that no interrupted write leaves behind."""

    def __init__(self, offset: int, problem: str) -> None:
        self.offset = offset
        self.problem = problem
        super().__init__(f"byte {offset}: {problem}")


class FileInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal file says of itself."""

    account: Account
    generation: int
    """Times that it was compacted."""
    first_sequence: int
    next_group: int


class Place(NamedTuple):
    """Where a record goes, and what it follows."""

    offset: int
    sequence: int
    previous: int
    """CRC32C of what stands before."""


def frame(payload: bytes, sequence: int, previous: int) -> tuple[bytes, int]:
    """Return a record and its checksum, which the next record continues."""
    head = _HEAD.pack(_MAGIC, len(payload), sequence)
    head_crc = crc32c(head)
    crc = crc32c(payload, head_crc ^ previous)
    return b"".join((head, _CRC.pack(head_crc), payload, _TAIL.pack(crc, _END))), crc


def preamble(info: FileInfo) -> tuple[bytes, Place]:
    """Return the start of a file, and the place of its first record."""
    payload = msgspec.msgpack.encode(info)
    data = _FILE_HEAD.pack(_FILE_MAGIC, VERSION, len(payload)) + payload
    crc = crc32c(data)
    data += _CRC.pack(crc)
    return data, Place(len(data), info.first_sequence, crc)


def read_preamble(data: bytes) -> tuple[FileInfo, Place]:
    """Read what :func:`preamble` wrote.

    Raises
    ------
    DamageError
        It is not a journal, of another version, or damaged. A file appears under its name only when
        it is complete, so nothing of it can be torn.
    """
    if data[:8] != _FILE_MAGIC or len(data) < _FILE_HEAD.size:
        raise DamageError(0, "this is not the start of a polyexec journal")
    _, version, length = _FILE_HEAD.unpack_from(data)
    end = _FILE_HEAD.size + length
    if version not in READABLE:
        raise DamageError(
            8,
            f"format version {version}, but this polyexec reads {READABLE[0]} to {VERSION}: "
            "install the version of polyexec that wrote it",
        )
    if len(data) < end + 4 or crc32c(data[:end]) != _u32(data, end):
        raise DamageError(0, "the file header does not match its checksum")
    try:
        info = msgspec.msgpack.decode(data[_FILE_HEAD.size : end], type=FileInfo)
    except msgspec.MsgspecError as error:
        raise DamageError(0, f"the file header makes no sense: {error}") from error
    return info, Place(end + 4, info.first_sequence, _u32(data, end))


def is_current(data: bytes) -> bool:
    """Return whether a file that :func:`read_preamble` reads is of the version that is written."""
    return bool(_FILE_HEAD.unpack_from(data)[1] == VERSION)


def read_records(data: bytes, place: Place) -> Iterator[tuple[bytes, Place]]:
    """Yield the payload of every record from ``place`` on, and the place after it.

    Ends at the end of the data, at zeros to its end, or at the start of a torn write: bytes that an
    interrupted append leaves. A record that does not match its checksum is torn only where its end
    is zeros, which is how room looks that was not written yet, or where a whole sector of it is,
    which is how one looks that the disk never wrote, and nothing but zeros stands behind it.

    Raises
    ------
    DamageError
        Anything else that is not a record in its place, or any record after such bytes.
    """
    while place.offset < len(data):
        at, sequence, previous = place
        if not data[at] and not data[at:].strip(b"\0"):
            return
        body = at + HEADER_SIZE
        behind = at - at % _SECTOR + _SECTOR  # of a header that cannot be read
        if len(data) < body:
            whole = _HEAD.pack(_MAGIC, 0, sequence)
            part = data[at:]
            if part[:4] == whole[: len(part)][:4] and part[8:16] == whole[8 : len(part)][:8]:
                return
            problem = f"{len(part)} bytes at the end are no start of a record"
            end = len(data)
        elif not _has_header(data, at):
            problem = "no readable record header"
            end = body + _LOST_ZEROS  # no payload begins with zeros
        else:
            _, length, found = _HEAD.unpack_from(data, at)
            if found != sequence:
                raise DamageError(at, f"record {found} where record {sequence} belongs")
            behind = end = body + length + 5
            if end > len(data):
                _refuse_later_records(data, at, f"record {sequence} is cut off")
                return
            payload = data[body : body + length]
            crc, mark = _TAIL.unpack_from(data, body + length)
            if mark == _END and crc == crc32c(payload, _u32(data, body - 4) ^ previous):
                place = Place(end, sequence + 1, crc)
                yield payload, place
                continue
            problem = f"record {sequence} does not match its checksum"
        _refuse_later_records(data, at, problem)
        if not _stops_before(data, at, end) and (
            not _lost_a_sector(data, at, end) or data[behind:].strip(b"\0")
        ):
            raise DamageError(at, problem)
        return


def _has_header(data: bytes, at: int) -> bool:
    return (
        data[at : at + 4] == _MAGIC
        and len(data) >= at + HEADER_SIZE
        and crc32c(data[at : at + 16]) == _u32(data, at + 16)
        and _HEAD.unpack_from(data, at)[1] <= MAX_PAYLOAD
    )


def _refuse_later_records(data: bytes, at: int, problem: str) -> None:
    """Refuse what is broken in the middle: an interrupted write has nothing after it."""
    later = data.find(_MAGIC, at + 1)
    while later >= 0:
        if _has_header(data, later):
            raise DamageError(at, f"{problem}, and a record follows at byte {later}")
        later = data.find(_MAGIC, later + 1)


def _stops_before(data: bytes, at: int, end: int) -> bool:
    """Return True when what was written of a record ends before the record does."""
    return at + len(data[at:].rstrip(b"\0")) <= end - _LOST_ZEROS


def _lost_a_sector(data: bytes, start: int, end: int) -> bool:
    """Return True when one of the sectors that [start, end) lies in was never written."""
    for sector in range(start - start % _SECTOR, end, _SECTOR):
        piece = data[max(sector, start) : sector + _SECTOR]
        if len(piece) >= _LOST_ZEROS and not piece.strip(b"\0"):
            return True
    return False


def _u32(data: bytes, at: int) -> int:
    value: int = _CRC.unpack_from(data, at)[0]
    return value
