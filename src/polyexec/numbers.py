"""Exact numbers at the API edge: text, ``Decimal``, ``int`` or ``float`` in, integers out.

Money and shares are integers of one millionth (``*_micro``); prices are integers of one
ten-thousandth of a dollar (``*_e4``), the grid on which every tick of the exchange lies. A float
counts as its shortest text, so ``0.29`` is 29 cents and never 0.28999. What does not lie on the
grid is refused, never rounded.
"""

from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import SupportsIndex, TypeAlias

from polyexec import _impl
from polyexec.errors import InputError

__all__ = [
    "MAX_MICRO",
    "MICRO",
    "PRICE_SCALE",
    "Number",
    "from_e4",
    "from_micro",
    "to_decimal",
    "to_micro",
    "to_price_e4",
    "to_scaled",
]

Number: TypeAlias = Decimal | str | int | float
"""What every public function takes for money, price and size."""

MICRO = 1_000_000
PRICE_SCALE = 10_000
MAX_MICRO = 2**63 - 1

# Wide enough for any value we accept, and trapping instead of rounding.
_EXACT = Context(prec=80, traps=[Inexact, InvalidOperation])


def to_decimal(value: Number, field: str) -> Decimal:
    """Return ``value`` as a finite ``Decimal``.

    Raises
    ------
    InputError
        It is a bool, not a number, NaN or infinite.
    """
    try:
        if isinstance(value, bool):
            raise InputError(field, value, "is a bool; give a number as str, int or Decimal")
        if isinstance(value, Decimal):
            number = value
        elif isinstance(value, float):
            # float.__repr__, because numpy's subclass prints its type name.
            number = Decimal(float.__repr__(value))
        elif isinstance(value, str):
            number = Decimal(value)
        elif isinstance(value, SupportsIndex):
            number = Decimal(value.__index__())
        else:
            raise InputError(field, value, "is not a number; give str, int, float or Decimal")
    except InvalidOperation:
        raise InputError(field, value, "is not a decimal number") from None
    if not number.is_finite():
        raise InputError(field, value, "must be finite")
    return number


def to_scaled(value: Number, field: str, *, scale: int, unit: str) -> int:
    """Return ``value * scale`` as an exact integer, or raise ``InputError``."""
    number = to_decimal(value, field)
    if number.adjusted() > 20:
        raise InputError(field, value, "is too large")
    try:
        scaled = _EXACT.multiply(number, Decimal(scale))
        result = int(scaled)
        is_exact = result == scaled
    except Inexact:
        is_exact = False
    if not is_exact:
        raise InputError(field, value, f"is finer than {unit}; round it the way you want first")
    return result


def to_micro(value: Number, field: str) -> int:
    """Return a non-negative amount in micro-units (1e-6), exactly.

    Raises
    ------
    InputError
        It is negative, not finite, finer than 1e-6 or above 2**63 - 1 micro-units.
    """
    micro = _impl.plain_scaled(value, 6)
    if micro >= 0:
        return micro
    # Rarely written numbers, and everything that is refused with a reason.
    micro = to_scaled(value, field, scale=MICRO, unit="0.000001")
    if micro < 0:
        raise InputError(field, value, "must not be negative")
    if micro > MAX_MICRO:
        raise InputError(field, value, "is above 2**63 - 1 micro-units")
    return micro


def to_price_e4(value: Number, field: str) -> int:
    """Return a price in ten-thousandths of a dollar, exactly, strictly between 0 and 1.

    Raises
    ------
    InputError
        It is not finite, not inside (0, 1) or finer than 0.0001.
    """
    price_e4 = _impl.plain_scaled(value, 4)
    if 0 < price_e4 < PRICE_SCALE:
        return price_e4
    price_e4 = to_scaled(value, field, scale=PRICE_SCALE, unit="0.0001, the finest tick")
    if not 0 < price_e4 < PRICE_SCALE:
        raise InputError(field, value, "must lie strictly between 0 and 1 dollar")
    return price_e4


def from_micro(micro: int) -> Decimal:
    """Return micro-units as a ``Decimal`` in whole units, without an exponent or padding."""
    # normalize() would print 10 as 1E+1.
    if micro % MICRO == 0:
        return Decimal(micro // MICRO)
    return Decimal(micro).scaleb(-6, _EXACT).normalize(_EXACT)


def from_e4(price_e4: int) -> Decimal:
    """Return a price in ten-thousandths as a ``Decimal`` in dollars."""
    if price_e4 % PRICE_SCALE == 0:
        return Decimal(price_e4 // PRICE_SCALE)
    return Decimal(price_e4).scaleb(-4, _EXACT).normalize(_EXACT)
