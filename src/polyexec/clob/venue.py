"""The live exchange as the executor sees it: ``core.ports.Venue``."""

import asyncio
import logging
import secrets
import ssl
import time
from collections.abc import Callable, Iterable, Sequence

from polyexec.clob.client import ClobClient
from polyexec.clob.clock import ServerClock
from polyexec.clob.connection import deliver
from polyexec.clob.heartbeat import Heartbeat
from polyexec.clob.http2 import FramingName
from polyexec.clob.limits import RateLimits
from polyexec.clob.markets import MarketCache
from polyexec.clob.pool import OrderTransport
from polyexec.clob.trade_search import TradeSearch, own_fills
from polyexec.core.answers import retry_after
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.core.fills import FillBook
from polyexec.core.ports import (
    Answer,
    AnswerCallback,
    BalanceSnapshot,
    Fill,
    NoAnswer,
    OrderBatch,
    OrderStatus,
    Outcome,
)
from polyexec.enums import LegState, SignatureType
from polyexec.errors import NotSentError, PolyexecError, VenueError
from polyexec.models import ConditionId, Market, OrderId, TokenId

__all__ = ["ClobVenue"]

_UNANSWERED_MARGIN_S = 60.0
"""More than the exchange's clock is off by: its requests are refused long before."""
_MOST_UNANSWERED = 4096
_RESTING = (LegState.LIVE, LegState.PARTIAL)

log = logging.getLogger("polyexec.clob")


