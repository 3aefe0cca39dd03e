"""Callers who want the same answer share one that was asked for since they came."""

import asyncio

import pytest

from polyexec.sharing import SharedAnswer


class Source:
    """Counts what it was asked, and answers with the number when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.at_once = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def ask(self) -> int:
        self.asked += 1
        number = self.asked
        self.at_once += 1
        assert self.at_once == 1
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return number


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_answer_is_never_older_than_the_call() -> None:
    source, shared = Source(), SharedAnswer[int]()
    first = asyncio.create_task(shared.get(source.ask))
    await settle()
    others = [asyncio.create_task(shared.get(source.ask)) for _ in range(20)]
    await settle()
    assert source.asked == 1
    source.gate.set()
    assert await first == 1
    assert await asyncio.gather(*others) == [2] * 20
    assert await shared.get(source.ask) == 3  # nothing is kept for later
    assert shared._latest is None


async def test_a_failure_is_its_askers_alone() -> None:
    source, shared = Source(), SharedAnswer[int]()
    source.error = OSError("lost")
    first, second, third = (asyncio.create_task(shared.get(source.ask)) for _ in range(3))
    await settle()
    source.gate.set()
    with pytest.raises(OSError, match="lost"):
        await first
    assert (await second, await third) == (2, 2)


async def test_a_cancelled_asker_passes_its_turn_on() -> None:
    source, shared = Source(), SharedAnswer[int]()
    first, second = (asyncio.create_task(shared.get(source.ask)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    source.gate.set()
    assert await second == 2
    with pytest.raises(asyncio.CancelledError):
        await first
