# Contract of polyexec._fast.tapes. Rules and readable twin: ``_pure.tapes``. It writes the table of
# its evaluator and belongs to the thread that writes both.
from libc.stdint cimport int8_t, int32_t, int64_t

from polyexec._fast.evaluator cimport Evaluator
from polyexec._fast.prices cimport PriceTable


cdef class TapePlayer:
    cdef Evaluator evaluator
    cdef PriceTable table
    cdef int32_t[::1] slots          # of each token of the tape; -1: of no interest
    cdef int64_t ahead_ms
    cdef public bint stops_at_touch
    cdef readonly list finds         # what the latest message has made pay, one tuple per slot
    cdef readonly tuple touched      # slots whose books the latest message has changed
    cdef readonly list voided        # watched slots that the latest fault left without a book
    cdef readonly int64_t received_ns
    cdef readonly Py_ssize_t row     # the next

    cdef Py_ssize_t count
    cdef const int64_t[::1] received
    cdef const int64_t[::1] times
    cdef const int8_t[::1] kinds
    cdef const int8_t[::1] ends
    cdef const int32_t[::1] tokens
    cdef const int8_t[::1] sides
    cdef const int32_t[::1] prices
    cdef const int64_t[::1] sizes
    cdef const int32_t[::1] bids
    cdef const int32_t[::1] asks

    cdef int64_t[7] counted          # as COUNTED names them
    cdef int64_t[13] faults          # by the number of a Fault
    cdef int8_t* watches             # by slot: stop when its book has changed
    cdef list watched                # these slots
    cdef bint is_watching            # there are any
    cdef bint lost                   # the latest message has voided one of them
    cdef int32_t* changed            # slots that one message changed, each once
    cdef Py_ssize_t room

    cdef Py_ssize_t message(self, Py_ssize_t row, Py_ssize_t* touched) except -1
    cdef int take(self, Py_ssize_t slot, Py_ssize_t row) except 1000
    cdef int lose(self, Py_ssize_t slot) except -1
    cdef bint wants(self, Py_ssize_t slot) noexcept
    cdef Py_ssize_t slot_of(self, Py_ssize_t row) noexcept
    cdef Py_ssize_t note(self, Py_ssize_t touched, int32_t slot) except -1
    cdef int look(self, Py_ssize_t touched) except -1
