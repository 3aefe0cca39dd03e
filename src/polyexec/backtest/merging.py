"""One report out of those of parts: days, or groups, each with an account of its own."""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from polyexec.backtest.curve import added
from polyexec.backtest.lots import Resolution
from polyexec.backtest.report import Report
from polyexec.backtest.rows import LegRow, TradeRow
from polyexec.errors import InputError

__all__ = ["merged"]


def merged(reports: Iterable[Report]) -> Report:
    """Return the parts as one: every sum is exact, and no row is lost.

    Each part began with its own money, and so many balances the sum begins with. A position that
    one part could not resolve is resolved by another that saw it. Events that several parts have
    read count several times. The digest is that of the parts' digests, in their order.

    Raises
    ------
    InputError
        There is no part.
    """
    parts = tuple(reports)
    if not parts:
        raise InputError("reports", parts, "name at least one")
    if len(parts) == 1:
        return parts[0]
    trades, legs = _rows(parts)
    resolutions = _resolutions(parts)
    pays = {one.token_id: one.pays_micro for one in resolutions}
    resolved = sum(part.resolved_micro for part in parts)
    unresolved: dict[str, int] = {}
    for token, shares in (held for part in parts for held in part.unresolved):
        if token in pays:
            resolved += shares * pays[token] // 1_000_000
        else:
            unresolved[token] = unresolved.get(token, 0) + shares
    digests = "".join(part.digest for part in parts)
    return Report(
        trades=trades,
        legs=legs,
        balance_before_micro=sum(part.balance_before_micro for part in parts),
        balance_micro=sum(part.balance_micro for part in parts),
        resolved_micro=resolved,
        unresolved=tuple(unresolved.items()),
        events=sum(part.events for part in parts),
        first_ms=min(part.first_ms for part in parts),
        last_ms=max(part.last_ms for part in parts),
        digest=hashlib.sha256(digests.encode()).hexdigest(),
        is_cancelled=any(part.is_cancelled for part in parts),
        partial=tuple(dict.fromkeys(text for part in parts for text in part.partial)),
        curve=added([part.curve for part in parts]),
        fills=tuple(sorted((f for p in parts for f in p.fills), key=lambda fill: fill.time_ms)),
        resolutions=resolutions,
        queues=tuple(one for part in parts for one in part.queues),
    )


def _rows(parts: Sequence[Report]) -> tuple[tuple[TradeRow, ...], tuple[LegRow, ...]]:
    """Return trades by time, numbered anew, and their legs in the same order."""
    order = sorted(
        ((which, one) for which, part in enumerate(parts) for one in part.trades),
        key=lambda entry: (entry[1].time_ms, entry[0], entry[1].number),
    )
    legs_of: dict[tuple[int, int], list[LegRow]] = {}
    for which, part in enumerate(parts):
        for leg in part.legs:
            legs_of.setdefault((which, leg.trade), []).append(leg)
    trades, legs = [], []
    for number, (which, one) in enumerate(order):
        trades.append(msgspec.structs.replace(one, number=number))
        legs += [
            msgspec.structs.replace(leg, trade=number)
            for leg in legs_of.get((which, one.number), ())
        ]
    return tuple(trades), tuple(legs)


def _resolutions(parts: Sequence[Report]) -> tuple[Resolution, ...]:
    """Return every token's first one.

    Raises
    ------
    InputError
        Two parts say different things of a token.
    """
    found: dict[str, Resolution] = {}
    every = (one for part in parts for one in part.resolutions)
    for one in sorted(every, key=lambda each: each.time_ms):
        first = found.setdefault(one.token_id, one)
        if first.pays_micro != one.pays_micro:
            problem = (
                f"pays {first.pays_micro} micro-dollars in one part, {one.pays_micro} in another"
            )
            raise InputError("resolutions", one.token_id, problem)
    return tuple(found.values())
