"""Whose turn it is at one price, when only totals and trades are recorded.

A recording tells how many shares rest at a price and what traded there, not whose. An order of
ours that joins a level has everything behind it that came later, and ahead of it what was there.
What is ahead shrinks by trades, which take from the front, and by cancels, of which nobody knows
where they stood. Three answers are kept for every order:

* ``fifo``: cancels come from behind as long as there is anything behind. The latest turn.
* ``pro_rata``: they hit what is ahead and what is behind in proportion.
* the earliest turn: they come from ahead as long as there is anything.

The first and the last bound the fills that the recording allows; a setting chooses which of the
first two decides.

A trade and the fall of its level are told apart: recordings show up to 30 ms between the two, in
either order, so what falls is held for :data:`WINDOW_MS`; a trade in that time explains
it, and what none explains was cancelled.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from polyexec.paper.book import Order
from polyexec.paper.conditions import QueueEstimate

__all__ = ["LAG_MS", "WINDOW_MS", "FillBounds", "LevelQueue", "Shares"]

WINDOW_MS: Final = 200
"""How far apart a trade and the fall of its level may be."""
LAG_MS: Final = 50
"""A trade that is told so soon after an order has joined may be older than the order."""
_FIFO, _PRO_RATA, _EARLIEST = range(3)
_CHOSEN: Final[dict[QueueEstimate, int]] = {"fifo": _FIFO, "pro_rata": _PRO_RATA}

Shares = tuple[int, int, int]
"""Micro-shares by estimate: fifo, pro rata, earliest."""


class FillBounds(NamedTuple):
    """What a resting order traded, and what it had under the most and the least patient queue.

    In micro-shares, until the order ended or until now. ``lower <= filled <= upper``.
    """

    order_id: str
    size_micro: int
    lower_micro: int
    filled_micro: int
    upper_micro: int


@dataclass(slots=True)
class _Place:
    order: Order
    joined_ms: int
    number: int  # of events before it joined: older falls are not its own
    ahead: list[int]
    filled: list[int]


@dataclass(slots=True)
class _Fall:
    """A level that fell, as far as no trade explains it."""

    at_ms: int
    number: int
    unexplained: int
    total: int  # before it, without what trades took

    @property
    def left(self) -> int:
        return self.total - self.unexplained


class LevelQueue:
    """The orders of accounts at one price, oldest first, and the recorded shares around them.

    Parameters
    ----------
    estimate : "fifo" or "pro_rata"
        Which of the estimates decides what :meth:`trade` fills.
    """

    def __init__(self, estimate: QueueEstimate) -> None:
        self._chosen = _CHOSEN[estimate]
        self._places: dict[str, _Place] = {}
        self._falls: deque[_Fall] = deque()
        self._trades: deque[list[int]] = deque()  # [time, shares] that no fall has answered yet
        self._events = 0

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, order: Order) -> bool:
        return order.order_id in self._places

    def join(self, order: Order, shown_micro: int, now_ms: int) -> None:
        """Let an order rest behind all the recorded shares of its price."""
        self._events += 1
        self._places[order.order_id] = _Place(
            order, now_ms, self._events, [shown_micro] * 3, [order.filled_micro] * 3
        )

    def leave(self, order: Order) -> FillBounds | None:
        """Forget an order that has ended; return what it traded, None when it is not here."""
        place = self._places.pop(order.order_id, None)
        return None if place is None else _bounds(place)

    def bounds(self) -> Iterator[FillBounds]:
        """Yield what the orders here have traded so far."""
        return map(_bounds, self._places.values())

    def ahead_micro(self, order: Order, now_ms: int) -> Shares:
        """Return the recorded shares before an order, by estimate."""
        self._cancel_old(now_ms)
        fifo, pro_rata, earliest = self._places[order.order_id].ahead
        return fifo, pro_rata, earliest

    def fall(self, shares_micro: int, total_micro: int, now_ms: int) -> None:
        """Take in that the level fell by so many shares from ``total_micro``."""
        self._cancel_old(now_ms)
        self._events += 1
        while self._trades and shares_micro:
            answered = min(self._trades[0][1], shares_micro)
            shares_micro -= answered
            total_micro -= answered
            self._trades[0][1] -= answered
            if not self._trades[0][1]:
                self._trades.popleft()
        if shares_micro:
            self._falls.append(_Fall(now_ms, self._events, shares_micro, total_micro))

    def trade(self, shares: Shares, now_ms: int) -> tuple[list[tuple[Order, int]], Shares]:
        """Take in a recorded trade at this price; return the fills, and what is left of it.

        ``shares`` is what reaches this level, by estimate.
        """
        self._cancel_old(now_ms)
        self._explain(max(shares), now_ms)
        return self._pass(shares, now_ms)

    def trade_through(self, shares: Shares, now_ms: int) -> tuple[list[tuple[Order, int]], Shares]:
        """The same for a trade at a worse price: nothing can have been ahead any more."""
        for place in self._places.values():
            for estimate in _seen_by(place, now_ms):
                place.ahead[estimate] = 0
        return self._pass(shares, now_ms)

    def met(self, order: Order, shares_micro: int) -> None:
        """Take in that an order traded by crossing, not by its turn: so it does in every queue."""
        place = self._places[order.order_id]
        place.ahead = [0, 0, 0]
        place.filled = [min(order.size_micro, filled + shares_micro) for filled in place.filled]

    def taken(self, shares_micro: int) -> None:
        """Take in that an account has taken recorded shares of this level, from the front."""
        for place in self._places.values():
            place.ahead = [max(0, ahead - shares_micro) for ahead in place.ahead]

    def _pass(self, shares: Sequence[int], now_ms: int) -> tuple[list[tuple[Order, int]], Shares]:
        left, fills = list(shares), []
        for place in self._places.values():
            for estimate in _seen_by(place, now_ms):
                # What earlier orders of accounts got is gone from ``left`` already.
                reach = left[estimate]
                behind = max(0, reach - place.ahead[estimate])
                place.ahead[estimate] = max(0, place.ahead[estimate] - reach)
                filled = min(behind, place.order.size_micro - place.filled[estimate])
                place.filled[estimate] += filled
                left[estimate] -= filled
                if estimate == self._chosen and filled:
                    fills.append((place.order, filled))
        return fills, (left[0], left[1], left[2])

    def _explain(self, shares_micro: int, now_ms: int) -> None:
        for fall in self._falls:
            explained = min(fall.unexplained, shares_micro)
            fall.unexplained -= explained
            fall.total -= explained
            shares_micro -= explained
        if shares_micro:
            self._trades.append([now_ms, shares_micro])

    def _cancel_old(self, now_ms: int) -> None:
        horizon_ms = now_ms - WINDOW_MS
        while self._trades and self._trades[0][0] < horizon_ms:
            self._trades.popleft()
        while self._falls and self._falls[0].at_ms < horizon_ms:
            fall = self._falls.popleft()
            for place in self._places.values():
                if place.number < fall.number:
                    place.ahead = _after_cancel(place.ahead, fall)


def _seen_by(place: _Place, now_ms: int) -> range:
    """Return the estimates in which a trade that is told now can have met an order."""
    return range(_EARLIEST if now_ms - place.joined_ms < LAG_MS else _FIFO, _EARLIEST + 1)


def _after_cancel(ahead: Sequence[int], fall: _Fall) -> list[int]:
    gone, left = fall.unexplained, fall.left
    fifo, pro_rata, earliest = ahead
    share = min(gone, pro_rata * gone // fall.total) if fall.total else 0
    # Each of the three keeps the order fifo >= pro rata >= earliest, so the bounds are bounds.
    return [min(fifo, left), min(pro_rata - share, left), min(max(0, earliest - gone), left)]


def _bounds(place: _Place) -> FillBounds:
    order = place.order
    return FillBounds(
        order.order_id, order.size_micro, place.filled[_FIFO], order.filled_micro,
        place.filled[_EARLIEST],
    )  # fmt: skip
