"""The paper exchange: a real server on loopback that behaves like the real one."""

from polyexec.paper.book import Order, PaperMarket
from polyexec.paper.embedded import PaperExchange
from polyexec.paper.errors import Refused
from polyexec.paper.http import Fault, Request, Response, json_response
from polyexec.paper.matching import MatchingEngine, Trade

__all__ = [
    "Fault",
    "MatchingEngine",
    "Order",
    "PaperExchange",
    "PaperMarket",
    "Refused",
    "Request",
    "Response",
    "Trade",
    "json_response",
]
