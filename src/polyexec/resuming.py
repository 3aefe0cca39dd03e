"""Groups of an earlier run, put together again from its journal, so that their policy goes on."""

import logging
from collections.abc import Iterable
from typing import cast

import msgspec

from polyexec.core.groups import LegGroup, Purpose
from polyexec.core.journal import OpenGroup, OpenLeg
from polyexec.core.shapes import Shape, signal_of
from polyexec.enums import LegState
from polyexec.errors import InputError, UsageError
from polyexec.models import OrderId
from polyexec.policies import GroupPolicy
from polyexec.results import LegResult, TradeResult

__all__ = ["ResumedGroup", "resume_groups"]

_log = logging.getLogger("polyexec.executor")
_NOT_KNOWN = frozenset({LegState.UNKNOWN, LegState.UNMATCHED})


class ResumedGroup(msgspec.Struct, kw_only=True):
    """A group with all that its journal knows of it."""

    group: LegGroup
    result: TradeResult
    numbers: list[int]
    """Of the group and of its follow-ups, in the journal."""
    order_ids: list[OrderId]
    follow_ups: list[LegResult]


def resume_groups(
    groups: Iterable[OpenGroup], policy: GroupPolicy
) -> tuple[list[ResumedGroup], list[int]]:
    """Return the groups that can be gone on with, and the numbers of those that cannot.

    Parameters
    ----------
    groups : iterable of OpenGroup
        Roots before their follow-ups, with the ids of their orders.
    policy : GroupPolicy
        Of this run: it is the owner's present word. Attempts of the earlier run are used up.
    """
    resumed: dict[int, ResumedGroup] = {}
    lost: list[int] = []
    for found in groups:
        shape = found.intent.shape
        try:
            if shape is None:
                raise InputError("shape", shape, "is not in the journal")
            if shape.follow_up is None:
                resumed[found.group] = _root(found, shape, policy)
            else:
                root = resumed.get(shape.follow_up.root)
                if root is None:
                    raise InputError("root", shape.follow_up.root, "is not gone on with")
                _add_follow_up(root, found, shape)
        except (InputError, UsageError, LookupError, ValueError) as error:
            # Its orders are followed all the same; nothing is sent for them.
            _log.warning(
                "group_not_resumed", extra={"group": found.group, "error": str(error)[:200]}
            )
            lost.append(found.group)
    return list(resumed.values()), lost


def _root(found: OpenGroup, shape: Shape, policy: GroupPolicy) -> ResumedGroup:
    legs = [leg.intent.priced for leg in found.legs]
    ids = _ids(found)
    at_ms = found.intent.at_ms
    signal = signal_of(shape, legs, at_ms)
    group = LegGroup(signal, legs, ids, policy, started_ms=at_ms)
    _tell(group, found)
    results = tuple(map(_result, found.legs))
    result = TradeResult(
        signal=signal,
        legs=results,
        detail="of an earlier run",
        cost_micro=found.cost_micro,
        finished_ms=found.answered_ms or at_ms,
    )
    return ResumedGroup(
        group=group, result=result, numbers=[found.group], order_ids=ids, follow_ups=[]
    )


def _add_follow_up(root: ResumedGroup, found: OpenGroup, shape: Shape) -> None:
    follow_up = shape.follow_up
    if follow_up is None:
        return
    ids = _ids(found)
    root.group.resume(
        cast("Purpose", follow_up.purpose),
        follow_up.places,
        [leg.intent.priced for leg in found.legs],
        ids,
        sent_ms=found.intent.at_ms,
    )
    _tell(root.group, found)
    root.numbers.append(found.group)
    root.order_ids += ids
    root.follow_ups += map(_result, found.legs)


def _ids(found: OpenGroup) -> list[OrderId]:
    ids = [leg.order_id for leg in found.legs if leg.order_id is not None]
    if len(ids) != len(found.legs):
        raise InputError("order_ids", ids, "are not all known")
    return ids


def _tell(group: LegGroup, found: OpenGroup) -> None:
    """Hand a group the evidence that its journal holds."""
    for leg in found.legs:
        order_id = leg.order_id or OrderId("")
        answer = leg.answer
        if answer is not None:
            known = answer.state not in _NOT_KNOWN
            group.on_order(
                order_id,
                answer.state,
                answer.filled_micro if known else None,
                answer.paid_micro if known else None,
            )
        if leg.trade is not None:
            for fill in leg.trade.fills:
                group.on_fill(fill)
            traded = sum(fill.size_micro for fill in leg.trade.fills)
            group.on_order(order_id, leg.trade.state, traded)
        if _is_absent(leg):
            group.on_order(order_id, LegState.NOT_SENT, 0, 0)


def _is_absent(leg: OpenLeg) -> bool:
    """Return whether an order whose fate was unknown was found, or said, not to exist."""
    ended = leg.ack is not None or (leg.release is not None and not leg.release.spent_micro)
    return ended and leg.state.is_open and not (leg.answer and leg.answer.filled_micro)


def _result(leg: OpenLeg) -> LegResult:
    priced, answer = leg.intent.priced, leg.answer
    fills = leg.trade.fills if leg.trade is not None else ()
    state = LegState.NOT_SENT if _is_absent(leg) else leg.state
    filled = sum(fill.size_micro for fill in fills)
    return LegResult(
        state=state,
        order_id=leg.order_id or OrderId(""),
        token_id=priced.token_id,
        market_slug=priced.market_slug,
        side=priced.side,
        order_type=priced.order_type,
        neg_risk=priced.neg_risk,
        price_e4=priced.limit_e4,
        size_micro=priced.size_micro,
        filled_micro=max(filled, answer.filled_micro if answer is not None else 0),
        paid_micro=answer.paid_micro if answer is not None else 0,
        code=answer.code if answer is not None else None,
        error=answer.error if answer is not None else "",
        trade_ids=answer.trade_ids if answer is not None else (),
    )
