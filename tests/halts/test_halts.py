"""Some halts under load in the ordinary test-suite, and proof that the checks can fail.

``make halt-storm ARGS="--halts 10000 --seed 1"`` halts more often.
"""

import sys
import time
from pathlib import Path

import pytest

from polyexec.posting import Door
from tests.halts import run
from tests.halts.world import WAYS, World


@pytest.mark.parametrize("way", WAYS)
async def test_after_a_halt_has_answered_no_post_begins(way: str, tmp_path: Path) -> None:
    world = World(1, 0, tmp_path, ways=(way,))
    await world.run(8)
    assert world.violations == []
    assert world.halts == {way: 8}
    assert world.orders > 8


def test_the_run_prints_its_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "--halts", "3", "--seed", "7"])
    assert run.main() == 0
    *ways, _, last = capsys.readouterr().out.splitlines()
    assert last.startswith("orders=")
    assert last.endswith(" seed=7 halts=3 violations=0")
    assert sum(int(line.split()[0]) for line in ways) == 3


# faults of our own, each of which has to be found -------------------------------------------------


async def test_a_door_that_lets_everybody_in_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enters(door: Door) -> bool:
        time.sleep(0.002)  # as long as a thread may be off the processor
        while door._gate.enter(0) is not None:
            door._gate.set_enabled(True)
        return True

    monkeypatch.setattr(Door, "enter", enters)
    world = World(1, 0, tmp_path, ways=("halt",))
    await world.run(50)
    assert any("began after the halt had answered" in one for one in world.violations)


async def test_a_halt_that_does_not_wait_for_what_is_being_written_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = Door.enter

    def is_slow(door: Door) -> bool:
        entered = enter(door)
        time.sleep(0.002)
        return entered

    def shut(door: Door, timeout_s: float = 0) -> bool:
        door._gate.set_enabled(False)
        return True

    monkeypatch.setattr(Door, "enter", is_slow)
    monkeypatch.setattr(Door, "shut", shut)
    world = World(1, 0, tmp_path, ways=("halt",))
    await world.run(50)
    assert any("began after the halt had answered" in one for one in world.violations)
