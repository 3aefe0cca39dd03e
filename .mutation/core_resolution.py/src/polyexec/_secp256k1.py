"""ECDSA over secp256k1: finds a library that does the curve arithmetic, which is never ours.

The roads to it, in the order they are tried; ``BACKEND`` names the one in use:

coincurve-pointer  coincurve's libsecp256k1, called by address from the compiled functions
coincurve-cffi     the same through coincurve itself
system             the system's libsecp256k1, by address, or by ctypes without compiled functions
eth-keys           Python: about 80 times slower, with a warning

Signatures are 65 bytes ``r || s || v`` with RFC 6979 nonces, low s and v of 27 or 28, so every road
gives the same bytes. ``POLYEXEC_SECP256K1`` forces one, for tests.
"""

import ctypes
import os
import warnings
from collections.abc import Callable
from ctypes.util import find_library
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from polyexec import _impl

if TYPE_CHECKING:
    from polyexec._fast.nonces import NoncePool

__all__ = [
    "BACKEND",
    "MAX_NONCES",
    "ORDER",
    "REFUSED",
    "digest_signer",
    "is_private_key",
    "nonce_pool",
    "public_address",
    "recover_address",
    "sign_digest",
]

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Number of points of the curve; a private key lies in 1 to ORDER - 1."""
MAX_NONCES: Final = 4096
"""Most nonces that :func:`nonce_pool` keeps ready."""

_Signer = Callable[[bytes], bytes]


class _Road(NamedTuple):
    signer: Callable[[bytes], _Signer]  # private key -> function of 32 bytes, v 27 or 28
    public_key: Callable[[bytes], bytes]  # private key -> 64 bytes
    recover: Callable[[bytes, bytes], bytes]  # digest, signature -> 64 bytes


class _RoadClosed(Exception):
    """A road that cannot be taken; the message says why."""


# A known answer, made with another library.
_TEST_KEY: Final = bytes.fromhex("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
_TEST_DIGEST: Final = bytes(range(32))
_TEST_SIGNATURE: Final = bytes.fromhex(
    "4ca3aca3a41bc1ca96d67707e525ac6bd77ddc197a34b4c020be1ee636e29617"
    "199556ded3234058daafff2bc3153da60d402d0c71389a11a790b9f1a5862e80"
    "1b"
)
_TEST_ADDRESS: Final = bytes.fromhex("2c7536e3605d9c16a7a3d7b1898e529396a65c23")

# SIGN | VERIFY: today's libraries read it as NONE, those from before 2022 need it.
_CONTEXT_FLAGS: Final = 0x301
# Whatever addresses point into must outlive them.
_kept: list[Any] = []


def _by_address(addresses: dict[str, int], context: int) -> _Road:
    from polyexec._fast import secp256k1  # noqa: PLC0415 - not built in a pure installation

    try:
        secp256k1.bind(addresses, context)
    except ValueError as error:
        raise _RoadClosed(str(error)) from None

    return _Road(secp256k1.Key, secp256k1.public_key, secp256k1.recover)


def _coincurve_pointer() -> _Road:
    if _impl.IMPLEMENTATION != "fast":
        raise _RoadClosed("the compiled functions are not in use")
    from coincurve._libsecp256k1 import ffi, lib  # noqa: PLC0415 - optional

    from polyexec._fast.secp256k1 import FUNCTIONS  # noqa: PLC0415

    context = ffi.gc(lib.secp256k1_context_create(_CONTEXT_FLAGS), lib.secp256k1_context_destroy)
    _randomized(lib.secp256k1_context_randomize(context, os.urandom(32)))
    addresses = {}
    for name in FUNCTIONS:
        is_variable = name == "secp256k1_nonce_function_rfc6979"
        pointer = getattr(lib, name) if is_variable else ffi.addressof(lib, name)
        addresses[name] = int(ffi.cast("uintptr_t", pointer))
    _kept[:] = [ffi, lib, context]
    return _by_address(addresses, int(ffi.cast("uintptr_t", context)))


def _coincurve_cffi() -> _Road:
    from coincurve import PrivateKey, PublicKey  # noqa: PLC0415 - optional

    def signer(private_key: bytes) -> _Signer:
        key = PrivateKey(private_key)

        def sign(digest: bytes) -> bytes:
            signature: bytes = key.sign_recoverable(_checked_digest(digest), hasher=None)
            return signature[:64] + bytes((27 + signature[64],))

        return sign

    def public_key(private_key: bytes) -> bytes:
        point: bytes = PrivateKey(private_key).public_key.format(compressed=False)[1:]
        return point

    def recover(digest: bytes, signature: bytes) -> bytes:
        recoverable = signature[:64] + bytes((signature[64] - 27,))
        try:
            key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
        except Exception as error:  # coincurve raises bare Exception when nothing recovers
            raise ValueError(f"no public key recovers from this signature: {error}") from None
        point: bytes = key.format(compressed=False)[1:]
        return point

    return _Road(signer, public_key, recover)


def _system() -> _Road:
    path = find_library("secp256k1")
    if path is None:
        raise _RoadClosed("no libsecp256k1 on this system")
    lib = ctypes.CDLL(path)
    lib.secp256k1_context_create.restype = ctypes.c_void_p
    lib.secp256k1_context_create.argtypes = [ctypes.c_uint]
    context = ctypes.c_void_p(lib.secp256k1_context_create(_CONTEXT_FLAGS))
    _randomized(lib.secp256k1_context_randomize(context, os.urandom(32)))
    if _impl.IMPLEMENTATION == "fast":
        from polyexec._fast.secp256k1 import FUNCTIONS  # noqa: PLC0415

        addresses = {
            name: ctypes.cast(getattr(lib, name), ctypes.c_void_p).value or 0 for name in FUNCTIONS
        }
        name = "secp256k1_nonce_function_rfc6979"
        addresses[name] = ctypes.c_void_p.in_dll(lib, name).value or 0
        _kept[:] = [lib, context]
        return _by_address(addresses, context.value or 0)
    return _by_ctypes(lib, context)


def _by_ctypes(lib: ctypes.CDLL, context: ctypes.c_void_p) -> _Road:
    # Sizes of the opaque structs are part of the library's interface: 64 a key, 65 a signature.
    def serialized(point: Any) -> bytes:
        out, length = ctypes.create_string_buffer(65), ctypes.c_size_t(65)
        lib.secp256k1_ec_pubkey_serialize(context, out, ctypes.byref(length), point, 2)
        return out.raw[1:]

    def signer(key: bytes) -> _Signer:
        def sign(digest: bytes) -> bytes:
            made, out = ctypes.create_string_buffer(65), ctypes.create_string_buffer(64)
            parity = ctypes.c_int()
            _checked_digest(digest)
            if not lib.secp256k1_ecdsa_sign_recoverable(context, made, digest, key, None, None):
                raise ValueError("libsecp256k1 refuses this key")
            lib.secp256k1_ecdsa_recoverable_signature_serialize_compact(
                context, out, ctypes.byref(parity), made
            )
            return out.raw + bytes((27 + parity.value,))

        return sign

    def public_key(key: bytes) -> bytes:
        point = ctypes.create_string_buffer(64)
        if not lib.secp256k1_ec_pubkey_create(context, point, key):
            raise ValueError("libsecp256k1 refuses this key")
        return serialized(point)

    def recover(digest: bytes, signature: bytes) -> bytes:
        parsed, point = ctypes.create_string_buffer(65), ctypes.create_string_buffer(64)
        if not lib.secp256k1_ecdsa_recoverable_signature_parse_compact(
            context, parsed, signature[:64], signature[64] - 27
        ) or not lib.secp256k1_ecdsa_recover(context, point, parsed, digest):
            raise ValueError("no public key recovers from this signature")
        return serialized(point)

    return _Road(signer, public_key, recover)


def _eth_keys() -> _Road:
    from eth_keys.datatypes import PrivateKey, Signature  # noqa: PLC0415 - slow to import

    warnings.warn(
        "neither coincurve nor a system libsecp256k1 can be used: eth-keys signs instead, about 80 "
        "times slower (build_info() says why)",
        RuntimeWarning,
        stacklevel=2,
    )

    def signer(private_key: bytes) -> _Signer:
        key = PrivateKey(private_key)

        def sign(digest: bytes) -> bytes:
            signature: bytes = key.sign_msg_hash(_checked_digest(digest)).to_bytes()
            return signature[:64] + bytes((27 + signature[64],))

        return sign

    def public_key(private_key: bytes) -> bytes:
        point: bytes = PrivateKey(private_key).public_key.to_bytes()
        return point

    def recover(digest: bytes, signature: bytes) -> bytes:
        recoverable = signature[:64] + bytes((signature[64] - 27,))
        try:
            key = Signature(recoverable).recover_public_key_from_msg_hash(digest)
        except Exception as error:  # eth-keys has no common base for its own errors
            raise ValueError(f"no public key recovers from this signature: {error}") from None
        point: bytes = key.to_bytes()
        return point

    return _Road(signer, public_key, recover)


def _checked_digest(digest: bytes) -> bytes:
    if len(digest) != 32:
        raise ValueError(f"digest must be 32 bytes, not {len(digest)}")
    return digest


def _randomized(done: int) -> None:
    if not done:
        raise _RoadClosed("its context cannot be randomized")


def _self_test(road: _Road) -> None:
    """Make sure that these are the functions we take them for, before a real key meets them."""
    signature = road.signer(_TEST_KEY)(_TEST_DIGEST)
    point = road.public_key(_TEST_KEY)
    if (
        signature != _TEST_SIGNATURE
        or _impl.keccak256(point)[12:] != _TEST_ADDRESS
        or road.recover(_TEST_DIGEST, signature) != point
    ):
        raise _RoadClosed("its self-test gave a wrong answer")


_ROADS: Final[dict[str, Callable[[], _Road]]] = {
    "coincurve-pointer": _coincurve_pointer,
    "coincurve-cffi": _coincurve_cffi,
    "system": _system,
    "eth-keys": _eth_keys,
}


def _take_road(forced: str) -> tuple[str, _Road, dict[str, str]]:
    if forced and forced not in _ROADS:
        raise ImportError(f"POLYEXEC_SECP256K1={forced!r}: must be one of {', '.join(_ROADS)}")
    refused: dict[str, str] = {}
    for name in (forced,) if forced else _ROADS:
        try:
            road = _ROADS[name]()
            _self_test(road)
        except (ImportError, AttributeError, OSError, ValueError, _RoadClosed) as error:
            # Nothing may sign by addresses that did not pass.
            _unbind()
            refused[name] = str(error)
        else:
            return name, road, refused
    raise ImportError(f"no library for secp256k1: {refused}")


def _unbind() -> None:
    if _impl.IMPLEMENTATION == "fast":
        from polyexec._fast import secp256k1  # noqa: PLC0415

        secp256k1.unbind()


BACKEND, _road, REFUSED = _take_road(os.environ.get("POLYEXEC_SECP256K1", ""))


def is_private_key(private_key: bytes) -> bool:
    """Return True for 32 bytes that are a number from 1 to the curve order minus 1."""
    return len(private_key) == 32 and 0 < int.from_bytes(private_key, "big") < ORDER


def digest_signer(private_key: bytes) -> _Signer:
    """Return a function that signs 32-byte digests; it holds the loaded key.

    Raises
    ------
    ValueError
        Not a private key. The message does not hold it.
    """
    return _road.signer(_checked(private_key))


def sign_digest(private_key: bytes, digest: bytes) -> bytes:
    """Return ``r || s || v`` over a 32-byte digest. Keep :func:`digest_signer` for many."""
    return digest_signer(private_key)(digest)


def nonce_pool(private_key: bytes, size: int) -> "NoncePool":
    """Return a pool of prepared nonces, not started, after a trial of one with a known key.

    Raises
    ------
    ValueError
        Not a private key, or a size out of range.
    LookupError
        The library in use cannot be called by address.
    """
    if _impl.IMPLEMENTATION != "fast":
        raise LookupError("prepared nonces need the compiled functions")
    from polyexec._fast import nonces, secp256k1  # noqa: PLC0415

    if not secp256k1.is_bound():
        raise LookupError(
            f"prepared nonces need libsecp256k1 by address, but {BACKEND} is in use: {REFUSED}"
        )
    trial = nonces.NoncePool(_TEST_KEY, 1)
    trial.fill()
    signature = trial.sign(_TEST_DIGEST)
    if trial.used != 1 or recover_address(_TEST_DIGEST, signature) != _TEST_ADDRESS:
        raise LookupError("a trial with a prepared nonce gave a wrong signature")
    trial.close()
    return nonces.NoncePool(_checked(private_key), size)


def public_address(private_key: bytes) -> bytes:
    """Return the 20-byte Ethereum address of a private key."""
    return _impl.keccak256(_road.public_key(_checked(private_key)))[12:]


def recover_address(digest: bytes, signature: bytes) -> bytes:
    """Return the 20-byte address that signed ``digest``.

    Raises
    ------
    ValueError
        Wrong lengths, v other than 27 or 28, or no key recovers.
    """
    _checked_digest(digest)
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise ValueError("signature must be 65 bytes that end in 27 or 28")
    return _impl.keccak256(_road.recover(digest, signature))[12:]


def _checked(private_key: bytes) -> bytes:
    if not is_private_key(private_key):
        raise ValueError("a private key is 32 bytes, above 0 and below the curve order")
    return private_key
