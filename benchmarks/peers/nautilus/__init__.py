"""nautilus_trader in an environment of its own: made once below ``.bench``, left out where not."""

import functools
import json
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import HERE
from benchmarks.peers.worker import Remote, Worker

NAME = "nautilus_trader"
# The last release for Python 3.11; newer interpreters get the newest.
_WANTED = "nautilus_trader==1.221.0" if sys.version_info < (3, 12) else "nautilus_trader"
_HOME = HERE.parent / ".bench" / "nautilus"
_PYTHON = _HOME / "bin" / "python"


def build() -> str:
    """Install it; return why it cannot be had, or nothing."""
    if is_built():
        return ""
    print(f"installing {_WANTED}, a minute the first time", flush=True)
    venv.create(_HOME, with_pip=True)
    command = [str(_PYTHON), "-m", "pip", "install", "--quiet", _WANTED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"pip failed: {next(iter(done.stderr.strip().splitlines()), 'no reason')}"
    (_HOME / "built").write_text(_WANTED)
    return ""


def is_built() -> bool:
    """Return True when it was installed."""
    stamp = _HOME / "built"
    return stamp.exists() and stamp.read_text() == _WANTED


def contestant(opening: Callable[[], object]) -> dict[str, Remote]:
    """Return it as a baseline; nothing where it is not installed."""
    if not is_built():
        return {}
    worker = Worker(NAME, [str(_PYTHON), str(Path(__file__).with_name("play.py"))], opening=opening)
    return {NAME: Remote(worker, "run")}


@functools.cache
def versions() -> dict[str, str]:
    """Return its version."""
    if not is_built():
        return {}
    code = "import json, nautilus_trader as n; print(json.dumps(n.__version__))"
    done = subprocess.run([str(_PYTHON), "-c", code], capture_output=True, text=True, check=True)
    return {NAME: json.loads(done.stdout)}
