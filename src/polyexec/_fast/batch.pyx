"""Sign a batch of V2 or V3 orders and write its body, in one pass. Twin: ``_pure.batch``."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from polyexec._fast.convert cimport as_int64
from polyexec._fast.eip712 cimport (
    V2_BUILDER,
    V2_MAKER,
    V2_MAKER_AMOUNT,
    V2_SALT,
    V2_SIDE,
    V2_SIGNATURE_TYPE,
    V2_SIGNER,
    V2_TAKER_AMOUNT,
    V2_TIMESTAMP,
    V2_TOKEN_ID,
    c_order_struct_hash_v2,
    c_put_address,
    c_put_bytes32,
    c_put_int64,
    c_start_order_v2,
    c_typed_data_hash,
    c_typed_data_sign_hash,
)

cdef extern from *:
    ctypedef unsigned long long uint128 "unsigned __int128"

from polyexec._pure.type_strings import ORDER_TYPE_V2

ORDER_TYPES = ("GTC", "GTD", "FOK", "FAK")

# What follows signature, separator and struct hash in an ERC-7739 signature.
cdef bytes ERC7739_TRAILER = ORDER_TYPE_V2.encode("ascii") + len(ORDER_TYPE_V2).to_bytes(2, "big")
del ORDER_TYPE_V2

cdef const char* HEX = "0123456789abcdef"
cdef const char* ORDER_TYPE_TEXT = "GTCGTDFOKFAK"
cdef int64_t MAX_SALT = (1 << 53) - 1
cdef int64_t MAX_INT64 = 0x7FFFFFFFFFFFFFFF

# Text of an entry, in py-clob-client-v2's key order, between its holes.
cdef bytes BEFORE_SALT = b'{"order":{"salt":'
cdef bytes AFTER_TOKEN = b'","makerAmount":"'
cdef bytes AFTER_MAKER = b'","takerAmount":"'
cdef bytes AFTER_TAKER = b'","side":"'
cdef bytes AFTER_SIDE = b'","expiration":"'
cdef bytes AFTER_TIMESTAMP_EXTRA = b'","signature":"0x'
cdef bytes AFTER_TYPE = b'","deferExec":false,"postOnly":'


cdef class BatchBuilder:
    """Signs and encodes batches of one account.

    Parameters
    ----------
    sign : callable
        32-byte digest -> 65-byte signature r || s || v.
    maker, signer : bytes
        20 bytes each, as signed.
    maker_text, signer_text : str
        The same, as the payload spells them.
    signature_type : int
        0 to 3.
    chain_id : int
    separators : sequence of bytes
        Domain separators of (V2, V2 neg-risk, V3, V3 neg-risk).
    owner : str
        The API key.
    builder : bytes
        Builder code, 32 bytes.
    """

    cdef object _sign
    cdef uint8_t[ORDER_V2_BYTES] _words
    cdef uint8_t[4][32] _separators
    cdef uint8_t[32] _chain
    cdef uint8_t[20] _maker
    cdef uint8_t[188] _trailer
    cdef int _signature_type
    cdef bytes _after_salt
    cdef bytes _before_timestamp
    cdef bytes _after_timestamp
    cdef bytes _after_signature

    def __init__(
        self,
        sign,
        *,
        bytes maker,
        bytes signer,
        str maker_text,
        str signer_text,
        signature_type,
        chain_id,
        separators,
        str owner,
        bytes builder,
    ):
        cdef int index
        cdef bytes separator
        self._sign = sign
        self._signature_type = <int>checked(as_int64(signature_type), 3, "signature_type")
        c_start_order_v2(self._words)
        c_put_address(self._words, V2_MAKER, checked_bytes(maker, 20, "maker"))
        c_put_address(self._words, V2_SIGNER, checked_bytes(signer, 20, "signer"))
        c_put_int64(self._words, V2_SIGNATURE_TYPE, self._signature_type)
        c_put_bytes32(self._words, V2_BUILDER, checked_bytes(builder, 32, "builder"))
        c_put_int64(self._chain, 0, checked(as_int64(chain_id), MAX_INT64, "chain_id"))
        memcpy(self._maker, checked_bytes(maker, 20, "maker"), 20)
        if len(separators) != 4:
            raise ValueError(f"separators must be 4, not {len(separators)}")
        for index in range(4):
            separator = separators[index]
            memcpy(self._separators[index], checked_bytes(separator, 32, "separators"), 32)
        memcpy(self._trailer, checked_bytes(ERC7739_TRAILER, 188, "trailer"), 188)
        for name, text in (("maker_text", maker_text), ("signer_text", signer_text),
                           ("owner", owner)):
            # Nothing is escaped at run time, so nothing here may need it.
            if not text.isascii() or not text.isprintable() or '"' in text or "\\" in text:
                raise ValueError(f"{name} must be plain ASCII text")
        self._after_salt = (
            f',"maker":"{maker_text}","signer":"{signer_text}","tokenId":"'.encode("ascii")
        )
        self._before_timestamp = (
            f'","signatureType":{self._signature_type},"timestamp":"'.encode("ascii")
        )
        self._after_timestamp = (
            b'","metadata":"0x' + bytes(32).hex().encode() + b'","builder":"0x'
            + builder.hex().encode() + AFTER_TIMESTAMP_EXTRA
        )
        self._after_signature = f'"}},"owner":"{owner}","orderType":"'.encode("ascii")
        longest = (
            len(BEFORE_SALT) + len(self._after_salt) + len(AFTER_TOKEN) + len(AFTER_MAKER)
            + len(AFTER_TAKER) + len(AFTER_SIDE) + len(self._before_timestamp)
            + len(self._after_timestamp) + len(self._after_signature) + len(AFTER_TYPE)
            + TOKEN_DIGITS + 5 * 20 + 2 * WRAPPED_BYTES + 16
        )
        if MAX_BATCH * longest + 2 > BUFFER_BYTES:
            raise ValueError(f"owner is too long: {len(owner)} characters")

    def build(self, list legs, timestamp_ms):
        """Return the body of ``POST /orders`` and the order ids.

        Parameters
        ----------
        legs : list of tuple
            (generation 2 or 3, neg_risk, token_id text, maker_micro, taker_micro, side code, salt,
            expiration, index into ORDER_TYPES, post_only), 1 to 15 of them.
        timestamp_ms : int
            Of every order.
        """
        cdef Py_ssize_t count = len(legs)
        cdef int64_t stamp = checked(as_int64(timestamp_ms), MAX_INT64, "timestamp_ms")
        cdef BatchLeg[MAX_BATCH] parsed
        cdef Py_ssize_t index
        cdef char[BUFFER_BYTES] text
        cdef char* to = text
        cdef list ids = []
        if count < 1 or count > MAX_BATCH:
            raise ValueError(f"a batch holds 1 to {MAX_BATCH} orders, not {count}")
        for index in range(count):
            self.parse_leg(legs[index], &parsed[index])
        for index in range(count):
            to[0] = b"[" if index == 0 else b","
            to = self.write_entry(to + 1, &parsed[index], stamp, ids)
        to[0] = b"]"
        return PyBytes_FromStringAndSize(text, to + 1 - text), tuple(ids)

    cdef int parse_leg(self, tuple leg, BatchLeg* out) except -1:
        cdef str token
        (generation, neg_risk, token, maker, taker, side, salt, expiration, kind, post_only) = leg
        cdef int64_t number = as_int64(generation)
        if number != 2 and number != 3:
            raise ValueError(f"generation must be 2 or 3, not {number}")
        out.slot = <int>(2 * (number - 2)) + (1 if neg_risk else 0)
        out.token = <const char*>ascii_text(token)
        out.token_length = len(token)
        if not c_parse_uint256(out.token, out.token_length, out.token_id):
            raise ValueError("token_id must be a decimal number below 2**256")
        out.maker_micro = checked(as_int64(maker), MAX_INT64, "maker_micro")
        out.taker_micro = checked(as_int64(taker), MAX_INT64, "taker_micro")
        if out.maker_micro == 0 or out.taker_micro == 0:
            raise ValueError("maker_micro and taker_micro must be above zero")
        out.side = <int>checked(as_int64(side), 1, "side")
        out.salt = checked(as_int64(salt), MAX_SALT, "salt")
        out.expiration = checked(as_int64(expiration), MAX_INT64, "expiration")
        out.order_type = <int>checked(as_int64(kind), 3, "order_type")
        out.post_only = bool(post_only)
        return 0

    cdef char* write_entry(
        self, char* to, const BatchLeg* leg, int64_t stamp, list ids
    ) except NULL:
        cdef uint8_t[ORDER_V2_BYTES] words
        cdef uint8_t[32] struct_hash
        cdef uint8_t[32] digest
        cdef uint8_t[32] signed_digest
        cdef char[66] text
        cdef const uint8_t* separator = self._separators[leg.slot]
        cdef bytes signature
        # A copy, because threads share the builder; only these words differ between orders.
        memcpy(words, self._words, ORDER_V2_BYTES)
        c_put_int64(words, V2_SALT, leg.salt)
        c_put_bytes32(words, V2_TOKEN_ID, leg.token_id)
        c_put_int64(words, V2_MAKER_AMOUNT, leg.maker_micro)
        c_put_int64(words, V2_TAKER_AMOUNT, leg.taker_micro)
        c_put_int64(words, V2_SIDE, leg.side)
        c_put_int64(words, V2_TIMESTAMP, stamp)
        c_order_struct_hash_v2(words, struct_hash)
        c_typed_data_hash(separator, struct_hash, digest)
        text[0] = b"0"
        text[1] = b"x"
        c_write_hex(text + 2, digest, 32)
        ids.append(PyUnicode_DecodeASCII(text, 66, NULL))
        if self._signature_type == 3:
            c_typed_data_sign_hash(
                separator, struct_hash, self._chain, self._maker, signed_digest
            )
        else:
            memcpy(signed_digest, digest, 32)
        signature = self._sign(PyBytes_FromStringAndSize(<const char*>signed_digest, 32))

        to = put(to, BEFORE_SALT)
        to = c_write_decimal(to, <uint64_t>leg.salt)
        to = put(to, self._after_salt)
        memcpy(to, leg.token, leg.token_length)
        to = put(to + leg.token_length, AFTER_TOKEN)
        to = c_write_decimal(to, <uint64_t>leg.maker_micro)
        to = put(to, AFTER_MAKER)
        to = c_write_decimal(to, <uint64_t>leg.taker_micro)
        to = put(to, AFTER_TAKER)
        memcpy(to, b"SELL" if leg.side else b"BUY", 4 if leg.side else 3)
        to = put(to + (4 if leg.side else 3), AFTER_SIDE)
        to = c_write_decimal(to, <uint64_t>leg.expiration)
        to = put(to, self._before_timestamp)
        to = c_write_decimal(to, <uint64_t>stamp)
        to = put(to, self._after_timestamp)
        to = c_write_hex(to, checked_bytes(signature, SIGNATURE_BYTES, "signature"),
                         SIGNATURE_BYTES)
        if self._signature_type == 3:
            to = c_write_hex(to, separator, 32)
            to = c_write_hex(to, struct_hash, 32)
            to = c_write_hex(to, self._trailer, 188)
        to = put(to, self._after_signature)
        memcpy(to, ORDER_TYPE_TEXT + 3 * leg.order_type, 3)
        to = put(to + 3, AFTER_TYPE)
        if leg.post_only:
            memcpy(to, b"true}", 5)
            return to + 5
        memcpy(to, b"false}", 6)
        return to + 6

    def __repr__(self):
        return f"BatchBuilder(signature_type={self._signature_type})"

    def __reduce__(self):
        raise TypeError("a BatchBuilder signs for an account: it cannot be pickled or copied")


cdef extern from "Python.h":
    const char* ascii_text "PyUnicode_AsUTF8"(object text) except NULL


cdef inline char* put(char* to, bytes text) noexcept:
    memcpy(to, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
    return to + PyBytes_GET_SIZE(text)


cdef int64_t checked(int64_t value, int64_t most, str name) except -1:
    if value < 0 or value > most:
        raise ValueError(f"{name} must be between 0 and {most}, not {value}")
    return value


cdef const uint8_t* checked_bytes(bytes value, Py_ssize_t length, str name) except NULL:
    if PyBytes_GET_SIZE(value) != length:
        raise ValueError(f"{name} must be {length} bytes, not {len(value)}")
    return <const uint8_t*>PyBytes_AS_STRING(value)


cdef bint c_parse_uint256(  # hot
    const char* text, Py_ssize_t length, uint8_t* out32
) noexcept nogil:
    # Four 64-bit limbs, least significant first; up to 18 digits are taken at a time.
    cdef uint64_t[4] limbs
    cdef uint64_t chunk, scale
    cdef uint128 wide
    cdef Py_ssize_t at = 0
    cdef int limb, digit, _taken
    if length < 1 or length > TOKEN_DIGITS:
        return False
    limbs[0] = limbs[1] = limbs[2] = limbs[3] = 0
    while at < length:
        chunk = 0
        scale = 1
        for _taken in range(18):
            if at == length:
                break
            digit = text[at] - 48
            if digit < 0 or digit > 9:
                return False
            chunk = chunk * 10 + <uint64_t>digit
            scale *= 10
            at += 1
        for limb in range(4):
            wide = <uint128>limbs[limb] * scale + chunk
            limbs[limb] = <uint64_t>wide
            chunk = <uint64_t>(wide >> 64)
        if chunk:
            return False
    for limb in range(4):
        for digit in range(8):
            out32[31 - 8 * limb - digit] = <uint8_t>(limbs[limb] >> (8 * digit))
    return True


cdef char* c_write_decimal(char* to, uint64_t value) noexcept nogil:  # hot
    cdef char[20] digits
    cdef int count = 0
    cdef int index
    while True:
        digits[count] = <char>(48 + value % 10)
        value //= 10
        count += 1
        if value == 0:
            break
    for index in range(count):
        to[index] = digits[count - 1 - index]
    return to + count


cdef char* c_write_hex(  # hot
    char* to, const uint8_t* data, Py_ssize_t length
) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(length):
        to[2 * index] = HEX[data[index] >> 4]
        to[2 * index + 1] = HEX[data[index] & 15]
    return to + 2 * length
