"""The live exchange as the executor sees it: ``core.ports.Venue``."""

import asyncio
import ssl
import time
from collections.abc import Callable, Iterable, Sequence

from polyexec.clob.client import ClobClient
from polyexec.clob.pool import OrderTransport
from polyexec.core.auth import ApiCredentials, L2Signer
from polyexec.core.fills import FillBook
from polyexec.core.ports import AnswerCallback, BalanceSnapshot, Fill, OrderBatch, OrderStatus
from polyexec.enums import SignatureType
from polyexec.models import Market, OrderId, TokenId

__all__ = ["ClobVenue", "own_fills"]


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
        connections: int = 1,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self.maker_address = maker_address or signer_address
        self.fills: FillBook | None = None
        """What the user channel tells as well: :meth:`fetch_fills` puts the two together."""
        self.transport = OrderTransport(
            url,
            ssl_context=ssl_context,
            timeout_s=timeout_s,
            warm_interval_s=warm_interval_s,
            size=connections,
        )
        self.client = ClobClient(
            url,
            signer=L2Signer(signer_address, credentials),
            signature_type=signature_type,
            chain_id=chain_id,
            ssl_context=ssl_context,
            timeout_s=timeout_s,
            now_s=now_s,
        )
        self._now_s = now_s

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

    async def close(self) -> None:
        """Close every connection; a POST still without an answer is of unknown outcome."""
        try:
            await self.transport.close()
        finally:
            await self.client.close()

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        """Write the batch from the caller's thread; see ``Venue.post_orders``."""
        self.transport.send("POST", batch.path, batch.headers, batch.body, on_outcome)

    async def fetch_market(self, token_id: TokenId) -> Market:
        """Return what pricing and signing need of a token's market."""
        return await self.client.market_by_token(token_id)

    async def fetch_order(self, order_id: OrderId) -> OrderStatus | None:
        """Return an order in any state, or None when the exchange does not know it."""
        return await self.client.order(order_id)

    async def fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        """Return every match of one of our orders."""
        fills = await self._fetch_fills(order_id)
        return fills if self.fills is None else self.fills.complete(order_id, fills)

    async def _fetch_fills(self, order_id: OrderId) -> tuple[Fill, ...]:
        order = await self.client.order(order_id)
        if order is not None and order.trade_ids:
            lists = await asyncio.gather(
                *(self.client.trades(trade_id=trade_id) for trade_id in order.trade_ids)
            )
            fills = own_fills(order_id, (fill for fills in lists for fill in fills))
            if sum(fill.size_micro for fill in fills if fill.status != "FAILED") >= (
                order.filled_micro
            ):
                return fills
        # The order is not known or does not name all its trades. By market, not by token: a maker
        # of a complementary match holds the other token than the trade names.
        market = None if order is None else await self.client.condition_of(order.token_id)
        return own_fills(order_id, await self.client.trades(market=market))

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

    async def _balance(self, token_id: TokenId | None) -> BalanceSnapshot:
        # Taken before the question: what happens while it travels may not be in the answer.
        as_of_ms = int(self._now_s() * 1000)
        balance = await self.client.balance_allowance(token_id)
        return BalanceSnapshot(balance_micro=balance.balance_micro, as_of_ms=as_of_ms)


def own_fills(order_id: OrderId, fills: Iterable[Fill]) -> tuple[Fill, ...]:
    """Return the fills of one order, each once."""
    # By key: a page boundary may show a trade twice.
    mine = {
        (fill.trade_id, fill.counter_order_id): fill for fill in fills if fill.order_id == order_id
    }
    return tuple(mine.values())
