"""The market of a replay: the live engine's book keeper, and the recorded books as liquidity."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import orjson

from polyexec._impl import PriceTable
from polyexec._pure.prices import Top
from polyexec.backtest.stream import Stamped
from polyexec.clob import wire
from polyexec.clob.venue import own_fills
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.core.forms import Form
from polyexec.core.market_events import MarketEvent, TickSizeChange, decode_frame
from polyexec.core.ports import (
    Answer,
    AnswerCallback,
    BalanceSnapshot,
    Clock,
    Fill,
    OrderBatch,
    OrderStatus,
)
from polyexec.engine.following import FeedSettings, Followed
from polyexec.engine.keeping import BookKeeper
from polyexec.enums import Side
from polyexec.errors import InputError
from polyexec.models import Market, OrderId, TokenId
from polyexec.numbers import from_e4, from_micro
from polyexec.paper import PaperExchange, Request

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
        tokens: dict[TokenId, Market] = {}
        for form in forms:
            for leg in form.legs:
                tokens.setdefault(leg.token_id, leg.market)
                self._list(leg.market, leg.complement_token_id)
        self.table = PriceTable(max(1, len(tokens)))
        self.keeper = BookKeeper(
            self.table,
            FeedSettings(),
            on_touched=on_touched,
            on_wanted=_ask_nobody,
            on_event=self._on_event,
        )
        for token, market in tokens.items():
            self.keeper.describe(market)
            self.keeper.follow(token, 0)
        self._shown: dict[str, list[list[tuple[int, int]]]] = {}
        self.off_grid = 0
        """Books that could not be shown: a price off the market's tick, or crossed."""

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

    def take(self, one: Stamped) -> None:
        """Apply what was received; resolutions are the runner's."""
        if one.kind == "gap":
            for token in one.tokens or tuple(self.keeper.tokens):
                if token in self.keeper.tokens:
                    self.keeper.void(self.keeper.tokens[token])
            return
        events: Iterable[MarketEvent] = (
            decode_frame(one.frame)
            if one.frame is not None
            else (() if one.event is None else (one.event,))
        )
        now_ms = one.received_ns // 1_000_000
        self.keeper.take(
            events, owner=0, now_s=now_ms / 1000, now_ms=now_ms, received_ns=one.received_ns
        )

    def _on_event(self, event: MarketEvent) -> None:
        if isinstance(event, TickSizeChange) and event.asset_id in self.exchange.engine.tokens:
            self.exchange.set_tick_size(event.asset_id, event.new_tick_size)

    def show(self, token: str) -> None:
        """Lay the recorded book on the exchange.

        What we took stays taken until the recorded book of the token changes.
        """
        slot = self.table.slot(token)
        sides = [] if slot < 0 else [self.table.levels(slot, side) for side in Side]
        if self._shown.get(token) == sides:
            return
        self._shown[token] = sides
        bids, asks = ([(from_e4(p), from_micro(s)) for p, s in side] for side in sides or ((), ()))
        try:
            self.exchange.set_book(token, bids=bids, asks=asks)
        except InputError:
            self.off_grid += 1
            self.exchange.clear_book(token)

    def show_open(self, tokens: Iterable[str]) -> None:
        """Lay the books of tokens on which orders of ours rest."""
        for token in tokens:
            self.show(token)


class ReplayedVenue:
    """The exchange in process: the order arrives, and is answered, after a latency."""

    def __init__(
        self,
        market: ReplayedMarket,
        *,
        address: str,
        credentials: ApiCredentials,
        clock: Clock,
        latency_ms: tuple[int, int],
    ) -> None:
        self._market = market
        self._auth = L2Signer(address, credentials)
        self._clock = clock
        self._entry_ms, self._answer_ms = latency_ms

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Nothing to close."""

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        """Send the batch; it meets the books of when it arrives."""
        self._after(self._entry_ms, partial(self._arrive, batch, on_outcome))

    def _arrive(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        entries = orjson.loads(batch.body)
        for entry in entries if isinstance(entries, list) else [entries]:
            self._market.show(entry["order"]["tokenId"])
        headers = {name.lower(): value for name, value in batch.headers.items()}
        request = Request("POST", batch.path, headers=headers, body=batch.body)
        answer = self._market.exchange.handle(request)
        outcome = Answer(status=answer.status, body=answer.body)
        self._after(self._answer_ms, partial(on_outcome, outcome))

    @staticmethod
    def _after(delay_ms: int, event: Callable[[], object]) -> None:
        if delay_ms:
            asyncio.get_running_loop().call_later(delay_ms / 1000, event)
        else:
            event()

    async def _ask(self, method: str, path: str, body: bytes = b"", **query: str) -> Any:
        await asyncio.sleep((self._entry_ms + self._answer_ms) / 1000)
        headers = self._auth.headers(self._clock.time_ms() // 1000, method, path, body)
        lowered = {name.lower(): value for name, value in headers.items()}
        request = Request(method, path, query=query, headers=lowered, body=body)
        answer = self._market.exchange.handle(request)
        return wire.parse_body(answer.status, answer.body, {})

    async def fetch_market(self, token_id: TokenId) -> Market:
        """Return what pricing and signing need of a token's market."""
        condition = self._market.exchange.market(token_id).condition_id
        return wire.parse_market(await self._ask("GET", f"/clob-markets/{condition}"), token_id)

    async def fetch_order(self, order_id: OrderId) -> OrderStatus | None:
        """Return an order in any state, or None when it is not known."""
        value = await self._ask("GET", f"/data/order/{order_id}")
        return None if value is None else wire.parse_order(value)

    async def fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        """Return every match of one of our orders."""
        fills: list[Fill] = []
        cursor = "MA=="
        while cursor:
            page = wire.parse_trade_page(await self._ask("GET", "/data/trades", next_cursor=cursor))
            fills += page.items
            cursor = page.next_cursor or ""
        return own_fills(order_id, fills)

    async def fetch_balance(self) -> BalanceSnapshot:
        """Return the collateral balance."""
        return await self._balance(asset_type="COLLATERAL")

    async def fetch_position(self, token_id: TokenId) -> BalanceSnapshot:
        """Return the shares held of one token."""
        return await self._balance(asset_type="CONDITIONAL", token_id=token_id)

    async def _balance(self, **query: str) -> BalanceSnapshot:
        as_of_ms = self._clock.time_ms()
        value = await self._ask("GET", "/balance-allowance", b"", signature_type="0", **query)
        return BalanceSnapshot(
            balance_micro=wire.parse_balance(value).balance_micro, as_of_ms=as_of_ms
        )

    async def cancel_orders(self, order_ids: Sequence[OrderId]) -> tuple[OrderId, ...]:
        """Cancel orders; return the ids that were live and are gone."""
        value = await self._ask("DELETE", "/orders", orjson.dumps(list(order_ids)))
        return wire.parse_cancel(value).canceled

    async def cancel_all(self) -> tuple[OrderId, ...]:
        """Cancel every open order; return their ids."""
        return wire.parse_cancel(await self._ask("DELETE", "/cancel-all")).canceled


def _ask_nobody(token: Followed) -> None:
    """A recording cannot be asked: the book stays void until its next snapshot."""
