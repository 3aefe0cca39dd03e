"""A submission: known at once or awaited, from the loop or from a thread."""

import asyncio
import threading

import pytest

from polyexec.enums import LegState, OrderType, Side, SkipReason
from polyexec.errors import InternalError, UsageError
from polyexec.models import OrderId, TokenId
from polyexec.results import LegResult, TradeResult
from polyexec.signals import ArbSignal
from polyexec.submission import Submission

SIGNAL = ArbSignal("POLYMARKET_TRIANGLE_BUY")
SKIPPED = TradeResult(signal=SIGNAL, skipped=SkipReason.COOLDOWN_ACTIVE)
LEG = LegResult(
    state=LegState.MATCHED,
    order_id=OrderId("0x1"),
    token_id=TokenId("1"),
    market_slug="",
    side=Side.BUY,
    order_type=OrderType.GTC,
    neg_risk=False,
    price_e4=1,
    size_micro=1,
)
SENT = TradeResult(signal=SIGNAL, legs=(LEG,))


def waiting() -> Submission:
    return Submission(threading.get_ident())


def resolved(result: TradeResult) -> Submission:
    submission = waiting()
    submission._resolve(result)
    return submission


def test_a_waiting_submission_was_not_skipped() -> None:
    submission = waiting()
    assert submission.skipped is None
    assert not submission.done()
    assert repr(submission) == "Submission(waiting)"


def test_a_skip_is_known_at_once() -> None:
    submission = resolved(SKIPPED)
    assert submission.skipped is SkipReason.COOLDOWN_ACTIVE
    assert submission.done()
    assert submission.result() is SKIPPED
    assert repr(submission) == "Submission(CooldownActive)"


def test_repr_tells_success() -> None:
    assert repr(resolved(SENT)) == "Submission(success)"
    assert repr(resolved(TradeResult(signal=SIGNAL))) == "Submission(not successful)"


def test_a_failed_submission_raises_its_fault_but_was_not_skipped() -> None:
    submission = waiting()
    submission._fail(InternalError("broken"))
    assert submission.skipped is None
    assert repr(submission) == "Submission(failed)"
    with pytest.raises(InternalError, match="broken"):
        submission.result()


def test_awaiting_a_known_result_does_not_suspend() -> None:
    with pytest.raises(StopIteration) as caught:
        resolved(SENT).__await__().send(None)
    assert caught.value.value is SENT


async def test_a_result_from_another_thread_wakes_the_loop() -> None:
    submission = waiting()
    threading.Thread(target=submission._resolve, args=(SENT,)).start()
    async with asyncio.timeout(5):
        assert await submission is SENT
        assert await submission is SENT


async def test_many_tasks_may_await_one_submission() -> None:
    submission = waiting()

    async def wait() -> TradeResult:
        return await submission

    tasks = [asyncio.create_task(wait()) for _ in range(3)]
    await asyncio.sleep(0)
    submission._resolve(SENT)
    assert await asyncio.gather(*tasks) == [SENT] * 3


async def test_cancelling_who_awaits_does_not_cancel_what_was_sent() -> None:
    submission = waiting()

    async def wait() -> TradeResult:
        return await submission

    impatient, patient = asyncio.create_task(wait()), asyncio.create_task(wait())
    await asyncio.sleep(0)
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert not submission.done()
    submission._resolve(SENT)
    async with asyncio.timeout(5):
        assert await patient is SENT


async def test_a_failure_reaches_who_awaits() -> None:
    submission = waiting()
    submission._fail(InternalError("broken"))
    with pytest.raises(InternalError):
        await submission


def test_blocking_on_the_loops_own_thread_is_refused_until_it_is_known() -> None:
    submission = waiting()
    with pytest.raises(UsageError, match="await submission"):
        submission.result(timeout=0)
    submission._resolve(SENT)
    assert submission.result() is SENT


def test_another_thread_waits_or_times_out_without_harm() -> None:
    submission = Submission(loop_thread=-1)
    with pytest.raises(TimeoutError):
        submission.result(timeout=0.001)
    threading.Thread(target=submission._resolve, args=(SENT,)).start()
    assert submission.result(timeout=5) is SENT
