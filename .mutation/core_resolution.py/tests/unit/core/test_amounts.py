from decimal import Decimal
from typing import Any

import pytest

from polyexec.core.amounts import (
    apply_slippage,
    limit_amounts,
    market_amounts,
    slippage_e4,
    taker_fee,
)
from polyexec.core.orders import Amounts
from polyexec.enums import Side
from polyexec.errors import InputError

TICKS = {"0.1": 1000, "0.01": 100, "0.005": 50, "0.0025": 25, "0.001": 10, "0.0001": 1}
NOT_NUMBERS = ["", "abc", "nan", "inf", "-inf", float("nan"), float("inf"), None, True, [], b"1"]


def test_float_noise_does_not_lose_a_hundredth_of_a_share() -> None:
    for text in ("0.29", "1.13", "2.03", "4.35", "8.2"):
        for size in (text, float(text), Decimal(text)):
            shares = limit_amounts("0.5", size, "BUY", tick_size="0.01").taker_micro
            assert shares == int(Decimal(text) * 1_000_000)
    for price in (0.29, 0.57, 0.58):
        maker = limit_amounts(price, 100, "BUY", tick_size=0.01).maker_micro
        assert maker == int(Decimal(str(price)) * 100_000_000)


def test_limit_size_is_floored_and_the_product_is_exact() -> None:
    assert limit_amounts("0.22", "19.699", "SELL", tick_size="0.01") == Amounts(
        19_690_000, 4_331_800
    )
    assert limit_amounts("0.9999", "0.0199999999999", "BUY", tick_size="0.0001") == Amounts(
        9_999, 10_000
    )


def test_market_amounts_never_have_more_than_four_decimals() -> None:
    for tick in TICKS:
        price = Decimal(1) - Decimal(tick)
        for side in Side:
            amounts = market_amounts("16.1", price, side, tick_size=tick)
            assert amounts.maker_micro == 16_100_000
            assert amounts.taker_micro % 100 == 0


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        *[((value, 5, "BUY", "0.01"), "price") for value in NOT_NUMBERS],
        *[(("0.5", value, "BUY", "0.01"), "size") for value in NOT_NUMBERS],
        *[((value, 5, "BUY", "0.01"), "price") for value in ("0", "1", "-0.5", "1.01", "0.505")],
        *[((value, 5, "BUY", "0.005"), "price") for value in ("0.501", "0.0075", "0.50001")],
        *[(("0.5", value, "BUY", "0.01"), "size") for value in ("0", "-1", "0.009", "1e-9")],
        *[(("0.5", value, "BUY", "0.01"), "size") for value in ("1e13", "1e30", "9" * 90)],
        *[(("0.5", 5, "BUY", value), "tick_size") for value in ("0.02", "0", "-0.01", "1")],
        (("0.5", 5, "buy", "0.01"), "side"),
    ],
)
def test_bad_numbers_are_refused_by_name(arguments: Any, field: str) -> None:
    price, size, side, tick = arguments
    with pytest.raises(InputError) as caught:
        limit_amounts(price, size, side, tick_size=tick)
    assert caught.value.field == field
    with pytest.raises(InputError) as caught:
        market_amounts(size, price, side, tick_size=tick)
    assert caught.value.field == {"size": "amount"}.get(field, field)


def test_market_amount_that_is_worth_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="rounds to zero"):
        market_amounts("0.01", "0.0001", "SELL", tick_size="0.0001")
    with pytest.raises(InputError, match=r"2\*\*63"):
        market_amounts("9000000000000", "0.0001", "BUY", tick_size="0.0001")


