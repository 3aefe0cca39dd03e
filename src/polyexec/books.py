"""The books of an executor: its money, its positions and its orders that are not final."""

from collections.abc import Callable, Mapping, Sequence

from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.ports import Clock, Fill
from polyexec.core.resolution import ResolutionPolicy
from polyexec.core.tracking import OrderTracker, TrackedOrder
from polyexec.models import OrderId, TokenId
from polyexec.numbers import Number, to_micro
from polyexec.parsing import parse_token_id

__all__ = ["Booked"]


class Booked:
    """What it has, and what it is told that it has. Everything may be called from any thread."""

    def __init__(self, clock: Clock, resolution: ResolutionPolicy) -> None:
        self._clock = clock
        self._ledger = Ledger()
        self._tracker = OrderTracker(self._ledger, clock, resolution)

    @property
    def clock(self) -> Clock:
        """What it reads the time from."""
        return self._clock

    @property
    def orders(self) -> tuple[TrackedOrder, ...]:
        """Orders that are not final: open, unknown, or with trades that have not settled."""
        return self._tracker.orders

    def listen_to_orders(
        self, listener: Callable[[TrackedOrder, Sequence[Fill]], None]
    ) -> Callable[[], None]:
        """Call ``listener`` with an order and its fills whenever news of it were booked.

        In the thread that brought them: it must not block. Returns the way to stop it.
        """
        return self._tracker.listen(listener)

    @property
    def tokens(self) -> frozenset[TokenId]:
        """Tokens that it holds by its books, or has orders for that are not final."""
        traded = {order.leg.token_id for order in self._tracker.orders}
        return frozenset(self._ledger.balances().keys() | traded) - {COLLATERAL}

    @property
    def ledger(self) -> Ledger:
        """Balance, positions and reservations."""
        return self._ledger

    def update_balance(self, amount: Number, *, as_of_ms: int | None = None) -> bool:
        """Tell the collateral balance that the exchange had.

        Parameters
        ----------
        amount : number
            Dollars, on the 1e-6 grid.
        as_of_ms : int or None
            When it was taken, unix milliseconds; ``None``: now. What traded before is taken to be
            in it, what traded later is still counted on top.

        Returns
        -------
        bool
            False when a newer balance is known already.

        Raises
        ------
        InputError
            Negative, not finite or finer than 1e-6; nothing changes.
        """
        micro = to_micro(amount, "amount")
        as_of = self._clock.time_ms() if as_of_ms is None else as_of_ms
        return self._ledger.update(COLLATERAL, micro, as_of_ms=as_of)

    def update_positions(
        self, positions: Mapping[str, Number], *, as_of_ms: int | None = None
    ) -> None:
        """Tell how many shares of each token the exchange has for us; others are left alone.

        Raises
        ------
        InputError
            Naming token and value; nothing changes.
        """
        parsed = [
            (parse_token_id(token), to_micro(size, f"positions[{token}]"))
            for token, size in positions.items()
        ]
        as_of = self._clock.time_ms() if as_of_ms is None else as_of_ms
        for token, micro in parsed:
            self._ledger.update(token, micro, as_of_ms=as_of)
        self._positions_changed()

    def _positions_changed(self) -> None:
        """Do what follows from it."""

    def give_up_unknown(self, order_id: str) -> bool:
        """Take an unknown order to be absent, because you know that it is: its money is free.

        Returns
        -------
        bool
            False when no such order is unknown; nothing changed.
        """
        return self._tracker.give_up(OrderId(order_id.lower()))
