"""One answer for all who ask the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

__all__ = ["SharedAnswer"]

_T = TypeVar("_T")


class SharedAnswer(Generic[_T]):
    """Callers who want the same answer take turns, and share what was asked for since they came.

    An answer that overtakes another would bring the older news last, so only one question is on
    its way. Whoever comes meanwhile does not trust its answer, which may be from before: one of
    them asks anew, for all. When a question fails, that is its asker's alone; the next one asks.
    """

    __slots__ = ("_answered", "_asked", "_latest", "_lock", "_waiting")

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._asked = self._answered = self._waiting = 0
        self._latest: _T | None = None

    async def get(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Return an answer to a question that began after this call, mine or another caller's."""
        before = self._asked
        self._waiting += 1
        try:
            async with self._lock:
                if self._answered > before and self._latest is not None:
                    return self._latest
                self._asked += 1
                number = self._asked
                found = await ask()
                self._answered, self._latest = number, found
                return found
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._latest = None  # nobody will want it: it may be large
