"""The path of a signal: nine checks in their order, and money that is held exactly as long."""

import base64
import json
from collections.abc import Callable
from itertools import combinations
from typing import Any

import msgspec
import pytest
from eth_account import Account

from polyexec.core.auth import ApiCredentials, l2_signature
from polyexec.core.gate import Gate
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.orders import Order, SignedOrder
from polyexec.core.pipeline import Pipeline, Plan
from polyexec.core.ports import Answer, NoAnswer
from polyexec.core.signer import OrderSigner
from polyexec.core.tracking import OrderTracker
from polyexec.enums import Generation, LegState, SignatureType, SkipReason
from polyexec.errors import InputError, InternalError, NotSentError, OutcomeUnknownError
from polyexec.models import TokenId
from polyexec.results import TradeResult
from polyexec.signals import ArbSignal, LegsSignal, Signal
from tests.unit.core.support import FakeClock, leg, policy, signal

KEY = "0x" + "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
SECRET = base64.urlsafe_b64encode(bytes(range(32))).decode()
CREDENTIALS = ApiCredentials("3e1c0a7e-9b1d-4e0c-8a65-6f2f1b7d5c11", SECRET, "passphrase")
BUILDER = "0x" + "ab" * 32
START = 1_000_000_000
COOLDOWN_MS = 5000


class OpenGate(Gate):
    """One whose methods a test can replace."""


class Bench:
    """A pipeline and everything that it moves."""

    def __init__(
        self,
        *,
        signer: OrderSigner | None = None,
        clock: FakeClock | None = None,
        balance: int = START,
        max_in_flight: int = 1,
        **rules: Any,
    ) -> None:
        self.clock = clock or FakeClock()
        self.ledger = Ledger()
        self.ledger.update(COLLATERAL, balance, as_of_ms=1)
        self.gate = OpenGate(
            enabled=True, cooldown_ns=COOLDOWN_MS * 1_000_000, max_in_flight=max_in_flight
        )
        self.tracker = OrderTracker(self.ledger, self.clock)
        self.ticks = 0
        self.pipeline = Pipeline(
            signer=signer or OrderSigner(KEY),
            credentials=CREDENTIALS,
            ledger=self.ledger,
            gate=self.gate,
            tracker=self.tracker,
            policy=policy(**rules),
            clock=self.clock,
            stopwatch=self._watch,
            builder=BUILDER,
        )

    def _watch(self) -> int:
        self.ticks += 1000  # each look costs a microsecond
        return self.ticks

    def give_shares(self, *tokens: int) -> None:
        for token in tokens:
            self.ledger.update(TokenId(str(token)), START, as_of_ms=1)

    def plan(self, given: Signal) -> Plan:
        made = self.pipeline.prepare(given)
        assert isinstance(made, Plan), made.detail
        return made

    def skipped(self, given: Signal) -> TradeResult:
        made = self.pipeline.prepare(given)
        assert isinstance(made, TradeResult)
        assert made.skipped is not None
        return made

    def finish(self, plan: Plan, outcome: Answer | NoAnswer) -> TradeResult:
        return self.pipeline.finish(plan, outcome, written_ns=self.ticks)

    def assert_nothing_held(self, *, in_flight: int = 0) -> None:
        self.ledger.check()
        assert self.ledger.open_reservations == ()
        assert self.ledger.available() == self.ledger.balance()
        assert self.gate.in_flight == in_flight


def resign(
    entry: dict[str, Any], *, generation: Generation = Generation.CLOB_V2, neg_risk: bool = False
) -> SignedOrder:
    """Sign an order of a body again, by the other road."""
    order = Order(
        generation=generation,
        token_id=entry["tokenId"],
        side=entry["side"],
        maker_micro=int(entry["makerAmount"]),
        taker_micro=int(entry["takerAmount"]),
        neg_risk=neg_risk,
        salt=entry["salt"],
        timestamp_ms=int(entry["timestamp"]),
        builder=entry["builder"],
    )
    return OrderSigner(KEY).sign(order)


