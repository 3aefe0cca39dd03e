"""How long an order is on its way to the exchange, and its answer on the way back."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from polyexec.errors import InputError

__all__ = ["LatencyModel"]

_MS_US: Final = 1000
_LONGEST_MS: Final = 600_000.0


class LatencyModel:
    """Pairs of (entry, answer) times, each drawn alike; immutable, so that runs can share it.

    Make one with :meth:`constant`, :meth:`empirical` or :meth:`from_rtts`.

    Notes
    -----
    Times are kept in whole microseconds; a time that is given in milliseconds is rounded up to
    the next one, so that nothing becomes quicker than it was measured.
    """

    __slots__ = ("_pairs", "_seed")

    def __init__(self, pairs_us: Sequence[tuple[int, int]], seed: int = 0) -> None:
        self._pairs = tuple(pairs_us)
        self._seed = seed

    @classmethod
    def constant(cls, entry_ms: float, answer_ms: float) -> "LatencyModel":
        """Return a model without chance: always the same two times.

        Parameters
        ----------
        entry_ms : number
            From ``submit`` until the exchange has the order, in milliseconds.
        answer_ms : number
            From the match until its answer is read.

        Raises
        ------
        InputError
            A time is negative, not a number, or longer than ten minutes.
        """
        return cls([(_us(entry_ms, "entry_ms"), _us(answer_ms, "answer_ms"))])

    @classmethod
    def empirical(cls, samples: Iterable[tuple[float, float]], *, seed: int = 0) -> "LatencyModel":
        """Return a model that draws from measured pairs of (entry, answer), in milliseconds.

        A pair stays together: a slow moment is slow both ways.

        Raises
        ------
        InputError
            No sample, or one that is no pair of times.
        """
        pairs = []
        for number, sample in enumerate(samples):
            try:
                entry, answer = sample
            except (TypeError, ValueError):
                raise InputError(
                    f"samples[{number}]", sample, "must be a pair of milliseconds: entry, answer"
                ) from None
            name = f"samples[{number}]"
            pairs.append((_us(entry, name), _us(answer, name)))
        if not pairs:
            raise InputError("samples", pairs, "give at least one pair of milliseconds")
        return cls(pairs, seed)

    @classmethod
    def from_rtts(
        cls, rtts: str | Path | Iterable[float], *, entry_share: float = 0.5, seed: int = 0
    ) -> "LatencyModel":
        """Return a model that draws from recorded round trips.

        Parameters
        ----------
        rtts : path or numbers
            Milliseconds. A file has one number per line, or is a JSON array of them.
        entry_share : float
            How much of a round trip is the way there; a ping cannot tell.

        Raises
        ------
        InputError
            Nothing to draw from, or something that is no time; names file and line.
        """
        if not 0 <= entry_share <= 1:
            raise InputError("entry_share", entry_share, "must be from 0 to 1")
        named = (
            _read(Path(rtts))
            if isinstance(rtts, str | Path)
            else ((f"rtts[{number}]", rtt) for number, rtt in enumerate(rtts))
        )
        whole = [_us(rtt, name) for name, rtt in named]
        if not whole:
            raise InputError("rtts", str(rtts), "has no round trip: give at least one")
        entries = [round(rtt * entry_share) for rtt in whole]
        return cls([(there, rtt - there) for there, rtt in zip(entries, whole, strict=True)], seed)

    @property
    def longest_ms(self) -> int:
        """The longest time of an order and its answer, in whole milliseconds, rounded up."""
        return -(-max(sum(pair) for pair in self._pairs) // _MS_US)

    def draws(self) -> Iterator[tuple[int, int]]:
        """Yield (entry, answer) in microseconds for ever; every call begins anew."""
        rng = random.Random(f"polyexec/latency/{self._seed}")  # noqa: S311 - no secret
        pairs = self._pairs
        while True:
            yield pairs[0] if len(pairs) == 1 else rng.choice(pairs)

    def __repr__(self) -> str:
        times = sorted(sum(pair) for pair in self._pairs)
        middle = times[len(times) // 2] / _MS_US
        return f"LatencyModel({len(times)} samples, median {middle:g} ms both ways)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LatencyModel):
            return NotImplemented
        return (self._pairs, self._seed) == (other._pairs, other._seed)

    def __hash__(self) -> int:
        return hash((self._pairs, self._seed))


def _us(value: object, name: str) -> int:
    problem = "must be milliseconds from 0 to 600000"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(name, value, problem)
    if not 0 <= value <= _LONGEST_MS:  # NaN is neither
        raise InputError(name, value, problem)
    return math.ceil(value * _MS_US - 1e-6)


def _read(path: Path) -> Iterator[tuple[str, object]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("rtts", str(path), f"cannot be read: {error}") from None
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise InputError("rtts", str(path), f"is no JSON array: {error}") from None
        yield from ((f"{path}[{number}]", value) for number, value in enumerate(values))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield f"{path}:{number}", float(line)
            except ValueError:
                raise InputError(f"{path}:{number}", line[:40], "is no number") from None
