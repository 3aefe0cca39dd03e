"""The compiled functions equal the readable ones on anything."""

import random
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

import pytest
from Crypto.Hash import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.implementations import FAST, NOT_BUILT, PURE

pytestmark = NOT_BUILT

uint256 = st.integers(0, 2**256 - 1) | st.integers(0, 2**64)
address = st.binary(min_size=20, max_size=20)
word = st.binary(min_size=32, max_size=32)
price = st.integers(1, 9999)
micro = st.integers(0, 2**63 - 1) | st.integers(0, 10**12)
side = st.integers(0, 1)
kind = st.integers(0, 3)
rate = st.integers(0, 1_000_000)
exponent = st.integers(0, 4)
anything = st.integers(-(2**65), 2**65) | st.floats() | st.text() | st.none() | st.binary()


def result(functions: Any, name: str, *arguments: Any) -> Any:
    """Return what a function gives, or which exception."""
    try:
        return getattr(functions, name)(*arguments)
    except (TypeError, ValueError, OverflowError) as error:
        return type(error)


def same(name: str, *arguments: Any) -> Any:
    fast, pure = result(FAST, name, *arguments), result(PURE, name, *arguments)
    assert fast == pure
    return fast


@given(st.binary(max_size=700))
def test_keccak(data: bytes) -> None:
    expected = keccak.new(digest_bits=256, data=data).digest()
    assert same("keccak256", data) == expected


@pytest.mark.parametrize("portable", [False, True])
@given(length=st.integers(0, 400), count=st.integers(1, 15), seed=st.integers(0, 2**32))
def test_messages_hashed_side_by_side_hash_as_each_alone(
    portable: bool, length: int, count: int, seed: int
) -> None:
    module = pytest.importorskip("polyexec._fast.keccak", reason="the extensions are not built")
    source = random.Random(seed)
    messages = [source.randbytes(length) for _ in range(count)]
    expected = [keccak.new(digest_bits=256, data=message).digest() for message in messages]
    assert module.keccak256_each(messages, portable=portable) == expected
    assert module.keccak256_portable(messages[0]) == expected[0]


@given(
    st.tuples(
        uint256, address, address, address, uint256, uint256, uint256, uint256, uint256, uint256
    ),
    side,
    kind,
)
def test_v1_struct_hash(fields: tuple[Any, ...], code: int, signature_type: int) -> None:
    assert len(same("order_struct_hash_v1", *fields, code, signature_type)) == 32


@given(
    st.tuples(uint256, address, address, uint256, uint256, uint256, side, kind, uint256, word, word)
)
def test_v2_struct_hash(fields: tuple[Any, ...]) -> None:
    assert len(same("order_struct_hash_v2", *fields)) == 32


@given(word, word, uint256, address)
def test_digests(separator: bytes, contents: bytes, chain: int, wallet: bytes) -> None:
    assert len(same("typed_data_hash", separator, contents)) == 32
    assert len(same("typed_data_sign_hash", separator, contents, chain, wallet)) == 32


@given(st.integers(1, 3), uint256, address)
def test_domain_separator(version: int, chain: int, contract: bytes) -> None:
    assert len(same("exchange_domain_separator", version, chain, contract)) == 32


@given(price, micro, side, st.integers(0, 6))
@settings(max_examples=500)
def test_amounts_never_favour_us(price_e4: int, amount: int, code: int, decimals: int) -> None:
    maker, taker = same("limit_amounts", price_e4, amount, code)
    shares, collateral = (taker, maker) if code == 0 else (maker, taker)
    assert collateral * 10_000 == shares * price_e4
    assert 0 <= amount - shares < 10_000
    market = same("market_amounts", price_e4, amount, code, decimals)
    if market is OverflowError:
        return
    maker, taker = market
    exact = Fraction(maker * 10_000, price_e4) if code == 0 else Fraction(maker * price_e4, 10_000)
    unit = 10 ** (6 - min(4, decimals))
    assert taker == floor(exact / unit) * unit


@given(price, micro, rate, exponent)
@settings(max_examples=500)
def test_fees_are_the_formula(price_e4: int, size: int, rate_micro: int, power: int) -> None:
    p = Fraction(price_e4, 10_000)
    units = Fraction(size, 10) * Fraction(rate_micro, 10**6) * (p * (1 - p)) ** power
    held = same("taker_fee", price_e4, size, rate_micro, power)
    charged = same("fill_fee", price_e4, size, rate_micro, power)
    if held is OverflowError:
        return
    assert held == ceil(units) * 10
    expected = max(floor(units + Fraction(1, 2)), 1 if units else 0) * 10
    assert charged == expected <= held


