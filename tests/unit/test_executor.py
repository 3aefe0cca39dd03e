"""The executor's own part: lifecycle, threads, queue and callbacks around the pipeline."""

import asyncio
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from polyexec.config import ExecutorConfig
from polyexec.core.ledger import COLLATERAL
from polyexec.core.ports import Answer, NoAnswer, Outcome, Venue
from polyexec.enums import LegState, SkipReason
from polyexec.errors import (
    ConfigError,
    InputError,
    NotSentError,
    OutcomeUnknownError,
    SigningError,
    UsageError,
)
from polyexec.executor import Executor
from polyexec.models import TokenId, TopOfBook
from polyexec.results import TradeResult
from polyexec.signals import LegsSignal
from tests.unit.core.support import FakeClock, leg, signal
from tests.unit.journals import MemoryJournal
from tests.unit.venues import ScriptedVenue, all_live, all_matched

KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
WAIT_S = 5.0


def config(**changes: Any) -> ExecutorConfig:
    given: dict[str, Any] = {
        "private_key": KEY,
        "trading_enabled": True,
        "opportunity_timeout_ms": 0,
        "follow_interval_s": 1000,
        "max_unknown_groups": 1000,
    }
    return ExecutorConfig(**given | changes)


@pytest.fixture
def venue() -> ScriptedVenue:
    return ScriptedVenue(all_matched)


@pytest.fixture
async def executor(venue: ScriptedVenue) -> AsyncIterator[Executor]:
    async with Executor(config(), venue) as executor:
        yield executor


async def until(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110  what is waited for has no event to offer
            await asyncio.sleep(0.001)


def test_the_scripted_venue_is_a_venue(venue: ScriptedVenue) -> None:
    assert isinstance(venue, Venue)


# settings -----------------------------------------------------------------------------------------

ORDER_OF_THE_CURVE = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"


@pytest.mark.parametrize(
    "key", ["0x12", "00" * 32, ORDER_OF_THE_CURVE, "ff" * 32, KEY + "00", "zz" * 32]
)
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(SigningError) as caught:
        Executor(config(private_key=key))
    assert key.removeprefix("0x") not in str(caught.value)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"private_key.*PRIVATE_KEY"):
        Executor(config(private_key=""))


def test_a_signer_address_of_another_key_is_refused() -> None:
    other = "0x" + "11" * 20
    with pytest.raises(ConfigError, match=f"signer_address={other}.*{ADDRESS}"):
        Executor(config(signer_address=other))
    assert Executor(config(signer_address=ADDRESS.lower())).address == ADDRESS


def test_what_is_no_config_is_refused() -> None:
    with pytest.raises(InputError, match="config"):
        Executor({"private_key": "x"})  # type: ignore[arg-type]


# lifecycle ----------------------------------------------------------------------------------------


async def test_it_opens_its_venue_asks_the_balance_and_closes_it(venue: ScriptedVenue) -> None:
    async with Executor(config(), venue) as executor:
        assert venue.log == ["open"]
        assert executor.ledger.available() == venue.balance
        assert executor.venue is venue
    assert venue.log == ["open", "close"]
    await executor.close()
    assert venue.log == ["open", "close"]


async def test_before_opening_and_after_closing_it_says_so(venue: ScriptedVenue) -> None:
    executor = Executor(config(), venue)
    with pytest.raises(UsageError, match="not open"):
        executor.submit(signal())
    async with executor:
        with pytest.raises(UsageError, match="opened once"):
            await executor.__aenter__()
        assert executor.submit(signal()).skipped is None
    assert len(venue.batches) == 1
    for call in (executor.submit, executor.submit_nowait):
        with pytest.raises(UsageError, match="closed"):
            call(signal())
    with pytest.raises(UsageError, match="opened once"):
        await executor.__aenter__()
    assert len(venue.batches) == 1


def test_a_venue_from_the_settings_is_not_there_before_opening() -> None:
    with pytest.raises(UsageError, match="not open"):
        _ = Executor(config()).venue


