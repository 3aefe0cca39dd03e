"""Compare the hand-written stubs of the extensions with the built modules."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAST = ROOT / "src" / "polyexec" / "_fast"

# What Cython adds to every module and class, and no caller may use.
GENERATED = (
    "__reduce_cython__",
    "__setstate_cython__",
    "__pyx_capi__",
    "__pyx_vtable__",
    "__test__",
)


def main() -> int:
    """Run stubtest over every stub; return its exit status."""
    modules = sorted(f"polyexec._fast.{stub.stem}" for stub in FAST.glob("[!_]*.pyi"))
    if not modules:
        print(f"no stubs in {FAST}")
        return 1
    allowlist = ROOT / ".mypy_cache" / "stubtest-allowlist.txt"
    allowlist.parent.mkdir(exist_ok=True)
    allowlist.write_text("\n".join(rf".*\.{name}" for name in GENERATED) + "\n")
    command = [sys.executable, "-m", "mypy.stubtest", "--ignore-unused-allowlist"]
    command += ["--allowlist", str(allowlist), *modules]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
