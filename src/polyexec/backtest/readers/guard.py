"""The look-ahead guard: nobody learns how a market ended before it has."""

import heapq
from collections.abc import Iterable, Iterator

from polyexec.backtest.stream import Stamped
from polyexec.core.market_events import MarketResolved, decode_frame, parse_time_ms

__all__ = ["hold_resolutions"]

_MARK = b"market_resolved"


def hold_resolutions(events: Iterable[Stamped]) -> Iterator[Stamped]:
    """Yield everything, but what a market has paid only when that is known, by its own time.

    A ``market_resolved`` becomes the event and the resolutions of its tokens. Where it stands in
    the file before its time, it waits.
    """
    waiting: list[tuple[int, int, Stamped]] = []
    number = 0
    for one in events:
        while waiting and waiting[0][0] <= one.received_ns:
            yield heapq.heappop(waiting)[2]
        if one.frame is not None and _MARK not in one.frame:
            yield one
            continue
        if one.frame is None and not isinstance(one.event, MarketResolved):
            yield one
            continue
        found = [one.event] if one.event is not None else decode_frame(one.frame or b"")
        for event in found:
            if not isinstance(event, MarketResolved):
                yield Stamped(received_ns=one.received_ns, event=event)
                continue
            due = max(one.received_ns, parse_time_ms(event.timestamp) * 1_000_000)
            for told in _told(event, due):
                heapq.heappush(waiting, (due, number, told))
                number += 1
        while waiting and waiting[0][0] <= one.received_ns:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _told(event: MarketResolved, due: int) -> Iterator[Stamped]:
    yield Stamped(received_ns=due, event=event)
    winner = event.winning_asset_id
    if not winner:
        return
    yield Stamped(received_ns=due, kind="resolution", tokens=(winner,), pays_micro=1_000_000)
    losers = tuple(token for token in event.assets_ids or () if token != winner)
    if losers:
        yield Stamped(received_ns=due, kind="resolution", tokens=losers)
