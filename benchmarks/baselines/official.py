"""py-clob-client-v2, driven through its own builders."""

import json
from collections.abc import Callable

from py_clob_client_v2.clob_types import RoundConfig
from py_clob_client_v2.config import get_contract_config
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

__all__ = ["body", "build_hmac_signature", "limit_amounts", "signed", "signing"]


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
