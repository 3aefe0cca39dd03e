"""Which sets of legs pay now, in what size, net of fees: the readable twin of ``_fast.evaluator``.

A *form* is a set of legs worth ``payout`` dollars per share of each at resolution. What it earns is
counted exactly as the executor will count it (``core.candidates.check_edge``, no slippage):

* A BUY takes the asks of its token, a SELL the bids. A SELL at b is the BUY of the complement at
  1 - b, which is also how it is sized, so that the executor may send either. ``price`` below is
  a leg's ask, or 1 minus its bid.
* For a set size s, the *limit* of a leg is the price of the level at which the size summed up from
  the best reaches s, and its cost is ``price * s`` at that limit for all s shares plus the taker
  fee there (``_pure.amounts.taker_fee``, rounded up). ``net = payout * s - sum of costs``.
* s is legal when every leg can trade it exactly at its limit (``_pure.sizing.group_size``:
  hundredths of a share and, for immediate orders, whole cents), holds the minimum size of each
  market and 5 shares, and spends at least a dollar on each leg.
* The candidates: the depths summed up of all legs, and ``max_size``. Between two of them the limits
  stay the same. Each, brought down to the largest legal size at the limits that reach it, is one,
  unless that lies at or below the candidate before it (whose limits are better), or a leg does not
  hold so much, or it is above ``max_size``.
* Of the candidates that earn at least ``min_profit`` per set and at least ``min_profit_bps`` of
  their cost, the one with the largest net is found; of equals the smaller.

``gross`` is told beside it: payout minus the best prices, per set, without fees.

Only books that are LIVE, hold orders on the side that is taken and heard of something within
``max_age`` are evaluated. A market whose fee is not known has no net: its forms are counted and
passed over.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn, SupportsIndex

from polyexec._pure.amounts import taker_fee
from polyexec._pure.checks import checked_int64, checked_range
from polyexec._pure.prices import MOST_MICRO, STALE_EVENT, BookState, PriceTable
from polyexec._pure.sizing import group_size

__all__ = ["COUNTED", "Evaluator", "Found"]

COUNTED: Final = (
    "cooling",
    "fee_unknown",
    "unusable",
    "too_old",
    "unprofitable",
    "unsized",
    "found",
)
"""What can become of a look at a form: one of these, by ``Evaluator.counts``.

``unusable``: a book is not LIVE, without orders on its side, or its slot changed hands;
``unprofitable``: the best prices already earn too little; ``unsized``: they do not, but no legal
size does.
"""

_MIN_SHARES = 5_000_000
_MIN_DOLLARS = 1_000_000
_SCALE = 10_000
_MICRO = 1_000_000
_CENT_OF_CENT = 100  # micro-dollars in an e4
_MOST_LEGS = 15
_MOST_BPS = 1_000_000
_NEVER = -(2**63)
_INT64_MAX = 2**63 - 1


class Found(NamedTuple):
    """A form that pays now. Tuples have one number per leg, in the form's order."""

    number: int
    """Of the form."""
    form: Any
    size_micro: int
    """Sets: shares of every leg."""
    limits_e4: tuple[int, ...]
    """Worst price that the size needs: an ask or a bid."""
    depths_micro: tuple[int, ...]
    """Shares from the best price to the limit, its whole level included."""
    best_e4: tuple[int, ...]
    best_sizes_micro: tuple[int, ...]
    ticks_e4: tuple[int, ...]
    """0: not known."""
    ages_ns: tuple[int, ...]
    """Since the last event of each book."""
    times_ms: tuple[int, ...]
    """When the exchange stamped it."""
    cost_micro: int
    """Of all sets, fees in."""
    net_micro: int
    """Payout minus cost, of all sets."""
    net_per_set_micro: int
    """Rounded down."""
    gross_per_set_micro: int
    """At the best prices, without fees; a signal's size may not be had there."""


class _Leg(NamedTuple):
    slot: int
    tenant: int
    side: int
    tick_e4: int
    least_micro: int
    rate_micro: int
    exponent: int


class _Watched:
    """A form and when it may be found again."""

    __slots__ = ("fee_known", "form", "legs", "payout_micro", "quiet_until_ns")

    def __init__(self, form: Any, legs: list[_Leg], payout_micro: int, *, fee_known: bool) -> None:
        self.form = form
        self.legs = legs
        self.payout_micro = payout_micro
        self.fee_known = fee_known
        self.quiet_until_ns = _NEVER


