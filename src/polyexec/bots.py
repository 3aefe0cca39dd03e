"""``polyexec run --account``: several accounts in one process, each with all of its own."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial

from polyexec.account import build_signer
from polyexec.bot import Bot, OnExit, RunSummary, stopping
from polyexec.config import ExecutorConfig
from polyexec.controlling import open_control
from polyexec.errors import ConfigError

__all__ = ["run_bots"]


async def run_bots(
    readers: Mapping[str, Callable[[], ExecutorConfig]],
    *,
    seconds: float | None = None,
    seed: int = 1,
    on_exit: OnExit = "cancel",
    show: Callable[[str], None] = print,
) -> dict[str, RunSummary]:
    """Run an engine and an executor for each account, until one signal or command ends all.

    An account that fails ends the others in order too: half of what was asked for is not run.

    Parameters
    ----------
    readers : mapping
        Name -> what reads the settings of that account. Control is opened by those of the first.
    seconds, seed, on_exit
        As of ``run_bot``.
    show : callable
        Takes each line, with the account's name before it.

    Raises
    ------
    ConfigError
        Two accounts are the same one, or one has no engine to take signals from.
    """
    configs = {name: read() for name, read in readers.items()}
    _check(configs)
    stop = asyncio.Event()
    bots = {
        name: Bot(config, show=partial(_show_of, show, name), read=readers[name])
        for name, config in configs.items()
    }
    accounts = {name: bot.account for name, bot in bots.items() if bot.account is not None}
    together = asyncio.Barrier(len(bots))

    def alarm(text: str) -> None:
        show(text)
        for bot in bots.values():
            bot.notify(text)

    try:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(stopping(stop))
            first = next(iter(configs.values()))
            await stack.enter_async_context(
                open_control(first, accounts, shutdown=stop.set, on_alarm=alarm)
            )
            async with asyncio.TaskGroup() as group:
                tasks = {
                    name: group.create_task(
                        bot.run(
                            stop, seconds=seconds, seed=seed, on_exit=on_exit, admit=together.wait
                        )
                    )
                    for name, bot in bots.items()
                }
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return {name: task.result() for name, task in tasks.items()}


def _show_of(show: Callable[[str], None], name: str, line: str) -> None:
    show(f"{name}: {line}")


def _check(configs: Mapping[str, ExecutorConfig]) -> None:
    seen: dict[str, str] = {}
    for name, config in configs.items():
        if config.engine_mode == "off" or config.executor_mode == "off":
            raise ConfigError(
                f"account {name}: engine_mode and executor_mode must both be on where several "
                "accounts run, as signals from elsewhere do not say whose they are"
            )
        if not config.private_key:
            continue  # a key is made up on paper; otherwise the executor says what is missing
        address = build_signer(config.replace(presign=0)).address
        other = seen.setdefault(address, name)
        if other != name:
            raise ConfigError(
                f"accounts {other} and {name} have the same key; a PRIVATE_KEY in the environment "
                "wins over every file"
            )
