"""The exchange without a wire: markets, accounts, orders, and the rules that join them."""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from polyexec.enums import Generation, OrderType, Side, SignatureType
from polyexec.errors import InputError, UsageError
from polyexec.numbers import PRICE_SCALE
from polyexec.paper import views
from polyexec.paper.accounts import Accounts, ApiKey, Wallets
from polyexec.paper.availability import Heartbeats, Modes, SignerLimits
from polyexec.paper.book import Order, PaperMarket, price_text
from polyexec.paper.conditions import Conditions
from polyexec.paper.errors import NO_BOOK, Refused
from polyexec.paper.ledger import HOUSE
from polyexec.paper.listings import Listings
from polyexec.paper.matching import (
    BookTraded,
    Event,
    Filled,
    LevelChanged,
    MatchingEngine,
    Trade,
    TradeChanged,
)
from polyexec.paper.settling import Settler
from polyexec.paper.signatures import OrderHasher
from polyexec.paper.timers import Timers
from polyexec.paper.wire import OrderEntry, limit_price_e4, parse_entry

__all__ = ["Exchange", "MarketMessage", "Waiting"]

MarketMessage = dict[str, Any]
_log = logging.getLogger(__name__)
MAX_BATCH = 15
NOT_READY = "the market is not yet ready to process new orders"
_HOUSE_KEY = "00000000-0000-4000-8000-000000000000"
_HOUSE_ADDRESS = "0x" + "00" * 20
_GTD_EARLY_MS = 60_000  # a GTD order ends so long before the time it states


class Waiting(NamedTuple):
    """An answer that cannot be given yet: an order of it is held before it is matched."""

    wait_ms: int
    finish: Callable[[], Any]
    """Matches what was held and returns the body of the answer, or raises the refusal."""


