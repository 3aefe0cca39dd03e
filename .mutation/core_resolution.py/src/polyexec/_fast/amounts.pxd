# Contract of polyexec._fast.amounts. Stateless: every function may run on any thread at once.
# Money is int64 micro-units (1e-6), prices are ten-thousandths of a dollar. Callers of the C
# functions have checked: 1 <= price_e4 <= 9999, sizes >= 0, side 0 (BUY) or 1 (SELL),
# 0 <= decimals <= 6, 0 <= rate_micro <= 1_000_000, 0 <= exponent <= 4.
from libc.stdint cimport int64_t


cdef struct Amounts:
    int64_t maker
    int64_t taker


# Never overflows: collateral is at most the size.
cdef Amounts c_limit_amounts(int64_t price_e4, int64_t size_micro, int side) noexcept nogil
# taker is -1 when it does not fit int64.
cdef Amounts c_market_amounts(
    int64_t price_e4, int64_t amount_micro, int side, int amount_decimals
) noexcept nogil

# The limit one step worse than a quote. tick_e4 0: not known, else price_e4 is a multiple of it.
cdef int64_t c_slippage_e4(int64_t price_e4, int side, int64_t tick_e4) noexcept nogil

# -1 when the fee does not fit int64.
cdef int64_t c_taker_fee(
    int64_t price_e4, int64_t size_micro, int64_t rate_micro, int exponent
) noexcept nogil
cdef int64_t c_fill_fee(
    int64_t price_e4, int64_t size_micro, int64_t rate_micro, int exponent
) noexcept nogil
