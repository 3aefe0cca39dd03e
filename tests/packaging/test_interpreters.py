"""The other Python versions that pyproject.toml names, where one is installed and really runs."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.packaging.conftest import Built
from tests.packaging.support import make_venv, pip_install, run

pytestmark = pytest.mark.slow

VERSIONS = ["3.11", "3.12", "3.13"]
SMOKE = Path(__file__).with_name("smoke.py")


def find_interpreter(version: str) -> Path | None:
    """Return an interpreter of that version; a version manager's shim may exist and not run."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *sorted(pyenv.glob(f"versions/{version}.*/bin/python")),
        *sorted(Path("/opt").glob(f"python*/{version}*/bin/python")),
    ]
    probe = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        done = subprocess.run(
            [str(candidate), "-c", probe], capture_output=True, text=True, check=False
        )
        if done.stdout.strip() == version:
            return Path(candidate)
    return None


def install(version: str, interpreter: Path, sdist: Path, folder: Path) -> Path:
    """Build for an interpreter, in an environment of its own; return that one's Python."""
    python = make_venv(folder / version, interpreter)
    pip_install(python, sdist)
    return python


@pytest.fixture(scope="module")
def environments(
    built: Built, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Path]]]:
    """Build for all of them at the same time: each compiles for more than a minute."""
    folder = tmp_path_factory.mktemp("interpreters")
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    found = {version: find_interpreter(version) for version in VERSIONS if version != own}
    with ThreadPoolExecutor() as pool:
        yield {
            version: pool.submit(install, version, interpreter, built.sdist, folder)
            for version, interpreter in found.items()
            if interpreter is not None
        }


@pytest.mark.parametrize("version", VERSIONS)
def test_builds_installs_and_signs(
    version: str, environments: dict[str, Future[Path]], shared_dir: Path, tmp_path: Path
) -> None:
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip("the version that runs this test-suite")
    if version not in environments:
        pytest.skip(f"no working Python {version} here")
    python = environments[version].result()
    vectors = shared_dir / "vectors" / "orders-v2.json"
    findings = json.loads(run(python, SMOKE, vectors, cwd=tmp_path))
    assert ".".join(map(str, findings["python"])) == version
    assert findings["equal"] == 20
    code = "import polyexec._impl as i; print(i.IMPLEMENTATION)"
    assert run(python, "-c", code, cwd=tmp_path).strip() == "fast"
