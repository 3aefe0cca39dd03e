"""A switch in Redis: a key that says whether a bot may trade, looked at all the time.

It can stop a bot and end its own stop. It never ends a halt of somebody else, and never switches on
trading that the settings or a person have switched off.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal

import msgspec

from polyexec.environment import parse_bool, parse_int
from polyexec.errors import ConfigError
from polyexec.observers.redis_address import RedisAddress
from polyexec.secret import Secret
from polyexec.settings import revealed
from polyexec.switching import Switched

__all__ = ["RedisSettings", "RedisSwitch", "SwitchState"]

_log = logging.getLogger("polyexec.control")

_SOURCE: Final = "redis"
_LOSS_SOURCE: Final = "redis-loss"
_LONGEST: Final = 256
_TIMEOUT_S: Final = 2.0


class RedisSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the key.

    Attributes
    ----------
    address : RedisAddress
    key : str
    poll_s : float
        Seconds between two looks.
    on_loss : "keep" or "halt"
        What happens while Redis cannot be asked.
    """

    address: RedisAddress
    key: str
    poll_s: float = 0.5
    on_loss: Literal["keep", "halt"] = "keep"

    @classmethod
    def of(cls, variables: Mapping[str, Secret]) -> "RedisSettings | None":
        """Read the ``REDIS_*`` variables of a configuration; None: they name no key.

        Raises
        ------
        ConfigError
            Naming the variable.
        """
        values = revealed(variables)
        key = values.get("REDIS_CONTROL_KEY", "")
        if not key:
            return None
        poll_ms = parse_int(values.get("REDIS_CONTROL_POLL_MS", "500"), "REDIS_CONTROL_POLL_MS")
        if not 10 <= poll_ms <= 60_000:
            raise ConfigError(f"REDIS_CONTROL_POLL_MS={poll_ms}: must be 10 to 60000 milliseconds")
        on_loss = values.get("REDIS_CONTROL_ON_LOSS", "keep")
        if on_loss not in ("keep", "halt"):
            raise ConfigError(f"REDIS_CONTROL_ON_LOSS={on_loss!r}: must be keep or halt")
        return cls(
            address=RedisAddress.read(variables),
            key=key,
            poll_s=poll_ms / 1000,
            on_loss="halt" if on_loss == "halt" else "keep",
        )


class SwitchState(msgspec.Struct):
    """What the switch has seen."""

    value: str = ""
    """As applied last: ``on``, ``reduce-only``, ``halt: ...``; empty: the key was never there."""
    is_lost: bool = False
    """Redis could not be asked last time."""
    refused: int = 0
    """Values that mean nothing and changed nothing."""
    losses: int = 0
    reads: int = 0


class RedisSwitch:
    """Looks at the key and halts or resumes; cancel :meth:`run` to stop it.

    Parameters
    ----------
    settings : RedisSettings
    executors : iterable of Executor
        What is switched.
    on_alarm : callable or None
        Is told in a sentence when a value was refused, or Redis was lost or is back.

    Raises
    ------
    ConfigError
        The ``redis`` package is not installed, or the address is malformed.
    """

    def __init__(
        self,
        settings: RedisSettings,
        executors: Iterable[Switched],
        on_alarm: Callable[[str], object] | None = None,
    ) -> None:
        self._settings = settings
        self._executors = tuple(executors)
        self._on_alarm = on_alarm
        self._refused = b""
        self._reduces = False
        self.state = SwitchState()
        self._client = _client(settings.address)

    async def run(self) -> None:
        """Look until cancelled."""
        task = asyncio.current_task()
        try:
            # A client library can swallow a cancel: whoever waits for the end would wait for ever.
            while task is not None and not task.cancelling():
                await self.look()
                if not task.cancelling():
                    await asyncio.sleep(self._settings.poll_s)
        finally:
            await self.close()

    async def close(self) -> None:
        """Let go of the connection; what was switched stays so."""
        await self._client.aclose()

    async def look(self) -> None:
        """Look once, and do what the key says."""
        from redis.exceptions import RedisError  # noqa: PLC0415  an extra

        try:
            async with asyncio.timeout(_TIMEOUT_S):
                # Not GET: a key that somebody filled with gigabytes is not brought here.
                value = bytes(await self._client.getrange(self._settings.key, 0, _LONGEST))
        except (RedisError, OSError, TimeoutError) as error:
            self._lost(type(error).__name__)
            return
        except Exception as error:  # a server that talks nonsense must not end the switch
            _log.exception("control_redis_failed")
            self._lost(type(error).__name__)
            return
        self.state.reads += 1
        if value:
            self._take(value)
        if self.state.is_lost:
            self.state.is_lost = False
            self._alarm(logging.WARNING, "control_redis_back", "Redis answers again")
            # Last: what the key says by now may be a halt, and nothing may be sent in between.
            for executor in self._executors:
                executor.resume(source=_LOSS_SOURCE)

    def _take(self, raw: bytes) -> None:
        """Apply a value; one that was applied before is left alone."""
        word = _word(raw)
        if word is None:
            if raw != self._refused:
                self._refused = raw
                self.state.refused += 1
                text = (
                    f"the key {self._settings.key!r} holds {raw[:40]!r}, which is none of "
                    "on, off, reduce-only, halt, halt: REASON; nothing changes"
                )
                self._alarm(logging.ERROR, "control_redis_refused", text)
            return
        self._refused = b""
        if word == self.state.value:
            return
        self.state.value = word
        _log.warning("control_redis", extra={"value": word})
        for executor in self._executors:
            if word.startswith("halt"):
                executor.halt(word.removeprefix("halt").lstrip(": ") or "halt", source=_SOURCE)
                continue
            # Not what a person has set: it ends only what it has begun.
            if word == "reduce-only" or self._reduces:
                executor.reduce_only(word == "reduce-only")
            executor.resume(source=_SOURCE)
        self._reduces = word == "reduce-only" or (self._reduces and word.startswith("halt"))

    def _lost(self, why: str) -> None:
        if self.state.is_lost:
            return
        self.state.is_lost = True
        self.state.losses += 1
        halts = self._settings.on_loss == "halt"
        if halts:
            for executor in self._executors:
                executor.halt("the switch cannot be read", source=_LOSS_SOURCE)
        text = f"Redis cannot be asked ({why}); " + (
            "halted until it can" if halts else "what it said last holds"
        )
        self._alarm(logging.ERROR, "control_redis_lost", text)

    def _alarm(self, level: int, event: str, text: str) -> None:
        _log.log(level, event, extra={"detail": text})
        if self._on_alarm is not None:
            try:
                self._on_alarm(text)
            except Exception:  # an alarm that fails must not end the switch
                _log.exception("control_alarm_failed")


def _word(raw: bytes) -> str | None:
    """Return what a value means, or None."""
    try:
        text = raw.decode().strip()
    except UnicodeDecodeError:
        return None
    if not text.isprintable() or len(raw) > _LONGEST:
        return None
    lowered = text.lower()
    if lowered in ("reduce-only", "halt"):
        return lowered
    if lowered.startswith("halt:"):
        return "halt: " + text[5:].strip()
    try:
        return "on" if parse_bool(lowered, "value") else "halt: off"
    except ConfigError:
        return None


def _client(address: RedisAddress) -> Any:
    try:
        from redis.asyncio.retry import Retry  # noqa: PLC0415  an extra
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError:
        return address.client(timeout_s=_TIMEOUT_S)  # says what to install
    # The next look is the second try.
    return address.client(timeout_s=_TIMEOUT_S, retry=Retry(NoBackoff(), 0))
