"""Records that go in: a bad value is refused where it is written, by name."""

import copy
import pickle
from decimal import Decimal
from typing import Any

import pytest

from polyexec.enums import Generation, OrderType, Side, Strategy
from polyexec.errors import InputError
from polyexec.models import Leg, Market, Quote, TopOfBook, parse_tick_e4, parse_token_id
from polyexec.signals import ArbSignal, LegsSignal

TOKEN = "52114319501245915516055106046884209969926127482827954674443846427813813222426"


def quote(**changes: Any) -> Quote:
    given = {"token_id": TOKEN, "best_ask": "0.40", "best_bid": "0.39", "fee_rate": "0.07"}
    return Quote(**given | changes)


def leg(**changes: Any) -> Leg:
    return Leg(**{"token_id": TOKEN, "side": "BUY", "price": "0.40", "size": 10} | changes)


RECORDS = [
    quote(
        market_slug="a",
        best_bid_size=3,
        best_ask_size="2.5",
        neg_risk=True,
        tick_size="0.005",
        generation="3",
        fee_exponent=2,
        min_order_size=15,
    ),
    leg(
        order_type="GTD",
        expiration=1_900_000_000,
        post_only=True,
        available_size="99.5",
        tick_size=0.01,
        generation=1,
    ),
    ArbSignal(
        "POLYMARKET_TRIANGLE_BUY",
        quote(),
        None,
        quote(token_id=2),
        profit_abs="0.05",
        profit_bps=12,
        timestamp_ms=5,
        group_key="g",
        event_slug="e",
        crypto="BTC",
        size="7.5",
    ),
    LegsSignal([leg(), leg(token_id=3, side="SELL")], payout="1", timestamp_ms=1, group_key="g"),
]
by_type = pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)


# bad values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [
        2**256,
        str(2**256),
        -1,
        "-1",
        "0x1234",
        "12ab",
        "",
        " 1",
        "1.0",
        "٣",
        "1" * 79,
        True,
        1.0,
        None,
        b"1",
        10**5000,
    ],
    ids=lambda token: repr(token)[:20] if not isinstance(token, int) else f"int{token < 2**257}",
)
def test_token_id_that_is_no_256_bit_decimal_is_refused(token: Any) -> None:
    for build in (quote, leg):
        with pytest.raises(InputError) as caught:
            build(token_id=token)
        assert caught.value.field == "token_id"
        assert caught.value.value is token


@pytest.mark.parametrize("token", [2**256 - 1, str(2**256 - 1), 0, "0", 7, "7", "007"])
def test_token_id_becomes_canonical_text(token: Any) -> None:
    assert parse_token_id(token) == str(int(token))
    assert quote(token_id=token).token_id == str(int(token))


QUOTE_FAULTS: list[tuple[str, Any]] = [
    *[(name, price) for name in ("best_bid", "best_ask") for price in (0, 1, -0.1, "nan", True)],
    *[("best_ask", price) for price in ("0.00001", float("inf"), "0.99995", "x", [])],
    *[
        (name, size)
        for name in ("best_bid_size", "best_ask_size")
        for size in (-1, float("nan"), "", False, "1e-7", 2**64)
    ],
    *[("tick_size", tick) for tick in (0, "0.02", 1, -0.01, float("nan"), "0.00001", True)],
    *[("fee_rate", rate) for rate in ("1.01", -0.01, float("nan"), True, "7%", "0.0000001")],
    *[("fee_exponent", exponent) for exponent in (5, -1, 0.5, True, None, "1")],
    *[("generation", kind) for kind in (0, 4, "4", "v2", 2.7, None, True, [])],
    *[("neg_risk", flag) for flag in ("false", "", None, 2)],
    *[("min_order_size", size) for size in (-5, "nan", None)],
]


@pytest.mark.parametrize(("field", "value"), QUOTE_FAULTS, ids=repr)
def test_bad_quote_value_names_its_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        quote(**{field: value})
    assert caught.value.field == field
    assert f"{field}={value!r}: " in str(caught.value)


