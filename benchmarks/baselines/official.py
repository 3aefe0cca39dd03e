"""py-clob-client-v2, driven through its own builders."""

import json
from collections.abc import Callable

import httpx
from py_clob_client_v2.client import ClobClient
from py_clob_client_v2.clob_types import (
    ApiCreds,
    OrderArgsV2,
    PartialCreateOrderOptions,
    PostOrdersV2Args,
    RequestArgs,
    RoundConfig,
)
from py_clob_client_v2.config import get_contract_config
from py_clob_client_v2.headers.headers import create_level_2_headers
from py_clob_client_v2.http_helpers import helpers
from py_clob_client_v2.order_builder.builder import OrderBuilder
from py_clob_client_v2.order_utils.exchange_order_builder_v2 import ExchangeOrderBuilderV2
from py_clob_client_v2.order_utils.model.order_data_v2 import (
    OrderDataV2,
    SignedOrderV2,
    order_to_json_v2,
)
from py_clob_client_v2.order_utils.model.side import Side
from py_clob_client_v2.signer import Signer
from py_clob_client_v2.signing.hmac import build_hmac_signature

import polyexec as px
from benchmarks import inputs

__all__ = [
    "body",
    "build_hmac_signature",
    "headers",
    "limit_amounts",
    "posting",
    "requests",
    "signed",
    "signing",
]


def signing(order: px.Order) -> Callable[[], SignedOrderV2]:
    """Return the client's build-and-sign of one order; its builder is made once, beforehand."""
    signer = Signer(inputs.PRIVATE_KEY, 137)
    builder = ExchangeOrderBuilderV2(
        get_contract_config(137).exchange_v2, 137, signer, generate_salt=lambda: str(order.salt)
    )
    data = OrderDataV2(
        maker=signer.address(),
        tokenId=order.token_id,
        makerAmount=str(order.maker_micro),
        takerAmount=str(order.taker_micro),
        side=Side.BUY,
        timestamp=str(order.timestamp_ms),
    )
    return lambda: builder.build_signed_order(data)


def signed(orders: list[px.Order]) -> list[SignedOrderV2]:
    """Return the client's signed orders."""
    return [signing(order)() for order in orders]


def body(orders: list[SignedOrderV2], order_type: str) -> bytes:
    """Return the body of POST /orders as the client writes it."""
    payload = [order_to_json_v2(order, inputs.OWNER, order_type) for order in orders]
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()


def limit_amounts(price: float, size: float) -> tuple[int, int]:
    """Return the client's limit amounts of a BUY on a tick of 0.01 (binary floating point)."""
    builder = OrderBuilder(Signer(inputs.PRIVATE_KEY, 137))
    config = RoundConfig(price=2, size=2, amount=4)
    _, maker, taker = builder.get_order_amounts("BUY", size, price, config)
    return int(maker), int(taker)


def headers(text: str, timestamp: int) -> Callable[[], dict[str, str]]:
    """Return the client's L2 headers of a POST /orders with this body."""
    signer = Signer(inputs.PRIVATE_KEY, 137)
    credentials = ApiCreds(inputs.OWNER, inputs.SECRET, inputs.PASSPHRASE)
    arguments = RequestArgs("POST", "/orders", serialized_body=text)
    return lambda: create_level_2_headers(signer, credentials, arguments, timestamp=timestamp)


def requests() -> Callable[[], inputs.Request]:
    """Return the client's create x 3 and post, up to where it would open a connection."""
    client = _client("http://127.0.0.1:9")
    sent: list[inputs.Request] = []

    def post(_url: str, headers: dict[str, str], data: str) -> None:
        sent[:] = [
            inputs.Request(data.encode(), headers["POLY_TIMESTAMP"], headers["POLY_SIGNATURE"])
        ]

    client._post = post
    submit = _submit(client)

    def call() -> inputs.Request:
        submit()
        return sent[0]

    return call


def posting(url: str, http: httpx.Client) -> Callable[[], None]:
    """Return the client's create x 3 and post to a server, over this connection of its own kind."""
    helpers._http_client.close()
    helpers._http_client = http
    return _submit(_client(url))


def _client(url: str) -> ClobClient:
    client = ClobClient(
        url,
        137,
        key=inputs.PRIVATE_KEY,
        creds=ApiCreds(inputs.OWNER, inputs.SECRET, inputs.PASSPHRASE),
    )
    client.get_version = lambda: 2
    # What else the client would ask the exchange for; it keeps the answer.
    client._ClobClient__tick_sizes = dict.fromkeys(inputs.TOKENS, "0.01")
    return client


def _submit(client: ClobClient) -> Callable[[], None]:
    options = PartialCreateOrderOptions(tick_size="0.01", neg_risk=False)
    legs = [
        (token, float(price), float(inputs.SIZE))
        for token, price in zip(inputs.TOKENS, inputs.PRICES, strict=True)
    ]

    def call() -> None:
        orders = [
            client.create_order(OrderArgsV2(token, price, size, "BUY"), options)
            for token, price, size in legs
        ]
        client.post_orders([PostOrdersV2Args(order) for order in orders])

    return call
