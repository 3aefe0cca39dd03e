"""Handing a batch to a venue: whatever it does, there is an outcome. And the door before it."""

import asyncio
import logging
import threading
from typing import Final

from polyexec.core.gate import Gate
from polyexec.core.ports import AnswerCallback, NoAnswer, OrderBatch, Venue
from polyexec.errors import NotSentError, OutcomeUnknownError, TransportError

__all__ = ["AnswersDue", "Door", "post"]

_log = logging.getLogger("polyexec.executor")
_MOST: Final = 2**31 - 1
_WRITE_S: Final = 1.0


class Door:
    """What every POST of an executor goes through on its last step.

    The checks of a signal come before it is signed. A switch that is thrown meanwhile has to find
    the signal here, or it would be sent after the switch had answered.
    """

    __slots__ = ("_gate", "_written")

    def __init__(self, *, is_open: bool) -> None:
        # Its atomic word has what is needed: a flag, and a count of those inside.
        self._gate = Gate(enabled=is_open, cooldown_ns=0, max_in_flight=_MOST)
        self._written = threading.Condition()

    def enter(self) -> bool:
        """Begin a POST, which ends with :meth:`leave`; False: shut, send nothing."""
        return self._gate.enter(0) is None

    def leave(self) -> None:
        """End a POST: its bytes are with the kernel."""
        self._gate.leave()
        if not self._gate.enabled:
            with self._written:
                self._written.notify_all()

    def open(self) -> None:
        """Let POSTs through again."""
        self._gate.set_enabled(True)

    def shut(self, timeout_s: float = _WRITE_S) -> bool:
        """Let no further POST begin, and wait for those that are being written.

        Returns
        -------
        bool
            False when one was still being written after ``timeout_s`` seconds: a venue that blocks,
            or one that called this from within ``post_orders``.
        """
        self._gate.set_enabled(False)
        if not self._gate.in_flight:
            return True
        with self._written:
            return self._written.wait_for(lambda: not self._gate.in_flight, timeout_s)

    def post(self, venue: Venue, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        """Post a batch, or report that it was not sent because the door is shut."""
        if not self.enter():
            error = NotSentError("trading was switched off or halted before the orders were sent")
            on_outcome(NoAnswer(error=error))
            return
        try:
            post(venue, batch, on_outcome)
        finally:
            self.leave()


class AnswersDue:
    """How many batches were posted that have no outcome yet. Counted from any thread."""

    __slots__ = ("_count", "_lock", "_waiters")

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def __bool__(self) -> bool:
        return self._count > 0

    def more(self) -> None:
        """Expect an answer."""
        with self._lock:
            self._count += 1

    def less(self) -> None:
        """Take note of one."""
        with self._lock:
            self._count -= 1
            if self._count or not self._waiters:
                return
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            loop.call_soon_threadsafe(event.set)

    async def wait(self, timeout_s: float) -> None:
        """Wait until none is due, at most so long."""
        waiter = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            if not self._count:
                return
            self._waiters.append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter[1].wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)


def post(venue: Venue, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
    """Post a batch; a venue that raises instead of reporting has an outcome too."""
    try:
        venue.post_orders(batch, on_outcome)
    except Exception as error:
        # A venue must report trouble as an outcome. One that raises instead may have sent.
        _log.exception("venue_raised")
        on_outcome(_as_outcome(error))
    except BaseException as error:  # Ctrl-C while writing: the bytes may have left
        on_outcome(_as_outcome(error))
        raise


def _as_outcome(error: BaseException) -> NoAnswer:
    if isinstance(error, TransportError):
        return NoAnswer(error=error)
    return NoAnswer(error=OutcomeUnknownError(f"the venue raised {type(error).__name__}"))
