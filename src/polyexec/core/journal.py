"""The journal's records, and what a replay of them leaves open.

A group is one POST and what becomes of its orders. Its life in records::

    INTENT ─ SIGNED ─ SENT ─ ANSWER ─ TRADE ... ─ RELEASE (one per leg) ─ CLOSE

INTENT holds all that the signed bytes are made of except the key; ACK is an operator's word on an
order whose fate cannot be found out. Nothing here touches a file: ``polyexec.journal`` does.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final, TypeAlias

import msgspec

from polyexec.core.candidates import PricedLeg, leg_of_row
from polyexec.core.ledger import asset_given
from polyexec.core.outcome import LegOutcome
from polyexec.core.ports import Fill
from polyexec.core.shapes import Shape
from polyexec.core.signer import OrderSigner
from polyexec.enums import LegState, Settlement, Side
from polyexec.errors import InternalError, JournalError
from polyexec.models import OrderId, TokenId

__all__ = [
    "Account",
    "Ack",
    "Answered",
    "Close",
    "Intent",
    "IntentLeg",
    "NullJournal",
    "OpenGroup",
    "OpenLeg",
    "Record",
    "Recovered",
    "Release",
    "Replay",
    "Sent",
    "Signed",
    "Spent",
    "Trade",
    "account_of",
]

_DAY_MS: Final = 86_400_000
_DAYS: Final = 2  # clocks of two runs may differ around midnight


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Whose orders a journal holds; another account's journal is refused."""

    address: str
    funder: str
    signature_type: int
    chain_id: int

    def __str__(self) -> str:
        return f"{self.address} (funder {self.funder}, chain {self.chain_id})"


def account_of(signer: OrderSigner) -> Account:
    """Return the account that a signer signs for."""
    return Account(
        address=signer.address,
        funder=signer.funder,
        signature_type=int(signer.signature_type),
        chain_id=signer.chain_id,
    )


class IntentLeg(msgspec.Struct, frozen=True, array_like=True):
    """One order before it is signed, and what is reserved for it.

    It keeps the figures as ``LegTable`` has them: it is made and written between a signal and its
    POST, and made into records only when a process starts again.
    """

    token_id: TokenId
    market_slug: str
    row: tuple[int, ...]
    """As ``LegTable.row`` returns it."""
    salt: int

    @property
    def priced(self) -> PricedLeg:
        """The leg as a record."""
        return leg_of_row(self.token_id, self.market_slug, self.row)

    @property
    def asset(self) -> TokenId:
        """What is reserved: ``ledger.COLLATERAL`` or the token that a SELL gives."""
        return asset_given(self.priced.side, self.token_id)

    @property
    def reserved_micro(self) -> int:
        """How much of it."""
        return self.priced.reserve_micro


class Intent(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=1, omit_defaults=True
):
    """We are about to send these orders. Written before they are signed."""

    group: int
    at_ms: int
    """Unix milliseconds, as in every record."""
    legs: tuple[IntentLeg, ...]
    timestamp_ms: int
    """Signed in every order of the group (V2, V3)."""
    owner: str
    """API key id, part of the body. An identifier, not a secret."""
    builder: str
    resignable: bool = True
    """Signatures are deterministic: these fields and the key give the same bytes again. With
    prepared nonces they do not, and the SIGNED record has to be as durable as this one."""
    shape: Shape | None = None
    """How the legs hang together; None: nothing will be done about half of them."""

    def check(self) -> None:
        """Refuse figures that are those of no leg.

        Raises
        ------
        InternalError
            A leg makes no sense.
        """
        for index, leg in enumerate(self.legs):
            try:
                _ = leg.priced
            except (LookupError, ValueError) as error:
                raise InternalError(f"group {self.group}: leg {index} makes no sense") from error


class Signed(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=2):
    """The orders are signed; the body of the POST, byte for byte."""

    group: int
    order_ids: tuple[OrderId, ...]
    body: bytes

    def __repr__(self) -> str:
        return f"Signed(group={self.group}, {len(self.order_ids)} orders, {len(self.body)} bytes)"


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=3):
    """The bytes are with the kernel."""

    group: int
    at_ms: int


