"""The money: balance, reservations, positions. Integers of one millionth, one lock.

Words, for collateral (the asset ``""``) and for each token alike:

* ``settled``: last known balance of the exchange, and when it was taken;
* ``held``: sum of the open reservations;
* ``pending_out`` / ``pending_in``: traded, and not in that balance. What has settled has the time
  of that; what has not is undated, and no balance contains it.

``available = settled - held - pending_out``. A balance refresh writes ``settled`` and forgets the
pending entries that it already contains; it never touches a reservation. A reservation ends
exactly once: what it spent becomes pending, the rest is free again.

Every word fits 63 bits, and so does ``held + pending_out``, what is bound: with ``settled`` at
least 0, ``available`` fits whatever the next balance is. What would exceed that is refused.
"""

import threading
from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn, SupportsIndex

from polyexec._pure.checks import checked_int64

__all__ = ["LedgerCore", "Reservation"]

_INT64_MAX = (1 << 63) - 1
_UNDATED = _INT64_MAX
_MOST_CLAIMS = 16


class Reservation:
    """A claim on one asset for one leg. Only the ledger makes and changes it.

    Attributes
    ----------
    id : int
        Unique within the ledger, ascending.
    asset : str
        ``""`` for collateral, or the token that a SELL gives.
    reserved_micro, held_micro, spent_micro, released_micro : int
        ``reserved = held + spent + released`` at all times; it has ended when ``held`` is 0.
    """

    __slots__ = ("_asset", "_held", "_id", "_ledger", "_released", "_reserved", "_spent")

    _asset: str
    _held: int
    _id: int
    _ledger: "LedgerCore"
    _released: int
    _reserved: int
    _spent: int

    def __init__(self) -> None:
        raise TypeError("only a ledger makes reservations")

    @property
    def id(self) -> int:
        return self._id

    @property
    def asset(self) -> str:
        return self._asset

    @property
    def reserved_micro(self) -> int:
        return self._reserved

    @property
    def held_micro(self) -> int:
        return self._held

    @property
    def spent_micro(self) -> int:
        return self._spent

    @property
    def released_micro(self) -> int:
        return self._released

    @property
    def is_open(self) -> bool:
        """Some of it is still held."""
        return self._held > 0

    def __eq__(self, other: object) -> bool:
        return self is other if isinstance(other, Reservation) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._id)

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle or copy a reservation: it ends once")

    def __repr__(self) -> str:
        return (
            f"Reservation({self._id}, {self._asset[:8] or 'collateral'}, "
            f"reserved={self._reserved}, held={self._held}, "
            f"spent={self._spent}, released={self._released})"
        )


class _Account:
    """Words of one asset. ``pending`` holds (time_ms, signed amount) of what has a time."""

    __slots__ = (
        "as_of_ms",
        "held",
        "pending",
        "pending_in",
        "pending_out",
        "settled",
        "undated_in",
        "undated_out",
    )

    def __init__(self) -> None:
        self.settled = 0
        self.as_of_ms = 0
        self.held = 0
        self.pending_out = 0
        self.pending_in = 0
        self.undated_out = 0
        self.undated_in = 0
        self.pending: list[tuple[int, int]] = []

    @property
    def available(self) -> int:
        # Pending income is not spendable: it can still fail to settle.
        return self.settled - self.held - self.pending_out

    @property
    def balance(self) -> int:
        return self.settled + self.pending_in - self.pending_out

    def is_late(self, at_ms: int) -> bool:
        return at_ms < self.as_of_ms  # the balance was taken since and contains it

    def can_bind(self, micro: int) -> bool:
        return self.held + self.pending_out + micro <= _INT64_MAX

    def note(self, micro: int, at_ms: int) -> None:
        undated = at_ms == _UNDATED
        if not undated:
            self.pending.append((at_ms, micro))
        if micro < 0:
            self.pending_out -= micro
            self.undated_out -= undated * micro
        else:
            self.pending_in += micro
            self.undated_in += undated * micro

    def take_back(self, micro: int) -> bool:
        if not -self.undated_out <= micro <= self.undated_in:
            return False
        if micro < 0:
            self.pending_out += micro
            self.undated_out += micro
        else:
            self.pending_in -= micro
            self.undated_in -= micro
        return True

    def settle(self, settled: int, as_of_ms: int) -> None:
        later = [entry for entry in self.pending if entry[0] > as_of_ms]
        self.settled, self.as_of_ms = settled, as_of_ms
        self.pending, self.pending_in, self.pending_out = [], self.undated_in, self.undated_out
        for at_ms, micro in later:
            self.note(micro, at_ms)


