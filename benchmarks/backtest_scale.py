"""What a backtest costs per event with more groups, and what a second process saves.

``python -m benchmarks.backtest_scale`` (``make backtest-scale``). The cost of an event is the
difference of two runs over tapes of different lengths, so that setting up does not count.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from benchmarks import market
from benchmarks.bench_backtest import CONFIG
from benchmarks.recorded import Recorded
from polyexec.backtest import Tape, run, sweep
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
        cost = {
            groups: _cost_ns(groups, options.messages, options.rounds, folder) for groups in _GROUPS
        }
        speedup = _speedup(options.rounds, folder)
    ratio = cost[_GROUPS[-1]] / cost[_GROUPS[0]]
    print(f"groups={_GROUPS[-1]} cost_ratio={ratio:.2f} sweep_speedup={speedup:.2f}")


def _cost_ns(groups: int, messages: int, rounds: int, folder: Path) -> float:
    # The changes are in one group, however many others are watched: its books stay where they are.
    watched = market.watched(groups)
    changing = market.Watched(watched.books, watched.forms, watched.pairs[: 2 * 3])
    tapes = [
        write_tape([Recorded(changing, count)], folder / f"{groups}-{count}.tape")
        for count in (messages // 4, messages)
    ]

    def play(tape: Tape) -> Callable[[], object]:
        return lambda: run(None, tape, forms=watched.forms, config=CONFIG)

    short, long = (min(_timed(play(tape)) for _ in range(rounds)) for tape in tapes)
    per_message = (long - short) * 1e9 / (messages - messages // 4)
    print(f"groups={groups} message_ns={per_message:.0f} whole_s={long:.2f}")
    return per_message


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
