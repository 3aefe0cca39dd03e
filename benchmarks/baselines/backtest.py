"""A backtest as people write it in plain Python, on the books and looks of ``engine``.

It does the least that counts as one: what pays is bought after a latency, at the levels that are
there then, in whole or not at all, and paid for out of a balance.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

import orjson

from benchmarks.baselines.engine import MICRO, Engine, to_e4, to_micro
from polyexec._pure.tapes import Kind
from polyexec.core.forms import Form


class Backtest(Engine):
    """Plays frames, or the integers of a tape."""

    def __init__(
        self,
        books: Iterable[str],
        forms: list[Form],
        settings: dict[str, int],
        *,
        latency_ms: int = 20,
        balance_micro: int = 10_000 * MICRO,
    ) -> None:
        empty = {token: ([(0, 0)], [(0, 0)]) for token in books}
        super().__init__(empty, forms, settings)
        for book in self.books.values():
            book.bids.clear()
            book.asks.clear()
            book.best_bid = book.best_ask = 0
        self.latency_ns = latency_ms * 1_000_000
        self.balance_micro = balance_micro
        self.positions: dict[str, int] = {}
        self.found: list[tuple[int, Any]] = []
        self.filled = 0
        self.waiting: deque[tuple[int, Any]] = deque()

    def play_frames(self, pairs: Iterable[tuple[int, bytes]]) -> None:
        for now_ms, frame in pairs:
            now = now_ms * 1_000_000
            self.settle(now)
            event = orjson.loads(frame)
            if event["event_type"] == "book":
                self.load(
                    event["asset_id"],
                    {to_e4(one["price"]): to_micro(one["size"]) for one in event["bids"]},
                    {to_e4(one["price"]): to_micro(one["size"]) for one in event["asks"]},
                    now,
                )
                continue
            touched = self.take(event["price_changes"], now)
            self.look_at([book for book, _ in touched], now)

    def play_columns(self, tokens: tuple[str, ...], blocks: Iterable[Any]) -> None:
        books = [self.books.get(token) for token in tokens]
        sides = ("BUY", "SELL")
        for block in blocks:
            rows = zip(*(column.tolist() for column in block), strict=True)
            touched: list[Any] = []
            for now, _, kind, is_last, token, side, price, size, bid, ask in rows:
                book = books[token]
                if book is None:
                    continue
                if kind == Kind.BOOK:
                    levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
                elif kind == Kind.LEVEL:
                    levels[side][price] = size
                    if is_last:
                        self.load(tokens[token], *levels, now)
                else:
                    if not touched:
                        self.settle(now)
                    book.put(sides[side], price, size, now)
                    if (book.best_bid, book.best_ask) != (bid, ask):
                        raise ValueError(f"a gap: {tokens[token]}")
                    touched.append(book)
                    if is_last:
                        self.look_at(touched, now)
                        touched = []

    def load(self, token: str, bids: dict[int, int], asks: dict[int, int], now: int) -> None:
        book = self.books.get(token)
        if book is None:
            return
        book.bids, book.asks = bids, asks
        book.best_bid, book.best_ask = max(bids, default=0), min(asks, default=0)
        book.received_ns = now
        self.look_at([book], now)

    def look_at(self, touched: list[Any], now: int) -> None:
        for book in touched:
            for takers in (book.takers["BUY"], book.takers["SELL"]):
                for watch in takers:
                    found = self.look(watch, now)
                    if found is not None:
                        self.found.append((now, found))
                        self.waiting.append((now + self.latency_ns, found))

    def settle(self, now: int) -> None:
        """Trade what has arrived by now."""
        while self.waiting and self.waiting[0][0] <= now:
            _, (form, size, limits, _) = self.waiting.popleft()
            paid, takes = 0, []
            for leg, limit in zip(form.legs, limits, strict=True):
                book = self.books[leg.token_id]
                if leg.side == "SELL" and self.positions.get(leg.token_id, 0) < size:
                    break
                cost, left = self.walk(book, leg.side == "SELL", limit, size)
                if left:
                    break
                paid += cost
                takes.append((leg.token_id, -size if leg.side == "SELL" else size))
            else:
                if paid <= self.balance_micro:
                    self.balance_micro -= paid
                    self.filled += 1
                    for token, shares in takes:
                        self.positions[token] = self.positions.get(token, 0) + shares

    @staticmethod
    def walk(book: Any, is_sold: bool, limit: int, size: int) -> tuple[int, int]:
        levels = sorted(book.bids.items(), reverse=True) if is_sold else sorted(book.asks.items())
        worst = 10_000 - limit if is_sold else limit
        cost, left = 0, size
        for price, here in levels:
            if left == 0 or (price < worst if is_sold else price > worst):
                break
            taken = min(here, left)
            cost += taken * price // 10_000
            left -= taken
        return (-cost if is_sold else cost), left
