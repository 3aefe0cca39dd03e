"""Both evaluators: which forms a change looks at, and what keeps them from being found."""

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from polyexec._impl import PriceTable
from polyexec._pure.evaluator import COUNTED
from polyexec._pure.prices import STALE_EVENT, BookState, Fault
from polyexec.core.forms import Form, FormLeg
from polyexec.enums import Generation, Side, Strategy
from polyexec.models import ConditionId, Market, TokenId
from tests.implementations import BOTH

NOW = 1_000_000_000
TOKENS = tuple(map(TokenId, ("10", "20", "30")))
SETTINGS = {
    "min_profit_micro": 0,
    "min_profit_bps": 0,
    "cooldown_ns": 0,
    "max_size_micro": 10**9,
    "max_age_ns": 1000,
}


@pytest.fixture(params=BOTH)
def functions(request: pytest.FixtureRequest) -> Any:
    return request.param


def market(token: TokenId, **changes: Any) -> Market:
    known = Market(
        token_id=token,
        condition_id=ConditionId("0x" + "1" * 64),
        tick_e4=100,
        min_order_size_micro=5_000_000,
        neg_risk=False,
        generation=Generation.CLOB_V2,
        fee_rate_micro=0,
    )
    return replace(known, **changes)


def form(sides: tuple[Side, ...] = (Side.BUY,) * 3, **changes: Any) -> Form:
    legs = tuple(
        FormLeg(market(token, **changes), side, TokenId(token + "1"))
        for token, side in zip(TOKENS, sides, strict=True)
    )
    return Form(legs=legs, payout=2, strategy=Strategy.POLYMARKET_TRIANGLE_BUY)


def load(
    table: Any,
    token: str,
    bids: list[tuple[str, str]],
    asks: list[tuple[str, str]],
    received_ns: int = NOW,
) -> None:
    slot = table.add(token)
    flags = table.load_book(slot, bids, asks, tick_e4=100, time_ms=7, received_ns=received_ns)
    assert flags >= 0


def world(functions: Any, **settings: int) -> tuple[Any, Any]:
    """Return a table whose three asks cost 1.80 a set for 50 sets, then 1.95 for 100."""
    table = functions.PriceTable(16)
    for token in TOKENS:
        load(table, token, [("0.50", "500")], [("0.65", "1000"), ("0.60", "50")])
    return table, functions.Evaluator(table, **SETTINGS | settings)


def look(table: Any, evaluator: Any, now: int = NOW) -> tuple[Any, ...]:
    return evaluator.touched(table.slot(TOKENS[0]), now)


def only(evaluator: Any) -> str:
    """Return the one thing that has become of every look."""
    (name,) = (name for name, count in evaluator.counts().items() if count)
    return name


def test_the_size_with_the_largest_net_is_found(functions: Any) -> None:
    table, evaluator = world(functions)
    number = evaluator.add(form())
    (found,) = look(table, evaluator)
    # 50 sets earn 10 dollars; 1000 at the worse price 50.
    assert found.number == number
    assert found.size_micro == 1_000_000_000
    assert found.limits_e4 == (6500,) * 3
    assert found.depths_micro == (1_050_000_000,) * 3
    assert found.best_e4 == (6000,) * 3
    assert found.best_sizes_micro == (50_000_000,) * 3
    assert found.cost_micro == 1_950_000_000
    assert found.net_micro == 50_000_000
    assert found.net_per_set_micro == 50_000
    assert found.gross_per_set_micro == 200_000
    assert found.ticks_e4 == (100,) * 3
    assert found.ages_ns == (0,) * 3
    assert found.times_ms == (7,) * 3
    assert only(evaluator) == "found"


def test_a_size_that_passes_is_found_where_a_larger_one_earns_more_but_does_not(
    functions: Any,
) -> None:
    table, evaluator = world(functions, min_profit_micro=60_000)
    evaluator.add(form())
    (found,) = look(table, evaluator)
    assert (found.size_micro, found.net_micro) == (50_000_000, 10_000_000)
    table, evaluator = world(functions, min_profit_bps=300)
    evaluator.add(form())
    (found,) = look(table, evaluator)
    assert (found.size_micro, found.net_micro) == (50_000_000, 10_000_000)


