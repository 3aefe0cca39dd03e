"""A folder for a journal, and journals that are closed at the end."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.journal.support import open_one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def opened(folder: Path) -> Iterator[Callable[..., Any]]:
    """Return a way to open the journal; what is still open at the end is closed."""
    journals = []

    def open_it(mode: str = "os", **changes: Any) -> Any:
        journals.append(open_one(folder, mode, **changes))
        return journals[-1]

    yield open_it
    for journal in journals:
        journal.close()
