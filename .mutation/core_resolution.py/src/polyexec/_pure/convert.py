"""Numbers as people mostly write them, to integers; what is not plain is left to the caller."""

import re
from decimal import Decimal
from typing import SupportsIndex

from polyexec._pure.checks import checked_range

__all__ = ["plain_leg", "plain_scaled"]

_PLAIN = re.compile(r"([0-9]*)(?:\.([0-9]*))?", re.ASCII)
_CENT = 10_000  # micro-units in a hundredth
_TICKS_E4 = (1000, 100, 50, 25, 10, 1)
_INT64_MAX = (1 << 63) - 1


def plain_leg(price: object, size: object, tick_size: object) -> tuple[int, int, int] | None:
    """Return (price_e4, size_micro floored to a hundredth, tick_e4) of plain numbers, or None.

    None: one of them is not plain, the tick is none of the exchange's, the price is off it, or the
    size is below a hundredth. The caller finds out which, with more patience.
    """
    price_e4, size_micro, tick_e4 = (
        plain_scaled(price, 4),
        plain_scaled(size, 6),
        plain_scaled(tick_size, 4),
    )
    is_price = tick_e4 in _TICKS_E4 and 0 < price_e4 < 10_000 and price_e4 % tick_e4 == 0
    if not is_price or size_micro < _CENT:
        return None
    return price_e4, size_micro // _CENT * _CENT, tick_e4


def plain_scaled(value: object, places: SupportsIndex) -> int:
    """Return ``value * 10 ** places`` as an exact integer, or -1 when it is not plain.

    Plain is digits with at most one point among them, exactly on the grid and within int64: the
    text of a ``str``, the shortest text of a ``float``, an ``int`` or a ``Decimal`` that prints
    without exponent. A sign, white space, exponents and every error are not plain.

    Parameters
    ----------
    value : object
    places : int, 0 to 6
    """
    decimals = checked_range(places, 0, 6, "places")
    if type(value) is int:
        result = value * 10**decimals
        return result if 0 <= result <= _INT64_MAX else -1
    if type(value) not in (str, float, Decimal):
        return -1
    match = _PLAIN.fullmatch(str(value))
    if match is None:
        return -1
    whole, fraction = match[1], match[2] or ""
    kept, rest = fraction[:decimals], fraction[decimals:]
    if not whole + fraction or rest.strip("0"):
        return -1
    digits = (whole + kept).lstrip("0") + "0" * (decimals - len(kept))
    # 2 ** 63 has 19 digits; longer text is not worth an integer.
    result = int(digits or "0") if len(digits) <= 19 + decimals else _INT64_MAX + 1
    return result if result <= _INT64_MAX else -1
