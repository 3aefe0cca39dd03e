"""Reading settings out of text: variables, ``.env`` files, files that hold a key.

What the variables are called and mean stands in :mod:`polyexec.config`, which alone reads
``os.environ``.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

from polyexec.errors import ConfigError

__all__ = [
    "first_set",
    "parse_bool",
    "parse_int",
    "parse_mode",
    "plain_text",
    "read_dotenv",
    "with_key_files",
]


def first_set(values: Mapping[str, str], names: tuple[str, ...]) -> tuple[str, str] | None:
    """Return the name and value of the first variable that is set, or refuse two that disagree."""
    present = [(name, values[name].strip()) for name in names if values.get(name, "").strip()]
    for name, value in present[1:]:
        if value != present[0][1]:
            raise ConfigError(
                f"{present[0][0]} and {name} are both set, to different values; "
                "they mean the same setting: unset one"
            )
    return present[0] if present else None


def with_key_files(values: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """Return the variables with the contents of ``*_FILE`` under the names they stand for."""
    # PRIVATE_KEY_FILE=/run/secrets/key keeps the key itself out of the environment.
    merged = dict(values)
    for name in names:
        path = values.get(f"{name}_FILE", "").strip()
        if not path:
            continue
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            kind = type(error).__name__
        else:
            kind = "" if text else "it is empty"
        if kind:
            # Outside the handler, because a decoding error carries what it read. And without the
            # path: the key itself stands there when someone mistook the one name for the other.
            raise ConfigError(f"{name}_FILE: the file cannot be used ({kind})")
        if merged.get(name, "").strip() not in ("", text):
            raise ConfigError(f"{name} and {name}_FILE hold different values: unset one")
        merged[name] = text
    return merged


def read_dotenv(path: str | Path) -> dict[str, str]:
    """Return the variables of a ``.env`` file."""
    try:
        from dotenv import dotenv_values  # noqa: PLC0415  optional, only when asked for
    except ImportError:
        raise ConfigError(
            "dotenv=... needs python-dotenv: pip install 'polyexec[dotenv]'"
        ) from None
    if not Path(path).is_file():
        raise ConfigError(f"dotenv={str(path)!r}: no such file")
    return {name: value for name, value in dotenv_values(path).items() if value is not None}


def parse_bool(text: str, name: str) -> bool:
    """Return True or False as people write them."""
    lowered = text.lower()
    if lowered in ("true", "1", "yes", "on"):
        return True
    if lowered in ("false", "0", "no", "off"):
        return False
    raise ConfigError(f"{name}={text!r}: must be true or false")


def parse_int(text: str, name: str) -> int:
    """Return a whole number."""
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"{name}={text!r}: must be a whole number") from None


def parse_mode(text: str, name: str) -> str:
    """Return live, paper or off, also for the original system's words."""
    # The original's words: "rust" was its fast path, "js" switched that path off.
    original = {"rust": "live", "js": "off"}
    mode = text.lower()
    if mode in original:
        warnings.warn(
            f"{name}={text} is the original system's word; read as {original[mode]!r}",
            stacklevel=3,
        )
        return original[mode]
    if mode not in ("live", "paper", "off"):
        raise ConfigError(f"{name}={text!r}: must be live, paper or off")
    return mode


def plain_text(text: str, name: str) -> str:
    """Return the text itself."""
    return text
