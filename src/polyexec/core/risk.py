"""Limits outside the strategy. Each refuses with its own reason, and refuses where it is in doubt.

``RiskGuard.admit`` checks a group and books its cost in one step; the ticket that it gives is ended
exactly once: ``commit``, ``settle`` with the true cost, or ``give_back``. Time enters as an
argument.
"""

import threading
from collections import deque
from typing import Final

from polyexec.core.candidates import Skip
from polyexec.enums import SkipReason
from polyexec.errors import InternalError
from polyexec.numbers import from_micro
from polyexec.policies import RiskLimits
from polyexec.signals import ArbSignal, Signal

__all__ = ["RiskGuard", "RiskLimits", "Ticket", "check_quotes"]

_DAY_MS: Final = 86_400_000
_SECOND_MS: Final = 1000
_NO_LIMIT: Final = 2**63
_FUTURE_MS: Final = 1000


class Ticket:
    """One admitted group. Only the guard changes it.

    Attributes
    ----------
    cost_micro : int
        What the group counts with: its admitted cost, later its true one; of a sum of groups
        that ended, all that they cost.
    exposed_micro : int
        What of it is still tied up.
    day : int
        UTC day whose allowance it uses, in days since 1970.
    is_open : bool
        It was neither committed, settled nor given back.
    is_unknown : bool
        It counts as a group with an unknown leg.
    """

    __slots__ = ("cost_micro", "day", "exposed_micro", "is_exposed", "is_open", "is_unknown")

    def __init__(self, cost_micro: int, day: int) -> None:
        self.cost_micro = self.exposed_micro = cost_micro
        self.day = day
        self.is_open = True
        self.is_exposed = True
        self.is_unknown = False

    def __repr__(self) -> str:
        state = "open" if self.is_open else "exposed" if self.is_exposed else "closed"
        return f"Ticket(cost={from_micro(self.cost_micro)}, {state}, unknown={self.is_unknown})"


