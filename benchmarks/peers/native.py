"""The Python clients as a plain ``pip install`` leaves them: without coincurve."""

import functools

from benchmarks.peers.worker import Remote, Worker, python_worker


@functools.cache
def _worker() -> Worker:
    return python_worker(
        "Python without coincurve", "benchmarks.peers.serve", "--without", "coincurve"
    )


def requests(client: str) -> Remote:
    """Return the whole request of ``official`` or ``unified``, with eth-keys' own curve."""
    return Remote(_worker(), client)
