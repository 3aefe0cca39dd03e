"""Fixtures that every test may use."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# How long something takes says nothing about whether it is right, least of all on a busy machine.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("POLYEXEC_SHARED", ROOT.parent / "shared"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder with protocol vectors and recorded data; kept beside the repository, not in it."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared data folder at {SHARED} (set POLYEXEC_SHARED to its path)")
    return SHARED


def load_vectors(name: str) -> list[dict[str, Any]]:
    """Return the cases of one vector file, or none where the folder is absent."""
    path = SHARED / "vectors" / f"{name}.json"
    return json.loads(path.read_text())["cases"] if path.exists() else []


@pytest.fixture(scope="session")
def vectors(shared_dir: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Return a reader of vector files that skips where they are absent."""

    def read(name: str) -> list[dict[str, Any]]:
        path = shared_dir / "vectors" / f"{name}.json"
        if not path.exists():
            pytest.skip(f"no vectors at {path}")
        return json.loads(path.read_text())["cases"]

    return read
