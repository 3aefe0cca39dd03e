"""Numbers at the API edge: what is refused, what is exact, and what the errors say."""

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from polyexec.errors import InputError
from polyexec.numbers import (
    MAX_MICRO,
    from_e4,
    from_micro,
    to_decimal,
    to_micro,
    to_price_e4,
    to_scaled,
)


class ShoutingFloat(float):
    """Prints like numpy's float64, which is a float with its type name in the repr."""

    def __repr__(self) -> str:
        return f"np.float64({float.__repr__(self)})"

    __str__ = __repr__


class IndexOnly:
    """An integer of another library, such as numpy's int64."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


NOT_A_NUMBER: list[Any] = [
    float("nan"),
    float("inf"),
    float("-inf"),
    "NaN",
    "sNaN",
    "-Infinity",
    Decimal("NaN"),
    Decimal("sNaN"),
    Decimal("Infinity"),
    True,
    False,
    "",
    " ",
    "1,5",
    "0x10",
    "one",
    b"1",
    None,
    [],
    1j,
    Fraction(1, 2),
]


@pytest.mark.parametrize("value", NOT_A_NUMBER, ids=repr)
@pytest.mark.parametrize("convert", [to_decimal, to_micro, to_price_e4])
def test_what_is_no_finite_number_is_refused_by_field_and_value(convert: Any, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        convert(value, "best_ask")
    assert caught.value.field == "best_ask"
    assert str(caught.value).startswith(f"best_ask={value!r}: ")


@pytest.mark.parametrize(
    "value",
    [
        "-0.01",
        -1,
        -0.5,
        Decimal("-0.000001"),
        "0.0000001",
        Decimal("1e-7"),
        1e-7,
        "1e-1000000000",
        "0.29" + "0" * 90 + "1",
        "9223372036854.775808",
        2**63,
        10**400,
        1e300,
        "1e1000000000",
        "-1e999999999",
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) else f"int{value < 0}",
)
def test_amount_off_the_grid_or_out_of_range_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^size="):
        to_micro(value, "size")


def test_integer_too_long_to_print_is_still_an_input_error() -> None:
    with pytest.raises(InputError, match=r"size=<int too long to print>: is too large"):
        to_micro(10**5000, "size")


@pytest.mark.parametrize(
    "value",
    [
        "0",
        0,
        0.0,
        "-0.5",
        "1",
        1,
        1.0,
        "1.0001",
        "0.00001",
        "0.99995",
        2**70,
        "0.5" + "0" * 100 + "1",
        "1e-1000000000",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_price_outside_the_open_unit_interval_or_off_grid_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^price="):
        to_price_e4(value, "price")


@pytest.mark.parametrize(
    ("value", "micro"),
    [
        (0.29, 290_000),
        (1.13, 1_130_000),
        (2.03, 2_030_000),
        (4.35, 4_350_000),
        (8.2, 8_200_000),
        (0.1 + 0.0, 100_000),
        (1e-6, 1),
        (5e0, 5_000_000),
        (ShoutingFloat(0.29), 290_000),
        (IndexOnly(7), 7_000_000),
        ("1e2", 100_000_000),
        (" 1.5 ", 1_500_000),
        ("+1.50000000", 1_500_000),
        (Decimal("0E-30"), 0),
        ("-0", 0),
        (0, 0),
        ("9223372036854.775807", MAX_MICRO),
    ],
)
def test_amount_is_its_shortest_text_to_the_last_micro_unit(value: Any, micro: int) -> None:
    assert to_micro(value, "size") == micro


def test_float_that_accumulated_binary_noise_is_refused_and_not_repaired() -> None:
    with pytest.raises(InputError, match=r"0\.30000000000000004"):
        to_micro(0.1 + 0.2, "size")


@pytest.mark.parametrize(("value", "e4"), [(0.57, 5700), ("0.0001", 1), (0.9999, 9999)])
def test_price_lands_on_its_ten_thousandth(value: Any, e4: int) -> None:
    assert to_price_e4(value, "price") == e4


@pytest.mark.parametrize(
    ("micro", "text"),
    [
        (0, "0"),
        (1, "0.000001"),
        (10_000_000, "10"),
        (1_000_000_000, "1000"),
        (-250_000, "-0.25"),
        (MAX_MICRO, "9223372036854.775807"),
    ],
)
def test_amount_prints_without_exponent_and_padding(micro: int, text: str) -> None:
    assert str(from_micro(micro)) == text


def test_price_prints_in_dollars() -> None:
    assert [str(from_e4(e4)) for e4 in (1, 10, 5000, 9999)] == ["0.0001", "0.001", "0.5", "0.9999"]


def test_the_callers_decimal_context_changes_nothing() -> None:
    with decimal.localcontext() as context:
        context.prec = 2
        context.rounding = decimal.ROUND_UP
        assert to_micro("123456.789012", "size") == 123_456_789_012
        assert from_micro(123_456_789_012) == Decimal("123456.789012")
        assert str(from_micro(1_000_000_000)) == "1000"


def test_numbers_do_not_set_flags_in_the_callers_context() -> None:
    with decimal.localcontext() as context:
        context.clear_flags()
        context.traps[decimal.Inexact] = True
        with pytest.raises(InputError):
            to_micro("0.0000001", "size")
        assert not any(context.flags.values())


def test_scale_and_unit_of_the_caller_are_named() -> None:
    assert to_scaled("0.25", "x", scale=4, unit="a quarter") == 1
    with pytest.raises(InputError, match="finer than a quarter"):
        to_scaled("0.3", "x", scale=4, unit="a quarter")
