"""Notices: what a person is told, and how results become it."""

import time
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from polyexec.enums import NoticeKind, SkipReason
from polyexec.numbers import from_micro
from polyexec.results import LegResult, TradeResult
from polyexec.signals import ArbSignal

__all__ = [
    "Batch",
    "Notice",
    "clean",
    "group_notice",
    "moment",
    "more_line",
    "notice_lines",
    "outcome_of",
    "result_notice",
    "skip_words",
    "tidy",
]

_LONGEST_NAME: Final = 80
_LONGEST_VALUE: Final = 400


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell, in any text: whoever sends it makes it ``tidy`` and escapes it."""

    kind: NoticeKind
    title: str
    at_ms: int
    """Unix milliseconds."""
    fields: tuple[tuple[str, str], ...] = ()
    """Name and value, in the order to show them."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Notices that waited together, and how many more there were of which kind."""

    notices: tuple[Notice, ...]
    more: Mapping[NoticeKind, int]


def clean(value: object, longest: int = _LONGEST_VALUE) -> str:
    """Return a value on one line: no control, direction or half characters, and not too many."""
    # Cut first: what is longer by far need not be looked at.
    text = " ".join(str(value)[: 2 * longest].split())
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def tidy(notice: Notice) -> Notice:
    """Return a notice of which every text is one short, printable line."""
    fields = tuple((clean(name, _LONGEST_NAME), clean(value)) for name, value in notice.fields)
    return msgspec.structs.replace(notice, title=clean(notice.title), fields=fields)


def moment(at_ms: int) -> str:
    """Return a time for people, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_ms / 1000))


def notice_lines(notice: Notice) -> tuple[str, ...]:
    """Return the lines of a notice after its title."""
    lines = (f"{name}: {value}" for name, value in notice.fields)
    return (*lines, moment(notice.at_ms))


def more_line(more: Mapping[NoticeKind, int]) -> str:
    """Return the line about what was left out; empty: nothing was."""
    told = ", ".join(f"{count} more of {kind}" for kind, count in more.items())
    return f"and {told}" if told else ""


def outcome_of(result: TradeResult) -> NoticeKind | None:
    """Return whether a result is a success, a failure or unknown; None: it was skipped."""
    if result.skipped is not None:
        return None
    if result.unknown_orders:
        return NoticeKind.UNKNOWN
    return NoticeKind.SUCCESS if result.success else NoticeKind.FAILURE


def result_notice(result: TradeResult, now_ms: int) -> Notice | None:
    """Return what to tell of a result; None: nothing, it was skipped.

    A skip because the journal failed or because of a halt is told by an alarm or by the halt.
    """
    kind = outcome_of(result)
    if kind is None:
        return None
    word = {
        NoticeKind.SUCCESS: "Executed",
        NoticeKind.FAILURE: "Not executed",
        NoticeKind.UNKNOWN: "Outcome unknown",
    }[kind]
    fields = [*_group_fields(result), *_legs(result.legs)]
    if kind is not NoticeKind.SUCCESS and result.detail:
        fields.append(("detail", result.detail))
    fields += _money(result)
    if result.latency.total_us:
        fields.append(("took", f"{result.latency.total_us / 1000:.1f} ms"))
    return Notice(
        kind=kind,
        title=f"{word}: {_name(result)}",
        at_ms=result.finished_ms or now_ms,
        fields=tuple(fields),
    )


def group_notice(result: TradeResult, now_ms: int) -> Notice:
    """Return what to tell of a group that changed after its result was delivered."""
    if result.final_pnl_micro is not None:
        word = "Settled"
    elif result.is_whole:
        word = "Group is whole"
    else:
        word = "Group is uneven"
    fields = [*_group_fields(result), *_legs(result.legs)]
    fields += _legs(result.follow_ups, "follow-up")
    return Notice(
        kind=NoticeKind.GROUP,
        title=f"{word}: {_name(result)}",
        at_ms=now_ms,
        fields=(*fields, *_money(result)),
    )


def _name(result: TradeResult) -> str:
    signal = result.signal
    if isinstance(signal, ArbSignal):
        return signal.strategy.removeprefix("POLYMARKET_")
    return f"{len(signal.legs)} legs"


def _group_fields(result: TradeResult) -> Iterable[tuple[str, str]]:
    for name in ("event_slug", "group_key"):
        value = getattr(result.signal, name)
        if value:
            yield name.partition("_")[0], value


def _legs(legs: Iterable[LegResult], name: str = "leg") -> Iterable[tuple[str, str]]:
    for number, leg in enumerate(legs, start=1):
        told = f"{leg.side} {leg.filled_size}/{leg.size} at {leg.price} {leg.state}"
        where = leg.market_slug or f"token {leg.token_id[:8]}"
        why = ": ".join(filter(None, (leg.code, leg.error)))
        why = f" ({why})" if why else ""
        yield f"{name} {number}", f"{told} {where}{why}"


def _money(result: TradeResult) -> Iterable[tuple[str, str]]:
    yield "cost", f"{result.total_cost} dollars"
    if result.final_pnl_micro is not None:
        yield "final pnl", f"{from_micro(result.final_pnl_micro)} dollars"
    elif result.expected_pnl_micro:
        yield "expected pnl", f"{result.expected_pnl} dollars"
    if result.at_risk_micro:
        yield "at risk", f"{result.at_risk} dollars"


def skip_words(skips: Mapping[SkipReason, int]) -> str:
    """Return reasons and counts, the most frequent first."""
    ordered = sorted(skips.items(), key=lambda item: -item[1])
    return ", ".join(f"{reason} {count}" for reason, count in ordered)
