"""Many runs, here or on the workers of an executor: parameter sets, days, groups."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor as Pool
from concurrent.futures import as_completed
from datetime import UTC, datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec

from polyexec.backtest.merging import merged
from polyexec.backtest.progress import Advance, Progress, shown
from polyexec.backtest.report import Report
from polyexec.backtest.runner import NoBooksError, Strategy, run
from polyexec.backtest.stream import Coverage, Source, Stamped
from polyexec.errors import InputError

__all__ = ["Partition", "sweep"]

Partition: TypeAlias = Literal["day", "group"]
_DAY_NS: Final = 86_400 * 10**9
_HIDDEN: Final = frozenset(
    (
        "private_key",
        "api_key",
        "api_secret",
        "api_passphrase",
        "telegram_bot_token",
        "redis",
        "database",
    )
)


def sweep(
    grid: Iterable[Mapping[str, Any]],
    data: Source | Sequence[Source],
    *,
    executor: Pool | None = None,
    strategy: Strategy | str | None = None,
    partition: Partition | None = None,
    progress: Progress = False,
    **common: Any,
) -> list[Report]:
    """Run once for each set of parameters; the reports come in the order of ``grid``.

    Parameters
    ----------
    grid : iterable of mappings
        Arguments of :func:`run`, which replace those in ``common``.
    data : Source, or several
        As in :func:`run`.
    executor : concurrent.futures.Executor or None
        Where the runs are done: processes, or a cluster's (``Client.get_executor()`` of Dask).
        Sources, forms and strategy must pickle. None: here, one after the other.
    strategy : callable, "engine" or None
        As in :func:`run`.
    partition : "day", "group" or None
        Cut each run in parts, by UTC day or by the group key of its forms, and merge their reports
        (:func:`merged`). Every part has the whole balance and shares it with nobody: what a run
        skips for want of money, its parts may trade. A day begins without books, as a new
        connection does.
    progress : bool or callable
        True: a bar of tqdm over the runs. A callable gets what is done and of how many.

    Raises
    ------
    Exception
        What a run raised, with a note that names its parameters; runs that have not begun by then
        are cancelled.
    InputError
        No part of a run has a snapshot of a book that its forms name; an argument of its own.
    """
    if partition not in (None, "day", "group"):
        raise InputError("partition", partition, "must be 'day', 'group' or None")
    sets = [dict(one) for one in grid]
    if "forms" in common:
        common["forms"] = tuple(common["forms"])
    jobs = [
        _Job(number, part, strategy, cut, arguments)
        for number, one in enumerate(sets)
        for part, cut, arguments in _parts(data, {**common, **one}, partition)
    ]
    told = [f"run {job.number + 1} of {len(sets)}, {_told(sets[job.number])}" for job in jobs]
    with shown(progress, total=len(jobs), unit="run", label="backtest") as advance:
        done = (
            _here(jobs, told, advance)
            if executor is None
            else _there(jobs, told, advance, executor)
        )
    return [
        _joined([each for job, each in zip(jobs, done, strict=True) if job.number == number])
        for number in range(len(sets))
    ]


class _Job(NamedTuple):
    """One run of one part."""

    number: int
    part: str
    strategy: Any
    data: Any
    arguments: dict[str, Any]


def _run_job(job: _Job) -> Report | str:
    """Return the report, or what a part that has no books at all is called."""
    try:
        return run(job.strategy, job.data, **job.arguments)
    except NoBooksError:
        if not job.part:
            raise
        return job.part


def _joined(parts: list[Report | str]) -> Report:
    reports = [part for part in parts if isinstance(part, Report)]
    empty = [part for part in parts if isinstance(part, str)]
    if not reports:
        raise InputError("data", empty, "has no snapshot of a book in any of these parts")
    whole = merged(reports)
    missing = tuple(f"{part}: no snapshot of a book that the forms name" for part in empty)
    return msgspec.structs.replace(whole, partial=whole.partial + missing) if missing else whole


def _here(jobs: list[_Job], told: list[str], advance: Advance) -> list[Report | str]:
    done = []
    for job, parameters in zip(jobs, told, strict=True):
        try:
            done.append(_run_job(job))
        except Exception as error:
            error.add_note(_note(job, parameters))
            raise
        advance(1)
    return done


def _there(
    jobs: list[_Job], told: list[str], advance: Advance, executor: Pool
) -> list[Report | str]:
    futures = [executor.submit(_run_job, job) for job in jobs]
    numbers = {future: number for number, future in enumerate(futures)}
    try:
        for future in as_completed(futures):
            error = future.exception()
            if error is not None:
                number = numbers[future]
                error.add_note(_note(jobs[number], told[number]))
                raise error
            advance(1)
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return [future.result() for future in futures]


def _note(job: _Job, parameters: str) -> str:
    return f"backtest {parameters}" + (f", {job.part}" if job.part else "")


def _told(parameters: Mapping[str, Any]) -> str:
    texts = []
    for name, value in parameters.items():
        shown_value = value
        if isinstance(value, Mapping):
            shown_value = {key: "***" if key in _HIDDEN else one for key, one in value.items()}
        texts.append(f"{name}={shown_value!r:.200}")
    return ", ".join(texts) or "no parameters"


# --- parts -----------------------------------------------------------------------------------


def _parts(
    data: Any, arguments: dict[str, Any], partition: Partition | None
) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    if partition is None:
        yield "", data, arguments
    elif partition == "group":
        groups: dict[str, list[Any]] = {}
        for form in arguments.get("forms", ()):
            groups.setdefault(form.group_key, []).append(form)
        if not groups:
            raise InputError("forms", (), "name at least one: they say which books are followed")
        for key, forms in groups.items():
            yield f"group {key!r}", data, {**arguments, "forms": forms}
    else:
        sources = [*data] if isinstance(data, Iterable) else [data]
        for day, cut in sorted(_days(sources).items()):
            name = f"{datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"
            yield f"day {name}", cut, arguments


def _days(sources: Sequence[Source]) -> dict[int, list["_Day"]]:
    """Return the sources of every day that has events; reads them once."""
    found: dict[int, list[_Day]] = {}
    for source in sources:
        for day in dict.fromkeys(one.received_ns // _DAY_NS for one in source.events()):
            found.setdefault(day, []).append(_Day(source, day))
    if not found:
        raise InputError("data", [one.name for one in sources], "has no event")
    return found


class _Day:
    """A day of a source."""

    def __init__(self, source: Source, day: int) -> None:
        self._source = source
        self._day = day
        self.name = f"{source.name} on {datetime.fromtimestamp(day * 86_400, UTC):%Y-%m-%d}"
        self.truth = source.truth

    def events(self) -> Iterator[Stamped]:
        """Yield the day's events; what comes after it is not read."""
        for one in self._source.events():
            day = one.received_ns // _DAY_NS
            if day > self._day:
                return
            if day == self._day:
                yield one

    def coverage(self) -> Coverage:
        """Return what the source says of what was read of it."""
        return self._source.coverage()
