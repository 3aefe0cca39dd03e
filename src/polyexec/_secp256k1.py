"""ECDSA over secp256k1 by libsecp256k1 (coincurve), or by eth-keys where coincurve is missing.

Curve arithmetic is never ours. Signatures are 65 bytes ``r || s || v`` with RFC 6979 nonces, low s
and v of 27 or 28, so both back ends give the same bytes.
"""

import warnings
from collections.abc import Callable
from typing import Final

from polyexec import _impl

__all__ = [
    "BACKEND",
    "ORDER",
    "digest_signer",
    "is_private_key",
    "public_address",
    "recover_address",
    "sign_digest",
]

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Number of points of the curve; a private key lies in 1 to ORDER - 1."""

_Signer = Callable[[bytes], bytes]

try:
    from coincurve import PrivateKey, PublicKey
except ImportError:
    from eth_keys.datatypes import PrivateKey as _EthPrivateKey
    from eth_keys.datatypes import Signature as _EthSignature

    BACKEND = "eth-keys"
    warnings.warn(
        "coincurve is not installed: eth-keys signs instead, about 80 times slower",
        RuntimeWarning,
        stacklevel=2,
    )

    def _load(private_key: bytes) -> tuple[_Signer, bytes]:
        key = _EthPrivateKey(private_key)

        def sign(digest: bytes) -> bytes:
            signature: bytes = key.sign_msg_hash(digest).to_bytes()
            return signature

        return sign, key.public_key.to_bytes()

    def _recover(digest: bytes, recoverable: bytes) -> bytes:
        try:
            public_key = _EthSignature(recoverable).recover_public_key_from_msg_hash(digest)
        except Exception as error:  # eth-keys has no common base for its own errors
            raise ValueError(f"no public key recovers from this signature: {error}") from None
        point: bytes = public_key.to_bytes()
        return point
else:
    BACKEND = "coincurve"

    def _load(private_key: bytes) -> tuple[_Signer, bytes]:
        key = PrivateKey(private_key)

        def sign(digest: bytes) -> bytes:
            signature: bytes = key.sign_recoverable(digest, hasher=None)
            return signature

        return sign, key.public_key.format(compressed=False)[1:]

    def _recover(digest: bytes, recoverable: bytes) -> bytes:
        try:
            public_key = PublicKey.from_signature_and_message(recoverable, digest, hasher=None)
        except ValueError:
            raise
        except Exception as error:  # coincurve raises bare Exception when nothing recovers
            raise ValueError(f"no public key recovers from this signature: {error}") from None
        point: bytes = public_key.format(compressed=False)[1:]
        return point


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
    sign = _loaded(private_key)[0]

    def sign_checked(digest: bytes) -> bytes:
        if len(digest) != 32:
            raise ValueError(f"digest must be 32 bytes, not {len(digest)}")
        signature = sign(digest)
        return signature[:64] + bytes((27 + signature[64],))

    return sign_checked


def sign_digest(private_key: bytes, digest: bytes) -> bytes:
    """Return ``r || s || v`` over a 32-byte digest. Keep :func:`digest_signer` for many."""
    return digest_signer(private_key)(digest)


def public_address(private_key: bytes) -> bytes:
    """Return the 20-byte Ethereum address of a private key."""
    return _impl.keccak256(_loaded(private_key)[1])[12:]


def recover_address(digest: bytes, signature: bytes) -> bytes:
    """Return the 20-byte address that signed ``digest``.

    Raises
    ------
    ValueError
        Wrong lengths, v other than 27 or 28, or no key recovers.
    """
    if len(digest) != 32:
        raise ValueError(f"digest must be 32 bytes, not {len(digest)}")
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise ValueError("signature must be 65 bytes that end in 27 or 28")
    return _impl.keccak256(_recover(digest, signature[:64] + bytes((signature[64] - 27,))))[12:]


def _loaded(private_key: bytes) -> tuple[_Signer, bytes]:
    if not is_private_key(private_key):
        raise ValueError("a private key is 32 bytes, above 0 and below the curve order")
    return _load(private_key)
