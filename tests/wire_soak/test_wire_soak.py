"""The ordinary run of the soak over rotating connections."""

import asyncio
import sys

import pytest

from benchmarks.peers import floor
from tests.wire_soak import run
from tests.wire_soak.run import soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def _server() -> None:
    reason = floor.build()
    if reason:
        pytest.skip(f"the C server cannot be built: {reason}")
    floor.port()


@pytest.mark.usefixtures("_server")
def test_rotating_connections_leave_nothing_behind() -> None:
    count = asyncio.run(soak(6000, seed=1, most_requests=400))
    assert count.leaks == []
    assert count.answered > 5900
    assert count.connections > 10


@pytest.mark.usefixtures("_server")
def test_a_leak_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bytes] = []
    tally = run._tally

    def keep(count: run.Count, outcome: run.Outcome) -> None:
        kept.append(bytes(4096))
        tally(count, outcome)

    monkeypatch.setattr(run, "_tally", keep)
    count = asyncio.run(soak(4000, seed=1))
    assert any("bytes" in leak for leak in count.leaks)