LEG_FAULTS: list[tuple[str, Any]] = [
    *[("side", side) for side in ("buy", "HOLD", 0, None, [])],
    *[("price", price) for price in (0, 1, "1.2", -0.4, "0.40001", float("nan"), True, None)],
    *[("size", size) for size in (0, "0.00", -1, float("inf"), True, None, "5.0000001", 2**63)],
    *[("order_type", kind) for kind in ("IOC", "gtc", 1, [])],
    *[("expiration", time) for time in (1, -1, True, 1.5, "1900000000", None)],
    *[("available_size", size) for size in (-1, "x", float("nan"))],
    *[("post_only", flag) for flag in ("no", None)],
    *[("tick_size", tick) for tick in ("0.03",)],
    *[("generation", kind) for kind in (9,)],
    *[("fee_rate", rate) for rate in (7,)],
]


@pytest.mark.parametrize(("field", "value"), LEG_FAULTS, ids=repr)
def test_bad_leg_value_names_its_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        leg(**{field: value})
    assert caught.value.field == field
    assert f"{field}={value!r}: " in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"order_type": "GTD"}, "expiration"),
        ({"order_type": "GTD", "expiration": -5}, "expiration"),
        ({"order_type": "FOK", "expiration": 1_900_000_000}, "expiration"),
        ({"order_type": "FOK", "post_only": True}, "post_only"),
        ({"order_type": "FAK", "post_only": True}, "post_only"),
    ],
)
def test_leg_settings_that_contradict_each_other_are_refused(
    changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(InputError) as caught:
        leg(**changes)
    assert caught.value.field == field


def test_a_batch_of_16_or_of_none_is_refused() -> None:
    legs = [leg(token_id=number) for number in range(16)]
    with pytest.raises(InputError, match=r"^legs=16: a batch holds 1 to 15 orders"):
        LegsSignal(legs)
    with pytest.raises(InputError, match=r"^legs=0: "):
        LegsSignal([])
    assert len(LegsSignal(legs[:15]).legs) == 15


def test_a_token_in_two_legs_is_refused_however_it_is_written() -> None:
    with pytest.raises(InputError, match=r"^legs\[2\]\.token_id='7': stands in two legs"):
        LegsSignal([leg(token_id=7), leg(token_id=8), leg(token_id="007", side="SELL")])


def test_what_is_no_leg_or_quote_is_refused() -> None:
    with pytest.raises(InputError, match=r"^legs\[1\]='x': must be a Leg"):
        LegsSignal([leg(), "x"])  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"^child=\{\}: must be a Quote or None"):
        ArbSignal("POLYMARKET_TRIANGLE_BUY", quote(), quote(), {})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", ["profit_abs", "profit_bps", "size"])
@pytest.mark.parametrize("value", ["nan", float("inf"), True, "x"])
def test_bad_number_in_a_signal_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        ArbSignal("POLYMARKET_TRIANGLE_BUY", **{field: value})
    assert caught.value.field == field


def test_negative_payout_is_refused() -> None:
    with pytest.raises(InputError, match=r"^payout="):
        LegsSignal([leg()], payout=-1)


# what is kept -------------------------------------------------------------------------------------


def test_unknown_strategy_is_kept_for_the_result_to_show() -> None:
    signal = ArbSignal("MOON_BUY", quote())
    assert signal.strategy == "MOON_BUY"
    assert not isinstance(signal.strategy, Strategy)
    assert "strategy='MOON_BUY'" in repr(signal)


def test_known_strategy_becomes_its_member() -> None:
    assert ArbSignal("POLYMARKET_TRIANGLE_BUY").strategy is Strategy.POLYMARKET_TRIANGLE_BUY


def test_equal_tokens_in_a_strategy_are_left_to_the_executor() -> None:
    signal = ArbSignal("POLYMARKET_TRIANGLE_BUY", quote(), quote(), quote())
    assert signal.parent == signal.child


def test_strings_become_enums_and_integers() -> None:
    order = leg(order_type="FOK", tick_size="0.0025", generation="2", price=0.29, size=8.19)
    assert order.side is Side.BUY
    assert order.order_type is OrderType.FOK
    assert order.generation is Generation.CLOB_V2
    assert (order.price_e4, order.size_micro, order.tick_e4) == (2900, 8_190_000, 25)
    assert (order.price, order.size) == (Decimal("0.29"), Decimal("8.19"))
    assert order.tick_size == Decimal("0.0025")


