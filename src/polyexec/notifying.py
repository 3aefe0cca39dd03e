"""Notifications around an executor: what is listened to, and where it is told."""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from polyexec.clob.origin import default_ssl_context
from polyexec.clob.venue import ClobVenue
from polyexec.config import ExecutorConfig
from polyexec.core.ledger import COLLATERAL
from polyexec.core.venue_mode import VenueModeChange
from polyexec.enums import NoticeKind
from polyexec.errors import ConfigError, UsageError
from polyexec.executor import BaseExecutor
from polyexec.numbers import from_micro
from polyexec.observers.endpoints import Endpoint
from polyexec.observers.notices import Notice, group_notice, result_notice
from polyexec.observers.notify import Notifier
from polyexec.observers.telegram import DEFAULT_API_URL, Telegram
from polyexec.observers.watches import (
    AlarmHandler,
    DailySummary,
    HaltWatch,
    StormWatch,
    TradingState,
)
from polyexec.observers.webhook import Webhook
from polyexec.results import TradeResult
from polyexec.secret import Secret

if TYPE_CHECKING:
    import ssl

    from polyexec.engine.engine import Engine

__all__ = ["endpoints_of", "open_notifications"]

_TIME_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DEFAULT_SUMMARY_AT: Final = "00:00"
_CLOSE_S: Final = 3.0


@contextlib.asynccontextmanager
async def open_notifications(
    config: ExecutorConfig,
    executor: BaseExecutor,
    engine: "Engine | None" = None,
    *,
    ssl_context: "ssl.SSLContext | None" = None,
    close_s: float = _CLOSE_S,
    told: Container[str] = (),
) -> AsyncIterator[Notifier | None]:
    """Tell people what an executor does, as long as the context lasts.

    Parameters
    ----------
    config : ExecutorConfig
        ``telegram_bot_token`` with ``telegram_chat_id``, and ``notify``.
    executor : Executor
        Open.
    engine : Engine or None
        Open; whose connections are watched too.
    ssl_context : ssl.SSLContext or None
        What is trusted; None: the system's authorities.
    close_s : float
        How long the last notices may take at the end.
    told : container of str
        Log events that become no notices, as they are told of in another way.

    Yields
    ------
    Notifier or None
        None: the settings name no endpoint.

    Raises
    ------
    ConfigError
        Naming the variable; showing no secret.
    """
    endpoints = endpoints_of(config, executor.address)
    kinds = _kinds(config.notify)
    minute = _summary_minute(config.notify)
    if not endpoints:
        yield None
        return
    clock = executor._clock
    summary = DailySummary(minute, clock.time_ms(), lambda: _day_state(executor, notifier))
    notifier = Notifier(
        endpoints,
        ssl_context=ssl_context or default_ssl_context(),
        kinds=kinds,
        watches=(
            HaltWatch(lambda: _trading_state(executor)),
            StormWatch(lambda: connection_losses(executor, engine)),
            summary,
        ),
        time_ms=clock.time_ms,
    )

    def on_result(result: TradeResult) -> None:
        summary.add(result)
        notice = result_notice(result, clock.time_ms())
        if notice is not None:
            notifier.notify(notice)

    def on_group(result: TradeResult) -> None:
        notifier.notify(group_notice(result, clock.time_ms()))

    def on_mode(change: VenueModeChange) -> None:
        notifier.notify(_mode_notice(change, clock.time_ms()))

    stops: list[Callable[[], None]] = [
        executor.on_trade_result(on_result, is_quick=True),
        executor.on_group(on_group, is_quick=True),
        executor.on_venue_mode(on_mode),
    ]
    notifier.start()
    notifier.notify(_life_notice("Started", executor))
    try:
        with _alarms(notifier, told):
            yield notifier
    finally:
        for stop in stops:
            stop()
        notifier.notify(_life_notice("Stopped", executor))
        await asyncio.to_thread(notifier.close, close_s)


@contextlib.contextmanager
def _alarms(notifier: Notifier, told: Container[str]) -> Iterator[None]:
    """Turn errors in the log into notices meanwhile."""
    library = logging.getLogger("polyexec")
    alarms = AlarmHandler(notifier.notify)
    alarms.addFilter(lambda record: record.getMessage() not in told)
    handlers: list[logging.Handler] = [alarms]
    if not library.hasHandlers() and logging.lastResort is not None:
        # Nobody has set logging up: what was shown without our handler is shown beside it.
        handlers.append(logging.lastResort)
    for handler in handlers:
        library.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            library.removeHandler(handler)


