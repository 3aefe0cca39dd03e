"""What happened to each leg: answer or fault -> state. Pure; the rules are the exchange's.

The rules follow the REST notes, sections 2, 3 and 6. Where the text of an answer leaves doubt the
leg is UNKNOWN: its money stays held until the exchange is asked for its order id.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from polyexec.core.answers import OrderAnswer, parse_error, parse_order_answers
from polyexec.core.ports import Answer, NoAnswer, Outcome
from polyexec.core.refusals import refusal_code
from polyexec.enums import LegState, OrderType, RejectCode, SentState, Side
from polyexec.errors import VenueModeError
from polyexec.models import OrderId

__all__ = ["LegOutcome", "SentLeg", "classify"]

# "Duplicated" proves that a first copy was seen, "delayed" that the order was taken: neither says
# what became of it.
_NOT_A_REFUSAL: Final = ("duplicated", "order match delayed")

_DEFINITE_STATUSES: Final = frozenset({400, 401, 403, 404, 405, 425, 429})


class SentLeg(msgspec.Struct, frozen=True, kw_only=True):
    """What classification needs to know of a leg."""

    order_id: OrderId
    side: Side
    order_type: OrderType
    maker_micro: int
    taker_micro: int


class LegOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """State of a leg, and what the answer says has traded."""

    state: LegState
    code: RejectCode | None = None
    """Why it was refused; only with ``REJECTED``."""
    error: str = ""
    filled_micro: int = 0
    """Shares."""
    paid_micro: int = 0
    """Collateral that changed hands for them, without fee."""
    trade_ids: tuple[str, ...] = ()


def classify(legs: Sequence[SentLeg], outcome: Outcome) -> tuple[LegOutcome, ...]:
    """Return the outcome of every leg of one POST, in order."""
    if isinstance(outcome, NoAnswer):
        sent = outcome.error.sent is not SentState.NO
        state = LegState.UNKNOWN if sent else LegState.NOT_SENT
        return (LegOutcome(state=state, error=str(outcome.error)),) * len(legs)
    if outcome.status != 200:
        return (_classify_refused_batch(outcome),) * len(legs)
    answers = parse_order_answers(outcome.body)
    if answers is None:
        unread = LegOutcome(state=LegState.UNKNOWN, error="HTTP 200 with an unreadable body")
        return (unread,) * len(legs)
    return tuple(
        LegOutcome(
            state=LegState.UNKNOWN,
            error=f"no answer for this order among {len(answers)} for {len(legs)} orders",
        )
        if answer is None
        else _classify_leg(leg, answer)
        for leg, answer in zip(legs, _match(legs, answers), strict=True)
    )


def _classify_refused_batch(answer: Answer) -> LegOutcome:
    error = parse_error(answer.status, answer.body, answer.headers)
    lowered = error.message.lower()
    if any(mark in lowered for mark in _NOT_A_REFUSAL):
        state = LegState.UNKNOWN
    elif (
        answer.status in _DEFINITE_STATUSES
        or isinstance(error, VenueModeError)
        or (answer.status == 500 and "order timed out" in lowered)
    ):
        state = LegState.REJECTED
    else:
        state = LegState.UNKNOWN
    if state is LegState.UNKNOWN:
        return LegOutcome(state=state, error=error.message)
    return _rejected(error.message, answer.status)


def _rejected(error: str, status: int = 200) -> LegOutcome:
    return LegOutcome(state=LegState.REJECTED, code=refusal_code(error, status), error=error)


def _match(legs: Sequence[SentLeg], answers: Sequence[OrderAnswer]) -> list[OrderAnswer | None]:
    """Pair answers with legs: by order id where there is one, by place where that is sound.

    Answers come in request order, so an answer without an id may be taken by place, but only when
    the counts agree and no id contradicts the places.
    """
    by_id: dict[str, OrderAnswer | None] = {}
    for answer in answers:
        key = answer.order_id.lower()
        by_id[key] = None if key in by_id else answer  # twice: which one is true is not known
    ordered = len(answers) == len(legs) and all(
        not answer.order_id or answer.order_id.lower() == leg.order_id
        for leg, answer in zip(legs, answers, strict=True)
    )
    if ordered:
        return list(answers)
    return [by_id.get(leg.order_id) for leg in legs]


def _classify_leg(leg: SentLeg, answer: OrderAnswer) -> LegOutcome:
    error = answer.error
    if error:
        has_no_id = not answer.order_id and "orderID" not in answer.malformed
        refused = has_no_id and not any(mark in error.lower() for mark in _NOT_A_REFUSAL)
        return _rejected(error) if refused else LegOutcome(state=LegState.UNKNOWN, error=error)
    if not answer.success or not answer.order_id or answer.malformed:
        return LegOutcome(
            state=LegState.UNKNOWN, error=f"unclear answer, status {answer.status or 'missing'!r}"
        )
    status = answer.status.lower()
    if status == "live":
        return LegOutcome(state=LegState.LIVE)
    if status == "delayed":
        return LegOutcome(state=LegState.DELAYED)
    if status == "matched":
        return _matched(leg, answer)
    state = LegState.UNMATCHED if status == "unmatched" else LegState.UNKNOWN
    return LegOutcome(state=state, error=f"status {answer.status!r}")


def _matched(leg: SentLeg, answer: OrderAnswer) -> LegOutcome:
    """Read the amounts: the rest of a resting order rests on, that of an immediate one dies."""
    given, got = answer.making_micro, answer.taking_micro
    filled, paid = (got, given) if leg.side is Side.BUY else (given, got)
    if leg.order_type.is_immediate:
        complete = True
    elif leg.side is Side.BUY:
        complete = got >= leg.taker_micro
    else:
        complete = given >= leg.maker_micro
    if filled == 0 or paid == 0 or given > leg.maker_micro:
        return LegOutcome(
            state=LegState.UNKNOWN,
            error=f"matched, but with amounts {given} and {got} micro-units",
            trade_ids=answer.trade_ids,
        )
    return LegOutcome(
        state=LegState.MATCHED if complete else LegState.PARTIAL,
        filled_micro=filled,
        paid_micro=paid,
        trade_ids=answer.trade_ids,
    )
