"""The pipeline asks the venue's limits and mode before it holds anything."""

import pytest

from polyexec.core.pipeline import Plan
from polyexec.core.ports import Answer
from polyexec.core.venue_mode import ModeNews, VenueModes
from polyexec.enums import SkipReason, VenueMode
from polyexec.signals import LegsSignal

from .support import leg, signal
from .test_pipeline import Bench, answer

QUOTE = LegsSignal([leg(1, post_only=True), leg(2, post_only=True)])
MIXED = LegsSignal([leg(1, post_only=True), leg(2)])


class Guard:
    """The limits and the clock of a venue."""

    def __init__(self) -> None:
        self.wait_ms = 0
        self.asked: list[int] = []
        self.clock_offset_ms = 0

    def orders_wait_ms(self, count: int) -> int:
        self.asked.append(count)
        return self.wait_ms

    async def probe(self) -> None:
        raise AssertionError


def guarded() -> tuple[Bench, VenueModes, Guard]:
    bench, modes, guard = Bench(), VenueModes(), Guard()
    bench.pipeline._modes = modes
    bench.pipeline._guard = guard
    return bench, modes, guard


def test_over_the_exchanges_limit_nothing_is_held() -> None:
    bench, _, guard = guarded()
    guard.wait_ms = 75
    result = bench.skipped(signal())
    assert result.skipped is SkipReason.RATE_LIMITED
    assert result.detail == "the exchange's limit: 3 orders would pass in 75 ms"
    bench.assert_nothing_held()
    guard.wait_ms = 0
    bench.plan(signal())  # the skip has not started the cooldown
    assert guard.asked == [3, 3]


def test_follow_ups_keep_the_limit_and_the_mode_as_well() -> None:
    bench, modes, guard = guarded()
    guard.wait_ms = 5
    legs = LegsSignal([leg(1)])
    assert bench.pipeline.follow_up(legs).skipped is SkipReason.RATE_LIMITED  # type: ignore[union-attr]
    guard.wait_ms = 0
    modes.heard(ModeNews(VenueMode.CANCEL_ONLY), sent_ms=0, now_ms=0)
    assert bench.pipeline.follow_up(legs).skipped is SkipReason.VENUE_CANCEL_ONLY  # type: ignore[union-attr]
    bench.assert_nothing_held()


def test_a_group_stands_down_unless_every_leg_is_post_only() -> None:
    bench, modes, _ = guarded()
    modes.heard(ModeNews(VenueMode.POST_ONLY), sent_ms=0, now_ms=0)
    for given in (signal(), MIXED):
        assert bench.skipped(given).skipped is SkipReason.VENUE_POST_ONLY
    bench.assert_nothing_held()
    assert isinstance(bench.pipeline.prepare(QUOTE), Plan)


def test_answers_change_the_mode_and_a_probe_ends_it() -> None:
    bench, modes, _ = guarded()
    plan = bench.plan(signal())
    bench.finish(plan, Answer(status=503, body=b'{"error":"Trading is currently disabled"}'))
    assert modes.mode is VenueMode.DISABLED
    bench.clock.advance(5_000)
    assert bench.skipped(signal()).skipped is SkipReason.VENUE_DISABLED
    bench.clock.advance(60_000)
    probe = bench.plan(signal())
    bench.clock.advance(100)
    bench.finish(probe, answer(probe))
    assert modes.mode is VenueMode.NORMAL


def test_an_answer_that_was_overtaken_changes_nothing() -> None:
    bench = Bench(max_in_flight=2)
    modes = bench.pipeline._modes
    early = bench.plan(signal())
    bench.clock.advance(6_000)
    late = bench.plan(signal())
    bench.finish(late, Answer(status=425, body=b""))
    assert modes.mode is VenueMode.RESTARTING
    bench.finish(early, answer(early))
    assert modes.mode is VenueMode.RESTARTING


def test_unknown_orders_are_not_sent_again_in_a_mode_that_refuses() -> None:
    bench, modes, _ = guarded()
    plan = bench.plan(signal())
    bench.finish(plan, Answer(status=500, body=b"{}"))
    order = bench.tracker.unknown_orders[0]
    assert bench.pipeline.resend(order) is not None
    modes.heard(ModeNews(VenueMode.POST_ONLY), sent_ms=1, now_ms=1)
    assert bench.pipeline.resend(order) is None


@pytest.mark.parametrize("offset_ms", [0, 4_000, -90_000, 999])
def test_requests_are_stamped_by_the_exchanges_clock(offset_ms: int) -> None:
    bench, _, guard = guarded()
    guard.clock_offset_ms = offset_ms
    plan = bench.plan(signal())
    stamped = int(plan.batch.headers["POLY_TIMESTAMP"])
    assert stamped == (bench.clock.time_ms() + offset_ms) // 1000
    bench.finish(plan, Answer(status=500, body=b"{}"))
    again = bench.pipeline.resend(bench.tracker.unknown_orders[0])
    assert again is not None
    assert int(again.headers["POLY_TIMESTAMP"]) == stamped
