"""The money: balance, reservations, positions. Integers of one millionth, one lock.

Words, for collateral and for each token alike:

* ``settled``: last known balance of the exchange, and when it was taken;
* ``held``: sum of the open reservations;
* ``pending_out`` / ``pending_in``: traded since that balance was taken.

``available = settled - held - pending_out``. A balance refresh writes ``settled`` and forgets the
pending entries that it already contains; it never touches a reservation. A reservation ends
exactly once: what it spent becomes pending, the rest is free again.
"""

import threading
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Final

import msgspec

from polyexec.enums import Side
from polyexec.errors import InternalError
from polyexec.models import TokenId
from polyexec.numbers import MAX_MICRO

__all__ = ["COLLATERAL", "Ledger", "Reservation", "Shortage"]

COLLATERAL: Final = TokenId("")
"""Key of the collateral among the assets; a token id is never empty."""


class Shortage(msgspec.Struct, frozen=True):
    """Why a reservation was refused: nothing changed."""

    asset: TokenId
    needed_micro: int
    available_micro: int


class Reservation:
    """A claim on one asset for one leg. Only the ledger changes it.

    Attributes
    ----------
    id : int
    asset : TokenId
        ``COLLATERAL`` or the token that a SELL gives.
    reserved_micro, held_micro, spent_micro, released_micro : int
        ``reserved = held + spent + released`` at all times; it has ended when ``held`` is 0.
    """

    __slots__ = ("asset", "held_micro", "id", "released_micro", "reserved_micro", "spent_micro")

    def __init__(self, id: int, asset: TokenId, reserved_micro: int) -> None:
        self.id = id
        self.asset = asset
        self.reserved_micro = reserved_micro
        self.held_micro = reserved_micro
        self.spent_micro = 0
        self.released_micro = 0

    @property
    def is_open(self) -> bool:
        """Some of it is still held."""
        return self.held_micro > 0

    def __repr__(self) -> str:
        name = "collateral" if self.asset == COLLATERAL else self.asset[:8]
        return (
            f"Reservation({self.id}, {name}, reserved={self.reserved_micro}, "
            f"held={self.held_micro}, spent={self.spent_micro}, released={self.released_micro})"
        )


class _Account:
    """Words of one asset. ``pending`` holds (time_ms, signed amount), oldest first."""

    __slots__ = ("as_of_ms", "held", "pending", "pending_in", "pending_out", "settled")

    def __init__(self) -> None:
        self.settled = 0
        self.as_of_ms = 0
        self.held = 0
        self.pending_out = 0
        self.pending_in = 0
        self.pending: list[tuple[int, int]] = []

    @property
    def available(self) -> int:
        # Pending income is not spendable: it can still fail to settle.
        return self.settled - self.held - self.pending_out

    @property
    def balance(self) -> int:
        return self.settled + self.pending_in - self.pending_out

    def add(self, micro: int, at_ms: int) -> None:
        if at_ms < self.as_of_ms:
            return  # late news: the balance was taken since and contains it
        self.pending.append((at_ms, micro))
        if micro < 0:
            self.pending_out -= micro
        else:
            self.pending_in += micro

    def settle(self, settled: int, as_of_ms: int) -> None:
        later = [entry for entry in self.pending if entry[0] > as_of_ms]
        self.settled, self.as_of_ms = settled, as_of_ms
        self.pending, self.pending_in, self.pending_out = [], 0, 0
        for at_ms, micro in later:
            self.add(micro, at_ms)


