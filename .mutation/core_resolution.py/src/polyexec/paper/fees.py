"""The taker fee of the exchange, written apart from the one that the library prices with."""

from polyexec.numbers import PRICE_SCALE

__all__ = ["fill_fee_micro"]

_GRAIN = 10  # fees are whole multiples of 1e-5 dollars


def fill_fee_micro(shares_micro: int, price_e4: int, rate_micro: int, exponent: int) -> int:
    """Return the fee of one fill: shares x rate x (p (1 - p))^exponent.

    Rounded half up to 1e-5 dollars, and at least that when it is not zero. ``price_e4`` of the
    other token gives the same fee.
    """
    curve: int = (price_e4 * (PRICE_SCALE - price_e4)) ** exponent
    exact = shares_micro * rate_micro * curve
    if exact == 0:
        return 0
    scale: int = 1_000_000 * PRICE_SCALE ** (2 * exponent) * _GRAIN
    return max((2 * exact + scale) // (2 * scale), 1) * _GRAIN
