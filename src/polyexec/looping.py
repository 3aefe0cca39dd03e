"""Event loops in threads of their own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["LoopThread", "new_loop"]

ResultT = TypeVar("ResultT")


class LoopThread:
    """A thread that runs one event loop."""

    def __init__(self, name: str = "polyexec-loop") -> None:
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Its loop."""
        return self._loop

    def run(self, coroutine: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run to the end, and return what came of it; from any other thread."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> Callable[[], None]:
        """Start work that goes on; return the way to cancel it and wait for its end."""

        async def begin() -> asyncio.Task[None]:
            return self._loop.create_task(coroutine)

        task = self.run(begin())
        return lambda: self.run(_end(task))

    def stop(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def new_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop: uvloop's where it is installed."""
    try:
        import uvloop  # noqa: PLC0415  optional where there is no build of it
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