class Answered(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=4):
    """What the outcome of the POST says of every leg, in order."""

    group: int
    at_ms: int
    legs: tuple[LegOutcome, ...]

    def shortened(self) -> "Answered":
        """Return it with error texts of at most 500 characters: an answer can be megabytes."""
        replace = msgspec.structs.replace
        legs = tuple(replace(leg, error=leg.error[:500]) for leg in self.legs)
        return replace(self, legs=legs)


class Trade(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=5):
    """What was booked for an order: all of its fills, and its state of now.

    The fields are the arguments of ``OrderTracker.book_fills``. A later one replaces this one.
    """

    order_id: OrderId
    at_ms: int
    state: LegState
    fills: tuple[Fill, ...]
    fee_rate_micro: int
    fee_exponent: int


class Release(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=6):
    """The reservation of an order ended: spent + released = reserved."""

    order_id: OrderId
    at_ms: int
    spent_micro: int
    released_micro: int


class Ack(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=7):
    """An operator takes responsibility for an order whose fate is unknown."""

    order_id: OrderId
    at_ms: int
    note: str


class Close(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=8):
    """Nobody needs this group any more; a compaction drops it.

    Straight after SIGNED it says that the group was held back before its POST: it cost nothing.
    """

    group: int
    at_ms: int


class Spent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=9):
    """What the closed groups of a day cost; a compaction writes it in their place."""

    day: int
    """UTC day of the intents, in days since 1970."""
    cost_micro: int
    """Micro-dollars."""


Record: TypeAlias = Intent | Signed | Sent | Answered | Trade | Release | Ack | Close | Spent
_OfOrder: TypeAlias = Trade | Release | Ack


class OpenLeg(msgspec.Struct, frozen=True, kw_only=True):
    """The last that the journal knows of an order."""

    intent: IntentLeg
    order_id: OrderId | None
    """None when no SIGNED record was found; :func:`rebuild` gives it."""
    answer: LegOutcome | None = None
    trade: Trade | None = None
    release: Release | None = None
    ack: Ack | None = None

    @property
    def state(self) -> LegState:
        """State by the newest evidence; UNKNOWN without any, because the POST may have left."""
        if self.trade is not None:
            return self.trade.state
        return LegState.UNKNOWN if self.answer is None else self.answer.state

    @property
    def is_unresolved(self) -> bool:
        """The exchange has to be asked before its money is free."""
        return self.release is None and self.ack is None and self.state.is_open

    @property
    def is_final(self) -> bool:
        """Nothing of it is left to follow: it has ended, and what it traded has settled."""
        if self.ack is not None:
            return True
        if self.release is not None and not self.release.spent_micro:
            return True
        if self.state.is_open:
            return False  # what was spent has traded, even if the news of that was not kept
        if self.trade is not None:
            return all(Settlement.read(fill.status).is_final for fill in self.trade.fills)
        return self.answer is None or not self.answer.filled_micro


class OpenGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A group without a CLOSE."""

    intent: Intent
    signed: Signed | None
    sent_ms: int | None
    answered_ms: int | None
    legs: tuple[OpenLeg, ...]

    @property
    def group(self) -> int:
        """Its number."""
        return self.intent.group

    @property
    def cost_micro(self) -> int:
        """Collateral that it took: what was spent where that is known, else what was reserved."""
        ids = self.signed.order_ids if self.signed is not None else ()
        ends: dict[OrderId | None, Release] = {
            leg.order_id: leg.release for leg in self.legs if leg.release is not None
        }
        return _cost(self.intent, ids, ends)


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal held when it was opened."""

    groups: tuple[OpenGroup, ...] = ()
    """Open groups, oldest first."""
    next_group: int = 1
    records: int = 0
    truncated_bytes: int = 0
    """Above 0: the last write was torn and has been cut off. It was never acknowledged."""
    warning: str = ""
    """For people: what was cut off, and where."""
    spent: tuple[Spent, ...] = ()
    """Cost of the closed groups, by day; of the newest days only."""


