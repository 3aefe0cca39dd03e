"""A journal file: read as it was written, a torn write cut off, or refused; never anything else."""

import random

from polyexec.journal.frames import DamageError
from tests.fuzz.registry import target
from tests.journal_storm import storm
from tests.unit.journal.support import read

SMALL = storm.build(12)


@target("journal.read", refuses=(DamageError,))
def read_anything(source: random.Random) -> None:
    start = SMALL.data[: source.choice((0, 8, 16, SMALL.places[0].offset, len(SMALL.data)))]
    read(start + source.randbytes(source.randrange(100)) + bytes(source.randrange(100)))


@target("journal.damage")
def damage(source: random.Random) -> None:
    storm.check_corruption(SMALL, storm.corrupt(SMALL, source)[1])
