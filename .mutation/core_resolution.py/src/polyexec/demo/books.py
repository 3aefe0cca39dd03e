"""Books rebuilt from market-channel messages, in integers."""

from collections.abc import Mapping
from typing import Any

from polyexec.models import TokenId, TopOfBook
from polyexec.numbers import to_micro, to_price_e4

__all__ = ["Book", "BookTable"]


class Book:
    """Levels of one token: price in ten-thousandths -> micro-shares."""

    __slots__ = ("asks", "bids", "timestamp_ms")

    def __init__(self) -> None:
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}
        self.timestamp_ms = 0

    @property
    def best_bid_e4(self) -> int | None:
        """Highest bid."""
        return max(self.bids, default=None)

    @property
    def best_ask_e4(self) -> int | None:
        """Lowest ask."""
        return min(self.asks, default=None)

    @property
    def is_crossed(self) -> bool:
        """The best bid is at or above the best ask."""
        bid, ask = self.best_bid_e4, self.best_ask_e4
        return bid is not None and ask is not None and bid >= ask

    def top(self, token_id: TokenId) -> TopOfBook:
        """Return the best level of each side."""
        bid, ask = self.best_bid_e4, self.best_ask_e4
        return TopOfBook(
            token_id=token_id,
            best_bid_e4=bid,
            best_ask_e4=ask,
            best_bid_size_micro=self.bids[bid] if bid is not None else 0,
            best_ask_size_micro=self.asks[ask] if ask is not None else 0,
            timestamp_ms=self.timestamp_ms,
        )


class BookTable:
    """Books of many tokens, fed with decoded market-channel messages.

    ``mismatches`` lists changes after which our best prices differ from those that the message
    states: (token, what, stated, ours).
    """

    def __init__(self) -> None:
        self.books: dict[TokenId, Book] = {}
        self.checked = 0
        self.mismatches: list[tuple[TokenId, str, str, str]] = []

    def apply(self, message: Mapping[str, Any]) -> set[TokenId]:
        """Apply one message; return the tokens whose book may have changed."""
        kind = message.get("event_type")
        if kind == "book":
            return {self._snapshot(message)}
        if kind == "price_change":
            stamp = int(message["timestamp"])
            return {
                token
                for change in message.get("price_changes", ())
                if (token := self._change(change, stamp)) is not None
            }
        return set()

    def _snapshot(self, message: Mapping[str, Any]) -> TokenId:
        token = TokenId(message["asset_id"])
        book = self.books[token] = Book()
        book.timestamp_ms = int(message["timestamp"])
        for side, levels in (("bids", book.bids), ("asks", book.asks)):
            for level in message[side]:
                size = to_micro(level["size"], "size")
                if size:
                    levels[to_price_e4(level["price"], "price")] = size
        return token

    def _change(self, change: Mapping[str, Any], timestamp_ms: int) -> TokenId | None:
        token = TokenId(change["asset_id"])
        book = self.books.get(token)
        if book is None:
            return None  # a change without a snapshot says nothing about the rest of the book
        book.timestamp_ms = timestamp_ms
        levels = book.bids if change["side"] == "BUY" else book.asks
        price, size = to_price_e4(change["price"], "price"), to_micro(change["size"], "size")
        if size:
            levels[price] = size
        else:
            levels.pop(price, None)
        self._compare(token, "best_bid", change.get("best_bid"), book.best_bid_e4, empty="0")
        self._compare(token, "best_ask", change.get("best_ask"), book.best_ask_e4, empty="1")
        return token

    def _compare(
        self, token: TokenId, what: str, stated: str | None, ours: int | None, *, empty: str
    ) -> None:
        if stated is None:
            return
        self.checked += 1
        expected = None if stated in ("", empty) else to_price_e4(stated, what)
        if expected != ours:
            self.mismatches.append((token, what, stated, str(ours)))
