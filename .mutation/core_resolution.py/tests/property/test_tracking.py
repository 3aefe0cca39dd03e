"""Whatever is known when, the ledger ends where the exchange's own account stands."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from polyexec import _impl
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Fill
from polyexec.core.tracking import FeeRule, OrderTracker, total_fee_bound
from polyexec.enums import LegState, Side
from polyexec.models import OrderId, TokenId
from polyexec.numbers import from_e4, from_micro
from tests.unit.core.support import FakeClock, leg, priced

ORDER, TOKEN = OrderId("0x1"), TokenId("1")
START = 10**12
LOT = 10_000


@st.composite
def fill_lists(draw: st.DrawFn, side: Side, limit_e4: int, *, taker: bool | None) -> list[Fill]:
    good = st.integers(1, limit_e4) if side is Side.BUY else st.integers(limit_e4, 9999)
    return [
        Fill(
            trade_id=str(number),
            order_id=ORDER,
            token_id=TOKEN,
            side=side,
            price_e4=draw(good),
            size_micro=LOT * draw(st.integers(1, 10_000)),
            is_taker=draw(st.booleans()) if taker is None else taker,
            status="CONFIRMED",
            match_time_s=0,
        )
        for number in range(draw(st.integers(1, 6)))
    ]


@given(
    st.sampled_from(list(Side)),
    st.integers(1, 9999),
    st.integers(0, 1_000_000),
    st.integers(0, 4),
    st.data(),
)
def test_fee_bound_is_never_below_the_fee_of_any_fills_with_these_totals(
    side: Side, limit_e4: int, rate_micro: int, exponent: int, data: st.DataObject
) -> None:
    fills = data.draw(fill_lists(side, limit_e4, taker=True))
    filled = sum(fill.size_micro for fill in fills)
    paid = sum(fill.price_e4 * fill.size_micro for fill in fills) // 10_000
    (one,) = priced(
        leg(
            1,
            side,
            from_e4(limit_e4),
            from_micro(filled),
            tick_size=None,
            fee_rate=from_micro(rate_micro),
            fee_exponent=exponent,
        )
    )
    exact = sum(
        Fraction(fill.size_micro * rate_micro, 10**6)
        * (Fraction(fill.price_e4, 10**4) * (1 - Fraction(fill.price_e4, 10**4))) ** exponent
        for fill in fills
    )
    bound = total_fee_bound(one, filled, paid)
    assert bound >= exact
    # What the exchange charges rounds every fill, by half of 1e-5 or up to a first 1e-5.
    charged = sum(
        _impl.fill_fee(fill.price_e4, fill.size_micro, rate_micro, exponent) for fill in fills
    )
    assert bound + 10 * len(fills) >= charged


class Exchange:
    """The truth: a balance that changes with each fill, and the fills so far."""

    def __init__(self, clock: FakeClock, rate_micro: int, side: Side) -> None:
        self.clock = clock
        self.rate_micro = rate_micro
        self.sign = 1 if side is Side.BUY else -1
        self.money = START
        self.shares = START
        self.fills: list[Fill] = []

    def match(self, fill: Fill) -> None:
        fill = Fill(
            **{name: getattr(fill, name) for name in fill.__struct_fields__}
            | {"match_time_s": self.clock.ms // 1000}
        )
        self.fills.append(fill)
        self.money -= self.sign * fill.price_e4 * fill.size_micro // 10_000
        self.shares += self.sign * fill.size_micro
        if fill.is_taker:
            self.money -= _impl.fill_fee(fill.price_e4, fill.size_micro, self.rate_micro, 1)

    @property
    def filled(self) -> int:
        return sum(fill.size_micro for fill in self.fills)


@given(
    st.sampled_from(list(Side)),
    st.integers(1, 9999),
    st.integers(0, 200_000),
    st.sampled_from(["answer", "live", "unknown"]),
    st.lists(st.sampled_from(["fill", "refresh", "follow", "follow some"]), max_size=12),
    st.data(),
)
def test_the_ledger_ends_at_the_exchanges_balance_and_holds_nothing(
    side: Side, limit_e4: int, rate_micro: int, told: str, steps: list[str], data: st.DataObject
) -> None:
    fills = data.draw(fill_lists(side, limit_e4, taker=None))
    size = sum(fill.size_micro for fill in fills)
    clock = FakeClock()
    ledger, exchange = Ledger(), Exchange(clock, rate_micro, side)
    tracker = OrderTracker(ledger, clock)

    def refresh() -> None:
        ledger.update(COLLATERAL, exchange.money, as_of_ms=clock.ms)
        ledger.update(TOKEN, exchange.shares, as_of_ms=clock.ms)

    refresh()
    price, shares = from_e4(limit_e4), from_micro(size)
    (one,) = priced(leg(1, side, price, shares, tick_size=None, fee_rate=from_micro(rate_micro)))
    made = ledger.reserve([(COLLATERAL if side is Side.BUY else TOKEN, one.reserve_micro)])
    assert isinstance(made, tuple)

    clock.advance(10_000)
    left = list(fills)
    outcome = LegOutcome(state=LegState.UNKNOWN if told == "unknown" else LegState.LIVE)
    if told == "answer":
        for _ in range(data.draw(st.integers(1, len(left)))):
            exchange.match(left.pop())
        paid = sum(fill.price_e4 * fill.size_micro for fill in exchange.fills) // 10_000
        state = LegState.PARTIAL if left else LegState.MATCHED
        outcome = LegOutcome(state=state, filled_micro=exchange.filled, paid_micro=paid)
    tracker.book_answer(order_id=ORDER, leg=one, reservation=made[0], outcome=outcome)

    for step in [*steps, *["fill"] * len(left), "follow", "follow"]:
        clock.advance(10_000)
        if step == "fill" and left:
            exchange.match(left.pop())
        elif step == "refresh":
            clock.advance(5_000)
            refresh()
        elif step.startswith("follow"):
            known = data.draw(st.permutations(exchange.fills))
            if step == "follow some":
                known = known[: data.draw(st.integers(0, len(known)))]
            is_complete = sum(fill.size_micro for fill in known) == size
            state = LegState.MATCHED if is_complete else LegState.LIVE
            tracker.book_fills(ORDER, known, state, FeeRule(rate_micro, 1))
        ledger.check()
        assert made[0].reserved_micro == (
            made[0].held_micro + made[0].spent_micro + made[0].released_micro
        )

    assert exchange.filled == size
    assert tracker.orders == ()
    assert ledger.held() == ledger.held(TOKEN) == 0
    assert ledger.balance() == exchange.money
    assert ledger.balance(TOKEN) == exchange.shares
    clock.advance(1)
    refresh()
    assert ledger.available() == exchange.money
    assert ledger.available(TOKEN) == exchange.shares
