"""What the exchange shows: books, orders, trades and market-channel messages, as JSON objects."""

import hashlib
from typing import Any

import orjson

from polyexec.enums import Generation, OrderType, Side
from polyexec.numbers import PRICE_SCALE
from polyexec.paper.book import Book, Order, PaperMarket, decimal_text, price_text
from polyexec.paper.matching import (
    FAK_KILLED,
    FOK_KILLED,
    Filled,
    LevelChanged,
    MakerFill,
    Trade,
)

__all__ = [
    "accepted",
    "best_message",
    "book_hash",
    "book_message",
    "book_view",
    "last_trade_message",
    "market_view",
    "number",
    "order_message",
    "order_view",
    "price_change_message",
    "refused",
    "resolved_message",
    "tick_size_message",
    "trade_message",
    "trade_view",
]


def book_hash(book: dict[str, Any]) -> str:
    """Return the SHA-1 that the exchange puts on a book.

    It covers the compact JSON of the book with an empty ``hash``, keys in the exchange's order and
    every other value as it is sent.
    """
    keys = ("market", "asset_id", "timestamp", "hash", "bids", "asks")
    tail = ("min_order_size", "tick_size", "neg_risk", "last_trade_price")
    payload = {key: book[key] for key in keys + tail} | {"hash": ""}
    return hashlib.sha1(orjson.dumps(payload), usedforsecurity=False).hexdigest()


def _ladder(book: Book, token: int, *, bids: bool) -> list[dict[str, str]]:
    levels = book.levels(bids == (token == 0))
    if token == 1:
        levels = [(PRICE_SCALE - price, size) for price, size in reversed(levels)]
    if not bids:
        levels.reverse()
    return [{"price": price_text(price), "size": decimal_text(size)} for price, size in levels]


def _last_trade(book: Book) -> str:
    # One figure for both tokens, and never fewer than three decimals: recorded habits.
    if book.last_trade_e4 is None:
        return ""
    text = f"{book.last_trade_e4 / PRICE_SCALE:.4f}"
    return text.removesuffix("0")


def book_view(market: PaperMarket, book: Book, token: int) -> dict[str, Any]:
    """Return the body of ``/book``: the best level is the last of each side."""
    view: dict[str, Any] = {
        "market": market.condition_id,
        "asset_id": market.token_ids[token],
        "timestamp": str(book.changed_ms),
        "hash": "",
        "bids": _ladder(book, token, bids=True),
        "asks": _ladder(book, token, bids=False),
        "min_order_size": decimal_text(market.min_order_size_micro),
        "tick_size": price_text(market.tick_e4),
        "neg_risk": market.neg_risk,
        "last_trade_price": _last_trade(book),
    }
    view["hash"] = book_hash(view)
    return view


def book_message(market: PaperMarket, book: Book, token: int) -> dict[str, Any]:
    """Return a ``book`` event of the market channel."""
    view = book_view(market, book, token)
    del view["min_order_size"], view["neg_risk"]
    if market.generation is Generation.EXCHANGE_V3:
        view["version"] = "v2"
    return {"event_type": "book"} | view


def price_change_message(event: LevelChanged, book: Book) -> dict[str, Any]:
    """Return a ``price_change`` event: the new total at one price, seen from both tokens."""
    market = event.market
    changes = []
    for token, token_id in enumerate(market.token_ids):
        view = book_view(market, book, token)
        is_bid = event.is_bid == (token == 0)
        changes.append(
            {
                "asset_id": token_id,
                "price": price_text(event.price_e4 if token == 0 else PRICE_SCALE - event.price_e4),
                "size": decimal_text(event.shares_micro),
                "side": "BUY" if is_bid else "SELL",
                "hash": view["hash"],
                "best_bid": view["bids"][-1]["price"] if view["bids"] else "0",
                "best_ask": view["asks"][-1]["price"] if view["asks"] else "1",
            }
        )
    return {
        "event_type": "price_change",
        "market": market.condition_id,
        "timestamp": str(book.changed_ms),
        "price_changes": changes,
    }


