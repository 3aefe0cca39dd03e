"""Numbers and records: bad input is refused by name, and never crashes or rounds."""

import pickle
import random
from decimal import Decimal

from polyexec import numbers
from polyexec.errors import InputError
from polyexec.models import Leg, Quote
from polyexec.parsing import parse_tick_e4, parse_token_id
from polyexec.records import Record
from polyexec.signals import ArbSignal, LegsSignal
from tests.fuzz import generate
from tests.fuzz.registry import target


@target("numbers.to_micro", refuses=(InputError,))
def to_micro(source: random.Random) -> None:
    value = generate.number(source)
    micro = numbers.to_micro(value, "value")
    assert 0 <= micro <= numbers.MAX_MICRO
    assert Decimal(micro) == numbers.to_decimal(value, "value") * 1_000_000
    assert numbers.to_micro(numbers.from_micro(micro), "value") == micro


@target("numbers.to_price_e4", refuses=(InputError,))
def to_price_e4(source: random.Random) -> None:
    price_e4 = numbers.to_price_e4(generate.price(source), "price")
    assert 0 < price_e4 < 10_000
    assert numbers.to_price_e4(numbers.from_e4(price_e4), "price") == price_e4


@target("models.parsers", refuses=(InputError,))
def parsers(source: random.Random) -> None:
    if source.random() < 0.5:
        token = parse_token_id(generate.token_id(source))
        assert 0 <= int(token) < 2**256
    else:
        assert parse_tick_e4(generate.number(source)) in (1, 10, 25, 50, 100, 1000)


def quote(source: random.Random) -> Quote:
    return Quote(
        generate.token_id(source),
        generate.text(source),
        *(source.choice([None, generate.price(source)]) for _ in range(2)),
        *(source.choice([None, generate.number(source)]) for _ in range(2)),
        neg_risk=source.random() < 0.5,
        tick_size=source.choice([None, "0.01", "0.001", generate.number(source)]),
        generation=source.choice([1, "2", 3, generate.number(source)]),
        fee_rate=source.choice([None, 0, "0.07", generate.number(source)]),
        fee_exponent=source.choice([1, 2, generate.number(source)]),
    )


def leg(source: random.Random) -> Leg:
    return Leg(
        generate.token_id(source),
        source.choice(["BUY", "SELL", generate.text(source)]),
        generate.price(source),
        source.choice([5, "10.5", generate.number(source)]),
        order_type=source.choice([None, "GTC", "GTD", "FOK", "FAK", generate.text(source)]),
        expiration=source.choice([0, 0, 2**31, generate.number(source)]),
        post_only=source.random() < 0.2,
        available_size=source.choice([None, generate.number(source)]),
    )


def assert_survives_a_copy(record: Record) -> None:
    assert pickle.loads(pickle.dumps(record)) == record
    assert hash(record.replace()) == hash(record)
    assert repr(record)


@target("models.Quote", refuses=(InputError,))
def build_quote(source: random.Random) -> None:
    assert_survives_a_copy(quote(source))


@target("models.Leg", refuses=(InputError,))
def build_leg(source: random.Random) -> None:
    assert_survives_a_copy(leg(source))


@target("signals.LegsSignal", refuses=(InputError,))
def build_legs_signal(source: random.Random) -> None:
    legs = [leg(source) for _ in range(source.randrange(17))]
    assert_survives_a_copy(
        LegsSignal(legs, payout=source.choice([None, 1, generate.number(source)]))
    )


@target("signals.ArbSignal", refuses=(InputError,))
def build_arb_signal(source: random.Random) -> None:
    quotes = [source.choice([None, quote(source), generate.number(source)]) for _ in range(3)]
    profit = generate.number(source)
    assert_survives_a_copy(
        ArbSignal(generate.text(source), *quotes, profit_abs=profit, size=generate.number(source))
    )
