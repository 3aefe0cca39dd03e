"""From what the evaluator found to the signal that the executor takes.

The signal's quotes stand at the limits, with the depth up to them: priced without slippage the
executor arrives at the very cost and net that the evaluator counted.
"""

from typing import Final

from polyexec._pure.evaluator import Found
from polyexec.core.forms import Form, FormLeg
from polyexec.enums import Side
from polyexec.models import Leg, Quote
from polyexec.numbers import from_micro
from polyexec.signals import ArbSignal, LegsSignal, Signal

__all__ = ["SignalBuilder", "build_signal"]

_MS_NS: Final = 1_000_000
_MICRO: Final = 1_000_000
_SCALE: Final = 10_000
_ROLES: Final = ("parent", "parent_upper", "child")


class SignalBuilder:
    """Makes signals, and keeps of each form what does not change from one to the next."""

    __slots__ = ("_templates",)

    def __init__(self) -> None:
        self._templates: dict[int, tuple[Form, Signal]] = {}

    def build(self, found: Found, now_ms: int) -> Signal:
        """Return the signal of a find.

        An ``ArbSignal`` for a form with a strategy, else a ``LegsSignal``. Its time is that of its
        oldest quote, as the exchange stamped it, but not after ``now_ms`` (unix milliseconds).
        """
        kept = self._templates.get(found.number)
        # A number is given to another form when its form has left.
        if kept is None or kept[0] is not found.form:
            kept = found.form, _template(found.form)
            self._templates[found.number] = kept
        return _filled(kept[1], found, now_ms)

    def forget(self, number: int) -> None:
        """Let go of a form that left the evaluator."""
        self._templates.pop(number, None)


def build_signal(found: Found, now_ms: int) -> Signal:
    """Return the signal of one find; see :meth:`SignalBuilder.build`."""
    return SignalBuilder().build(found, now_ms)


def _template(form: Form) -> Signal:
    """Return the form's signal with everything but prices, sizes, profit and times."""
    if form.strategy is not None:
        parent, upper, child = map(_quote, form.legs)
        return ArbSignal(
            form.strategy,
            parent,
            upper,
            child,
            group_key=form.group_key,
            event_slug=form.event_slug,
            crypto=form.crypto,
        )
    return LegsSignal(
        tuple(map(_leg, form.legs)),
        payout=form.payout,
        group_key=form.group_key,
        event_slug=form.event_slug,
        crypto=form.crypto,
        outcomes=form.outcomes or None,
    )


def _quote(leg: FormLeg) -> Quote:
    market = leg.market
    return Quote(
        market.token_id,
        market.market_slug,
        neg_risk=market.neg_risk,
        generation=market.generation,
        fee_rate=None if market.fee_rate_micro is None else from_micro(market.fee_rate_micro),
        fee_exponent=market.fee_exponent,
        min_order_size=from_micro(market.min_order_size_micro),
        complement_token_id=leg.complement_token_id,
    )


def _leg(leg: FormLeg) -> Leg:
    market = leg.market
    return Leg(
        market.token_id,
        leg.side,
        # Both are set by every find; a Leg has no empty ones.
        price="0.5",
        size=1,
        market_slug=market.market_slug,
        neg_risk=market.neg_risk,
        generation=market.generation,
        fee_rate=None if market.fee_rate_micro is None else from_micro(market.fee_rate_micro),
        fee_exponent=market.fee_exponent,
        min_order_size=from_micro(market.min_order_size_micro),
        complement_token_id=leg.complement_token_id,
    )


def _filled(template: Signal, found: Found, now_ms: int) -> Signal:
    timestamp_ms = min(now_ms, *found.times_ms)
    ages_ms = tuple(age // _MS_NS for age in found.ages_ns)
    net = found.net_per_set_micro
    profit_abs = from_micro(net)
    profit_bps = from_micro(found.net_micro * _SCALE * _MICRO // found.cost_micro)
    gross_abs = from_micro(found.gross_per_set_micro)
    if isinstance(template, LegsSignal):
        return template._copy(
            legs=_legs(template.legs, found),
            timestamp_ms=timestamp_ms,
            profit_abs=profit_abs,
            profit_bps=profit_bps,
            gross_abs=gross_abs,
            ages_ms=ages_ms,
        )
    parent, upper, child = _quotes(template, found)
    return template._copy(
        parent=parent,
        parent_upper=upper,
        child=child,
        profit_abs=profit_abs,
        profit_ratio=(net, _MICRO),
        profit_bps=profit_bps,
        timestamp_ms=timestamp_ms,
        size_micro=found.size_micro,
        gross_abs=gross_abs,
        ages_ms=ages_ms,
    )


def _quotes(template: ArbSignal, found: Found) -> list[Quote]:
    quotes = []
    for role, leg, limit, depth, tick in zip(
        _ROLES, found.form.legs, found.limits_e4, found.depths_micro, found.ticks_e4, strict=True
    ):
        quote: Quote = getattr(template, role)
        if leg.side is Side.BUY:
            quote = quote._copy(best_ask_e4=limit, best_ask_size_micro=depth, tick_e4=tick or None)
        else:
            quote = quote._copy(best_bid_e4=limit, best_bid_size_micro=depth, tick_e4=tick or None)
        quotes.append(quote)
    return quotes


def _legs(legs: tuple[Leg, ...], found: Found) -> tuple[Leg, ...]:
    return tuple(
        leg._copy(
            price_e4=limit,
            size_micro=found.size_micro,
            available_size_micro=depth,
            tick_e4=tick or None,
        )
        for leg, limit, depth, tick in zip(
            legs, found.limits_e4, found.depths_micro, found.ticks_e4, strict=True
        )
    )
