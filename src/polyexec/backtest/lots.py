"""What was bought, for how much and since when: first in, first out, in whole micro-units."""

from collections import deque
from collections.abc import Iterable

import msgspec

__all__ = ["Capital", "Fill", "Lots", "Resolution", "capital_of"]

_YEAR_MS = 365 * 86_400_000


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a position by one trade of the exchange that has settled."""

    time_ms: int
    """Unix milliseconds of the match."""
    token_id: str
    shares_micro: int
    """Above zero: bought; below: sold; 0: met an order of our own, and only the fee was paid."""
    cost_micro: int
    """Collateral paid, fee in; below zero: received, after the fee."""
    fee_micro: int = 0
    """Taker fee in it, exact."""


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What a token turned out to be worth; hidden from the strategy until its time."""

    time_ms: int
    token_id: str
    pays_micro: int
    """Micro-dollars per share."""


class Capital(msgspec.Struct, frozen=True, kw_only=True):
    """What money was locked in positions, and for how long. From exact sums of micro-units."""

    locked_micro: int
    """Cost of the positions that are still open."""
    peak_micro: int
    """The most that was locked at a time."""
    released_micro: int
    """Cost of what was sold or has resolved."""
    realised_micro: int
    """What that brought, minus its cost: fees in."""
    released_micro_ms: int
    """Cost times the milliseconds until it came back, of what came back."""
    open_micro_ms: int
    """The same of what is still open, until the end of the data."""

    @property
    def held_ms(self) -> int | None:
        """How long a dollar was locked that came back, on average; None: none has."""
        return self.released_micro_ms // self.released_micro if self.released_micro else None

    @property
    def annualised_return(self) -> float | None:
        """Realised profit per year by the money that was locked for it; None: nothing came back.

        Simple, not compounded; 365 days. Positions that are still open are in neither side.
        """
        if not self.released_micro_ms:
            return None
        return self.realised_micro * _YEAR_MS / self.released_micro_ms


class Lots:
    """Open lots of every token. Prices are kept as the cost of whole lots: nothing is rounded."""

    def __init__(self) -> None:
        self._lots: dict[str, deque[list[int]]] = {}  # shares, cost, since
        self._pays: dict[str, int] = {}
        self.locked_micro = 0
        self.peak_micro = 0
        self.realised_micro = 0
        self.released_micro = 0
        self.released_micro_ms = 0

    def add(self, fill: Fill) -> None:
        """Open a lot, or take from the oldest ones."""
        token, shares = fill.token_id, fill.shares_micro
        if shares <= 0:
            self._take(token, -shares, -fill.cost_micro, fill.time_ms)
            return
        self._lots.setdefault(token, deque()).append([shares, fill.cost_micro, fill.time_ms])
        self.locked_micro += fill.cost_micro
        if token in self._pays:  # it was traded after it had been decided
            self._pay(token, fill.time_ms)
        self.peak_micro = max(self.peak_micro, self.locked_micro)

    def resolve(self, one: Resolution) -> None:
        """Close every lot of a token at what it pays."""
        self._pays[one.token_id] = one.pays_micro
        self._pay(one.token_id, one.time_ms)

    def open_micro_ms(self, now_ms: int) -> int:
        """Return cost times milliseconds of what is open."""
        lots = (lot for lots in self._lots.values() for lot in lots)
        return sum(cost * max(0, now_ms - since) for _, cost, since in lots)

    def _pay(self, token: str, now_ms: int) -> None:
        shares = sum(lot[0] for lot in self._lots.get(token, ()))
        self._take(token, shares, shares * self._pays[token] // 1_000_000, now_ms)

    def _take(self, token: str, shares: int, proceeds: int, now_ms: int) -> None:
        lots = self._lots.get(token, deque())
        self.realised_micro += proceeds
        while shares and lots:
            lot = lots[0]
            taken = min(shares, lot[0])
            cost = lot[1] * taken // lot[0]
            if taken == lot[0]:
                lots.popleft()
            else:
                lot[0] -= taken
                lot[1] -= cost
            shares -= taken
            self.locked_micro -= cost
            self.realised_micro -= cost
            self.released_micro += cost
            self.released_micro_ms += cost * max(0, now_ms - lot[2])


def capital_of(fills: Iterable[Fill], resolutions: Iterable[Resolution], now_ms: int) -> Capital:
    """Return what money was locked by fills, until resolutions or, where there is none, ``now_ms``.

    At the same millisecond a resolution comes after the fills.
    """
    lots = Lots()
    news: list[Fill | Resolution] = [*fills, *resolutions]
    for one in sorted(news, key=lambda one: (one.time_ms, isinstance(one, Resolution))):
        if isinstance(one, Fill):
            lots.add(one)
        else:
            lots.resolve(one)
    return Capital(
        locked_micro=lots.locked_micro,
        peak_micro=lots.peak_micro,
        released_micro=lots.released_micro,
        realised_micro=lots.realised_micro,
        released_micro_ms=lots.released_micro_ms,
        open_micro_ms=lots.open_micro_ms(now_ms),
    )