class ClobVenue:
    """Orders over the warm connection, everything else over the cold client.

    Parameters
    ----------
    url : str
        ``https://host[:port]``; no other host is ever contacted.
    signer_address : str
        The wallet that the credentials belong to.
    credentials : ApiCredentials
        API key, secret, passphrase.
    signature_type : SignatureType
        Which wallet's balance is meant.
    maker_address : str
        The wallet that holds the money.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted.
    timeout_s : float
        A POST without an answer for so long is of unknown outcome.
    warm_interval_s : float
        How often an idle order connection is used, so that it stays open.
    connections : int
        Order connections to keep, 1 to 10.
    heartbeat : bool
        Send heartbeats while it is open: when they stop, the exchange cancels every order of the
        credentials after about 10 s.
    market_age_s : float
        How long a market's record may be used.
    framing : "fast" or "h2"
        Our own compiled HTTP/2, or the one of the ``h2`` library.

    Attributes
    ----------
    client : ClobClient
        The cold endpoints.
    limits : RateLimits
        What may be sent now; shared with the client.
    clock : ServerClock
        The exchange's clock.
    markets : MarketCache
        Hand it the ``tick_size_change`` messages of the market stream.
    heartbeat : Heartbeat or None

    Raises
    ------
    ConfigError
        The URL is not an https host, or a number is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        signer_address: str,
        credentials: ApiCredentials,
        signature_type: SignatureType = SignatureType.POLY_GNOSIS_SAFE,
        maker_address: str = "",
        chain_id: int = 137,
        ssl_context: ssl.SSLContext | None = None,
        timeout_s: float = 5.0,
        warm_interval_s: float = 20.0,
        connections: int = 2,
        heartbeat: bool = False,
        market_age_s: float = 60.0,
        framing: FramingName = "fast",
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.maker_address = maker_address or signer_address
        self.limits = RateLimits(unix_s=now_s)
        self.clock = ServerClock(unix_s=now_s)
        self._timeout_s = timeout_s
        self._sent_after_s: dict[OrderId, int] = {}
        self.fills: FillBook | None = None
        """What the user channel tells as well: :meth:`fetch_fills` puts the two together."""
        self.transport = OrderTransport(
            url,
            ssl_context=ssl_context,
            timeout_s=timeout_s,
            warm_interval_s=warm_interval_s,
            size=connections,
            # Tells the time, and is in the general limit alone.
            warm_path="/time",
            on_warm=self._on_warm,
            framing=framing,
        )
        self.client = ClobClient(
            url,
            signer=L2Signer(signer_address, credentials),
            signature_type=signature_type,
            chain_id=chain_id,
            ssl_context=ssl_context,
            timeout_s=timeout_s,
            now_s=self.clock.now_s,
            limits=self.limits,
        )
        self._search = TradeSearch(
            lambda market, after_s: self.client.trade_pages(market=market, after_s=after_s)
        )
        self.markets = MarketCache(
            self.client.condition_of, self.client.market, max_age_s=market_age_s
        )
        self.heartbeat = Heartbeat(self.client.heartbeat) if heartbeat else None
        self._now_s = now_s
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"ClobVenue({self.transport.origin.url!r}, maker={self.maker_address!r})"

    async def open(self) -> None:
        """Connect and warm the order connection.

        Raises
        ------
        NotSentError
            The exchange cannot be reached.
        """
        await self.transport.open()
        self._tasks.append(asyncio.create_task(self._learn_tier()))
        if self.heartbeat is not None:
            self._tasks.append(asyncio.create_task(self.heartbeat.run()))

    async def close(self) -> None:
        """Close every connection; a POST still without an answer is of unknown outcome.

        The heartbeat stops, so orders that were kept by it are cancelled soon.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.markets.close()
        try:
            await self.transport.close()
        finally:
            await self.client.close()

    @property
    def clock_offset_ms(self) -> int:
        """Milliseconds that the exchange's clock is proven to be ahead of ours."""
        return round(self.clock.offset_s * 1000)

    def orders_wait_ms(self, count: int) -> int:
        """Return about how long until so many orders would pass the rate limits; 0: now."""
        return self.limits.wait_ms("POST /orders", count)

    async def probe(self) -> None:
        """Cancel an order that does not exist: the matching engine has to say so.

        Raises
        ------
        VenueModeError
            It restarts.
        """
        await self.client.cancel_order(OrderId("0x" + secrets.token_hex(32)))

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        """Write the batch from the caller's thread; see ``Venue.post_orders``.

        A batch over a rate limit is not sent.
        """
        limits, endpoint = self.limits, f"POST {batch.path}"
        cost = len(batch.order_ids) or 1
        refusal = limits.try_take(endpoint, cost)
        if refusal is not None:
            deliver([(on_outcome, NoAnswer(error=NotSentError(f"not sent: {refusal}")))])
            return

        def answered(outcome: Outcome) -> None:
            if isinstance(outcome, NoAnswer):
                self._remember_unanswered(batch.order_ids)
                limits.answered(endpoint, cost)
            else:
                status, told = outcome.status, outcome.headers
                if not 200 <= status < 300:  # it may be there all the same
                    self._remember_unanswered(batch.order_ids)
                asked = retry_after(outcome.body, told) if status == 429 else None
                limits.answered(endpoint, cost, status, told, retry_after_s=asked)
            on_outcome(outcome)

        self.transport.send("POST", batch.path, batch.headers, batch.body, answered)

    def _remember_unanswered(self, order_ids: Iterable[OrderId]) -> None:
        """Keep when orders of unclear fate were sent: that is how far back trades are searched."""
        since_s = int(self.clock.now_s() - self._timeout_s - _UNANSWERED_MARGIN_S)
        known = self._sent_after_s
        for order_id in order_ids:
            known.setdefault(order_id, since_s)  # sent again: by the first time
        while len(known) > _MOST_UNANSWERED:
            del known[next(iter(known))]

    async def fetch_market(self, token_id: TokenId) -> Market:
        """Return what pricing and signing need of a token's market; at most a minute old."""
        return await self.markets.get(token_id)

    async def fetch_order(self, order_id: OrderId) -> OrderStatus | None:
        """Return an order in any state, or None when the exchange does not know it."""
        return await self.client.order(order_id)

    async def fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        """Return every match of one of our orders."""
        order = await self.client.order(order_id)
        return self._completed(order_id, await self._fills_of(order_id, order, None))

    async def look_up(
        self, order_id: OrderId, token_id: TokenId
    ) -> tuple[OrderStatus | None, tuple[Fill, ...]]:
        """Return an order in any state, or None, and its matches; see ``LookupVenue``."""
        order = await self.client.order(order_id)
        fills = await self._fills_of(order_id, order, token_id)
        return order, self._completed(order_id, fills)

    def _completed(self, order_id: OrderId, fills: tuple[Fill, ...]) -> tuple[Fill, ...]:
        return fills if self.fills is None else self.fills.complete(order_id, fills)

    async def _fills_of(
        self, order_id: OrderId, order: OrderStatus | None, token_id: TokenId | None
    ) -> tuple[Fill, ...]:
        """Return the fills of an order, of which ``order`` was told before."""
        after_s = self._sent_after_s.get(order_id)
        if order is not None:
            fills = await self._named_fills(order)
            if fills is not None:
                return fills
            token_id = order.token_id
            if 0 < order.created_s <= self.clock.now_s() + _UNANSWERED_MARGIN_S:
                after_s = order.created_s - 1
        # By market, not by token: a maker of a complementary match holds the other token than the
        # trade names.
        market = None if token_id is None else await self._market_of(token_id)
        return await self._search.fills(order_id, market, after_s)

    async def _named_fills(self, order: OrderStatus) -> tuple[Fill, ...] | None:
        """Return the fills of the trades that an order names; None: these cannot be all.

        One that rests and names none may have none; of one that has ended that is not believed.
        """
        if not order.trade_ids and order.state not in _RESTING:
            return None
        lists = await asyncio.gather(
            *(self.client.trades(trade_id=trade_id) for trade_id in order.trade_ids)
        )
        fills = own_fills(order.order_id, (fill for fills in lists for fill in fills))
        kept = sum(fill.size_micro for fill in fills if fill.status != "FAILED")
        return fills if kept >= order.filled_micro else None

    async def _market_of(self, token_id: TokenId) -> ConditionId | None:
        try:
            return await self.markets.condition_of(token_id)
        except VenueError as error:
            if error.status != 404:
                raise
            return None  # not listed any more: its trades are among all trades

    async def fetch_balance(self) -> BalanceSnapshot:
        """Return the collateral balance; open orders are not subtracted."""
        return await self._balance(None)

    async def fetch_position(self, token_id: TokenId) -> BalanceSnapshot:
        """Return the shares held of one token."""
        return await self._balance(token_id)

    async def cancel_orders(self, order_ids: Sequence[OrderId]) -> tuple[OrderId, ...]:
        """Cancel orders; return the ids that were live and are gone."""
        return (await self.client.cancel_orders(order_ids)).canceled

    async def cancel_all(self) -> tuple[OrderId, ...]:
        """Cancel every open order of the account; return their ids."""
        return (await self.client.cancel_all()).canceled

    def _on_warm(self, answer: Answer, took_s: float) -> None:
        now_s = self._now_s()
        self.clock.observe(answer, now_s - took_s, now_s)

    async def _learn_tier(self) -> None:
        """Ask for the signer's tier. Without it the lowest counts, until an answer tells more."""
        try:
            known = self.limits.set_tier(await self.client.rate_limit_tier())
        except PolyexecError as error:
            log.info("tier_not_known", extra={"reason": str(error)})
            return
        log.info("tier", extra={"tier": self.limits.tier, "is_known": known})

    async def _balance(self, token_id: TokenId | None) -> BalanceSnapshot:
        # Taken before the question: what happens while it travels may not be in the answer.
        as_of_ms = int(self._now_s() * 1000)
        balance = await self.client.balance_allowance(token_id)
        return BalanceSnapshot(balance_micro=balance.balance_micro, as_of_ms=as_of_ms)
