"""What a person says about markets, where their metadata says nothing or something wrong."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

from polyexec.core.range_wording import Bounds
from polyexec.enums import Generation
from polyexec.errors import ConfigError, InputError
from polyexec.numbers import to_decimal
from polyexec.parsing import parse_generation

__all__ = ["MarketOverride", "RangeOverrides", "parse_overrides"]


class MarketOverride(msgspec.Struct, frozen=True, kw_only=True):
    """Of one market; None and empty: what the metadata says counts."""

    skip: bool = False
    bounds: Bounds | None = None
    lower_inclusive: bool | None = None
    upper_inclusive: bool | None = None
    asset: str = ""
    source: str = ""
    """Replaces the reading of the description, and of the time in it."""
    generation: Generation | None = None


class RangeOverrides(msgspec.Struct, frozen=True):
    """All of a file; without arguments: none.

    ``markets`` by condition id or slug. ``accepted`` holds the assets and group keys whose bounds
    may meet without deciding what a price exactly on them does.
    """

    markets: Mapping[str, MarketOverride] = MappingProxyType({})
    accepted: frozenset[str] = frozenset()

    def of_market(self, condition_id: str, slug: str) -> MarketOverride:
        """Return what is said of a market; its condition id outranks its slug."""
        return self.markets.get(condition_id) or self.markets.get(slug) or _NOTHING

    def accepts_boundary(self, asset: str, group_key: str) -> bool:
        """Return whether the person takes the risk of a price exactly on a bound."""
        return asset in self.accepted or group_key in self.accepted


_NOTHING: Final = MarketOverride()
_TABLES: Final = ("market", "asset", "group")


def parse_overrides(data: Mapping[str, Any], where: str) -> RangeOverrides:
    """Return the overrides that a TOML document holds.

    Parameters
    ----------
    data : mapping
        Tables ``market``, ``asset`` and ``group``, each with tables by name.
    where : str
        The file, for messages.

    Raises
    ------
    ConfigError
        Naming file, key and value.
    """
    for table, content in data.items():
        if table not in _TABLES or not isinstance(content, dict):
            raise ConfigError(f"{where}: {table}: the tables are market, asset and group")
    markets: dict[str, MarketOverride] = {}
    accepted: set[str] = set()
    for name, fields in data.get("market", {}).items():
        key = name.lower() if name[:2] in ("0x", "0X") else name
        if len(key) == 64 and key.startswith("0x"):
            key += "00"
        markets[key] = _market(fields, f"{where}: market.{name}")
    for table in ("asset", "group"):
        for name, fields in data.get(table, {}).items():
            place = f"{where}: {table}.{name}"
            if _checked(fields, place, {"accept_boundary": _flag}).get("accept_boundary"):
                accepted.add(name)
    return RangeOverrides(MappingProxyType(markets), frozenset(accepted))


def _market(fields: Any, place: str) -> MarketOverride:
    found = _checked(fields, place, _MARKET_KEYS)
    lower, upper = found.pop("lower", None), found.pop("upper", None)
    if lower is not None or upper is not None:
        if lower is not None and upper is not None and lower >= upper:
            raise ConfigError(f"{place}.upper={upper}: must be above lower={lower}")
        found["bounds"] = Bounds(lower, upper)
    return MarketOverride(**found)


def _checked(fields: Any, place: str, keys: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise ConfigError(f"{place}={fields!r:.80}: must be a table")
    found = {}
    for key, value in fields.items():
        if key not in keys:
            raise ConfigError(f"{place}.{key}: is not known; the keys are {', '.join(keys)}")
        try:
            found[key] = keys[key](value)
        except ValueError as error:
            hint = error.hint if isinstance(error, InputError) else str(error)
            raise ConfigError(f"{place}.{key}={value!r:.80}: {hint}") from None
    return found


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def _strike(value: Any) -> Decimal:
    strike = to_decimal(value, "strike")
    if not 0 < strike < 10**15:
        raise ValueError("must be dollars, above 0 and below 1e15")
    return strike.normalize()


def _asset(value: Any) -> str:
    if not isinstance(value, str) or not (value.isascii() and value.isalnum()):
        raise ValueError("must be a symbol, as btc")
    return value.lower()


def _source(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text that names the price, the same for every leg")
    return value.strip()


def _generation(value: Any) -> Generation:
    return parse_generation(value)


_MARKET_KEYS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "skip": _flag,
    "lower": _strike,
    "upper": _strike,
    "lower_inclusive": _flag,
    "upper_inclusive": _flag,
    "asset": _asset,
    "source": _source,
    "generation": _generation,
}
