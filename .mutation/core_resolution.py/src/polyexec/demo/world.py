"""A seeded market: a price that walks, two ladders priced from it, and now and then a mistake."""

import hashlib
import math
import random
from collections.abc import Iterator
from typing import Final

import msgspec

from polyexec.demo.ladder import Group, RangeMarket
from polyexec.models import TokenId

__all__ = ["BookUpdate", "generate_group", "generate_updates"]

_START_PRICE: Final = 90_000.0
_STRIKES: Final = tuple(range(82_000, 99_000, 2_000))
_VOLATILITY: Final = 3_000.0
_TICK_E4: Final = 100
_CRYPTO_FEE_RATE_MICRO: Final = 70_000


class BookUpdate(msgspec.Struct, frozen=True):
    """New levels of a market's YES book: (price in ten-thousandths, micro-shares), best first."""

    market: RangeMarket
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]


def make_token(name: str) -> TokenId:
    """Return a token id that looks like the exchange's: a 256-bit hash, the same every run."""
    return TokenId(str(int.from_bytes(hashlib.sha256(name.encode()).digest())))


def generate_group(seed: int) -> Group:
    """Return a group of parents ``>= K`` and children ``K1 to K2``."""
    markets = []
    for index, strike in enumerate(_STRIKES):
        slug = f"bitcoin-above-{strike // 1000}k-demo-{seed}"
        markets.append(_market(slug, strike, None, neg_risk=False))
        if index + 1 < len(_STRIKES):
            upper = _STRIKES[index + 1]
            slug = f"bitcoin-between-{strike // 1000}k-{upper // 1000}k-demo-{seed}"
            markets.append(_market(slug, strike, upper, neg_risk=True))
    return Group(
        key=f"btc-demo-{seed}", event_slug="bitcoin-demo", crypto="btc", markets=tuple(markets)
    )


def generate_updates(group: Group, seed: int, steps: int) -> Iterator[list[BookUpdate]]:
    """Yield ``steps`` lists of book updates; the first one holds every market.

    About every other step misprices one market by several cents; the next step mends it.
    """
    rng = random.Random(seed)  # noqa: S311  a world, not a key
    price = _START_PRICE
    yield [_reprice(market, price, 0, rng) for market in group.markets]
    wrong: RangeMarket | None = None
    for _ in range(steps - 1):
        price += rng.gauss(0.0, 60.0)
        touched = rng.sample(group.markets, 3)
        shifts = dict.fromkeys((market.slug for market in touched), 0)
        if wrong is not None:
            shifts[wrong.slug] = 0
            wrong = None
        if rng.random() < 0.6:
            wrong = rng.choice([m for m in group.markets if 0.15 < _fair(m, price) < 0.85])
            shifts[wrong.slug] = rng.choice((-1, 1)) * rng.randint(700, 1500)
        yield [
            _reprice(market, price, shifts[market.slug], rng)
            for market in group.markets
            if market.slug in shifts
        ]


def _market(slug: str, lower: int, upper: int | None, *, neg_risk: bool) -> RangeMarket:
    return RangeMarket(
        slug=slug,
        lower=lower,
        upper=upper,
        yes=make_token(slug + "/yes"),
        no=make_token(slug + "/no"),
        neg_risk=neg_risk,
        tick_e4=_TICK_E4,
        fee_rate_micro=_CRYPTO_FEE_RATE_MICRO,
    )


def _above(strike: float, price: float) -> float:
    return 0.5 * math.erfc((strike - price) / (_VOLATILITY * math.sqrt(2.0)))


def _fair(market: RangeMarket, price: float) -> float:
    upper = 0.0 if market.upper is None else _above(market.upper, price)
    return _above(market.lower, price) - upper


def _reprice(market: RangeMarket, price: float, shift_e4: int, rng: random.Random) -> BookUpdate:
    middle = round(_fair(market, price) * 10_000) + shift_e4
    spread = rng.choice((50, 50, 100))
    bid = max(100, min(9_700, (middle - spread) // _TICK_E4 * _TICK_E4))
    ask = min(9_900, max(bid + _TICK_E4, -(-(middle + spread) // _TICK_E4) * _TICK_E4))
    return BookUpdate(market, _levels(bid, -1, rng), _levels(ask, 1, rng))


def _levels(best_e4: int, step: int, rng: random.Random) -> tuple[tuple[int, int], ...]:
    levels = []
    for depth in range(3):
        price = best_e4 + step * depth * _TICK_E4
        if 0 < price < 10_000:
            levels.append((price, rng.randint(6 if depth == 0 else 40, 250) * 1_000_000))
    return tuple(levels)