@pytest.mark.parametrize(
    ("settings", "pays"),
    [
        ({"min_profit_micro": 200_000, "max_size_micro": 50_000_000}, True),
        ({"min_profit_micro": 200_001, "max_size_micro": 50_000_000}, False),
        ({"min_profit_bps": 1111, "max_size_micro": 50_000_000}, True),
        ({"min_profit_bps": 1112, "max_size_micro": 50_000_000}, False),
    ],
)
def test_thresholds_are_exact(functions: Any, settings: dict[str, int], pays: bool) -> None:
    table, evaluator = world(functions, **settings)
    evaluator.add(form())
    assert bool(look(table, evaluator)) is pays


def test_equal_nets_give_the_smaller_size(functions: Any) -> None:
    table = functions.PriceTable(16)
    for token in TOKENS:
        # 50 sets at 1.80 earn 10 dollars, 200 at 1.95 as well.
        load(table, token, [], [("0.65", "150"), ("0.60", "50")])
    evaluator = functions.Evaluator(table, **SETTINGS)
    evaluator.add(form())
    (found,) = look(table, evaluator)
    assert (found.size_micro, found.net_micro) == (50_000_000, 10_000_000)


def test_fees_decide(functions: Any) -> None:
    table, evaluator = world(functions, max_size_micro=50_000_000)
    evaluator.add(form(fee_rate_micro=70_000))
    (found,) = look(table, evaluator)
    assert found.net_micro == 10_000_000 - 3 * 840_000  # 50 x 0.07 x 0.6 x 0.4
    assert found.gross_per_set_micro == 200_000
    table, evaluator = world(functions)
    evaluator.add(form(fee_rate_micro=300_000))
    assert look(table, evaluator) == ()
    assert only(evaluator) == "unprofitable"


def test_a_form_with_an_unknown_fee_is_counted_and_passed_over(functions: Any) -> None:
    table, evaluator = world(functions)
    evaluator.add(form(fee_rate_micro=None))
    assert look(table, evaluator) == ()
    assert only(evaluator) == "fee_unknown"


def test_a_sold_leg_takes_the_bids(functions: Any) -> None:
    table, evaluator = world(functions)
    evaluator.add(form((Side.BUY, Side.SELL, Side.SELL)))
    (found,) = look(table, evaluator)
    # 0.60 + (1 - 0.50) x 2 = 1.60 for 50 sets, 1.65 for 500
    assert found.limits_e4 == (6500, 5000, 5000)
    assert found.size_micro == 500_000_000
    assert found.net_micro == 175_000_000


def test_books_that_may_not_be_traded_are_not(functions: Any) -> None:
    for spoil in (
        lambda table: table.invalidate(table.slot("20")),
        lambda table: load(table, "20", [("0.61", "9")], [("0.60", "50")]),
        lambda table: load(table, "20", [("0.50", "9")], []),
        lambda table: table.start_epoch(table.slot("20"), 10),
    ):
        table, evaluator = world(functions)
        evaluator.add(form())
        spoil(table)
        assert look(table, evaluator) == ()
        assert only(evaluator) == "unusable"


def test_a_slot_that_changed_hands_is_not_taken_for_the_token(functions: Any) -> None:
    table, evaluator = world(functions)
    evaluator.add(form())
    table.remove("20")
    load(table, "99", [], [("0.01", "1000")])
    assert table.slot("99") == 1
    assert look(table, evaluator) == ()
    assert only(evaluator) == "unusable"
    # The token is back, in another slot: its forms are added again.
    load(table, "20", [], [("0.60", "50")])
    assert look(table, evaluator) == ()


@pytest.mark.parametrize(("now", "pays"), [(NOW + 1000, True), (NOW + 1001, False)])
def test_an_old_book_makes_no_quote(functions: Any, now: int, pays: bool) -> None:
    table, evaluator = world(functions)
    evaluator.add(form())
    load(table, TOKENS[1], [], [("0.60", "50")], received_ns=NOW + 500)
    found = look(table, evaluator, now)
    assert bool(found) is pays
    if pays:
        assert found[0].ages_ns == (1000, 500, 1000)
    else:
        assert only(evaluator) == "too_old"
        for token in TOKENS:
            table.confirm(table.slot(token), now)
        assert look(table, evaluator, now)


