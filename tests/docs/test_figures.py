"""Figures of speed stand in the pages only as a run wrote them."""

import re
from pathlib import Path

import pytest

from benchmarks import report
from tests.docs.blocks import blocks_of
from tests.docs.test_links import prose

ROOT = Path(__file__).resolve().parent.parent.parent
TOPICS = ROOT / "docs" / "topics"
RESULTS = (ROOT / "benchmarks" / "RESULTS.md").read_text()
# "25 us", "1.5 ms", "20 times faster"; settings and protocol times are not speed.
SPEED = re.compile(r"\b(\d[\d.,]*) ?(?:us|µs|microseconds|ns|times (?:faster|slower|as fast))\b")


def included(page: Path) -> list[tuple[str, str]]:
    """Return what a page takes of RESULTS.md: the texts between which it lies."""
    found = []
    for block in blocks_of(page.read_text()):
        if block.language == "{include}" and block.words[0].endswith("RESULTS.md"):
            assert (page.parent / block.words[0]).resolve() == report.RESULTS
            options = dict(re.findall(r"^:([\w-]+): \"?(.*?)\"?$", block.code, re.MULTILINE))
            found.append((options.get("start-after", ""), options.get("end-before", "")))
    return found


def between(start: str, end: str) -> str:
    for marker in (start, end):
        assert marker == "" or RESULTS.count(marker) == 1, f"{marker!r} is not in RESULTS.md, once"
    text = RESULTS.partition(start)[2] if start else RESULTS
    return text.partition(end)[0] if end else text


def test_tables_are_those_of_the_last_run() -> None:
    machine, promises = (between(*part) for part in included(TOPICS / "performance.md"))
    assert [line for line in machine.splitlines() if line.startswith("* date: ")]
    assert "\n* versions: " in machine
    assert promises.strip().startswith("| ratio | target | measured |")
    assert included(TOPICS / "measurements.md") == [("", "")]


@pytest.mark.parametrize(
    "page",
    [
        ROOT / "README.md",
        *sorted((ROOT / "docs" / "intro").glob("*.md")),
        *sorted(TOPICS.glob("*.md")),
    ],
    ids=lambda page: page.name,
)
def test_no_speed_is_typed_by_hand(page: Path) -> None:
    assert [figure[0] for figure in SPEED.finditer(prose(page)) if figure[0] not in RESULTS] == []


def test_typed_speed_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("A plan takes 3.14 us, 99 times faster than theirs.\n")
    assert [figure[1] for figure in SPEED.finditer(prose(page))] == ["3.14", "99"]
