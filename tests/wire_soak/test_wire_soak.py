"""The ordinary run of the soak over rotating connections, in a process of its own."""

import re
import subprocess
import sys

import pytest

from benchmarks.peers import floor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run(*options: str) -> subprocess.CompletedProcess[str]:
    reason = floor.build()
    if reason:
        pytest.skip(f"the C server cannot be built: {reason}")
    command = [sys.executable, "-m", "tests.wire_soak.run", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_rotating_connections_leave_nothing_behind() -> None:
    done = run("--posts", "6000", "--most-requests", "400")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "posts=6000 leaks=0 seed=1"
    found = re.search(r"answered=(\d+) .* connections=(\d+)", done.stdout)
    assert found is not None
    assert int(found[1]) > 5900
    assert int(found[2]) > 10


def test_a_leak_is_found() -> None:
    done = run("--posts", "4000", "--leak", "4096")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "bytes more than after a tenth" in done.stdout
