"""What an earlier run left open: its money is held again before anything may be sent."""

from collections.abc import Mapping
from typing import Final

import msgspec

from polyexec.core.journal import Close, OpenGroup, OpenLeg, Recovered, Signed
from polyexec.core.ledger import Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Clock, Journal
from polyexec.core.rebuilding import rebuild
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
    groups: tuple[OpenGroup, ...] = ()
    """Groups and follow-ups that are to be gone on with, oldest first, their orders' ids filled in.
    Each is to be left with ``tracker.leave_group``."""


def restore(
    recovered: Recovered,
    *,
    ledger: Ledger,
    tracker: OrderTracker,
    journal: Journal,
    risk: RiskGuard,
    signer: OrderSigner,
    clock: Clock,
    continues: bool = False,
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
    continues : bool
        Groups whose shape is known are to be gone on with: they stay open until they are left.
    """
    for day in recovered.spent:
        risk.restore_spent(day.day, day.cost_micro)
    unknown: set[OrderId] = set()
    tickets: dict[OrderId, Ticket] = {}
    kept: dict[int, OpenGroup] = {}
    for found in recovered.groups:
        group = _with_ids(found, journal, signer)
        legs = [leg for leg in group.legs if leg.order_id is not None and not leg.is_final]
        goes_on = continues and _goes_on(group, kept)
        if goes_on:
            kept[group.group] = group
        if not legs:
            risk.restore_spent(group.intent.at_ms // _DAY_MS, group.cost_micro)
        if legs or goes_on:
            tracker.open_group(group.group, len(legs) + goes_on)
        else:
            journal.append(Close(group=group.group, at_ms=clock.time_ms()))
        if not legs:
            continue
        for leg in legs:
            _restore_leg(leg, group.group, ledger, tracker)
        lost = {leg.order_id for leg in legs if leg.order_id and _is_unknown(leg)}
        ticket = risk.restore(group.cost_micro, group.intent.at_ms, is_unknown=bool(lost))
        risk.commit(ticket)
        unknown |= lost
        tickets.update((leg.order_id, ticket) for leg in legs if leg.order_id)
    return Restored(frozenset(unknown), tickets, tuple(kept.values()))


def _goes_on(group: OpenGroup, kept: Mapping[int, OpenGroup]) -> bool:
    """Return whether a policy may still act on a group; a follow-up goes with its root."""
    shape = group.intent.shape
    if shape is None or group.signed is None:
        return False  # or nothing of it was ever sent
    return shape.follow_up is None or shape.follow_up.root in kept


def _with_ids(group: OpenGroup, journal: Journal, signer: OrderSigner) -> OpenGroup:
    if group.signed is not None or not group.intent.resignable:
        return group  # sealed is signed: without that record nothing was sent
    body, ids = rebuild(group.intent, signer)
    # Later records name orders by their ids, which this one ties to the group.
    signed = Signed(group=group.group, order_ids=ids, body=body)
    journal.append(signed)
    legs = tuple(
        msgspec.structs.replace(leg, order_id=order_id)
        for leg, order_id in zip(group.legs, ids, strict=True)
    )
    return msgspec.structs.replace(group, signed=signed, legs=legs)


def _restore_leg(leg: OpenLeg, group: int, ledger: Ledger, tracker: OrderTracker) -> None:
    order_id = leg.order_id or OrderId("")
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
