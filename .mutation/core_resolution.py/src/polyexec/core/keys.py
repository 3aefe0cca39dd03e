"""Private keys and addresses as people write them, checked, into bytes; and back."""

from polyexec import _impl, _secp256k1
from polyexec.errors import InputError, SigningError

__all__ = ["checksum_address", "parse_address", "parse_bytes32", "parse_private_key"]

_HEX = frozenset("0123456789abcdefABCDEF")


def parse_private_key(value: str | bytes | int) -> bytes:
    """Return a private key as 32 bytes.

    Parameters
    ----------
    value : str, bytes or int
        64 hex digits with or without ``0x``, 32 bytes, or a number.

    Raises
    ------
    SigningError
        Says what is wrong and never holds any part of the key.
    """
    if isinstance(value, str):
        digits = value[2:] if value[:2] in ("0x", "0X") else value
        if len(digits) != 64:
            raise SigningError(
                f"the private key must be 64 hex digits (32 bytes), this text has {len(digits)}"
            )
        if not _HEX.issuperset(digits):
            raise SigningError("the private key holds characters that are not hex digits")
        key = bytes.fromhex(digits)
    elif isinstance(value, bytes | bytearray):
        if len(value) != 32:
            raise SigningError(f"the private key must be 32 bytes, not {len(value)}")
        key = bytes(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < 1 << 256:
            raise SigningError("the private key must be above zero and below the curve order")
        key = value.to_bytes(32, "big")
    else:
        raise SigningError(
            f"the private key must be hex text, 32 bytes or an int, not {type(value).__name__}"
        )
    if key == bytes(32):
        raise SigningError("the private key is zero")
    if not _secp256k1.is_private_key(key):
        raise SigningError("the private key is not below the order of the curve")
    return key


def checksum_address(address: bytes) -> str:
    """Return 20 bytes as ``0x`` text in EIP-55 mixed case."""
    text = address.hex()
    mask = _impl.keccak256(text.encode()).hex()
    return "0x" + "".join(
        char.upper() if nibble > "7" else char for char, nibble in zip(text, mask, strict=False)
    )


def parse_address(value: str | bytes, field: str) -> bytes:
    """Return an address as 20 bytes.

    Parameters
    ----------
    value : str or bytes
        ``0x`` and 40 hex digits: all lower case, all upper case, or EIP-55 mixed case.
    field : str
        Name for the error.

    Raises
    ------
    InputError
        Malformed, or mixed case with a wrong checksum.
    """
    if isinstance(value, bytes):
        if len(value) != 20:
            raise InputError(field, f"<{len(value)} bytes>", "an address is 20 bytes")
        return value
    if not isinstance(value, str):
        raise InputError(field, value, "must be an address: 0x and 40 hex digits")
    digits = value[2:]
    if len(value) != 42 or value[:2] not in ("0x", "0X") or not _HEX.issuperset(digits):
        raise InputError(field, _shown(value), "must be an address: 0x and 40 hex digits")
    address = bytes.fromhex(digits)
    one_case = digits in (digits.lower(), digits.upper())
    if not one_case and checksum_address(address)[2:] != digits:
        raise InputError(
            field, value, "has a wrong EIP-55 checksum: a digit is mistyped, or use lower case"
        )
    return address


def parse_bytes32(value: str | bytes, field: str) -> bytes:
    """Return 32 bytes given as bytes or as ``0x`` and 64 hex digits.

    Raises
    ------
    InputError
        Another length, or not hex.
    """
    if isinstance(value, bytes):
        if len(value) != 32:
            raise InputError(field, value, "must be 32 bytes")
        return value
    if (
        not isinstance(value, str)
        or len(value) != 66
        or value[:2] not in ("0x", "0X")
        or not _HEX.issuperset(value[2:])
    ):
        raise InputError(field, value, "must be 32 bytes: 0x and 64 hex digits")
    return bytes.fromhex(value[2:])


def _shown(value: str) -> str:
    # 64 hex digits where an address belongs are most likely a private key in the wrong place.
    digits = value.removeprefix("0x").removeprefix("0X")
    return f"<{len(digits)} hex digits, hidden>" if len(digits) >= 60 else value
