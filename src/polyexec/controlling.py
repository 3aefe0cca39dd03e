"""Opens what a bot is controlled through: the local socket, signals and the switch in Redis."""

import asyncio
import contextlib
import logging
import os
import signal as signal_module
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from polyexec.commands import Request
from polyexec.config import ExecutorConfig, default_control_folder
from polyexec.control import Account, Control
from polyexec.control_socket import ControlSocket
from polyexec.looping import LoopThread
from polyexec.redis_switch import RedisSettings, RedisSwitch

__all__ = ["SIGNALS", "open_control"]

_log = logging.getLogger("polyexec.control")

SIGNALS: Final[Mapping[str, Request]] = {
    "SIGUSR1": Request("halt", reason="SIGUSR1"),
    "SIGUSR2": Request("resume"),
    "SIGHUP": Request("reload"),
}
"""What a signal asks for. A terminal that is closed asks with SIGHUP for the end."""


@contextlib.asynccontextmanager
async def open_control(
    config: ExecutorConfig,
    accounts: Mapping[str, Account],
    *,
    shutdown: Callable[[], object] | None = None,
    on_alarm: Callable[[str], object] | None = None,
) -> AsyncIterator[Control]:
    """Let a running bot be controlled from outside, in a thread of its own.

    Parameters
    ----------
    config : ExecutorConfig
        ``control_socket``, and of ``redis`` the variables ``REDIS_CONTROL_*``.
    accounts : mapping
        Name -> account. Of executors that are opened inside of this: what the switch in Redis says
        then holds before they send anything, follow-ups of an earlier run included.
    shutdown : callable or None
        Ends the bot; called on this loop. None: it cannot be ended from outside.
    on_alarm : callable or None
        Is told what a person should know, in a sentence, on the thread of the control.

    Raises
    ------
    ConfigError
        The socket cannot be opened, or the Redis settings cannot work.
    """
    control = Control(accounts, shutdown=shutdown)
    thread = LoopThread("polyexec-control")
    try:
        async with contextlib.AsyncExitStack() as stack:
            if config.control_socket.lower() != "off":
                listening = ControlSocket(_path(config), control.carry_out)
                thread.run(listening.open())
                stack.callback(lambda: thread.run(listening.close()))
                _log.info("control_listens", extra={"path": str(listening.path)})
            settings = RedisSettings.of(config.redis)
            if settings is not None:
                switch = thread.run(
                    _switch(settings, [one.executor for one in accounts.values()], on_alarm)
                )
                # What the key says holds before the first signal.
                thread.run(switch.look())
                stack.callback(thread.start(switch.run()))
                control.watched["redis"] = lambda: msgspec.structs.asdict(switch.state)
            stack.enter_context(_obeying_signals(thread, control))
            yield control
    finally:
        thread.stop()


async def _switch(settings: RedisSettings, executors: Any, on_alarm: Any) -> RedisSwitch:
    return RedisSwitch(settings, executors, on_alarm)


def _path(config: ExecutorConfig) -> Path:
    if config.control_socket:
        return Path(config.control_socket).expanduser()
    return Path(default_control_folder()) / f"{os.getpid()}.sock"


@contextlib.contextmanager
def _obeying_signals(thread: LoopThread, control: Control) -> Iterator[None]:
    """Hand signals over to the control's thread, while this is the main thread.

    Not to this loop, which may be the one that is stuck. And not carried out in the handler: it may
    have interrupted this thread while it holds the very lock that a halt takes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    numbers = {getattr(signal_module, name): request for name, request in SIGNALS.items()}
    if control.can_end and sys.stdin is not None and sys.stdin.isatty():
        numbers[signal_module.SIGHUP] = Request("shutdown")  # nobody is there to see it go on

    def handle(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # full: it has enough to do
            writing.send(bytes((number,)))

    async def carry_out(request: Request) -> None:
        try:
            told = await control.carry_out(request)
        except Exception as error:
            _log.exception("control_signal_failed", extra={"detail": str(error)})
        else:
            _log.warning("control_signal", extra={"command": request.command, "told": told})

    async def obey() -> None:
        # Each on its own: a reload waits for the bot's loop, and a halt must not wait for that.
        async with asyncio.TaskGroup() as group:
            while received := await thread.loop.sock_recv(reading, 1):
                group.create_task(carry_out(numbers[received[0]]))

    end = thread.start(obey())
    before = {number: signal_module.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal_module.signal(number, signal_module.SIG_DFL if handler is None else handler)
        end()
        writing.close()
        reading.close()
