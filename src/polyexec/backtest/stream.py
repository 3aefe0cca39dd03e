"""What a recording is to a replay: stamped events in the order of their receipt."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol, TypeAlias

import msgspec

from polyexec.core.market_events import MarketEvent

__all__ = ["Coverage", "Kind", "Source", "Stamped", "Truth", "merge"]

Kind: TypeAlias = Literal["event", "gap", "resolution", "mid"]
Truth: TypeAlias = Literal["L2", "snapshots", "prints", "mid only", "resolutions"]
"""How much of the market a source knows.

``L2``: every change of the books. ``snapshots``: books now and then, nothing between them.
``prints``: trades, no books. ``mid only``: one price. ``resolutions``: what a token paid.
"""


class Stamped(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was received, or a fact about it, and when."""

    received_ns: int
    """Unix time of our clock; the exchange's own where only that is known."""
    kind: Kind = "event"
    frame: bytes | None = None
    """A frame of the market channel as it came."""
    event: MarketEvent | None = None
    """The same, decoded already."""
    tokens: tuple[str, ...] = ()
    """Of a gap: whose books are void until their next snapshot (empty: all). Of a resolution and
    a mid: the tokens."""
    pays_micro: int = 0
    """Of a resolution: micro-dollars per share."""
    mid: str = ""
    """Of a mid: dollars, as it was given. Nobody has offered to trade there."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has, and has not; complete once its events were read.

    Nothing that is missing is filled in: a missing hour is a gap, and the books are void in it.
    """

    is_partial: bool = False
    """Something is missing: a gap, an hour, the end of a file, or the rest of a day."""
    detail: str = ""
    """All of it in words."""
    truth: Truth = "L2"
    records: int = 0
    """That were read and not dropped."""
    duplicates: int = 0
    """That were there twice, and dropped once."""
    late: int = 0
    """That stand after a newer one, by less than would be refused; taken where they stand."""
    gaps: int = 0
    """Times that books became void: a lost connection, lines that were not written, a hole."""
    first_ns: int | None = None
    """Unix time of the first record, as ``last_ns``; None: there is none."""
    last_ns: int | None = None
    hours: tuple[str, ...] = ()
    """With a record or a file of their own, ``2026-04-14T08`` in UTC."""
    missing_hours: tuple[str, ...] = ()
    """Between the first and the last, without one."""
    partial_days: tuple[str, ...] = ()
    """Days in UTC of which an hour is missing, at their ends too."""
    tokens: tuple[str, ...] = ()
    """That have a book, a trade or a price in it."""
    truncated: tuple[str, ...] = ()
    """Files that end in the middle of a record."""


class Source(Protocol):
    """A recording."""

    name: str
    truth: Truth

    def events(self) -> Iterator[Stamped]:
        """Yield everything, by time of receipt; from the start at each call."""
        ...

    def coverage(self) -> Coverage:
        """Return what there was of it."""
        ...


def merge(sources: Iterable[Source]) -> Iterator[Stamped]:
    """Yield the events of all sources by time.

    At the same time the earlier source comes first, and within a source the order is its own: the
    merge is stable. Of every source one event is held, so it is out of core.
    """
    return heapq.merge(*(one.events() for one in sources), key=lambda one: one.received_ns)