def test_a_clock_read_before_the_event_is_no_age(functions: Any) -> None:
    for now in (NOW - 1, -(2**63)):
        table, evaluator = world(functions)
        evaluator.add(form())
        (found,) = look(table, evaluator, now)
        assert found.ages_ns == (0, 0, 0)


def test_a_find_cools_down_for_each_form_by_itself(functions: Any) -> None:
    table, evaluator = world(functions, cooldown_ns=100)
    evaluator.add(form())
    assert len(look(table, evaluator)) == 1
    evaluator.add(replace(form(), group_key="second"))
    assert [one.number for one in look(table, evaluator, NOW + 99)] == [1]
    assert evaluator.counts()["cooling"] == 1
    assert [one.number for one in look(table, evaluator, NOW + 100)] == [0]
    assert [one.number for one in look(table, evaluator, NOW + 1000)] == [0, 1]


def test_a_cooldown_may_be_for_ever(functions: Any) -> None:
    table, evaluator = world(functions, cooldown_ns=2**63 - 1)
    evaluator.add(form())
    assert len(look(table, evaluator)) == 1
    assert look(table, evaluator, NOW + 1) == ()


def test_legal_sizes_only(functions: Any) -> None:
    table = functions.PriceTable(16)
    for token, size in zip(TOKENS, ("4.99", "50", "50"), strict=True):
        load(table, token, [], [("0.60", size)])
    evaluator = functions.Evaluator(table, **SETTINGS)
    evaluator.add(form())
    assert look(table, evaluator) == ()
    assert only(evaluator) == "unsized"
    load(table, TOKENS[0], [], [("0.60", "14.99")])
    (found,) = look(table, evaluator)
    assert found.size_micro == 14_950_000  # 0.60 x 0.05 is the first whole cent
    resting = functions.Evaluator(table, **SETTINGS, is_immediate=False)
    resting.add(form())
    (found,) = look(table, resting)
    assert found.size_micro == 14_990_000
    dear = functions.Evaluator(table, **SETTINGS)
    dear.add(form(min_order_size_micro=15_000_000))
    assert look(table, dear) == ()


def test_a_dollar_is_spent_on_every_leg(functions: Any) -> None:
    table = functions.PriceTable(16)
    for token, price in zip(TOKENS, ("0.02", "0.90", "0.90"), strict=True):
        load(table, token, [], [(price, "49")])
    evaluator = functions.Evaluator(table, **SETTINGS)
    evaluator.add(form())
    assert look(table, evaluator) == ()
    for token, price in zip(TOKENS, ("0.02", "0.90", "0.90"), strict=True):
        load(table, token, [], [(price, "50")])
    (found,) = look(table, evaluator)
    assert found.size_micro == 50_000_000


def test_the_table_s_tick_goes_before_the_market_s(functions: Any) -> None:
    table, evaluator = world(functions)
    evaluator.add(form(tick_e4=10))
    (found,) = look(table, evaluator)
    assert found.ticks_e4 == (100,) * 3
    table = functions.PriceTable(16)
    evaluator = functions.Evaluator(table, **SETTINGS)
    evaluator.add(form(tick_e4=10))
    assert table.top(table.slot("10")).tick_e4 == 10


def test_forms_come_and_go(functions: Any) -> None:
    table, evaluator = world(functions)
    forms = [replace(form(), group_key=str(index)) for index in range(40)]
    numbers = [evaluator.add(one) for one in forms]
    assert numbers == list(range(40))
    assert len(evaluator) == 40
    for number in numbers[::2]:
        evaluator.remove(number)
    assert [one.number for one in look(table, evaluator)] == numbers[1::2]
    for number in (0, 40, -1, 2**40):
        with pytest.raises(IndexError, match="no form has the number"):
            evaluator.remove(number)
    again = evaluator.add(forms[0])
    assert again in numbers[::2]
    assert look(table, evaluator)[-1].form is forms[0]
    assert len(evaluator) == 21
    assert repr(evaluator) == "Evaluator(21 forms)"


