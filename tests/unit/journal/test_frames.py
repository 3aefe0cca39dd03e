"""Framing: what is a record in its place, what is a torn write, and what is damage."""

import struct

import msgspec
import pytest

from polyexec.journal import frames
from polyexec.journal.frames import DamageError, FileInfo
from tests.unit.journal.support import ACCOUNT, file_of, life, read

RECORDS = [*life(1), *life(2), *life(3)[:2]]
DATA, PLACES = file_of(RECORDS)
SECTOR = 512


def test_a_file_reads_back_as_it_was_written() -> None:
    assert read(DATA) == (RECORDS, 0)


def test_crc32c_is_the_castagnoli_polynomial() -> None:
    # RFC 3720, B.4; frames of another checksum would be damage to every other version.
    assert frames.crc32c(bytes(32)) == 0x8A9136AA
    assert frames.crc32c(bytes(range(32))) == 0x46DD794E


def test_the_frame_of_a_record_does_not_move() -> None:
    data, crc = frames.frame(b"payload", 7, 0x01020304)
    assert data.hex() == ("c1fe5058070000000700000000000000de8b7ed07061796c6f616404179a4eed")
    assert crc == 0x4E9A1704


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (b"", "not the start"),
        (b"something else entirely, and long enough", "not the start"),
        (DATA[:20], "does not match"),
        (DATA[: PLACES[0].offset - 1], "does not match"),
        (DATA[:30] + b"X" + DATA[31:], "does not match"),
        (DATA[:8] + b"\x01" + DATA[9:], "format version 1, but this polyexec reads 2 to 3"),
        (DATA[:12] + b"\xff\xff\xff\xff" + DATA[16:], "does not match"),
    ],
)
def test_a_file_header_that_cannot_be_read_is_refused(damaged: bytes, words: str) -> None:
    with pytest.raises(DamageError, match=words):
        frames.read_preamble(damaged)


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_the_last_record_is_damage_not_a_torn_write(bit: int) -> None:
    start = PLACES[-2].offset
    for at in range(start, len(DATA)):
        damaged = DATA[:at] + bytes([DATA[at] ^ 1 << bit]) + DATA[at + 1 :]
        with pytest.raises(DamageError) as caught:
            read(damaged)
        assert caught.value.offset == start


def test_zeros_behind_the_last_record_are_room_for_others() -> None:
    for zeros in (8, 500, 5000):
        assert read(DATA + bytes(zeros)) == (RECORDS, 0)


def test_bytes_that_are_no_start_of_a_record_are_damage() -> None:
    for rest in (b"X", b"no record", bytes(20) + b"X", b"\xc1\xfePX" + bytes(3) + b"\1" * 9):
        with pytest.raises(DamageError):
            read(DATA + rest)


def test_a_sector_that_was_never_written_is_a_torn_write() -> None:
    # SIGNED is longer than a sector: every one in it is lost in turn.
    start, end = PLACES[-2].offset, len(DATA)
    lost = 0
    for sector in range(start - start % SECTOR, end, SECTOR):
        first, last = max(start, sector), min(end, sector + SECTOR)
        if last - first < 8:
            continue
        damaged = DATA[:first] + bytes(last - first) + DATA[last:]
        if first == start:  # no header, but a body: no interrupted append in order does that
            with pytest.raises(DamageError, match="no readable record header"):
                read(damaged)
        else:
            lost += 1
            assert read(damaged) == (RECORDS[:-1], len(damaged.rstrip(b"\0")) - start)
    assert lost > 2


def test_a_write_that_stopped_within_the_room_is_torn() -> None:
    start, end = PLACES[-2].offset, len(DATA)
    for written in range(1, end - start - 8):
        torn = DATA[: start + written]
        left = len(torn.rstrip(b"\0")) - start
        assert read(torn + bytes(5000)) == (RECORDS[:-1], max(0, left))


def test_a_hole_before_a_record_is_damage() -> None:
    start, end = PLACES[-3].offset, PLACES[-2].offset
    with pytest.raises(DamageError, match=f"a record follows at byte {end}"):
        read(DATA[:start] + bytes(end - start) + DATA[end:])


def test_a_cut_record_before_another_is_damage() -> None:
    # Less is left than the first one's length says: it looks cut off, but a record follows.
    tail = DATA[PLACES[-2].offset :]
    last, _ = frames.frame(b"x", PLACES[-1].sequence, PLACES[-1].previous)
    with pytest.raises(DamageError, match="cut off, and a record follows"):
        read(DATA[: PLACES[-2].offset] + tail[:-200] + last)


def test_a_record_of_another_place_is_damage() -> None:
    place = PLACES[-1]
    payload = msgspec.msgpack.encode(RECORDS[-1])
    for sequence, previous, words in (
        (
            place.sequence + 1,
            place.previous,
            f"record {place.sequence + 1} where record {place.sequence} belongs",
        ),
        (
            place.sequence - 1,
            place.previous,
            f"record {place.sequence - 1} where record {place.sequence} belongs",
        ),
        (place.sequence, place.previous ^ 1, "does not match its checksum"),
    ):
        data, _ = frames.frame(payload, sequence, previous)
        with pytest.raises(DamageError, match=words):
            read(DATA + data)


def test_a_length_beyond_the_limit_is_no_header() -> None:
    head = struct.pack("<4sIQ", b"\xc1\xfePX", frames.MAX_PAYLOAD + 1, PLACES[-1].sequence)
    header = head + struct.pack("<I", frames.crc32c(head))
    with pytest.raises(DamageError, match="no readable record header"):
        read(DATA + header + b"x" * 600)


def test_what_stands_before_is_part_of_the_checksum() -> None:
    other = FileInfo(account=ACCOUNT, generation=1, first_sequence=1, next_group=1)
    start, _ = frames.preamble(other)
    with pytest.raises(DamageError, match="does not match its checksum"):
        read(start + DATA[PLACES[0].offset :])


def test_a_file_header_of_other_fields_is_refused() -> None:
    data = struct.pack("<8sII", DATA[:8], frames.VERSION, 1) + msgspec.msgpack.encode(None)
    with pytest.raises(DamageError, match="makes no sense"):
        frames.read_preamble(data + struct.pack("<I", frames.crc32c(data)))
