"""A headless browser, where one is installed: opens a page, tells what it said and became."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Page:
    """What became of a page."""

    dom: str
    console: list[str]


def browser() -> str:
    """Return the path of a browser; skips the test where there is none."""
    for name in NAMES:
        path = shutil.which(name)
        if path:
            return path
    pytest.skip(f"no headless browser is installed: {', '.join(NAMES)}")


def opened(path: Path, profile: Path) -> Page:
    """Open a file; everything that its scripts do at once has been done."""
    done = subprocess.run(
        [
            browser(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-extensions",
            "--no-first-run",
            f"--user-data-dir={profile}",
            "--window-size=1200,2000",
            "--virtual-time-budget=20000",
            "--enable-logging=stderr",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    # [pid:thread:time:INFO:CONSOLE:line] "text", source: file (line)
    console = [line for line in done.stderr.splitlines() if re.search(r"[:\]]CONSOLE[:(]", line)]
    return Page(done.stdout, console)
