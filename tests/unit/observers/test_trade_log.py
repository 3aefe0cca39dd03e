"""Results in the log."""

import logging

import pytest

from polyexec.enums import LegState
from polyexec.logs import event_fields
from polyexec.observers.trade_log import log_result
from tests.unit.observers.support import rejected, result, skipped


def test_results_are_logged_at_a_level_that_fits(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "polyexec.trades")
    for one in (result(), rejected(), result(LegState.UNKNOWN), skipped()):
        log_result(one)
    told = [(r.getMessage(), r.levelname, event_fields(r)) for r in caplog.records]
    assert [(event, level) for event, level, _ in told] == [
        ("trade_result", "INFO"),
        ("trade_result", "INFO"),
        ("trade_result", "WARNING"),
        ("signal_skipped", "DEBUG"),
    ]
    assert told[1][2] == {
        "outcome": "failure",
        "strategy": "POLYMARKET_TRIANGLE_BUY",
        "group_key": "BTC-1d",
        "order_ids": ["0x" + "ab" * 32] * 2,
        "states": ["MATCHED", "REJECTED"],
        "errors": ["no match <b>&</b>"],
        "cost": "4.67325",
        "expected_pnl": "0.12",
        "total_us": 3100.0,
    }
    assert told[3][2]["reason"] == "CooldownActive"
