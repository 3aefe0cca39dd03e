"""Build the project and install it into environments of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

NO_INDEX = re.compile(
    r"Temporary failure in name resolution|NewConnectionError|Network is unreachable|"
    r"Name or service not known|Connection refused|ProxyError"
)


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """Run a command and return its output; skip the test where no package index answers."""
    # What the developer set for this checkout must not reach the environments made here.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("POLYEXEC_", "PYTHONPATH", "VIRTUAL_ENV", "COV_CORE"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    if done.returncode and NO_INDEX.search(output):
        pytest.skip("no package index can be reached from here")
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{output}"
    return done.stdout


def make_venv(folder: Path, python: str | Path = sys.executable) -> Path:
    """Make an empty environment and return its interpreter."""
    # Without pip: not every system has ensurepip, and our own pip installs into other environments.
    run(python, "-m", "venv", "--without-pip", folder)
    return folder / "bin" / "python"


def pip_install(python: Path, *what: str | Path, **environment: str) -> None:
    """Install into an environment."""
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    run(*pip, "install", "--quiet", *what, **environment)
