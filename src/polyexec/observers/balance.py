"""The account's balance, watched: asked for now and then and after fills, checked, handed on.

A source says how much there is. What it says is believed when it is a number that money can be, not
too old and not absurdly far from the last one; otherwise the last good value stays, and a person is
told. A source that hangs or dies costs a task and nothing else.
"""

import asyncio
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self

import msgspec

from polyexec.errors import InputError, InternalError, PolyexecError
from polyexec.numbers import from_micro, to_micro

__all__ = [
    "BalanceAlarm",
    "BalanceFault",
    "BalanceRules",
    "BalanceSource",
    "BalanceWatch",
    "CallableSource",
    "Positions",
    "Reading",
    "SourceError",
]

_log = logging.getLogger("polyexec.balance")

_COLLATERAL: Final = ""
_AT_ONCE: Final = 8  # positions asked for in a round: they share a rate limit with the bot
_LONGEST: Final = 200  # characters of a source's words that are repeated to people


class Reading(msgspec.Struct, frozen=True):
    """What a source says."""

    amount: object
    """Dollars or shares, as it came: str, int, float or Decimal on the 1e-6 grid."""
    as_of_ms: int | None = None
    """When it was true, unix milliseconds; None: when it was asked for."""


class SourceError(PolyexecError):
    """A source gave no balance; the text says why and never shows a secret."""


