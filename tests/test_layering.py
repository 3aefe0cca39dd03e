"""The layers of the library: imports point down, and only some files touch the world outside."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "polyexec"

LAYERS = {
    0: {"_impl", "_fast", "_pure", "_secp256k1"},
    1: {
        "cards",
        "commands",
        "config",
        "constants",
        "enums",
        "environment",
        "errors",
        "logs",
        "models",
        "live_settings",
        "numbers",
        "parsing",
        "policies",
        "records",
        "results",
        "secret",
        "settings",
        "variables",
        "sharing",
        "signal_json",
        "signals",
    },
    2: {"core"},
    3: {"clob", "paper", "journal", "observers"},
    4: {
        "account",
        "attending",
        "balancing",
        "books",
        "control",
        "control_socket",
        "controlling",
        "looping",
        "redis_switch",
        "clocks",
        "executor",
        "sync",
        "submission",
        "switching",
        "dispatch",
        "following",
        "following_up",
        "listening",
        "grouping",
        "observing",
        "opening",
        "posting",
        "queueing",
        "reconciliation",
        "recovery",
        "storing",
        "resuming",
        "venue_watch",
        "build",
        "engine",
        "backtest",
        "notifying",
        "metering",
    },
    5: {"bot", "bots", "cli", "dashboard", "demo", "doctor", "__main__"},
}
LAYER_OF = {name: layer for layer, names in LAYERS.items() for name in names}
# polyexec/__init__.py only re-exports; nothing inside may go through it.
ROOT_MODULE = "__init__"

CORE_FORBIDDEN = {"socket", "ssl", "asyncio", "select", "selectors", "logging", "random", "httpx"}
CORE_FORBIDDEN_CALLS = {"open", "print", "input"}
MAY_READ_ENVIRONMENT = {"config.py", "_impl.py", "_secp256k1.py"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer_name(path: Path, package: Path = PACKAGE) -> str:
    """Return the top-level part of ``polyexec`` that a file belongs to."""
    first = path.relative_to(package).parts[0]
    return first.removesuffix(".py")


def imported_parts(tree: ast.AST, path: Path, package: Path = PACKAGE) -> Iterator[tuple[str, int]]:
    """Yield the top-level parts of polyexec that a module imports, with the line."""
    where = ("polyexec", *path.relative_to(package).with_suffix("").parts)
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join((*where[: len(where) - node.level], *filter(None, [node.module])))
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "polyexec":
                yield (parts[1] if len(parts) > 1 else ROOT_MODULE), node.lineno


def faults_of(path: Path, source: str, package: Path = PACKAGE) -> list[str]:
    """Return what one module does against the rules."""
    tree = ast.parse(source, filename=str(path))
    here = path.relative_to(package)
    part = layer_name(path, package)
    faults = []
    if part != ROOT_MODULE:
        if part not in LAYER_OF:
            return [f"{here}: no layer is known for {part!r}; add it to LAYERS"]
        layer = LAYER_OF[part]
        for target, line in imported_parts(tree, path, package):
            if target == part:
                continue
            if target not in LAYER_OF:
                # `import polyexec` from below the users' layer would tie everything together.
                if layer < 5:
                    faults.append(f"{here}:{line}: imports polyexec itself")
            elif LAYER_OF[target] > layer:
                faults.append(f"{here}:{line}: layer {layer} imports {target} of a higher layer")
            elif layer == 3 and LAYER_OF[target] == 3:
                faults.append(f"{here}:{line}: {part} imports its sibling {target}")
            elif layer == 0 and LAYER_OF[target] != 0:
                faults.append(f"{here}:{line}: layer 0 imports {target}")
    if here.as_posix() not in MAY_READ_ENVIRONMENT:
        faults += [f"{here}:{line}: reads the environment" for line in environment_reads(tree)]
    if part == "core":
        faults += [f"{here}:{line}: {what} in core" for what, line in world_of(tree)]
    return faults


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """Yield the lines that reach for the process environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"}:
            if isinstance(node.value, ast.Name) and node.value.id == "os":
                yield node.lineno
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(alias.name in {"environ", "environb", "getenv"} for alias in node.names)
        ):
            yield node.lineno


def world_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield what a pure module must not have: sockets, loops, files, logs, random numbers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in CORE_FORBIDDEN:
                    yield f"import {alias.name}", node.lineno
        elif isinstance(node, ast.ImportFrom) and not node.level:
            if (node.module or "").split(".")[0] in CORE_FORBIDDEN:
                yield f"import {node.module}", node.lineno
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in CORE_FORBIDDEN_CALLS
        ):
            yield f"{node.func.id}()", node.lineno


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_module_keeps_to_its_layer(path: Path) -> None:
    assert faults_of(path, path.read_text()) == []


def test_every_part_of_the_package_has_a_layer() -> None:
    parts = {layer_name(path) for path in modules()} - {ROOT_MODULE}
    assert parts <= set(LAYER_OF)


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("core/x.py", "from polyexec.clob import client", "higher layer"),
        ("core/x.py", "from ..paper import venue", "higher layer"),
        ("clob/x.py", "import polyexec.paper.venue", "sibling paper"),
        ("clob/x.py", "from polyexec import paper", "sibling paper"),
        ("paper/x.py", "from .. import clob", "sibling clob"),
        ("_pure/x.py", "from polyexec.errors import InputError", "higher layer"),
        ("executor.py", "import polyexec", "imports polyexec itself"),
        ("models.py", "def f():\n    from polyexec.core import orders", "higher layer"),
        ("clob/x.py", "import os\nos.environ['A']", "environment"),
        ("clob/x.py", "from os import getenv", "environment"),
        ("core/x.py", "import socket", "import socket in core"),
        ("core/x.py", "from asyncio import sleep", "import asyncio in core"),
        ("core/x.py", "open('f')", "open() in core"),
        ("news/x.py", "", "no layer is known"),
    ],
)
def test_a_breach_is_found(name: str, source: str, expected: str) -> None:
    faults = faults_of(PACKAGE / name, source)
    assert len(faults) == 1
    assert expected in faults[0]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cli.py", "import polyexec as px"),
        ("config.py", "import os\nos.environ.get('A')"),
        ("core/x.py", "from .orders import Order\nfrom polyexec._impl import keccak256"),
        ("executor.py", "import asyncio\nfrom polyexec.clob.client import Client"),
        ("paper/x.py", "import ssl\nfrom polyexec.core import orders"),
    ],
)
def test_what_is_allowed_passes(name: str, source: str) -> None:
    assert faults_of(PACKAGE / name, source) == []
