"""ECDSA over secp256k1 by the addresses of libsecp256k1's functions, without the GIL.

The library is found and kept loaded by ``polyexec._secp256k1``.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uintptr_t
from libc.string cimport memcmp, memcpy

from polyexec._fast.convert cimport checked_bytes
from polyexec._fast.hmac_sha256 cimport (
    Hmac,
    HmacKey,
    c_hmac_begin,
    c_hmac_finish,
    c_hmac_prepare,
    c_hmac_update,
    has_sha_instructions,
)

cdef extern from "pages.h" nogil:
    void wipe(void* start, size_t length)
    size_t page_size()
    void* new_pages(size_t length)
    void free_pages(void* start, size_t length)
    int protect_pages(void* start, size_t length, size_t inherited)

cdef enum:
    COMPRESSED = 0x102  # SECP256K1_EC_COMPRESSED
    UNCOMPRESSED = 0x002


# Sizes of the opaque structs are part of the library's interface.
cdef struct Point:
    uint8_t[64] data


cdef struct Recoverable:
    uint8_t[65] data


ctypedef int (*NonceFn)(
    uint8_t*, const uint8_t*, const uint8_t*, const uint8_t*, void*, unsigned int
) noexcept nogil
ctypedef int (*SignFn)(
    const void*, Recoverable*, const uint8_t*, const uint8_t*, NonceFn, const void*
) noexcept nogil
ctypedef int (*SerializeSignatureFn)(
    const void*, uint8_t*, int*, const Recoverable*
) noexcept nogil
ctypedef int (*ParseSignatureFn)(const void*, Recoverable*, const uint8_t*, int) noexcept nogil
ctypedef int (*RecoverFn)(
    const void*, Point*, const Recoverable*, const uint8_t*
) noexcept nogil
ctypedef int (*PointFn)(const void*, Point*, const uint8_t*) noexcept nogil
ctypedef int (*SerializePointFn)(
    const void*, uint8_t*, size_t*, const Point*, unsigned int
) noexcept nogil
ctypedef int (*CheckFn)(const void*, const uint8_t*) noexcept nogil
ctypedef int (*NegateFn)(const void*, uint8_t*) noexcept nogil
ctypedef int (*TweakFn)(const void*, uint8_t*, const uint8_t*) noexcept nogil


cdef struct Library:
    const void* context
    SignFn sign
    SerializeSignatureFn serialize_signature
    ParseSignatureFn parse_signature
    RecoverFn recover
    PointFn point
    SerializePointFn serialize_point
    CheckFn is_scalar
    NegateFn negate
    TweakFn add
    TweakFn multiply
    NonceFn nonce
    NonceFn own_nonce  # what signing passes; NULL: the library's


# Written by bind while polyexec is imported; read only afterwards.
cdef Library LIBRARY
LIBRARY.context = NULL

FUNCTIONS = (
    "secp256k1_ecdsa_sign_recoverable",
    "secp256k1_ecdsa_recoverable_signature_serialize_compact",
    "secp256k1_ecdsa_recoverable_signature_parse_compact",
    "secp256k1_ecdsa_recover",
    "secp256k1_ec_pubkey_create",
    "secp256k1_ec_pubkey_serialize",
    "secp256k1_ec_seckey_verify",
    "secp256k1_ec_seckey_negate",
    "secp256k1_ec_seckey_tweak_add",
    "secp256k1_ec_seckey_tweak_mul",
    "secp256k1_nonce_function_rfc6979",
)


def bind(addresses, context):
    """Use these functions from now on; the caller keeps the library and the context alive.

    Parameters
    ----------
    addresses : dict of str to int
        An address for each of ``FUNCTIONS``.
    context : int
        Address of a ``secp256k1_context``.

    Raises
    ------
    ValueError
        A function is missing, or an address is zero.
    """
    cdef Library found
    cdef uintptr_t[11] at
    cdef Py_ssize_t i
    for i, name in enumerate(FUNCTIONS):
        at[i] = addresses.get(name, 0)
        if not at[i]:
            raise ValueError(f"{name} has no address")
    found.context = <const void*><uintptr_t>context
    if found.context == NULL:
        raise ValueError("the context has no address")
    found.sign = <SignFn>at[0]
    found.serialize_signature = <SerializeSignatureFn>at[1]
    found.parse_signature = <ParseSignatureFn>at[2]
    found.recover = <RecoverFn>at[3]
    found.point = <PointFn>at[4]
    found.serialize_point = <SerializePointFn>at[5]
    found.is_scalar = <CheckFn>at[6]
    found.negate = <NegateFn>at[7]
    found.add = <TweakFn>at[8]
    found.multiply = <TweakFn>at[9]
    found.nonce = <NonceFn>at[10]
    # The library hashes in plain C; where the processor has SHA instructions ours is quicker.
    found.own_nonce = <NonceFn>rfc6979_nonce if has_sha_instructions() else <NonceFn>NULL
    global LIBRARY
    LIBRARY = found


def unbind():
    """Use no library: everything refuses."""
    LIBRARY.context = NULL


def is_bound():
    """Return True when there is a library to sign with."""
    return bool(c_is_bound())


@cython.final
cdef class Key:
    """A private key that signs: 32-byte digest -> ``r || s || v`` with the RFC 6979 nonce.

    Raises
    ------
    ValueError
        Not 32 bytes, or no number that can be a key. The message does not hold it.
    """

    def __cinit__(self, key):
        cdef const uint8_t* key32 = checked_bytes(key, 32, "key")
        if not c_is_scalar(key32):
            raise ValueError(REFUSED)
        self.key = <uint8_t*>new_pages(page_size())
        if self.key == NULL:
            raise MemoryError("no page for a key")
        # A forked child may sign too, so the page is inherited.
        protect_pages(self.key, page_size(), page_size())
        memcpy(self.key, key32, 32)

    def __dealloc__(self):
        if self.key != NULL:
            wipe(self.key, 32)
            free_pages(self.key, page_size())

    def __call__(self, digest):  # hot
        cdef const uint8_t* digest32 = checked_bytes(digest, 32, "digest")
        cdef uint8_t[SIGNATURE_BYTES] out
        cdef int done
        with nogil:
            done = c_sign(self.key, digest32, out)
        if not done:
            raise ValueError(REFUSED)
        return PyBytes_FromStringAndSize(<const char*>out, SIGNATURE_BYTES)

    def __repr__(self):
        return "Key(<hidden>)"

    def __reduce__(self):
        raise TypeError("a Key is secret: it cannot be pickled or copied")


def public_key(key):
    """Return the 64 bytes of the public key's point."""
    cdef const uint8_t* key32 = checked_bytes(key, 32, "key")
    cdef Point point
    if LIBRARY.context == NULL or not LIBRARY.point(LIBRARY.context, &point, key32):
        raise ValueError(REFUSED)
    return serialized(&point)