TICKS = (1000, 100, 50, 25, 10, 1)


@st.composite
def sized_legs(draw: st.DrawFn) -> tuple[int, ...]:
    tick = draw(st.sampled_from(TICKS))
    price_e4 = tick * draw(st.integers(1, 10_000 // tick - 1))
    least = draw(st.sampled_from([0, 5_000_000]) | st.integers(0, 10**8))
    notional = draw(st.sampled_from([0, 1_000_000]))
    return price_e4, draw(st.sampled_from([0, tick])), draw(side), draw(side), least, notional


def trades_exactly(leg: tuple[int, ...], size_micro: int) -> bool:
    """Sign this size with the functions that orders are signed with, and look at the result."""
    price_e4, _, code, is_immediate, least, notional = leg
    product, rest = divmod(price_e4 * size_micro, 10_000)
    if is_immediate:
        spend = product if code == 0 else size_micro
        maker, taker = FAST.market_amounts(price_e4, spend, code, 4)
        digits = (10_000, 100)
    else:
        maker, taker = FAST.limit_amounts(price_e4, size_micro, code)
        digits = (1, 10_000) if code == 0 else (10_000, 1)
    exact = (product, size_micro) if code == 0 else (size_micro, product)
    is_fine = rest == maker % digits[0] == taker % digits[1] == 0
    return (maker, taker) == exact and is_fine and size_micro >= least and product >= notional


@given(
    st.lists(sized_legs(), min_size=1, max_size=4),
    st.integers(0, 15_000_000) | st.integers(0, 105_000_000),
)
@settings(max_examples=100)
def test_group_size_is_the_largest_that_every_leg_trades_exactly(
    legs: list[tuple[int, ...]], wanted: int
) -> None:
    size = same("group_size", legs, wanted)
    by_trial = (
        cents * 10_000
        for cents in range(wanted // 10_000, 0, -1)
        if all(trades_exactly(leg, cents * 10_000) for leg in legs)
    )
    assert size == next(by_trial, 0)


plain_text = st.from_regex(r"[0-9]{0,22}(\.[0-9]{0,9}0{0,30})?", fullmatch=True)
soup = st.text("0123456789.eE+-_ ٣\n\0", max_size=24) | plain_text
numbers = st.decimals() | st.floats() | st.integers(-(2**66), 2**66) | st.booleans() | st.none()


@given(soup | numbers, st.integers(0, 6))
@settings(max_examples=1000)
def test_plain_numbers_are_the_same_and_exact(value: Any, places: int) -> None:
    scaled = same("plain_scaled", value, places)
    if scaled >= 0:
        text = float.__repr__(value) if isinstance(value, float) else str(value)
        assert Fraction(Decimal(text)) * 10**places == scaled <= 2**63 - 1


@given(soup | numbers, soup | numbers, st.sampled_from(["0.01", 0.001, "0.0025"]) | numbers)
@settings(max_examples=500)
def test_plain_legs_are_the_same(one: Any, other: Any, tick: Any) -> None:
    same("plain_leg", one, other, tick)
    same("plain_leg", "0.25", other, tick)


@given(price, side, st.sampled_from([0, *TICKS]) | st.integers(-5, 10_005))
@settings(max_examples=500)
def test_slippage(price_e4: int, code: int, tick: int) -> None:
    same("slippage_e4", price_e4, code, tick)
    if tick in TICKS:
        on_tick = max(price_e4 // tick, 1) * tick
        limit = same("slippage_e4", on_tick, code, tick)
        assert limit % tick == 0
        assert abs(limit - on_tick) <= tick


@given(
    st.sampled_from(["limit_amounts", "market_amounts", "slippage_e4", "taker_fee", "fill_fee"]),
    st.lists(anything | st.booleans(), min_size=3, max_size=4),
)
def test_nonsense_is_refused_by_both_or_by_none(name: str, arguments: list[Any]) -> None:
    fast, pure = result(FAST, name, *arguments), result(PURE, name, *arguments)
    # Which of several faults is met first may differ; that there is one may not.
    assert fast == pure or (isinstance(fast, type) and isinstance(pure, type))


@given(
    st.sampled_from(["order_struct_hash_v1", "order_struct_hash_v2", "typed_data_sign_hash"]),
    st.lists(anything | uint256 | address | word | st.booleans(), min_size=4, max_size=12),
)
def test_nonsense_orders_are_refused_by_both_or_by_none(name: str, arguments: list[Any]) -> None:
    fast, pure = result(FAST, name, *arguments), result(PURE, name, *arguments)
    assert fast == pure or (isinstance(fast, type) and isinstance(pure, type))