def answer(plan: Plan, *entries: dict[str, Any] | None, status: int = 200) -> Answer:
    """Return the exchange's answer: per leg, changes to "live", in the order of the legs."""
    body = [
        {"success": True, "errorMsg": "", "orderID": order_id, "status": "live"} | (changes or {})
        for order_id, changes in zip(
            plan.batch.order_ids, entries or [None] * len(plan.legs), strict=True
        )
    ]
    return Answer(status=status, body=json.dumps(body).encode())


def filled(making: str, taking: str) -> dict[str, Any]:
    return {"status": "matched", "makingAmount": making, "takingAmount": taking}


REFUSED = {"orderID": "", "status": "", "errorMsg": "not enough balance / allowance"}


# the nine checks ----------------------------------------------------------------------------------

CHECKS = list(SkipReason)[:9]
SELLS = "BUY_PARENT_SELL_CHILDREN"  # its BUY leg comes first, so money is looked at first


def bench_that_fails(reasons: set[SkipReason]) -> tuple[Bench, Signal, int]:
    """Return a bench and a signal to which each of these reasons applies, and the in-flight."""
    bench = Bench(balance=0 if SkipReason.INSUFFICIENT_BALANCE in reasons else START)
    if SkipReason.INSUFFICIENT_POSITION not in reasons:
        bench.give_shares(2, 3)
    in_flight = 0
    if SkipReason.ALREADY_SUBMITTING in reasons:
        # Before the cooldown begins: later nothing enters.
        assert bench.gate.enter(0) is None
        in_flight = 1
    if SkipReason.COOLDOWN_ACTIVE in reasons:
        bench.gate.stamp(0)
        bench.clock.advance(COOLDOWN_MS - 1)
    bench.gate.set_enabled(SkipReason.TRADING_DISABLED not in reasons)
    prices = ("0.99", "0.49", "0.49") if SkipReason.PNL_BELOW_THRESHOLD in reasons else (0.6,) * 3
    size = "4.99" if SkipReason.INVALID_SIZE in reasons else "5"
    depth = "4.98" if SkipReason.INSUFFICIENT_LIQUIDITY in reasons else "5"
    given = signal(
        SELLS, prices, size=size, quotes={"best_ask_size": depth, "best_bid_size": depth}
    )
    if SkipReason.NO_CANDIDATES in reasons:
        given = given.replace(child=None)
    return bench, given, in_flight


def test_a_signal_that_fails_no_check_is_planned() -> None:
    bench, given, _ = bench_that_fails(set())
    assert bench.plan(given).signal is given


@pytest.mark.parametrize("reason", CHECKS)
def test_each_check_skips_with_its_own_reason(reason: SkipReason) -> None:
    bench, given, in_flight = bench_that_fails({reason})
    result = bench.skipped(given)
    assert result.skipped is reason
    assert result.detail
    assert result.signal is given
    assert not result.success
    assert result.legs == ()
    bench.assert_nothing_held(in_flight=in_flight)


@pytest.mark.parametrize("start", range(9))
def test_of_all_checks_that_fail_the_first_in_the_missions_order_is_reported(start: int) -> None:
    bench, given, in_flight = bench_that_fails(set(CHECKS[start:]))
    assert bench.skipped(given).skipped is CHECKS[start]
    bench.assert_nothing_held(in_flight=in_flight)


@pytest.mark.parametrize(("first", "second"), list(combinations(CHECKS, 2)))
def test_of_two_checks_that_fail_the_earlier_is_reported(
    first: SkipReason, second: SkipReason
) -> None:
    bench, given, in_flight = bench_that_fails({first, second})
    assert bench.skipped(given).skipped is first
    bench.assert_nothing_held(in_flight=in_flight)


def test_a_skip_starts_no_cooldown() -> None:
    bench, given, _ = bench_that_fails({SkipReason.INSUFFICIENT_BALANCE})
    assert bench.skipped(given).skipped is SkipReason.INSUFFICIENT_BALANCE
    bench.ledger.update(COLLATERAL, START, as_of_ms=2)
    assert bench.plan(given)


