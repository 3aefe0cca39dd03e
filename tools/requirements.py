"""Print requirements that pyproject.toml names: ``requirements.py build|run|EXTRA ...``.

With them ``pip install -r`` installs a set of tools without building polyexec again.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def requirements(name: str) -> list[str]:
    """Return the requirements of one set; ``polyexec[extra]`` is replaced by that extra's."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = settings["project"]
    if name == "build":
        return list(settings["build-system"]["requires"])
    if name == "run":
        return list(project["dependencies"])
    lines: list[str] = []
    for line in project["optional-dependencies"][name]:
        if line.startswith(f"{project['name']}["):
            for extra in line[line.index("[") + 1 : line.index("]")].split(","):
                lines += requirements(extra.strip())
        else:
            lines.append(line)
    return lines


def main() -> None:
    """Print every line once."""
    names = sys.argv[1:]
    print("\n".join(dict.fromkeys(line for name in names for line in requirements(name))))


if __name__ == "__main__":
    main()
