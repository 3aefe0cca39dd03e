"""The tables, the same in SQLite and PostgreSQL, and how a row joins what is known already.

Rows may come late, twice and in any order. So a row never replaces another because it came later:
each group of columns has a guard, a number that says how much the writer knew, and it is taken over
only from a row whose guard is not smaller. Money and shares are micro-units, prices ten-thousandths
of a dollar, times unix milliseconds.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

__all__ = [
    "FILLS",
    "FORGET_FOLLOW_UP",
    "MIGRATIONS",
    "ORDERS",
    "TABLES",
    "TRADES",
    "VERSION",
    "VERSIONS_TABLE",
    "Rows",
    "Table",
    "Values",
]

Values: TypeAlias = Sequence[Any]
"""One row; the values of a table's columns, in their order."""

Rows: TypeAlias = dict[str, list[Values]]
"""Rows by the name of their table."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table whose rows can be written again."""

    name: str
    columns: dict[str, str]
    """Name -> type, as SQL has it."""
    key: tuple[str, ...]
    guarded: dict[str, tuple[str, ...]]
    """Guard -> the columns that are taken over with it."""

    @property
    def create(self) -> str:
        """The statement that makes it."""
        columns = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        return f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({', '.join(self.key)}))"

    @property
    def upsert(self) -> str:
        """The statement that writes a row; ``?`` stands for each value."""
        places = ", ".join("?" * len(self.columns))
        changes = ", ".join(
            f"{column} = CASE WHEN excluded.{guard} >= {self.name}.{guard} "
            f"THEN excluded.{column} ELSE {self.name}.{column} END"
            for guard, columns in self.guarded.items()
            for column in (*columns, guard)
        )
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)}) VALUES ({places}) "  # noqa: S608
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {changes}"
        )


def _table(
    name: str, key: Sequence[str], fixed: dict[str, str], **guarded: dict[str, str]
) -> Table:
    """Return a table; ``fixed`` are the columns that stay as the first row had them."""
    columns = dict(fixed)
    for guard, theirs in guarded.items():
        columns |= theirs | {guard: _INT}
    return Table(
        name=name,
        columns=columns,
        key=tuple(key),
        guarded={guard: tuple(theirs) for guard, theirs in guarded.items()},
    )


_INT: Final = "BIGINT NOT NULL"
_TEXT: Final = "TEXT NOT NULL"
_FLAG: Final = "BOOLEAN NOT NULL"

TRADES: Final = _table(
    "polyexec_trades",
    ("trade_id",),
    {"trade_id": _TEXT, "account": _TEXT},
    # Below 0: from the journal, 0: the answer, above: when a later change was heard (microseconds).
    revision={
        "source": _TEXT,
        "strategy": _TEXT,
        "group_key": _TEXT,
        "event_slug": _TEXT,
        "crypto": _TEXT,
        "signal_ms": _INT,
        "signal": "TEXT",
        "success": _FLAG,
        "skipped": _TEXT,
        "failure_type": _TEXT,
        "detail": _TEXT,
        "order_ids": _TEXT,
        "error_messages": _TEXT,
        "cost_micro": _INT,
        "expected_pnl_micro": _INT,
        "worst_loss_micro": _INT,
        "is_whole": _FLAG,
        "at_risk_micro": _INT,
        "provisional_pnl_micro": _INT,
        "final_pnl_micro": "BIGINT",
        "retry_order_ids": _TEXT,
        "retry_count": _INT,
        "latency": _TEXT,
        "started_ms": _INT,
        "finished_ms": _INT,
        "updated_ms": _INT,
    },
)

ORDERS: Final = _table(
    "polyexec_orders",
    ("order_id",),
    {
        "order_id": _TEXT,
        "account": _TEXT,
        "token_id": _TEXT,
        "market_slug": _TEXT,
        "side": _TEXT,
        "order_type": _TEXT,
        "neg_risk": _FLAG,
        "price_e4": _INT,
        "size_micro": _INT,
    },
    # 0: only the order is known, 1: its group by the journal, 2: its group by a result.
    link={
        "trade_id": _TEXT,
        "position": _INT,
        "purpose": _TEXT,
        "code": _TEXT,
        "error": _TEXT,
        "exchange_trade_ids": _TEXT,
    },
    # As in the trades.
    revision={
        "state": _TEXT,
        "filled_micro": _INT,
        "paid_micro": _INT,
        "fee_micro": _INT,
        "updated_ms": _INT,
    },
)

FILLS: Final = _table(
    "polyexec_fills",
    ("order_id", "exchange_trade_id", "counter_order_id", "price_e4", "size_micro", "number"),
    {
        "order_id": _TEXT,
        "account": _TEXT,
        "exchange_trade_id": _TEXT,
        "counter_order_id": _TEXT,
        "price_e4": _INT,
        "size_micro": _INT,
        "number": _INT,  # among those that are equal in all of the above
        "token_id": _TEXT,
        "side": _TEXT,
        "is_taker": _FLAG,
        "matched_ms": _INT,
    },
    # Where the settlement stands; it moves forward only (enums.Settlement).
    progress={"settlement": _TEXT, "settled_ms": _INT},
)

TABLES: Final = {table.name: table for table in (TRADES, ORDERS, FILLS)}

# The journal knows the orders of a follow-up as a group of its own. That it belongs to another
# trade is known only from the result, which may come before or after.
FORGET_FOLLOW_UP: Final = (
    "DELETE FROM polyexec_trades WHERE source = 'journal' AND trade_id = ? AND EXISTS "
    "(SELECT 1 FROM polyexec_orders AS o "
    "WHERE o.order_id = polyexec_trades.trade_id AND o.link > 0 "
    "AND o.trade_id <> polyexec_trades.trade_id)"
)

VERSIONS_TABLE: Final = (
    "CREATE TABLE IF NOT EXISTS polyexec_schema "
    "(version BIGINT NOT NULL PRIMARY KEY, applied_ms BIGINT NOT NULL)"
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        TRADES.create,
        ORDERS.create,
        FILLS.create,
        "CREATE INDEX polyexec_trades_by_time ON polyexec_trades (finished_ms)",
        "CREATE INDEX polyexec_trades_by_group ON polyexec_trades (group_key, finished_ms)",
        "CREATE INDEX polyexec_orders_by_trade ON polyexec_orders (trade_id)",
    ),
)
"""What each version adds to the one before; number 1 makes the tables. Never change one that was
released: add another."""

VERSION: Final = len(MIGRATIONS)
