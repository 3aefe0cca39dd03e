"""Markets, orders and the book: what the matching engine moves around.

A market has two tokens and **one** book, kept in terms of its first token: an order on the second
token at p is an order of the opposite side on the first at 1 - p. Prices are ten-thousandths of a
dollar, shares and money millionths.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from polyexec.enums import Generation, OrderType, Side
from polyexec.models import TokenId
from polyexec.numbers import MICRO, PRICE_SCALE

__all__ = ["Book", "Order", "PaperMarket", "decimal_text", "price_text"]


@dataclass(slots=True, eq=False)
class PaperMarket:
    """One market of the paper exchange. ``tick_e4`` may change while it trades."""

    condition_id: str
    token_ids: tuple[str, str]
    slug: str
    tick_e4: int
    neg_risk: bool
    generation: Generation
    fee_rate_micro: int
    fee_exponent: int
    min_order_size_micro: int
    outcomes: tuple[str, str] = ("Yes", "No")
    delay_ms: int = 0
    """How long a marketable order is held before it is matched."""
    is_deferred: bool = False
    """Its POST is answered ``delayed`` at once, not after the match."""
    rebate_micro: int = 0
    """Share of the taker fee that goes to the makers, in millionths."""
    pays_micro: tuple[int, int] | None = None
    """What a share of each token is worth since the market is resolved."""

    @property
    def yes(self) -> TokenId:
        """The first token."""
        return TokenId(self.token_ids[0])

    @property
    def no(self) -> TokenId:
        """The second token."""
        return TokenId(self.token_ids[1])

    @property
    def base_fee(self) -> int:
        """``base_fee`` of ``/fee-rate``: signed in CLOB V1 orders, without meaning since."""
        return 1000 if self.fee_rate_micro else 0


@dataclass(slots=True, eq=False)
class Order:
    """An order and what has become of it.

    ``price_e4`` is the worst price it may trade at, for its own token. A BUY that is FOK or FAK
    spends ``maker_micro`` of collateral; every other order has ``size_micro`` shares as its goal.
    """

    order_id: str
    account: str
    market: PaperMarket
    token: int
    side: Side
    order_type: OrderType
    maker_micro: int
    taker_micro: int
    price_e4: int
    post_only: bool = False
    expires_ms: int = 0
    expiration_s: int = 0
    owner: str = ""
    owner_address: str = ""
    maker_address: str = ""
    created_ms: int = 0
    filled_micro: int = 0
    """Shares traded."""
    cash_micro: int = 0
    """Collateral that changed hands for them, without fee."""
    fee_micro: int = 0
    status: str = "LIVE"
    trade_ids: list[str] = field(default_factory=list)

    @property
    def spends(self) -> bool:
        """True when collateral, not shares, is the goal."""
        return self.side is Side.BUY and self.order_type.is_immediate

    @property
    def size_micro(self) -> int:
        """Shares the order names."""
        return self.taker_micro if self.side is Side.BUY else self.maker_micro

    @property
    def remaining_micro(self) -> int:
        """Shares still wanted; never negative, also when a spending BUY got more."""
        return max(self.size_micro - self.filled_micro, 0)

    @property
    def is_bid(self) -> bool:
        """The side it takes in the market's one book."""
        return (self.side is Side.BUY) == (self.token == 0)

    @property
    def book_price_e4(self) -> int:
        """Its price in terms of the first token."""
        return self.price_e4 if self.token == 0 else PRICE_SCALE - self.price_e4

    @property
    def token_id(self) -> str:
        """Decimal id of the token it trades."""
        return self.market.token_ids[self.token]


class _Level:
    __slots__ = ("orders", "total_micro")

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}  # insertion order is time priority
        self.total_micro = 0


class Book:
    """Resting orders of one market by price, then by time."""

    def __init__(self) -> None:
        # Index 0: asks, 1: bids. The price lists ascend.
        self._levels: tuple[dict[int, _Level], dict[int, _Level]] = ({}, {})
        self._prices: tuple[list[int], list[int]] = ([], [])
        self.last_trade_e4: int | None = None
        self.changed_ms = 0

    def best(self, is_bid: bool) -> int | None:
        """Return the best price of a side, in terms of the first token."""
        prices = self._prices[is_bid]
        if not prices:
            return None
        return prices[-1] if is_bid else prices[0]

    def total(self, is_bid: bool, price_e4: int) -> int:
        """Return the shares that rest at a price."""
        level = self._levels[is_bid].get(price_e4)
        return level.total_micro if level else 0

    def levels(self, is_bid: bool) -> list[tuple[int, int]]:
        """Return ``(price, shares)`` of a side, prices ascending."""
        levels = self._levels[is_bid]
        return [(price, levels[price].total_micro) for price in self._prices[is_bid]]

    def queue(self, is_bid: bool) -> Iterator[Order]:
        """Yield the orders of a side in the order in which they trade."""
        prices = self._prices[is_bid]
        for price in reversed(prices) if is_bid else prices:
            yield from self._levels[is_bid][price].orders.values()

    def at(self, is_bid: bool, price_e4: int) -> list[Order]:
        """Return the orders at one price, oldest first."""
        level = self._levels[is_bid].get(price_e4)
        return list(level.orders.values()) if level else []

    def newest(self, is_bid: bool, price_e4: int) -> Order | None:
        """Return the order that trades last at a price."""
        level = self._levels[is_bid].get(price_e4)
        return next(reversed(level.orders.values())) if level else None

    def add(self, order: Order) -> None:
        """Let an order rest, last in its level."""
        side, price = order.is_bid, order.book_price_e4
        level = self._levels[side].get(price)
        if level is None:
            level = self._levels[side][price] = _Level()
            insort(self._prices[side], price)
        level.orders[order.order_id] = order
        level.total_micro += order.remaining_micro

    def reduce(self, order: Order, shares_micro: int, *, remove: bool) -> None:
        """Take shares away from a resting order; ``remove`` ends its stay."""
        side, price = order.is_bid, order.book_price_e4
        level = self._levels[side][price]
        level.total_micro -= shares_micro
        if remove:
            del level.orders[order.order_id]
            if not level.orders:
                del self._levels[side][price]
                del self._prices[side][bisect_left(self._prices[side], price)]


def decimal_text(micro: int) -> str:
    """Return micro-units as the shortest plain decimal."""
    whole, rest = divmod(micro, MICRO)
    return f"{whole}.{rest:06d}".rstrip("0") if rest else str(whole)


def price_text(price_e4: int) -> str:
    """Return a price as the shortest plain decimal."""
    whole, rest = divmod(price_e4, PRICE_SCALE)
    return f"{whole}.{rest:04d}".rstrip("0") if rest else str(whole)
