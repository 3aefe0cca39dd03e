"""The account's statement counts what has settled, whoever made the match and whatever failed."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from polyexec.backtest.lots import capital_of
from polyexec.backtest.statement import Statement
from polyexec.enums import Side
from polyexec.paper.errors import Refused
from tests.unit.paper.test_matching import M, World

BIDS = {"11": 4000, "22": 0}


def watched(world: World, account: str = "a") -> Statement:
    return Statement(world.engine, account, bid_of=BIDS.__getitem__, exposure=lambda: 7)


def test_a_resting_order_counts_when_it_trades_and_the_maker_pays_no_fee() -> None:
    world = World(rate=70_000)
    statement = watched(world)
    world.buy("a", 4000, 100 * M)
    assert statement.fills == ()
    world.clock.now_ms += 60_000
    world.sell("b", 4000, 30 * M)
    (fill,) = statement.fills
    assert (fill.shares_micro, fill.cost_micro, fill.fee_micro) == (30 * M, 12 * M, 0)
    assert fill.time_ms == world.clock()
    taker = watched(world, "b")
    assert taker.fills[0].shares_micro == -30 * M
    assert taker.fills[0].fee_micro > 0
    assert taker.fills[0].cost_micro == -world.money("b")


def test_what_has_not_settled_or_failed_is_no_fill() -> None:
    world = World(settle_at_once=False)
    statement = watched(world)
    world.sell("b", 4000, 50 * M)
    world.buy("a", 4000, 20 * M)
    world.buy("a", 4000, 30 * M)
    first, second = world.engine.trades.values()
    point = statement.curve.finish(1)[0]
    assert (statement.fills, point.locked_micro, point.cash_micro) == ((), 0, 1000 * M)
    world.engine.settle(first)
    world.engine.fail(second)
    assert [fill.shares_micro for fill in statement.fills] == [20 * M]
    point = statement.curve.finish(2)[0]
    assert point.locked_micro == 8 * M
    assert point.cash_micro == 1000 * M + world.money("a")
    assert point.exposure_micro == 7


def test_a_position_is_worth_its_bid_and_then_what_it_pays() -> None:
    world = World()
    statement = watched(world)
    world.sell("b", 5000, 10 * M)
    world.sell("b", 6000, 10 * M, token=1)
    world.buy("a", 5000, 10 * M)
    world.buy("a", 6000, 10 * M, token=1)
    # The second token has no bid: it is worth nothing.
    assert statement.curve.finish(1)[0].value_micro == 4 * M
    statement.resolve(["22"], 1_000_000, 5)
    statement.resolve(["22", "11"], 0, 6)  # the first word counts
    point = statement.curve.finish(7)[0]
    assert (point.value_micro, point.locked_micro) == (10 * M, 0)
    assert [(one.token_id, one.pays_micro) for one in statement.resolutions] == [
        ("22", 1_000_000),
        ("11", 0),
    ]


def test_trading_with_an_order_of_ones_own_loses_no_money() -> None:
    world = World(rate=70_000)
    statement = watched(world)
    world.buy("a", 4000, 10 * M)
    world.buy("a", 6000, 10 * M, token=1)  # a set is made
    assert {fill.token_id for fill in statement.fills} == {"11", "22"}
    assert sum(fill.cost_micro for fill in statement.fills) == -world.money("a")


def test_meeting_ones_own_order_for_the_same_token_costs_the_fee() -> None:
    world = World(rate=70_000)
    statement = watched(world)
    world.buy("a", 4000, 10 * M)
    world.sell("a", 4000, 10 * M)
    (fill,) = statement.fills
    assert (fill.shares_micro, fill.cost_micro) == (0, -world.money("a"))
    assert fill.cost_micro == fill.fee_micro > 0
    assert capital_of(statement.fills, (), 0).realised_micro == world.money("a")


_MOVES = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from(Side),
        st.integers(1, 99).map(lambda tick: 100 * tick),
        st.integers(1, 50),
        st.integers(0, 1),
    ),
    max_size=25,
)


@settings(max_examples=200)
@given(moves=_MOVES, looks=st.sets(st.integers(0, 24)))
def test_fills_add_up_to_the_exchanges_books(
    moves: list[tuple[str, Side, int, int, int]], looks: set[int]
) -> None:
    world = World(rate=70_000)
    given_away = dict.fromkeys(world.market.token_ids, 0)
    statement = watched(world)
    for number, (account, side, price, shares, token) in enumerate(moves):
        if side is Side.SELL:
            if account == "a":
                given_away[world.market.token_ids[token]] += shares * M
            with suppress(Refused):
                world.sell(account, price, shares * M, token=token)
        else:
            with suppress(Refused):
                world.buy(account, price, shares * M, token=token)
        if number in looks:
            statement.curve.finish(number)
    fills = statement.fills
    held = dict.fromkeys(world.market.token_ids, 0)
    for fill in fills:
        held[fill.token_id] += fill.shares_micro
    assert sum(fill.cost_micro for fill in fills) == -world.money("a")
    for which, token in enumerate(world.market.token_ids):
        assert held[token] == world.shares("a", which) - given_away[token]
    # Looked at in between or not, the lots are the same.
    assert statement.curve.finish(99)[0].locked_micro == capital_of(fills, (), 99).locked_micro


def test_the_twin_of_a_token_that_pays_is_paid_the_rest() -> None:
    world = World()
    statement = watched(world)
    world.sell("b", 6000, 10 * M, token=1)
    world.buy("a", 6000, 10 * M, token=1)
    statement.resolve(["11"], 0, 5)
    assert statement.pays == {"11": 0, "22": M}
    statement.resolve(["22"], 0, 6)  # the first word about a market counts
    assert statement.pays == {"11": 0, "22": M}
    point = statement.curve.finish(7)[0]
    assert (point.locked_micro, point.value_micro) == (0, 10 * M)
