"""Signal -> priced legs -> is the edge worth it? Pure integer decisions, nothing reserved."""

from collections.abc import Callable
from decimal import Decimal
from operator import attrgetter
from typing import Final, NamedTuple, TypeAlias

import msgspec

from polyexec import _impl
from polyexec._pure.legs import (
    NO_PRICE,
    NOT_ENOUGH_QUOTED,
    OFF_TICK,
    SAME_TOKEN,
    TOO_FEW_DOLLARS,
    WORST_RATE_MICRO,
)
from polyexec.core.complement import complement_leg, complement_quote
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Generation, OrderType, Side, SkipReason, Strategy
from polyexec.models import Leg, Quote, TokenId
from polyexec.numbers import MICRO, PRICE_SCALE, from_e4, from_micro
from polyexec.signals import ArbSignal, LegsSignal, Signal

__all__ = [
    "WORST_FEE_RATE_MICRO",
    "Edge",
    "Inventory",
    "PricedLeg",
    "PricingPolicy",
    "Skip",
    "check_edge",
    "check_liquidity",
    "check_size",
    "compute_edge",
    "leg_of_row",
    "payout_per_set",
    "price_signal",
    "priced_leg",
    "priced_legs",
    "worst_loss_micro",
]

WORST_FEE_RATE_MICRO: Final = WORST_RATE_MICRO
"""Highest published taker rate (crypto, 0.07): what a leg of unknown fee reserves."""

Inventory: TypeAlias = Callable[[TokenId], int]
_MIN_SHARES_MICRO: Final = 5 * MICRO
_TYPES: Final = tuple(OrderType(name) for name in _impl.ORDER_TYPES)
_SIDES: Final = (Side.BUY, Side.SELL)
_GENERATIONS: Final = {int(generation): generation for generation in Generation}
_TYPE_INDEX: Final = {kind: index for index, kind in enumerate(_TYPES)}


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
    buys_complements: bool = False
    """A SELL without inventory is replaced by buying the complement, which is the same trade."""
    min_pnl_ratio: tuple[int, int] = (0, 1)
    """The same as a fraction of the cost; follows from it."""

    def __post_init__(self) -> None:
        parts, whole = self.min_pnl_percent.as_integer_ratio()
        msgspec.structs.force_setattr(self, "min_pnl_ratio", (parts, 100 * whole))


class PricedLeg(msgspec.Struct, frozen=True):
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


def price_signal(
    signal: Signal, policy: PricingPolicy, inventory: Inventory | None = None
) -> _impl.LegTable | Skip:
    """Return the legs of a signal with limits and amounts, or why there can be none.

    ``inventory`` tells the shares of a token that may be sold; without it no SELL is replaced.
    """
    kind = _TYPE_INDEX[policy.order_type]
    replaces = policy.buys_complements and inventory is not None
    if isinstance(signal, LegsSignal):
        legs = signal.legs
        if replaces and inventory is not None:
            legs = tuple(_with_inventory(leg, inventory) for leg in legs)
        table = _impl.price_legs(legs, kind, policy.slippage_enabled)
    else:
        rule = _RULES.get(signal.strategy)
        if rule is None:
            known = ", ".join(Strategy)
            return Skip(
                SkipReason.NO_CANDIDATES, f"strategy={signal.strategy!r}: must be one of {known}"
            )
        quotes = rule.quotes(signal)
        if None in quotes:
            role = rule.roles[quotes.index(None)]
            return Skip(SkipReason.NO_CANDIDATES, f"{role}: quote missing")
        size = policy.default_size_micro if signal.size_micro is None else signal.size_micro
        sides = rule.sides
        if replaces and inventory is not None and any(sides):
            quotes, sides = _complements(quotes, sides, size, inventory)
        table = _impl.price_quotes(quotes, sides, size, kind, policy.slippage_enabled)
    if table.fault and table.fault != NOT_ENOUGH_QUOTED:
        return _explain(signal, table)
    return table


def check_liquidity(table: _impl.LegTable) -> Skip | None:
    """Refuse when a quote holds fewer shares than its leg wants."""
    if table.fault != NOT_ENOUGH_QUOTED:
        return None
    leg = priced_leg(table, table.fault_leg)
    return Skip(
        SkipReason.INSUFFICIENT_LIQUIDITY,
        f"{_name(leg)}: {from_micro(leg.available_micro or 0)} quoted, "
        f"{from_micro(leg.wanted_micro)} wanted",
    )


