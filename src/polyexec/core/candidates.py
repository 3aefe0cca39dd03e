"""Signal -> priced legs -> is the edge worth it? Pure integer decisions, nothing reserved."""

from decimal import Decimal
from typing import Final

import msgspec

from polyexec import _impl
from polyexec.core.amounts import slippage_e4
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Generation, OrderType, Side, SkipReason, Strategy
from polyexec.models import ArbSignal, Leg, LegsSignal, Quote, Signal, TokenId
from polyexec.numbers import MICRO, PRICE_SCALE, from_e4, from_micro

__all__ = [
    "WORST_FEE_RATE_MICRO",
    "Edge",
    "PricedLeg",
    "PricingPolicy",
    "Skip",
    "build_legs",
    "check_edge",
    "check_liquidity",
    "check_size",
    "compute_edge",
]

WORST_FEE_RATE_MICRO: Final = 70_000
"""Highest published taker rate (crypto, 0.07): what a leg of unknown fee reserves."""

_MIN_SHARES_MICRO: Final = 5 * MICRO
_MIN_MARKETABLE_MICRO: Final = MICRO
_LOT_MICRO: Final = 10_000


class Skip(msgspec.Struct, frozen=True):
    """A refusal of ours, and what to tell a person about it."""

    reason: SkipReason
    detail: str


class PricingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that pricing and the edge gate read."""

    default_size_micro: int
    order_type: OrderType
    slippage_enabled: bool
    min_pnl_percent: Decimal


class PricedLeg(msgspec.Struct, frozen=True, kw_only=True):
    """One leg with its limit price and the amounts that will be signed."""

    token_id: TokenId
    market_slug: str
    side: Side
    order_type: OrderType
    generation: Generation
    neg_risk: bool
    quote_e4: int
    limit_e4: int
    wanted_micro: int
    size_micro: int
    maker_micro: int
    taker_micro: int
    available_micro: int | None
    min_order_size_micro: int
    fee_rate_micro: int | None
    fee_exponent: int
    fee_micro: int
    """Taker fee if all of it trades at the limit."""
    fee_reserve_micro: int
    """Most that the taker fee can be, fills better than the limit included."""
    expiration: int
    post_only: bool
    is_taker: bool
    """Priced to cross, so the exchange's minimum for a marketable BUY applies."""

    @property
    def reserve_micro(self) -> int:
        """What must be held of the asset that the leg gives (a SELL's fee comes off its proceeds).

        The exchange's own check counts the taker fee even on a post-only order.
        """
        return self.maker_micro + self.fee_reserve_micro

    @property
    def cost_micro(self) -> int:
        """Cost as part of a set: a SELL at b counts as buying the complement at 1 - b."""
        if self.side is Side.BUY:
            return self.maker_micro + self.fee_micro
        return self.maker_micro - self.taker_micro + self.fee_micro


class Edge(msgspec.Struct, frozen=True):
    """Profit of a set of legs if every one fills at its limit."""

    cost_micro: int
    payout_micro: int
    gross_cost_micro: int
    """Cost at the quoted prices, without fees: the original system's figure."""

    @property
    def net_micro(self) -> int:
        """Payout minus cost, fees in."""
        return self.payout_micro - self.cost_micro

    @property
    def gross_micro(self) -> int:
        """Payout minus cost at the quotes, without fees."""
        return self.payout_micro - self.gross_cost_micro


class _Wanted(msgspec.Struct, frozen=True):
    """A leg before pricing: what to trade, at which quote, how much."""

    source: Quote | Leg
    side: Side
    quote_e4: int
    size_micro: int
    available_micro: int | None
    order_type: OrderType
    expiration: int = 0
    post_only: bool = False
    is_taker: bool = False


def build_legs(signal: Signal, policy: PricingPolicy) -> tuple[PricedLeg, ...] | Skip:
    """Return the legs of a signal with limit prices and amounts, or why there are none."""
    wanted = (
        _from_legs(signal, policy)
        if isinstance(signal, LegsSignal)
        else _from_strategy(signal, policy)
    )
    if isinstance(wanted, Skip):
        return wanted
    limits = []
    for leg in wanted:
        tick = leg.source.tick_e4
        if tick is not None and (leg.quote_e4 % tick or leg.quote_e4 > PRICE_SCALE - tick):
            price, grid = from_e4(leg.quote_e4), from_e4(tick)
            return Skip(
                SkipReason.OFF_TICK,
                f"price={price}: token {_short(leg)} trades on a tick of {grid}",
            )
        limits.append(
            slippage_e4(leg.quote_e4, leg.side, tick) if policy.slippage_enabled else leg.quote_e4
        )
    common = _common_size(wanted, limits) if isinstance(signal, ArbSignal) else None
    return tuple(_price(leg, limit, common) for leg, limit in zip(wanted, limits, strict=True))


