"""Ids for markets that are made up, in the shapes that clients check."""

import re

from polyexec.enums import Generation
from polyexec.errors import InputError
from polyexec.paper.signatures import keccak256

__all__ = ["condition_id_of", "parse_address", "parse_condition_id", "token_ids_of"]

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_CONDITION = re.compile(r"0x[0-9a-fA-F]{64}")
_SHORT_CONDITION = re.compile(r"0x[0-9a-fA-F]{62}")
_BINARY, _NEG_RISK = 1, 2


def condition_id_of(slug: str, generation: Generation, *, neg_risk: bool) -> str:
    """Return a condition id that depends on nothing but the arguments."""
    digest = keccak256(f"paper/{slug}/{int(generation)}".encode())
    if generation is not Generation.EXCHANGE_V3:
        return "0x" + digest.hex()
    # module, base hash, arity, 64 reserved zero bits, chain, condition index; padded on the right.
    module = _NEG_RISK if neg_risk else _BINARY
    parts = (bytes([module]), digest[:16], (2).to_bytes(2, "big"), bytes(12), bytes(1))
    return "0x" + b"".join(parts).hex()


def token_ids_of(condition_id: str, generation: Generation) -> tuple[str, str]:
    """Return the two token ids of a condition.

    A position id of ExchangeV3 is its condition with the outcome index in the last byte; any
    other token id is a hash.
    """
    raw = bytes.fromhex(condition_id[2:])
    if generation is Generation.EXCHANGE_V3:
        first = int.from_bytes(raw, "big")
        return str(first), str(first + 1)
    first, second = (int.from_bytes(keccak256(raw + bytes([index])), "big") for index in (0, 1))
    return str(first), str(second)


def parse_condition_id(value: str) -> str:
    """Return a condition id of 32 bytes; the 31 bytes of ExchangeV3 are padded on the right."""
    if isinstance(value, str):
        if _SHORT_CONDITION.fullmatch(value):
            value += "00"
        if _CONDITION.fullmatch(value):
            return value.lower()
    raise InputError("condition_id", value, "must be 0x and 64 hex digits")


def parse_address(value: str, field: str) -> str:
    """Return an address in lower case."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise InputError(field, value, "must be 0x and 40 hex digits")
    return value.lower()
