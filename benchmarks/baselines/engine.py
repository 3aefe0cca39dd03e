"""The market engine as a bot writes it in plain Python: orjson, dicts, integers.

The same decisions as ``_pure.evaluator``: a dict of levels per side, the best prices looked
for after each change, and most sets of legs passed over from the best prices.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import gcd, lcm
from typing import Any

import orjson

from benchmarks.market import Levels
from polyexec.core.forms import Form

MICRO = 1_000_000


@dataclass(slots=True)
class Book:
    bids: dict[int, int]
    asks: dict[int, int]
    best_bid: int
    best_ask: int
    received_ns: int
    takers: dict[str, list["Watch"]] = field(default_factory=lambda: {"BUY": [], "SELL": []})
    """Who takes the bids, and who the asks."""

    def put(self, side: str, price: int, size: int, now: int) -> None:
        levels = self.bids if side == "BUY" else self.asks
        if size:
            levels[price] = size
        else:
            levels.pop(price, None)
        self.best_bid = max(self.bids, default=0)
        self.best_ask = min(self.asks, default=0)
        self.received_ns = now


@dataclass(slots=True)
class Watch:
    form: Form
    payout: int
    legs: list[tuple[Book, bool, int, int]]
    """Book, is it sold, fee rate in micro, least size in micro."""
    quiet_until_ns: int = 0


class Engine:
    """One call of :meth:`on_frame` per frame; it returns what pays."""

    def __init__(
        self, books: dict[str, tuple[Levels, Levels]], forms: list[Form], settings: dict[str, int]
    ) -> None:
        now = time.monotonic_ns()
        self.books = {
            token: Book(dict(bids), dict(asks), bids[-1][0], asks[-1][0], now)
            for token, (bids, asks) in books.items()
        }
        self.settings = settings
        for form in forms:
            legs = [
                (
                    self.books[leg.token_id],
                    leg.side == "SELL",
                    leg.market.fee_rate_micro or 0,
                    max(5 * MICRO, leg.market.min_order_size_micro),
                )
                for leg in form.legs
            ]
            watch = Watch(form, form.payout * MICRO, legs)
            for book, is_sold, *_ in legs:
                book.takers["BUY" if is_sold else "SELL"].append(watch)

    def on_frame(self, frame: bytes) -> list[Any]:
        event = orjson.loads(frame)
        now = time.monotonic_ns()
        return [
            found
            for book, side in self.take(event["price_changes"], now)
            for watch in book.takers[side]
            if (found := self.look(watch, now)) is not None
        ]

    def take(self, changes: list[dict[str, str]], now: int) -> list[tuple[Book, str]]:
        """Apply the changes of a message; return what they touched."""
        touched = []
        for change in changes:
            book = self.books.get(change["asset_id"])
            if book is None:
                continue
            book.put(change["side"], to_e4(change["price"]), to_micro(change["size"]), now)
            stated = to_e4(change["best_bid"]), to_e4(change["best_ask"])
            if (book.best_bid, book.best_ask) != stated:
                raise ValueError(f"a gap: {change}")
            touched.append((book, change["side"]))
        return touched

    def look(self, watch: Watch, now: int) -> Any:
        if now < watch.quiet_until_ns:
            return None
        oldest = now - self.settings["max_age_ns"]
        cost = 0
        for book, is_sold, rate, _ in watch.legs:
            bid, ask = book.best_bid, book.best_ask
            best = bid if is_sold else ask
            if not best or book.received_ns < oldest or (ask and bid >= ask):
                return None
            price = 10_000 - best if is_sold else best
            cost += price * 100 + fee_per_share(price, rate)
        if not self.passes(watch.payout - cost, cost):
            return None
        found = self.best(watch)
        if found is not None:
            watch.quiet_until_ns = now + self.settings["cooldown_ns"]
        return found

    def passes(self, net: int, cost: int) -> bool:
        return (
            net >= self.settings["min_profit_micro"]
            and net * 10_000 >= self.settings["min_profit_bps"] * cost
        )

    def best(self, watch: Watch) -> tuple[Form, int, list[int], int] | None:
        sides = [
            sorted((10_000 - price, size) for price, size in book.bids.items())
            if is_sold
            else sorted(book.asks.items())
            for book, is_sold, *_ in watch.legs
        ]
        most = self.settings["max_size_micro"]
        at = [0] * len(sides)
        depths = [side[0][1] for side in sides]
        best, before = None, 0
        while True:
            prices = [side[i][0] for side, i in zip(sides, at, strict=True)]
            reach = min(depths)
            step = lcm(*(10_000 // gcd(price, 10_000) for price in prices)) * 10_000
            size = min(reach, most) // step * step
            fits = all(
                size >= least and size * price >= 10_000 * MICRO
                for price, (*_, least) in zip(prices, watch.legs, strict=True)
            )
            if fits and size > before:
                cost = 0
                for price, (_, _, rate, _) in zip(prices, watch.legs, strict=True):
                    # micro-dollars, rounded up to a hundred-thousandth
                    fee = -(-size * rate * price * (10_000 - price) // (10**15)) * 10
                    cost += price * size // 10_000 + fee
                net = watch.payout * size // MICRO - cost
                if (best is None or net > best[3]) and self.passes(
                    net * MICRO // size, cost * MICRO // size
                ):
                    best = watch.form, size, prices, net
            if reach >= most:
                return best
            before = reach
            for number, depth in enumerate(depths):
                if depth == reach:
                    at[number] += 1
                    if at[number] == len(sides[number]):
                        return best
                    depths[number] += sides[number][at[number]][1]


def to_e4(text: str) -> int:
    return round(float(text) * 10_000)


def to_micro(text: str) -> int:
    return round(float(text) * MICRO)


def fee_per_share(price: int, rate: int) -> int:
    return rate * price * (10_000 - price) // 100_000_000


def player(engine: Any, frames: list[bytes], at_once: int) -> Callable[[], Any]:
    """Return a call that takes the next ``at_once`` frames, round and round."""
    number = 0
    on_frame = engine.on_frame

    def call() -> Any:
        nonlocal number
        found: Any = ()
        for frame in frames[number : number + at_once]:
            found = on_frame(frame)
        number = (number + at_once) % len(frames)
        return found

    return call
