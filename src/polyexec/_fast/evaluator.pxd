# Contract of polyexec._fast.evaluator. Rules and readable twin: ``_pure.evaluator``. It reads a
# price table and belongs to the thread that writes it.
from libc.stdint cimport int8_t, int32_t, int64_t

from polyexec._fast.prices cimport PriceTable

cdef enum:
    MOST_FORM_LEGS = 15


cdef enum Verdict:  # of a look at a form, as COUNTED names them
    COOLING, FEE_UNKNOWN, UNUSABLE, TOO_OLD, UNPROFITABLE, UNSIZED, FOUND, VERDICTS


cdef struct FormLeg:
    int32_t slot
    int32_t tenant        # of the slot when the form was added
    int32_t rate_micro    # of the taker fee; -1: not known
    int32_t tick_e4       # 0: not known; the table's goes first
    int8_t exponent       # of the fee
    int8_t side           # BUY 0, SELL 1
    int64_t least_micro   # shares


cdef struct FormData:
    int64_t quiet_until_ns
    int64_t payout_micro
    int32_t number
    int32_t count
    bint fee_known
    FormLeg[MOST_FORM_LEGS] legs  # only `count` of them have memory


cdef struct SlotForms:  # the forms that take one side of a slot's book
    FormData** items
    Py_ssize_t count
    Py_ssize_t room


cdef struct Candidate:
    int64_t size_micro
    int64_t cost_micro
    int64_t net_micro
    int64_t[MOST_FORM_LEGS] limits_e4
    int64_t[MOST_FORM_LEGS] depths_micro


cdef class Evaluator:
    cdef PriceTable table
    cdef int64_t min_profit_micro
    cdef int64_t min_bps
    cdef int64_t cooldown_ns
    cdef int64_t max_size_micro
    cdef int64_t max_age_ns
    cdef int is_immediate
    cdef FormData** forms      # by number; NULL: free
    cdef Py_ssize_t form_room
    cdef list objects          # the forms themselves, by number
    cdef list free_numbers
    cdef SlotForms* takers     # of bids and asks of each slot of the table
    cdef int64_t[VERDICTS] counted
    cdef int32_t* changed      # sides that one message changed, as in `takers`, each once
    cdef Py_ssize_t changed_room

    cdef object message_type   # class of the latest change, and where it keeps each field; 0: ask
    cdef Py_ssize_t[6] offsets

    cdef list find(self, int64_t side, int64_t now_ns, list found)
    cdef Verdict look(self, FormData* form, int64_t now_ns, Candidate* best) noexcept nogil
    cdef bint may_pay(self, const FormData* form, const int64_t* prices_e4) noexcept nogil
    cdef bint choose(
        self, const FormData* form, const int64_t* prices_e4, Candidate* best
    ) noexcept nogil
