"""What must hold after every step, whatever failed: the rules that money hangs on.

The checker knows what the executor cannot: the exchange's own books, and every order that left.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import polyexec as px
from polyexec.core.groups import LegGroup
from polyexec.core.journal import Intent, Record, Release, Replay, Signed
from polyexec.core.ledger import COLLATERAL
from polyexec.errors import InternalError
from polyexec.paper.matching import MatchingEngine


class Checker:
    """Trace and rules of one session.

    Attributes
    ----------
    violations : list of str
    trading_enabled : bool
        What the session last set.
    legs_wanted : int
        Orders that the submission under way may make; 0 while there is none.
    most_follow_ups : int
        Batches that one group may send after its first.
    most_cost_micro : int or None
        The limit of what one group may cost.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._hash = hashlib.sha256()
        self._clock: Any = None
        self.lines: list[str] | None = None
        self.violations: list[str] = []
        self.trading_enabled = True
        self.legs_wanted = 0
        self.most_follow_ups = 0
        self.most_cost_micro: int | None = None
        self._submitted = self._follow_ups = 0
        self.restart([])
        self.entries: dict[str, bytes] = {}
        """Every order that ever left, and its signed bytes."""
        self.refused: set[str] = set()
        """Orders of which the executor said that they do not exist."""
        self.traded: dict[str, int] = {}
        """Orders of which the executor said that so many shares have traded."""
        self.unresolved_at_start: frozenset[str] = frozenset()
        self.executor: px.Executor | None = None

    def restart(self, records: list[Record]) -> None:
        """Read on in a journal of which just these records have survived."""
        self.records = records
        self._replay = Replay()
        self._ends: Counter[str] = Counter()
        self._sealed: set[str] = set()
        self._read = 0

    # trace ------------------------------------------------------------------------------------

    def bind(self, clock: Any) -> None:
        """Stamp the trace with this clock."""
        self._clock = clock

    def note(self, *parts: object) -> None:
        """Add a line to the trace."""
        line = " ".join(map(str, (self._clock.now_ms, *parts)))
        self._hash.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(line)

    @property
    def digest(self) -> bytes:
        return self._hash.digest()

    def violate(self, what: str) -> None:
        """Report a rule that was broken."""
        self.note("VIOLATION", what)
        self.violations.append(f"{self._name}: {what}")

    # sending ----------------------------------------------------------------------------------

    def leaves(self, order_ids: Sequence[str], entries: Sequence[bytes]) -> None:
        """Look at a batch as it goes onto the wire."""
        if not self.trading_enabled:
            self.violate("an order left while trading was off")
        self._read_journal()
        if len(entries) != len(order_ids):
            self.violate(f"{len(entries)} entries for {len(order_ids)} ids")
        fresh = 0
        for order_id, entry in zip(order_ids, entries, strict=False):
            if order_id not in self._sealed:
                self.violate(f"order {order_id} left before its intent was kept")
            known = self.entries.setdefault(order_id, entry)
            fresh += known is entry
            if known != entry:
                self.violate(f"order {order_id} was sent again with other bytes")
        if fresh:
            if fresh != len(order_ids):
                self.violate(f"{fresh} new orders in a batch of {len(order_ids)}")
            if self.legs_wanted:
                self._submitted += 1
                if fresh != self.legs_wanted:
                    self.violate(f"{fresh} new orders where {self.legs_wanted} were asked for")
            else:
                self._follow_ups += 1
                if self._follow_ups > self.most_follow_ups * self._submitted:
                    self.violate(f"{self._follow_ups} follow-ups of {self._submitted} groups")
            self.legs_wanted = 0
            self._check_cost(order_ids)
            if self.executor is not None:
                unknown = {o.order_id for o in self.executor._tracker.unknown_orders}
                if unknown & self.unresolved_at_start:
                    self.violate("a new order left before those of the last run were resolved")

    def _check_cost(self, order_ids: Sequence[str]) -> None:
        """Compare the cost of a group with its limit: that of its intent, which has been kept."""
        if self.most_cost_micro is None:
            return
        group = next(
            r.group for r in self.records if isinstance(r, Signed) and r.order_ids == order_ids
        )
        (intent,) = (r for r in self.records if isinstance(r, Intent) and r.group == group)
        cost = sum(leg.priced.cost_micro for leg in intent.legs if leg.priced.side is px.Side.BUY)
        if cost > self.most_cost_micro:
            self.violate(f"a group of {cost} left over the limit of {self.most_cost_micro}")

    def answered(self, result: px.TradeResult) -> None:
        """Take note of what the executor says became of a submission."""
        states = [f"{leg.state}/{leg.filled_micro}/{leg.paid_micro}" for leg in result.legs]
        self.note("result", result.skipped, *states)
        self.refused |= {leg.order_id for leg in result.failed_orders}
        self.traded |= {leg.order_id: leg.filled_micro for leg in result.legs if leg.filled_micro}

    # after every step -------------------------------------------------------------------------

    def check(self, engine: MatchingEngine, account: str) -> None:
        """Compare the executor's books with what the exchange could still take from them."""
        try:
            engine.ledger.audit()
        except InternalError as error:
            self.violate(f"the exchange's books: {error}")
        self._check_orders(engine, account)
        executor = self.executor
        if executor is None:
            return
        ledger = executor.ledger
        try:
            ledger.check()
        except InternalError as error:
            self.violate(f"the ledger: {error}")
        assets = sorted({COLLATERAL, *engine.tokens})
        for asset in assets:
            held, active = ledger.held(asset), engine.ledger.active(account, asset)
            if held < active:
                self.violate(f"held {held} of {asset[:8]!r} under {active} that can trade")
            promised, free = ledger.available(asset), engine.ledger.available(account, asset)
            if promised > max(free, 0):
                self.violate(f"promises {promised} of {asset[:8]!r} where {free} are free")
        self._read_journal()
        self.note(*(f"{ledger.available(a)}/{ledger.held(a)}" for a in assets))

    def _check_orders(self, engine: MatchingEngine, account: str) -> None:
        mine = {o.order_id: o for o in engine.orders.values() if o.account == account}
        for order_id in sorted(mine.keys() - self.entries.keys()):
            self.violate(f"the exchange has {order_id}, which never left")
        for order_id in sorted(mine.keys() & self.refused):
            order = mine[order_id]
            if order.status == "LIVE" or order.filled_micro:
                self.violate(f"{order_id} was said not to exist, and is {order.status}")
        for order_id, filled in self.traded.items():
            if order_id not in mine or mine[order_id].filled_micro < filled:
                self.violate(f"{order_id} was said to have traded {filled}, and has not")

    def _read_journal(self) -> None:
        """Each leg's reservation ends once, and adds up: ``Replay`` refuses what does not."""
        new, self._read = self.records[self._read :], len(self.records)
        for record in new:
            try:
                self._replay.add(record)
            except InternalError as error:
                self.violate(f"the journal contradicts itself: {error}")
            if isinstance(record, Signed):
                self._sealed.update(record.order_ids)
            elif isinstance(record, Release):
                self._ends[record.order_id] += 1
                if self._ends[record.order_id] > 1:
                    self.violate(f"the reservation of {record.order_id} ended twice")

    # at the end -------------------------------------------------------------------------------

    def check_end(
        self,
        engine: MatchingEngine,
        account: str,
        *,
        exact_before: px.Reconciliation | None,
        exact_after: px.Reconciliation,
        submissions: Iterable[px.Submission],
        was_killed: bool,
        waiting: frozenset[int],
    ) -> None:
        """Check that all is resolved, and that both sides agree."""
        executor = self.executor
        assert executor is not None
        left = executor._tracker.orders
        if left:
            self.violate(f"not resolved: {left}")
        if executor.ledger.open_reservations:
            self.violate(f"held for nothing: {executor.ledger.open_reservations}")
        if exact_before is not None:
            off = abs(exact_before.difference_micro)
            if off > rounded_fills(engine, account) or exact_before.position_differences:
                self.violate(f"the books differ: {exact_before}")
        if not exact_after.is_exact:
            self.violate(f"the books differ after a refresh: {exact_after}")
        for number, submission in enumerate(submissions):
            if not submission.done():
                self.violate(f"submission {number} was never answered")
        self._read_journal()
        never = sorted(self._sealed - self._ends.keys())
        if never and not was_killed:
            self.violate(f"reservations that never ended: {never}")
        left = {group.group for group in self._replay.groups()} - waiting
        if left:
            self.violate(f"groups {sorted(left)} were never closed")
        if waiting and self.trading_enabled:
            self.violate(f"groups {sorted(waiting)} wait, though trading is on")

    def check_group(self, engine: MatchingEngine, group: LegGroup) -> None:
        """Compare what a group reports with what its orders did at the exchange."""
        exposure, mine = group.exposure, set(group.order_ids)
        if not exposure.is_final:
            self.violate(f"a group is not final: {exposure}")
        shares: Counter[str] = Counter()
        cash = roundings = 0
        for trade in engine.trades.values():
            sides = [(fill.order, fill.shares_micro, fill.cash_micro, 0) for fill in trade.makers]
            sides.append((trade.taker, trade.shares_micro, trade.cash_micro, trade.fee_micro))
            for order, size, paid, fee in sides:
                if order.order_id not in mine or trade.status != "CONFIRMED":
                    continue
                sign = 1 if order.side is px.Side.BUY else -1
                shares[order.token_id] += sign * size
                cash -= sign * paid + fee
                roundings += len(trade.makers)
        told = sorted(size for size in exposure.shares_micro if size)
        if told != sorted(size for size in shares.values() if size):
            self.violate(f"a group says {told} shares, the exchange {dict(shares)}")
        if abs(exposure.cash_micro - cash) > roundings:
            self.violate(f"a group says {exposure.cash_micro}, the exchange {cash}")


def rounded_fills(engine: MatchingEngine, account: str) -> int:
    """Return how many fills of an account were finer than a cent's worth of shares.

    Shares of more than two decimals cost fractions of a micro-dollar. Which side bears one depends
    on the book, and neither trades nor orders tell: an order whose answer was lost is known to
    within one micro-dollar for each such fill, until the next balance.
    """
    return sum(
        1
        for trade in engine.trades.values()
        for fill in trade.makers
        if fill.shares_micro % 10_000 and account in (trade.taker.account, fill.order.account)
    )
