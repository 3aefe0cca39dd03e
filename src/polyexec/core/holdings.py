"""What groups that have ended still tie up: it comes free as their shares are sold or resolved.

The exchange tells how many shares of a token there are, not whose. They are taken to be those of
the newest groups, so what is missing was given up by the oldest. What a group ties up is a function
of the shares there are now: a position that was read too low for a moment corrects itself.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Final

from polyexec.core.risk import RiskGuard, Ticket
from polyexec.models import OrderId, TokenId

__all__ = ["Holdings"]

_GONE_MS: Final = 600_000
"""A group without a share for so long is closed; until then its shares may only be late."""


class _Held:
    """One group: its orders that may still trade, what the others bought, and what that cost."""

    __slots__ = ("bought", "gone_ms", "open", "spent")

    def __init__(self) -> None:
        self.open: set[OrderId] = set()
        self.bought: dict[TokenId, int] = {}
        self.spent = 0
        self.gone_ms: int | None = None


class Holdings:
    """Gives the exposure of groups back to the limits. Every method is atomic.

    Parameters
    ----------
    risk : RiskGuard
    """

    def __init__(self, risk: RiskGuard) -> None:
        self._risk = risk
        self._lock = threading.Lock()
        self._groups: dict[Ticket, _Held] = {}

    @property
    def tokens(self) -> frozenset[TokenId]:
        """Tokens that decide what comes free."""
        with self._lock:
            return frozenset(token for held in self._groups.values() for token in held.bought)

    def expect(self, ticket: Ticket, order_ids: Iterable[OrderId]) -> None:
        """Take note of orders of a group that :meth:`ended` will be told of."""
        with self._lock:
            self._groups.setdefault(ticket, _Held()).open.update(order_ids)

    def ended(
        self,
        ticket: Ticket,
        order_id: OrderId,
        *,
        token_id: TokenId,
        bought_micro: int,
        spent_micro: int,
    ) -> None:
        """Take note that an order is final: what it bought, and the collateral it took.

        When it was the last of its group, the group ties up what was spent, or is closed because it
        bought nothing.
        """
        with self._lock:
            held = self._groups.get(ticket)
            if held is None or order_id not in held.open:
                return
            held.open.discard(order_id)
            if bought_micro > 0:
                held.bought[token_id] = held.bought.get(token_id, 0) + bought_micro
                held.spent += spent_micro
            if held.open:
                return
            if held.bought:
                self._risk.expose(ticket, held.spent)
            else:
                self._drop(ticket)

    def observe(self, shares_of: Callable[[TokenId], int], now_ms: int) -> None:
        """Give back what is tied up by shares that are no longer there.

        Parameters
        ----------
        shares_of : callable
            Micro-shares of a token that the account has.
        now_ms : int
            Unix milliseconds.
        """
        with self._lock:
            left: dict[TokenId, int] = {}
            for ticket, held in reversed(list(self._groups.items())):
                whole, kept = 1, 0
                for token, bought in held.bought.items():
                    have = left.setdefault(token, max(0, shares_of(token)))
                    mine = min(bought, have)
                    left[token] = have - mine
                    if mine * whole > kept * bought:
                        whole, kept = bought, mine
                if held.open or not held.bought:
                    continue
                self._risk.expose(ticket, -(-held.spent * kept // whole))
                if kept:
                    held.gone_ms = None
                elif held.gone_ms is None:
                    held.gone_ms = now_ms
                elif now_ms - held.gone_ms >= _GONE_MS:
                    self._drop(ticket)

    def _drop(self, ticket: Ticket) -> None:
        del self._groups[ticket]
        if ticket.is_exposed and not ticket.is_open:
            self._risk.close(ticket)
