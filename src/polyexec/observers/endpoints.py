"""What an endpoint of notices is: how to write to it, and what its answers mean."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

import msgspec

from polyexec.core.buckets import TokenBucket
from polyexec.errors import ConfigError
from polyexec.observers.notices import Batch

__all__ = ["Delivered", "Endpoint", "Later", "Post", "Refused", "Verdict", "parse_endpoint_url"]


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """One request body."""

    body: bytes
    notices: int
    """How many notices are lost with it."""


class Delivered(msgspec.Struct, frozen=True):
    """The endpoint took it."""


class Later(msgspec.Struct, frozen=True):
    """It may be taken later."""

    reason: str
    after_s: float = 0.0
    """As the endpoint asked."""


class Refused(msgspec.Struct, frozen=True):
    """It will not be taken however often it is sent."""

    reason: str


Verdict: TypeAlias = Delivered | Later | Refused


class Endpoint(Protocol):
    """Somewhere that notices are posted to. No I/O: a courier does that."""

    @property
    def name(self) -> str:
        """For logs and metrics."""
        ...

    @property
    def pace(self) -> TokenBucket:
        """How fast it may be written to."""
        ...

    @property
    def secrets(self) -> Sequence[str]:
        """What must not be shown, should an answer or error repeat it."""
        ...

    def render(self, batch: Batch) -> Sequence[Post]:
        """Return the bodies that tell a batch."""
        ...

    def request(self, body: bytes, unix_s: int) -> tuple[str, Mapping[str, str]]:
        """Return URL and headers for a body. Both may be secret."""
        ...

    def verdict(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Return what an answer means; header names are in lower case."""
        ...


def parse_endpoint_url(url: str, setting: str) -> str:
    """Return a URL that notices may be posted to. Errors do not show it: such URLs are secrets.

    Raises
    ------
    ConfigError
        It is neither https nor, on this machine, http; or carries a user.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise ConfigError(f"{setting}: is not a URL") from None
    if not host or any(ord(char) <= 32 or ord(char) >= 127 for char in url):
        raise ConfigError(f"{setting}: must be https://host, perhaps with port, path and query")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{setting}: must not carry a user or password")
    is_local = host in ("localhost", "::1") or host.startswith("127.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_local):
        raise ConfigError(f"{setting}: must be https (http only to this machine)")
    return url
