"""Carries out what another process asks of a running bot."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from polyexec.commands import Request
from polyexec.config import ExecutorConfig
from polyexec.engine.engine import Engine
from polyexec.errors import InputError, UsageError
from polyexec.executor import Executor
from polyexec.live_settings import read_again
from polyexec.numbers import from_micro

__all__ = ["Account", "Control", "status_of"]

_log = logging.getLogger("polyexec.control")

_SLOW_S: Final = 30.0

T = TypeVar("T")


class Account:
    """An executor under control, with what belongs to it.

    Parameters
    ----------
    executor : Executor
    engine : Engine or None
        Is given changed thresholds too.
    read : callable or None
        Reads the settings anew; None: they cannot be reloaded. Called once at once, so that a
        reload knows what has changed.
    """

    def __init__(
        self,
        executor: Executor,
        engine: Engine | None = None,
        read: Callable[[], ExecutorConfig] | None = None,
    ) -> None:
        self.executor = executor
        self.engine = engine
        self._read = read
        self._before = None if read is None else read()

    def reload(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Read the settings; return the changes to apply, and what is to be told of them.

        Raises
        ------
        ConfigError, UsageError
            They cannot be read; nothing changes.
        """
        if self._read is None or self._before is None:
            raise UsageError("reload: this bot was not told where its settings come from")
        now = self._read()
        changes, readings = read_again(self._before, now)
        changed = {one.setting: f"{one.old} -> {one.new}" for one in readings if not one.refusal}
        refused = {one.setting: one.refusal for one in readings if one.refusal}
        return changes, {"changed": changed, "refused": refused}

    def apply(self, changes: dict[str, Any]) -> None:
        """Go on with these settings changed; on the loop.

        Raises
        ------
        ConfigError
            They cannot be together with what code has set; nothing changes.
        """
        config = self.executor.config.replace(**changes)
        if self.engine is not None:
            self.engine.retune(self.engine.config.replace(**changes))
        self.executor.retune(config)
        # What was refused is told again next time: it still waits for a restart.
        if self._before is not None:
            self._before = self._before.replace(**changes)


class Control:
    """Carries out commands. Those that stop something act in the calling thread, whatever the loop
    is busy with; the others wait for it.

    Parameters
    ----------
    accounts : mapping
        Name -> account. Create it on the loop that opens their executors.
    shutdown : callable or None
        Ends the bot in order; called on the loop.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        *,
        shutdown: Callable[[], object] | None = None,
    ) -> None:
        self._accounts = dict(accounts)
        self._shutdown = shutdown
        self._loop = asyncio.get_running_loop()
        self.watched: dict[str, Callable[[], object]] = {}
        """What else a status tells, by name."""

    @property
    def accounts(self) -> Mapping[str, Account]:
        """By name."""
        return self._accounts

    @property
    def can_end(self) -> bool:
        """The bot can be ended from outside."""
        return self._shutdown is not None

    async def carry_out(self, request: Request) -> dict[str, Any]:
        """Carry out a command, in any thread that runs a loop; return what to tell of it.

        Raises
        ------
        PolyexecError
            It was refused, or failed.
        """
        if request.command != "status":
            _log.warning(
                "control_command",
                extra={
                    "command": request.command,
                    "reason": request.reason,
                    "account": request.account,
                },
            )
        if request.command == "shutdown":
            return self._end()
        told = {
            name: await self._one(request, account)
            for name, account in self._chosen(request.account).items()
        }
        answer: dict[str, Any] = {"accounts": told}
        if request.command == "status" and self.watched:
            answer["watched"] = {name: look() for name, look in self.watched.items()}
        return answer

    def halt(self, reason: str, account: str = "") -> dict[str, Any]:
        """Halt at once, from any thread; every account is tried."""
        return {name: _halt(one.executor, reason) for name, one in self._chosen(account).items()}

    def _chosen(self, name: str) -> dict[str, Account]:
        if not name:
            return self._accounts
        if name not in self._accounts:
            known = ", ".join(self._accounts)
            raise InputError("account", name, f"is not one of this process: {known}")
        return {name: self._accounts[name]}

    def _end(self) -> dict[str, Any]:
        if self._shutdown is None:
            raise UsageError("shutdown: this process decides itself when it ends")
        self._loop.call_soon_threadsafe(self._shutdown)
        return {"shutdown": "under way"}

    async def _one(self, request: Request, account: Account) -> dict[str, Any]:
        executor = account.executor
        match request.command:
            case "halt":
                return _halt(executor, request.reason or "halted from outside")
            case "resume":
                executor.resume()
            case "enable":
                executor.set_trading_enabled(True)
            case "disable":
                return _quiet(executor, is_quiet=executor.set_trading_enabled(False))
            case "reduce-only":
                executor.reduce_only(request.flag)
            case "cancel-all":
                return {"cancelled": list(await self._on_loop(_cancel(executor)))}
            case "reload":
                changes, told = account.reload()
                await self._on_loop(_call(account.apply, changes))
                return told
        return status_of(executor)

    async def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        if asyncio.get_running_loop() is self._loop:
            return await work
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            async with asyncio.timeout(_SLOW_S):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise UsageError(f"the bot's loop did not get to it within {_SLOW_S:.0f} s") from None


def status_of(executor: Executor) -> dict[str, Any]:
    """Return what an account is doing; money in dollars, as text."""
    ledger, risk, limits = executor.ledger, executor.risk, executor.config.limits
    return {
        "address": executor.address,
        "mode": executor.config.executor_mode,
        "open": executor.is_open,  # before, money is not known yet
        "trading": executor.trading_enabled,
        "halted": risk.halted,
        "reduce_only": risk.is_reduce_only,
        "venue_mode": str(executor.venue_mode),
        "in_flight": executor.in_flight,
        "open_orders": len(executor.orders),
        "unknown_groups": risk.unknown_groups,
        "balance": str(from_micro(ledger.balance())),
        "available": str(from_micro(ledger.available())),
        "held": str(from_micro(ledger.held())),
        "spent_today": str(from_micro(risk.spent_micro)),
        "exposure": str(from_micro(risk.exposure_micro)),
        "default_size": str(executor.config.default_size),
        "limits": {name: _shown(getattr(limits, name)) for name in limits._shown},
        "dropped_signals": executor.dropped_signals,
        "dropped_callbacks": executor.dropped_callbacks,
    }


def _halt(executor: Executor, reason: str) -> dict[str, Any]:
    return _quiet(executor, is_quiet=executor.halt(reason))


def _quiet(executor: Executor, *, is_quiet: bool) -> dict[str, Any]:
    """Tell what is left after a stop: nothing new begins, what was sent is tracked."""
    return {
        "halted": executor.halted,
        "trading": executor.trading_enabled,
        "in_flight": executor.in_flight,
        "open_orders": len(executor.orders),
        **({} if is_quiet else {"warning": "orders are still being written to the exchange"}),
    }


async def _cancel(executor: Executor) -> tuple[str, ...]:
    # One on its way would come to rest behind the cancelling. While others may be sent, it does.
    if executor.halted is not None or not executor.trading_enabled:
        await executor.drain()
    return await executor.cancel_all()


async def _call(function: Callable[[T], object], argument: T) -> None:
    function(argument)


def _shown(value: object) -> object:
    return value if value is None or isinstance(value, int) else str(value)
