"""Argument checks of the readable twins, with the exceptions that the compiled twins raise."""

import operator
from typing import SupportsIndex

__all__ = ["checked_bytes", "checked_int64", "checked_range", "checked_uint256"]


def checked_bytes(value: bytes, length: int, name: str) -> bytes:
    """Return ``value``, which must be ``length`` bytes."""
    if not isinstance(value, bytes):
        raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    if len(value) != length:
        raise ValueError(f"{name} must be {length} bytes, not {len(value)}")
    return value


def checked_uint256(value: int, name: str) -> int:
    """Return ``value``, which must be an int of 0 to 2**256 - 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not 0 <= value < 1 << 256:
        raise OverflowError(f"{name} must be at least 0 and below 2**256")
    return value


def checked_int64(value: SupportsIndex) -> int:
    """Return ``value`` as an int that fits 64 signed bits."""
    # A bool is a slip of the caller, as everywhere in the library.
    if isinstance(value, bool):
        raise TypeError("value must be an int, not bool")
    number = operator.index(value)
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError("value does not fit int64")
    return number


def checked_range(value: SupportsIndex, low: int, high: int, name: str) -> int:
    """Return ``value``, which must lie in ``low`` to ``high``."""
    number = checked_int64(value)
    if not low <= number <= high:
        raise ValueError(f"{name} must be {low} to {high}, not {number}")
    return number
