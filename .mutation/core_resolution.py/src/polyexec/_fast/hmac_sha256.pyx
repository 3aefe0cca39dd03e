"""SHA-256, HMAC with a prepared key, and the L2 signature. Readable twin: ``_pure.hmac_sha256``."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from "sha256.h" nogil:
    void sha256_compress_portable(uint32_t* state, const uint8_t* blocks, size_t count) noexcept
    Sha256Compress sha256_best() noexcept
    void sha256_wipe(void* start, size_t length) noexcept

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* length) except NULL

cdef enum:
    BLOCK = 64
    LENGTH_AT = 56  # where the 64-bit length stands in the last block

cdef uint32_t[8] FIRST_STATE = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A,
    0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]
cdef const char* BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

# Written once, here, while the module is imported; read only afterwards.
cdef Sha256Compress BEST = sha256_best()


@cython.final
cdef class L2Key:
    """An API secret, ready to sign requests: the two blocks that depend on it are hashed already.

    Parameters
    ----------
    key : bytes
        The decoded secret, of any length. It is not kept.

    Raises
    ------
    TypeError
        ``key`` is not bytes.
    """

    def __cinit__(self, key):
        check_bytes(key, "key")
        c_hmac_prepare(&self.key, start_of(key), <size_t>PyBytes_GET_SIZE(key))

    def __dealloc__(self):
        sha256_wipe(&self.key, sizeof(HmacKey))

    def sign(self, timestamp, method, path, body):  # hot
        """Return the HMAC of the four parts in a row, as URL-safe base64.

        Text is taken as UTF-8; nothing is copied.

        Raises
        ------
        TypeError
            A part is neither bytes nor text.
        """
        cdef Hmac context
        cdef uint8_t[32] digest
        cdef char[44] text
        c_hmac_begin(&context, &self.key)
        feed(&context, timestamp, "timestamp")
        feed(&context, method, "method")
        feed(&context, path, "path")
        feed(&context, body, "body")
        c_hmac_finish(&context, digest)
        c_base64url(digest, text)
        return PyUnicode_DecodeASCII(text, 44, NULL)

    def __repr__(self):
        return "L2Key(<hidden>)"

    def __reduce__(self):
        raise TypeError("an L2Key holds a secret: it cannot be pickled or copied")


def sha256(data):
    """Return the 32-byte SHA-256 hash of ``data``."""
    return hash_with(BEST, data)


def sha256_portable(data):
    """Return what :func:`sha256` does, without special instructions. For tests."""
    return hash_with(sha256_compress_portable, data)


def sha256_engine():
    """Return which compression function this processor gets."""
    return "sha-ni" if has_sha_instructions() else "portable"


def hmac_sha256(key, message):
    """Return the 32-byte HMAC-SHA256 of ``message``."""
    return authenticate_with(BEST, key, (message,))


def hmac_sha256_portable(key, message):
    """Return what :func:`hmac_sha256` does, without special instructions. For tests."""
    return authenticate_with(sha256_compress_portable, key, (message,))


def hmac_sha256_pieces(key, pieces):
    """Return the HMAC of a message that arrives in pieces. For tests."""
    return authenticate_with(BEST, key, tuple(pieces))


cdef void c_sha256(const uint8_t* data, size_t length, uint8_t* out32) noexcept nogil:  # hot
    hash_bytes(BEST, data, length, out32)


cdef void c_hmac_prepare(
    HmacKey* key, const uint8_t* secret, size_t length
) noexcept nogil:  # hot
    prepare_with(BEST, key, secret, length)


cdef void c_hmac_begin(Hmac* context, const HmacKey* key) noexcept nogil:  # hot
    begin_with(BEST, context, key)


cdef void c_hmac_update(
    Hmac* context, const uint8_t* data, size_t length
) noexcept nogil:  # hot
    update(&context.inner, data, length)


cdef void c_hmac_finish(Hmac* context, uint8_t* out32) noexcept nogil:  # hot
    cdef Sha256 outer
    cdef uint8_t[32] digest
    finish(&context.inner, digest)
    start(&outer, context.inner.compress, context.key.outer, BLOCK)
    update(&outer, digest, 32)
    finish(&outer, out32)
    # The states of a started key forge signatures as well as the key does.
    sha256_wipe(context, sizeof(Hmac))
    sha256_wipe(&outer, sizeof(Sha256))
    sha256_wipe(digest, 32)


cdef void c_base64url(const uint8_t* in32, char* out44) noexcept nogil:  # hot
    cdef uint32_t group
    cdef int i
    for i in range(10):
        group = <uint32_t>in32[3 * i] << 16 | <uint32_t>in32[3 * i + 1] << 8 | in32[3 * i + 2]
        out44[4 * i] = BASE64URL[group >> 18]
        out44[4 * i + 1] = BASE64URL[group >> 12 & 63]
        out44[4 * i + 2] = BASE64URL[group >> 6 & 63]
        out44[4 * i + 3] = BASE64URL[group & 63]
    group = <uint32_t>in32[30] << 16 | <uint32_t>in32[31] << 8
    out44[40] = BASE64URL[group >> 18]
    out44[41] = BASE64URL[group >> 12 & 63]
    out44[42] = BASE64URL[group >> 6 & 63]
    out44[43] = c"="


cdef bint has_sha_instructions() noexcept nogil:
    return BEST != sha256_compress_portable


cdef void c_wipe(void* start, size_t length) noexcept nogil:
    sha256_wipe(start, length)


cdef void start(
    Sha256* hash, Sha256Compress compress, const uint32_t* state, uint64_t length
) noexcept nogil:
    memcpy(hash.state, state, 32)
    hash.length = length
    hash.compress = compress


cdef void update(Sha256* hash, const uint8_t* data, size_t length) noexcept nogil:  # hot
    cdef size_t held = hash.length & (BLOCK - 1)
    cdef size_t wanted = BLOCK - held
    hash.length += length
    if held:
        if length < wanted:
            memcpy(hash.block + held, data, length)
            return
        memcpy(hash.block + held, data, wanted)
        hash.compress(hash.state, hash.block, 1)
        data += wanted
        length -= wanted
    if length >= BLOCK:
        hash.compress(hash.state, data, length // BLOCK)
        data += length & ~<size_t>(BLOCK - 1)
        length &= BLOCK - 1
    if length:
        memcpy(hash.block, data, length)


cdef void finish(Sha256* hash, uint8_t* out32) noexcept nogil:  # hot
    cdef size_t held = hash.length & (BLOCK - 1)
    cdef uint64_t bits = hash.length << 3
    cdef int i
    hash.block[held] = 0x80
    held += 1
    if held > LENGTH_AT:
        memset(hash.block + held, 0, BLOCK - held)
        hash.compress(hash.state, hash.block, 1)
        held = 0
    memset(hash.block + held, 0, LENGTH_AT - held)
    for i in range(8):
        hash.block[LENGTH_AT + i] = <uint8_t>(bits >> (56 - 8 * i))
    hash.compress(hash.state, hash.block, 1)
    for i in range(32):
        out32[i] = <uint8_t>(hash.state[i >> 2] >> (24 - 8 * (i & 3)))


cdef void hash_bytes(
    Sha256Compress compress, const uint8_t* data, size_t length, uint8_t* out32
) noexcept nogil:
    cdef Sha256 hash
    start(&hash, compress, FIRST_STATE, 0)
    update(&hash, data, length)
    finish(&hash, out32)
    sha256_wipe(&hash, sizeof(Sha256))


cdef void prepare_with(
    Sha256Compress compress, HmacKey* key, const uint8_t* secret, size_t length
) noexcept nogil:
    cdef uint8_t[BLOCK] block
    cdef int i
    memset(block, 0, BLOCK)
    if length > BLOCK:
        hash_bytes(compress, secret, length, block)
    elif length:
        memcpy(block, secret, length)
    memcpy(key.inner, FIRST_STATE, 32)
    memcpy(key.outer, FIRST_STATE, 32)
    for i in range(BLOCK):
        block[i] ^= 0x36
    compress(key.inner, block, 1)
    for i in range(BLOCK):
        block[i] ^= 0x36 ^ 0x5C
    compress(key.outer, block, 1)
    sha256_wipe(block, BLOCK)


cdef void begin_with(Sha256Compress compress, Hmac* context, const HmacKey* key) noexcept nogil:
    start(&context.inner, compress, key.inner, BLOCK)
    context.key = key


cdef int feed(Hmac* context, object part, str name) except -1:  # hot
    # Borrows: the caller's reference keeps the part alive.
    cdef const char* data
    cdef Py_ssize_t length
    if isinstance(part, bytes):
        data = PyBytes_AS_STRING(part)
        length = PyBytes_GET_SIZE(part)
    elif isinstance(part, str):
        data = PyUnicode_AsUTF8AndSize(part, &length)
    else:
        raise TypeError(f"{name} must be bytes or str, not {type(part).__name__}")
    c_hmac_update(context, <const uint8_t*>data, <size_t>length)
    return 0


cdef int check_bytes(object value, str name) except -1:
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    return 0


cdef inline const uint8_t* start_of(object value) noexcept:
    return <const uint8_t*>PyBytes_AS_STRING(value)


cdef bytes hash_with(Sha256Compress compress, object data):
    cdef uint8_t[32] digest
    check_bytes(data, "data")
    hash_bytes(compress, start_of(data), <size_t>PyBytes_GET_SIZE(data), digest)
    return PyBytes_FromStringAndSize(<const char*>digest, 32)


cdef bytes authenticate_with(Sha256Compress compress, object secret, tuple pieces):
    cdef HmacKey key
    cdef Hmac context
    cdef uint8_t[32] digest
    check_bytes(secret, "key")
    for piece in pieces:
        check_bytes(piece, "message")
    prepare_with(compress, &key, start_of(secret), <size_t>PyBytes_GET_SIZE(secret))
    begin_with(compress, &context, &key)
    for piece in pieces:
        c_hmac_update(&context, start_of(piece), <size_t>PyBytes_GET_SIZE(piece))
    c_hmac_finish(&context, digest)
    sha256_wipe(&key, sizeof(HmacKey))
    return PyBytes_FromStringAndSize(<const char*>digest, 32)
