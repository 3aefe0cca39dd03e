"""Journal -> rows: what was sent, also when nobody could tell the store of it.

The journal does not hold signals, so rows that come from it alone have none. It holds every open
group, and closed ones until it is compacted (some 4,000 groups).
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from polyexec.core.journal import (
    Ack,
    Answered,
    Close,
    Intent,
    Record,
    Release,
    Sent,
    Signed,
    Trade,
)
from polyexec.core.outcome import LegOutcome
from polyexec.core.profit import cost_of
from polyexec.core.tracking import FeeRule, OrderUpdate, total_fee_bound
from polyexec.enums import LegState, Settlement, Side
from polyexec.journal.database.breath import breathe
from polyexec.journal.database.rows import (
    FROM_JOURNAL,
    UNANSWERED,
    gathered,
    rows_of_order,
    rows_of_result,
)
from polyexec.journal.database.schema import Rows
from polyexec.journal.frames import DamageError, read_preamble, read_records
from polyexec.models import OrderId
from polyexec.numbers import PRICE_SCALE
from polyexec.results import Latency, LegResult, TradeResult
from polyexec.signals import ArbSignal

__all__ = ["journal_rows"]

_log = logging.getLogger("polyexec.store")
_decode = msgspec.msgpack.Decoder(Record).decode
_NOT_KEPT: Final = ArbSignal("")
_RECORDS_AT_ONCE: Final = 32
_NO_ANSWER: Final = LegOutcome(state=LegState.UNKNOWN, error="no answer in the journal")


class _Group:
    """What the journal says of one group."""

    __slots__ = ("acks", "answered", "has_ended", "intent", "sent_ms", "signed", "trades")

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.signed: Signed | None = None
        self.sent_ms = 0
        self.answered: Answered | None = None
        self.trades: dict[OrderId, Trade] = {}
        self.acks: dict[OrderId, Ack] = {}
        self.has_ended = False

    @property
    def is_withdrawn(self) -> bool:
        """Nothing is said of its POST: a group that was closed like that was held back."""
        is_sent = self.sent_ms or self.answered or self.trades
        return not (is_sent or self.acks or self.has_ended)


def journal_rows(path: Path, account: str) -> Iterator[Rows]:
    """Yield the rows of every group of a journal file, open or closed.

    The file may be in use: a record that is being written ends it.
    """
    try:
        data = path.read_bytes()
        groups = _read(data)
    except FileNotFoundError:
        return
    except (OSError, DamageError) as error:
        _log.warning("store_journal_unread", extra={"file": str(path), "error": str(error)})
        return
    for group in groups.values():
        if group.signed is not None:
            yield _rows(group, group.signed, account)


def _read(data: bytes) -> dict[int, _Group]:
    groups: dict[int, _Group] = {}
    of_order: dict[OrderId, _Group] = {}
    _, place = read_preamble(data)
    try:
        for number, (payload, _) in enumerate(read_records(data, place)):
            _add(_decode(payload), groups, of_order)
            if not number % _RECORDS_AT_ONCE:
                breathe()
    except (DamageError, msgspec.MsgspecError) as error:
        # The journal itself refuses damage when it is opened; here it is one being written.
        _log.info("store_journal_ends_early", extra={"error": str(error)})
    return groups


def _add(record: Record, groups: dict[int, _Group], of_order: dict[OrderId, _Group]) -> None:
    match record:
        case Intent():
            groups[record.group] = _Group(record)
        case Signed() if record.group in groups:
            group = groups[record.group]
            group.signed = record
            of_order.update(dict.fromkeys(record.order_ids, group))
        case Sent() if record.group in groups:
            groups[record.group].sent_ms = record.at_ms
        case Answered() if record.group in groups:
            groups[record.group].answered = record
        case Trade() if record.order_id in of_order:
            of_order[record.order_id].trades[record.order_id] = record
        case Ack() if record.order_id in of_order:
            of_order[record.order_id].acks[record.order_id] = record
        case Release() if record.order_id in of_order:
            of_order[record.order_id].has_ended = True
        case Close() if record.group in groups and groups[record.group].is_withdrawn:
            del groups[record.group]
        case _:
            pass  # how a reservation ended is the ledger's matter


def _rows(group: _Group, signed: Signed, account: str) -> Rows:
    intent, answered = group.intent, group.answered
    priced = [leg.priced for leg in intent.legs]
    outcomes = answered.legs if answered is not None else (_NO_ANSWER,) * len(priced)
    legs = tuple(
        LegResult(
            state=outcome.state,
            order_id=order_id,
            token_id=leg.token_id,
            market_slug=leg.market_slug,
            side=leg.side,
            order_type=leg.order_type,
            neg_risk=leg.neg_risk,
            price_e4=leg.limit_e4,
            size_micro=leg.size_micro,
            filled_micro=outcome.filled_micro,
            paid_micro=outcome.paid_micro,
            fee_micro=total_fee_bound(leg, outcome.filled_micro, outcome.paid_micro)
            if outcome.filled_micro
            else 0,
            code=outcome.code,
            error=outcome.error,
            trade_ids=outcome.trade_ids,
        )
        for leg, outcome, order_id in zip(priced, outcomes, signed.order_ids, strict=True)
    )
    finished_ms = answered.at_ms if answered is not None else group.sent_ms or intent.at_ms
    result = TradeResult(
        signal=_NOT_KEPT,
        legs=legs,
        cost_micro=sum(map(cost_of, priced, legs)),
        latency=Latency(total_us=1000.0 * (finished_ms - intent.at_ms)),
        finished_ms=finished_ms,
    )
    parts = [
        *rows_of_result(
            result,
            trade_id="",
            account=account,
            revision=UNANSWERED if answered is None else FROM_JOURNAL,
            now_ms=finished_ms,
        )
    ]
    for leg, order_id in zip(priced, signed.order_ids, strict=True):
        update = OrderUpdate(
            order_id=order_id,
            leg=leg,
            state=LegState.NOT_SENT,
            filled_micro=0,
            paid_micro=0,
            fee_micro=0,
            fills=(),
        )
        at_ms = group.acks[order_id].at_ms if order_id in group.acks else 0
        if order_id in group.trades:
            trade = group.trades[order_id]
            update, at_ms = _booked(update, trade), trade.at_ms
        if at_ms:
            parts += rows_of_order(update, account=account, revision=1000 * at_ms, now_ms=at_ms)
    return gathered(parts)


def _booked(update: OrderUpdate, trade: Trade) -> OrderUpdate:
    """Return what the fills of a TRADE record come to; those that failed moved nothing."""
    rule = FeeRule(trade.fee_rate_micro, trade.fee_exponent)
    kept = [f for f in trade.fills if Settlement.read(f.status) is not Settlement.FAILED]
    scaled = sum(fill.price_e4 * fill.size_micro for fill in kept)
    # A fraction is paid up by a BUY and lost by a SELL, as the ledger has it.
    paid = -(-scaled // PRICE_SCALE) if update.leg.side is Side.BUY else scaled // PRICE_SCALE
    return msgspec.structs.replace(
        update,
        state=trade.state,
        filled_micro=sum(fill.size_micro for fill in kept),
        paid_micro=paid,
        fee_micro=sum(rule.fee_micro(fill) for fill in kept if fill.is_taker),
        fills=trade.fills,
    )
