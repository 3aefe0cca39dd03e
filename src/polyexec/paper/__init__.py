"""The paper exchange: a real server on loopback that behaves like the real one.

Its parts are loaded when they are used: a bot that trades live does not pay for them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from polyexec.paper.book import Order, PaperMarket
    from polyexec.paper.conditions import Conditions, Restart
    from polyexec.paper.embedded import PaperExchange
    from polyexec.paper.errors import Refused
    from polyexec.paper.http import Fault, Held, Request, Response, json_response
    from polyexec.paper.latency import LatencyModel
    from polyexec.paper.liquidity import RecordedBook, RecordedBooks
    from polyexec.paper.listings import Listing
    from polyexec.paper.matching import MatchingEngine, Trade
    from polyexec.paper.queueing import FillBounds

__all__ = [
    "Conditions",
    "Fault",
    "FillBounds",
    "Held",
    "LatencyModel",
    "Listing",
    "MatchingEngine",
    "Order",
    "PaperExchange",
    "PaperMarket",
    "RecordedBook",
    "RecordedBooks",
    "Refused",
    "Request",
    "Response",
    "Restart",
    "Trade",
    "json_response",
]

_HOME = {
    "Conditions": "conditions",
    "Fault": "http",
    "FillBounds": "queueing",
    "Held": "http",
    "LatencyModel": "latency",
    "Listing": "listings",
    "MatchingEngine": "matching",
    "Order": "book",
    "PaperExchange": "embedded",
    "PaperMarket": "book",
    "RecordedBook": "liquidity",
    "RecordedBooks": "liquidity",
    "Refused": "errors",
    "Request": "http",
    "Response": "http",
    "Restart": "conditions",
    "Trade": "matching",
    "json_response": "http",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
