"""What signals are made of: quotes and legs, and what is known of a market.

They are normalised when they are built, so a bad value is refused where it is written, by name,
and everything behind works on integers. They are immutable.
"""

from decimal import Decimal

import msgspec

from polyexec.enums import Generation, OrderType, Side
from polyexec.errors import InputError
from polyexec.numbers import (
    Number,
    from_e4,
    from_micro,
    to_micro,
    to_price_e4,
)
from polyexec.parsing import (
    ConditionId,
    OrderId,
    TokenId,
    parse_exponent,
    parse_flag,
    parse_generation,
    parse_order_type,
    parse_rate_micro,
    parse_side,
    parse_tick_e4,
    parse_token_id,
)
from polyexec.records import Record

__all__ = [
    "ConditionId",
    "Leg",
    "Market",
    "OrderId",
    "Quote",
    "TokenId",
    "TopOfBook",
]


class Quote(Record):
    """Top of one token's book, and what is needed to trade it.

    Parameters
    ----------
    token_id : str or int
        Decimal token id of the token to trade. For a leg that buys NO it is the NO token.
    market_slug : str
        For people; not used in decisions.
    best_bid, best_ask : number or None
        Dollars per share, on the 0.0001 grid. ``None`` when that side is empty.
    best_bid_size, best_ask_size : number or None
        Shares at the best level. ``None`` counts as zero.
    neg_risk : bool
        Selects the exchange contract (CLOB V1 and V2).
    tick_size : number or None
        The market's tick. ``None``: unknown; prices are then sent exactly as quoted.
    generation : Generation
        Order generation that the market takes.
    fee_rate : number or None
        ``fd.r`` of the market (0.07 is 7 %). ``None``: unknown, and no edge is computed.
    fee_exponent : int
        ``fd.e`` of the market.
    min_order_size : number
        Shares.
    complement_token_id : str, int or None
        The market's other token, which pays 1 minus this one. With it a SELL without inventory can
        be replaced by buying the other token.

    Raises
    ------
    InputError
        Naming the field and the value.
    """

    __slots__ = (
        "best_ask_e4",
        "best_ask_size_micro",
        "best_bid_e4",
        "best_bid_size_micro",
        "complement_token_id",
        "fee_exponent",
        "fee_rate_micro",
        "generation",
        "market_slug",
        "min_order_size_micro",
        "neg_risk",
        "tick_e4",
        "token_id",
    )
    _shown = (
        "token_id",
        "market_slug",
        "best_bid",
        "best_ask",
        "best_bid_size",
        "best_ask_size",
        "neg_risk",
        "tick_size",
        "generation",
        "fee_rate",
        "fee_exponent",
        "min_order_size",
        "complement_token_id",
    )
    token_id: TokenId
    market_slug: str
    best_bid_e4: int | None
    best_ask_e4: int | None
    best_bid_size_micro: int
    best_ask_size_micro: int
    neg_risk: bool
    tick_e4: int | None
    generation: Generation
    fee_rate_micro: int | None
    fee_exponent: int
    min_order_size_micro: int
    complement_token_id: TokenId | None

    def __init__(
        self,
        token_id: str | int,
        market_slug: str = "",
        best_bid: Number | None = None,
        best_ask: Number | None = None,
        best_bid_size: Number | None = None,
        best_ask_size: Number | None = None,
        neg_risk: bool = False,
        tick_size: Number | None = None,
        generation: Generation | int | str = Generation.CLOB_V2,
        fee_rate: Number | None = None,
        fee_exponent: int = 1,
        min_order_size: Number = 5,
        complement_token_id: str | int | None = None,
    ) -> None:
        self._set(
            token_id=parse_token_id(token_id),
            market_slug=market_slug,
            best_bid_e4=None if best_bid is None else to_price_e4(best_bid, "best_bid"),
            best_ask_e4=None if best_ask is None else to_price_e4(best_ask, "best_ask"),
            best_bid_size_micro=_size_or_zero(best_bid_size, "best_bid_size"),
            best_ask_size_micro=_size_or_zero(best_ask_size, "best_ask_size"),
            neg_risk=parse_flag(neg_risk, "neg_risk"),
            tick_e4=None if tick_size is None else parse_tick_e4(tick_size),
            generation=parse_generation(generation),
            fee_rate_micro=None if fee_rate is None else parse_rate_micro(fee_rate),
            fee_exponent=parse_exponent(fee_exponent),
            min_order_size_micro=to_micro(min_order_size, "min_order_size"),
            complement_token_id=_complement(complement_token_id, token_id),
        )

    @property
    def best_bid(self) -> Decimal | None:
        """Dollars per share."""
        return None if self.best_bid_e4 is None else from_e4(self.best_bid_e4)

    @property
    def best_ask(self) -> Decimal | None:
        """Dollars per share."""
        return None if self.best_ask_e4 is None else from_e4(self.best_ask_e4)

    @property
    def best_bid_size(self) -> Decimal:
        """Shares."""
        return from_micro(self.best_bid_size_micro)

    @property
    def best_ask_size(self) -> Decimal:
        """Shares."""
        return from_micro(self.best_ask_size_micro)

    @property
    def tick_size(self) -> Decimal | None:
        """Dollars."""
        return None if self.tick_e4 is None else from_e4(self.tick_e4)

    @property
    def fee_rate(self) -> Decimal | None:
        """Fraction, 0.07 is 7 %."""
        return None if self.fee_rate_micro is None else from_micro(self.fee_rate_micro)

    @property
    def min_order_size(self) -> Decimal:
        """Shares."""
        return from_micro(self.min_order_size_micro)


