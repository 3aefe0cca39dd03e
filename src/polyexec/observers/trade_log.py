"""Writes every result to the log, for ``Executor.on_trade_result``: off the path of signals."""

import logging

from polyexec.enums import NoticeKind
from polyexec.observers.notices import outcome_of
from polyexec.results import TradeResult
from polyexec.signals import ArbSignal

__all__ = ["log_result"]

_log = logging.getLogger("polyexec.trades")


def log_result(result: TradeResult) -> None:
    """Log a result: skipped ones at DEBUG, unknown ones at WARNING, all others at INFO."""
    signal = result.signal
    strategy = str(signal.strategy) if isinstance(signal, ArbSignal) else "LEGS"
    outcome = outcome_of(result)
    if outcome is None:
        _log.debug(
            "signal_skipped",
            extra={
                "strategy": strategy,
                "group_key": signal.group_key,
                "reason": str(result.skipped),
                "detail": result.detail,
            },
        )
        return
    _log.log(
        logging.WARNING if outcome is NoticeKind.UNKNOWN else logging.INFO,
        "trade_result",
        extra={
            "outcome": str(outcome),
            "strategy": strategy,
            "group_key": signal.group_key,
            "order_ids": [leg.order_id for leg in result.legs],
            "states": [str(leg.state) for leg in result.legs],
            "errors": [leg.error for leg in result.legs if leg.error],
            "cost": str(result.total_cost),
            "expected_pnl": str(result.expected_pnl),
            "total_us": result.latency.total_us,
        },
    )
