"""What happened -> rows. Pure: the same event gives the same rows.

An event's rows come in parts: whoever makes them beside a bot that trades lets others have the
interpreter in between.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeAlias

import msgspec

from polyexec.core.tracking import OrderUpdate
from polyexec.enums import LegState, Settlement
from polyexec.errors import InputError
from polyexec.journal.database.schema import FILLS, ORDERS, TABLES, TRADES, Rows, Table, Values
from polyexec.numbers import MAX_MICRO
from polyexec.results import LegResult, TradeResult
from polyexec.signal_json import encode_signal
from polyexec.signals import ArbSignal

__all__ = [
    "FROM_JOURNAL",
    "FROM_RESULT",
    "LINK_BY_JOURNAL",
    "LINK_BY_RESULT",
    "LINK_UNKNOWN",
    "UNANSWERED",
    "add_rows",
    "clean",
    "gathered",
    "rows_of_order",
    "rows_of_result",
    "values",
]

# Revisions: how much a row knows. Above these it is the time of the news, in microseconds.
UNANSWERED: Final = -2
FROM_JOURNAL: Final = -1
FROM_RESULT: Final = 0
LINK_UNKNOWN: Final = 0
LINK_BY_JOURNAL: Final = 1
LINK_BY_RESULT: Final = 2

_PROGRESS: Final = {
    Settlement.MATCHED: 0,
    Settlement.MINED: 1,
    Settlement.RETRYING: 2,
    Settlement.CONFIRMED: 3,
    Settlement.FAILED: 3,
}
_LONGEST_ERROR: Final = 2000

_Row: TypeAlias = dict[str, Any]


def rows_of_result(
    result: TradeResult, *, trade_id: str, account: str, revision: int, now_ms: int
) -> Iterator[Rows]:
    """Yield the rows of a result: its trade, its orders and those of its follow-ups.

    Parameters
    ----------
    trade_id : str
        For a result without orders; otherwise the id of the first one is the trade's.
    revision : int
        ``UNANSWERED`` and ``FROM_JOURNAL`` (the signal is not known then), ``FROM_RESULT``, or when
        a later change was heard, microseconds.
    """
    if result.legs:
        trade_id = result.legs[0].order_id
    signal = result.signal
    is_journal = revision <= FROM_JOURNAL
    orders = (*result.legs, *result.follow_ups)
    started_ms = result.finished_ms - round(result.latency.total_us / 1000)
    trade = {
        "trade_id": trade_id,
        "account": account,
        "revision": revision,
        "source": "journal" if is_journal else "live",
        "strategy": str(signal.strategy) if isinstance(signal, ArbSignal) else "",
        "group_key": signal.group_key,
        "event_slug": signal.event_slug,
        "crypto": signal.crypto,
        "signal_ms": signal.timestamp_ms,
        "signal": None if is_journal else encode_signal(signal),
        "success": result.success,
        "skipped": result.skipped.value if result.skipped else "",
        "failure_type": _failure_type(result),
        "detail": result.detail[:_LONGEST_ERROR],
        "order_ids": _list(result.order_ids),
        "error_messages": _list(leg.error[:_LONGEST_ERROR] for leg in orders if leg.error),
        "cost_micro": result.cost_micro,
        "expected_pnl_micro": result.expected_pnl_micro,
        "worst_loss_micro": result.worst_loss_micro,
        "is_whole": result.is_whole,
        "at_risk_micro": result.at_risk_micro,
        "provisional_pnl_micro": result.provisional_pnl_micro,
        "final_pnl_micro": result.final_pnl_micro,
        "retry_order_ids": _list(leg.order_id for leg in result.follow_ups),
        "retry_count": len(result.follow_ups),
        "latency": json.dumps(msgspec.structs.asdict(result.latency)),
        "started_ms": started_ms,
        "finished_ms": result.finished_ms,
        "updated_ms": now_ms,
    }
    yield {TRADES.name: [values(TRADES, trade)]}
    yield {
        ORDERS.name: [
            _leg_values(
                leg, trade_id, account, place, len(result.legs), result.finished_ms, revision
            )
            for place, leg in enumerate(orders)
        ]
    }


def rows_of_order(
    update: OrderUpdate, *, account: str, revision: int, now_ms: int
) -> Iterator[Rows]:
    """Yield the rows of news of an order, whose trade may not be known yet: order and fills."""
    leg = update.leg
    order = {
        "order_id": update.order_id,
        "account": account,
        "token_id": leg.token_id,
        "market_slug": leg.market_slug,
        "side": leg.side.value,
        "order_type": leg.order_type.value,
        "neg_risk": leg.neg_risk,
        "price_e4": leg.limit_e4,
        "size_micro": leg.size_micro,
        "link": LINK_UNKNOWN,
        "trade_id": "",
        "position": 0,
        "purpose": "",
        "code": "",
        "error": "",
        "exchange_trade_ids": "[]",
        "revision": revision,
        "state": update.state.value,
        "filled_micro": update.filled_micro,
        "paid_micro": update.paid_micro,
        "fee_micro": update.fee_micro,
        "updated_ms": now_ms,
    }
    yield {ORDERS.name: [values(ORDERS, order)]}
    seen: Counter[tuple[object, ...]] = Counter()
    for fill in update.fills:
        key = (fill.trade_id, fill.counter_order_id, fill.price_e4, fill.size_micro)
        seen[key] += 1
        settlement = Settlement.read(fill.status)
        row = {
            "order_id": fill.order_id,
            "account": account,
            "exchange_trade_id": fill.trade_id,
            "counter_order_id": fill.counter_order_id,
            "price_e4": fill.price_e4,
            "size_micro": fill.size_micro,
            "number": seen[key],
            "token_id": fill.token_id,
            "side": fill.side.value,
            "is_taker": fill.is_taker,
            "matched_ms": fill.match_time_s * 1000,
            "progress": _PROGRESS[settlement],
            "settlement": settlement.value,
            "settled_ms": fill.update_time_s * 1000,
        }
        yield {FILLS.name: [values(FILLS, row)]}


def values(table: Table, row: _Row) -> Values:
    """Return a row in the order of the columns, without text that a database cannot hold.

    Raises
    ------
    InputError
        A number that is no 64-bit integer.
    """
    return [_storable(name, row[name]) for name in table.columns]


def add_rows(rows: Rows, more: Rows) -> None:
    """Add rows to others."""
    for name in TABLES:
        if more.get(name):
            rows.setdefault(name, []).extend(more[name])


def gathered(parts: Iterable[Rows]) -> Rows:
    """Return the rows of all parts."""
    rows: Rows = {}
    for part in parts:
        add_rows(rows, part)
    return rows


def clean(text: str) -> str:
    """Return a text as a plain str, without NUL and what is no character.

    An error text is the exchange's, a slug the caller's: neither may make a row unwritable.
    """
    return str(text).replace("\0", "").encode("utf-8", "replace").decode()


def _storable(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, int) and abs(value) > MAX_MICRO:
        raise InputError(name, value, "does not fit into 64 bits")
    return value


def _leg_values(
    leg: LegResult,
    trade_id: str,
    account: str,
    place: int,
    legs: int,
    now_ms: int,
    revision: int,
) -> Values:
    is_leg = place < legs
    return values(
        ORDERS,
        {
            "order_id": leg.order_id,
            "account": account,
            "token_id": leg.token_id,
            "market_slug": leg.market_slug,
            "side": leg.side.value,
            "order_type": leg.order_type.value,
            "neg_risk": leg.neg_risk,
            "price_e4": leg.price_e4,
            "size_micro": leg.size_micro,
            "link": LINK_BY_RESULT if revision >= FROM_RESULT else LINK_BY_JOURNAL,
            "trade_id": trade_id,
            "position": place if is_leg else place - legs,
            "purpose": "leg" if is_leg else "follow_up",
            "code": leg.code.value if leg.code else "",
            "error": leg.error[:_LONGEST_ERROR],
            "exchange_trade_ids": _list(leg.trade_ids),
            # Later changes of the trade repeat its legs as they were answered.
            "revision": min(revision, FROM_RESULT),
            "state": leg.state.value,
            "filled_micro": leg.filled_micro,
            "paid_micro": leg.paid_micro,
            "fee_micro": leg.fee_micro,
            "updated_ms": now_ms,
        },
    )


def _failure_type(result: TradeResult) -> str:
    """Return a word for what went wrong; empty for a success."""
    if result.skipped is not None:
        return "skipped"
    if result.success:
        return ""
    if result.unknown_orders:
        return "unknown"
    if result.successful_orders:
        return "partial"
    if all(leg.state is LegState.NOT_SENT for leg in result.legs):
        return "not_sent"
    return "rejected"


def _list(texts: Iterable[str]) -> str:
    return json.dumps(list(texts))
