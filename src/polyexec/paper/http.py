"""Requests and responses, as the handlers and the server see them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

import orjson

__all__ = ["Fault", "Held", "OnRequest", "Request", "Response", "json_response"]


@dataclass(slots=True, frozen=True)
class Request:
    """One request; header names are lower case, ``path`` has no query string."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


@dataclass(slots=True, frozen=True)
class Response:
    """One answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Held:
    """No answer yet: ask ``finish`` for it after so many milliseconds, whoever still listens."""

    wait_ms: int
    finish: Callable[[], Response]


class Fault(Enum):
    """What a request hook can ask for instead of an answer."""

    DROP = "drop"
    """Never answer; the connection stays."""
    CLOSE = "close"
    """Close the connection without an answer."""
    HANDLE_THEN_DROP = "handle_then_drop"
    """Do what the request asks, and never answer it."""


OnRequest: TypeAlias = Callable[[Request], Awaitable[Response | Fault | None]]
"""Hook: an answer of its own, a fault, or None for the ordinary way. It may wait first."""


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer with a JSON body."""
    fields = {"content-type": "application/json"} | dict(headers or {})
    return Response(status, orjson.dumps(value), fields)