async def test_a_venue_that_fails_to_open_is_closed_again(venue: ScriptedVenue) -> None:
    async def fails() -> None:
        raise NotSentError("connection refused")

    venue.open = fails  # type: ignore[method-assign]
    with pytest.raises(NotSentError):
        await Executor(config(), venue).__aenter__()
    assert venue.log == ["close"]


async def test_closing_waits_for_the_answers_that_are_due(venue: ScriptedVenue) -> None:
    venue.answer = None
    executor = Executor(config(), venue)
    async with executor:
        submission = executor.submit(signal())
        closing = asyncio.create_task(executor.close())
        await asyncio.sleep(0.002)
        assert not closing.done()
        venue.settle(all_matched)
        await closing
    assert submission.result().success
    assert venue.log == ["open", "close"]


async def test_off_means_no_venue_and_no_trading(venue: ScriptedVenue) -> None:
    async with Executor(config(executor_mode="off"), venue) as executor:
        assert not executor.trading_enabled
        with pytest.raises(UsageError, match="off"):
            executor.set_trading_enabled(True)
        executor.set_trading_enabled(False)
        assert executor.submit(signal()).skipped is SkipReason.TRADING_DISABLED
    assert venue.log == []


# balance and positions ----------------------------------------------------------------------------


async def test_balance_and_positions_reach_the_ledger(executor: Executor) -> None:
    assert executor.update_balance("1000.25", as_of_ms=50)
    assert not executor.update_balance(5, as_of_ms=49)
    assert executor.ledger.available() == 1_000_250_000
    executor.update_positions({"7": "2.5", "8": 3})
    assert executor.ledger.balances() == {COLLATERAL: 1_000_250_000, "7": 2_500_000, "8": 3_000_000}


@pytest.mark.parametrize("amount", ["-1", "nan", float("inf"), True, "1e-7", None])
async def test_a_bad_balance_changes_nothing(executor: Executor, amount: Any) -> None:
    with pytest.raises(InputError, match=r"^amount="):
        executor.update_balance(amount)
    assert executor.ledger.available() == 1_000_000_000


@pytest.mark.parametrize(
    ("positions", "field"),
    [
        ({"1": 5, "0x2": 5}, "token_id"),
        ({"1": 5, "2": -1}, r"positions\[2\]"),
        ({"1": 5, "2": float("nan")}, r"positions\[2\]"),
    ],
)
async def test_one_bad_position_changes_none(
    executor: Executor, positions: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError, match=field):
        executor.update_positions(positions)
    assert executor.ledger.balance(TokenId("1")) == 0


async def test_refresh_asks_the_venue(executor: Executor, venue: ScriptedVenue) -> None:
    venue.balance, venue.balance_ms = 5_000_000, 2
    assert await executor.refresh_balance() == 5_000_000
    assert executor.ledger.available() == 5_000_000


# submit -------------------------------------------------------------------------------------------


async def test_when_submit_returns_the_batch_is_out_in_the_callers_thread(
    executor: Executor, venue: ScriptedVenue
) -> None:
    venue.answer = None
    submission = executor.submit(signal())
    assert len(venue.batches) == 1
    assert venue.threads == [threading.get_ident()]
    assert not submission.done()
    assert submission.skipped is None
    venue.settle(all_matched)
    result = await submission
    assert result.success
    assert result.total_cost == Decimal(8)
    assert result.latency.total_us > 0


async def test_a_skip_sends_nothing_and_is_known_at_once(
    executor: Executor, venue: ScriptedVenue
) -> None:
    submission = executor.submit(signal("MOON_BUY"))
    assert submission.skipped is SkipReason.NO_CANDIDATES
    assert venue.batches == []
    assert (await submission).skipped is SkipReason.NO_CANDIDATES


