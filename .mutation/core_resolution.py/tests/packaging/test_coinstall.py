"""Bots install the official clients beside us: one environment holds all three."""

import importlib
import importlib.metadata
import sys

import pytest
from packaging.requirements import Requirement

from tests.packaging.support import run

OFFICIAL = {"py-clob-client-v2": "py_clob_client_v2", "polymarket-client": "polymarket"}
ALL = {**OFFICIAL, "polyexec": "polyexec"}


def _skip_unless_installed() -> None:
    for package in ALL:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed here; `make test` installs it")


def closure(package: str) -> set[str]:
    """Return a package and everything it needs, as installed here."""
    found: set[str] = set()
    waiting = [package]
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        found.add(name.lower())
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def test_all_are_imported_in_one_process() -> None:
    _skip_unless_installed()
    code = "; ".join(f"import {module}" for module in ALL.values())
    run(sys.executable, "-c", code)


@pytest.mark.parametrize("package", ALL)
def test_every_requirement_is_met_by_what_is_installed(package: str) -> None:
    _skip_unless_installed()
    unmet = []
    for name in closure(package):
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            version = importlib.metadata.version(requirement.name)
            if not requirement.specifier.contains(version, prereleases=True):
                unmet.append(f"{name} needs {line}, here is {version}")
    assert unmet == []


def test_no_runtime_requirement_of_ours_is_pinned() -> None:
    # One official client pins eth-account and eth-abi: only wide ranges let it choose.
    requirements = map(Requirement, importlib.metadata.requires("polyexec") or [])
    ours = [item for item in requirements if "extra" not in str(item.marker)]
    assert ours
    assert [str(item) for item in ours if any(s.operator == "==" for s in item.specifier)] == []
