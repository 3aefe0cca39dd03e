"""The queue of an endpoint: bounded whatever comes, and nothing goes without being counted."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from polyexec.enums import NoticeKind
from polyexec.observers.outbox import MOST_PER_KIND, Outbox
from tests.unit.observers.support import notice


def test_a_flood_is_counted_and_displaces_nothing_else() -> None:
    outbox = Outbox(lambda: None)
    outbox.put(notice("first"))
    for _ in range(44):
        outbox.put(notice("flood"))
    outbox.put(notice("halted", NoticeKind.HALT))
    batch = outbox.take()
    assert batch is not None
    assert [one.title for one in batch.notices] == ["first", *["flood"] * 7, "halted"]
    assert batch.more == {NoticeKind.SUCCESS: 37}
    assert outbox.folded == 37
    assert outbox.take() is None


def test_after_a_batch_was_taken_there_is_room_again() -> None:
    outbox = Outbox(lambda: None)
    for _ in range(MOST_PER_KIND + 1):
        outbox.put(notice())
    outbox.take()
    outbox.put(notice("next"))
    batch = outbox.take()
    assert batch is not None
    assert ([one.title for one in batch.notices], batch.more) == (["next"], {})


def test_it_calls_once_for_all_that_waits() -> None:
    calls: list[int] = []
    outbox = Outbox(lambda: calls.append(len(outbox)))
    outbox.put(notice())
    outbox.put(notice())
    assert calls == [1]
    outbox.take()
    outbox.put(notice())
    assert calls == [1, 1]


@given(st.lists(st.one_of(st.sampled_from(list(NoticeKind)), st.none()), max_size=300))
def test_every_notice_is_told_or_counted(steps: list[NoticeKind | None]) -> None:
    outbox = Outbox(lambda: None)
    told = counted = 0
    for step in [*steps, None]:
        if step is not None:
            outbox.put(notice(kind=step))
            assert len(outbox) <= MOST_PER_KIND * len(NoticeKind)
        elif (batch := outbox.take()) is not None:
            told += len(batch.notices)
            counted += sum(batch.more.values())
    assert told + counted == sum(step is not None for step in steps)
    assert counted == outbox.folded


def test_nothing_is_lost_between_threads() -> None:
    outbox = Outbox(lambda: None)
    done = threading.Event()
    seen = 0

    def take() -> None:
        nonlocal seen
        while True:
            last = done.is_set()
            batch = outbox.take()
            if batch is not None:
                seen += len(batch.notices) + sum(batch.more.values())
            elif last:
                return

    def put() -> None:
        for _ in range(2000):
            outbox.put(notice())

    taker = threading.Thread(target=take)
    putters = [threading.Thread(target=put) for _ in range(4)]
    taker.start()
    for thread in putters:
        thread.start()
    for thread in putters:
        thread.join()
    done.set()
    taker.join()
    assert seen == 8000
