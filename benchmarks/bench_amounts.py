"""Price and size in, exact integer amounts out."""

from decimal import Decimal

import polyexec as px
from benchmarks import inputs
from benchmarks.baselines import official
from benchmarks.harness import Row
from benchmarks.targets import OFFICIAL
from polyexec import _impl

PRICE, SIZE = Decimal("0.33"), Decimal("10.25")
PRICE_E4, SIZE_MICRO = 3_300, 10_250_000


def rows() -> list[Row]:
    from py_clob_client_v2.clob_types import RoundConfig
    from py_clob_client_v2.order_builder.builder import OrderBuilder
    from py_clob_client_v2.signer import Signer

    builder = OrderBuilder(Signer(inputs.PRIVATE_KEY, 137))
    config = RoundConfig(price=2, size=2, amount=4)
    tick = Decimal("0.01")

    def theirs() -> object:
        return builder.get_order_amounts("BUY", 10.25, 0.33, config)

    def leg() -> tuple[int, int]:
        return _impl.limit_amounts(PRICE_E4, SIZE_MICRO, 0)

    def check() -> None:
        ours = px.limit_amounts(PRICE, SIZE, px.Side.BUY, tick_size=tick)
        expected = official.limit_amounts(float(PRICE), float(SIZE))
        inputs.same("amounts", (ours.maker_micro, ours.taker_micro), expected)
        inputs.same("amounts", tuple(leg()), expected)

    return [
        Row(
            "limit_amounts",
            "amounts of one limit BUY from Decimal; reading the Decimals dominates. The client "
            "computes in binary floating point, which is not exact",
            lambda: px.limit_amounts(PRICE, SIZE, px.Side.BUY, tick_size=tick),
            {OFFICIAL: theirs},
            check,
        ),
        Row(
            "leg_amounts",
            "the same on the plan's way, where price and size are integers already; the call "
            "dominates",
            leg,
            {OFFICIAL: theirs},
            check,
        ),
    ]
