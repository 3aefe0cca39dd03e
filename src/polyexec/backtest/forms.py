"""Forms in files, and forms out of recorded metadata: what a replay evaluates."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from polyexec.core.forms import Form
from polyexec.core.range_overrides import RangeOverrides
from polyexec.core.ranges import MatchDelay, RangeMarket, merge_record, read_event
from polyexec.core.trios import MOST_CHILDREN, Unproven, build_groups, forms_of
from polyexec.errors import InputError

__all__ = ["forms_from_metadata", "load_forms", "save_forms"]


def load_forms(path: Path | str) -> tuple[Form, ...]:
    """Read forms that :func:`save_forms` has written: a JSON list.

    Raises
    ------
    InputError
        It cannot be read, is no such list, or is empty; names file and field.
    """
    try:
        forms = msgspec.json.decode(_bytes(path), type=tuple[Form, ...])
    except msgspec.DecodeError as error:
        raise InputError(str(path), "", f"is no list of forms: {error}") from None
    if not forms:
        raise InputError(str(path), (), "has no form")
    return forms


def save_forms(forms: Iterable[Form], path: Path | str) -> Path:
    """Write forms as a JSON list; return the path."""
    where = Path(path)
    where.write_bytes(msgspec.json.format(msgspec.json.encode(tuple(forms)), indent=1) + b"\n")
    return where


def forms_from_metadata(
    paths: Iterable[Path | str],
    *,
    overrides: RangeOverrides | None = None,
    delay: MatchDelay | str | None = None,
    most_children: int = MOST_CHILDREN,
) -> tuple[tuple[Form, ...], tuple[Unproven, ...]]:
    """Return the forms that recorded metadata proves, and what it does not prove, in words.

    Parameters
    ----------
    paths : iterable of paths
        JSON or JSON lines: Gamma events as they came, with their markets, and the order book's
        own records (``/clob-markets``); lists of them too, in any order.
    overrides : RangeOverrides or None
        As for the live engine.
    delay : MatchDelay, str or None
        What to suppose of the matching delay of markets without a record: Gamma does not tell it,
        and without it nothing is proven. None: nothing is supposed.
    most_children : int
        1: the four strategies only.

    Raises
    ------
    InputError
        A file cannot be read or holds something else; names it.

    Notes
    -----
    Whether a market takes orders when the metadata were written says nothing about the time of the
    recording: it is not looked at.
    """
    supposed = None if delay is None else _delay(delay)
    records: dict[str, Any] = {}
    found: dict[str, RangeMarket] = {}
    for path in paths:
        for number, value in enumerate(_objects(path), 1):
            if isinstance(value.get("markets"), list):
                markets, _ = read_event(value, overrides)
                found.update((market.condition_id, market) for market in markets)
            elif isinstance(value.get("c"), str) and isinstance(value.get("t"), list):
                records[value["c"].lower()] = value
            else:
                problem = "is neither an event with markets nor a record of the order book"
                raise InputError(f"{path}, object {number}", sorted(value)[:5], problem)
    whole = [_completed(market, records, supposed) for market in found.values()]
    groups, stray = build_groups(whole, overrides, most_children=most_children)
    forms = tuple(form for group in groups for trio in group.trios for form in forms_of(trio))
    return forms, (*stray, *(one for group in groups for one in group.unproven))


def _completed(
    market: RangeMarket, records: Mapping[str, Any], supposed: MatchDelay | None
) -> RangeMarket:
    record = records.get(market.condition_id, records.get(market.condition_id.removesuffix("00")))
    if record is not None:
        market = merge_record(market, record)
    missing = dict(market.missing)
    terms = market.terms
    if terms.delay is None and supposed is not None and "seconds_delay" not in missing:
        missing.pop("delay", None)
        terms = msgspec.structs.replace(terms, delay=supposed)
    missing.pop("open", None)
    return msgspec.structs.replace(
        market, is_open=True, terms=terms, missing=tuple(missing.items())
    )


def _delay(value: MatchDelay | str) -> MatchDelay:
    try:
        return MatchDelay(value)
    except ValueError:
        names = ", ".join(MatchDelay)
        raise InputError("delay", value, f"must be one of {names}") from None


def _objects(path: Path | str) -> Iterator[Mapping[str, Any]]:
    data = _bytes(path)
    try:
        values = [msgspec.json.decode(data)]
    except msgspec.DecodeError:
        try:
            values = msgspec.json.Decoder().decode_lines(data)
        except msgspec.DecodeError as error:
            problem = f"is neither JSON nor lines of JSON: {error}"
            raise InputError(str(path), data[:40], problem) from None
    for value in values:
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict):
                raise InputError(str(path), one, "must hold objects")
            yield one


def _bytes(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError("path", str(path), f"cannot be read: {error}") from None
