"""Which generation an outcome token belongs to, by the look of its id.

A cross-check at load time: the market's own ``version`` decides. An id counts as a Protocol V2
position id when its reserved bits 40 to 103 are zero, so every number below 2**40 passes.
Source: protocol notes, orders.md section 1.
"""

from typing import NamedTuple

from polyexec.errors import InputError

__all__ = ["Position", "decode_position_id", "is_position_id"]

_RESERVED = ((1 << 64) - 1) << 40
_MODULES = (1, 2, 3)  # binary, neg-risk, combinatorial


class Position(NamedTuple):
    """What a position id says."""

    condition_id: str
    """``0x`` and 62 hex digits: all but the outcome."""
    outcome_index: int
    """0 yes, 1 no."""


def is_position_id(token_id: str | int) -> bool:
    """Return True for an id in the namespace of Protocol V2 (ExchangeV3 markets)."""
    return _number(token_id) & _RESERVED == 0


def decode_position_id(token_id: str | int) -> Position | None:
    """Return the parts of a position id of a yes/no outcome, or None when it is not one."""
    number = _number(token_id)
    outcome = number & 0xFF
    if number & _RESERVED or number >> 248 not in _MODULES or outcome > 1:
        return None
    return Position(f"0x{number >> 8:062x}", outcome)


def _number(token_id: str | int) -> int:
    try:
        if isinstance(token_id, str):
            is_hex = token_id[:2] in ("0x", "0X")
            digits = token_id[2:] if is_hex else token_id
            if not (digits.isascii() and digits.isalnum()):  # int() takes spaces and underscores
                raise ValueError
            number = int(digits, 16 if is_hex else 10)
        else:
            number = int(token_id)
    except (TypeError, ValueError):
        raise InputError("token_id", token_id, "must be a decimal or 0x hex number") from None
    if not 0 <= number < 1 << 256:
        raise InputError("token_id", token_id, "must be at least 0 and below 2**256")
    return number