class Leg(Record):
    """One order that a bot wants sent together with others.

    Parameters
    ----------
    token_id : str or int
    side : Side or str
    price : number
        Limit price in dollars, on the 0.0001 grid and on ``tick_size`` where that is known.
    size : number
        Shares; more than two decimals are floored, as every client of the exchange does.
    order_type : OrderType, str or None
        ``None``: the executor's ``config.order_type``.
    expiration : int
        Unix seconds, GTD only. The exchange ends the order 60 s earlier.
    post_only : bool
        GTC and GTD only.
    available_size : number or None
        Shares quoted at this price, for the book-size check; ``None`` skips that check.
    market_slug, neg_risk, tick_size, generation, fee_rate, fee_exponent, min_order_size, \
complement_token_id
        As in :class:`Quote`.

    Raises
    ------
    InputError
        Naming the field and the value.
    """

    __slots__ = (
        "available_size_micro",
        "complement_token_id",
        "expiration",
        "fee_exponent",
        "fee_rate_micro",
        "generation",
        "market_slug",
        "min_order_size_micro",
        "neg_risk",
        "order_type",
        "post_only",
        "price_e4",
        "side",
        "size_micro",
        "tick_e4",
        "token_id",
    )
    _shown = (
        "token_id",
        "side",
        "price",
        "size",
        "order_type",
        "expiration",
        "post_only",
        "available_size",
        "market_slug",
        "neg_risk",
        "tick_size",
        "generation",
        "fee_rate",
        "fee_exponent",
        "min_order_size",
        "complement_token_id",
    )
    token_id: TokenId
    side: Side
    price_e4: int
    size_micro: int
    order_type: OrderType | None
    expiration: int
    post_only: bool
    available_size_micro: int | None
    market_slug: str
    neg_risk: bool
    tick_e4: int | None
    generation: Generation
    fee_rate_micro: int | None
    fee_exponent: int
    min_order_size_micro: int
    complement_token_id: TokenId | None

    def __init__(
        self,
        token_id: str | int,
        side: Side | str,
        price: Number,
        size: Number,
        order_type: OrderType | str | None = None,
        expiration: int = 0,
        post_only: bool = False,
        available_size: Number | None = None,
        market_slug: str = "",
        neg_risk: bool = False,
        tick_size: Number | None = None,
        generation: Generation | int | str = Generation.CLOB_V2,
        fee_rate: Number | None = None,
        fee_exponent: int = 1,
        min_order_size: Number = 5,
        complement_token_id: str | int | None = None,
    ) -> None:
        size_micro = to_micro(size, "size")
        if size_micro == 0:
            raise InputError("size", size, "must be above zero")
        kind = None if order_type is None else parse_order_type(order_type)
        if isinstance(expiration, bool) or not isinstance(expiration, int):
            raise InputError("expiration", expiration, "must be a unix time in seconds, an int")
        if expiration and kind is not OrderType.GTD:
            raise InputError("expiration", expiration, "belongs to order_type GTD only")
        if kind is OrderType.GTD and expiration <= 0:
            raise InputError("expiration", expiration, "GTD needs a unix time in seconds")
        if post_only and kind is not None and kind.is_immediate:
            raise InputError("post_only", post_only, f"cannot be combined with {kind}")
        self._set(
            token_id=parse_token_id(token_id),
            side=parse_side(side),
            price_e4=to_price_e4(price, "price"),
            size_micro=size_micro,
            order_type=kind,
            expiration=expiration,
            post_only=parse_flag(post_only, "post_only"),
            available_size_micro=(
                None if available_size is None else to_micro(available_size, "available_size")
            ),
            market_slug=market_slug,
            neg_risk=parse_flag(neg_risk, "neg_risk"),
            tick_e4=None if tick_size is None else parse_tick_e4(tick_size),
            generation=parse_generation(generation),
            fee_rate_micro=None if fee_rate is None else parse_rate_micro(fee_rate),
            fee_exponent=parse_exponent(fee_exponent),
            min_order_size_micro=to_micro(min_order_size, "min_order_size"),
            complement_token_id=_complement(complement_token_id, token_id),
        )

    @property
    def price(self) -> Decimal:
        """Dollars per share."""
        return from_e4(self.price_e4)

    @property
    def size(self) -> Decimal:
        """Shares."""
        return from_micro(self.size_micro)

    @property
    def available_size(self) -> Decimal | None:
        """Shares."""
        micro = self.available_size_micro
        return None if micro is None else from_micro(micro)

    @property
    def tick_size(self) -> Decimal | None:
        """Dollars."""
        return None if self.tick_e4 is None else from_e4(self.tick_e4)

    @property
    def fee_rate(self) -> Decimal | None:
        """Fraction, 0.07 is 7 %."""
        return None if self.fee_rate_micro is None else from_micro(self.fee_rate_micro)

    @property
    def min_order_size(self) -> Decimal:
        """Shares."""
        return from_micro(self.min_order_size_micro)


