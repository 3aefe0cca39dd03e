"""From a signal to priced legs, and whether the edge is worth it, exactly at the boundaries."""

import decimal
from decimal import Decimal
from typing import Any

import pytest

from polyexec.core.candidates import (
    WORST_FEE_RATE_MICRO,
    Edge,
    Skip,
    check_edge,
    check_liquidity,
    check_size,
    compute_edge,
    payout_per_set,
    price_signal,
    priced_legs,
    worst_loss_micro,
)
from polyexec.enums import OrderType, Side, SkipReason, Strategy
from polyexec.signals import ArbSignal, LegsSignal
from tests.unit.core.support import leg, policy, priced, quote, signal, table_of

STRATEGIES = list(Strategy)


def priced_table(given: ArbSignal | LegsSignal, **changes: Any) -> Any:
    made = price_signal(given, policy(**changes))
    assert not isinstance(made, Skip), made
    return made


def legs_of(given: ArbSignal | LegsSignal, **changes: Any) -> Any:
    return priced_legs(priced_table(given, **changes))


def skip_of(given: ArbSignal | LegsSignal, **changes: Any) -> Skip:
    made = price_signal(given, policy(**changes))
    assert isinstance(made, Skip)
    return made


def edge_of(given: ArbSignal | LegsSignal, **changes: Any) -> Any:
    """Return (edge, None), (edge or None, skip) or, without a payout, (None, None)."""
    table, rules = priced_table(given, **changes), policy(**changes)
    found = check_edge(given, table, rules)
    if not isinstance(found, Skip):
        return found, None
    payout = payout_per_set(given)
    if found.reason is SkipReason.FEE_UNKNOWN or payout is None:
        return None, found
    edge: Edge = compute_edge(table, payout)
    return edge, found


# legs of the strategies ---------------------------------------------------------------------------

ASKS, BIDS = ("0.31", "0.42", "0.53"), ("0.21", "0.32", "0.43")


def two_sided(strategy: str, **changes: Any) -> ArbSignal:
    roles = ("parent", "parent_upper", "child")
    return ArbSignal(
        strategy,
        **{
            role: quote(number, ASKS[number], BIDS[number], neg_risk=number == 1, generation=3)
            for number, role in enumerate(roles)
        }
        | changes,
    )


@pytest.mark.parametrize(
    ("strategy", "sides", "prices", "payout"),
    [
        ("POLYMARKET_TRIANGLE_BUY", "BBB", (3100, 4200, 5300), 2),
        ("POLYMARKET_COMPLEMENT_BUY", "BBB", (3100, 4200, 5300), 1),
        ("SELL_PARENT_BUY_CHILDREN", "SBB", (2100, 4200, 5300), 1),
        ("BUY_PARENT_SELL_CHILDREN", "BSS", (3100, 3200, 4300), 2),
    ],
)
def test_buys_take_the_ask_and_sells_the_bid(
    strategy: str, sides: str, prices: tuple[int, ...], payout: int
) -> None:
    given = two_sided(strategy)
    legs = legs_of(given)
    assert "".join(leg.side[0] for leg in legs) == sides
    assert tuple(leg.limit_e4 for leg in legs) == prices
    assert tuple(leg.quote_e4 for leg in legs) == prices
    assert [leg.token_id for leg in legs] == ["0", "1", "2"]
    assert [leg.neg_risk for leg in legs] == [False, True, False]
    assert {leg.generation for leg in legs} == {3}
    assert payout_per_set(given) == payout * 1_000_000
    for one in legs:
        product = one.limit_e4 * 1000
        amounts = (product, 10_000_000) if one.side is Side.BUY else (10_000_000, product)
        assert (one.maker_micro, one.taker_micro) == amounts


def test_the_signals_size_wins_over_the_default_and_is_floored_to_hundredths() -> None:
    assert {leg.size_micro for leg in legs_of(signal(size="7.999"))} == {7_990_000}
    assert {leg.size_micro for leg in legs_of(signal(), default_size="12.345")} == {12_340_000}


# no candidates ------------------------------------------------------------------------------------


def test_an_unknown_strategy_has_no_candidates_and_names_the_known_ones() -> None:
    skip = skip_of(signal("MOON_BUY"))
    assert skip.reason is SkipReason.NO_CANDIDATES
    assert "'MOON_BUY'" in skip.detail
    assert all(name in skip.detail for name in Strategy)


