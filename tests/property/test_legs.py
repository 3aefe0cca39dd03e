"""The compiled pricing of legs against its readable twin."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec._pure import batch as pure_batch
from polyexec._pure import legs as pure
from polyexec.models import Leg, Quote
from polyexec.numbers import from_e4, from_micro
from tests.property.test_batch import STAMP, builder

fast: Any = pytest.importorskip("polyexec._fast.legs", reason="the extensions are not built")
fast_batch: Any = pytest.importorskip("polyexec._fast.batch", reason="the extensions are not built")

FIGURES = (
    "count",
    "set_micro",
    "cost_micro",
    "gross_cost_micro",
    "quoted_e4",
    "collateral_micro",
    "size_fault",
    "size_fault_leg",
    "unknown_fee_leg",
    "needs_v1",
)
ticks = st.sampled_from([1000, 100, 50, 25, 10, 1, None])
huge_sizes = st.one_of(st.integers(0, 10**13), st.sampled_from([2**58, 2**58 + 1, 2**63 - 1]))
# One leg that cannot be hides the figures of all others, so those are rare.
rarely = st.sampled_from((True,) + (False,) * 30)
sizes = rarely.flatmap(lambda rare: huge_sizes if rare else st.integers(0, 30_000_000))
rates = st.one_of(st.none(), st.integers(0, 1_000_000))


def fields(draw: st.DrawFn) -> dict[str, Any]:
    tick = draw(ticks)
    rate = draw(rates)
    return {
        "neg_risk": draw(st.booleans()),
        "tick_size": None if tick is None else from_e4(tick),
        "generation": draw(st.sampled_from([1, 2, 2, 3])),
        "fee_rate": None if rate is None else from_micro(rate),
        "fee_exponent": draw(st.integers(0, 4)),
        "min_order_size": from_micro(draw(st.integers(0, 20_000_000))),
    }


def price(draw: st.DrawFn, tick: Any) -> Any:
    e4 = draw(st.integers(1, 9999))
    if tick is not None and not draw(rarely):
        step = int(tick * 10_000)
        e4 = min(max(step, e4 // step * step), 10_000 - step)
    return from_e4(e4)


@st.composite
def quotes(draw: st.DrawFn) -> Quote:
    shared = fields(draw)
    return Quote(
        draw(st.integers(0, 3) if draw(rarely) else st.integers(4, 2**256 - 1)),
        "",
        None if draw(rarely) else price(draw, shared["tick_size"]),
        price(draw, shared["tick_size"]),
        from_micro(draw(sizes)),
        from_micro(draw(sizes)),
        **shared,
    )


@st.composite
def legs(draw: st.DrawFn) -> Leg:
    shared = fields(draw)
    kind = draw(st.sampled_from([None, "GTC", "GTD", "FOK", "FAK"]))
    return Leg(
        draw(st.integers(0, 2**256 - 1)),
        draw(st.sampled_from(["BUY", "SELL"])),
        price(draw, shared["tick_size"]),
        from_micro(max(1, draw(sizes))),
        kind,
        draw(st.integers(1, 2**40)) if kind == "GTD" else 0,
        draw(st.booleans()) if kind in ("GTC", "GTD") else False,
        draw(st.one_of(st.none(), sizes.map(from_micro))),
        **shared,
    )


def some_payoffs(count: int) -> list[tuple[tuple[int, ...], ...]]:
    """Return payoffs of one, and of a few outcomes, with every kind of number in them."""
    rows = [tuple((7 * n + 3 * k) % 5 * 250_000 for n in range(count)) for k in range(5)]
    return [(rows[0],), tuple(rows), ((333_333,) * count, (1_000_000,) * count)]


def assert_same(one: Any, other: Any) -> None:
    assert (one.fault, one.fault_leg) == (other.fault, other.fault_leg)
    assert one.sources == other.sources
    if one.fault in (0, pure.NOT_ENOUGH_QUOTED):
        assert [one.row(i) for i in range(one.count)] == [other.row(i) for i in range(other.count)]
        assert one.claims() == other.claims()
        for payoffs in (None, *some_payoffs(one.count)):
            assert one.worst_loss(payoffs) == other.worst_loss(payoffs)
        for name in FIGURES:
            assert getattr(one, name) == getattr(other, name), name


@given(
    st.lists(quotes(), min_size=1, max_size=4).map(tuple),
    st.data(),
    sizes,
    st.integers(0, 3),
    st.booleans(),
)
def test_quotes_are_priced_alike(
    given_quotes: tuple[Quote, ...], data: st.DataObject, size: int, kind: int, slips: bool
) -> None:
    sides = tuple(data.draw(st.integers(0, 1)) for _ in given_quotes)
    arguments = (given_quotes, sides, size, kind, slips)
    assert_same(fast.price_quotes(*arguments), pure.price_quotes(*arguments))


@given(st.lists(legs(), min_size=1, max_size=15).map(tuple), st.integers(0, 3), st.booleans())
def test_legs_are_priced_and_encoded_alike(
    given_legs: tuple[Leg, ...], kind: int, slips: bool
) -> None:
    tables = [module.price_legs(given_legs, kind, slips) for module in (fast, pure)]
    assert_same(*tables)
    entropy = bytes(range(8 * len(given_legs)))
    outcomes: list[Any] = []
    for table, module in zip(tables, (fast_batch, pure_batch), strict=True):
        try:
            outcomes.append(builder(module, 0).build_table(table, STAMP, entropy))
        except ValueError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1]


Q = Quote(1, "", "0.3", "0.4", 10, 10)


class Odd:
    """A quote whose fields are not what they should be."""

    def __init__(self, **changes: Any) -> None:
        self.__dict__ = {name: getattr(Q, name) for name in Quote.__slots__} | changes


MODULES = pytest.mark.parametrize("module", [fast, pure], ids=["fast", "pure"])
LARGEST = 2**63 - 1
RANGES = {
    "best_ask_e4": ("price_e4", 1, 9_999),
    "best_ask_size_micro": ("available_micro", 0, LARGEST),
    "tick_e4": ("tick_e4", 0, 9_999),
    "generation": ("generation", 1, 3),
    "fee_rate_micro": ("fee_rate_micro", 0, 1_000_000),
    "fee_exponent": ("fee_exponent", 0, 4),
    "min_order_size_micro": ("min_order_size_micro", 0, LARGEST),
}


@MODULES
@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"token_id": 1}, TypeError),
        ({"best_ask_e4": 0.5}, TypeError),
        ({"best_ask_e4": 2**63}, OverflowError),
    ],
)
def test_a_foreign_or_overflowing_field_is_refused(
    module: Any, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        module.price_quotes((Odd(**changes),), (0,), 10_000_000, 0, False)


@MODULES
@pytest.mark.parametrize("field", RANGES)
def test_a_field_reaches_from_its_first_to_its_last_number(module: Any, field: str) -> None:
    name, low, high = RANGES[field]
    for good in (low, high):
        module.price_quotes((Odd(**{field: good}),), (0,), 10_000_000, 0, False)
    beyond = (low - 1,) if high == LARGEST else (low - 1, high + 1)
    for bad in beyond:
        with pytest.raises(ValueError, match=f"^{name} must be {low} to {high}, not {bad}$"):
            module.price_quotes((Odd(**{field: bad}),), (0,), 10_000_000, 0, False)


@MODULES
def test_an_argument_reaches_from_its_first_to_its_last_number(module: Any) -> None:
    def price(size: int = 10_000_000, side: int = 0, order_type: int = 0) -> Any:
        return module.price_quotes((Q,), (side,), size, order_type, False)

    for name, low, high in (("size", 0, LARGEST), ("side", 0, 1), ("order_type", 0, 3)):
        shown = "size_micro" if name == "size" else name
        for good in (low, high):
            price(**{name: good})
        for bad in (low - 1, high + 1) if high < LARGEST else (low - 1,):
            with pytest.raises(ValueError, match=f"^{shown} must be {low} to {high}, not {bad}$"):
                price(**{name: bad})
    for bad in (-1, 4):
        with pytest.raises(ValueError, match=f"^order_type must be 0 to 3, not {bad}$"):
            module.price_legs((Leg(1, "BUY", "0.5", 10),), bad, False)


class OddLeg:
    """A leg whose fields are not what they should be."""

    def __init__(self, **changes: Any) -> None:
        one = Leg(1, "BUY", "0.5", 10)
        self.__dict__ = {name: getattr(one, name) for name in Leg.__slots__} | changes


@MODULES
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": "buy"}, "side must be BUY or SELL, not 'buy'"),
        ({"side": 0}, "side must be BUY or SELL, not 0"),
        ({"order_type": "IOC"}, "order_type must be GTC, GTD, FOK or FAK, not 'IOC'"),
        ({"order_type": 0}, "order_type must be GTC, GTD, FOK or FAK, not 0"),
        ({"expiration": -1}, f"expiration must be 0 to {LARGEST}, not -1"),
        ({"size_micro": -1}, f"size_micro must be 0 to {LARGEST}, not -1"),
    ],
)
def test_a_leg_that_cannot_be_is_refused(
    module: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        module.price_legs((OddLeg(**changes),), 0, False)


@MODULES
def test_a_price_within_a_tick_of_a_dollar_is_off_a_tick_that_does_not_divide_it(
    module: Any,
) -> None:
    made = module.price_quotes((Odd(tick_e4=3_000, best_ask_e4=9_000),), (0,), 1, 0, False)
    assert (made.fault, made.fault_leg) == (pure.OFF_TICK, 0)
    made = module.price_quotes((Odd(tick_e4=3_000, best_ask_e4=6_000),), (0,), 1, 0, False)
    assert made.fault == 0


@MODULES
def test_an_immediate_order_is_judged_by_what_was_wanted_and_a_resting_one_by_its_size(
    module: Any,
) -> None:
    def fault(kind: str, size: str, **changes: Any) -> int:
        given = {"tick_size": "0.001"} | changes
        table = module.price_legs((Leg(1, "BUY", "0.333", size, kind, **given),), 0, False)
        assert table.row(0)[7] < 10**6 * float(size)  # what is left after rounding
        return int(table.size_fault)

    assert fault("FOK", "5") == 0  # 4.9849 for 1.66
    assert fault("FOK", "4.999999") == pure.TOO_FEW_SHARES
    assert fault("GTC", "5.008", min_order_size="5.005") == pure.TOO_FEW_SHARES
    assert fault("GTC", "5.018", min_order_size="5.005") == 0


@MODULES
def test_a_marketable_purchase_of_a_micro_dollar_too_little_is_refused(module: Any) -> None:
    for price, size, fault in (
        ("0.1001", "9.99", pure.TOO_FEW_DOLLARS),  # 0.999999
        ("0.1", "10", 0),
    ):
        one = Quote(1, "", None, price, 100, 100, tick_size="0.0001")
        table = module.price_quotes((one,), (0,), int(float(size) * 10**6), 0, False)
        assert table.size_fault == fault


@MODULES
@pytest.mark.parametrize(
    ("tick", "shares"), [("0.1", 10_033_000), ("0.01", 10_033_300), (None, 10_033_300)]
)
def test_an_immediate_purchase_asks_for_the_decimals_that_its_tick_allows(
    module: Any, tick: Any, shares: int
) -> None:
    leg = Leg(1, "BUY", "0.3", "10.04", "FOK", tick_size=tick)
    assert module.price_legs((leg,), 0, False).row(0)[8:10] == (3_010_000, shares)


@pytest.mark.parametrize("module", [fast, pure], ids=["fast", "pure"])
def test_counts_sides_and_containers_are_checked(module: Any) -> None:
    for bad in ((), (Q,) * 16):
        with pytest.raises(ValueError, match="1 to 15"):
            module.price_quotes(bad, (0,) * len(bad), 1, 0, False)
        with pytest.raises(ValueError, match="1 to 15"):
            module.price_legs(bad, 0, False)
    with pytest.raises(TypeError, match="must be a tuple"):
        module.price_legs([Leg(1, "BUY", "0.5", 10)], 0, False)
    with pytest.raises(ValueError, match="sides must be 1"):
        module.price_quotes((Q,), (0, 1), 1, 0, False)
    with pytest.raises(ValueError, match="side must be"):
        module.price_quotes((Q,), (2,), 1, 0, False)
    with pytest.raises(ValueError, match="order_type must be"):
        module.price_quotes((Q,), (0,), 1, 4, False)
    table = module.price_quotes((Q,), (0,), 10_000_000, 0, False)
    for index in (-1, 1, 2):
        with pytest.raises(IndexError, match=f"^leg {index} of 1$"):
            table.row(index)
    with pytest.raises(ValueError, match="sides must be 2, not 1"):
        module.price_quotes((Q, Q.replace(token_id=2)), (0,), 1, 0, False)
    for payoffs in (((0, 0),), ((),), ((-1,),), ((1_000_001,),)):
        with pytest.raises(ValueError, match="payoffs must be"):
            table.worst_loss(payoffs)
    with pytest.raises(TypeError, match="belongs to one submission"):
        table.__reduce__()


@pytest.mark.parametrize("module", [fast_batch, pure_batch], ids=["fast", "pure"])
def test_a_table_that_must_not_be_signed_is_refused(module: Any) -> None:
    def sign(digest: bytes) -> bytes:
        raise AssertionError("signed")

    pricing = fast if module is fast_batch else pure
    made = builder(module, 0, sign=sign)
    off_tick = pricing.price_quotes(
        (Q.replace(tick_size="0.1", best_ask="0.45"),), (0,), 1, 0, False
    )
    old = pricing.price_quotes((Q.replace(generation=1),), (0,), 10_000_000, 0, False)
    empty = pricing.price_quotes((Q,), (0,), 1, 0, False)
    for table in (off_tick, old, empty):
        with pytest.raises(ValueError, match=r"fault|amounts|above zero"):
            made.build_table(table, 1, bytes(8))
    good = pricing.price_quotes((Q,), (0,), 10_000_000, 0, False)
    with pytest.raises(ValueError, match="entropy must be 8 bytes"):
        made.build_table(good, 1, bytes(7))


@pytest.mark.parametrize("module", [fast_batch, pure_batch], ids=["fast", "pure"])
def test_salts_of_a_batch_are_drawn_anew_and_fit_53_bits(module: Any) -> None:
    pricing = fast if module is fast_batch else pure
    legs = tuple(Leg(token, "BUY", "0.5", 10) for token in range(15))
    made, table = builder(module, 0), pricing.price_legs(legs, 0, False)
    bodies = [json.loads(made.build_table(table, STAMP)[0]) for _ in range(2)]
    salts = [entry["order"]["salt"] for body in bodies for entry in body]
    assert len(set(salts)) == 30
    # 30 x 53 bits all below 2**52 would be a chance of 1 in 2**30
    assert 2**52 <= max(salts) < 2**53
