"""What the exchange accepts at the moment, learnt from its answers.

A mode is a fact about the time at which a request was sent, and answers overtake each other: only
news of a request that is not older than the last news counts. Leaving a mode needs proof. It comes
from a probe of the venue where there is one, otherwise from one group at a time that is let through
on a schedule; what it would lose is a refusal. Source: REST notes, sections 3 and 6.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from polyexec.core.answers import parse_error
from polyexec.core.candidates import Skip
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import NoAnswer, Outcome
from polyexec.enums import RejectCode, SkipReason, VenueMode
from polyexec.errors import VenueModeError
from polyexec.signals import LegsSignal, Signal

__all__ = [
    "ModeNews",
    "VenueModeChange",
    "VenueModes",
    "may_take",
    "mode_news",
    "news_of_error",
]

POST_ONLY_AFTER_RESTART_MS: Final = 120_000
_FIRST_PAUSE_MS: Final = {
    VenueMode.RESTARTING: 2_000,
    VenueMode.POST_ONLY: 10_000,
    VenueMode.CANCEL_ONLY: 5_000,
    VenueMode.DISABLED: 5_000,
}
_LONGEST_PAUSE_MS: Final = {
    VenueMode.RESTARTING: 15_000,
    VenueMode.POST_ONLY: 30_000,
    VenueMode.CANCEL_ONLY: 60_000,
    VenueMode.DISABLED: 60_000,
}
_LONGEST_ASKED_MS: Final = 300_000
_REASONS: Final = {
    VenueMode.RESTARTING: SkipReason.VENUE_RESTARTING,
    VenueMode.POST_ONLY: SkipReason.VENUE_POST_ONLY,
    VenueMode.CANCEL_ONLY: SkipReason.VENUE_CANCEL_ONLY,
    VenueMode.DISABLED: SkipReason.VENUE_DISABLED,
}


class ModeNews(msgspec.Struct, frozen=True):
    """What one answer tells of the mode."""

    mode: VenueMode | None
    """None: something was processed, which rules out some modes and proves none."""
    retry_after_ms: int | None = None
    text: str = ""
    """The exchange's own words."""
    took_order: bool = False
    """What was processed is a post-only order; otherwise a cancel."""


