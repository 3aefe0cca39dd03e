"""The matching engine: a plain object without I/O, tasks or a clock of its own.

**Price and time.** A taker meets the best price first and, within a price, the oldest order; it
trades at the resting order's price. BUY meets SELL of the same token (shares change hands), BUY of
the other token (a set is minted for one dollar) or, as a SELL, SELL of the other token (a set is
merged).

**Rounding.** Shares x price can be a fraction of a micro-unit when a size is finer than 0.01.
Exactly one rule then applies: *the order that the fill completes takes the rounding* (pays the
fraction up, or is paid it down), the taker when it completes both. What an unfinished order pays
is therefore rounded down and what it receives is rounded up, so no order ever pays more, or gets
less, than it signed, and the two sides of a fill always add up.

**Money.** A resting BUY ties up what its remaining shares cost at its limit, a resting SELL its
shares. A new order must be covered, fee at its limit included, by balance - active - matched; a
BUY also by what its fills really cost, as the fee per dollar grows when the price improves.
Makers pay no fee, nor does the house; only where makers get a rebate it pays the fee that the
rebate is a share of. A rebate is paid with the settlement, rounded down.
"""

import hashlib
import heapq
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from polyexec.enums import OrderType, Side
from polyexec.numbers import MICRO, PRICE_SCALE
from polyexec.paper.book import Book, Order, PaperMarket, decimal_text
from polyexec.paper.errors import NO_BOOK, Refused
from polyexec.paper.fees import fill_fee_micro
from polyexec.paper.ledger import COLLATERAL, HOUSE, Ledger, Posting

__all__ = [
    "BookTraded",
    "Event",
    "Filled",
    "LevelChanged",
    "MakerFill",
    "MatchingEngine",
    "OrderChanged",
    "Trade",
    "TradeChanged",
]

FOK_KILLED = "order couldn't be fully filled. FOK orders are fully filled or killed."
FAK_KILLED = (
    "no orders found to match with FAK order. "
    "FAK orders are partially filled or killed if no match is found."
)
POST_ONLY_CROSSES = "invalid post-only order: order crosses book"
_FINAL_TRADE = ("CONFIRMED", "FAILED")


class MakerFill(NamedTuple):
    """What one resting order gave to a trade; price, cash and side are its own."""

    order: Order
    shares_micro: int
    price_e4: int
    cash_micro: int
    rebate_micro: int = 0


@dataclass(slots=True, eq=False)
class Trade:
    """Fills of one taker at one price, settled together."""

    trade_id: str
    market: PaperMarket
    taker: Order
    price_e4: int
    bucket_index: int
    matched_ms: int
    status: str = "MATCHED"
    updated_ms: int = 0
    shares_micro: int = 0
    cash_micro: int = 0
    fee_micro: int = 0
    rebate_micro: int = 0
    minted_micro: int = 0
    makers: list[MakerFill] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)

    def order_of(self, address: str) -> Order | None:
        """Return the order by which an EOA takes part; the taker's, if it is both."""
        orders = (self.taker, *(fill.order for fill in self.makers))
        return next((order for order in orders if order.owner_address == address), None)

    @property
    def transaction_hash(self) -> str:
        """Empty until it is on chain."""
        if self.status in ("MATCHED", "RETRYING"):
            return ""
        return "0x" + hashlib.sha256(self.trade_id.encode()).hexdigest()


class LevelChanged(NamedTuple):
    """The total at one price is new (0: the level is gone); in terms of the first token."""

    market: PaperMarket
    is_bid: bool
    price_e4: int
    shares_micro: int


class Filled(NamedTuple):
    """One fill, before the level change that it causes. The price is the taker's."""

    market: PaperMarket
    taker: Order
    maker: Order
    price_e4: int
    shares_micro: int


class BookTraded(NamedTuple):
    """An order has finished trading against the book."""

    market: PaperMarket


