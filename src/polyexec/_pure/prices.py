"""The books of every watched token, in numbered slots: the readable twin of ``_fast.prices``.

Prices are ten-thousandths of a dollar (e4), sizes micro-shares. One thread writes; another may read
under the GIL. An event is text from the network: what is wrong with it is a :class:`Fault`, never
an exception, and a loaded book that meets one is dropped until the next snapshot, because what it
missed is not known.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from ctypes import Structure, c_int32, c_int64
from enum import IntEnum
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, SupportsIndex

from polyexec._pure.checks import checked_int64, checked_range
from polyexec._pure.convert import plain_scaled

__all__ = [
    "DEPTH_CHANGED",
    "STALE_EVENT",
    "TOP_CHANGED",
    "BookState",
    "Fault",
    "PriceTable",
    "Top",
]

TOP_CHANGED: Final = 1
"""The best price or its size of a side, or whether the book may be traded."""
DEPTH_CHANGED: Final = 2
"""Any level."""
STALE_EVENT: Final = 4
"""Older than what is known: not applied, and no fault."""

MOST_MICRO: Final = 2**58
"""Largest size of a level: sums then fit 64 bits."""
NO_HORIZON: Final = 2**63 - 1
STATES_NOTHING: Final = -1
"""Of the best price that an event states."""

_SCALE = 10_000
_MOST_TICK_E4 = 5_000


class Fault(IntEnum):
    """What is wrong with an event. Every one but UNKNOWN_SLOT and NOT_LOADED drops the book."""

    UNKNOWN_SLOT = -1
    """No token has this slot."""
    NOT_LOADED = -2
    """A change of a book of which no snapshot is known."""
    BAD_SIDE = -3
    """Neither ``BUY`` nor ``SELL``."""
    BAD_PRICE = -4
    """Not a plain decimal between 0 and 1 on the 0.0001 grid."""
    BAD_SIZE = -5
    """Not a plain decimal of at most six places, or larger than any account."""
    BAD_TICK = -6
    """Not between 0 and 0.5 dollars."""
    OFF_TICK = -7
    """The price is none of the market's."""
    BAD_TIME = -8
    """Negative, or not a number of 64 bits."""
    FROM_FUTURE = -9
    """Stamped after ``horizon_ms``."""
    DOUBLE_LEVEL = -10
    """A snapshot that names a price twice on one side."""
    BEST_DIFFERS = -11
    """The best prices after the change are not those that the event states."""
    BAD_BOOK = -12
    """A side of a snapshot is not a list of levels."""


class BookState(IntEnum):
    """Whether a book may be traded."""

    EMPTY = 0
    """Never loaded, or dropped: nothing is known until the next snapshot."""
    LIVE = 1
    """As the exchange has it; a side may be without orders."""
    CROSSED = 2
    """The best bid is not below the best ask: shown, never traded."""


class Top(NamedTuple):
    """What a slot says of its token."""

    best_bid_e4: int
    """0: no orders on that side."""
    best_ask_e4: int
    best_bid_size_micro: int
    best_ask_size_micro: int
    time_ms: int
    """Unix time of the latest event, as the exchange stamped it."""
    received_ns: int
    """When it came, on the caller's monotonic clock."""
    tick_e4: int
    """0: not known."""
    state: BookState
    epoch: int
    """Goes up with every new tick size and when the slot changes hands."""


class Row(Structure):
    """One slot as numpy reads it: 64 bytes."""

    _fields_: ClassVar = [
        ("best_bid_e4", c_int64),
        ("best_ask_e4", c_int64),
        ("best_bid_size_micro", c_int64),
        ("best_ask_size_micro", c_int64),
        ("time_ms", c_int64),
        ("received_ns", c_int64),
        ("tick_e4", c_int32),
        ("state", c_int32),
        ("epoch", c_int32),
        ("tenant", c_int32),
    ]