class Replay:
    """Open groups, built from records in the order in which they were written."""

    def __init__(self, next_group: int = 1) -> None:
        self.next_group = next_group
        self._groups: dict[int, _Known] = {}
        self._by_order: dict[OrderId, _Known] = {}
        self._spent: dict[int, int] = {}

    def add(self, record: Record) -> bool:
        """Take a record in; return False for one of a closed group, which nothing would read.

        Raises
        ------
        InternalError
            It contradicts what is known; nothing changed.
        """
        return _ADD[type(record)](self, record)

    def records(self) -> Iterable[Record]:
        """Return what a compaction keeps: the days' costs, and the open groups, oldest first."""
        yield from self.spent()
        for group in sorted(self._groups):
            yield from self._groups[group].records

    def groups(self) -> tuple[OpenGroup, ...]:
        """Return the open groups, oldest first."""
        return tuple(_summary(self._groups[group]) for group in sorted(self._groups))

    def spent(self) -> tuple[Spent, ...]:
        """Return the cost of the closed groups of the newest days."""
        return tuple(Spent(day=day, cost_micro=self._spent[day]) for day in sorted(self._spent))

    def _add_intent(self, record: Intent) -> bool:
        group = record.group
        if group in self._groups or group < 1 or not record.legs:
            raise InternalError(f"group {group} is open already, or has no leg")
        self._groups[group] = _Known(record)
        if group >= self.next_group:
            self.next_group = group + 1
        return True

    def _add_signed(self, record: Signed) -> bool:
        known = self._groups.get(record.group)
        if known is None:
            return False
        ids, by_order = record.order_ids, self._by_order
        legs = len(known.intent.legs)
        if not len(ids) == len(set(ids)) == legs:
            raise InternalError(f"group {record.group}: {len(set(ids))} order ids for {legs} legs")
        if known.order_ids and known.order_ids != ids:
            raise InternalError(f"group {record.group}: signed again with other order ids")
        if not known.order_ids and not by_order.keys().isdisjoint(ids):
            raise InternalError(f"group {record.group}: an order id belongs to another group")
        for order_id in ids:
            by_order[order_id] = known
        known.order_ids = ids
        known.records.append(record)
        return True

    def _add_sent(self, record: Sent) -> bool:
        known = self._groups.get(record.group)
        return known is not None and known.append(record)

    def _add_answered(self, record: Answered) -> bool:
        known = self._groups.get(record.group)
        if known is None:
            return False
        answers, legs = len(record.legs), len(known.intent.legs)
        if answers != legs:
            raise InternalError(f"group {record.group}: {answers} answers for {legs} legs")
        return known.append(record)

    def _add_trade(self, record: Trade) -> bool:
        known = self._by_order.get(record.order_id)
        if known is None:
            return False
        known.drop(Trade, record.order_id)
        return known.append(record)

    def _add_release(self, record: Release) -> bool:
        known = self._by_order.get(record.order_id)
        if known is None:
            return False
        reserved = known.intent.legs[known.order_ids.index(record.order_id)].reserved_micro
        spent, released = record.spent_micro, record.released_micro
        if spent < 0 or released < 0 or spent + released != reserved:
            raise InternalError(
                f"order {record.order_id}: spent {spent} + released {released} is not the "
                f"reserved {reserved}"
            )
        if known.has(Release, record.order_id):
            raise InternalError(f"order {record.order_id}: its reservation has ended already")
        return known.append(record)

    def _add_ack(self, record: Ack) -> bool:
        known = self._by_order.get(record.order_id)
        return known is not None and known.append(record)

    def _add_close(self, record: Close) -> bool:
        known = self._groups.pop(record.group, None)
        if known is None:
            return False
        for order_id in known.order_ids:
            del self._by_order[order_id]
        if known.is_withdrawn:
            return True
        ends: dict[OrderId | None, Release] = {
            end.order_id: end for end in known.records if type(end) is Release
        }
        cost = _cost(known.intent, known.order_ids, ends)
        if cost:
            self._spend(known.intent.at_ms // _DAY_MS, cost)
        return True

    def _add_spent(self, record: Spent) -> bool:
        if record.cost_micro < 0:
            raise InternalError(f"day {record.day}: negative cost {record.cost_micro}")
        self._spend(record.day, record.cost_micro)
        return True

    def _spend(self, day: int, cost_micro: int) -> None:
        self._spent[day] = self._spent.get(day, 0) + cost_micro
        while len(self._spent) > _DAYS:
            del self._spent[min(self._spent)]


class _Known:
    """An open group: its intent, the ids of its orders once they are known, and its records."""

    __slots__ = ("intent", "order_ids", "records")

    def __init__(self, intent: Intent) -> None:
        self.intent = intent
        self.order_ids: tuple[OrderId, ...] = ()
        self.records: list[Record] = [intent]

    def append(self, record: Record) -> bool:
        self.records.append(record)
        return True

    @property
    def is_withdrawn(self) -> bool:
        """Nothing came after its signatures: it was held back before its POST."""
        return all(type(kept) in (Intent, Signed) for kept in self.records)

    def has(self, kind: type[_OfOrder], order_id: OrderId) -> bool:
        return any(isinstance(kept, kind) and kept.order_id == order_id for kept in self.records)

    def drop(self, kind: type[_OfOrder], order_id: OrderId) -> None:
        self.records = [
            kept
            for kept in self.records
            if not (isinstance(kept, kind) and kept.order_id == order_id)
        ]


# isinstance asks the metaclass of a Struct, at a microsecond for a record of the hot path.
_ADD: Final[dict[type, Callable[[Replay, Any], bool]]] = {
    Intent: Replay._add_intent,
    Signed: Replay._add_signed,
    Sent: Replay._add_sent,
    Answered: Replay._add_answered,
    Trade: Replay._add_trade,
    Release: Replay._add_release,
    Ack: Replay._add_ack,
    Close: Replay._add_close,
    Spent: Replay._add_spent,
}


class NullJournal:
    """The journal of mode ``off``: numbers groups and keeps nothing."""

    def __init__(self) -> None:
        self._groups = count(1)

    @property
    def recovered(self) -> Recovered:
        """Nothing."""
        return Recovered()

    @property
    def failure(self) -> JournalError | None:
        """Never anything."""
        return None

    def new_group(self) -> int:
        """Return a number that no group of this journal has."""
        return next(self._groups)

    def begin(self, intent: Intent) -> None:
        """Keep nothing."""

    def seal(self, group: int, body: bytes, order_ids: Sequence[OrderId]) -> None:
        """Keep nothing."""

    def append(self, record: Record) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Do nothing."""


def _cost(
    intent: Intent, order_ids: Sequence[OrderId], ends: Mapping[OrderId | None, Release]
) -> int:
    """Return the collateral that a group took: nothing of what was never signed."""
    cost = 0
    for leg, order_id in zip(intent.legs, order_ids, strict=False):
        if leg.row[0] == Side.BUY.code:
            end = ends.get(order_id)
            cost += leg.reserved_micro if end is None else end.spent_micro
    return cost


def _summary(known: _Known) -> OpenGroup:
    signed: Signed | None = None
    sent_ms: int | None = None
    answered: Answered | None = None
    trades: dict[OrderId, Trade] = {}
    releases: dict[OrderId, Release] = {}
    acks: dict[OrderId, Ack] = {}
    for record in known.records:
        match record:
            case Signed():
                signed = record
            case Sent():
                sent_ms = record.at_ms
            case Answered():
                answered = record
            case Trade():
                trades[record.order_id] = record
            case Release():
                releases[record.order_id] = record
            case Ack():
                acks[record.order_id] = record
    legs = []
    ids = known.order_ids or (None,) * len(known.intent.legs)
    for index, (leg, order_id) in enumerate(zip(known.intent.legs, ids, strict=True)):
        key = order_id or OrderId("")
        legs.append(
            OpenLeg(
                intent=leg,
                order_id=order_id,
                answer=answered.legs[index] if answered else None,
                trade=trades.get(key),
                release=releases.get(key),
                ack=acks.get(key),
            )
        )
    return OpenGroup(
        intent=known.intent,
        signed=signed,
        sent_ms=sent_ms,
        answered_ms=answered.at_ms if answered else None,
        legs=tuple(legs),
    )
