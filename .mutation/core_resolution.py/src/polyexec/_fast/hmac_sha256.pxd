# Contract of polyexec._fast.hmac_sha256. Stateless after import: every function may run on any
# thread; a context belongs to one thread, a prepared key may be read by all.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

ctypedef void (*Sha256Compress)(
    uint32_t* state, const uint8_t* blocks, size_t count
) noexcept nogil


cdef struct Sha256:
    uint32_t[8] state
    uint64_t length           # bytes taken so far
    uint8_t[64] block         # the last length % 64 of them, not compressed yet
    Sha256Compress compress


cdef struct HmacKey:  # as secret as the key it was made of
    uint32_t[8] inner         # state after the block key ^ 0x36...
    uint32_t[8] outer         # state after the block key ^ 0x5c...


cdef struct Hmac:
    Sha256 inner
    const HmacKey* key        # borrowed until c_hmac_finish


# One hash. `out32` may overlap `data`.
cdef void c_sha256(const uint8_t* data, size_t length, uint8_t* out32) noexcept nogil

# One key, then any number of messages in any number of pieces; `finish` wipes the context.
cdef void c_hmac_prepare(HmacKey* key, const uint8_t* secret, size_t length) noexcept nogil
cdef void c_hmac_begin(Hmac* context, const HmacKey* key) noexcept nogil
cdef void c_hmac_update(Hmac* context, const uint8_t* data, size_t length) noexcept nogil
cdef void c_hmac_finish(Hmac* context, uint8_t* out32) noexcept nogil

# Base64 of 32 bytes in the URL-safe alphabet: 43 characters and one '='; no closing zero.
cdef void c_base64url(const uint8_t* in32, char* out44) noexcept nogil

# True where hashing is done by the processor's own instructions.
cdef bint has_sha_instructions() noexcept nogil

# Zero `length` bytes, whatever the optimiser thinks of it.
cdef void c_wipe(void* start, size_t length) noexcept nogil


cdef class L2Key:
    cdef HmacKey key          # written once, before any other thread can see it
