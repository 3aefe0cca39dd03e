# Contract of polyexec._fast.secp256k1: libsecp256k1 by address. After `bind` every function may run
# on any thread at once, without the GIL. All arithmetic is libsecp256k1's, through its public
# functions. Each returns 1 when done and 0 when refused: not bound, or a scalar not in 1 to n - 1.
from libc.stdint cimport uint8_t

cdef enum:
    SIGNATURE_BYTES = 65  # r, s, v


cdef bint c_is_bound() noexcept nogil

# RFC 6979 nonce, low s, v of 27 or 28.
cdef int c_sign(const uint8_t* key32, const uint8_t* digest32, uint8_t* out65) noexcept nogil

# Scalars are 32 bytes, big endian, modulo the curve order n. `a` and `b` are different buffers.
cdef int c_is_scalar(const uint8_t* a) noexcept nogil
cdef int c_multiply(uint8_t* a, const uint8_t* b) noexcept nogil
cdef int c_add(uint8_t* a, const uint8_t* b) noexcept nogil
cdef int c_negate(uint8_t* a) noexcept nogil
# The point a * G, compressed: 2 or 3 for an even or odd y, then x.
cdef int c_point(const uint8_t* a, uint8_t* out33) noexcept nogil
# HMAC-DRBG (SHA-256) seeded with key, message, extra and label; `attempt` counts its outputs.
cdef int c_nonce(
    const uint8_t* key32, const uint8_t* message32, const uint8_t* extra32, const uint8_t* label16,
    unsigned int attempt, uint8_t* out32,
) noexcept nogil


cdef class Key:
    cdef uint8_t* key  # 32 bytes, written once, in a page of their own
