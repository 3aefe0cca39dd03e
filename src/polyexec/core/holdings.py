"""What groups that have ended still tie up: it comes free as their shares are sold or resolved.

The exchange tells how many shares of a token there are, not whose. Groups that have ended are
therefore not kept one by one but summed, those that bought the same tokens together, so that what
is kept does not grow with their number. A sum is booked as an inventory at average cost: what is
sold of it frees the average cost of what it held, and what is bought later adds its own.

Shares go first to the groups that still have an open order, whose whole cost counts anyway; then to
the sums, those of more tokens first, which take whole sets before single legs; of as many tokens
the newest sum first. What is missing is not forgotten at once: when it shows up again, as after a
position that was read too low for a moment, it comes back with its cost.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from polyexec.core.risk import RiskGuard, Ticket
from polyexec.models import OrderId, TokenId

__all__ = ["Holdings"]

_GONE_MS: Final = 600_000
"""What is missing for so long is forgotten; until then its shares may only be late."""

_FINE: Final = 1 << 32
"""Parts of a micro-unit that sums are kept in: each group that is added rounds what it finds up by
less than one, so that years of groups do not come to a micro-unit."""

_Part: TypeAlias = tuple[int, int]
"""A fraction, 0 to 1: numerator and denominator."""
_ALL: Final[_Part] = (1, 1)


class _Group:
    """A group with orders that may still trade: what the others bought, and what that cost."""

    __slots__ = ("bought", "open", "spent")

    def __init__(self) -> None:
        self.open: set[OrderId] = set()
        self.bought: dict[TokenId, int] = {}
        self.spent = 0


class _Lot:
    """Shares by token and what they cost, both in ``_FINE`` parts of a micro-unit."""

    __slots__ = ("bought", "spent")

    def __init__(self) -> None:
        self.bought: dict[TokenId, int] = {}
        self.spent = 0

    def add(self, bought: dict[TokenId, int], spent: int) -> None:
        for token, shares in bought.items():
            self.bought[token] = self.bought.get(token, 0) + shares
        self.spent += spent

    def take(self, part: _Part) -> "_Lot":
        """Take a part out, rounded down."""
        over, under = part
        taken = _Lot()
        taken.bought = {token: shares * over // under for token, shares in self.bought.items()}
        taken.spent = self.spent * over // under
        for token, shares in taken.bought.items():
            self.bought[token] -= shares
        self.spent -= taken.spent
        return taken


class _Sum:
    """Ended groups that bought the same tokens: what was held of them, and what was missing."""

    __slots__ = ("_kept", "_least", "_since_ms", "gone", "held", "ticket")

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.held = _Lot()
        self.gone = _Lot()
        self._kept = _ALL
        self._least = 0  # what has been missing at every look since then, by its cost
        self._since_ms: int | None = None

    @property
    def is_forgotten(self) -> bool:
        return self.held.spent + self.gone.spent < _FINE

    def add(self, group: _Group, spent_micro: int) -> None:
        """Add a group, at its own cost: what is missing takes no part in it."""
        self._set_aside()
        fine = {token: micro * _FINE for token, micro in group.bought.items()}
        self.held.add(fine, spent_micro * _FINE)

    def look(self, kept: _Part, back: _Part, now_ms: int) -> int:
        """Return the cost of what is there, and forget what has been missing for long enough.

        ``kept`` is the part of ``held`` that is there, ``back`` that of ``gone``; nothing is moved
        for them, as the next look may say otherwise.
        """
        self._kept = kept
        tied_up = _up(self.held.spent, kept) + _up(self.gone.spent, back)
        missing = self.held.spent + self.gone.spent - tied_up
        if self._since_ms is None:
            self._since_ms, self._least = now_ms, missing
        self._least = min(self._least, missing)
        if self._least >= _FINE and now_ms - self._since_ms >= _GONE_MS:
            self._set_aside()
            self.gone.take((self._least, self.gone.spent))
            self._since_ms, self._least = now_ms, missing - self._least
        if self._least < _FINE:
            self._since_ms = None
        return -(-tied_up // _FINE)

    def _set_aside(self) -> None:
        over, under = self._kept
        rest = self.held.take((under - over, under))
        self.gone.add(rest.bought, rest.spent)
        self._kept = _ALL


class Holdings:
    """Gives the exposure of groups back to the limits. Every method is atomic.

    Parameters
    ----------
    risk : RiskGuard

    Notes
    -----
    It holds its lock while it calls the guard, which never calls back.
    """

    def __init__(self, risk: RiskGuard) -> None:
        self._risk = risk
        self._lock = threading.Lock()
        self._open: dict[Ticket, _Group] = {}
        self._sums: dict[frozenset[TokenId], _Sum] = {}

    @property
    def tokens(self) -> frozenset[TokenId]:
        """Tokens that decide what comes free."""
        with self._lock:
            return frozenset().union(*self._sums, *(one.bought for one in self._open.values()))

    def expect(self, ticket: Ticket, order_ids: Iterable[OrderId]) -> None:
        """Take note of orders of a group that :meth:`ended` will be told of."""
        with self._lock:
            self._open.setdefault(ticket, _Group()).open.update(order_ids)

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

        When it was the last of its group, the group ties up what was spent, at most what it counts
        with, in the sum of the groups that bought the same tokens; or it is closed because it
        bought nothing.
        """
        with self._lock:
            group = self._open.get(ticket)
            if group is None or order_id not in group.open:
                return
            group.open.discard(order_id)
            if bought_micro > 0:
                group.bought[token_id] = group.bought.get(token_id, 0) + bought_micro
                group.spent += spent_micro
            if group.open:
                return
            del self._open[ticket]
            if ticket.is_exposed and not ticket.is_open:
                self._risk.set_unknown(ticket, False)  # all its orders are final
                self._take_in(ticket, group)

    def observe(self, shares_of: Callable[[TokenId], int], now_ms: int) -> None:
        """Give back what is tied up by shares that are no longer there.

        A sum ties up the cost of what is held of it. It is held as far as any one of its tokens
        is: a set of which one leg was sold ties up its whole cost until the others are, too.
        Rounding up adds less than a micro-unit to each sum.

        Parameters
        ----------
        shares_of : callable
            Micro-shares of a token that the account has, without those that orders bought which
            :meth:`ended` was not told of yet.
        now_ms : int
            Unix milliseconds.
        """
        with self._lock:
            left = self._left(shares_of)
            newest = list(reversed(self._sums.items()))
            newest.sort(key=lambda item: -len(item[0]))
            kept = _allocate([one.held for _, one in newest], left)
            back = _allocate([one.gone for _, one in newest], left)
            for (tokens, one), kept_part, back_part in zip(newest, kept, back, strict=True):
                self._risk.expose(one.ticket, one.look(kept_part, back_part, now_ms))
                if one.is_forgotten:
                    del self._sums[tokens]
                    self._risk.close(one.ticket)

    def _take_in(self, ticket: Ticket, group: _Group) -> None:
        spent = min(group.spent, ticket.cost_micro)
        if not group.bought or spent <= 0:
            self._risk.close(ticket)
            return
        self._risk.expose(ticket, spent)
        tokens = frozenset(group.bought)
        found = self._sums.get(tokens)
        if found is None:
            found = self._sums[tokens] = _Sum(ticket)
        else:
            self._risk.absorb(found.ticket, ticket)
        found.add(group, spent)

    def _left(self, shares_of: Callable[[TokenId], int]) -> dict[TokenId, int]:
        """Return what sums may hold of each token: what no group with an open order bought."""
        left = {token: shares_of(token) for tokens in self._sums for token in tokens}
        for group in self._open.values():
            for token, bought in group.bought.items():
                if token in left:
                    left[token] -= bought
        return {token: max(0, micro) * _FINE for token, micro in left.items()}


