"""Trios and forms: everything that is built holds at every price, and says why it does."""

from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyexec.core.forms import Form
from polyexec.core.range_overrides import RangeOverrides, parse_overrides
from polyexec.core.ranges import MatchDelay, RangeMarket, read_event
from polyexec.core.strategy import STRATEGIES
from polyexec.core.trios import (
    Check,
    Group,
    Trio,
    TrioProof,
    build_groups,
    forms_of,
    prove,
)
from polyexec.enums import Generation, Side, Strategy
from polyexec.errors import InputError
from polyexec.signals import Leg, LegsSignal

from .ladders import ABOVE, above, between, event, ladders, read_all

STRIKES = (76_000, 78_000, 80_000, 82_000)
ACCEPTED = RangeOverrides(accepted=frozenset({"btc"}))


def build(markets: list[RangeMarket], overrides: RangeOverrides | None = None) -> Group:
    (group,), stray = build_groups(markets, overrides)
    assert stray == ()
    return group


def named(group: Group, *children: str) -> list[Trio]:
    return [t for t in group.trios if tuple(c.slug.split("-")[2] for c in t.children) == children]


def prices_around(trio: Trio) -> list[Decimal]:
    edges = sorted({edge for leg in trio.legs for edge in (leg.lower, leg.upper) if edge})
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    return [edges[0] - 1, *edges, *middles, edges[-1] + 1]


def worth(form: Form, trio: Trio, price: Decimal) -> int:
    """What a set of a form is worth, from the bounds alone."""
    total = 0
    for leg, market in zip(form.legs, trio.legs, strict=True):
        yes = market.pays(price)
        assert yes is not None
        pays = int(yes if leg.token_id == market.yes else not yes)
        total += pays if leg.side is Side.BUY else 1 - pays
    return total


# --- what is built ---------------------------------------------------------------------------


def test_ladders_that_tile_give_trios_and_the_general_form() -> None:
    group = build(read_all(ladders(STRIKES)))
    assert group.key == "btc-2026-07-04T16:00:00.000Z"
    assert group.unproven == ()
    by_children = sorted(len(trio.children) for trio in group.trios)
    # Three between strikes of the first ladder, and one chain more for each longer way; the
    # tail of the brackets is another "above 82,000".
    assert by_children == [1, 1, 1, 1, 2, 2, 2, 3, 3]
    for trio in group.trios:
        assert trio.proof.holds
        assert [check.name for check in trio.proof.checks] == [
            "asset", "source", "instant", "bounds", "boundary", "neg_risk", "tokens", "tick",
            "minimum", "fee", "generation", "delay", "open",
        ]  # fmt: skip
    (first,) = named(group, "76000")
    details = {check.name: check.detail for check in first.proof.checks}
    assert details["asset"] == "btc"
    assert details["source"] == "Binance BTC/USDT 1m close at 12:00 ET"
    assert details["instant"] == "2026-07-04T16:00:00.000Z"
    assert details["bounds"] == "76000 to 78000"
    assert details["tick"] == "100, 100, 100"
    assert details["delay"] == "none"


def test_one_child_gives_the_four_strategies() -> None:
    (trio,) = named(build(read_all(ladders(STRIKES))), "78000")
    forms = forms_of(trio)
    assert [form.strategy for form in forms] == list(STRATEGIES)
    p, u, c = trio.legs
    tokens = {form.strategy: tuple(leg.token_id for leg in form.legs) for form in forms}
    assert tokens == {
        Strategy.POLYMARKET_TRIANGLE_BUY: (p.yes, u.no, c.no),
        Strategy.POLYMARKET_COMPLEMENT_BUY: (p.no, u.yes, c.yes),
        Strategy.SELL_PARENT_BUY_CHILDREN: (p.yes, u.yes, c.yes),
        Strategy.BUY_PARENT_SELL_CHILDREN: (p.yes, u.yes, c.yes),
    }
    for form in forms:
        assert form.strategy is not None
        rule = STRATEGIES[form.strategy]
        assert [leg.side for leg in form.legs] == [leg.side for leg in rule.legs]
        assert form.payout == rule.payout
        for number, leg_rule in enumerate(rule.legs):
            assert tuple(row[number] for row in form.outcomes) == leg_rule.pays
        assert {leg.market.fee_rate_micro for leg in form.legs} == {70_000}
        assert {leg.market.generation for leg in form.legs} == {Generation.CLOB_V2}
        assert [leg.market.neg_risk for leg in form.legs] == [False, False, True]
        assert form.group_key == "btc-2026-07-04T16:00:00.000Z"
        assert (form.event_slug, form.crypto) == ("bitcoin-above-on-july-4", "btc")


