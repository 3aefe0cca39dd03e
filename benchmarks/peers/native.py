"""The Python clients as a plain ``pip install`` leaves them: without coincurve."""

import functools
import os
import sys

from benchmarks.harness import HERE
from benchmarks.peers.worker import Remote, Worker


@functools.cache
def _worker() -> Worker:
    # The worker runs from the project's folder, whatever the caller's is.
    path = os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH"))))
    return Worker(
        "Python without coincurve",
        [sys.executable, "-m", "benchmarks.peers.serve", "--without", "coincurve"],
        environment={"PYTHONPATH": path},
    )


def requests(client: str) -> Remote:
    """Return the whole request of ``official`` or ``unified``, with eth-keys' own curve."""
    return Remote(_worker(), client)
