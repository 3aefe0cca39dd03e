"""``make backtest-memory`` in small."""

import re
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("pyarrow")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_recording() -> None:
    # Below some 30 MiB nothing is spilled, and all that is sorted would still be in memory.
    command = [sys.executable, "-m", "tests.backtest.memory", "--mib", "32"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.fullmatch(r"bytes=(\d+) peak_mib=(\d+)", done.stdout.splitlines()[-1])
    assert found
    assert int(found[1]) > 30 << 20
    assert int(found[2]) < 500
