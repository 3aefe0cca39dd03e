"""keccak256 with the original padding, as Ethereum uses it (not SHA3-256)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    RATE = 136  # bytes absorbed per permutation: (1600 - 2 * 256) bits

cdef uint64_t[24] ROUND_CONSTANTS = [
    0x0000000000000001, 0x0000000000008082, 0x800000000000808A, 0x8000000080008000,
    0x000000000000808B, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008A, 0x0000000000000088, 0x0000000080008009, 0x000000008000000A,
    0x000000008000808B, 0x800000000000008B, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800A, 0x800000008000000A,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
]


def keccak256(data):  # hot
    """Return the 32-byte keccak-256 hash of ``data``.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    TypeError
        ``data`` is not bytes.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
    cdef size_t length = <size_t>PyBytes_GET_SIZE(data)
    cdef uint8_t[32] digest
    c_keccak256(start, length, digest)
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


cdef void c_keccak256(const uint8_t* data, size_t length, uint8_t* out) noexcept nogil:  # hot
    cdef uint64_t[25] state
    cdef uint8_t[RATE] tail
    cdef Py_ssize_t i
    for i in range(25):
        state[i] = 0
    while length >= RATE:
        absorb(state, data)
        data += RATE
        length -= RATE
    for i in range(RATE):
        tail[i] = data[i] if i < <Py_ssize_t>length else 0
    tail[length] = 0x01
    tail[RATE - 1] |= 0x80
    absorb(state, tail)
    for i in range(32):
        out[i] = <uint8_t>(state[i >> 3] >> (8 * (i & 7)))


cdef inline void absorb(uint64_t* state, const uint8_t* block) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(RATE // 8):
        state[i] ^= load64(block + 8 * i)
    permute(state)


cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    # Little endian on every machine; compilers make one load of it.
    return (
        <uint64_t>p[0] | <uint64_t>p[1] << 8 | <uint64_t>p[2] << 16 | <uint64_t>p[3] << 24
        | <uint64_t>p[4] << 32 | <uint64_t>p[5] << 40 | <uint64_t>p[6] << 48 | <uint64_t>p[7] << 56
    )


cdef inline uint64_t rotl(uint64_t value, int count) noexcept nogil:
    return value << count | value >> (64 - count)


cdef void permute(uint64_t* s) noexcept nogil:  # hot
    """Keccak-f[1600]. Lane (x, y) is a[x + 5y]; scalars, so compilers keep them in registers."""
    cdef uint64_t a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12
    cdef uint64_t a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24
    cdef uint64_t e0, e1, e2, e3, e4, e5, e6, e7, e8, e9, e10, e11, e12
    cdef uint64_t e13, e14, e15, e16, e17, e18, e19, e20, e21, e22, e23, e24
    cdef uint64_t b0, b1, b2, b3, b4, c0, c1, c2, c3, c4, d0, d1, d2, d3, d4
    cdef Py_ssize_t i
    a0, a1, a2, a3, a4 = s[0], s[1], s[2], s[3], s[4]
    a5, a6, a7, a8, a9 = s[5], s[6], s[7], s[8], s[9]
    a10, a11, a12, a13, a14 = s[10], s[11], s[12], s[13], s[14]
    a15, a16, a17, a18, a19 = s[15], s[16], s[17], s[18], s[19]
    a20, a21, a22, a23, a24 = s[20], s[21], s[22], s[23], s[24]
    for i in range(24):
        c0 = a0 ^ a5 ^ a10 ^ a15 ^ a20
        c1 = a1 ^ a6 ^ a11 ^ a16 ^ a21
        c2 = a2 ^ a7 ^ a12 ^ a17 ^ a22
        c3 = a3 ^ a8 ^ a13 ^ a18 ^ a23
        c4 = a4 ^ a9 ^ a14 ^ a19 ^ a24
        d0 = c4 ^ rotl(c1, 1)
        d1 = c0 ^ rotl(c2, 1)
        d2 = c1 ^ rotl(c3, 1)
        d3 = c2 ^ rotl(c4, 1)
        d4 = c3 ^ rotl(c0, 1)
        b0 = a0 ^ d0
        b1 = rotl(a6 ^ d1, 44)
        b2 = rotl(a12 ^ d2, 43)
        b3 = rotl(a18 ^ d3, 21)
        b4 = rotl(a24 ^ d4, 14)
        e0 = b0 ^ (~b1 & b2) ^ ROUND_CONSTANTS[i]
        e1 = b1 ^ (~b2 & b3)
        e2 = b2 ^ (~b3 & b4)
        e3 = b3 ^ (~b4 & b0)
        e4 = b4 ^ (~b0 & b1)
        b0 = rotl(a3 ^ d3, 28)
        b1 = rotl(a9 ^ d4, 20)
        b2 = rotl(a10 ^ d0, 3)
        b3 = rotl(a16 ^ d1, 45)
        b4 = rotl(a22 ^ d2, 61)
        e5 = b0 ^ (~b1 & b2)
        e6 = b1 ^ (~b2 & b3)
        e7 = b2 ^ (~b3 & b4)
        e8 = b3 ^ (~b4 & b0)
        e9 = b4 ^ (~b0 & b1)
        b0 = rotl(a1 ^ d1, 1)
        b1 = rotl(a7 ^ d2, 6)
        b2 = rotl(a13 ^ d3, 25)
        b3 = rotl(a19 ^ d4, 8)
        b4 = rotl(a20 ^ d0, 18)
        e10 = b0 ^ (~b1 & b2)
        e11 = b1 ^ (~b2 & b3)
        e12 = b2 ^ (~b3 & b4)
        e13 = b3 ^ (~b4 & b0)
        e14 = b4 ^ (~b0 & b1)
        b0 = rotl(a4 ^ d4, 27)
        b1 = rotl(a5 ^ d0, 36)
        b2 = rotl(a11 ^ d1, 10)
        b3 = rotl(a17 ^ d2, 15)
        b4 = rotl(a23 ^ d3, 56)
        e15 = b0 ^ (~b1 & b2)
        e16 = b1 ^ (~b2 & b3)
        e17 = b2 ^ (~b3 & b4)
        e18 = b3 ^ (~b4 & b0)
        e19 = b4 ^ (~b0 & b1)
        b0 = rotl(a2 ^ d2, 62)
        b1 = rotl(a8 ^ d3, 55)
        b2 = rotl(a14 ^ d4, 39)
        b3 = rotl(a15 ^ d0, 41)
        b4 = rotl(a21 ^ d1, 2)
        e20 = b0 ^ (~b1 & b2)
        e21 = b1 ^ (~b2 & b3)
        e22 = b2 ^ (~b3 & b4)
        e23 = b3 ^ (~b4 & b0)
        e24 = b4 ^ (~b0 & b1)
        a0, a1, a2, a3, a4 = e0, e1, e2, e3, e4
        a5, a6, a7, a8, a9 = e5, e6, e7, e8, e9
        a10, a11, a12, a13, a14 = e10, e11, e12, e13, e14
        a15, a16, a17, a18, a19 = e15, e16, e17, e18, e19
        a20, a21, a22, a23, a24 = e20, e21, e22, e23, e24
    s[0], s[1], s[2], s[3], s[4] = a0, a1, a2, a3, a4
    s[5], s[6], s[7], s[8], s[9] = a5, a6, a7, a8, a9
    s[10], s[11], s[12], s[13], s[14] = a10, a11, a12, a13, a14
    s[15], s[16], s[17], s[18], s[19] = a15, a16, a17, a18, a19
    s[20], s[21], s[22], s[23], s[24] = a20, a21, a22, a23, a24
