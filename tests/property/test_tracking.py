"""Whatever is known when, the ledger ends where the exchange's own account stands."""

from fractions import Fraction

import msgspec
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
    """The truth: fills, and a balance that changes with each fill that settles."""

    def __init__(self, clock: FakeClock, rate_micro: int, side: Side) -> None:
        self.clock = clock
        self.rate_micro = rate_micro
        self.side = side
        self.money = START
        self.shares = START
        self.fills: list[Fill] = []

    def match(self, fill: Fill) -> None:
        now_s = self.clock.ms // 1000
        changed = {"match_time_s": now_s, "update_time_s": now_s, "status": "MATCHED"}
        self.fills.append(msgspec.structs.replace(fill, **changed))

    def settle(self, index: int, status: str) -> None:
        fill = self.fills[index]
        if fill.status not in ("CONFIRMED", "FAILED"):
            if status == "CONFIRMED":
                out, back = self.moves(fill)
                buys = self.side is Side.BUY
                self.money += -out if buys else back
                self.shares += back if buys else -out
            self.fills[index] = msgspec.structs.replace(
                fill, status=status, update_time_s=self.clock.ms // 1000
            )

    def moves(self, fill: Fill) -> tuple[int, int]:
        """Return what a fill takes from us and what it brings."""
        fee = 0
        if fill.is_taker:
            fee = _impl.fill_fee(fill.price_e4, fill.size_micro, self.rate_micro, 1)
        paid = fill.price_e4 * fill.size_micro // 10_000
        if self.side is Side.BUY:
            return paid + fee, fill.size_micro
        return fill.size_micro, paid - fee

    @property
    def free(self) -> int:
        """What the exchange would let us spend of what we give: without what it has matched."""
        waiting = [fill for fill in self.fills if fill.status in ("MATCHED", "RETRYING")]
        balance = self.money if self.side is Side.BUY else self.shares
        return balance - sum(self.moves(fill)[0] for fill in waiting)

    @property
    def filled(self) -> int:
        return sum(fill.size_micro for fill in self.fills)


@given(
    st.sampled_from(list(Side)),
    st.integers(1, 9999),
    st.integers(0, 200_000),
    st.sampled_from(["answer", "live", "unknown"]),
    st.lists(
        st.sampled_from(["fill", "settle", "retry", "fail", "refresh", "follow", "follow some"]),
        max_size=16,
    ),
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
    gives = COLLATERAL if side is Side.BUY else TOKEN

    def refresh() -> None:
        ledger.update(COLLATERAL, exchange.money, as_of_ms=clock.ms)
        ledger.update(TOKEN, exchange.shares, as_of_ms=clock.ms)

    refresh()
    price, shares = from_e4(limit_e4), from_micro(size)
    (one,) = priced(leg(1, side, price, shares, tick_size=None, fee_rate=from_micro(rate_micro)))
    made = ledger.reserve([(gives, one.reserve_micro)])
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

    ending = ["fill"] * len(left) + ["settle"] * len(fills) + ["follow", "follow"]
    for step in [*steps, *ending]:
        clock.advance(10_000)
        open_fills = [
            i for i, f in enumerate(exchange.fills) if f.status in ("MATCHED", "RETRYING")
        ]
        if step == "fill" and left:
            exchange.match(left.pop())
        elif step in ("settle", "retry", "fail") and open_fills:
            status = {"settle": "CONFIRMED", "retry": "RETRYING", "fail": "FAILED"}[step]
            exchange.settle(data.draw(st.sampled_from(open_fills)), status)
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
        assert ledger.available(gives) <= exchange.free + 11 * len(fills)  # each rounds its fee

    assert exchange.filled == size
    assert tracker.orders == ()
    assert ledger.held() == ledger.held(TOKEN) == 0
    assert ledger.balance() == exchange.money
    assert ledger.balance(TOKEN) == exchange.shares
    clock.advance(1)
    refresh()
    for asset, balance in ((COLLATERAL, exchange.money), (TOKEN, exchange.shares)):
        assert tracker.unsettled_micro(asset) == 0
        assert ledger.balance(asset) == ledger.available(asset) == balance
