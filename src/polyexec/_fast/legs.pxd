# Contract of polyexec._fast.legs: the legs of one submission, from quotes to the amounts that are
# signed. Rules and readable twin: ``_pure.legs``. A table is written by the function that makes it
# and only read afterwards, by any thread.
from libc.stdint cimport int64_t

cdef enum:
    MOST_LEGS = 15


cdef enum Fault:  # what can be wrong with a leg, in the order in which it is looked for
    FAULT_NONE, FAULT_NO_PRICE, FAULT_SAME_TOKEN, FAULT_OFF_TICK, FAULT_TOO_LARGE
    FAULT_NOT_ENOUGH_QUOTED, FAULT_TOO_FEW_SHARES, FAULT_TOO_FEW_DOLLARS


cdef struct Leg:
    # what is wanted
    const char* token        # decimal text, owned by the source
    Py_ssize_t token_length
    int side                 # BUY 0, SELL 1
    int order_type           # index into ORDER_TYPES: GTC, GTD, FOK, FAK
    int generation           # 1 to 3
    bint neg_risk
    bint post_only
    bint is_taker            # priced to cross
    int exponent             # of the fee, 0 to 4
    int64_t rate_micro       # of the fee; -1: not known
    int64_t quote_e4         # 1 to 9999
    int64_t tick_e4          # 0: not known
    int64_t wanted_micro     # shares
    int64_t available_micro  # shares at the quote; -1: not asked for
    int64_t least_micro      # shares, the market's minimum
    int64_t expiration       # unix seconds, 0 unless GTD
    # what is decided
    int64_t limit_e4
    int64_t size_micro       # shares
    int64_t maker_micro
    int64_t taker_micro
    int64_t fee_micro          # taker fee if all of it trades at the limit
    int64_t fee_reserve_micro  # the most that it can be; 0 for a SELL


cdef class LegTable:
    cdef readonly tuple sources
    cdef readonly Py_ssize_t count
    cdef readonly int fault
    cdef readonly Py_ssize_t fault_leg
    cdef readonly int size_fault
    cdef readonly Py_ssize_t size_fault_leg
    cdef readonly Py_ssize_t unknown_fee_leg
    cdef readonly bint needs_v1
    cdef readonly int64_t set_micro
    cdef readonly int64_t cost_micro
    cdef readonly int64_t gross_cost_micro
    cdef readonly int64_t quoted_e4
    cdef readonly int64_t collateral_micro
    cdef Leg[MOST_LEGS] legs

    # The same with each token paying 0 or 1 by itself, whichever loses.
    cdef int64_t loss_of_each(self) noexcept nogil
    # The sum of the parts that lose, in the outcome in which the tokens pay this.
    cdef int64_t c_loss(self, const int64_t* pays_micro) noexcept nogil
    cdef int64_t c_claim(self, Py_ssize_t index) noexcept nogil  # what the leg must hold
