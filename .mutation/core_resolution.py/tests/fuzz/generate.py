"""Awkward inputs: numbers in every disguise, broken JSON, bytes of wrong length."""

import json
import random
import string
from decimal import Decimal
from typing import Any

WORDS = ["nan", "inf", "-inf", "sNaN", "1e999999", "1e-999999", "0x10", "1_0", "", " ", "-0", "+5"]
TEXTS = ["", "0", "\x00", "null", "é", "\ud800", "'", '"', "\\", "0x" + "ff" * 32, "9" * 90]


def number(source: random.Random) -> Any:
    """Return something that may or may not be an exact number."""
    kind = source.randrange(10)
    if kind == 0:
        return source.choice(WORDS)
    if kind == 1:
        return source.choice([float("nan"), float("inf"), -0.0, 5e-324, 1.7976931348623157e308])
    if kind == 2:
        return source.choice([None, True, b"1", [], {}, 1j, object()])
    if kind == 3:
        return source.randrange(-(2**80), 2**80)
    if kind == 4:
        return source.uniform(-10, 1e6)
    if kind == 5:
        return Decimal(source.randrange(-(10**12), 10**12)).scaleb(source.randrange(-30, 30))
    if kind == 6:
        return "".join(source.choices("0123456789.eE+-_ ٣", k=source.randrange(1, 40)))
    # Mostly sane, so that what lies behind the first check is reached as well.
    places = source.randrange(7)
    return Decimal(source.randrange(1, 10**6)).scaleb(-places)


def price(source: random.Random) -> Any:
    """Return a price, nearly always one that is on the grid."""
    return (
        number(source) if source.random() < 0.2 else Decimal(source.randrange(1, 10_000)) / 10_000
    )


def text(source: random.Random) -> str:
    """Return text of a few kinds."""
    if source.random() < 0.3:
        return source.choice(TEXTS)
    return "".join(source.choices(string.printable, k=source.randrange(0, 90)))


def token_id(source: random.Random) -> Any:
    """Return a token id, mostly a good one."""
    if source.random() < 0.2:
        return source.choice([text(source), number(source), -1, 2**256, 2**256 - 1])
    return str(source.getrandbits(256))


def bytes_of(source: random.Random, longest: int = 600) -> bytes:
    """Return bytes; lengths near hash and word blocks come often."""
    size = source.choice([0, 1, 31, 32, 33, 64, 65, 135, 136, 137, 272, source.randrange(longest)])
    return source.randbytes(size)


def json_value(source: random.Random, depth: int = 0) -> Any:
    """Return any JSON value."""
    kind = source.randrange(8 if depth < 3 else 6)
    if kind == 0:
        return None
    if kind == 1:
        return source.random() < 0.5
    if kind == 2:
        return source.choice([0, -1, 2**53, 2**64, 2**256, source.randrange(10**6)])
    if kind == 3:
        return source.choice([0.1, 1e300, -0.0, source.random()])
    if kind in (4, 5):
        return text(source).encode("utf-8", "replace").decode()
    if kind == 6:
        return [json_value(source, depth + 1) for _ in range(source.randrange(4))]
    return {text(source)[:8]: json_value(source, depth + 1) for _ in range(source.randrange(4))}


def mutated(source: random.Random, value: Any) -> Any:
    """Return a copy of a JSON value with some parts replaced, dropped or repeated."""
    if source.random() < 0.06:
        return json_value(source)
    if isinstance(value, dict):
        return {key: mutated(source, item) for key, item in value.items() if source.random() > 0.04}
    if isinstance(value, list):
        items = [mutated(source, item) for item in value if source.random() > 0.04]
        return items + items[:1] if source.random() < 0.05 else items
    return value


def json_bytes(source: random.Random, example: Any) -> bytes:
    """Return a body like ``example``: mutated, sometimes cut, sometimes with flipped bytes."""
    body = bytearray(json.dumps(mutated(source, example)).encode())
    if source.random() < 0.15:
        del body[source.randrange(len(body) + 1) :]
    if body and source.random() < 0.15:
        for _ in range(source.randrange(1, 4)):
            body[source.randrange(len(body))] = source.randrange(256)
    return bytes(body)