@pytest.mark.parametrize("role", ["parent", "parent_upper", "child"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_missing_quote_or_side_is_named(strategy: str, role: str) -> None:
    skip = skip_of(two_sided(strategy, **{role: None}))
    assert (skip.reason, skip.detail) == (SkipReason.NO_CANDIDATES, f"{role}: quote missing")
    whole = getattr(two_sided(strategy), role)
    results = [
        price_signal(two_sided(strategy, **{role: whole.replace(**{side: None})}), policy())
        for side in ("best_bid", "best_ask")
    ]
    # Exactly the side that the strategy trades is missed.
    (missed,) = [result for result in results if isinstance(result, Skip)]
    assert missed.reason is SkipReason.NO_CANDIDATES
    assert missed.detail.startswith(f"{role}.best_")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_equal_tokens_in_two_legs_have_no_candidates(strategy: str) -> None:
    given = two_sided(strategy)
    skip = skip_of(given.replace(child=given.parent))
    assert skip.reason is SkipReason.NO_CANDIDATES
    assert skip.detail == "child.token_id='0': stands in two legs"


# ticks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tick", "price", "is_on"),
    [
        ("0.01", "0.555", False),
        ("0.01", "0.55", True),
        ("0.005", "0.555", True),
        ("0.005", "0.553", False),
        ("0.0025", "0.5525", True),
        ("0.0025", "0.551", False),
        ("0.1", "0.95", False),
        ("0.1", "0.9", True),
        ("0.1", "0.05", False),
        ("0.0001", "0.9999", True),
        (None, "0.5551", True),
    ],
)
def test_a_price_off_its_markets_tick_is_refused(tick: str | None, price: str, is_on: bool) -> None:
    made = price_signal(LegsSignal([leg(price=price, tick_size=tick)]), policy())
    if is_on:
        assert not isinstance(made, Skip)
        assert priced_legs(made)[0].limit_e4 == Decimal(price) * 10_000
    else:
        assert isinstance(made, Skip)
        assert made.reason is SkipReason.OFF_TICK
        assert price in made.detail
        assert str(tick) in made.detail


# slippage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "tick", "buy", "sell"),
    [
        ("0.50", None, 5100, 4900),
        ("0.0401", None, 501, 301),
        ("0.04", None, 410, 390),
        ("0.96", None, 9610, 9590),
        ("0.9599", None, 9699, 9499),
        ("0.985", None, 9860, 9840),
        ("0.9899", None, 9900, 9889),
        ("0.99", None, 9900, 9890),
        ("0.995", None, 9950, 9940),
        ("0.0105", None, 115, 100),
        ("0.005", None, 60, 50),
        ("0.50", "0.001", 5010, 4990),
        ("0.02", "0.01", 300, 100),
        ("0.01", "0.01", 200, 100),
        ("0.99", "0.01", 9900, 9800),
        ("0.9", "0.1", 9000, 8000),
        ("0.1", "0.1", 2000, 1000),
        ("0.985", "0.005", 9900, 9800),
        ("0.9975", "0.0025", 9975, 9950),
    ],
)
def test_slippage_moves_one_step_is_capped_and_never_improves_on_the_quote(
    price: str, tick: str | None, buy: int, sell: int
) -> None:
    both = priced(
        leg(1, "BUY", price, 200, tick_size=tick),
        leg(2, "SELL", price, 200, tick_size=tick),
        slippage_enabled=True,
    )
    assert [one.limit_e4 for one in both] == [buy, sell]
    assert {one.quote_e4 for one in both} == {int(Decimal(price) * 10_000)}


def test_the_reservation_and_the_edge_cover_the_slipped_price() -> None:
    given = signal(quotes={"fee_rate": "0.07"})
    plain, slipped = legs_of(given), legs_of(given, slippage_enabled=True)
    for one, two in zip(plain, slipped, strict=True):
        assert two.maker_micro == one.maker_micro + 100_000
        assert two.reserve_micro == two.maker_micro + two.fee_reserve_micro > one.reserve_micro
    edge = compute_edge(priced_table(given, slippage_enabled=True), 10**6)
    assert edge.cost_micro == sum(leg.cost_micro for leg in slipped)
    assert edge.gross_cost_micro == 8_000_000


