"""Random ranges of one asset: their books, mirrored between YES and NO, and the forms over them."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from random import Random
from typing import Any

from polyexec.core.forms import Form, FormLeg
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Generation, Side, Strategy
from polyexec.models import ConditionId, Market, TokenId
from tests.engine.model import Levels, Settings

YES, NO = 0, 1
TIME_MS = 1_700_000_000_000
RECEIVED_NS = 10**15
Book = tuple[list[tuple[int, int]], list[tuple[int, int]]]
"""Bids and asks as (price_e4, size_micro), best first."""

# Which token of its market each leg trades: 1 where the leg's row of payoffs is that of a NO.
_TOKENS = {
    Strategy.POLYMARKET_TRIANGLE_BUY: (YES, NO, NO),
    Strategy.POLYMARKET_COMPLEMENT_BUY: (NO, YES, YES),
    Strategy.SELL_PARENT_BUY_CHILDREN: (YES, YES, YES),
    Strategy.BUY_PARENT_SELL_CHILDREN: (YES, YES, YES),
}
TWINS = (
    (Strategy.POLYMARKET_TRIANGLE_BUY, Strategy.BUY_PARENT_SELL_CHILDREN),
    (Strategy.POLYMARKET_COMPLEMENT_BUY, Strategy.SELL_PARENT_BUY_CHILDREN),
)


@dataclass
class World:
    books: dict[TokenId, Book]
    ticks: dict[TokenId, int]
    forms: list[Form]
    settings: Settings

    def table(self, functions: Any) -> Any:
        """Return a price table of one implementation with these books."""
        table = functions.PriceTable(64)
        for token, (bids, asks) in self.books.items():
            slot = table.add(token, self.ticks[token])
            flags = table.load_book(
                slot,
                texts(bids),
                texts(asks),
                tick_e4=self.ticks[token],
                time_ms=TIME_MS,
                received_ns=RECEIVED_NS,
            )
            assert flags >= 0
        return table

    def evaluator(self, functions: Any, table: Any, **changes: int) -> Any:
        given = {
            "min_profit_micro": self.settings.min_profit_micro,
            "min_profit_bps": self.settings.min_profit_bps,
            "cooldown_ns": 0,
            "max_size_micro": self.settings.max_size_micro,
            "max_age_ns": 10**9,
            "is_immediate": self.settings.is_immediate,
        }
        return functions.Evaluator(table, **given | changes)

    def taken(self, form: Form) -> list[Levels]:
        """Return the levels that each leg of a form takes."""
        sides = [self.books[leg.token_id][leg.side is Side.BUY] for leg in form.legs]
        return [
            [(Fraction(price, 10_000), Fraction(size, 1_000_000)) for price, size in levels]
            for levels in sides
        ]


def texts(levels: list[tuple[int, int]]) -> list[tuple[str, str]]:
    """Return levels as they stand in a message, best last."""
    return [(price_text(price), size_text(size)) for price, size in reversed(levels)]


def price_text(price_e4: int) -> str:
    return f"{price_e4 // 10_000}.{price_e4 % 10_000:04d}"


def size_text(size_micro: int) -> str:
    return f"{size_micro // 1_000_000}.{size_micro % 1_000_000:06d}"


def random_world(random: Random) -> World:
    """Return a trio and a general form whose prices lie near where they begin to pay."""
    tick = random.choice((100, 100, 10, 10, 50, 25, 1))
    children = random.randint(2, 4)
    fee = random.choice(((0, 1), (20_000, 1), (70_000, 1), (250_000, 2), (30_000, 0)))
    # In ticks: fair prices of the children, of the ranges above them, and of everything below.
    ticks = 10_000 // tick
    cuts = sorted(random.sample(range(1, ticks), min(children + 1, ticks - 1)))
    parts = [high - low for low, high in pairwise(cuts)]
    while len(parts) < children:
        parts.append(1)
    upper = max(1, ticks - cuts[-1])
    parent = min(ticks - 1, upper + sum(parts))
    books: dict[TokenId, Book] = {}
    markets: dict[str, tuple[FormLeg, FormLeg]] = {}
    ticks_of: dict[TokenId, int] = {}
    ranges = [("parent", parent), ("upper", upper)]
    ranges += [(f"child{number}", part) for number, part in enumerate(parts)]
    # The trio's own child is all that lies between the parents.
    ranges.append(("child", max(1, parent - upper)))
    # The books of one asset disagree, one way or the other, and by so much that many sets pay.
    lean = random.choice((-1, 0, 1)) * random.randint(0, ticks // 12)
    for number, (name, fair) in enumerate(ranges):
        tokens = TokenId(str(1000 + 2 * number)), TokenId(str(1001 + 2 * number))
        lean_here = -lean if name == "parent" else lean
        bids, asks = _book(random, min(ticks - 1, max(1, fair + lean_here)), ticks, tick)
        books[tokens[YES]] = bids, asks
        books[tokens[NO]] = (
            [(10_000 - price, size) for price, size in asks],
            [(10_000 - price, size) for price, size in bids],
        )
        least = random.choice((0, 5_000_000, 15_000_000))
        markets[name] = (
            _leg(tokens, YES, tick, least, fee),
            _leg(tokens, NO, tick, least, fee),
        )
        ticks_of |= dict.fromkeys(tokens, tick)
    return World(books, ticks_of, _forms(markets, children), _settings(random))


def _book(random: Random, fair: int, ticks: int, tick: int) -> Book:
    spread = max(1, ticks // 100)
    ask = fair + random.randint(-2 * spread, 2 * spread)
    bid = ask - random.randint(1, 2 * spread)
    asks = _side(random, ask, 1, ticks, tick)
    bids = _side(random, bid, -1, ticks, tick)
    return bids, asks


def _side(random: Random, best: int, step: int, ticks: int, tick: int) -> list[tuple[int, int]]:
    levels, price = [], best
    for _ in range(random.choice((0, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8))):
        if 0 < price < ticks:
            levels.append((price * tick, _size(random)))
        price += step * random.randint(1, max(1, ticks // 100))
    return levels


def _size(random: Random) -> int:
    kind = random.randrange(5)
    if kind == 0:
        return random.randint(1, 40) * 5_000_000
    if kind == 1:
        return random.randint(1, 20_000) * 10_000
    if kind == 2:
        return random.randint(1, 200_000_000)
    if kind == 3:
        return random.randint(1, 20) * 100_000_000
    return random.choice((4_990_000, 5_000_000, 10_000_000, 100_000_000, 10**13))


def _settings(random: Random) -> Settings:
    return Settings(
        min_profit_micro=random.choice((0, 0, 500, 10_000)),
        min_profit_bps=random.choice((0, 5, 30, 200)),
        max_size_micro=random.choice((10**9, 50_000_000, 33_330_000, 7_000_001, 10**14)),
        is_immediate=random.random() < 0.5,
    )


def _leg(
    tokens: tuple[TokenId, TokenId], which: int, tick: int, least: int, fee: tuple[int, int]
) -> FormLeg:
    market = Market(
        token_id=tokens[which],
        condition_id=ConditionId("0x" + "0" * 64),
        tick_e4=tick,
        min_order_size_micro=least,
        neg_risk=False,
        generation=Generation.CLOB_V2,
        fee_rate_micro=fee[0],
        fee_exponent=fee[1],
    )
    return FormLeg(market, Side.BUY, tokens[1 - which])


def _forms(markets: dict[str, tuple[FormLeg, FormLeg]], children: int) -> list[Form]:
    forms = []
    for strategy, tokens in _TOKENS.items():
        rule = STRATEGIES[strategy]
        legs = tuple(
            FormLeg(given.market, leg.side, given.complement_token_id)
            for leg, given in zip(
                rule.legs,
                (
                    markets[name][which]
                    for name, which in zip(("parent", "upper", "child"), tokens, strict=True)
                ),
                strict=True,
            )
        )
        forms.append(Form(legs=legs, payout=rule.payout, strategy=strategy, group_key="trio"))
    names = [f"child{number}" for number in range(children)]
    legs = (
        markets["parent"][YES],
        markets["upper"][NO],
        *(markets[name][NO] for name in names),
    )
    forms.append(
        Form(legs=legs, payout=children + 1, outcomes=outcomes(children), group_key="general")
    )
    return forms


def outcomes(children: int) -> tuple[tuple[int, ...], ...]:
    """Return what parent YES, upper NO and each child NO pay: below, in each child, above."""
    rows = [(0, 1, *[1] * children)]
    rows += [
        (1, 1, *(int(other != child) for other in range(children))) for child in range(children)
    ]
    return (*rows, (1, 0, *[1] * children))
