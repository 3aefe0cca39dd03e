"""The Rust contestants: built once into ``.bench/``, left out where that is not possible."""

import functools
import shutil
import subprocess
from pathlib import Path

from benchmarks import inputs
from benchmarks.harness import HERE
from benchmarks.peers.worker import Remote, Worker

CRATE = HERE / "peers" / "rust"
TARGET = HERE.parent / ".bench" / "rust"
BINARY = TARGET / "release" / "polyexec-rust-peers"
CLIENTS = ("polymarket_client_sdk_v2", "polyfill-rs", "alloy + k256", "alloy + secp256k1")
"""Two clients, and two hand-written programs on the usual crates."""

_SIGNERS = CLIENTS[1:]


def build() -> str:
    """Build the worker; return why it cannot be had, or nothing."""
    if is_built():
        return ""
    cargo = shutil.which("cargo")
    if cargo is None:
        return "cargo is not installed"
    print("building the Rust peers, some minutes the first time", flush=True)
    command = [cargo, "build", "--release", "--locked", "--quiet", "--target-dir", str(TARGET)]
    done = subprocess.run(command, cwd=CRATE, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = next((x for x in done.stderr.splitlines() if x.startswith("error")), "no reason")
        return f"cargo build failed: {reason}"
    # Cargo leaves a worker that is still right as it is; a fresh checkout's sources are newer.
    BINARY.touch()
    return ""


def is_built() -> bool:
    """Return True when the worker is there and no older than its sources."""
    return BINARY.exists() and BINARY.stat().st_mtime >= max(
        (CRATE / name).stat().st_mtime for name in ("Cargo.toml", "Cargo.lock", "src/main.rs")
    )


def signatures() -> dict[str, Remote]:
    """Return the contestants that sign three given orders; none where nothing is built."""
    return {name: Remote(_worker(), f"{name}/sign") for name in _SIGNERS if is_built()}


def requests() -> dict[str, Remote]:
    """Return the contestants that make a whole request; none where nothing is built."""
    return {name: Remote(_worker(), f"{name}/request") for name in CLIENTS if is_built()}


def versions() -> dict[str, str]:
    """Return the versions of the crates that matter, as the lock file has them."""
    wanted = {"polymarket_client_sdk_v2", "polyfill-rs", "alloy", "k256", "secp256k1"}
    found = {}
    name = ""
    for line in Path(CRATE, "Cargo.lock").read_text().splitlines():
        key, _, value = line.partition(" = ")
        if key == "name":
            name = value.strip('"')
        elif key == "version" and name in wanted:
            found[f"rust {name}"] = value.strip('"')
    return found


@functools.cache
def _worker() -> Worker:
    return Worker("Rust peers", [str(BINARY)], opening=inputs.for_workers)
