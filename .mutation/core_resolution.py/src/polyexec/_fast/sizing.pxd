# Contract of polyexec._fast.sizing. Stateless: every function may run on any thread at once.
# Rules and readable twin: ``_pure.sizing``.
from libc.stdint cimport int64_t


# What one leg of a set asks of the size that all its legs share.
cdef struct SizingLeg:
    int64_t price_e4            # 1 to 9999: the limit that is signed
    int64_t tick_e4             # 1 to 9999, or 0: not known
    int64_t min_size_micro      # shares, at least 0
    int64_t min_notional_micro  # price x size, at least 0
    int side                    # BUY 0, SELL 1
    int is_immediate            # GTC and GTD 0, FOK and FAK 1


# 0: there is no such size. wanted_micro >= 0. Never overflows: the result is at most the wanted.
cdef int64_t c_group_size(
    const SizingLeg* legs, Py_ssize_t count, int64_t wanted_micro
) noexcept nogil
