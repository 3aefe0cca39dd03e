"""mypy and stubtest as tests: the published types are right and match what was built."""

import subprocess
import sys
from pathlib import Path

import pytest

from polyexec import _impl

ROOT = Path(__file__).resolve().parent.parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_library_passes_mypy_strict() -> None:
    done = run("-m", "mypy")
    assert done.returncode == 0, done.stdout + done.stderr


def test_callers_see_exact_types() -> None:
    done = run("-m", "mypy", "--strict", "tests/typing/public_api.py", "examples")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(_impl.IMPLEMENTATION == "pure", reason="no extensions are built here")
def test_stubs_match_the_extensions() -> None:
    done = run("tools/stubtest.py")
    assert done.returncode == 0, done.stdout + done.stderr
