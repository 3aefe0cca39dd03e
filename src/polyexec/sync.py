"""The same executor for scripts, threads and notebooks without ``await``."""

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from polyexec.errors import UsageError
from polyexec.executor import BaseExecutor
from polyexec.looping import LoopThread
from polyexec.models import OrderId
from polyexec.reconciliation import Reconciliation

__all__ = ["Executor"]

ResultT = TypeVar("ResultT")


class Executor(BaseExecutor):
    """The twin of :class:`polyexec.Executor` without ``await``.

    It owns one thread with an event loop for the answers; signals are sent in the thread that
    calls ``submit``. Parameters and errors are those of :class:`polyexec.Executor`.
    """

    _runner: LoopThread | None = None

    def __enter__(self) -> Self:
        self._check_unopened()
        self._runner = LoopThread()
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
