"""Order arithmetic on numbers as people write them; exact, on the integers of layer 0."""

from decimal import ROUND_FLOOR, Context, Decimal

from polyexec import _impl
from polyexec.constants import AMOUNT_DECIMALS
from polyexec.core.orders import Amounts
from polyexec.enums import Side
from polyexec.errors import InputError
from polyexec.numbers import (
    MAX_MICRO,
    PRICE_SCALE,
    Number,
    from_e4,
    from_micro,
    to_decimal,
    to_micro,
    to_price_e4,
)
from polyexec.parsing import parse_rate_micro, parse_side, parse_tick_e4

__all__ = [
    "apply_slippage",
    "check_tick",
    "limit_amounts",
    "market_amounts",
    "slippage_e4",
    "taker_fee",
]

_CENT_MICRO = 10_000
# A lookup: calling the enum costs as much as all the arithmetic.
_SIDE_CODES: dict[str, int] = {side.value: side.code for side in Side}
_FLOOR = Context(prec=80, rounding=ROUND_FLOOR)


def limit_amounts(price: Number, size: Number, side: Side | str, *, tick_size: Number) -> Amounts:
    """Return the amounts of a GTC or GTD order.

    Parameters
    ----------
    price : number
        Dollars per share, a multiple of ``tick_size``.
    size : number
        Shares, floored to two decimals as every client of the exchange does.
    side : Side or str
    tick_size : number
        0.1, 0.01, 0.005, 0.0025, 0.001 or 0.0001.

    Raises
    ------
    InputError
        Off the tick, not a number, or below a hundredth of a share.
    """
    plain = _impl.plain_leg(price, size, tick_size)
    price_e4, size_micro, _ = plain or _parsed(price, size, "size", tick_size)
    maker, taker = _impl.limit_amounts(price_e4, size_micro, _side_code(side))
    return Amounts(maker, taker)


def market_amounts(
    amount: Number, price: Number, side: Side | str, *, tick_size: Number
) -> Amounts:
    """Return the amounts of a FOK or FAK order.

    Parameters
    ----------
    amount : number
        Collateral of a BUY, shares of a SELL; floored to two decimals.
    price : number
        The worst price, a multiple of ``tick_size``.
    side : Side or str
    tick_size : number

    Returns
    -------
    Amounts
        Taker floored to four decimals at most, on every tick: the exchange refuses more.

    Raises
    ------
    InputError
        Off the tick, not a number, or an amount that rounds to zero.
    """
    plain = _impl.plain_leg(price, amount, tick_size)
    price_e4, amount_micro, tick_e4 = plain or _parsed(price, amount, "amount", tick_size)
    try:
        maker, taker = _impl.market_amounts(
            price_e4, amount_micro, _side_code(side), AMOUNT_DECIMALS[tick_e4]
        )
    except OverflowError:
        raise InputError("amount", amount, "buys more than 2**63 - 1 micro-shares") from None
    if taker == 0:
        raise InputError("amount", amount, f"is worth nothing at {price}: it rounds to zero")
    return Amounts(maker, taker)


def apply_slippage(price: Number, side: Side | str, *, tick_size: Number | None = None) -> Decimal:
    """Return the limit price one step worse than a quote: the default policy.

    The step is the market's tick or, without one, 0.01 for prices inside (0.04, 0.96) and 0.001
    outside. A BUY is capped at 0.99 and a SELL at 0.01, on the tick; a quote beyond its cap stays
    as it is, because a limit never starts worse than the quote.

    Raises
    ------
    InputError
        Not a price, or off ``tick_size``.
    """
    tick_e4 = None if tick_size is None else parse_tick_e4(tick_size)
    price_e4 = to_price_e4(price, "price") if tick_e4 is None else _price_on_tick(price, tick_e4)
    return from_e4(slippage_e4(price_e4, parse_side(side), tick_e4))


def slippage_e4(price_e4: int, side: Side, tick_e4: int | None = None) -> int:
    """Return :func:`apply_slippage` on integers; ``price_e4`` lies on ``tick_e4``."""
    return _impl.slippage_e4(price_e4, side.code, tick_e4 or 0)


def taker_fee(price: Number, size: Number, *, rate: Number, exponent: int = 1) -> Decimal:
    """Return the most that a taker pays, in dollars, rounded up to 0.00001.

    ``size * rate * (price * (1 - price)) ** exponent``. Source: protocol notes, orders.md 7.

    Parameters
    ----------
    price : number
        Dollars per share.
    size : number
        Shares, at most six decimals.
    rate : number
        ``fd.r`` of the market: 0.07 is 7 %.
    exponent : int
        ``fd.e`` of the market, 0 to 4.

    Raises
    ------
    InputError
        Naming the argument.
    """
    if isinstance(exponent, bool) or exponent not in (0, 1, 2, 3, 4):
        raise InputError("exponent", exponent, "must be a whole number from 0 to 4")
    price_e4 = to_price_e4(price, "price")
    size_micro = to_micro(size, "size")
    rate_micro = parse_rate_micro(rate, "rate")
    try:
        return from_micro(_impl.taker_fee(price_e4, size_micro, rate_micro, int(exponent)))
    except OverflowError:
        raise InputError("size", size, "has a fee above 2**63 - 1 micro-units") from None


def check_tick(price_e4: int, tick_e4: int) -> bool:
    """Return True when the price lies on the tick, so within [tick, 1 - tick] as well."""
    return price_e4 % tick_e4 == 0 and 0 < price_e4 < PRICE_SCALE


def _side_code(side: Side | str) -> int:
    try:
        return _SIDE_CODES[side]
    except (KeyError, TypeError):
        return parse_side(side).code


def _parsed(price: Number, size: Number, field: str, tick_size: Number) -> tuple[int, int, int]:
    """Return what ``plain_leg`` does, of numbers in any writing, or say what is wrong with one."""
    tick_e4 = parse_tick_e4(tick_size)
    return _price_on_tick(price, tick_e4), _floored_micro(size, field), tick_e4


def _price_on_tick(price: Number, tick_e4: int) -> int:
    price_e4 = to_price_e4(price, "price")
    if not check_tick(price_e4, tick_e4):
        raise InputError("price", price, f"is not a multiple of the tick {from_e4(tick_e4)}")
    return price_e4


def _floored_micro(value: Number, field: str) -> int:
    """Return a positive number in micro-units, floored to two decimals."""
    number = to_decimal(value, field)
    if number <= 0:
        raise InputError(field, value, "must be above zero")
    if number.adjusted() > 20:
        raise InputError(field, value, "is too large")
    if number < Decimal("0.01"):
        raise InputError(field, value, "is below 0.01 and rounds to zero")
    cents = int(number.scaleb(2, _FLOOR).to_integral_value(ROUND_FLOOR))
    if cents * _CENT_MICRO > MAX_MICRO:
        raise InputError(field, value, "is above 2**63 - 1 micro-units")
    return cents * _CENT_MICRO
