"""The ordinary run of the feed's soak, in a process of its own."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.feed_soak.run", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_no_stale_book_is_live() -> None:
    done = run("--hours", "3", "--seed", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    found = re.fullmatch(
        r"hours=3 events=(\d+) disconnects=(\d+) stale=0 rss_growth_mib=[\d.]+", last
    )
    assert found is not None, last
    assert int(found[1]) > 1000
    assert int(found[2]) > 10


def test_a_feed_that_doubts_nothing_is_found_out() -> None:
    # How much happens between two jumps of the clock is up to the machine: now and then nothing
    # that is missed changes a book in so short a time.
    for seed in range(1, 6):
        done = run("--hours", "0.5", "--blind", "--seed", str(seed))
        if done.returncode:
            break
    assert done.returncode == 1, done.stdout + done.stderr
    assert " stale=0 " not in done.stdout.splitlines()[-1]
