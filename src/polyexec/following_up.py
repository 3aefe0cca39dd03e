"""The follow-up watch of an executor: told of its orders, and telling of their trouble."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from polyexec.config import ExecutorConfig
from polyexec.dispatch import Publisher
from polyexec.executor import Executor
from polyexec.observers.followup import FollowUpRules, FollowUpWatch, OrderAlarm

__all__ = ["open_follow_up"]

_CLOSE_S: Final = 1.0


@contextlib.asynccontextmanager
async def open_follow_up(
    config: ExecutorConfig,
    executor: Executor,
    *,
    rules: FollowUpRules | None = None,
    on_alarm: Callable[[OrderAlarm], object] | None = None,
) -> AsyncIterator[FollowUpWatch]:
    """Watch how the orders of an open executor come to their end.

    Parameters
    ----------
    config : ExecutorConfig
        Unknown orders are told of before ``unknown_absent_after_s`` gives them up.
    executor : Executor
        Open, on the running loop.
    rules : FollowUpRules or None
        Bounds of time; None: the usual ones.
    on_alarm : callable or None
        A plain function runs in a thread of its own, a coroutine function on the loop.

    Yields
    ------
    FollowUpWatch
    """
    if rules is None:
        absent_s = config.unknown_absent_after_s
        rules = FollowUpRules(unknown_s=60.0 if absent_s is None else min(60.0, absent_s / 2))
    alarms: Publisher[OrderAlarm] = Publisher("order-alarm")
    alarms.bind(asyncio.get_running_loop())
    if on_alarm is not None:
        alarms.subscribe(on_alarm)
    watch = FollowUpWatch(
        lambda: executor.orders,
        time_ms=executor.clock.time_ms,
        rules=rules,
        on_alarm=alarms.publish,
    )
    stop = executor.listen_to_orders(watch.heard)
    try:
        async with watch:
            yield watch
    finally:
        stop()
        await asyncio.to_thread(alarms.close, _CLOSE_S)
