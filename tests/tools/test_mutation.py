"""The mutation runner: a mutant that no test notices must not look dead, nor the other way."""

import subprocess
import sys

import pytest

from tests.tools.load import ROOT, load_tool

mutation = load_tool("mutation")
MODULE = "core/refusals.py"

COUNT = f"""
import mutation
mutation.prepare()
mutants = list(mutation.mutants_of({MODULE!r}))
for tests in ("unit/core/test_refusals.py", "unit/core/test_resolution.py"):
    alive, _ = mutation.survivors(mutation.Target({MODULE!r}, (tests,)), mutants, 1)
    print(len(mutants), len(alive))
"""


def test_every_target_and_its_tests_are_there() -> None:
    for target in mutation.TARGETS:
        assert (mutation.SOURCE / target.module).is_file()
        assert all((ROOT / "tests" / test).is_file() for test in target.tests)


def test_a_mutant_is_the_module_with_another_text_in_one_place() -> None:
    source = (mutation.SOURCE / MODULE).read_text()
    mutants = list(mutation.mutants_of(MODULE))
    assert len(mutants) > 10
    for mutant in mutants:
        assert source.splitlines()[mutant.line - 1].strip() == mutant.before
        assert mutant.code != source
        compile(mutant.code, MODULE, "exec")


def test_what_is_skipped_is_left_out_of_the_count() -> None:
    assert not [one for one in mutation.mutants_of(MODULE) if "status: int = 200" in one.before]


@pytest.mark.slow
def test_tests_that_look_away_let_mutants_live_and_its_own_kill_them() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", COUNT],
        cwd=ROOT / "tools",
        capture_output=True,
        text=True,
        check=True,
    )
    (mutants, alive), (same, blind) = (map(int, line.split()) for line in ran.stdout.splitlines())
    assert (alive, same) == (0, mutants)
    assert blind > 5
