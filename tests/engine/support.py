"""A feed on a paper exchange, and a server that a test scripts."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from polyexec._impl import PriceTable
from polyexec._pure.prices import BookState
from polyexec.core.market_events import MarketEvent
from polyexec.engine.feed import Feed
from polyexec.engine.following import FeedSettings
from polyexec.enums import Generation
from polyexec.models import ConditionId, Market, TokenId
from polyexec.paper import PaperExchange, PaperMarket
from tests.integration.h2_server import _CERT

QUICK: dict[str, Any] = {
    "ping_interval_s": 0.01,
    "watch_interval_s": 0.01,
    "stale_after_s": 60.0,
    "snapshot_timeout_s": 5.0,
    "best_grace_s": 0.03,
    "hash_interval_s": 0.0,
}


class Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.touched: list[int] = []
        self.events: list[MarketEvent] = []
        self.tops: list[Any] = []


@asynccontextmanager
async def following(
    url: str, context: ssl.SSLContext, *, capacity: int = 64, given: Any = None, **settings: Any
) -> AsyncIterator[tuple[Feed, PriceTable, Listener]]:
    table, listener = PriceTable(capacity), Listener()
    feed = Feed(
        url,
        table,
        on_touched=listener.touched.append,
        on_event=listener.events.append,
        on_top=listener.tops.append,
        ssl_context=context,
        jitter=lambda: 0.0,
        settings=FeedSettings(**QUICK | settings),
        **given or {},
    )
    async with feed:
        yield feed, table, listener


@asynccontextmanager
async def scripted(handle: Callable[[ServerConnection], Any], **rest: Any) -> AsyncIterator[str]:
    """A WebSocket server of the library's own that a test scripts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _CERT.configure_cert(context)
    async with serve(handle, "127.0.0.1", 0, ssl=context, ping_interval=None, **rest) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"wss://127.0.0.1:{port}/ws"


def described(market: PaperMarket) -> list[Market]:
    """Return the records of both tokens of a market."""
    return [
        Market(
            token_id=TokenId(token_id),
            condition_id=ConditionId(market.condition_id),
            tick_e4=market.tick_e4,
            min_order_size_micro=market.min_order_size_micro,
            neg_risk=market.neg_risk,
            generation=Generation.CLOB_V2,
            fee_rate_micro=0,
        )
        for token_id in market.token_ids
    ]


def truth(exchange: PaperExchange, token_id: str) -> tuple[list[tuple[int, int]], ...]:
    """Return the bids and asks that the exchange has, best first."""
    engine = exchange.engine
    market, token = engine.tokens[token_id]
    book = engine.book(market)
    sides = []
    for is_bid in (True, False):
        levels = book.levels(is_bid == (token == 0))
        if token == 1:
            levels = [(10_000 - price, size) for price, size in levels]
        sides.append(sorted(levels, reverse=is_bid))
    return tuple(sides)


def is_true(exchange: PaperExchange, table: PriceTable, token_id: str) -> bool:
    """Return whether the book is live and just as the exchange has it."""
    slot = table.slot(token_id)
    if slot < 0 or table.state(slot) is not BookState.LIVE:
        return False
    return (table.levels(slot, "BUY"), table.levels(slot, "SELL")) == truth(exchange, token_id)
