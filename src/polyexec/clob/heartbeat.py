"""The dead man's switch: while beats arrive the exchange keeps our orders, 10 s later it cancels.

It starts with the first beat, so nothing here runs unless it is asked for. REST notes, section 7.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from polyexec.errors import PolyexecError

__all__ = ["Beat", "Heartbeat"]

log = logging.getLogger("polyexec.clob")

LOST_AFTER_S: Final = 10.0
"""Without an accepted beat for so long the exchange cancels every order of the credentials."""
_RETRY_S: Final = 1.0


class Beat(msgspec.Struct, frozen=True):
    """The answer to one beat."""

    heartbeat_id: str
    """What the next beat has to carry."""
    accepted: bool
    """False: the id was stale, and nothing was kept alive by it."""


class Heartbeat:
    """Sends the beats of one set of credentials. For one event loop.

    Parameters
    ----------
    send : async callable
        Sends one beat with an id, empty the first time.
    interval_s : float
        Between accepted beats.
    timeout_s : float
        A beat without an answer for so long is sent again.
    steady_s : callable
        Seconds of a clock that never steps.

    Notes
    -----
    Two processes with the same credentials take each other's ids: then every beat of one makes the
    other's stale. Both go on, with one request more per beat.
    """

    def __init__(
        self,
        send: Callable[[str], Awaitable[Beat]],
        *,
        interval_s: float = 5.0,
        timeout_s: float = 3.0,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._steady_s = steady_s
        self._id = ""
        self._accepted_s: float | None = None
        self._lost = False

    def __repr__(self) -> str:
        return f"Heartbeat(is_alive={self.is_alive})"

    @property
    def is_alive(self) -> bool:
        """A beat was accepted less than 10 s ago: the exchange keeps the orders."""
        accepted = self._accepted_s
        return accepted is not None and self._steady_s() - accepted < LOST_AFTER_S

    @property
    def has_lapsed(self) -> bool:
        """Beats were accepted once and stopped for 10 s: take the orders to be cancelled."""
        return self._accepted_s is not None and not self.is_alive

    async def beat(self) -> bool:
        """Send one beat, a second time at once when the id was stale; return whether it counts."""
        started_s = self._steady_s()
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._send(self._id)
                self._id = answer.heartbeat_id
                if not answer.accepted:
                    started_s = self._steady_s()
                    answer = await self._send(self._id)
                    self._id = answer.heartbeat_id
        except (PolyexecError, TimeoutError) as error:
            log.warning("heartbeat_failed", extra={"reason": str(error) or "no answer in time"})
            self._note_lapse()
            return False
        self._note_lapse()
        if not answer.accepted:
            log.warning("heartbeat_failed", extra={"reason": "the id was stale twice"})
            return False
        # From when it was sent: it cannot have arrived earlier.
        self._accepted_s = started_s
        self._lost = False
        return True

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            counted = await self.beat()
            await asyncio.sleep(self._interval_s if counted else min(_RETRY_S, self._interval_s))

    def _note_lapse(self) -> None:
        if self.has_lapsed and not self._lost:
            self._lost = True
            log.error("heartbeat_lapsed", extra={"after_s": LOST_AFTER_S})
