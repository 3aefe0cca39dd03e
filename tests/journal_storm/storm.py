"""Ways to hurt a journal, and what reading it must then say."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from polyexec.core.journal import Record, Signed
from polyexec.journal.frames import DamageError, Place, read_records
from tests.unit.journal.support import file_of, lives, read

SECTOR = 512


class Journal(NamedTuple):
    """A file, its records and their places; the last place is the end."""

    data: bytes
    places: list[Place]
    records: list[Record]


def build(count: int) -> Journal:
    """Return a journal of that many records."""
    records = list(lives(count))
    data, places = file_of(records)
    return Journal(data, places, records)


def check_cut(journal: Journal, index: int, cut: int) -> None:
    """A file that ends ``cut`` bytes into a record has all before it, and a torn write."""
    place = journal.places[index]
    end = place.offset + cut
    # The records before are the same bytes for every cut: reading goes on from where they end.
    data = journal.data[place.offset : end]
    start = Place(0, place.sequence, place.previous)
    assert list(read_records(data, start)) == [], f"cut at {end}"


def check_boundary(journal: Journal, index: int) -> None:
    """A file that ends with a record is complete; reads that record only, see above."""
    place, following = journal.places[index], journal.places[index + 1]
    data = journal.data[place.offset : following.offset]
    ((payload, end),) = read_records(data, Place(0, place.sequence, place.previous))
    assert len(payload) == len(data) - 25
    assert (end.sequence, end.previous) == (following.sequence, following.previous)


def check_corruption(journal: Journal, damaged: bytes) -> str:
    """Return how damage was noticed: ``refused``, or ``torn`` when only the end is concerned.

    Anything else is an AssertionError: a record that is not the one that was written, or one that
    is missing without a word.
    """
    try:
        records, torn = read(damaged)
    except DamageError:
        return "refused"
    assert records == journal.records[: len(records)], "records that were never written"
    # Nothing but zeros behind a record is room, as behind the last one of every open journal.
    is_cut = journal.data.startswith(damaged.rstrip(b"\0"))
    assert torn or is_cut, "records are missing without a word"
    # More than the last record is given up only when nothing but zeros is left of the others.
    if len(records) < len(journal.records) - 1:
        left = len(damaged.rstrip(b"\0"))
        assert left <= journal.places[len(records) + 1].offset, "damage taken for a torn write"
    return "torn"


def corrupt(journal: Journal, rng: random.Random) -> tuple[str, bytes]:
    """Return a damaged copy that differs from the file and from every shorter journal."""
    while True:
        name = rng.choice(sorted(_KINDS))
        data = bytearray(journal.data)
        _KINDS[name](journal, data, rng)
        damaged = bytes(data)
        if journal.data.startswith(damaged):
            continue  # a plain cut: that is what a kill leaves
        return name, damaged


def lose_power(journal: Journal, synced: int, rng: random.Random) -> bytes:
    """Return what a disk may hold of a file of which ``synced`` bytes were synced.

    Each later sector was written, or not (zeros), and the file ends at any of them.
    """
    end = min(len(journal.data), synced + rng.randrange(6 * SECTOR))
    data = bytearray(journal.data[:end])
    for sector in range(synced - synced % SECTOR, end, SECTOR):
        if rng.random() < 0.4:
            start = max(sector, synced)
            stop = min(sector + SECTOR, end)
            data[start:stop] = bytes(stop - start)
    return bytes(data)


def check_power_loss(journal: Journal, index: int, rng: random.Random) -> str:
    """Every record that was synced is found, or the file is refused; say which."""
    synced = journal.places[index].offset
    data = lose_power(journal, synced, rng)
    try:
        records, _ = read(data)
    except DamageError:
        return "refused"
    assert len(records) >= index, "a synced record is gone without a word"
    assert records == journal.records[: len(records)]
    return "recovered"


def _somewhere(data: bytearray, rng: random.Random) -> int:
    # Every second time near the end, where torn writes are.
    near = rng.random() < 0.5
    return rng.randrange(max(0, len(data) - 1500) if near else 0, len(data))


def _flip(_: Journal, data: bytearray, rng: random.Random) -> None:
    for _bit in range(rng.choice((1, 1, 1, 2, 3, 8))):
        data[_somewhere(data, rng)] ^= 1 << rng.randrange(8)


def _overwrite(_: Journal, data: bytearray, rng: random.Random) -> None:
    at = _somewhere(data, rng)
    length = min(rng.choice((1, 2, 4, 16, 100, 600)), len(data) - at)
    data[at : at + length] = rng.randbytes(length)


def _zero(_: Journal, data: bytearray, rng: random.Random) -> None:
    at = _somewhere(data, rng)
    length = min(rng.choice((1, 7, 8, 64, SECTOR, 4096)), len(data) - at)
    data[at : at + length] = bytes(length)


def _zero_sector(_: Journal, data: bytearray, rng: random.Random) -> None:
    at = _somewhere(data, rng) // SECTOR * SECTOR
    data[at : at + SECTOR] = bytes(len(data[at : at + SECTOR]))


def _delete(journal: Journal, data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(journal.places[-2].offset)  # in the last record it is a cut
    del data[at : min(at + rng.choice((1, 3, 40, 1000)), journal.places[-2].offset)]


def _insert(_: Journal, data: bytearray, rng: random.Random) -> None:
    at = rng.randrange(len(data) + 1)
    data[at:at] = rng.choice((bytes, rng.randbytes))(rng.choice((1, 5, 20, 300)))


def _repeat(_: Journal, data: bytearray, rng: random.Random) -> None:
    at = _somewhere(data, rng)
    data[at:at] = data[at : at + rng.randrange(1, 800)]


def _swap_records(journal: Journal, data: bytearray, rng: random.Random) -> None:
    first, second = sorted(rng.sample(range(len(journal.places) - 1), 2))
    a, b = _record(journal, first), _record(journal, second)
    between = journal.data[journal.places[first + 1].offset : journal.places[second].offset]
    data[journal.places[first].offset : journal.places[second + 1].offset] = b + between + a


def _drop_record(journal: Journal, data: bytearray, rng: random.Random) -> None:
    index = rng.randrange(len(journal.places) - 2)
    del data[journal.places[index].offset : journal.places[index + 1].offset]


def _repeat_record(journal: Journal, data: bytearray, rng: random.Random) -> None:
    index = rng.randrange(len(journal.places) - 1)
    data[journal.places[index].offset : journal.places[index].offset] = _record(journal, index)


def _of_another_journal(journal: Journal, data: bytearray, rng: random.Random) -> None:
    """Put a valid record of the same number and length in the place of one."""
    signed = [i for i, record in enumerate(journal.records) if isinstance(record, Signed)]
    index = rng.choice(signed)
    others = list(journal.records)
    was = others[index]
    assert isinstance(was, Signed)
    others[index] = Signed(group=was.group, order_ids=was.order_ids, body=was.body[::-1])
    other, places = file_of(others)
    start, end = places[index].offset, places[index + 1].offset
    data[start:end] = other[start:end]


def _record(journal: Journal, index: int) -> bytes:
    return journal.data[journal.places[index].offset : journal.places[index + 1].offset]


_KINDS: dict[str, Callable[[Journal, bytearray, random.Random], None]] = {
    "flip": _flip,
    "overwrite": _overwrite,
    "zero": _zero,
    "zero sector": _zero_sector,
    "delete": _delete,
    "insert": _insert,
    "repeat": _repeat,
    "swap records": _swap_records,
    "drop record": _drop_record,
    "repeat record": _repeat_record,
    "record of another journal": _of_another_journal,
}


def run_cuts(journal: Journal, chosen: Sequence[int]) -> int:
    """Check the cuts of the chosen records: at every byte, and behind the last. Return how many."""
    cuts = 0
    for index in chosen:
        length = journal.places[index + 1].offset - journal.places[index].offset
        for cut in range(length):
            check_cut(journal, index, cut)
        check_boundary(journal, index)
        cuts += length + 1
    return cuts
