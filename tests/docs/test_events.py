"""The reference of log events names every event of the source, with its fields and levels."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "polyexec"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
CHANNELS = ("user", "market")

Event = tuple[str, str | None, frozenset[str] | None]
"""Name, level (None: decided when it happens), fields (None: not told by the source)."""


def constants(node: ast.expr) -> list[str]:
    return [
        one.value
        for one in ast.walk(node)
        if isinstance(one, ast.Constant) and isinstance(one.value, str)
    ]


def events_of(source: str) -> Iterator[Event]:
    """Yield what a module logs."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        call, arguments = node.func, node.args
        if arguments and isinstance(arguments[0], ast.Name) and arguments[0].id == "_log_end":
            # Handed to the loop: level and name follow.
            level = arguments[1]
            assert isinstance(level, ast.Attribute)
            yield constants(arguments[2])[0], level.attr, frozenset({"reason", "in_flight"})
        if not (
            isinstance(call, ast.Attribute)
            and isinstance(call.value, ast.Name)
            and call.value.id in ("log", "_log")
            and call.attr in LEVELS
        ):
            continue
        message = arguments[1] if call.attr == "log" else arguments[0]
        level = {"exception": "ERROR", "log": None}.get(call.attr, call.attr.upper())
        fields = [keyword.value for keyword in node.keywords if keyword.arg == "extra"]
        named = frozenset(
            key.value
            for extra in fields
            if isinstance(extra, ast.Dict)
            for key in extra.keys
            if isinstance(key, ast.Constant)
        )
        if isinstance(message, ast.Name):
            assert message.id == "event", "an event has one name"
            continue  # _log_end, above
        assert isinstance(message, ast.Constant), ast.unparse(node)
        assert isinstance(message.value, str)
        names = [message.value.replace("%s", channel, 1) for channel in CHANNELS]
        for name in dict.fromkeys(names):
            yield name, level, named


def documented() -> dict[str, tuple[set[str], set[str]]]:
    """Return levels and fields by event."""
    found = {}
    for line in (ROOT / "docs" / "reference" / "logging.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and cells[0].startswith("`"):
            for name in re.findall(r"`(\w+)`", cells[0]):
                found[name] = (set(cells[1].split(", ")), set(re.findall(r"`(\w+)`", cells[2])))
    return found


EVENTS = [
    (path.relative_to(SOURCE), event)
    for path in sorted(SOURCE.rglob("*.py"))
    for event in events_of(path.read_text())
]


@pytest.mark.parametrize(("path", "event"), EVENTS, ids=str)
def test_an_event_is_in_the_reference(path: Path, event: Event) -> None:
    name, level, fields = event
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name), f"{path}: {name!r} is no name of an event"
    levels, known = documented()[name]
    assert level is None or level in levels
    assert fields is None or fields <= known


def test_the_reference_names_nothing_that_is_gone() -> None:
    there: dict[str, set[str]] = {}
    for _, (name, _, fields) in EVENTS:
        there.setdefault(name, set()).update(fields or ())
    assert {name: fields for name, (_, fields) in documented().items()} == there


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("_log.warning('a_b', extra={'x': 1})", ("a_b", "WARNING", {"x"})),
        ("log.exception('a_b')", ("a_b", "ERROR", set())),
        ("log.log(level, 'a_b')", ("a_b", None, set())),
        ("f(_log_end, logging.INFO, 'a', r, 1)", ("a", "INFO", {"reason", "in_flight"})),
    ],
)
def test_events_are_found(source: str, expected: tuple[str, str | None, set[str]]) -> None:
    (found,) = events_of(source)
    assert found == expected
