"""Order amounts and fees in integers. Readable twin and rules: ``_pure.amounts``."""

from libc.stdint cimport INT64_MAX, int64_t, uint32_t, uint64_t

from polyexec._fast.convert cimport as_int64

cdef extern from *:
    """
    typedef unsigned __int128 polyexec_uint128;
    """
    # Cython needs a name of a type it knows; C decides the width.
    ctypedef unsigned long long uint128_t "polyexec_uint128"

cdef enum:
    CENT = 10_000  # micro-units in a hundredth
    LIMBS = 6      # 2 * size * rate * variance ** 4 is below 2 ** 183
    BUY_CAP_E4 = 9900
    SELL_CAP_E4 = 100

cdef int64_t[7] POWERS_OF_TEN = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000]


def limit_amounts(price_e4, size_micro, side):  # hot
    """Return (maker, taker) micro-units of a GTC or GTD order; see ``_pure.amounts``."""
    cdef int64_t price = as_int64(price_e4), size = as_int64(size_micro), code = as_int64(side)
    check(price, size, code)
    cdef Amounts amounts = c_limit_amounts(price, size, <int>code)
    return amounts.maker, amounts.taker


def market_amounts(price_e4, amount_micro, side, amount_decimals):  # hot
    """Return (maker, taker) micro-units of a FOK or FAK order; see ``_pure.amounts``."""
    cdef int64_t price = as_int64(price_e4), amount = as_int64(amount_micro), code = as_int64(side)
    cdef int64_t decimals = as_int64(amount_decimals)
    check(price, amount, code)
    check_range(decimals, 6, "amount_decimals")
    cdef Amounts amounts = c_market_amounts(price, amount, <int>code, <int>decimals)
    if amounts.taker < 0:
        raise OverflowError("taker amount does not fit int64")
    return amounts.maker, amounts.taker


def slippage_e4(price_e4, side, tick_e4):  # hot
    """Return the limit one step worse than a quote; see ``_pure.amounts``."""
    cdef int64_t price = as_int64(price_e4), code = as_int64(side), tick = as_int64(tick_e4)
    check(price, 0, code)
    check_range(tick, 9999, "tick_e4")
    if tick and price % tick:
        raise ValueError(f"price_e4 must be a multiple of {tick}, not {price}")
    return c_slippage_e4(price, <int>code, tick)


def taker_fee(price_e4, size_micro, rate_micro, exponent):
    """Return the most that a taker pays, in micro-dollars; see ``_pure.amounts``."""
    cdef int64_t price = as_int64(price_e4), size = as_int64(size_micro)
    cdef int64_t rate = as_int64(rate_micro), power = as_int64(exponent)
    check_fee(price, size, rate, power)
    return fitting(c_taker_fee(price, size, rate, <int>power))


def fill_fee(price_e4, size_micro, rate_micro, exponent):
    """Return what the exchange charges for one fill, in micro-dollars; see ``_pure.amounts``."""
    cdef int64_t price = as_int64(price_e4), size = as_int64(size_micro)
    cdef int64_t rate = as_int64(rate_micro), power = as_int64(exponent)
    check_fee(price, size, rate, power)
    return fitting(c_fill_fee(price, size, rate, <int>power))


cdef Amounts c_limit_amounts(int64_t price_e4, int64_t size_micro, int side) noexcept nogil:  # hot
    cdef int64_t cents = size_micro // CENT
    cdef Amounts amounts
    if side:
        amounts.maker, amounts.taker = cents * CENT, cents * price_e4
    else:
        amounts.maker, amounts.taker = cents * price_e4, cents * CENT
    return amounts


cdef Amounts c_market_amounts(
    int64_t price_e4, int64_t amount_micro, int side, int amount_decimals
) noexcept nogil:  # hot
    cdef int64_t unit = POWERS_OF_TEN[6 - min(4, amount_decimals)]
    cdef uint128_t units
    cdef Amounts amounts
    amounts.maker = amount_micro // CENT * CENT
    if side:
        units = <uint128_t>amounts.maker * <uint128_t>price_e4 // <uint128_t>(10_000 * unit)
    else:
        units = <uint128_t>amounts.maker * 10_000 // <uint128_t>(price_e4 * unit)
    units *= <uint128_t>unit
    amounts.taker = <int64_t>units if units <= <uint128_t>INT64_MAX else -1
    return amounts


