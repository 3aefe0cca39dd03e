"""The market engine as a bot writes it in plain Python: orjson, dicts, integers.

The same decisions as ``_pure.evaluator``: a dict of levels per side, the best of the changed side
looked for after each change, and most sets of legs passed over from the best prices.
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
    forms: list["Watch"] = field(default_factory=list)


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
            for book, *_ in legs:
                book.forms.append(watch)

    def on_frame(self, frame: bytes) -> list[Any]:
        event = orjson.loads(frame)
        now = time.monotonic_ns()
        touched = []
        for change in event["price_changes"]:
            book = self.books.get(change["asset_id"])
            if book is None:
                continue
            price = round(float(change["price"]) * 10_000)
            size = round(float(change["size"]) * MICRO)
            if change["side"] == "BUY":
                levels = book.bids
            else:
                levels = book.asks
            if size:
                levels[price] = size
            else:
                levels.pop(price, None)
            if levels is book.bids:
                book.best_bid = max(levels, default=0)
            else:
                book.best_ask = min(levels, default=0)
            book.received_ns = now
            if book.best_bid != round(float(change["best_bid"]) * 10_000) or (
                book.best_ask != round(float(change["best_ask"]) * 10_000)
            ):
                raise ValueError(f"a gap: {change}")
            touched.append(book)
        return [
            found
            for book in touched
            for watch in book.forms
            if (found := self.look(watch, now)) is not None
        ]

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
            cost += price * 100 + rate * price * (10_000 - price) // 100_000_000
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


def player(engine: Engine, frames: list[bytes]) -> Callable[[], list[Any]]:
    """Return a call that takes the next frame, round and round."""
    number = 0
    count = len(frames)
    on_frame = engine.on_frame

    def call() -> list[Any]:
        nonlocal number
        frame = frames[number]
        number = number + 1 if number + 1 < count else 0
        return on_frame(frame)

    return call
