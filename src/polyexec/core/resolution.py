"""An order whose fate is unknown: when to ask for it, when to send it again, when it is absent.

"Not found" right after a time-out proves nothing: an order in the matching delay, or in a queue,
appears late (40 seconds have been seen). So absence needs several answers over a while, each
asked after the last send. Sending again is sending the same signed bytes: the exchange takes a
hash once, whatever happens. Source: protocol notes, rest.md 3.
"""

from enum import StrEnum

import msgspec

from polyexec.errors import InputError

__all__ = ["NextStep", "ResolutionPolicy", "UnknownOrder"]


class NextStep(StrEnum):
    """What to do about an unknown order."""

    ASK = "ASK"
    """Ask the exchange when it is due."""
    RESEND = "RESEND"
    """The exchange does not have it: send the same signed bytes once more."""
    ABSENT = "ABSENT"
    """It never arrived: its money is free."""


class ResolutionPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How an unknown order is resolved.

    Attributes
    ----------
    first_ask_ms, longest_pause_ms : int
        When to ask first, and the longest pause between two questions; each pause is twice the
        last.
    absent_after_ms : int or None
        An order that every answer of so long a time did not know is taken to be absent. ``None``:
        never, a person decides.
    least_answers : int
        Answers that it takes, however long they took.
    resend_after_ms : int or None
        Send the same signed bytes once when the order was not known for so long. ``None``: never.
    """

    first_ask_ms: int = 200
    longest_pause_ms: int = 5_000
    absent_after_ms: int | None = 120_000
    least_answers: int = 5
    resend_after_ms: int | None = None

    def __post_init__(self) -> None:
        for name in ("first_ask_ms", "longest_pause_ms", "least_answers"):
            value = getattr(self, name)
            if value < 1:
                raise InputError(name, value, "must be at least 1")
        for name in ("absent_after_ms", "resend_after_ms"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(name, value, "must be at least 1, or None")


class UnknownOrder:
    """What has been learnt of one unknown order.

    Parameters
    ----------
    policy : ResolutionPolicy
    since_ms : int
        When it was sent, or when its outcome became unknown.
    """

    __slots__ = ("_asked", "_pause_ms", "_policy", "_resent", "_since_ms", "due_ms")

    def __init__(self, policy: ResolutionPolicy, since_ms: int) -> None:
        self._policy = policy
        self._resent = False
        self._start(since_ms)

    due_ms: int
    """When to ask next."""

    @property
    def was_resent(self) -> bool:
        """The same bytes were sent twice."""
        return self._resent

    def not_answered(self, now_ms: int) -> None:
        """Take note that the question failed, which is no evidence."""
        self._pause(now_ms)

    def not_found(self, asked_ms: int, now_ms: int) -> NextStep:
        """Take note that the exchange does not know the order, as of a question at ``asked_ms``."""
        self._pause(now_ms)
        policy = self._policy
        if asked_ms < self._since_ms:
            return NextStep.ASK  # the question was older than the last send
        self._asked += 1
        waited_ms = asked_ms - self._since_ms
        if self._asked < policy.least_answers:
            return NextStep.ASK
        # Before RESEND, which nobody takes up while trading is off.
        if policy.absent_after_ms is not None and waited_ms >= policy.absent_after_ms:
            return NextStep.ABSENT
        if (
            not self._resent
            and policy.resend_after_ms is not None
            and waited_ms >= policy.resend_after_ms
        ):
            return NextStep.RESEND
        return NextStep.ASK

    def resent(self, now_ms: int) -> None:
        """Take note that the same bytes are on their way again: all evidence starts anew."""
        self._resent = True
        self._start(now_ms)

    def _start(self, since_ms: int) -> None:
        self._since_ms = since_ms
        self._asked = 0
        self._pause_ms = self._policy.first_ask_ms
        self.due_ms = since_ms + self._pause_ms

    def _pause(self, now_ms: int) -> None:
        self._pause_ms = min(2 * self._pause_ms, self._policy.longest_pause_ms)
        self.due_ms = now_ms + self._pause_ms
