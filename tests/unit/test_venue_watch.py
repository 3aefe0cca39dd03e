"""The watch over a venue: probes while it restarts, nothing otherwise, and changes told."""

import asyncio
import logging

import pytest

from polyexec.core.ports import GuardedVenue, Venue
from polyexec.core.venue_mode import ModeNews, VenueModeChange
from polyexec.enums import VenueMode
from polyexec.errors import NotSentError, OutcomeUnknownError, VenueError, VenueModeError
from polyexec.venue_watch import VenueWatch
from tests.unit.core.support import FakeClock
from tests.unit.venues import ScriptedVenue

RESTARTING = VenueModeError(425, "Too Early", mode=VenueMode.RESTARTING)


class ProbedVenue(ScriptedVenue):
    """A scripted venue that can be probed."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Exception | None] = []
        self.probed = asyncio.Event()
        self.clock_offset_ms = 0
        self.wait_ms = 0

    def orders_wait_ms(self, count: int) -> int:
        return self.wait_ms

    async def probe(self) -> None:
        answer = self.answers.pop(0)
        if not self.answers:
            self.probed.set()
        if answer is not None:
            raise answer


class Bench:
    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pauses: list[float] = []
        self.watch = VenueWatch(self.clock, self.sleep)
        self.modes = self.watch.modes
        self.venue = ProbedVenue()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(max(1, round(seconds * 1000)))
        await asyncio.sleep(0)

    def hears(self, mode: VenueMode) -> None:
        now = self.clock.monotonic_ns() // 1_000_000
        self.modes.heard(ModeNews(mode, None, "words"), sent_ms=now, now_ms=now)


async def watched(bench: Bench, *answers: Exception | None) -> None:
    """Let a restart be watched until every answer was given."""
    bench.venue.answers = list(answers)
    (task,) = bench.watch.start(bench.venue)
    try:
        bench.hears(VenueMode.RESTARTING)
        async with asyncio.timeout(5):
            await bench.venue.probed.wait()
        for _ in range(3):
            await asyncio.sleep(0)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_is_a_guarded_venue() -> None:
    assert isinstance(ProbedVenue(), GuardedVenue)
    assert isinstance(ProbedVenue(), Venue)
    assert not isinstance(ScriptedVenue(), GuardedVenue)


async def test_a_restart_is_probed_until_it_is_over() -> None:
    bench = Bench()
    changes: list[VenueModeChange] = []
    bench.watch.changes.bind(asyncio.get_running_loop())
    told = asyncio.Event()

    async def on_change(change: VenueModeChange) -> None:
        changes.append(change)
        if change.new is VenueMode.POST_ONLY:
            told.set()

    bench.watch.changes.subscribe(on_change)
    await watched(bench, RESTARTING, RESTARTING, None)
    assert bench.modes.mode is VenueMode.POST_ONLY
    assert len(bench.pauses) == 3
    assert 2 <= bench.pauses[0] <= 2.5
    assert 4 <= bench.pauses[1] <= 5
    async with asyncio.timeout(5):
        await told.wait()
    assert [c.new for c in changes] == [VenueMode.RESTARTING, VenueMode.POST_ONLY]
    bench.watch.changes.close(1)


async def test_the_exchange_may_say_when_to_ask_again() -> None:
    bench = Bench()
    later = VenueModeError(425, "x", mode=VenueMode.RESTARTING, retry_after_s=60)
    await watched(bench, later, None)
    assert bench.modes.mode is VenueMode.POST_ONLY
    assert 60 <= bench.pauses[1] <= 75


@pytest.mark.parametrize(
    ("mode", "status"), [(VenueMode.CANCEL_ONLY, 503), (VenueMode.DISABLED, 503)]
)
async def test_a_probe_may_tell_of_another_mode(mode: VenueMode, status: int) -> None:
    bench = Bench()
    await watched(bench, VenueModeError(status, "x", mode=mode))
    assert bench.modes.mode is mode


@pytest.mark.parametrize("status", [400, 404])
async def test_a_refusal_that_a_restart_would_not_give_ends_it(status: int) -> None:
    bench = Bench()
    await watched(bench, VenueError(status, "no such order"))
    assert bench.modes.mode is VenueMode.POST_ONLY


@pytest.mark.parametrize(
    "fault",
    [
        NotSentError("no route"),
        OutcomeUnknownError("lost"),
        VenueError(500, "oops"),
        VenueError(401, "who?"),
        ZeroDivisionError("the caller's own venue"),
    ],
)
async def test_a_probe_without_an_answer_proves_nothing(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench()
    with caplog.at_level(logging.WARNING):
        await watched(bench, fault)
    assert bench.modes.mode is VenueMode.RESTARTING
    assert "venue_probe_failed" in [r.message for r in caplog.records]


@pytest.mark.parametrize("mode", [VenueMode.POST_ONLY, VenueMode.CANCEL_ONLY, VenueMode.DISABLED])
async def test_other_modes_are_not_probed(mode: VenueMode) -> None:
    bench = Bench()
    (task,) = bench.watch.start(bench.venue)
    bench.hears(mode)
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert bench.pauses == []


async def test_a_venue_that_cannot_be_probed_is_left_alone() -> None:
    bench = Bench()
    assert bench.watch.start(ScriptedVenue()) == []
    assert not bench.modes.is_probed
