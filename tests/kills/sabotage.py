"""Faults of ours, planted in a process before it trades: each of them must be found."""

import os
from collections.abc import Callable, Sequence
from typing import Any

from polyexec import executor as executor_module
from polyexec.core.journal import Intent
from polyexec.core.pipeline import Pipeline
from polyexec.core.ports import OrderBatch
from polyexec.core.risk import RiskGuard
from polyexec.journal.wal import FileJournal
from polyexec.models import OrderId
from polyexec.posting import post
from polyexec.recovery import Restored


def _send_before_the_intent_is_kept() -> None:
    def begin(self: Any, intent: Intent) -> None:
        """Keep nothing."""

    def seal(self: Any, group: int, body: bytes, order_ids: Sequence[OrderId]) -> None:
        """Keep nothing."""

    FileJournal.begin = begin  # type: ignore[method-assign]
    FileJournal.seal = seal  # type: ignore[method-assign]


def _forget_what_was_open() -> None:
    executor_module.restore = lambda groups, **shared: Restored(frozenset(), {})  # type: ignore[attr-defined]


def _trade_before_recovery() -> None:
    executor_module.BaseExecutor._has_recovered = lambda self: True  # type: ignore[method-assign]
    restore = RiskGuard.restore

    def forget_the_unknown(self: Any, cost: int, at_ms: int, *, is_unknown: bool) -> Any:
        return restore(self, cost, at_ms, is_unknown=False)

    RiskGuard.restore = forget_the_unknown  # type: ignore[method-assign]


def _sign_with_another_salt() -> None:
    sign = Pipeline._sign_and_encode

    def sign_anew(self: Any, table: Any, time_ms: int, salts: bytes | None = None) -> Any:
        return sign(self, table, time_ms, os.urandom(8 * table.count))

    Pipeline._sign_and_encode = sign_anew  # type: ignore[method-assign]


def _send_everything_again() -> None:
    """Send what an earlier run left unknown, as if nobody could know better."""
    open_executor = executor_module.BaseExecutor._open

    async def send_again(self: Any) -> None:
        await open_executor(self)
        for group in self._journal.recovered.groups:
            if group.signed is None:
                continue
            headers = self._pipeline._auth.headers(
                self._clock.time_ms() // 1000, "POST", "/orders", group.signed.body
            )
            batch = OrderBatch(
                path="/orders",
                body=group.signed.body,
                headers=headers,
                order_ids=group.signed.order_ids,
            )
            post(self.venue, batch, lambda outcome: None)

    executor_module.BaseExecutor._open = send_again  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__.strip("_"): plant
    for plant in (
        _send_before_the_intent_is_kept,
        _forget_what_was_open,
        _trade_before_recovery,
        _sign_with_another_salt,
        _send_everything_again,
    )
}
