"""The one host that is talked to, and what is trusted on the way there."""

import ssl
from urllib.parse import urlsplit

import msgspec

from polyexec.errors import ConfigError

__all__ = ["Origin", "default_ssl_context", "parse_origin"]


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


def parse_origin(url: str) -> Origin:
    """Return the host and port of an https base URL.

    Raises
    ------
    ConfigError
        It is not https, has no host, or carries a user, path, query or fragment.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"clob_url: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError("clob_url: must not carry a user or password")
    if parts.scheme != "https":
        raise ConfigError(f"clob_url: must be https, not {parts.scheme or 'without a scheme'}")
    if not host:
        raise ConfigError("clob_url: names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError("clob_url: is host and port only, without path, query or fragment")
    if any(ord(c) <= 32 or ord(c) == 127 for c in host):
        raise ConfigError("clob_url: the host holds a space or control character")
    return Origin(host, 443 if port is None else port)


def default_ssl_context() -> ssl.SSLContext:
    """Return a verifying context on the system's trust store (``SSL_CERT_FILE`` included)."""
    context = ssl.create_default_context()
    # SSLKEYLOGFILE would write the session keys, and so the credentials, to a file.
    context.keylog_filename = None  # type: ignore[assignment]
    return context
