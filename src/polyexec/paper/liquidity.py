"""Recorded books as liquidity: what others offered, less what we took, plus where we stand in it.

**Own impact.** A recording does not know our orders. When a recorded level goes from ``R`` to
``R'`` shares, what is available there changes so:

========================  =====================================
recorded                  available
========================  =====================================
``R`` was 0               ``R'``: a new level has nothing of us
grew                      available + (``R'`` - ``R``)
fell                      the smaller of available and ``R'``
========================  =====================================

What we took stays taken otherwise. All that falls is applied before all that grows, so that a
book which moves never crosses itself on the way.

**Resting orders** trade in three ways: a recorded order that crosses them meets them as it comes,
a recorded trade at a worse price must have gone through them, and a recorded trade at their price
reaches them when it is their turn (:mod:`polyexec.paper.queueing`).
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from polyexec.enums import Side
from polyexec.errors import InternalError
from polyexec.numbers import PRICE_SCALE
from polyexec.paper.book import Order, PaperMarket
from polyexec.paper.conditions import QueueEstimate
from polyexec.paper.exchange import Exchange
from polyexec.paper.ledger import HOUSE
from polyexec.paper.matching import Event, Filled, OrderChanged
from polyexec.paper.queueing import FillBounds, LevelQueue

__all__ = ["Ladder", "RecordedBook", "RecordedBooks"]

Ladder: TypeAlias = Sequence[tuple[int, int]]
"""(price in 1e-4 dollars, micro-shares)."""
_Where: TypeAlias = tuple[bool, int]  # is it a bid, and its price: in terms of the first token


class RecordedBooks:
    """The recorded liquidity of every market of an exchange that is asked for.

    Parameters
    ----------
    exchange : Exchange
    queue : "fifo" or "pro_rata"
        Which estimate decides when a resting order has its turn.
    """

    def __init__(self, exchange: Exchange, *, queue: QueueEstimate = "fifo") -> None:
        self._exchange = exchange
        self._estimate = queue
        self._books: dict[str, RecordedBook] = {}
        self._ours: dict[str, PaperMarket] = {}
        self._mistake: Exception | None = None
        self.version = 0
        """Another one whenever a market has become ours, or is not any more."""
        exchange.watch(self._on_event)

    def __getitem__(self, market: PaperMarket) -> "RecordedBook":
        book = self._books.get(market.condition_id)
        if book is None:
            book = RecordedBook(self._exchange, market, queue=self._estimate)
            self._books[market.condition_id] = book
        return book

    @property
    def has_ours(self) -> bool:
        """Return whether :meth:`ours` can name anything."""
        return bool(self._ours)

    def ours(self) -> list[PaperMarket]:
        """Return the markets where what is there is not just what is recorded."""
        self.check()
        for market in [*self._ours.values()]:
            self.is_ours(market)
        return list(self._ours.values())

    def is_ours(self, market: PaperMarket) -> bool:
        """Return whether a market is one of these."""
        if market.condition_id not in self._ours:
            return False
        if market.pays_micro is None and self._books[market.condition_id].is_ours:
            return True
        del self._ours[market.condition_id]
        self.version += 1
        return False

    def fill_bounds(self) -> Iterator[FillBounds]:
        """Yield what every order of an account that ever rested has traded, and its bounds."""
        self.check()
        for book in self._books.values():
            yield from book.fill_bounds()

    def check(self) -> None:
        """Say that a mistake of ours has happened while the engine could not be told.

        Raises
        ------
        InternalError
            Queues and impact are not to be believed any more.
        """
        if self._mistake is not None:
            raise InternalError("a fill was not taken into the recorded books") from self._mistake

    def _on_event(self, event: Event) -> None:
        try:
            if isinstance(event, Filled):
                self._own(event.market).on_fill(event)
            elif isinstance(event, OrderChanged) and event.order.account != HOUSE:
                self._own(event.order.market).on_order(event.order)
        except Exception as error:
            self._mistake = error  # the exchange logs it and goes on: a match may not stop here
            raise

    def _own(self, market: PaperMarket) -> "RecordedBook":
        if market.condition_id not in self._ours:
            self._ours[market.condition_id] = market
            self.version += 1
        return self[market]


class RecordedBook:
    """The recorded liquidity of one market on an exchange.

    Parameters
    ----------
    exchange : Exchange
    market : PaperMarket
    queue : "fifo" or "pro_rata"
        Which estimate decides when a resting order has its turn.
    """

    def __init__(
        self, exchange: Exchange, market: PaperMarket, *, queue: QueueEstimate = "fifo"
    ) -> None:
        self._exchange = exchange
        self._market = market
        self._estimate = queue
        self._recorded: dict[_Where, int] = {}
        self._queues: dict[_Where, LevelQueue] = {}
        self._ended: list[FillBounds] = []
        self._is_printing = False
        self._last: tuple[int, Ladder, Ladder] | None = None
        self.impact: dict[_Where, int] = {}
        """Shares that are recorded and not there any more, because we took them."""

    @property
    def is_ours(self) -> bool:
        """Return whether the recording alone does not tell what is there: follow every change."""
        return bool(self.impact or self._queues)

    def show(self, token: int, bids: Ladder, asks: Ladder) -> None:
        """Take over what is recorded of a token (0 or 1) now; it must not be crossed."""
        self._exchange.engine.expire()
        if (token, bids, asks) == self._last:
            return
        self._last = (token, bids, asks)
        shown = {(token == 0, price): shares for price, shares in bids}
        shown |= {(token == 1, price): shares for price, shares in asks}
        if token:
            shown = {(bid, PRICE_SCALE - price): shares for (bid, price), shares in shown.items()}
        before, self._recorded = self._recorded, shown
        changed = [
            (where, before.get(where, 0), shown.get(where, 0))
            for where in before.keys() | shown.keys()
            if before.get(where, 0) != shown.get(where, 0)
        ]
        # Sorted: the order of a set of pairs is no part of a replay that has to repeat itself.
        for where, was, now in sorted(changed):
            if now < was:
                self._fall(where, now)
        for where, was, now in sorted(changed):
            if now > was:
                self._grow(where, was, now)

    def void(self) -> None:
        """Nothing is known of the book any more, so nobody can take from it.

        Our resting orders keep their place behind the last known shares of their own price.
        """
        self._last = None
        kept = {where: shares for where, shares in self._recorded.items() if where in self._queues}
        for where in sorted(self._recorded.keys() - kept.keys()):
            self._fall(where, 0)
        self._recorded = kept

    def trade(self, token: int, side: Side, price_e4: int, shares_micro: int) -> None:
        """Take in a recorded trade; ``side`` is the taker's."""
        self._exchange.engine.expire()
        is_bid = (side is Side.SELL) == (token == 0)  # the side of the makers
        price = price_e4 if token == 0 else PRICE_SCALE - price_e4
        now_ms, left = self._exchange.clock(), (shares_micro,) * 3
        fills: list[tuple[Order, int]] = []
        for where in sorted(self._queues, key=_best_first):
            if where[0] is not is_bid:
                continue
            queue, better = self._queues[where], where[1] > price if is_bid else where[1] < price
            if better:
                found, left = queue.trade_through(left, now_ms)
            elif where[1] == price:
                found, left = queue.trade(left, now_ms)
            else:
                continue
            fills += found
        self._is_printing = True
        try:
            for order, filled in fills:
                self._exchange.meet(order, filled)
        finally:
            self._is_printing = False

    def fill_bounds(self) -> Iterator[FillBounds]:
        """Yield what every order that ever rested here has traded, and the bounds of it."""
        yield from self._ended
        for queue in self._queues.values():
            yield from queue.bounds()

    # --- levels -------------------------------------------------------------------------------

    def _available(self, where: _Where) -> int:
        return self._exchange.house_micro(self._market, *where)

    def _fall(self, where: _Where, now: int) -> None:
        there = self._available(where)
        left = min(there, now)
        if left < there:
            self._set(where, left)
        queue = self._queues.get(where)
        if queue is not None and left < there:
            queue.fall(there - left, there, self._exchange.clock())
        self._keep_impact(where, now - left)

    def _grow(self, where: _Where, was: int, now: int) -> None:
        there = self._available(where) if was else 0
        wanted = there + now - was
        self._set(where, wanted)
        # It can have met an order of ours on its way in.
        self._keep_impact(where, now - self._available(where))

    def _set(self, where: _Where, shares_micro: int) -> None:
        side = Side.BUY if where[0] else Side.SELL
        self._exchange.set_level(self._market.token_ids[0], side, where[1], shares_micro)

    def _keep_impact(self, where: _Where, shares_micro: int) -> None:
        if shares_micro > 0:
            self.impact[where] = shares_micro
        else:
            self.impact.pop(where, None)

    # --- our orders ---------------------------------------------------------------------------

    def on_order(self, order: Order) -> None:
        """Take in that an order of an account rests, or does not any more."""
        where = (order.is_bid, order.book_price_e4)
        queue = self._queues.get(where)
        if order.status == "LIVE":
            if queue is None:
                queue = self._queues[where] = LevelQueue(self._estimate)
            if order not in queue:
                queue.join(order, self._available(where), self._exchange.clock())
        elif queue is not None:
            ended = queue.leave(order)
            if ended is not None:
                self._ended.append(ended)
            if not queue:
                del self._queues[where]

    def on_fill(self, event: Filled) -> None:
        """Take in a fill: of what the recording offers, or of an order that rests here."""
        maker = event.maker
        where = (maker.is_bid, maker.book_price_e4)
        queue = self._queues.get(where)
        if maker.account == HOUSE:
            self._keep_impact(where, self.impact.get(where, 0) + event.shares_micro)
            if queue is not None:
                queue.taken(event.shares_micro)
        elif queue is not None and not self._is_printing and maker in queue:
            queue.met(maker, event.shares_micro)


def _best_first(where: _Where) -> int:
    return -where[1] if where[0] else where[1]
