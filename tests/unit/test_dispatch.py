"""Callbacks: whatever one does, the publisher returns at once and the others get their events."""

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from polyexec import dispatch
from polyexec.dispatch import Publisher

WAIT_S = 5.0


class Seen:
    """A callback that keeps what it got and can be waited for."""

    def __init__(self, expected: int) -> None:
        self.events: list[Any] = []
        self.threads: set[int] = set()
        self._expected = expected
        self._complete = threading.Event()

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())
        if len(self.events) == self._expected:
            self._complete.set()

    def wait(self) -> list[Any]:
        assert self._complete.wait(WAIT_S)
        return self.events


@pytest.fixture
def publisher() -> Iterator[Publisher[int]]:
    publisher: Publisher[int] = Publisher("test")
    yield publisher
    publisher.close(WAIT_S)


def test_every_subscriber_gets_every_event_in_order_off_the_publishers_thread(
    publisher: Publisher[int],
) -> None:
    subscribers = [Seen(100), Seen(100)]
    for seen in subscribers:
        publisher.subscribe(seen)
    for number in range(100):
        publisher.publish(number)
    for seen in subscribers:
        assert seen.wait() == list(range(100))
        assert len(seen.threads) == 1
        assert threading.get_ident() not in seen.threads
    assert subscribers[0].threads != subscribers[1].threads
    assert publisher.dropped == 0


