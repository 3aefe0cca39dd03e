"""The pages build, and every warning of Sphinx is a fault."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
MISSING = [
    name
    for name in ("sphinx", "myst_parser", "furo", "numpydoc")
    if not importlib.util.find_spec(name)
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-W",
            "--keep-going",
            "-E",
            str(source),
            str(target),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_pages_build_without_warnings(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "reference" / "results.html").read_text()
    # What annotations name by the module that defines it is linked to its public entry.
    assert 'href="signals.html#polyexec.TokenId"' in page


def test_name_that_does_not_exist_is_a_warning(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "conf.py").write_text((DOCS / "conf.py").read_text().replace('["_static"]', "[]"))
    (source / "index.md").write_text(
        "# Title\n\n{py:class}`decimal.Decimal`, {py:class}`polyexec.records.Record`,"
        " {py:class}`polyexec.Executer`\n"
    )
    done = build(source, tmp_path / "html")
    assert done.returncode == 1
    assert done.stderr.count("WARNING") == 1
    assert "polyexec.Executer" in done.stderr
