"""From what the evaluator found to the signal that the executor takes.

The signal's quotes stand at the limits, with the depth up to them: priced without slippage the
executor arrives at the very cost and net that the evaluator counted.
"""

from collections.abc import Callable
from typing import Any, Final

from polyexec._impl import Mould
from polyexec._pure.evaluator import Found
from polyexec.core.forms import Form, FormLeg
from polyexec.enums import Side
from polyexec.models import Leg, Quote
from polyexec.numbers import from_micro
from polyexec.signals import ArbSignal, LegsSignal, Signal

__all__ = ["Found", "SignalBuilder", "build_signal"]

_MS_NS: Final = 1_000_000
_MICRO: Final = 1_000_000
_BPS: Final = 10_000
_TOLD: Final = ("timestamp_ms", "profit_abs", "profit_bps", "gross_abs", "ages_ms")
_Maker = Callable[[Found, tuple[Any, ...]], Any]
"""Takes a find and the values of ``_TOLD``."""


class SignalBuilder:
    """Makes signals, and keeps of each form what does not change from one to the next."""

    __slots__ = ("_makers",)

    def __init__(self) -> None:
        self._makers: dict[int, tuple[Form, _Maker]] = {}

    def build(self, found: Found, now_ms: int) -> Signal:
        """Return the signal of a find.

        An ``ArbSignal`` for a form with a strategy, else a ``LegsSignal``. Its time is that of its
        oldest quote, as the exchange stamped it, but not after ``now_ms`` (unix milliseconds).

        Raises
        ------
        InputError
            The form's markets make no quotes or legs: a field of one is out of range.
        """
        kept = self._makers.get(found.number)
        # A number is given to another form when its form has left.
        if kept is None or kept[0] is not found.form:
            form = found.form
            kept = form, _legs_maker(form) if form.strategy is None else _arb_maker(form)
            self._makers[found.number] = kept
        told = (
            min(now_ms, *found.times_ms),
            from_micro(found.net_per_set_micro),
            from_micro(found.net_micro * _BPS * _MICRO // found.cost_micro),
            from_micro(found.gross_per_set_micro),
            tuple([age // _MS_NS for age in found.ages_ns]),
        )
        signal: Signal = kept[1](found, told)
        return signal

    def forget(self, number: int) -> None:
        """Let go of a form that left the evaluator."""
        self._makers.pop(number, None)


def build_signal(found: Found, now_ms: int) -> Signal:
    """Return the signal of one find; see :meth:`SignalBuilder.build`."""
    return SignalBuilder().build(found, now_ms)


def _arb_maker(form: Form) -> _Maker:
    quotes = [_quote(leg) for leg in form.legs]
    of_parent, of_upper, of_child = quotes
    parent, upper, child = (
        Mould(
            quote,
            *(
                ("best_ask_e4", "best_ask_size_micro", "tick_e4")
                if leg.side is Side.BUY
                else ("best_bid_e4", "best_bid_size_micro", "tick_e4")
            ),
        ).cast
        for quote, leg in zip(quotes, form.legs, strict=True)
    )
    cast = Mould(
        ArbSignal(
            form.strategy or "",
            of_parent,
            of_upper,
            of_child,
            group_key=form.group_key,
            event_slug=form.event_slug,
            crypto=form.crypto,
        ),
        "parent",
        "parent_upper",
        "child",
        "size_micro",
        "profit_ratio",
        *_TOLD,
    ).cast

    def make(found: Found, told: tuple[Any, ...]) -> Any:
        limits, depths, ticks = found.limits_e4, found.depths_micro, found.ticks_e4
        return cast(
            parent(limits[0], depths[0], ticks[0] or None),
            upper(limits[1], depths[1], ticks[1] or None),
            child(limits[2], depths[2], ticks[2] or None),
            found.size_micro,
            (found.net_per_set_micro, _MICRO),
            *told,
        )

    return make


def _legs_maker(form: Form) -> _Maker:
    legs = [_leg(leg) for leg in form.legs]
    casts = [
        Mould(leg, "price_e4", "available_size_micro", "tick_e4", "size_micro").cast for leg in legs
    ]
    signal = LegsSignal(
        legs,
        payout=form.payout,
        group_key=form.group_key,
        event_slug=form.event_slug,
        crypto=form.crypto,
        outcomes=form.outcomes or None,
    )
    cast = Mould(signal, "legs", *_TOLD).cast

    def make(found: Found, told: tuple[Any, ...]) -> Any:
        made = [
            leg(limit, depth, tick or None, found.size_micro)
            for leg, limit, depth, tick in zip(
                casts, found.limits_e4, found.depths_micro, found.ticks_e4, strict=True
            )
        ]
        return cast(tuple(made), *told)

    return make


def _known(leg: FormLeg) -> dict[str, Any]:
    market = leg.market
    rate = market.fee_rate_micro
    return {
        "token_id": market.token_id,
        "market_slug": market.market_slug,
        "neg_risk": market.neg_risk,
        "generation": market.generation,
        "fee_rate": None if rate is None else from_micro(rate),
        "fee_exponent": market.fee_exponent,
        "min_order_size": from_micro(market.min_order_size_micro),
        "complement_token_id": leg.complement_token_id,
    }


def _quote(leg: FormLeg) -> Quote:
    return Quote(**_known(leg))


def _leg(leg: FormLeg) -> Leg:
    # Every find sets price and size; a Leg cannot be without.
    return Leg(side=leg.side, price="0.5", size=1, **_known(leg))
