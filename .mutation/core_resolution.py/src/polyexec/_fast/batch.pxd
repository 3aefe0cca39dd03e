# Contract of polyexec._fast.batch: orders of one account in, the signed body of POST /orders out.
#
# Everything that is the same for every order of an account is written once, when the builder is
# made: the words of the order struct and the pieces of the JSON text. A batch then fills the holes.
from libc.stdint cimport int64_t, uint8_t, uint64_t

from polyexec._fast.eip712 cimport ORDER_V2_BYTES

cdef enum:
    MAX_BATCH = 15
    TOKEN_DIGITS = 78      # decimal digits of 2**256 - 1
    SIGNATURE_BYTES = 65
    WRAPPED_BYTES = 317    # ERC-7739: signature, separator, struct hash, type string, its length
    TYPED_BYTES = 66       # 0x1901, separator, struct hash
    BUFFER_BYTES = 32768   # text of the longest batch, on the stack
    PIECES = 10            # of an entry's text, between its holes


cdef struct BatchLeg:      # what differs from order to order; callers have checked the ranges
    int slot               # 2 * (generation - 2) + neg_risk: which domain separator
    const char* token      # decimal text, not terminated
    Py_ssize_t token_length
    uint8_t[32] token_id   # the same number, big endian
    int64_t maker_micro    # >= 1
    int64_t taker_micro    # >= 1
    int side               # 0 BUY, 1 SELL
    int64_t salt           # 0 .. 2**53 - 1
    int64_t expiration     # unix seconds, 0 unless GTD
    int order_type         # index into ORDER_TYPES
    bint post_only


cdef struct Batch:         # from the legs to what is written, on the caller's stack
    Py_ssize_t count
    int64_t timestamp_ms
    BatchLeg[MAX_BATCH] legs
    uint8_t[MAX_BATCH][32] struct_hashes
    uint8_t[MAX_BATCH][32] digests     # the order ids
    uint8_t[MAX_BATCH][32] to_sign     # the same, but for deposit wallets
    uint8_t[MAX_BATCH][SIGNATURE_BYTES] signatures


cdef struct Piece:
    const char* start
    Py_ssize_t length


# Decimal text of at most 78 digits -> 32 bytes, big endian. False: not below 2**256.
cdef bint c_parse_uint256(const char* text, Py_ssize_t length, uint8_t* out32) noexcept nogil
# Write without a terminator; return the end of what was written.
cdef char* c_write_decimal(char* to, uint64_t value) noexcept nogil
cdef char* c_write_hex(char* to, const uint8_t* data, Py_ssize_t length) noexcept nogil
