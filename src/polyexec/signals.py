"""Signals: what the executor is asked to do.

As the records of ``models`` they are normalised when they are built, and immutable.
"""

from collections.abc import Iterable
from decimal import Decimal

from polyexec.enums import Side, Strategy
from polyexec.errors import InputError
from polyexec.models import Leg, Quote
from polyexec.numbers import (
    MICRO,
    Number,
    from_micro,
    to_decimal,
    to_micro,
)
from polyexec.records import Record

__all__ = ["ArbSignal", "LegsSignal", "Signal"]

_MOST_OUTCOMES = 1024


class ArbSignal(Record):
    """A price discrepancy between a parent range and its parts.

    Parameters
    ----------
    strategy : Strategy or str
        A name that is not a :class:`Strategy` is kept as given and skipped as NO_CANDIDATES.
    parent, parent_upper, child : Quote or None
        Quotes of the tokens to trade: ``price >= K1``, ``price >= K2``, ``K1 <= price < K2``.
    profit_abs : number or None
        Dollars per set that the sender expects. When given it must pass the threshold too; the
        executor computes its own figure, with fees, in any case.
    profit_bps : number or None
        For people and storage.
    timestamp_ms : int
        When the discrepancy was seen, unix milliseconds.
    group_key, event_slug, crypto : str
        For people and storage.
    size : number or None
        Shares per leg; ``None``: ``config.default_size``.
    gross_abs : number or None
        Dollars per set at the best prices, without fees; for people and storage.
    ages_ms : iterable of int, or None
        Milliseconds since each quote's book was heard of, in the order parent, parent_upper, child;
        for people and storage.
    """

    __slots__ = (
        "ages_ms",
        "child",
        "crypto",
        "event_slug",
        "gross_abs",
        "group_key",
        "parent",
        "parent_upper",
        "profit_abs",
        "profit_bps",
        "profit_ratio",
        "size_micro",
        "strategy",
        "timestamp_ms",
    )
    _shown = (
        "strategy",
        "parent",
        "parent_upper",
        "child",
        "profit_abs",
        "profit_bps",
        "timestamp_ms",
        "group_key",
        "event_slug",
        "crypto",
        "size",
        "gross_abs",
        "ages_ms",
    )
    strategy: Strategy | str
    parent: Quote | None
    parent_upper: Quote | None
    child: Quote | None
    profit_abs: Decimal | None
    profit_bps: Decimal | None
    profit_ratio: tuple[int, int] | None
    """``profit_abs`` as a fraction of integers."""
    timestamp_ms: int
    group_key: str
    event_slug: str
    crypto: str
    size_micro: int | None
    gross_abs: Decimal | None
    ages_ms: tuple[int, ...] | None

    def __init__(
        self,
        strategy: Strategy | str,
        parent: Quote | None = None,
        parent_upper: Quote | None = None,
        child: Quote | None = None,
        profit_abs: Number | None = None,
        profit_bps: Number | None = None,
        timestamp_ms: int = 0,
        group_key: str = "",
        event_slug: str = "",
        crypto: str = "",
        size: Number | None = None,
        gross_abs: Number | None = None,
        ages_ms: Iterable[int] | None = None,
    ) -> None:
        try:
            strategy = Strategy(strategy)
        except ValueError:
            pass  # refused by the executor, so that the refusal is a result with this signal in it
        for name, quote in (("parent", parent), ("parent_upper", parent_upper), ("child", child)):
            if quote is not None and not isinstance(quote, Quote):
                raise InputError(name, quote, "must be a Quote or None")
        profit = _optional_decimal(profit_abs, "profit_abs")
        self._set(
            strategy=strategy,
            parent=parent,
            parent_upper=parent_upper,
            child=child,
            profit_abs=profit,
            profit_ratio=None if profit is None else profit.as_integer_ratio(),
            profit_bps=_optional_decimal(profit_bps, "profit_bps"),
            timestamp_ms=timestamp_ms,
            group_key=group_key,
            event_slug=event_slug,
            crypto=crypto,
            size_micro=None if size is None else to_micro(size, "size"),
            gross_abs=_optional_decimal(gross_abs, "gross_abs"),
            ages_ms=_ages(ages_ms),
        )

    @property
    def size(self) -> Decimal | None:
        """Shares per leg."""
        return None if self.size_micro is None else from_micro(self.size_micro)