# threshold ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("percent", "passes"), [("25", True), ("25.0000001", False), ("24.9999999", True)]
)
@pytest.mark.parametrize(
    ("strategy", "prices"),
    [
        # payout over cost is 1.25 in each: 1 / 0.80, 2 / 1.60
        ("POLYMARKET_COMPLEMENT_BUY", ("0.30", "0.30", "0.20")),
        ("POLYMARKET_TRIANGLE_BUY", ("0.60", "0.50", "0.50")),
        ("SELL_PARENT_BUY_CHILDREN", ("0.70", "0.30", "0.20")),
        ("BUY_PARENT_SELL_CHILDREN", ("0.60", "0.50", "0.50")),
    ],
)
def test_the_threshold_itself_passes_and_a_ten_millionth_more_does_not(
    strategy: str, prices: tuple[str, str, str], percent: str, passes: bool
) -> None:
    given = signal(strategy, prices)
    edge, skip = edge_of(given, min_pnl=percent)
    assert edge.net_micro * 4 == edge.cost_micro
    assert (skip is None) is passes
    if skip is not None:
        assert skip.reason is SkipReason.PNL_BELOW_THRESHOLD
        assert f"below {percent} %" in skip.detail


@pytest.mark.parametrize(("fee_rate", "passes"), [("0", True), ("0.0001", False)])
def test_the_smallest_fee_decides_at_the_boundary(fee_rate: str, passes: bool) -> None:
    edge, skip = edge_of(signal(quotes={"fee_rate": fee_rate}), min_pnl=25)
    assert (skip is None) is passes
    assert edge.gross_micro == 2_000_000


def test_the_edge_is_net_of_the_fee_of_every_leg() -> None:
    given = signal(quotes={"fee_rate": "0.07"})
    edge, _ = edge_of(given)
    fees = [147_000, 147_000, 112_000]  # 10 x 0.07 x p(1-p)
    assert [leg.fee_micro for leg in legs_of(given)] == fees
    assert edge.cost_micro == 8_000_000 + sum(fees)
    assert edge.net_micro == 2_000_000 - sum(fees)


def test_a_sells_fee_comes_off_its_proceeds_and_is_not_reserved() -> None:
    (sell,) = priced(leg(1, "SELL", "0.30", 10, fee_rate="0.07"))
    assert sell.reserve_micro == 10_000_000
    assert sell.cost_micro == 7_000_000 + 147_000


@pytest.mark.parametrize(("min_pnl", "passes"), [("0", True), ("0.0000001", False), ("-1", True)])
def test_no_edge_at_all_passes_only_a_threshold_of_zero(min_pnl: str, passes: bool) -> None:
    _, skip = edge_of(signal(prices=("0.30", "0.30", "0.40")), min_pnl=min_pnl)
    assert (skip is None) is passes


@pytest.mark.parametrize("min_pnl", [0, -5])
def test_a_set_of_nothing_has_no_edge_whatever_the_threshold(min_pnl: int) -> None:
    edge, skip = edge_of(signal(size="0.001"), min_pnl=min_pnl)
    assert edge.cost_micro == 0
    assert skip is not None
    assert skip.reason is SkipReason.PNL_BELOW_THRESHOLD


@pytest.mark.parametrize(
    ("profit_abs", "passes"),
    [
        ("0.20", True),
        ("0.1999999", False),
        ("-0.2", False),
        ("0.3", True),
        ("5", True),
        (None, True),
    ],
)
def test_a_claimed_profit_must_pass_the_threshold_too(profit_abs: Any, passes: bool) -> None:
    _, skip = edge_of(signal(profit_abs=profit_abs), min_pnl=25)
    assert (skip is None) is passes


def test_a_claimed_profit_does_not_rescue_a_bad_edge() -> None:
    _, skip = edge_of(signal(prices=("0.30", "0.30", "0.50"), profit_abs=99))
    assert skip is not None
    assert skip.reason is SkipReason.PNL_BELOW_THRESHOLD


def test_the_callers_decimal_context_does_not_decide() -> None:
    with decimal.localcontext() as context:
        context.prec = 1
        context.rounding = decimal.ROUND_DOWN
        given = signal(profit_abs="0.2")
        assert edge_of(given, min_pnl="25.0000001")[1] is not None
        assert edge_of(given, min_pnl="25")[1] is None
        assert edge_of(signal(profit_abs="0.1999999"), min_pnl="25")[1] is not None


