"""keccak256 with the original padding, as Ethereum uses it (not SHA3-256)."""

from Crypto.Hash import keccak

__all__ = ["keccak256"]


def keccak256(data: bytes) -> bytes:
    """Return the 32-byte keccak-256 hash of ``data``.

    Raises
    ------
    TypeError
        ``data`` is not bytes.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"data must be bytes, not {type(data).__name__}")
    digest: bytes = keccak.new(digest_bits=256, data=data).digest()
    return digest
