"""Plays recorded changes into a price table: the readable twin of ``_fast.tapes``.

A tape is what a market channel has said, as columns of integers: no text is read twice. Its rows go
through the table and the evaluator that a live feed uses, by the same rules, and stand in messages:
the books of a message change together, then what they touch is looked at.
"""

from array import array
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final, NoReturn, SupportsIndex

from polyexec._pure.checks import checked_int64
from polyexec._pure.evaluator import Evaluator, Found
from polyexec._pure.prices import STALE_EVENT, Fault, PriceTable

__all__ = ["COLUMNS", "COUNTED", "Kind", "Stop", "TapePlayer", "checked_columns"]

COLUMNS: Final = (
    ("received_ns", "q"),
    ("time_ms", "q"),
    ("kind", "b"),
    ("is_last", "b"),
    ("token", "i"),
    ("side", "b"),
    ("price_e4", "i"),
    ("size_micro", "q"),
    ("best_bid_e4", "i"),
    ("best_ask_e4", "i"),
)
"""Name and machine type of each. What could not be read is below 0, and a fault when it is played.

``token`` is a number of the tape's own; ``side`` 0 is a bid; a stated best is -1 where none was
stated and 0 where its side was empty; ``is_last`` ends a message.
"""
COUNTED: Final = ("messages", "changes", "books", "old", "unloaded", "foreign", "rows")


class Kind(IntEnum):
    """What a row says."""

    CHANGE = 0
    """The new total at a price."""
    BOOK = 1
    """A whole book: its tick as ``price_e4`` (0: as known), and ``size_micro`` levels after it."""
    LEVEL = 2
    TICK = 3
    """A new tick, as ``price_e4``."""
    TRADE = 4
    GAP = 5
    """The book of ``token`` is void; -1: all."""
    RESOLUTION = 6
    """``token`` pays ``size_micro`` micro-dollars a share."""
    MID = 7
    """``size_micro`` is one price of ``token``, in micro-dollars, at which nobody has offered."""


class Stop(IntEnum):
    """Why a player has stopped."""

    END = 0
    """Of the block."""
    DUE = 1
    """The next message was not received before then."""
    EVENT = 2
    """The row before ``row`` is of a kind that is not the player's."""
    FOUND = 3
    """Something pays: ``finds``."""
    TOUCHED = 4
    """Books have changed: ``touched``, or are ``voided``; see ``stops_at_touch`` and ``watch``."""


def checked_columns(columns: Sequence[Any]) -> list[memoryview]:
    """Return the columns as views of the right type and of one length; ValueError: they are not."""
    if len(columns) != len(COLUMNS):
        raise ValueError(f"columns must be {len(COLUMNS)}, not {len(columns)}")
    views: list[memoryview] = []
    for (name, code), column in zip(COLUMNS, columns, strict=True):
        view = memoryview(column)
        if view.format != code:
            view = view.cast("B").cast(code)  # type: ignore[call-overload]
        if views and len(view) != len(views[0]):
            raise ValueError(f"{name} has {len(view)} rows, not {len(views[0])}")
        views.append(view)
    return views


