"""Built once for all packaging tests."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.support import ROOT, make_venv, pip_install, run


@dataclass(frozen=True)
class Built:
    """The two files of a release."""

    sdist: Path
    wheel: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build the sdist from the checkout and the wheel from the sdist."""
    import sys

    out = tmp_path_factory.mktemp("dist")
    # Without --sdist or --wheel, build makes the wheel from the unpacked sdist: the sdist is whole.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT)
    (sdist,) = out.glob("*.tar.gz")
    (wheel,) = out.glob("*.whl")
    return Built(sdist, wheel)


@pytest.fixture(scope="session")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, with what it says it needs, into an empty environment."""
    python = make_venv(tmp_path_factory.mktemp("installed") / "venv")
    pip_install(python, built.wheel)
    return python