def check_liquidity(legs: tuple[PricedLeg, ...]) -> Skip | None:
    """Refuse when a quote holds fewer shares than its leg wants."""
    for leg in legs:
        if leg.available_micro is not None and leg.available_micro < leg.wanted_micro:
            return Skip(
                SkipReason.INSUFFICIENT_LIQUIDITY,
                f"{_name(leg)}: {from_micro(leg.available_micro)} quoted, "
                f"{from_micro(leg.wanted_micro)} wanted",
            )
    return None


def compute_edge(legs: tuple[PricedLeg, ...], payout_micro: int) -> Edge:
    """Return cost and payout of the legs as one set.

    ``payout_micro`` is the payout of one share of each leg.
    """
    size = min(leg.size_micro for leg in legs)
    return Edge(
        cost_micro=sum(leg.cost_micro for leg in legs),
        payout_micro=payout_micro * size // MICRO,
        gross_cost_micro=sum(
            (leg.quote_e4 if leg.side is Side.BUY else PRICE_SCALE - leg.quote_e4) * leg.size_micro
            for leg in legs
        )
        // PRICE_SCALE,
    )


def check_edge(
    signal: Signal, legs: tuple[PricedLeg, ...], policy: PricingPolicy
) -> tuple[Edge | None, Skip | None]:
    """Compute the edge of a set at its limit prices, fees in, and hold it to the threshold.

    A signal that claims a profit must pass with that figure as well: whichever is worse decides.
    """
    payout_micro = payout_per_set(signal)
    if payout_micro is None:
        return None, None
    for leg in legs:
        if leg.fee_rate_micro is None:
            return None, Skip(SkipReason.FEE_UNKNOWN, f"{_name(leg)}: taker fee rate not known")
    edge = compute_edge(legs, payout_micro)
    percent = policy.min_pnl_percent
    # As a ratio of integers: a product of Decimals would round to the caller's decimal context.
    parts, whole = percent.as_integer_ratio()
    if edge.cost_micro <= 0 or edge.net_micro * 100 * whole < parts * edge.cost_micro:
        return edge, Skip(
            SkipReason.PNL_BELOW_THRESHOLD,
            f"net {from_micro(edge.net_micro)} on {from_micro(edge.cost_micro)}, "
            f"below {percent} % (gross {from_micro(edge.gross_micro)})",
        )
    if isinstance(signal, ArbSignal) and signal.profit_abs is not None:
        per_set = sum(
            leg.quote_e4 if leg.side is Side.BUY else PRICE_SCALE - leg.quote_e4 for leg in legs
        )
        claimed, scale = signal.profit_abs.as_integer_ratio()
        if claimed * PRICE_SCALE * 100 * whole < parts * per_set * scale:
            return edge, Skip(
                SkipReason.PNL_BELOW_THRESHOLD,
                f"profit_abs={signal.profit_abs} on {from_e4(per_set)} per set, below {percent} %",
            )
    return edge, None


def check_size(legs: tuple[PricedLeg, ...]) -> Skip | None:
    """Refuse sizes that the exchange would refuse."""
    for leg in legs:
        least = max(_MIN_SHARES_MICRO, leg.min_order_size_micro)
        # An immediate order spends whole cents, which may buy a little less than was wanted; the
        # exchange judges it by its dollars.
        size = leg.wanted_micro if leg.order_type.is_immediate else leg.size_micro
        if size < least or leg.size_micro <= 0:
            return Skip(
                SkipReason.INVALID_SIZE,
                f"{_name(leg)}: size={from_micro(size)}, at least {from_micro(least)}",
            )
        if leg.is_taker and leg.side is Side.BUY and leg.maker_micro < _MIN_MARKETABLE_MICRO:
            return Skip(
                SkipReason.INVALID_SIZE,
                f"{_name(leg)}: {from_micro(leg.maker_micro)} dollars, "
                "a marketable BUY needs at least 1",
            )
    return None


def payout_per_set(signal: Signal) -> int | None:
    """Return micro-dollars that one share of every leg pays together; None: not known."""
    if isinstance(signal, LegsSignal):
        return signal.payout_micro
    return STRATEGIES[Strategy(signal.strategy)].payout * MICRO


def _from_strategy(signal: ArbSignal, policy: PricingPolicy) -> list[_Wanted] | Skip:
    if not isinstance(signal.strategy, Strategy):
        known = ", ".join(Strategy)
        return Skip(
            SkipReason.NO_CANDIDATES, f"strategy={signal.strategy!r}: must be one of {known}"
        )
    size = policy.default_size_micro if signal.size_micro is None else signal.size_micro
    legs: list[_Wanted] = []
    for rule in STRATEGIES[signal.strategy].legs:
        quote: Quote | None = getattr(signal, rule.role)
        if quote is None:
            return Skip(SkipReason.NO_CANDIDATES, f"{rule.role}: quote missing")
        buys = rule.side is Side.BUY
        price = quote.best_ask_e4 if buys else quote.best_bid_e4
        if price is None:
            name = "best_ask" if buys else "best_bid"
            return Skip(SkipReason.NO_CANDIDATES, f"{rule.role}.{name}: missing")
        if any(quote.token_id == other.source.token_id for other in legs):
            return Skip(
                SkipReason.NO_CANDIDATES,
                f"{rule.role}.token_id={quote.token_id!r}: stands in two legs",
            )
        available = quote.best_ask_size_micro if buys else quote.best_bid_size_micro
        legs.append(
            _Wanted(quote, rule.side, price, size, available, policy.order_type, is_taker=True)
        )
    return legs


