"""The switches of an executor: what may be sent, changed from any thread while others submit."""

import threading

from polyexec.config import ExecutorConfig
from polyexec.core.gate import Gate
from polyexec.core.risk import RiskGuard
from polyexec.enums import SkipReason
from polyexec.errors import UsageError
from polyexec.posting import Door

__all__ = ["Switched"]


class Switched:
    """Trading switch, halt and reduce-only. Each may be called from any thread."""

    def __init__(self, config: ExecutorConfig) -> None:
        self._may_trade = config.executor_mode != "off"
        enabled = config.trading_enabled and self._may_trade
        self._gate = Gate(
            enabled=enabled,
            cooldown_ns=config.opportunity_timeout_ms * 1_000_000,
            max_in_flight=config.max_in_flight,
        )
        self._risk = RiskGuard(config.limits)
        self._door = Door(is_open=enabled)
        self._switching = threading.Lock()
        self._halts: dict[str, str] = {}
        self._closed = False

    @property
    def trading_enabled(self) -> bool:
        """The trading switch."""
        return self._gate.enabled

    @property
    def risk(self) -> RiskGuard:
        """What the limits allow, and what has been used of them."""
        return self._risk

    @property
    def halted(self) -> str | None:
        """Why nothing may be sent; ``None``: no halt."""
        return self._risk.halted

    @property
    def in_flight(self) -> int:
        """Submissions without an answer."""
        return self._gate.in_flight

    def set_trading_enabled(self, flag: bool) -> bool:
        """Set the trading switch. No POST of orders begins after this returned with it off.

        Returns
        -------
        bool
            As :meth:`halt`.

        Raises
        ------
        UsageError
            Switched on with ``executor_mode="off"``, or after closing.
        """
        if flag and not self._may_trade:
            raise UsageError("executor_mode is 'off': this executor does not trade")
        with self._switching:
            if flag and self._closed:
                raise UsageError("the executor is closed")
            self._gate.set_enabled(bool(flag))
            return self._turn_door()

    def halt(self, reason: str = "halted", *, source: str = "") -> bool:
        """Refuse every group and every follow-up; no POST of orders begins after this returned.

        Cancels still go. One that is being written is waited for, some microseconds as a rule;
        what it sent is tracked like any other group.

        Parameters
        ----------
        reason : str
            Shown wherever something is refused for it.
        source : str
            Who halts. Each ends only its own halts.

        Returns
        -------
        bool
            False when one was still being written after a second.
        """
        with self._switching:
            self._halts[source] = f"{source}: {reason}" if source else reason or "halted"
            return self._obey()

    def resume(self, *, source: str = "") -> None:
        """End the halt of one source; those of others go on."""
        with self._switching:
            self._halts.pop(source, None)
            self._obey()

    def _obey(self) -> bool:
        if self._halts:
            self._risk.halt("; ".join(self._halts.values()))
        else:
            self._risk.resume()
        return self._turn_door()

    def reduce_only(self, flag: bool = True) -> None:
        """Send only groups whose every leg gives up inventory."""
        self._risk.reduce_only(flag)

    def _turn_door(self) -> bool:
        if self._gate.enabled and self._risk.halted is None:
            self._door.open()
            return True
        return self._door.shut()

    def _why_shut(self) -> tuple[SkipReason, str]:
        """Say what a signal is refused with that found the door shut."""
        halted = self._risk.halted
        if halted is not None:
            return SkipReason.HALTED, halted
        if self._closed:
            return SkipReason.CLOSED, "the executor is being closed"
        return SkipReason.TRADING_DISABLED, "trading was switched off while it was being signed"
