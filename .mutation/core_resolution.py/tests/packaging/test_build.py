"""sdist -> wheel -> an empty environment -> import; and others can build on what is installed."""

import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import Built
from tests.packaging.support import ROOT, make_venv, pip_install, run

pytestmark = pytest.mark.slow

SMOKE = Path(__file__).with_name("smoke.py")
EXTENSIONS = sorted(path.stem for path in (ROOT / "src/polyexec/_fast").glob("*.pyx"))


def names_in_wheel(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_ships_binaries_types_and_declarations(built: Built) -> None:
    names = names_in_wheel(built.wheel)
    assert EXTENSIONS
    for module in EXTENSIONS:
        stem = f"polyexec/_fast/{module}."
        suffixes = {name.removeprefix(stem) for name in names if name.startswith(stem)}
        assert {"pxd", "pyi"} <= suffixes
        assert any(suffix.endswith(("so", "pyd")) for suffix in suffixes)
    assert "polyexec/py.typed" in names
    assert "polyexec/_fast/__init__.pxd" in names


def test_wheel_ships_no_sources_of_the_extensions_and_no_tests(built: Built) -> None:
    names = names_in_wheel(built.wheel)
    assert [name for name in names if name.endswith((".c", ".pyx", ".html"))] == []
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"polyexec"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_ships_cython_sources_and_no_generated_c(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    for module in EXTENSIONS:
        for suffix in ("pyx", "pxd", "pyi"):
            assert f"src/polyexec/_fast/{module}.{suffix}" in names
    assert [name for name in names if name.endswith((".c", ".so", ".html"))] == []
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md"} <= set(names)


def test_installed_wheel_imports_with_only_what_it_declares(
    installed: Path, tmp_path: Path
) -> None:
    findings = json.loads(run(installed, SMOKE, cwd=tmp_path))
    assert "site-packages" in findings["file"]
    assert len(findings["signatures"]) == 4
    code = "import polyexec._impl as i; print(i.IMPLEMENTATION)"
    assert run(installed, "-c", code, cwd=tmp_path).strip() == "fast"
    assert "demo" in run(installed.with_name("polyexec"), "--help", cwd=tmp_path)


def test_import_starts_nothing_and_reads_no_key(installed: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PRIVATE_KEY=not-a-key\n")
    code = (
        "import threading, polyexec\n"
        "assert threading.active_count() == 1\n"
        "import sys\n"
        "late = {'trustme', 'cryptography', 'eth_keys', 'eth_account', 'dotenv'}\n"
        "late &= set(sys.modules)\n"
        "assert not late, late\n"
    )
    run(installed, "-c", code, cwd=tmp_path, PRIVATE_KEY="not-a-key")


def test_build_without_extensions_signs_the_same_bytes(
    built: Built, installed: Path, tmp_path: Path
) -> None:
    python = make_venv(tmp_path / "venv")
    # The dependencies of the other environment serve: only polyexec itself differs.
    (site,) = (installed.parent.parent / "lib").glob("python*/site-packages")
    (mine,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    pip_install(python, "setuptools>=77", "cython>=3.1,<4")
    pip_install(
        python, "--no-deps", "--no-build-isolation", built.sdist, POLYEXEC_NO_EXTENSIONS="1"
    )
    (mine / "dependencies.pth").write_text(f"{site}\n")
    assert list((mine / "polyexec").rglob("*.so")) == []
    pure = json.loads(run(python, SMOKE, cwd=tmp_path))
    fast = json.loads(run(installed, SMOKE, cwd=tmp_path))
    assert str(mine) in pure["file"]
    assert pure["signatures"] == fast["signatures"]


def test_another_project_cimports_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    (site,) = (installed.parent.parent / "lib").glob("python*/site-packages")
    (tmp_path / "foreign.pyx").write_text(
        "# cython: language_level=3\n"
        "from polyexec._fast.keccak cimport c_keccak256\n"
        "from libc.stdint cimport uint8_t\n\n"
        "def digest(bytes data):\n"
        "    cdef uint8_t out[32]\n"
        "    cdef const uint8_t* source = data\n"
        "    c_keccak256(source, len(data), out)\n"
        "    return bytes(out[:32])\n"
    )
    (tmp_path / "setup.py").write_text(
        "from Cython.Build import cythonize\n"
        "from setuptools import setup\n"
        f"modules = cythonize('foreign.pyx', include_path=[{str(site)!r}])\n"
        "setup(name='foreign', ext_modules=modules)\n"
    )
    run(sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", cwd=tmp_path)
    code = (
        "import foreign, polyexec._impl as impl\n"
        "assert foreign.digest(b'abc') == impl.keccak256(b'abc')\n"
        "print(foreign.digest(b'').hex()[:8])"
    )
    assert run(installed, "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path)).strip() == "c5d24601"