def test_several_children_give_the_general_form_and_its_mirror() -> None:
    (trio,) = (t for t in named(build(read_all(ladders(STRIKES))), "76000", "78000"))
    long, mirror = forms_of(trio)
    p, u, *children = trio.legs
    assert [leg.token_id for leg in long.legs] == [p.yes, u.no, *(c.no for c in children)]
    assert [leg.token_id for leg in mirror.legs] == [p.no, u.yes, *(c.yes for c in children)]
    assert (long.payout, mirror.payout) == (3, 1)
    assert long.strategy is None
    assert {leg.side for leg in long.legs + mirror.legs} == {Side.BUY}
    for leg, market in zip(long.legs, trio.legs, strict=True):
        assert {leg.token_id, leg.complement_token_id} == {market.yes, market.no}


def test_a_batch_holds_thirteen_children() -> None:
    strikes = range(50_000, 50_000 + 16 * 1000, 1000)
    group = build(read_all(ladders(strikes)))
    assert max(len(trio.children) for trio in group.trios) == 13
    group, *_ = build_groups(read_all(ladders(strikes)), most_children=1)[0]
    assert {len(trio.children) for trio in group.trios} == {1}


def test_a_bracket_may_span_several_strikes() -> None:
    markets = read_all(
        [
            event("a", [above(strike) for strike in STRIKES]),
            event("b", [between(70_000, 76_000), between(76_000, 80_000), between(80_000, 82_000)]),
        ]
    )
    group = build(markets, ACCEPTED)
    (trio,) = named(group, "76000")
    assert (trio.parent.lower, trio.parent_upper.lower) == (76_000, 80_000)


@st.composite
def strike_lists(draw: st.DrawFn) -> list[str]:
    scale = draw(st.sampled_from(["1", "0.01", "1000", "0.0000001"]))
    numbers = draw(st.sets(st.integers(1, 500), min_size=3, max_size=7))
    return [f"{number * Decimal(scale):f}" for number in sorted(numbers)]


@given(strike_lists())
@settings(max_examples=60)
def test_every_trio_holds_at_every_price(strikes: list[str]) -> None:
    group = build(read_all(ladders(strikes)))
    assert len(named(group, strikes[0])) == 1
    for trio in group.trios:
        prices = prices_around(trio)
        for price in prices:
            paid = [leg.pays(price) for leg in trio.legs]
            assert paid[0] == sum(map(bool, paid[1:]))
        for form in forms_of(trio):
            assert {worth(form, trio, price) for price in prices} == {form.payout}
            # The rows are as a signal wants them.
            legs = [Leg(leg.token_id, leg.side, "0.5", 10) for leg in form.legs]
            signal = LegsSignal(legs, form.payout, outcomes=form.outcomes)
            assert signal.outcomes_micro is not None
            for row in form.outcomes:
                paid = zip(form.legs, row, strict=True)
                counted = sum(pay if leg.side is Side.BUY else 1 - pay for leg, pay in paid)
                assert counted == form.payout


# --- what is not -----------------------------------------------------------------------------


def test_the_real_wording_does_not_tile() -> None:
    markets = read_all(ladders(STRIKES, description=ABOVE))
    group = build(markets)
    assert group.trios == ()
    unproven = next(u for u in group.unproven if "bitcoin-between-76000-78000-on-july-4" in u.legs)
    (check,) = unproven.missing
    assert check.name == "boundary"
    assert "at exactly 76000 yes is paid by bitcoin-between-76000" in check.detail
    assert "at exactly 78000 yes is paid by bitcoin-above-76000" in check.detail

    group = build(markets, ACCEPTED)
    (trio,) = named(group, "76000")
    detail = next(check.detail for check in trio.proof.checks if check.name == "boundary")
    assert detail.startswith("accepted by the overrides: at exactly 76000")
    # What is accepted: exactly on K1 a triangle pays 1 of 2, exactly on K2 it pays 3.
    triangle = forms_of(trio)[0]
    pays = [
        worth(triangle, trio, Decimal(price)) for price in (75_000, 76_000, 77_000, 78_000, 79_000)
    ]
    assert pays == [2, 1, 2, 3, 2]


