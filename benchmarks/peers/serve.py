"""The far end of a Python worker: ``python -m benchmarks.peers.serve [--without MODULE]``."""

import argparse
import gc
import json
import sys
import time
import warnings
from collections.abc import Callable


def _nanoseconds(call: Callable[[], object], calls: int) -> list[int]:
    call()
    durations = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        durations.append(time.perf_counter_ns() - start)
    return durations


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
    print(json.dumps({"cases": list(cases)}), flush=True)
    gc.collect()
    gc.disable()
    for line in sys.stdin:
        question = json.loads(line)
        call = cases[question["case"]]
        if "calls" in question:
            answer: object = {"ns": _nanoseconds(call, question["calls"])}
        else:
            request = call()
            answer = {
                "body": request.body.decode(),
                "timestamp": request.timestamp,
                "signature": request.signature,
            }
        print(json.dumps(answer), flush=True)
        gc.collect()
    return 0


if __name__ == "__main__":
    sys.exit(main())