class TapePlayer:
    """Plays blocks of a tape until somebody has to look.

    Parameters
    ----------
    evaluator : Evaluator
    table : PriceTable
        The one that it reads.
    slots : sequence of int
        The slot of each token of the tape; -1: of no interest.
    ahead_ms : int
        Events stamped further in the future than this are not believed.

    Attributes
    ----------
    stops_at_touch : bool
        Stop after every message that changes a book, and at every trade, instead of evaluating;
        see :meth:`watch`.
    finds : list of tuples
        What the latest message has made pay, one tuple for each touched slot that has any.
    touched : tuple of int
        Slots whose books the latest message has changed, in order.
    voided : list of int
        Watched slots that the latest fault of a watched one has left without a book.
    received_ns : int
        When the latest message was received.
    row : int
        The next row of the block.
    """

    __slots__ = (
        "_ahead_ms",
        "_columns",
        "_counted",
        "_evaluator",
        "_faults",
        "_slots",
        "_table",
        "_watched",
        "finds",
        "received_ns",
        "row",
        "stops_at_touch",
        "touched",
        "voided",
    )

    def __init__(
        self,
        evaluator: Evaluator,
        table: PriceTable,
        slots: Sequence[int],
        *,
        ahead_ms: SupportsIndex,
    ) -> None:
        if not isinstance(evaluator, Evaluator):
            raise TypeError(f"evaluator must be an Evaluator, not {type(evaluator).__name__}")
        if table is not evaluator._table:
            raise ValueError("table must be the one that the evaluator reads")
        for slot in slots:
            if slot != -1:
                table.token_id_of(slot)
        self._evaluator = evaluator
        self._table = table
        self._slots = array("i", slots)
        self._ahead_ms = checked_int64(ahead_ms)
        self._counted = dict.fromkeys(COUNTED, 0)
        self._faults: dict[int, int] = {}
        self._columns = checked_columns([array(code) for _, code in COLUMNS])
        self.stops_at_touch = False
        self._watched: set[int] = set()
        self.finds: list[tuple[Found, ...]] = []
        self.touched: tuple[int, ...] = ()
        self.voided: list[int] = []
        self.received_ns = 0
        self.row = 0

    def watch(self, slots: Sequence[int]) -> None:
        """Stop for the books of these slots as for all with ``stops_at_touch``, and of no others.

        While there are any, every trade stops as well: that of a token without a slot can be one
        of a market that is watched.

        Raises
        ------
        IndexError
            A slot has no token.
        """
        for slot in slots:
            self._table.token_id_of(slot)
        self._watched = set(slots)

    def _wants(self, slot: int) -> bool:
        return slot >= 0 and (self.stops_at_touch or slot in self._watched)

    def load(self, columns: Sequence[Any]) -> None:
        """Take the next block, all of :data:`COLUMNS` in their order; ValueError: they are not."""
        self._columns = checked_columns(columns)
        self.row = 0

    def play(self, until_ns: SupportsIndex) -> Stop:
        """Play messages received before then, and return why it stopped.

        Raises
        ------
        ValueError
            The block ends within a message.
        """
        until = checked_int64(until_ns)
        received, _, kinds, *_ = self._columns
        while self.row < len(kinds):
            row = self.row
            if received[row] >= until:
                return Stop.DUE
            self.received_ns = received[row]
            if kinds[row] == Kind.TRADE and not (self.stops_at_touch or self._watched):
                self.row += 1
                continue
            if kinds[row] not in (Kind.CHANGE, Kind.BOOK):
                self.row += 1
                return Stop.EVENT
            touched, voided = self._message()
            if voided:
                self.voided = voided
            if voided or any(map(self._wants, touched)):
                self.touched = tuple(touched)
                return Stop.TOUCHED
            looks = [self._evaluator.touched(slot, self.received_ns) for slot in touched]
            if any(looks):
                self.finds = [found for found in looks if found]
                return Stop.FOUND
        return Stop.END

    def counts(self) -> dict[str, int]:
        """Return what became of all rows."""
        return dict(self._counted)

    def faults_by_number(self) -> dict[int, int]:
        """Return how often each :class:`Fault` voided a book, by its number."""
        return dict(self._faults)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a TapePlayer lives in one process: it cannot be pickled or copied")

    def _slot_of(self, token: int) -> int:
        return self._slots[token] if 0 <= token < len(self._slots) else -1

    def _message(self) -> tuple[list[int], list[int]]:
        """Apply a message; return what it touched, and what it voided of the watched."""
        _, _, kinds, ends, tokens, _, _, sizes, _, _ = self._columns
        counted = self._counted
        counted["messages"] += 1
        self._table.horizon_ms = self.received_ns // 1_000_000 + self._ahead_ms
        touched: dict[int, None] = {}
        voided: list[int] = []
        is_last = False
        while not is_last:
            row = self.row
            if row >= len(kinds):
                raise ValueError("the block ends within a message")
            is_book = kinds[row] == Kind.BOOK
            if is_book and not 0 <= sizes[row] < len(kinds) - row:
                raise ValueError("the block ends within a book")
            self.row += 1 + (sizes[row] if is_book else 0)
            counted["rows"] += self.row - row
            is_last = ends[self.row - 1] != 0
            slot = self._slot_of(tokens[row])
            if slot < 0:
                counted["foreign"] += 1
                continue
            was_loaded = self._table.state(slot)
            flags = self._take(slot, row)
            if flags < 0:
                if not was_loaded and not is_book:
                    counted["unloaded"] += 1
                else:
                    self._faults[flags] = self._faults.get(flags, 0) + 1
                if was_loaded and slot in self._watched:
                    voided.append(slot)
            elif flags & STALE_EVENT:
                counted["old"] += 1
            else:
                counted["books" if is_book else "changes"] += 1
                if flags:
                    touched[slot] = None
        return list(touched), voided

    def _take(self, slot: int, row: int) -> int:
        """Apply a change or a book; return flags or a fault."""
        _, times, kinds, _, _, sides, prices, sizes, bids, asks = self._columns
        time = times[row]
        if time > self._table.horizon_ms:
            time = Fault.FROM_FUTURE
        elif time < 0:
            time = Fault.BAD_TIME
        if kinds[row] == Kind.CHANGE:
            return self._table._apply_level(
                slot,
                sides[row],
                prices[row],
                sizes[row],
                bids[row],
                asks[row],
                time,
                self.received_ns,
            )
        levels = range(row + 1, row + 1 + sizes[row])
        return self._table._load_levels(
            slot,
            ((sides[at], prices[at], sizes[at]) for at in levels),
            prices[row],
            time,
            self.received_ns,
        )
