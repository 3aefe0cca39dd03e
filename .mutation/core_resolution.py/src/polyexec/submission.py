"""What ``submit`` returns: the answer that is known, or the one that is on its way."""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any

from polyexec.enums import SkipReason
from polyexec.errors import UsageError
from polyexec.results import TradeResult

__all__ = ["Submission"]


class Submission:
    """One submitted signal. Await it on the loop, or call :meth:`result` from another thread.

    A skipped signal is answered when ``submit`` returns: ``skipped`` names the reason, and
    awaiting does not suspend.
    """

    __slots__ = ("_future", "_loop_thread")

    def __init__(self, loop_thread: int) -> None:
        self._future: Future[TradeResult] = Future()
        # Cancelling an awaiting task must not cancel what is already on the wire.
        self._future.set_running_or_notify_cancel()
        self._loop_thread = loop_thread

    @property
    def skipped(self) -> SkipReason | None:
        """Why the signal was refused here, or None: it was sent (or its turn has not come)."""
        if not self._future.done() or self._future.exception() is not None:
            return None
        return self._future.result().skipped

    def done(self) -> bool:
        """The result is known."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> TradeResult:
        """Wait for the result in a thread that is not the loop's.

        Parameters
        ----------
        timeout : float or None
            Seconds.

        Raises
        ------
        UsageError
            Called on the loop's own thread before the result is known: it would never come.
        TimeoutError
            Not known within ``timeout``. The orders are not affected.
        """
        if not self._future.done() and threading.get_ident() == self._loop_thread:
            raise UsageError("result() would block the event loop: use `await submission`")
        return self._future.result(timeout)

    def __await__(self) -> Generator[Any, None, TradeResult]:
        if self._future.done():
            return self._future.result()
        return (yield from asyncio.wrap_future(self._future).__await__())

    def _resolve(self, result: TradeResult) -> None:
        self._future.set_result(result)

    def _fail(self, error: BaseException) -> None:
        self._future.set_exception(error)

    def __repr__(self) -> str:
        if not self._future.done():
            return "Submission(waiting)"
        if self._future.exception() is not None:
            return "Submission(failed)"
        result = self._future.result()
        return (
            f"Submission({result.skipped or ('success' if result.success else 'not successful')})"
        )
