# Contract of polyexec._fast.nonces: ECDSA nonces prepared before there is a message.
#
# Any number of threads may sign and fill at the same time, without the GIL and without waiting for
# each other; each entry goes to exactly one of them.
from libc.stdint cimport int64_t, uint8_t, uint64_t


# Of a nonce k: r = x(kG), 1 / k and r d / k. The latter two are as secret as the key d.
cdef struct Entry:
    uint8_t[32] r
    uint8_t[32] inverse
    uint8_t[32] offset
    uint8_t odd  # parity of y(kG)


cdef struct Slot:
    uint64_t turn  # 2 t: free for filling number t; 2 t + 1: filled
    Entry entry


cdef class Bell:
    cdef void* lock  # held, except between a ring and the end of a wait
    cdef int armed

    cdef void arm(self) noexcept nogil
    cdef void disarm(self) noexcept nogil
    cdef void ring(self) noexcept nogil
    cdef void wait(self, int64_t microseconds) noexcept nogil


cdef class NoncePool:
    cdef object __weakref__
    cdef uint8_t* memory  # one page that starts with the key, then the ring
    cdef size_t length
    cdef Slot* slots
    cdef uint64_t capacity
    cdef uint64_t low_water
    cdef uint64_t head  # entries taken
    cdef uint64_t tail  # entries put in
    cdef uint64_t deterministic
    cdef uint64_t generation  # of the process that may use the slots
    cdef int users  # threads that work on the memory
    cdef int closed
    cdef int protection
    cdef int wanted  # by the thread that fills
    cdef Bell bell
    cdef object thread
    cdef object guard  # of thread, held by start and stop

    cdef void arm(self) noexcept nogil
    cdef int take(self, Entry* out) noexcept nogil
    cdef int put(self, const Entry* entry) noexcept nogil
    cdef int prepare(self, const uint8_t* message32, const uint8_t* extra32) noexcept nogil


# Write r, s, v. Returns 1: signed with a prepared nonce; 2: with the RFC 6979 nonce, because none
# was ready or the digest is 0 modulo n (`deterministic` counts it); 0: not signed, it is closed.
# The pool must not be freed meanwhile: the caller holds a reference.
cdef int c_take_and_sign(
    NoncePool pool, const uint8_t* digest32, uint8_t* out65
) noexcept nogil