@pytest.mark.parametrize("thing", [None, {}, "signal", leg()])
async def test_what_is_no_signal_is_refused(executor: Executor, thing: Any) -> None:
    for call in (executor.submit, executor.submit_nowait):
        with pytest.raises(InputError, match=r"^signal="):
            call(thing)


async def test_the_switch_works_at_once(executor: Executor) -> None:
    executor.set_trading_enabled(False)
    assert executor.submit(signal()).skipped is SkipReason.TRADING_DISABLED
    executor.set_trading_enabled(True)
    assert executor.submit(signal()).skipped is None


async def test_the_cooldown_runs_on_the_clock_that_was_given(venue: ScriptedVenue) -> None:
    clock = FakeClock()
    async with Executor(config(opportunity_timeout_ms=5000), venue, clock=clock) as executor:
        assert executor.submit(signal()).skipped is None
        clock.advance(4999)
        assert executor.submit(signal()).skipped is SkipReason.COOLDOWN_ACTIVE
        clock.advance(1)
        assert executor.submit(signal()).skipped is None


async def test_only_so_many_are_in_flight(venue: ScriptedVenue) -> None:
    venue.answer = None
    async with Executor(config(max_in_flight=2), venue) as executor:
        assert executor.submit(signal()).skipped is None
        assert executor.submit(signal()).skipped is None
        assert executor.submit(signal()).skipped is SkipReason.ALREADY_SUBMITTING
        venue.settle()
        assert executor.submit(signal()).skipped is None
        venue.settle()


async def test_many_threads_may_submit_and_money_adds_up(venue: ScriptedVenue) -> None:
    venue.balance = 100_000_000  # for 12 of them
    async with Executor(config(max_in_flight=100), venue) as executor:
        results: list[TradeResult] = []

        def work() -> None:
            for _ in range(4):
                results.append(executor.submit(signal()).result(WAIT_S))

        threads = [threading.Thread(target=work) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
        sent = [result for result in results if result.success]
        reasons = {result.skipped for result in results if not result.success}
        assert (len(results), len(sent)) == (20, 12)
        assert reasons == {SkipReason.INSUFFICIENT_BALANCE}
        assert executor.ledger.balance() == 100_000_000 - 12 * 8_000_000
        assert executor.ledger.held() == 0
        executor.ledger.check()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotSentError("refused"), LegState.NOT_SENT),
        (OutcomeUnknownError("reset"), LegState.UNKNOWN),
        (RuntimeError("bug in the venue"), LegState.UNKNOWN),
    ],
)
async def test_a_venue_that_raises_is_no_exception_of_submit(
    executor: Executor, venue: ScriptedVenue, error: Exception, state: LegState
) -> None:
    def fails(batch: Any) -> Outcome:
        raise error

    venue.answer = fails
    result = await executor.submit(signal())
    assert [one.state for one in result.legs] == [state] * 3
    assert executor.ledger.held() == (8_000_000 if state is LegState.UNKNOWN else 0)
    venue.answer = all_live
    assert executor.submit(signal()).skipped is None


async def test_an_interrupt_while_writing_leaves_the_outcome_unknown_and_the_place_free(
    executor: Executor, venue: ScriptedVenue
) -> None:
    def interrupted(batch: Any) -> Outcome:
        raise KeyboardInterrupt

    venue.answer = interrupted
    with pytest.raises(KeyboardInterrupt):
        executor.submit(signal())
    assert executor.ledger.held() == 8_000_000
    venue.answer = all_live
    assert executor.submit(signal()).skipped is None


async def test_a_second_outcome_of_one_batch_is_ignored(
    executor: Executor, venue: ScriptedVenue, caplog: pytest.LogCaptureFixture
) -> None:
    venue.answer = None
    submission = executor.submit(signal())
    again = list(venue.waiting)
    venue.settle(all_matched)
    before = executor.ledger.balance()
    venue.waiting = again
    venue.settle(all_live)
    assert (await submission).success
    assert executor.ledger.balance() == before
    assert executor.ledger.held() == 0
    assert [record.message for record in caplog.records] == ["second_outcome"]


