"""What an earlier run left open: its money is held again before anything may be sent."""

from typing import Final

import msgspec

from polyexec.core.journal import Close, OpenGroup, OpenLeg, Recovered, Signed, rebuild
from polyexec.core.ledger import COLLATERAL, Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Clock, Journal
from polyexec.core.risk import RiskGuard, Ticket
from polyexec.core.signer import OrderSigner
from polyexec.core.tracking import FeeRule, OrderTracker
from polyexec.enums import LegState
from polyexec.models import OrderId

__all__ = ["Restored", "restore"]

_DAY_MS: Final = 86_400_000


class Restored(msgspec.Struct, frozen=True):
    """What was found."""

    unknown: frozenset[OrderId]
    """Orders whose fate is not known: nothing may be sent before the exchange was asked."""
    tickets: dict[OrderId, Ticket]
    """What the limits count, for each order that is followed again."""


def restore(
    recovered: Recovered,
    *,
    ledger: Ledger,
    tracker: OrderTracker,
    journal: Journal,
    risk: RiskGuard,
    signer: OrderSigner,
    clock: Clock,
) -> Restored:
    """Hold and track every order that a journal does not know to be final.

    None of them will be sent again: the prices are those of an earlier run, and the journal can
    have lost that it was refused, or that it never left.

    Parameters
    ----------
    recovered : Recovered
        What the journal read when it was opened.
    signer : OrderSigner
        Of the same account, with deterministic signatures: makes the ids of orders whose SIGNED
        record did not survive.
    """
    for day in recovered.spent:
        risk.restore_spent(day.day, day.cost_micro)
    unknown: set[OrderId] = set()
    tickets: dict[OrderId, Ticket] = {}
    for group in recovered.groups:
        ids = _signed_ids(group, journal, signer)
        legs = [
            (leg, order_id)
            for leg, order_id in zip(group.legs, ids, strict=False)
            if not leg.is_final
        ]
        if not legs:
            risk.restore_spent(group.intent.at_ms // _DAY_MS, group.cost_micro)
            journal.append(Close(group=group.group, at_ms=clock.time_ms()))
            continue
        tracker.open_group(group.group, len(legs))
        for leg, order_id in legs:
            _restore_leg(leg, order_id, group.group, ledger, tracker)
        lost = {order_id for leg, order_id in legs if _is_unknown(leg)}
        ticket = risk.restore(_cost(group), group.intent.at_ms, is_unknown=bool(lost))
        risk.commit(ticket)
        unknown |= lost
        tickets.update((order_id, ticket) for _, order_id in legs)
    return Restored(frozenset(unknown), tickets)


def _signed_ids(group: OpenGroup, journal: Journal, signer: OrderSigner) -> tuple[OrderId, ...]:
    if group.signed is not None:
        return group.signed.order_ids
    if not group.intent.resignable:
        return ()  # sealed is signed: without that record nothing was sent
    body, ids = rebuild(group.intent, signer)
    # Later records name orders by their ids, which this one ties to the group.
    journal.append(Signed(group=group.group, order_ids=ids, body=body))
    return ids


def _restore_leg(
    leg: OpenLeg, order_id: OrderId, group: int, ledger: Ledger, tracker: OrderTracker
) -> None:
    bound = leg.intent.reserved_micro if leg.release is None else leg.release.spent_micro
    tracker.book_answer(
        order_id=order_id,
        leg=leg.intent.priced,
        reservation=ledger.recover(leg.intent.asset, bound),
        outcome=leg.answer or LegOutcome(state=LegState.UNKNOWN),
        group=group,
        has_ended=leg.release is not None,
    )
    if leg.trade is not None:
        rule = FeeRule(leg.trade.fee_rate_micro, leg.trade.fee_exponent)
        tracker.book_fills(order_id, leg.trade.fills, leg.trade.state, rule)


def _is_unknown(leg: OpenLeg) -> bool:
    return leg.is_unresolved and leg.state in (LegState.UNKNOWN, LegState.UNMATCHED)


def _cost(group: OpenGroup) -> int:
    return sum(leg.intent.reserved_micro for leg in group.legs if leg.intent.asset == COLLATERAL)
