"""``polyexec run``: an engine, an executor, or both, until it is told to stop."""

import asyncio
import contextlib
import os
import secrets
import signal as signal_module
import stat
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeAlias

import msgspec

from polyexec.attending import Attendants, attend
from polyexec.config import ExecutorConfig
from polyexec.control import Account
from polyexec.controlling import open_control
from polyexec.demo.live import play_market
from polyexec.demo.report import format_result
from polyexec.engine.engine import Engine
from polyexec.errors import ConfigError, InputError, TransportError, VenueError
from polyexec.executor import Executor
from polyexec.results import TradeResult
from polyexec.signal_json import decode_signal, encode_signal
from polyexec.signals import Signal

__all__ = ["Bot", "OnExit", "RunSummary", "Watch", "read_lines", "run_bot", "stopping"]

OnExit: TypeAlias = Literal["cancel", "keep"]
Watch: TypeAlias = Callable[
    [Executor | None, Engine | None], AbstractAsyncContextManager[Callable[[str], None]]
]

_PAPER_DEPOSIT: Final = "25000"
_REPORT_S: Final = 60.0
_LONGEST_LINE: Final = 2**20


class RunSummary(msgspec.Struct):
    """What a run came to."""

    signals: int = 0
    executed: int = 0
    """Sent, and accepted in every leg."""
    rejected: int = 0
    """Sent, and not accepted in every leg."""
    skipped: int = 0
    unknown: int = 0
    """Sent, with a leg whose fate was not known when its result came."""
    unreadable: int = 0
    """Lines that were no signals."""
    cancelled: int = 0
    """Open orders that were cancelled at the end."""

    def add(self, result: TradeResult) -> None:
        """Count a result."""
        self.signals += 1
        if result.skipped is not None:
            self.skipped += 1
        elif result.unknown_orders:
            self.unknown += 1
        elif result.success:
            self.executed += 1
        else:
            self.rejected += 1

    def last_line(self) -> str:
        """Return the line that ends a run."""
        fields = msgspec.structs.asdict(self)
        return " ".join(f"{name}={count}" for name, count in fields.items())


