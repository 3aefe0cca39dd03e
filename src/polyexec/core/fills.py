"""What the exchange has told of our orders' fills, put together from every source.

Order events, trade events and answers to questions arrive late, twice, out of order or not at
all. Everything here only grows, so any order of the same news ends in the same record.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from polyexec.core.evidence import furthest
from polyexec.core.ports import Fill, OrderStatus
from polyexec.enums import LegState, Settlement
from polyexec.models import OrderId

__all__ = ["FillBook", "OrderRecord"]

_MOST_ORDERS: Final = 10_000
_MOST_STRANGERS: Final = 2_000
_View: TypeAlias = tuple[Fill, ...]


class OrderRecord(msgspec.Struct, frozen=True):
    """What is known of one order."""

    state: LegState = LegState.UNKNOWN
    """The furthest that was told."""
    filled_micro: int = 0
    """The most shares that a state was told with."""
    fills: tuple[Fill, ...] = ()
    """Its matches, each as far settled as was told, in a fixed order."""
    is_complete: bool = False
    """Nothing can have been missed: it was listened to all its life, or asked for since."""

    @property
    def matched_micro(self) -> int:
        """Shares in its fills, those of failed trades included."""
        return sum(fill.size_micro for fill in self.fills)


class _Heard:
    __slots__ = ("filled", "is_complete", "state", "views")

    def __init__(self) -> None:
        self.state = LegState.UNKNOWN
        self.filled = 0
        self.is_complete = False
        self.views: dict[str, _View] = {}


class FillBook:
    """Merges fills by trade, and keeps the furthest state of each order. Any thread.

    A trade is told once per status and from two sources, which may split it differently: match by
    match, or as one. One view of it counts, the one with most shares, then with most matches, so
    no share counts twice.

    Parameters
    ----------
    most_orders, most_strangers : int
        Beyond so many the order that was heard of longest ago is forgotten. A stranger is one that
        nobody has asked for yet: a counterparty's, or ours before the answer to its POST.
    is_followed : callable
        Whether an order still matters. Of another only what was asked for is returned: it became
        final meanwhile, and nobody would let go of it again.
    """

    def __init__(
        self,
        most_orders: int = _MOST_ORDERS,
        most_strangers: int = _MOST_STRANGERS,
        *,
        is_followed: Callable[[OrderId], bool] = lambda _: True,
    ) -> None:
        self._is_followed = is_followed
        self._most_orders = most_orders
        self._most_strangers = most_strangers
        self._lock = threading.Lock()
        self._orders: OrderedDict[OrderId, _Heard] = OrderedDict()
        self._strangers: OrderedDict[OrderId, _Heard] = OrderedDict()

    def __len__(self) -> int:
        return len(self._orders) + len(self._strangers)

    def record(self, order_id: OrderId) -> OrderRecord:
        """Return what is known of an order; of one that was never heard of, nothing."""
        with self._lock:
            heard = self._orders.get(order_id) or self._strangers.get(order_id)
            if heard is None:
                return OrderRecord()
            fills = sorted((f for view in heard.views.values() for f in view), key=_identity)
            return OrderRecord(heard.state, heard.filled, tuple(fills), heard.is_complete)

    def hear_order(self, status: OrderStatus) -> bool:
        """Take in the state of an order; return whether it was news."""
        with self._lock:
            heard = self._heard(status.order_id)
            before = (heard.state, heard.filled)
            heard.state = furthest(heard.state, status.state)
            heard.filled = max(heard.filled, status.filled_micro)
            return (heard.state, heard.filled) != before

    def hear_fills(self, fills: Iterable[Fill]) -> tuple[OrderId, ...]:
        """Take in fills of any orders; return the orders of which that was news."""
        with self._lock:
            return tuple(
                order_id for order_id, own in _by_order(fills).items() if self._merge(order_id, own)
            )

    def complete(self, order_id: OrderId, fills: Sequence[Fill]) -> tuple[Fill, ...]:
        """Take in all fills of an order, as asked for; return them with what else is known."""
        own = [fill for fill in fills if fill.order_id == order_id]
        if not self._is_followed(order_id):
            return tuple(own)
        with self._lock:
            self._own(order_id)
            self._merge(order_id, own)
        return self.record(order_id).fills

    def expect(self, order_id: OrderId) -> None:
        """Say that everything about an order since it was sent has been listened to."""
        with self._lock:
            self._own(order_id)

    def forget(self, order_id: OrderId) -> None:
        """Let go of an order that is final: nothing that is told of it matters any more."""
        with self._lock:
            self._orders.pop(order_id, None)
            self._strangers.pop(order_id, None)

    def missed(self) -> None:
        """Say that news may have been missed: no order is complete any more."""
        with self._lock:
            for heard in self._orders.values():
                heard.is_complete = False

    def _own(self, order_id: OrderId) -> None:
        heard = self._strangers.pop(order_id, None) or self._orders.get(order_id) or _Heard()
        heard.is_complete = True
        self._orders[order_id] = heard
        self._orders.move_to_end(order_id)
        if len(self._orders) > self._most_orders:
            self._orders.popitem(last=False)

    def _heard(self, order_id: OrderId) -> _Heard:
        heard = self._orders.get(order_id) or self._strangers.get(order_id)
        if heard is None:
            heard = self._strangers[order_id] = _Heard()
            if len(self._strangers) > self._most_strangers:
                self._strangers.popitem(last=False)
        return heard

    def _merge(self, order_id: OrderId, fills: Sequence[Fill]) -> bool:
        heard = self._heard(order_id)
        is_news = False
        for trade_id, view in _by_trade(fills).items():
            known = heard.views.get(trade_id)
            merged = view if known is None else _merged(known, view)
            if merged != known:
                heard.views[trade_id] = merged
                is_news = True
        return is_news


def _merged(one: _View, other: _View) -> _View:
    settlement = Settlement.read(one[0].status).after(Settlement.read(other[0].status))
    # The later time: a balance from after it contains the trade, whoever was right.
    updated_s = max(fill.update_time_s for fill in (*one, *other))
    best = max(one, other, key=_detail)
    return tuple(
        msgspec.structs.replace(fill, status=settlement.value, update_time_s=updated_s)
        for fill in best
    )


def _detail(view: _View) -> tuple[object, ...]:
    # All of it, so that the choice between two views does not depend on which came first.
    size = sum(fill.size_micro for fill in view)
    settlement = tuple(Settlement).index(Settlement.read(view[0].status))
    return (size, len(view), *map(_identity, view), settlement)


def _identity(fill: Fill) -> tuple[object, ...]:
    return (
        fill.match_time_s,
        fill.trade_id,
        fill.counter_order_id,
        fill.price_e4,
        fill.size_micro,
        fill.is_taker,
        fill.token_id,
        fill.side,
    )


def _by_order(fills: Iterable[Fill]) -> dict[OrderId, list[Fill]]:
    found: dict[OrderId, list[Fill]] = {}
    for fill in fills:
        found.setdefault(fill.order_id, []).append(fill)
    return found


def _by_trade(fills: Iterable[Fill]) -> dict[str, _View]:
    found: dict[str, list[Fill]] = {}
    for fill in fills:
        found.setdefault(fill.trade_id, []).append(fill)
    return {
        trade_id: tuple(
            msgspec.structs.replace(fill, status=Settlement.read(fill.status).value)
            for fill in sorted(view, key=_identity)
        )
        for trade_id, view in found.items()
    }
