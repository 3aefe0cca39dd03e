"""A process that dies with half a group, and what the next one makes of it."""

import asyncio
import json
from typing import Any

import pytest

from polyexec.core.exposure import payoffs_of
from polyexec.core.journal import Intent, Record, Replay, Signed
from polyexec.core.ports import NoAnswer, OrderBatch, OrderStatus, Outcome
from polyexec.core.shapes import FollowUp, shape_of, signal_of
from polyexec.enums import LegState, Side, Strategy
from polyexec.errors import OutcomeUnknownError
from polyexec.executor import Executor
from polyexec.models import OrderId
from polyexec.policies import GroupPolicy
from polyexec.results import TradeResult
from polyexec.resuming import resume_groups
from polyexec.signals import LegsSignal
from tests.unit.core.support import build_legs as priced_of
from tests.unit.core.support import leg, policy, quote, signal, table_of
from tests.unit.journals import MemoryJournal
from tests.unit.test_executor import config, until
from tests.unit.test_grouping import REFUSED, Desk, Half, first_only, fok, settle
from tests.unit.venues import ScriptedVenue, all_matched, answer_with

COMPLETE = GroupPolicy("complete", complete_band="0.02")
QUICK: dict[str, Any] = {"follow_interval_s": 0.005, "unknown_absent_after_s": 0.02}


def open_groups(records: list[Record]) -> int:
    replay = Replay()
    for record in list(records):
        replay.add(record)
    return len(replay.groups())


def bought(venue: Desk) -> dict[str, int]:
    """Return the shares that the exchange has traded for us, by token."""
    shares: dict[str, int] = {}
    for number, batch in enumerate(venue.batches):
        for order, order_id in zip(venue.orders(number), batch.order_ids, strict=True):
            filled = sum(fill.size_micro for fill in venue.fills.get(order_id, ()))
            sign = 1 if order["side"] == "BUY" else -1
            shares[order["tokenId"]] = shares.get(order["tokenId"], 0) + sign * filled
    return {token: count for token, count in shares.items() if count}


def drop(venue: ScriptedVenue, *order_ids: OrderId) -> None:
    """Make the exchange not know orders: it refused them."""
    for order_id in order_ids:
        del venue.fills[order_id]
        del venue.statuses[order_id]


class Settling(Desk):
    """Fills what it is sent, and everything settles at once."""

    def __init__(self, batches: list[OrderBatch]) -> None:
        super().__init__(self._fill)
        self.batches = list(batches)
        for number in range(len(batches)):
            settle(self, number, "CONFIRMED")
        if batches:
            drop(self, *batches[0].order_ids[1:])

    def _fill(self, batch: OrderBatch) -> Outcome:
        settle(self, len(self.batches) - 1, "CONFIRMED")
        return all_matched(batch)


async def whole_run() -> tuple[list[Record], list[OrderBatch]]:
    """Return the records and batches of a group that was completed and has settled."""
    journal, venue = MemoryJournal(), Half()
    async with Executor(fok(group_policy=COMPLETE), venue, journal=journal) as executor:
        assert (await executor.submit(signal())).is_whole
        for number in range(2):
            settle(venue, number, "CONFIRMED")
        drop(venue, *venue.batches[0].order_ids[1:])
        await executor.reconcile()
        await until(lambda: open_groups(journal.records) == 0)
    return journal.records, venue.batches


async def test_a_group_is_open_in_the_journal_until_nothing_is_left_to_do() -> None:
    records, _ = await whole_run()
    kinds = [type(record).__name__ for record in records]
    assert kinds[-2:] == ["Close", "Close"]
    assert kinds.count("Close") == kinds.count("Intent") == 2
    intents = [record for record in records if isinstance(record, Intent)]
    assert intents[0].shape is not None
    assert intents[0].shape.follow_up is None
    assert intents[1].shape is not None
    assert intents[1].shape.follow_up == FollowUp(1, "complete", (1, 2))


