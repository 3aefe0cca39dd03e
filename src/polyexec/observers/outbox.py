"""A queue of notices that cannot grow: a flood of one kind is counted, and displaces no other."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Final

from polyexec.enums import NoticeKind
from polyexec.observers.notices import Batch, Notice

__all__ = ["Outbox"]

MOST_PER_KIND: Final = 8


class Outbox:
    """What waits for one endpoint. For any thread; nothing here waits.

    Parameters
    ----------
    on_first : callable
        Called, in the thread that put it, when something waits that did not before.

    Attributes
    ----------
    folded : int
        Notices that were told as a number only ("and 37 more"), because 8 of their kind waited.
    """

    def __init__(self, on_first: Callable[[], object]) -> None:
        self.folded = 0
        self._on_first = on_first
        self._lock = threading.Lock()
        self._notices: list[Notice] = []
        self._waiting: Counter[NoticeKind] = Counter()
        self._more: Counter[NoticeKind] = Counter()

    def __len__(self) -> int:
        return len(self._notices)

    def put(self, notice: Notice) -> None:
        """Let a notice wait, or count it."""
        with self._lock:
            if self._waiting[notice.kind] >= MOST_PER_KIND:
                # The first ones are kept: they are nearest to the cause.
                self._more[notice.kind] += 1
                self.folded += 1
                return
            self._waiting[notice.kind] += 1
            self._notices.append(notice)
            is_first = len(self._notices) == 1
        if is_first:
            self._on_first()

    def take(self) -> Batch | None:
        """Return everything that waits, and begin anew; None: nothing does."""
        with self._lock:
            if not self._notices:
                return None
            batch = Batch(notices=tuple(self._notices), more=dict(self._more))
            self._notices.clear()
            self._waiting.clear()
            self._more.clear()
        return batch
