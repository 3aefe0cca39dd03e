"""Half a group: worst loss against fractions, and decisions under any order of news."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Any

import msgspec
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from polyexec import _impl
from polyexec.core.candidates import PricedLeg, Skip, price_signal, worst_loss_micro
from polyexec.core.exposure import payoffs_of, whole_sets, worst_loss
from polyexec.core.groups import Cancel, Done, LegGroup, Send, Wait
from polyexec.core.ports import Fill
from polyexec.enums import GroupStep, LegState, OrderType, Settlement, Side, Strategy
from polyexec.models import OrderId
from polyexec.numbers import MICRO, PRICE_SCALE, from_e4, from_micro
from polyexec.policies import GroupPolicy
from polyexec.signals import LegsSignal
from tests.unit.core.support import build_legs, leg, policy, signal

DOLLAR = 10**6


# worst loss ---------------------------------------------------------------------------------------


@st.composite
def leg_signals(draw: st.DrawFn) -> LegsSignal:
    legs = []
    for token in range(draw(st.integers(1, 4))):
        tick = draw(st.sampled_from((1000, 100, 50, 25, 10, 1)))
        legs.append(
            leg(
                token,
                draw(st.sampled_from(list(Side))),
                from_e4(tick * draw(st.integers(1, 10_000 // tick - 1))),
                from_micro(draw(st.integers(500, 100_000)) * 10_000),
                tick_size=from_e4(tick),
                order_type=draw(st.sampled_from(("GTC", "FOK", "FAK"))),
                fee_rate=from_micro(draw(st.sampled_from((0, 70_000, 250_000, 1_000_000)))),
                fee_exponent=draw(st.integers(0, 4)),
            )
        )
    rows = st.lists(st.sampled_from((0, 0, 1, 1, "0.5")), min_size=len(legs), max_size=len(legs))
    outcomes = draw(st.none() | st.lists(rows, min_size=1, max_size=4))
    return LegsSignal(legs, outcomes=outcomes)


def exact_loss(leg: PricedLeg, part: Fraction, price: Fraction, pay: Fraction) -> Fraction:
    """Return what a leg loses when this part of it trades at this price, without any rounding."""
    assert leg.fee_rate_micro is not None
    if leg.order_type.is_immediate and leg.side is Side.BUY:
        paid = part * Fraction(leg.maker_micro, DOLLAR)
        shares = paid / price
    else:
        shares = part * Fraction(leg.size_micro, DOLLAR)
        paid = shares * price
    fee = shares * Fraction(leg.fee_rate_micro, DOLLAR) * (price * (1 - price)) ** leg.fee_exponent
    return fee + (paid - shares * pay if leg.side is Side.BUY else shares * pay - paid)


@given(leg_signals(), st.data())
def test_no_partial_fill_at_the_limit_or_better_loses_more_than_the_worst_loss(
    given_signal: LegsSignal, data: st.DataObject
) -> None:
    legs = build_legs(given_signal, policy())
    assert isinstance(legs, tuple)
    assume(all(one.size_micro and one.maker_micro and one.taker_micro for one in legs))
    payoffs = payoffs_of(given_signal, legs)
    risk = worst_loss(legs, payoffs)
    table = price_signal(given_signal, policy())
    assert not isinstance(table, Skip)
    assert worst_loss_micro(given_signal, table) == risk.loss_micro
    if payoffs is None:
        pays = [Fraction(data.draw(st.integers(0, 1))) for _ in legs]
    else:
        pays = [Fraction(pay, DOLLAR) for pay in data.draw(st.sampled_from(payoffs))]
    lost = Fraction(0)
    for one, pay in zip(legs, pays, strict=True):
        part = Fraction(data.draw(st.integers(0, 8)), 8)
        good = (1, one.limit_e4) if one.side is Side.BUY else (one.limit_e4, PRICE_SCALE - 1)
        price_e4 = data.draw(st.integers(*good))
        lost += exact_loss(one, part, Fraction(price_e4, PRICE_SCALE), pay)
    assert lost <= Fraction(risk.loss_micro, DOLLAR)
    assert risk.loss_of(risk.legs) == risk.loss_micro


@given(leg_signals())
def test_the_worst_loss_happens_at_the_limit_to_the_last_rounding(given_signal: LegsSignal) -> None:
    legs = build_legs(given_signal, policy())
    assert isinstance(legs, tuple)
    assume(all(one.size_micro and one.maker_micro and one.taker_micro for one in legs))
    # Only an immediate BUY can lose more beside its limit, by what its fee can grow.
    assume(not any(one.order_type.is_immediate for one in legs))
    payoffs = payoffs_of(given_signal, legs)
    rows = payoffs
    if rows is None:
        rows = tuple(
            tuple(MICRO * (number >> place & 1) for place in range(len(legs)))
            for number in range(1 << len(legs))
        )
    worst = max(
        sum(
            max(
                Fraction(0),
                exact_loss(
                    one, Fraction(1), Fraction(one.limit_e4, PRICE_SCALE), Fraction(pay, DOLLAR)
                ),
            )
            for one, pay in zip(legs, row, strict=True)
        )
        for row in rows
    )
    loss = worst_loss(legs, payoffs).loss_micro
    assert 0 <= loss - ceil(worst * DOLLAR) <= 10 * len(legs) + len(legs)


@given(st.lists(st.tuples(st.integers(-50, 100), st.integers(1, 60)), min_size=1, max_size=5))
def test_whole_sets_are_in_proportion_and_never_more_than_there_is(
    given_legs: list[tuple[int, int]],
) -> None:
    progress = [done for done, _ in given_legs]
    weights = [weight for _, weight in given_legs]
    sets = max(Fraction(0), min(Fraction(done, weight) for done, weight in given_legs))
    kept = whole_sets(progress, weights)
    assert list(kept) == [int(sets * weight) for weight in weights]
    assert all(keep <= max(done, 0) for keep, done in zip(kept, progress, strict=True))


# decisions ----------------------------------------------------------------------------------------


class Story(msgspec.Struct):
    """One order as the exchange knows it."""

    leg: PricedLeg
    place: int
    purpose: str
    state: LegState = LegState.UNKNOWN
    fills: list[Fill] = []
    seen: set[LegState] = set()
    told: bool = False
    """It ended, and how much of it had traded was told."""
    heard: dict[str, Fill] = {}

    @property
    def filled(self) -> int:
        return sum(fill.size_micro for fill in self.fills)


policies = st.builds(
    GroupPolicy,
    steps=st.sampled_from(
        (
            "hold",
            "complete",
            "unwind",
            "complete, unwind",
            "unwind, complete",
            "complete, unwind, hold",
            "complete, hold",
        )
    ),
    attempts=st.integers(1, 3),
    complete_band=st.sampled_from(("0", "0.01", "0.05", "0.9")),
    max_extra_cost=st.sampled_from((None, 0, "0.5", 3)),
    unwind_band=st.sampled_from(("0", "0.02", "0.9")),
    level=st.sampled_from(("off", "sell", "buy")),
    patience_ms=st.sampled_from((0, 50)),
    order_type=st.sampled_from((OrderType.FAK, OrderType.GTC)),
)
ENDED = (
    LegState.NOT_SENT,
    LegState.REJECTED,
    LegState.MATCHED,
    LegState.CANCELLED,
    LegState.EXPIRED,
)


class GroupMachine(RuleBasedStateMachine):
    """An exchange that tells late, twice and out of order, and an executor that obeys."""

    @initialize(
        strategy=st.sampled_from(list(Strategy)),
        kind=st.sampled_from((OrderType.GTC, OrderType.FAK)),
        rules=policies,
        size=st.sampled_from((10, 40)),
        mood=st.sampled_from((("fills", "improves"), ("dies", "fills", "part", "improves"))),
        data=st.data(),
    )
    def submit(
        self,
        strategy: Strategy,
        kind: OrderType,
        rules: GroupPolicy,
        size: int,
        mood: tuple[str, ...],
        data: Any,
    ) -> None:
        self.mood = mood
        self.policy, self.now = rules, 1_000
        self.signal = signal(
            strategy, ("0.60", "0.40", "0.30"), quotes={"fee_rate": "0.07"}, size=size
        )
        legs = build_legs(self.signal, policy(order_type=kind))
        assert isinstance(legs, tuple)
        self.legs = legs
        self.stories: dict[OrderId, Story] = {}
        self.pending: list[tuple[Any, ...]] = []
        self.past: list[tuple[Any, ...]] = []
        self.trades = self.sends = 0
        ids = [self.place(leg, place, "", data) for place, leg in enumerate(legs)]
        self.group = LegGroup(self.signal, legs, ids, rules, started_ms=self.now)

    # the exchange

    def place(self, leg: PricedLeg, place: int, purpose: str, data: Any) -> OrderId:
        """Take an order and decide what becomes of it."""
        order_id = OrderId(f"0x{len(self.stories)}")
        self.stories[order_id] = Story(leg, place, purpose, fills=[], seen=set(), heard={})
        fate = data.draw(st.sampled_from(self.mood))
        before = data.draw(st.sampled_from((None, LegState.UNKNOWN, LegState.DELAYED)))
        if before is not None:
            self.pending.append(("state", order_id, before, None))
        immediate = leg.order_type.is_immediate
        if fate == "dies":
            dead = data.draw(st.sampled_from((LegState.REJECTED, LegState.NOT_SENT)))
            self.change(order_id, dead)
            return order_id
        if fate == "part":
            self.match(order_id, leg.size_micro * 6 // 10 // 10_000 * 10_000, data)
            self.change(order_id, LegState.MATCHED if immediate else LegState.PARTIAL)
        elif fate == "improves" and immediate and leg.side is Side.BUY:
            self.match(order_id, leg.size_micro * 5 // 4, data)
            self.change(order_id, LegState.MATCHED)
        else:
            first = leg.size_micro // 20_000 * 10_000
            self.match(order_id, first, data)
            self.match(order_id, leg.size_micro - first, data)
            self.change(order_id, LegState.MATCHED)
        return order_id

    def change(self, order_id: OrderId, state: LegState) -> None:
        story = self.stories[order_id]
        story.state = state
        self.pending.append(("state", order_id, state, None))
        self.pending.append(("state", order_id, state, story.filled))

    def match(self, order_id: OrderId, size: int, data: Any) -> None:
        story = self.stories[order_id]
        price = story.leg.limit_e4
        if size > story.leg.size_micro:
            price = price * 8 // 10
        self.trades += 1
        fill = Fill(
            trade_id=f"t{self.trades}",
            order_id=order_id,
            token_id=story.leg.token_id,
            side=story.leg.side,
            price_e4=price,
            size_micro=size,
            is_taker=True,
            status=data.draw(st.sampled_from(("CONFIRMED", "CONFIRMED", "CONFIRMED", "FAILED"))),
            match_time_s=0,
        )
        story.fills.append(fill)
        self.pending.append(("fill", msgspec.structs.replace(fill, status="MATCHED")))
        for step in (data.draw(st.sampled_from(("MINED", "RETRYING"))), fill.status):
            self.pending.append(("settle", fill.trade_id, Settlement(step)))

    def hear(self, news: tuple[Any, ...]) -> None:
        """Tell the group one thing, and keep what it can know by now."""
        self.past.append(news)
        if news[0] == "state":
            _, order_id, state, filled = news
            self.group.on_order(order_id, state, filled)
            story = self.stories[order_id]
            story.seen.add(state)
            story.told = story.told or (filled is not None and state in ENDED)
        elif news[0] == "fill":
            self.group.on_fill(news[1])
            self.stories[news[1].order_id].heard[news[1].trade_id] = news[1]
        else:
            self.group.on_settlement(news[1], news[2])

    # what can be known

    def is_known(self, story: Story) -> bool:
        """Whether the group can know how the order stands."""
        if story.seen & {LegState.NOT_SENT, LegState.REJECTED}:
            return not story.heard
        if story.seen & set(ENDED):
            heard = sum(fill.size_micro for fill in story.heard.values())
            return story.told or (LegState.MATCHED in story.seen and heard >= story.leg.size_micro)
        return LegState.PARTIAL in story.seen and not story.leg.order_type.is_immediate

    def rests(self, story: Story) -> bool:
        return not story.seen & set(ENDED)

    # the executor

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def news(self, data: Any) -> None:
        self.hear(self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1))))

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def old_news(self, data: Any) -> None:
        before = self.group.exposure
        self.hear(data.draw(st.sampled_from(self.past)))
        assert self.group.exposure == before

    @rule(ms=st.integers(0, 60))
    def time(self, ms: int) -> None:
        self.now += ms

    @rule(data=st.data())
    def act(self, data: Any) -> None:
        self.obey(self.group.next_action(self.now), data)

    @invariant()
    def nothing_is_done_while_something_is_unknown(self) -> None:
        action = self.group.next_action(self.now)
        assert action == self.group.next_action(self.now)
        known = all(map(self.is_known, self.stories.values()))
        assert self.group.is_unknown is not known
        assert known or isinstance(action, Wait)
        if isinstance(action, Send | Done):
            assert not any(map(self.rests, self.stories.values()))
        if isinstance(action, Send):
            self.check_bounds(action)

    def check_bounds(self, send: Send) -> None:
        exposure = self.group.exposure
        progress = [
            change if leg.side is Side.BUY else -change
            for leg, change in zip(self.legs, exposure.shares_micro, strict=True)
        ]
        allowed = [step.value for step in self.policy.steps if step is not GroupStep.HOLD]
        assert send.purpose in (*allowed, "level")
        assert send.purpose != "level" or self.policy.level != "off"
        assert send.number == self.sends < self.policy.attempts * (len(allowed) + 1)
        extra = Fraction(0)
        for place, one in zip(send.places, send.legs, strict=True):
            own = self.legs[place]
            gives = one.side is not own.side
            assert one.token_id == own.token_id
            band = self.policy.unwind_band_e4 if gives else self.policy.complete_band_e4
            assert abs(one.price_e4 - own.limit_e4) <= band
            assert one.size_micro >= 5 * MICRO
            assert one.side is Side.SELL or one.price_e4 * one.size_micro >= MICRO * PRICE_SCALE
            most = progress[place] - max(0, min(progress)) if gives else max(progress)
            assert one.size_micro <= most - (0 if gives else progress[place])
            if not gives:
                extra += Fraction(abs(one.price_e4 - own.limit_e4) * one.size_micro, PRICE_SCALE)
        if self.policy.max_extra_cost_micro is not None:
            assert extra <= self.policy.max_extra_cost_micro

    def obey(self, action: Any, data: Any) -> None:
        if isinstance(action, Cancel):
            for order_id in action.order_ids:
                # Asked again before the answer came, the exchange says the same again.
                assert self.stories[order_id].state in (LegState.PARTIAL, LegState.CANCELLED)
                self.change(order_id, LegState.CANCELLED)
        elif isinstance(action, Send):
            self.sends += 1
            made = build_legs(LegsSignal(action.legs), policy())
            if not isinstance(made, tuple) or data.draw(st.integers(0, 9)) == 0:
                self.group.skipped(action)
                return
            ids = [
                self.place(leg, place, action.purpose, data)
                for leg, place in zip(made, action.places, strict=True)
            ]
            self.group.sent(action, made, ids, now_ms=self.now)

    def teardown(self) -> None:
        if not hasattr(self, "group"):
            return
        rng = _Choices()
        for _ in range(60):
            while self.pending:
                self.hear(self.pending.pop())
            self.now += 1_000
            action = self.group.next_action(self.now)
            self.nothing_is_done_while_something_is_unknown()
            if isinstance(action, Done):
                break
            if isinstance(action, Wait):
                # nothing is to come except that what rests for good ends
                assert action.reason == "resting"
                for order_id in action.order_ids:
                    self.change(order_id, LegState.EXPIRED)
            self.obey(action, rng)
        else:
            raise AssertionError("the news have ended and the group has not")
        self.check_books(action.exposure)

    def check_books(self, exposure: Any) -> None:
        """Compare with the exchange's own account of every order."""
        shares, cash, extra = [0] * len(self.legs), 0, 0
        for story in self.stories.values():
            kept = [fill for fill in story.fills if fill.status != "FAILED"]
            sign = 1 if story.leg.side is Side.BUY else -1
            shares[story.place] += sign * sum(fill.size_micro for fill in kept)
            scaled = sum(fill.price_e4 * fill.size_micro for fill in kept)
            cash -= -(-sign * scaled // PRICE_SCALE)
            own = self.legs[story.place]
            if story.purpose and story.leg.side is own.side:
                over = scaled - own.limit_e4 * sum(fill.size_micro for fill in kept)
                extra += max(0, sign * over)
            cash -= sum(
                _impl.fill_fee(fill.price_e4, fill.size_micro, 70_000, story.leg.fee_exponent)
                for fill in kept
            )
        most = self.policy.max_extra_cost_micro
        assert most is None or extra <= most * PRICE_SCALE
        assert exposure.is_final
        assert exposure.shares_micro == tuple(shares)
        assert exposure.cash_micro == cash
        assert exposure.final_pnl_micro == exposure.worst_micro


class _Choices:
    """Draws that a teardown may make: always the first possibility."""

    def draw(self, strategy: Any) -> Any:
        elements: Sequence[Any] | None = getattr(strategy, "elements", None)
        return elements[0] if elements else 1


TestGroups = GroupMachine.TestCase
TestGroups.settings = settings(max_examples=150, stateful_step_count=40)