@pytest.mark.parametrize(
    ("price", "side", "tick", "expected"),
    [
        # The policy's own steps.
        ("0.50", "BUY", None, "0.51"),
        ("0.50", "SELL", None, "0.49"),
        ("0.0401", "BUY", None, "0.0501"),
        ("0.04", "BUY", None, "0.041"),
        ("0.04", "SELL", None, "0.039"),
        ("0.96", "BUY", None, "0.961"),
        ("0.96", "SELL", None, "0.959"),
        ("0.9599", "SELL", None, "0.9499"),
        # Caps, and quotes beyond them.
        ("0.99", "BUY", None, "0.99"),
        ("0.9895", "BUY", None, "0.99"),
        ("0.995", "BUY", None, "0.995"),
        ("0.01", "SELL", None, "0.01"),
        ("0.0105", "SELL", None, "0.01"),
        ("0.005", "SELL", None, "0.005"),
        # The market's tick wins.
        ("0.5", "BUY", "0.1", "0.6"),
        ("0.9", "BUY", "0.1", "0.9"),
        ("0.1", "SELL", "0.1", "0.1"),
        ("0.5", "BUY", "0.01", "0.51"),
        ("0.98", "BUY", "0.01", "0.99"),
        ("0.5", "BUY", "0.001", "0.501"),
        ("0.999", "BUY", "0.001", "0.999"),
        ("0.001", "SELL", "0.001", "0.001"),
        ("0.5", "SELL", "0.005", "0.495"),
        ("0.5", "SELL", "0.0025", "0.4975"),
        ("0.5", "SELL", "0.0001", "0.4999"),
    ],
)
def test_slippage_follows_the_table(price: str, side: str, tick: str | None, expected: str) -> None:
    assert apply_slippage(price, side, tick_size=tick) == Decimal(expected)


def test_slipped_price_stays_on_the_grid_and_never_improves_on_the_quote() -> None:
    for tick_e4 in (None, *TICKS.values()):
        grid = tick_e4 or 1
        for price in range(grid, 10_000, grid):
            buy, sell = (slippage_e4(price, side, tick_e4) for side in (Side.BUY, Side.SELL))
            assert price <= buy <= max(price, 9900)
            assert min(price, 100) <= sell <= price
            assert buy % grid == sell % grid == 0
            assert grid <= sell
            assert buy <= 10_000 - grid


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("0.505", "BUY", "0.01"), "price"),
        (("0", "BUY", None), "price"),
        (("1", "BUY", None), "price"),
        (("0.00001", "BUY", None), "price"),
        (("0.5", "HOLD", None), "side"),
        (("0.5", "BUY", "0.3"), "tick_size"),
    ],
)
def test_slippage_refuses_what_is_no_price(arguments: Any, field: str) -> None:
    price, side, tick = arguments
    with pytest.raises(InputError) as caught:
        apply_slippage(price, side, tick_size=tick)
    assert caught.value.field == field


def test_fee_is_rounded_up_to_the_hundredth_of_a_thousandth() -> None:
    assert taker_fee("0.5", 100, rate="0.07") == Decimal("1.75")
    assert taker_fee(0.2, 5, rate=0.07) == Decimal("0.056")
    assert taker_fee("0.01", "0.01", rate="0.07") == Decimal("0.00001")
    assert taker_fee("0.5", 100, rate=0) == 0
    assert taker_fee("0.5", 1, rate="0.25", exponent=2) == Decimal("0.01563")
    assert taker_fee("0.5", 1, rate="0.25", exponent=0) == Decimal("0.25")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"price": "1"}, "price"),
        ({"size": "-1"}, "size"),
        ({"size": "0.0000001"}, "size"),
        ({"rate": "1.5"}, "rate"),
        ({"rate": "nan"}, "rate"),
        ({"exponent": 5}, "exponent"),
        ({"exponent": 1.5}, "exponent"),
        ({"exponent": True}, "exponent"),
        ({"size": "9223372036854.775807", "rate": 1, "exponent": 0}, "size"),
    ],
)
def test_fee_refuses_bad_input_by_name(arguments: dict[str, Any], field: str) -> None:
    given = {"price": "0.5", "size": "1", "rate": "0.07", "exponent": 1} | arguments
    with pytest.raises(InputError) as caught:
        taker_fee(given["price"], given["size"], rate=given["rate"], exponent=given["exponent"])
    assert caught.value.field == field
