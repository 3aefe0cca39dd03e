"""Settings of an executor, from arguments or from the environment.

``ExecutorConfig.from_env`` is the one place that reads ``os.environ``.
"""

import os
import re
import ssl
from collections.abc import Iterable, Mapping
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn, TypeAlias
from urllib.parse import urlsplit

from polyexec import settings
from polyexec.enums import OrderType, SignatureType
from polyexec.environment import (
    first_set,
    parse_bool,
    parse_int,
    parse_mode,
    plain_text,
    read_dotenv,
    with_key_files,
)
from polyexec.errors import ConfigError, InputError
from polyexec.numbers import Number, from_micro, to_decimal, to_micro
from polyexec.policies import GroupPolicy, RiskLimits
from polyexec.records import Record
from polyexec.secret import Secret
from polyexec.variables import OBSERVER_VARIABLES, VARIABLES

__all__ = ["ExecutorConfig", "Mode", "Secret", "SellPolicy"]

Mode: TypeAlias = Literal["live", "paper", "off"]
JournalMode: TypeAlias = Literal["fsync", "os", "off"]
SellPolicy: TypeAlias = Literal["skip", "buy_complement"]
Http2Framing: TypeAlias = Literal["fast", "h2"]

DEFAULT_CLOB_URL: Final = "https://clob.polymarket.com"
DEFAULT_GAMMA_URL: Final = "https://gamma-api.polymarket.com"
DEFAULT_WS_URL: Final = "wss://ws-subscriptions-clob.polymarket.com/ws"