@pytest.mark.parametrize("missing", [1, 0])
def test_the_balance_must_cover_slipped_price_and_fee_to_the_micro_unit(missing: int) -> None:
    given = signal(quotes={"fee_rate": "0.07"})
    # 10 shares at 0.31, 0.31, 0.21 and the fees at these prices
    needed = 8_300_000 + 149_730 + 149_730 + 116_130
    bench = Bench(balance=needed - missing, slippage_enabled=True)
    if missing:
        result = bench.skipped(given)
        assert result.skipped is SkipReason.INSUFFICIENT_BALANCE
        assert result.detail == "8.71559 needed, 8.715589 available"
        bench.assert_nothing_held()
    else:
        plan = bench.plan(given)
        assert bench.ledger.available() == 0
        assert bench.ledger.held() == sum(r.reserved_micro for r in plan.reservations) == needed


@pytest.mark.parametrize("missing", [1, 0])
def test_a_sell_needs_its_shares_to_the_micro_unit(missing: int) -> None:
    bench = Bench()
    bench.ledger.update(TokenId("1"), 10_000_000 - missing, as_of_ms=1)
    made = bench.pipeline.prepare(LegsSignal([leg(1, "SELL")]))
    assert isinstance(made, TradeResult) is bool(missing)
    if isinstance(made, TradeResult):
        assert made.skipped is SkipReason.INSUFFICIENT_POSITION
        assert made.detail == "token 1…: 10 shares to sell, 9.999999 available"


def test_money_of_an_order_that_may_live_is_not_available_to_the_next_signal() -> None:
    bench = Bench(balance=8_000_000)
    bench.finish(bench.plan(signal()), NoAnswer(error=OutcomeUnknownError("timed out")))
    bench.clock.advance(COOLDOWN_MS)
    result = bench.skipped(signal())
    assert result.skipped is SkipReason.INSUFFICIENT_BALANCE
    assert result.detail == "8 needed, 0 available"


def test_the_cooldown_begins_with_the_plan_and_not_with_its_answer() -> None:
    bench = Bench()
    plan = bench.plan(signal())
    bench.clock.advance(COOLDOWN_MS - 1)
    bench.finish(plan, NoAnswer(error=NotSentError("refused")))
    assert bench.skipped(signal()).skipped is SkipReason.COOLDOWN_ACTIVE
    bench.clock.advance(1)
    assert bench.plan(signal())


def test_off_tick_prices_and_unknown_fees_have_their_own_reasons() -> None:
    bench = Bench()
    off = bench.skipped(signal(prices=("0.305", "0.30", "0.20")))
    assert off.skipped is SkipReason.OFF_TICK
    unknown = bench.skipped(signal(quotes={"fee_rate": None}))
    assert unknown.skipped is SkipReason.FEE_UNKNOWN
    bench.assert_nothing_held()


def test_skip_says_what_the_caller_says() -> None:
    result = Bench().pipeline.skip(signal(), SkipReason.CLOSED, "executor closed")
    assert (result.skipped, result.detail) == (SkipReason.CLOSED, "executor closed")


# the plan -----------------------------------------------------------------------------------------


