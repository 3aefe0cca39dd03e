"""Trade with py-clob-client-v2 as it is; run by test_official_client with the host as argument.

Prints one JSON object: what the client returned at each step.
"""

import json
import sys
from typing import Any

from py_clob_client_v2 import client as official
from py_clob_client_v2.clob_types import (
    AssetType,
    BalanceAllowanceParams,
    BookParams,
    MarketOrderArgs,
    OpenOrderParams,
    OrderArgs,
    OrderMarketCancelParams,
    OrderPayload,
    OrderType,
    PostOrdersV2Args,
    TradeParams,
)
from py_clob_client_v2.exceptions import PolyApiException


def refusal(call: Any) -> Any:
    """Return the status and text with which a call is refused."""
    try:
        return call()
    except PolyApiException as error:
        return [error.status_code, error.error_msg]


def main(host: str, key: str, condition: str, yes: str, no: str) -> dict[str, Any]:
    clob = official.ClobClient(host, chain_id=137, key=key)
    seen: dict[str, Any] = {"ok": clob.get_ok(), "time": clob.get_server_time()}
    creds = clob.create_or_derive_api_key()
    seen["same_key"] = clob.create_or_derive_api_key().api_key == creds.api_key
    clob.set_api_creds(creds)
    seen["keys"] = clob.get_api_keys()["apiKeys"] == [creds.api_key]
    seen["market"] = clob.get_clob_market_info(condition)["c"] == condition
    seen["tick"] = clob.get_tick_size(yes)
    book = clob.get_order_book(yes)
    seen["hash"] = [book["hash"], clob.get_order_book_hash(book)]
    seen["books"] = len(clob.get_order_books([BookParams(token_id=yes), BookParams(token_id=no)]))
    seen["midpoint"] = clob.get_midpoint(yes)

    def limit(token: str, side: str, price: float, size: float) -> Any:
        return clob.create_order(OrderArgs(token_id=token, price=price, size=size, side=side))

    resting = clob.post_order(limit(yes, "BUY", 0.30, 10), OrderType.GTC)
    seen["resting"] = resting
    seen["fok"] = clob.post_order(
        clob.create_market_order(
            MarketOrderArgs(token_id=yes, amount=4, side="BUY", order_type=OrderType.FOK)
        ),
        OrderType.FOK,
    )
    seen["killed"] = refusal(
        lambda: clob.post_order(
            clob.create_market_order(
                MarketOrderArgs(
                    token_id=yes, amount=100, price=0.41, side="BUY", order_type=OrderType.FOK
                )
            ),
            OrderType.FOK,
        )
    )
    twice = limit(no, "BUY", 0.20, 5)
    seen["batch"] = clob.post_orders(
        [
            PostOrdersV2Args(order=twice, orderType=OrderType.GTC),
            PostOrdersV2Args(order=twice, orderType=OrderType.GTC),
            PostOrdersV2Args(order=limit(no, "BUY", 0.65, 5), orderType=OrderType.FAK),
        ]
    )
    seen["post_only"] = refusal(
        lambda: clob.post_order(limit(yes, "BUY", 0.50, 10), OrderType.GTC, post_only=True)
    )
    seen["open"] = clob.get_open_orders(OpenOrderParams(market=condition))
    seen["order"] = clob.get_order(resting["orderID"])
    seen["trades"] = clob.get_trades(TradeParams(market=condition))
    seen["money"] = clob.get_balance_allowance(
        BalanceAllowanceParams(asset_type=AssetType.COLLATERAL)
    )["balance"]
    seen["shares"] = clob.get_balance_allowance(
        BalanceAllowanceParams(asset_type=AssetType.CONDITIONAL, token_id=yes)
    )["balance"]
    seen["cancel"] = clob.cancel_order(OrderPayload(orderID=resting["orderID"]))
    seen["cancel_again"] = clob.cancel_orders([resting["orderID"], "0xdead"])
    seen["cancel_market"] = clob.cancel_market_orders(OrderMarketCancelParams(asset_id=no))
    clob.post_order(limit(yes, "BUY", 0.10, 10), OrderType.GTC)
    seen["cancel_all"] = clob.cancel_all()
    seen["left"] = clob.get_open_orders()
    seen["deleted"] = clob.delete_api_key()
    seen["after"] = refusal(clob.get_api_keys)
    return seen


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
