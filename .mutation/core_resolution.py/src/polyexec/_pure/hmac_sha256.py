"""SHA-256, HMAC, and the L2 signature with a key that is prepared once."""

import base64
import hashlib
import hmac
from typing import NoReturn, final

__all__ = ["L2Key", "hmac_sha256", "sha256"]


@final
class L2Key:
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

    __slots__ = ("_started",)

    def __init__(self, key: bytes) -> None:
        _check_bytes(key, "key")
        self._started = hmac.new(key, digestmod="sha256")

    def sign(
        self, timestamp: bytes | str, method: bytes | str, path: bytes | str, body: bytes | str
    ) -> str:
        """Return the HMAC of the four parts in a row, as URL-safe base64.

        Text is taken as UTF-8.

        Raises
        ------
        TypeError
            A part is neither bytes nor text.
        """
        message = self._started.copy()
        message.update(_encoded(timestamp, "timestamp"))
        message.update(_encoded(method, "method"))
        message.update(_encoded(path, "path"))
        message.update(_encoded(body, "body"))
        return base64.urlsafe_b64encode(message.digest()).decode()

    def __repr__(self) -> str:
        return "L2Key(<hidden>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an L2Key holds a secret: it cannot be pickled or copied")


def sha256(data: bytes) -> bytes:
    """Return the 32-byte SHA-256 hash of ``data``."""
    _check_bytes(data, "data")
    return hashlib.sha256(data).digest()


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA256 of ``message``."""
    _check_bytes(key, "key")
    _check_bytes(message, "message")
    return hmac.digest(key, message, "sha256")


def _check_bytes(value: bytes, name: str) -> None:
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")


def _encoded(part: bytes | str, name: str) -> bytes:
    if isinstance(part, bytes):
        return part
    if not isinstance(part, str):
        raise TypeError(f"{name} must be bytes or str, not {type(part).__name__}")
    return part.encode()
