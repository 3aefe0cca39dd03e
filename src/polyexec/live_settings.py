"""Which settings may change while a bot runs, and what to do with another reading of them."""

from typing import Any, Final

import msgspec

from polyexec.config import ExecutorConfig
from polyexec.errors import ConfigError

__all__ = ["LIVE_SETTINGS", "Reading", "check_live", "read_again"]

LIVE_SETTINGS: Final = frozenset(
    {
        "default_size",
        "min_pnl_threshold_percent",
        "min_profit_bps",
        "min_profit_abs",
        "slippage_enabled",
        "max_group_cost",
        "max_daily_cost",
        "max_open_exposure",
        "max_legging_loss",
        "max_unknown_groups",
        "max_submits_per_second",
        "max_quote_age_ms",
    }
)
"""Sizes, thresholds and limits: what decides about the next signal, and nothing that is open."""

_HINTS: Final = {
    "trading_enabled": "the switch is not a setting once it runs: use enable or disable",
}


class Reading(msgspec.Struct, frozen=True):
    """What became of a setting that was read again. Secrets are named, never shown."""

    setting: str
    old: str
    new: str
    refusal: str = ""
    """Why it stays as it was; empty: it changed."""


def check_live(old: ExecutorConfig, new: ExecutorConfig) -> None:
    """Refuse a change of anything that an executor holds on to.

    Raises
    ------
    ConfigError
        Naming the settings.
    """
    if not isinstance(new, ExecutorConfig):
        raise ConfigError(f"config={type(new).__name__}: must be an ExecutorConfig")
    fixed = [name for name in _changed(old, new) if name not in LIVE_SETTINGS]
    if fixed:
        raise ConfigError(f"{', '.join(fixed)}: cannot change while it runs; restart it")


def read_again(
    before: ExecutorConfig, now: ExecutorConfig
) -> tuple[dict[str, Any], tuple[Reading, ...]]:
    """Compare two readings of the same sources; return what may change, and what became of all.

    What is in force may differ from both in what code has set: that stays as it is.
    """
    changes: dict[str, Any] = {}
    readings = []
    for name in _changed(before, now):
        refusal = "" if name in LIVE_SETTINGS else _HINTS.get(name, "needs a restart")
        if not refusal:
            changes[name] = getattr(now, name)
        readings.append(Reading(name, _text(before, name), _text(now, name), refusal))
    return changes, tuple(readings)


def _changed(old: ExecutorConfig, new: ExecutorConfig) -> list[str]:
    return [name for name in old._shown if getattr(old, name) != getattr(new, name)]


def _text(config: ExecutorConfig, name: str) -> str:
    value = getattr(config, name)
    return "not set" if value is None or value == "" else str(value)