def _from_legs(signal: LegsSignal, policy: PricingPolicy) -> list[_Wanted]:
    legs = []
    for leg in signal.legs:
        kind = leg.order_type or policy.order_type
        legs.append(
            _Wanted(
                leg,
                leg.side,
                leg.price_e4,
                leg.size_micro,
                leg.available_size_micro,
                kind,
                leg.expiration,
                leg.post_only,
                kind.is_immediate,
            )
        )
    return legs


def _common_size(legs: list[_Wanted], limits: list[int]) -> int | None:
    """Return the largest set size that every leg can trade exactly.

    None: there is no such size; then each leg keeps the size it was given, an immediate BUY spends
    whole cents on slightly fewer shares, and :func:`check_size` judges what comes of it.
    """
    # Resting legs ask nothing but hundredths of a share, so a set of them keeps its size, and one
    # below a minimum (None) is refused by check_size in the same words as before. An immediate SELL
    # counts as well: proceeds that would be rounded to four decimals are not the set's price.
    size = _impl.group_size(
        [
            (
                limit,
                leg.source.tick_e4 or 0,
                leg.side.code,
                int(leg.order_type.is_immediate),
                max(_MIN_SHARES_MICRO, leg.source.min_order_size_micro),
                _MIN_MARKETABLE_MICRO if leg.is_taker and leg.side is Side.BUY else 0,
            )
            for leg, limit in zip(legs, limits, strict=True)
        ],
        min(leg.size_micro for leg in legs),
    )
    return size or None


def _price(leg: _Wanted, limit_e4: int, common_micro: int | None) -> PricedLeg:
    source, side = leg.source, leg.side
    size = (leg.size_micro if common_micro is None else common_micro) // _LOT_MICRO * _LOT_MICRO
    if leg.order_type.is_immediate:
        spend = limit_e4 * size // PRICE_SCALE if side is Side.BUY else size
        decimals = _amount_decimals(source.tick_e4)
        maker, taker = _impl.market_amounts(limit_e4, spend, side.code, decimals)
        size = taker if side is Side.BUY else maker
    else:
        maker, taker = _impl.limit_amounts(limit_e4, size, side.code)
    known = source.fee_rate_micro
    rate = WORST_FEE_RATE_MICRO if known is None else known
    exponent = source.fee_exponent
    fee = _impl.taker_fee(limit_e4, size, rate, exponent)
    spends = leg.order_type.is_immediate
    return PricedLeg(
        token_id=source.token_id,
        market_slug=source.market_slug,
        side=side,
        order_type=leg.order_type,
        generation=source.generation,
        neg_risk=source.neg_risk,
        quote_e4=leg.quote_e4,
        limit_e4=limit_e4,
        wanted_micro=leg.size_micro,
        size_micro=size,
        maker_micro=maker,
        taker_micro=taker,
        available_micro=leg.available_micro,
        min_order_size_micro=source.min_order_size_micro,
        fee_rate_micro=known,
        fee_exponent=exponent,
        fee_micro=fee,
        fee_reserve_micro=(
            _fee_reserve(maker, fee, rate, exponent, spends=spends) if side is Side.BUY else 0
        ),
        expiration=leg.expiration,
        post_only=leg.post_only,
        is_taker=leg.is_taker,
    )


def _fee_reserve(
    maker_micro: int, fee_micro: int, rate_micro: int, exponent: int, *, spends: bool
) -> int:
    """Return the most that the taker fee of a BUY can be, whatever its fill prices.

    A resting type buys fixed shares: a cheaper fill saves more than its fee can grow, so the fee
    at the limit covers it. An immediate BUY spends fixed collateral M and gets M/p shares, so
    its fee M x rate x p^(e-1) x (1-p)^e grows as the price improves, up to M x rate.
    """
    if not spends:
        return fee_micro
    shares_per_dollar = PRICE_SCALE if exponent == 0 else 1  # e 0: M x rate / p, p at least 1e-4
    worst = -(-maker_micro * rate_micro * shares_per_dollar // MICRO)
    return max(fee_micro, -(-worst // 10) * 10)


def _amount_decimals(tick_e4: int | None) -> int:
    # rounding table: price decimals + 2, of which an immediate order may use 4
    return 3 if tick_e4 == 1000 else 4


def _name(leg: PricedLeg) -> str:
    return leg.market_slug or f"token {leg.token_id[:8]}…"


def _short(leg: _Wanted) -> str:
    return leg.source.market_slug or f"{leg.source.token_id[:8]}…"
