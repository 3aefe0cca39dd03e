"""Where Redis is, and a client for it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from polyexec.environment import parse_bool
from polyexec.errors import ConfigError
from polyexec.secret import Secret
from polyexec.settings import revealed

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisAddress"]


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is, from the ``REDIS_*`` variables."""

    url: Secret | None = None
    """Instead of the rest, as ``redis://``, ``rediss://`` or ``unix://``."""
    host: str = "127.0.0.1"
    port: int = 6379
    database: int = 0
    username: str = ""
    password: Secret | None = None
    tls: bool = False

    @classmethod
    def read(cls, variables: Mapping[str, Secret]) -> "RedisAddress":
        """Read ``config.redis``.

        Raises
        ------
        ConfigError
            Naming the variable.
        """
        values = revealed(variables)
        url = values.get("REDIS_URL", "")
        if url and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ConfigError("REDIS_URL: must start with redis://, rediss:// or unix://")
        password = values.get("REDIS_PASSWORD", "")
        return cls(
            url=Secret(url) if url else None,
            host=values.get("REDIS_HOST", "") or "127.0.0.1",
            port=_whole(values, "REDIS_PORT", 6379, 65_535),
            database=_whole(values, "REDIS_DB", 0, 2**31 - 1),
            username=values.get("REDIS_USERNAME", ""),
            password=Secret(password) if password else None,
            tls=parse_bool(values.get("REDIS_TLS", "") or "false", "REDIS_TLS"),
        )

    def client(self, *, timeout_s: float, **options: Any) -> "Redis":
        """Return a client that connects when it is first used, and again after it was lost.

        Raises
        ------
        ConfigError
            The ``redis`` extra is not installed, or the URL makes no sense.
        """
        try:
            from redis.asyncio import Redis  # noqa: PLC0415  optional, only when asked for
        except ImportError:
            raise ConfigError(
                "Redis is named in the settings, which needs: pip install 'polyexec[redis]'"
            ) from None
        options |= {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
        if self.url is None:
            return Redis(
                host=self.host,
                port=self.port,
                db=self.database,
                username=self.username or None,
                password=self.password.reveal() if self.password else None,
                ssl=self.tls,
                **options,
            )
        try:
            return Redis.from_url(self.url.reveal(), **options)
        except ValueError:
            pass
        # Outside the handler: the library's message shows the address, which holds the password.
        raise ConfigError(
            "REDIS_URL: malformed; must be redis://[USER:PASSWORD@]HOST[:PORT][/NUMBER], "
            "rediss://... or unix://..."
        )


def _whole(values: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = values.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not int(text) <= most:
        raise ConfigError(f"{name}={text[:20]!r}: must be a whole number, at most {most}")
    return int(text)