def last_trade_message(event: Filled, timestamp_ms: int) -> dict[str, Any]:
    """Return a ``last_trade_price`` event, in terms of the taker."""
    return {
        "event_type": "last_trade_price",
        "market": event.market.condition_id,
        "asset_id": event.taker.token_id,
        "price": price_text(event.price_e4),
        "size": decimal_text(event.shares_micro),
        "side": str(event.taker.side),
        "fee_rate_bps": "0",
        "timestamp": str(timestamp_ms),
        "transaction_hash": "",
    }


def tick_size_message(
    market: PaperMarket, token_id: str, old_e4: int, timestamp_ms: int
) -> dict[str, Any]:
    """Return a ``tick_size_change`` event."""
    return {
        "event_type": "tick_size_change",
        "market": market.condition_id,
        "asset_id": token_id,
        "old_tick_size": price_text(old_e4),
        "new_tick_size": price_text(market.tick_e4),
        "timestamp": str(timestamp_ms),
    }


def resolved_message(market: PaperMarket, timestamp_ms: int) -> dict[str, Any]:
    """Return a ``market_resolved`` event; a market that pays both halves has no winner."""
    pays = market.pays_micro or (0, 0)
    winner = pays.index(max(pays)) if pays[0] != pays[1] else None
    return {
        "event_type": "market_resolved",
        "id": str(int(market.condition_id[2:14], 16)),
        "market": market.condition_id,
        "assets_ids": list(market.token_ids),
        "winning_asset_id": "" if winner is None else market.token_ids[winner],
        "winning_outcome": "" if winner is None else market.outcomes[winner],
        "timestamp": str(timestamp_ms),
    }


def best_message(market: PaperMarket, book: Book, token: int, timestamp_ms: int) -> dict[str, Any]:
    """Return a ``best_bid_ask`` event; an empty side is an empty text."""
    best = [book.best((token == 0) == is_bid) for is_bid in (True, False)]
    bid, ask = (p if p is None or token == 0 else PRICE_SCALE - p for p in best)
    return {
        "event_type": "best_bid_ask",
        "market": market.condition_id,
        "asset_id": market.token_ids[token],
        "best_bid": "" if bid is None else price_text(bid),
        "best_ask": "" if ask is None else price_text(ask),
        "spread": "" if bid is None or ask is None else price_text(ask - bid),
        "timestamp": str(timestamp_ms),
    }


def market_view(market: PaperMarket) -> dict[str, Any]:
    """Return the compact record of ``/clob-markets``."""
    view: dict[str, Any] = {
        "c": market.condition_id,
        "t": [
            {"t": token_id, "o": outcome}
            for token_id, outcome in zip(market.token_ids, market.outcomes, strict=True)
        ],
        "mos": number(market.min_order_size_micro, 1_000_000),
        "mts": number(market.tick_e4, PRICE_SCALE),
        "mbf": market.base_fee,
        "tbf": market.base_fee,
        "itode": market.delay_ms > 0 and not market.is_deferred,
        "nr": market.neg_risk,
    }
    if market.fee_rate_micro:
        rate = number(market.fee_rate_micro, 1_000_000)
        view["fd"] = {"r": rate, "e": market.fee_exponent, "to": True}
    return view


def number(scaled: int, scale: int) -> int | float:
    """Return a JSON number whose text is the exact decimal."""
    return scaled // scale if scaled % scale == 0 else scaled / scale


def order_view(order: Order) -> dict[str, Any]:
    """Return an order as ``/data/order`` shows it."""
    return {
        "id": order.order_id,
        "status": order.status,
        "owner": order.owner,
        "maker_address": order.maker_address,
        "market": order.market.condition_id,
        "asset_id": order.token_id,
        "side": str(order.side),
        "original_size": decimal_text(order.size_micro),
        "size_matched": decimal_text(order.filled_micro),
        "price": price_text(order.price_e4),
        "outcome": order.market.outcomes[order.token],
        "expiration": str(order.expiration_s),
        "order_type": str(order.order_type),
        "associate_trades": list(order.trade_ids),
        "created_at": order.created_ms // 1000,
    }