class OrderChanged(NamedTuple):
    """PLACEMENT, UPDATE (a fill) or CANCELLATION of an order."""

    order: Order
    kind: str


class TradeChanged(NamedTuple):
    """A trade reached another status."""

    trade: Trade


Event: TypeAlias = LevelChanged | Filled | BookTraded | OrderChanged | TradeChanged


class _Fill(NamedTuple):
    maker: Order
    shares: int
    price: int  # of the taker's token
    taker_cash: int
    maker_cash: int
    fee: int
    rebate: int


class MatchingEngine:
    """Books, orders, trades and the ledger behind them.

    Parameters
    ----------
    clock : callable
        Returns unix time in milliseconds.
    listener : callable, optional
        Gets every :data:`~polyexec.paper.matching.Event`, synchronously, in order.
    settle_at_once : bool
        Trades become CONFIRMED when they are matched. Otherwise whoever drives the engine calls
        :meth:`settle` or :meth:`fail`; until then the shares and the money are on their way.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], int],
        listener: Callable[[Event], None] | None = None,
        settle_at_once: bool = True,
    ) -> None:
        self.clock = clock
        self.listener = listener
        self.settle_at_once = settle_at_once
        self.ledger = Ledger()
        self.markets: dict[str, PaperMarket] = {}
        self.tokens: dict[str, tuple[PaperMarket, int]] = {}
        self.books: dict[str, Book] = {}
        self.orders: dict[str, Order] = {}
        self.live: dict[str, Order] = {}
        self.trades: dict[str, Trade] = {}
        self._unsettled: dict[str, Trade] = {}
        self._expiries: list[tuple[int, str]] = []

    def add_market(self, market: PaperMarket) -> None:
        """Open a market with an empty book."""
        self.markets[market.condition_id] = market
        self.books[market.condition_id] = Book()
        self.ledger.add_market(market)
        for index, token_id in enumerate(market.token_ids):
            self.tokens[token_id] = (market, index)

    def book(self, market: PaperMarket) -> Book:
        """Return the one book of a market."""
        return self.books[market.condition_id]

    def place(self, order: Order) -> list[Trade]:
        """Match an order and let the rest of a GTC or GTD stand.

        Raises
        ------
        Refused
            In the exchange's words. A killed FOK or FAK is remembered as CANCELED; anything else
            that is refused leaves no trace.
        """
        self.expire()
        order.created_ms = self.clock()
        if order.order_id in self.orders:
            raise Refused(f"order {order.order_id} is invalid. Duplicated.")
        if order.market.pays_micro is not None:
            raise Refused(NO_BOOK, 404)
        marketable = self.is_marketable(order)
        is_house = order.account == HOUSE
        if (
            order.side is Side.BUY
            and (marketable or order.spends)
            and order.maker_micro < MICRO
            and not is_house
        ):
            raise Refused(
                f"invalid amount for a marketable BUY order (${decimal_text(order.maker_micro)}), "
                "min size: $1"
            )
        if order.post_only and marketable:
            raise Refused(POST_ONLY_CROSSES)
        if not is_house:
            self._check_funds(order, self._amount_at_limit(order))
        fills, complete = self._plan(order)
        if (order.order_type is OrderType.FOK and not complete) or (
            order.order_type is OrderType.FAK and not fills
        ):
            self._kill(order)
            raise Refused(FOK_KILLED if order.order_type is OrderType.FOK else FAK_KILLED)
        if order.side is Side.BUY and fills and not is_house:
            rest = 0 if order.spends else order.size_micro - sum(fill.shares for fill in fills)
            cost = sum(fill.taker_cash + fill.fee for fill in fills)
            self._check_funds(order, cost + _cost_up(rest, order.price_e4))
        return self._commit(order, fills, complete)

    def meet(self, taker: Order, maker: Order) -> Trade:
        """Let an order of the house trade with one resting order, whoever else is in the book.

        The taker must cross it and be no larger than what is left of it.
        """
        taker.created_ms = self.clock()
        fill, _ = self._fill(taker, maker, maker.price_e4, taker.size_micro)
        return self._commit(taker, [fill], complete=True)[0]

    def reject(self, order: Order) -> None:
        """Remember an order that was taken in and could not be placed after all."""
        if order.order_id not in self.orders:
            order.created_ms = self.clock()
            self._kill(order, "INVALID")

    def resolve(self, market: PaperMarket, pays_micro: tuple[int, int]) -> None:
        """End a market: open orders are cancelled, matched trades settle, shares are worth this.

        ``pays_micro`` is per share of each token, and both together a dollar.
        """
        for order in [one for one in self.live.values() if one.market is market]:
            self.cancel(order.order_id, "CANCELED_MARKET_RESOLVED")
        for trade in [one for one in self._unsettled.values() if one.market is market]:
            self.settle(trade)
        market.pays_micro = pays_micro
        self.ledger.resolve(market, pays_micro)

    def cancel(self, order_id: str, status: str = "CANCELED") -> bool:
        """Cancel a resting order; False when there is none with this id."""
        order = self.live.get(order_id)
        if order is None:
            return False
        held = _hold_micro(order)
        order.status = status
        self._end(order)
        self.book(order.market).reduce(order, order.remaining_micro, remove=True)
        self._hold(order, -held)
        self._level_changed(order)
        self._emit(OrderChanged(order, "CANCELLATION"))
        return True

    def shrink(self, order: Order, shares_micro: int) -> None:
        """Take shares away from a resting order, which keeps its place; for the house only.

        A negative number adds shares.
        """
        held = _hold_micro(order)
        if order.side is Side.BUY:
            order.taker_micro -= shares_micro
            order.maker_micro = order.cash_micro + _cost_up(order.remaining_micro, order.price_e4)
        else:
            order.maker_micro -= shares_micro
        self.book(order.market).reduce(order, shares_micro, remove=False)
        self._hold(order, _hold_micro(order) - held)
        self._level_changed(order)

    def expire(self) -> None:
        """Cancel every GTD order whose time is over."""
        now = self.clock()
        while self._expiries and self._expiries[0][0] <= now:
            self.cancel(heapq.heappop(self._expiries)[1])

    def mine(self, trade: Trade) -> None:
        """Put a matched trade into a block that is not final yet; nothing moves."""
        if trade.status not in _FINAL_TRADE:
            self._set_trade_status(trade, "MINED")

    def retry(self, trade: Trade) -> None:
        """Lose a trade's transaction, which is sent again; nothing moves."""
        if trade.status not in _FINAL_TRADE:
            self._set_trade_status(trade, "RETRYING")

    def settle(self, trade: Trade) -> None:
        """Move the shares and the money of a matched trade: it is CONFIRMED."""
        if trade.status in _FINAL_TRADE:
            return
        self.ledger.release(trade.postings)
        self.ledger.settle(
            trade.market,
            trade.postings,
            minted_micro=trade.minted_micro,
            fee_micro=trade.fee_micro,
            rebate_micro=trade.rebate_micro,
        )
        self._set_trade_status(trade, "CONFIRMED")

    def fail(self, trade: Trade) -> None:
        """Give up a matched trade: nothing moves, the money is free again."""
        if trade.status in _FINAL_TRADE:
            return
        self.ledger.release(trade.postings)
        self._set_trade_status(trade, "FAILED")

    # --- checks -------------------------------------------------------------------------------

    def is_marketable(self, order: Order) -> bool:
        """Return whether an order would trade at once."""
        best = self.book(order.market).best(not order.is_bid)
        if best is None:
            return False
        return best <= order.book_price_e4 if order.is_bid else best >= order.book_price_e4

    def _amount_at_limit(self, order: Order) -> int:
        if order.side is Side.SELL:
            return order.maker_micro
        return order.maker_micro + self._fee(order, order.taker_micro, order.price_e4)

    def _check_funds(self, order: Order, amount_micro: int) -> None:
        asset = COLLATERAL if order.side is Side.BUY else order.token_id
        ledger, account = self.ledger, order.account
        if ledger.available(account, asset) >= amount_micro:
            return
        parts = [f"balance: {ledger.balance(account, asset)}"]
        if active := ledger.active(account, asset):
            parts.append(f"sum of active orders: {active}")
        if matched := ledger.matched(account, asset):
            parts.append(f"sum of matched orders: {matched}")
        parts.append(f"order amount (inc. fees): {amount_micro}")
        raise Refused(
            "not enough balance / allowance: the balance is not enough -> " + ", ".join(parts)
        )

    def _fee(
        self, order: Order, shares_micro: int, price_e4: int, *, of_house: bool = False
    ) -> int:
        if order.account == HOUSE and not of_house:
            return 0
        market = order.market
        return fill_fee_micro(shares_micro, price_e4, market.fee_rate_micro, market.fee_exponent)

    # --- matching -----------------------------------------------------------------------------

    def _plan(self, order: Order) -> tuple[list[_Fill], bool]:
        """Return the fills an order would get now, and whether they reach its goal."""
        fills: list[_Fill] = []
        left = order.maker_micro if order.spends else order.size_micro
        is_buy = order.side is Side.BUY
        for maker in self.book(order.market).queue(not order.is_bid):
            own = maker.price_e4
            price = own if maker.token == order.token else PRICE_SCALE - own
            if left == 0 or (price > order.price_e4 if is_buy else price < order.price_e4):
                break
            fill, is_complete = self._fill(order, maker, price, left)
            fills.append(fill)
            left = 0 if is_complete else left - (fill.taker_cash if order.spends else fill.shares)
        return fills, left == 0

    def _fill(self, order: Order, maker: Order, price: int, left: int) -> tuple[_Fill, bool]:
        """Return what an order that wants ``left`` gets from a maker, and whether that is all."""
        wanted = left * PRICE_SCALE // price if order.spends else left
        shares = min(wanted, maker.remaining_micro)
        # Who is completed takes the rounding (module docstring).
        bearer_is_taker = shares == wanted
        bearer, bearer_price = (order, price) if bearer_is_taker else (maker, maker.price_e4)
        exact = shares * bearer_price
        cash = -(-exact // PRICE_SCALE) if bearer.side is Side.BUY else exact // PRICE_SCALE
        other = cash if maker.token == order.token else shares - cash
        taker_cash, maker_cash = (cash, other) if bearer_is_taker else (other, cash)
        earns = order.market.rebate_micro and maker.account != HOUSE
        fee = self._fee(order, shares, price, of_house=bool(earns))
        if order.side is Side.SELL:
            fee = min(fee, taker_cash)
        rebate = fee * order.market.rebate_micro // MICRO if earns else 0
        return _Fill(maker, shares, price, taker_cash, maker_cash, fee, rebate), bearer_is_taker

    def _commit(self, order: Order, fills: list[_Fill], complete: bool) -> list[Trade]:
        if order.account != HOUSE or not complete:
            self.orders[order.order_id] = order
        trades: list[Trade] = []
        for fill in fills:
            if not trades or trades[-1].price_e4 != fill.price:
                trades.append(self._open_trade(order, fill.price, len(trades)))
            self._apply(trades[-1], fill)
        if complete or order.order_type.is_immediate:
            order.status = "MATCHED"
        else:
            self.live[order.order_id] = order
            self.book(order.market).add(order)
            self._hold(order, _hold_micro(order))
            if order.expires_ms:
                heapq.heappush(self._expiries, (order.expires_ms, order.order_id))
        self._emit(OrderChanged(order, "PLACEMENT"))
        if order.status == "LIVE":
            self._level_changed(order)
        for trade in trades:
            self.ledger.reserve(trade.postings)
            self._set_trade_status(trade, "MATCHED")
        if trades:
            self._emit(BookTraded(order.market))
        if self.settle_at_once:
            for trade in trades:
                self.settle(trade)
        return trades

    def _open_trade(self, taker: Order, price_e4: int, index: int) -> Trade:
        digest = hashlib.sha256(f"{taker.order_id}/{index}".encode()).digest()
        trade = Trade(
            trade_id=str(uuid.UUID(bytes=digest[:16], version=4)),
            market=taker.market,
            taker=taker,
            price_e4=price_e4,
            bucket_index=index,
            matched_ms=self.clock(),
        )
        self.trades[trade.trade_id] = trade
        taker.trade_ids.append(trade.trade_id)
        return trade

    def _apply(self, trade: Trade, fill: _Fill) -> None:
        taker, maker, shares = trade.taker, fill.maker, fill.shares
        held = _hold_micro(maker)
        for order, cash in ((taker, fill.taker_cash), (maker, fill.maker_cash)):
            order.filled_micro += shares
            order.cash_micro += cash
            fee = fill.fee if order is taker else -fill.rebate
            sign = 1 if order.side is Side.BUY else -1
            trade.postings.append(Posting(order.account, order.token_id, sign * shares))
            trade.postings.append(Posting(order.account, COLLATERAL, -sign * cash - fee))
        if taker.token != maker.token:
            trade.minted_micro += shares if taker.side is Side.BUY else -shares
        taker.fee_micro += fill.fee
        trade.fee_micro += fill.fee
        trade.rebate_micro += fill.rebate
        trade.shares_micro += shares
        trade.cash_micro += fill.taker_cash
        trade.makers.append(MakerFill(maker, shares, maker.price_e4, fill.maker_cash, fill.rebate))
        if not maker.trade_ids or maker.trade_ids[-1] != trade.trade_id:
            maker.trade_ids.append(trade.trade_id)
        done = maker.remaining_micro == 0
        if done:
            maker.status = "MATCHED"
            self._end(maker)
        book = self.book(trade.market)
        book.reduce(maker, shares, remove=done)
        book.last_trade_e4 = fill.price
        self._hold(maker, _hold_micro(maker) - held)
        self._emit(Filled(trade.market, taker, maker, fill.price, shares))
        self._level_changed(maker)
        self._emit(OrderChanged(maker, "UPDATE"))

    def _kill(self, order: Order, status: str = "CANCELED") -> None:
        order.status = status
        self.orders[order.order_id] = order
        self._emit(OrderChanged(order, "CANCELLATION"))

    def _end(self, order: Order) -> None:
        del self.live[order.order_id]
        if order.account == HOUSE:
            # Nobody asks for one by its id, and a replay makes a million of them.
            del self.orders[order.order_id]

    # --- small change ---------------------------------------------------------------------------

    def _hold(self, order: Order, delta_micro: int) -> None:
        asset = COLLATERAL if order.side is Side.BUY else order.token_id
        self.ledger.hold(order.account, asset, delta_micro)

    def _level_changed(self, order: Order) -> None:
        book, price = self.book(order.market), order.book_price_e4
        book.changed_ms = self.clock()
        self._emit(LevelChanged(order.market, order.is_bid, price, book.total(order.is_bid, price)))

    def _set_trade_status(self, trade: Trade, status: str) -> None:
        trade.status = status
        if status in _FINAL_TRADE:
            del self._unsettled[trade.trade_id]
        else:
            self._unsettled[trade.trade_id] = trade
        trade.updated_ms = self.clock()
        self._emit(TradeChanged(trade))

    def _emit(self, event: Event) -> None:
        if self.listener is not None:
            self.listener(event)


def _cost_up(shares_micro: int, price_e4: int) -> int:
    return -(-shares_micro * price_e4 // PRICE_SCALE)


def _hold_micro(order: Order) -> int:
    if order.side is Side.SELL:
        return order.remaining_micro
    return _cost_up(order.remaining_micro, order.price_e4)