def test_a_callback_that_raises_is_logged_and_called_again(
    publisher: Publisher[int], caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = Seen(3), Seen(3)

    def raises(event: int) -> None:
        bad(event)
        raise RuntimeError("broken bot")

    publisher.subscribe(raises)
    publisher.subscribe(good)
    for number in range(3):
        publisher.publish(number)
    assert good.wait() == bad.wait() == [0, 1, 2]
    publisher.close(WAIT_S)
    records = [record for record in caplog.records if record.message == "callback_failed"]
    assert len(records) == 3
    assert all(record.exc_info and "broken bot" in str(record.exc_info[1]) for record in records)


def test_a_callback_that_exits_does_not_end_its_subscription(
    publisher: Publisher[int], caplog: pytest.LogCaptureFixture
) -> None:
    seen = Seen(2)

    def exits(event: int) -> None:
        seen(event)
        raise SystemExit(1)

    publisher.subscribe(exits)
    publisher.publish(0)
    publisher.publish(1)
    assert seen.wait() == [0, 1]
    publisher.close(WAIT_S)
    assert [record.message for record in caplog.records] == ["callback_failed"] * 2


def test_a_callback_that_blocks_delays_only_itself(publisher: Publisher[int]) -> None:
    blocked, go_on, quick = threading.Event(), threading.Event(), Seen(10)

    def blocks(event: int) -> None:
        blocked.set()
        assert go_on.wait(WAIT_S)

    publisher.subscribe(blocks)
    publisher.subscribe(quick)
    for number in range(10):
        publisher.publish(number)
    assert blocked.wait(WAIT_S)
    assert quick.wait() == list(range(10))
    go_on.set()


def test_a_full_queue_loses_its_oldest_events_and_counts_them(
    publisher: Publisher[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_QUEUE_SIZE", 8)
    blocked, go_on, seen = threading.Event(), threading.Event(), Seen(9)

    def slow(event: int) -> None:
        seen(event)
        blocked.set()
        assert go_on.wait(WAIT_S)

    unsubscribe = publisher.subscribe(slow)
    publisher.publish(0)
    assert blocked.wait(WAIT_S)
    for number in range(1, 21):
        publisher.publish(number)
    assert publisher.dropped == 12
    go_on.set()
    assert seen.wait() == [0, *range(13, 21)]
    unsubscribe()
    unsubscribe()
    assert publisher.dropped == 12


def test_unsubscribing_twice_stops_one_subscription_once(publisher: Publisher[int]) -> None:
    gone, stays = Seen(1), Seen(2)
    first = publisher.subscribe(gone)
    publisher.subscribe(stays)
    publisher.publish(1)
    assert gone.wait() == [1]
    first()
    first()
    publisher.publish(2)
    assert stays.wait() == [1, 2]
    publisher.close(WAIT_S)
    assert gone.events == [1]


def test_the_same_callback_subscribed_twice_is_called_twice_and_stopped_singly(
    publisher: Publisher[int],
) -> None:
    seen = Seen(3)
    first = publisher.subscribe(seen)
    publisher.subscribe(seen)
    publisher.publish(1)
    first()
    publisher.publish(2)
    assert sorted(seen.wait()) == [1, 1, 2]


def test_unsubscribing_inside_the_callback_works(publisher: Publisher[int]) -> None:
    stops: list[Any] = []
    seen = Seen(1)

    def once(event: int) -> None:
        stops[0]()
        seen(event)

    stops.append(publisher.subscribe(once))
    publisher.publish(1)
    assert seen.wait() == [1]
    publisher.publish(2)
    publisher.close(WAIT_S)
    assert seen.events == [1]


def test_close_lets_queued_events_through_and_refuses_later_ones(
    publisher: Publisher[int],
) -> None:
    go_on, seen = threading.Event(), Seen(5)

    def waits(event: int) -> None:
        assert go_on.wait(WAIT_S)
        seen(event)

    publisher.subscribe(waits)
    for number in range(5):
        publisher.publish(number)
    go_on.set()
    publisher.close(WAIT_S)
    assert seen.events == [0, 1, 2, 3, 4]
    publisher.publish(5)
    publisher.close(WAIT_S)
    assert seen.events == [0, 1, 2, 3, 4]


def test_close_does_not_wait_for_a_stuck_callback_beyond_its_time(
    publisher: Publisher[int],
) -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def stuck(event: int) -> None:
        blocked.set()
        go_on.wait(WAIT_S)

    publisher.subscribe(stuck)
    publisher.publish(1)
    assert blocked.wait(WAIT_S)
    publisher.close(0.001)
    assert not go_on.is_set()
    go_on.set()


def test_close_from_inside_a_callback_does_not_deadlock(publisher: Publisher[int]) -> None:
    seen = Seen(1)

    def closes(event: int) -> None:
        publisher.close(WAIT_S)
        seen(event)

    publisher.subscribe(closes)
    publisher.publish(1)
    assert seen.wait() == [1]


def test_subscribing_alone_starts_no_thread(publisher: Publisher[int]) -> None:
    before = threading.active_count()
    publisher.subscribe(print)
    assert threading.active_count() == before


@pytest.mark.parametrize("callback", [None, "print", 5])
def test_what_cannot_be_called_is_refused(publisher: Publisher[int], callback: Any) -> None:
    with pytest.raises(TypeError, match="callable"):
        publisher.subscribe(callback)


def test_quick_callbacks_share_a_thread_and_the_others_have_their_own(
    publisher: Publisher[int], caplog: pytest.LogCaptureFixture
) -> None:
    quick, own = [Seen(3), Seen(3)], Seen(3)

    def raises(event: int) -> None:
        raise RuntimeError("broken bot")

    publisher.subscribe(quick[0], is_quick=True)
    publisher.subscribe(raises, is_quick=True)
    publisher.subscribe(own)
    publisher.subscribe(quick[1], is_quick=True)
    for number in range(3):
        publisher.publish(number)
    for seen in (*quick, own):
        assert seen.wait() == [0, 1, 2]
    assert quick[0].threads == quick[1].threads != own.threads
    publisher.close(WAIT_S)
    assert [record.message for record in caplog.records] == ["callback_failed"] * 3


def test_a_quick_callback_that_goes_leaves_the_others_and_the_last_one_ends_the_thread(
    publisher: Publisher[int],
) -> None:
    gone, stays, later = Seen(1), Seen(2), Seen(1)
    stops = [publisher.subscribe(seen, is_quick=True) for seen in (gone, stays)]
    publisher.publish(1)
    assert gone.wait() == [1]
    stops[0]()
    stops[0]()
    publisher.publish(2)
    assert stays.wait() == [1, 2]
    (thread,) = (t for t in threading.enumerate() if t.ident in stays.threads)
    stops[1]()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    publisher.subscribe(later, is_quick=True)
    publisher.publish(3)
    assert later.wait() == [3]
    assert (gone.events, stays.events) == ([1], [1, 2])


async def test_coroutine_callbacks_run_on_the_loop_in_order(publisher: Publisher[int]) -> None:
    loop_thread = threading.get_ident()
    events: list[int] = []
    complete = asyncio.Event()

    async def callback(event: int) -> None:
        await asyncio.sleep(0)
        assert threading.get_ident() == loop_thread
        events.append(event)
        if event == 4:
            complete.set()

    publisher.bind(asyncio.get_running_loop())
    publisher.subscribe(callback)
    for number in range(5):
        publisher.publish(number)
    async with asyncio.timeout(WAIT_S):
        await complete.wait()
    assert events == [0, 1, 2, 3, 4]


async def test_a_coroutine_callback_that_raises_or_is_cancelled_is_logged(
    publisher: Publisher[int], caplog: pytest.LogCaptureFixture
) -> None:
    complete = asyncio.Event()

    async def callback(event: int) -> None:
        if event == 0:
            raise ValueError("broken bot")
        if event == 1:
            raise asyncio.CancelledError
        complete.set()

    publisher.bind(asyncio.get_running_loop())
    publisher.subscribe(callback)
    for number in range(3):
        publisher.publish(number)
    async with asyncio.timeout(WAIT_S):
        await complete.wait()
    assert [record.message for record in caplog.records] == ["callback_failed"] * 2


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_coroutine_callback_without_a_loop_is_dropped_with_a_log_line(
    publisher: Publisher[int], caplog: pytest.LogCaptureFixture, is_closed: bool
) -> None:
    async def callback(event: int) -> None:
        raise AssertionError("no loop can have run this")

    if is_closed:
        loop = asyncio.new_event_loop()
        loop.close()
        publisher.bind(loop)
    publisher.subscribe(callback)
    with caplog.at_level(logging.WARNING):
        publisher.publish(1)
        publisher.close(WAIT_S)
    assert [record.message for record in caplog.records] == ["callback_without_loop"]


def test_flush_waits_for_what_is_queued_and_for_what_is_being_handled(
    publisher: Publisher[int],
) -> None:
    entered, release = threading.Event(), threading.Event()
    seen: list[int] = []

    def slow(event: int) -> None:
        entered.set()
        assert release.wait(WAIT_S)
        seen.append(event)

    publisher.subscribe(slow)
    publisher.flush(WAIT_S)  # nothing to wait for
    publisher.publish(1)
    publisher.publish(2)
    assert entered.wait(WAIT_S)
    publisher.flush(0.001)
    assert seen == []
    release.set()
    publisher.flush(WAIT_S)
    assert seen == [1, 2]


def test_flush_in_a_callback_does_not_wait_for_itself(publisher: Publisher[int]) -> None:
    seen = Seen(1)

    def flushes(event: int) -> None:
        publisher.flush(WAIT_S)
        seen(event)

    publisher.subscribe(flushes)
    publisher.publish(1)
    assert seen.wait() == [1]
