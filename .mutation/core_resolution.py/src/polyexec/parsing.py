"""Ids and small values as people and the exchange write them, checked, into their exact form."""

from typing import Any, NewType

from polyexec import _impl
from polyexec.enums import Generation, OrderType, Side
from polyexec.errors import InputError
from polyexec.numbers import Number, to_micro, to_scaled

__all__ = [
    "ConditionId",
    "OrderId",
    "TokenId",
    "parse_exponent",
    "parse_flag",
    "parse_generation",
    "parse_order_type",
    "parse_rate_micro",
    "parse_side",
    "parse_tick_e4",
    "parse_token_id",
]

TokenId = NewType("TokenId", str)
ConditionId = NewType("ConditionId", str)
OrderId = NewType("OrderId", str)

_TICKS_E4 = (1000, 100, 50, 25, 10, 1)


def parse_token_id(value: str | int, field: str = "token_id") -> TokenId:
    """Return a token id as canonical decimal text.

    Raises
    ------
    InputError
        It is not a decimal integer, or not below 2**256.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(field, value, "must be a decimal token id (str or int)")
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= 78):
            raise InputError(field, value, "must be a decimal token id of at most 78 digits")
        number = int(value)
    else:
        number = value
    if not 0 <= number < 2**256:
        raise InputError(field, value, "must be at least 0 and below 2**256")
    return TokenId(str(number))


def parse_tick_e4(value: Number, field: str = "tick_size") -> int:
    """Return a tick size in ten-thousandths of a dollar.

    Raises
    ------
    InputError
        It is none of 0.1, 0.01, 0.005, 0.0025, 0.001, 0.0001.
    """
    tick_e4 = _impl.plain_scaled(value, 4)
    if tick_e4 in _TICKS_E4:
        return tick_e4
    tick_e4 = to_scaled(value, field, scale=10_000, unit="0.0001")
    if tick_e4 not in _TICKS_E4:
        raise InputError(field, value, "must be one of 0.1, 0.01, 0.005, 0.0025, 0.001, 0.0001")
    return tick_e4


def parse_rate_micro(value: Number, field: str = "fee_rate") -> int:
    """Return a taker fee rate in millionths (0.07 -> 70000), at most 1.

    Raises
    ------
    InputError
        It is negative, above 1, not finite or finer than 1e-6.
    """
    rate = to_micro(value, field)
    if rate > 1_000_000:
        raise InputError(field, value, "is a fraction: 0.07 is 7 %, and it cannot exceed 1")
    return rate


def parse_side(value: Side | str) -> Side:
    """Return a :class:`Side` or raise ``InputError``."""
    try:
        return Side(value)
    except ValueError:
        raise InputError("side", value, "must be 'BUY' or 'SELL'") from None


def parse_order_type(value: OrderType | str) -> OrderType:
    """Return an :class:`OrderType` or raise ``InputError``."""
    try:
        return OrderType(value)
    except ValueError:
        raise InputError("order_type", value, "must be GTC, GTD, FOK or FAK") from None


def parse_generation(value: Any) -> Generation:
    """Return a :class:`Generation` or raise ``InputError``."""
    try:
        if isinstance(value, bool):
            raise ValueError
        return Generation(value)
    except ValueError:
        raise InputError("generation", value, "must be a Generation (1, 2 or 3)") from None


def parse_flag(value: bool, field: str) -> bool:
    """Return a bool, or raise ``InputError`` for what only looks like one."""
    # "false" is true to bool(), and would pick another exchange contract.
    if value not in (False, True):
        raise InputError(field, value, "must be True or False")
    return bool(value)


def parse_exponent(value: int) -> int:
    """Return the exponent of a fee curve or raise ``InputError``."""
    # fd.e arrives as a JSON number; every schedule published so far is a whole number.
    if isinstance(value, bool) or value not in (0, 1, 2, 3, 4):
        raise InputError("fee_exponent", value, "must be a whole number from 0 to 4")
    return int(value)
