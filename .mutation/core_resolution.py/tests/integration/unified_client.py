"""Trade with polymarket-client as it is; only the hosts of its environment are ours.

Prints one JSON object: what the client returned at each step.
"""

import dataclasses
import json
import sys
from typing import Any

from eth_account import Account
from polymarket._internal.environment import PRODUCTION_CONFIG, with_environment_config
from polymarket.clients.secure import SecureClient
from polymarket.environments import PRODUCTION


def main(host: str, key: str, token: str) -> dict[str, Any]:
    hosts = {
        field.name: host
        for field in dataclasses.fields(PRODUCTION_CONFIG)
        if field.name.endswith("_url")  # no step may reach anybody else
    }
    config = dataclasses.replace(PRODUCTION_CONFIG, **hosts)
    clob = SecureClient.create(
        private_key=key,
        wallet=Account.from_key(key).address,
        environment=with_environment_config(PRODUCTION, config=config),
    )
    try:
        resting = clob.place_limit_order(token_id=token, price="0.30", size="10", side="BUY")
        taken = clob.place_market_order(token_id=token, side="BUY", amount="4")
        batch = clob.post_orders(
            [
                clob.create_limit_order(token_id=token, price="0.20", size="5", side="BUY"),
                clob.create_limit_order(
                    token_id=token, price="0.50", size="5", side="BUY", post_only=True
                ),
                clob.create_market_order(token_id=token, side="SELL", shares="2.5"),
            ]
        )
        open_orders = list(clob.list_open_orders().iter_items())
        trades = list(clob.list_account_trades().iter_items())
        money = clob.get_balance_allowance(asset_type="COLLATERAL")
        order = clob.get_order(order_id=str(resting.order_id))
        canceled = clob.cancel_all()
    finally:
        clob.close()
    return {
        "resting": [resting.ok, resting.status],
        "taken": [taken.status, str(taken.making_amount), str(taken.taking_amount)],
        "batch": [
            [leg.ok, leg.status, str(leg.making_amount), str(leg.taking_amount)]
            if leg.ok
            else [leg.ok, leg.code, leg.message]
            for leg in batch
        ],
        "open": [str(item.price) for item in open_orders],
        "trades": [[trade.side, str(trade.size), trade.status] for trade in trades],
        "money": str(money.balance),
        "order": [order.status, str(order.original_size)],
        "canceled": len(canceled.canceled),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