class ExecutorConfig(Record):
    """Every setting of an executor. Immutable; ``replace`` makes a changed copy.

    Parameters
    ----------
    private_key : str or Secret
        Key of the EOA that signs, hex. Empty: orders cannot be signed.
    proxy_address : str
        Wallet that holds the money (proxy, Safe or deposit wallet). Empty: the EOA itself.
    signer_address : str
        The EOA, to be checked against the key. Empty: derived from the key.
    signature_type : SignatureType, int, str or None
        ``None``: EOA without ``proxy_address``; with it, the wallet kind that the address derives
        to, else POLY_GNOSIS_SAFE.
    api_key, api_secret, api_passphrase : str or Secret
        L2 credentials, all or none. None: created or derived with the key when the executor opens.
    clob_url : str
        ``https://`` root of the order book.
    ssl_context : ssl.SSLContext or None
        Trust for ``clob_url``; ``None``: the system's authorities. Verification cannot be
        switched off by any variable.
    ws_url : str
        ``wss://`` root of the WebSocket channels. Empty: the real exchange's for its own
        ``clob_url``, the same host for a ``clob_url`` on this machine, otherwise none.
    gamma_url : str
        ``https://`` root of the market metadata. Empty: as with ``ws_url``.
    group_overrides : str
        TOML file that corrects what is read of range markets (see "Groups").
    user_channel : bool or None
        Listen to our own orders and trades on the user channel. ``None``: on the real exchange and
        the embedded one, not on other servers of this machine.
    chain_id : int
        137 or 80002.
    trading_enabled : bool
        State of the trading switch at start.
    default_size : number
        Shares per leg of an ``ArbSignal`` that names no size.
    min_pnl_threshold_percent : number
        Least PnL in percent of cost, fees in.
    slippage_enabled : bool
        Price legs one step beyond the quote (``apply_slippage``).
    opportunity_timeout_ms : int
        Cooldown between executions; 0 switches it off.
    max_in_flight : int
        Submissions that may be without an answer at the same time.
    queue_size : int
        Signals that ``submit_nowait`` holds.
    presign : int
        Nonces prepared ahead of signing, up to 4096 (read "Security" first); 0: none.
    order_type : OrderType or str
        Of legs that name none. GTD only makes sense per leg.
    post_timeout_s : float
        Seconds after the write until the outcome of a POST counts as unknown.
    warm_interval_s : float
        Seconds between light requests that keep the connection warm.
    follow_interval_s : float
        Seconds between questions about orders that are not final (resting, unknown, or with fills
        whose exact fee is not known yet).
    unknown_absent_after_s : float or None
        Seconds of answers that do not know an unknown order, until it is taken to be absent and its
        money is free. ``None``: never; ``executor.give_up_unknown`` is then for a person.
    unknown_resend_after_s : float or None
        Seconds of the same until its signed bytes are sent once more, unchanged. ``None``: never.
    heartbeat : bool
        While the executor is open, tell the exchange every 5 s that we live; 10 s after that stops
        (a crash, a lost network, closing) it cancels every order of the credentials.
    journal_mode : "fsync", "os", "off" or None
        What is certain before a POST leaves: that the intent is on the disk, that it survives this
        process, nothing. ``None``: ``fsync`` on the real exchange, else ``off``.
    journal_folder : str
        Where the journals of all accounts are, a folder each. Empty: ``polyexec`` in
        ``$XDG_STATE_HOME`` or ``~/.local/state``.
    builder_code : str
        bytes32 hex put into every order; empty: zero.
    min_profit_bps, min_profit_abs : number
        Thresholds of the market engine.
    max_group_cost, max_daily_cost, max_open_exposure, max_legging_loss : number or None
        Dollars; ``None``: no limit. These and the next three are :class:`RiskLimits`.
    max_unknown_groups : int
        New groups are refused while this many have a leg whose fate is not known.
    max_submits_per_second, max_quote_age_ms : int or None
        ``None``: no limit.
    group_policy : GroupPolicy, iterable or str
        What to do when only some legs have traded; steps alone (``"complete, unwind"``) take the
        other settings of :class:`GroupPolicy` as they are by default.
    sell_policy : "skip" or "buy_complement"
        A SELL leg without the shares: skip the signal, or buy the complement, the same trade.
    http2 : "fast" or "h2"
        Who frames the order connection: our own compiled code, or the ``h2`` library, which also
        stands in where nothing is compiled.
    engine_mode, executor_mode : "live", "paper" or "off"
        ``paper`` trades on an embedded paper exchange, whatever ``clob_url`` says.
    control_socket : str
        Where a bot takes commands from other processes of the same user: a path in a folder that is
        closed to others. Empty: one by its process id in the default folder; ``off``: nowhere.
    telegram_bot_token, telegram_chat_id, redis, database, balance, notify, metrics
        For the observers; mappings hold the ``REDIS_*``, ``DB_*``, ``BALANCE_*``, ``NOTIFY_*`` and
        ``METRICS_*`` variables.

    Raises
    ------
    ConfigError
        Naming the setting; never showing a secret.
    """

    __slots__ = (
        "api_key",
        "api_passphrase",
        "api_secret",
        "balance",
        "builder_code",
        "chain_id",
        "clob_url",
        "control_socket",
        "database",
        "default_size_micro",
        "engine_mode",
        "executor_mode",
        "follow_interval_s",
        "gamma_url",
        "group_overrides",
        "group_policy",
        "heartbeat",
        "http2",
        "journal_folder",
        "journal_mode",
        "limits",
        "max_in_flight",
        "metrics",
        "min_pnl_threshold_percent",
        "min_profit_abs",
        "min_profit_bps",
        "notify",
        "opportunity_timeout_ms",
        "order_type",
        "post_timeout_s",
        "presign",
        "private_key",
        "proxy_address",
        "queue_size",
        "redis",
        "sell_policy",
        "signature_type",
        "signer_address",
        "slippage_enabled",
        "sources",
        "ssl_context",
        "telegram_bot_token",
        "telegram_chat_id",
        "trading_enabled",
        "unknown_absent_after_s",
        "unknown_resend_after_s",
        "user_channel",
        "warm_interval_s",
        "ws_url",
    )
    _shown = (
        "private_key",
        "proxy_address",
        "signer_address",
        "signature_type",
        "api_key",
        "api_secret",
        "api_passphrase",
        "clob_url",
        "ws_url",
        "gamma_url",
        "group_overrides",
        "user_channel",
        "ssl_context",
        "chain_id",
        "trading_enabled",
        "default_size",
        "min_pnl_threshold_percent",
        "slippage_enabled",
        "opportunity_timeout_ms",
        "max_in_flight",
        "queue_size",
        "presign",
        "order_type",
        "post_timeout_s",
        "warm_interval_s",
        "follow_interval_s",
        "unknown_absent_after_s",
        "unknown_resend_after_s",
        "heartbeat",
        "journal_mode",
        "journal_folder",
        "builder_code",
        "min_profit_bps",
        "min_profit_abs",
        "max_group_cost",
        "max_daily_cost",
        "max_open_exposure",
        "max_legging_loss",
        "max_unknown_groups",
        "max_submits_per_second",
        "max_quote_age_ms",
        "group_policy",
        "sell_policy",
        "http2",
        "engine_mode",
        "executor_mode",
        "control_socket",
        "telegram_bot_token",
        "telegram_chat_id",
        "redis",
        "database",
        "balance",
        "notify",
        "metrics",
    )
    private_key: Secret
    proxy_address: str
    signer_address: str
    signature_type: SignatureType | None
    api_key: Secret
    api_secret: Secret
    api_passphrase: Secret
    clob_url: str
    ws_url: str
    gamma_url: str
    group_overrides: str
    user_channel: bool | None
    ssl_context: ssl.SSLContext | None
    chain_id: int
    trading_enabled: bool
    default_size_micro: int
    min_pnl_threshold_percent: Decimal
    slippage_enabled: bool
    opportunity_timeout_ms: int
    max_in_flight: int
    queue_size: int
    presign: int
    order_type: OrderType
    post_timeout_s: float
    warm_interval_s: float
    follow_interval_s: float
    unknown_absent_after_s: float | None
    unknown_resend_after_s: float | None
    heartbeat: bool
    journal_mode: JournalMode | None
    journal_folder: str
    builder_code: str
    min_profit_bps: Decimal
    min_profit_abs: Decimal
    limits: RiskLimits
    group_policy: GroupPolicy
    sell_policy: SellPolicy
    http2: Http2Framing
    engine_mode: Mode
    executor_mode: Mode
    control_socket: str
    telegram_bot_token: Secret
    telegram_chat_id: str
    redis: Mapping[str, Secret]
    database: Mapping[str, Secret]
    balance: Mapping[str, Secret]
    notify: Mapping[str, Secret]
    metrics: Mapping[str, Secret]
    sources: Mapping[str, str]
    """Setting -> variable that supplied it, for ``doctor``."""

    def __init__(
        self,
        private_key: str | Secret = "",
        proxy_address: str = "",
        signer_address: str = "",
        signature_type: SignatureType | int | str | None = None,
        *,
        api_key: str | Secret = "",
        api_secret: str | Secret = "",
        api_passphrase: str | Secret = "",
        clob_url: str = DEFAULT_CLOB_URL,
        ws_url: str = "",
        gamma_url: str = "",
        group_overrides: str = "",
        user_channel: bool | None = None,
        ssl_context: ssl.SSLContext | None = None,
        chain_id: int = 137,
        trading_enabled: bool = False,
        default_size: Number = 10,
        min_pnl_threshold_percent: Number = "0.1",
        slippage_enabled: bool = False,
        opportunity_timeout_ms: int = 5000,
        max_in_flight: int = 1,
        queue_size: int = 16,
        presign: int = 0,
        order_type: OrderType | str = OrderType.GTC,
        post_timeout_s: float = 5.0,
        warm_interval_s: float = 20.0,
        follow_interval_s: float = 2.0,
        unknown_absent_after_s: float | None = 120.0,
        unknown_resend_after_s: float | None = None,
        heartbeat: bool = False,
        journal_mode: JournalMode | None = None,
        journal_folder: str = "",
        builder_code: str = "",
        min_profit_bps: Number = 5,
        min_profit_abs: Number = 0,
        max_group_cost: Number | None = None,
        max_daily_cost: Number | None = None,
        max_open_exposure: Number | None = None,
        max_legging_loss: Number | None = None,
        max_unknown_groups: int = 1,
        max_submits_per_second: int | None = None,
        max_quote_age_ms: int | None = None,
        group_policy: GroupPolicy | Iterable[str] = "hold",
        sell_policy: SellPolicy = "skip",
        http2: Http2Framing = "fast",
        engine_mode: Mode = "live",
        executor_mode: Mode = "live",
        control_socket: str = "",
        telegram_bot_token: str | Secret = "",
        telegram_chat_id: str = "",
        redis: Mapping[str, str | Secret] = MappingProxyType({}),
        database: Mapping[str, str | Secret] = MappingProxyType({}),
        balance: Mapping[str, str | Secret] = MappingProxyType({}),
        notify: Mapping[str, str | Secret] = MappingProxyType({}),
        metrics: Mapping[str, str | Secret] = MappingProxyType({}),
    ) -> None:
        credentials = {
            "api_key": settings.secret("api_key", api_key),
            "api_secret": settings.secret("api_secret", api_secret),
            "api_passphrase": settings.secret("api_passphrase", api_passphrase),
        }
        missing = [name for name, value in credentials.items() if not value]
        if missing and len(missing) < len(credentials):
            raise ConfigError(
                f"{', '.join(missing)}: missing, while other API credentials are set; "
                "give all three or none"
            )
        try:
            limits = RiskLimits(
                max_group_cost,
                max_daily_cost,
                max_open_exposure,
                max_legging_loss,
                max_unknown_groups,
                max_submits_per_second,
                max_quote_age_ms,
            )
        except InputError as error:
            raise ConfigError(str(error)) from None
        self._set(
            private_key=settings.secret("private_key", private_key),
            proxy_address=settings.address("proxy_address", proxy_address),
            signer_address=settings.address("signer_address", signer_address),
            signature_type=settings.signature_type(signature_type),
            **credentials,
            clob_url=settings.https_root(clob_url),
            ws_url=settings.wss_root(ws_url),
            gamma_url=gamma_url and settings.https_root(gamma_url, "gamma_url"),
            group_overrides=settings.text("group_overrides", group_overrides),
            user_channel=settings.optional_flag("user_channel", user_channel),
            ssl_context=ssl_context,
            chain_id=settings.one_of("chain_id", chain_id, (137, 80002)),
            trading_enabled=settings.flag("trading_enabled", trading_enabled),
            default_size_micro=settings.checked("default_size", to_micro, default_size),
            min_pnl_threshold_percent=settings.checked(
                "min_pnl_threshold_percent", to_decimal, min_pnl_threshold_percent
            ),
            slippage_enabled=settings.flag("slippage_enabled", slippage_enabled),
            opportunity_timeout_ms=settings.whole(
                "opportunity_timeout_ms", opportunity_timeout_ms, 0
            ),
            max_in_flight=settings.whole("max_in_flight", max_in_flight, 1),
            queue_size=settings.whole("queue_size", queue_size, 1),
            presign=settings.whole("presign", presign, 0, 4096),
            order_type=settings.default_order_type(order_type),
            post_timeout_s=settings.seconds("post_timeout_s", post_timeout_s),
            warm_interval_s=settings.seconds("warm_interval_s", warm_interval_s),
            follow_interval_s=settings.seconds("follow_interval_s", follow_interval_s),
            unknown_absent_after_s=settings.optional_seconds(
                "unknown_absent_after_s", unknown_absent_after_s
            ),
            unknown_resend_after_s=settings.optional_seconds(
                "unknown_resend_after_s", unknown_resend_after_s
            ),
            heartbeat=settings.flag("heartbeat", heartbeat),
            journal_mode=settings.optional_one_of(
                "journal_mode", journal_mode, ("fsync", "os", "off")
            ),
            journal_folder=settings.text("journal_folder", journal_folder),
            builder_code=settings.builder_code(builder_code),
            min_profit_bps=settings.checked("min_profit_bps", to_decimal, min_profit_bps),
            min_profit_abs=settings.checked("min_profit_abs", to_decimal, min_profit_abs),
            limits=limits,
            group_policy=settings.group_policy(group_policy),
            sell_policy=settings.one_of("sell_policy", sell_policy, ("skip", "buy_complement")),
            http2=settings.one_of("http2", http2, ("fast", "h2")),
            engine_mode=settings.one_of("engine_mode", engine_mode, ("live", "paper", "off")),
            executor_mode=settings.one_of("executor_mode", executor_mode, ("live", "paper", "off")),
            control_socket=settings.text("control_socket", control_socket),
            telegram_bot_token=settings.secret("telegram_bot_token", telegram_bot_token),
            telegram_chat_id=telegram_chat_id,
            redis=settings.secrets("redis", redis),
            database=settings.secrets("database", database),
            balance=settings.secrets("balance", balance),
            notify=settings.secrets("notify", notify, OBSERVER_VARIABLES["notify"]),
            metrics=settings.secrets("metrics", metrics, OBSERVER_VARIABLES["metrics"]),
            sources=MappingProxyType({}),
        )
        if user_channel and executor_mode == "live" and not self.channels_url:
            raise ConfigError("ws_url: missing, while user_channel is on; give the channels' root")

    @property
    def default_size(self) -> Decimal:
        """Shares per leg."""
        return from_micro(self.default_size_micro)

    max_group_cost = property(attrgetter("limits.max_group_cost"))
    max_daily_cost = property(attrgetter("limits.max_daily_cost"))
    max_open_exposure = property(attrgetter("limits.max_open_exposure"))
    max_legging_loss = property(attrgetter("limits.max_legging_loss"))
    max_unknown_groups = property(attrgetter("limits.max_unknown_groups"))
    max_submits_per_second = property(attrgetter("limits.max_submits_per_second"))
    max_quote_age_ms = property(attrgetter("limits.max_quote_age_ms"))

    @property
    def has_credentials(self) -> bool:
        """L2 credentials were given."""
        return bool(self.api_key)

    def replace(self, **changes: Any) -> "ExecutorConfig":
        """Return a copy with some settings changed."""
        config = super().replace(**changes)
        kept = {name: source for name, source in self.sources.items() if name not in changes}
        config._set(sources=MappingProxyType(kept))
        return config

    def __reduce__(self) -> NoReturn:
        raise TypeError("an ExecutorConfig holds secrets and cannot be pickled")

    @property
    def is_loopback(self) -> bool:
        """``clob_url`` is on this machine, so no real exchange."""
        host = urlsplit(self.clob_url).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    @property
    def channels_url(self) -> str:
        """Root of the WebSocket channels; empty when it is not known."""
        if self.ws_url or self.clob_url == DEFAULT_CLOB_URL:
            return self.ws_url or DEFAULT_WS_URL
        # The credentials go there as they are: no other host is guessed.
        return f"wss{self.clob_url.removeprefix('https')}/ws" if self.is_loopback else ""

    @property
    def metadata_url(self) -> str:
        """Root of the market metadata; empty when it is not known."""
        if self.gamma_url or self.clob_url == DEFAULT_CLOB_URL:
            return self.gamma_url or DEFAULT_GAMMA_URL
        return self.clob_url if self.is_loopback else ""

    @classmethod
    def from_env(
        cls,
        env: Mapping[str, str] | None = None,
        dotenv: str | Path | None = None,
    ) -> "ExecutorConfig":
        """Read the settings from environment variables.

        Parameters
        ----------
        env : mapping or None
            Instead of ``os.environ``.
        dotenv : path or None
            A ``.env`` file (needs the ``dotenv`` extra). Variables that are set outside win.

        Raises
        ------
        ConfigError
            A value is malformed, or two names of one setting hold different values: the message
            names both and shows neither.
        """
        values = dict(read_dotenv(dotenv) if dotenv is not None else {})
        values.update(os.environ if env is None else env)
        found: dict[str, str] = {}
        sources: dict[str, str] = {}
        for setting, names in VARIABLES.items():
            if setting == "private_key":
                values = with_key_files(values, names)
            first = first_set(values, names)
            if first is not None:
                sources[setting], found[setting] = first
        arguments: dict[str, Any] = {}
        for setting, text in found.items():
            arguments[setting] = _PARSERS.get(setting, str)(text, sources[setting])
        for setting, prefix in _PREFIXES.items():
            arguments[setting] = {
                name: value for name, value in values.items() if name.startswith(prefix) and value
            }
        # By name, not by prefix: systemd, for one, has a NOTIFY_SOCKET of its own.
        for setting, names in OBSERVER_VARIABLES.items():
            arguments[setting] = {name: values[name] for name in names if values.get(name)}
        try:
            config = cls(**arguments)
        except ConfigError as error:
            setting = re.split("[:=]", str(error))[0]
            if setting not in sources:
                raise
            raise ConfigError(f"{sources[setting]}: {error}") from None
        config._set(sources=MappingProxyType(sources))
        return config


def default_journal_folder() -> str:
    """Return where journals are kept unless a setting says otherwise."""
    state = os.environ.get("XDG_STATE_HOME", "")
    return str(Path(state or Path.home() / ".local" / "state") / "polyexec")


def default_control_folder() -> str:
    """Return where the sockets of running bots are, unless a setting says otherwise."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return str(Path(runtime) / "polyexec" if runtime else Path(default_journal_folder(), "control"))


def named_control_socket() -> str:
    """Return ``CONTROL_SOCKET`` alone: a malformed setting must not keep anybody from a halt."""
    return os.environ.get("CONTROL_SOCKET", "").strip()


_PREFIXES: Final = {"redis": "REDIS_", "database": "DB_", "balance": "BALANCE_"}

_PARSERS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(VARIABLES, plain_text),
    **dict.fromkeys(
        ("trading_enabled", "slippage_enabled", "heartbeat", "user_channel"), parse_bool
    ),
    **dict.fromkeys(("chain_id", "opportunity_timeout_ms", "max_unknown_groups"), parse_int),
    **dict.fromkeys(("max_submits_per_second", "max_quote_age_ms"), parse_int),
    **dict.fromkeys(("engine_mode", "executor_mode"), parse_mode),
}