def test_other_slots_look_at_nothing(functions: Any) -> None:
    _, evaluator = world(functions)
    evaluator.add(form())
    for slot in (-1, 3, 15, 16, 2**40):
        assert evaluator.touched(slot, NOW) == ()
    assert set(evaluator.counts().values()) == {0}
    assert tuple(evaluator.counts()) == COUNTED


def test_changes_of_any_class_are_read(functions: Any) -> None:
    class Slots:
        __slots__ = ("asset_id", "best_ask", "best_bid", "price", "side", "size")

    class Late(Slots):
        best_ask = property(lambda self: "0.61")  # type: ignore[assignment]

    class Struct(msgspec.Struct):
        asset_id: str
        side: str
        price: str
        size: str
        best_bid: str | None = None
        best_ask: str | None = None

    table, evaluator = world(functions)
    plain, late, empty = Slots(), Late(), Slots()
    for one in (plain, late):
        one.asset_id, one.side, one.best_bid = "10", "SELL", None
    plain.price, plain.size, plain.best_ask = "0.61", "1", "0.60"
    late.price, late.size = "0.60", "0"
    empty.asset_id = "10"
    changes = [plain, late, Struct("10", "SELL", "0.62", "2"), message("10", "SELL", "0.63", "3")]
    assert evaluator.apply_changes(changes, 8, NOW) == ((), ())
    assert table.levels(table.slot("10"), "SELL") == [
        (6100, 1_000_000),
        (6200, 2_000_000),
        (6300, 3_000_000),
        (6500, 1_000_000_000),
    ]
    for broken in (empty, Slots(), None, "text"):
        with pytest.raises(AttributeError):
            evaluator.apply_changes([broken], 9, NOW)


def message(token: str, side: str, price: str, size: str) -> SimpleNamespace:
    return SimpleNamespace(
        asset_id=token, side=side, price=price, size=size, best_bid="", best_ask=None
    )


def test_a_message_is_applied_before_anything_is_looked_at(functions: Any) -> None:
    _, evaluator = world(functions)
    evaluator.add(form())
    # The first change alone would pay more.
    changes = [
        message("10", "SELL", "0.30", "50"),
        message("unknown", "SELL", "0.30", "50"),
        message("10", "SELL", "0.30", "0"),
        message("10", "SELL", "0.60", "50"),
        message("20", "BUY", "0.40", "1"),
    ]
    refused, found = evaluator.apply_changes(changes, "8", NOW)
    assert refused == ((1, Fault.UNKNOWN_SLOT),)
    assert [one.net_micro for one in found] == [50_000_000]
    assert found[0].times_ms == (8, 8, 7)
    assert sum(evaluator.counts().values()) == 1
    assert evaluator.apply_changes(tuple(changes[:1]), 7, NOW) == (((0, STALE_EVENT),), ())
    assert evaluator.apply_changes([], 9, NOW) == ((), ())


def test_a_fault_in_a_message_spoils_its_own_book_only(functions: Any) -> None:
    table, evaluator = world(functions)
    evaluator.add(form())
    changes = [message("20", "SELL", "0.6x", "50"), message("10", "SELL", "0.61", "50")]
    assert evaluator.apply_changes(changes, 8, NOW) == (((0, Fault.BAD_PRICE),), ())
    assert only(evaluator) == "unusable"
    assert table.state(table.slot("20")) is BookState.EMPTY
    assert table.state(table.slot("10")) is BookState.LIVE
    with pytest.raises(TypeError, match="changes must be a list or tuple"):
        evaluator.apply_changes(changes[1], 8, NOW)
    with pytest.raises(AttributeError):
        evaluator.apply_changes([None], 8, NOW)


