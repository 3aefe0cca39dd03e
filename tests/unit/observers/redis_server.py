"""A real Redis of its own for a test: a socket in a temporary folder, no port, no file kept."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BINARY = shutil.which("redis-server")


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[str]:
    """Start a server; yield the path of its socket."""
    if BINARY is None:
        pytest.skip("no redis-server on this machine (Debian: redis-server)")
    path = folder / "redis.sock"
    command = [BINARY, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(folder)]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        deadline = time.monotonic() + 10
        for line in process.stdout:
            if "eady to accept connections" in line:
                break
            assert time.monotonic() < deadline, line
        yield str(path)
    finally:
        process.kill()
        process.communicate()
