"""How a row is measured; ``report.py`` writes the table of a run."""

import gc
import importlib.metadata
import json
import os
import platform
import shlex
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.peers.worker import Remote

HERE = Path(__file__).resolve().parent
LATEST = HERE / "latest.json"

# A clock reading costs about 50 ns, so quick calls are timed in groups of at least this long.
SAMPLE_NS = 5_000
WARM_UP_NS = 30_000_000
# A contestant's turn; long enough to warm the caches again, short enough that a change of the
# machine's clock speed meets every contestant.
TURN_NS = 4_000_000
TURN_CALLS = 8
_MEMORY = ("kept_blocks", "kept_bytes", "peak_bytes")
PACKAGES = (
    "polyexec",
    "coincurve",
    "eth-account",
    "eth-abi",
    "eth-keys",
    "msgspec",
    "orjson",
    "polymarket-client",
    "py-clob-client-v2",
    "pycryptodome",
)

Call = Callable[[], object]


@dataclass
class Row:
    """One operation, and other libraries doing the same job on the same input."""

    name: str
    what: str
    """For the table: the operation, its input and what dominates it."""
    call: Call | Remote
    baselines: Mapping[str, Call | Remote] = field(default_factory=dict)
    check: Call = lambda: None
    """Raise when an output differs from a baseline's; runs before anything is timed."""
    floor: str = ""
    """The row that bounds this one from below; it is timed again in this row's turns."""
    before: Call = lambda: None
    """Runs, untimed, before every turn of this row's own call."""
    least: int = 100
    """Samples, however long they take; fewer for calls of seconds."""
    turn_calls: int = 0
    """Samples of a turn; 0: as many as fit into its usual length. Of long turns the median of
    their 99th percentiles is told too: a neighbour's burst of load spoils one turn, not all."""


@dataclass
class Timing:
    """Durations of one callable, nanoseconds per call."""

    samples: list[float]
    group: int
    """Calls per sample; above 1 the percentiles are of group means."""
    turn_p99s: list[float] = field(default_factory=list)
    """Of every turn whose length is the row's own, in microseconds."""

    def summary(self) -> dict[str, Any]:
        """Return what a row says of one contestant."""
        return {
            "median_us": round(statistics.median(self.samples) / 1000, 4),
            "p99_us": _us(self.samples, 0.99),
            **({"turn_p99_us": statistics.median(self.turn_p99s)} if self.turn_p99s else {}),
            "min_us": round(min(self.samples) / 1000, 4),
            "n": len(self.samples) * self.group,
        }


class _Contestant:
    """One callable in the turns of a row, in this process or in its own."""

    def __init__(
        self, call: Call | Remote, before: Call = lambda: None, turn_calls: int = 0
    ) -> None:
        self._call = call
        self._before = before
        before()
        group, quickest = (1, _quickest(call)) if isinstance(call, Remote) else _group_size(call)
        self.timing = Timing([], group)
        self._has_own_turns = bool(turn_calls)
        self._calls = turn_calls or max(1, min(TURN_CALLS, int(TURN_NS / (quickest * group))))

    def turn(self) -> None:
        """Take a few samples, after one call that brings its memory back to the caches."""
        self._before()
        if isinstance(self._call, Remote):
            samples = self._call.sample(self._calls)
        else:
            self._call()
            samples = [_sample(self._call, self.timing.group) for _ in range(self._calls)]
        self.timing.samples += samples
        if self._has_own_turns:
            self.timing.turn_p99s.append(_us(samples, 0.99))


def _us(samples: Sequence[float], quantile: float) -> float:
    ordered = sorted(samples)
    return round(ordered[min(int(len(ordered) * quantile), len(ordered) - 1)] / 1000, 4)


def _sample(call: Call, group: int) -> float:
    if group == 1:
        start = time.perf_counter_ns()
        call()
        return time.perf_counter_ns() - start
    repeat = range(group)
    start = time.perf_counter_ns()
    for _ in repeat:
        call()
    return (time.perf_counter_ns() - start) / group


def _quickest(call: Remote) -> float:
    """Warm a worker up, and return the shortest duration of a call."""
    deadline = time.perf_counter_ns() + WARM_UP_NS
    durations = call.sample(3)
    while time.perf_counter_ns() < deadline:
        durations += call.sample(3)
    return max(min(durations), 1)