def recover(digest, signature):
    """Return the 64 bytes of the public key that made ``r || s || v``.

    Raises
    ------
    ValueError
        None did.
    """
    cdef const uint8_t* digest32 = checked_bytes(digest, 32, "digest")
    cdef const uint8_t* start = checked_bytes(signature, SIGNATURE_BYTES, "signature")
    cdef Recoverable parsed
    cdef Point point
    if LIBRARY.context == NULL:
        raise ValueError(REFUSED)
    if (
        start[64] < 27 or start[64] > 28
        or not LIBRARY.parse_signature(LIBRARY.context, &parsed, start, start[64] - 27)
        or not LIBRARY.recover(LIBRARY.context, &point, &parsed, digest32)
    ):
        raise ValueError("no public key recovers from this signature")
    return serialized(&point)


cdef bint c_is_bound() noexcept nogil:  # hot
    return LIBRARY.context != NULL


cdef int c_sign(
    const uint8_t* key32, const uint8_t* digest32, uint8_t* out65
) noexcept nogil:  # hot
    cdef Recoverable signature
    cdef int recovery_id = 0
    if LIBRARY.context == NULL or not LIBRARY.sign(
        LIBRARY.context, &signature, digest32, key32, LIBRARY.own_nonce, NULL
    ):
        return 0
    LIBRARY.serialize_signature(LIBRARY.context, out65, &recovery_id, &signature)
    # 2 and 3 mean r >= n, which v cannot say; it takes 2**127 signatures to meet one.
    if recovery_id > 1:
        return 0
    out65[64] = <uint8_t>(27 + recovery_id)
    return 1


cdef int c_is_scalar(const uint8_t* a) noexcept nogil:
    return LIBRARY.context != NULL and LIBRARY.is_scalar(LIBRARY.context, a)


