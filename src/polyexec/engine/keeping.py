"""From events to books that can be trusted: applies, doubts and checks them. No I/O, no clock.

A feed without sequence numbers is believed as long as nothing speaks against it. What does: an
event that cannot be read or applied, a best price or a hash that differs from ours, silence. The
book is then void at once, and wanted anew.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable

from polyexec._impl import PriceTable
from polyexec._pure.prices import STALE_EVENT, TOP_CHANGED, BookState, Fault
from polyexec.core.book_hash import HashedBook, price_text, size_text, trade_price_text
from polyexec.core.market_events import (
    BestBidAsk,
    BookEvent,
    Ignored,
    LastTradePrice,
    Level,
    MarketEvent,
    PriceChange,
    PriceChanges,
    TickSizeChange,
    Unreadable,
    parse_time_ms,
)
from polyexec.engine.following import FeedCounts, FeedSettings, Followed
from polyexec.enums import Side
from polyexec.errors import InputError
from polyexec.models import Market, TokenId, TopOfBook
from polyexec.numbers import PRICE_SCALE, to_micro, to_price_e4
from polyexec.parsing import parse_tick_e4

__all__ = ["BookKeeper"]

log = logging.getLogger("polyexec.engine")


class BookKeeper:
    """Keeps the books of a price table.

    Parameters
    ----------
    table : PriceTable
    settings : FeedSettings
    on_touched : callable
        Called with the slot of each token whose book has changed, after the whole event is
        applied: both tokens of a market are then of the same moment.
    on_event : callable or None
        Called with every event that is no news of a book.
    on_top : callable or None
        Called with each new top of a book.
    on_wanted : callable
        Called with a token whose book has to be asked for.
    """

    def __init__(
        self,
        table: PriceTable,
        settings: FeedSettings,
        *,
        on_touched: Callable[[int], object],
        on_wanted: Callable[[Followed], None],
        on_event: Callable[[MarketEvent], object] | None = None,
        on_top: Callable[[TopOfBook], object] | None = None,
    ) -> None:
        self.counts = FeedCounts()
        self.tokens: dict[str, Followed] = {}
        self.table = table
        self._settings = settings
        self._on_touched = on_touched
        self._on_event = on_event
        self._on_top = on_top
        self._on_wanted = on_wanted
        self._ticks: dict[str, int] = {}
        self._markets: dict[str, list[Followed]] = {}
        self._described: dict[TokenId, Market] = {}
        self._unchecked: deque[Followed] = deque()
        self._now_s = 0.0

    # --- tokens -------------------------------------------------------------------------------

    def follow(self, token_id: TokenId, owner: int) -> Followed:
        """Begin with a token; without a book so far."""
        token = self.tokens.get(token_id)
        if token is None:
            described = self._described.get(token_id)
            tick_e4 = 0 if described is None else described.tick_e4
            slot = self.table.add(token_id, tick_e4)
            token = self.tokens[token_id] = Followed(token_id, slot, owner)
            token.tick_e4 = tick_e4
            if described is not None:
                self.describe(described)
        return token

    def drop(self, token_id: TokenId) -> Followed | None:
        """End with a token; its slot may become another's."""
        token = self.tokens.pop(token_id, None)
        self._described.pop(token_id, None)
        if token is not None:
            token.void()
            self._place(token, "")
            self.table.remove(token_id)
        return token

    def describe(self, market: Market) -> None:
        """Take in what hashes need of a token's market, and the stream does not say."""
        self._described[market.token_id] = market
        token = self.tokens.get(market.token_id)
        if token is not None:
            token.min_order_size = size_text(market.min_order_size_micro)
            token.neg_risk = market.neg_risk
            if not token.market:
                self._place(token, market.condition_id)

    def void(self, token: Followed) -> None:
        """Nothing is known of a book any more."""
        self.table.invalidate(token.slot)
        token.void()

    # --- events -------------------------------------------------------------------------------

    def take(
        self,
        events: Iterable[MarketEvent],
        *,
        owner: int,
        now_s: float,
        now_ms: int,
        received_ns: int,
    ) -> bool:
        """Apply what came in one frame of a connection; return whether any book took it in."""
        self._now_s = now_s
        before = self.counts.changes + self.counts.books
        self.table.horizon_ms = now_ms + self._settings.ahead_ms
        for event in events:
            self.counts.events += 1
            if type(event) is PriceChanges:
                self._take_changes(event, owner, received_ns)
            elif type(event) is BookEvent:
                self._take_book(event, owner, received_ns)
            else:
                self._take_other(event, owner)
        return self.counts.changes + self.counts.books > before

    def _take_changes(self, event: PriceChanges, owner: int, received_ns: int) -> None:
        time_ms = parse_time_ms(event.timestamp)
        counts, tokens, apply = self.counts, self.tokens, self.table.apply_change
        touched: dict[Followed, int] = {}
        for change in event.price_changes:
            token = tokens.get(change.asset_id)
            if token is None or token.owner != owner:
                counts.foreign += 1
                continue
            flags = apply(
                token.slot,
                change.side,
                change.price,
                change.size,
                change.best_bid,
                change.best_ask,
                time_ms,
                received_ns,
            )
            if flags < 0:
                if token.is_loaded:
                    self.doubt(token, _kind_of(flags))
                else:
                    counts.unloaded += 1
            elif flags & STALE_EVENT:
                counts.old += 1
            else:
                counts.changes += 1
                token.heard_s = self._now_s
                self._note(token, change, event, time_ms)
                if flags:
                    touched[token] = touched.get(token, 0) | flags
        for token, flags in touched.items():
            self._touch(token, flags)

    def _note(
        self, token: Followed, change: PriceChange, event: PriceChanges, time_ms: int
    ) -> None:
        token.time_ms, token.timestamp, token.hash = time_ms, event.timestamp, change.hash
        if not token.market:
            self._place(token, event.market)
        if not token.is_queued and change.hash:
            token.is_queued = True
            self._unchecked.append(token)

    def _take_book(self, event: BookEvent, owner: int, received_ns: int) -> None:
        token = self.tokens.get(event.asset_id)
        if token is None or token.owner != owner:
            self.counts.foreign += 1
            return
        self.load(token, event, received_ns=received_ns)

    def load(self, token: Followed, event: BookEvent, *, received_ns: int) -> None:
        """Put a whole book into the table."""
        time_ms = parse_time_ms(event.timestamp)
        tick_e4 = self._tick(event.tick_size) if event.tick_size else token.tick_e4
        flags = self.table.load_book(
            token.slot,
            event.bids,
            event.asks,
            tick_e4=tick_e4,
            time_ms=time_ms,
            received_ns=received_ns,
        )
        if flags < 0:
            token.asked_s = 0.0  # this was the answer
            return self.doubt(token, _kind_of(flags))
        if flags & STALE_EVENT:
            self.counts.old += 1
            return None
        self.counts.books += 1
        token.heard_s = self._now_s
        token.tick_e4 = tick_e4
        token.tick_size = event.tick_size or token.tick_size
        token.last_trade, token.traded = event.last_trade_price, ()
        if event.min_order_size is not None and event.neg_risk is not None:
            token.min_order_size, token.neg_risk = event.min_order_size, event.neg_risk
        if event.market and event.market != token.market:
            self._place(token, event.market)
        token.is_loaded, token.asked_s, token.ask_at_s, token.misses = True, 0.0, 0.0, 0
        token.is_verifying, token.has_answered, token.bests = False, True, None
        token.time_ms, token.timestamp, token.hash = time_ms, event.timestamp, event.hash
        if event.hash and not token.is_queued:
            token.is_queued = True
            self._unchecked.append(token)
        token.snapshot = None if token.is_proved else event
        self._touch(token, flags)
        return None

    def _touch(self, token: Followed, flags: int) -> None:
        if not token.is_loaded:
            return  # a later entry of the same event was at fault
        try:
            self._on_touched(token.slot)
            if self._on_top is not None and flags & TOP_CHANGED:
                self._on_top(self.top_of(token))
        except Exception:
            self._callback_failed()

    def _take_other(self, event: MarketEvent, owner: int) -> None:
        if isinstance(event, Unreadable):
            if not event.is_book_news:
                self._count_fault(event.kind, "")
            elif event.token_ids or event.market:
                self._doubt_all(event.kind, owner, event.token_ids, event.market)
            else:  # it can have been about any of them
                self._doubt_all(event.kind, owner, tuple(self.tokens))
            return
        if isinstance(event, Ignored):
            self.counts.ignored += 1
            if self.counts.ignored == 1:
                log.info("feed_event_ignored", extra={"event_type": event.event_type})
            return
        if isinstance(event, TickSizeChange):
            self._take_tick(event, owner)
        elif isinstance(event, LastTradePrice):
            self._take_trade(event)
        elif isinstance(event, BestBidAsk):
            self._take_bests(event, owner)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:
                self._callback_failed()

    def _take_tick(self, event: TickSizeChange, owner: int) -> None:
        tick_e4 = self._tick(event.new_tick_size)
        for token in self._named(owner, (event.asset_id,)):
            if tick_e4 < 0:
                self.doubt(token, "bad_tick")
                continue
            token.tick_e4, token.tick_size = tick_e4, event.new_tick_size
            self.table.start_epoch(token.slot, tick_e4)
            token.void()
            self._want(token)

    def _take_trade(self, event: LastTradePrice) -> None:
        # One figure is shown for both tokens of a market, and it is not known whose.
        price = trade_price_text(event.price)
        try:
            mirrored = trade_price_text(_mirror(event.price))
        except InputError:
            self._count_fault("bad_last_trade_price", event.asset_id)
            return
        token = self.tokens.get(event.asset_id)
        market = event.market or (token.market if token is not None else "")
        for one in self._markets.get(market, [token] if token is not None else []):
            one.traded = (*one.traded, price, mirrored)[-8:]

    def _take_bests(self, event: BestBidAsk, owner: int) -> None:
        for token in self._named(owner, (event.asset_id,)):
            stated = (_best(event.best_bid, "0"), _best(event.best_ask, "1"))
            is_newer = parse_time_ms(event.timestamp) >= token.time_ms
            if token.is_loaded and is_newer and stated != self._bests(token):
                if token.bests is None:
                    token.bests_s = self._now_s
                token.bests = stated
            else:
                token.bests = None

    # --- doubts -------------------------------------------------------------------------------

    def doubt(self, token: Followed, kind: str) -> None:
        """Something speaks against a book: it is void, and wanted anew."""
        self._count_fault(kind, token.token_id)
        self.void(token)
        self._want(token)

    def _want(self, token: Followed) -> None:
        if token.asked_s and not token.is_verifying:
            return  # it is on its way
        token.asked_s, token.is_verifying = 0.0, False
        if token.asks:
            token.ask_at_s = token.ask_at_s or self._now_s + token.pause_s()
        else:
            self._on_wanted(token)

    def _doubt_all(self, kind: str, owner: int, token_ids: Iterable[str], market: str = "") -> None:
        named = self._named(owner, token_ids, market)
        if not named:
            self._count_fault(kind, "")
        for token in named:
            self.doubt(token, kind)

    def _named(self, owner: int, token_ids: Iterable[str], market: str = "") -> list[Followed]:
        found = [self.tokens[t] for t in dict.fromkeys(token_ids) if t in self.tokens]
        found += [token for token in self._markets.get(market, ()) if token not in found]
        return [token for token in found if token.owner == owner]

    def review(self, token: Followed, now_s: float) -> None:
        """Doubt a book that has not become what was said of it, or stays crossed."""
        self._now_s = now_s
        grace_s = self._settings.best_grace_s
        top = self.table.top(token.slot)
        if token.bests is not None and now_s - token.bests_s >= grace_s:
            if token.bests != self._bests(token):
                return self.doubt(token, "best_bid_ask_differs")
            token.bests = None
        if token.differs_s and now_s - token.differs_s >= grace_s:
            if token.heard_s <= token.differs_s:
                return self.doubt(token, "differs_from_rest")
            token.differs_s = 0.0
        was_crossed = token.is_crossed
        token.is_crossed = top.state == BookState.CROSSED
        if was_crossed and token.is_crossed:
            return self.doubt(token, "crossed")
        return None

    def compare(self, token: Followed, book: BookEvent, *, now_s: float, received_ns: int) -> None:
        """Compare a silent book with what REST shows of it.

        Where it is the same, it counts as received now. Where not, its changes may still be on
        their way: :meth:`review` decides.
        """
        self._now_s = now_s
        token.asked_s, token.is_verifying = 0.0, False
        sides = ((Side.BUY, book.bids), (Side.SELL, book.asks))
        try:
            is_same = all(
                self.table.levels(token.slot, side) == _numbers(levels) for side, levels in sides
            )
        except InputError:
            return self.doubt(token, "bad_rest_book")
        if not is_same:
            token.differs_s = token.differs_s or now_s
            return None
        self.counts.confirmed += 1
        token.heard_s, token.differs_s = now_s, 0.0
        self.table.confirm(token.slot, received_ns)
        self._touch(token, 0)
        return None

    def _bests(self, token: Followed) -> tuple[int, int]:
        top = self.table.top(token.slot)
        return top.best_bid_e4 or -1, top.best_ask_e4 or -1

    # --- hashes -------------------------------------------------------------------------------

    def check_hashes(self, most: int, now_s: float) -> int:
        """Recompute the hashes of up to so many changed books; return of how many."""
        self._now_s = now_s
        checked = 0
        for _ in range(min(len(self._unchecked), 4 * most)):
            if checked >= most:
                break
            token = self._unchecked.popleft()
            if token.is_loaded and now_s - token.checked_s < self._settings.hash_interval_s:
                self._unchecked.append(token)
                continue
            token.is_queued = False
            if token.is_loaded and self._check_hash(token):
                token.checked_s = now_s
                checked += 1
        return checked

    def _check_hash(self, token: Followed) -> bool:
        if token.hash is None or token.neg_risk is None or not token.tick_size:
            return False  # not all is known that the hash is made of
        counts, snapshot = self.counts, token.snapshot
        token.snapshot = None
        if snapshot is not None:
            # Are these the right fields? Otherwise a mismatch would say nothing of the book.
            prices = (snapshot.last_trade_price or "",)
            bids, asks = map(HashedBook.texts_of, (snapshot.bids, snapshot.asks))
            if snapshot.hash not in _hashes(token, snapshot.timestamp, bids, asks, prices):
                counts.hash_unprovable += 1
                if counts.hash_unprovable == 1:
                    log.warning("feed_hash_unprovable", extra={"token_id": token.token_id})
                return True
            token.is_proved = True
        if not token.is_proved:
            return False
        counts.hash_checks += 1
        levels = [self.table.levels(token.slot, side) for side in (Side.BUY, Side.SELL)]
        bids, asks = map(HashedBook.levels_of, levels)
        last_prices = (token.last_trade or "", *dict.fromkeys(token.traded))
        found = _hashes(token, token.timestamp, bids, asks, last_prices)
        for price, sha1 in zip(last_prices, found, strict=True):
            if sha1 == token.hash:
                token.last_trade = price
                return True
        counts.hash_mismatches += 1
        token.is_proved = False  # perhaps it is our way to it that is no longer right
        self.doubt(token, "hash_mismatch")
        return True

    # --- helpers ------------------------------------------------------------------------------

    def top_of(self, token: Followed) -> TopOfBook:
        """Return the top of a token's book."""
        top = self.table.top(token.slot)
        return TopOfBook(
            token.token_id,
            top.best_bid_e4 or None,
            top.best_ask_e4 or None,
            top.best_bid_size_micro,
            top.best_ask_size_micro,
            top.time_ms,
        )

    def _tick(self, text: str) -> int:
        tick_e4 = self._ticks.get(text)
        if tick_e4 is None:
            try:
                tick_e4 = parse_tick_e4(text)
            except InputError:
                return -1
            self._ticks[text] = tick_e4
        return tick_e4

    def _place(self, token: Followed, market: str) -> None:
        if token.market in self._markets:
            self._markets[token.market].remove(token)
            if not self._markets[token.market]:
                del self._markets[token.market]
        token.market = market
        if market:
            self._markets.setdefault(market, []).append(token)

    def _count_fault(self, kind: str, token_id: str) -> None:
        faults = self.counts.faults
        faults[kind] = faults.get(kind, 0) + 1
        if faults[kind] == 1:
            log.warning("feed_fault", extra={"kind": kind, "token_id": token_id})

    def _callback_failed(self) -> None:
        self.counts.callback_errors += 1
        log.exception("feed_callback_failed")


def _kind_of(flags: int) -> str:
    return Fault(flags).name.lower()


def _hashes(
    token: Followed, timestamp: str, bids: str, asks: str, prices: Iterable[str]
) -> list[str]:
    book = HashedBook(
        market=token.market,
        token_id=token.token_id,
        timestamp=timestamp,
        bids=bids,
        asks=asks,
        min_order_size=token.min_order_size,
        tick_size=token.tick_size,
        neg_risk=token.neg_risk is True,
    )
    return [book.sha1(price) for price in prices]


def _numbers(levels: Iterable[Level]) -> list[tuple[int, int]]:
    """Return a side as the table does: best first, without empty levels."""
    found = [(to_price_e4(one.price, "price"), to_micro(one.size, "size")) for one in levels]
    return [level for level in reversed(found) if level[1]]


def _best(text: str | None, empty: str) -> int:
    """Return a stated best price; -1 for an empty side, -2 for what is no price."""
    if text in (None, "", empty):
        return -1
    try:
        return to_price_e4(text, "best")
    except InputError:
        return -2


def _mirror(price: str) -> str:
    return price_text(PRICE_SCALE - to_price_e4(price, "price"))