def test_an_unknown_fee_rate_gives_no_edge_and_the_highest_reserve() -> None:
    given = signal(quotes={"fee_rate": None})
    edge, skip = edge_of(given)
    assert edge is None
    assert skip is not None
    assert skip.reason is SkipReason.FEE_UNKNOWN
    assert WORST_FEE_RATE_MICRO == 70_000
    assert [leg.fee_reserve_micro for leg in legs_of(given)] == [147_000, 147_000, 112_000]


def test_explicit_legs_without_a_payout_are_the_callers_decision() -> None:
    given = LegsSignal([leg(price="0.99", fee_rate=None)])
    assert edge_of(given) == (None, None)


def test_explicit_legs_with_a_payout_must_pass() -> None:
    legs = [leg(1, price="0.40"), leg(2, price="0.40")]
    assert edge_of(LegsSignal(legs, payout=1), min_pnl=25)[1] is None
    assert edge_of(LegsSignal(legs, payout="0.999999"), min_pnl=25)[1] is not None


def test_unequal_legs_make_as_many_sets_as_the_smallest_but_cost_all() -> None:
    given = LegsSignal([leg(1, size=10), leg(2, size=20)], payout=1)
    edge, skip = edge_of(given)
    assert (edge.payout_micro, edge.cost_micro) == (10_000_000, 12_000_000)
    assert skip is not None


# liquidity and size -------------------------------------------------------------------------------


@pytest.mark.parametrize(("quoted", "passes"), [("10", True), ("9.999999", False), (None, False)])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_quote_must_hold_the_whole_size(strategy: str, quoted: Any, passes: bool) -> None:
    name = "best_bid_size" if strategy == "SELL_PARENT_BUY_CHILDREN" else "best_ask_size"
    given = two_sided(strategy)
    assert given.parent is not None
    given = given.replace(parent=given.parent.replace(**{name: quoted}))
    skip = check_liquidity(priced_table(given))
    assert (skip is None) is passes
    if skip is not None:
        assert skip.reason is SkipReason.INSUFFICIENT_LIQUIDITY
        assert "market-0" in skip.detail
        assert "10 wanted" in skip.detail


def test_explicit_legs_skip_the_book_size_check_unless_they_name_a_size() -> None:
    assert check_liquidity(table_of(leg())) is None
    assert check_liquidity(table_of(leg(available_size=9))) is not None
    assert check_liquidity(table_of(leg(available_size=10))) is None


@pytest.mark.parametrize(
    ("size", "minimum", "passes"),
    [
        ("5", 5, True),
        ("5.009", 5, True),
        ("4.999", 5, False),
        ("0.001", 5, False),
        ("5", 1, True),
        ("4.99", 1, False),
        ("14.99", 15, False),
        ("15", 15, True),
    ],
)
@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_fewer_shares_than_the_minimum_are_refused(
    side: str, size: str, minimum: int, passes: bool
) -> None:
    skip = check_size(table_of(leg(1, side, "0.50", size, min_order_size=minimum)))
    assert (skip is None) is passes
    if skip is not None:
        assert skip.reason is SkipReason.INVALID_SIZE


@pytest.mark.parametrize(
    ("order_type", "side", "price", "passes"),
    [
        ("FOK", "BUY", "0.10", True),
        ("FOK", "BUY", "0.09", False),
        ("FAK", "BUY", "0.09", False),
        ("FOK", "SELL", "0.01", True),
        ("GTC", "BUY", "0.01", True),
    ],
)
def test_a_marketable_buy_below_a_dollar_is_refused(
    order_type: str, side: str, price: str, passes: bool
) -> None:
    skip = check_size(table_of(leg(1, side, price, 10, order_type=order_type)))
    assert (skip is None) is passes
    if skip is not None:
        assert skip.reason is SkipReason.INVALID_SIZE
        assert "at least 1" in skip.detail


def test_a_strategys_resting_buy_crosses_so_a_dollar_is_the_least() -> None:
    given = signal(prices=("0.30", "0.30", "0.09"))
    skip = check_size(priced_table(given))
    assert skip is not None
    assert "0.9 dollars" in skip.detail


