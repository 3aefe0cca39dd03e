"""Signals as JSON: for files, pipes and databases."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, TypeVar

from polyexec.errors import InputError
from polyexec.models import Leg, Quote
from polyexec.records import Record
from polyexec.signals import ArbSignal, LegsSignal, Signal

__all__ = ["decode_signal", "encode_signal"]

RecordT = TypeVar("RecordT", bound=Record)
_QUOTES: Final = ("parent", "parent_upper", "child")


def encode_signal(signal: Signal) -> str:
    """Return a signal as one line of JSON; numbers are texts, so that they stay exact."""
    return json.dumps(_plain(signal), separators=(",", ":"))


def decode_signal(text: str | bytes) -> Signal:
    """Return the signal of a JSON object: the constructor's arguments by name.

    An object with ``legs`` is a :class:`LegsSignal`, any other an :class:`ArbSignal`. Numbers may
    be texts.

    Raises
    ------
    InputError
        It is not JSON, or not a signal; names the field.
    """
    try:
        # A number with a point stays as it was written: binary fractions would be off the grid.
        value = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise InputError("signal", str(text)[:80], f"is not JSON: {error}") from None
    fields = _object(value, "signal")
    if "legs" in fields:
        legs = fields["legs"]
        if not isinstance(legs, list):
            raise InputError("legs", legs, "must be a list")
        made = [_made(Leg, leg, f"legs[{index}]") for index, leg in enumerate(legs)]
        return _made(LegsSignal, {**fields, "legs": made}, "signal")
    quotes = {
        name: _made(Quote, fields[name], name) for name in _QUOTES if fields.get(name) is not None
    }
    return _made(ArbSignal, {**fields, **quotes}, "signal")


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        shown = zip(value._shown, value._astuple(), strict=True)
        return {name: _plain(each) for name, each in shown if each is not None and each != ""}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Decimal) else value


def _made(kind: type[RecordT], value: Any, where: str) -> RecordT:
    fields = _object(value, where)
    known = kind._shown
    for name in fields:
        if name not in known:
            raise InputError(where, name, f"is no field of it; known: {', '.join(known)}")
    try:
        return kind(**fields)
    except InputError as error:
        if where == "signal":
            raise
        raise InputError(f"{where}.{error.field}", error.value, error.hint) from None
    except TypeError as error:
        raise InputError(where, sorted(fields), str(error)) from None


def _object(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(where, value, "must be an object")
    return value