def _up(amount: int, part: _Part) -> int:
    return -(-amount * part[0] // part[1])


def _allocate(lots: Sequence[_Lot], left: dict[TokenId, int]) -> list[_Part]:
    """Take shares out of ``left`` for each lot; return how much of it is there."""
    taken = [_take_sets(lot, left) for lot in lots]
    return [_take_legs(lot, sets, left) for lot, sets in zip(lots, taken, strict=True)]


def _take_sets(lot: _Lot, left: dict[TokenId, int]) -> dict[TokenId, int]:
    """Take as much as is there of all tokens alike; return how many shares of each."""
    over, under = 1, 1
    for token, bought in lot.bought.items():
        if left[token] * under < over * bought:
            over, under = left[token], bought
    taken = {token: bought * over // under for token, bought in lot.bought.items()}
    for token, shares in taken.items():
        left[token] -= shares
    return taken


def _take_legs(lot: _Lot, sets: dict[TokenId, int], left: dict[TokenId, int]) -> _Part:
    """Take what is there beyond whole sets; return the largest part that any token comes to."""
    over, under = 0, 1
    for token, bought in lot.bought.items():
        more = min(bought - sets[token], left[token])
        left[token] -= more
        mine = sets[token] + more
        if mine * under > over * bought:
            over, under = mine, bought
    return over, under
