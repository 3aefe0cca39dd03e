"""How far a long job is: a bar of tqdm, or whatever the caller wants to do with the count."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from polyexec.backtest.frames import library
from polyexec.errors import InputError

__all__ = ["Advance", "Progress", "shown"]

Progress: TypeAlias = bool | Callable[[int, int | None], object]
"""True: a bar. A callable: is called with what is done and, where it is known, of how many."""
Advance: TypeAlias = Callable[[int], object]
"""Takes how many more are done."""


@contextmanager
def shown(
    progress: Progress, *, total: int | None = None, unit: str = "it", label: str = ""
) -> Iterator[Advance]:
    """Show the progress of what runs inside.

    Parameters
    ----------
    progress : bool or callable
        See :data:`Progress`.
    total : int or None
        Of how many; None: not known.
    unit, label : str
        For the bar.

    Raises
    ------
    InputError
        ``progress`` is neither.
    UsageError
        A bar is wanted and tqdm is not installed.
    """
    if progress is False:
        yield _nothing
    elif progress is True:
        bar = library("tqdm.auto", "backtest").tqdm(
            total=total, unit=unit, desc=label or None, unit_scale=total is None
        )
        with bar:
            yield bar.update
    elif callable(progress):
        tell, done = progress, 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            tell(done, total)

        yield advance
    else:
        raise InputError("progress", progress, "must be True, False or a callable")


def _nothing(more: int) -> None:
    """Nobody wants to know."""
