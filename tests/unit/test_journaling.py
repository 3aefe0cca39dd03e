"""What the executor keeps, in which order, and what a restart at any point makes of it."""

from typing import Any

import pytest

from polyexec.core.journal import Answered, Close, Intent, Release, Replay, Signed
from polyexec.core.ports import Answer, Fill, NoAnswer, OrderBatch, OrderStatus, Outcome
from polyexec.core.rebuilding import rebuild
from polyexec.core.resolution import NextStep
from polyexec.core.signer import OrderSigner
from polyexec.enums import LegState, Side, SkipReason
from polyexec.errors import NotSentError, OutcomeUnknownError
from polyexec.executor import Executor
from polyexec.models import OrderId
from tests.unit.core.support import signal
from tests.unit.journals import MemoryJournal
from tests.unit.test_executor import KEY, config, until
from tests.unit.venues import ScriptedVenue, all_live, all_matched, answer_with


def lost(batch: OrderBatch) -> Outcome:
    return NoAnswer(error=OutcomeUnknownError("reset"))


def mixed(batch: OrderBatch) -> Answer:
    """One order rests, one is refused, the third has no answer."""
    refused = {"orderID": "", "errorMsg": "invalid signature"}
    return answer_with(batch, {"status": "live"}, refused, {"status": "new"})


def status(order_id: OrderId, state: LegState, filled: int = 0) -> OrderStatus:
    return OrderStatus(
        order_id=order_id,
        state=state,
        token_id=signal().parent.token_id,  # type: ignore[union-attr]
        side=Side.BUY,
        price_e4=3000,
        size_micro=10_000_000,
        filled_micro=filled,
        status=state,
    )


async def records_of(answer: Any) -> tuple[MemoryJournal, ScriptedVenue]:
    """Return the journal and the venue of one submission."""
    journal, venue = MemoryJournal(), ScriptedVenue(answer)
    async with Executor(config(), venue, journal=journal) as executor:
        await executor.submit(signal())
    return journal, venue


# what is kept -------------------------------------------------------------------------------------


async def test_the_intent_is_kept_and_sealed_before_the_post() -> None:
    journal = MemoryJournal()
    seen: list[list[str]] = []

    def answer(batch: OrderBatch) -> Outcome:
        seen.append(journal.kinds)
        return all_live(batch)

    async with Executor(config(), ScriptedVenue(answer), journal=journal) as executor:
        await executor.submit(signal())
    assert seen == [["Intent", "Signed"]]
    assert journal.kinds == ["Intent", "Signed", "Answered", "Sent"]
    assert journal.closed


async def test_the_signed_record_holds_what_was_sent_and_the_intent_gives_it_again() -> None:
    journal, venue = await records_of(all_live)
    intent, signed = journal.records[:2]
    assert isinstance(intent, Intent)
    assert isinstance(signed, Signed)
    assert signed.body == venue.batches[0].body
    assert signed.order_ids == venue.batches[0].order_ids
    assert rebuild(intent, OrderSigner(KEY)) == (signed.body, signed.order_ids)


async def test_a_refused_group_is_released_and_closed_at_once() -> None:
    journal, _ = await records_of(lambda _: NoAnswer(error=NotSentError("no connection")))
    assert journal.kinds == ["Intent", "Signed", "Answered", *["Release"] * 3, "Close", "Sent"]
    releases = [record for record in journal.records if isinstance(record, Release)]
    assert {record.spent_micro for record in releases} == {0}
    replay = Replay()
    for record in journal.records:
        replay.add(record)
    assert replay.groups() == ()


async def test_every_reservation_ends_once_in_the_journal_with_what_it_spent() -> None:
    journal, venue = await records_of(all_matched)
    intent = journal.records[0]
    assert isinstance(intent, Intent)
    reserved = [leg.reserved_micro for leg in intent.legs]
    releases = [record for record in journal.records if isinstance(record, Release)]
    assert [r.order_id for r in releases] == list(venue.batches[0].order_ids)
    assert [r.spent_micro + r.released_micro for r in releases] == reserved
    assert [r.spent_micro for r in releases] == [leg.priced.maker_micro for leg in intent.legs]
    # Filled, but the exact fees are not known yet: nobody closed it.
    assert "Close" not in journal.kinds


async def test_what_each_leg_became_is_kept() -> None:
    journal, _ = await records_of(mixed)
    (answered,) = [record for record in journal.records if isinstance(record, Answered)]
    states = [leg.state for leg in answered.legs]
    assert states == [LegState.LIVE, LegState.REJECTED, LegState.UNKNOWN]


