"""The gate of submissions, lock-free. Rules and readable twin: ``_pure.gate``."""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint64_t

from polyexec._fast.atomics cimport and_u64, load, load_u64, move, move_u64, or_u64
from polyexec._fast.convert cimport as_int64

cdef enum:
    MOST = 0x7FFFFFFF  # what 31 bits can count

cdef uint64_t ENABLED = 1
cdef uint64_t ONE = 2  # in flight
cdef uint64_t LEFT = (<uint64_t>1) << 32


@cython.auto_pickle(False)
cdef class GateCore:
    """State that every submitting thread shares; see ``_pure.gate``."""

    _fault = ValueError
    _reasons = (None, 1, 2, 3)

    def __cinit__(self, *, enabled, cooldown_ns, max_in_flight):
        self.cooldown_ns = in_range(cooldown_ns, 0, INT64_MAX, "cooldown_ns")
        self.most = <uint64_t>in_range(max_in_flight, 1, MOST, "max_in_flight")
        self.word = ENABLED if enabled else 0
        self.stamped_ns = -1

    @property
    def enabled(self):
        """The trading switch."""
        return bool(load_u64(&self.word) & ENABLED)

    @property
    def in_flight(self):
        """Submissions without an answer."""
        return inside(load_u64(&self.word))

    def set_enabled(self, flag):
        """Set the trading switch; no submission enters after this returned with False."""
        if flag:
            or_u64(&self.word, ENABLED)
        else:
            and_u64(&self.word, ~ENABLED)

    def check(self, now_ns):  # hot
        """Return why a submission may not start, without starting one."""
        cdef int refusal = c_check(self, clock(now_ns))
        if refusal == ENTERED:
            return None
        return self._reasons[refusal]

    def enter(self, now_ns):  # hot
        """Start a submission, or return why not. What ``check`` said is checked again."""
        cdef int refusal = c_enter(self, clock(now_ns))
        if refusal == ENTERED:
            return None
        return self._reasons[refusal]

    def stamp(self, now_ns):  # hot
        """Start the cooldown for an entered submission that holds its reservation.

        Returns the reason of the cooldown when another one stamped since.
        """
        cdef int refusal = c_stamp(self, clock(now_ns))
        if refusal == ENTERED:
            return None
        return self._reasons[refusal]

    def leave(self):  # hot
        """End a submission that entered."""
        if not c_leave(self):
            raise self._fault("a submission left that never entered")


cdef int c_check(GateCore gate, int64_t now_ns) noexcept nogil:  # hot
    return refusal_of(gate, load_u64(&gate.word), now_ns)


cdef int c_enter(GateCore gate, int64_t now_ns) noexcept nogil:  # hot
    cdef uint64_t word = load_u64(&gate.word)
    cdef int refusal
    while True:
        refusal = refusal_of(gate, word, now_ns)
        # The count of those who left makes the word a new one: had somebody entered, stamped and
        # left since it was read, the cooldown that was checked would be an old one.
        if refusal != ENTERED or move_u64(&gate.word, &word, word + ONE):
            return refusal


cdef int c_stamp(GateCore gate, int64_t now_ns) noexcept nogil:  # hot
    cdef int64_t stamped = load(&gate.stamped_ns)
    while not is_cooling(gate, stamped, now_ns):
        if move(&gate.stamped_ns, &stamped, now_ns):
            return ENTERED
    return COOLING


cdef bint c_leave(GateCore gate) noexcept nogil:  # hot
    cdef uint64_t word = load_u64(&gate.word)
    while inside(word):
        if move_u64(&gate.word, &word, word - ONE + LEFT):
            return True
    return False


cdef inline uint64_t inside(uint64_t word) noexcept nogil:
    return word >> 1 & MOST


cdef inline int refusal_of(GateCore gate, uint64_t word, int64_t now_ns) noexcept nogil:
    if not word & ENABLED:
        return DISABLED
    if inside(word) >= gate.most:
        return FULL
    return COOLING if is_cooling(gate, load(&gate.stamped_ns), now_ns) else ENTERED


cdef inline bint is_cooling(GateCore gate, int64_t stamped, int64_t now_ns) noexcept nogil:
    # Another thread may have stamped after this one read the clock: with the cooldown switched
    # off that must not count as "too recent".
    return stamped >= 0 and 0 < gate.cooldown_ns and now_ns - stamped < gate.cooldown_ns


cdef inline int64_t clock(object now_ns) except -1:
    cdef int64_t number = as_int64(now_ns)
    if number < 0:
        raise ValueError(f"now_ns must not be negative, not {number}")
    return number


cdef int64_t in_range(object value, int64_t low, int64_t high, str name) except -1:
    cdef int64_t number = as_int64(value)
    if number < low or number > high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number
