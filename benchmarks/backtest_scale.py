"""What a backtest costs per event with more groups, and what a second process saves.

``python -m benchmarks.backtest_scale`` (``make backtest-scale``). The cost of an event is the
difference of two runs over tapes of different lengths, so that setting up does not count.
"""

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from benchmarks import market
from benchmarks.bench_backtest import CONFIG
from benchmarks.recorded import Recorded
from polyexec.backtest import run, sweep
from polyexec.backtest.tape import write_tape

_GROUPS = (1, 10, 100, 1_000)


def main() -> None:
    """Print one line for each count of groups, the sweep, and the figures last."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cost = _costs_ns(options.messages, options.rounds, folder)
        speedup = _speedup(options.rounds, folder)
    ratio = cost[_GROUPS[-1]] / cost[_GROUPS[0]]
    print(f"groups={_GROUPS[-1]} cost_ratio={ratio:.2f} sweep_speedup={speedup:.2f}")


def _costs_ns(messages: int, rounds: int, folder: Path) -> dict[int, float]:
    """Return nanoseconds per message for each count of groups, all measured in turns."""
    counts = (messages // 4, messages)
    calls = {}
    for groups in _GROUPS:
        # The changes are in one group of three markets, however many others are watched.
        watched = market.watched(groups, per_event=1)
        changing = market.Watched(watched.books, watched.forms, watched.pairs[:3])
        for count in counts:
            tape = write_tape([Recorded(changing, count)], folder / f"{groups}-{count}.tape")
            calls[groups, count] = partial(run, None, tape, forms=watched.forms, config=CONFIG)
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for what, call in calls.items():
            gc.collect()
            best[what] = min(best[what], _timed(call))
    cost = {}
    for groups in _GROUPS:
        short, long = (best[groups, count] for count in counts)
        cost[groups] = (long - short) * 1e9 / (counts[1] - counts[0])
        print(f"groups={groups} message_ns={cost[groups]:.0f} whole_s={long:.2f}")
    return cost


def _speedup(rounds: int, folder: Path) -> float:
    watched = market.watched(100)
    tape = write_tape([Recorded(watched, 200_000)], folder / "sweep.tape")
    grid = [{"latency_ms": (ms, ms)} for ms in range(5, 85, 5)]
    common = {"forms": watched.forms, "config": CONFIG}
    with ProcessPoolExecutor(1) as one, ProcessPoolExecutor(2) as two:
        for pool in (one, two):  # started and imported before anything is timed
            sweep(grid[:4], tape, executor=pool, **common)
        single = min(
            _timed(lambda: sweep(grid, tape, executor=one, **common)) for _ in range(rounds)
        )
        double = min(
            _timed(lambda: sweep(grid, tape, executor=two, **common)) for _ in range(rounds)
        )
    print(f"sweep={len(grid)} one_process_s={single:.2f} two_processes_s={double:.2f}")
    return single / double


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
