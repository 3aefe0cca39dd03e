"""The same executor for scripts, threads and notebooks without ``await``."""

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from polyexec.errors import UsageError
from polyexec.executor import BaseExecutor
from polyexec.models import OrderId
from polyexec.reconciliation import Reconciliation

__all__ = ["Executor"]

ResultT = TypeVar("ResultT")


class Executor(BaseExecutor):
    """The twin of :class:`polyexec.Executor` without ``await``.

    It owns one thread with an event loop for the answers; signals are sent in the thread that
    calls ``submit``. Parameters and errors are those of :class:`polyexec.Executor`.
    """

    _runner: "_LoopThread | None" = None

    def __enter__(self) -> Self:
        self._check_unopened()
        self._runner = _LoopThread()
        try:
            self._runner.run(self._open())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Refuse new signals, wait for answers that are due, close every connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            try:
                runner.run(self._close())
            finally:
                runner.stop()

    def drain(self) -> None:
        """Wait until every submission has its answer, or is unknown because none came in time."""
        self._run(self._drain())

    def refresh_balance(self) -> int:
        """Ask the exchange for the balance; return it in micro-dollars."""
        return self._run(self._refresh_balance())

    def reconcile(self) -> Reconciliation:
        """Follow up every order that is not final, then compare our books with the exchange's."""
        return self._run(self._reconcile())

    def cancel_all(self) -> tuple[OrderId, ...]:
        """Cancel every open order of the account; return the ids that were cancelled."""
        return self._run(self._cancel_all())

    def _run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        if self._runner is None:
            coroutine.close()
            raise UsageError("the executor is not open: use `with Executor(config)`")
        return self._runner.run(coroutine)


class _LoopThread:
    """A thread that runs one event loop."""

    def __init__(self) -> None:
        self._loop = new_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="polyexec-loop", daemon=True
        )
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop: uvloop's where it is installed."""
    try:
        import uvloop  # noqa: PLC0415  optional where there is no build of it
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
