"""Watches what the venue accepts: tells changes, and probes a venue that restarts."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from polyexec.core.ports import Clock, GuardedVenue, Venue
from polyexec.core.venue_mode import ModeNews, VenueModeChange, VenueModes, news_of_error
from polyexec.dispatch import Publisher
from polyexec.enums import VenueMode
from polyexec.errors import PolyexecError, VenueError, VenueModeError

__all__ = ["VenueWatch"]

_log = logging.getLogger("polyexec.executor")
# Not the words of the matching engine, but the engine was there to be asked.
_PROCESSED: Final = frozenset({400, 404})


class VenueWatch:
    """The mode machine of one executor, fed by its orders and, in a restart, by probes.

    Parameters
    ----------
    clock : Clock
    sleep : async callable
        Waits so many seconds of that clock.
    """

    def __init__(
        self, clock: Clock, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        self.changes: Publisher[VenueModeChange] = Publisher("venue-mode")
        self.modes = VenueModes(seed=secrets.randbits(64), on_change=self._on_change)
        self._clock = clock
        self._sleep = sleep
        self._loop: asyncio.AbstractEventLoop | None = None
        self._restarting = asyncio.Event()

    def start(self, venue: Venue) -> list[asyncio.Task[None]]:
        """Probe the venue from now on, if it can be; whoever cancels the tasks stops it."""
        if not isinstance(venue, GuardedVenue):
            return []
        self._loop = asyncio.get_running_loop()
        self.modes.is_probed = True
        return [self._loop.create_task(self._run(venue))]

    def _on_change(self, change: VenueModeChange) -> None:
        level = logging.INFO if change.new is VenueMode.NORMAL else logging.WARNING
        _log.log(
            level,
            "venue_mode",
            extra={"mode": str(change.new), "was": str(change.old), "detail": change.text},
        )
        self.changes.publish(change)
        if change.new is VenueMode.RESTARTING and self._loop is not None:
            self._loop.call_soon_threadsafe(self._restarting.set)

    async def _run(self, venue: GuardedVenue) -> None:
        while True:
            await self._restarting.wait()
            while self.modes.mode is VenueMode.RESTARTING:
                left_ms = self.modes.next_probe_ms - self._now_ms()
                if left_ms > 0:
                    await self._sleep(left_ms / 1000)
                else:
                    await self._probe(venue)
            self._restarting.clear()

    async def _probe(self, venue: GuardedVenue) -> None:
        sent_ms = self._now_ms()
        news: ModeNews | None = ModeNews(None)
        try:
            await venue.probe()
        except VenueModeError as error:
            news = news_of_error(error)
        except PolyexecError as error:
            if not isinstance(error, VenueError) or error.status not in _PROCESSED:
                _log.warning("venue_probe_failed", extra={"reason": str(error)})
                news = None
        except Exception:  # a venue of the caller's own: its mistake must not end the watch
            _log.exception("venue_probe_failed")
            news = None
        if news is None:
            self.modes.probe_failed(self._now_ms())
        else:
            self.modes.heard(news, sent_ms=sent_ms, now_ms=self._now_ms())

    def _now_ms(self) -> int:
        return self._clock.monotonic_ns() // 1_000_000