# trouble with it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [Intent, Signed])
async def test_nothing_is_sent_when_the_intent_cannot_be_kept(fails: type) -> None:
    journal, venue = MemoryJournal(fails=fails), ScriptedVenue(all_live)
    async with Executor(config(), venue, journal=journal) as executor:
        free = executor.ledger.available()
        submission = executor.submit(signal())
        assert submission.skipped is SkipReason.JOURNAL_FAILED
        result = await submission
        assert result.detail == "memory: the disk is full"
        assert venue.batches == []
        assert (executor.ledger.held(), executor.ledger.available()) == (0, free)
        journal.fails = None
        assert (await executor.submit(signal())).success
    assert len(venue.batches) == 1


# restart ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [all_live, all_matched, lost, mixed])
async def test_a_restart_after_any_record_holds_what_may_trade_and_sends_nothing(
    answer: Any,
) -> None:
    journal, first = await records_of(answer)
    (batch,) = first.batches
    for cut in range(len(journal.records) + 1):
        records = journal.records[:cut]
        venue = ScriptedVenue(all_live)
        again = MemoryJournal(records)
        async with Executor(config(), venue, journal=again) as executor:
            executor.ledger.check()
            tracked = {order.order_id for order in executor._tracker.orders}
            answered = [r.legs for r in records if isinstance(r, Answered)]
            states = [leg.state for legs in answered for leg in legs] or [LegState.UNKNOWN] * 3
            may_trade = {
                order_id
                for order_id, state in zip(batch.order_ids, states, strict=True)
                if (state.is_open or answer is all_matched) and records
            }
            assert tracked == may_trade
            assert (executor.ledger.held() > 0) is any(
                o.state.is_open for o in executor._tracker.orders
            )
            unknown = {o.order_id for o in executor._tracker.orders if o.unknown is not None}
            submission = executor.submit(signal())
            assert (submission.skipped is SkipReason.RECOVERING) is bool(unknown)
            assert len(venue.batches) == (0 if unknown else 1)


async def test_trading_starts_when_the_exchange_has_told_of_every_order() -> None:
    journal, first = await records_of(lost)
    venue = ScriptedVenue(all_live)
    again = MemoryJournal(journal.records)
    async with Executor(config(), venue, journal=again) as executor:
        assert executor.submit(signal()).skipped is SkipReason.RECOVERING
        for order_id in first.batches[0].order_ids:
            venue.statuses[order_id] = status(order_id, LegState.CANCELLED)
        await until(lambda: executor.ledger.held() == 0)
        assert again.kinds.count("Close") == 1
        assert (await executor.submit(signal())).success
    groups = [record.group for record in again.records if isinstance(record, Intent)]
    assert groups == [1, 2]


async def test_the_limits_count_what_an_earlier_run_left_open() -> None:
    journal, first = await records_of(lost)
    venue = ScriptedVenue(all_live)
    async with Executor(config(), venue, journal=MemoryJournal(journal.records)) as executor:
        assert executor.risk.unknown_groups == 1
        assert executor.risk.exposure_micro == executor.ledger.held() > 0
        for order_id in first.batches[0].order_ids:
            venue.statuses[order_id] = status(order_id, LegState.CANCELLED)
        await until(lambda: executor.risk.unknown_groups == 0)


async def test_what_has_not_settled_before_a_restart_is_still_not_available() -> None:
    journal, _ = await records_of(all_matched)
    before = ScriptedVenue(all_live).balance
    venue = ScriptedVenue(all_live)  # its balance does not contain the trades yet
    again = MemoryJournal(journal.records)
    async with Executor(config(), venue, journal=again) as executor:
        assert executor.ledger.held() == 0
        assert executor.ledger.available() == before - 8_000_000
        for order in executor._tracker.orders:
            fill = Fill(
                trade_id=f"trade of {order.order_id}",
                order_id=order.order_id,
                token_id=order.leg.token_id,
                side=Side.BUY,
                price_e4=order.leg.limit_e4,
                size_micro=order.leg.size_micro,
                is_taker=True,
                status="FAILED",
                match_time_s=0,
            )
            venue.fills[order.order_id] = (fill,)
            venue.statuses[order.order_id] = status(order.order_id, LegState.MATCHED)
        await executor.reconcile()
        assert executor.ledger.available() == before
        assert again.kinds.count("Close") == 1
    assert again.kinds.count("Release") == 3