def check_edge(signal: Signal, table: _impl.LegTable, policy: PricingPolicy) -> Edge | Skip | None:
    """Compute the edge of a set at its limit prices, fees in, and hold it to the threshold.

    A signal that claims a profit must pass with that figure as well: whichever is worse decides.
    None: the set has no known payout, so the sender has decided.
    """
    payout_micro = payout_per_set(signal)
    if payout_micro is None:
        return None
    if table.unknown_fee_leg >= 0:
        name = _name(table.sources[table.unknown_fee_leg])
        return Skip(SkipReason.FEE_UNKNOWN, f"{name}: taker fee rate not known")
    edge = compute_edge(table, payout_micro)
    # As a ratio of integers: a product of Decimals would round to the caller's decimal context.
    parts, whole = policy.min_pnl_ratio
    if edge.cost_micro <= 0 or edge.net_micro * whole < parts * edge.cost_micro:
        return Skip(
            SkipReason.PNL_BELOW_THRESHOLD,
            f"net {from_micro(edge.net_micro)} on {from_micro(edge.cost_micro)}, "
            f"below {policy.min_pnl_percent} % (gross {from_micro(edge.gross_micro)})",
        )
    if isinstance(signal, ArbSignal) and signal.profit_ratio is not None:
        claimed, scale = signal.profit_ratio
        if claimed * PRICE_SCALE * whole < parts * table.quoted_e4 * scale:
            return Skip(
                SkipReason.PNL_BELOW_THRESHOLD,
                f"profit_abs={signal.profit_abs} on {from_e4(table.quoted_e4)} per set, "
                f"below {policy.min_pnl_percent} %",
            )
    return edge


