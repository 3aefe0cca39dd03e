from typing import SupportsIndex

def limit_amounts(
    price_e4: SupportsIndex, size_micro: SupportsIndex, side: SupportsIndex
) -> tuple[int, int]: ...
def market_amounts(
    price_e4: SupportsIndex,
    amount_micro: SupportsIndex,
    side: SupportsIndex,
    amount_decimals: SupportsIndex,
) -> tuple[int, int]: ...
def slippage_e4(price_e4: SupportsIndex, side: SupportsIndex, tick_e4: SupportsIndex) -> int: ...
def taker_fee(
    price_e4: SupportsIndex,
    size_micro: SupportsIndex,
    rate_micro: SupportsIndex,
    exponent: SupportsIndex,
) -> int: ...
def fill_fee(
    price_e4: SupportsIndex,
    size_micro: SupportsIndex,
    rate_micro: SupportsIndex,
    exponent: SupportsIndex,
) -> int: ...