async def test_a_death_at_any_record_leads_to_whole_sets_and_sends_nothing_twice() -> None:
    records, batches = await whole_run()
    ends: set[tuple[int, int]] = set()
    for cut in range(1, len(records)):
        kept = records[:cut]
        sent = sum(isinstance(record, Signed) for record in kept)
        venue, journal = Settling(batches[:sent]), MemoryJournal(kept)
        async with Executor(fok(group_policy=COMPLETE, **QUICK), venue, journal=journal) as again:
            await until(lambda: open_groups(journal.records) == 0)  # noqa: B023
            again.ledger.check()
            assert again.ledger.held() == 0, cut
            assert (await again.submit(signal())).success
        del venue.batches[-1]
        # A follow-up that may have left has used its attempt, even if it turns out that it had not.
        in_doubt = cut > 1 and isinstance(kept[-1], Intent)
        whole = dict.fromkeys("123", 10_000_000) if sent else {}
        assert bought(venue) == ({"1": 10_000_000} if in_doubt else whole), cut
        ends.add((sent, len(venue.batches)))
    # before the POST nothing comes of it; then it is completed, by whichever run comes first
    assert ends == {(0, 0), (1, 1), (1, 2), (2, 2)}


async def test_the_end_of_a_resumed_group_is_told_with_all_of_its_orders() -> None:
    records, batches = await whole_run()
    cut = next(i for i, record in enumerate(records) if isinstance(record, Intent) and i)
    venue, journal = Settling(batches[:1]), MemoryJournal(records[:cut])
    told: list[TradeResult] = []
    settings = fok(group_policy=COMPLETE, trading_enabled=False, **QUICK)
    async with Executor(settings, venue, journal=journal) as again:
        again.on_group(told.append)
        await again.reconcile()
        assert len(venue.batches) == 1  # switched off: it waits, and no attempt is used up
        again.set_trading_enabled(True)
        await until(lambda: told and told[-1].final_pnl_micro is not None)
    last = told[-1]
    assert last.is_whole
    assert [leg.state for leg in last.legs] == [
        LegState.MATCHED,
        LegState.REJECTED,
        LegState.REJECTED,
    ]
    assert [leg.order_id for leg in last.legs] == list(batches[0].order_ids)
    assert [follow.state for follow in last.follow_ups] == [LegState.MATCHED] * 2
    assert last.signal.strategy == Strategy.POLYMARKET_COMPLEMENT_BUY  # type: ignore[union-attr]
    # 10 sets pay 10; bought for 0.30, and at the caps 0.32 and 0.22
    assert last.final_pnl_micro == 10_000_000 - 8_400_000


async def test_a_resumed_group_waits_for_the_end_of_a_halt() -> None:
    records, batches = await whole_run()
    cut = next(i for i, record in enumerate(records) if isinstance(record, Intent) and i)
    venue, journal = Settling(batches[:1]), MemoryJournal(records[:cut])
    again = Executor(fok(group_policy=COMPLETE, **QUICK), venue, journal=journal)
    again.halt("not yet", source="redis")
    again.halt("nor now", source="person")
    async with again:
        for source in ("redis", "person"):
            for _ in range(20):  # long enough to use up its attempts
                await asyncio.sleep(0)
            assert (len(venue.batches), open_groups(journal.records)) == (1, 1)
            again.resume(source=source)
        await until(lambda: open_groups(journal.records) == 0)
    assert bought(venue) == dict.fromkeys("123", 10_000_000)


