"""Sign a batch of V2 or V3 orders and write its body, in one pass. Twin: ``_pure.batch``."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_New, PyTuple_SET_ITEM
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
    c_put_address,
    c_put_bytes32,
    c_put_int64,
    c_start_order_v2,
    c_typed_data_sign_hash,
)
from polyexec._fast.keccak cimport c_keccak256_each
from polyexec._fast.legs cimport Leg, LegTable
from polyexec._fast.nonces cimport NoncePool, c_take_and_sign
from polyexec._fast.secp256k1 cimport Key, c_sign

cdef extern from *:
    ctypedef unsigned long long uint128 "unsigned __int128"

from polyexec._pure.type_strings import ORDER_TYPE_V2

ORDER_TYPES = ("GTC", "GTD", "FOK", "FAK")

# What follows signature, separator and struct hash in an ERC-7739 signature.
cdef bytes ERC7739_TRAILER = ORDER_TYPE_V2.encode("ascii") + len(ORDER_TYPE_V2).to_bytes(2, "big")
del ORDER_TYPE_V2

cdef char[512] HEX_PAIRS  # "000102...ff": the two digits of every byte
for _index, _digit in enumerate(bytes(range(256)).hex().encode("ascii")):
    HEX_PAIRS[_index] = _digit
del _index, _digit

cdef const char* ORDER_TYPE_TEXT = "GTCGTDFOKFAK"
cdef int64_t MAX_SALT = (1 << 53) - 1
cdef int64_t MAX_INT64 = 0x7FFFFFFFFFFFFFFF


cdef class BatchBuilder:
    """Signs and encodes batches of one account.

    Parameters
    ----------
    sign : callable
        32-byte digest -> 65-byte signature r || s || v. A ``Key`` or a ``NoncePool`` signs
        without Python.
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
    cdef Key _key          # one of these two when `sign` is one of ours: signs without the GIL
    cdef NoncePool _pool
    cdef uint8_t[ORDER_V2_BYTES] _words
    cdef uint8_t[4][32] _separators
    cdef uint8_t[32] _chain
    cdef uint8_t[20] _maker
    cdef uint8_t[188] _trailer
    cdef int _signature_type
    cdef Piece[PIECES] _pieces
    cdef list _texts       # keeps what the pieces point to

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
        cdef bytes separator, text
        self._sign = sign
        self._key = sign if isinstance(sign, Key) else None
        self._pool = sign if isinstance(sign, NoncePool) else None
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
        for name, value in (
            ("maker_text", maker_text), ("signer_text", signer_text), ("owner", owner),
        ):
            # Nothing is escaped at run time, so nothing here may need it.
            if not value.isascii() or not value.isprintable() or '"' in value or "\\" in value:
                raise ValueError(f"{name} must be plain ASCII text")
        # The text of an entry, in py-clob-client-v2's key order, between its holes.
        self._texts = [
            part.encode("ascii")
            for part in (
                '{"order":{"salt":',
                f',"maker":"{maker_text}","signer":"{signer_text}","tokenId":"',
                '","makerAmount":"',
                '","takerAmount":"',
                '","side":"',
                '","expiration":"',
                f'","signatureType":{self._signature_type},"timestamp":"',
                f'","metadata":"0x{bytes(32).hex()}","builder":"0x{builder.hex()}"'
                ',"signature":"0x',
                f'"}},"owner":"{owner}","orderType":"',
                '","deferExec":false,"postOnly":',
            )
        ]
        for index in range(PIECES):
            text = self._texts[index]
            self._pieces[index].start = PyBytes_AS_STRING(text)
            self._pieces[index].length = PyBytes_GET_SIZE(text)
        longest = (
            sum(len(text) for text in self._texts) + TOKEN_DIGITS + 5 * 20 + 2 * WRAPPED_BYTES + 16
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
        cdef Batch batch
        cdef Py_ssize_t index
        batch.count = len(legs)
        batch.timestamp_ms = checked(as_int64(timestamp_ms), MAX_INT64, "timestamp_ms")
        if batch.count < 1 or batch.count > MAX_BATCH:
            raise ValueError(f"a batch holds 1 to {MAX_BATCH} orders, not {batch.count}")
        for index in range(batch.count):
            parse_leg(legs[index], &batch.legs[index])
        return self.made(&batch)

    def build_table(self, LegTable table, timestamp_ms, bytes entropy=None):  # hot
        """Return what :meth:`build` does, for priced legs.

        Parameters
        ----------
        table : LegTable
            Without a fault, and no leg of generation 1.
        timestamp_ms : int
            Of every order.
        entropy : bytes or None
            Eight for each leg; the upper 53 bits are its salt. ``None``: drawn from the system.

        Raises
        ------
        OSError
            The system has no entropy.
        """
        cdef Batch batch
        cdef Py_ssize_t index
        cdef uint8_t[8 * MAX_BATCH] fresh
        cdef const uint8_t* drawn = fresh
        if entropy is not None:
            drawn = checked_bytes(entropy, 8 * table.count, "entropy")
        elif getentropy(fresh, 8 * table.count):
            raise OSError("the system has no entropy for salts")
        batch.count = table.count
        batch.timestamp_ms = checked(as_int64(timestamp_ms), MAX_INT64, "timestamp_ms")
        if table.fault or table.needs_v1:
            raise ValueError("the table has a fault or a leg of generation 1")
        for index in range(batch.count):
            if not copy_leg(&table.legs[index], drawn + 8 * index, &batch.legs[index]):
                raise ValueError(f"leg {index} has no amounts, or a token_id that is no number")
        return self.made(&batch)

    cdef tuple made(self, Batch* batch):  # hot
        cdef char[BUFFER_BYTES] text
        cdef char[66] order_id
        cdef char* end
        cdef bint signed = True
        cdef Py_ssize_t index
        cdef tuple ids
        if self._pool is not None:
            # So short that another thread must not have the interpreter in between: it would keep
            # it for milliseconds.
            self.hash_orders(batch)
            signed = self.sign_orders(batch)
            end = self.write_body(batch, text)
        elif self._key is not None:
            with nogil:
                self.hash_orders(batch)
                signed = self.sign_orders(batch)
                end = self.write_body(batch, text)
        else:
            self.hash_orders(batch)
            self.call_signer(batch)
            end = self.write_body(batch, text)
        if not signed:
            raise ValueError("the signer is closed")
        ids = PyTuple_New(batch.count)
        memcpy(order_id, b"0x", 2)
        for index in range(batch.count):
            c_write_hex(order_id + 2, batch.digests[index], 32)
            put_item(ids, index, PyUnicode_DecodeASCII(order_id, 66, NULL))
        return PyBytes_FromStringAndSize(text, end - text), ids

    cdef void hash_orders(self, Batch* batch) noexcept nogil:  # hot
        cdef uint8_t[MAX_BATCH][ORDER_V2_BYTES] structs
        cdef uint8_t[MAX_BATCH][TYPED_BYTES] typed
        cdef const BatchLeg* leg
        cdef uint8_t* words
        cdef Py_ssize_t index
        for index in range(batch.count):
            leg = &batch.legs[index]
            words = structs[index]
            # Only these words differ between the orders of an account.
            memcpy(words, self._words, ORDER_V2_BYTES)
            c_put_int64(words, V2_SALT, leg.salt)
            c_put_bytes32(words, V2_TOKEN_ID, leg.token_id)
            c_put_int64(words, V2_MAKER_AMOUNT, leg.maker_micro)
            c_put_int64(words, V2_TAKER_AMOUNT, leg.taker_micro)
            c_put_int64(words, V2_SIDE, leg.side)
            c_put_int64(words, V2_TIMESTAMP, batch.timestamp_ms)
        c_keccak256_each(
            structs[0], ORDER_V2_BYTES, ORDER_V2_BYTES, batch.count, batch.struct_hashes[0]
        )
        for index in range(batch.count):
            memcpy(typed[index], b"\x19\x01", 2)
            memcpy(typed[index] + 2, self._separators[batch.legs[index].slot], 32)
            memcpy(typed[index] + 34, batch.struct_hashes[index], 32)
        c_keccak256_each(typed[0], TYPED_BYTES, TYPED_BYTES, batch.count, batch.digests[0])
        if self._signature_type != 3:
            memcpy(batch.to_sign, batch.digests, sizeof(batch.digests))
            return
        for index in range(batch.count):
            c_typed_data_sign_hash(
                self._separators[batch.legs[index].slot], batch.struct_hashes[index], self._chain,
                self._maker, batch.to_sign[index],
            )

    cdef bint sign_orders(self, Batch* batch) noexcept nogil:  # hot
        cdef Py_ssize_t index
        for index in range(batch.count):
            if not (
                c_sign(self._key.key, batch.to_sign[index], batch.signatures[index])
                if self._pool is None
                else c_take_and_sign(self._pool, batch.to_sign[index], batch.signatures[index])
            ):
                return False
        return True

    cdef int call_signer(self, Batch* batch) except -1:
        cdef Py_ssize_t index
        cdef bytes signature
        for index in range(batch.count):
            signature = self._sign(
                PyBytes_FromStringAndSize(<const char*>batch.to_sign[index], 32)
            )
            memcpy(
                batch.signatures[index],
                checked_bytes(signature, SIGNATURE_BYTES, "signature"), SIGNATURE_BYTES,
            )
        return 0

    cdef char* write_body(self, const Batch* batch, char* to) noexcept nogil:  # hot
        cdef Py_ssize_t index
        for index in range(batch.count):
            to[0] = c"[" if index == 0 else c","
            to = self.write_entry(batch, index, to + 1)
        to[0] = c"]"
        return to + 1

    cdef char* write_entry(
        self, const Batch* batch, Py_ssize_t index, char* to
    ) noexcept nogil:  # hot
        cdef const BatchLeg* leg = &batch.legs[index]
        cdef const Piece* piece = self._pieces
        to = c_write_decimal(put(to, piece), <uint64_t>leg.salt)
        to = put(to, piece + 1)
        memcpy(to, leg.token, leg.token_length)
        to = put(to + leg.token_length, piece + 2)
        to = c_write_decimal(to, <uint64_t>leg.maker_micro)
        to = c_write_decimal(put(to, piece + 3), <uint64_t>leg.taker_micro)
        to = put(to, piece + 4)
        memcpy(to, b"SELL" if leg.side else b"BUY", 4 if leg.side else 3)
        to = put(to + (4 if leg.side else 3), piece + 5)
        to = c_write_decimal(to, <uint64_t>leg.expiration)
        to = c_write_decimal(put(to, piece + 6), <uint64_t>batch.timestamp_ms)
        to = c_write_hex(put(to, piece + 7), batch.signatures[index], SIGNATURE_BYTES)
        if self._signature_type == 3:
            to = c_write_hex(to, self._separators[leg.slot], 32)
            to = c_write_hex(to, batch.struct_hashes[index], 32)
            to = c_write_hex(to, self._trailer, 188)
        to = put(to, piece + 8)
        memcpy(to, ORDER_TYPE_TEXT + 3 * leg.order_type, 3)
        to = put(to + 3, piece + 9)
        memcpy(to, b"true}" if leg.post_only else b"false}", 5 if leg.post_only else 6)
        return to + (5 if leg.post_only else 6)

    def __repr__(self):
        return f"BatchBuilder(signature_type={self._signature_type})"

    def __reduce__(self):
        raise TypeError("a BatchBuilder signs for an account: it cannot be pickled or copied")


cdef extern from "unistd.h":
    # One system call, and no pool that a forked child would share.
    int getentropy(void* buffer, size_t length)

cdef extern from "Python.h":
    const char* ascii_text "PyUnicode_AsUTF8"(object text) except NULL


cdef int parse_leg(tuple leg, BatchLeg* out) except -1:
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


cdef bint copy_leg(const Leg* leg, const uint8_t* entropy8, BatchLeg* out) noexcept nogil:  # hot
    cdef uint64_t drawn = 0
    cdef int i
    for i in range(8):
        drawn = drawn << 8 | entropy8[i]
    out.slot = 2 * (leg.generation - 2) + leg.neg_risk
    out.token = leg.token
    out.token_length = leg.token_length
    out.maker_micro = leg.maker_micro
    out.taker_micro = leg.taker_micro
    out.side = leg.side
    out.salt = <int64_t>(drawn >> 11)
    out.expiration = leg.expiration
    out.order_type = leg.order_type
    out.post_only = leg.post_only
    return leg.maker_micro > 0 and leg.taker_micro > 0 and c_parse_uint256(
        leg.token, leg.token_length, out.token_id
    )


cdef inline void put_item(tuple items, Py_ssize_t index, object item) noexcept:
    Py_INCREF(item)  # SET_ITEM takes a reference of its own
    PyTuple_SET_ITEM(items, index, item)


cdef inline char* put(char* to, const Piece* piece) noexcept nogil:
    memcpy(to, piece.start, piece.length)
    return to + piece.length


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
    cdef int start = 20
    while True:
        start -= 1
        digits[start] = <char>(48 + value % 10)
        value //= 10
        if value == 0:
            break
    memcpy(to, digits + start, 20 - start)
    return to + (20 - start)


cdef char* c_write_hex(  # hot
    char* to, const uint8_t* data, Py_ssize_t length
) noexcept nogil:
    cdef Py_ssize_t index
    for index in range(length):
        memcpy(to + 2 * index, HEX_PAIRS + 2 * data[index], 2)
    return to + 2 * length