async def test_a_fault_while_booking_reaches_who_awaits_and_frees_the_place(
    executor: Executor, venue: ScriptedVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    venue.answer = None
    submission = executor.submit(signal())
    monkeypatch.setattr(executor._tracker, "book_answer", None)
    with pytest.raises(TypeError):
        venue.settle()
    with pytest.raises(TypeError):
        await submission
    assert submission.skipped is None
    monkeypatch.undo()
    assert executor.submit(signal()).skipped is None
    venue.settle()


async def test_a_timed_out_post_keeps_the_hold(executor: Executor, venue: ScriptedVenue) -> None:
    venue.answer = lambda _: NoAnswer(error=OutcomeUnknownError("no answer within 5 s"))
    result = await executor.submit(signal())
    assert not result.success
    assert len(result.unknown_orders) == 3
    assert executor.ledger.available() == venue.balance - 8_000_000


# queue --------------------------------------------------------------------------------------------


async def test_queued_signals_are_taken_one_after_the_others_answer(
    executor: Executor, venue: ScriptedVenue
) -> None:
    venue.answer = None
    assert executor.submit_nowait(signal(group_key="1"))
    assert executor.submit_nowait(signal(group_key="2"))
    assert venue.batches == []
    await until(lambda: len(venue.batches) == 1)
    await asyncio.sleep(0.002)
    assert len(venue.batches) == 1
    venue.settle()
    await until(lambda: len(venue.batches) == 2)
    venue.settle()


async def test_a_full_queue_drops_at_once_and_counts(
    executor: Executor, venue: ScriptedVenue
) -> None:
    venue.answer = None
    accepted = [executor.submit_nowait(signal()) for _ in range(20)]
    assert accepted == [True] * 16 + [False] * 4
    assert executor.dropped_signals == 4
    venue.answer = all_matched
    await until(lambda: len(venue.batches) == 16)
    assert executor.submit_nowait(signal())
    await until(lambda: len(venue.batches) == 17)


async def test_signals_may_be_queued_from_any_thread(
    executor: Executor, venue: ScriptedVenue
) -> None:
    assert await asyncio.to_thread(executor.submit_nowait, signal())
    await until(lambda: len(venue.batches) == 1)
    assert venue.threads == [threading.get_ident()]


async def test_a_queued_signal_that_fails_does_not_stop_the_queue(
    executor: Executor,
    venue: ScriptedVenue,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    pipeline = executor._pipeline
    assert pipeline is not None
    prepare, seen = pipeline.prepare, []

    def fails_once(given: Any) -> Any:
        seen.append(given)
        if len(seen) == 1:
            raise OSError("no randomness left")
        return prepare(given)

    monkeypatch.setattr(pipeline, "prepare", fails_once)
    executor.submit_nowait(signal())
    executor.submit_nowait(signal())
    await until(lambda: len(venue.batches) == 1)
    assert [record.message for record in caplog.records] == ["queued_signal_failed"]


async def test_signals_that_still_wait_when_it_closes_are_skipped_as_closed(
    venue: ScriptedVenue,
) -> None:
    venue.answer = None
    results: list[TradeResult] = []
    async with Executor(config(post_timeout_s=0.01), venue) as executor:
        executor.on_trade_result(results.append)
        for number in range(3):
            executor.submit_nowait(signal(group_key=str(number)))
        await until(lambda: venue.waiting)
        asyncio.get_running_loop().call_soon(venue.settle)
    reasons = {result.signal.group_key: result.skipped for result in results}
    assert reasons == {"0": None, "1": SkipReason.CLOSED, "2": SkipReason.CLOSED}


# callbacks ----------------------------------------------------------------------------------------


async def test_callbacks_see_signals_results_and_tops(executor: Executor) -> None:
    results: list[Any] = []
    signals: list[Any] = []
    tops: list[Any] = []

    async def on_top(top: TopOfBook) -> None:
        tops.append(top)

    stop = executor.on_trade_result(results.append)
    executor.on_signal(signals.append)
    executor.on_top_of_book(on_top)
    given, bad = signal(), signal("MOON_BUY")
    sent = await executor.submit(given)
    skipped = await executor.submit(bad)
    top = TopOfBook(TokenId("1"), 3900, 4000, 1, 1, 1)
    executor.publish_top_of_book(top)
    await until(lambda: len(results) == 2 and len(signals) == 2 and tops)
    assert results == [sent, skipped]
    assert signals == [given, bad]
    assert tops == [top]
    stop()
    await executor.submit(given)
    await until(lambda: len(signals) == 3)
    assert len(results) == 2


async def test_callbacks_that_block_or_raise_do_not_hurt_the_path(
    executor: Executor, caplog: pytest.LogCaptureFixture
) -> None:
    go_on = threading.Event()

    def blocks(result: TradeResult) -> None:
        go_on.wait(WAIT_S)

    def raises(result: TradeResult) -> None:
        raise RuntimeError("broken bot")

    for callback in (blocks, raises):
        executor.on_trade_result(callback)
        executor.on_signal(callback)  # type: ignore[arg-type]
    for _ in range(5):
        async with asyncio.timeout(WAIT_S):
            assert (await executor.submit(signal())).success
    assert executor.dropped_callbacks == 0
    go_on.set()
    await until(lambda: len(caplog.records) == 10)


async def test_every_result_is_delivered_before_it_is_closed(venue: ScriptedVenue) -> None:
    results: list[TradeResult] = []
    async with Executor(config(), venue) as executor:
        executor.on_trade_result(results.append)
        for _ in range(20):
            executor.submit(signal())
    assert len(results) == 20


# following orders ---------------------------------------------------------------------------------


async def test_orders_that_stay_unknown_do_not_keep_the_others_from_being_asked_for(
    venue: ScriptedVenue,
) -> None:
    venue.answer = lambda _: NoAnswer(error=OutcomeUnknownError("reset"))
    async with Executor(config(follow_interval_s=0.001), venue) as executor:
        legs = LegsSignal([leg(token, size=5) for token in range(15)])
        executor.submit(legs)
        executor.submit(legs)
        ids = {order_id for batch in venue.batches for order_id in batch.order_ids}
        assert len(ids) == 30
        await until(lambda: set(venue.asked) == ids)


async def test_a_venue_that_fails_while_orders_are_followed_is_asked_again(
    venue: ScriptedVenue, caplog: pytest.LogCaptureFixture
) -> None:
    venue.answer = lambda _: NoAnswer(error=OutcomeUnknownError("reset"))
    venue.fault = OSError("unreachable")
    async with Executor(config(follow_interval_s=0.001), venue) as executor:
        executor.submit(signal())
        await until(lambda: len(venue.asked) >= 3)
    assert {record.message for record in caplog.records} == {"follow_failed"}


async def test_cancel_all_returns_what_was_cancelled(
    executor: Executor, venue: ScriptedVenue
) -> None:
    venue.answer = all_live
    result = await executor.submit(signal())
    assert await executor.cancel_all() == result.order_ids


async def test_an_unreadable_answer_is_unknown_and_not_failed(
    executor: Executor, venue: ScriptedVenue
) -> None:
    venue.answer = lambda _: Answer(status=200, body=b"<html>")
    result = await executor.submit(signal())
    assert len(result.unknown_orders) == 3
    assert result.failed_orders == ()


async def test_a_task_that_has_failed_keeps_nothing_from_being_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    venue, journal = ScriptedVenue(), MemoryJournal()
    executor = Executor(config(follow_interval_s=0.001), venue, journal=journal)
    async with executor:
        executor._keeper.observe_positions = lambda: 1 / 0  # type: ignore
        await until(lambda: any(task.done() for task in executor._tasks))
    assert venue.log[-1] == "close"
    assert journal.closed
    assert "task_failed" in caplog.text