async def test_attempts_of_an_earlier_run_are_used_up() -> None:
    def refuse(batch: OrderBatch) -> Outcome:
        return answer_with(batch, *[REFUSED] * len(batch.order_ids))

    venue, journal = Half(then=refuse), MemoryJournal()
    both = GroupPolicy("complete, unwind", unwind_band="0.05")
    async with Executor(fok(group_policy=both), venue, journal=journal) as executor:
        await executor.submit(signal())
        await until(lambda: len(venue.batches) == 2)
    assert open_groups(journal.records) == 2
    second = Settling(venue.batches[:1])
    second.balance_ms = 10**15
    second.positions["1"] = 10_000_000  # type: ignore[index]
    again = MemoryJournal(journal.records)
    async with Executor(fok(group_policy=both, **QUICK), second, journal=again):
        await until(lambda: open_groups(again.records) == 0)
    assert [order["side"] for order in second.orders(1)] == ["SELL"]
    assert bought(second) == {}


async def test_a_policy_that_holds_follows_and_closes_groups_of_one_that_acts() -> None:
    records, batches = await whole_run()
    cut = next(i for i, record in enumerate(records) if isinstance(record, Intent) and i)
    venue, journal = Settling(batches[:1]), MemoryJournal(records[:cut])
    async with Executor(fok(**QUICK), venue, journal=journal):
        await until(lambda: open_groups(journal.records) == 0)
    assert len(venue.batches) == 1


async def test_a_policy_that_holds_keeps_no_shapes() -> None:
    journal = MemoryJournal()
    async with Executor(fok(), ScriptedVenue(all_matched), journal=journal) as executor:
        await executor.submit(signal())
    (intent,) = [record for record in journal.records if isinstance(record, Intent)]
    assert intent.shape is None


async def test_nothing_is_sent_while_an_order_of_the_earlier_run_is_unknown() -> None:
    def half_known(batch: OrderBatch) -> Outcome:
        if len(venue.batches) == 1:
            return first_only(batch)
        return NoAnswer(error=OutcomeUnknownError("reset"))

    venue, journal = Desk(half_known), MemoryJournal()
    async with Executor(fok(group_policy=COMPLETE), venue, journal=journal) as executor:
        executor.submit(signal())
        await until(lambda: len(venue.batches) == 2)
        await until(lambda: executor._tracker.unknown_orders)
    # The follow-up is unknown to us; one of its orders has traded, the other was never there.
    second, again = Desk(all_matched), MemoryJournal(journal.records)
    second.batches = list(venue.batches)
    for number in range(2):
        settle(second, number, "CONFIRMED")
    drop(second, *second.batches[0].order_ids[1:], second.batches[1].order_ids[1])
    settings = fok(group_policy=GroupPolicy("complete", attempts=2), follow_interval_s=0.005)
    async with Executor(settings, second, journal=again) as executor:
        lost = second.batches[1].order_ids[1]
        await until(lambda: [o.order_id for o in executor._tracker.unknown_orders] == [lost])
        assert len(second.batches) == 2
        executor.give_up_unknown(lost)
        await until(lambda: len(second.batches) == 3)
    (order,) = second.orders(2)
    assert (order["tokenId"], order["takerAmount"]) == ("3", "10000000")


async def test_what_rests_since_an_earlier_run_is_cancelled_when_patience_is_over() -> None:
    def half_resting(batch: OrderBatch) -> Outcome:
        filled = json.loads(first_only(batch).body)[0]  # type: ignore[union-attr]
        return answer_with(batch, filled, {"status": "live"}, {"status": "live"})

    first, journal = Desk(half_resting), MemoryJournal()
    patient = GroupPolicy("complete", patience_ms=86_400_000)
    async with Executor(config(group_policy=patient), first, journal=journal) as one:
        await one.submit(signal())
    second, again = Settling(first.batches), MemoryJournal(journal.records)
    resting = second.batches[0].order_ids[1:]

    def told(order_id: OrderId, state: LegState) -> OrderStatus:
        return OrderStatus(
            order_id=order_id,
            state=state,
            token_id=signal().child.token_id,  # type: ignore[union-attr]
            side=Side.BUY,
            price_e4=3000,
            size_micro=10_000_000,
            filled_micro=0,
            status=state,
        )

    for order_id in resting:
        second.statuses[order_id] = told(order_id, LegState.LIVE)

    async def cancel(order_ids: Any) -> tuple[OrderId, ...]:
        for order_id in order_ids:
            second.statuses[order_id] = told(order_id, LegState.CANCELLED)
        return tuple(order_ids)

    second.cancel_orders = cancel  # type: ignore[method-assign]
    hasty = GroupPolicy("complete", patience_ms=0, complete_band="0.02")
    settings = config(group_policy=hasty, **QUICK)
    async with Executor(settings, second, journal=again):
        await until(lambda: open_groups(again.records) == 0)
    assert bought(second) == dict.fromkeys("123", 10_000_000)