class _Side:
    """Levels, best last. Keys ascend: the price of a bid, minus the price of an ask."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.sizes: list[int] = []

    def put(self, price_e4: int, size_micro: int) -> bool:
        """Set the total at a price; return True when that changed something."""
        key = self.sign * price_e4
        at = bisect_left(self.keys, key)
        is_known = at < len(self.keys) and self.keys[at] == key
        if not is_known:
            if size_micro:
                self.keys.insert(at, key)
                self.sizes.insert(at, size_micro)
            return size_micro > 0
        if self.sizes[at] == size_micro:
            return False
        if size_micro:
            self.sizes[at] = size_micro
        else:
            del self.keys[at], self.sizes[at]
        return True

    def has(self, price_e4: int) -> bool:
        key = self.sign * price_e4
        at = bisect_left(self.keys, key)
        return at < len(self.keys) and self.keys[at] == key

    def clear(self) -> None:
        self.keys.clear()
        self.sizes.clear()

    @property
    def best(self) -> tuple[int, int]:
        return (self.sign * self.keys[-1], self.sizes[-1]) if self.keys else (0, 0)


class PriceTable:
    """Books in slots. A token keeps its slot until it is removed.

    Parameters
    ----------
    capacity : int
        Slots; fixed for life, because views of the table are handed out.

    Attributes
    ----------
    capacity : int
    horizon_ms : int
        Events stamped later than this unix time are FROM_FUTURE. Whoever feeds the table moves it
        along with its clock; at first nothing is too late.
    """

    __slots__ = ("_free", "_rows", "_sides", "_slots", "_tokens", "capacity", "horizon_ms")

    def __init__(self, capacity: SupportsIndex = 4096) -> None:
        self.capacity = checked_range(capacity, 1, 1 << 24, "capacity")
        self.horizon_ms = NO_HORIZON
        self._rows = (Row * self.capacity)()
        self._sides = [(_Side(1), _Side(-1)) for _ in range(self.capacity)]
        self._tokens: list[str | None] = [None] * self.capacity
        self._slots: dict[str, int] = {}
        self._free = list(range(self.capacity - 1, -1, -1))

    def add(self, token_id: str, tick_e4: SupportsIndex = 0) -> int:
        """Return the slot of a token, a free one if it has none.

        A known tick stays; ``tick_e4`` 0 is not known. OverflowError: every slot is taken.
        """
        if not isinstance(token_id, str):
            raise TypeError(f"token_id must be text, not {type(token_id).__name__}")
        tick = checked_range(tick_e4, 0, _MOST_TICK_E4, "tick_e4")
        slot = self._slots.get(token_id, -1)
        if slot < 0:
            if not self._free:
                raise OverflowError(f"the table holds {self.capacity} tokens, and all are taken")
            slot = self._free.pop()
            self._slots[token_id] = slot
            self._tokens[slot] = token_id
            self._rows[slot].tenant += 1
        if not self._rows[slot].tick_e4:
            self._rows[slot].tick_e4 = tick
        return slot

    def remove(self, token_id: str) -> None:
        """Give up a token's slot, if it has one; another token may get it."""
        slot = self._slots.pop(token_id, -1)
        if slot < 0:
            return
        row = self._rows[slot]
        self._drop(slot)
        row.time_ms = row.received_ns = row.tick_e4 = 0
        row.epoch += 1
        row.tenant += 1
        self._tokens[slot] = None
        self._free.append(slot)

    def slot(self, token_id: str) -> int:
        """Return the slot of a token; -1: it has none."""
        return self._slots.get(token_id, -1)

    def token_id_of(self, slot: SupportsIndex) -> str:
        """Return the token of a slot; IndexError: it has none."""
        token = self._tokens[self._checked(slot)]
        assert token is not None  # noqa: S101 - _checked has seen it
        return token

    def load_book(
        self,
        slot: SupportsIndex,
        bids: Sequence[Any],
        asks: Sequence[Any],
        *,
        tick_e4: SupportsIndex,
        time_ms: SupportsIndex | str,
        received_ns: SupportsIndex,
    ) -> int:
        """Replace a book by a snapshot; return flags, or a :class:`Fault`.

        Parameters
        ----------
        slot : int
        bids, asks : list or tuple of levels, in any order
            A level is a pair of texts ``(price, size)``, or an object with these attributes. Size 0
            is no level.
        tick_e4 : int
            0: as known. Another than known starts an epoch.
        time_ms : int or str
            Unix time of the snapshot, or its text. Older than what was seen, even of a dropped
            book: stale, for it misses what has been seen since.
        received_ns : int
            Monotonic.
        """
        number = self._known(slot)
        if number < 0:
            return Fault.UNKNOWN_SLOT
        row = self._rows[number]
        tick, now = checked_int64(tick_e4), checked_int64(received_ns)
        if not 0 <= tick <= _MOST_TICK_E4:
            return self._faulty(number, Fault.BAD_TICK)
        time = self._time(time_ms)
        if time < 0:
            return self._faulty(number, time)
        if time < row.time_ms:
            return STALE_EVENT
        before = self._shown(row)
        if tick and tick != row.tick_e4:
            row.epoch += row.tick_e4 != 0
            row.tick_e4 = tick
        for side, levels in zip(self._sides[number], (bids, asks), strict=True):
            fault = _fill(side, levels, row.tick_e4)
            if fault:
                return self._faulty(number, fault)
        row.time_ms, row.received_ns = time, now
        self._show(number)
        return DEPTH_CHANGED | (TOP_CHANGED if self._shown(row) != before else 0)

    def apply_change(
        self,
        slot: SupportsIndex,
        side: str,
        price: str,
        size: str,
        best_bid: str | None,
        best_ask: str | None,
        time_ms: SupportsIndex | str,
        received_ns: SupportsIndex,
    ) -> int:
        """Set the total at one price; return flags, or a :class:`Fault`.

        Parameters
        ----------
        slot : int
        side, price, size : str
            As they stand in the message; ``BUY`` is a bid, size 0 removes the level.
        best_bid, best_ask : str or None
            What the message states of the book after the change. Empty or None: nothing; 0 or 1: no
            orders on that side.
        time_ms : int or str
            Unix time of the message, or its text. Older than what was applied: STALE_EVENT.
        received_ns : int
            Monotonic.
        """
        number = self._known(slot)
        if number < 0:
            return Fault.UNKNOWN_SLOT
        code = ("BUY", "SELL").index(side) if side in ("BUY", "SELL") else -1
        return self._apply_level(
            number,
            code,
            _text(price, 4),
            _text(size, 6),
            _stated(best_bid),
            _stated(best_ask),
            self._time(time_ms),
            checked_int64(received_ns),
        )

    def _apply_level(
        self,
        number: int,
        code: int,
        price_e4: int,
        size_micro: int,
        best_bid: int,
        best_ask: int,
        time: int,
        now: int,
    ) -> int:
        """The same in integers; code 0 is a bid, and a code or a time below 0 is a fault."""
        row = self._rows[number]
        if code < 0:
            return self._faulty(number, Fault.BAD_SIDE)
        fault = _level_fault(price_e4, size_micro, row.tick_e4)
        if fault:
            return self._faulty(number, fault)
        if time < 0:
            return self._faulty(number, time)
        if not row.state:
            # The next snapshot must know of this change.
            row.time_ms = max(row.time_ms, time)
            return Fault.NOT_LOADED
        if time < row.time_ms:
            return STALE_EVENT
        before = self._shown(row)
        flags = DEPTH_CHANGED if self._sides[number][code].put(price_e4, size_micro) else 0
        row.time_ms, row.received_ns = time, now
        self._show(number)
        for stated, best in ((best_bid, row.best_bid_e4), (best_ask, row.best_ask_e4)):
            fault = _best_fault(stated, best)
            if fault:
                return self._faulty(number, fault)
        return flags | (TOP_CHANGED if self._shown(row) != before else 0)

    def _load_levels(
        self, number: int, levels: Iterable[tuple[int, int, int]], tick: int, time: int, now: int
    ) -> int:
        """As :meth:`load_book`, of ``(code, price_e4, size_micro)``."""
        row, sides = self._rows[number], self._sides[number]
        if not 0 <= tick <= _MOST_TICK_E4:
            return self._faulty(number, Fault.BAD_TICK)
        if time < 0:
            return self._faulty(number, time)
        if time < row.time_ms:
            return STALE_EVENT
        before = self._shown(row)
        if tick and tick != row.tick_e4:
            row.epoch += row.tick_e4 != 0
            row.tick_e4 = tick
        for side in sides:
            side.clear()
        for code, price_e4, size_micro in levels:
            if code < 0:
                return self._faulty(number, Fault.BAD_SIDE)
            fault = _add_level(sides[code], price_e4, size_micro, row.tick_e4)
            if fault:
                return self._faulty(number, fault)
        row.time_ms, row.received_ns = time, now
        self._show(number)
        return DEPTH_CHANGED | (TOP_CHANGED if self._shown(row) != before else 0)

    def confirm(self, slot: SupportsIndex, received_ns: SupportsIndex) -> None:
        """Note that the book was seen to be as known, by its hash for instance: it is young again.

        The time of its quotes stays that of the last event.
        """
        row = self._rows[self._checked(slot)]
        row.received_ns = max(row.received_ns, checked_int64(received_ns))

    def start_epoch(self, slot: SupportsIndex, tick_e4: SupportsIndex) -> None:
        """Take a new tick size; the book is unusable until the next snapshot. 0: not known."""
        number = self._checked(slot)
        tick = checked_range(tick_e4, 0, _MOST_TICK_E4, "tick_e4")
        self._drop(number)
        self._rows[number].tick_e4 = tick
        self._rows[number].epoch += 1

    def invalidate(self, slot: SupportsIndex) -> None:
        """Make a book unusable until the next snapshot: a gap, silence, another hash."""
        self._drop(self._checked(slot))

    def top(self, slot: SupportsIndex) -> Top:
        """Return the best prices of a slot and how old they are."""
        row = self._rows[self._checked(slot)]
        return Top(
            row.best_bid_e4,
            row.best_ask_e4,
            row.best_bid_size_micro,
            row.best_ask_size_micro,
            row.time_ms,
            row.received_ns,
            row.tick_e4,
            BookState(row.state),
            row.epoch,
        )

    def levels(self, slot: SupportsIndex, side: str) -> list[tuple[int, int]]:
        """Return ``(price_e4, size_micro)`` of the bids (BUY) or asks (SELL), best first."""
        number = self._checked(slot)
        if side not in ("BUY", "SELL"):
            raise ValueError(f"side must be BUY or SELL, not {side!r}")
        book = self._sides[number][side == "SELL"]
        pairs = zip(reversed(book.keys), reversed(book.sizes), strict=True)
        return [(book.sign * key, size) for key, size in pairs]

    def state(self, slot: SupportsIndex) -> BookState:
        """Return whether the book of a slot may be traded."""
        return BookState(self._rows[self._checked(slot)].state)

    def view(self) -> memoryview:
        """Return every slot as one read-only structured array, which numpy reads without copying.

        The same as ``memoryview(table)``. Fields as in :class:`Top`, and ``tenant``, which goes up
        when a token takes or leaves the slot: it is odd while one has it.
        """
        return memoryview(self._rows).toreadonly()

    def __buffer__(self, flags: int) -> memoryview:
        return self.view()

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, token_id: object) -> bool:
        return token_id in self._slots

    def __repr__(self) -> str:
        return f"PriceTable({len(self)} of {self.capacity} slots)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a PriceTable lives in one process: it cannot be pickled or copied")

    def _known(self, slot: SupportsIndex) -> int:
        number = checked_int64(slot)
        return number if 0 <= number < self.capacity and self._tokens[number] is not None else -1

    def _checked(self, slot: SupportsIndex) -> int:
        number = self._known(slot)
        if number < 0:
            raise IndexError(f"slot {slot} has no token")
        return number

    def _time(self, time_ms: SupportsIndex | str) -> int:
        """Return a unix time, or a fault."""
        if type(time_ms) is str:
            time = plain_scaled(time_ms, 0)
        else:
            try:
                time = checked_int64(time_ms)  # type: ignore[arg-type]
            except OverflowError:
                return Fault.BAD_TIME
        if time < 0:
            return Fault.BAD_TIME
        return Fault.FROM_FUTURE if time > self.horizon_ms else time

    def _faulty(self, number: int, fault: int) -> int:
        self._drop(number)
        return fault

    def _drop(self, number: int) -> None:
        """Forget a book but for its times: an older snapshot than what was seen is no use."""
        row = self._rows[number]
        for side in self._sides[number]:
            side.clear()
        row.best_bid_e4 = row.best_ask_e4 = 0
        row.best_bid_size_micro = row.best_ask_size_micro = 0
        row.state = BookState.EMPTY

    def _show(self, number: int) -> None:
        row, (bids, asks) = self._rows[number], self._sides[number]
        row.best_bid_e4, row.best_bid_size_micro = bids.best
        row.best_ask_e4, row.best_ask_size_micro = asks.best
        is_crossed = row.best_ask_e4 and row.best_bid_e4 >= row.best_ask_e4
        row.state = BookState.CROSSED if is_crossed else BookState.LIVE

    @staticmethod
    def _shown(row: Row) -> tuple[int, ...]:
        return (
            row.best_bid_e4,
            row.best_ask_e4,
            row.best_bid_size_micro,
            row.best_ask_size_micro,
            row.state,
        )


