# Contract of polyexec._fast.gate: the trading switch, the places in flight and the cooldown.
#
# Every function may run on any number of threads at once, without the GIL; none ever waits.
from libc.stdint cimport int64_t, uint64_t


cdef enum Refusal:
    ENTERED = 0
    DISABLED = 1
    FULL = 2     # as many in flight as may be
    COOLING = 3  # the last stamp is too recent


cdef class GateCore:
    # bit 0 the switch, bits 1 to 31 those in flight, above them how many have left. Written by
    # enter, leave and set_enabled; one word, so that none enters after the switch went off.
    cdef uint64_t word
    # Time of the last stamp, -1 before the first. Written by stamp.
    cdef int64_t stamped_ns
    # Never change.
    cdef int64_t cooldown_ns
    cdef uint64_t most


# 0 <= now_ns. Each returns a Refusal.
cdef int c_check(GateCore gate, int64_t now_ns) noexcept nogil
cdef int c_enter(GateCore gate, int64_t now_ns) noexcept nogil
cdef int c_stamp(GateCore gate, int64_t now_ns) noexcept nogil
# 0: nobody is inside.
cdef bint c_leave(GateCore gate) noexcept nogil
