"""The market of a replay: the live engine's book keeper, and the recorded books as liquidity."""

from collections.abc import Callable, Iterable, Sequence

from polyexec._impl import PriceTable
from polyexec._pure.prices import BookState, Top
from polyexec.backtest.stream import Stamped
from polyexec.backtest.venue import InProcessVenue
from polyexec.cards import grid
from polyexec.core.auth import ApiCredentials
from polyexec.core.forms import Form
from polyexec.core.market_events import LastTradePrice, MarketEvent, TickSizeChange, decode_frame
from polyexec.core.ports import Clock
from polyexec.engine.following import FeedSettings, Followed
from polyexec.engine.keeping import BookKeeper
from polyexec.enums import Side
from polyexec.errors import InputError
from polyexec.models import Market, TokenId
from polyexec.numbers import from_e4, from_micro, to_micro, to_price_e4
from polyexec.paper import PaperExchange
from polyexec.paper.book import PaperMarket
from polyexec.paper.latency import LatencyModel
from polyexec.paper.queueing import FillBounds

__all__ = ["Books", "ReplayedMarket", "ReplayedVenue"]


class Books:
    """The books as they are known at this moment of the replay."""

    def __init__(self, table: PriceTable) -> None:
        self._table = table

    def top(self, token_id: str) -> Top:
        """Return the best prices and sizes of a token.

        Raises
        ------
        InputError
            The token is in no form of this replay.
        """
        return self._table.top(self._slot(token_id))

    def levels(self, token_id: str, side: Side | str) -> list[tuple[int, int]]:
        """Return (price in 1e-4 dollars, micro-shares) of a side, best first."""
        return self._table.levels(self._slot(token_id), side)

    def _repr_html_(self) -> str:
        head = ("token", "bid", "bid size", "ask", "ask size", "state")
        slots = range(len(self._table))
        return grid(head, (self._cells(self._table.token_id_of(slot)) for slot in slots))

    def _cells(self, token_id: str) -> tuple[str, ...]:
        top = self.top(token_id)
        bid, ask = (f"{from_e4(one)}" if one else "" for one in (top.best_bid_e4, top.best_ask_e4))
        sizes = (f"{from_micro(one)}" for one in (top.best_bid_size_micro, top.best_ask_size_micro))
        bid_size, ask_size = sizes
        return f"{token_id[:8]}…", bid, bid_size, ask, ask_size, BookState(top.state).name.lower()

    def _slot(self, token_id: str) -> int:
        slot = self._table.slot(token_id)
        if slot < 0:
            raise InputError("token_id", token_id, "is in no form of this backtest: add it there")
        return slot


