"""Every order in which the steps of a few threads can fall, and what then holds.

An operation is a generator that yields its steps, one atomic instruction each, and is sent what
the instruction returned. It can be run again up to any step. Two states are equal, and visited
once, when the shared words are, and of each thread the place in its code and its local variables:
a loop over equal items must therefore have something local that tells its turns apart.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

Step = tuple[Any, ...]
Operation = Callable[..., Generator[Step, Any, Any]]
"""Called with the results of the operations that its thread has done before."""
Words = dict[str, Any]


class Violation(AssertionError):
    """A state in which a rule does not hold; shows the words and what each thread has seen."""


def load(word: str) -> Step:
    return ("load", word)


def store(word: str, value: Any) -> Step:
    return ("store", word, value)


def add(*changes: tuple[str, int]) -> Step:
    """Several only where the others are read under a lock that this thread holds."""
    return ("add", *changes)


def fetch_add(word: str, value: int) -> Step:
    """Returns what the word was."""
    return ("fetch_add", word, value)


def swap(word: str, value: Any) -> Step:
    return ("swap", word, value)


def move(word: str, seen: Any, value: Any) -> Step:
    """Returns whether the word was as seen, and what it was."""
    return ("move", word, seen, value)


LOCK, UNLOCK = ("lock",), ("unlock",)


def _do(words: Words, step: Step) -> Any:
    match step:
        case ("load", word):
            return words[word]
        case ("store", word, value):
            words[word] = value
        case ("swap", word, value):
            words[word], value = value, words[word]
            return value
        case ("add", *changes):
            for word, value in changes:
                words[word] += value
        case ("fetch_add", word, value):
            words[word] += value
            return words[word] - value
        case ("move", word, seen, value):
            before = words[word]
            if before == seen:
                words[word] = value
            return before == seen, before
        case ("lock",):
            words["lock"] = 1
        case ("unlock",):
            words["lock"] = 0
        case _:
            raise ValueError(step)
    return None


def explore(
    words: Mapping[str, Any],
    programs: Sequence[Sequence[Operation]],
    *,
    always: Callable[[Words], bool] = lambda words: True,
    finally_: Callable[[Words, list[tuple[Any, ...]]], bool],
) -> int:
    """Visit every state; return how many there are.

    Parameters
    ----------
    always : callable
        Of the words: must hold in every state.
    finally_ : callable
        Of the words and the results of every thread: must hold whenever all are done.
    """
    names = ("lock", *sorted(words))

    @cache
    def ahead(thread: int, results: tuple[Any, ...], seen: tuple[Any, ...]) -> Any:
        """Return the next step of a thread and where it stands."""
        if len(results) == len(programs[thread]):
            return None, results
        steps = programs[thread][len(results)](*results)
        try:
            step = next(steps)
            for value in seen:
                step = steps.send(value)
        except StopIteration as stop:
            return ahead(thread, (*results, stop.value), ())
        return (step, results, seen), (results, *_frames(steps))

    start = tuple(ahead(number, (), ()) for number in range(len(programs)))
    values = (0, *(words[name] for name in names[1:]))
    known = {(values, *(place for _, place in start))}
    waiting = [(values, start)]
    while waiting:
        values, threads = waiting.pop()
        before = dict(zip(names, values, strict=True))
        if not always(before):
            raise Violation(f"{before}\n{threads}")
        is_stuck = True
        for number, (turn, _) in enumerate(threads):
            if turn is None or (turn[0] == LOCK and before["lock"]):
                continue
            is_stuck = False
            step, results, seen = turn
            now = dict(before)
            moved = ahead(number, results, (*seen, _do(now, step)))
            then = (*threads[:number], moved, *threads[number + 1 :])
            values = tuple(now[name] for name in names)
            state = (values, *(place for _, place in then))
            if state not in known:
                known.add(state)
                waiting.append((values, then))
        if is_stuck:
            if any(turn for turn, _ in threads):
                raise Violation(f"nobody can go on: {before}\n{threads}")
            if not finally_(before, [results for _, results in threads]):
                raise Violation(f"at the end: {before}\n{threads}")
    return len(known)


def _frames(steps: Any) -> Iterator[Any]:
    """Yield place and local variables of a generator, and of those that it delegates to."""
    while steps is not None:
        frame = steps.gi_frame
        yield frame.f_code.co_name, frame.f_lasti, tuple(frame.f_locals.items())
        steps = steps.gi_yieldfrom