class Ledger:
    """Balance, positions and reservations of one account. Every method is atomic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts: dict[TokenId, _Account] = {COLLATERAL: _Account()}
        self._ids = count(1)
        self._open: dict[int, Reservation] = {}

    def update(self, asset: TokenId, settled_micro: int, *, as_of_ms: int) -> bool:
        """Write the balance that the exchange had at ``as_of_ms``.

        Returns
        -------
        bool
            False when a newer balance is already known; nothing changed then.
        """
        if not 0 <= settled_micro <= MAX_MICRO:
            raise InternalError(f"balance {settled_micro} outside 0 .. 2**63 - 1")
        with self._lock:
            account = self._account(asset)
            if as_of_ms < account.as_of_ms:
                return False
            account.settle(settled_micro, as_of_ms)
            return True

    def reserve(self, claims: Iterable[tuple[TokenId, int]]) -> tuple[Reservation, ...] | Shortage:
        """Hold every claim (asset, micro-units), or none of them."""
        wanted = tuple(claims)
        totals: dict[TokenId, int] = {}
        for asset, micro in wanted:
            if not micro > 0:
                raise InternalError(f"cannot reserve {micro} micro-units")
            totals[asset] = totals.get(asset, 0) + micro
        with self._lock:
            # Shares first: a missing position is reported before missing money.
            for asset, needed in sorted(totals.items(), key=_is_collateral):
                available = self._account(asset).available
                if available < needed:
                    return Shortage(asset, needed, available)
            made = []
            for asset, micro in wanted:
                reservation = Reservation(next(self._ids), asset, micro)
                self._account(asset).held += micro
                self._open[reservation.id] = reservation
                made.append(reservation)
            return tuple(made)

    def spend(self, reservation: Reservation, spent_micro: int, *, at_ms: int) -> None:
        """Turn a part of a reservation into money that left at ``at_ms``.

        What left before the balance was taken is in it already and does not count again; the
        same holds for :meth:`book`.
        """
        with self._lock:
            self._check(reservation, spent_micro)
            account = self._account(reservation.asset)
            account.held -= spent_micro
            reservation.held_micro -= spent_micro
            reservation.spent_micro += spent_micro
            if spent_micro:
                account.add(-spent_micro, at_ms)
            self._close_if_empty(reservation)

    def release(self, reservation: Reservation) -> int:
        """Free what is still held of a reservation; return how much that was."""
        with self._lock:
            freed = reservation.held_micro
            self._check(reservation, freed)
            self._account(reservation.asset).held -= freed
            reservation.held_micro = 0
            reservation.released_micro += freed
            self._close_if_empty(reservation)
            return freed

    def book(self, asset: TokenId, micro: int, *, at_ms: int) -> None:
        """Record what a trade brought in (positive) or cost beyond its reservation (negative).

        Income becomes available with the next balance that contains it.
        """
        if micro:
            with self._lock:
                self._account(asset).add(micro, at_ms)

    def available(self, asset: TokenId = COLLATERAL) -> int:
        """Micro-units that a new reservation may take."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.available if account else 0

    def held(self, asset: TokenId = COLLATERAL) -> int:
        """Micro-units in open reservations."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.held if account else 0

    def balance(self, asset: TokenId = COLLATERAL) -> int:
        """Micro-units that the exchange should report now: settled plus everything pending."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.balance if account else 0

    def as_of_ms(self, asset: TokenId = COLLATERAL) -> int:
        """When ``settled`` was taken; 0: never."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.as_of_ms if account else 0

    def balances(self) -> Mapping[TokenId, int]:
        """``balance`` of every asset that is not zero."""
        with self._lock:
            figures = {asset: account.balance for asset, account in self._accounts.items()}
        return {asset: micro for asset, micro in figures.items() if micro}

    @property
    def open_reservations(self) -> tuple[Reservation, ...]:
        """Reservations that have not ended."""
        with self._lock:
            return tuple(self._open.values())

    def check(self) -> None:
        """Raise ``InternalError`` when an invariant is broken."""
        with self._lock:
            for asset, account in self._accounts.items():
                held = sum(r.held_micro for r in self._open.values() if r.asset == asset)
                if account.held != held or account.held < 0:
                    raise InternalError(f"held {account.held} is not the sum {held} of {asset!r}")

    def _account(self, asset: TokenId) -> _Account:
        account = self._accounts.get(asset)
        if account is None:
            account = self._accounts[asset] = _Account()
        return account

    def _check(self, reservation: Reservation, micro: int) -> None:
        if self._open.get(reservation.id) is not reservation:
            raise InternalError(f"{reservation} has already ended")
        if not 0 <= micro <= reservation.held_micro:
            raise InternalError(f"{micro} micro-units are not held by {reservation}")

    def _close_if_empty(self, reservation: Reservation) -> None:
        r = reservation
        if r.reserved_micro != r.held_micro + r.spent_micro + r.released_micro:
            raise InternalError(f"{r} does not add up")
        if r.held_micro == 0:
            del self._open[r.id]


def _is_collateral(claim: tuple[TokenId, int]) -> bool:
    return claim[0] == COLLATERAL


def asset_given(side: Side, token_id: TokenId) -> TokenId:
    """Return the asset that an order gives: collateral for a BUY, the token for a SELL."""
    return COLLATERAL if side is Side.BUY else token_id
