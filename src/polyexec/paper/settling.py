"""Settlement by itself: matched trades become CONFIRMED, or FAILED, after a time."""

from functools import partial

from polyexec.paper.conditions import Conditions
from polyexec.paper.matching import Event, MatchingEngine, TradeChanged
from polyexec.paper.timers import Timers

__all__ = ["Settler"]


class Settler:
    """Settles the trades of an engine as its conditions say."""

    def __init__(self, engine: MatchingEngine, conditions: Conditions, timers: Timers) -> None:
        self._engine = engine
        self._delay_us = conditions.settle_ms * 1000
        self._failures = conditions.chance("failure_rate")
        self._timers = timers

    def on_event(self, event: Event) -> None:
        """Set the clock going for a new match; whether it fails is drawn now."""
        if isinstance(event, TradeChanged) and event.trade.status == "MATCHED":
            end = self._engine.fail if self._failures.happens() else self._engine.settle
            self._timers.after_us(self._delay_us, partial(end, event.trade))