def test_the_plan_is_a_signed_authenticated_batch() -> None:
    bench = Bench(order_type="FOK")
    plan = bench.plan(signal(quotes={"generation": Generation.CLOB_V2, "neg_risk": True}))
    batch = plan.batch
    entries = json.loads(batch.body)
    assert batch.path == "/orders"
    assert [entry["order"]["tokenId"] for entry in entries] == ["1", "2", "3"]
    assert {entry["orderType"] for entry in entries} == {"FOK"}
    assert {entry["owner"] for entry in entries} == {CREDENTIALS.api_key}
    assert {entry["order"]["builder"] for entry in entries} == {BUILDER}
    assert {entry["order"]["timestamp"] for entry in entries} == {str(bench.clock.ms)}
    again = [resign(entry["order"], neg_risk=True) for entry in entries]
    assert [entry["order"]["signature"] for entry in entries] == [o.signature for o in again]
    assert batch.order_ids == tuple(order.order_id for order in again)
    assert len(set(batch.order_ids)) == 3
    address = Account.from_key(KEY).address
    assert {entry["order"]["signer"] for entry in entries} == {address}
    seconds = str(bench.clock.ms // 1000)
    assert dict(batch.headers) == {
        "POLY_ADDRESS": address,
        "POLY_SIGNATURE": l2_signature(SECRET, int(seconds), "POST", "/orders", batch.body),
        "POLY_TIMESTAMP": seconds,
        "POLY_API_KEY": CREDENTIALS.api_key,
        "POLY_PASSPHRASE": CREDENTIALS.passphrase,
    }
    assert SECRET not in repr(batch)
    assert CREDENTIALS.passphrase not in repr(batch)


def test_leg_settings_reach_the_body() -> None:
    legs = [
        leg(1, order_type="GTD", expiration=1_900_000_000, post_only=True),
        leg(2, order_type="FAK"),
        leg(3),
    ]
    entries = json.loads(Bench().plan(LegsSignal(legs)).batch.body)
    assert [entry["orderType"] for entry in entries] == ["GTD", "FAK", "GTC"]
    assert [entry["postOnly"] for entry in entries] == [True, False, False]
    assert [entry["order"]["expiration"] for entry in entries] == ["1900000000", "0", "0"]


def test_generations_may_differ_within_a_batch() -> None:
    legs = [leg(number, generation=number) for number in (1, 2, 3)]
    plan = Bench().plan(LegsSignal(legs))
    entries = json.loads(plan.batch.body)
    for entry, order_id, number in zip(entries[1:], plan.batch.order_ids[1:], (2, 3), strict=True):
        assert resign(entry["order"], generation=Generation(number)).order_id == order_id
    assert ["nonce" in entry["order"] for entry in entries] == [True, False, False]


def test_a_plan_holds_its_place_until_it_is_finished() -> None:
    bench = Bench()
    plan = bench.plan(signal())
    assert bench.gate.in_flight == 1
    bench.clock.advance(COOLDOWN_MS)
    assert bench.skipped(signal()).skipped is SkipReason.ALREADY_SUBMITTING
    bench.finish(plan, NoAnswer(error=NotSentError("refused")))
    bench.assert_nothing_held()


def test_a_withdrawn_plan_gives_everything_back() -> None:
    bench = Bench()
    bench.pipeline.withdraw(bench.plan(signal()))
    bench.assert_nothing_held()
    assert bench.ledger.available() == START


# faults on the way --------------------------------------------------------------------------------


def failing_signer(at_order: int) -> OrderSigner:
    made = iter(range(100))

    def salt() -> int:
        number = next(made)
        if number == at_order:
            raise OSError("no randomness left")
        return number + 1

    return OrderSigner(KEY, salt=salt)


@pytest.mark.parametrize("at_order", [0, 1, 2])
def test_an_exception_while_signing_releases_everything(at_order: int) -> None:
    bench = Bench(signer=failing_signer(at_order))
    bench.give_shares(2, 3)
    with pytest.raises(OSError, match="no randomness"):
        bench.pipeline.prepare(signal(SELLS, (0.6,) * 3))
    bench.assert_nothing_held()
    assert bench.ledger.available() == START
    assert bench.tracker.orders == ()


def test_an_order_that_cannot_be_signed_releases_everything() -> None:
    wallet = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"
    signer = OrderSigner(KEY, signature_type=SignatureType.POLY_1271, funder=wallet)
    bench = Bench(signer=signer)
    with pytest.raises(InputError, match="signature_type"):
        bench.pipeline.prepare(signal(quotes={"generation": 1}))
    bench.assert_nothing_held()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_even_an_interrupt_between_reserving_and_sending_releases_everything(
    error: type[BaseException],
) -> None:
    class Stopping(FakeClock):
        """Interrupts when the batch is being signed: the money is held by then."""

        def time_ms(self) -> int:
            raise error

    bench = Bench(clock=Stopping())
    with pytest.raises(error):
        bench.pipeline.prepare(signal())
    bench.assert_nothing_held()


def test_a_gate_that_closes_between_check_and_entry_is_obeyed() -> None:
    bench = Bench()
    check, seen = bench.gate.check, []

    def check_and_close(now_ns: int) -> SkipReason | None:
        seen.append(check(now_ns))
        bench.gate.set_enabled(False)
        return seen[-1]

    bench.gate.check = check_and_close  # type: ignore[method-assign]
    assert bench.skipped(signal()).skipped is SkipReason.TRADING_DISABLED
    assert seen == [None]
    bench.assert_nothing_held()


def test_of_two_that_entered_together_the_later_one_yields_to_the_cooldown() -> None:
    bench = Bench(max_in_flight=2)
    enter: Callable[[int], SkipReason | None] = bench.gate.enter

    def enter_after_another(now_ns: int) -> SkipReason | None:
        refusal = enter(now_ns)
        bench.gate.stamp(now_ns)
        return refusal

    bench.gate.enter = enter_after_another  # type: ignore[method-assign]
    assert bench.skipped(signal()).skipped is SkipReason.COOLDOWN_ACTIVE
    bench.assert_nothing_held()


def test_a_fault_in_the_books_ends_the_place_but_frees_no_money() -> None:
    bench = Bench()
    plan = bench.plan(signal())
    (foreign,) = Bench().ledger.reserve([(COLLATERAL, 1)])  # somebody broke the rule
    plan = msgspec.structs.replace(
        plan, reservations=(plan.reservations[0], foreign, plan.reservations[2])
    )
    with pytest.raises(InternalError):
        bench.finish(plan, answer(plan, None, REFUSED, None))
    assert bench.gate.in_flight == 0
    assert bench.ledger.held() >= 5_000_000


# the way back -------------------------------------------------------------------------------------


def test_every_leg_matched_is_a_success_with_cost_and_profit() -> None:
    bench = Bench()
    plan = bench.plan(signal(quotes={"fee_rate": "0.07"}))
    result = bench.finish(
        plan, answer(plan, filled("3", "10"), filled("2.9", "10"), filled("2", "10"))
    )
    fees = 147_000 + 144_130 + 112_000
    assert result.success
    assert result.detail == ""
    assert [one.state for one in result.legs] == [LegState.MATCHED] * 3
    assert result.order_ids == plan.batch.order_ids
    assert result.cost_micro == 7_900_000 + fees
    assert result.expected_pnl_micro == 10_000_000 - 7_900_000 - fees
    assert bench.ledger.balance() == START - 7_900_000 - fees
    assert {bench.ledger.balance(TokenId(str(token))) for token in (1, 2, 3)} == {10_000_000}
    bench.assert_nothing_held()


def test_resting_legs_cost_their_limit_and_stay_held() -> None:
    bench = Bench()
    plan = bench.plan(signal())
    result = bench.finish(plan, answer(plan, filled("1.5", "5"), None, {"status": "delayed"}))
    assert result.success
    states = [one.state for one in result.legs]
    assert states == [LegState.PARTIAL, LegState.LIVE, LegState.DELAYED]
    assert result.cost_micro == 8_000_000
    assert result.expected_pnl_micro == 2_000_000
    assert bench.ledger.held() == 1_500_000 + 3_000_000 + 2_000_000
    assert bench.gate.in_flight == 0


def test_a_batch_of_which_only_a_part_was_accepted_is_no_success_and_frees_only_the_rest() -> None:
    bench = Bench()
    plan = bench.plan(signal())
    result = bench.finish(plan, answer(plan, None, REFUSED, filled("2", "10")))
    assert not result.success
    assert len(result.successful_orders) == 2
    assert [one.error for one in result.failed_orders] == ["not enough balance / allowance"]
    assert result.detail == "not enough balance / allowance"
    assert result.expected_pnl_micro == 0
    assert result.cost_micro == 5_000_000
    assert bench.ledger.held() == 3_000_000
    assert bench.ledger.balance() == START - 2_000_000


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (NoAnswer(error=OutcomeUnknownError("reset after 300 bytes")), LegState.UNKNOWN),
        (Answer(status=502, body=b"<html>"), LegState.UNKNOWN),
        (NoAnswer(error=NotSentError("connection refused")), LegState.NOT_SENT),
        (Answer(status=400, body=b'{"error":"Invalid order payload"}'), LegState.REJECTED),
    ],
    ids=lambda value: str(value)[:20],
)
def test_money_is_held_exactly_as_long_as_an_order_may_live(
    outcome: Answer | NoAnswer, state: LegState
) -> None:
    bench = Bench()
    bench.give_shares(2, 3)
    plan = bench.plan(signal(SELLS, (0.6,) * 3))
    result = bench.finish(plan, outcome)
    assert not result.success
    assert [one.state for one in result.legs] == [state] * 3
    assert result.cost_micro == result.expected_pnl_micro == 0
    assert result.detail == result.legs[0].error != ""
    assert bench.gate.in_flight == 0
    if state is LegState.UNKNOWN:
        assert result.unknown_orders == result.legs
        assert result.failed_orders == ()
        assert bench.ledger.held() == 6_000_000
        assert bench.ledger.held(TokenId("2")) == bench.ledger.held(TokenId("3")) == 10_000_000
        assert tuple(o.order_id for o in bench.tracker.orders) == plan.batch.order_ids
    else:
        assert result.failed_orders == result.legs
        bench.assert_nothing_held()
        assert bench.tracker.orders == ()


