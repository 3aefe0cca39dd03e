"""Our books against the exchange's: follow up what is not final, then compare everything."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from polyexec.core.candidates import WORST_FEE_RATE_MICRO, PricedLeg
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.ports import BalanceSnapshot, Clock, LookupVenue, Venue
from polyexec.core.resolution import NextStep
from polyexec.core.tracking import FeeRule, OrderTracker, TrackedOrder
from polyexec.enums import LegState
from polyexec.errors import TransportError, VenueError
from polyexec.models import OrderId, TokenId
from polyexec.sharing import SharedAnswer

__all__ = [
    "AT_ONCE",
    "Reconciliation",
    "fetch_settled",
    "follow_orders",
    "reconcile",
    "take_balance",
]

_log = logging.getLogger("polyexec.executor")

AT_ONCE: Final = 20
"""Orders that are asked for in one go: asking shares its rate limit with the bot."""
_AT_A_TIME: Final = 16
"""Questions that a caller has on their way. An order takes two requests or three: at 200 ms each,
more would only wait in line for the exchange's limit (675 in ten seconds), ahead of others."""

_T = TypeVar("_T")


class Reconciliation(msgspec.Struct, frozen=True):
    """Our books against the exchange's, in micro-units."""

    ledger_micro: int
    """What the exchange should report: without the trades that have not settled."""
    venue_micro: int
    held_micro: int
    """In open reservations; not part of the difference."""
    open_orders: tuple[OrderId, ...]
    """Accepted and not final: they rest, or their trades have not all settled."""
    unknown_orders: tuple[OrderId, ...]
    """They may exist."""
    position_differences: Mapping[TokenId, int]
    """Token -> venue minus ledger, micro-shares; only what differs."""

    @property
    def difference_micro(self) -> int:
        """Venue minus ledger."""
        return self.venue_micro - self.ledger_micro

    @property
    def is_exact(self) -> bool:
        """Money and shares agree to the last micro-unit and nothing is unknown."""
        return not (self.difference_micro or self.position_differences or self.unknown_orders)


async def reconcile(
    venue: Venue, ledger: Ledger, tracker: OrderTracker, clock: Clock
) -> Reconciliation:
    """Ask the exchange for every order that is not final, for the balance and the positions.

    Raises
    ------
    TransportError, VenueError
        Something could not be asked for. What was learnt of the rest is booked.
    """
    orders = tracker.orders
    await follow_orders(venue, tracker, orders, clock)
    balance = await venue.fetch_balance()
    differences: dict[TokenId, int] = {}

    async def compare(token: TokenId) -> None:
        position = await venue.fetch_position(token)
        ours = ledger.balance(token) - tracker.unsettled_micro(token)
        differences[token] = position.balance_micro - ours

    # Of an order that may have traded unseen we own nothing by our books, but the exchange may.
    tokens = ledger.balances().keys() | {order.leg.token_id for order in orders}
    await _ask_each(sorted(tokens - {COLLATERAL}), compare)
    ledger.check()
    remaining = tracker.orders
    return Reconciliation(
        ledger_micro=ledger.balance() - tracker.unsettled_micro(COLLATERAL),
        venue_micro=balance.balance_micro,
        held_micro=ledger.held(),
        open_orders=tuple(o.order_id for o in remaining if o.state.is_accepted),
        unknown_orders=tuple(o.order_id for o in remaining if not o.state.is_accepted),
        position_differences={t: d for t, d in sorted(differences.items()) if d},
    )


async def take_balance(
    venue: Venue,
    ledger: Ledger,
    tracker: OrderTracker,
    clock: Clock,
    asset: TokenId = COLLATERAL,
) -> int:
    """Ask for an asset's balance, and put it into the ledger."""
    snapshot = await fetch_settled(venue, tracker, clock, asset)
    ledger.update(asset, snapshot.balance_micro, as_of_ms=snapshot.as_of_ms)
    return snapshot.balance_micro


async def fetch_settled(
    venue: Venue, tracker: OrderTracker, clock: Clock, asset: TokenId = COLLATERAL
) -> BalanceSnapshot:
    """Ask what has settled of an asset, then for its balance, which contains that.

    Without the first answer the balance is taken all the same: what it contains may count twice
    until the next one, so that less is available.
    """
    waiting = [order for order in tracker.orders if order.is_unsettled and order.moves(asset)]
    try:
        await follow_orders(venue, tracker, waiting[:AT_ONCE], clock)
    except (TransportError, VenueError):
        _log.warning("follow_failed", exc_info=True)
    return await (venue.fetch_balance() if asset == COLLATERAL else venue.fetch_position(asset))


