"""What a journal keeps of a signal, so that its group can be gone on with after a restart.

A few integers beside the legs: it is made and written between a signal and its POST, and read only
when a process starts again.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from polyexec.core.candidates import PricedLeg
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Side, Strategy
from polyexec.models import Leg, Quote
from polyexec.numbers import PRICE_SCALE, from_e4, from_micro
from polyexec.signals import ArbSignal, LegsSignal, Signal

__all__ = ["FollowUp", "Shape", "shape_of", "signal_of"]


class FollowUp(msgspec.Struct, frozen=True, array_like=True):
    """Whose follow-up a group is."""

    root: int
    """Number of the group that needed it."""
    purpose: str
    places: tuple[int, ...]
    """Which leg of that group each of its own belongs to."""


class Shape(msgspec.Struct, frozen=True, array_like=True):
    """How the legs of a group hang together."""

    strategy: str
    """Empty: the legs of a ``LegsSignal``."""
    ticks_e4: tuple[int, ...]
    """Of each leg; 0: not known."""
    group_key: str = ""
    sides: tuple[int, ...] = ()
    """Codes of the sides that a ``LegsSignal`` names; a leg may trade the complement instead."""
    payout_micro: int | None = None
    outcomes_micro: tuple[tuple[int, ...], ...] | None = None
    follow_up: FollowUp | None = None


def shape_of(
    signal: Signal, sources: Sequence[Quote | Leg], follow_up: FollowUp | None = None
) -> Shape:
    """Return the shape of a signal whose legs were made from ``sources``."""
    ticks = tuple([source.tick_e4 or 0 for source in sources])
    if isinstance(signal, ArbSignal):
        return Shape(signal.strategy, ticks, signal.group_key)
    return Shape(
        "",
        ticks,
        signal.group_key,
        tuple([leg.side.code for leg in signal.legs]),
        signal.payout_micro,
        signal.outcomes_micro,
        follow_up,
    )


def signal_of(shape: Shape, legs: Sequence[PricedLeg], at_ms: int) -> Signal:
    """Return a signal that a group of this shape can have come from, as far as it matters.

    Prices and sizes are those of the legs that were signed.

    Raises
    ------
    ValueError
        Shape and legs do not belong together.
    """
    if len(shape.ticks_e4) != len(legs):
        raise ValueError(f"{len(shape.ticks_e4)} ticks for {len(legs)} legs")
    parts = list(zip(legs, shape.ticks_e4, strict=True))
    if shape.strategy:
        rules = STRATEGIES[Strategy(shape.strategy)].legs
        quotes: dict[str, Any] = {
            rule.role: _quote(leg, tick, rule.side)
            for rule, (leg, tick) in zip(rules, parts, strict=True)
        }
        size = from_micro(legs[0].wanted_micro)
        return ArbSignal(
            shape.strategy, timestamp_ms=at_ms, group_key=shape.group_key, size=size, **quotes
        )
    sides = [Side.BUY if code == Side.BUY.code else Side.SELL for code in shape.sides]
    rows = shape.outcomes_micro
    return LegsSignal(
        [_leg(leg, tick, side) for (leg, tick), side in zip(parts, sides, strict=True)],
        payout=None if shape.payout_micro is None else from_micro(shape.payout_micro),
        timestamp_ms=at_ms,
        group_key=shape.group_key,
        outcomes=None if rows is None else [[from_micro(pay) for pay in row] for row in rows],
    )


def _common(leg: PricedLeg, tick_e4: int) -> dict[str, Any]:
    return {
        "market_slug": leg.market_slug,
        "neg_risk": leg.neg_risk,
        "tick_size": from_e4(tick_e4) if tick_e4 else None,
        "generation": leg.generation,
        "fee_rate": None if leg.fee_rate_micro is None else from_micro(leg.fee_rate_micro),
        "fee_exponent": leg.fee_exponent,
        "min_order_size": from_micro(leg.min_order_size_micro),
    }


def _price(leg: PricedLeg, side: Side) -> Any:
    """Return the leg's limit as a price of the side that the signal named."""
    return from_e4(leg.limit_e4 if leg.side is side else PRICE_SCALE - leg.limit_e4)


def _available(leg: PricedLeg) -> Any:
    return None if leg.available_micro is None else from_micro(leg.available_micro)


def _quote(leg: PricedLeg, tick_e4: int, side: Side) -> Quote:
    name = "best_ask" if side is Side.BUY else "best_bid"
    told = {name: _price(leg, side), f"{name}_size": _available(leg)}
    return Quote(leg.token_id, **told, **_common(leg, tick_e4))


def _leg(leg: PricedLeg, tick_e4: int, side: Side) -> Leg:
    return Leg(
        leg.token_id,
        side,
        _price(leg, side),
        from_micro(leg.wanted_micro),
        order_type=leg.order_type,
        expiration=leg.expiration,
        post_only=leg.post_only,
        available_size=_available(leg),
        **_common(leg, tick_e4),
    )
