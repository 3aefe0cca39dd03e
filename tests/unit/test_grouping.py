"""Half a group: completed, given back, or reported; and the limits outside the strategy."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from polyexec.core.groups import Cancel, LegGroup, Wait
from polyexec.core.ports import (
    AnswerCallback,
    BalanceSnapshot,
    Fill,
    NoAnswer,
    OrderBatch,
    OrderStatus,
    Outcome,
)
from polyexec.enums import LegState, OrderType, Side, SkipReason
from polyexec.errors import InternalError, NotSentError, OutcomeUnknownError
from polyexec.executor import Executor
from polyexec.models import OrderId, TokenId
from polyexec.policies import GroupPolicy
from polyexec.reconciliation import follow_orders
from polyexec.results import TradeResult
from polyexec.signals import ArbSignal, LegsSignal
from tests.unit.core.support import FakeClock, leg, quote, signal
from tests.unit.journals import MemoryJournal
from tests.unit.test_executor import config, until
from tests.unit.venues import ScriptedVenue, all_live, all_matched, answer_with

REFUSED = {"orderID": "", "errorMsg": "no orders found to match with FAK order"}


def matched(batch: OrderBatch, index: int) -> dict[str, Any]:
    order = json.loads(batch.body)[index]["order"]
    return {
        "status": "matched",
        "makingAmount": str(int(order["makerAmount"]) / 1_000_000),
        "takingAmount": str(int(order["takerAmount"]) / 1_000_000),
    }


def first_only(batch: OrderBatch) -> Outcome:
    """Only the first leg finds a counterparty."""
    rest = [REFUSED] * (len(batch.order_ids) - 1)
    return answer_with(batch, matched(batch, 0), *rest)


class Desk(ScriptedVenue):
    """Shows the orders that it was sent."""

    def orders(self, batch: int) -> list[dict[str, Any]]:
        return [entry["order"] for entry in json.loads(self.batches[batch].body)]


class Half(Desk):
    """Fills the first leg of the first batch, and answers what follows as told."""

    def __init__(self, then: Any = all_matched) -> None:
        super().__init__(self._answer)
        self.then = then

    def _answer(self, batch: OrderBatch) -> Outcome:
        return first_only(batch) if len(self.batches) == 1 else self.then(batch)


def fok(**changes: Any) -> Any:
    return config(order_type=OrderType.FOK, **changes)


# holding ------------------------------------------------------------------------------------------


async def test_half_a_group_is_reported_with_what_it_exposes_to() -> None:
    venue = Half()
    async with Executor(fok(), venue) as executor:
        result = await executor.submit(signal())
    assert len(venue.batches) == 1
    assert not result.success
    assert not result.is_whole
    assert result.follow_ups == ()
    # complement buy: 10 of the first at 0.30, worthless in the worst outcome
    assert result.at_risk_micro == 3_000_000
    assert result.provisional_pnl_micro == -3_000_000
    assert result.final_pnl_micro is None
    # the dearest two legs without the third, in the outcome that pays neither
    assert result.worst_loss_micro == 6_000_000


async def test_a_whole_group_has_nothing_at_risk() -> None:
    async with Executor(fok(), ScriptedVenue(all_matched)) as executor:
        result = await executor.submit(signal())
    assert (result.success, result.is_whole, result.at_risk_micro) == (True, True, 0)
    assert result.provisional_pnl_micro == 2_000_000  # pays 10, cost 8


async def test_groups_that_are_final_are_not_kept() -> None:
    venue = ScriptedVenue(lambda _: NoAnswer(error=OutcomeUnknownError("reset")))
    async with Executor(config(), venue) as executor:
        keeper = executor._keeper
        assert keeper is not None
        result = await executor.submit(signal())
        assert len(keeper._of_order) == 3
        for one in result.unknown_orders:
            executor.give_up_unknown(one.order_id)
        assert keeper._of_order == {}
        venue.answer = lambda batch: answer_with(batch, REFUSED)
        await executor.submit(signal())
        assert keeper._of_order == {}


async def test_orders_that_end_before_their_group_is_known_are_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    venue = ScriptedVenue(lambda _: NoAnswer(error=OutcomeUnknownError("reset")))
    async with Executor(config(), venue) as executor:
        keeper, pipeline = executor._keeper, executor._pipeline
        assert keeper is not None
        assert pipeline is not None
        finish = pipeline.finish

        def ended_meanwhile(*given: Any, **named: Any) -> TradeResult:
            result = finish(*given, **named)
            for one in result.unknown_orders:
                executor.give_up_unknown(one.order_id)
            return result

        monkeypatch.setattr(pipeline, "finish", ended_meanwhile)
        assert len((await executor.submit(signal())).unknown_orders) == 3
        assert (keeper._of_order, keeper._tickets) == ({}, {})
        assert executor.risk.exposure_micro == 0


# acting -------------------------------------------------------------------------------------------


async def test_missing_legs_are_taken_up_to_the_cap_and_the_result_waits_for_them() -> None:
    venue, journal = Half(), MemoryJournal()
    policy = GroupPolicy("complete", complete_band="0.02")
    async with Executor(fok(group_policy=policy), venue, journal=journal) as executor:
        result = await executor.submit(signal())
        executor.ledger.check()
        assert executor.ledger.held() == 0
    assert result.success
    assert result.is_whole
    assert [follow.state for follow in result.follow_ups] == [LegState.MATCHED] * 2
    # at the cap: two cents beyond each leg's own limit
    assert [follow.price_e4 for follow in result.follow_ups] == [3200, 2200]
    assert [order["tokenId"] for order in venue.orders(1)] == ["2", "3"]
    assert journal.kinds.count("Intent") == journal.kinds.count("Signed") == 2
    assert result.failed_orders  # the first two tries of these legs stay in the record


async def test_what_was_filled_is_sold_when_the_rest_cannot_be_had() -> None:
    venue = Half(then=lambda batch: answer_with(batch, *[REFUSED] * len(batch.order_ids)))
    policy = GroupPolicy("complete, unwind", unwind_band="0.05")
    async with Executor(fok(group_policy=policy), venue) as executor:
        executor.update_positions({"1": 10})
        task = executor.submit(signal())
        await until(lambda: len(venue.batches) == 2)  # completing failed
        result = await task
        assert result.at_risk_micro == 3_000_000
        # The shares must be on chain before they can be sold.
        first = venue.batches[0].order_ids[0]
        venue.then = all_matched
        venue.fills[first] = (fill(first, "CONFIRMED"),)
        venue.statuses[first] = status(first, LegState.MATCHED, 10_000_000)
        await executor.reconcile()
        await until(lambda: len(venue.batches) == 3)
    (order,) = venue.orders(2)
    assert (order["tokenId"], order["side"]) == ("1", "SELL")
    # 10 shares at 0.30 - 0.05 at the least
    assert (order["makerAmount"], order["takerAmount"]) == ("10000000", "2500000")


# settlement ---------------------------------------------------------------------------------------


def settle(venue: ScriptedVenue, batch: int, status_word: str) -> None:
    """Let the exchange report every order of a batch as filled, its trades in this state."""
    for entry, order_id in zip(
        json.loads(venue.batches[batch].body), venue.batches[batch].order_ids, strict=True
    ):
        order = entry["order"]
        amounts = [int(order["makerAmount"]), int(order["takerAmount"])]
        paid, shares = amounts if order["side"] == "BUY" else reversed(amounts)
        one = msgspec.structs.replace(
            fill(order_id, status_word),
            trade_id=f"trade of {order_id}",
            token_id=TokenId(order["tokenId"]),
            side=Side(order["side"]),
            price_e4=paid * 10_000 // shares,
            size_micro=shares,
        )
        venue.fills[order_id] = (one,)
        venue.statuses[order_id] = status(order_id, LegState.MATCHED, shares)


@pytest.mark.parametrize("policy", ["hold", "complete"])
async def test_the_final_result_is_told_once_when_all_of_it_has_settled(policy: str) -> None:
    venue = ScriptedVenue(all_matched)
    async with Executor(fok(group_policy=policy), venue) as executor:
        told: list[TradeResult] = []
        executor.on_group(told.append)
        result = await executor.submit(signal())
        assert result.final_pnl_micro is None
        settle(venue, 0, "MINED")
        await executor.reconcile()
        for _ in range(2):
            settle(venue, 0, "CONFIRMED")
            await executor.reconcile()
        await until(lambda: told)
        keeper = executor._keeper
        assert keeper is not None
        assert keeper.groups == ()
    assert [one.final_pnl_micro for one in told if one.final_pnl_micro is not None] == [2_000_000]


async def test_a_trade_that_fails_to_settle_reopens_its_group() -> None:
    venue = Desk(all_matched)
    policy = GroupPolicy("complete", complete_band="0.02")
    async with Executor(fok(group_policy=policy), venue) as executor:
        result = await executor.submit(signal())
        assert result.is_whole
        settle(venue, 0, "CONFIRMED")
        lost = venue.batches[0].order_ids[1]
        venue.fills[lost] = (msgspec.structs.replace(venue.fills[lost][0], status="FAILED"),)
        await executor.reconcile()
        await until(lambda: len(venue.batches) == 2)
        (order,) = venue.orders(1)
    assert (order["tokenId"], order["side"], order["takerAmount"]) == ("2", "BUY", "10000000")


async def test_bought_shares_are_sold_from_the_position_that_the_exchange_has() -> None:
    venue = Half(then=all_matched)
    venue.balance_ms = 10**15  # any time of a test is earlier
    venue.positions[TokenId("1")] = 10_000_000
    async with Executor(fok(group_policy="unwind"), venue) as executor:
        task = executor.submit(signal())
        first = venue.batches[0].order_ids[0]
        venue.fills[first] = (fill(first, "CONFIRMED"),)
        venue.statuses[first] = status(first, LegState.MATCHED, 10_000_000)
        await task
        await executor.reconcile()
        await until(lambda: len(venue.batches) == 2)
    (order,) = venue.orders(1)
    assert (order["tokenId"], order["side"], order["makerAmount"]) == ("1", "SELL", "10000000")


async def test_a_position_that_cannot_be_asked_for_delays_a_sale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("polyexec.grouping._RETRY_S", 0.001)
    venue = Half(then=all_matched)
    venue.balance_ms = 10**15
    asked: list[TokenId] = []

    async def fetch_position(token_id: TokenId) -> BalanceSnapshot:
        asked.append(token_id)
        if len(asked) < 3:
            raise NotSentError("no connection")
        return BalanceSnapshot(balance_micro=10_000_000, as_of_ms=venue.balance_ms)

    monkeypatch.setattr(venue, "fetch_position", fetch_position)
    async with Executor(fok(group_policy="unwind"), venue) as executor:
        task = executor.submit(signal())
        first = venue.batches[0].order_ids[0]
        venue.fills[first] = (fill(first, "CONFIRMED"),)
        venue.statuses[first] = status(first, LegState.MATCHED, 10_000_000)
        await task
        await follow_orders(venue, executor._tracker, executor._tracker.orders, executor._clock)
        await until(lambda: len(venue.batches) == 2)
    assert asked == ["1"] * 3


async def test_nothing_is_done_while_a_leg_is_unknown() -> None:
    def half_unknown(batch: OrderBatch) -> Outcome:
        return answer_with(batch, matched(batch, 0), REFUSED, {"status": "new"})

    venue = ScriptedVenue(half_unknown)
    policy = GroupPolicy("complete, unwind")
    async with Executor(fok(group_policy=policy), venue) as executor:
        result = await executor.submit(signal())
        assert len(result.unknown_orders) == 1
        await until(lambda: len(venue.asked) >= 2)
        assert len(venue.batches) == 1


@pytest.mark.parametrize("how", ["switch", "halt"])
async def test_follow_ups_are_not_sent_while_disabled_or_halted(how: str) -> None:
    venue = Half()
    policy = GroupPolicy("complete")

    def stop(batch: OrderBatch) -> Outcome:
        outcome = first_only(batch)
        if how == "switch":
            executor.set_trading_enabled(False)
        else:
            executor.halt("test")
        return outcome

    venue.answer = stop
    async with Executor(fok(group_policy=policy), venue) as executor:
        result = await executor.submit(signal())
    assert len(venue.batches) == 1
    assert result.follow_ups == ()
    assert result.at_risk_micro == 3_000_000


@pytest.mark.parametrize("how", ["switch", "halt"])
async def test_a_half_group_goes_on_when_orders_may_be_sent_again(how: str) -> None:
    venue = Half()
    told: list[TradeResult] = []

    def stop(batch: OrderBatch) -> Outcome:
        if how == "switch":
            executor.set_trading_enabled(False)
        else:
            executor.halt("test")
        venue.answer = all_matched
        return first_only(batch)

    venue.answer = stop
    async with Executor(fok(group_policy=GroupPolicy("complete")), venue) as executor:
        executor.on_group(told.append)
        assert not (await executor.submit(signal())).is_whole
        for _ in range(20):  # long enough to use up its attempts
            await asyncio.sleep(0)
        if how == "switch":
            executor.set_trading_enabled(True)
        else:
            executor.resume()
        await until(lambda: told and told[-1].is_whole)
    assert [len(batch.order_ids) for batch in venue.batches] == [3, 2]


class HoldsFollowUps(Half):
    """Leaves follow-ups without an answer until :meth:`settle`."""

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        if self.batches:
            self.answer = None
        super().post_orders(batch, on_outcome)


async def test_a_drain_waits_for_the_answers_of_follow_ups() -> None:
    venue = HoldsFollowUps()
    policy = GroupPolicy("complete", order_type="GTC")
    async with Executor(fok(group_policy=policy), venue) as executor:
        executor.submit(signal())
        await until(lambda: venue.waiting)
        executor.halt("stop")
        draining = asyncio.create_task(executor.drain())
        for _ in range(10):
            await asyncio.sleep(0)
        # What is cancelled now would miss an order that comes to rest afterwards.
        assert not draining.done()
        venue.settle(all_live)
        await draining


async def test_the_answer_of_a_follow_up_is_booked_while_the_executor_closes() -> None:
    venue, journal = HoldsFollowUps(), MemoryJournal()
    executor = Executor(fok(group_policy=GroupPolicy("complete")), venue, journal=journal)
    async with executor:
        executor.submit(signal())
        await until(lambda: venue.waiting)
        closing = asyncio.create_task(executor.close())
        await until(lambda: not executor.trading_enabled)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not closing.done()
        venue.settle(all_matched)
        await closing
        executor.ledger.check()
        assert executor.ledger.held() == 0
    assert journal.kinds.count("Answered") == 2


async def test_a_follow_up_that_a_group_refuses_holds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise InternalError("priced differently than asked")

    monkeypatch.setattr(LegGroup, "sent", refuse)
    venue, journal = Half(), MemoryJournal()
    policy = GroupPolicy("complete")
    async with Executor(fok(group_policy=policy), venue, journal=journal) as executor:
        result = await executor.submit(signal())
        assert executor.ledger.held() == 0
        assert executor.risk.spent_micro == result.cost_micro
    assert len(venue.batches) == 1
    assert journal.kinds[-3:] == ["Intent", "Signed", "Close"]


async def test_resting_legs_are_cancelled_when_patience_is_over() -> None:
    def half_resting(batch: OrderBatch) -> Outcome:
        return answer_with(batch, matched(batch, 0), {"status": "live"}, {"status": "live"})

    venue = ScriptedVenue(half_resting)
    cancelled: list[OrderId] = []

    async def cancel(order_ids: Any) -> tuple[OrderId, ...]:
        cancelled.extend(order_ids)
        for order_id in order_ids:
            venue.statuses[order_id] = status(order_id, LegState.CANCELLED, 0)
        venue.answer = all_matched
        return tuple(order_ids)

    venue.cancel_orders = cancel  # type: ignore[method-assign]
    policy = GroupPolicy("complete", patience_ms=40)
    seen: list[TradeResult] = []
    async with Executor(config(group_policy=policy), venue) as executor:
        executor.on_group(seen.append)
        result = await executor.submit(signal())
        assert [one.state for one in result.legs[1:]] == [LegState.LIVE] * 2
        await until(lambda: len(venue.batches) == 2)
        await until(lambda: seen and seen[-1].is_whole)
    assert cancelled == list(venue.batches[0].order_ids[1:])
    assert len(seen[-1].follow_ups) == 2


async def test_a_group_says_until_when_its_resting_legs_have_time() -> None:
    def half_resting(batch: OrderBatch) -> Outcome:
        return answer_with(batch, matched(batch, 0), {"status": "live"}, {"status": "live"})

    clock = FakeClock()
    venue = ScriptedVenue(half_resting)
    policy = GroupPolicy("complete", patience_ms=40_000)
    async with Executor(config(group_policy=policy), venue, clock=clock) as executor:
        await executor.submit(signal())
        (group,) = executor.leg_groups
        waits = group.next_action(clock.time_ms())
        assert isinstance(waits, Wait)
        assert waits.until_ms == clock.time_ms() + 40_000
        assert isinstance(group.next_action(clock.time_ms() + 40_000), Cancel)


async def test_an_even_group_that_rests_is_not_looked_at_again_and_again() -> None:
    venue = ScriptedVenue(all_live)
    policy = GroupPolicy("complete", patience_ms=1)
    async with Executor(config(group_policy=policy), venue) as executor:
        await executor.submit(signal())
        (group,) = executor.leg_groups
        # No patience ends: thousands of such groups would otherwise keep the loop busy.
        late = group.next_action(executor._clock.time_ms() + 1_000_000)
        assert late == Wait("resting", group.order_ids)
        assert late.until_ms is None


# limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_group_cost": "7.99"}, SkipReason.MAX_GROUP_COST),
        ({"max_daily_cost": "7.99"}, SkipReason.MAX_DAILY_COST),
        ({"max_open_exposure": "7.99"}, SkipReason.MAX_EXPOSURE),
        ({"max_legging_loss": "5.99"}, SkipReason.MAX_LEGGING_LOSS),
        ({"max_quote_age_ms": 1000}, SkipReason.STALE_QUOTE),
    ],
)
async def test_a_limit_refuses_before_anything_is_held_or_sent(
    limits: dict[str, Any], reason: SkipReason
) -> None:
    venue = ScriptedVenue(all_matched)
    async with Executor(config(**limits), venue) as executor:
        submission = executor.submit(signal())
        assert submission.skipped is reason
        assert (venue.batches, executor.ledger.held()) == ([], 0)
        assert executor.risk.exposure_micro == executor.risk.spent_micro == 0


async def test_a_group_at_its_limits_passes() -> None:
    limits: dict[str, Any] = {
        "max_group_cost": 8,
        "max_daily_cost": 8,
        "max_open_exposure": 8,
        "max_legging_loss": 6,
    }
    async with Executor(config(**limits), ScriptedVenue(all_matched)) as executor:
        assert (await executor.submit(signal())).success
        assert executor.submit(signal()).skipped is SkipReason.MAX_DAILY_COST


async def test_a_group_that_came_to_nothing_costs_nothing() -> None:
    venue = ScriptedVenue(lambda batch: answer_with(batch, REFUSED))
    async with Executor(config(max_open_exposure=8, max_daily_cost=8), venue) as executor:
        for _ in range(3):
            assert not (await executor.submit(signal())).success
        assert executor.risk.exposure_micro == executor.risk.spent_micro == 0


async def test_one_unknown_group_stops_the_next_until_it_is_resolved() -> None:
    venue = ScriptedVenue(lambda _: NoAnswer(error=OutcomeUnknownError("reset")))
    async with Executor(config(max_unknown_groups=1), venue) as executor:
        result = await executor.submit(signal())
        assert executor.submit(signal()).skipped is SkipReason.MAX_UNKNOWN_GROUPS
        venue.answer = all_live
        for one in result.unknown_orders[:2]:
            assert executor.give_up_unknown(one.order_id)
            assert executor.submit(signal()).skipped is SkipReason.MAX_UNKNOWN_GROUPS
        assert executor.give_up_unknown(result.unknown_orders[2].order_id)
        assert (await executor.submit(signal())).success


async def test_halt_and_reduce_only_hold_until_they_are_lifted() -> None:
    venue = ScriptedVenue(all_matched)
    sells = LegsSignal([leg(1, "SELL", "0.40", 10)])
    async with Executor(config(), venue) as executor:
        executor.update_positions({"1": 100})
        executor.halt("by hand")
        for given in (signal(), sells):
            submission = executor.submit(given)
            assert submission.skipped is SkipReason.HALTED
            assert (await submission).detail == "by hand"
        executor.resume()
        executor.reduce_only(True)
        assert executor.submit(signal()).skipped is SkipReason.REDUCE_ONLY
        assert (await executor.submit(sells)).success
        executor.reduce_only(False)
        assert (await executor.submit(signal())).success


async def test_a_crossed_quote_is_skipped() -> None:
    given = signal()
    crossed = given.replace(child=quote(3, "0.20", "0.20"))
    async with Executor(config(), ScriptedVenue(all_matched)) as executor:
        assert executor.submit(crossed).skipped is SkipReason.CROSSED_QUOTE


# selling without inventory ------------------------------------------------------------------------


def naked_sale() -> ArbSignal:
    given = signal("SELL_PARENT_BUY_CHILDREN", ("0.70", "0.30", "0.20"))
    assert given.parent is not None
    return given.replace(parent=given.parent.replace(complement_token_id=77))


async def test_a_sale_without_inventory_is_skipped_by_default() -> None:
    async with Executor(config(), ScriptedVenue(all_matched)) as executor:
        assert executor.submit(naked_sale()).skipped is SkipReason.INSUFFICIENT_POSITION


async def test_by_policy_the_complement_is_bought_instead() -> None:
    venue = ScriptedVenue(all_matched)
    async with Executor(config(sell_policy="buy_complement"), venue) as executor:
        result = await executor.submit(naked_sale())
        assert result.success
        assert [(one.token_id, one.side, one.price_e4) for one in result.legs] == [
            ("77", Side.BUY, 3000),
            ("2", Side.BUY, 3000),
            ("3", Side.BUY, 2000),
        ]
        # The same edge as the sale would have had, and nothing at risk once it is whole.
        assert result.expected_pnl_micro == result.provisional_pnl_micro == 2_000_000
        executor.update_positions({"1": 10})
        sold = await executor.submit(naked_sale())
        assert [one.side for one in sold.legs] == [Side.SELL, Side.BUY, Side.BUY]


def fill(order_id: OrderId, state: str) -> Fill:
    return Fill(
        trade_id="t1",
        order_id=order_id,
        token_id=leg().token_id,
        side=Side.BUY,
        price_e4=3000,
        size_micro=10_000_000,
        is_taker=True,
        status=state,
        match_time_s=0,
    )


def status(order_id: OrderId, state: LegState, filled: int) -> OrderStatus:
    return OrderStatus(
        order_id=order_id,
        state=state,
        token_id=leg().token_id,
        side=Side.BUY,
        price_e4=3000,
        size_micro=10_000_000,
        filled_micro=filled,
        status=state,
        trade_ids=("t1",) if filled else (),
    )


async def test_a_resting_group_that_was_cancelled_ties_nothing_up() -> None:
    venue = ScriptedVenue(all_live)
    async with Executor(config(), venue) as executor:
        result = await executor.submit(signal())
        assert executor.risk.exposure_micro == 8_000_000
        for order_id in result.order_ids:
            venue.statuses[order_id] = status(order_id, LegState.CANCELLED, 0)
        await executor.reconcile()
        assert executor.risk.exposure_micro == 0


async def test_positions_that_were_redeemed_give_their_exposure_back() -> None:
    venue = Desk(all_matched)
    async with Executor(fok(max_open_exposure=10), venue) as executor:
        assert (await executor.submit(signal())).success
        settle(venue, 0, "CONFIRMED")
        await executor.reconcile()
        assert executor.risk.exposure_micro == 8_000_000
        assert executor.submit(signal()).skipped is SkipReason.MAX_EXPOSURE
        executor.update_positions(dict.fromkeys("123", 5))
        assert executor.risk.exposure_micro == 4_000_000
        executor.update_positions(dict.fromkeys("123", 0))
        assert executor.risk.exposure_micro == 0
        assert (await executor.submit(signal())).success


async def test_what_the_policy_sells_gives_its_exposure_back() -> None:
    venue = Half(then=all_matched)
    venue.balance_ms = 10**15
    venue.positions[TokenId("1")] = 10_000_000
    async with Executor(fok(group_policy="unwind", follow_interval_s=0.005), venue) as executor:
        task = executor.submit(signal())
        settle(venue, 0, "CONFIRMED")
        for order_id in venue.batches[0].order_ids[1:]:
            del venue.fills[order_id], venue.statuses[order_id]
        await task
        await until(lambda: len(venue.batches) == 2)
        assert executor.risk.exposure_micro >= 3_000_000
        settle(venue, 1, "CONFIRMED")
        venue.positions[TokenId("1")] = 0
        await until(lambda: not executor._tracker.orders)
        executor.update_positions({"1": 0}, as_of_ms=10**15 + 1)
        await until(lambda: executor.risk.exposure_micro == 0)
