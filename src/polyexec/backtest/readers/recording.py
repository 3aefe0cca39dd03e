"""What ``polyexec record`` writes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from polyexec.backtest.readers.guard import hold_resolutions
from polyexec.backtest.readers.lines import Lines, as_path, list_files
from polyexec.backtest.readers.tally import Tally
from polyexec.backtest.stream import Coverage, Stamped, Truth
from polyexec.engine.recording import FrameRecord
from polyexec.errors import InputError

__all__ = ["Recording"]

_MS_NS: Final = 1_000_000
_CLOCK_SET_NS: Final = 60_000_000_000
_BOOK: Final = '"book"'
_TOKEN: Final = re.compile(r'"asset_id"\s*:\s*"(\d{1,78})"')
_NAME: Final = re.compile(r"(market-.*)-(\d+)\.jsonl(?:\.gz|\.zst)?\Z")


class Recording:
    """A file or a folder that ``polyexec record`` has written; plain, ``.gz`` or ``.zst``.

    A lost connection voids the books that came on it, lines that were not written void every book,
    until their next snapshots. A file that ends in the middle (it is still being written, or its
    writer was killed) is read as far as it goes; the coverage names it. A clock that was set back
    by less than a minute stands still meanwhile.
    """

    truth: Truth = "L2"

    def __init__(self, path: Path | str) -> None:
        self.name = str(path)
        self._path = as_path(path)
        self._tally = Tally(self.truth, knows_gaps=True)

    def events(self) -> Iterator[Stamped]:
        """Yield frames, gaps and resolutions, in the order in which they were recorded.

        Raises
        ------
        InputError
            What is no recorded line stands before the end of a file, or a file overlaps the one
            before it: two recorders in one folder, or a copy. Names file and line.
        """
        return hold_resolutions(self._events())

    def coverage(self) -> Coverage:
        """Return what there was of it until now."""
        return self._tally.coverage()

    def _events(self) -> Iterator[Stamped]:
        tally = self._tally = Tally(self.truth, knows_gaps=True)
        connections: dict[int, _Connection] = {}
        for file in _in_order(list_files(self._path)):
            for one in connections.values():
                one.fresh.clear()
            lines = Lines(file, may_be_cut=True)
            for record in _records(lines):
                tally.admit(record.received_ms * _MS_NS, lines.where, late_ns=_CLOCK_SET_NS)
                if record.frame is not None:
                    self._note(record.frame, connections, record.connection)
                    yield Stamped(received_ns=tally.now_ns, frame=record.frame.encode())
                else:
                    yield from self._mark(record, connections)
            if lines.is_cut:
                tally.cut(lines.name)
                yield tally.gap(tally.now_ns)
                connections.clear()

    def _note(self, frame: str, connections: "dict[int, _Connection]", number: int) -> None:
        if _BOOK in frame:
            found = _TOKEN.findall(frame)
            one = connections.setdefault(number, _Connection())
            one.tokens.update(found)
            one.fresh.update(found)
            self._tally.tokens.update(found)

    def _mark(
        self, record: FrameRecord, connections: "dict[int, _Connection]"
    ) -> Iterator[Stamped]:
        now_ns = self._tally.now_ns
        if record.event == "lost":
            yield self._tally.gap(now_ns)
            return
        one = connections.setdefault(record.connection, _Connection())
        void = set(one.tokens)
        if record.event == "up":
            # Again, without "down": another run, which has begun this file with its snapshots.
            void = void - one.fresh if one.is_up else set()
        else:
            one.tokens.clear()
        one.is_up = record.event == "up"
        if void:
            yield self._tally.gap(now_ns, void)


class _Connection:
    """What is known of a recorded connection."""

    def __init__(self) -> None:
        self.is_up = False
        self.tokens: set[str] = set()
        """That a snapshot came for, on it."""
        self.fresh: set[str] = set()
        """The same, of this file."""


def _records(lines: Lines) -> Iterator[FrameRecord]:
    decoder = msgspec.json.Decoder(FrameRecord)
    torn: InputError | None = None
    for line in lines:
        if torn is not None:
            raise torn
        try:
            yield decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            torn = InputError(lines.where, line[:40], f"is no recorded line: {error}")
    # The last line may be torn; in front of others it is damage.
    lines.is_cut = lines.is_cut or torn is not None


def _in_order(files: list[Path]) -> list[Path]:
    def key(file: Path) -> tuple[str, int]:
        match = _NAME.match(file.name)
        return (match[1], int(match[2])) if match else (file.name, 0)

    return sorted(files, key=key)
