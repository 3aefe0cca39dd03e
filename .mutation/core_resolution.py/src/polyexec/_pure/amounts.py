"""Order amounts and fees in integers, as the rules are written (protocol notes, orders.md 6, 7)."""

from typing import SupportsIndex

from polyexec._pure.checks import checked_int64, checked_range

__all__ = ["fill_fee", "limit_amounts", "market_amounts", "slippage_e4", "taker_fee"]

_CENT = 10_000  # micro-units in a hundredth
_INT64_MAX = (1 << 63) - 1
_BUY_CAP_E4 = 9900
_SELL_CAP_E4 = 100


def limit_amounts(
    price_e4: SupportsIndex, size_micro: SupportsIndex, side: SupportsIndex
) -> tuple[int, int]:
    """Return (maker, taker) micro-units of a GTC or GTD order.

    Shares are floored to two decimals; collateral is their exact product with the price.

    Parameters
    ----------
    price_e4 : int, 1 to 9999
    size_micro : int, shares x 1e6; below a hundredth of a share both amounts are 0
    side : int, BUY 0, SELL 1
    """
    price, size, is_sell = _checked(price_e4, size_micro, side)
    cents = size // _CENT
    shares, collateral = cents * _CENT, cents * price
    return (shares, collateral) if is_sell else (collateral, shares)


def market_amounts(
    price_e4: SupportsIndex,
    amount_micro: SupportsIndex,
    side: SupportsIndex,
    amount_decimals: SupportsIndex,
) -> tuple[int, int]:
    """Return (maker, taker) micro-units of a FOK or FAK order.

    The maker amount (collateral of a BUY, shares of a SELL) is floored to two decimals, the taker
    amount to ``min(4, amount_decimals)``: the exchange refuses more, whatever the tick.

    Parameters
    ----------
    price_e4 : int, 1 to 9999
    amount_micro : int, below a hundredth both amounts are 0
    side : int, BUY 0, SELL 1
    amount_decimals : int, 0 to 6, of the market's tick

    Raises
    ------
    OverflowError
        The taker amount does not fit int64.

    Notes
    -----
    The official builders round the taker up at four more decimals before they floor it. With
    exact numbers that never carries: the denominator is a price of at most 9999, so a quotient
    is never within 1e-4 below a unit without being the unit. Flooring is the same and is the truth.
    """
    price, amount, is_sell = _checked(price_e4, amount_micro, side)
    decimals = min(4, checked_range(amount_decimals, 0, 6, "amount_decimals"))
    unit = 10 ** (6 - decimals)
    maker = amount // _CENT * _CENT
    exact_e4 = maker * price if is_sell else maker * 10_000 * 10_000 // price
    taker = exact_e4 // (10_000 * unit) * unit
    if taker > _INT64_MAX:
        raise OverflowError("taker amount does not fit int64")
    return maker, taker


def slippage_e4(price_e4: SupportsIndex, side: SupportsIndex, tick_e4: SupportsIndex) -> int:
    """Return the limit price one step worse than a quote.

    The step is the tick or, without one, 0.01 for prices inside (0.04, 0.96) and 0.001 outside. A
    BUY is capped at 0.99 and a SELL at 0.01, on the tick; a quote beyond its cap stays as it is.

    Parameters
    ----------
    price_e4 : int, 1 to 9999
    side : int, BUY 0, SELL 1
    tick_e4 : int, 0 when it is not known, else ``price_e4`` is a multiple of it
    """
    price, _, is_sell = _checked(price_e4, 0, side)
    tick = checked_range(tick_e4, 0, 9999, "tick_e4")
    if tick and price % tick:
        raise ValueError(f"price_e4 must be a multiple of {tick}, not {price}")
    grid = tick or 1
    step = tick or (100 if 400 < price < 9600 else 10)
    if is_sell:
        return min(price, max(price - step, -(-_SELL_CAP_E4 // grid) * grid))
    return max(price, min(price + step, _BUY_CAP_E4 // grid * grid))


def taker_fee(
    price_e4: SupportsIndex,
    size_micro: SupportsIndex,
    rate_micro: SupportsIndex,
    exponent: SupportsIndex,
) -> int:
    """Return the most that a taker pays, in micro-dollars: rounded up to 1e-5 dollars.

    ``size * rate * (price * (1 - price)) ** exponent``, exactly.

    Parameters
    ----------
    price_e4 : int, 1 to 9999
    size_micro : int, shares x 1e6
    rate_micro : int, 0 to 1_000_000; 70_000 is 7 %
    exponent : int, 0 to 4
    """
    numerator, denominator = _fee(price_e4, size_micro, rate_micro, exponent)
    return _fits(-(-numerator // denominator) * 10)


def fill_fee(
    price_e4: SupportsIndex,
    size_micro: SupportsIndex,
    rate_micro: SupportsIndex,
    exponent: SupportsIndex,
) -> int:
    """Return what the exchange charges for one fill, in micro-dollars.

    Rounded half up to 1e-5 dollars, and at least that if not zero. Arguments as in ``taker_fee``.
    """
    numerator, denominator = _fee(price_e4, size_micro, rate_micro, exponent)
    if numerator == 0:
        return 0
    return _fits(max(1, (2 * numerator + denominator) // (2 * denominator)) * 10)


def _fee(
    price_e4: SupportsIndex,
    size_micro: SupportsIndex,
    rate_micro: SupportsIndex,
    exponent: SupportsIndex,
) -> tuple[int, int]:
    # As a fraction, in units of 1e-5 dollars.
    price, size, _ = _checked(price_e4, size_micro, 0)
    rate = checked_range(rate_micro, 0, 1_000_000, "rate_micro")
    power = checked_range(exponent, 0, 4, "exponent")
    variance_e8 = price * (10_000 - price)
    return size * rate * variance_e8**power, 10_000_000 * 10 ** (8 * power)


def _checked(
    price_e4: SupportsIndex, size_micro: SupportsIndex, side: SupportsIndex
) -> tuple[int, int, bool]:
    price, size, code = checked_int64(price_e4), checked_int64(size_micro), checked_int64(side)
    checked_range(price, 1, 9999, "price_e4")
    if size < 0:
        raise ValueError(f"size must not be negative, not {size}")
    return price, size, bool(checked_range(code, 0, 1, "side"))


def _fits(value: int) -> int:
    if value > _INT64_MAX:
        raise OverflowError("fee does not fit int64")
    return value
