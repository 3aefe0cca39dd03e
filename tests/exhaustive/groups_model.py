"""A group of three legs as it truly went, told in fractions; and every way it can have gone.

A history is what the exchange did, in the order in which it did it. The model looks at the whole
history and knows nothing of evidence, ranks or totals.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import msgspec

from polyexec import _impl
from polyexec.core.candidates import PricedLeg
from polyexec.core.ports import Fill
from polyexec.enums import LegState, Settlement, Side
from polyexec.models import OrderId

SIZE = 10_000_000
PART = 4_000_000


class News(msgspec.Struct, frozen=True):
    """One thing that becomes known: a state with its totals, a match, or a settlement."""

    state: LegState | None = None
    filled: int = 0
    fill: Fill | None = None
    trade: str = ""
    settlement: Settlement | None = None


class Way(msgspec.Struct, frozen=True):
    """How one order went: its state of now, the shares of its matches, and where they stand."""

    state: LegState
    matches: tuple[tuple[int, Settlement], ...] = ()

    @property
    def traded(self) -> int:
        return sum(size for size, _ in self.matches)


ALIVE = (LegState.UNKNOWN, LegState.DELAYED, LegState.UNMATCHED, LegState.LIVE)
DEAD = (LegState.NOT_SENT, LegState.REJECTED, LegState.CANCELLED, LegState.EXPIRED)


def ways() -> Iterator[Way]:
    """Yield every way that one resting order can have gone, in ten states and five settlements."""
    for state in (*ALIVE, *DEAD):
        yield Way(state)
    for settlement in Settlement:
        yield Way(LegState.MATCHED, ((SIZE, settlement),))
        yield Way(LegState.PARTIAL, ((PART, settlement),))
        yield Way(LegState.CANCELLED, ((PART, settlement),))
    for one, other in product((Settlement.CONFIRMED, Settlement.FAILED), repeat=2):
        yield Way(LegState.MATCHED, ((PART, one), (SIZE - PART, other)))


def news_of(way: Way, leg: PricedLeg, order_id: OrderId) -> list[News]:
    """Return what the exchange says of an order, oldest first."""
    told = [News(state=way.state, filled=way.traded)]
    for number, (size, settlement) in enumerate(way.matches):
        trade = f"{order_id}-{number}"
        fill = Fill(
            trade_id=trade,
            order_id=order_id,
            token_id=leg.token_id,
            side=leg.side,
            price_e4=leg.limit_e4,
            size_micro=size,
            is_taker=True,
            status="MATCHED",
            match_time_s=0,
            counter_order_id=str(number),
        )
        told.append(News(fill=fill))
        if settlement is not Settlement.MATCHED:
            told.append(News(trade=trade, settlement=settlement))
    return told


class Truth(msgspec.Struct, frozen=True):
    """What the account has gained and given, by the whole history."""

    shares: tuple[Fraction, ...]
    cash: Fraction
    worst: Fraction
    best: Fraction
    is_final: bool


def truth(
    legs: tuple[PricedLeg, ...], gone: tuple[Way, ...], rows: tuple[tuple[int, ...], ...]
) -> Truth:
    """Return the account of a group that went this way."""
    shares, cash = [], Fraction(0)
    is_final = True
    for leg, way in zip(legs, gone, strict=True):
        sign = 1 if leg.side is Side.BUY else -1
        change = Fraction(0)
        for size, settlement in way.matches:
            is_final = is_final and settlement in (Settlement.CONFIRMED, Settlement.FAILED)
            if settlement is Settlement.FAILED:
                continue
            amount = Fraction(size, 10**6)
            price = Fraction(leg.limit_e4, 10**4)
            assert leg.fee_rate_micro is not None
            fee = _impl.fill_fee(leg.limit_e4, size, leg.fee_rate_micro, leg.fee_exponent)
            change += sign * amount
            cash -= sign * amount * price + Fraction(fee, 10**6)
        shares.append(change)
        is_final = is_final and not way.state.is_open
    values = [
        cash + sum(pay * change for pay, change in zip(row, shares, strict=True)) for row in rows
    ]
    return Truth(tuple(shares), cash, min(values), max(values), is_final)


def brute_worst_loss(
    legs: tuple[PricedLeg, ...], rows: tuple[tuple[int, ...], ...], parts: int
) -> Fraction:
    """Return the most that is lost when each leg trades any of ``parts`` equal parts of its size.

    At the limit price and without any rounding, over every outcome.
    """
    worst = Fraction(0)
    steps = [Fraction(part, parts) for part in range(parts + 1)]
    for shares in product(steps, repeat=len(legs)):
        for row in rows:
            loss = Fraction(0)
            for leg, part, pay in zip(legs, shares, row, strict=True):
                price = Fraction(leg.limit_e4, 10**4)
                amount = part * Fraction(leg.size_micro, 10**6)
                assert leg.fee_rate_micro is not None
                rate = Fraction(leg.fee_rate_micro, 10**6)
                fee = amount * rate * (price * (1 - price)) ** leg.fee_exponent
                gives = price - pay if leg.side is Side.BUY else pay - price
                loss += amount * gives + fee
            worst = max(worst, loss)
    return worst
