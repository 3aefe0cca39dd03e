"""The endpoints: plain functions from a request to a response, and the table that finds them."""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import orjson

from polyexec.enums import Side, SignatureType
from polyexec.numbers import PRICE_SCALE
from polyexec.paper import views
from polyexec.paper.accounts import ApiKey
from polyexec.paper.book import Book, PaperMarket, price_text
from polyexec.paper.errors import NO_BOOK, Refused
from polyexec.paper.exchange import Exchange, Waiting
from polyexec.paper.http import Held, Request, Response, json_response
from polyexec.paper.ledger import COLLATERAL

__all__ = ["Router"]

MAX_CANCELS = 1000
PAGE_SIZE = 100
_END = "LTE="
_UNLIMITED = str(2**256 - 1)
_BAD_TOKEN = "Invalid token id"  # noqa: S105 - not a secret
_Answer = TypeVar("_Answer")
_Handler: TypeAlias = Callable[[Request], Response | Held]


class Router:
    """Answers requests from an :class:`~polyexec.paper.exchange.Exchange`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._routes: dict[tuple[str, str], _Handler] = {
            ("POST", "/order"): self._post_order,
            ("POST", "/orders"): self._post_orders,
            ("DELETE", "/order"): self._cancel_order,
            ("DELETE", "/orders"): self._cancel_orders,
            ("DELETE", "/cancel-all"): self._cancel_all,
            ("DELETE", "/cancel-market-orders"): self._cancel_market,
            ("GET", "/data/orders"): self._orders,
            ("GET", "/data/trades"): self._trades,
            ("POST", "/v1/heartbeats"): self._heartbeat,
            ("GET", "/v1/user/rate-limit-tier"): self._tier,
            ("GET", "/balance-allowance"): self._balance,
            ("GET", "/balance-allowance/update"): self._update_balance,
            ("POST", "/auth/api-key"): self._create_key,
            ("DELETE", "/auth/api-key"): self._delete_key,
            ("GET", "/auth/derive-api-key"): self._derive_key,
            ("GET", "/auth/api-keys"): self._keys,
            ("GET", "/auth/ban-status/closed-only"): self._closed_only,
            ("GET", "/ok"): lambda _: json_response("OK"),
            ("GET", "/time"): lambda _: json_response(exchange.clock() // 1000),
            ("GET", "/version"): lambda _: json_response({"version": 2}),
            ("GET", "/book"): self._book,
            ("POST", "/books"): self._books,
            ("GET", "/tick-size"): self._tick_size,
            ("GET", "/neg-risk"): self._neg_risk,
            ("GET", "/fee-rate"): self._fee_rate,
            ("GET", "/price"): self._price,
            ("GET", "/midpoint"): self._midpoint,
            ("GET", "/spread"): self._spread,
            ("GET", "/last-trade-price"): self._last_trade,
            # The real exchange has these on a host of their own.
            ("GET", "/events"): lambda r: json_response(exchange.listings.events(r.query)),
            ("GET", "/markets"): lambda r: json_response(exchange.listings.markets(r.query)),
        }
        # The last part of these paths is an argument.
        self._prefixes: dict[tuple[str, str], Callable[[Request, str], Response]] = {
            ("GET", "/data/order/"): self._order,
            ("GET", "/clob-markets/"): self._market,
            ("GET", "/markets-by-token/"): self._market_by_token,
        }
        self._paths = {path for _, path in self._routes}

    def handle(self, request: Request) -> Response:
        """Answer a request now, without the delay of a market that holds its orders."""
        answer = self.begin(request)
        return answer.finish() if isinstance(answer, Held) else answer

    def begin(self, request: Request) -> Response | Held:
        """Answer a request, or say when it will be. A refusal is an answer like any other."""
        self._exchange.cancel_lapsed()
        return _with_refusals(partial(self._find, request))

    def _find(self, request: Request) -> Response | Held:
        handler = self._routes.get((request.method, request.path))
        if handler is not None:
            return handler(request)
        head, _, tail = request.path.rpartition("/")
        by_prefix = self._prefixes.get((request.method, head + "/"))
        if by_prefix is not None and tail:
            return by_prefix(request, tail)
        if request.path in self._paths:
            raise Refused("Method not allowed", 405)
        raise Refused("not found", 404)

    # --- trading ------------------------------------------------------------------------------

    def _post_order(self, request: Request) -> Response | Held:
        key = self._l2(request)
        self._exchange.modes.check_orders()
        headers = self._exchange.limits.take(key.address, "orders", 1)
        return _posted(self._exchange.post_order(key, _json(request)), headers)

    def _post_orders(self, request: Request) -> Response | Held:
        key, body = self._l2(request), _json(request)
        self._exchange.modes.check_orders()
        cost = len(body) if isinstance(body, list) else 1
        headers = self._exchange.limits.take(key.address, "orders", cost)
        return _posted(self._exchange.post_orders(key, body), headers)

    def _cancel_order(self, request: Request) -> Response:
        key, body = self._l2(request), _json(request)
        if not isinstance(body, dict) or not isinstance(body.get("orderID"), str):
            raise Refused("Invalid order payload")
        return self._cancel(key, [body["orderID"]])

    def _cancel_orders(self, request: Request) -> Response:
        key, body = self._l2(request), _json(request)
        if not isinstance(body, list) or not all(isinstance(item, str) for item in body):
            raise Refused("Invalid order payload")
        if len(body) > MAX_CANCELS:
            raise Refused(f"Too many orders in payload: {len(body)}, max allowed: {MAX_CANCELS}")
        return self._cancel(key, body)

    def _cancel(self, key: ApiKey, order_ids: list[str]) -> Response:
        self._exchange.modes.check_cancels()
        headers = self._exchange.limits.take(key.address, "cancels", len(order_ids), may_owe=True)
        return json_response(self._exchange.cancel(key, order_ids), headers=headers)

    def _cancel_all(self, request: Request) -> Response:
        return self._cancel_found(self._l2(request))

    def _cancel_market(self, request: Request) -> Response:
        key, body = self._l2(request), _json(request)
        if not isinstance(body, dict):
            raise Refused("Invalid order payload")
        market, asset_id = body.get("market") or "", body.get("asset_id") or ""
        if not isinstance(market, str) or not isinstance(asset_id, str) or not market + asset_id:
            raise Refused("Invalid order payload")
        return self._cancel_found(key, market=market, asset_id=asset_id)

    def _cancel_found(self, key: ApiKey, *, market: str = "", asset_id: str = "") -> Response:
        exchange = self._exchange
        exchange.modes.check_cancels()
        exchange.limits.take(key.address, "cancels", 1, may_owe=True)
        orders = exchange.open_orders(key, market=market, asset_id=asset_id)
        answer = exchange.cancel(key, [order.order_id for order in orders])
        headers = exchange.limits.charge(key.address, "cancels", len(answer["canceled"]))
        return json_response(answer, headers=headers)

    def _heartbeat(self, request: Request) -> Response:
        key, body = self._l2(request), _json(request)
        if not isinstance(body, dict) or not isinstance(body.get("heartbeat_id"), str):
            raise Refused("Invalid payload")
        fresh = self._exchange.heartbeats.beat(key.address, body["heartbeat_id"])
        return json_response({"heartbeat_id": fresh})

    # --- account ------------------------------------------------------------------------------

    def _order(self, request: Request, order_id: str) -> Response:
        order = self._exchange.order(self._l2(request), order_id)
        return json_response(None if order is None else views.order_view(order))

    def _orders(self, request: Request) -> Response:
        key, query = self._l2(request), request.query
        if "id" in query:
            order = self._exchange.order(key, query["id"])
            orders = [] if order is None else [order]
        else:
            orders = self._exchange.open_orders(
                key, market=query.get("market", ""), asset_id=query.get("asset_id", "")
            )
        return _page(request, [views.order_view(order) for order in orders])

    def _trades(self, request: Request) -> Response:
        key = self._l2(request)
        # Sorted out before a view is made: an account may have hundreds of thousands.
        trades = self._exchange.trades(key)
        if wanted := request.query.get("id"):
            trades = [trade for trade in trades if trade.trade_id == wanted]
        if after := _seconds(request, "after"):
            trades = [trade for trade in trades if trade.matched_ms // 1000 > after]
        if wanted := request.query.get("market"):
            trades = [trade for trade in trades if trade.market.condition_id == wanted]
        if wanted := request.query.get("asset_id"):
            trades = [trade for trade in trades if trade.taker.token_id == wanted]
        if before := _seconds(request, "before"):
            trades = [trade for trade in trades if trade.matched_ms // 1000 < before]
        wanted = request.query.get("maker_address", "").lower()
        if not wanted:
            return _page(request, trades, lambda trade: views.trade_view(trade, key.address))
        rows = [views.trade_view(trade, key.address) for trade in trades]
        return _page(request, [row for row in rows if row["maker_address"].lower() == wanted])

    def _balance(self, request: Request) -> Response:
        key = self._l2(request)
        query, engine = request.query, self._exchange.engine
        asset_type = query.get("asset_type")
        if asset_type == "COLLATERAL":
            asset = COLLATERAL
        elif asset_type in ("CONDITIONAL", "CONDITIONAL-V2"):
            asset = query.get("token_id", "")
            if not asset.isdigit():
                raise Refused(_BAD_TOKEN)
        else:
            raise Refused("Invalid asset type")
        kind = query.get("signature_type", "0")
        if kind not in ("0", "1", "2", "3"):
            raise Refused("Invalid signature type")
        wallet = self._exchange.wallets.wallet_of(key.address, SignatureType(int(kind)))
        balance = 0 if wallet is None else engine.ledger.balance(wallet, asset)
        allowances = dict.fromkeys(self._exchange.hasher.spenders(), _UNLIMITED)
        return json_response({"balance": str(balance), "allowances": allowances})

    def _update_balance(self, request: Request) -> Response:
        self._balance(request)
        return json_response("")

    def _create_key(self, request: Request) -> Response:
        address, nonce = self._exchange.accounts.check_l1(request.headers)
        return _key_response(self._exchange.create_key(address, nonce))

    def _derive_key(self, request: Request) -> Response:
        address, nonce = self._exchange.accounts.check_l1(request.headers)
        return _key_response(self._exchange.accounts.derive(address, nonce))

    def _delete_key(self, request: Request) -> Response:
        self._exchange.accounts.delete(self._l2(request))
        return json_response("OK")

    def _keys(self, request: Request) -> Response:
        key = self._l2(request)
        return json_response({"apiKeys": self._exchange.accounts.keys_of(key.address)})

    def _closed_only(self, request: Request) -> Response:
        self._l2(request)
        return json_response({"closed_only": False})

    def _tier(self, request: Request) -> Response:
        self._l2(request)
        return json_response({"tier": self._exchange.limits.tier or "Paper", "period": "30d"})

    def _l2(self, request: Request) -> ApiKey:
        return self._exchange.accounts.check_l2(
            request.headers, method=request.method, path=request.path, body=request.body
        )

    # --- market data --------------------------------------------------------------------------

    def _token(self, request: Request) -> tuple[PaperMarket, int]:
        token_id = request.query.get("token_id", "")
        if not token_id.isdigit():
            raise Refused(_BAD_TOKEN)
        return self._exchange.market_of(token_id)

    def _book(self, request: Request) -> Response:
        market, token = self._token(request)
        return json_response(self._exchange.book_view(market.token_ids[token]))

    def _books(self, request: Request) -> Response:
        body = _json(request)
        if not isinstance(body, list):
            raise Refused("Invalid payload")
        known = self._exchange.engine.tokens
        token_ids = [item.get("token_id") for item in body if isinstance(item, dict)]
        return json_response(
            [self._exchange.book_view(token_id) for token_id in token_ids if token_id in known]
        )

    def _tick_size(self, request: Request) -> Response:
        market, _ = self._token(request)
        return json_response({"minimum_tick_size": views.number(market.tick_e4, PRICE_SCALE)})

    def _neg_risk(self, request: Request) -> Response:
        return json_response({"neg_risk": self._token(request)[0].neg_risk})

    def _fee_rate(self, request: Request) -> Response:
        return json_response({"base_fee": self._token(request)[0].base_fee})

    def _top(self, request: Request) -> tuple[int | None, int | None]:
        market, token = self._token(request)
        self._exchange.engine.expire()
        return _best(self._exchange.engine.book(market), token)

    def _price(self, request: Request) -> Response:
        side = request.query.get("side", "").upper()
        if side not in Side.__members__:
            raise Refused("Invalid side")
        bid, ask = self._top(request)
        price = bid if side == Side.BUY else ask
        if price is None:
            raise Refused(NO_BOOK, 404)
        return json_response({"price": price_text(price)})

    def _midpoint(self, request: Request) -> Response:
        bid, ask = self._top(request)
        if bid is None or ask is None:
            raise Refused(NO_BOOK, 404)
        return json_response({"mid": _half(bid + ask)})

    def _spread(self, request: Request) -> Response:
        bid, ask = self._top(request)
        if bid is None or ask is None:
            raise Refused(NO_BOOK, 404)
        return json_response({"spread": price_text(ask - bid)})

    def _last_trade(self, request: Request) -> Response:
        market, _ = self._token(request)
        price = self._exchange.engine.book(market).last_trade_e4
        if price is None:
            raise Refused(NO_BOOK, 404)
        return json_response({"price": price_text(price)})

    def _market(self, _: Request, condition_id: str) -> Response:
        market = self._exchange.engine.markets.get(condition_id)
        if market is None:
            raise Refused("market not found", 404)
        return json_response(views.market_view(market))

    def _market_by_token(self, _: Request, token_id: str) -> Response:
        if token_id not in self._exchange.engine.tokens:
            raise Refused("market not found", 404)
        market, _index = self._exchange.market_of(token_id)
        return json_response(
            {
                "condition_id": market.condition_id,
                "primary_token_id": market.token_ids[0],
                "secondary_token_id": market.token_ids[1],
            }
        )


def _json(request: Request) -> Any:
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Refused("Invalid order payload") from None


def _key_response(key: ApiKey) -> Response:
    return json_response(
        {"apiKey": key.api_key, "secret": key.secret, "passphrase": key.passphrase}
    )


def _page(
    request: Request, rows: Sequence[Any], view: Callable[[Any], dict[str, Any]] | None = None
) -> Response:
    try:
        start = int(b64decode(request.query.get("next_cursor") or "MA==", validate=True))
    except (Base64Error, ValueError):
        raise Refused("invalid next_cursor") from None
    data = list(rows[start : start + PAGE_SIZE]) if start >= 0 else []
    if view is not None:
        data = [view(row) for row in data]
    end = start + PAGE_SIZE
    cursor = b64encode(str(end).encode()).decode() if 0 <= end < len(rows) else _END
    return json_response(
        {"limit": PAGE_SIZE, "count": len(data), "next_cursor": cursor, "data": data}
    )


def _seconds(request: Request, name: str) -> int:
    text = request.query.get(name, "")
    if text and not (text.isascii() and text.isdigit()):
        raise Refused(f"invalid {name}")
    return int(text or 0)


def _best(book: Book, token: int) -> tuple[int | None, int | None]:
    bid, ask = book.best(True), book.best(False)
    if token == 0:
        return bid, ask
    return (
        None if ask is None else PRICE_SCALE - ask,
        None if bid is None else PRICE_SCALE - bid,
    )


def _half(double_e4: int) -> str:
    whole, rest = divmod(double_e4 * 5, 10 * PRICE_SCALE)
    return f"{whole}.{rest:05d}".rstrip("0").rstrip(".")


def _posted(answer: Any, headers: Mapping[str, str]) -> Response | Held:
    if not isinstance(answer, Waiting):
        return json_response(answer, headers=headers)

    def finish() -> Response:
        return _with_refusals(lambda: json_response(answer.finish(), headers=headers))

    return Held(answer.wait_ms, finish)


def _with_refusals(answer: Callable[[], _Answer]) -> _Answer | Response:
    try:
        return answer()
    except Refused as refusal:
        body = {refusal.key: refusal.message, **refusal.extra}
        return json_response(body, refusal.status, refusal.headers)