def test_a_sold_leg_costs_what_its_complement_would() -> None:
    bench = Bench()
    bench.give_shares(2, 3)
    plan = bench.plan(signal(SELLS, (0.6, 0.5, 0.5)))
    result = bench.finish(
        plan, answer(plan, filled("6", "10"), filled("10", "5.1"), filled("10", "5"))
    )
    assert result.cost_micro == 6_000_000 + 4_900_000 + 5_000_000
    assert result.expected_pnl_micro == 20_000_000 - result.cost_micro
    assert bench.ledger.balance() == START - 6_000_000 + 5_100_000 + 5_000_000
    assert bench.ledger.available() == START - 6_000_000


def test_unequal_fills_count_only_the_complete_sets() -> None:
    bench = Bench(order_type="FOK")
    plan = bench.plan(signal())
    result = bench.finish(
        plan, answer(plan, filled("3", "12"), filled("3", "10"), filled("2", "11"))
    )
    assert [one.filled_micro for one in result.legs] == [12_000_000, 10_000_000, 11_000_000]
    assert result.expected_pnl_micro == 10_000_000 - 8_000_000


def test_the_profit_of_explicit_legs_without_a_payout_is_not_invented() -> None:
    bench = Bench()
    plan = bench.plan(LegsSignal([leg(1)]))
    result = bench.finish(plan, answer(plan, filled("4", "10")))
    assert result.success
    assert result.cost_micro == 4_000_000
    assert result.expected_pnl_micro == 0


def test_each_stage_has_its_microseconds_and_they_add_up() -> None:
    bench = Bench()
    plan = bench.plan(signal())
    stages = plan.latency
    before = (
        *(stages.validate_us, stages.price_us, stages.reserve_us),
        *(stages.sign_us, stages.encode_us),
    )
    assert before == (2, 1, 1, 1, 1)
    written = bench.ticks + 3_000
    bench.ticks = written + 500_000
    received = bench.ticks - 100_000
    outcome = NoAnswer(error=NotSentError("x"), received_ns=received)
    latency = bench.pipeline.finish(plan, outcome, written_ns=written).latency
    assert latency.write_us == 3
    assert latency.response_us == 400
    assert latency.total_us == sum(before) + 3 + 500 + 1
    assert latency.sign_us == stages.sign_us


def test_a_skip_has_only_the_time_it_took() -> None:
    latency = Bench().skipped(signal("MOON_BUY")).latency
    assert latency.validate_us == latency.total_us == 3
    assert latency.sign_us == 0


def test_a_signal_is_never_changed_on_its_way() -> None:
    bench = Bench(slippage_enabled=True)
    given: ArbSignal = signal()
    plan = bench.plan(given)
    assert bench.finish(plan, answer(plan)).signal is given