class LedgerCore:
    """Balance, positions and reservations of one account. Every method is atomic.

    A subclass says what a refused claim returns (``_shortage``: called with asset, needed and
    available) and what is raised for an amount that cannot be, and for a broken rule (``_fault``).
    """

    __slots__ = ("_accounts", "_last_id", "_lock", "_open")

    _fault: ClassVar[type[Exception]] = ValueError
    _shortage: ClassVar[Any] = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._accounts = {"": _Account()}
        self._last_id = 0
        self._open: dict[int, Reservation] = {}

    def update(self, asset: str, settled_micro: SupportsIndex, *, as_of_ms: SupportsIndex) -> bool:
        """Write the balance that the exchange had at ``as_of_ms``.

        Returns
        -------
        bool
            False when a newer balance is already known; nothing changed then.
        """
        settled = self._amount(settled_micro, "balance {} outside 0 .. 2**63 - 1")
        as_of = checked_int64(as_of_ms)
        if settled < 0:
            raise self._fault(f"balance {settled} outside 0 .. 2**63 - 1")
        with self._lock:
            account = self._account(asset)
            if account.is_late(as_of):
                return False
            account.settle(settled, as_of)
            return True

    def reserve(self, claims: Iterable[tuple[str, SupportsIndex]]) -> tuple[Reservation, ...] | Any:
        """Hold every claim (asset, micro-units), or none of them.

        Returns
        -------
        tuple of Reservation
            In the order of the claims, or the shortage that refuses them.
        """
        given = tuple(claims)
        if len(given) > _MOST_CLAIMS:
            raise self._fault(f"at most {_MOST_CLAIMS} claims at once, not {len(given)}")
        wanted = []
        totals: dict[str, int] = {}
        for asset, micro in given:
            amount = self._amount(micro, "cannot reserve {} micro-units")
            if amount <= 0:
                raise self._fault(f"cannot reserve {amount} micro-units")
            self._checked_asset(asset)
            wanted.append((asset, amount))
            totals[asset] = totals.get(asset, 0) + amount
        if any(needed > _INT64_MAX for needed in totals.values()):
            raise self._fault("the claims on one asset exceed 2**63 - 1 micro-units")
        with self._lock:
            # Shares first: a missing position is reported before missing money.
            for asset, needed in sorted(totals.items(), key=_is_collateral):
                available = self._account(asset).available
                if available < needed:
                    return self._shortage(asset, needed, available)
            return tuple(self._hold(asset, micro) for asset, micro in wanted)

    def recover(self, asset: str, micro: SupportsIndex) -> Reservation:
        """Hold an amount that is known to be bound already, available or not.

        For reservations of an earlier process. What is available can become negative; nothing
        is reserved then.
        """
        amount = self._amount(micro, "cannot hold {} micro-units")
        if amount <= 0:
            raise self._fault(f"cannot hold {amount} micro-units")
        with self._lock:
            if not self._account(asset).can_bind(amount):
                raise self._fault(f"cannot hold {amount} micro-units more: over 2**63 - 1 in all")
            return self._hold(asset, amount)

    def spend(
        self, reservation: Reservation, spent_micro: SupportsIndex, *, at_ms: SupportsIndex
    ) -> None:
        """Turn a part of a reservation into money that left at ``at_ms``.

        What left before the balance was taken is in it already and does not count again. What
        has not left yet is undated, ``2**63 - 1``: no balance contains it before
        :meth:`take_back`. The same holds for :meth:`book`.
        """
        self._check_owner(reservation)
        at = checked_int64(at_ms)
        with self._lock:
            self._check_open(reservation)
            refusal = f"{{}} micro-units are not held by {reservation!r}"
            spent = self._amount(spent_micro, refusal)
            if not 0 <= spent <= reservation._held:
                raise self._fault(refusal.format(spent))
            account = self._accounts[reservation._asset]
            account.held -= spent
            reservation._held -= spent
            reservation._spent += spent
            if spent and not account.is_late(at):
                account.note(-spent, at)
            self._close_if_empty(reservation)

    def release(self, reservation: Reservation) -> int:
        """Free what is still held of a reservation; return how much that was."""
        self._check_owner(reservation)
        with self._lock:
            self._check_open(reservation)
            freed = reservation._held
            self._accounts[reservation._asset].held -= freed
            reservation._held = 0
            reservation._released += freed
            self._close_if_empty(reservation)
            return freed

    def book(self, asset: str, micro: SupportsIndex, *, at_ms: SupportsIndex) -> None:
        """Record what a trade brought in (positive) or cost beyond its reservation (negative).

        Income becomes available with the next balance that contains it.
        """
        amount = self._amount(micro, "cannot book {} micro-units")
        at = checked_int64(at_ms)
        if not amount:
            return
        with self._lock:
            account = self._account(asset)
            if account.is_late(at):
                return
            fits = account.pending_in + amount <= _INT64_MAX
            if not (fits if amount > 0 else account.can_bind(-amount)):
                raise self._fault(f"cannot book {amount} micro-units more: over 2**63 - 1 in all")
            account.note(amount, at)

    def take_back(self, asset: str, micro: SupportsIndex) -> None:
        """Remove an undated amount, as it was spent (negative) or booked.

        It will not happen, or it did and was booked again with its time.
        """
        amount = self._amount(micro, "cannot take back {} micro-units")
        with self._lock:
            if not self._account(asset).take_back(amount):
                raise self._fault(f"cannot take back {amount} micro-units: not so much is undated")

    def available(self, asset: str = "") -> int:
        """Micro-units that a new reservation may take."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.available if account else 0

    def held(self, asset: str = "") -> int:
        """Micro-units in open reservations."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.held if account else 0

    def balance(self, asset: str = "") -> int:
        """Micro-units that the exchange should report now: settled plus everything pending."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.balance if account else 0

    def as_of_ms(self, asset: str = "") -> int:
        """When ``settled`` was taken; 0: never."""
        with self._lock:
            account = self._accounts.get(asset)
            return account.as_of_ms if account else 0

    def balances(self) -> dict[Any, int]:
        """``balance`` of every asset that is not zero."""
        with self._lock:
            figures = {asset: account.balance for asset, account in self._accounts.items()}
        return {asset: micro for asset, micro in figures.items() if micro}

    @property
    def open_reservations(self) -> tuple[Reservation, ...]:
        """Reservations that have not ended, oldest first."""
        with self._lock:
            return tuple(self._open.values())

    def check(self) -> None:
        """Raise the fault when an invariant is broken."""
        with self._lock:
            for asset, account in self._accounts.items():
                held = sum(r._held for r in self._open.values() if r._asset == asset)
                if account.held != held or account.held < 0:
                    raise self._fault(f"held {account.held} is not the sum {held} of {asset!r}")

    def _amount(self, value: SupportsIndex, refusal: str) -> int:
        try:
            return checked_int64(value)
        except (TypeError, OverflowError):
            raise self._fault(refusal.format(_shown(value))) from None

    def _checked_asset(self, asset: str) -> str:
        if type(asset) is not str:
            raise self._fault(f"an asset is named by a str, not {type(asset).__name__}")
        return asset

    def _account(self, asset: str) -> _Account:
        account = self._accounts.get(asset)
        if account is None:
            account = self._accounts[self._checked_asset(asset)] = _Account()
        return account

    def _hold(self, asset: str, micro: int) -> Reservation:
        reservation = Reservation.__new__(Reservation)
        self._last_id += 1
        reservation._id = self._last_id
        reservation._ledger = self
        reservation._asset = asset
        reservation._reserved = reservation._held = micro
        reservation._spent = reservation._released = 0
        self._accounts[asset].held += micro
        self._open[reservation._id] = reservation
        return reservation

    def _check_owner(self, reservation: Reservation) -> None:
        if type(reservation) is not Reservation or reservation._ledger is not self:
            raise self._fault(f"{reservation!r} is no reservation of this ledger")

    def _check_open(self, reservation: Reservation) -> None:
        if reservation._held == 0:
            raise self._fault(f"{reservation!r} has already ended")

    def _close_if_empty(self, reservation: Reservation) -> None:
        r = reservation
        if r._reserved != r._held + r._spent + r._released:
            raise self._fault(f"{r} does not add up")
        if r._held == 0:
            del self._open[r._id]


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python prints no int of more than 4300 digits
        return f"<{type(value).__name__} too long to print>"


def _is_collateral(claim: tuple[str, int]) -> bool:
    return claim[0] == ""
