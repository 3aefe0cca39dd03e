"""What a recording is to a replay: stamped events in the order of their receipt."""

import heapq
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import msgspec

from polyexec.core.market_events import MarketEvent

__all__ = ["Coverage", "Source", "Stamped", "merge"]

Kind = Literal["event", "gap", "resolution"]


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
    """Of a gap: whose books are void (empty: all). Of a resolution: the token."""
    pays_micro: int = 0
    """Of a resolution: micro-dollars per share."""


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has, and has not; complete once its events were read."""

    is_partial: bool = False
    detail: str = ""


class Source(Protocol):
    """A recording."""

    name: str
    truth: str
    """``L2``, ``snapshots``, ``prints`` or ``mid only``."""

    def events(self) -> Iterator[Stamped]:
        """Yield everything, by time of receipt."""
        ...

    def coverage(self) -> Coverage:
        """Return what there was of it."""
        ...


def merge(sources: Iterable[Source]) -> Iterator[Stamped]:
    """Yield the events of all sources by time; the earlier source first at the same time."""
    return heapq.merge(*(one.events() for one in sources), key=lambda one: one.received_ns)
