"""A venue in this process that answers as told, for tests of what is above the wire."""

import json
import threading
from collections.abc import Callable, Sequence
from typing import Any

from polyexec.core.ports import (
    Answer,
    AnswerCallback,
    BalanceSnapshot,
    Fill,
    OrderBatch,
    OrderStatus,
    Outcome,
)
from polyexec.enums import Generation
from polyexec.models import ConditionId, Market, OrderId, TokenId

Answerer = Callable[[OrderBatch], Outcome]


def all_live(batch: OrderBatch) -> Outcome:
    """Every order rests."""
    return answer_with(batch, {"status": "live"})


def all_matched(batch: OrderBatch) -> Outcome:
    """Every order is filled exactly as asked."""
    entries = [
        {
            "status": "matched",
            "makingAmount": str(int(entry["order"]["makerAmount"]) / 1_000_000),
            "takingAmount": str(int(entry["order"]["takerAmount"]) / 1_000_000),
        }
        for entry in json.loads(batch.body)
    ]
    return answer_with(batch, *entries)


def answer_with(batch: OrderBatch, *entries: dict[str, Any]) -> Answer:
    """Return an answer with these changes, one per order or one for all."""
    changes = entries * len(batch.order_ids) if len(entries) == 1 else entries
    body = [
        {"success": True, "errorMsg": "", "orderID": order_id} | change
        for order_id, change in zip(batch.order_ids, changes, strict=True)
    ]
    return Answer(status=200, body=json.dumps(body).encode())


class ScriptedVenue:
    """Answers each batch with ``answer``; None keeps it waiting until :meth:`settle`."""

    def __init__(self, answer: Answerer | None = all_live, *, balance: int = 1_000_000_000) -> None:
        self.answer = answer
        self.balance = balance
        self.balance_ms = 1
        self.batches: list[OrderBatch] = []
        self.threads: list[int] = []
        self.waiting: list[tuple[OrderBatch, AnswerCallback]] = []
        self.statuses: dict[OrderId, OrderStatus] = {}
        self.fills: dict[OrderId, tuple[Fill, ...]] = {}
        self.positions: dict[TokenId, int] = {}
        self.asked: list[OrderId] = []
        self.log: list[str] = []
        self.fault: Exception | None = None
        self.market_rate: int | None = 70_000

    async def open(self) -> None:
        self.log.append("open")

    async def close(self) -> None:
        self.log.append("close")

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        self.batches.append(batch)
        self.threads.append(threading.get_ident())
        if self.answer is None:
            self.waiting.append((batch, on_outcome))
        else:
            on_outcome(self.answer(batch))

    def settle(self, answer: Answerer = all_live) -> None:
        waiting, self.waiting = self.waiting, []
        for batch, on_outcome in waiting:
            on_outcome(answer(batch))

    async def fetch_market(self, token_id: TokenId) -> Market:
        return Market(
            token_id=token_id,
            condition_id=ConditionId("0x1"),
            tick_e4=100,
            min_order_size_micro=5_000_000,
            neg_risk=False,
            generation=Generation.CLOB_V2,
            fee_rate_micro=self.market_rate,
        )

    async def fetch_order(self, order_id: OrderId) -> OrderStatus | None:
        self.asked.append(order_id)
        if self.fault is not None:
            raise self.fault
        return self.statuses.get(order_id)

    async def fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        return self.fills.get(order_id, ())

    async def fetch_balance(self) -> BalanceSnapshot:
        return BalanceSnapshot(balance_micro=self.balance, as_of_ms=self.balance_ms)

    async def fetch_position(self, token_id: TokenId) -> BalanceSnapshot:
        return BalanceSnapshot(
            balance_micro=self.positions.get(token_id, 0), as_of_ms=self.balance_ms
        )

    async def cancel_orders(self, order_ids: Sequence[OrderId]) -> tuple[OrderId, ...]:
        return tuple(order_ids)

    async def cancel_all(self) -> tuple[OrderId, ...]:
        return tuple(order_id for batch in self.batches for order_id in batch.order_ids)