class ReplayedMarket:
    """Books by the live keeper, shown on a paper exchange when somebody trades there."""

    def __init__(
        self, forms: Sequence[Form], exchange: PaperExchange, on_touched: Callable[[int], object]
    ) -> None:
        self.exchange = exchange
        self._books = exchange.recorded_books(self.show)
        self._governors: dict[str, str] = {}  # by condition: the token whose book is shown
        self._tell_touched = on_touched
        self._news: dict[int, None] = {}  # slots whose books are not as they were shown
        self._our_slots: tuple[int, list[int]] = (-1, [])
        tokens: dict[TokenId, Market] = {}
        for form in forms:
            for leg in form.legs:
                tokens.setdefault(leg.token_id, leg.market)
                self._list(leg.market, leg.complement_token_id)
        self.table = PriceTable(max(1, len(tokens)))
        self.keeper = BookKeeper(
            self.table,
            FeedSettings(),
            on_touched=self._on_touched,
            on_wanted=self._on_wanted,
            on_event=self._on_event,
        )
        for token, market in tokens.items():
            self.keeper.describe(market)
            self.keeper.follow(token, 0)
        self.off_grid = 0
        """Crossed books, which are not shown, and trades that cannot be read."""

    def _list(self, market: Market, complement: TokenId) -> None:
        engine = self.exchange.engine
        if market.token_id in engine.tokens:
            return
        condition: str | None = market.condition_id
        self.exchange.add_market(
            market.token_id,
            condition_id=None if condition in engine.markets else condition,
            tokens=(market.token_id, complement),
            tick_size=from_e4(market.tick_e4),
            neg_risk=market.neg_risk,
            generation=market.generation,
            fee_rate=from_micro(market.fee_rate_micro or 0),
            fee_exponent=market.fee_exponent,
            min_order_size=from_micro(market.min_order_size_micro),
        )

    def take(self, one: Stamped, look: Callable[[], object] = lambda: None) -> None:
        """Apply what was received, and call ``look`` after each event of it, as a feed does.

        Resolutions are the runner's.
        """
        if one.kind == "gap":
            for token in one.tokens or tuple(self.keeper.tokens):
                if token in self.keeper.tokens:
                    self.keeper.void(self.keeper.tokens[token])
                    self._note(self.keeper.tokens[token].slot)
            look()
            return
        events: Iterable[MarketEvent] = (
            decode_frame(one.frame)
            if one.frame is not None
            else (() if one.event is None else (one.event,))
        )
        now_ms = one.received_ns // 1_000_000
        for event in events:
            self.keeper.take(
                (event,), owner=0, now_s=now_ms / 1000, now_ms=now_ms, received_ns=one.received_ns
            )
            look()

    def _on_touched(self, slot: int) -> None:
        self._note(slot)
        self._tell_touched(slot)

    def _on_wanted(self, token: Followed) -> None:
        # A recording cannot be asked: the book stays void until its next snapshot.
        self._note(token.slot)

    def _note(self, slot: int) -> None:
        if self._books.has_ours:
            self._news[slot] = None

    def _on_event(self, event: MarketEvent) -> None:
        if isinstance(event, LastTradePrice):
            self._on_trade(event)
        elif isinstance(event, TickSizeChange) and event.asset_id in self.exchange.engine.tokens:
            self.exchange.set_tick_size(event.asset_id, event.new_tick_size)

    def _on_trade(self, event: LastTradePrice) -> None:
        if event.asset_id not in self.exchange.engine.tokens or not event.size:
            return
        market = self.exchange.market(event.asset_id)
        if market.condition_id not in self._governors or not self._books[market].is_ours:
            return  # nobody of ours stands in the queue
        try:
            side, price_e4 = Side((event.side or "").upper()), to_price_e4(event.price, "price")
            shares_micro = to_micro(event.size, "size")
        except ValueError:
            self.off_grid += 1
            return
        self._books[market].trade(
            market.token_ids.index(event.asset_id), side, price_e4, shares_micro
        )
        for slot in self._slots(market):
            self._note(slot)

    def show(self, token: str) -> None:
        """Lay the recorded book of a token on the exchange; from now on it is its market's.

        Where it is void, that of the market's other token is the same from the other side.

        What we took stays taken: see :mod:`polyexec.paper.liquidity`.
        """
        market = self.exchange.market(token)
        if market.pays_micro is not None:
            return
        self._governors[market.condition_id] = token
        both = (token, *(other for other in market.token_ids if other != token))
        slots = ((one, self.table.slot(one)) for one in both)
        known = [(one, slot) for one, slot in slots if slot >= 0 and self._is_live(slot)]
        if not known:
            self._books[market].void()
            return
        shown, slot = known[0]
        bids, asks = (self.table.levels(slot, side) for side in (Side.BUY, Side.SELL))
        self._books[market].show(market.token_ids.index(shown), bids, asks)

    def _is_live(self, slot: int) -> bool:
        state = self.table.state(slot)
        self.off_grid += state is BookState.CROSSED
        return state is BookState.LIVE

    @property
    def is_ours(self) -> bool:
        """Return whether :meth:`follow` has anything to do: an order rests, or we took shares."""
        return self._books.has_ours

    def follow(self, slots: Iterable[int] = ()) -> None:
        """Bring up to date the books that have changed and are no longer as recorded.

        To be called after every event while :attr:`is_ours`; ``slots`` are those whose books have
        changed without the keeper. The rest is shown when an order arrives.
        """
        self._books.check()
        news, self._news = {**self._news, **dict.fromkeys(slots)}, {}
        tokens = self.exchange.engine.tokens
        for slot in news:
            market, _ = tokens[self.table.token_id_of(slot)]
            if self._books.is_ours(market):
                governor = self._governors.get(market.condition_id)
                if governor is not None:
                    self.show(governor)
                    self._books.is_ours(market)  # not any more, perhaps

    def our_slots(self) -> list[int]:
        """Return the slots of the books that :meth:`follow` looks at; the same list while it is."""
        version, slots = self._our_slots
        if version != self._books.version:
            slots = [slot for market in self._books.ours() for slot in self._slots(market)]
            self._our_slots = (self._books.version, slots)
        return slots

    def _slots(self, market: PaperMarket) -> list[int]:
        slots = (self.table.slot(token) for token in market.token_ids)
        return [slot for slot in slots if slot >= 0]

    def resolve(self, token: str, pays_micro: int) -> None:
        """End the market of a token; of one that has ended already, nothing."""
        if token in self.exchange.engine.tokens and self.exchange.market(token).pays_micro is None:
            self.exchange.resolve(token, from_micro(pays_micro))

    def fill_bounds(self) -> tuple[FillBounds, ...]:
        """Return what every order that rested has traded, and the bounds of its queue."""
        return tuple(self._books.fill_bounds())


class ReplayedVenue(InProcessVenue):
    """The exchange of a replay: an order meets what is recorded of when it arrives.

    ``latency_ms`` (entry, answer) comes before the latency of the exchange's conditions.
    """

    def __init__(
        self,
        market: ReplayedMarket,
        *,
        address: str,
        credentials: ApiCredentials,
        clock: Clock,
        latency_ms: tuple[int, int] | None = None,
    ) -> None:
        latency = None if latency_ms is None else LatencyModel.constant(*latency_ms)
        super().__init__(
            market.exchange,
            address=address,
            credentials=credentials,
            clock=clock,
            latency=latency,
        )
