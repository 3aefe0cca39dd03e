"""Some real kills in the ordinary test-suite, and proof that the checks can fail.

``make kill-storm ARGS="--kills 1000 --seed 1"`` kills more.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills import run
from tests.kills.nursery import Nursery
from tests.kills.sabotage import PLANTS
from tests.kills.world import Fate, World


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.mark.parametrize("when", ["before", "after", "answered", "late"])
async def test_a_kill_in_the_middle_of_a_post_loses_and_doubles_nothing(
    when: str, nursery: Nursery, tmp_path: Path
) -> None:
    fate = Fate(kind="post", nth=2, when=when, delay_s=0.001)
    world = World(1, 0, tmp_path, nursery, fate=fate)
    await world.run(1)
    assert world.violations == []
    assert world.kills == {f"post {when}": 1}
    assert world.orders > 0


def test_the_run_prints_its_counts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "--kills", "2", "--seed", "7"])
    assert run.main() == 0
    *phases, _, last = capsys.readouterr().out.splitlines()
    assert last.startswith("kills=2 orders=")
    assert last.endswith(" violations=0 seed=7")
    assert sum(int(line.split()[0]) for line in phases) == 2


# faults of our own, each of which has to be found -------------------------------------------------


@pytest.mark.parametrize(
    ("sabotage", "when", "found"),
    [
        ("send_before_the_intent_is_kept", "after", "no INTENT names"),
        ("sign_with_another_salt", "after", "signed with another salt"),
        ("trade_before_recovery", "before", "was sent before"),
        ("forget_what_was_open", "after", "held 0 of '' at start under"),
        ("send_everything_again", "before", "of an earlier life was sent"),
    ],
)
async def test_a_planted_fault_is_found(
    sabotage: str, when: str, found: str, nursery: Nursery, tmp_path: Path
) -> None:
    assert sabotage in PLANTS
    fate = Fate(kind="post", nth=1, when=when, delay_s=0.0)
    world = World(1, 5, tmp_path, nursery, fate=fate, sabotage=sabotage)
    await world.run(5)
    assert any(found in violation for violation in world.violations), world.violations
