"""A market to watch: ranges of many assets, their books and a day's worth of changes to them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from benchmarks import inputs
from polyexec.core.forms import Form, FormLeg
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Generation, Side, Strategy
from polyexec.models import ConditionId, Market, TokenId

TRIOS_PER_EVENT = 10  # eleven strikes, as a day's Bitcoin ladder has them
LEVELS = 12
TICK_E4 = 10
FEE_RATE_MICRO = 70_000
YES, NO = 0, 1

Levels = list[tuple[int, int]]
"""(price_e4, size_micro), best last."""
Pair = tuple[str, str]

_TOKENS = {
    Strategy.POLYMARKET_TRIANGLE_BUY: (YES, NO, NO),
    Strategy.POLYMARKET_COMPLEMENT_BUY: (NO, YES, YES),
    Strategy.SELL_PARENT_BUY_CHILDREN: (YES, YES, YES),
    Strategy.BUY_PARENT_SELL_CHILDREN: (YES, YES, YES),
}


@dataclass
class Watched:
    """What a bot is told before the first change."""

    books: dict[str, tuple[Levels, Levels]]
    forms: list[Form]
    pairs: list[Pair]
    """YES and NO of every market, trio by trio."""


def watched(trios: int, *, per_event: int = TRIOS_PER_EVENT) -> Watched:
    """Return trios of adjacent strikes, so many to an event; every trio as all four strategies."""
    books: dict[str, tuple[Levels, Levels]] = {}
    forms: list[Form] = []
    pairs: list[Pair] = []
    random = Random(0)
    for event in range(-(-trios // per_event)):
        wanted = min(per_event, trios - event * per_event)
        fair = [9_500 - 900 * strike for strike in range(wanted + 1)]
        parents = [_market(books, pairs, random, price) for price in fair]
        for trio in range(wanted):
            child = _market(books, pairs, random, fair[trio] - fair[trio + 1])
            markets = (parents[trio], parents[trio + 1], child)
            forms += [_form(strategy, markets, event) for strategy in Strategy]
    return Watched(books, forms, pairs)


def frames(pairs: list[Pair], books: dict[str, tuple[Levels, Levels]], count: int) -> list[bytes]:
    """Return price_change frames, both tokens in each; after the last the books are as before.

    Two thirds of the changes are of the best level, the others lie behind it. Every frame states
    the best prices after it.
    """
    random = Random(1)
    now = {
        token: ({price: size for price, size in bids}, {price: size for price, size in asks})
        for token, (bids, asks) in books.items()
    }
    done: list[tuple[Pair, int, int, int, int]] = []
    made = []
    for _ in range(count // 2):
        pair = random.choice(pairs)
        side = random.randrange(2)
        levels = now[pair[YES]][side]
        ordered = sorted(levels, reverse=side == 0)
        price = ordered[0 if random.random() < 2 / 3 else random.randrange(len(ordered))]
        size = random.randint(100, 50_000) * 10_000
        # Now and then the best level goes, and comes back on the way back.
        if price == ordered[0] and len(ordered) > LEVELS // 2 and random.random() < 0.3:
            size = 0
        done.append((pair, side, price, levels[price], size))
        made.append(_frame(now, pair, side, price, size))
    made += [_frame(now, pair, side, price, old) for pair, side, price, old, _ in reversed(done)]
    return made


def text(micro: int, places: int) -> str:
    """Return an integer of that many decimals as the exchange writes it."""
    whole, part = divmod(micro, 10**places)
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".")


def _frame(
    now: dict[str, tuple[dict[int, int], dict[int, int]]],
    pair: Pair,
    side: int,
    price: int,
    size: int,
) -> bytes:
    changes = list(_changes(now, pair, side, price, size))
    return json.dumps(
        {
            "market": "0x" + "4f" * 32,
            "price_changes": changes,
            "timestamp": str(inputs.TIMESTAMP_MS),
            "event_type": "price_change",
        },
        separators=(",", ":"),
    ).encode()


def _changes(
    now: dict[str, tuple[dict[int, int], dict[int, int]]],
    pair: Pair,
    side: int,
    price: int,
    size: int,
) -> Iterator[dict[str, str]]:
    for which, token in enumerate(pair):
        here, at = (side, price) if which == YES else (1 - side, 10_000 - price)
        if size:
            now[token][here][at] = size
        else:
            now[token][here].pop(at, None)
        bids, asks = now[token]
        yield {
            "asset_id": token,
            "price": text(at, 4),
            "size": text(size, 6),
            "side": "SELL" if here else "BUY",
            "hash": "56621a121a47ed9333273e21c83b660cff37ae50",
            "best_bid": text(max(bids), 4),
            "best_ask": text(min(asks), 4),
        }


def _market(
    books: dict[str, tuple[Levels, Levels]], pairs: list[Pair], random: Random, fair_e4: int
) -> Pair:
    number = len(pairs) + 1
    # One market in forty is out of line by so much that it pays in spite of the fees.
    if random.random() < 1 / 40:
        fair_e4 = min(9_700, max(300, fair_e4 + random.choice((-500, 500))))
    pair = str(10**76 + number * 10**60 + 7), str(10**76 + number * 10**60 + 9)
    bids = [
        (fair_e4 - TICK_E4 * (2 + step), random.randint(100, 50_000) * 10_000)
        for step in range(LEVELS)
    ]
    asks = [
        (fair_e4 + TICK_E4 * (2 + step), random.randint(100, 50_000) * 10_000)
        for step in range(LEVELS)
    ]
    books[pair[YES]] = bids[::-1], asks[::-1]
    books[pair[NO]] = (
        [(10_000 - price, size) for price, size in asks[::-1]],
        [(10_000 - price, size) for price, size in bids[::-1]],
    )
    pairs.append(pair)
    return pair


def _form(strategy: Strategy, markets: tuple[Pair, Pair, Pair], event: int) -> Form:
    rule = STRATEGIES[strategy]
    legs = tuple(
        _leg(pair, which, leg.side)
        for pair, which, leg in zip(markets, _TOKENS[strategy], rule.legs, strict=True)
    )
    return Form(legs=legs, payout=rule.payout, strategy=strategy, group_key=f"event-{event}")


def _leg(pair: Pair, which: int, side: Side) -> FormLeg:
    market = Market(
        token_id=TokenId(pair[which]),
        condition_id=ConditionId("0x" + "4f" * 32),
        tick_e4=TICK_E4,
        min_order_size_micro=5_000_000,
        neg_risk=False,
        generation=Generation.CLOB_V2,
        fee_rate_micro=FEE_RATE_MICRO,
    )
    return FormLeg(market, side, TokenId(pair[1 - which]))
