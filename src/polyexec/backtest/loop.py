"""Time that only moves when everybody waits: a clock, and the event loop that turns it."""

import asyncio
import contextlib
import math
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar, cast

__all__ = ["DeadlockError", "VirtualClock", "VirtualLoop", "run_virtual"]

T = TypeVar("T")

_MS_US = 1000
_START_MS = 1_790_000_000_000
_MS_NS = 1_000_000
_NEVER_NS = 2**63 - 1


class VirtualClock:
    """The executor's two clocks and the exchange's; the loop moves it to the next timer.

    It counts whole microseconds: a recording has milliseconds, latencies are finer.
    """

    def __init__(self, start_ms: int = _START_MS) -> None:
        self.start_ms = start_ms
        self.now_us = start_ms * _MS_US

    @property
    def now_ms(self) -> int:
        """Unix time in whole milliseconds that have passed."""
        return self.now_us // _MS_US

    def time_ms(self) -> int:
        """Unix time in milliseconds."""
        return self.now_ms

    def monotonic_ns(self) -> int:
        """The same in nanoseconds: it never steps back."""
        return self.now_us * 1000

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return (self.now_us - self.start_ms * _MS_US) / 1e6


class DeadlockError(Exception):
    """Everybody waits, and no timer would ever wake anybody."""


class _Jump:
    """What a selector is to other loops: waiting is moving the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise DeadlockError("the loop has no timer left and nothing to do")
        if timeout > 0:
            # Whole microseconds, and never so few that the timer is not due.
            self._clock.now_us += max(1, math.ceil(timeout * 1e6 - 1e-3))
        return []

    def close(self) -> None:
        """Nothing to close."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without sockets, threads or a wall clock: the same program, the same order."""

    _ready: Any  # of asyncio's own loop
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._virtual_clock = clock
        self._selector = _Jump(clock)

    def time(self) -> float:
        """Seconds of the virtual clock."""
        return self._virtual_clock.elapsed_s

    async def advance(self, to_ms: int) -> None:
        """Let everything happen that is due until then; the clock never steps back."""
        clock, to_us = self._virtual_clock, to_ms * _MS_US
        if to_us <= clock.now_us and not self._ready:
            return
        due_s = (to_ms - clock.start_ms) / 1000
        if not self._ready and not (self._scheduled and self._scheduled[0].when() <= due_s):
            clock.now_us = max(clock.now_us, to_us)  # nobody waits: no turn of the loop
            return
        await asyncio.sleep(max(0, to_us - clock.now_us) / 1e6)

    def next_due_ns(self) -> int:
        """Return the unix time at which something is due next, not later than that; 0: now."""
        if self._ready:
            return 0
        if not self._scheduled:
            return _NEVER_NS
        clock = self._virtual_clock
        return clock.start_ms * _MS_NS + int(self._scheduled[0].when() * 1e9) - 1

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run it here and now; a thread would make the order of things depend on the machine."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """There is nobody to wake: everything runs in this thread."""


def run_virtual(clock: VirtualClock, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own; takes no time but that of computing.

    Where a loop runs already, as in a notebook, it runs in a thread, and this one waits for it.
    """
    running: list[asyncio.Task[T]] = []

    async def entered() -> T:
        running.append(cast("asyncio.Task[T]", asyncio.current_task()))
        return await main

    def run() -> T:
        with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
            return runner.run(entered())

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(run())
        except BaseException as error:
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name="polyexec-backtest", daemon=True)
    try:
        thread.start()
        return outcome.result()
    except KeyboardInterrupt:
        # It is this thread that is interrupted, perhaps while it starts the one that has to end.
        if thread.ident is None:
            raise
        with contextlib.suppress(RuntimeError):  # it ended a moment ago
            for task in running:
                task.get_loop().call_soon_threadsafe(task.cancel)
        return outcome.result()
