"""The extension list and its build switches; everything else is in pyproject.toml.

POLYEXEC_NO_EXTENSIONS=1  build none: the readable twins in ``_pure`` run instead
POLYEXEC_DEBUG=1          bounds and overflow checks on, no optimisation, debug symbols
POLYEXEC_TRACE=1          line tracing, for coverage of the .pyx files
POLYEXEC_SANITIZE=1       address and undefined-behaviour sanitisers
"""

import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from setuptools import Extension, setup


def _is_on(switch: str) -> bool:
    return os.environ.get(f"POLYEXEC_{switch}", "0") not in {"", "0"}


def _compiler_takes(*flags: str) -> bool:
    """Compile and link an empty program: some compilers take -flto but have no linker for it."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int main(void) { return 0; }\n")
        command = [*compiler, *flags, str(source), "-o", str(Path(folder, "probe"))]
        try:
            done = subprocess.run(command, capture_output=True, check=False)  # noqa: S603
            return done.returncode == 0
        except OSError:
            return False


def _flags(mode: str) -> tuple[list[str], list[str], list[tuple[str, str | None]]]:
    """Return compile flags, link flags and macros."""
    if mode == "debug":
        return ["-O0", "-g", "-UNDEBUG"], [], []
    if mode == "sanitize":
        sanitizers = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g"]
        return [*sanitizers, "-O1"], sanitizers, []
    if mode == "trace":
        return (
            ["-O1"],
            [],
            [
                ("CYTHON_TRACE", "1"),
                ("CYTHON_TRACE_NOGIL", "1"),
                # Otherwise coverage's tracer, which knows Cython, is not the one that is called.
                ("CYTHON_USE_SYS_MONITORING", "0"),
            ],
        )
    lto = ["-flto"] if _compiler_takes("-O3", "-flto") else []
    strip = [] if sys.platform == "darwin" else ["-s"]
    return ["-O3", "-fvisibility=hidden", *lto], ["-O3", *lto, *strip], []


def _extensions() -> list[Extension]:
    if _is_on("NO_EXTENSIONS"):
        return []
    from Cython.Build import cythonize  # noqa: PLC0415 - a build without extensions needs no Cython

    mode = next((m for m in ("debug", "trace", "sanitize") if _is_on(m.upper())), "release")
    checked = mode in {"debug", "sanitize"}
    compile_flags, link_flags, macros = _flags(mode)
    extensions = [
        Extension(
            f"polyexec._fast.{path.stem}",
            [path.as_posix()],
            extra_compile_args=compile_flags,
            extra_link_args=link_flags,
            define_macros=macros,
        )
        for path in sorted(Path("src/polyexec/_fast").glob("*.pyx"))
    ]
    directives: dict[str, Any] = {
        "language_level": 3,
        "binding": True,
        "freethreading_compatible": True,
        "boundscheck": checked,
        "wraparound": False,
        "initializedcheck": checked,
        "cdivision": not checked,
        "linetrace": mode == "trace",
    }
    # One folder of C per mode: Cython compares times, not directives, so a shared folder would
    # hand the C of a debug build to a release build. The coverage plugin looks beside the source.
    folder = None if mode == "trace" else f"build/cython-{mode}"
    result: list[Extension] = cythonize(
        extensions,
        compiler_directives=directives,
        build_dir=folder,
        force=mode == "trace",
        include_path=["src"],
    )
    return result


# force: setuptools compares times as well, and would keep a module built with other switches.
setup(ext_modules=_extensions(), options={"build_ext": {"force": True}})