def endpoints_of(config: ExecutorConfig, address: str) -> tuple[Endpoint, ...]:
    """Return the endpoints that the settings name.

    Parameters
    ----------
    config : ExecutorConfig
    address : str
        Of the account, shortened to tell several apart.

    Raises
    ------
    ConfigError
        A setting is malformed, or one of two that belong together is missing.
    """
    label = f"{address[:6]}…{address[-4:]}"
    found: list[Endpoint] = []
    token, chat = config.telegram_bot_token, config.telegram_chat_id
    if bool(token) != bool(chat):
        given, missing = "telegram_bot_token", "telegram_chat_id"
        if chat:
            given, missing = missing, given
        raise ConfigError(f"{missing}: missing, while {given} is set; give both or none")
    if token:
        api_url = _text(config.notify, "NOTIFY_TELEGRAM_API_URL") or DEFAULT_API_URL
        found.append(Telegram(token, chat, label=label, api_url=api_url))
    url = _text(config.notify, "NOTIFY_WEBHOOK_URL")
    key = _text(config.notify, "NOTIFY_WEBHOOK_SECRET")
    if key and not url:
        raise ConfigError("NOTIFY_WEBHOOK_URL: missing, while NOTIFY_WEBHOOK_SECRET is set")
    if url:
        found.append(Webhook(Secret(url), secret=Secret(key), label=label))
    return tuple(found)


def connection_losses(executor: BaseExecutor, engine: "Engine | None" = None) -> dict[str, int]:
    """Return how often each kind of connection was lost, or could not be made."""
    losses = {}
    venue = executor.venue
    if isinstance(venue, ClobVenue):
        losses["orders"] = venue.transport.losses
    channel = executor.user_channel
    if channel is not None:
        counts = channel.counts
        losses["user channel"] = max(0, counts.connects - 1) + counts.failures
    if engine is not None:
        with contextlib.suppress(UsageError):  # not open yet
            losses["market feed"] = engine.feed_counts.losses
    return losses


def _kinds(settings: Mapping[str, Secret]) -> frozenset[NoticeKind]:
    text = _text(settings, "NOTIFY_ON")
    if not text:
        return frozenset(NoticeKind)
    kinds = set()
    for word in filter(None, (part.strip().lower() for part in text.split(","))):
        if word not in NoticeKind.__members__.values():
            known = ", ".join(NoticeKind)
            raise ConfigError(f"NOTIFY_ON={text!r}: {word!r} is none of {known}")
        kinds.add(NoticeKind(word))
    return frozenset(kinds)


def _summary_minute(settings: Mapping[str, Secret]) -> int:
    text = _text(settings, "NOTIFY_SUMMARY_AT") or _DEFAULT_SUMMARY_AT
    found = _TIME_OF_DAY.fullmatch(text)
    if found is None:
        raise ConfigError(f"NOTIFY_SUMMARY_AT={text!r}: must be a time of day, UTC, as 06:30")
    return int(found[1]) * 60 + int(found[2])


def _text(settings: Mapping[str, Secret], name: str) -> str:
    return settings[name].reveal().strip() if name in settings else ""


def _trading_state(executor: BaseExecutor) -> TradingState:
    risk = executor.risk
    return TradingState(
        enabled=executor.trading_enabled,
        halted=risk.halted,
        reduce_only=risk.is_reduce_only,
    )


def _life_notice(title: str, executor: BaseExecutor) -> Notice:
    fields = [
        ("executor", executor.config.executor_mode),
        ("trading", "on" if executor.trading_enabled else "off"),
        ("available", f"{from_micro(executor.ledger.available(COLLATERAL))} dollars"),
    ]
    halted = executor.risk.halted
    if halted is not None:
        fields.append(("halted", halted))
    return Notice(
        kind=NoticeKind.HALT,
        title=title,
        at_ms=executor._clock.time_ms(),
        fields=tuple(fields),
    )


def _mode_notice(change: VenueModeChange, now_ms: int) -> Notice:
    return Notice(
        kind=NoticeKind.VENUE,
        title=f"Exchange is {change.new} (was {change.old})",
        at_ms=now_ms,
        fields=(("it says", change.text),) if change.text else (),
    )


def _day_state(executor: BaseExecutor, notifier: Notifier) -> Mapping[str, str]:
    risk, ledger = executor.risk, executor.ledger
    lost = sum(counts.lost for counts in notifier.counts.values())
    return {
        "available": f"{from_micro(ledger.available(COLLATERAL))} dollars",
        "reserved": f"{from_micro(ledger.held(COLLATERAL))} dollars",
        "open exposure": f"{from_micro(risk.exposure_micro)} dollars",
        "groups with an unknown leg": str(risk.unknown_groups),
        "exchange": str(executor.venue_mode),
        "notices not delivered": str(lost),
    }
