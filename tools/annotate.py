"""Fail when a hot Cython function talks to the interpreter more than it did.

A function is hot when its ``def`` line carries ``# hot``, or the comment line above it does. Cython
scores every line by the interpreter calls behind it; zero is plain C. The accepted lines stand in
``annotate_baseline.json``; ``--update`` rewrites it, and a reviewer sees what grew.
"""

import argparse
import html
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAST = ROOT / "src" / "polyexec" / "_fast"
OUT = ROOT / ".annotate"
BASELINE = Path(__file__).with_name("annotate_baseline.json")

# As in setup.py: they decide what a line costs.
DIRECTIVES = {
    "language_level": "3",
    "binding": "True",
    "boundscheck": "False",
    "wraparound": "False",
    "initializedcheck": "False",
    "cdivision": "True",
    "freethreading_compatible": "True",
}

HOT = re.compile(r"#\s*hot\b")
DEFINITION = re.compile(r"^\s*(?:cdef|cpdef|def)\b.*?(\w+)\s*\(")
LINE = re.compile(
    r'<pre class="cython line score-(\d+)"[^>]*>[+\s]*<span class="">\s*(\d+)</span>:(.*?)</pre>',
    re.DOTALL,
)

Scores = dict[str, dict[str, int]]
"""Function -> text of a line that is not plain C -> its score."""


def hot_functions(source: str) -> dict[str, range]:
    """Return the hot functions of a module and the numbers of their lines."""
    lines = source.splitlines()
    found: dict[str, range] = {}
    for index, line in enumerate(lines):
        if not HOT.search(line):
            continue
        start = index
        if line.lstrip().startswith("#"):
            start += 1
        else:
            # A signature that spans lines carries the mark where it ends.
            while start and not DEFINITION.match(lines[start]):
                start -= 1
        match = DEFINITION.match(lines[start]) if start < len(lines) else None
        if match is None:
            raise SystemExit(f"line {index + 1}: '# hot' marks no function: {line.strip()}")
        found[match.group(1)] = range(start + 1, _end_of_function(lines, start) + 1)
    return found


def _end_of_function(lines: list[str], start: int) -> int:
    """Return the number of the last line of the function whose signature starts at ``start``."""
    indent = len(lines[start]) - len(lines[start].lstrip())
    last = start
    while last < len(lines) and not lines[last].split("#")[0].rstrip().endswith(":"):
        last += 1
    for index in range(last + 1, len(lines)):
        text = lines[index]
        if text.strip() and len(text) - len(text.lstrip()) <= indent:
            break
        if text.strip():
            last = index
    return last + 1


def line_scores(page: str) -> dict[int, tuple[int, str]]:
    """Return score and text of every line of one annotated page."""
    return {
        int(number): (int(score), " ".join(html.unescape(re.sub("<[^>]+>", "", text)).split()))
        for score, number, text in LINE.findall(page)
    }


def yellow_lines(source: str, page: str) -> Scores:
    """Return the lines of the hot functions that are not plain C."""
    scores = line_scores(page)
    result: Scores = {}
    for name, numbers in hot_functions(source).items():
        yellow: dict[str, int] = {}
        for number in numbers:
            score, text = scores.get(number, (0, ""))
            if score:
                yellow[text] = max(score, yellow.get(text, 0))
        result[name] = yellow
    return result


def annotate(path: Path) -> str:
    """Return Cython's annotated page of one module."""
    OUT.mkdir(exist_ok=True)
    target = OUT / f"{path.stem}.c"
    command = [sys.executable, "-m", "cython", "-a", "-I", "src", "-o", str(target)]
    for name, value in DIRECTIVES.items():
        command += ["-X", f"{name}={value}"]
    subprocess.run([*command, str(path.relative_to(ROOT))], cwd=ROOT, check=True)
    return target.with_suffix(".html").read_text()


def growth(before: Scores, now: Scores, *, same_cython: bool = True) -> list[str]:
    """Return what became yellow, or more yellow, since the baseline.

    Scores of two versions of Cython do not compare: then only new lines count.
    """
    faults = []
    for function, lines in now.items():
        known = before.get(function, {})
        for text, score in lines.items():
            if text not in known:
                faults.append(f"{function}: new yellow line (score {score}): {text}")
            elif same_cython and score > known[text]:
                faults.append(f"{function}: score {known[text]} -> {score}: {text}")
    return faults


def main() -> int:
    """Annotate every module, compare, and print the count last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true", help="accept what is there now")
    update = parser.parse_args().update
    recorded = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    baseline: dict[str, Scores] = recorded.get("modules", {})
    cython = importlib.metadata.version("cython")
    now = {
        path.stem: yellow_lines(path.read_text(), annotate(path))
        for path in sorted(FAST.glob("*.pyx"))
    }
    if update:
        recorded = {"cython": cython, "modules": now}
        BASELINE.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
        baseline = now
    faults = [
        f"{module}.{fault}"
        for module, scores in now.items()
        for fault in growth(
            baseline.get(module, {}), scores, same_cython=recorded.get("cython") == cython
        )
    ]
    print(*faults, sep="\n", end="\n" if faults else "")
    functions = sum(len(scores) for scores in now.values())
    yellow = sum(len(lines) for scores in now.values() for lines in scores.values())
    print(f"pages in {OUT.relative_to(ROOT)}/")
    print(f"hot={functions} yellow={yellow} new={len(faults)}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
