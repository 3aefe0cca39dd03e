"""The switch, the submitting guard and the cooldown: may a signal be acted on now?"""

from typing import ClassVar

from polyexec import _impl
from polyexec.enums import SkipReason
from polyexec.errors import InternalError

__all__ = ["Gate"]


class Gate(_impl.GateCore):
    """State that every submitting thread shares. Every method is atomic and none waits.

    Parameters
    ----------
    enabled : bool
        Trading switch at start.
    cooldown_ns : int
        Least time between two executions, on the monotonic clock.
    max_in_flight : int
        Submissions that may be without an answer at the same time.
    """

    __slots__ = ()

    _fault: ClassVar = InternalError
    _reasons: ClassVar = (
        None,
        SkipReason.TRADING_DISABLED,
        SkipReason.ALREADY_SUBMITTING,
        SkipReason.COOLDOWN_ACTIVE,
    )
