"""Orders that do not come to their end, and those that come to a bad one: a person is told.

Asking for orders and acting on what they became is the executor's; this looks at how it goes. An
order that was accepted ends matched, cancelled or expired, and what it traded settles. Each of
these has a bound of time here, and a trade that fails or a part that is cancelled is told at once.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import msgspec

from polyexec.core.ports import Fill
from polyexec.core.tracking import TrackedOrder
from polyexec.enums import LegState, Settlement
from polyexec.errors import InputError
from polyexec.models import OrderId, TokenId
from polyexec.numbers import from_micro

__all__ = ["FollowUpRules", "FollowUpWatch", "OrderAlarm", "OrderTrouble"]

_log = logging.getLogger("polyexec.followup")

_MOST_TOLD: Final = 10_000


class OrderTrouble(StrEnum):
    """What is wrong with an order."""

    UNKNOWN = "unknown"
    """Its fate is not known: it may exist."""
    DELAYED = "delayed"
    """The exchange took it and delays its matching."""
    RESTING = "resting"
    """It rests in the book for longer than it may."""
    UNSETTLED = "unsettled"
    """It has ended, but its trades are not all known, or neither settled nor failed."""
    TRADE_FAILED = "trade_failed"
    """A trade of it failed to settle: money and shares came back."""
    PARTLY_CANCELLED = "partly_cancelled"
    """It ended with a part traded and the rest not."""


class OrderAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """Trouble with an order, or its end."""

    order_id: OrderId
    group: int
    """In the journal; 0 without one."""
    token_id: TokenId
    state: LegState
    trouble: OrderTrouble
    is_over: bool
    """The order is final by now."""
    since_ms: int
    """When it was first seen like that, unix milliseconds."""
    detail: str


class FollowUpRules(msgspec.Struct, frozen=True, kw_only=True):
    """How long an order may stay as it is, in seconds; None: as long as it likes.

    Raises
    ------
    InputError
        A time that cannot be.
    """

    unknown_s: float | None = 60.0
    delayed_s: float | None = 30.0
    resting_s: float | None = None
    unsettled_s: float | None = 600.0
    repeat_s: float = 900.0
    """Until the same trouble is told again."""
    interval_s: float = 5.0
    """Between two looks."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and not 0 < value <= 7 * 86_400:
                raise InputError(name, value, "must be seconds, above 0 and at most a week")


class _Seen(msgspec.Struct):
    """An order as it was seen last."""

    order: TrackedOrder
    trouble: OrderTrouble
    since_ms: int
    told_ms: int = 0


class FollowUpWatch:
    """Looks at the orders that are not final.

    Parameters
    ----------
    orders : callable
        Returns them.
    time_ms : callable
        Unix milliseconds.
    rules : FollowUpRules
    on_alarm : callable or None
        Takes an :class:`OrderAlarm`, on the loop; must not block.

    Notes
    -----
    Use as ``async with FollowUpWatch(...)``. :meth:`heard` may be called from any thread.
    """

    def __init__(
        self,
        orders: Callable[[], Sequence[TrackedOrder]],
        *,
        time_ms: Callable[[], int],
        rules: FollowUpRules | None = None,
        on_alarm: Callable[[OrderAlarm], object] | None = None,
    ) -> None:
        self._orders = orders
        self._time_ms = time_ms
        self._rules = rules or FollowUpRules()
        self._on_alarm = on_alarm
        self._bounds = {
            OrderTrouble.UNKNOWN: self._rules.unknown_s,
            OrderTrouble.DELAYED: self._rules.delayed_s,
            OrderTrouble.RESTING: self._rules.resting_s,
            OrderTrouble.UNSETTLED: self._rules.unsettled_s,
        }
        self._seen: dict[OrderId, _Seen] = {}
        self._told: dict[tuple[str, str], None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop looking."""
        task, self._task, self._loop = self._task, None, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def troubled(self) -> tuple[OrderId, ...]:
        """Orders past a bound."""
        return tuple(order_id for order_id, seen in self._seen.items() if seen.told_ms)

    def heard(self, order: TrackedOrder, fills: Sequence[Fill]) -> None:
        """Take in news of an order. From any thread."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._hear, order, order.state, tuple(fills))
        except RuntimeError:
            pass  # the loop is closed

    def look(self) -> None:
        """Look at every order now."""
        now_ms = self._time_ms()
        orders = {order.order_id: order for order in self._orders()}
        for order_id in self._seen.keys() - orders.keys():
            seen = self._seen.pop(order_id)
            if seen.told_ms:
                self._tell(seen.order, seen.trouble, seen.since_ms, "it is final", is_over=True)
        for order_id, order in orders.items():
            trouble = _waits_for(order)
            known = self._seen.get(order_id)
            if known is None or known.trouble is not trouble:
                self._seen[order_id] = _Seen(order, trouble, now_ms)
                continue
            known.order = order
            bound, waited = self._bounds[trouble], now_ms - known.since_ms
            if bound is None or waited < bound * 1000:
                continue
            if known.told_ms and now_ms - known.told_ms < self._rules.repeat_s * 1000:
                continue
            known.told_ms = now_ms
            detail = f"for {waited // 1000} s, at most {bound:g}"
            self._tell(order, trouble, known.since_ms, detail)

    async def _run(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # a bug of ours must not end the watching
                _log.exception("followup_failed")
            await asyncio.sleep(self._rules.interval_s)

    def _hear(self, order: TrackedOrder, state: LegState, fills: tuple[Fill, ...]) -> None:
        for fill in fills:
            if Settlement.read(fill.status) is Settlement.FAILED:
                detail = f"trade {fill.trade_id[:40]}: {from_micro(fill.size_micro)} shares"
                self._tell_once(order, OrderTrouble.TRADE_FAILED, fill.trade_id, detail)
        traded, size = order.traded_micro, order.leg.size_micro
        if state in (LegState.CANCELLED, LegState.EXPIRED) and 0 < traded < size:
            detail = f"{from_micro(traded)} of {from_micro(size)} shares have traded"
            self._tell_once(order, OrderTrouble.PARTLY_CANCELLED, "", detail)

    def _tell_once(self, order: TrackedOrder, trouble: OrderTrouble, key: str, detail: str) -> None:
        what = (order.order_id, f"{trouble}{key}")
        if what in self._told:
            return
        self._told[what] = None
        while len(self._told) > _MOST_TOLD:
            del self._told[next(iter(self._told))]
        self._tell(order, trouble, self._time_ms(), detail)

    def _tell(
        self,
        order: TrackedOrder,
        trouble: OrderTrouble,
        since_ms: int,
        detail: str,
        *,
        is_over: bool = False,
    ) -> None:
        alarm = OrderAlarm(
            order_id=order.order_id,
            group=order.group,
            token_id=order.leg.token_id,
            state=order.state,
            trouble=trouble,
            is_over=is_over,
            since_ms=since_ms,
            detail=detail,
        )
        level = logging.INFO if is_over else logging.WARNING
        event = "order_trouble_over" if is_over else "order_trouble"
        _log.log(level, event, extra=msgspec.structs.asdict(alarm))
        if self._on_alarm is not None:
            try:
                self._on_alarm(alarm)
            except Exception:
                _log.exception("order_alarm_not_told")


def _waits_for(order: TrackedOrder) -> OrderTrouble:
    """Return what an order that is not final is waiting for."""
    if order.state is LegState.DELAYED:
        return OrderTrouble.DELAYED
    if order.unknown is not None:
        return OrderTrouble.UNKNOWN
    return OrderTrouble.RESTING if order.state.is_open else OrderTrouble.UNSETTLED
