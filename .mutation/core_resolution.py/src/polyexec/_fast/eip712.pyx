"""EIP-712 hashes of orders, domains and ERC-7739 envelopes. Readable twin: ``_pure.eip712``."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from polyexec._fast.convert cimport as_int64, checked_bytes
from polyexec._fast.keccak cimport c_keccak256

from polyexec._pure.type_strings import (
    DEPOSIT_WALLET_NAME,
    DEPOSIT_WALLET_VERSION,
    DOMAIN_TYPE,
    EXCHANGE_NAME,
    ORDER_TYPE_V1,
    ORDER_TYPE_V2,
    TYPED_DATA_SIGN_TYPE,
)

# Written once, below, while the module is imported; read only afterwards.
cdef uint8_t[32] ORDER_V1_TYPE_HASH
cdef uint8_t[32] ORDER_V2_TYPE_HASH
cdef uint8_t[32] TYPED_DATA_SIGN_TYPE_HASH
cdef uint8_t[32] DOMAIN_TYPE_HASH
cdef uint8_t[32] EXCHANGE_NAME_HASH
cdef uint8_t[32] WALLET_NAME_HASH
cdef uint8_t[32] WALLET_VERSION_HASH


def order_struct_hash_v1(  # hot
    salt,
    maker,
    signer,
    taker,
    token_id,
    maker_amount,
    taker_amount,
    expiration,
    nonce,
    fee_rate_bps,
    side,
    signature_type,
):
    """Return the struct hash of a CLOB V1 order."""
    cdef uint8_t[ORDER_V1_BYTES] words
    cdef uint8_t[32] digest
    c_start_order_v1(words)
    put_uint256(words, V1_SALT, salt, "salt")
    put_address(words, V1_MAKER, maker, "maker")
    put_address(words, V1_SIGNER, signer, "signer")
    put_address(words, V1_TAKER, taker, "taker")
    put_uint256(words, V1_TOKEN_ID, token_id, "token_id")
    put_uint256(words, V1_MAKER_AMOUNT, maker_amount, "maker_amount")
    put_uint256(words, V1_TAKER_AMOUNT, taker_amount, "taker_amount")
    put_uint256(words, V1_EXPIRATION, expiration, "expiration")
    put_uint256(words, V1_NONCE, nonce, "nonce")
    put_uint256(words, V1_FEE_RATE_BPS, fee_rate_bps, "fee_rate_bps")
    put_small(words, V1_SIDE, as_int64(side), 1, "side")
    put_small(words, V1_SIGNATURE_TYPE, as_int64(signature_type), 3, "signature_type")
    c_order_struct_hash_v1(words, digest)
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


def order_struct_hash_v2(  # hot
    salt,
    maker,
    signer,
    token_id,
    maker_amount,
    taker_amount,
    side,
    signature_type,
    timestamp_ms,
    metadata,
    builder,
):
    """Return the struct hash of a CLOB V2 or ExchangeV3 order."""
    cdef uint8_t[ORDER_V2_BYTES] words
    cdef uint8_t[32] digest
    c_start_order_v2(words)
    put_uint256(words, V2_SALT, salt, "salt")
    put_address(words, V2_MAKER, maker, "maker")
    put_address(words, V2_SIGNER, signer, "signer")
    put_uint256(words, V2_TOKEN_ID, token_id, "token_id")
    put_uint256(words, V2_MAKER_AMOUNT, maker_amount, "maker_amount")
    put_uint256(words, V2_TAKER_AMOUNT, taker_amount, "taker_amount")
    put_small(words, V2_SIDE, as_int64(side), 1, "side")
    put_small(words, V2_SIGNATURE_TYPE, as_int64(signature_type), 3, "signature_type")
    put_uint256(words, V2_TIMESTAMP, timestamp_ms, "timestamp_ms")
    c_put_bytes32(words, V2_METADATA, checked_bytes(metadata, 32, "metadata"))
    c_put_bytes32(words, V2_BUILDER, checked_bytes(builder, 32, "builder"))
    c_order_struct_hash_v2(words, digest)
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


def typed_data_hash(domain_separator, struct_hash):  # hot
    """Return the EIP-712 digest: what is signed, and the exchange's order id."""
    cdef uint8_t[32] digest
    c_typed_data_hash(
        checked_bytes(domain_separator, 32, "domain_separator"),
        checked_bytes(struct_hash, 32, "struct_hash"),
        digest,
    )
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


def typed_data_sign_hash(domain_separator, contents, chain_id, wallet):
    """Return the ERC-7739 digest that the owner of a deposit wallet signs for an order."""
    cdef uint8_t[32] chain
    cdef uint8_t[32] digest
    put_uint256(chain, 0, chain_id, "chain_id")
    c_typed_data_sign_hash(
        checked_bytes(domain_separator, 32, "domain_separator"),
        checked_bytes(contents, 32, "contents"),
        chain,
        checked_bytes(wallet, 20, "wallet"),
        digest,
    )
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