async def follow_orders(
    venue: Venue,
    tracker: OrderTracker,
    orders: Iterable[TrackedOrder],
    clock: Clock,
    resend: Callable[[TrackedOrder], None] | None = None,
) -> None:
    """Ask for some of the orders that are not final, several at a time, and book what is learnt.

    Callers who ask for the same order take turns, and share what was asked for since they came:
    an answer that overtakes another would book the older state last, and two questions of one
    moment would count as two proofs of absence.

    Parameters
    ----------
    venue, tracker, clock
    orders : iterable of TrackedOrder
    resend : callable or None
        Is given each unknown order that the exchange does not have and that is to be sent again,
        while nobody else asks for it.

    Raises
    ------
    TransportError, VenueError
        The first failure, after the others have been asked for. When so many in a row failed as
        are asked for at a time, the rest is left: the exchange does not answer.
    """

    async def ask(order: TrackedOrder) -> NextStep:
        if tracker.find(order.order_id) is not order:
            return NextStep.ASK  # final since somebody wanted to ask for it
        step = await _follow(venue, tracker, order, clock)
        if step is NextStep.RESEND and resend is not None:
            resend(order)
        return step

    async def follow(order: TrackedOrder) -> None:
        shared = _shared.setdefault(order, SharedAnswer())
        await shared.get(lambda: ask(order))

    await _ask_each(orders, follow)


_shared: Final[WeakKeyDictionary[TrackedOrder, SharedAnswer[NextStep]]] = WeakKeyDictionary()


async def _ask_each(items: Iterable[_T], ask: Callable[[_T], Awaitable[None]]) -> None:
    """Ask for each, ``_AT_A_TIME`` at a time, and raise the first failure at the end."""
    waiting = tuple(items)
    left = iter(waiting)
    failures: list[Exception] = []
    failed_in_a_row = 0

    async def work() -> None:
        nonlocal failed_in_a_row
        for item in left:
            try:
                await ask(item)
            except Exception as error:
                failures.append(error)
                failed_in_a_row += 1
            else:
                failed_in_a_row = 0
            if failed_in_a_row >= _AT_A_TIME:
                return

    # No TaskGroup: it would hand out what is no Exception, which ends us, only in a group.
    workers = [asyncio.create_task(work()) for _ in waiting[:_AT_A_TIME]]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if failures:
        raise failures[0]


async def _follow(
    venue: Venue, tracker: OrderTracker, order: TrackedOrder, clock: Clock
) -> NextStep:
    """Ask for one order and its fills, and book what they prove.

    The fills are asked for last: then they are at least those of the state that was told. An order
    that the exchange does not know stays as it is: right after a time-out that is no proof of
    absence, so its money stays held until the tracker has evidence enough.
    """
    asked_ms = clock.time_ms()
    try:
        if isinstance(venue, LookupVenue):
            status, fills = await venue.look_up(order.order_id, order.leg.token_id)
        else:
            status = await venue.fetch_order(order.order_id)
            fills = await venue.fetch_fills(order.order_id)
    except BaseException:
        tracker.not_answered(order.order_id)
        raise
    if status is None and not fills:
        return tracker.not_found(order.order_id, asked_ms)
    filled = sum(fill.size_micro for fill in fills)
    if status is None:
        state = LegState.MATCHED if filled >= order.leg.size_micro else order.state
    elif filled < status.filled_micro:
        tracker.not_answered(order.order_id)
        return NextStep.ASK  # the trades are not all there yet
    else:
        state = status.state
    tracker.book_fills(order.order_id, fills, state, await _fee_rule(venue, order.leg))
    return NextStep.ASK


async def _fee_rule(venue: Venue, leg: PricedLeg) -> FeeRule:
    """Return the fee of a leg's market, asking for it when the signal did not know it."""
    if leg.fee_rate_micro is not None:
        return FeeRule(leg.fee_rate_micro, leg.fee_exponent)
    market = await venue.fetch_market(leg.token_id)
    if market.fee_rate_micro is None:
        return FeeRule(WORST_FEE_RATE_MICRO, leg.fee_exponent)
    return FeeRule(market.fee_rate_micro, market.fee_exponent)