class Exchange:
    """Takes entries as they come off the wire and gives answers as they go onto it.

    Parameters
    ----------
    chain_id : int
        137 or 80002: which contracts orders are signed for.
    clock : callable
        Unix time in milliseconds.
    auth_window_s : int
        How far the timestamp of a request may be from the clock.
    settle_at_once : bool
        See :class:`~polyexec.paper.matching.MatchingEngine`; settlement times and failures of
        the conditions come before it.
    conditions : Conditions, optional
    """

    def __init__(
        self,
        *,
        chain_id: int,
        clock: Callable[[], int],
        auth_window_s: int,
        settle_at_once: bool,
        conditions: Conditions | None = None,
    ) -> None:
        self.clock = clock
        self.conditions = conditions = conditions or Conditions()
        self.timers = Timers()
        settles = conditions.settle_ms > 0 or bool(conditions.chance("failure_rate"))
        self.engine = MatchingEngine(
            clock=clock,
            listener=self._on_event,
            settle_at_once=settle_at_once and not settles,
        )
        self._rejects = conditions.chance("reject_rate")
        self._held: set[str] = set()
        self.before_look: Callable[[str], object] | None = None
        """Called with a token before its book is looked at: a replay lays it then."""
        self.accounts = Accounts(chain_id, clock=clock, window_s=auth_window_s)
        self.wallets = Wallets()
        self.hasher = OrderHasher(chain_id)
        self.modes = Modes(clock)
        for restart in conditions.restarts:
            self.modes.schedule(*restart)
        self.limits = SignerLimits(clock)
        self.heartbeats = Heartbeats(clock)
        self.listings = Listings()
        self._house_orders = 0
        self._trades_of: defaultdict[str, list[Trade]] = defaultdict(list)
        self._subscribers: list[Callable[[MarketMessage], None]] = []
        self._watchers: list[Callable[[Event], None]] = []
        if settles:
            self._watchers.append(Settler(self.engine, conditions, self.timers).on_event)

    # --- orders -------------------------------------------------------------------------------

    def post_order(self, key: ApiKey, raw: Any) -> dict[str, Any] | Waiting:
        """Answer ``POST /order``; a refusal is raised."""
        order = self._take(key, parse_entry(raw))
        if not self._is_held(order):
            return self._place(order)
        if order.market.is_deferred:
            return self._defer(order)
        self._held.add(order.order_id)
        return Waiting(order.market.delay_ms, partial(self._release, order))

    def post_orders(self, key: ApiKey, raws: Any) -> list[dict[str, Any]] | Waiting:
        """Answer ``POST /orders``: one object per leg, a refusal is one of them.

        Only a batch that cannot be read, or is too long, is refused as a whole. Legs that are
        held are matched together, after the longest of their delays; the rest at once.
        """
        if not isinstance(raws, list) or not raws:
            raise Refused("Invalid order payload")
        if len(raws) > MAX_BATCH:
            raise Refused(f"Too many orders in payload: {len(raws)}, max allowed: {MAX_BATCH}")
        entries = [parse_entry(raw) for raw in raws]
        answers: list[dict[str, Any]] = []
        held: list[tuple[int, Order]] = []
        for number, entry in enumerate(entries):
            try:
                order = self._take(key, entry)
                if not self._is_held(order):
                    answers.append(self._place(order))
                elif order.market.is_deferred:
                    answers.append(self._defer(order))
                else:
                    self._held.add(order.order_id)
                    held.append((number, order))
                    answers.append({})
            except Refused as refusal:
                answers.append(views.refused(refusal.message))
        if not held:
            return answers
        wait_ms = max(order.market.delay_ms for _, order in held)
        return Waiting(wait_ms, partial(self._release_all, answers, held))

    def _release_all(
        self, answers: list[dict[str, Any]], held: list[tuple[int, Order]]
    ) -> list[dict[str, Any]]:
        for number, order in held:
            try:
                answers[number] = self._release(order)
            except Refused as refusal:
                answers[number] = views.refused(refusal.message)
        return answers

    def _is_held(self, order: Order) -> bool:
        self._look(order.token_id)
        # A post-only order that would trade is refused, and not after a while.
        return (
            order.market.delay_ms > 0 and not order.post_only and self.engine.is_marketable(order)
        )

    def _release(self, order: Order) -> dict[str, Any]:
        self._held.discard(order.order_id)
        self._look(order.token_id)
        return self._place(order)

    def _look(self, token_id: str) -> None:
        if self.before_look is not None:
            self.before_look(token_id)

    def _place(self, order: Order) -> dict[str, Any]:
        return views.accepted(order, self.engine.place(order))

    def _defer(self, order: Order) -> dict[str, Any]:
        """Answer now that the order will be matched, and match it then, whatever comes of it."""

        def match() -> None:
            try:
                self._release(order)
            except Refused:
                self.engine.reject(order)

        self._held.add(order.order_id)
        self.timers.after_us(order.market.delay_ms * 1000, match)
        return views.accepted(order, []) | {"status": "delayed"}

    def _take(self, key: ApiKey, entry: OrderEntry) -> Order:
        """Check everything that does not depend on the book, and return the order."""
        if not entry.post_only:
            self.modes.check_taker()
        if entry.owner != key.api_key:
            raise Refused("the order owner has to be the owner of the API KEY")
        market, token = self.market_of(entry.token_id)
        if entry.is_v1 != (market.generation is Generation.CLOB_V1):
            raise Refused("order_version_mismatch")
        self._check_signature(key, entry, market)
        order_id = "0x" + self._digest(entry, market).hex()
        if order_id in self.engine.orders or order_id in self._held:
            raise Refused(f"order {order_id} is invalid. Duplicated.")
        if entry.is_v1:
            self._check_v1(entry, market)
        price_e4 = limit_price_e4(entry, market, order_id, self.clock())
        if self._rejects.happens():
            raise Refused(NOT_READY)
        return Order(
            order_id=order_id,
            account=entry.maker.lower(),
            market=market,
            token=token,
            side=entry.side,
            order_type=entry.order_type,
            maker_micro=entry.maker_micro,
            taker_micro=entry.taker_micro,
            price_e4=price_e4,
            post_only=entry.post_only,
            expires_ms=entry.expiration_s * 1000 - _GTD_EARLY_MS if entry.expiration_s else 0,
            expiration_s=entry.expiration_s,
            owner=key.api_key,
            owner_address=key.address,
            maker_address=entry.maker,
        )

    def _digest(self, entry: OrderEntry, market: PaperMarket) -> bytes:
        return self.hasher.order_digest(entry, market.generation, market.neg_risk)

    def _check_signature(self, key: ApiKey, entry: OrderEntry, market: PaperMarket) -> None:
        kind, maker, signer = entry.signature_type, entry.maker.lower(), entry.signer.lower()
        # Types 0-2 are signed by the EOA of the key, type 3 in the name of the wallet itself.
        expected = maker if kind is SignatureType.POLY_1271 else key.address
        if signer != expected:
            raise Refused("the order signer address has to be the address of the API KEY")
        recovered = self.hasher.signer_of(entry, market.generation, market.neg_risk)
        if kind is SignatureType.EOA:
            may_use = maker == key.address
        else:
            may_use = maker != key.address and self.wallets.can_claim(maker, key.address)
        if recovered != key.address or not may_use:
            raise Refused("invalid signature")
        self.wallets.register(maker, key.address, kind)

    @staticmethod
    def _check_v1(entry: OrderEntry, market: PaperMarket) -> None:
        if entry.nonce:
            raise Refused("invalid nonce")
        if entry.fee_rate_bps != market.base_fee or int(entry.taker, 16):
            raise Refused("Invalid order payload")

    def create_key(self, address: str, nonce: int) -> ApiKey:
        """Make an API key; its address is an EOA from now on, and nobody else's wallet."""
        key = self.accounts.create(address, nonce)
        self.wallets.register(key.address, key.address, SignatureType.EOA)
        return key

    def cancel(self, key: ApiKey, order_ids: Iterable[str]) -> dict[str, Any]:
        """Cancel what is open and say why not for the rest."""
        self.engine.expire()
        canceled: list[str] = []
        not_canceled: dict[str, str] = {}
        for order_id in dict.fromkeys(order_ids):
            order = self.engine.orders.get(order_id)
            if order is None or order.owner_address != key.address:
                not_canceled[order_id] = "Order not found or already canceled"
            elif self.engine.cancel(order_id):
                canceled.append(order_id)
            else:
                not_canceled[order_id] = "order can't be found - already canceled or matched"
        return {"canceled": canceled, "not_canceled": not_canceled}

    def cancel_lapsed(self) -> None:
        """Cancel the orders of everybody whose heartbeat has stopped."""
        for address in self.heartbeats.lapsed():
            for order in list(self.engine.live.values()):
                if order.owner_address == address:
                    self.engine.cancel(order.order_id)

    def open_orders(self, key: ApiKey, *, market: str = "", asset_id: str = "") -> list[Order]:
        """Return an account's open orders, oldest first."""
        self.engine.expire()
        return [
            order
            for order in self.engine.live.values()
            if order.owner_address == key.address
            and market in ("", order.market.condition_id)
            and asset_id in ("", order.token_id)
        ]

    def order(self, key: ApiKey, order_id: str) -> Order | None:
        """Return one of the account's orders in any state."""
        self.engine.expire()
        order = self.engine.orders.get(order_id)
        return order if order is not None and order.owner_address == key.address else None

    def trades(self, key: ApiKey, *, trade_id: str = "") -> list[Trade]:
        """Return the trades the account took part in, oldest first; or the one with this id."""
        if not trade_id:
            return self._trades_of.get(key.address, [])
        trade = self.engine.trades.get(trade_id)
        return [trade] if trade is not None and trade.order_of(key.address) is not None else []

    # --- markets ------------------------------------------------------------------------------

    def add_market(self, market: PaperMarket) -> None:
        """Open a market; subscribers get its empty books to build on."""
        self.engine.add_market(market)
        if self._subscribers:
            self._publish_books(market)

    def market_of(self, token_id: str) -> tuple[PaperMarket, int]:
        """Return a token's market and its place in it."""
        found = self.engine.tokens.get(token_id)
        if found is None:
            raise Refused(NO_BOOK, 404)
        return found

    def book_view(self, token_id: str) -> dict[str, Any]:
        """Return the body of ``/book``."""
        self.engine.expire()
        market, token = self.market_of(token_id)
        self._look(token_id)
        return views.book_view(market, self.engine.book(market), token)

    def set_tick(self, market: PaperMarket, tick_e4: int) -> None:
        """Change a market's tick while it trades, and tell everybody."""
        old, market.tick_e4 = market.tick_e4, tick_e4
        for token_id in market.token_ids:
            self._publish(views.tick_size_message(market, token_id, old, self.clock()))

    def set_level(
        self, token_id: str, side: Side, price_e4: int, shares_micro: int, *, add: bool = False
    ) -> None:
        """Let the house offer so many shares at a price, in total or (``add``) on top."""
        market, token = self._input_market(token_id)
        is_bid = (side is Side.BUY) == (token == 0)
        book_price = price_e4 if token == 0 else PRICE_SCALE - price_e4
        mine = [
            order
            for order in self.engine.book(market).at(is_bid, book_price)
            if order.account == HOUSE
        ]
        change = shares_micro - (0 if add else sum(order.remaining_micro for order in mine))
        last = self.engine.book(market).newest(is_bid, book_price)
        if change > 0 and last is not None and last is (mine[-1] if mine else None):
            # Nobody stands behind it, so it may as well be larger.
            self.engine.shrink(last, -change)
            return
        while change < 0:  # the newest first, so that the rest keeps its place
            order = mine.pop()
            if order.remaining_micro <= -change:
                change += order.remaining_micro
                self.engine.cancel(order.order_id)
            else:
                self.engine.shrink(order, -change)
                change = 0
        if change > 0:
            self._place_house(market, token, side, price_e4, change)

    def house_micro(self, market: PaperMarket, is_bid: bool, price_e4: int) -> int:
        """Return what the house offers at a price, in terms of the first token."""
        orders = self.engine.book(market).at(is_bid, price_e4)
        return sum(order.remaining_micro for order in orders if order.account == HOUSE)

    def meet(self, maker: Order, shares_micro: int) -> None:
        """Let the house take up to so many shares from one resting order, at its own price."""
        shares_micro = min(shares_micro, maker.remaining_micro)
        if shares_micro and maker.status == "LIVE":
            side = Side.SELL if maker.side is Side.BUY else Side.BUY
            taker = self._house_order(maker.market, maker.token, side, maker.price_e4, shares_micro)
            self.engine.meet(taker, maker)

    def resolve(self, market: PaperMarket, pays_micro: tuple[int, int]) -> None:
        """End a market: its shares are worth this from now on, and nobody trades it any more."""
        if market.pays_micro is not None:
            raise UsageError(f"market {market.slug} is resolved already")
        self.engine.resolve(market, pays_micro)
        self._publish(views.resolved_message(market, self.clock()))

    def check_house(self, token_id: str, side: Side, price_e4: int) -> None:
        """Refuse a price at which the house would trade with itself."""
        market, token = self._input_market(token_id)
        is_bid = (side is Side.BUY) == (token == 0)
        book_price = price_e4 if token == 0 else PRICE_SCALE - price_e4
        for order in self.engine.book(market).queue(not is_bid):
            resting = order.book_price_e4
            if resting > book_price if is_bid else resting < book_price:
                return
            if order.account == HOUSE:
                shown = price_text(resting if token == 0 else PRICE_SCALE - resting)
                raise InputError(
                    "price", price_text(price_e4), f"crosses the seeded book, which has {shown}"
                )

    def house_levels(self, token_id: str) -> list[tuple[Side, int]]:
        """Return side and price of every level where the house offers something."""
        market, token = self._input_market(token_id)
        levels = {
            (order.is_bid, order.book_price_e4)
            for order in self.engine.live.values()
            if order.account == HOUSE and order.market is market
        }
        return [
            (
                Side.BUY if is_bid == (token == 0) else Side.SELL,
                price if token == 0 else PRICE_SCALE - price,
            )
            for is_bid, price in sorted(levels)
        ]

    def clear_house(self, market: PaperMarket) -> None:
        """Take the house's orders out of a market."""
        for order in list(self.engine.live.values()):
            if order.account == HOUSE and order.market is market:
                self.engine.cancel(order.order_id)

    def _place_house(
        self, market: PaperMarket, token: int, side: Side, price_e4: int, shares_micro: int
    ) -> None:
        self.engine.place(self._house_order(market, token, side, price_e4, shares_micro))

    def _house_order(
        self, market: PaperMarket, token: int, side: Side, price_e4: int, shares_micro: int
    ) -> Order:
        self._house_orders += 1
        digest = hashlib.sha256(f"house/{self._house_orders}".encode()).hexdigest()
        # A BUY's money is rounded up, so that it covers any number of partial fills.
        money = -(-shares_micro * price_e4 // PRICE_SCALE)
        is_buy = side is Side.BUY
        return Order(
            order_id="0x" + digest,
            account=HOUSE,
            market=market,
            token=token,
            side=side,
            order_type=OrderType.GTC,
            maker_micro=money if is_buy else shares_micro,
            taker_micro=shares_micro if is_buy else money,
            price_e4=price_e4,
            owner=_HOUSE_KEY,
            owner_address=HOUSE,
            maker_address=_HOUSE_ADDRESS,
        )

    def _input_market(self, token_id: str) -> tuple[PaperMarket, int]:
        found = self.engine.tokens.get(token_id)
        if found is None:
            raise InputError("token_id", token_id, "is no token of this exchange: add_market first")
        return found

    # --- market channel -----------------------------------------------------------------------

    def subscribe(self, callback: Callable[[MarketMessage], None]) -> Callable[[], None]:
        """Call back with a snapshot of every book, then with every message; returns the way out."""
        self._subscribers.append(callback)
        for token_id in self.engine.tokens:
            callback(self.snapshot(token_id))

        def unsubscribe() -> None:
            if callback in self._subscribers:
                self._subscribers.remove(callback)

        return unsubscribe

    def snapshot(self, token_id: str) -> MarketMessage:
        """Return a ``book`` message of the present state."""
        market, token = self._input_market(token_id)
        return views.book_message(market, self.engine.book(market), token)

    def watch(self, callback: Callable[[Event], None]) -> None:
        """Call back with every event of the engine, synchronously; it must not place orders."""
        self._watchers.append(callback)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, TradeChanged) and event.trade.status == "MATCHED":
            trade = event.trade
            parties = {trade.taker.owner_address, *(f.order.owner_address for f in trade.makers)}
            for address in parties - {HOUSE}:
                self._trades_of[address].append(trade)
        for watcher in self._watchers:
            try:
                watcher(event)
            except Exception:
                # As below: an order must not suffer from whoever listens.
                _log.exception("paper_watcher_failed")
        if not self._subscribers:
            return
        if isinstance(event, LevelChanged):
            book = self.engine.book(event.market)
            self._publish(views.price_change_message(event, book))
        elif isinstance(event, Filled):
            self._publish(views.last_trade_message(event, self.clock()))
        elif isinstance(event, BookTraded):
            self._publish_books(event.market)

    def _publish_books(self, market: PaperMarket) -> None:
        for token_id in market.token_ids:
            self._publish(self.snapshot(token_id))

    def _publish(self, message: MarketMessage) -> None:
        for callback in tuple(self._subscribers):
            try:
                callback(message)
            except Exception:
                # A match that is half done must not stop for somebody else's mistake.
                _log.exception("paper_subscriber_failed")