class VenueModeChange(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange changed what it accepts."""

    old: VenueMode
    new: VenueMode
    text: str
    """The exchange's own words, or why it is taken to be so."""


def may_take(signal: Signal) -> bool:
    """Return whether a leg of a signal may take liquidity: it is not post-only."""
    return not (isinstance(signal, LegsSignal) and all(leg.post_only for leg in signal.legs))


def mode_news(outcome: Outcome, legs: Sequence[LegOutcome], *, takes: bool) -> ModeNews | None:
    """Return what the outcome of a POST of orders tells of the mode; None: nothing.

    Parameters
    ----------
    outcome : Outcome
    legs : sequence of LegOutcome
        What ``classify`` made of it.
    takes : bool
        A leg is not post-only.
    """
    if isinstance(outcome, NoAnswer):
        return None
    if outcome.status != 200:
        error = parse_error(outcome.status, outcome.body, outcome.headers)
        return news_of_error(error) if isinstance(error, VenueModeError) else None
    accepted = False
    for leg in legs:
        if leg.code is RejectCode.POST_ONLY_MODE:
            return ModeNews(VenueMode.POST_ONLY, None, leg.error)
        if leg.code is RejectCode.TRADING_SUSPENDED:
            is_cancel_only = "cancel-only" in leg.error.lower()
            mode = VenueMode.CANCEL_ONLY if is_cancel_only else VenueMode.DISABLED
            return ModeNews(mode, None, leg.error)
        # A killed order met the book; any other refusal may have come before that.
        accepted = accepted or leg.state.is_accepted or leg.code is RejectCode.NOT_FILLED
    if not accepted:
        return None
    if takes:
        return ModeNews(VenueMode.NORMAL, None, "an order that may take was accepted")
    return ModeNews(None, took_order=True)


def news_of_error(error: VenueModeError) -> ModeNews:
    """Return what a refused request of any kind tells."""
    retry = None if error.retry_after_s is None else round(error.retry_after_s * 1000)
    return ModeNews(error.mode, retry, error.message)


class VenueModes:
    """The mode machine. Every method may be called from any thread and none waits.

    Parameters
    ----------
    seed : int
        Spreads the probes, so that a fleet of bots does not knock in step. The schedule follows
        from it, from the news and from their times, and from nothing else.
    is_probed : bool
        Somebody probes the venue while it restarts, with :meth:`heard`; then no order is let
        through as a probe in that mode.
    on_change : callable or None
        Called with every :class:`VenueModeChange`, in the thread that brought the news.

    Notes
    -----
    All times are milliseconds of one clock that never steps. Cancels are never asked about here:
    they always pass.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        is_probed: bool = False,
        on_change: Callable[[VenueModeChange], object] | None = None,
    ) -> None:
        self.is_probed = is_probed
        self._seed = seed
        self._on_change = on_change
        self._lock = threading.Lock()
        self._mode = VenueMode.NORMAL
        self._text = ""
        self._since_ms = 0
        self._known_ms: int | None = None  # when the request was sent that told the last news
        self._scheduled_ms = 0
        self._next_probe_ms = 0
        self._attempt = 0
        self._draws = 0

    def __repr__(self) -> str:
        return f"VenueModes({self._mode}, since={self._since_ms}, next_probe={self._next_probe_ms})"

    @property
    def mode(self) -> VenueMode:
        """What the exchange accepts, as far as is known."""
        return self._mode

    @property
    def since_ms(self) -> int:
        """When it was learnt."""
        return self._since_ms

    @property
    def next_probe_ms(self) -> int:
        """When the mode may be probed next; without meaning in ``NORMAL``."""
        return self._next_probe_ms

    def refusal(self, now_ms: int, *, takes: bool) -> Skip | None:
        """Say why a group may not be sent, or let it pass: once per probe time as the probe.

        Parameters
        ----------
        now_ms : int
        takes : bool
            A leg is not post-only.
        """
        if self.mode is VenueMode.NORMAL:
            return None
        with self._lock:
            mode = self._mode
            if mode is VenueMode.NORMAL or (mode is VenueMode.POST_ONLY and not takes):
                return None
            left_ms = self._next_probe_ms - now_ms
            if left_ms <= 0 and not (mode is VenueMode.RESTARTING and self.is_probed):
                self._schedule(now_ms, None)
                return None
            when = f"asked again in {left_ms} ms" if left_ms > 0 else "asked again now"
            return Skip(_REASONS[mode], f"{self._text}; {when}")

    def heard(self, news: ModeNews, *, sent_ms: int, now_ms: int) -> VenueModeChange | None:
        """Take in what an answer told; return the change when there is one.

        Parameters
        ----------
        news : ModeNews
        sent_ms : int
            When the request was sent. News older than what is known already change nothing.
        now_ms : int
        """
        with self._lock:
            if self._known_ms is not None and sent_ms < self._known_ms:
                return None
            self._known_ms = sent_ms
            change = self._apply(news, sent_ms, now_ms)
        if change is not None and self._on_change is not None:
            self._on_change(change)
        return change

    def probe_failed(self, now_ms: int) -> None:
        """Put the next probe off: this one got no answer."""
        with self._lock:
            if self._mode is not VenueMode.NORMAL:
                self._attempt += 1
                self._schedule(now_ms, None)

    def _apply(self, news: ModeNews, sent_ms: int, now_ms: int) -> VenueModeChange | None:
        old, told = self._mode, news.mode
        if told is None:
            return self._processed(news.took_order, now_ms)
        if told is VenueMode.NORMAL:
            if old is not VenueMode.NORMAL:
                return self._enter(VenueMode.NORMAL, news.text, now_ms)
            return None
        if told is old:
            # Others of the same moment say the same: one of them moves the schedule.
            if sent_ms >= self._scheduled_ms or news.retry_after_ms is not None:
                self._text = news.text
                self._attempt += 1
                self._schedule(now_ms, news.retry_after_ms)
            return None
        change = self._enter(told, news.text, now_ms)
        self._schedule(now_ms, news.retry_after_ms)
        return change

    def _processed(self, took_order: bool, now_ms: int) -> VenueModeChange | None:
        """Leave the modes in which that would have been refused."""
        if self._mode is VenueMode.RESTARTING:
            change = self._enter(
                VenueMode.POST_ONLY, "post-only for about two minutes after a restart", now_ms
            )
            self._schedule(now_ms, POST_ONLY_AFTER_RESTART_MS)
            return change
        if took_order and self._mode in (VenueMode.CANCEL_ONLY, VenueMode.DISABLED):
            change = self._enter(VenueMode.POST_ONLY, "a post-only order was accepted", now_ms)
            self._schedule(now_ms, 0)
            return change
        return None

    def _enter(self, mode: VenueMode, text: str, now_ms: int) -> VenueModeChange:
        change = VenueModeChange(old=self._mode, new=mode, text=text)
        self._mode = mode
        self._text = text
        self._since_ms = now_ms
        self._attempt = 0
        return change

    def _schedule(self, now_ms: int, asked_ms: int | None) -> None:
        """Set the next probe: when the exchange asks for it, otherwise in growing pauses."""
        if asked_ms is not None:
            pause = min(asked_ms, _LONGEST_ASKED_MS)
        else:
            first, longest = _FIRST_PAUSE_MS[self._mode], _LONGEST_PAUSE_MS[self._mode]
            pause = min(first << min(self._attempt, 10), longest)
        self._scheduled_ms = now_ms
        # Never early, up to a quarter late.
        self._next_probe_ms = now_ms + pause + max(pause, 1000) * self._jitter() // 4096

    def _jitter(self) -> int:
        """Return 0 to 1023 by the seed and the number of the draw (the mixer of splitmix64)."""
        self._draws += 1
        mixed = (self._seed + self._draws * 0x9E3779B97F4A7C15) % 2**64
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        return (mixed ^ (mixed >> 31)) % 1024
