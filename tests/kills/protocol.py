"""What the runner and the process that it kills say to each other, one JSON value per line."""

from typing import Any, TypeAlias

import msgspec


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Fork a process that lives like this; the other end of its channel comes along."""

    life: "LifePlan"
    stderr: str


class Wait(msgspec.Struct, frozen=True, tag="wait"):
    """Reap a process, and say how it ended."""

    pid: int


class LifePlan(msgspec.Struct, frozen=True):
    """How a process trades."""

    seed: str
    config: dict[str, Any]
    """Arguments of ``ExecutorConfig``."""
    policy: dict[str, Any]
    """Arguments of ``GroupPolicy``."""
    ca: str
    """File with the certificate to trust."""
    sides: dict[str, str]
    """Token -> the one side that is traded in its market."""
    signals: int
    is_eager: bool
    """Submits before it has recovered."""
    journal_bytes: int | None
    """Size above which the journal is compacted; None: the executor opens its own."""
    sabotage: str = ""
    """A fault of ours that the runner must find."""


class Opened(msgspec.Struct, frozen=True, tag="opened"):
    """The executor is open; nobody has asked the exchange for anything yet."""

    held: dict[str, int]
    available: dict[str, int]


class Books(msgspec.Struct, frozen=True, tag="books"):
    """What the executor believes. Assets are tokens, and ``""`` for collateral."""

    orders: dict[str, str]
    """Every order that is not final, and its state."""
    held: dict[str, int]
    available: dict[str, int]
    balance: dict[str, int]
    promised: dict[str, int]
    """What was available before balance and positions were asked for."""
    problem: str
    """Why the books are not exact after balance and positions were asked for; empty: they are."""


class Submitting(msgspec.Struct, frozen=True, tag="submitting"):
    """A signal with a leg for each of these tokens is about to be submitted."""

    tokens: list[str]


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """What the executor says became of one: (order, state, shares filled)."""

    legs: list[tuple[str, str, int]]


class Idle(msgspec.Struct, frozen=True, tag="idle"):
    """All signals are submitted and answered."""


Order: TypeAlias = Start | Wait
"""To the process that forks."""
Report: TypeAlias = Opened | Books | Submitting | Answered | Idle
"""From one that trades."""

GO = b"go\n"
"""Trade."""
CANCEL = b"cancel\n"
"""Cancel everything, and report the books again."""
CLOSE = b"close\n"
"""Close the executor, and end."""