# immediate orders ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("price", "tick", "size", "sent", "spend"),
    [
        # size x price must be whole cents; sent is the largest such size
        ("0.29", "0.01", "10.5", 10_000_000, 2_900_000),
        ("0.50", "0.01", "10.55", 10_540_000, 5_270_000),
        ("0.25", "0.01", "10.55", 10_520_000, 2_630_000),
        ("0.333", "0.001", "25", 20_000_000, 6_660_000),
        ("0.125", "0.001", "10.11", 10_080_000, 1_260_000),
        ("0.5", "0.1", "10.03", 10_020_000, 5_010_000),
    ],
)
@pytest.mark.parametrize("kind", ["FOK", "FAK"])
def test_immediate_buys_of_a_set_shrink_to_a_size_that_costs_whole_cents(
    kind: str, price: str, tick: str, size: str, sent: int, spend: int
) -> None:
    given = signal(prices=(price,) * 3, quotes={"tick_size": tick}, size=size)
    for one in legs_of(given, order_type=kind):
        assert (one.maker_micro, one.taker_micro, one.size_micro) == (spend, sent, sent)


def test_without_a_common_size_each_buy_spends_cents_and_gets_slightly_less() -> None:
    given = signal(prices=("0.333", "0.333", "0.251"), quotes={"tick_size": "0.001"}, size="9.99")
    parent, _, child = legs_of(given, order_type="FOK")
    assert (parent.maker_micro, parent.taker_micro) == (3_320_000, 9_969_900)
    assert (child.maker_micro, child.taker_micro) == (2_500_000, 9_960_100)
    assert parent.size_micro == 9_969_900


def test_immediate_sells_give_whole_hundredths_and_ask_four_decimals() -> None:
    (one,) = priced(leg(1, "SELL", "0.3333", "7.77", tick_size="0.0001", order_type="FAK"))
    assert (one.maker_micro, one.taker_micro) == (7_770_000, 2_589_700)
    assert one.order_type is OrderType.FAK


def test_an_immediate_buy_reserves_the_fee_of_the_best_fill_it_may_get() -> None:
    (one,) = priced(leg(1, "BUY", "0.50", 10, order_type="FOK", fee_rate="0.07"))
    assert one.fee_micro == 175_000
    assert one.fee_reserve_micro == 350_000
    assert one.reserve_micro == 5_350_000


def test_leg_settings_reach_the_order() -> None:
    gtd, plain = priced(leg(1, order_type="GTD", expiration=1_900_000_000, post_only=True), leg(2))
    assert (gtd.order_type, gtd.expiration, gtd.post_only) == (OrderType.GTD, 1_900_000_000, True)
    assert (plain.order_type, plain.expiration, plain.post_only) == (OrderType.GTC, 0, False)


# sales without inventory --------------------------------------------------------------------------

TEN = 10_000_000


def sale(**changes: Any) -> ArbSignal:
    """Sell the parent at 0.70, whose other token is 9, and buy its parts."""
    other = {"complement_token_id": 9} | changes
    return signal(
        Strategy.SELL_PARENT_BUY_CHILDREN,
        ("0.70", "0.30", "0.20"),
        parent=quote(1, None, "0.70", **other),
    )


def first_of(given: ArbSignal | LegsSignal, inventory: Any, **changes: Any) -> tuple[Side, str]:
    made = price_signal(given, policy(**{"buys_complements": True} | changes), inventory)
    assert not isinstance(made, Skip), made
    first, *rest = priced_legs(made)
    assert [leg.side for leg in rest] == [Side.BUY] * len(rest)
    return first.side, first.token_id


@pytest.mark.parametrize(
    "given",
    [sale(), LegsSignal([leg(1, "SELL", "0.70", 10, complement_token_id=9), leg(2)])],
    ids=["strategy", "legs"],
)
def test_a_sale_that_the_inventory_does_not_cover_buys_the_complement(given: Any) -> None:
    sold, bought = (Side.SELL, "1"), (Side.BUY, "9")
    assert first_of(given, lambda token: TEN - 1) == bought
    assert first_of(given, lambda token: TEN) == sold
    assert first_of(given, lambda token: TEN + 1) == sold
    assert first_of(given, {"1": TEN}.__getitem__) == sold
    assert first_of(given, lambda token: 0, buys_complements=False) == sold
    assert first_of(given, None) == sold


def test_the_complement_is_bought_at_the_rest_of_a_dollar_for_the_same_cost() -> None:
    made = price_signal(sale(), policy(buys_complements=True), lambda token: 0)
    assert not isinstance(made, Skip)
    bought, sold = priced_legs(made)[0], legs_of(sale())[0]
    assert (bought.limit_e4, bought.size_micro) == (3_000, TEN)
    assert bought.cost_micro == sold.cost_micro


