"""How a row is measured, and how a run is written down."""

import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LATEST = HERE / "latest.json"
RESULTS = HERE / "RESULTS.md"

# A clock reading costs about 50 ns, so quick calls are timed in groups of at least this long.
SAMPLE_NS = 5_000
WARM_UP_NS = 30_000_000
PACKAGES = (
    "polyexec",
    "coincurve",
    "eth-account",
    "eth-abi",
    "msgspec",
    "orjson",
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
    call: Call
    baselines: Mapping[str, Call] = field(default_factory=dict)
    check: Call = lambda: None
    """Raise when an output differs from a baseline's; runs before anything is timed."""


@dataclass
class Timing:
    """Durations of one callable, nanoseconds per call."""

    samples: list[float]
    group: int
    """Calls per sample; above 1 the percentiles are of group means."""

    def us(self, quantile: float) -> float:
        ordered = sorted(self.samples)
        return round(ordered[min(int(len(ordered) * quantile), len(ordered) - 1)] / 1000, 4)

    @property
    def median_us(self) -> float:
        return round(statistics.median(self.samples) / 1000, 4)


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


def _group_size(call: Call) -> int:
    """Warm up, and return how many calls make one sample."""
    deadline = time.perf_counter_ns() + WARM_UP_NS
    durations = []
    while time.perf_counter_ns() < deadline or len(durations) < 3:
        durations.append(_sample(call, 1))
    quickest = max(min(durations), 1)
    return 1 if quickest >= SAMPLE_NS else max(int(SAMPLE_NS / quickest), 2)


def measure(row: Row, *, seconds: float) -> dict[str, Any]:
    """Check the outputs, then time the row and its baselines in turns."""
    row.check()
    calls: dict[str, Call] = {"": row.call, **row.baselines}
    groups = {name: _group_size(call) for name, call in calls.items()}
    timings = {name: Timing([], group) for name, group in groups.items()}
    gc.collect()
    gc.disable()
    try:
        # Turns, so that a change of the machine's clock speed meets every contestant.
        deadline = time.perf_counter_ns() + int(seconds * 1e9)
        while time.perf_counter_ns() < deadline or len(timings[""].samples) < 100:
            for name, call in calls.items():
                for _ in range(8):
                    timings[name].samples.append(_sample(call, groups[name]))
    finally:
        gc.enable()
    own = timings.pop("")
    return {
        "name": row.name,
        "what": row.what,
        "median_us": own.median_us,
        "p99_us": own.us(0.99),
        "min_us": round(min(own.samples) / 1000, 4),
        "n": len(own.samples) * own.group,
        "group": own.group,
        "peak_bytes": _peak_bytes(row.call),
        "baselines": {name: timing.median_us for name, timing in timings.items()},
    }


def _peak_bytes(call: Call) -> int:
    """Return the most memory one call holds, as Python's allocators see it."""
    call()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        call()
        return max(tracemalloc.get_traced_memory()[1] - before, 0)
    finally:
        tracemalloc.stop()


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


def environment() -> dict[str, Any]:
    """Return date, machine and versions of this run."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "governor": governor(),
        "os": f"{platform.system()} {platform.release()}",
        "versions": versions(),
    }


def write_json(results: list[dict[str, Any]], where: Mapping[str, Any]) -> None:
    """Write ``latest.json``; every row carries date, cpu and versions."""
    rows = [
        {**row, "date": where["date"], "cpu": where["cpu"], "versions": where["versions"]}
        for row in results
    ]
    LATEST.write_text(json.dumps({"environment": where, "rows": rows}, indent=1) + "\n")


def write_table(results: list[dict[str, Any]], where: Mapping[str, Any]) -> None:
    """Write ``RESULTS.md``: every row of the run, the lost ones too."""
    rows = [
        "| operation | median us | p99 us | min us | n | against | its median us | ratio |",
        "|---|--:|--:|--:|--:|---|--:|--:|",
    ]
    for row in results:
        own = [
            f"`{row['name']}`",
            *(f"{row[key]:.2f}" for key in ("median_us", "p99_us", "min_us")),
            str(row["n"]),
        ]
        baselines = row["baselines"] or {"": None}
        for name, median in baselines.items():
            other = ["", "", ""]
            if median is not None:
                other = [name, f"{median:.2f}", f"{median / row['median_us']:.2f}"]
            rows.append("| " + " | ".join([*own, *other]) + " |")
            own = [""] * 5
    lost = [
        f"`{row['name']}` against {name}"
        for row in results
        for name, median in row["baselines"].items()
        if median < row["median_us"]
    ]
    about = [f"* `{row['name']}`: {row['what']}" for row in results]
    command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
    parts = [f"{name} {version}" for name, version in where["versions"].items()]
    text = [
        "# Benchmark results",
        "",
        "Written by `make bench`; nothing here is typed by hand. A ratio above 1 means that",
        "polyexec is that many times faster than the library beside it, below 1 that it is",
        "slower. Every output is compared with the baseline's before anything is timed.",
        "Micro-seconds per call; calls quicker than 5 us are timed in groups, and their p99 is of",
        "group means. The garbage collector is off while a call is timed. No network is in any row",
        "unless its description says so.",
        "",
        f"* date: {where['date']}",
        f"* CPU: {where['cpu']}, {where['cores']} cores, governor {where['governor']}",
        f"* OS: {where['os']}",
        f"* versions: {', '.join(parts)}",
        f"* command: `{command}`",
        "",
        *rows,
        "",
        f"Slower than a baseline: {'; '.join(lost) if lost else 'none of these rows'}.",
        "",
        "What each row does:",
        "",
        *about,
        "",
    ]
    RESULTS.write_text("\n".join(text))
