"""From quotes to the amounts that are signed: the readable twin of ``_fast.legs``."""

from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn, TypeAlias

from polyexec._pure.amounts import limit_amounts, market_amounts, slippage_e4, taker_fee
from polyexec._pure.batch import ORDER_TYPES
from polyexec._pure.checks import checked_range
from polyexec._pure.sizing import group_size

__all__ = [
    "NOT_ENOUGH_QUOTED",
    "NO_PRICE",
    "OFF_TICK",
    "SAME_TOKEN",
    "TOO_FEW_DOLLARS",
    "TOO_FEW_SHARES",
    "TOO_LARGE",
    "WORST_RATE_MICRO",
    "LegTable",
    "price_legs",
    "price_quotes",
]

# What can be wrong with a leg, in the order in which it is looked for.
NO_PRICE, SAME_TOKEN, OFF_TICK, TOO_LARGE, NOT_ENOUGH_QUOTED, TOO_FEW_SHARES, TOO_FEW_DOLLARS = (
    range(1, 8)
)

WORST_RATE_MICRO = 70_000
"""Highest published taker rate (crypto, 0.07): what a leg of unknown fee reserves."""

MOST_LEGS = 15
MOST_MICRO = 2**58
"""Largest size: sums over a table then fit 64 bits."""

_MIN_SHARES = 5_000_000
_MIN_DOLLARS = 1_000_000  # of a marketable BUY
_LOT = 10_000
_SCALE = 10_000
_MICRO = 1_000_000
_INT64_MAX = 2**63 - 1

Row: TypeAlias = tuple[int, ...]


class _Wanted(NamedTuple):
    """A leg before pricing. -1: not known, but for ``tick_e4``, where that is 0."""

    token: str
    side: int
    order_type: int
    generation: int
    neg_risk: int
    quote_e4: int
    tick_e4: int
    wanted_micro: int
    available_micro: int
    least_micro: int
    rate_micro: int
    exponent: int
    expiration: int
    post_only: int
    is_taker: int

    @property
    def is_immediate(self) -> bool:
        """FOK or FAK."""
        return self.order_type >= ORDER_TYPES.index("FOK")

    @property
    def marketable_buy(self) -> bool:
        """The exchange's minimum of a dollar applies."""
        return bool(self.is_taker) and self.side == 0


