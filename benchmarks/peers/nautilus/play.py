"""The same recording and strategy on nautilus_trader: run by its own interpreter, as a worker.

Its data objects are made before anything is timed; a call resets the engine and runs it. The
strategy looks at the best prices of each set of legs that a change touches and sends FOK orders for
what pays. Books, clock, matching, account and latency are the library's.
"""

import json
import sys
import time
from collections import defaultdict
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.backtest.models import LatencyModel
from nautilus_trader.config import LoggingConfig, StrategyConfig
from nautilus_trader.model.currencies import USDC
from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas
from nautilus_trader.model.enums import (
    AccountType,
    AssetClass,
    BookAction,
    BookType,
    OmsType,
    OrderSide,
    TimeInForce,
)
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import BinaryOption
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

VENUE = Venue("POLYMARKET")
LAST = 128  # RecordFlag.F_LAST
SIDES = {"BUY": OrderSide.BUY, "SELL": OrderSide.SELL}


class Sets(Strategy):
    """Buys or sells every leg of a set that pays at the best prices, fees in."""

    def __init__(self, ids: dict[str, InstrumentId], forms: list[Any], settings: Any) -> None:
        super().__init__(StrategyConfig())
        self.ids, self.forms, self.settings = ids, forms, settings
        self.found = 0

    def on_start(self) -> None:
        self.takers: dict[InstrumentId, list[Any]] = defaultdict(list)
        self.instruments = {}
        self.found = 0
        for payout, legs in self.forms:
            watch = [
                payout * 1_000_000,
                [(self.ids[token], side == "SELL", rate) for token, side, rate, _ in legs],
                0,
            ]
            for one, *_ in watch[1]:
                self.takers[one].append(watch)
        for one in self.ids.values():
            self.instruments[one] = self.cache.instrument(one)
            self.subscribe_order_book_deltas(one, BookType.L2_MBP)

    def on_order_book_deltas(self, deltas: OrderBookDeltas) -> None:
        now = deltas.ts_init
        for watch in self.takers[deltas.instrument_id]:
            if now >= watch[2] and self.pays(watch):
                watch[2] = now + self.settings["cooldown_ns"]
                self.found += 1
                self.trade(watch)

    def pays(self, watch: Any) -> bool:
        payout, legs, _ = watch
        cost = 0
        for one, is_sold, rate in legs:
            book = self.cache.order_book(one)
            best = book.best_bid_price() if is_sold else book.best_ask_price()
            if best is None:
                return False
            price = round(best.as_double() * 10_000)
            if is_sold:
                price = 10_000 - price
            cost += price * 100 + rate * price * (10_000 - price) // 100_000_000
        net = payout - cost
        return net > 0 and net * 10_000 >= self.settings["min_profit_bps"] * cost

    def trade(self, watch: Any) -> None:
        sizes = []
        for one, is_sold, _ in watch[1]:
            book = self.cache.order_book(one)
            size = book.best_bid_size() if is_sold else book.best_ask_size()
            sizes.append(size.as_double())
        size = min(*sizes, self.settings["max_size_micro"] / 1_000_000)
        for one, is_sold, _ in watch[1]:
            book = self.cache.order_book(one)
            price = book.best_bid_price() if is_sold else book.best_ask_price()
            self.submit_order(
                self.order_factory.limit(
                    one,
                    OrderSide.SELL if is_sold else OrderSide.BUY,
                    self.instruments[one].make_qty(size),
                    price,
                    time_in_force=TimeInForce.FOK,
                )
            )


def instrument(name: str, rate: int) -> BinaryOption:
    """Return a token as the library's adapter makes it."""
    return BinaryOption(
        instrument_id=InstrumentId(Symbol(name), VENUE),
        raw_symbol=Symbol(name),
        asset_class=AssetClass.ALTERNATIVE,
        currency=USDC,
        price_precision=3,
        size_precision=6,
        price_increment=Price.from_str("0.001"),
        size_increment=Quantity.from_str("0.000001"),
        activation_ns=0,
        expiration_ns=2**63 - 1,
        ts_event=0,
        ts_init=0,
        maker_fee=Decimal(0),
        taker_fee=Decimal(rate) / 1_000_000,
    )


def data_of(path: str, ids: dict[str, InstrumentId]) -> list[OrderBookDeltas]:
    """Return the recording as the library's own objects."""
    made = []
    with open(path, "rb") as file:
        for line in file:
            now_ms, frame = line.split(b" ", 1)
            now, event = int(now_ms) * 1_000_000, json.loads(frame)
            if event["event_type"] == "book":
                one = ids[event["asset_id"]]
                deltas = [OrderBookDelta(one, BookAction.CLEAR, None, 0, 0, now, now)]
                for side, name in (("BUY", "bids"), ("SELL", "asks")):
                    for level in event[name]:
                        deltas.append(delta(one, side, level["price"], level["size"], now, 0))
                made.append(OrderBookDeltas(one, deltas))
                continue
            for change in event["price_changes"]:
                one = ids[change["asset_id"]]
                row = delta(one, change["side"], change["price"], change["size"], now, LAST)
                made.append(OrderBookDeltas(one, [row]))
    return made


def delta(
    one: InstrumentId, side: str, price: str, size: str, now: int, flags: int
) -> OrderBookDelta:
    """Return one level's new total."""
    action = BookAction.UPDATE if float(size) else BookAction.DELETE
    order = BookOrder(
        SIDES[side],
        Price(float(price), 3),
        Quantity(float(size), 6),
        round(float(price) * 1_000),
    )
    return OrderBookDelta(one, action, order, flags, 0, now, now)


def main() -> None:
    """Answer questions until the input ends."""
    opening = json.loads(sys.stdin.readline())
    rates = {
        token: rate for _, legs in opening["forms"] for token, _, rate, _ in legs
    } | dict.fromkeys(opening["tokens"], 0)
    instruments = {token: instrument(token, rate) for token, rate in rates.items()}
    ids = {token: one.id for token, one in instruments.items()}
    engine = BacktestEngine(
        BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False)
    )
    engine.add_venue(
        VENUE,
        OmsType.NETTING,
        AccountType.CASH,
        [Money(10_000, USDC)],
        book_type=BookType.L2_MBP,
        latency_model=LatencyModel(20_000_000),
    )
    for one in instruments.values():
        engine.add_instrument(one)
    data = data_of(opening["path"], ids)
    engine.add_data(data)
    strategy = Sets(ids, opening["forms"], opening["settings"])
    engine.add_strategy(strategy)
    print(json.dumps({"data": len(data)}), flush=True)

    def run() -> None:
        engine.reset()
        engine.run()

    for line in sys.stdin:
        question = json.loads(line)
        run()
        durations = []
        for _ in range(question.get("calls", 0)):
            start = time.perf_counter_ns()
            run()
            durations.append(time.perf_counter_ns() - start)
        orders = len(engine.cache.orders())
        print(json.dumps({"ns": durations, "found": strategy.found, "orders": orders}), flush=True)


if __name__ == "__main__":
    main()
