"""Cost, edge and reservation of a set against a model in fractions."""

from fractions import Fraction
from math import ceil

from hypothesis import assume, given
from hypothesis import strategies as st

from polyexec.core.candidates import (
    PricedLeg,
    PricingPolicy,
    Skip,
    check_edge,
    compute_edge,
    payout_per_set,
    price_signal,
    priced_legs,
)
from polyexec.enums import OrderType, Side, SkipReason, Strategy
from polyexec.numbers import from_e4, from_micro
from polyexec.signals import ArbSignal
from tests.unit.core.support import policy, quote

TICKS = (1000, 100, 50, 25, 10, 1)
PAYOUT = {
    Strategy.POLYMARKET_TRIANGLE_BUY: 2,
    Strategy.POLYMARKET_COMPLEMENT_BUY: 1,
    Strategy.SELL_PARENT_BUY_CHILDREN: 1,
    Strategy.BUY_PARENT_SELL_CHILDREN: 2,
}


@st.composite
def signals(draw: st.DrawFn) -> ArbSignal:
    quotes = []
    for token in range(3):
        tick = draw(st.sampled_from(TICKS))
        price = tick * draw(st.integers(1, 10_000 // tick - 1))
        quotes.append(
            quote(
                token,
                from_e4(price),
                from_e4(price),
                tick_size=from_e4(tick),
                fee_rate=from_micro(draw(st.integers(0, 200_000))),
                fee_exponent=draw(st.integers(0, 4)),
            )
        )
    size = from_micro(draw(st.integers(5_000_000, 3_000_000_000)))
    return ArbSignal(draw(st.sampled_from(list(Strategy))), *quotes, size=size)


def fee(leg: PricedLeg, price: Fraction, shares: Fraction) -> Fraction:
    assert leg.fee_rate_micro is not None
    rate = Fraction(leg.fee_rate_micro, 10**6)
    return shares * rate * (price * (1 - price)) ** leg.fee_exponent


def up_to_1e5(dollars: Fraction) -> Fraction:
    return Fraction(ceil(dollars * 10**5), 10**5)


def legs_of(signal: ArbSignal, rules: PricingPolicy) -> tuple[PricedLeg, ...]:
    table = price_signal(signal, rules)
    assert not isinstance(table, Skip)
    return priced_legs(table)


kinds = st.sampled_from([OrderType.GTC, OrderType.FOK, OrderType.FAK])


@given(signals(), kinds, st.booleans())
def test_cost_and_edge_are_those_of_the_fractions(
    signal: ArbSignal, kind: OrderType, slips: bool
) -> None:
    rules = policy(order_type=kind, slippage_enabled=slips, min_pnl=2)
    table = price_signal(signal, rules)
    assert not isinstance(table, Skip)
    legs = priced_legs(table)
    assume(all(leg.size_micro and leg.maker_micro for leg in legs))
    total = Fraction(0)
    for leg in legs:
        price, shares = Fraction(leg.limit_e4, 10**4), Fraction(leg.size_micro, 10**6)
        gives, gets = Fraction(leg.maker_micro, 10**6), Fraction(leg.taker_micro, 10**6)
        charged = up_to_1e5(fee(leg, price, shares))
        assert Fraction(leg.fee_micro, 10**6) == charged
        if leg.side is Side.BUY:
            assert gets == shares
            cost = gives + charged
            # never worse than the limit, beyond what four decimals of shares can say
            assert gives >= price * shares
            assert gives - price * shares < Fraction(1, 10**3)
        else:
            assert gives == shares
            cost = gives - gets + charged
            assert 0 <= price * shares - gets < Fraction(1, 10**3)
        assert Fraction(leg.cost_micro, 10**6) == cost
        total += cost
    edge = compute_edge(table, payout_per_set(signal) or 0)
    sets = min(Fraction(leg.size_micro, 10**6) for leg in legs)
    payout = PAYOUT[Strategy(signal.strategy)] * sets
    assert Fraction(edge.cost_micro, 10**6) == total
    assert Fraction(edge.payout_micro, 10**6) == payout
    assert Fraction(edge.net_micro, 10**6) == payout - total
    passes = total > 0 and (payout - total) / total * 100 >= 2
    found = check_edge(signal, table, rules)
    assert found == edge if passes else isinstance(found, Skip)
    assert passes or getattr(found, "reason", None) is SkipReason.PNL_BELOW_THRESHOLD


@given(signals(), st.sampled_from([OrderType.FOK, OrderType.FAK]))
def test_immediate_sets_are_equal_and_cost_whole_cents_or_are_known_not_to(
    signal: ArbSignal, kind: OrderType
) -> None:
    legs = legs_of(signal, policy(order_type=kind))
    wanted = signal.size_micro
    assert wanted is not None

    def fits(hundredths: int) -> bool:
        return all(
            leg.limit_e4 * hundredths % (10_000 if leg.side is Side.BUY else 100) == 0
            and (leg.side is Side.SELL or leg.limit_e4 * hundredths >= 1_000_000)
            for leg in legs
        )

    best = next((s for s in range(wanted // 10_000, 499, -1) if fits(s)), None)
    for leg in legs:
        assert leg.maker_micro % 10_000 == 0
        assert leg.taker_micro % 100 == 0
        assert leg.size_micro <= wanted
        if best is not None:
            assert leg.size_micro == best * 10_000


@given(signals(), kinds, st.data())
def test_the_reservation_covers_every_fill_at_the_limit_or_better(
    signal: ArbSignal, kind: OrderType, data: st.DataObject
) -> None:
    legs = legs_of(signal, policy(order_type=kind, slippage_enabled=True))
    for leg in legs:
        if leg.side is Side.SELL:
            assert leg.reserve_micro == leg.maker_micro
            continue
        price_e4 = data.draw(st.integers(1, leg.limit_e4))
        price = Fraction(price_e4, 10**4)
        if leg.order_type.is_immediate:
            paid = Fraction(leg.maker_micro, 10**6)
            shares = paid / price
        else:
            shares = Fraction(leg.taker_micro, 10**6)
            paid = shares * price
        assert paid + fee(leg, price, shares) <= Fraction(leg.reserve_micro, 10**6)