cdef int c_multiply(uint8_t* a, const uint8_t* b) noexcept nogil:  # hot
    return LIBRARY.context != NULL and LIBRARY.multiply(LIBRARY.context, a, b)


cdef int c_add(uint8_t* a, const uint8_t* b) noexcept nogil:  # hot
    return LIBRARY.context != NULL and LIBRARY.add(LIBRARY.context, a, b)


cdef int c_negate(uint8_t* a) noexcept nogil:  # hot
    return LIBRARY.context != NULL and LIBRARY.negate(LIBRARY.context, a)


cdef int c_point(const uint8_t* a, uint8_t* out33) noexcept nogil:
    cdef Point point
    cdef size_t length = 33
    if LIBRARY.context == NULL or not LIBRARY.point(LIBRARY.context, &point, a):
        return 0
    return LIBRARY.serialize_point(LIBRARY.context, out33, &length, &point, COMPRESSED)


cdef int c_nonce(
    const uint8_t* key32,
    const uint8_t* message32,
    const uint8_t* extra32,
    const uint8_t* label16,
    unsigned int attempt,
    uint8_t* out32,
) noexcept nogil:
    return LIBRARY.context != NULL and LIBRARY.nonce(
        out32, message32, key32, label16, <void*>extra32, attempt
    )


cdef str REFUSED = "libsecp256k1 is not bound, or the key is none"


cdef bytes serialized(const Point* point):
    cdef uint8_t[65] out
    cdef size_t length = 65
    LIBRARY.serialize_point(LIBRARY.context, out, &length, point, UNCOMPRESSED)
    return PyBytes_FromStringAndSize(<const char*>out + 1, 64)


cdef int rfc6979_nonce(
    uint8_t* out32,
    const uint8_t* message32,
    const uint8_t* key32,
    const uint8_t* label16,
    void* extra32,
    unsigned int attempt,
) noexcept nogil:  # hot
    """Write what the library's own nonce function would: HMAC-DRBG of key and message.

    The first draw only, and of a message below n, which RFC 6979 takes as it is: 1 in 2**127
    signatures is anything else, and the library's affair.
    """
    cdef HmacKey state
    cdef uint8_t[32] value
    cdef uint8_t[32] next
    cdef int i
    if attempt or label16 != NULL or extra32 != NULL or memcmp(message32, CURVE_ORDER, 32) >= 0:
        return LIBRARY.nonce(out32, message32, key32, label16, extra32, attempt)
    for i in range(32):
        value[i] = 0x01
    # RFC 6979, 3.2: d to g, then the first pass of h.
    reseed(&FIRST_HMAC_KEY, value, 0x00, key32, message32, next)
    c_hmac_prepare(&state, next, 32)
    advance(&state, value)
    reseed(&state, value, 0x01, key32, message32, next)
    c_hmac_prepare(&state, next, 32)
    advance(&state, value)
    advance(&state, value)
    memcpy(out32, value, 32)
    wipe(&state, sizeof(HmacKey))
    wipe(value, 32)
    wipe(next, 32)
    return 1


cdef void reseed(
    const HmacKey* state, const uint8_t* value, uint8_t mark,
    const uint8_t* key32, const uint8_t* message32, uint8_t* out32,
) noexcept nogil:
    cdef Hmac context
    c_hmac_begin(&context, state)
    c_hmac_update(&context, value, 32)
    c_hmac_update(&context, &mark, 1)
    c_hmac_update(&context, key32, 32)
    c_hmac_update(&context, message32, 32)
    c_hmac_finish(&context, out32)


cdef void advance(const HmacKey* state, uint8_t* value) noexcept nogil:
    cdef Hmac context
    c_hmac_begin(&context, state)
    c_hmac_update(&context, value, 32)
    c_hmac_finish(&context, value)


cdef int load(str digits, uint8_t* out) except -1:
    memcpy(out, PyBytes_AS_STRING(bytes.fromhex(digits)), 32)
    return 0


# Written once, here, while the module is imported; read only afterwards.
cdef uint8_t[32] CURVE_ORDER
cdef HmacKey FIRST_HMAC_KEY  # RFC 6979 starts with a key of zeros
load("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", CURVE_ORDER)
c_hmac_prepare(&FIRST_HMAC_KEY, NULL, 0)