cdef int64_t c_slippage_e4(int64_t price_e4, int side, int64_t tick_e4) noexcept nogil:  # hot
    cdef int64_t grid = tick_e4 if tick_e4 else 1
    cdef int64_t step = tick_e4
    if step == 0:
        step = 100 if 400 < price_e4 < 9600 else 10
    if side:
        return min(price_e4, max(price_e4 - step, (SELL_CAP_E4 + grid - 1) // grid * grid))
    return max(price_e4, min(price_e4 + step, BUY_CAP_E4 // grid * grid))


cdef int64_t c_taker_fee(
    int64_t price_e4, int64_t size_micro, int64_t rate_micro, int exponent
) noexcept nogil:  # hot
    cdef bint is_exact
    cdef uint64_t units = fee_units(price_e4, size_micro, rate_micro, exponent, 1, &is_exact)
    return to_micro(units if is_exact else units + 1)


cdef int64_t c_fill_fee(
    int64_t price_e4, int64_t size_micro, int64_t rate_micro, int exponent
) noexcept nogil:  # hot
    cdef bint is_exact
    # floor(x + 1/2) == (floor(2x) + 1) // 2
    cdef uint64_t doubled = fee_units(price_e4, size_micro, rate_micro, exponent, 2, &is_exact)
    if doubled == 0:
        return 0 if is_exact else 10
    return to_micro((doubled + 1) // 2)


cdef uint64_t fee_units(
    int64_t price_e4,
    int64_t size_micro,
    int64_t rate_micro,
    int exponent,
    uint32_t factor,
    bint* is_exact,
) noexcept nogil:  # hot
    """Return floor(factor * fee) in units of 1e-5 dollars, and whether nothing was cut off."""
    cdef uint32_t[LIMBS] limbs
    cdef uint32_t variance = <uint32_t>(price_e4 * (10_000 - price_e4))
    cdef uint64_t rest
    cdef int i, _power
    for i in range(LIMBS):
        limbs[i] = 0
    limbs[0] = <uint32_t>size_micro
    limbs[1] = <uint32_t>(<uint64_t>size_micro >> 32)
    multiply(limbs, factor * <uint32_t>rate_micro)
    for _power in range(exponent):
        multiply(limbs, variance)
    # Floors nest: floor(floor(n / a) / b) == floor(n / (a * b)).
    rest = divide(limbs, 10_000_000)
    for _power in range(exponent):
        rest |= divide(limbs, 100_000_000)
    is_exact[0] = rest == 0
    return <uint64_t>limbs[1] << 32 | limbs[0]


cdef inline void multiply(uint32_t* limbs, uint32_t by) noexcept nogil:
    cdef uint64_t carry = 0
    cdef int i
    for i in range(LIMBS):
        carry += <uint64_t>limbs[i] * by
        limbs[i] = <uint32_t>carry
        carry >>= 32


cdef inline uint64_t divide(uint32_t* limbs, uint32_t by) noexcept nogil:
    """Divide in place and return the remainder."""
    cdef uint64_t rest = 0
    cdef int i
    for i in range(LIMBS - 1, -1, -1):
        rest = rest << 32 | limbs[i]
        limbs[i] = <uint32_t>(rest // by)
        rest %= by
    return rest


cdef inline int64_t to_micro(uint64_t units) noexcept nogil:
    return <int64_t>(units * 10) if units <= <uint64_t>INT64_MAX // 10 else -1


cdef inline object fitting(int64_t fee):
    if fee < 0:
        raise OverflowError("fee does not fit int64")
    return fee


cdef inline int check(int64_t price_e4, int64_t size_micro, int64_t side) except -1:
    if price_e4 < 1 or price_e4 > 9999:
        raise ValueError(f"price_e4 must be 1 to 9999, not {price_e4}")
    if size_micro < 0:
        raise ValueError(f"size must not be negative, not {size_micro}")
    return check_range(side, 1, "side")


cdef inline int check_fee(
    int64_t price_e4, int64_t size_micro, int64_t rate_micro, int64_t exponent
) except -1:
    check(price_e4, size_micro, 0)
    check_range(rate_micro, 1_000_000, "rate_micro")
    return check_range(exponent, 4, "exponent")


cdef inline int check_range(int64_t value, int64_t most, str name) except -1:
    if value < 0 or value > most:
        raise ValueError(f"{name} must be 0 to {most}, not {value}")
    return 0