class BalanceSource(Protocol):
    """Where a balance comes from."""

    @property
    def name(self) -> str:
        """For people and log lines."""
        ...

    async def read(self) -> Reading:
        """Ask; any exception means that there was no answer."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Positions(Protocol):
    """Which shares to ask for, and how."""

    def tokens(self) -> Iterable[str]:
        """Return the tokens that matter now."""
        ...

    async def read(self, token_id: str) -> Reading:
        """Return the shares held of one token."""
        ...


class BalanceFault(StrEnum):
    """Why a reading was not taken."""

    GARBAGE = "garbage"
    """No number, negative, not finite, finer than 1e-6."""
    JUMP = "jump"
    """Further from the last good one than ``max_jump`` allows."""
    TOO_OLD = "too_old"
    """Its as-of time is longer ago than ``max_age_s``."""
    HANGING = "hanging"
    """No answer in ``timeout_s``."""
    FAILED = "failed"
    """The source raised."""
    REFUSED = "refused"
    """Whoever takes the balance raised."""


class BalanceAlarm(msgspec.Struct, frozen=True, kw_only=True):
    """Trouble with a source, or its end."""

    source: str
    asset: str
    """Empty: collateral; else a token id."""
    fault: BalanceFault | None
    """None: it is well again."""
    detail: str
    since_ms: int
    """When this trouble began, unix milliseconds."""
    age_s: float | None
    """Age of the value that stays in use; None: there is none."""


class BalanceRules(msgspec.Struct, frozen=True, kw_only=True):
    """When to ask, and what to believe.

    Raises
    ------
    InputError
        A time or bound that cannot be.
    """

    interval_s: float = 5.0
    """Seconds between questions."""
    timeout_s: float = 4.0
    """Seconds that a question may take."""
    max_age_s: float = 60.0
    """Seconds: an older value is refused."""
    max_jump_micro: int | None = None
    """Micro-dollars that the balance may change between two readings; None: any."""
    repeat_s: float = 300.0
    """Seconds until the same trouble is told again."""
    pause_s: float = 0.25
    """Seconds at least between two questions, whatever happens."""

    def __post_init__(self) -> None:
        for name in ("interval_s", "timeout_s", "max_age_s", "repeat_s", "pause_s"):
            value = getattr(self, name)
            if not 0 < value <= 86_400:
                raise InputError(name, value, "must be seconds, above 0 and at most 86400")
        if self.max_jump_micro is not None and self.max_jump_micro <= 0:
            raise InputError("max_jump", self.max_jump_micro, "must be above 0; None: any")


class _Known(msgspec.Struct):
    """What is known of one asset."""

    micro: int | None = None
    as_of_ms: int = 0
    fault: BalanceFault | None = None
    since_ms: int = 0
    told_ms: int = 0


class BalanceWatch:
    """Keeps a balance, and the positions, up to date from one source.

    Parameters
    ----------
    source : BalanceSource
        Closed with the watch.
    update : callable
        Takes asset (``""``: collateral), micro-units and unix milliseconds; returns False when it
        knows something newer.
    time_ms : callable
        Unix milliseconds.
    rules : BalanceRules
    positions : Positions or None
        None: positions are not asked for.
    on_alarm : callable or None
        Takes a :class:`BalanceAlarm`, on the loop; must not block.
    known_micro : int or None
        A balance that is known already; the first reading is held against it.

    Notes
    -----
    Use as ``async with BalanceWatch(...)``. :meth:`poke` may be called from any thread, the rest on
    the loop.
    """

    def __init__(
        self,
        source: BalanceSource,
        update: Callable[[str, int, int], bool],
        *,
        time_ms: Callable[[], int],
        rules: BalanceRules | None = None,
        positions: Positions | None = None,
        on_alarm: Callable[[BalanceAlarm], object] | None = None,
        known_micro: int | None = None,
    ) -> None:
        self._source = source
        self._update = update
        self._time_ms = time_ms
        self._rules = rules or BalanceRules()
        self._positions = positions
        self._on_alarm = on_alarm
        self._known: dict[str, _Known] = {_COLLATERAL: _Known(known_micro)}
        self._asked = 0
        self._trusts_next = False
        self._poked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.readings = 0
        """Readings that were believed."""
        self.refused = 0
        """Readings that were not believed, or did not come."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop asking, and close the source."""
        task, self._task = self._task, None
        self._loop = None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                await self._source.close()
        except Exception:
            _log.warning("balance_source_not_closed", extra={"source": self._source.name})

    @property
    def age_s(self) -> float | None:
        """Seconds since the balance in use was true; None: none was read yet."""
        return self._age_s(self._known[_COLLATERAL])

    @property
    def last_micro(self) -> int | None:
        """Micro-dollars that were read last; None: none yet."""
        return self._known[_COLLATERAL].micro

    @property
    def fault(self) -> BalanceFault | None:
        """What is wrong with the source now; None: nothing."""
        return self._known[_COLLATERAL].fault

    def poke(self) -> None:
        """Ask soon, because something has traded. From any thread; costs nothing."""
        loop = self._loop
        if loop is None:
            return
        try:
            loop.call_soon_threadsafe(self._poked.set)
        except RuntimeError:
            pass  # the loop is closed

    def trust_next(self) -> None:
        """Take the next reading however far it jumps: a person has paid in or out."""
        self._trusts_next = True
        self._poked.set()

    async def refresh(self) -> bool:
        """Ask now; return whether the balance was believed."""
        is_good = await self._ask(_COLLATERAL, self._source.read)
        if self._positions is not None:
            await self._ask_positions(self._positions)
        return is_good

    async def _run(self) -> None:
        while True:
            self._poked.clear()
            try:
                await self.refresh()
            except Exception:  # a bug of ours must not end the watching
                _log.exception("balance_watch_failed")
            await asyncio.sleep(self._rules.pause_s)
            try:
                async with asyncio.timeout(self._rules.interval_s):
                    await self._poked.wait()
            except TimeoutError:
                pass

    async def _ask_positions(self, positions: Positions) -> None:
        tokens = sorted(positions.tokens())
        for token in self._known.keys() - {_COLLATERAL, *tokens}:
            del self._known[token]
        if not tokens:
            return
        # In turns, so that many tokens are each asked for some time.
        first = self._asked % len(tokens)
        turn = (tokens[first:] + tokens[:first])[:_AT_ONCE]
        self._asked = first + len(turn)
        for token in turn:
            known = self._known.setdefault(token, _Known())
            await self._ask(token, partial(positions.read, token))
            if known.fault in (BalanceFault.HANGING, BalanceFault.FAILED):
                return  # the others would only wait as long

    async def _ask(self, asset: str, read: Callable[[], Awaitable[Reading]]) -> bool:
        asked_ms = self._time_ms()
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                reading = await read()
        except TimeoutError:
            detail = f"no answer in {self._rules.timeout_s:g} s"
            return self._trouble(asset, BalanceFault.HANGING, detail)
        except Exception as error:
            # Only its kind, unless it is a text of ours: others may repeat an URL with a password.
            detail = str(error) if isinstance(error, PolyexecError) else type(error).__name__
            return self._trouble(asset, BalanceFault.FAILED, detail)
        return self._take(asset, reading, asked_ms)

    def _take(self, asset: str, reading: Reading, asked_ms: int) -> bool:
        known = self._known[asset]
        try:
            micro, as_of_ms = _checked(reading, asked_ms)
        except InputError as error:
            return self._trouble(asset, BalanceFault.GARBAGE, str(error))
        age_s = (self._time_ms() - as_of_ms) / 1000
        if age_s > self._rules.max_age_s:
            detail = f"it is {age_s:.1f} s old, at most {self._rules.max_age_s:g}"
            return self._trouble(asset, BalanceFault.TOO_OLD, detail)
        most = self._rules.max_jump_micro
        if asset == _COLLATERAL and most is not None and known.micro is not None:
            jump = micro - known.micro
            if abs(jump) > most and not self._trusts_next:
                before, now = from_micro(known.micro), from_micro(micro)
                detail = f"from {before} to {now} dollars, at most {from_micro(most)} at once"
                return self._trouble(asset, BalanceFault.JUMP, detail)
        try:
            is_newer = self._update(asset, micro, as_of_ms)
        except (InputError, InternalError) as error:
            return self._trouble(asset, BalanceFault.REFUSED, str(error))
        if asset == _COLLATERAL:
            self._trusts_next = False
        self.readings += 1
        if is_newer:
            known.micro, known.as_of_ms = micro, as_of_ms
        self._well(asset)
        return True

    def _trouble(self, asset: str, fault: BalanceFault, detail: str) -> bool:
        """Note what is wrong; tell it when it is new, and again now and then. Return False."""
        self.refused += 1
        known, now_ms = self._known[asset], self._time_ms()
        is_new = known.fault is not fault
        if known.fault is None:
            known.since_ms = now_ms
        known.fault = fault
        if is_new or now_ms - known.told_ms >= self._rules.repeat_s * 1000:
            known.told_ms = now_ms
            self._tell(asset, known, detail)
        return False

    def _well(self, asset: str) -> None:
        known = self._known[asset]
        if known.fault is not None:
            known.fault = None
            self._tell(asset, known, "it is well again")

    def _tell(self, asset: str, known: _Known, detail: str) -> None:
        alarm = BalanceAlarm(
            source=self._source.name,
            asset=asset,
            fault=known.fault,
            detail=detail[:_LONGEST],
            since_ms=known.since_ms,
            age_s=self._age_s(known),
        )
        level = logging.INFO if known.fault is None else logging.ERROR
        event = "balance_recovered" if known.fault is None else "balance_alarm"
        _log.log(level, event, extra=msgspec.structs.asdict(alarm))
        if self._on_alarm is not None:
            try:
                self._on_alarm(alarm)
            except Exception:
                _log.exception("balance_alarm_not_told")

    def _age_s(self, known: _Known) -> float | None:
        return (self._time_ms() - known.as_of_ms) / 1000 if known.as_of_ms else None


