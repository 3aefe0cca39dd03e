"""The exchange's cold endpoints: keys, metadata, books, balances, orders, trades, cancels.

Nothing here is on the path of an order. httpx does the work, behind ``clob.cold``.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from polyexec.clob import wire
from polyexec.clob.cold import ColdHttp, Raw
from polyexec.clob.heartbeat import Beat
from polyexec.clob.limits import RateLimits
from polyexec.core.answers import parse_error, retry_after
from polyexec.core.auth import ApiCredentials, L2Signer, l1_headers
from polyexec.core.market_events import MarketEvent, read_books
from polyexec.core.ports import Fill, OrderStatus
from polyexec.enums import Generation, Side, SignatureType
from polyexec.errors import (
    NotSentError,
    UnexpectedResponseError,
    UsageError,
    VenueError,
)
from polyexec.models import ConditionId, Market, OrderId, TokenId
from polyexec.parsing import parse_token_id

__all__ = ["ClobClient"]

_MAX_PAGES = 1000
_CANCEL_BATCH = 1000
_PATIENCE_S = 15.0


T = TypeVar("T")


class ClobClient:
    """Asks the exchange. Use it on one event loop; close it when done.

    Parameters
    ----------
    url : str
        ``https://host[:port]``; no other host is ever contacted and redirects are not followed.
    signer : L2Signer or None
        Authenticates private calls; without it they raise ``UsageError``.
    signature_type : SignatureType
        Selects the wallet whose balance is asked for.
    chain_id : int
        For L1 signatures.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted.
    timeout_s : float
        For connecting, and for every wait for the peer.
    now_s : callable
        Unix time in seconds, for the signed timestamps.
    limits : RateLimits or None
        Shared with whoever else sends for the same signer; None: its own.

    Raises
    ------
    ConfigError
        The URL is not an https host.

    Notes
    -----
    A request over a rate limit waits for its turn; one whose turn is more than 15 s away raises
    ``NotSentError`` at once. Besides, every method raises ``VenueError`` and its kin for a refusal,
    ``NotSentError`` when the exchange was not reached, ``OutcomeUnknownError`` when no answer came.
    """

    def __init__(
        self,
        url: str,
        *,
        signer: L2Signer | None = None,
        signature_type: SignatureType = SignatureType.POLY_GNOSIS_SAFE,
        chain_id: int = 137,
        ssl_context: ssl.SSLContext | None = None,
        timeout_s: float = 5.0,
        now_s: Callable[[], float] = time.time,
        limits: RateLimits | None = None,
    ) -> None:
        self.limits = RateLimits() if limits is None else limits
        self._signer = signer
        self._signature_type = signature_type
        self._chain_id = chain_id
        self._now_s = now_s
        self._http = ColdHttp(url, ssl_context=ssl_context, timeout_s=timeout_s)
        self.origin = self._http.origin

    def __repr__(self) -> str:
        return f"ClobClient({self.origin.url!r})"

    async def __aenter__(self) -> "ClobClient":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    # API keys ------------------------------------------------------------------------------

    async def create_api_key(self, private_key: str, *, nonce: int = 0) -> ApiCredentials:
        """Create the credentials of a wallet; the exchange refuses with 400 when they exist."""
        return wire.parse_credentials(
            await self._l1("POST", "/auth/api-key", private_key, nonce=nonce)
        )

    async def derive_api_key(self, private_key: str, *, nonce: int = 0) -> ApiCredentials:
        """Return the credentials that a wallet created earlier with the same nonce."""
        return wire.parse_credentials(
            await self._l1("GET", "/auth/derive-api-key", private_key, nonce=nonce)
        )

    async def create_or_derive_api_key(self, private_key: str, *, nonce: int = 0) -> ApiCredentials:
        """Create the credentials, or return those that exist already."""
        try:
            return await self.create_api_key(private_key, nonce=nonce)
        except VenueError as error:
            # Only 400 says "exists"; deriving after anything else would hide a real fault.
            if error.status != 400:
                raise
        return await self.derive_api_key(private_key, nonce=nonce)

    async def api_keys(self) -> tuple[str, ...]:
        """Return the ids of the wallet's API keys."""
        return wire.parse_api_keys(await self._l2("GET", "/auth/api-keys"))

    async def delete_api_key(self) -> None:
        """Delete the API key that this client uses."""
        await self._l2("DELETE", "/auth/api-key")

    async def closed_only(self) -> bool:
        """Return whether the account may only reduce its positions."""
        fields = _expect(await self._l2("GET", "/auth/ban-status/closed-only"), dict, "closed_only")
        return _expect(fields.get("closed_only"), bool, "closed_only")

    async def rate_limit_tier(self) -> str:
        """Return the name of the signer's rate-limit tier."""
        fields = _expect(await self._l2("GET", "/v1/user/rate-limit-tier"), dict, "tier")
        return _expect(fields.get("tier"), str, "tier")

    # Market data -----------------------------------------------------------------------------

    async def time(self) -> int:
        """Return the exchange's clock, unix seconds."""
        return _expect(await self._get("/time"), int, "time")

    async def version(self) -> int:
        """Return the order version the exchange names; it does not tell V2 from V3 markets."""
        fields = _expect(await self._get("/version"), dict, "version")
        return _expect(fields.get("version"), int, "version")

    async def tick_size(self, token_id: TokenId) -> int:
        """Return the tick in ten-thousandths of a dollar."""
        return wire.parse_tick(await self._get("/tick-size", token_id=parse_token_id(token_id)))

    async def neg_risk(self, token_id: TokenId) -> bool:
        """Return whether the market is a neg-risk one."""
        value = await self._get("/neg-risk", token_id=parse_token_id(token_id))
        return _expect(_expect(value, dict, "neg_risk").get("neg_risk"), bool, "neg_risk")

    async def fee_rate(self, token_id: TokenId) -> int:
        """Return the V1 base fee in basis points; in V2 markets :meth:`market` has the fee."""
        value = await self._get("/fee-rate", token_id=parse_token_id(token_id))
        return _expect(_expect(value, dict, "base_fee").get("base_fee"), int, "base_fee")

    async def market(self, condition_id: ConditionId, token_id: TokenId) -> Market:
        """Return the market of a condition, seen from one of its tokens."""
        token_id = parse_token_id(token_id)
        return wire.parse_market(
            await self._get(f"/clob-markets/{_segment(condition_id)}"), token_id
        )

    async def market_record(self, condition_id: ConditionId) -> Any:
        """Return the record of a condition as it came; what of it can be used is for the caller."""
        return await self._get(f"/clob-markets/{_segment(condition_id)}")

    async def market_by_token(self, token_id: TokenId) -> Market:
        """Return the market of a token; two requests."""
        return await self.market(await self.condition_of(token_id), token_id)

    async def condition_of(self, token_id: TokenId) -> ConditionId:
        """Return the condition that a token belongs to."""
        path = f"/markets-by-token/{parse_token_id(token_id)}"
        return wire.parse_condition_id(await self._get(path))

    async def book(self, token_id: TokenId) -> wire.Book:
        """Return the order book of a token."""
        return wire.parse_book(await self._get("/book", token_id=parse_token_id(token_id)))

    async def books(self, token_ids: Sequence[TokenId]) -> tuple[wire.Book, ...]:
        """Return several books; those the exchange does not have are left out."""
        body = msgspec.json.encode([{"token_id": parse_token_id(t)} for t in token_ids])
        raw = await self._ask("POST", "/books", body=body)
        return wire.parse_books(wire.parse_body(*raw))

    async def book_events(self, token_ids: Sequence[TokenId]) -> Sequence[MarketEvent]:
        """Return several books as the market channel would tell of them: the texts, unconverted.

        What cannot be read comes as ``Unreadable``; the feed compares silent books with these.
        """
        body = msgspec.json.encode([{"token_id": parse_token_id(t)} for t in token_ids])
        raw = await self._ask("POST", "/books", body=body)
        wire.parse_body(*raw)  # raises what the exchange refuses with
        return read_books(raw[1])

    async def price(self, token_id: TokenId, side: Side) -> Decimal:
        """Return the best price of a side of the book."""
        value = await self._get("/price", token_id=parse_token_id(token_id), side=side.value)
        return wire.parse_price(value, "price")

    async def midpoint(self, token_id: TokenId) -> Decimal:
        """Return the middle of the book; it may lie between two ticks."""
        value = await self._get("/midpoint", token_id=parse_token_id(token_id))
        return wire.parse_price(value, "mid")

    async def spread(self, token_id: TokenId) -> Decimal:
        """Return the distance between best bid and best ask."""
        value = await self._get("/spread", token_id=parse_token_id(token_id))
        return wire.parse_price(value, "spread")

    async def last_trade_price(self, token_id: TokenId) -> Decimal:
        """Return the price of the last trade."""
        value = await self._get("/last-trade-price", token_id=parse_token_id(token_id))
        return wire.parse_price(value, "price")

    # Account ---------------------------------------------------------------------------------

    async def balance_allowance(self, token_id: TokenId | None = None) -> wire.BalanceAllowance:
        """Return the collateral, or the shares of a token, as the exchange's cache has it."""
        query = self._balance_query(token_id)
        return wire.parse_balance(await self._l2("GET", "/balance-allowance", **query))

    async def update_balance_allowance(self, token_id: TokenId | None = None) -> None:
        """Ask the exchange to read the chain again: after a deposit or an approval."""
        query = self._balance_query(token_id)
        # Its body says nothing and is not always JSON.
        status, content, headers = await self._l2_raw("GET", "/balance-allowance/update", **query)
        if not 200 <= status < 300:
            raise parse_error(status, content, headers)

    async def order(self, order_id: OrderId) -> OrderStatus | None:
        """Return an order in any state, or None when the exchange does not know it.

        Not knowing it right after a time-out proves nothing: it may still appear.
        """
        try:
            value = await self._l2("GET", f"/data/order/{_segment(order_id)}")
        except VenueError as error:
            if error.status != 404:
                raise
            value = None
        if value:
            return wire.parse_order(value)
        # The list also answers for single orders, and has known some that the other did not.
        page = wire.parse_order_page(await self._l2("GET", "/data/orders", id=order_id))
        return next((o for o in page.items if o.order_id == order_id), None)

    async def open_orders(
        self, *, market: ConditionId | None = None, token_id: TokenId | None = None
    ) -> tuple[OrderStatus, ...]:
        """Return every open order, of one market or token when given."""
        query = _given(market=market, asset_id=token_id)
        pages = self._pages("/data/orders", wire.parse_order_page, query)
        return tuple([order async for page in pages for order in page])

    async def trades(
        self,
        *,
        trade_id: str | None = None,
        market: ConditionId | None = None,
        token_id: TokenId | None = None,
        after_s: int | None = None,
        before_s: int | None = None,
    ) -> tuple[Fill, ...]:
        """Return every fill of the account's trades, counterparties' fills included.

        Pick one's own by order id: a maker's side, token and price differ from the trade's.
        """
        query = _given(
            id=trade_id, market=market, asset_id=token_id, after=after_s, before=before_s
        )
        return tuple([fill async for page in self._trade_pages(query) for fill in page])

    def trade_pages(
        self, *, market: ConditionId | None = None, after_s: int | None = None
    ) -> AsyncIterator[tuple[Fill, ...]]:
        """Yield what :meth:`trades` returns, page by page: all of it at once may be much."""
        return self._trade_pages(_given(market=market, after=after_s))

    def _trade_pages(self, query: dict[str, Any]) -> AsyncIterator[tuple[Fill, ...]]:
        return self._pages("/data/trades", wire.parse_trade_page, query)

    # Cancels ---------------------------------------------------------------------------------

    async def cancel_order(self, order_id: OrderId) -> wire.CancelAnswer:
        """Cancel one order."""
        body = msgspec.json.encode({"orderID": order_id})
        return wire.parse_cancel(await self._l2("DELETE", "/order", body=body))

    async def heartbeat(self, heartbeat_id: str = "") -> Beat:
        """Send a beat; :class:`~polyexec.clob.heartbeat.Heartbeat` says when, and with which id.

        From the first on, the exchange cancels every order of the credentials when none has been
        accepted for 10 s.
        """
        body = msgspec.json.encode({"heartbeat_id": heartbeat_id})
        return wire.parse_beat(*await self._l2_raw("POST", "/v1/heartbeats", body=body))

    async def cancel_orders(self, order_ids: Sequence[OrderId]) -> wire.CancelAnswer:
        """Cancel orders, at most 1000 per request."""
        ids = list(dict.fromkeys(order_ids))
        canceled: list[OrderId] = []
        kept: dict[OrderId, str] = {}
        for start in range(0, len(ids), _CANCEL_BATCH):
            part = ids[start : start + _CANCEL_BATCH]
            body = msgspec.json.encode(part)
            raw = await self._l2("DELETE", "/orders", body=body, cost=len(part))
            answer = wire.parse_cancel(raw)
            canceled.extend(answer.canceled)
            kept.update(answer.not_canceled)
        return wire.CancelAnswer(canceled=tuple(canceled), not_canceled=kept)

    async def cancel_all(self) -> wire.CancelAnswer:
        """Cancel every open order of the account."""
        return await self._cancel_matching("/cancel-all", b"")

    async def cancel_market_orders(
        self, *, market: ConditionId | None = None, token_id: TokenId | None = None
    ) -> wire.CancelAnswer:
        """Cancel the open orders of a market or token. With neither, ``UsageError``."""
        query = _given(market=market, asset_id=token_id)
        if not query:
            raise UsageError("cancel_market_orders needs a market or a token; see cancel_all")
        body = msgspec.json.encode(query)
        return await self._cancel_matching("/cancel-market-orders", body)

    # Requests --------------------------------------------------------------------------------

    def _balance_query(self, token_id: TokenId | None) -> dict[str, Any]:
        query: dict[str, Any] = {"signature_type": int(self._signature_type)}
        if token_id is None:
            return {"asset_type": "COLLATERAL", **query}
        token_id = parse_token_id(token_id)
        is_position = wire.generation_of(token_id) == Generation.EXCHANGE_V3
        asset_type = "CONDITIONAL-V2" if is_position else "CONDITIONAL"
        return {"asset_type": asset_type, "token_id": token_id, **query}

    async def _pages(
        self, path: str, parse: Callable[[Any], wire.Page], query: dict[str, Any]
    ) -> AsyncIterator[tuple[Any, ...]]:
        cursor: str | None = wire.FIRST_CURSOR
        seen: set[str] = set()
        while cursor is not None:
            # A cursor that comes back would page for ever.
            if cursor in seen or len(seen) >= _MAX_PAGES:
                raise UnexpectedResponseError(200, f"the pages of {path} do not end")
            seen.add(cursor)
            page = parse(await self._l2("GET", path, **query, next_cursor=cursor))
            yield page.items
            cursor = page.next_cursor

    async def _cancel_matching(self, path: str, body: bytes) -> wire.CancelAnswer:
        status, content, headers = await self._l2_raw("DELETE", path, body=body)
        answer = wire.parse_cancel(wire.parse_body(status, content, headers))
        # Counts one, and one for every order that it cancelled: counted already where the answer
        # said what remains.
        if "poly-ratelimit-remaining" not in headers:
            self.limits.charge("cancels", len(answer.canceled))
        return answer

    async def _get(self, path: str, **query: Any) -> Any:
        return wire.parse_body(*await self._ask("GET", path, query=query))

    async def _l1(self, method: str, path: str, private_key: str, *, nonce: int) -> Any:
        def sign() -> Mapping[str, str]:
            timestamp = int(self._now_s())
            return l1_headers(
                private_key, chain_id=self._chain_id, timestamp=timestamp, nonce=nonce
            )

        return wire.parse_body(*await self._ask(method, path, sign=sign))

    async def _l2(
        self, method: str, path: str, *, body: bytes = b"", cost: int = 1, **query: Any
    ) -> Any:
        return wire.parse_body(*await self._l2_raw(method, path, body=body, cost=cost, **query))

    async def _l2_raw(
        self, method: str, path: str, *, body: bytes = b"", cost: int = 1, **query: Any
    ) -> Raw:
        signer = self._signer
        if signer is None:
            raise UsageError(f"{method} {path} needs API credentials")

        def sign() -> Mapping[str, str]:
            # The signature covers the path without its query.
            return signer.headers(int(self._now_s()), method, path, body)

        return await self._ask(method, path, sign=sign, query=query, body=body, cost=cost)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        sign: Callable[[], Mapping[str, str]] = dict,
        query: Mapping[str, Any] | None = None,
        body: bytes = b"",
        cost: int = 1,
    ) -> Raw:
        """Wait for the request's turn, sign it then, send it; return what came back."""
        endpoint = _endpoint(method, path)
        await self._take_turn(endpoint, cost)
        answer: Raw = (0, b"", {})
        try:
            fields = dict(sign())
            if body:
                fields["content-type"] = "application/json"
            answer = await self._http.ask(method, path, headers=fields, query=query, body=body)
        finally:
            status, content, told = answer
            self.limits.answered(
                endpoint,
                cost,
                status,
                told,
                retry_after_s=retry_after(content, told) if status == 429 else None,
            )
        return answer

    async def _take_turn(self, endpoint: str, cost: int) -> None:
        patience_ms = int(_PATIENCE_S * 1000)
        while (refusal := self.limits.try_take(endpoint, cost)) is not None:
            if refusal.wait_ms is None or refusal.wait_ms > patience_ms:
                raise NotSentError(f"{endpoint} not sent: {refusal}")
            patience_ms -= refusal.wait_ms
            await asyncio.sleep(refusal.wait_ms / 1000)


def _given(**query: Any) -> dict[str, Any]:
    return {k: v for k, v in query.items() if v is not None}


def _endpoint(method: str, path: str) -> str:
    # The last part of these paths is an argument.
    return f"{method} /data/order" if path.startswith("/data/order/") else f"{method} {path}"


def _segment(value: str) -> str:
    # It becomes a part of a path that is signed: nothing may lead elsewhere.
    if not (value.isascii() and value.isalnum()):
        raise UsageError("an id for a path must be letters and digits")
    return value


def _expect(value: Any, kind: type[T], name: str) -> T:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UnexpectedResponseError(200, f"the answer has no readable {name!r}")
    return value
