"""A journal whose disk fills up, and whose process is killed at a record that was chosen."""

import random
from collections.abc import Callable, Sequence

from polyexec.core.journal import Intent, Record, Recovered, Signed
from polyexec.core.ports import Journal
from polyexec.errors import JournalError
from polyexec.models import OrderId


class KilledError(BaseException):
    """The process dies here. Nothing that it does afterwards reaches the disk or the exchange."""


class MortalJournal:
    """Passes everything on until the process dies.

    Parameters
    ----------
    inner : Journal
    records : list of Record
        What was kept, also by the journals of earlier processes; grows.
    rng : random.Random
    dies_at : int or None
        The process is killed at that many records from now, before or after one is kept.
    on_fault : callable
        Called for each fault.
    """

    def __init__(
        self,
        inner: Journal,
        records: list[Record],
        *,
        rng: random.Random,
        dies_at: int | None,
        on_fault: Callable[[str], None],
    ) -> None:
        self._inner = inner
        self.records = records
        self._rng = rng
        self._left = dies_at
        self._on_fault = on_fault
        self.full_disk_rate = 0.0
        self.is_dead = False

    @property
    def recovered(self) -> Recovered:
        return self._inner.recovered

    @property
    def failure(self) -> JournalError | None:
        return self._inner.failure

    def new_group(self) -> int:
        return self._inner.new_group()

    def begin(self, intent: Intent) -> None:
        self._refuse_when_full()
        self._keep(intent, lambda: self._inner.begin(intent))

    def seal(self, group: int, body: bytes, order_ids: Sequence[OrderId]) -> None:
        self._refuse_when_full()
        record = Signed(group=group, order_ids=tuple(order_ids), body=body)
        self._keep(record, lambda: self._inner.seal(group, body, order_ids))

    def append(self, record: Record) -> None:
        self._keep(record, lambda: self._inner.append(record))

    def close(self) -> None:
        self._inner.close()

    def die(self) -> None:
        """Be killed between two records."""
        self.is_dead = True

    def _refuse_when_full(self) -> None:
        if not self.is_dead and self._rng.random() < self.full_disk_rate:
            self._on_fault("full_disk")
            raise JournalError("simulated", "the disk is full")

    def _keep(self, record: Record, keep: Callable[[], None]) -> None:
        if self.is_dead:
            raise KilledError
        is_last = False
        if self._left is not None:
            self._left -= 1
            is_last = self._left <= 0
        if is_last and self._rng.random() < 0.5:
            self._die()
        keep()
        self.records.append(record)
        if is_last:
            self._die()

    def _die(self) -> None:
        self.is_dead = True
        self._on_fault("kill")
        raise KilledError
