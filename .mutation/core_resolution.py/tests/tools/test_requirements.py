"""The dependency sets of the Makefile come from pyproject.toml and nowhere else."""

import re

from tests.tools.load import ROOT, load_tool

requirements = load_tool("requirements").requirements


def test_extras_that_name_the_project_are_unfolded() -> None:
    lines = requirements("dev")
    assert any(line.startswith("python-dotenv") for line in lines)
    assert not any(line.startswith("polyexec") for line in lines)


def test_build_set_is_what_the_build_needs() -> None:
    assert {re.split(r"[<>=]", line)[0] for line in requirements("build")} == {
        "setuptools",
        "cython",
    }


def test_every_set_of_the_makefile_exists() -> None:
    calls = re.findall(r"install_set,\w+,([\w ]+)\)", (ROOT / "Makefile").read_text())
    assert calls
    for name in {name for call in calls for name in call.split()}:
        assert requirements(name)
