"""The other Python versions that pyproject.toml names, where one is installed and really runs."""

import json
import os
import shutil
import subprocess
import sys
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


@pytest.mark.parametrize("version", VERSIONS)
def test_builds_installs_and_signs(
    version: str, built: Built, shared_dir: Path, tmp_path: Path
) -> None:
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        pytest.skip("the version that runs this test-suite")
    interpreter = find_interpreter(version)
    if interpreter is None:
        pytest.skip(f"no working Python {version} here")
    python = make_venv(tmp_path / "venv", interpreter)
    pip_install(python, built.sdist)
    vectors = shared_dir / "vectors" / "orders-v2.json"
    findings = json.loads(run(python, SMOKE, vectors, cwd=tmp_path))
    assert ".".join(map(str, findings["python"])) == version
    assert findings["equal"] == 20
    code = "import polyexec._impl as i; print(i.IMPLEMENTATION)"
    assert run(python, "-c", code, cwd=tmp_path).strip() == "fast"
