# Contract of polyexec._fast.prices. Rules and readable twin: ``_pure.prices``. One thread writes,
# the one that owns the feed; every other reads through Python, under the GIL.
from libc.stdint cimport int8_t, int32_t, int64_t

cdef enum:
    BOOK_EMPTY, BOOK_LIVE, BOOK_CROSSED  # BookState


cdef struct Row:  # one slot as others see it; the layout of ``view()``
    int64_t best_bid_e4          # 0: no orders on that side
    int64_t best_ask_e4
    int64_t best_bid_size_micro
    int64_t best_ask_size_micro
    int64_t time_ms              # of the latest event, as the exchange stamped it
    int64_t received_ns          # monotonic
    int32_t tick_e4              # 0: not known
    int32_t state
    int32_t epoch
    int32_t tenant               # goes up when a token takes or leaves it: odd while one has it


cdef struct Level:
    int64_t price_e4    # 1 to 9999
    int64_t size_micro  # 1 to 2 ** 58


cdef struct Levels:  # best last: bids ascend, asks descend
    Level* items
    Py_ssize_t count
    Py_ssize_t room


cdef class PriceTable:
    cdef readonly Py_ssize_t capacity
    cdef public int64_t horizon_ms
    cdef Row* rows       # capacity of them, never moved
    cdef Levels* sides   # bids and asks of each slot
    cdef dict slots      # token -> slot
    cdef list tokens     # slot -> token or None
    cdef list free_slots

    cdef Py_ssize_t c_known(self, object slot) except -2  # -1: no token has it
    cdef Py_ssize_t c_slot(self, object token_id) except -2
    # Flags or a fault, as apply_change returns them.
    cdef int c_apply(
        self, Py_ssize_t slot, object side, object price, object size, object best_bid,
        object best_ask, object time_ms, int64_t received_ns,
    ) except 1000
    # The same in integers: code 0 for bids and 1 for asks, -1 where no best is stated and 0 where
    # it is of an empty side; a time or a code below 0 is a fault.
    cdef int c_apply_level(
        self, Py_ssize_t slot, int code, int64_t price_e4, int64_t size_micro, int64_t best_bid,
        int64_t best_ask, int64_t time, int64_t received_ns,
    ) except 1000
    cdef int c_load_levels(
        self, Py_ssize_t slot, Py_ssize_t count, const int8_t* codes, const int32_t* prices_e4,
        const int64_t* sizes_micro, int64_t tick, int64_t time, int64_t received_ns,
    ) except 1000
