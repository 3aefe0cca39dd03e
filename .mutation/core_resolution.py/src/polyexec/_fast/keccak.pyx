"""keccak256 with the original padding, as Ethereum uses it (not SHA3-256)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "keccak.h" nogil:
    ctypedef void (*Permutation "keccak_f")(uint64_t* state) noexcept nogil
    void keccak_f_portable(uint64_t* state) noexcept
    Permutation keccak_best() noexcept
    Permutation keccak_best4() noexcept

cdef enum:
    RATE = 136  # bytes absorbed per permutation: (1600 - 2 * 256) bits
    TOGETHER = 4

# Written once, here, while the module is imported; read only afterwards.
cdef Permutation BEST = keccak_best()
cdef Permutation BEST4 = keccak_best4()


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
    cdef uint8_t[32] digest
    check_bytes(data)
    c_keccak256(start_of(data), <size_t>PyBytes_GET_SIZE(data), digest)
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


def keccak256_portable(data):
    """Return what :func:`keccak256` does, without special instructions. For tests."""
    cdef uint8_t[32] digest
    check_bytes(data)
    hash_one(keccak_f_portable, start_of(data), <size_t>PyBytes_GET_SIZE(data), digest)
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


def keccak256_each(messages, *, portable=False):
    """Return the hashes of messages of one length, computed side by side. For tests."""
    cdef bytes joined = b"".join(messages)
    cdef Py_ssize_t count = len(messages)
    cdef size_t length = <size_t>len(messages[0])
    cdef bytes out = bytes(32 * count)
    if <size_t>count * length != <size_t>len(joined):
        raise ValueError("the messages must have one length")
    hash_each(
        keccak_f_portable if portable else BEST, NULL if portable else BEST4,
        start_of(joined), length, length, count, <uint8_t*>PyBytes_AS_STRING(out),
    )
    return [out[at : at + 32] for at in range(0, 32 * count, 32)]


cdef void c_keccak256(const uint8_t* data, size_t length, uint8_t* out) noexcept nogil:  # hot
    hash_one(BEST, data, length, out)


cdef void c_keccak256_each(
    const uint8_t* data, size_t length, size_t stride, Py_ssize_t count, uint8_t* out
) noexcept nogil:  # hot
    hash_each(BEST, BEST4, data, length, stride, count, out)


cdef void hash_one(
    Permutation permute, const uint8_t* data, size_t length, uint8_t* out
) noexcept nogil:  # hot
    cdef uint64_t[25] state
    cdef uint8_t[RATE] block
    cdef bint more = True
    cdef Py_ssize_t i
    memset(state, 0, sizeof(state))
    while more:
        more = take_block(&data, &length, block)
        for i in range(RATE // 8):
            state[i] ^= load64(block + 8 * i)
        permute(state)
    for i in range(4):
        store64(out + 8 * i, state[i])


cdef void hash_each(
    Permutation permute, Permutation permute4,
    const uint8_t* data, size_t length, size_t stride, Py_ssize_t count, uint8_t* out,
) noexcept nogil:  # hot
    cdef Py_ssize_t together
    while count > 0:
        # Four side by side cost about as much as one.
        together = min(count, TOGETHER) if permute4 != NULL else 1
        if together == 1:
            hash_one(permute, data, length, out)
        else:
            hash_four(permute4, data, length, stride, together, out)
        data += together * stride
        out += together * 32
        count -= together


cdef void hash_four(
    Permutation permute, const uint8_t* data, size_t length, size_t stride, Py_ssize_t count,
    uint8_t* out,
) noexcept nogil:  # hot
    cdef uint64_t[25 * TOGETHER] state  # lane i of message j at 4 i + j
    cdef uint8_t[RATE] block
    cdef const uint8_t* part
    cdef size_t left
    cdef bint more = True
    cdef Py_ssize_t i, j
    memset(state, 0, sizeof(state))
    while more:
        for j in range(count):
            part = data + j * stride
            left = length
            more = take_block(&part, &left, block)
            for i in range(RATE // 8):
                state[TOGETHER * i + j] ^= load64(block + 8 * i)
        data += RATE
        length = left
        permute(state)
    for j in range(count):
        for i in range(4):
            store64(out + 32 * j + 8 * i, state[TOGETHER * i + j])


cdef inline bint take_block(
    const uint8_t** data, size_t* length, uint8_t* block
) noexcept nogil:
    # The last block is padded: 0x01, zeros, and the highest bit of the last byte.
    if length[0] >= RATE:
        memcpy(block, data[0], RATE)
        data[0] += RATE
        length[0] -= RATE
        return True
    memset(block, 0, RATE)
    memcpy(block, data[0], length[0])
    block[length[0]] = 0x01
    block[RATE - 1] |= 0x80
    return False


cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    # Little endian on every machine; compilers make one load of it.
    return (
        <uint64_t>p[0] | <uint64_t>p[1] << 8 | <uint64_t>p[2] << 16 | <uint64_t>p[3] << 24
        | <uint64_t>p[4] << 32 | <uint64_t>p[5] << 40 | <uint64_t>p[6] << 48 | <uint64_t>p[7] << 56
    )


cdef inline void store64(uint8_t* p, uint64_t value) noexcept nogil:
    cdef int i
    for i in range(8):
        p[i] = <uint8_t>(value >> (8 * i))


cdef int check_bytes(object data) except -1:
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    return 0


cdef inline const uint8_t* start_of(object data) noexcept:
    return <const uint8_t*>PyBytes_AS_STRING(data)
