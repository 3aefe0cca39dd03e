"""Price and size in, exact integer amounts out."""

from decimal import Decimal

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import official
from benchmarks.harness import Row

PRICE, SIZE = Decimal("0.33"), Decimal("10.25")


def rows() -> list[Row]:
    from py_clob_client_v2.clob_types import RoundConfig
    from py_clob_client_v2.order_builder.builder import OrderBuilder
    from py_clob_client_v2.signer import Signer

    builder = OrderBuilder(Signer(inputs.PRIVATE_KEY, 137))
    config = RoundConfig(price=2, size=2, amount=4)
    tick = Decimal("0.01")

    def check() -> None:
        ours = px.limit_amounts(PRICE, SIZE, px.Side.BUY, tick_size=tick)
        theirs = official.limit_amounts(float(PRICE), float(SIZE))
        inputs.same("amounts", (ours.maker_micro, ours.taker_micro), theirs)

    return [
        Row(
            "limit_amounts",
            "amounts of one limit BUY from Decimal; reading the Decimals dominates. The client "
            "computes in binary floating point, which is not exact",
            lambda: px.limit_amounts(PRICE, SIZE, px.Side.BUY, tick_size=tick),
            {
                "py-clob-client-v2": lambda: builder.get_order_amounts("BUY", 10.25, 0.33, config),
            },
            check,
        )
    ]
