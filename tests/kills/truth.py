"""What must hold whenever a process was killed: its journal and its books against the exchange.

Nothing here asks the executor's code what is right, except for the format of the journal. The
exchange knows which orders it has, the journal says what was meant to be sent, and the process says
what it believes.
"""

import mmap
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson

import polyexec as px
from polyexec.core.journal import Intent, IntentLeg, OpenGroup, Record, Replay, Signed
from polyexec.core.ledger import COLLATERAL
from polyexec.core.orders import split_batch
from polyexec.core.rebuilding import rebuild
from polyexec.errors import InternalError
from polyexec.journal.frames import (
    DamageError,
    FileInfo,
    Place,
    read_preamble,
    read_records,
)
from polyexec.numbers import MICRO
from polyexec.paper import Order, PaperExchange
from polyexec.paper.http import Request
from polyexec.paper.matching import MatchingEngine
from tests.kills.protocol import Answered, Books, Opened, Submitting

_decode = msgspec.msgpack.Decoder(Record).decode
_NOT_KNOWN = frozenset({px.LegState.UNKNOWN, px.LegState.UNMATCHED})
_ABSENT = frozenset({px.LegState.NOT_SENT, px.LegState.REJECTED})
_ORDER_PATH = "/data/order/"


class JournalReader:
    """Reads a journal's file while another process writes it, and forgets nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._info: FileInfo | None = None
        self._place = Place(0, 0, 0)
        self.replay = Replay()
        self.legs_by_salt: dict[int, tuple[int, IntentLeg]] = {}
        self.bodies: dict[int, bytes] = {}
        self.groups: dict[str, int] = {}
        self.legs: dict[str, IntentLeg] = {}

    def read(self) -> None:
        """Take in what was written since.

        Raises
        ------
        DamageError, InternalError
            The file is damaged, or contradicts itself.
        """
        try:
            fd = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return  # no process came that far
        try:
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as data:
                info, start = read_preamble(data[:65536])
                if info != self._info:  # another file: the first, or a compaction
                    self._info, self._place = info, start
                    self.replay = Replay(info.next_group)
                for payload, place in read_records(data, self._place):  # type: ignore[arg-type]
                    self._add(_decode(payload))
                    self._place = place
        finally:
            os.close(fd)

    def _add(self, record: Record) -> None:
        if isinstance(record, Intent):
            for leg in record.legs:
                known = self.legs_by_salt.setdefault(leg.salt, (record.group, leg))
                if known[0] != record.group:
                    raise InternalError(f"groups {known[0]} and {record.group} share a salt")
        self.replay.add(record)
        if isinstance(record, Signed):
            self.bodies[record.group] = record.body
            for entry, order_id in zip(split_batch(record.body), record.order_ids, strict=True):
                named = self.legs_by_salt.get(_salt(entry))
                if named is None or named[0] != record.group:
                    raise InternalError(f"group {record.group} was signed with another salt")
                self.groups[order_id], self.legs[order_id] = named


class Truth:
    """The rules of one account at one exchange.

    Parameters
    ----------
    exchange : PaperExchange
    signer : OrderSigner
        Of the account, with signatures that repeat.
    journal : JournalReader
    may_resend : bool
        The same bytes may be posted twice by the process that made them.
    follows_up : bool
        Orders may be sent that no signal asked for.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        signer: px.OrderSigner,
        journal: JournalReader,
        violate: Callable[[str], None],
        *,
        may_resend: bool,
        follows_up: bool,
    ) -> None:
        self._exchange = exchange
        self._signer = signer
        self._account = signer.address.lower()
        self._journal = journal
        self._violate = violate
        self._may_resend = may_resend
        self._follows_up = follows_up
        self._posts: Counter[bytes] = Counter()
        self._absent: set[str] = set()
        self._traded: dict[str, int] = {}

    @property
    def orders(self) -> dict[str, Order]:
        """Every order that the exchange has from the account."""
        engine = self._exchange.engine
        return {o.order_id: o for o in engine.orders.values() if o.account == self._account}

    @property
    def _engine(self) -> MatchingEngine:
        return self._exchange.engine

    # a life -----------------------------------------------------------------------------------

    def born(self) -> None:
        """Take note that a new process is about to start."""
        self._read()
        self._first_group = self._journal.replay.next_group
        self._must_ask = {
            group.group: self._unknown(group) for group in self._journal.replay.groups()
        }
        self._asked: set[str] = set()
        self._submitted: Counter[tuple[str, ...]] = Counter()
        self._sent: Counter[tuple[str, ...]] = Counter()

    def _unknown(self, group: OpenGroup) -> set[str]:
        """Return the orders of a group that have to be asked for."""
        if group.signed is not None:
            legs = [leg for leg in group.legs if leg.is_unresolved and leg.state in _NOT_KNOWN]
            return {str(leg.order_id) for leg in legs}
        if group.intent.resignable:
            return set(rebuild(group.intent, self._signer)[1])
        return set()  # it leaves with its SIGNED record only, and cannot be made again

    def submits(self, said: Submitting) -> None:
        """Take note that a signal is submitted."""
        self._submitted[tuple(sorted(said.tokens))] += 1

    def answered(self, said: Answered) -> None:
        """Take note of what the executor says became of a submission."""
        for order_id, state, filled in said.legs:
            if state in _ABSENT:
                self._absent.add(order_id)
            elif filled:
                self._traded[order_id] = filled

    def requested(self, request: Request) -> None:
        """Look at a request before the exchange does."""
        if request.method == "POST" and request.path == "/orders":
            self._posted(request.body)
        elif request.path.startswith(_ORDER_PATH):
            self._asked.add(request.path.removeprefix(_ORDER_PATH))

    def _posted(self, body: bytes) -> None:
        """Each order is in the journal by now, of this life, and goes out as it is there."""
        self._read()
        journal = self._journal
        groups = set()
        for entry in split_batch(body):
            found = journal.legs_by_salt.get(_salt(entry))
            if found is None:
                self._violate(f"an order was sent that no INTENT names: {entry[:120]!r}")
                return
            groups.add(found[0])
        (group,) = groups if len(groups) == 1 else (0,)
        kept = journal.bodies.get(group, b"")
        if not set(split_batch(body)) <= set(split_batch(kept)):
            self._violate(f"group {group} was sent with other bytes than the journal has")
        self._posts[body] += 1
        if self._posts[body] > 1 and not (self._may_resend and body.count(b'{"order":') == 1):
            self._violate(f"group {group} was sent twice")
        if group < self._first_group:
            self._violate(f"group {group} of an earlier life was sent")
        if body == kept and self._posts[body] == 1:
            tokens = (orjson.loads(entry)["order"]["tokenId"] for entry in split_batch(body))
            self._sent[tuple(sorted(tokens))] += 1
        for earlier, unknown in self._must_ask.items():
            if unknown - self._asked:
                self._violate(f"group {group} was sent before {earlier} was asked for")

    def buried(self) -> None:
        """Check what a dead process left, before another one looks."""
        self._read()
        try:
            self._exchange.audit()
        except InternalError as error:
            self._violate(f"the exchange's own books: {error}")
        if not self._follows_up and self._sent - self._submitted:
            self._violate(f"sent more than was submitted: {self._sent - self._submitted}")
        orders, groups = self.orders, self._journal.replay.groups()
        for order_id in orders.keys() - self._journal.groups.keys():
            self._violate(f"order {order_id} is at the exchange, and in no INTENT")
        may_live = {leg.order_id for group in groups for leg in group.legs if leg.is_unresolved}
        said = {leg.order_id for g in groups for leg in g.legs if leg.state in _ABSENT}
        for order_id, order in orders.items():
            if order.status == "LIVE" and order_id not in may_live:
                self._violate(f"order {order_id} is lost: it rests, and the journal has it ended")
            if order_id in said | self._absent and (order.status == "LIVE" or order.filled_micro):
                self._violate(f"order {order_id} was said not to exist, and is {order.status}")
        for order_id, filled in self._traded.items():
            if order_id not in orders or orders[order_id].filled_micro < filled:
                self._violate(f"order {order_id} was said to have traded {filled}, and has not")

    # what a process believes ------------------------------------------------------------------

    def opened(self, said: Opened) -> None:
        """Check that all that can trade is held before the exchange was asked."""
        self._promises(said.available)
        for asset, micro in said.held.items():
            needed = self._engine.ledger.active(self._account, asset)
            if micro < needed:
                self._violate(f"held {micro} of {asset[:8]!r} at start under {needed} that rest")

    def recovered(self, books: Books) -> None:
        """Compare the books with the exchange, order by order and asset by asset."""
        self._read()
        if books.problem:
            self._violate(f"the books are not exact: {books.problem}")
        live = {o: order for o, order in self.orders.items() if order.status == "LIVE"}
        for order_id in live.keys() - books.orders.keys():
            self._violate(f"order {order_id} is lost: it rests, and the executor does not know it")
        for order_id in books.orders.keys() - live.keys():
            state = books.orders[order_id]
            self._violate(f"order {order_id} does not rest, and the executor has it as {state}")
        ledger = self._engine.ledger
        for asset, held in books.held.items():
            given = [o for o in live.values() if _asset_of(o) == asset]
            reserved = sum(self._journal.legs[o.order_id].reserved_micro for o in given)
            most = reserved - sum(map(_spent, given))
            rounded = sum(map(self._rounded_fills, given))
            least, most = most - rounded - sum(map(_fee_slack, given)), most + rounded
            if not max(least, ledger.active(self._account, asset)) <= held <= most:
                self._violate(f"held {held} of {asset[:8]!r}, open orders need {least} to {most}")
            balance = ledger.balance(self._account, asset)
            if books.balance[asset] != balance:
                self._violate(f"balance {books.balance[asset]} of {asset[:8]!r}, not {balance}")
        self._promises(books.promised)
        self._promises(books.available)

    def _rounded_fills(self, order: Order) -> int:
        """Return how many fills cost a fraction of a micro-dollar, which either side may bear."""
        trades = (self._engine.trades[trade_id] for trade_id in order.trade_ids)
        fills = (fill for trade in trades for fill in trade.makers)
        return sum(1 for fill in fills if fill.shares_micro % 10_000)

    def _promises(self, available: dict[str, int]) -> None:
        for asset, micro in available.items():
            free = self._engine.ledger.available(self._account, asset)
            if micro > max(free, 0):
                self._violate(f"promises {micro} of {asset[:8]!r} where {free} are free")

    def cancelled(self, books: Books) -> None:
        """Check that nothing is left after a cancel-all."""
        if any(books.held.values()) or books.orders:
            self._violate(f"left after cancel_all: held {books.held}, orders {books.orders}")

    def closed(self) -> None:
        """Check that the last process has left nothing open in the journal."""
        self._read()
        for group in self._journal.replay.groups():
            self._violate(f"group {group.group} was never closed: {group.legs}")

    def _read(self) -> None:
        try:
            self._journal.read()
        except (DamageError, InternalError) as error:
            self._violate(f"the journal: {error}")


def _asset_of(order: Order) -> str:
    return COLLATERAL if order.side is px.Side.BUY else order.token_id


def _spent(order: Order) -> int:
    """Return what has left the reservation, to within the rounding of fills."""
    if order.side is px.Side.BUY:
        return order.cash_micro + order.fee_micro
    return order.filled_micro


def _fee_slack(order: Order) -> int:
    """Return what the fee of a taker at the average price, rounded up, is above the exact one.

    An answer gives totals. What it made us spend too much goes back to the balance, not to the
    reservation.
    """
    if order.side is not px.Side.BUY or not order.fee_micro:
        return 0
    cash, filled, rate = order.cash_micro, order.filled_micro, order.market.fee_rate_micro
    fee = -(-cash * (filled - cash) * rate // (filled * MICRO))
    return max(0, -(-fee // 10) * 10 - order.fee_micro)


def _salt(entry: bytes) -> int:
    salt: int = orjson.loads(entry)["order"]["salt"]
    return salt