class LegsSignal(Record):
    """Any set of legs that a bot wants executed together.

    Parameters
    ----------
    legs : iterable of Leg
        1 to 15, each with another token.
    payout : number or None
        Dollars that one share of every leg pays together at resolution. When given, the edge net
        of fees must pass the threshold; ``None``: the caller has decided.
    timestamp_ms, group_key, event_slug, crypto
        As in :class:`ArbSignal`.
    outcomes : iterable of rows, or None
        What can happen, one row per outcome of the world: the dollars (0 to 1) that a share of
        each leg's token pays then, in the order of the legs; 1 to 1024 rows. ``None``: each token
        pays 0 or 1 whatever the others do, which makes the worst loss of partial fills larger.
    profit_abs, profit_bps : number or None
        Dollars per set that the sender expects, and that in ten-thousandths of the cost; for people
        and storage.
    gross_abs, ages_ms
        As in :class:`ArbSignal`; ages in the order of the legs.
    """

    __slots__ = (
        "ages_ms",
        "crypto",
        "event_slug",
        "gross_abs",
        "group_key",
        "legs",
        "outcomes_micro",
        "payout_micro",
        "profit_abs",
        "profit_bps",
        "timestamp_ms",
    )
    _shown = (
        "legs",
        "payout",
        "timestamp_ms",
        "group_key",
        "event_slug",
        "crypto",
        "outcomes",
        "profit_abs",
        "profit_bps",
        "gross_abs",
        "ages_ms",
    )
    legs: tuple[Leg, ...]
    outcomes_micro: tuple[tuple[int, ...], ...] | None
    payout_micro: int | None
    timestamp_ms: int
    group_key: str
    event_slug: str
    crypto: str
    profit_abs: Decimal | None
    profit_bps: Decimal | None
    gross_abs: Decimal | None
    ages_ms: tuple[int, ...] | None

    def __init__(
        self,
        legs: Iterable[Leg],
        payout: Number | None = None,
        timestamp_ms: int = 0,
        group_key: str = "",
        event_slug: str = "",
        crypto: str = "",
        outcomes: Iterable[Iterable[Number]] | None = None,
        profit_abs: Number | None = None,
        profit_bps: Number | None = None,
        gross_abs: Number | None = None,
        ages_ms: Iterable[int] | None = None,
    ) -> None:
        legs = tuple(legs)
        for index, leg in enumerate(legs):
            if not isinstance(leg, Leg):
                raise InputError(f"legs[{index}]", leg, "must be a Leg")
        if not 1 <= len(legs) <= 15:
            raise InputError("legs", len(legs), "a batch holds 1 to 15 orders")
        tokens = [leg.token_id for leg in legs]
        for index, token in enumerate(tokens):
            if token in tokens[:index]:
                raise InputError(f"legs[{index}].token_id", token, "stands in two legs")
        payout_micro = None if payout is None else to_micro(payout, "payout")
        self._set(
            legs=legs,
            outcomes_micro=None if outcomes is None else _outcomes(outcomes, legs, payout_micro),
            payout_micro=payout_micro,
            timestamp_ms=timestamp_ms,
            group_key=group_key,
            event_slug=event_slug,
            crypto=crypto,
            profit_abs=_optional_decimal(profit_abs, "profit_abs"),
            profit_bps=_optional_decimal(profit_bps, "profit_bps"),
            gross_abs=_optional_decimal(gross_abs, "gross_abs"),
            ages_ms=_ages(ages_ms),
        )

    @property
    def payout(self) -> Decimal | None:
        """Dollars per set."""
        return None if self.payout_micro is None else from_micro(self.payout_micro)

    @property
    def outcomes(self) -> tuple[tuple[Decimal, ...], ...] | None:
        """Dollars per share: one row per outcome, one number per leg."""
        rows = self.outcomes_micro
        return None if rows is None else tuple(tuple(map(from_micro, row)) for row in rows)


Signal = ArbSignal | LegsSignal


def _optional_decimal(value: Number | None, field: str) -> Decimal | None:
    return None if value is None else to_decimal(value, field)


def _ages(values: Iterable[int] | None) -> tuple[int, ...] | None:
    if values is None:
        return None
    ages = tuple(values)
    for index, age in enumerate(ages):
        if isinstance(age, bool) or not isinstance(age, int) or age < 0:
            raise InputError(f"ages_ms[{index}]", age, "must be milliseconds, an int of 0 or more")
    return ages


def _outcomes(
    outcomes: Iterable[Iterable[Number]], legs: tuple[Leg, ...], payout_micro: int | None
) -> tuple[tuple[int, ...], ...]:
    rows = []
    for number, given in enumerate(outcomes):
        field = f"outcomes[{number}]"
        row = tuple(to_micro(value, f"{field}[{leg}]") for leg, value in enumerate(given))
        if len(row) != len(legs):
            raise InputError(field, row, f"must have one number for each of the {len(legs)} legs")
        if max(row) > MICRO:
            raise InputError(field, from_micro(max(row)), "a share pays at most 1 dollar")
        # As the edge counts it: a SELL gives up what its token pays, so it is worth the rest of 1.
        pays = sum(
            pay if leg.side is Side.BUY else MICRO - pay for leg, pay in zip(legs, row, strict=True)
        )
        if payout_micro is not None and pays < payout_micro:
            raise InputError(field, from_micro(pays), "is what a set pays there, below payout")
        rows.append(row)
        if len(rows) > _MOST_OUTCOMES:
            raise InputError("outcomes", f"{len(rows)} or more", "at most 1024 rows")
    if not rows:
        raise InputError("outcomes", rows, "needs at least one row; None: not known")
    return tuple(rows)
