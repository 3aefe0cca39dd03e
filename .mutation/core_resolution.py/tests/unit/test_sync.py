"""The executor without ``await``: the same path, from any thread, over one loop thread."""

import threading
from typing import Any

import pytest

from polyexec import sync
from polyexec.enums import SkipReason
from polyexec.errors import NotSentError, UsageError
from tests.unit.core.support import signal
from tests.unit.test_executor import config
from tests.unit.venues import ScriptedVenue, all_live, all_matched

WAIT_S = 5.0


@pytest.fixture
def venue() -> ScriptedVenue:
    return ScriptedVenue(all_matched)


def loop_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "polyexec-loop"]


def test_submit_sends_in_the_callers_thread_and_result_waits(venue: ScriptedVenue) -> None:
    with sync.Executor(config(), venue) as executor:
        result = executor.submit(signal()).result(WAIT_S)
        assert result.success
        assert venue.threads == [threading.get_ident()]
        assert executor.submit(signal("MOON_BUY")).skipped is SkipReason.NO_CANDIDATES


def test_an_answer_from_another_thread_ends_the_wait(venue: ScriptedVenue) -> None:
    venue.answer = None
    with sync.Executor(config(), venue) as executor:
        submission = executor.submit(signal())
        with pytest.raises(TimeoutError):
            submission.result(0.001)
        threading.Thread(target=venue.settle, args=(all_matched,)).start()
        assert submission.result(WAIT_S).success


def test_the_cold_questions_block_and_answer(venue: ScriptedVenue) -> None:
    with sync.Executor(config(), venue) as executor:
        assert executor.refresh_balance() == venue.balance
        assert executor.reconcile().is_exact
        venue.answer = all_live
        result = executor.submit(signal()).result(WAIT_S)
        assert executor.cancel_all() == result.order_ids


def test_queue_and_callbacks_work(venue: ScriptedVenue) -> None:
    results: list[Any] = []
    done = threading.Event()

    async def on_loop(result: Any) -> None:
        results.append(threading.current_thread().name)
        done.set()

    with sync.Executor(config(), venue) as executor:
        executor.on_trade_result(on_loop)
        assert executor.submit_nowait(signal())
        assert done.wait(WAIT_S)
    assert results == ["polyexec-loop"]


def test_blocking_inside_a_coroutine_callback_is_refused(venue: ScriptedVenue) -> None:
    caught: list[Exception] = []
    done = threading.Event()
    venue.answer = None

    with sync.Executor(config(), venue) as executor:
        submission = executor.submit(signal())

        async def on_loop(_: Any) -> None:
            try:
                submission.result(0)
            except Exception as error:
                caught.append(error)
            done.set()

        executor.on_signal(on_loop)
        executor.submit(signal("MOON_BUY"))
        assert done.wait(WAIT_S)
        venue.settle()
    assert [type(error) for error in caught] == [UsageError]


def test_closing_ends_its_thread_and_may_be_repeated(venue: ScriptedVenue) -> None:
    before = len(loop_threads())
    with sync.Executor(config(), venue) as executor:
        assert len(loop_threads()) == before + 1
    assert len(loop_threads()) == before
    executor.close()
    executor.close()
    assert venue.log == ["open", "close"]
    with pytest.raises(UsageError, match="closed"):
        executor.submit(signal())
    for call in (executor.refresh_balance, executor.reconcile, executor.cancel_all):
        with pytest.raises(UsageError, match="not open"):
            call()


def test_opening_twice_is_refused_and_leaves_no_thread(venue: ScriptedVenue) -> None:
    before = len(loop_threads())
    with sync.Executor(config(), venue) as executor:
        with pytest.raises(UsageError, match="opened once"):
            executor.__enter__()
        assert executor.submit(signal()).result(WAIT_S).success
    with pytest.raises(UsageError, match="opened once"):
        executor.__enter__()
    assert len(loop_threads()) == before


def test_a_venue_that_fails_to_open_leaves_no_thread(venue: ScriptedVenue) -> None:
    async def fails() -> None:
        raise NotSentError("connection refused")

    before = len(loop_threads())
    venue.open = fails  # type: ignore[method-assign]
    with pytest.raises(NotSentError):
        sync.Executor(config(), venue).__enter__()
    assert len(loop_threads()) == before
