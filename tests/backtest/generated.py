"""A generated recording, its forms and settings, shared by the tests of the backtest."""

import json
from collections.abc import Iterator

from benchmarks import market
from polyexec.backtest.stream import Coverage, Stamped

START_MS = 1_790_000_000_000
SETTINGS = {"order_type": "FOK", "opportunity_timeout_ms": 0}


class Recorded:
    """Snapshots of a generated market in which one market in forty is out of line.

    Parameters
    ----------
    pays : mapping
        From a token to micro-dollars per share: becomes known after the last round.
    """

    name, truth = "generated", "L2"

    def __init__(
        self,
        trios: int = 80,
        *,
        is_partial: bool = False,
        rounds: int = 2,
        start_ms: int = START_MS,
        every_ms: int = 1000,
        pays: dict[str, int] | None = None,
    ) -> None:
        self.trios, self.is_partial, self.rounds = trios, is_partial, rounds
        self.start_ms, self.every_ms, self.pays = start_ms, every_ms, pays or {}

    def events(self) -> Iterator[Stamped]:
        books = market.watched(self.trios).books
        for step in range(self.rounds):
            now = self.start_ms + self.every_ms * step
            for token, (bids, asks) in books.items():
                event = {
                    "event_type": "book",
                    "asset_id": token,
                    "timestamp": str(now),
                    "tick_size": "0.001",
                    "bids": levels(bids),
                    "asks": levels(asks),
                }
                yield Stamped(received_ns=now * 10**6, frame=json.dumps(event).encode())
        end_ns = (self.start_ms + self.every_ms * self.rounds) * 10**6
        for token, pays in self.pays.items():
            yield Stamped(received_ns=end_ns, kind="resolution", tokens=(token,), pays_micro=pays)

    def coverage(self) -> Coverage:
        return Coverage(is_partial=self.is_partial, detail="12 of 24 hours")


def levels(rows: list[tuple[int, int]]) -> list[dict[str, str]]:
    return [{"price": market.text(price, 4), "size": market.text(size, 6)} for price, size in rows]


def forms(trios: int = 80) -> list:
    return market.watched(trios).forms