class _Walk:
    """One leg on its way down its book."""

    __slots__ = ("best_e4", "book", "depth_micro", "leg", "level", "price_e4", "tick_e4")

    def __init__(self, leg: _Leg, book: Any, tick_e4: int) -> None:
        self.leg = leg
        self.book = book
        self.tick_e4 = tick_e4
        self.level = len(book.keys)
        self.depth_micro = 0
        self.step()
        self.best_e4 = self.limit_e4

    @property
    def limit_e4(self) -> int:
        return int(self.book.sign * self.book.keys[self.level])

    def step(self) -> bool:
        """Take one more level; return False at the end of the book."""
        if not self.level:
            return False
        self.level -= 1
        self.depth_micro += self.book.sizes[self.level]
        self.price_e4 = _SCALE - self.limit_e4 if self.leg.side else self.limit_e4
        return True


class Evaluator:
    """Forms over a price table, by the slots that they read.

    Parameters
    ----------
    table : PriceTable
    min_profit_micro : int
        Least net per set, micro-dollars, at least 0.
    min_profit_bps : int
        Least net, in ten-thousandths of the cost, at least 0.
    cooldown_ns : int
        After it was found a form is left alone for so long.
    max_size_micro : int
        Most sets.
    max_age_ns : int
        Oldest book, by when its last event came.
    is_immediate : bool
        Sizes are legal for FOK and FAK, and so for every type; False: for resting types only.
    """

    __slots__ = (
        "_cooldown_ns",
        "_counts",
        "_forms",
        "_free",
        "_immediate",
        "_max_age_ns",
        "_max_size_micro",
        "_min_bps",
        "_min_profit_micro",
        "_table",
        "_takers",
    )

    def __init__(
        self,
        table: PriceTable,
        *,
        min_profit_micro: SupportsIndex,
        min_profit_bps: SupportsIndex,
        cooldown_ns: SupportsIndex,
        max_size_micro: SupportsIndex,
        max_age_ns: SupportsIndex,
        is_immediate: bool = True,
    ) -> None:
        if not isinstance(table, PriceTable):
            raise TypeError(f"table must be a PriceTable, not {type(table).__name__}")
        self._table = table
        self._min_profit_micro = checked_range(
            min_profit_micro, 0, _MOST_LEGS * _MICRO, "min_profit_micro"
        )
        self._min_bps = checked_range(min_profit_bps, 0, _MOST_BPS, "min_profit_bps")
        self._cooldown_ns = checked_range(cooldown_ns, 0, _INT64_MAX, "cooldown_ns")
        self._max_size_micro = checked_range(max_size_micro, 1, MOST_MICRO, "max_size_micro")
        self._max_age_ns = checked_range(max_age_ns, 0, _INT64_MAX, "max_age_ns")
        self._immediate = int(bool(is_immediate))
        self._forms: list[_Watched | None] = []
        self._free: list[int] = []
        # Who takes the bids, and who the asks, of each slot.
        self._takers: list[tuple[list[int], list[int]]] = [([], []) for _ in range(table.capacity)]
        self._counts = dict.fromkeys(COUNTED, 0)

    def add(self, form: Any) -> int:
        """Watch a form (``core.forms.Form``) and return its number, which is free again after it.

        Its tokens get slots of the table. ValueError: a number of it is out of range, or a token
        stands in two legs.
        """
        count = len(form.legs)
        if not 2 <= count <= _MOST_LEGS:
            raise ValueError(f"legs must be 2 to {_MOST_LEGS}, not {count}")
        payout = checked_range(form.payout, 1, _MOST_LEGS, "payout")
        checked = [_checked_leg(leg) for leg in form.legs]
        if len({token for token, _ in checked}) < count:
            raise ValueError("legs must each have another token")
        legs = []
        for token, leg in checked:
            slot = self._table.add(token, leg.tick_e4)
            legs.append(leg._replace(slot=slot, tenant=self._table._rows[slot].tenant))
        fee_known = all(leg.rate_micro >= 0 for leg in legs)
        watched = _Watched(form, legs, payout * _MICRO, fee_known=fee_known)
        if self._free:
            number = self._free.pop()
            self._forms[number] = watched
        else:
            number = len(self._forms)
            self._forms.append(watched)
        for leg in legs:
            self._takers[leg.slot][1 - leg.side].append(number)
        return number

    def remove(self, number: SupportsIndex) -> None:
        """Watch a form no more. Its tokens stay in the table. IndexError: there is no such form."""
        index = checked_int64(number)
        form = self._forms[index] if 0 <= index < len(self._forms) else None
        if form is None:
            raise IndexError(f"no form has the number {index}")
        for leg in form.legs:
            self._takers[leg.slot][1 - leg.side].remove(index)
        self._forms[index] = None
        self._free.append(index)

    def touched(self, slot: SupportsIndex, now_ns: SupportsIndex) -> tuple[Found, ...]:
        """Return the forms of a slot that pay now; nearly always none.

        ``now_ns`` is of the clock that stamped what the table received. A slot that no form reads,
        or that does not exist, has none.
        """
        index, now = checked_int64(slot), checked_int64(now_ns)
        if not 0 <= index < len(self._takers):
            return ()
        return (*self._find(index, 0, now), *self._find(index, 1, now))

    def apply_changes(
        self,
        changes: Sequence[Any],
        time_ms: SupportsIndex | str,
        received_ns: SupportsIndex,
    ) -> tuple[tuple[tuple[int, int], ...], tuple[Found, ...]]:
        """Apply one ``price_change`` message to the table; then evaluate what it changed.

        Parameters
        ----------
        changes : list or tuple
            Objects with the texts ``asset_id``, ``side``, ``price``, ``size``, ``best_bid`` and
            ``best_ask``, as ``PriceTable.apply_change`` takes them.
        time_ms, received_ns
            As there; ``received_ns`` is also the time of the evaluation.

        Returns
        -------
        refused : tuple of (int, int)
            Index of each change that was not applied, and why: a fault, or STALE_EVENT.
        found : tuple of Found
            Of the forms that take a side that was changed, each side once, all changes applied.
            Both sides, where a book may be traded again or is young again.
        """
        if not isinstance(changes, list | tuple):
            raise TypeError(f"changes must be a list or tuple, not {type(changes).__name__}")
        now = checked_int64(received_ns)
        refused = []
        changed: dict[tuple[int, int], None] = {}
        for index, change in enumerate(changes):
            slot = self._table.slot(change.asset_id)
            row = self._table._rows[max(slot, 0)]
            state, was_old = row.state, _age(row, now) > self._max_age_ns
            flags = self._table.apply_change(
                slot,
                change.side,
                change.price,
                change.size,
                change.best_bid,
                change.best_ask,
                time_ms,
                now,
            )
            if flags < 0 or flags == STALE_EVENT:
                refused.append((index, flags))
            elif flags:
                is_ask = int(change.side != "BUY")
                changed[slot, is_ask] = None
                if was_old or state != row.state:
                    changed[slot, 1 - is_ask] = None
        found = [one for slot, side in changed for one in self._find(slot, side, now)]
        return tuple(refused), tuple(found)

    def counts(self) -> dict[str, int]:
        """Return what became of all looks at forms; see ``COUNTED``."""
        return dict(self._counts)

    def __len__(self) -> int:
        return len(self._forms) - len(self._free)

    def __repr__(self) -> str:
        return f"Evaluator({len(self)} forms)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an Evaluator lives in one process: it cannot be pickled or copied")

    def _find(self, slot: int, side: int, now: int) -> list[Found]:
        """Return the forms that take a side of a book and pay."""
        found = []
        for number in self._takers[slot][side]:
            form = self._forms[number]
            assert form is not None  # noqa: S101 - remove() takes both away
            verdict, one = self._look(number, form, now)
            self._counts[verdict] += 1
            if one is not None:
                form.quiet_until_ns = min(now + self._cooldown_ns, _INT64_MAX)
                found.append(one)
        return found

    def _look(self, number: int, form: _Watched, now: int) -> tuple[str, Found | None]:
        if now < form.quiet_until_ns:
            return "cooling", None
        if not form.fee_known:
            return "fee_unknown", None
        rows = [self._table._rows[leg.slot] for leg in form.legs]
        for leg, row in zip(form.legs, rows, strict=True):
            best_e4 = row.best_bid_e4 if leg.side else row.best_ask_e4
            if row.state != BookState.LIVE or row.tenant != leg.tenant or not best_e4:
                return "unusable", None
        if any(_age(row, now) > self._max_age_ns for row in rows):
            return "too_old", None
        walks = [
            _Walk(leg, self._table._sides[leg.slot][1 - leg.side], row.tick_e4 or leg.tick_e4)
            for leg, row in zip(form.legs, rows, strict=True)
        ]
        if not self._may_pay(form, walks):
            return "unprofitable", None
        gross = form.payout_micro - _CENT_OF_CENT * sum(walk.price_e4 for walk in walks)
        best = self._best(form, walks)
        if best is None:
            return "unsized", None
        size, limits, depths, cost, net = best
        sides = [leg.side for leg in form.legs]
        sizes = (
            row.best_bid_size_micro if side else row.best_ask_size_micro
            for row, side in zip(rows, sides, strict=True)
        )
        return "found", Found(
            number,
            form.form,
            size,
            limits,
            depths,
            tuple(walk.best_e4 for walk in walks),
            tuple(sizes),
            tuple(walk.tick_e4 for walk in walks),
            tuple(_age(row, now) for row in rows),
            tuple(row.time_ms for row in rows),
            cost,
            net,
            net * _MICRO // size,
            gross,
        )

    def _may_pay(self, form: _Watched, walks: Sequence[_Walk]) -> bool:
        """Return False when no size at these prices or worse ones can pass.

        Price plus fee grows with the price (the slope of the fee is within -1 to 1), and rounding
        only adds to it, so what is counted here, per set, is the least that a set can cost.
        """
        cost = sum(
            _CENT_OF_CENT * walk.price_e4 + _least_fee(walk.price_e4, walk.leg) for walk in walks
        )
        net = form.payout_micro - cost
        return net >= self._min_profit_micro and net * _SCALE >= self._min_bps * cost

    def _best(
        self, form: _Watched, walks: Sequence[_Walk]
    ) -> tuple[int, tuple[int, ...], tuple[int, ...], int, int] | None:
        """Return size, limits, depths, cost and net of the candidate that earns most."""
        best, before = None, 0
        while self._may_pay(form, walks):
            reach = min(walk.depth_micro for walk in walks)
            size = self._legal(walks, min(reach, self._max_size_micro))
            if size > before:
                cost = sum(_cost(walk, size) for walk in walks)
                net = form.payout_micro * size // _MICRO - cost
                if self._passes(net, cost, size) and (best is None or net > best[4]):
                    limits = tuple(walk.limit_e4 for walk in walks)
                    depths = tuple(walk.depth_micro for walk in walks)
                    best = size, limits, depths, cost, net
            if reach >= self._max_size_micro:
                break
            before = reach
            if not all([walk.step() for walk in walks if walk.depth_micro == reach]):
                break
        return best

    def _legal(self, walks: Sequence[_Walk], most_micro: int) -> int:
        rules = [
            (walk.price_e4, walk.tick_e4, 0, self._immediate, walk.leg.least_micro, _MIN_DOLLARS)
            for walk in walks
        ]
        return group_size(rules, most_micro)

    def _passes(self, net_micro: int, cost_micro: int, size_micro: int) -> bool:
        return (
            net_micro * _MICRO >= self._min_profit_micro * size_micro
            and net_micro * _SCALE >= self._min_bps * cost_micro
        )