class TopOfBook(msgspec.Struct, frozen=True):
    """Best bid and ask of one token after a change.

    Prices in ten-thousandths of a dollar, sizes in micro-shares; ``None`` is an empty side.
    """

    token_id: TokenId
    best_bid_e4: int | None
    best_ask_e4: int | None
    best_bid_size_micro: int
    best_ask_size_micro: int
    timestamp_ms: int

    @property
    def best_bid(self) -> Decimal | None:
        """Dollars per share."""
        return None if self.best_bid_e4 is None else from_e4(self.best_bid_e4)

    @property
    def best_ask(self) -> Decimal | None:
        """Dollars per share."""
        return None if self.best_ask_e4 is None else from_e4(self.best_ask_e4)


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """What pricing and signing need to know of one token's market."""

    token_id: TokenId
    condition_id: ConditionId
    tick_e4: int
    min_order_size_micro: int
    neg_risk: bool
    generation: Generation
    fee_rate_micro: int | None
    fee_exponent: int = 1
    market_slug: str = ""


def _complement(value: str | int | None, token_id: str | int) -> TokenId | None:
    if value is None:
        return None
    complement = parse_token_id(value, "complement_token_id")
    if complement == parse_token_id(token_id):
        raise InputError("complement_token_id", value, "must be another token than token_id")
    return complement


def _size_or_zero(value: Number | None, field: str) -> int:
    return 0 if value is None else to_micro(value, field)
