"""A made-up recording: the books of a watched market, then changes to them, as a source."""

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks import inputs, market
from polyexec.backtest.stream import Coverage, Stamped

START_MS = 1_790_000_000_000
STEP_MS = 10


class Recorded:
    """``count`` price_change frames, ten milliseconds apart, after the books they change."""

    truth = "L2"

    def __init__(self, watched: market.Watched, count: int) -> None:
        self.name = f"{count} frames"
        self.watched, self.count = watched, count

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yield unix milliseconds and the frame."""
        now = START_MS
        stamp = b'"timestamp":"%d"'
        for token, (bids, asks) in self.watched.books.items():
            event = {
                "event_type": "book",
                "asset_id": token,
                "timestamp": str(now),
                "tick_size": "0.001",
                "bids": _levels(bids),
                "asks": _levels(asks),
            }
            yield now, json.dumps(event, separators=(",", ":")).encode()
        for frame in market.frames(self.watched.pairs, self.watched.books, self.count):
            now += STEP_MS
            yield now, frame.replace(stamp % inputs.TIMESTAMP_MS, stamp % now)

    def events(self) -> Iterator[Stamped]:
        for now, frame in self.frames():
            yield Stamped(received_ns=now * 1_000_000, frame=frame)

    def coverage(self) -> Coverage:
        return Coverage()


class Lines:
    """The same out of a file of frames, one per line, which a replay reads every time."""

    truth = "L2"

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    @classmethod
    def write(cls, recorded: Recorded, path: Path) -> "Lines":
        with path.open("wb") as file:
            for now, frame in recorded.frames():
                file.write(b"%d %s\n" % (now, frame))
        return cls(path)

    def pairs(self) -> Iterator[tuple[int, bytes]]:
        with self._path.open("rb") as file:
            for line in file:
                now, frame = line.split(b" ", 1)
                yield int(now), frame

    def events(self) -> Iterator[Stamped]:
        for now, frame in self.pairs():
            yield Stamped(received_ns=now * 1_000_000, frame=frame)

    def coverage(self) -> Coverage:
        return Coverage()


def _levels(levels: market.Levels) -> list[dict[str, str]]:
    return [
        {"price": market.text(price, 4), "size": market.text(size, 6)} for price, size in levels
    ]
