"""An unknown order is asked for at once, sent again only as the same bytes, and never doubled."""

import asyncio
from typing import Any

import orjson
import pytest

from polyexec.core.orders import split_batch
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Answer, NoAnswer, OrderBatch, OrderStatus, Outcome
from polyexec.core.resolution import NextStep, ResolutionPolicy
from polyexec.core.tracking import OrderTracker
from polyexec.enums import LegState, Side
from polyexec.errors import NotSentError, OutcomeUnknownError
from polyexec.executor import Executor
from polyexec.models import OrderId
from tests.unit.core.support import leg, signal
from tests.unit.core.test_tracking import ORDER, Books
from tests.unit.test_executor import config, until
from tests.unit.venues import ScriptedVenue, all_live, answer_with

POLICY = ResolutionPolicy(first_ask_ms=100, absent_after_ms=10_000, least_answers=2)
RESENDS = ResolutionPolicy(
    first_ask_ms=100, absent_after_ms=10_000, resend_after_ms=1_000, least_answers=2
)


def lost(batch: OrderBatch) -> Outcome:
    return NoAnswer(error=OutcomeUnknownError("reset"))


class Unknown(Books):
    """A BUY of 10 at 0.40 whose answer was lost."""

    def __init__(
        self,
        policy: ResolutionPolicy = POLICY,
        entry: bytes = b"{}",
        state: LegState = LegState.UNKNOWN,
    ) -> None:
        super().__init__()
        self.tracker = OrderTracker(self.ledger, self.clock, policy)
        self.tracker.book_answer(
            order_id=ORDER,
            leg=self.leg,
            reservation=self.reservation,
            outcome=LegOutcome(state=state),
            entry=entry,
        )

    def ask(self, after_ms: int) -> NextStep:
        self.clock.advance(after_ms)
        return self.tracker.not_found(ORDER, self.clock.ms)


# the books ----------------------------------------------------------------------------------------


def test_money_stays_held_until_there_is_evidence_of_absence() -> None:
    books = Unknown()
    held = books.figures
    assert [books.ask(1_000) for _ in range(9)] == [NextStep.ASK] * 9
    assert books.figures == held
    assert books.ask(1_000) is NextStep.ABSENT
    assert books.figures == (0, 0, 0)
    assert books.tracker.orders == ()
    assert books.ask(1_000) is NextStep.ASK  # not ours any more: nothing happens


def test_a_delayed_order_that_the_exchange_dropped_frees_its_money() -> None:
    books = Unknown(state=LegState.DELAYED)
    held = books.figures
    assert [books.ask(1_000) for _ in range(9)] == [NextStep.ASK] * 9
    assert books.figures == held
    assert books.ask(1_000) is NextStep.ABSENT
    assert books.figures == (0, 0, 0)


def test_an_order_without_its_bytes_is_never_sent_again() -> None:
    books = Unknown(RESENDS, entry=b"")
    assert {books.ask(1_000) for _ in range(9)} == {NextStep.ASK}


@pytest.mark.parametrize(
    "state", [LegState.REJECTED, LegState.UNKNOWN, LegState.UNMATCHED, LegState.CANCELLED]
)
def test_a_refusal_of_the_second_copy_says_nothing_of_the_first(state: LegState) -> None:
    books = Unknown(RESENDS)
    held = books.figures
    books.ask(1_000)
    assert books.ask(1_000) is NextStep.RESEND
    books.tracker.book_resend(ORDER, LegOutcome(state=state, error="not enough balance"))
    assert books.figures == held
    (order,) = books.tracker.unknown_orders
    assert order.state is LegState.UNKNOWN
    assert order.unknown is not None
    assert order.unknown.was_resent
    assert {books.ask(1_000) for _ in range(9)} == {NextStep.ASK}
    assert books.ask(1_000) is NextStep.ABSENT


def test_an_acceptance_of_the_second_copy_is_the_orders_own() -> None:
    books = Unknown(RESENDS)
    outcome = LegOutcome(state=LegState.MATCHED, filled_micro=10_000_000, paid_micro=4_000_000)
    books.tracker.book_resend(ORDER, outcome)
    assert books.figures == (-4_168_000, 0, 10_000_000)
    assert books.tracker.unknown_orders == ()
    books.tracker.book_resend(ORDER, outcome)  # twice is once
    assert books.figures == (-4_168_000, 0, 10_000_000)


def test_a_person_may_give_an_unknown_order_up_but_no_other() -> None:
    books = Unknown()
    assert books.tracker.give_up(ORDER)
    assert not books.tracker.give_up(ORDER)
    assert books.figures == (0, 0, 0)
    live = Books()
    live.answer(LegState.LIVE)
    assert not live.tracker.give_up(ORDER)
    assert live.figures[1] > 0


def test_unknown_orders_stand_in_the_sequence_in_which_they_are_due() -> None:
    books = Unknown()
    made = books.ledger.reserve([("", 1)])
    assert isinstance(made, tuple)
    books.tracker.not_answered(ORDER)  # pauses
    books.tracker.book_answer(
        order_id=OrderId("0x2"),
        leg=books.leg,
        reservation=made[0],
        outcome=LegOutcome(state=LegState.UNKNOWN),
    )
    assert [order.order_id for order in books.tracker.unknown_orders] == ["0x2", ORDER]