def test_only_sets_that_take_the_changed_side_are_looked_at(functions: Any) -> None:
    table, evaluator = world(functions)
    buys = evaluator.add(form())
    sells = evaluator.add(form((Side.BUY, Side.SELL, Side.SELL)))

    def told(*changes: SimpleNamespace, now: int = NOW) -> list[int]:
        refused, found = evaluator.apply_changes(changes, 8, now)
        assert refused == ()
        return [one.number for one in found]

    assert told(message("20", "BUY", "0.49", "1")) == [sells]
    assert told(message("20", "SELL", "0.90", "1")) == [buys]
    assert told(message("10", "BUY", "0.49", "1")) == []
    assert told(message("20", "SELL", "0.90", "2"), message("20", "BUY", "0.49", "2")) == [
        buys,
        sells,
    ]
    # Crossed by a bid, and back: news for those who buy as well.
    assert told(message("20", "BUY", "0.60", "1")) == []
    assert told(message("20", "BUY", "0.60", "0")) == [sells, buys]
    # Too old until now: as well.
    for token in ("10", "30"):
        table.confirm(table.slot(token), NOW + 5000)
    assert told(message("20", "BUY", "0.49", "3"), now=NOW + 5000) == [sells, buys]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"legs": ()}, "legs must be 2 to 15"),
        ({"payout": 0}, "payout must be"),
        ({"payout": 16}, "payout must be"),
        ({"legs": (form().legs[0],) * 2}, "another token"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused(
    functions: Any, changes: dict[str, Any], message: str
) -> None:
    _, evaluator = world(functions)
    with pytest.raises(ValueError, match=message):
        evaluator.add(replace(form(), **changes))
    assert len(evaluator) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tick_e4": 5001}, "tick_e4 must be"),
        ({"min_order_size_micro": -1}, "min_order_size_micro must be"),
        ({"fee_rate_micro": 1_000_001}, "fee_rate_micro must be"),
        ({"fee_exponent": 5}, "fee_exponent must be"),
    ],
)
def test_a_market_out_of_range_is_refused(
    functions: Any, changes: dict[str, Any], message: str
) -> None:
    _, evaluator = world(functions)
    with pytest.raises(ValueError, match=message):
        evaluator.add(form(**changes))
    with pytest.raises(ValueError, match="side must be BUY or SELL"):
        evaluator.add(form(("BUY", "HOLD", "BUY")))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="token_id must be text"):
        evaluator.add(form(token_id=7))


@pytest.mark.parametrize(
    "changes",
    [
        {"min_profit_micro": -1},
        {"min_profit_bps": -1},
        {"cooldown_ns": -1},
        {"max_size_micro": 0},
        {"max_size_micro": 2**58 + 1},
        {"max_age_ns": -1},
    ],
)
def test_settings_out_of_range_are_refused(functions: Any, changes: dict[str, int]) -> None:
    (name,) = changes
    with pytest.raises(ValueError, match=f"{name} must be"):
        functions.Evaluator(functions.PriceTable(1), **SETTINGS | changes)


def test_an_evaluator_reads_tables_of_its_kind(functions: Any) -> None:
    with pytest.raises(TypeError, match="table must be a PriceTable"):
        functions.Evaluator({}, **SETTINGS)
    if functions.PriceTable is not PriceTable:
        with pytest.raises(TypeError, match="table must be a PriceTable"):
            functions.Evaluator(PriceTable(1), **SETTINGS)
    _, evaluator = world(functions)
    for act in (copy.copy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be pickled"):
            act(evaluator)


def test_the_largest_numbers_do_not_overflow(functions: Any) -> None:
    table = functions.PriceTable(16)
    most = "288230376151.711744"  # 2 ** 58
    for token in TOKENS:
        load(table, token, [], [("0.61", most), ("0.60", most)])
    evaluator = functions.Evaluator(table, **SETTINGS | {"max_size_micro": 2**58})
    evaluator.add(form(fee_rate_micro=1_000_000, fee_exponent=4))
    (found,) = look(table, evaluator)
    assert found.limits_e4 == (6000,) * 3
    assert 0 <= 2**58 - found.size_micro < 10**6
    assert 0 < found.net_micro < found.size_micro


def test_a_full_table_takes_no_more_forms(functions: Any) -> None:
    table = functions.PriceTable(2)
    evaluator = functions.Evaluator(table, **SETTINGS)
    with pytest.raises(OverflowError, match="holds 2 tokens"):
        evaluator.add(form())
    assert len(evaluator) == 0
