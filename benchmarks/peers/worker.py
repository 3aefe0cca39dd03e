"""The near end of a process that times itself: one JSON object a line, in turns.

The first line of the process is a greeting. ``{"case": name}`` asks for the output of one call,
``{"case": name, "calls": n}`` for the durations of ``n`` calls.
"""

import atexit
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Remote", "Worker", "python_worker"]

_PROJECT: Final = Path(__file__).resolve().parents[2]


class Worker:
    """A process, started by the first question."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        opening: Callable[[], object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._command = list(command)
        self._opening = opening
        self._environment = environment

    @functools.cached_property
    def _process(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(self._environment or {})},
        )
        try:
            if self._opening is not None:
                self._write(process, self._opening())
            self._read(process)
        except BaseException:
            _end(process)
            raise
        atexit.register(self.close)
        return process

    def ask(self, **question: object) -> dict[str, Any]:
        """Send a question and return its answer."""
        self._write(self._process, question)
        return self._read(self._process)

    def close(self) -> None:
        """End the process, when there is one."""
        process = self.__dict__.pop("_process", None)
        if process is None:
            return
        atexit.unregister(self.close)
        _end(process)

    @staticmethod
    def _write(process: subprocess.Popen[str], message: object) -> None:
        assert process.stdin is not None
        process.stdin.write(json.dumps(message) + "\n")
        process.stdin.flush()

    def _read(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: its process ended with code {process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _end(process: subprocess.Popen[str]) -> None:
    with process:  # closes the pipes, which ends its input and so the process
        pass


def python_worker(name: str, module: str, *arguments: str) -> Worker:
    """Return a process that runs a module of the project."""
    # From the project's folder, whatever the caller's is.
    path = os.pathsep.join(filter(None, (str(_PROJECT), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", module, *arguments]
    return Worker(name, command, environment={"PYTHONPATH": path})


@dataclass(frozen=True)
class Remote:
    """One case of a worker; stands in a row where a callable of this process does."""

    worker: Worker
    case: str

    def output(self) -> dict[str, Any]:
        """Return what one call makes."""
        return self.worker.ask(case=self.case)

    def sample(self, calls: int) -> list[float]:
        """Return nanoseconds of each of ``calls`` calls, after one that is not counted."""
        return [float(ns) for ns in self.worker.ask(case=self.case, calls=calls)["ns"]]