class Bot:
    """An engine, an executor, or both, as the modes ask for: made, and opened when it is run.

    Who controls it opens :func:`~polyexec.controlling.open_control` around :meth:`run`. What the
    switch in Redis says then holds before anything is sent, follow-ups of an earlier run included.

    Parameters
    ----------
    config : ExecutorConfig
        In paper mode a missing key is made up, and trading is switched on. With ``paper`` for the
        engine, a generated market is played on the paper exchange.
    show : callable
        Takes each line: results, or signals as JSON where there is no executor.
    read : callable or None
        Reads the settings anew.

    Raises
    ------
    ConfigError
        Both modes are ``off``, or a paper engine would trade on a live exchange.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        *,
        show: Callable[[str], None] = print,
        read: Callable[[], ExecutorConfig] | None = None,
    ) -> None:
        engine_mode, executor_mode = config.engine_mode, config.executor_mode
        if engine_mode == executor_mode == "off":
            raise ConfigError(
                "engine_mode and executor_mode are both 'off': there is nothing to run"
            )
        if engine_mode == "paper" and executor_mode == "live":
            raise ConfigError(
                "engine_mode is 'paper': made-up prices must not trade on a live exchange"
            )
        if not config.private_key and executor_mode == "paper":
            config = config.replace(private_key=secrets.token_hex(32))
        self.config = config
        self.executor = Executor(config) if executor_mode != "off" else None
        self.engine = Engine(config, self.executor) if engine_mode != "off" else None
        self.account = Account(self.executor, self.engine, read) if self.executor else None
        self.summary = RunSummary()
        self._show = show
        self._attended: Future[Attendants] = Future()

    def tell(self, line: str) -> None:
        """Show a line, in whatever shows them by then."""
        self._show(line)

    def alarm(self, text: str) -> None:
        """Show what a person should know, and notify of it."""
        self.tell(text)
        self.notify(text)

    def notify(self, text: str) -> None:
        """Notify of it: at once, or when notifications are open. From any thread."""
        self._attended.add_done_callback(lambda done: done.result().alarm(text))

    async def run(
        self,
        stop: asyncio.Event,
        *,
        seconds: float | None = None,
        lines: AsyncIterator[str] | None = None,
        seed: int = 1,
        on_exit: OnExit = "cancel",
        watch: Watch | None = None,
        admit: Callable[[], Awaitable[object]] | None = None,
    ) -> RunSummary:
        """Open everything, trade until ``stop`` is set, and shut down cleanly.

        Parameters
        ----------
        stop : asyncio.Event
        seconds, lines, seed, on_exit, watch
            As of :func:`run_bot`.
        admit : async callable or None
            Awaited once the executor is open; nothing is watched, and no signal traded, before.
        """
        executor, engine = self.executor, self.engine
        async with contextlib.AsyncExitStack() as stack:
            if executor is not None:
                executor.on_trade_result(self._take_result)
                self._attended.set_result(
                    await stack.enter_async_context(
                        attend(executor, engine=engine, prepare=lambda: _fund(executor))
                    )
                )
                stack.push_async_callback(_settle, executor, on_exit, self.summary, self.tell)
            if admit is not None:
                await admit()
            if engine is not None:
                await self._open_engine(stack, engine, seed)
            elif executor is not None and lines is not None:
                taking = _take(lines, executor, stop, self.summary, self.tell)
                stack.push_async_callback(_end, _start(taking))
            if watch is not None:
                self._show = await stack.enter_async_context(watch(executor, engine))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stop.wait()
        return self.summary

    async def _open_engine(
        self, stack: contextlib.AsyncExitStack, engine: Engine, seed: int
    ) -> None:
        await stack.enter_async_context(engine)
        if self.config.engine_mode == "paper":
            stack.push_async_callback(_end, _start(play_market(engine.exchange, seed=seed)))
        if self.executor is None:
            engine.on_signal(self._take_signal)
        stack.push_async_callback(_end, _start(_report(engine, self.tell)))

    def _take_result(self, result: TradeResult) -> None:
        self.summary.add(result)
        self.tell(format_result(self.summary.signals, result))

    def _take_signal(self, signal: Signal) -> None:
        self.summary.signals += 1
        self.tell(encode_signal(signal))


async def run_bot(
    config: ExecutorConfig,
    *,
    seconds: float | None = None,
    lines: AsyncIterator[str] | None = None,
    seed: int = 1,
    on_exit: OnExit = "cancel",
    show: Callable[[str], None] = print,
    read: Callable[[], ExecutorConfig] | None = None,
    watch: Watch | None = None,
) -> RunSummary:
    """Run what ``engine_mode`` and ``executor_mode`` ask for, and shut down cleanly.

    Parameters
    ----------
    config, show
        As of :class:`Bot`.
    seconds : float or None
        Stop after so long; None: at SIGINT or SIGTERM, or at the end of ``lines``.
    lines : async iterator of str
        Signals as JSON, for an executor without an engine.
    seed : int
        Of the generated market.
    on_exit : "cancel" or "keep"
        What becomes of open orders.
    read : callable or None
        Reads the settings anew. With it the executor takes commands from outside, and signals.
    watch : callable or None
        Opens something that shows executor and engine, and takes the lines instead of ``show``:
        ``dashboard.open_dashboard``.

    Raises
    ------
    ConfigError
        As of :class:`Bot`; or something that the settings name beside the executor cannot be opened
        (:func:`~polyexec.attending.attend`).
    """
    bot, stop = Bot(config, show=show, read=read), asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(stopping(stop))
        if bot.account is not None and read is not None:
            await stack.enter_async_context(
                open_control(
                    bot.config, {"main": bot.account}, shutdown=stop.set, on_alarm=bot.alarm
                )
            )
        return await bot.run(
            stop, seconds=seconds, lines=lines, seed=seed, on_exit=on_exit, watch=watch
        )


async def read_lines(source: str) -> AsyncIterator[str]:
    """Yield the lines of a file; ``-`` is standard input, which can be waited for.

    Raises
    ------
    InputError
        It cannot be read.
    """
    if source != "-" or not _is_pipe(sys.stdin):
        try:
            stream = sys.stdin if source == "-" else Path(source).open(encoding="utf-8")  # noqa: ASYNC230, SIM115
        except OSError as error:
            raise InputError("signals", source, f"cannot be read: {error}") from None
        with stream:
            for line in stream:
                yield line
        return
    reader = asyncio.StreamReader(limit=_LONGEST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            yield line.decode("utf-8", "replace")
    except ValueError:
        raise InputError("signals", source, f"a line of more than {_LONGEST_LINE} bytes") from None


def _is_pipe(stream: TextIO) -> bool:
    mode = os.fstat(stream.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


@contextlib.contextmanager
def stopping(stop: asyncio.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set an event, not tear the loop down."""
    loop = asyncio.get_running_loop()
    # Signals are the main thread's: elsewhere (a notebook's helper) `seconds` ends the run.
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal_module.SIGINT, signal_module.SIGTERM) if is_main else ()
    for number in numbers:
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    return asyncio.get_running_loop().create_task(work)


async def _end(task: asyncio.Task[None]) -> None:
    """Stop a task; one that had failed by itself is not passed over in silence."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _take(
    lines: AsyncIterator[str],
    executor: Executor,
    stop: asyncio.Event,
    summary: RunSummary,
    show: Callable[[str], None],
) -> None:
    """Submit every line that is a signal; the end of the lines is the end of the run."""
    try:
        async for line in lines:
            if not line.strip():
                continue
            try:
                signal = decode_signal(line)
            except InputError as error:
                summary.unreadable += 1
                show(f"not a signal: {error}")
            else:
                await executor.submit(signal)
    finally:
        stop.set()


async def _report(engine: Engine, show: Callable[[str], None]) -> None:
    """Say now and then what is watched: a silent market looks like a dead bot."""
    while True:
        await asyncio.sleep(_REPORT_S)
        show(f"{engine!r} {engine.counts}")


async def _fund(executor: Executor) -> None:
    """Give an embedded exchange's only customer money, and let it trade."""
    if executor.config.executor_mode != "paper":
        return
    executor.exchange.deposit(executor.address, _PAPER_DEPOSIT)
    await executor.refresh_balance()
    executor.set_trading_enabled(True)


async def _settle(
    executor: Executor, on_exit: OnExit, summary: RunSummary, show: Callable[[str], None]
) -> None:
    executor.set_trading_enabled(False)
    if on_exit == "keep":
        return
    await executor.drain()  # an order on its way would come to rest behind the cancelling
    try:
        summary.cancelled = len(await executor.cancel_all())
    except (TransportError, VenueError) as error:
        show(f"open orders may be left, they could not be cancelled: {error}")
