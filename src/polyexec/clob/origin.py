"""The one host that is talked to, and what is trusted on the way there."""

import ssl
from urllib.parse import urlsplit

import msgspec

from polyexec.errors import ConfigError

__all__ = ["Origin", "default_ssl_context", "parse_origin", "parse_ws_url"]


class Origin(msgspec.Struct, frozen=True):
    """Scheme is always https."""

    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as a request names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 443 else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        return f"https://{self.authority}"


def parse_origin(url: str, setting: str = "clob_url") -> Origin:
    """Return the host and port of an https base URL; errors name the setting it came from.

    Raises
    ------
    ConfigError
        It is not https, has no host, or carries a user, path, query or fragment.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"{setting}: must not carry a user or password")
    if parts.scheme != "https":
        raise ConfigError(f"{setting}: must be https, not {parts.scheme or 'without a scheme'}")
    if not host:
        raise ConfigError(f"{setting}: names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"{setting}: is host and port only, without path, query or fragment")
    if any(ord(c) <= 32 or ord(c) == 127 for c in host):
        raise ConfigError(f"{setting}: the host holds a space or control character")
    return Origin(host, 443 if port is None else port)


def parse_ws_url(url: str) -> tuple[Origin, str]:
    """Return the host and the path of the root of the WebSocket channels.

    Raises
    ------
    ConfigError
        It is not wss, has no host, or carries a user, query or fragment.
    """
    scheme, separator, rest = url.partition("://")
    if scheme != "wss" or not separator:
        raise ConfigError("ws_url: must be wss://host, perhaps with port and path")
    authority, _, path = rest.partition("/")
    origin = parse_origin(f"https://{authority}", "ws_url")
    if any(c in "?#" or ord(c) <= 32 or ord(c) >= 127 for c in path):
        raise ConfigError("ws_url: the path holds a query, fragment, space or control character")
    return origin, f"/{path}".rstrip("/")


def default_ssl_context() -> ssl.SSLContext:
    """Return a verifying context on the system's trust store (``SSL_CERT_FILE`` included)."""
    context = ssl.create_default_context()
    # SSLKEYLOGFILE would write the session keys, and so the credentials, to a file.
    context.keylog_filename = None  # type: ignore[assignment]
    return context
