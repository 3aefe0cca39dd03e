"""The dead man's switch: ids, stale ones, and when the exchange has given us up."""

import asyncio
import logging

import pytest

from polyexec.clob.heartbeat import Beat, Heartbeat
from polyexec.errors import NotSentError, OutcomeUnknownError, VenueError


class Exchange:
    """Hands out ids as the real one does."""

    def __init__(self) -> None:
        self.now = 0.0
        self.expected = ""
        self.sent: list[str] = []
        self.faults: list[Exception | None] = []
        self.silent = False
        self.heartbeat = Heartbeat(
            self.send, interval_s=0.001, timeout_s=0.01, steady_s=lambda: self.now
        )

    async def send(self, heartbeat_id: str) -> Beat:
        self.sent.append(heartbeat_id)
        self.now += 0.1
        if self.silent:
            await asyncio.get_running_loop().create_future()
        if self.faults and (fault := self.faults.pop(0)) is not None:
            raise fault
        if heartbeat_id not in ("", self.expected):
            return Beat(self.expected, accepted=False)
        self.expected = f"id-{len(self.sent)}"
        return Beat(self.expected, accepted=True)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


async def test_the_first_beat_has_no_id_and_each_next_one_the_latest(exchange: Exchange) -> None:
    assert not exchange.heartbeat.is_alive
    assert not exchange.heartbeat.has_lapsed
    for _ in range(3):
        assert await exchange.heartbeat.beat()
    assert exchange.sent == ["", "id-1", "id-2"]
    assert exchange.heartbeat.is_alive


async def test_a_stale_id_is_replaced_at_once(exchange: Exchange) -> None:
    await exchange.heartbeat.beat()
    exchange.expected = "somebody else's"
    assert await exchange.heartbeat.beat()
    assert exchange.sent == ["", "id-1", "somebody else's"]


async def test_stale_twice_counts_for_nothing(exchange: Exchange) -> None:
    answers = iter([Beat("a", accepted=False), Beat("b", accepted=False)])

    async def send(_: str) -> Beat:
        return next(answers)

    heartbeat = Heartbeat(send)
    assert not await heartbeat.beat()
    assert not heartbeat.is_alive


@pytest.mark.parametrize(
    "fault",
    [NotSentError("no route"), OutcomeUnknownError("lost"), VenueError(500, "oops")],
)
async def test_a_failed_beat_keeps_the_id(exchange: Exchange, fault: Exception) -> None:
    await exchange.heartbeat.beat()
    exchange.faults = [fault]
    assert not await exchange.heartbeat.beat()
    assert exchange.heartbeat.is_alive
    assert await exchange.heartbeat.beat()
    assert exchange.sent == ["", "id-1", "id-1"]


async def test_without_an_answer_the_beat_is_given_up(exchange: Exchange) -> None:
    exchange.silent = True
    assert not await exchange.heartbeat.beat()


async def test_after_ten_seconds_the_orders_are_gone_and_it_says_so_once(
    exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    await exchange.heartbeat.beat()
    exchange.now = 9.9
    assert exchange.heartbeat.is_alive
    exchange.now = 10.0  # counted from when the beat was sent
    assert exchange.heartbeat.has_lapsed
    exchange.faults = [NotSentError("x"), NotSentError("x")]
    with caplog.at_level(logging.ERROR):
        await exchange.heartbeat.beat()
        await exchange.heartbeat.beat()
        assert [r.message for r in caplog.records] == ["heartbeat_lapsed"]
        assert await exchange.heartbeat.beat()
    assert exchange.heartbeat.is_alive
    assert not exchange.heartbeat.has_lapsed


async def test_running_beats_until_it_is_cancelled(exchange: Exchange) -> None:
    exchange.faults = [None, NotSentError("x")]
    task = asyncio.create_task(exchange.heartbeat.run())
    async with asyncio.timeout(5):
        while len(exchange.sent) < 4:  # noqa: ASYNC110
            await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert exchange.sent[:4] == ["", "id-1", "id-1", "id-3"]
