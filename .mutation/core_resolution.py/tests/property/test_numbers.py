"""Every number on the grid goes in and out unchanged; everything off it is refused."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyexec import _impl
from polyexec.errors import InputError
from polyexec.numbers import MAX_MICRO, from_e4, from_micro, to_micro, to_price_e4
from polyexec.parsing import parse_tick_e4

micros = st.integers(0, MAX_MICRO)


@given(micros)
def test_amount_survives_the_round_trip_as_decimal_and_text(micro: int) -> None:
    out = from_micro(micro)
    assert Fraction(out) == Fraction(micro, 1_000_000)
    assert to_micro(out, "size") == micro
    assert to_micro(str(out), "size") == micro
    assert "E" not in str(out)


@given(st.integers(1, 9999))
def test_price_survives_the_round_trip_as_decimal_text_and_float(e4: int) -> None:
    out = from_e4(e4)
    assert Fraction(out) == Fraction(e4, 10_000)
    assert to_price_e4(out, "p") == to_price_e4(str(out), "p") == to_price_e4(float(out), "p") == e4


@given(st.integers(0, 10**9), st.integers(0, 6))
def test_float_of_a_short_decimal_is_that_decimal(units: int, places: int) -> None:
    value = Decimal(units).scaleb(-places)
    assert to_micro(float(value), "size") == value * 1_000_000


@given(st.decimals(allow_nan=True, allow_infinity=True) | st.floats() | st.text(max_size=20))
def test_any_value_is_converted_exactly_or_refused(value: Decimal | float | str) -> None:
    try:
        micro = to_micro(value, "size")
    except InputError:
        return  # the unit tests say which values; here: never wrong
    text = float.__repr__(value) if isinstance(value, float) else str(value)
    assert Fraction(text) * 1_000_000 == micro
    assert 0 <= micro <= MAX_MICRO


soup = st.text("0123456789.eE+-_ ٣\n", max_size=24) | st.from_regex(
    r"[0-9]{0,14}(\.[0-9]{0,8})?", fullmatch=True
)


@given(soup | st.decimals() | st.floats() | st.integers(-(2**66), 2**66) | st.booleans())
@settings(max_examples=1000)
def test_the_quick_way_changes_no_result_and_no_message(value: Any) -> None:
    def outcome(convert: Any) -> Any:
        try:
            return convert(value, "size")
        except InputError as error:
            return str(error)

    quick = [outcome(convert) for convert in (to_micro, to_price_e4, parse_tick_e4)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_impl, "plain_scaled", lambda value, places: -1)
        assert quick == [outcome(convert) for convert in (to_micro, to_price_e4, parse_tick_e4)]


@given(
    micros, st.integers(7, 120).flatmap(lambda n: st.integers(1, 9).map(lambda d: f"{d:0{n - 6}}"))
)
def test_one_digit_behind_the_grid_is_never_lost(micro: int, tail: str) -> None:
    whole, fraction = divmod(micro, 1_000_000)
    with pytest.raises(InputError):
        to_micro(f"{whole}.{fraction:06}{tail}", "size")
