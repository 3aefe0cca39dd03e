"""A journal in memory that can be read, cut off after any record, and made to fail."""

import threading
from collections.abc import Sequence
from itertools import count

from polyexec.core.journal import Intent, Record, Recovered, Replay, Signed
from polyexec.errors import JournalError
from polyexec.models import OrderId


class MemoryJournal:
    """Keeps records in a list. ``fails`` is the record kind at which the disk is full."""

    def __init__(self, records: Sequence[Record] = (), fails: type | None = None) -> None:
        replay = Replay()
        for record in records:
            replay.add(record)
        self.recovered = Recovered(
            groups=replay.groups(), next_group=replay.next_group, spent=replay.spent()
        )
        self.records: list[Record] = list(records)
        self.fails = fails
        self.closed = False
        self._groups = count(replay.next_group)
        self._lock = threading.Lock()

    @property
    def failure(self) -> JournalError | None:
        return None

    def new_group(self) -> int:
        return next(self._groups)

    def begin(self, intent: Intent) -> None:
        self._keep(intent)

    def seal(self, group: int, body: bytes, order_ids: Sequence[OrderId]) -> None:
        self._keep(Signed(group=group, order_ids=tuple(order_ids), body=body))

    def append(self, record: Record) -> None:
        with self._lock:
            self.records.append(record)

    def close(self) -> None:
        self.closed = True

    def _keep(self, record: Record) -> None:
        if isinstance(record, self.fails or ()):
            raise JournalError("memory", "the disk is full")
        self.append(record)

    @property
    def kinds(self) -> list[str]:
        return [type(record).__name__ for record in self.records]