class LegTable:
    """Legs of one submission with everything that is decided about them. Immutable.

    Attributes
    ----------
    sources : tuple
        The quotes or legs that it was made of.
    count : int
    fault, fault_leg : int
        What makes the legs impossible (``NO_PRICE`` to ``NOT_ENOUGH_QUOTED``) and where; 0: none.
        The figures below mean something only when it is 0 or ``NOT_ENOUGH_QUOTED``.
    size_fault, size_fault_leg : int
        ``TOO_FEW_SHARES`` or ``TOO_FEW_DOLLARS``, and where; 0: none.
    unknown_fee_leg : int
        First leg without a fee rate; -1: none.
    needs_v1 : bool
        A leg is of generation 1.
    set_micro : int
        Shares of the smallest leg: complete sets.
    cost_micro : int
        Cost of all legs at their limits, fees in; a SELL at b counts as buying at 1 - b.
    gross_cost_micro : int
        The same at the quotes, without fees, rounded down.
    quoted_e4 : int
        Cost of one set at the quotes.
    collateral_micro : int
        What all BUY legs together must hold; 0: every leg only gives up inventory.
    """

    __slots__ = (
        "_rows",
        "collateral_micro",
        "cost_micro",
        "count",
        "fault",
        "fault_leg",
        "gross_cost_micro",
        "needs_v1",
        "quoted_e4",
        "set_micro",
        "size_fault",
        "size_fault_leg",
        "sources",
        "unknown_fee_leg",
    )

    def __init__(self, sources: tuple[Any, ...]) -> None:
        if not isinstance(sources, tuple):
            raise TypeError(f"legs must be a tuple, not {type(sources).__name__}")
        if not 1 <= len(sources) <= MOST_LEGS:
            raise ValueError(f"legs must be 1 to {MOST_LEGS}, not {len(sources)}")
        self.sources = sources
        self.count = len(sources)
        self.fault = self.fault_leg = self.size_fault = self.size_fault_leg = 0
        self.unknown_fee_leg = -1
        self.needs_v1 = False
        self.set_micro = self.cost_micro = self.gross_cost_micro = self.quoted_e4 = 0
        self.collateral_micro = 0
        self._rows: list[Row] = []

    def row(self, index: int) -> Row:
        """Return the figures of one leg.

        ``(side, order_type, generation, neg_risk, quote_e4, limit_e4, wanted_micro, size_micro,
        maker_micro, taker_micro, available_micro, least_micro, rate_micro, exponent, fee_micro,
        fee_reserve_micro, expiration, post_only, is_taker)``; -1 for an available size or a rate
        that is not known.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"leg {index} of {self.count}")
        return self._rows[index]

    def claims(self) -> list[tuple[str, int]]:
        """Return what must be held: (token of a SELL or "" for collateral, micro-units)."""
        return [
            (source.token_id, row[8]) if row[0] else ("", row[8] + row[15])
            for source, row in zip(self.sources, self._rows, strict=True)
        ]

    def worst_loss(self, payoffs: tuple[tuple[int, ...], ...] | None) -> int:
        """Return the most that is lost when only some legs trade and the group is left like that.

        Given an outcome of the world, the loss is a sum over the legs and each part grows with how
        much of the leg trades: it is worst at nothing or at everything. So the worst of an outcome
        is the sum of the parts that lose, and the worst of all outcomes is their maximum.

        Parameters
        ----------
        payoffs : tuple of tuple of int, or None
            A row per outcome: micro-dollars that a share of each leg's token pays then. ``None``:
            each pays 0 or 1 by itself.
        """
        if payoffs is None:
            return sum(max(0, _leg_loss(row, 0), _leg_loss(row, _MICRO)) for row in self._rows)
        worst = 0
        for pays in payoffs:
            if len(pays) != self.count:
                raise ValueError(f"payoffs must be rows of {self.count}, not {len(pays)}")
            checked = [checked_range(pay, 0, _MICRO, "payoffs") for pay in pays]
            losses = map(_leg_loss, self._rows, checked)
            worst = max(worst, sum(loss for loss in losses if loss > 0))
        return worst

    def __repr__(self) -> str:
        return f"LegTable({self.count} legs, fault={self.fault})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a LegTable belongs to one submission: it cannot be pickled or copied")


def price_quotes(
    quotes: tuple[Any, ...], sides: Sequence[int], size_micro: int, order_type: int, slips: bool
) -> LegTable:
    """Return the legs that take one side of each quote, all of one size.

    Parameters
    ----------
    quotes : tuple of Quote
        Tokens to trade.
    sides : sequence of int
        BUY 0 takes the ask, SELL 1 the bid.
    size_micro : int
        Shares. The set shrinks to the largest size that every leg can trade exactly, if there is
        one; else an immediate BUY spends whole cents on slightly fewer shares.
    order_type : int
        Index into ``ORDER_TYPES``.
    slips : bool
        Limits lie one step beyond the quotes.
    """
    table = LegTable(quotes)
    if len(sides) != table.count:
        raise ValueError(f"sides must be {table.count}, not {len(sides)}")
    checked_range(size_micro, 0, _INT64_MAX, "size_micro")
    checked_range(order_type, 0, 3, "order_type")
    wanted: list[_Wanted] = []
    for index, quote in enumerate(quotes):
        side = checked_range(sides[index], 0, 1, "side")
        price = quote.best_bid_e4 if side else quote.best_ask_e4
        if price is None:
            return _faulty(table, NO_PRICE, index)
        available = quote.best_bid_size_micro if side else quote.best_ask_size_micro
        wanted.append(_wanted(quote, side, order_type, price, size_micro, available, 0, 0, 1))
        if any(quote.token_id == other.token for other in wanted[:-1]):
            return _faulty(table, SAME_TOKEN, index)
    return _priced(table, wanted, slips=slips, is_set=True)


def price_legs(legs: tuple[Any, ...], order_type: int, slips: bool) -> LegTable:
    """Return explicit legs, each of its own price and size.

    ``order_type`` is for legs that name none; the rest as in :func:`price_quotes`.
    """
    table = LegTable(legs)
    checked_range(order_type, 0, 3, "order_type")
    wanted = []
    for leg in legs:
        kind = order_type if leg.order_type is None else _type_index(leg.order_type)
        if not isinstance(leg.side, str) or leg.side not in ("BUY", "SELL"):
            raise ValueError(f"side must be BUY or SELL, not {leg.side!r}")
        wanted.append(
            _wanted(
                leg,
                0 if leg.side == "BUY" else 1,
                kind,
                leg.price_e4,
                leg.size_micro,
                leg.available_size_micro,
                leg.expiration,
                leg.post_only,
                kind >= ORDER_TYPES.index("FOK"),
            )
        )
    return _priced(table, wanted, slips=slips, is_set=False)


def _type_index(kind: str) -> int:
    if not isinstance(kind, str) or kind not in ORDER_TYPES:
        raise ValueError(f"order_type must be GTC, GTD, FOK or FAK, not {kind!r}")
    return ORDER_TYPES.index(kind)


def _wanted(
    source: Any,
    side: int,
    order_type: int,
    price_e4: int,
    size_micro: int,
    available_micro: int | None,
    expiration: int,
    post_only: int,
    is_taker: int,
) -> _Wanted:
    if not isinstance(source.token_id, str):
        raise TypeError(f"token_id must be text, not {type(source.token_id).__name__}")
    source.token_id.encode()  # half a character is none
    return _Wanted(
        source.token_id,
        side,
        checked_range(order_type, 0, 3, "order_type"),
        checked_range(source.generation, 1, 3, "generation"),
        int(bool(source.neg_risk)),
        checked_range(price_e4, 1, _SCALE - 1, "price_e4"),
        0 if source.tick_e4 is None else checked_range(source.tick_e4, 0, _SCALE - 1, "tick_e4"),
        checked_range(size_micro, 0, _INT64_MAX, "size_micro"),
        -1
        if available_micro is None
        else checked_range(available_micro, 0, _INT64_MAX, "available_micro"),
        checked_range(source.min_order_size_micro, 0, _INT64_MAX, "min_order_size_micro"),
        -1
        if source.fee_rate_micro is None
        else checked_range(source.fee_rate_micro, 0, 1_000_000, "fee_rate_micro"),
        checked_range(source.fee_exponent, 0, 4, "fee_exponent"),
        checked_range(expiration, 0, _INT64_MAX, "expiration"),
        int(bool(post_only)),
        int(bool(is_taker)),
    )


def _priced(table: LegTable, wanted: list[_Wanted], *, slips: bool, is_set: bool) -> LegTable:
    limits = []
    table._rows = [_unpriced(leg) for leg in wanted]
    for index, leg in enumerate(wanted):
        tick = leg.tick_e4
        if tick and (leg.quote_e4 % tick or leg.quote_e4 > _SCALE - tick):
            return _faulty(table, OFF_TICK, index)
        limits.append(slippage_e4(leg.quote_e4, leg.side, tick) if slips else leg.quote_e4)
    common = _common_size(wanted, limits) if is_set else 0
    for index, (leg, limit) in enumerate(zip(wanted, limits, strict=True)):
        row = _row(leg, limit, common or leg.wanted_micro)
        if row is None:
            return _faulty(table, TOO_LARGE, index)
        table._rows[index] = row
    _judge(table, wanted)
    return table


def _unpriced(leg: _Wanted) -> Row:
    return (leg.side, leg.order_type, leg.generation, leg.neg_risk, leg.quote_e4, *([0] * 14))


def _common_size(wanted: list[_Wanted], limits: list[int]) -> int:
    # Resting legs ask nothing but hundredths of a share, so a set of them keeps its size, and one
    # below a minimum (0) is found by the size check. An immediate SELL counts as well: proceeds
    # that would be rounded to four decimals are not the set's price.
    return group_size(
        [
            (
                limit,
                leg.tick_e4,
                leg.side,
                int(leg.is_immediate),
                max(_MIN_SHARES, leg.least_micro),
                _MIN_DOLLARS if leg.marketable_buy else 0,
            )
            for leg, limit in zip(wanted, limits, strict=True)
        ],
        min(leg.wanted_micro for leg in wanted),
    )


def _row(leg: _Wanted, limit: int, size_micro: int) -> Row | None:
    """Return the priced leg, or None when a number is larger than any account."""
    if leg.wanted_micro > MOST_MICRO:
        return None
    size = size_micro // _LOT * _LOT
    if leg.is_immediate:
        spend = size if leg.side else limit * size // _SCALE
        # rounding table: price decimals + 2, of which an immediate order may use 4
        decimals = 3 if leg.tick_e4 == 1000 else 4
        maker, taker = market_amounts(limit, spend, leg.side, decimals)
        size = maker if leg.side else taker
    else:
        maker, taker = limit_amounts(limit, size, leg.side)
    rate = WORST_RATE_MICRO if leg.rate_micro < 0 else leg.rate_micro
    fee = taker_fee(limit, size, rate, leg.exponent)
    reserve = 0 if leg.side else _fee_reserve(leg, maker, fee, rate)
    if reserve > MOST_MICRO:
        return None
    return (
        leg.side,
        leg.order_type,
        leg.generation,
        leg.neg_risk,
        leg.quote_e4,
        limit,
        leg.wanted_micro,
        size,
        maker,
        taker,
        leg.available_micro,
        leg.least_micro,
        leg.rate_micro,
        leg.exponent,
        fee,
        reserve,
        leg.expiration,
        leg.post_only,
        leg.is_taker,
    )


def _fee_reserve(leg: _Wanted, maker_micro: int, fee_micro: int, rate_micro: int) -> int:
    """Return the most that the taker fee of a BUY can be, whatever its fill prices.

    A resting type buys fixed shares: a cheaper fill saves more than its fee can grow, so the fee
    at the limit covers it. An immediate BUY spends fixed collateral M and gets M/p shares, so
    its fee M x rate x p^(e-1) x (1-p)^e grows as the price improves, up to M x rate.
    """
    if not leg.is_immediate:
        return fee_micro
    shares_per_dollar = _SCALE if leg.exponent == 0 else 1  # e 0: M x rate / p, p at least 1e-4
    worst = -(-maker_micro * rate_micro * shares_per_dollar // 1_000_000)
    return max(fee_micro, -(-worst // 10) * 10)


def _judge(table: LegTable, wanted: list[_Wanted]) -> None:
    """Fill in what is known of the set, and what is wrong with its sizes."""
    gross = 0
    table.set_micro = min(row[7] for row in table._rows)
    for index, (leg, row) in enumerate(zip(wanted, table._rows, strict=True)):
        size, maker, taker, fee = row[7], row[8], row[9], row[14]
        per_share = _SCALE - leg.quote_e4 if leg.side else leg.quote_e4
        table.cost_micro += (maker - taker if leg.side else maker) + fee
        table.quoted_e4 += per_share
        table.collateral_micro += 0 if leg.side else maker + row[15]
        gross += per_share * size
        table.needs_v1 = table.needs_v1 or leg.generation == 1
        if leg.rate_micro < 0 and table.unknown_fee_leg < 0:
            table.unknown_fee_leg = index
        if not table.fault and 0 <= leg.available_micro < leg.wanted_micro:
            _faulty(table, NOT_ENOUGH_QUOTED, index)
        if table.size_fault:
            continue
        # An immediate order spends whole cents, which may buy a little less than was wanted; the
        # exchange judges it by its dollars.
        judged = leg.wanted_micro if leg.is_immediate else size
        if judged < max(_MIN_SHARES, leg.least_micro) or size == 0:
            table.size_fault, table.size_fault_leg = TOO_FEW_SHARES, index
        elif leg.marketable_buy and maker < _MIN_DOLLARS:
            table.size_fault, table.size_fault_leg = TOO_FEW_DOLLARS, index
    table.gross_cost_micro = gross // _SCALE


def _leg_loss(row: Row, pay_micro: int) -> int:
    """Return what a leg loses in full where its token pays this much, rounded against us."""
    side, maker, taker, fee, fee_reserve = row[0], row[8], row[9], row[14], row[15]
    if side:
        return -(-maker * pay_micro // _MICRO) - taker + fee
    # An immediate BUY that improves gets more shares: they outweigh the fee where they pay.
    return maker + (fee if pay_micro == _MICRO else fee_reserve) - taker * pay_micro // _MICRO


def _faulty(table: LegTable, fault: int, leg: int) -> LegTable:
    table.fault, table.fault_leg = fault, leg
    return table