async def test_a_restart_knows_what_ended_after_an_intent_without_its_signatures() -> None:
    journal, first = await records_of(lost)
    ended, *others = first.batches[0].order_ids
    again = MemoryJournal(journal.records[:1])
    async with Executor(config(), ScriptedVenue(all_live), journal=again) as executor:
        assert executor.give_up_unknown(ended)
    third = MemoryJournal(again.records)
    async with Executor(config(), ScriptedVenue(all_live), journal=third) as executor:
        assert [order.order_id for order in executor._tracker.orders] == others


async def test_an_order_of_an_earlier_run_is_not_sent_again() -> None:
    # Its refusal may be what the journal has lost, and its prices are old.
    journal, _ = await records_of(lost)
    venue = ScriptedVenue(all_live)
    settings = config(unknown_resend_after_s=0.001, unknown_absent_after_s=0.5)
    for records in (journal.records[:1], journal.records[:2], journal.records):
        async with Executor(settings, venue, journal=MemoryJournal(records)) as executor:
            tracked = executor._tracker.orders
            assert len(tracked) == 3
            for ms in range(1_000):
                now = executor._clock.time_ms() + ms
                steps = {executor._tracker.not_found(o.order_id, now) for o in tracked}
                assert NextStep.RESEND not in steps
            assert executor.ledger.held() == 0
        assert venue.batches == []


async def test_a_person_may_end_the_waiting() -> None:
    journal, first = await records_of(lost)
    again = MemoryJournal(journal.records)
    async with Executor(config(), ScriptedVenue(all_live), journal=again) as executor:
        for order_id in first.batches[0].order_ids:
            assert executor.submit(signal()).skipped is SkipReason.RECOVERING
            assert executor.give_up_unknown(order_id)
        assert executor.submit(signal()).skipped is None
    assert again.kinds.count("Ack") == 3


async def test_an_intent_that_was_never_sealed_with_prepared_nonces_was_not_sent() -> None:
    journal, _ = await records_of(lost)
    intent = journal.records[0]
    assert isinstance(intent, Intent)
    other = Intent(
        group=intent.group,
        at_ms=intent.at_ms,
        legs=intent.legs,
        timestamp_ms=intent.timestamp_ms,
        owner=intent.owner,
        builder=intent.builder,
        resignable=False,
    )
    again = MemoryJournal([other])
    async with Executor(config(), ScriptedVenue(all_live), journal=again) as executor:
        assert executor.ledger.held() == 0
        assert executor.submit(signal()).skipped is None
    assert isinstance(again.records[1], Close)


# what was spent before a restart ------------------------------------------------------------------


async def settled(venue: ScriptedVenue, executor: Executor, word: str = "CONFIRMED") -> None:
    """Let every trade of the followed orders settle."""
    for order in executor._tracker.orders:
        venue.fills[order.order_id] = (
            Fill(
                trade_id=f"trade of {order.order_id}",
                order_id=order.order_id,
                token_id=order.leg.token_id,
                side=order.leg.side,
                price_e4=order.leg.limit_e4,
                size_micro=order.leg.size_micro,
                is_taker=True,
                status=word,
                match_time_s=0,
            ),
        )
        venue.statuses[order.order_id] = status(order.order_id, LegState.MATCHED)
    await executor.reconcile()


async def test_the_daily_limit_counts_the_closed_groups_of_an_earlier_run() -> None:
    journal, venue = MemoryJournal(), ScriptedVenue(all_matched)
    async with Executor(config(max_daily_cost=20), venue, journal=journal) as executor:
        assert (await executor.submit(signal())).success
        await settled(venue, executor)
        spent = executor.risk.spent_micro
    assert journal.kinds.count("Close") == 1
    assert spent == 8_000_000
    for _ in range(2):  # the second restart reads what the first one wrote
        journal = MemoryJournal(journal.records)
        async with Executor(config(max_daily_cost=15), venue, journal=journal) as executor:
            assert executor.risk.spent_micro == spent
            assert executor.submit(signal()).skipped is SkipReason.MAX_DAILY_COST


async def test_a_group_that_ended_without_its_close_counts_once() -> None:
    journal, venue = MemoryJournal(), ScriptedVenue(all_matched)
    async with Executor(config(), venue, journal=journal) as executor:
        await executor.submit(signal())
        await settled(venue, executor)
    journal.records.pop(journal.kinds.index("Close"))
    for _ in range(2):
        journal = MemoryJournal(journal.records)
        async with Executor(config(), venue, journal=journal) as executor:
            assert executor.risk.spent_micro == 8_000_000
        assert journal.kinds.count("Close") == 1
