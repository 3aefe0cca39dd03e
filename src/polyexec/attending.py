"""What stands around an executor: opened as the settings say, closed in order and within bounds.

The store is opened before the executor and closed after it, as an executor speaks until it is
closed. All that tells of others' trouble needs the notifier, which is therefore opened before it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Final, TypeVar

from polyexec.balancing import open_balance
from polyexec.config import ExecutorConfig
from polyexec.enums import NoticeKind
from polyexec.errors import ConfigError, PolyexecError
from polyexec.executor import Executor
from polyexec.following_up import open_follow_up
from polyexec.journal.database.store import TradeStore
from polyexec.metering import open_metrics
from polyexec.notifying import open_notifications
from polyexec.observers.balance import BalanceAlarm, BalanceWatch
from polyexec.observers.followup import FollowUpWatch, OrderAlarm
from polyexec.observers.metrics import MetricsServer
from polyexec.observers.notices import Notice
from polyexec.observers.notify import Notifier
from polyexec.observers.trade_log import log_result
from polyexec.storing import open_store

if TYPE_CHECKING:
    from polyexec.engine.engine import Engine

__all__ = ["Attendants", "attend"]

_log = logging.getLogger("polyexec.attending")

_CLOSE_S: Final = 10.0
"""What each part may take to close, beyond which it is left behind."""

_TOLD: Final = frozenset({"balance_alarm", "control_redis_lost", "control_redis_refused"})
"""Errors in the log that are handed to the notifier themselves, with their end."""

PartT = TypeVar("PartT")


class Attendants:
    """What :func:`attend` has opened; a part that the settings do not name is None."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.store: TradeStore | None = None
        self.notifier: Notifier | None = None
        self.balance: BalanceWatch | None = None
        self.follow_up: FollowUpWatch | None = None
        self.metrics: MetricsServer | None = None

    def __repr__(self) -> str:
        parts = ("store", "notifier", "balance", "follow_up", "metrics")
        return f"Attendants({', '.join(part for part in parts if getattr(self, part) is not None)})"

    def alarm(self, title: str, *fields: tuple[str, str]) -> None:
        """Tell people something that they should know; waits for nobody, and from any thread."""
        if self.notifier is not None:
            at_ms = self.executor.clock.time_ms()
            self.notifier.notify(
                Notice(kind=NoticeKind.ALARM, title=title, at_ms=at_ms, fields=fields)
            )

    def _on_balance(self, alarm: BalanceAlarm) -> None:
        what = f"shares of {alarm.asset}" if alarm.asset else "balance"
        state = "well again" if alarm.fault is None else str(alarm.fault)
        age = () if alarm.age_s is None else (("age of the value in use", f"{alarm.age_s:.0f} s"),)
        self.alarm(
            f"{what.capitalize()} from {alarm.source}: {state}", ("detail", alarm.detail), *age
        )

    def _on_order(self, alarm: OrderAlarm) -> None:
        self.alarm(
            f"Order {alarm.trouble}{': over' if alarm.is_over else ''}",
            ("order", alarm.order_id),
            ("state", str(alarm.state)),
            ("detail", alarm.detail),
        )


@contextlib.asynccontextmanager
async def attend(
    executor: Executor,
    *,
    engine: "Engine | None" = None,
    config: ExecutorConfig | None = None,
    prepare: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[Attendants]:
    """Open everything that the settings want around an executor.

    That is the trade store, notifications, the balance watch, the watch of orders, metrics, and a
    line in the log for every result. None of them can delay an order.

    Parameters
    ----------
    executor : Executor
        One that is not open yet is opened, and closed at the end: the store then also gets what
        it says last. One that is open already is left open.
    engine : Engine or None
        Open, or opened later; told of in metrics and notices.
    config : ExecutorConfig or None
        None: the executor's. On the embedded paper exchange the balance is watched only where
        ``BALANCE_SOURCE`` says so.
    prepare : async callable or None
        Awaited once executor and store are open, before anything else is.

    Yields
    ------
    Attendants

    Raises
    ------
    ConfigError
        A part cannot be opened; the message begins with its name. What was opened is closed. A
        server that does not answer is no reason: rows and notices wait, losses are counted.
    """
    settings = config or executor.config
    attendants = Attendants(executor)
    async with AsyncExitStack() as stack:
        attendants.store = await _enter(stack, "trade store", open_store(settings, executor))
        if not executor.is_open:
            await stack.enter_async_context(executor)
        if prepare is not None:
            await prepare()
        attendants.notifier = await _enter(
            stack, "notifications", open_notifications(settings, executor, engine, told=_TOLD)
        )
        if _watches_balance(settings):
            attendants.balance = await _enter(
                stack,
                "balance watch",
                open_balance(settings, executor, on_alarm=attendants._on_balance),
            )
        attendants.follow_up = await _enter(
            stack, "order watch", open_follow_up(settings, executor, on_alarm=attendants._on_order)
        )
        attendants.metrics = await _enter(
            stack,
            "metrics",
            open_metrics(settings, executor, engine, attendants.notifier, attendants.store),
        )
        stack.callback(executor.on_trade_result(log_result))
        # What was published is told to all of them before the first is closed.
        stack.push_async_callback(executor.flush_callbacks)
        yield attendants


async def _enter(
    stack: AsyncExitStack, name: str, part: AbstractAsyncContextManager[PartT]
) -> PartT:
    """Open a part, and have it closed at the end: in bounded time, whatever becomes of it."""
    try:
        opened = await part.__aenter__()
    except (PolyexecError, OSError) as error:
        raise ConfigError(f"{name}: {error}") from error

    async def close() -> None:
        try:
            async with asyncio.timeout(_CLOSE_S):
                await part.__aexit__(None, None, None)
        except TimeoutError:
            _log.error("attendant_left", extra={"part": name, "after_s": _CLOSE_S})
        except Exception:  # the others are closed all the same
            _log.exception("attendant_not_closed", extra={"part": name})

    stack.push_async_callback(close)
    return opened


def _watches_balance(config: ExecutorConfig) -> bool:
    """Without a word of it paper money is not asked for: the exchange is in this process."""
    return config.executor_mode != "paper" or "BALANCE_SOURCE" in config.balance