# the bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", [1, 2, 3])
async def test_a_batch_is_taken_apart_byte_for_byte(generation: int) -> None:
    venue = ScriptedVenue(all_live)
    async with Executor(config(), venue) as executor:
        await executor.submit(signal(quotes={"generation": generation}))
    (batch,) = venue.batches
    entries = split_batch(batch.body)
    assert b"[" + b",".join(entries) + b"]" == batch.body
    assert [orjson.loads(entry) for entry in entries] == orjson.loads(batch.body)
    assert len(entries) == 3


# the executor -------------------------------------------------------------------------------------


def impatient(**changes: Any) -> Any:
    return config(max_in_flight=9, **changes)


async def test_an_unknown_order_is_asked_for_without_waiting_for_the_follow_up() -> None:
    venue = ScriptedVenue(lost)
    async with Executor(impatient(), venue) as executor:
        result = await executor.submit(signal())
        ids = [leg.order_id for leg in result.unknown_orders]
        assert len(ids) == 3
        for order_id in ids:
            venue.statuses[order_id] = OrderStatus(
                order_id=order_id,
                state=LegState.CANCELLED,
                token_id=leg().token_id,
                side=Side.BUY,
                price_e4=3000,
                size_micro=10_000_000,
                filled_micro=0,
                status="CANCELED",
            )
        assert executor.ledger.held() > 0
        await until(lambda: executor.ledger.held() == 0)
    assert len(venue.batches) == 1


async def test_only_the_same_signed_bytes_are_sent_again_and_once() -> None:
    venue = ScriptedVenue(lost)
    # fractions of a millisecond: five answers are the evidence here
    async with Executor(impatient(unknown_resend_after_s=0.001), venue) as executor:
        executor._tracker._resolution = ResolutionPolicy(
            first_ask_ms=1, longest_pause_ms=2, least_answers=5, resend_after_ms=1
        )
        await executor.submit(signal())
        await until(lambda: len(venue.batches) == 4)
        asked = len(venue.asked)
        await until(lambda: len(venue.asked) > asked + 30)
        first, *again = venue.batches
        assert len(again) == 3
        assert {b.body for b in again} == {b"[" + e + b"]" for e in split_batch(first.body)}
        assert {b.order_ids[0] for b in again} == set(first.order_ids)
        assert executor.ledger.held() > 0


async def test_nothing_is_sent_again_while_trading_is_off() -> None:
    venue = ScriptedVenue(lost)
    async with Executor(impatient(unknown_resend_after_s=0.001), venue) as executor:
        executor._tracker._resolution = ResolutionPolicy(
            first_ask_ms=1, longest_pause_ms=2, least_answers=2, resend_after_ms=1
        )
        await executor.submit(signal())
        executor.set_trading_enabled(False)
        await until(lambda: len(venue.asked) > 60)
        assert len(venue.batches) == 1
        executor.set_trading_enabled(True)
        await until(lambda: len(venue.batches) == 4)


@pytest.mark.parametrize("fault", [NotSentError("no connection"), OutcomeUnknownError("reset")])
async def test_a_second_send_that_fails_changes_nothing(fault: Exception) -> None:
    venue = ScriptedVenue(lambda _: NoAnswer(error=OutcomeUnknownError("reset")))
    async with Executor(impatient(unknown_resend_after_s=0.001), venue) as executor:
        executor._tracker._resolution = ResolutionPolicy(
            first_ask_ms=1, longest_pause_ms=2, least_answers=2, resend_after_ms=1
        )
        await executor.submit(signal())
        held = executor.ledger.held()
        venue.answer = lambda _: NoAnswer(error=fault)  # type: ignore[arg-type]
        await until(lambda: len(venue.batches) == 4)
        await asyncio.sleep(0.005)
        assert executor.ledger.held() == held


async def test_a_second_copy_that_is_taken_is_booked() -> None:
    venue = ScriptedVenue(lost)
    async with Executor(impatient(unknown_resend_after_s=0.001), venue) as executor:
        executor._tracker._resolution = ResolutionPolicy(
            first_ask_ms=1, longest_pause_ms=2, least_answers=2, resend_after_ms=1
        )
        await executor.submit(signal())

        def duplicated_or_live(batch: OrderBatch) -> Answer:
            return answer_with(batch, {"status": "live"})

        venue.answer = duplicated_or_live
        await until(lambda: not executor._tracker.unknown_orders)
        assert {order.state for order in executor._tracker.orders} == {LegState.LIVE}


async def test_give_up_frees_the_money_of_unknown_orders_only() -> None:
    venue = ScriptedVenue(lost)
    async with Executor(impatient(), venue) as executor:
        result = await executor.submit(signal())
        for one in result.unknown_orders:
            assert executor.give_up_unknown(one.order_id.upper().replace("0X", "0x"))
            assert not executor.give_up_unknown(one.order_id)
        assert executor.ledger.held() == 0
