"""The C program of ``peers/wire``: the server that every wire row talks to, and its floor."""

import atexit
import functools
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

import trustme

from benchmarks.harness import HERE
from benchmarks.peers.worker import Remote, Worker

__all__ = ["BODY_BYTES", "ask", "build", "client_context", "url"]

SOURCE = HERE / "peers" / "wire" / "wire.c"
BINARY = HERE.parent / ".bench" / "wire"
BODY_BYTES = 2290
"""A POST of three orders."""


def build() -> str:
    """Build the program; return why it cannot be had, or nothing."""
    if BINARY.exists() and BINARY.stat().st_mtime >= SOURCE.stat().st_mtime:
        return ""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return "no C compiler"
    BINARY.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, "-O2", "-o", str(BINARY), str(SOURCE), "-lssl", "-lcrypto"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"OpenSSL's headers: {done.stderr.strip().splitlines()[0]}" if done.returncode else ""


@functools.cache
def _authority() -> trustme.CA:
    return trustme.CA()


def client_context() -> ssl.SSLContext:
    """Return a context that trusts the server."""
    context = ssl.create_default_context()
    _authority().configure_trust(context)
    return context


def port(answers_after_us: int = 0) -> int:
    """Return where the server listens that answers like this; the first time it is started."""
    return _started(answers_after_us)


@functools.cache  # port() and port(0) are the same server
def _started(answers_after_us: int) -> int:
    """Start a server, on another core where there is one."""
    folder = Path(tempfile.mkdtemp(prefix="polyexec-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    chain = folder / "server.pem"
    _authority().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(chain))
    command = [str(BINARY), "serve", str(chain), str(chain), str(answers_after_us)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(server.wait)
    atexit.register(server.kill)
    if hasattr(os, "sched_setaffinity"):
        others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
        os.sched_setaffinity(server.pid, others or os.sched_getaffinity(0))
    assert server.stdout is not None
    return int(server.stdout.readline())


def url(answers_after_us: int = 0) -> str:
    """Return the base URL of the server that answers like this."""
    return f"https://127.0.0.1:{port(answers_after_us)}"


@functools.cache
def _worker() -> Worker:
    return Worker("C floor", [str(BINARY), "ask", str(port()), str(BODY_BYTES)])


def ask(case: str) -> Remote:
    """Return the floor of ``write``, ``round_trip`` or ``cpu``."""
    return _Late(case)


class _Late(Remote):
    """Starts nothing before it is measured."""

    def __init__(self, case: str) -> None:
        object.__setattr__(self, "case", case)

    @property
    def worker(self) -> Worker:  # type: ignore[override]
        return _worker()

    def __call__(self) -> object:
        return self.sample(1)