def _text(value: object, places: int) -> int:
    return plain_scaled(value, places) if type(value) is str else -1


def _level_fault(price_e4: int, size_micro: int, tick_e4: int) -> int:
    if not 0 < price_e4 < _SCALE:
        return Fault.BAD_PRICE
    if not 0 <= size_micro <= MOST_MICRO:
        return Fault.BAD_SIZE
    if tick_e4 and (price_e4 % tick_e4 or price_e4 > _SCALE - tick_e4):
        return Fault.OFF_TICK
    return 0


def _stated(best: object) -> int:
    """Return a stated best price, 0 where that side is empty; STATES_NOTHING, or a fault."""
    if best is None or best == "":
        return STATES_NOTHING
    price_e4 = _text(best, 4)
    return price_e4 % _SCALE if 0 <= price_e4 <= _SCALE else Fault.BAD_PRICE


def _best_fault(stated: int, best_e4: int) -> int:
    if stated < 0:
        return 0 if stated == STATES_NOTHING else Fault.BAD_PRICE
    return 0 if stated == best_e4 else Fault.BEST_DIFFERS


def _fill(side: _Side, levels: Sequence[Any], tick_e4: int) -> int:
    side.clear()
    if not isinstance(levels, list | tuple):
        return Fault.BAD_BOOK
    for level in levels:
        if isinstance(level, list | tuple):
            if len(level) != 2:
                return Fault.BAD_BOOK
            price, size = level
        else:
            price, size = getattr(level, "price", None), getattr(level, "size", None)
        fault = _add_level(side, _text(price, 4), _text(size, 6), tick_e4)
        if fault:
            return fault
    return 0


def _add_level(side: _Side, price_e4: int, size_micro: int, tick_e4: int) -> int:
    fault = _level_fault(price_e4, size_micro, tick_e4)
    if fault:
        return fault
    if side.has(price_e4):
        return Fault.DOUBLE_LEVEL
    side.put(price_e4, size_micro)
    return 0
