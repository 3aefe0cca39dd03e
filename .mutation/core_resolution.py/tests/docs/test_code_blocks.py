"""The code in README, documentation and examples does what it says: it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.blocks import blocks_of, run_page

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in page.parts and any(block.runs for block in blocks_of(page.read_text()))
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

VARIABLES = ("PRIVATE_KEY", "PROXY_ADDRESS", "CLOB_URL", "POLYMARKET_", "CLOB_", "ARB_", "PK")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    # A developer's own key must never get into the pages that show how to use one.
    for name in list(os.environ):
        if name.startswith(VARIABLES):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_of_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(page)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip(), "an example prints its result"
    assert done.stderr == ""


def test_readme_has_code_that_runs() -> None:
    assert ROOT / "README.md" in PAGES
    assert EXAMPLES


def test_blocks_of_a_page_share_names_and_may_await(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nimport asyncio\nx = 1\n```\n"
        "- item\n\n  ```python\n  await asyncio.sleep(0)\n  x += 1\n  ```\n"
        "```python no-run\nx = 'skipped'\n```\n"
        "```console\n$ not python\n```\n"
    )
    assert run_page(page)["x"] == 2


def test_a_fault_names_page_and_line(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\nfine = 1\nmissing + 1\n```\n")
    with pytest.raises(NameError) as caught:
        run_page(page)
    last = caught.traceback[-1]
    assert (str(last.path), last.lineno + 1) == (str(page), 5)


def test_a_block_without_end_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n")
    with pytest.raises(ValueError, match="line 1: the code block does not end"):
        run_page(page)
