"""Links of the pages lead somewhere; what lies outside is listed, and asked by `make linkcheck`."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.blocks import FENCE

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    page
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if "_build" not in page.parts
]
LINK = re.compile(r"(?<!`)\[[^\]\n]+\]\(<?(?P<target>[^)\s>]+)>?\)")
BARE = re.compile(r"https?://[^\s)\"'`>|]+")

# Hosts that prose may send a reader to. The exchange's own are names in examples, not links.
OUTSIDE = {"magicstack.github.io", "polyexec.readthedocs.io", "www.freedesktop.org"}


def prose(page: Path) -> str:
    """Return a page without its code blocks and inline code."""
    lines, fence = [], ""
    for line in page.read_text().splitlines():
        mark = FENCE.match(line)
        if mark and not fence:
            fence = mark["ticks"]
        elif fence and line.strip().startswith(fence):
            fence = ""
        elif not fence:
            lines.append(re.sub(r"`[^`]+`", "``", line))
    return "\n".join(lines)


def anchors(page: Path) -> set[str]:
    """Return what can be linked to in a page: its headings, as GitHub and MyST name them."""
    headings = re.findall(r"^#{1,6} +(.+)$", page.read_text(), re.MULTILINE)
    words = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {word.replace(" ", "-") for word in words} | set(
        re.findall(r"^\(([\w-]+)\)=$", page.read_text(), re.MULTILINE)
    )


def fault(page: Path, target: str) -> str:
    """Return what is wrong with a link, or nothing."""
    parts = urlsplit(target)
    if parts.scheme:
        known = parts.scheme == "https" and parts.hostname in OUTSIDE
        return "" if known else f"{target}: outside, and not in the list of this test"
    place = (page.parent / parts.path).resolve() if parts.path else page
    if not place.exists():
        return f"{target}: no such file"
    if parts.fragment and parts.fragment not in anchors(place):
        return f"{target}: no such heading"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = prose(page)
    targets = [match["target"] for match in LINK.finditer(text)]
    assert [found for target in targets if (found := fault(page, target))] == []
    bare = {urlsplit(url).hostname for url in BARE.findall(text)}
    assert bare - OUTSIDE == set()


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("other.md", ""),
        ("other.md#two-words--more", ""),
        ("#here", ""),
        ("gone.md", "no such file"),
        ("other.md#gone", "no such heading"),
        ("#gone", "no such heading"),
        ("http://polyexec.readthedocs.io", "outside"),
        ("https://example.com", "outside"),
    ],
)
def test_faults_are_noticed(tmp_path: Path, target: str, found: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Here\n\n[a link]({target})\n")
    (tmp_path / "other.md").write_text("## Two words, & more!\n")
    (match,) = LINK.finditer(prose(page))
    reason = fault(page, match["target"])
    assert found in reason
    assert bool(found) == bool(reason)


def test_every_page_is_in_a_table_of_contents() -> None:
    docs = ROOT / "docs"
    listed = {"index.md"}
    for page in docs.rglob("*.md"):
        for tree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            names = [line for line in tree.splitlines() if line and not line.startswith(":")]
            # Notebooks have a test of their own.
            listed |= {
                str((page.parent / f"{name}.md").relative_to(docs))
                for name in names
                if not (page.parent / f"{name}.ipynb").is_file()
            }
    pages = {str(page.relative_to(docs)) for page in PAGES if docs in page.parents}
    assert pages == listed
