"""The compiled functions equal the readable ones on anything."""

from fractions import Fraction
from math import ceil, floor
from typing import Any

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


@given(
    st.sampled_from(["limit_amounts", "market_amounts", "taker_fee", "fill_fee"]),
    st.lists(anything, min_size=3, max_size=4),
)
def test_nonsense_is_refused_by_both_or_by_none(name: str, arguments: list[Any]) -> None:
    fast, pure = result(FAST, name, *arguments), result(PURE, name, *arguments)
    # Which of several faults is met first may differ; that there is one may not.
    assert fast == pure or (isinstance(fast, type) and isinstance(pure, type))


@given(
    st.sampled_from(["order_struct_hash_v1", "order_struct_hash_v2", "typed_data_sign_hash"]),
    st.lists(anything | uint256 | address | word, min_size=4, max_size=12),
)
def test_nonsense_orders_are_refused_by_both_or_by_none(name: str, arguments: list[Any]) -> None:
    fast, pure = result(FAST, name, *arguments), result(PURE, name, *arguments)
    assert fast == pure or (isinstance(fast, type) and isinstance(pure, type))