def _group_size(call: Call) -> tuple[int, float]:
    """Warm up; return how many calls make one sample, and the shortest duration of one."""
    deadline = time.perf_counter_ns() + WARM_UP_NS
    durations = []
    while time.perf_counter_ns() < deadline or len(durations) < 3:
        durations.append(_sample(call, 1))
    quickest = max(min(durations), 1)
    return (1 if quickest >= SAMPLE_NS else max(int(SAMPLE_NS / quickest), 2)), quickest


def measure(row: Row, *, seconds: float, floor: Call | None = None) -> dict[str, Any]:
    """Check the outputs, then time the row, its floor and its baselines in turns."""
    row.check()
    own = _Contestant(row.call, row.before, row.turn_calls)
    baselines = {
        name: _Contestant(call, turn_calls=row.turn_calls) for name, call in row.baselines.items()
    }
    bound = None if floor is None else _Contestant(floor)
    turns = [own, *([bound] if bound else []), *baselines.values()]
    gc.collect()
    gc.disable()
    try:
        deadline = time.perf_counter_ns() + int(seconds * 1e9)
        while time.perf_counter_ns() < deadline or len(own.timing.samples) < row.least:
            for contestant in turns:
                contestant.turn()
    finally:
        gc.enable()
    mine = own.timing.summary()
    peers = {name: contestant.timing.summary() for name, contestant in baselines.items()}
    return {
        "name": row.name,
        "what": row.what,
        **mine,
        "group": own.timing.group,
        # What is called in another process is counted nowhere.
        **(_memory(row.call) if callable(row.call) else dict.fromkeys(_MEMORY)),
        "floor": bound and {"name": row.floor, **_against(mine, bound.timing.summary())},
        "baselines": {name: peer["median_us"] for name, peer in peers.items()},
        "peers": {name: _against(mine, peer) for name, peer in peers.items()},
    }


def _against(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return another contestant's figures and how many of our calls one of its calls lasts."""
    return {**other, "ratio": round(other["median_us"] / mine["median_us"], 4)}


def _memory(call: Call) -> dict[str, int]:
    """Return blocks and bytes of one call's result, and the most bytes that it ever held.

    As Python's allocators see it: objects from a free list and C's own memory are not counted.
    """
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = call()
        kept, peak = tracemalloc.get_traced_memory()
        snapshot = tracemalloc.take_snapshot()
        del result
    finally:
        tracemalloc.stop()
    return {
        "kept_blocks": len(snapshot.traces),
        "kept_bytes": max(kept - before, 0),
        "peak_bytes": max(peak - before, 0),
    }


def pin(core: int | None) -> int | None:
    """Keep this process, and every worker it starts, on one core; return which."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    if core is None:
        core = cores[-1]
    if core < 0:
        return None
    if core not in cores:
        raise SystemExit(f"core {core} cannot be had, of {cores}")
    os.sched_setaffinity(0, {core})
    return core


def cpu_name() -> str:
    """Return the processor's model, as well as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def governor() -> str:
    """Return the frequency governor of the first core, or 'unknown'."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return path.read_text().strip() if path.exists() else "unknown"


def versions() -> dict[str, str]:
    """Return the versions that matter to the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def environment(
    *, core: int | None = None, skipped: Sequence[str] = (), crates: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return date, machine and versions of this run, and who could not take part."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "pinned_to": core,
        "governor": governor(),
        "os": f"{platform.system()} {platform.release()}",
        "versions": versions() | dict(crates or {}),
        "command": " ".join(["python -m benchmarks.run", *map(shlex.quote, sys.argv[1:])]),
        "skipped": list(skipped),
    }


def write_json(
    results: list[dict[str, Any]], where: Mapping[str, Any], targets: Sequence[Any] = ()
) -> None:
    """Write ``latest.json``; every row carries date, cpu, versions and command."""
    carried = {key: where[key] for key in ("date", "cpu", "versions", "command")}
    document = {
        "environment": where,
        "rows": [{**row, **carried} for row in results],
        "targets": list(targets),
    }
    LATEST.write_text(json.dumps(document, indent=1) + "\n")