def exchange_domain_separator(version, chain_id, contract):
    """Return the domain separator of an exchange contract; ``version`` is 1, 2 or 3."""
    cdef uint8_t[5 * 32] words
    cdef uint8_t[32] digest
    cdef uint8_t character
    cdef int64_t number = as_int64(version)
    if number < 1 or number > 3:
        raise ValueError(f"version must be 1 to 3, not {number}")
    character = <uint8_t>(48 + number)  # ASCII digit
    memset(words, 0, 5 * WORD)
    c_put_bytes32(words, 0, DOMAIN_TYPE_HASH)
    c_put_bytes32(words, 1, EXCHANGE_NAME_HASH)
    c_keccak256(&character, 1, words + 2 * WORD)
    put_uint256(words, 3, chain_id, "chain_id")
    put_address(words, 4, contract, "contract")
    c_keccak256(words, 5 * WORD, digest)
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


cdef void c_start_order_v1(uint8_t* words) noexcept nogil:  # hot
    memset(words, 0, ORDER_V1_BYTES)
    memcpy(words, ORDER_V1_TYPE_HASH, 32)


cdef void c_start_order_v2(uint8_t* words) noexcept nogil:  # hot
    memset(words, 0, ORDER_V2_BYTES)
    memcpy(words, ORDER_V2_TYPE_HASH, 32)


cdef void c_put_int64(uint8_t* words, int index, int64_t value) noexcept nogil:  # hot
    cdef uint8_t* word = words + WORD * index
    cdef int i
    memset(word, 0, 24)
    for i in range(8):
        word[24 + i] = <uint8_t>(value >> (56 - 8 * i))


cdef void c_put_address(uint8_t* words, int index, const uint8_t* address20) noexcept nogil:  # hot
    memset(words + WORD * index, 0, 12)
    memcpy(words + WORD * index + 12, address20, 20)


cdef void c_put_bytes32(uint8_t* words, int index, const uint8_t* value32) noexcept nogil:  # hot
    memcpy(words + WORD * index, value32, 32)


cdef void c_order_struct_hash_v1(const uint8_t* words, uint8_t* out) noexcept nogil:  # hot
    c_keccak256(words, ORDER_V1_BYTES, out)


cdef void c_order_struct_hash_v2(const uint8_t* words, uint8_t* out) noexcept nogil:  # hot
    c_keccak256(words, ORDER_V2_BYTES, out)


cdef void c_typed_data_hash(
    const uint8_t* domain_separator32, const uint8_t* struct_hash32, uint8_t* out
) noexcept nogil:  # hot
    cdef uint8_t[66] message
    message[0] = 0x19
    message[1] = 0x01
    memcpy(message + 2, domain_separator32, 32)
    memcpy(message + 34, struct_hash32, 32)
    c_keccak256(message, 66, out)


cdef void c_typed_data_sign_hash(
    const uint8_t* domain_separator32,
    const uint8_t* contents32,
    const uint8_t* chain_id32,
    const uint8_t* wallet20,
    uint8_t* out,
) noexcept nogil:  # hot
    cdef uint8_t[7 * 32] words
    cdef uint8_t[32] envelope
    memset(words, 0, 7 * WORD)  # the last word is the salt, zero
    c_put_bytes32(words, 0, TYPED_DATA_SIGN_TYPE_HASH)
    c_put_bytes32(words, 1, contents32)
    c_put_bytes32(words, 2, WALLET_NAME_HASH)
    c_put_bytes32(words, 3, WALLET_VERSION_HASH)
    c_put_bytes32(words, 4, chain_id32)
    c_put_address(words, 5, wallet20)
    c_keccak256(words, 7 * WORD, envelope)
    c_typed_data_hash(domain_separator32, envelope, out)


cdef int put_uint256(uint8_t* words, int index, object value, str name) except -1:
    cdef bytes big_endian
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    try:
        big_endian = int.to_bytes(value, 32, "big")
    except OverflowError:
        raise OverflowError(f"{name} must be at least 0 and below 2**256") from None
    c_put_bytes32(words, index, <const uint8_t*>PyBytes_AS_STRING(big_endian))
    return 0


cdef int put_address(uint8_t* words, int index, object value, str name) except -1:
    c_put_address(words, index, checked_bytes(value, 20, name))
    return 0


cdef int put_small(uint8_t* words, int index, int64_t value, int64_t most, str name) except -1:
    if value < 0 or value > most:
        raise ValueError(f"{name} must be 0 to {most}, not {value}")
    c_put_int64(words, index, value)
    return 0


cdef int hash_text(str text, uint8_t* out) except -1:
    cdef bytes ascii = text.encode()
    c_keccak256(<const uint8_t*>PyBytes_AS_STRING(ascii), <size_t>PyBytes_GET_SIZE(ascii), out)
    return 0


hash_text(ORDER_TYPE_V1, ORDER_V1_TYPE_HASH)
hash_text(ORDER_TYPE_V2, ORDER_V2_TYPE_HASH)
hash_text(TYPED_DATA_SIGN_TYPE, TYPED_DATA_SIGN_TYPE_HASH)
hash_text(DOMAIN_TYPE, DOMAIN_TYPE_HASH)
hash_text(EXCHANGE_NAME, EXCHANGE_NAME_HASH)
hash_text(DEPOSIT_WALLET_NAME, WALLET_NAME_HASH)
hash_text(DEPOSIT_WALLET_VERSION, WALLET_VERSION_HASH)
