"""Times as recorders write them, as unix nanoseconds."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from polyexec.errors import InputError

__all__ = ["HOUR_NS", "hour_name", "parse_time_ns"]

HOUR_NS: Final = 3_600_000_000_000
_SCALE: Final = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_NS: Final = 1_420_070_400 * 10**9  # 2015: before this exchange and its chain
_LAST_NS: Final = 1 << 62


def parse_time_ns(value: Any, where: str, *, unit: str = "") -> int:
    """Return unix nanoseconds.

    Parameters
    ----------
    value : int, float, Decimal, datetime or str
        A number, its text, or an ISO 8601 text; without a zone it is UTC.
    where : str
        File and record, for the message.
    unit : str
        ``s``, ``ms``, ``us`` or ``ns``; empty: told by the magnitude.

    Raises
    ------
    InputError
        It is no time, or one before 2015: the reading of a monotonic clock, for one.
    """
    time_ns = _calendar_ns(value) if isinstance(value, datetime) else _number_ns(value, unit)
    if time_ns is None and isinstance(value, str):
        try:
            time_ns = _calendar_ns(datetime.fromisoformat(value.strip()))
        except ValueError:
            time_ns = None
    if time_ns is None:
        raise InputError(where, value, "is no time: give unix time or ISO 8601")
    if not _FIRST_NS <= time_ns < _LAST_NS:
        raise InputError(where, value, "is no unix time of this exchange: check clock and unit")
    return time_ns


def _number_ns(value: Any, unit: str) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        number = Decimal(str(value) if isinstance(value, float) else value)
        if not number.is_finite() or number.adjusted() > 20:
            return None
    except ArithmeticError:
        return None
    return int(number * _SCALE[unit or _unit_of(number)])


def _unit_of(number: Decimal) -> str:
    if number < 10**11:
        return "s"
    if number < 10**14:
        return "ms"
    return "us" if number < 10**17 else "ns"


def _calendar_ns(time: datetime) -> int:
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return (time - _EPOCH) // timedelta(microseconds=1) * 1000


def hour_name(hour: int) -> str:
    """Return the name of an hour since 1970, ``2026-04-14T08``."""
    return (_EPOCH + timedelta(hours=hour)).strftime("%Y-%m-%dT%H")
