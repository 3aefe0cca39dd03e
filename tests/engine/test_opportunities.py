"""What was found is what the executor would earn."""

import pickle
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polyexec.core.candidates import (
    Edge,
    PricingPolicy,
    check_edge,
    check_liquidity,
    check_size,
    price_signal,
    worst_loss_micro,
)
from polyexec.core.opportunities import SignalBuilder, build_signal
from polyexec.enums import OrderType, Side
from polyexec.signals import ArbSignal, LegsSignal
from tests.engine.worlds import RECEIVED_NS, TIME_MS, World, random_world
from tests.implementations import FAST, PURE

FUNCTIONS = FAST or PURE
NOW_MS = TIME_MS + 70


def finds(world: World, *, after_ns: int = 2_500_000) -> list[Any]:
    table = world.table(FUNCTIONS)
    evaluator = world.evaluator(FUNCTIONS, table)
    for form in world.forms:
        evaluator.add(form)
    found = {}
    for token in world.books:
        for one in evaluator.touched(table.slot(token), RECEIVED_NS + after_ns):
            found[one.number] = one
    return [found[number] for number in sorted(found)]


def policy(order_type: OrderType, **changes: Any) -> PricingPolicy:
    return PricingPolicy(
        default_size_micro=1,
        order_type=order_type,
        slippage_enabled=False,
        min_pnl_percent=Decimal(0),
        **changes,
    )


def paying_world(strategy: object, *, least: int = 0) -> tuple[World, Any]:
    """Return a world in which this form pays, and the find."""
    for seed in range(2000):
        world = random_world(Random(seed))
        for one in finds(world):
            if one.form.strategy is strategy and one.net_per_set_micro > least:
                return world, one
    raise AssertionError("no world pays")


@settings(max_examples=300)
@given(st.randoms(use_true_random=False))
def test_the_executor_counts_the_same_net(random: Random) -> None:
    world = random_world(random)
    types = (OrderType.FOK, OrderType.FAK, OrderType.GTC)
    for found in finds(world):
        signal = build_signal(found, NOW_MS)
        for order_type in types if world.settings.is_immediate else types[2:]:
            for rules in (policy(order_type), policy(order_type, buys_complements=True)):
                table = price_signal(signal, rules, lambda token: 0)
                assert check_liquidity(table) is None
                assert check_size(table) is None
                edge = check_edge(signal, table, rules)
                assert isinstance(edge, Edge)
                assert edge.net_micro == found.net_micro
                assert edge.cost_micro == found.cost_micro
                assert table.set_micro == found.size_micro


def test_fixed_worlds_reach_the_executor_for_every_form() -> None:
    seen: dict[object, int] = {}
    for seed in range(400):
        world = random_world(Random(seed))
        order_type = OrderType.FOK if world.settings.is_immediate else OrderType.GTC
        for found in finds(world):
            signal = build_signal(found, NOW_MS)
            edge = check_edge(signal, price_signal(signal, policy(order_type)), policy(order_type))
            assert isinstance(edge, Edge)
            assert edge.net_micro == found.net_micro
            seen[found.form.strategy] = seen.get(found.form.strategy, 0) + 1
    assert len(seen) == 5
    assert min(seen.values()) > 10


def test_a_strategy_s_signal_tells_everything() -> None:
    world, found = paying_world(world_strategies()[3])
    signal = build_signal(found, NOW_MS)
    assert isinstance(signal, ArbSignal)
    assert signal.strategy is found.form.strategy
    assert signal.size_micro == found.size_micro
    assert signal.group_key == "trio"
    assert signal.timestamp_ms == TIME_MS
    assert signal.ages_ms == (2, 2, 2)
    assert signal.profit_abs == Decimal(found.net_per_set_micro) / 1_000_000
    assert signal.gross_abs == Decimal(found.gross_per_set_micro) / 1_000_000
    exact = Decimal(found.net_micro) / found.cost_micro * 10_000
    assert 0 <= exact - signal.profit_bps < Decimal("0.000001")
    for quote, leg, limit, depth, tick in zip(
        (signal.parent, signal.parent_upper, signal.child),
        found.form.legs,
        found.limits_e4,
        found.depths_micro,
        found.ticks_e4,
        strict=True,
    ):
        assert quote.token_id == leg.token_id
        assert quote.complement_token_id == leg.complement_token_id
        assert quote.fee_rate_micro == leg.market.fee_rate_micro
        assert quote.min_order_size_micro == leg.market.min_order_size_micro
        assert quote.generation is leg.market.generation
        assert quote.tick_e4 == tick == world.ticks[leg.token_id]
        if leg.side is Side.BUY:
            assert (quote.best_ask_e4, quote.best_ask_size_micro) == (limit, depth)
            assert quote.best_bid_e4 is None
        else:
            assert (quote.best_bid_e4, quote.best_bid_size_micro) == (limit, depth)
            assert quote.best_ask_e4 is None


def world_strategies() -> list[Any]:
    return [form.strategy for form in random_world(Random(0)).forms]


def test_the_general_form_becomes_legs_with_their_outcomes() -> None:
    _, found = paying_world(None)
    signal = build_signal(found, NOW_MS)
    assert isinstance(signal, LegsSignal)
    assert signal.payout == found.form.payout
    assert signal.outcomes == found.form.outcomes
    assert signal.group_key == "general"
    assert signal.ages_ms == (2,) * len(found.form.legs)
    assert signal.profit_abs == Decimal(found.net_per_set_micro) / 1_000_000
    assert [leg.price_e4 for leg in signal.legs] == list(found.limits_e4)
    assert {leg.size_micro for leg in signal.legs} == {found.size_micro}
    table = price_signal(signal, policy(OrderType.GTC))
    assert 0 < worst_loss_micro(signal, table) <= found.cost_micro


@pytest.mark.parametrize("index", range(5))
def test_a_signal_is_the_record_that_its_constructor_makes(index: int) -> None:
    _, found = paying_world(world_strategies()[index])
    signal = build_signal(found, NOW_MS)
    rebuilt = signal.replace()
    assert rebuilt == signal
    assert hash(rebuilt) == hash(signal)
    assert pickle.loads(pickle.dumps(signal)) == signal
    for name in signal.__slots__:
        if name != "profit_ratio":
            assert getattr(signal, name) == getattr(rebuilt, name)
    if isinstance(signal, ArbSignal):
        parts, whole = signal.profit_ratio
        ours, scale = rebuilt.profit_ratio
        assert parts * scale == ours * whole


def test_a_signal_is_not_dated_after_now() -> None:
    _, found = paying_world(world_strategies()[0])
    assert build_signal(found, TIME_MS - 5).timestamp_ms == TIME_MS - 5
    old = found._replace(times_ms=(TIME_MS, TIME_MS - 900, TIME_MS))
    assert build_signal(old, NOW_MS).timestamp_ms == TIME_MS - 900


def test_a_builder_notices_that_a_number_has_another_form() -> None:
    _, found = paying_world(world_strategies()[0])
    builder = SignalBuilder()
    first = builder.build(found, NOW_MS)
    assert builder.build(found, NOW_MS) == first
    other = found._replace(form=replace(found.form, group_key="another"))
    assert builder.build(other, NOW_MS).group_key == "another"
    builder.forget(found.number)
    builder.forget(found.number)
    assert builder.build(found, NOW_MS) == first


def test_an_unknown_tick_stays_unknown() -> None:
    _, found = paying_world(world_strategies()[0])
    signal = build_signal(found._replace(ticks_e4=(0, 0, 0)), NOW_MS)
    assert isinstance(signal, ArbSignal)
    assert signal.parent.tick_e4 is None
