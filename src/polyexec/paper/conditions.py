"""What an exchange does to an order besides matching it, and how often: all of it by a seed."""

import random
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias, get_args

from polyexec.errors import InputError
from polyexec.numbers import MICRO, Number
from polyexec.paper.latency import LatencyModel
from polyexec.parsing import parse_rate_micro

__all__ = ["Chance", "Conditions", "QueueEstimate", "Restart", "parse_whole_ms"]

QueueEstimate: TypeAlias = Literal["fifo", "pro_rata"]
"""Where cancels of a recorded level come from; see :mod:`polyexec.paper.queueing`."""


class Restart(NamedTuple):
    """A restart of the exchange: 425, then post-only orders, then all again."""

    at_ms: int
    """Unix time."""
    down_ms: int = 60_000
    post_only_ms: int = 120_000


@dataclass(slots=True, frozen=True, kw_only=True)
class Conditions:
    """The conditions of a simulated exchange; the defaults are kind.

    Parameters
    ----------
    latency : LatencyModel
        Of a venue in this process. On the wire the wire's own time counts.
    queue : "fifo" or "pro_rata"
        Which estimate of the place in the queue decides the fills of resting orders.
    delay_ms : int
        How long a market holds an order that would trade at once; a market may have its own.
    maker_rebate : number
        Share of the taker fee that makers get, 0 to 1; a market may have its own.
    reject_rate : number
        Share of the orders that are refused although nothing is wrong with them, 0 to 1.
    settle_ms : int
        From a match until its trade is CONFIRMED or FAILED.
    failure_rate : number
        Share of the trades that fail to settle: shares and money come back.
    restarts : tuple of Restart
        When the exchange restarts by itself, earliest first.
    seed : int
        The same seed and the same orders give the same fills.

    Raises
    ------
    InputError
        A rate is not from 0 to 1, a time out of range, or the estimate is unknown.
    """

    latency: LatencyModel = field(default_factory=lambda: LatencyModel.constant(0, 0))
    queue: QueueEstimate = "fifo"
    delay_ms: int = 0
    maker_rebate: Number = 0
    reject_rate: Number = 0
    settle_ms: int = 0
    failure_rate: Number = 0
    restarts: tuple[Restart, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.queue not in get_args(QueueEstimate):
            raise InputError("queue", self.queue, "must be 'fifo' or 'pro_rata'")
        parse_whole_ms(self.settle_ms, "settle_ms", most=86_400_000)
        parse_whole_ms(self.delay_ms, "delay_ms", most=60_000)
        parse_rate_micro(self.maker_rebate, "maker_rebate")
        free_ms = 0
        for number, (at_ms, down_ms, post_only_ms) in enumerate(self.restarts):
            parse_whole_ms(down_ms, f"restarts[{number}].down_ms", most=86_400_000)
            parse_whole_ms(post_only_ms, f"restarts[{number}].post_only_ms", most=86_400_000)
            if type(at_ms) is not int or at_ms < free_ms:
                problem = "must be unix milliseconds, after the end of the restart before"
                raise InputError(f"restarts[{number}].at_ms", at_ms, problem)
            free_ms = at_ms + down_ms + post_only_ms
        for name in ("reject_rate", "failure_rate"):
            Chance(getattr(self, name), self.seed, name)

    def chance(self, name: Literal["reject_rate", "failure_rate"]) -> "Chance":
        """Return a generator for one of the rates; none of them disturbs another."""
        return Chance(getattr(self, name), self.seed, name)


def parse_whole_ms(value: object, field: str, *, most: int) -> int:
    """Return whole milliseconds from 0 to ``most``."""
    if type(value) is not int or not 0 <= value <= most:
        raise InputError(field, value, f"must be whole milliseconds from 0 to {most}")
    return value


class Chance:
    """Says yes so often, in an order that a seed fixes."""

    def __init__(self, rate: Number, seed: int, name: str) -> None:
        self._rate_micro = parse_rate_micro(rate, name)
        self._rng = random.Random(f"polyexec/{name}/{seed}")  # noqa: S311 - no secret

    def __bool__(self) -> bool:
        """Return whether it ever says yes."""
        return self._rate_micro > 0

    def happens(self) -> bool:
        """Draw."""
        return self._rate_micro > 0 and self._rng.randrange(MICRO) < self._rate_micro
