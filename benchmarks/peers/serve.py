"""The far end of a Python worker: ``python -m benchmarks.peers.serve [--without MODULE]``."""

import argparse
import gc
import json
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from benchmarks.peers.worker import Remote


def _nanoseconds(call: Callable[[], object], calls: int) -> list[int]:
    call()
    durations = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        durations.append(time.perf_counter_ns() - start)
    return durations


def answer_questions(cases: Mapping[str, Callable[[], Any]]) -> None:
    """Answer what a :class:`~benchmarks.peers.worker.Remote` asks, until the input ends."""
    print(json.dumps({"cases": list(cases)}), flush=True)
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        question = json.loads(line)
        call = cases[question["case"]]
        if "calls" in question:
            sample = call.sample if isinstance(call, Remote) else partial(_nanoseconds, call)
            answer: object = {"ns": sample(question["calls"])}
        else:
            request = call()
            answer = {
                "body": request.body.decode(),
                "timestamp": request.timestamp,
                "signature": request.signature,
            }
        print(json.dumps(answer), flush=True)
        gc.collect()


def main() -> int:
    """Answer questions until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", metavar="MODULE", help="as if it was not installed")
    options = parser.parse_args()
    if options.without:
        # None makes every import of it an ImportError; eth-keys then takes its own curve.
        sys.modules[options.without] = None  # type: ignore[assignment]
        warnings.simplefilter("ignore")
    from benchmarks.baselines import official, unified

    cases = {"official": official.requests(), "unified": unified.requests()}
    answer_questions(cases)
    return 0


if __name__ == "__main__":
    sys.exit(main())
