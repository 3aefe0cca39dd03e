"""A balance that another process writes into Redis."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from polyexec.errors import ConfigError
from polyexec.observers.balance import Reading, SourceError
from polyexec.observers.redis_address import RedisAddress
from polyexec.secret import Secret
from polyexec.settings import revealed

__all__ = ["DEFAULT_KEY", "RedisBalance", "RedisSettings"]

DEFAULT_KEY: Final = "WORKER_USDC_BALANCE"

_LONGEST: Final = 4096


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where Redis is, and where the balance stands in it, from the ``REDIS_*`` variables."""

    address: RedisAddress
    key: str = DEFAULT_KEY
    """Key of the balance."""
    time_key: str = ""
    """Key of the time at which it was true, unix milliseconds; empty: none."""
    lag_ms: int = 10_000
    """How old a bare number may be: without a time it counts as that old."""

    @classmethod
    def read(cls, variables: Mapping[str, Secret]) -> "RedisSettings":
        """Read ``config.redis``.

        Raises
        ------
        ConfigError
            Naming the variable.
        """
        values = revealed(variables)
        lag_s = values.get("REDIS_BALANCE_LAG_S", "10")
        try:
            lag_ms = int(Decimal(lag_s) * 1000)
        except (ArithmeticError, ValueError):
            raise ConfigError(f"REDIS_BALANCE_LAG_S={lag_s!r}: must be seconds") from None
        if not 0 <= lag_ms <= 86_400_000:
            raise ConfigError(f"REDIS_BALANCE_LAG_S={lag_s!r}: must be 0 to 86400 seconds")
        return cls(
            address=RedisAddress.read(variables),
            key=values.get("REDIS_BALANCE_KEY", "") or DEFAULT_KEY,
            time_key=values.get("REDIS_BALANCE_TIME_KEY", ""),
            lag_ms=lag_ms,
        )


class RedisBalance:
    """Reads the balance from a key, as ``BalanceSource``.

    The value is a number of dollars, or a JSON object with ``balance`` and, if it is known,
    ``as_of_ms``. Without any time a number counts as ``lag_ms`` old, so that what traded meanwhile
    is not taken to be in it.

    Parameters
    ----------
    settings : RedisSettings
    time_ms : callable
        Unix milliseconds.
    """

    def __init__(self, settings: RedisSettings, time_ms: Any, *, timeout_s: float = 3.0) -> None:
        self.name = f"redis:{settings.key}"
        self._settings = settings
        self._time_ms = time_ms
        self._redis = settings.address.client(timeout_s=timeout_s, health_check_interval=30)

    async def read(self) -> Reading:
        """Ask for the key.

        Raises
        ------
        SourceError
            Redis cannot be asked, or has no such key.
        """
        settings = self._settings
        asked_ms = self._time_ms()
        keys = [settings.key, settings.time_key] if settings.time_key else [settings.key]
        try:
            value, *times = await self._redis.mget(keys)
        except Exception as error:
            # The library's texts may repeat the address, and an address may hold a password.
            raise SourceError(f"Redis cannot be asked: {type(error).__name__}") from None
        if value is None:
            raise SourceError(f"Redis has no key {settings.key!r}")
        amount, as_of_ms = _parsed(value)
        if as_of_ms is None and times:
            if times[0] is None:
                raise SourceError(f"Redis has no key {settings.time_key!r}")
            as_of_ms = _time(times[0])
        if as_of_ms is None:
            as_of_ms = asked_ms - settings.lag_ms
        return Reading(amount, as_of_ms)

    async def close(self) -> None:
        """Close the connection."""
        await self._redis.aclose()


def _parsed(value: object) -> tuple[object, Any]:
    """Return what stands in a value; what it cannot be is for the watch to refuse."""
    if not isinstance(value, bytes) or len(value) > _LONGEST:
        return f"<a value of {len(value) if isinstance(value, bytes) else 0} bytes>", None
    text = value.decode("utf-8", "replace").strip()
    if not text.startswith("{"):
        return text, None
    try:
        fields = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError):
        return text, None
    return fields.get("balance"), fields.get("as_of_ms")


def _time(value: object) -> Any:
    text = value.decode("ascii", "replace").strip() if isinstance(value, bytes) else ""
    return int(text) if text.isdecimal() and len(text) < 16 else text
