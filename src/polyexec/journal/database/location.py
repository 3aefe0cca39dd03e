"""Where a trade store is: a SQLite file, or a database of a PostgreSQL server."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from polyexec.errors import ConfigError
from polyexec.secret import Secret

__all__ = ["Location", "location_of_settings", "parse_location"]

_log = logging.getLogger("polyexec.store")
_POSTGRES: Final = ("postgres", "postgresql")
_PARTS: Final = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD")
# What others call the same thing.
_ALIASES: Final = {"DB_USERNAME": "DB_USER", "DB_PASS": "DB_PASSWORD", "DB_DATABASE": "DB_NAME"}
_KNOWN: Final = ("DB_URL", *_PARTS, *_ALIASES)
_HINT: Final = "give a path, sqlite:///path or postgresql://user:password@host:port/database"


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Which database; ``path`` of SQLite, or ``url`` and ``parts`` of PostgreSQL.

    Its text never shows a password.
    """

    shown: str
    path: Path | None = None
    url: Secret = Secret("")
    parts: Mapping[str, Secret] = {}

    def __str__(self) -> str:
        return self.shown

    def __repr__(self) -> str:
        return f"Location({self.shown!r})"


def parse_location(url: str | Path | Secret, name: str = "url") -> Location:
    """Return the location that a URL or a path names.

    Parameters
    ----------
    url : str, Path or Secret
        ``postgresql://user:password@host:port/database``, ``sqlite:///relative/path``,
        ``sqlite:////absolute/path`` or a path. What stands behind ``?`` goes to the server's driver
        as it is (``sslmode=require``).
    name : str
        Of the setting, for messages.

    Raises
    ------
    ConfigError
        Neither; shows nothing that may be a password.
    """
    text = url.reveal() if isinstance(url, Secret) else str(url)
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() in _POSTGRES:
        return _postgres(text, name)
    if separator and scheme.lower() != "sqlite":
        raise ConfigError(f"{name}: {scheme!r} is no database that polyexec knows; {_HINT}")
    path = rest.removeprefix("/") if separator else text
    if path in ("", ":memory:"):
        raise ConfigError(f"{name}: a trade store needs a file; {_HINT}")
    if "@" in path and ":" in path.split("@")[0]:
        raise ConfigError(f"{name}: looks like the URL of a server without its scheme; {_HINT}")
    return Location(shown=path, path=Path(path).expanduser())


def location_of_settings(database: Mapping[str, Secret]) -> Location | None:
    """Return the location that the ``DB_*`` variables name; None: they name none.

    Raises
    ------
    ConfigError
        Two that contradict each other, or one that cannot work.
    """
    for name in sorted(set(database) - set(_KNOWN)):
        # No fault: the environment is shared, and the prefix is everybody's.
        _log.warning("store_setting_unknown", extra={"setting": name, "known": _KNOWN})
    database = _by_first_name(database)
    given = [name for name in _PARTS if database.get(name)]
    if database.get("DB_URL"):
        if given:
            raise ConfigError(f"DB_URL and {given[0]} are both set: unset one")
        return parse_location(database["DB_URL"], "DB_URL")
    if not given:
        return None
    if not database.get("DB_NAME"):
        raise ConfigError(f"DB_NAME: missing, while {given[0]} is set; give the database's name")
    host = _text(database, "DB_HOST") or "localhost"
    port = _text(database, "DB_PORT") or "5432"
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"DB_PORT={port!r}: must be a port, 1 to 65535")
    user = _text(database, "DB_USER")
    shown = f"postgresql://{user}{'@' if user else ''}{host}:{port}/{_text(database, 'DB_NAME')}"
    parts = {
        "host": Secret(host),
        "port": Secret(port),
        "database": database["DB_NAME"],
        "user": database.get("DB_USER", Secret("")),
        "password": database.get("DB_PASSWORD", Secret("")),
    }
    return Location(shown=shown, parts={name: value for name, value in parts.items() if value})


def _postgres(text: str, name: str) -> Location:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The port is what follows the last colon: half a password, if that has a "/" in it.
        raise ConfigError(
            f"{name}: is not a URL; / ? # @ : in a password must be percent-encoded"
        ) from None
    if "@" in parts.path + parts.fragment or parts.fragment:
        raise ConfigError(f"{name}: / ? # @ : in a password must be percent-encoded")
    if not parts.path.strip("/"):
        raise ConfigError(f"{name}: names no database; {_HINT}")
    user = f"{unquote(parts.username)}@" if parts.username else ""
    host = parts.hostname or "localhost"
    shown = f"postgresql://{user}{host}{f':{port}' if port else ''}{parts.path}"
    return Location(shown=shown, url=Secret(text))


def _by_first_name(database: Mapping[str, Secret]) -> dict[str, Secret]:
    named = {name: value for name, value in database.items() if value}
    for alias, name in _ALIASES.items():
        if alias in named and named.setdefault(name, named[alias]) != named[alias]:
            raise ConfigError(f"{name} and {alias} are both set, to different values: unset one")
    return named


def _text(database: Mapping[str, Secret], name: str) -> str:
    value = database.get(name)
    return value.reveal() if value else ""
