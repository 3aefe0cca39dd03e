"""Writes ``RESULTS.md`` from a run: every row, every loss, and the promises."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.harness import HERE

RESULTS = HERE / "RESULTS.md"

_HEAD = (
    "| operation | median us | p99 us | min us | n | kept blocks | peak bytes | against "
    "| its median us | its p99 us | its min us | ratio |",
    "|---|--:|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|",
)
_OUTCOMES = {None: "not measured", True: "holds", False: "MISSED"}


def write(
    results: Sequence[Mapping[str, Any]],
    where: Mapping[str, Any],
    targets: Sequence[Mapping[str, Any]],
) -> None:
    """Write the file."""
    lost = [
        f"`{row['name']}` against {name}"
        for row in results
        for name, peer in row["peers"].items()
        if peer["ratio"] < 1
    ]
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    pinned = "" if where["pinned_to"] is None else f", everything on core {where['pinned_to']}"
    text = [
        "# Benchmark results",
        "",
        "Written by `make bench`; nothing here is typed by hand. A ratio above 1 means that",
        "polyexec is that many times faster than what stands beside it, below 1 that it is slower;",
        "a floor's ratio is its share of our time. Outputs are compared with the others' before",
        "anything is timed. Contestants take turns, a few calls each, so that a change of the",
        "machine's speed meets all of them; compare ratios of one run, not times of two.",
        "Microseconds per call; calls quicker than 5 us are timed in groups, and their p99 is of",
        "group means. The garbage collector is off while a call is timed. No network is in any row",
        "unless its description says so. Kept blocks: memory blocks of the result, as Python's",
        "allocators see them; peak bytes: the most that one call held.",
        "",
        f"* date: {where['date']}",
        f"* CPU: {where['cpu']}, {where['cores']} cores, governor {where['governor']}{pinned}",
        f"* OS: {where['os']}",
        f"* versions: {versions}",
        f"* command: `{where['command']}`",
        *(f"* skipped: {reason}" for reason in where["skipped"]),
        "",
        *_HEAD,
        *(line for row in results for line in _lines(row)),
        "",
        f"Slower than a baseline: {'; '.join(lost) if lost else 'none of these rows'}.",
        "",
        "What each row does:",
        "",
        *(f"* `{row['name']}`: {row['what']}" for row in results),
        "",
        "What must hold, from the medians of this run:",
        "",
        "| ratio | target | measured | |",
        "|---|--:|--:|---|",
        *(_promise(target) for target in targets),
        "",
    ]
    RESULTS.write_text("\n".join(text))


def _lines(row: Mapping[str, Any]) -> Iterable[str]:
    own = [
        f"`{row['name']}`",
        *_times(row),
        *("-" if row[key] is None else str(row[key]) for key in ("n", "kept_blocks", "peak_bytes")),
    ]
    others = dict(row["peers"])
    if row["floor"]:
        others = {f"floor: `{row['floor']['name']}`": row["floor"], **others}
    for name, other in others.items() or [("", None)]:
        beside = [""] * 4 if other is None else [*_times(other), f"{other['ratio']:.2f}"]
        yield "| " + " | ".join([*own, name, *beside]) + " |"
        own = [""] * 7


def _times(timing: Mapping[str, Any]) -> list[str]:
    return [f"{timing[key]:.2f}" for key in ("median_us", "p99_us", "min_us")]


def _promise(target: Mapping[str, Any]) -> str:
    measured = "" if target["measured"] is None else f"{target['measured']:.2f}"
    outcome = _OUTCOMES[target["holds"]]
    return f"| {target['what']} | {target['target']} | {measured} | {outcome} |"
