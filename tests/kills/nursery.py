"""Starts processes, kills them by their pid, and reaps them."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from tests.kills.protocol import LifePlan, Start, Wait

ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """A process that has imported everything, and forks the ones that are killed."""

    def __enter__(self) -> Self:
        self._control, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.kills.child"]
        self._process = subprocess.Popen(command, stdin=theirs.fileno(), cwd=ROOT)
        theirs.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._control.close()
        self._process.wait()

    def start(self, life: LifePlan, stderr: Path) -> tuple[int, socket.socket]:
        """Start a process; return its pid, and a channel that ends when it does."""
        channel, theirs = socket.socketpair()
        with theirs:
            line = msgspec.json.encode(Start(life=life, stderr=str(stderr))) + b"\n"
            socket.send_fds(self._control, [line], [theirs.fileno()])
        return self._answer(), channel

    @staticmethod
    def kill(pid: int) -> None:
        """Send SIGKILL to a process that was not reaped yet, dead or not."""
        os.kill(pid, signal.SIGKILL)

    def reap(self, pid: int) -> int:
        """Wait for the end of a process; return its exit code, negative for a signal."""
        self._control.sendall(msgspec.json.encode(Wait(pid=pid)) + b"\n")
        return self._answer()

    def _answer(self) -> int:
        data = b""
        while not data.endswith(b"\n"):
            part = self._control.recv(64)
            if not part:
                raise RuntimeError("the process that forks has died")
            data += part
        return int(data)
