"""Whatever is written, reopened, compacted or cut: the journal holds what a dict does."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from polyexec.core.journal import Close, Sent
from polyexec.enums import LegState
from tests.unit.journal.support import (
    NOW,
    body,
    file_of,
    ids,
    intent,
    life,
    open_one,
    read,
    release,
    trade,
)

STEPS = ["begin", "seal", "sent", "trade", "release", "close", "compact", "reopen"]


class Model:
    """What a journal must hold: for each open group the kinds of its records."""

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.groups: dict[int, set[str]] = {}
        self.begun: set[int] = set()

    def step(self, name: str, group: int, journal: Any) -> None:
        known = self.groups.get(group)
        if name == "begin" and known is None and group not in self.begun:
            journal.begin(intent(group))
            self.begun.add(group)
            if self.mode == "fsync":
                self.groups[group] = set()
        elif name == "seal" and group in self.begun:
            journal.seal(group, body(group), ids(group))
            self.begun.remove(group)
            self.groups[group] = {"signed"}
        elif name == "close":
            journal.append(Close(group=group, at_ms=NOW))
            self.begun.discard(group)
            self.groups.pop(group, None)
        elif name == "sent":
            journal.append(Sent(group=group, at_ms=NOW))
            if known is not None:
                known.add("sent")
        elif name == "trade":
            journal.append(trade(ids(group)[1], state=LegState.LIVE))
            if known and "signed" in known:
                known.add("trade")
        elif name == "release" and known and "signed" in known and "release" not in known:
            journal.append(release(ids(group)[2], 7, index=2))
            known.add("release")

    def holds(self, journal: Any) -> None:
        found = {
            group.group: {
                name
                for name, there in (
                    ("signed", group.signed),
                    ("sent", group.sent_ms),
                    ("trade", group.legs[1].trade),
                    ("release", group.legs[2].release),
                )
                if there is not None
            }
            for group in journal.recovered.groups
        }
        assert found == self.groups


@settings(max_examples=40)
@given(
    mode=st.sampled_from(["os", "fsync"]),
    steps=st.lists(st.tuples(st.sampled_from(STEPS), st.integers(1, 4)), max_size=60),
)
def test_a_journal_holds_what_was_written(mode: str, steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, model = Path(place) / "journal", Model(mode)
        journal = open_one(folder, mode)
        for name, group in [*steps, ("reopen", 1)]:
            if name == "reopen":
                journal.close()
                journal = open_one(folder, mode)
                model.begun.clear()  # a new process has signed nothing
                model.holds(journal)
            elif name == "compact":
                with journal._lock:
                    journal._limit = 0
                    journal._work.notify()
            else:
                model.step(name, group, journal)
        journal.close()


RECORDS = [*life(1), *life(2)]
DATA, PLACES = file_of(RECORDS)


@given(st.integers(PLACES[0].offset, len(DATA)))
def test_a_cut_file_holds_the_records_before_the_cut(cut: int) -> None:
    whole = sum(place.offset <= cut for place in PLACES) - 1
    torn = len(DATA[:cut].rstrip(b"\0")) - PLACES[whole].offset
    assert read(DATA[:cut]) == (RECORDS[:whole], max(0, torn))