def order_message(order: Order, kind: str, timestamp_ms: int) -> dict[str, Any]:
    """Return an ``order`` event of the user channel.

    As recorded: a killed order says why in its status, and a killed FOK names no size.
    """
    message = order_view(order) | {
        "event_type": "order",
        "type": kind,
        "order_owner": order.owner,
        "created_at": str(order.created_ms // 1000),
        "timestamp": str(timestamp_ms),
    }
    if kind == "CANCELLATION" and order.order_type is OrderType.FOK:
        message |= {"status": f"CANCELED_{FOK_KILLED}", "size_matched": ""}
    elif kind == "CANCELLATION" and order.order_type is OrderType.FAK:
        message["status"] = f"CANCELED_{FAK_KILLED}"
    elif kind == "CANCELLATION" and order.expires_ms and order.expires_ms <= timestamp_ms:
        message["status"] = "CANCELED_EXPIRED_ORDER"
    return message


def trade_message(trade: Trade, address: str, timestamp_ms: int) -> dict[str, Any]:
    """Return a ``trade`` event of the user channel, as one of the trade's parties gets it."""
    view = trade_view(trade, address)
    del view["match_time_nano"]
    outcomes = trade.market.outcomes
    for maker in view["maker_orders"]:
        maker["outcome_index"] = outcomes.index(maker["outcome"])
    return view | {
        "event_type": "trade",
        "type": "TRADE",
        "status": trade.status,
        "trade_owner": view["owner"],
        "transaction_hash": view["transaction_hash"] or None,
        "timestamp": str(timestamp_ms),
    }


def trade_view(trade: Trade, address: str) -> dict[str, Any]:
    """Return a trade as ``/data/trades`` shows it to one of its parties.

    The top level is the taker's; a maker finds itself in ``maker_orders``.
    """
    taker = trade.taker
    mine = trade.order_of(address) or taker
    is_taker = mine is taker
    return {
        "id": trade.trade_id,
        "taker_order_id": taker.order_id,
        "market": trade.market.condition_id,
        "asset_id": taker.token_id,
        "side": str(taker.side),
        "size": decimal_text(trade.shares_micro),
        "fee_rate_bps": "0",
        "price": price_text(trade.price_e4),
        "status": "TRADE_STATUS_" + trade.status,
        "match_time": str(trade.matched_ms // 1000),
        "match_time_nano": str(trade.matched_ms * 1_000_000),
        "last_update": str(trade.updated_ms // 1000),
        "outcome": trade.market.outcomes[taker.token],
        "bucket_index": trade.bucket_index,
        "owner": mine.owner,
        "maker_address": mine.maker_address,
        "transaction_hash": trade.transaction_hash,
        "trader_side": "TAKER" if is_taker else "MAKER",
        "maker_orders": [_maker_view(fill) for fill in trade.makers],
    }


def _maker_view(fill: MakerFill) -> dict[str, Any]:
    order = fill.order
    return {
        "order_id": order.order_id,
        "owner": order.owner,
        "maker_address": order.maker_address,
        "matched_amount": decimal_text(fill.shares_micro),
        "price": price_text(fill.price_e4),
        "fee_rate_bps": "0",
        "asset_id": order.token_id,
        "outcome": order.market.outcomes[order.token],
        "side": str(order.side),
    }


def accepted(order: Order, trades: list[Trade]) -> dict[str, Any]:
    """Return the answer to an order that was taken. Amounts are without fee."""
    cash, shares = "", ""
    if trades:
        cash = decimal_text(sum(trade.cash_micro for trade in trades))
        shares = decimal_text(sum(trade.shares_micro for trade in trades))
    making, taking = (cash, shares) if order.side is Side.BUY else (shares, cash)
    return {
        "errorMsg": "",
        "orderID": order.order_id,
        "takingAmount": taking,
        "makingAmount": making,
        "status": "matched" if trades else "live",
        "transactionsHashes": [t.transaction_hash for t in trades if t.transaction_hash],
        "tradeIDs": [trade.trade_id for trade in trades],
        "success": True,
    }


def refused(message: str) -> dict[str, Any]:
    """Return the answer to a refused leg of a batch: a success, on the face of it."""
    return {
        "errorMsg": message,
        "orderID": "",
        "takingAmount": "",
        "makingAmount": "",
        "status": "",
        "transactionsHashes": [],
        "tradeIDs": [],
        "success": True,
    }
