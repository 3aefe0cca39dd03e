"""The balance watch of an executor: which source, by the settings, and what it feeds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, cast, get_args

import msgspec

from polyexec.config import ExecutorConfig
from polyexec.core.ledger import COLLATERAL
from polyexec.dispatch import Publisher
from polyexec.errors import ConfigError, InputError
from polyexec.executor import Executor
from polyexec.models import TokenId
from polyexec.numbers import from_micro, to_decimal, to_micro
from polyexec.observers.balance import (
    BalanceAlarm,
    BalanceRules,
    BalanceSource,
    BalanceWatch,
    CallableSource,
    Reading,
)
from polyexec.results import TradeResult
from polyexec.secret import Secret
from polyexec.settings import revealed

__all__ = ["BalanceSettings", "SourceName", "balance_source", "open_balance"]

SourceName: TypeAlias = Literal["exchange", "redis", "rpc", "off"]

_CLOSE_S: Final = 1.0


class BalanceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the ``BALANCE_*`` variables say."""

    source: SourceName = "exchange"
    """``off``: the balance is only taken when the executor opens."""
    rules: BalanceRules = BalanceRules()
    rpc_url: Secret | None = None
    """Of the node, for ``rpc``."""

    @classmethod
    def read(cls, variables: Mapping[str, Secret]) -> "BalanceSettings":
        """Read ``config.balance``.

        Raises
        ------
        ConfigError
            Naming the variable.
        """
        values = revealed(variables)
        source = values.pop("BALANCE_SOURCE", "").lower() or "exchange"
        if source not in get_args(SourceName):
            raise ConfigError(f"BALANCE_SOURCE={source!r}: must be exchange, redis, rpc or off")
        url = values.pop("BALANCE_RPC_URL", "")
        if source == "rpc" and not url:
            raise ConfigError("BALANCE_RPC_URL: missing, while BALANCE_SOURCE is rpc")
        given: dict[str, Any] = {}
        for variable, name in _SECONDS.items():
            if variable in values:
                given[name] = _number(variable, values.pop(variable), to_decimal)
        if "BALANCE_MAX_JUMP" in values:
            name = "BALANCE_MAX_JUMP"
            given["max_jump_micro"] = _number(name, values.pop(name), to_micro)
        if values:
            known = ", ".join((*_SECONDS, "BALANCE_SOURCE", "BALANCE_RPC_URL", "BALANCE_MAX_JUMP"))
            raise ConfigError(f"{min(values)}: is no setting of the balance; known: {known}")
        try:
            rules = BalanceRules(**given)
        except InputError as error:
            raise ConfigError(f"BALANCE_{error.field.upper()}: {error}") from None
        return cls(
            source=cast("SourceName", source), rules=rules, rpc_url=Secret(url) if url else None
        )


_SECONDS: Final[Mapping[str, str]] = {
    "BALANCE_INTERVAL_S": "interval_s",
    "BALANCE_TIMEOUT_S": "timeout_s",
    "BALANCE_MAX_AGE_S": "max_age_s",
}


@contextlib.asynccontextmanager
async def open_balance(
    config: ExecutorConfig,
    executor: Executor,
    *,
    source: BalanceSource | Callable[[], Any] | None = None,
    rules: BalanceRules | None = None,
    on_alarm: Callable[[BalanceAlarm], object] | None = None,
) -> AsyncIterator[BalanceWatch]:
    """Keep the balance and the positions of an open executor up to date.

    Parameters
    ----------
    config : ExecutorConfig
        ``balance`` says where from, how often, and what to believe.
    executor : Executor
        Open, on the running loop.
    source : BalanceSource, callable or None
        Instead of what ``config`` says; a callable returns dollars, or a ``Reading``.
    rules : BalanceRules or None
        Instead of what ``config`` says.
    on_alarm : callable or None
        Told of trouble with the source, and of its end. A plain function runs in a thread of its
        own, a coroutine function on the loop.

    Yields
    ------
    BalanceWatch

    Raises
    ------
    ConfigError
        A variable is missing or malformed, or an extra is not installed.
    """
    settings = BalanceSettings.read(config.balance)
    asked: BalanceSource
    if source is None:
        asked = balance_source(config, settings, executor)
    else:
        asked = CallableSource(source) if callable(source) else source
    alarms: Publisher[BalanceAlarm] = Publisher("balance-alarm")
    alarms.bind(asyncio.get_running_loop())
    if on_alarm is not None:
        alarms.subscribe(on_alarm)
    ledger = executor.ledger
    watch = BalanceWatch(
        asked,
        lambda asset, micro, as_of_ms: ledger.update(asset, micro, as_of_ms=as_of_ms),
        time_ms=executor.clock.time_ms,
        rules=rules or settings.rules,
        positions=_VenuePositions(executor),
        on_alarm=alarms.publish,
        known_micro=ledger.balance() if ledger.as_of_ms() else None,
    )

    def on_result(result: TradeResult) -> None:
        if any(leg.filled_micro for leg in (*result.legs, *result.follow_ups)):
            watch.poke()

    stops = [
        executor.on_trade_result(on_result, is_quick=True),
        executor.on_group(on_result, is_quick=True),
    ]
    try:
        async with watch:
            yield watch
    finally:
        for stop in stops:
            stop()
        await asyncio.to_thread(alarms.close, _CLOSE_S)


def balance_source(
    config: ExecutorConfig, settings: BalanceSettings, executor: Executor
) -> BalanceSource:
    """Return the source that the settings name; the exchange where they name none.

    Raises
    ------
    ConfigError
        A variable of it is malformed, or an extra is not installed.
    """
    if settings.source == "redis":
        from polyexec.observers.redis_balance import (  # noqa: PLC0415  needs an extra
            RedisBalance,
            RedisSettings,
        )

        return RedisBalance(RedisSettings.read(config.redis), executor.clock.time_ms)
    if settings.source == "rpc" and settings.rpc_url is not None:
        from polyexec.observers.rpc_balance import RpcBalance  # noqa: PLC0415  rarely wanted

        return RpcBalance(settings.rpc_url, executor.funder, chain_id=config.chain_id)
    return _VenueBalance(executor)


class _VenueBalance:
    """The exchange's own figure."""

    name = "exchange"

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def read(self) -> Reading:
        snapshot = await self._executor.fetch_balance(COLLATERAL)
        return Reading(from_micro(snapshot.balance_micro), snapshot.as_of_ms)

    async def close(self) -> None:
        pass  # the connection is the executor's


class _VenuePositions:
    """Shares of the tokens that the executor holds, or has orders for."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def tokens(self) -> Iterable[str]:
        return self._executor.tokens

    async def read(self, token_id: str) -> Reading:
        snapshot = await self._executor.fetch_balance(TokenId(token_id))
        return Reading(from_micro(snapshot.balance_micro), snapshot.as_of_ms)


def _number(variable: str, text: str, parse: Callable[[str, str], Any]) -> Any:
    try:
        number = parse(text, variable)
    except InputError as error:
        raise ConfigError(str(error)) from None
    return number if isinstance(number, int) else float(number)