def _checked(reading: object, asked_ms: int) -> tuple[int, int]:
    """Return micro-units and the as-of time of a reading, or refuse it."""
    if not isinstance(reading, Reading):
        raise InputError("reading", reading, "must be a Reading")
    amount: Any = reading.amount
    if isinstance(amount, str):
        amount = amount.strip()
    micro = to_micro(amount, "balance")
    as_of = reading.as_of_ms
    if as_of is None:
        return micro, asked_ms
    if isinstance(as_of, bool) or not isinstance(as_of, int) or as_of < 0:
        raise InputError("as_of_ms", as_of, "must be unix milliseconds")
    # Of a clock ahead of ours: what trades from now on is certainly not in the answer.
    return micro, min(as_of, asked_ms)


class CallableSource:
    """Any function as a source: it returns a number of dollars, or a :class:`Reading`.

    Parameters
    ----------
    function : callable
        A coroutine function is awaited; a plain function runs in a thread of its own. While one
        call of it hangs, no other is made.
    name : str
    """

    def __init__(self, function: Callable[[], Any], *, name: str = "callable") -> None:
        if not callable(function):
            raise InputError("function", function, "must be callable")
        self.name = name
        self._function = function
        self._is_running = False

    async def read(self) -> Reading:
        """Call it."""
        if inspect.iscoroutinefunction(self._function):
            value = await self._function()
        else:
            value = await self._call()
            if inspect.isawaitable(value):
                value = await value
        return value if isinstance(value, Reading) else Reading(value)

    async def close(self) -> None:
        """Do nothing: a call that hangs ends with the process."""

    async def _call(self) -> Any:
        if self._is_running:
            raise SourceError("the last call has not returned yet")
        self._is_running = True
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if answer.done():
                return  # nobody waits any more
            if error is None:
                answer.set_result(value)
            else:
                answer.set_exception(SourceError(f"it raised {type(error).__name__}"))

        def work() -> None:
            value, error = None, None
            try:
                value = self._function()
            except BaseException as raised:  # sys.exit() in there is no answer either
                error = raised
            self._is_running = False
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:
                pass  # the loop is closed

        # Not from the loop's pool, which would be waited for at the end.
        threading.Thread(target=work, name=f"polyexec-{self.name}", daemon=True).start()
        return await answer
