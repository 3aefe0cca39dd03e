"""Compiled entry points: any argument is refused with an exception, and twins agree on the rest."""

import random
from types import SimpleNamespace
from typing import Any

from eth_abi.exceptions import EncodingError

from polyexec import _impl
from polyexec._pure import amounts as pure_amounts
from polyexec._pure import convert as pure_convert
from polyexec._pure import eip712 as pure_eip712
from polyexec._pure import hmac_sha256 as pure_hmac_sha256
from polyexec._pure import keccak as pure_keccak
from polyexec._pure import legs as pure_legs
from polyexec._pure import sizing as pure_sizing
from tests.fuzz import generate
from tests.fuzz.registry import target

REFUSED = object()
# The readable twin lets its ABI library refuse.
REFUSALS = (TypeError, ValueError, OverflowError, EncodingError, AttributeError)


def integer(source: random.Random, *sane: int) -> Any:
    kind = source.randrange(12)
    if kind == 0:
        return generate.number(source)
    if kind == 1:
        edge = source.choice([2**31, 2**32, 2**53, 2**63, 2**64, 2**128, 2**256])
        return source.choice([1, -1]) * edge + source.randrange(-2, 3)
    if kind == 2:
        return source.choice([-1, 0, 1])
    return source.randrange(*sane)


def sized_bytes(source: random.Random, length: int) -> Any:
    kind = source.randrange(12)
    if kind == 0:
        return generate.bytes_of(source)
    if kind == 1:
        return source.choice([None, "", "0" * length, bytearray(length), memoryview(bytes(length))])
    return source.randbytes(length)


def outcome(function: Any, arguments: tuple[Any, ...]) -> Any:
    """Return the value, or that it was refused: both implementations must do the same."""
    try:
        return function(*arguments)
    except REFUSALS:
        return REFUSED


def assert_twins_agree(name: str, pure: Any, *arguments: Any) -> None:
    fast = outcome(getattr(_impl, name), arguments)
    slow = outcome(getattr(pure, name), arguments)
    assert fast == slow, f"{name}{arguments!r}: {fast!r}, and {slow!r} in the readable twin"


@target("impl.keccak256")
def keccak256(source: random.Random) -> None:
    data = generate.bytes_of(source) if source.random() < 0.9 else generate.number(source)
    assert_twins_agree("keccak256", pure_keccak, data)


@target("impl.l2_key")
def l2_key(source: random.Random) -> None:
    arguments = (
        sized_bytes(source, source.choice([0, 32, 64, 65])),
        *(message_part(source) for _ in range(4)),
    )
    fast, slow = (
        outcome(lambda key, *parts, made=made: made(key).sign(*parts), arguments)
        for made in (_impl.L2Key, pure_hmac_sha256.L2Key)
    )
    assert fast == slow, f"L2Key{arguments!r}: {fast!r}, and {slow!r} in the readable twin"


def message_part(source: random.Random) -> Any:
    make = source.choice([generate.text, generate.bytes_of, generate.bytes_of, generate.number])
    return make(source)


@target("impl.amounts")
def amounts(source: random.Random) -> None:
    price, size = integer(source, 1, 10_000), integer(source, 0, 10**15)
    side = integer(source, 0, 2)
    assert_twins_agree("limit_amounts", pure_amounts, price, size, side)
    assert_twins_agree("market_amounts", pure_amounts, price, size, side, integer(source, 0, 7))


@target("impl.slippage_e4")
def slippage(source: random.Random) -> None:
    tick = source.choice([0, 1, 10, 25, 50, 100, 1000, integer(source, 0, 10_000)])
    price = integer(source, 1, 10_000)
    assert_twins_agree("slippage_e4", pure_amounts, price, integer(source, 0, 2), tick)


@target("impl.group_size")
def group_size(source: random.Random) -> None:
    limits = ((1, 10_000), (0, 101), (0, 2), (0, 2), (0, 10**8), (0, 10**7))
    legs: Any = [
        tuple(integer(source, *limit) for limit in limits[: source.choice([6, 6, 6, 6, 6, 5])])
        for _ in range(source.choice([1, 2, 3, 3, 3, 16, 17, 0]))
    ]
    if source.random() < 0.05:
        legs = source.choice([None, "legs", tuple(legs), [list(leg) for leg in legs], iter(legs)])
    assert_twins_agree("group_size", pure_sizing, legs, integer(source, 0, 10**11))


@target("impl.plain_numbers")
def plain_numbers(source: random.Random) -> None:
    one, other = generate.number(source), generate.price(source)
    assert_twins_agree("plain_scaled", pure_convert, one, integer(source, 0, 7))
    tick = source.choice(["0.1", "0.01", "0.005", "0.0025", 0.001, one])
    assert_twins_agree("plain_leg", pure_convert, other, one, tick)


@target("impl.fees")
def fees(source: random.Random) -> None:
    arguments = (
        integer(source, 1, 10_000),
        integer(source, 0, 2**62),
        integer(source, 0, 1_000_001),
        integer(source, 0, 5),
    )
    assert_twins_agree("taker_fee", pure_amounts, *arguments)
    assert_twins_agree("fill_fee", pure_amounts, *arguments)