def test_no_accepted_boundary_covers_a_market_that_pays_the_other_way_round() -> None:
    lower = ABOVE.replace("higher than", "lower than")
    (group,), stray = build_groups(read_all(ladders(STRIKES, description=lower)), ACCEPTED)
    assert group.trios == ()
    assert len(stray) == len(STRIKES)
    for item in stray:
        assert "source: " in str(item)
        assert "the description says 'lower than', the question 'above'" in str(item)


def test_the_boundary_can_be_accepted_for_a_group_or_an_asset() -> None:
    markets = read_all(ladders(STRIKES, description=ABOVE))
    for table, name, expected in (
        ("asset", "btc", True),
        ("group", "btc-2026-07-04T16:00:00.000Z", True),
        ("asset", "eth", False),
        ("group", "btc-2026-07-05T16:00:00.000Z", False),
    ):
        overrides = parse_overrides({table: {name: {"accept_boundary": True}}}, "f.toml")
        assert bool(build(markets, overrides).trios) is expected


LEG = {"parent": 0, "parent_upper": 1, "child": 2}


@pytest.mark.parametrize("leg", LEG)
@pytest.mark.parametrize(
    ("changes", "check", "words"),
    [
        ({"asset": "eth"}, "asset", "eth"),
        ({"asset": ""}, "asset", "not known"),
        ({"source": "Coinbase"}, "source", "Coinbase"),
        ({"source": "", "missing": (("source", "who?"),)}, "source", "who?"),
        ({"instant_ms": 1_783_180_801_000}, "instant", "16:00:01"),
        ({"instant_ms": 0}, "instant", "not known"),
        ({"neg_risk": True, "augmented": True}, "neg_risk", "augmented"),
        ({"neg_risk": True, "augmented": None}, "neg_risk", "augmented"),
        ({"missing": (("neg_risk", "odd"),)}, "neg_risk", "odd"),
        ({"missing": (("tokens", "others"),)}, "tokens", "others"),
        ({"missing": (("record", "none"),)}, "tokens", "none"),
        ({"is_open": False}, "open", "takes no orders"),
    ],
)
def test_a_leg_that_differs_is_not_proven(leg: str, changes: Any, check: str, words: str) -> None:
    (trio,) = named(build(read_all(ladders(STRIKES))), "76000")
    legs = list(trio.legs)
    legs[LEG[leg]] = msgspec.structs.replace(legs[LEG[leg]], **changes)
    for accept in (False, True):
        proof = prove(legs[0], legs[1], legs[2:], accept_boundary=accept)
        assert not proof.holds
        assert [failure.name for failure in proof.failures] == [check]
        assert words in str(proof)
        with pytest.raises(InputError, match=check):
            Trio(
                parent=legs[0],
                parent_upper=legs[1],
                children=tuple(legs[2:]),
                accept_boundary=accept,
                proof=proof,
            )


@pytest.mark.parametrize("leg", LEG)
@pytest.mark.parametrize(
    ("term", "check"),
    [
        ("tick_e4", "tick"),
        ("min_order_size_micro", "minimum"),
        ("fee_rate_micro", "fee"),
        ("generation", "generation"),
        ("delay", "delay"),
    ],
)
def test_a_term_that_is_not_known_is_not_proven(leg: str, term: str, check: str) -> None:
    (trio,) = named(build(read_all(ladders(STRIKES))), "76000")
    legs = list(trio.legs)
    market = legs[LEG[leg]]
    terms = msgspec.structs.replace(market.terms, **{term: None})
    legs[LEG[leg]] = msgspec.structs.replace(market, terms=terms)
    (failure,) = prove(legs[0], legs[1], legs[2:]).failures
    assert failure == Check(check, holds=False, detail=f"not known of {market.slug}")


def test_legs_that_match_at_other_times_are_not_proven() -> None:
    (trio,) = named(build(read_all(ladders(STRIKES))), "76000")
    p, u, c = trio.legs
    late = msgspec.structs.replace(
        c, terms=msgspec.structs.replace(c.terms, delay=MatchDelay.TAKER)
    )
    (failure,) = prove(p, u, [late]).failures
    assert failure.name == "delay"
    assert "taker" in failure.detail


def test_a_proof_cannot_be_lent() -> None:
    group = build(read_all(ladders(STRIKES)))
    (first,), (second,) = named(group, "76000"), named(group, "78000")
    for proof in (second.proof, TrioProof(()), TrioProof((Check("all", True, "trust me"),))):
        with pytest.raises(InputError, match="proof"):
            msgspec.structs.replace(first, proof=proof)
    with pytest.raises(InputError, match="bounds"):
        msgspec.structs.replace(first, children=second.children)


