"""polymarket-client, the official client of every Polymarket service."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
from polymarket._internal.actions.orders.market_data import MarketInfo, PlatformFeeInfo
from polymarket._internal.actions.orders.post import build_post_orders_request
from polymarket.clients.secure import SecureClient
from polymarket.models.clob import ApiKeyCreds

import polyexec as px
from benchmarks import inputs


class _NoNetwork:
    """Takes the place of the client's httpx client and keeps what it would have sent."""

    def __init__(self) -> None:
        self.last: tuple[bytes, dict[str, str]] = (b"", {})
        self._reply = httpx.Response(200, json=[])

    def request(self, _method: str, _path: str, **arguments: Any) -> httpx.Response:
        self.last = arguments["content"], arguments["headers"]
        return self._reply


def requests() -> Callable[[], inputs.Request]:
    """Return the client's create x 3, body and headers, up to where it would open a connection."""
    network = _NoNetwork()
    submit = _submit(network)

    def call() -> inputs.Request:
        submit()
        body, headers = network.last
        return inputs.Request(body, headers["POLY_TIMESTAMP"], headers["POLY_SIGNATURE"])

    return call


def posting(http: httpx.Client) -> Callable[[], None]:
    """Return the client's create x 3 and post, over this connection of its own kind."""
    return _submit(http)


def _submit(http: Any) -> Callable[[], None]:
    account = px.OrderSigner(inputs.PRIVATE_KEY)
    # Its public constructor asks the exchange whether the credentials are live.
    client = SecureClient._create(
        private_key=inputs.PRIVATE_KEY,
        wallet=account.address,
        credentials=ApiKeyCreds(
            apiKey=inputs.OWNER, passphrase=inputs.PASSPHRASE, secret=inputs.SECRET
        ),
        validate_credentials=False,
    )
    context = client._ctx
    market = MarketInfo(
        fee_info=PlatformFeeInfo(Decimal(0), Decimal(0)),
        neg_risk=False,
        tick_size=Decimal("0.01"),
        token_ids=frozenset(inputs.TOKENS),
    )
    known = context.order_metadata
    known._markets._ttl_s = None  # it would ask the exchange again minutes later
    known._markets.set("condition", market)
    for token in inputs.TOKENS:
        known._conditions.set(token, "condition")
    transport = context.secure_clob
    transport.close()
    transport._client = http
    legs = list(zip(inputs.TOKENS, inputs.PRICES, strict=True))

    def call() -> None:
        orders = [
            client.create_limit_order(token_id=token, price=price, size=inputs.SIZE, side="BUY")
            for token, price in legs
        ]
        path, payload = build_post_orders_request(orders, owner_api_key=inputs.OWNER)
        transport._request("POST", path, json=payload)

    return call