def test_a_sale_whose_complement_nobody_named_stays_one() -> None:
    nothing = lambda token: 0  # noqa: E731
    assert first_of(sale(complement_token_id=None), nothing) == (Side.SELL, "1")
    assert first_of(LegsSignal([leg(1, "SELL")]), nothing) == (Side.SELL, "1")


def test_a_purchase_asks_for_no_inventory() -> None:
    asked: list[str] = []

    def inventory(token: str) -> int:
        asked.append(token)
        return 0

    for given in (signal(), LegsSignal([leg(1, complement_token_id=9), leg(2)])):
        assert first_of(given, inventory)[0] is Side.BUY
    assert first_of(sale(), inventory) == (Side.BUY, "9")
    assert asked == ["1"]


# worst loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "prices", "worst"),
    [
        ("POLYMARKET_COMPLEMENT_BUY", ("0.30", "0.30", "0.20"), 6_000_000),
        ("POLYMARKET_TRIANGLE_BUY", ("0.60", "0.50", "0.50"), 6_000_000),
        ("SELL_PARENT_BUY_CHILDREN", ("0.70", "0.30", "0.20"), 6_000_000),
        ("BUY_PARENT_SELL_CHILDREN", ("0.60", "0.50", "0.40"), 6_000_000),
    ],
)
def test_the_worst_loss_of_a_set_is_that_of_the_legs_that_lose_together(
    strategy: str, prices: tuple[str, str, str], worst: int
) -> None:
    given = signal(strategy, prices)
    assert worst_loss_micro(given, priced_table(given)) == worst


@pytest.mark.parametrize("covered", [(), ("2",), ("3",), ("2", "3")])
def test_the_worst_loss_does_not_depend_on_which_token_is_traded(covered: tuple[str, ...]) -> None:
    given = signal(Strategy.BUY_PARENT_SELL_CHILDREN, ("0.60", "0.50", "0.40"))
    given = given.replace(
        parent_upper=given.parent_upper.replace(complement_token_id=8),  # type: ignore[union-attr]
        child=given.child.replace(complement_token_id=9),  # type: ignore[union-attr]
    )
    made = price_signal(
        given, policy(buys_complements=True), lambda token: TEN if token in covered else 0
    )
    assert not isinstance(made, Skip)
    sides = [Side.SELL if token in covered else Side.BUY for token in ("2", "3")]
    assert [leg.side for leg in priced_legs(made)] == [Side.BUY, *sides]
    assert worst_loss_micro(given, made) == worst_loss_micro(given, priced_table(given))


def test_the_worst_loss_of_explicit_legs_follows_their_outcomes() -> None:
    legs = [leg(1, "BUY", "0.40"), leg(2, "SELL", "0.30", complement_token_id=9)]
    apart = LegsSignal(legs)
    assert worst_loss_micro(apart, priced_table(apart)) == 4_000_000 + 7_000_000
    together = LegsSignal(legs, outcomes=[[0, 0], [1, 1]])
    assert worst_loss_micro(together, priced_table(together)) == 7_000_000
    made = price_signal(together, policy(buys_complements=True), lambda token: 0)
    assert not isinstance(made, Skip)
    assert worst_loss_micro(together, made) == 7_000_000
    partly = LegsSignal(legs, outcomes=[["0.3", "0.9"]])
    assert worst_loss_micro(partly, priced_table(partly)) == 1_000_000 + 6_000_000
    assert worst_loss_micro(partly, made) == 1_000_000 + 6_000_000


# what a person is told ----------------------------------------------------------------------------


def test_a_missing_side_is_named_as_it_stands_in_the_signal() -> None:
    for strategy, name in (
        ("SELL_PARENT_BUY_CHILDREN", "parent.best_bid"),
        ("POLYMARKET_COMPLEMENT_BUY", "parent.best_ask"),
    ):
        skip = skip_of(signal(strategy, parent=quote(1)))
        assert skip == Skip(SkipReason.NO_CANDIDATES, f"{name}: missing")


