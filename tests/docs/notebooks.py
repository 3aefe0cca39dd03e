"""Run a notebook in a kernel of its own, and look at what its cells showed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PLOT = "application/vnd.plotly.v1+json"


def read(path: Path) -> Any:
    """Return a notebook; one that is not valid is refused."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def run(path: Path, scratch: Path, **variables: str) -> Any:
    """Return the notebook as it is after all of its cells have run, in its own folder.

    The kernel's files go to ``scratch``, ``variables`` to its environment.
    """
    notebook = read(path)
    client = NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute(env={**environment(scratch), **variables})
    return notebook


def outputs(notebook: Any) -> Iterator[Any]:
    """Yield the outputs of every cell."""
    for cell in notebook.cells:
        yield from cell.get("outputs", ())


def plots(notebook: Any) -> list[Any]:
    """Return the Plotly figures that were shown."""
    return [one.data[PLOT] for one in outputs(notebook) if PLOT in one.get("data", {})]


def cards(notebook: Any) -> list[str]:
    """Return the HTML of the values that were shown, without the figures."""
    shown = (one.get("data", {}) for one in outputs(notebook))
    return [data["text/html"] for data in shown if "text/html" in data and PLOT not in data]


def printed(notebook: Any, stream: str = "stdout") -> str:
    """Return what the cells wrote to a stream."""
    written = (one for one in outputs(notebook) if one.output_type == "stream")
    return "".join(one.text for one in written if one.name == stream)


def environment(scratch: Path) -> dict[str, str]:
    """Return a kernel's environment: no key of a developer, and no file but in a test's folder."""
    settings = ("PRIVATE_KEY", "PROXY_ADDRESS", "CLOB_", "POLYMARKET_", "ARB_", "PK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    return {
        **kept,
        "IPYTHONDIR": str(scratch / "ipython"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(scratch),
    }