def compute_edge(table: _impl.LegTable, payout_micro: int) -> Edge:
    """Return cost and payout of the legs as one set.

    ``payout_micro`` is the payout of one share of each leg.
    """
    return Edge(table.cost_micro, payout_micro * table.set_micro // MICRO, table.gross_cost_micro)


def check_size(table: _impl.LegTable) -> Skip | None:
    """Refuse sizes that the exchange would refuse."""
    if not table.size_fault:
        return None
    leg = priced_leg(table, table.size_fault_leg)
    if table.size_fault == TOO_FEW_DOLLARS:
        detail = (
            f"{_name(leg)}: {from_micro(leg.maker_micro)} dollars, "
            "a marketable BUY needs at least 1"
        )
    else:
        size = leg.wanted_micro if leg.order_type.is_immediate else leg.size_micro
        least = max(_MIN_SHARES_MICRO, leg.min_order_size_micro)
        detail = f"{_name(leg)}: size={from_micro(size)}, at least {from_micro(least)}"
    return Skip(SkipReason.INVALID_SIZE, detail)


def worst_loss_micro(signal: Signal, table: _impl.LegTable) -> int:
    """Return the most that is lost when only some legs trade and nothing is done about it.

    Over every partial fill and every outcome of the world, fees in, at the limits; see
    ``LegTable.worst_loss``.
    """
    rows, sides = _payoffs(signal)
    if (
        rows is not None
        and 1 in sides
        and any(table.row(index)[0] != side for index, side in enumerate(sides) if side)
    ):
        # A SELL that became a BUY of the complement: its token pays the rest of 1.
        bought = [side and not table.row(index)[0] for index, side in enumerate(sides)]
        rows = tuple(
            tuple(MICRO - pay if flip else pay for pay, flip in zip(row, bought, strict=True))
            for row in rows
        )
    return table.worst_loss(rows)


def _payoffs(signal: Signal) -> tuple[tuple[tuple[int, ...], ...] | None, tuple[int, ...]]:
    if isinstance(signal, LegsSignal):
        return signal.outcomes_micro, tuple(leg.side.code for leg in signal.legs)
    rule = _RULES[signal.strategy]
    return rule.payoffs, rule.sides


def _with_inventory(leg: Leg, inventory: Inventory) -> Leg:
    if leg.side is Side.SELL and inventory(leg.token_id) < leg.size_micro:
        return complement_leg(leg) or leg
    return leg


def _complements(
    quotes: tuple[Quote, ...], sides: tuple[int, ...], size_micro: int, inventory: Inventory
) -> tuple[tuple[Quote, ...], tuple[int, ...]]:
    """Replace the SELLs that have no inventory, where the quote names its complement."""
    changed, taken = list(quotes), list(sides)
    for index, (quote, side) in enumerate(zip(quotes, sides, strict=True)):
        if side and inventory(quote.token_id) < size_micro:
            other = complement_quote(quote)
            if other is not None:
                changed[index], taken[index] = other, 0
    return tuple(changed), tuple(taken)


def priced_legs(table: _impl.LegTable) -> tuple[PricedLeg, ...]:
    """Return the legs of a table as records."""
    return tuple(priced_leg(table, index) for index in range(table.count))


def priced_leg(table: _impl.LegTable, index: int) -> PricedLeg:
    """Return one leg of a table as a record."""
    source: Quote | Leg = table.sources[index]
    return leg_of_row(source.token_id, source.market_slug, table.row(index))


def leg_of_row(token_id: TokenId, market_slug: str, row: tuple[int, ...]) -> PricedLeg:
    """Return the record of a leg whose figures are ``LegTable.row``."""
    (
        side,
        kind,
        generation,
        neg_risk,
        quote_e4,
        limit_e4,
        wanted,
        size,
        maker,
        taker,
        available,
        least,
        rate,
        exponent,
        fee,
        fee_reserve,
        expiration,
        post_only,
        is_taker,
    ) = row
    return PricedLeg(
        token_id,
        market_slug,
        _SIDES[side],
        _TYPES[kind],
        _GENERATIONS[generation],
        neg_risk == 1,
        quote_e4,
        limit_e4,
        wanted,
        size,
        maker,
        taker,
        None if available < 0 else available,
        least,
        None if rate < 0 else rate,
        exponent,
        fee,
        fee_reserve,
        expiration,
        post_only == 1,
        is_taker == 1,
    )


def payout_per_set(signal: Signal) -> int | None:
    """Return micro-dollars that one share of every leg pays together; None: not known."""
    if isinstance(signal, LegsSignal):
        return signal.payout_micro
    return _RULES[signal.strategy].payout_micro


class _Rule(NamedTuple):
    """A strategy, ready for the pricing: what it reads of a signal, and on which side."""

    roles: tuple[str, ...]
    quotes: Callable[[ArbSignal], tuple[Quote, ...]]
    sides: tuple[int, ...]
    payout_micro: int
    payoffs: tuple[tuple[int, ...], ...]
    """A row per outcome of the world: micro-dollars that a share of each leg's token pays."""


_RULES: Final[dict[str, _Rule]] = {
    strategy: _Rule(
        tuple(leg.role for leg in rule.legs),
        attrgetter(*(leg.role for leg in rule.legs)),
        tuple(leg.side.code for leg in rule.legs),
        rule.payout * MICRO,
        tuple(
            tuple(pay * MICRO for pay in outcome)
            for outcome in zip(*(leg.pays for leg in rule.legs), strict=True)
        ),
    )
    for strategy, rule in STRATEGIES.items()
}


def _explain(signal: Signal, table: _impl.LegTable) -> Skip:
    """Say what makes the legs of a table impossible."""
    source: Quote | Leg = table.sources[table.fault_leg]
    if table.fault in (NO_PRICE, SAME_TOKEN):
        rule = _RULES[signal.strategy] if isinstance(signal, ArbSignal) else None
        role = rule.roles[table.fault_leg] if rule else f"legs[{table.fault_leg}]"
        if table.fault == SAME_TOKEN:
            detail = f"{role}.token_id={source.token_id!r}: stands in two legs"
        else:
            sells = rule is not None and rule.sides[table.fault_leg]
            detail = f"{role}.{'best_bid' if sells else 'best_ask'}: missing"
        return Skip(SkipReason.NO_CANDIDATES, detail)
    if table.fault == OFF_TICK:
        price_e4 = table.row(table.fault_leg)[4]
        return Skip(
            SkipReason.OFF_TICK,
            f"price={from_e4(price_e4)}: token {_short(source)} trades on a tick of "
            f"{from_e4(source.tick_e4 or 1)}",
        )
    return Skip(SkipReason.INVALID_SIZE, f"{_name(source)}: its size is above any account")


def _name(leg: Quote | Leg | PricedLeg) -> str:
    return leg.market_slug or f"token {leg.token_id[:8]}…"


def _short(leg: Quote | Leg) -> str:
    return leg.market_slug or f"{leg.token_id[:8]}…"