class RiskGuard:
    """The limits of one account and what has been used of them. Every method is atomic.

    Parameters
    ----------
    limits : RiskLimits

    Notes
    -----
    The day is the UTC day of the time that is given. It never goes back: under a clock that does,
    the later day's sum goes on, and the last second lasts until the clock has caught up.
    """

    def __init__(self, limits: RiskLimits) -> None:
        self._lock = threading.Lock()
        self._times: deque[int] | None = None
        self._take(limits)
        self._halted: str | None = None
        self._reduce_only = False
        self._now_ms = 0
        self._day = 0
        self._spent = 0
        self._exposure = 0
        self._unknown = 0

    @property
    def limits(self) -> RiskLimits:
        """As given, or as changed last."""
        return self._limits

    @property
    def halted(self) -> str | None:
        """Why nothing may be sent; ``None``: it may."""
        return self._halted

    @property
    def is_reduce_only(self) -> bool:
        """Whether only legs that give up inventory pass."""
        return self._reduce_only

    @property
    def spent_micro(self) -> int:
        """Cost of the groups of the current day."""
        return self._spent

    @property
    def exposure_micro(self) -> int:
        """What is tied up in groups that are not closed."""
        return self._exposure

    @property
    def unknown_groups(self) -> int:
        """Groups with a leg whose fate is not known."""
        return self._unknown

    def change_limits(self, limits: RiskLimits) -> None:
        """Hold other limits from the next group on; what has been used of the old ones counts."""
        with self._lock:
            self._take(limits)

    def _take(self, limits: RiskLimits) -> None:
        self._limits = limits
        self._group = _or_unlimited(limits.max_group_cost_micro)
        self._daily = _or_unlimited(limits.max_daily_cost_micro)
        self._open = _or_unlimited(limits.max_open_exposure_micro)
        self._legging = _or_unlimited(limits.max_legging_loss_micro)
        self._most_unknown = limits.max_unknown_groups
        rate = limits.max_submits_per_second
        self._times = None if rate is None else deque(self._times or (), maxlen=rate)

    def admit(
        self, cost_micro: int, loss_micro: int, now_ms: int, *, reduces: bool = False
    ) -> Ticket | Skip:
        """Check a group against every limit and book its cost, or say why not and book nothing.

        Parameters
        ----------
        cost_micro : int
            Collateral that the group needs at its limit prices, fees in.
        loss_micro : int
            ``worst_loss(...).loss_micro``.
        now_ms : int
            Unix milliseconds.
        reduces : bool
            Every leg gives up inventory: passes ``reduce_only`` and the limit of unknown groups.
        """
        if cost_micro < 0 or loss_micro < 0:
            raise InternalError(f"negative cost {cost_micro} or loss {loss_micro}")
        with self._lock:
            now = self._now_ms
            if now_ms > now:
                now = self._now_ms = now_ms
                day = now_ms // _DAY_MS
                if day != self._day:
                    self._day = day
                    self._spent = 0
            times = self._times
            if self._halted is not None:
                return Skip(SkipReason.HALTED, self._halted)
            if not reduces:
                if self._reduce_only:
                    return Skip(SkipReason.REDUCE_ONLY, "only legs that give up inventory pass")
                if self._unknown >= self._most_unknown:
                    return self._many_unknown()
            if times and len(times) == times.maxlen and now - times[0] < _SECOND_MS:
                return Skip(SkipReason.RATE_LIMITED, f"{len(times)} groups within a second")
            if cost_micro > self._group:
                return _above(SkipReason.MAX_GROUP_COST, "max_group_cost", cost_micro, self._group)
            if loss_micro > self._legging:
                return _above(
                    SkipReason.MAX_LEGGING_LOSS, "max_legging_loss", loss_micro, self._legging
                )
            spent, exposure = self._spent + cost_micro, self._exposure + cost_micro
            if spent > self._daily:
                return _above(SkipReason.MAX_DAILY_COST, "max_daily_cost", spent, self._daily)
            if exposure > self._open:
                return _above(SkipReason.MAX_EXPOSURE, "max_open_exposure", exposure, self._open)
            self._spent, self._exposure = spent, exposure
            if times is not None:
                times.append(now)
            return Ticket(cost_micro, self._day)

    def commit(self, ticket: Ticket) -> None:
        """End a ticket at its admitted cost."""
        with self._lock:
            self._end(ticket, ticket.cost_micro)

    def settle(self, ticket: Ticket, cost_micro: int) -> None:
        """End a ticket at the true cost of its group, which stays exposed until ``close``."""
        if cost_micro < 0:
            raise InternalError(f"negative cost {cost_micro}")
        with self._lock:
            self._end(ticket, cost_micro)

    def give_back(self, ticket: Ticket) -> None:
        """End a ticket of which certainly nothing was sent: it costs nothing.

        It still counts as one submission of its second.
        """
        with self._lock:
            self._end(ticket, 0)
            self._close(ticket)

    def close(self, ticket: Ticket) -> None:
        """Take a group out of the open exposure: sold, resolved or never traded. Once."""
        with self._lock:
            if ticket.is_open or not ticket.is_exposed:
                raise InternalError("a group was closed before its ticket ended, or twice")
            self._close(ticket)

    def expose(self, ticket: Ticket, micro: int) -> None:
        """Say how much of an ended group is still tied up, at most its cost. Any number of times.

        Without effect once it is closed: what was given back stays so.
        """
        if micro < 0:
            raise InternalError(f"negative exposure {micro}")
        with self._lock:
            if ticket.is_open or not ticket.is_exposed:
                return
            exposed = min(micro, ticket.cost_micro)
            self._exposure += exposed - ticket.exposed_micro
            ticket.exposed_micro = exposed

    def absorb(self, ticket: Ticket, other: Ticket) -> None:
        """Count two ended groups as one: the other is closed, what it cost and ties up moves over.

        The exposure of all stays as it was. Neither may be closed or unknown.
        """
        with self._lock:
            for one in (ticket, other):
                if one.is_open or one.is_unknown or not one.is_exposed:
                    raise InternalError(f"a ticket that is not just exposed was summed: {one!r}")
            if ticket is other:
                raise InternalError(f"a ticket was summed with itself: {ticket!r}")
            ticket.cost_micro += other.cost_micro
            ticket.exposed_micro += other.exposed_micro
            other.exposed_micro = 0
            other.is_exposed = False

    def set_unknown(self, ticket: Ticket, flag: bool) -> None:
        """Say whether a leg of the group is unknown. Any number of times."""
        with self._lock:
            if ticket.is_unknown != flag:
                ticket.is_unknown = flag
                self._unknown += 1 if flag else -1

    def restore(self, cost_micro: int, at_ms: int, *, is_unknown: bool) -> Ticket:
        """Book a group of an earlier run, whatever the limits say; return its open ticket.

        Parameters
        ----------
        cost_micro : int
            What it was admitted with.
        at_ms : int
            When it was admitted: it counts for that day.
        """
        if cost_micro < 0:
            raise InternalError(f"negative cost {cost_micro}")
        with self._lock:
            ticket = Ticket(cost_micro, at_ms // _DAY_MS)
            if at_ms > self._now_ms:
                self._now_ms = at_ms
                if ticket.day != self._day:
                    self._day, self._spent = ticket.day, 0
            if ticket.day == self._day:
                self._spent += cost_micro
            self._exposure += cost_micro
            if is_unknown:
                ticket.is_unknown = True
                self._unknown += 1
            return ticket

    def restore_spent(self, day: int, cost_micro: int) -> None:
        """Book what closed groups of an earlier run cost on a UTC day (days since 1970)."""
        if cost_micro < 0:
            raise InternalError(f"negative cost {cost_micro}")
        with self._lock:
            if day > self._day:
                self._day, self._spent = day, 0
                self._now_ms = max(self._now_ms, day * _DAY_MS)
            if day == self._day:
                self._spent += cost_micro

    def halt(self, reason: str) -> None:
        """Refuse everything; nothing is admitted after this returned."""
        with self._lock:
            self._halted = reason or "halted"

    def resume(self) -> None:
        """End a halt."""
        with self._lock:
            self._halted = None

    def reduce_only(self, flag: bool) -> None:
        """Admit only groups whose every leg gives up inventory."""
        with self._lock:
            self._reduce_only = flag

    def _end(self, ticket: Ticket, cost_micro: int) -> None:
        if not ticket.is_open:
            raise InternalError("a ticket was ended twice")
        ticket.is_open = False
        change = cost_micro - ticket.cost_micro
        ticket.cost_micro = ticket.exposed_micro = cost_micro
        if ticket.day == self._day:
            self._spent += change
        self._exposure += change

    def _close(self, ticket: Ticket) -> None:
        ticket.is_exposed = False
        self._exposure -= ticket.exposed_micro
        if ticket.is_unknown:
            ticket.is_unknown = False
            self._unknown -= 1

    def _many_unknown(self) -> Skip:
        return Skip(
            SkipReason.MAX_UNKNOWN_GROUPS,
            f"{self._unknown} groups have an unknown leg, max_unknown_groups={self._most_unknown}",
        )


def check_quotes(
    signal: Signal, now_ms: int, max_age_ms: int | None, *, future_ms: int = _FUTURE_MS
) -> Skip | None:
    """Refuse a signal that is too old, from the future, or made from a crossed quote.

    Parameters
    ----------
    signal : Signal
    now_ms : int
        Unix milliseconds.
    max_age_ms : int or None
        ``None``: any age; otherwise a signal without a timestamp is refused.
    future_ms : int
        How far the sender's clock may be ahead of ours.
    """
    if max_age_ms is not None:
        made = signal.timestamp_ms
        if made == 0:
            return Skip(SkipReason.STALE_QUOTE, "timestamp_ms: missing, so its age is not known")
        if now_ms - made > max_age_ms:
            return Skip(
                SkipReason.STALE_QUOTE,
                f"timestamp_ms={made}: {now_ms - made} ms old, at most {max_age_ms}",
            )
        if made - now_ms > future_ms:
            return Skip(
                SkipReason.STALE_QUOTE,
                f"timestamp_ms={made}: {made - now_ms} ms in the future, at most {future_ms}",
            )
    if isinstance(signal, ArbSignal):
        for role in ("parent", "parent_upper", "child"):
            quote = getattr(signal, role)
            if quote is None or quote.best_bid_e4 is None or quote.best_ask_e4 is None:
                continue
            if quote.best_bid_e4 >= quote.best_ask_e4:
                return Skip(
                    SkipReason.CROSSED_QUOTE,
                    f"{role}: bid {quote.best_bid} is not below ask {quote.best_ask}",
                )
    return None


def _or_unlimited(micro: int | None) -> int:
    return _NO_LIMIT if micro is None else micro


def _above(reason: SkipReason, name: str, micro: int, limit: int) -> Skip:
    return Skip(reason, f"{from_micro(micro)} dollars, {name}={from_micro(limit)}")
