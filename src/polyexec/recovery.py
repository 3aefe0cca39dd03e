"""What an earlier run left open: its money is held again before anything may be sent."""

from collections.abc import Iterable

from polyexec.core.journal import Close, OpenGroup, Signed, rebuild
from polyexec.core.ledger import Ledger
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Clock, Journal
from polyexec.core.signer import OrderSigner
from polyexec.core.tracking import FeeRule, OrderTracker
from polyexec.enums import LegState
from polyexec.models import OrderId

__all__ = ["restore"]


def restore(
    groups: Iterable[OpenGroup],
    *,
    ledger: Ledger,
    tracker: OrderTracker,
    journal: Journal,
    signer: OrderSigner,
    clock: Clock,
) -> frozenset[OrderId]:
    """Hold and track every order that a journal does not know to be final.

    None of them will be sent again: the prices are those of an earlier run, and the journal can
    have lost that it was refused, or that it never left.

    Parameters
    ----------
    groups : iterable of OpenGroup
        As the journal read them when it was opened.
    signer : OrderSigner
        Of the same account, with deterministic signatures: makes the ids of orders whose SIGNED
        record did not survive.

    Returns
    -------
    frozenset of OrderId
        Orders whose fate is unknown: nothing may be sent before the exchange was asked.
    """
    unknown: set[OrderId] = set()
    for group in groups:
        unknown |= _restore_group(group, ledger, tracker, journal, signer, clock)
    return frozenset(unknown)


def _restore_group(
    group: OpenGroup,
    ledger: Ledger,
    tracker: OrderTracker,
    journal: Journal,
    signer: OrderSigner,
    clock: Clock,
) -> set[OrderId]:
    if group.signed is not None:
        ids = group.signed.order_ids
    elif group.intent.resignable:
        body, ids = rebuild(group.intent, signer)
        # Later records name orders by their ids, which this one ties to the group.
        journal.append(Signed(group=group.group, order_ids=ids, body=body))
    else:
        ids = ()  # sealed is signed: without that record nothing was sent
    open_legs = [
        (leg, order_id) for leg, order_id in zip(group.legs, ids, strict=False) if leg.is_unresolved
    ]
    if not open_legs:
        journal.append(Close(group=group.group, at_ms=clock.time_ms()))
        return set()
    unknown = set()
    tracker.open_group(group.group, len(open_legs))
    for leg, order_id in open_legs:
        tracker.book_answer(
            order_id=order_id,
            leg=leg.intent.priced,
            reservation=ledger.recover(leg.intent.asset, leg.intent.reserved_micro),
            outcome=leg.answer or LegOutcome(state=LegState.UNKNOWN),
            group=group.group,
        )
        if leg.trade is not None:
            rule = FeeRule(leg.trade.fee_rate_micro, leg.trade.fee_exponent)
            tracker.book_fills(order_id, leg.trade.fills, leg.trade.state, rule)
        if leg.state in (LegState.UNKNOWN, LegState.UNMATCHED):
            unknown.add(order_id)
    return unknown
