"""What the exchange's answers to orders say, read leg by leg. Pure, and never surprised.

An answer decides whether money stays held, so nothing is guessed: a leg with a missing or odd
field is marked malformed and treated as unknown by whoever acts on it.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
import orjson

from polyexec.enums import VenueMode
from polyexec.errors import (
    AuthError,
    InputError,
    RateLimitedError,
    UnexpectedResponseError,
    VenueError,
    VenueModeError,
)
from polyexec.numbers import to_micro

__all__ = ["OrderAnswer", "decode_json", "parse_error", "parse_order_answers", "retry_after"]

# JSON numbers become Decimal: 0.29 must not pass through a binary float on its way to an integer.
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_MAX_TEXT = 500
_MAX_UNCHECKED_DEPTH = 200


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange's word on one order of a batch, in its own terms."""

    success: bool
    """Not sufficient: a refused leg of a batch regularly says true."""
    error: str
    order_id: str
    status: str
    """Lower case; live, matched, delayed, unmatched, empty, or something new."""
    making_micro: int
    """Given: collateral of a BUY, shares of a SELL."""
    taking_micro: int
    """Received."""
    trade_ids: tuple[str, ...] = ()
    malformed: str = ""
    """What cannot be read; empty when all can."""


def decode_json(data: bytes) -> Any:
    """Return the value of a JSON text, its fractions as ``Decimal``.

    Raises
    ------
    ValueError
        It is not JSON, or too deep to be meant.
    """
    try:
        # msgspec goes as deep as the recursion limit, which other libraries raise beyond what the C
        # stack holds (eth-account pulls in one); orjson stops at a depth of its own.
        if data.count(b"[") + data.count(b"{") > _MAX_UNCHECKED_DEPTH:
            orjson.loads(data)
        return _decoder.decode(data)
    except (msgspec.MsgspecError, orjson.JSONDecodeError, RecursionError, ArithmeticError) as error:
        # Arithmetic: an exponent beyond what a Decimal can hold.
        raise ValueError(f"not JSON: {error}") from None


def parse_order_answers(body: bytes) -> tuple[OrderAnswer, ...] | None:
    """Return one record per answered order, in order; None when the body is no order answer.

    The number of answers is not checked: the caller knows how many orders it sent. An answer to
    ``POST /order`` is a single object and gives one record.
    """
    try:
        value = decode_json(body)
    except ValueError:
        return None
    if isinstance(value, dict):
        # {"error": ...} with status 200 has been seen from no endpoint: no order answer.
        return (_parse_leg(value),) if "success" in value or "orderID" in value else None
    if not isinstance(value, list):
        return None
    return tuple(_parse_leg(leg) for leg in value)


def parse_error(status: int, body: bytes, headers: Mapping[str, str]) -> VenueError:
    """Return the exception for an answer that is not 2xx. The exchange's text stays unchanged."""
    try:
        value = decode_json(body)
    except ValueError:
        value = None
    fields = value if isinstance(value, dict) else {}
    text = _first_text(fields, "error", "errorMsg", "error_msg", "message")
    code = _first_text(fields, "code")
    retry_after_s = _retry_after(fields, headers)
    message = text or _describe_body(body)
    if status in (401, 403):
        return AuthError(status, message, code=code, retry_after_s=retry_after_s)
    if status == 429:
        return RateLimitedError(status, message, code=code, retry_after_s=retry_after_s)
    mode = _mode_of(status, f"{code} {text}".lower())
    if mode is not None:
        return VenueModeError(status, message, mode=mode, code=code, retry_after_s=retry_after_s)
    kind = VenueError if text else UnexpectedResponseError
    return kind(status, message, code=code, retry_after_s=retry_after_s)


def retry_after(body: bytes, headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, in its header or its body; None: it does not.

    At most a day; anything else is as good as nothing.
    """
    try:
        value = decode_json(body)
    except ValueError:
        value = None
    return _retry_after(value if isinstance(value, dict) else {}, headers)


def _retry_after(fields: Mapping[str, object], headers: Mapping[str, str]) -> float | None:
    seconds = _seconds(headers.get("retry-after"))
    return _seconds(fields.get("retry_after_seconds")) if seconds is None else seconds


def _parse_leg(leg: object) -> OrderAnswer:
    if not isinstance(leg, dict):
        return _unreadable("the answer is not an object")
    problems: list[str] = []
    success = leg.get("success")
    if not isinstance(success, bool):
        problems.append("success")
    making = _micro(leg.get("makingAmount"), "makingAmount", problems)
    taking = _micro(leg.get("takingAmount"), "takingAmount", problems)
    trade_ids = leg.get("tradeIDs")
    if trade_ids is None:
        trade_ids = []
    elif not isinstance(trade_ids, list) or not all(isinstance(t, str) for t in trade_ids):
        problems.append("tradeIDs")
        trade_ids = []
    return OrderAnswer(
        success=success is True,
        error=_text(leg.get("errorMsg"), "errorMsg", problems),
        order_id=_text(leg.get("orderID"), "orderID", problems),
        status=_text(leg.get("status"), "status", problems).lower(),
        making_micro=making,
        taking_micro=taking,
        trade_ids=tuple(trade_ids),
        malformed=f"unreadable: {', '.join(problems)}" if problems else "",
    )


def _unreadable(why: str) -> OrderAnswer:
    return OrderAnswer(
        success=False,
        error="",
        order_id="",
        status="",
        making_micro=0,
        taking_micro=0,
        malformed=why,
    )


def _text(value: object, field: str, problems: list[str]) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    problems.append(field)
    return ""


def _micro(value: object, field: str, problems: list[str]) -> int:
    if value is None or value == "":
        return 0
    if isinstance(value, str | int | Decimal):
        try:
            return to_micro(value, field)
        except InputError:
            pass
    problems.append(field)
    return 0


def _first_text(fields: Mapping[str, object], *names: str) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value:
            return value[:_MAX_TEXT]
        if isinstance(value, dict | list) and value:
            return msgspec.json.encode(value).decode()[:_MAX_TEXT]
    return ""


def _describe_body(body: bytes) -> str:
    # Not the body itself: it may be a page of megabytes, and it may hold what we sent.
    title = _TITLE.search(body[:4096])
    if title is not None:
        return f"HTML page: {title.group(1).decode('utf-8', 'replace').strip()}"
    return f"unreadable answer of {len(body)} bytes" if body else "empty answer"


def _seconds(value: object) -> float | None:
    # Retry-After as a date is allowed by HTTP and sent by nobody here.
    try:
        seconds = float(value) if isinstance(value, str | int | Decimal) else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 86_400 else None


def _mode_of(status: int, text: str) -> VenueMode | None:
    if status == 425:
        return VenueMode.RESTARTING
    if status != 503:
        return None
    if "post-only" in text or "post_only" in text:
        return VenueMode.POST_ONLY
    if "cancel-only" in text or "cancel_only" in text:
        return VenueMode.CANCEL_ONLY
    if "trading is" in text and "disabled" in text:
        return VenueMode.DISABLED
    return None
