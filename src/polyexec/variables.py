"""Environment variables, by the setting that each of them may hold."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["OBSERVER_VARIABLES", "VARIABLES"]

# Setting -> variables that may hold it. The mission's name comes first, the others are what the
# official clients and well-known bots call the same thing. First found wins; two that disagree
# are an error.
VARIABLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "private_key": ("PRIVATE_KEY", "POLYMARKET_PRIVATE_KEY", "POLYMARKET_PK", "PK"),
        "proxy_address": (
            "PROXY_ADDRESS",
            "POLYMARKET_FUNDER",
            "POLYMARKET_FUNDER_ADDRESS",
            "POLYMARKET_DEPOSIT_WALLET",
            "POLYMARKET_PROXY_ADDRESS",
        ),
        "signer_address": ("SIGNER_ADDRESS",),
        "signature_type": ("POLYMARKET_SIGNATURE_TYPE", "SIGNATURE_TYPE"),
        "api_key": ("POLYMARKET_API_KEY", "CLOB_API_KEY"),
        "api_secret": ("POLYMARKET_API_SECRET", "CLOB_SECRET"),
        "api_passphrase": (
            "POLYMARKET_API_PASSPHRASE",
            "POLYMARKET_PASSPHRASE",
            "CLOB_PASS_PHRASE",
        ),
        "clob_url": ("CLOB_URL", "CLOB_API_URL", "POLYMARKET_HOST"),
        "ws_url": ("CLOB_WS_URL",),
        "gamma_url": ("GAMMA_URL", "GAMMA_API_URL"),
        "group_overrides": ("GROUP_OVERRIDES",),
        "user_channel": ("USER_CHANNEL",),
        "chain_id": ("CHAIN_ID", "POLYMARKET_CHAIN_ID"),
        "builder_code": ("POLYMARKET_BUILDER_CODE", "BUILDER_CODE"),
        "trading_enabled": ("REAL_TRADING_ENABLED",),
        "default_size": ("REAL_TRADE_SIZE",),
        "slippage_enabled": ("SLIPPAGE_ENABLED",),
        "min_pnl_threshold_percent": ("ARB_MIN_PNL_THRESHOLD",),
        "opportunity_timeout_ms": ("ARB_COOLDOWN_MS",),
        "min_profit_bps": ("ARB_MIN_PROFIT_BPS",),
        "min_profit_abs": ("ARB_MIN_PROFIT_ABS",),
        "engine_mode": ("ENGINE_MODE",),
        "executor_mode": ("EXECUTOR_MODE",),
        "heartbeat": ("HEARTBEAT_ENABLED",),
        "journal_mode": ("JOURNAL_MODE",),
        "journal_folder": ("JOURNAL_FOLDER",),
        "max_group_cost": ("MAX_GROUP_COST",),
        "max_daily_cost": ("MAX_DAILY_COST",),
        "max_open_exposure": ("MAX_OPEN_EXPOSURE",),
        "max_legging_loss": ("MAX_LEGGING_LOSS",),
        "max_unknown_groups": ("MAX_UNKNOWN_GROUPS",),
        "max_submits_per_second": ("MAX_SUBMITS_PER_SECOND",),
        "max_quote_age_ms": ("MAX_QUOTE_AGE_MS",),
        "group_policy": ("GROUP_POLICY",),
        "sell_policy": ("SELL_POLICY",),
        "http2": ("HTTP2_FRAMING",),
        "control_socket": ("CONTROL_SOCKET",),
        "telegram_bot_token": ("TELEGRAM_BOT_TOKEN",),
        "telegram_chat_id": ("TELEGRAM_CHAT_ID",),
    }
)

# What the observers' mappings may hold; each is the name of its variable.
OBSERVER_VARIABLES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "notify": (
            "NOTIFY_ON",
            "NOTIFY_SUMMARY_AT",
            "NOTIFY_TELEGRAM_API_URL",
            "NOTIFY_WEBHOOK_SECRET",
            "NOTIFY_WEBHOOK_URL",
        ),
        "metrics": ("METRICS_HOST", "METRICS_PORT", "METRICS_SPANS"),
    }
)