@pytest.mark.parametrize(("slug", "name"), [("rain", "rain"), ("", "123456789"[:8] + "…")])
def test_a_leg_is_named_by_its_market_or_the_start_of_its_token(slug: str, name: str) -> None:
    whole = slug or f"token {name}"
    one = leg(123456789, price="0.40", size=10, market_slug=slug)
    skip = skip_of(LegsSignal([one.replace(price="0.405")]))
    assert skip.detail == f"price=0.405: token {name} trades on a tick of 0.01"
    skip = skip_of(LegsSignal([one.replace(size=10**12)]))
    assert skip == Skip(SkipReason.INVALID_SIZE, f"{whole}: its size is above any account")
    skip = check_liquidity(table_of(one.replace(available_size="9.5")))
    assert skip is not None
    assert skip.detail == f"{whole}: 9.5 quoted, 10 wanted"
    skip = check_liquidity(table_of(one.replace(available_size=0)))
    assert skip is not None
    assert skip.detail == f"{whole}: 0 quoted, 10 wanted"
    skip = check_size(table_of(one.replace(size="4.995", min_order_size=3)))
    assert skip is not None
    assert skip.detail == f"{whole}: size=4.99, at least 5"


def test_the_size_that_is_judged_is_the_size_that_is_named() -> None:
    immediate = leg(1, size="6.995", min_order_size=7, order_type="FOK", market_slug="m")
    skip = check_size(table_of(immediate))
    assert skip is not None
    assert skip.detail == "m: size=6.995, at least 7"


def test_an_edge_that_is_too_small_is_told_in_figures() -> None:
    _, skip = edge_of(signal(quotes={"fee_rate": "0.07"}), min_pnl=20)
    assert skip is not None
    assert skip.detail == "net 1.594 on 8.406, below 20 % (gross 2)"
    _, skip = edge_of(signal(profit_abs="0.1"), min_pnl=20)
    assert skip is not None
    assert skip.detail == "profit_abs=0.1 on 0.8 per set, below 20 %"


def test_the_leg_of_unknown_fee_is_named() -> None:
    given = signal()
    assert given.child is not None
    _, skip = edge_of(given.replace(child=given.child.replace(fee_rate=None)))
    assert skip == Skip(SkipReason.FEE_UNKNOWN, "market-3: taker fee rate not known")


# records ------------------------------------------------------------------------------------------


def test_a_leg_reads_as_it_was_given() -> None:
    one, two = priced(
        leg(
            1,
            "SELL",
            "0.40",
            10,
            market_slug="m",
            neg_risk=True,
            generation=3,
            min_order_size=6,
            available_size=11,
            fee_rate="0.02",
            fee_exponent=2,
            order_type="GTC",
            post_only=True,
        ),
        leg(2, order_type="FAK", fee_rate=None),
    )
    assert (one.token_id, one.market_slug, one.side) == ("1", "m", Side.SELL)
    assert (one.neg_risk, one.post_only, one.is_taker) == (True, True, False)
    assert (one.generation, one.min_order_size_micro, one.available_micro) == (
        3,
        6_000_000,
        11_000_000,
    )
    assert (one.fee_rate_micro, one.fee_exponent, one.wanted_micro) == (20_000, 2, TEN)
    assert (two.neg_risk, two.post_only, two.is_taker) == (False, False, True)
    assert (two.available_micro, two.fee_rate_micro) == (None, None)
    (free,) = priced(leg(1, fee_rate=0, available_size=0))
    assert (free.available_micro, free.fee_rate_micro) == (0, 0)


def test_an_edge_is_the_payout_less_the_cost() -> None:
    edge = Edge(cost_micro=6, payout_micro=10, gross_cost_micro=4)
    assert (edge.net_micro, edge.gross_micro) == (4, 6)


def test_records_of_the_pricing_never_change() -> None:
    records: list[Any] = [
        Skip(SkipReason.CLOSED, "x"),
        Edge(1, 2, 3),
        policy(),
        priced(leg())[0],
    ]
    for record in records:
        for name in type(record).__struct_fields__:
            with pytest.raises(AttributeError):
                setattr(record, name, None)
    for record in records[2:3]:
        positional: Any = type(record)
        with pytest.raises(TypeError):
            positional(*(getattr(record, name) for name in positional.__struct_fields__))


def test_the_threshold_is_kept_as_an_exact_fraction() -> None:
    assert policy(min_pnl="0.1").min_pnl_ratio == (1, 1_000)
    assert policy(min_pnl="-2.5").min_pnl_ratio == (-5, 200)
    assert not policy().buys_complements
