"""Settings one by one: each checked, and refused with its name, its value and what it must be.

Raises ``ConfigError`` everywhere. ``config`` puts them together.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from polyexec.enums import OrderType, SignatureType
from polyexec.errors import ConfigError, InputError
from polyexec.numbers import Number
from polyexec.parsing import parse_order_type
from polyexec.policies import GroupPolicy
from polyexec.secret import Secret

__all__ = [
    "address",
    "builder_code",
    "checked",
    "default_order_type",
    "flag",
    "group_policy",
    "https_root",
    "one_of",
    "optional_flag",
    "optional_one_of",
    "optional_seconds",
    "revealed",
    "seconds",
    "secret",
    "secrets",
    "signature_type",
    "text",
    "whole",
    "wss_root",
]

_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}\Z")
_BYTES32: Final = re.compile(r"0[xX][0-9a-fA-F]{64}\Z")


def revealed(variables: Mapping[str, Secret]) -> dict[str, str]:
    """Return what variables hold, without the spaces around it."""
    return {name: secret.reveal().strip() for name, secret in variables.items()}


def checked(name: str, convert: Any, value: Number) -> Any:
    """Return what a parser of numbers makes of a value."""
    try:
        return convert(value, name)
    except InputError as error:
        raise ConfigError(str(error)) from None


def text(name: str, value: object) -> str:
    """Return a str."""
    if not isinstance(value, str):
        raise ConfigError(f"{name}={value!r}: must be text")
    return value


def flag(name: str, value: object) -> bool:
    """Return a bool."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name}={value!r}: must be True or False")
    return value


def optional_flag(name: str, value: object) -> bool | None:
    """Return a bool, or None."""
    return None if value is None else flag(name, value)


def whole(name: str, value: object, least: int, most: int = 2**63 - 1) -> int:
    """Return an int within bounds."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        upper = f", at most {most}" if most < 2**63 - 1 else ""
        raise ConfigError(f"{name}={value!r}: must be a whole number, at least {least}{upper}")
    return value


def optional_seconds(name: str, value: float | None) -> float | None:
    """Return seconds, or None."""
    return None if value is None else seconds(name, value)


def seconds(name: str, value: object) -> float:
    """Return seconds, above 0 and at most a day."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 86_400:
        raise ConfigError(f"{name}={value!r}: must be seconds, above 0 and at most 86400")
    return float(value)


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """Return one of the words that a setting knows."""
    if value not in allowed or type(value) is not type(allowed[0]):
        raise ConfigError(f"{name}={value!r}: must be one of {', '.join(map(str, allowed))}")
    return value


def optional_one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> Any:
    """Return one of the words, or None."""
    return None if value is None else one_of(name, value, allowed)


def address(name: str, value: str) -> str:
    """Return an address or nothing."""
    if not isinstance(value, str):
        raise ConfigError(f"{name}={value!r}: must be a str")
    if value and not _ADDRESS.match(value):
        # Longer than an address may be the private key in the wrong place.
        shown = repr(value) if len(value) < 48 else f"<{len(value)} characters>"
        raise ConfigError(f"{name}={shown}: must be 0x and 40 hex digits")
    return value


def signature_type(value: SignatureType | int | str | None) -> SignatureType | None:
    """Return a signature type from its number or name; None: not given."""
    if value is None:
        return None
    text = str(int(value)) if isinstance(value, int) else str(value).strip()
    for kind in SignatureType:
        if text in (str(kind.value), kind.name) and not isinstance(value, bool):
            return kind
    raise ConfigError(f"signature_type={value!r}: must be 0, 1, 2 or 3")


def https_root(url: str, name: str = "clob_url") -> str:
    """Return the root of an https host."""
    if not isinstance(url, str) or "@" in url:
        raise ConfigError(f"{name}: must be https://host or https://host:port, without a user")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(f"{name}={url!r}: is not a URL") from None
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"{name}={url!r}: must be https://host or https://host:port")
    if parts.path not in ("", "/"):
        raise ConfigError(f"{name}={url!r}: must be the root of a host, without a path")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"https://{host}" + (f":{port}" if port else "")


def wss_root(url: str) -> str:
    """Return a wss URL, or nothing."""
    if not isinstance(url, str) or "@" in url:
        raise ConfigError("ws_url: must be wss://host, perhaps with port and path, without a user")
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ConfigError(f"ws_url={url!r}: is not a URL") from None
    if parts.scheme != "wss" or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError(f"ws_url={url!r}: must be wss://host, perhaps with port and path")
    return url.rstrip("/")


def default_order_type(value: OrderType | str) -> OrderType:
    """Return the type of orders that do not name theirs."""
    kind: OrderType = checked("order_type", lambda given, _: parse_order_type(given), value)
    if kind is OrderType.GTD:
        raise ConfigError("order_type='GTD': needs an expiration, so give it per leg")
    return kind


def group_policy(value: GroupPolicy | Iterable[str]) -> GroupPolicy:
    """Return a policy, from its steps as well."""
    if isinstance(value, GroupPolicy):
        return value
    try:
        return GroupPolicy(value)
    except (InputError, TypeError) as error:
        raise ConfigError(f"group_policy={value!r}: {error}") from None


def builder_code(value: str) -> str:
    """Return 32 bytes in hex; nothing is all zeros."""
    if not isinstance(value, str) or (value and not _BYTES32.match(value)):
        raise ConfigError(f"builder_code={value!r}: must be 0x and 64 hex digits")
    return value.lower() if value else "0x" + "00" * 32


def secret(name: str, value: object) -> Secret:
    """Return a value that does not show itself."""
    if not isinstance(value, str | Secret):
        raise ConfigError(f"{name}: must be a str, not {type(value).__name__}")
    return Secret(value)


def secrets(
    name: str, values: Mapping[str, str | Secret], known: tuple[str, ...] | None = None
) -> Mapping[str, Secret]:
    """Return a mapping of such values; with ``known``, of these names and no other."""
    for key in values:
        if known is not None and key not in known:
            raise ConfigError(f"{name}[{key!r}]: no such setting; there are {', '.join(known)}")
    return MappingProxyType({key: secret(f"{name}[{key}]", v) for key, v in values.items()})