@target("impl.struct_hashes")
def struct_hashes(source: random.Random) -> None:
    maker, signer, taker = (sized_bytes(source, 20) for _ in range(3))
    numbers = [integer(source, 0, 2**60) for _ in range(7)]
    side, kind = integer(source, 0, 2), integer(source, 0, 4)
    assert_twins_agree(
        "order_struct_hash_v1",
        pure_eip712,
        numbers[0],
        maker,
        signer,
        taker,
        *numbers[1:],
        side,
        kind,
    )
    metadata, builder = sized_bytes(source, 32), sized_bytes(source, 32)
    assert_twins_agree(
        "order_struct_hash_v2",
        pure_eip712,
        *(numbers[0], maker, signer, *numbers[1:4], side, kind, numbers[4], metadata, builder),
    )


@target("impl.digests")
def digests(source: random.Random) -> None:
    separator, struct_hash = sized_bytes(source, 32), sized_bytes(source, 32)
    chain, wallet = integer(source, 0, 2**60), sized_bytes(source, 20)
    assert_twins_agree("typed_data_hash", pure_eip712, separator, struct_hash)
    assert_twins_agree("typed_data_sign_hash", pure_eip712, separator, struct_hash, chain, wallet)
    assert_twins_agree(
        "exchange_domain_separator", pure_eip712, integer(source, 1, 4), chain, wallet
    )


def shared_fields(source: random.Random) -> dict[str, Any]:
    return {
        "token_id": generate.token_id(source),
        "neg_risk": source.choice([True, False, False, None, "x"]),
        "tick_e4": source.choice([None, 1, 10, 25, 50, 100, 1000, integer(source, 0, 10_001)]),
        "generation": source.choice([1, 2, 2, 3, 3, integer(source, 0, 5)]),
        "min_order_size_micro": integer(source, 0, 10**7),
        "fee_rate_micro": source.choice([None, integer(source, 0, 10**6 + 2)]),
        "fee_exponent": source.choice([0, 1, 1, 1, 4, integer(source, 0, 6)]),
    }


def any_quote(source: random.Random) -> Any:
    """Return what looks like a quote to layer 0, which looks at fields alone."""
    prices = [source.choice([None, *[100 * source.randrange(1, 100)] * 8]) for _ in range(2)]
    prices[source.randrange(2)] = integer(source, 0, 10_001)
    return SimpleNamespace(
        **shared_fields(source),
        best_bid_e4=prices[0],
        best_ask_e4=prices[1],
        best_bid_size_micro=integer(source, 0, 10**12),
        best_ask_size_micro=integer(source, 0, 10**12),
    )


def any_leg(source: random.Random) -> Any:
    return SimpleNamespace(
        **shared_fields(source),
        side=source.choice(["BUY", "SELL", "BUY", "SELL", "BUY", "BID", 0, None]),
        order_type=source.choice([None, "GTC", "GTD", "FOK", "FAK", "FAKE", 2]),
        price_e4=source.choice([100 * source.randrange(1, 100), integer(source, 0, 10_001)]),
        size_micro=integer(source, 0, 10**12),
        available_size_micro=source.choice([None, integer(source, 0, 10**12)]),
        expiration=integer(source, 0, 2**40),
        post_only=source.choice([True, False]),
    )


def table_or_refusal(make: Any, arguments: tuple[Any, ...]) -> Any:
    table = outcome(make, arguments)
    if table is REFUSED or table.fault not in (0, pure_legs.NOT_ENOUGH_QUOTED):
        return REFUSED if table is REFUSED else (table.fault, table.fault_leg)
    return (
        table.fault,
        table.fault_leg,
        table.size_fault,
        table.size_fault_leg,
        table.unknown_fee_leg,
        table.needs_v1,
        table.set_micro,
        table.cost_micro,
        table.gross_cost_micro,
        table.quoted_e4,
        table.claims(),
        [table.row(index) for index in range(table.count)],
    )


def assert_tables_agree(name: str, arguments: tuple[Any, ...]) -> None:
    fast = table_or_refusal(getattr(_impl, name), arguments)
    slow = table_or_refusal(getattr(pure_legs, name), arguments)
    assert fast == slow, f"{name}{arguments!r}: {fast!r}, and {slow!r} in the readable twin"


@target("impl.price_quotes")
def price_quotes(source: random.Random) -> None:
    count = source.choice([1, 2, 3, 3, 3, 3, 15, 16, 0])
    quotes: Any = tuple(any_quote(source) for _ in range(count))
    sides: Any = tuple(integer(source, 0, 2) for _ in range(count))
    if source.random() < 0.05:
        quotes = source.choice([None, list(quotes), "quotes"])
    if source.random() < 0.05:
        sides = source.choice([None, sides[1:], (*sides, 0), "0" * count])
    size, kind = integer(source, 0, 10**11), source.choice([0, 1, 2, 3, integer(source, 0, 5)])
    assert_tables_agree("price_quotes", (quotes, sides, size, kind, source.random() < 0.5))


@target("impl.price_legs")
def price_legs(source: random.Random) -> None:
    legs: Any = tuple(any_leg(source) for _ in range(source.choice([1, 2, 3, 15, 16, 0])))
    if source.random() < 0.05:
        legs = source.choice([None, list(legs), (None,), (1, 2)])
    assert_tables_agree("price_legs", (legs, integer(source, 0, 5), source.random() < 0.5))