def _age(row: Any, now_ns: int) -> int:
    return min(max(0, now_ns - int(row.received_ns)), _INT64_MAX)


def _cost(walk: _Walk, size_micro: int) -> int:
    # Exact: a legal size is hundredths of a share.
    paid = walk.price_e4 * size_micro // _SCALE
    return paid + taker_fee(walk.price_e4, size_micro, walk.leg.rate_micro, walk.leg.exponent)


def _least_fee(price_e4: int, leg: _Leg) -> int:
    """Return micro-dollars per share, not above the fee."""
    fee = leg.rate_micro
    for _ in range(leg.exponent):
        fee = fee * price_e4 * (_SCALE - price_e4) // (_SCALE * _SCALE)
    return fee


def _checked_leg(leg: Any) -> tuple[str, _Leg]:
    """Return the token of a leg, and what the evaluation reads of it; its slot is not known yet."""
    market = leg.market
    if not isinstance(market.token_id, str):
        raise TypeError(f"token_id must be text, not {type(market.token_id).__name__}")
    if leg.side not in ("BUY", "SELL"):
        raise ValueError(f"side must be BUY or SELL, not {leg.side!r}")
    rate = market.fee_rate_micro
    return market.token_id, _Leg(
        -1,
        0,
        int(leg.side == "SELL"),
        checked_range(market.tick_e4, 0, _SCALE // 2, "tick_e4"),
        max(
            _MIN_SHARES,
            checked_range(market.min_order_size_micro, 0, _INT64_MAX, "min_order_size_micro"),
        ),
        -1 if rate is None else checked_range(rate, 0, _MICRO, "fee_rate_micro"),
        checked_range(market.fee_exponent, 0, 4, "fee_exponent"),
    )