# shapes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("tick", ["0.01", None])
def test_a_signal_of_each_strategy_comes_back_as_far_as_it_matters(
    strategy: Strategy, tick: Any
) -> None:
    given = signal(strategy, group_key="btc-100k", quotes={"tick_size": tick})
    legs = priced_of(given, policy())
    assert isinstance(legs, tuple)
    sources = [getattr(given, role) for role in ("parent", "parent_upper", "child")]
    made = signal_of(shape_of(given, sources), legs, 42)
    assert payoffs_of(made, legs) == payoffs_of(given, legs)
    assert priced_of(made, policy()) == legs
    assert made.group_key == "btc-100k"
    assert made.timestamp_ms == 42


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"payout": 1},
        {"outcomes": [(1, 0), (0, 1)]},
        {"payout": 1, "outcomes": [(1, 1), ("0.5", "0.5")]},
    ],
)
def test_free_legs_come_back_with_their_payoffs(changes: dict[str, Any]) -> None:
    given = LegsSignal([leg(1), leg(2, "SELL", "0.30", order_type="FAK")], **changes)
    legs = priced_of(given, policy())
    assert isinstance(legs, tuple)
    shape = shape_of(given, given.legs)
    made = signal_of(shape, legs, 0)
    assert payoffs_of(made, legs) == payoffs_of(given, legs)
    assert priced_of(made, policy()) == legs
    assert isinstance(made, LegsSignal)
    assert made.payout_micro == given.payout_micro


def test_a_leg_that_trades_the_complement_keeps_the_payoff_of_its_token() -> None:
    sold = leg(2, "SELL", "0.30", complement_token_id=9)
    given = LegsSignal([leg(1), sold], outcomes=[(1, 0), (0, 1), (0, 0)])
    legs = priced_of(
        LegsSignal([leg(1), leg(9, "BUY", "0.70")]),
        policy(),
    )
    assert isinstance(legs, tuple)
    made = signal_of(shape_of(given, given.legs), legs, 0)
    assert payoffs_of(made, legs) == payoffs_of(given, legs)


def test_a_shape_that_does_not_fit_its_legs_is_refused() -> None:
    given = signal()
    legs = priced_of(given, policy())
    assert isinstance(legs, tuple)
    with pytest.raises(ValueError, match="3 ticks for 2 legs"):
        signal_of(shape_of(given, [quote(1), quote(2), quote(3)]), legs[:2], 0)
    assert table_of(leg(1)).count == 1


async def test_groups_that_make_no_sense_are_followed_and_not_acted_upon() -> None:
    records, _ = await whole_run()
    replay = Replay()
    for record in records[: next(i for i, r in enumerate(records) if type(r).__name__ == "Close")]:
        replay.add(record)
    root, follow_up = replay.groups()
    assert resume_groups([follow_up], COMPLETE)[1] == [2]
    resumed, lost = resume_groups([root, follow_up], COMPLETE)
    assert (len(resumed), lost) == (1, [])
    assert resumed[0].numbers == [1, 2]
    again = resume_groups([root, follow_up, follow_up], COMPLETE)
    assert again[1] == [2]  # its ids are known already
