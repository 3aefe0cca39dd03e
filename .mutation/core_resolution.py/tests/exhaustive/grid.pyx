# cython: language_level=3, cdivision=True, boundscheck=False, wraparound=False
"""The grid check of ``run``, compiled: about a thousand million cases in a minute.

It calls the C functions that orders are sized with, and pins every amount from both sides by
cross-multiplication in 128 bits; it never divides to get an expected value.
"""

from libc.stdint cimport int64_t

from polyexec._fast.amounts cimport Amounts, c_limit_amounts, c_market_amounts

cdef extern from *:
    """
    typedef __int128 grid_int128;
    """
    ctypedef long long int128 "grid_int128"

cdef enum:
    CENT = 10_000
    DOLLAR = 10_000  # in price units


def check(
    int64_t tick, int64_t first, int64_t last, int decimals, const int64_t[::1] sizes, int64_t lost
):
    """Return cases, mismatches and the first mismatch of the prices ``first`` to ``last``.

    ``lost`` is taken off every second amount before it is judged: a check that passes then is none.
    """
    cdef int64_t price, cases = 0, mismatches = 0, bad_price = 0, bad_size = 0
    cdef int side, bad_side = 0
    cdef Py_ssize_t i
    cdef Amounts limit, market
    with nogil:
        price = first
        while price <= last:
            for i in range(sizes.shape[0]):
                for side in range(2):
                    limit = c_limit_amounts(price, sizes[i], side)
                    market = c_market_amounts(price, sizes[i], side, decimals)
                    limit.taker -= lost
                    market.taker -= lost
                    cases += 2
                    if not limit_is_right(tick, price, sizes[i], side, decimals, limit):
                        mismatches += 1
                    elif market_is_right(price, sizes[i], side, decimals, market):
                        continue
                    if not market_is_right(price, sizes[i], side, decimals, market):
                        mismatches += 1
                    if bad_price == 0:
                        bad_price, bad_size, bad_side = price, sizes[i], side
            price += tick
    return cases, mismatches, (bad_price, bad_size, bad_side)


cdef bint limit_is_right(
    int64_t tick, int64_t price, int64_t size, int side, int decimals, Amounts got
) noexcept nogil:
    cdef int64_t shares = got.maker if side else got.taker
    cdef int64_t collateral = got.taker if side else got.maker
    # Two decimals of shares, and one hundredth more would be above what was asked.
    if shares < 0 or shares % CENT or shares > size or size - shares >= CENT:
        return False
    # collateral / shares == price / 1 dollar, so the exchange finds the price and its tick again.
    if <int128>collateral * DOLLAR != <int128>shares * price:
        return False
    if <int128>collateral * DOLLAR % (<int128>tick * (shares if shares else 1)):
        return False
    return collateral % finest(decimals) == 0


cdef bint market_is_right(
    int64_t price, int64_t amount, int side, int decimals, Amounts got
) noexcept nogil:
    cdef int64_t unit = finest(decimals if decimals < 4 else 4)
    if got.maker < 0 or got.maker % CENT or got.maker > amount or amount - got.maker >= CENT:
        return False
    if got.taker < 0 or got.taker % unit:
        return False
    # taker <= exact < taker + unit, with both sides multiplied by the divisor.
    if side:
        return (
            <int128>got.taker * DOLLAR <= <int128>got.maker * price
            and <int128>got.maker * price < (<int128>got.taker + unit) * DOLLAR
        )
    return (
        <int128>got.taker * price <= <int128>got.maker * DOLLAR
        and <int128>got.maker * DOLLAR < (<int128>got.taker + unit) * price
    )


cdef int64_t finest(int decimals) noexcept nogil:
    """Return micro-units of one step of the last decimal that is allowed."""
    cdef int64_t unit = 1
    while decimals < 6:
        unit *= 10
        decimals += 1
    return unit
