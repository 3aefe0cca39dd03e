# Contract of polyexec._fast.eip712. Stateless after import: every function may run on any thread.
#
# A struct is a buffer of 32-byte words, type hash first, hashed as it is. Callers that sign many
# orders keep one buffer per order, with the words that never change already in it.
from libc.stdint cimport int64_t, uint8_t

cdef enum:
    WORD = 32
    ORDER_V1_BYTES = 13 * 32
    ORDER_V2_BYTES = 12 * 32


cdef enum OrderV1Word:  # index of each word in a V1 order
    V1_TYPE, V1_SALT, V1_MAKER, V1_SIGNER, V1_TAKER, V1_TOKEN_ID, V1_MAKER_AMOUNT, V1_TAKER_AMOUNT
    V1_EXPIRATION, V1_NONCE, V1_FEE_RATE_BPS, V1_SIDE, V1_SIGNATURE_TYPE


cdef enum OrderV2Word:  # index of each word in a V2 or V3 order
    V2_TYPE, V2_SALT, V2_MAKER, V2_SIGNER, V2_TOKEN_ID, V2_MAKER_AMOUNT, V2_TAKER_AMOUNT
    V2_SIDE, V2_SIGNATURE_TYPE, V2_TIMESTAMP, V2_METADATA, V2_BUILDER


# Filling words.
cdef void c_start_order_v1(uint8_t* words) noexcept nogil  # type hash, then zeros
cdef void c_start_order_v2(uint8_t* words) noexcept nogil
cdef void c_put_int64(uint8_t* words, int index, int64_t value) noexcept nogil  # value >= 0
cdef void c_put_address(uint8_t* words, int index, const uint8_t* address20) noexcept nogil
cdef void c_put_bytes32(uint8_t* words, int index, const uint8_t* value32) noexcept nogil

# Hashing; `out` takes 32 bytes.
cdef void c_order_struct_hash_v1(const uint8_t* words, uint8_t* out) noexcept nogil
cdef void c_order_struct_hash_v2(const uint8_t* words, uint8_t* out) noexcept nogil
cdef void c_typed_data_hash(
    const uint8_t* domain_separator32, const uint8_t* struct_hash32, uint8_t* out
) noexcept nogil
cdef void c_typed_data_sign_hash(
    const uint8_t* domain_separator32, const uint8_t* contents32,
    const uint8_t* chain_id32, const uint8_t* wallet20, uint8_t* out,
) noexcept nogil
