"""The notebooks run, show what their text speaks of, and are kept without outputs."""

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("nbclient", reason="needs pip install 'polyexec[notebooks]'")
pytest.importorskip("ipykernel", reason="needs pip install 'polyexec[notebooks]'")
pytest.importorskip("plotly", reason="needs pip install 'polyexec[viz]'")

import nbformat
from nbclient.exceptions import CellExecutionError

from tests.docs import notebooks

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "examples" / "notebooks"
FILES = sorted(FOLDER.glob("*.ipynb"))
PAGE = ROOT / "docs" / "intro" / "examples.md"

# Plots without captured data, and words of the cards or of what is printed.
SHOWN: dict[str, tuple[int, tuple[str, ...]]] = {
    "01_first_signal.ipynb": (
        0,
        (
            "MATCHED",
            "skipped: CooldownActive",
            "only some legs traded",
            "still at risk",
            "ask size",
        ),
    ),
    "02_record_and_replay.ipynb": (1, ("lost=0", "L2", "digest")),
    "03_triangle_backtest.ipynb": (3, ("annualised return", "ms each way", "report.html")),
    "04_own_strategy.ipynb": (2, ("expected of whole", "add it there")),
    "05_paper_then_live.ipynb": (1, ("success", "skipped: TradingDisabled")),
}


def assert_shows(notebook: Any, plots: int, words: tuple[str, ...]) -> None:
    text = "\n".join((notebooks.printed(notebook), *notebooks.cards(notebook)))
    assert [word for word in words if word not in text] == []
    assert notebooks.printed(notebook, "stderr") == ""
    figures = notebooks.plots(notebook)
    assert len(figures) == plots
    for figure in figures:
        assert figure["data"]
        assert all(len(trace["y"]) for trace in figure["data"])


def captured() -> bool:
    return (ROOT.parent / "shared" / "data" / "captured").is_dir()


def test_every_notebook_says_what_it_shows() -> None:
    assert sorted(SHOWN) == [path.name for path in FILES]


def test_every_notebook_is_on_its_page_and_in_the_contents() -> None:
    names = [path.stem for path in FILES]
    page = (ROOT / "docs" / "intro" / "examples.md").read_text()
    assert re.findall(r"<notebooks/(\w+)>`", page) == names
    index = (ROOT / "docs" / "index.md").read_text()
    assert re.findall(r"^intro/notebooks/(\w+)$", index, re.MULTILINE) == names


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_notebook_runs_and_shows_what_it_speaks_of(path: Path, tmp_path: Path) -> None:
    plots, words = SHOWN[path.name]
    # Where there are no captured data, and where nobody may have them.
    done = notebooks.run(path, tmp_path, POLYEXEC_SHARED=str(tmp_path))
    assert_shows(done, plots, words)


@pytest.mark.skipif(not captured(), reason="no folder shared/data/captured beside the checkout")
def test_captured_data_are_shown_where_they_are(tmp_path: Path) -> None:
    path = FOLDER / "03_triangle_backtest.ipynb"
    done = notebooks.run(path, tmp_path, POLYEXEC_SHARED=str(ROOT.parent / "shared"))
    words = ("at  0 ms: 4 signals, 4 whole", "at 20 ms: 4 signals, 0 whole")
    assert_shows(done, SHOWN[path.name][0] + 2, words)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    notebook = notebooks.read(path)
    assert list(notebooks.outputs(notebook)) == []
    assert {cell.get("execution_count") for cell in notebook.cells} == {None}
    assert notebook.metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 30_000
    assert notebook.cells[0].source.startswith("# ")


def test_a_cell_that_fails_fails_the_notebook(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(code) for code in ("fine = 1", "missing + fine")]
    path = tmp_path / "broken.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    with pytest.raises(CellExecutionError, match="name 'missing' is not defined"):
        notebooks.run(path, tmp_path)
