"""An exchange in this process as an executor's venue: requests without a wire, in loop time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import orjson

from polyexec.clob import wire
from polyexec.clob.trade_search import own_fills
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.core.ports import (
    Answer,
    AnswerCallback,
    BalanceSnapshot,
    Clock,
    Fill,
    OrderBatch,
    OrderStatus,
)
from polyexec.models import Market, OrderId, TokenId
from polyexec.paper.embedded import PaperExchange
from polyexec.paper.http import Held, Request, Response
from polyexec.paper.latency import LatencyModel
from polyexec.paper.timers import Timers

__all__ = ["InProcessVenue"]

_NO_QUERY: Mapping[str, str] = MappingProxyType({})


class InProcessVenue:
    """A :class:`~polyexec.Venue` over a paper exchange that runs in the same process.

    An order meets the books of when it arrives, or of when its market lets go of it, and its
    answer comes after that. The exchange reads, checks and answers the bytes that would go over
    the wire.

    Parameters
    ----------
    exchange : PaperExchange
    address : str
        The wallet that the credentials belong to.
    credentials : ApiCredentials
    clock : Clock
        Must run with the event loop: real, or a virtual clock on its virtual loop.
    latency : LatencyModel or None
        None: that of the exchange's conditions. Orders do not overtake each other on their way
        in, as on one connection.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        *,
        address: str,
        credentials: ApiCredentials,
        clock: Clock,
        latency: LatencyModel | None = None,
    ) -> None:
        self.exchange = exchange
        self._auth = L2Signer(address, credentials)
        self._clock = clock
        self._draws = (latency or exchange.conditions.latency).draws()
        self._timers = Timers()
        self._arrives_us = 0

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Nothing to close: what was sent arrives, as it does on a wire."""

    # --- orders -------------------------------------------------------------------------------

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        """Send the batch; see ``Venue.post_orders``."""
        entry_us, answer_us = next(self._draws)
        now_us = self._clock.monotonic_ns() // 1000
        self._arrives_us = max(self._arrives_us, now_us + entry_us)
        self._after(self._arrives_us - now_us, partial(self._arrive, batch, answer_us, on_outcome))

    def _arrive(self, batch: OrderBatch, answer_us: int, on_outcome: AnswerCallback) -> None:
        headers = {name.lower(): value for name, value in batch.headers.items()}
        request = Request("POST", batch.path, headers=headers, body=batch.body)
        answer = self.exchange.begin(request)
        if isinstance(answer, Held):
            self._after(
                answer.wait_ms * 1000,
                lambda: self._answer(answer.finish(), answer_us, on_outcome),
            )
        else:
            self._answer(answer, answer_us, on_outcome)

    def _answer(self, answer: Response, answer_us: int, on_outcome: AnswerCallback) -> None:
        outcome = Answer(status=answer.status, body=answer.body, headers=answer.headers)
        self._after(answer_us, partial(on_outcome, outcome))

    def _after(self, delay_us: int, event: Callable[[], object]) -> None:
        if delay_us > 0:
            self._timers.after_us(delay_us, event)
        else:
            event()

    # --- questions ----------------------------------------------------------------------------

    async def travel(self) -> None:
        """Wait for as long as a question takes one way."""
        await asyncio.sleep(sum(next(self._draws)) / 2e6)

    async def ask(
        self, method: str, path: str, body: bytes = b"", query: Mapping[str, str] = _NO_QUERY
    ) -> Any:
        """Return the body of an answer; the exchange answers in the middle of the time it takes.

        Raises
        ------
        VenueError
            It refuses.
        """
        await self.travel()
        headers = self._auth.headers(self._clock.time_ms() // 1000, method, path, body)
        lowered = {name.lower(): value for name, value in headers.items()}
        request = Request(method, path, query=query, headers=lowered, body=body)
        answer = self.exchange.handle(request)
        await self.travel()
        return wire.parse_body(answer.status, answer.body, {})

    async def fetch_market(self, token_id: TokenId) -> Market:
        """Return what pricing and signing need of a token's market."""
        condition = self.exchange.market(token_id).condition_id
        return wire.parse_market(await self.ask("GET", f"/clob-markets/{condition}"), token_id)

    async def fetch_order(self, order_id: OrderId) -> OrderStatus | None:
        """Return an order in any state, or None when it is not known."""
        value = await self.ask("GET", f"/data/order/{order_id}")
        return None if value is None else wire.parse_order(value)

    async def fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        """Return every match of one of our orders."""
        return own_fills(order_id, await self.fetch_trades(order_id))

    async def fetch_trades(self, order_id: OrderId) -> list[Fill]:
        """Return the fills of the trades that an order names: few, however many there are."""
        value = await self.ask("GET", f"/data/order/{order_id}")
        trade_ids = () if value is None else wire.parse_order(value).trade_ids
        fills: list[Fill] = []
        for trade_id in trade_ids:
            page = await self.ask("GET", "/data/trades", query={"id": trade_id})
            fills += wire.parse_trade_page(page).items
        return fills

    async def fetch_balance(self) -> BalanceSnapshot:
        """Return the collateral balance."""
        return await self._balance(asset_type="COLLATERAL")

    async def fetch_position(self, token_id: TokenId) -> BalanceSnapshot:
        """Return the shares held of one token."""
        return await self._balance(asset_type="CONDITIONAL", token_id=token_id)

    async def _balance(self, **query: str) -> BalanceSnapshot:
        as_of_ms = self._clock.time_ms()  # before the question, as the live venue does
        value = await self.ask("GET", "/balance-allowance", query=query | {"signature_type": "0"})
        return BalanceSnapshot(
            balance_micro=wire.parse_balance(value).balance_micro, as_of_ms=as_of_ms
        )

    async def cancel_orders(self, order_ids: Sequence[OrderId]) -> tuple[OrderId, ...]:
        """Cancel orders; return the ids that were live and are gone."""
        return await self._cancel("/orders", orjson.dumps(list(order_ids)))

    async def cancel_all(self) -> tuple[OrderId, ...]:
        """Cancel every open order; return their ids."""
        return await self._cancel("/cancel-all", b"")

    async def _cancel(self, path: str, body: bytes) -> tuple[OrderId, ...]:
        return wire.parse_cancel(await self.ask("DELETE", path, body)).canceled