def test_missing_sides_of_a_quote_stay_missing_and_their_sizes_are_zero() -> None:
    empty = Quote(1)
    assert empty.best_bid is None
    assert empty.best_ask is None
    assert empty.tick_size is None
    assert empty.fee_rate is None
    assert (empty.best_bid_size, empty.best_ask_size) == (0, 0)
    assert empty.min_order_size == 5


@pytest.mark.parametrize("tick", ["0.1", "0.01", "0.005", "0.0025", "0.001", "0.0001"])
def test_every_tick_of_the_exchange_is_known(tick: str) -> None:
    assert parse_tick_e4(tick) == parse_tick_e4(float(tick)) == Decimal(tick) * 10_000


def test_zero_fee_rate_is_known_and_differs_from_an_unknown_one() -> None:
    assert quote(fee_rate=0).fee_rate == 0
    assert quote(fee_rate=None).fee_rate is None
    assert quote(fee_rate=0) != quote(fee_rate=None)


# records ------------------------------------------------------------------------------------------


@by_type
def test_record_cannot_be_changed(record: Any) -> None:
    name = type(record).__slots__[0]
    with pytest.raises(AttributeError, match=r"use \.replace"):
        setattr(record, name, None)
    with pytest.raises(AttributeError, match="immutable"):
        delattr(record, name)
    with pytest.raises(AttributeError):
        record.unheard_of = 1
    assert not hasattr(record, "__dict__")


@by_type
def test_record_survives_pickle_and_copy(record: Any) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(record, protocol))
        assert again == record
        assert hash(again) == hash(record)
        assert repr(again) == repr(record)
    assert copy.copy(record) == copy.deepcopy(record) == record


@by_type
def test_replace_without_changes_gives_an_equal_record(record: Any) -> None:
    again = record.replace()
    assert again is not record
    assert again == record


@by_type
def test_repr_is_an_expression_that_rebuilds_the_record(record: Any) -> None:
    names = {
        kind.__name__: kind
        for kind in (Quote, Leg, ArbSignal, LegsSignal, Decimal, Side, OrderType, Strategy)
    }
    text = repr(record)
    for kind in (Side, OrderType, Strategy, Generation):
        for member in kind:
            text = text.replace(repr(member), repr(member.value))
    assert eval(text, names) == record


def test_replace_checks_the_new_values() -> None:
    assert quote().replace(best_ask="0.5").best_ask_e4 == 5000
    with pytest.raises(InputError, match=r"^best_ask="):
        quote().replace(best_ask=2)
    with pytest.raises(TypeError):
        quote().replace(best_asks=1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("token_id", 9),
        ("market_slug", "other"),
        ("best_bid", "0.38"),
        ("best_ask", None),
        ("best_bid_size", 1),
        ("best_ask_size", 1),
        ("neg_risk", True),
        ("tick_size", "0.01"),
        ("generation", 3),
        ("fee_rate", 0),
        ("fee_exponent", 2),
        ("min_order_size", 1),
    ],
)
def test_quotes_that_differ_in_one_field_are_not_equal(field: str, value: Any) -> None:
    changed = quote().replace(**{field: value})
    assert changed != quote()
    assert changed.replace(**{field: getattr(quote(), field)}) == quote()


def test_records_of_other_types_are_never_equal() -> None:
    assert quote() != leg()
    assert quote() != "quote"
    assert len({quote(), quote(), leg(), leg()}) == 2


def test_top_of_book_shows_dollars_and_keeps_empty_sides() -> None:
    top = TopOfBook(parse_token_id(1), 3900, None, 5_000_000, 0, 1)
    assert top.best_bid == Decimal("0.39")
    assert top.best_ask is None
    assert TopOfBook(parse_token_id(1), None, 4000, 0, 1, 1).best_bid is None
    assert TopOfBook(parse_token_id(1), None, 4000, 0, 1, 1).best_ask == Decimal("0.4")


def test_market_is_frozen() -> None:
    market = Market(
        token_id=parse_token_id(1),
        condition_id="0x0",  # type: ignore[arg-type]
        tick_e4=100,
        min_order_size_micro=5_000_000,
        neg_risk=False,
        generation=Generation.CLOB_V2,
        fee_rate_micro=None,
    )
    with pytest.raises(AttributeError):
        market.tick_e4 = 10  # type: ignore[misc]
