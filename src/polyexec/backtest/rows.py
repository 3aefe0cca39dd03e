"""The rows of a report."""

import msgspec

__all__ = ["LegRow", "QueueRow", "TradeRow"]


class LegRow(msgspec.Struct, frozen=True, kw_only=True):
    """One order; money in micro-dollars, shares in millionths, prices in 1e-4 dollars."""

    trade: int
    """Number of its trade."""
    token_id: str
    side: str
    price_e4: int
    size_micro: int
    filled_micro: int
    paid_micro: int
    fee_micro: int
    state: str
    error: str


class TradeRow(msgspec.Struct, frozen=True, kw_only=True):
    """One signal and what became of it; times are unix milliseconds."""

    number: int
    time_ms: int
    finished_ms: int
    group_key: str
    strategy: str
    skipped: str
    """Reason; empty when it was sent."""
    is_whole: bool
    cost_micro: int
    expected_pnl_micro: int
    at_risk_micro: int
    provisional_pnl_micro: int = 0
    """Profit of what has traded in its worst outcome, follow-ups and fees in."""
    follow_ups: int = 0
    """Orders that were sent because only some legs had traded."""


class QueueRow(msgspec.Struct, frozen=True, kw_only=True):
    """An order that rested, and what the recording allows it to have traded; micro-shares.

    ``lower_micro`` of the latest turn in the queue, ``upper_micro`` of the earliest.
    """

    order_id: str
    size_micro: int
    lower_micro: int
    filled_micro: int
    upper_micro: int