@given(
    st.lists(st.integers(0, 6), min_size=2, max_size=8),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=8),
    st.lists(st.sampled_from([True, False, None]), min_size=24, max_size=24),
)
@settings(max_examples=300)
def test_whatever_the_ladders_only_what_tiles_is_built(
    strikes: list[int], ranges: list[tuple[int, int]], inclusive: list[bool | None]
) -> None:
    """Gaps, overlaps, duplicates and any boundary: what is built holds everywhere."""
    lots = iter(inclusive)
    markets = []
    for number, strike in enumerate(strikes):
        (market,) = read_all([event(f"a{number}", [above(1000 + strike)])])
        markets.append(msgspec.structs.replace(market, lower_inclusive=next(lots)))
    for number, (low, high) in enumerate(ranges):
        if low < high:
            (market,) = read_all([event(f"b{number}", [between(1000 + low, 1000 + high)])])
            markets.append(
                msgspec.structs.replace(
                    market, missing=(), lower_inclusive=next(lots), upper_inclusive=next(lots)
                )
            )
    for trio in build(markets).trios:
        for price in prices_around(trio):
            paid = [leg.pays(price) for leg in trio.legs]
            assert None not in paid
            assert paid[0] == sum(map(bool, paid[1:]))
    # With the boundary accepted, everything but the bounds themselves.
    for trio in build(markets, ACCEPTED).trios:
        edges = {leg.lower for leg in trio.legs} | {leg.upper for leg in trio.legs}
        for price in prices_around(trio):
            if price not in edges:
                paid = [leg.pays(price) for leg in trio.legs]
                assert paid[0] == sum(map(bool, paid[1:]))


def test_bounds_that_do_not_meet_are_named() -> None:
    (trio,) = named(build(read_all(ladders(STRIKES))), "76000")
    p, u, c = trio.legs
    for children, words in (
        ([msgspec.structs.replace(c, lower=Decimal(76_500))], "begins at 76500, not at 76000"),
        ([msgspec.structs.replace(c, upper=Decimal(77_000))], "end at 77000"),
        ([c, c], "begins at 76000, not at 78000"),
        ([], "0 children"),
        ([u], "not of the kind between"),
        ([c] * 14, "14 children"),
    ):
        check = next(f for f in prove(p, u, children).failures if f.name == "bounds")
        assert words in check.detail
    check = next(f for f in prove(p, c, [c]).failures if f.name == "bounds")
    assert "kind above" in check.detail


def test_what_has_no_partner_is_told() -> None:
    markets = read_all([event("a", [above(strike) for strike in STRIKES])])
    (unproven,) = build(markets).unproven
    assert "4 strikes and nothing to set against them" in str(unproven)
    markets += read_all([event("b", [between(70_000, 76_000), between(76_000, 78_000)])])
    told = [str(unproven) for unproven in build(markets).unproven]
    assert any("70000-76000-on-july-4: bounds: no market above 70000" in text for text in told)
    assert any("no range begins at 78000, up to 80000" in text for text in told)


def test_markets_without_asset_or_instant_belong_to_no_group() -> None:
    market, *_ = read_all([event("a", [above(76_000)])])
    lost = msgspec.structs.replace(market, instant_ms=0, missing=(("instant", "when?"),))
    groups, (stray,) = build_groups([lost])
    assert groups == ()
    assert stray.missing == (Check("instant", holds=False, detail=f"{lost.slug}: when?"),)


def test_an_augmented_event_makes_no_trio() -> None:
    events = ladders(STRIKES)
    events[1]["negRiskAugmented"] = True
    group = build(read_all(events))
    assert group.trios == ()
    assert all("augmented" in str(unproven) for unproven in group.unproven)


def test_too_many_ways_to_tile_are_cut_and_told() -> None:
    markets = read_all(ladders(range(1000, 1008)))
    copies = [
        msgspec.structs.replace(market, condition_id=f"0x{n}", slug=f"{market.slug}-{n}")
        for market in markets
        for n in range(6)
    ]
    group = build(copies)
    assert any("ways to tile" in str(unproven) for unproven in group.unproven)


def test_a_market_read_alone_makes_no_trio_by_the_rule_for_ties() -> None:
    child, _ = read_event(event("b", [between(76_000, 78_000)]))
    assert child[0].lower_inclusive is None
