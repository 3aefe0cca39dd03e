"""From a market's metadata to a range: asset, instant, source and bounds of one yes/no market.

Structured fields count first, the question and the description second, and only in the wordings
that are known here: one that is not is never guessed. What cannot be told is a reason in
``missing``, what is no price range at all is an :class:`Unread`; nothing raises.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from polyexec.core.asset_ids import is_position_id
from polyexec.core.range_overrides import MarketOverride, RangeOverrides
from polyexec.core.range_wording import (
    Bounds,
    Question,
    RangeKind,
    Rule,
    read_description,
    read_question,
    read_title,
)
from polyexec.enums import Generation
from polyexec.errors import InputError
from polyexec.models import ConditionId, TokenId
from polyexec.numbers import to_micro
from polyexec.parsing import parse_rate_micro, parse_tick_e4, parse_token_id

__all__ = [
    "MatchDelay",
    "RangeKind",
    "RangeMarket",
    "Terms",
    "Unread",
    "list_of",
    "merge_record",
    "read_event",
    "read_market",
]

_CONDITION: Final = re.compile(r"0x[0-9a-fA-F]{62}(?:[0-9a-fA-F]{2})?\Z")
_GENERATIONS: Final = {"v1": Generation.CLOB_V2, "v2": Generation.EXCHANGE_V3}
_ET_OFFSETS: Final = (4, 5)  # hours behind UTC, with and without daylight saving
_LONGEST: Final = 20_000
_BOTH_WAYS: Final = "negRisk is true and negRiskAugmented is not said: outcomes may be added later"


class MatchDelay(StrEnum):
    """Whether the exchange holds a marketable order before it matches it."""

    NONE = "none"
    TAKER = "taker"
    """``itode``: a fraction of a second, answered afterwards."""
    SECONDS = "seconds"
    """``secondsDelay``: answered as delayed, matched later."""


class Unread(msgspec.Struct, frozen=True):
    """A market that makes no range, and why."""

    slug: str
    reason: str
    condition_id: str = ""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What an order of the market has to fit; ``None`` is not known."""

    tick_e4: int | None = None
    min_order_size_micro: int | None = None
    fee_rate_micro: int | None = None
    fee_exponent: int | None = None
    generation: Generation | None = None
    delay: MatchDelay | None = None


class RangeMarket(msgspec.Struct, frozen=True, kw_only=True):
    """One yes/no market on where a price is at one instant.

    Bounds are dollars per coin, exact. An inclusive bound belongs to the YES side.
    """

    condition_id: ConditionId
    slug: str
    question: str
    event_slug: str
    yes: TokenId
    no: TokenId
    asset: str
    """Lower-case symbol; empty when it is not known."""
    source: str
    """Which price of whom, read when; empty when it is not known."""
    instant_ms: int
    """Unix milliseconds of ``endDate``; 0 when it is not known."""
    kind: RangeKind
    lower: Decimal | None
    upper: Decimal | None
    lower_inclusive: bool | None
    """None: there is no such bound, or nothing says it."""
    upper_inclusive: bool | None
    neg_risk: bool
    augmented: bool | None
    """``None``: not said. Outcomes may be added to an augmented event."""
    is_open: bool
    terms: Terms
    missing: tuple[tuple[str, str], ...] = ()
    """(name of a fact, why it is not known or not to be relied on)."""

    def why_missing(self, name: str) -> str:
        """Return why a fact is not known; empty when nothing was said about it."""
        return next((why for known, why in self.missing if known == name), "")

    def pays(self, price: Decimal) -> bool | None:
        """Return whether YES pays at a price; None where nothing says it."""
        for bound, inclusive, outside in (
            (self.lower, self.lower_inclusive, -1),
            (self.upper, self.upper_inclusive, 1),
        ):
            if bound is None:
                continue
            if price == bound:
                if inclusive is not True:
                    return inclusive
            elif (price < bound) == (outside < 0):
                return False
        return True


class _Draft:
    """A market while it is read."""

    __slots__ = ("fields", "missing")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self.fields = fields
        self.missing: dict[str, str] = {}

    def text(self, name: str) -> str:
        value = self.fields.get(name)
        return value.strip()[:_LONGEST] if isinstance(value, str) else ""

    def lacks(self, name: str, why: str) -> None:
        self.missing.setdefault(name, why)


def read_event(
    event: Any, overrides: RangeOverrides | None = None
) -> tuple[list[RangeMarket], list[Unread]]:
    """Return the range markets of a Gamma event, and what was not one.

    The rule for prices on a boundary speaks of neighbouring brackets, so a market can only be read
    completely with the rest of its event.
    """
    if not isinstance(event, dict) or not isinstance(event.get("markets"), list):
        slug = event.get("slug") if isinstance(event, dict) else ""
        return [], [Unread(slug if isinstance(slug, str) else "", "is no event with markets")]
    read: list[_Read] = []
    unread: list[Unread] = []
    for fields in event["markets"]:
        found = _read(fields, event, overrides or RangeOverrides())
        if isinstance(found, Unread):
            unread.append(found)
        else:
            read.append(found)
    brackets = [each.market for each in read if each.is_bracket]
    markets = []
    for each in read:
        if each.is_skipped:
            unread.append(_skipped(each.market))
        else:
            markets.append(_settle_ties(each.market, each.ties, brackets))
    return markets, unread


def read_market(
    fields: Any, event: Any = None, overrides: RangeOverrides | None = None
) -> RangeMarket | Unread:
    """Return one market as a range; of its event only what stands beside the markets is read."""
    found = _read(fields, event, overrides or RangeOverrides())
    if isinstance(found, Unread):
        return found
    if found.is_skipped:
        return _skipped(found.market)
    return _settle_ties(found.market, found.ties, [])


def merge_record(market: RangeMarket, record: Any) -> RangeMarket:
    """Return the market with what the order book's own record (``/clob-markets``) says of it.

    The order book is the one that decides on tick, minimum and delay. Where it contradicts the
    metadata about tokens, neg-risk or fee, the fact counts as not known.
    """
    gaps = dict(market.missing)
    if not isinstance(record, dict):
        gaps.setdefault("record", "the order book's record is not an object")
        return msgspec.structs.replace(market, missing=tuple(gaps.items()))
    draft = _Draft(record)
    known = msgspec.structs.asdict(market.terms)
    for name, field, parse in (
        ("tick", "mts", parse_tick_e4),
        ("minimum", "mos", to_micro),
    ):
        term = {"tick": "tick_e4", "minimum": "min_order_size_micro"}[name]
        known[term] = _number(draft, field, parse, name)
        if known[term] is not None:
            gaps.pop(name, None)
    _merge_fee(market, draft, known, gaps)
    if isinstance(record.get("itode"), bool):
        if known["delay"] is not MatchDelay.SECONDS and "seconds_delay" not in gaps:
            known["delay"] = MatchDelay.TAKER if record["itode"] else MatchDelay.NONE
            gaps.pop("delay", None)
    elif known["delay"] is None:
        gaps["delay"] = "the order book's record says nothing of itode"
    rows = record.get("t")
    tokens = {
        row["o"]: row.get("t")
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, dict) and isinstance(row.get("o"), str)
    }
    if tokens != {"Yes": market.yes, "No": market.no}:
        gaps["tokens"] = "the order book names other tokens for Yes and No"
    if record.get("nr", False) is not market.neg_risk:
        gaps["neg_risk"] = f"metadata says {market.neg_risk}, the order book does not"
    gaps.update(draft.missing)
    return msgspec.structs.replace(market, terms=Terms(**known), missing=tuple(gaps.items()))


def list_of(value: Any) -> list[str]:
    """Return a list of texts that may be JSON inside a text, as Gamma sends it; else nothing."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value[:_LONGEST])
        except (msgspec.DecodeError, RecursionError):
            return []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return []


class _Read(NamedTuple):
    """A market before its neighbours are looked at."""

    market: RangeMarket
    ties: frozenset[str]
    """Bounds whose inclusiveness the rule for ties decides."""
    is_bracket: bool
    is_skipped: bool


def _skipped(market: RangeMarket) -> Unread:
    return Unread(market.slug, "skipped by the overrides file", market.condition_id)


# --- one market ------------------------------------------------------------------------------


def _read(fields: Any, event: Any, overrides: RangeOverrides) -> _Read | Unread:
    if not isinstance(fields, dict):
        return Unread("", "is not an object")
    draft = _Draft(fields)
    slug, condition = draft.text("slug"), draft.text("conditionId")
    if not _CONDITION.match(condition):
        return Unread(slug, f"conditionId={condition[:80]!r} is not 31 or 32 bytes in hex")
    if len(condition) == 64:
        condition += "00"  # the order book wants Protocol V2 conditions padded
    condition = condition.lower()
    override = overrides.of_market(condition, slug)
    if list_of(fields.get("outcomes")) not in (["Yes", "No"], ["No", "Yes"]):
        return Unread(slug, "its outcomes are not Yes and No", condition)
    question = read_question(draft.text("question"))
    bounds = _bounds(draft, question, override)
    if isinstance(bounds, str):
        return Unread(slug, bounds, condition)
    tokens = _tokens(draft, override)
    if isinstance(tokens, str):
        return Unread(slug, tokens, condition)
    rule = read_description(draft.text("description"), bounds.kind)
    head = event if isinstance(event, dict) else _first_event(fields)
    neg_risk = _neg_risk(draft)
    inclusive, ties = _inclusive(draft, bounds, rule, override)
    market = RangeMarket(
        condition_id=ConditionId(condition),
        slug=slug,
        question=draft.text("question"),
        event_slug=_Draft(head).text("slug"),
        yes=tokens[0],
        no=tokens[1],
        asset=override.asset or _asset(draft, question, rule),
        source=_source(draft, rule, override),
        instant_ms=_instant(draft, question, rule, override),
        kind=bounds.kind,
        lower=bounds.lower,
        upper=bounds.upper,
        lower_inclusive=inclusive["lower"],
        upper_inclusive=inclusive["upper"],
        neg_risk=neg_risk,
        augmented=_augmented(draft, head, neg_risk),
        is_open=_is_open(draft),
        terms=_terms(draft, tokens, override),
        missing=tuple(draft.missing.items()),
    )
    return _Read(market, ties, rule.tie is not None, override.skip)


def _first_event(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    events = fields.get("events")
    first = events[0] if isinstance(events, list) and events else None
    return first if isinstance(first, dict) else {}


def _bounds(draft: _Draft, question: Question | None, override: MarketOverride) -> Bounds | str:
    if override.bounds is not None:
        return override.bounds
    if question is None:
        return "its question does not ask where a price is"
    title = draft.text("groupItemTitle")
    if title:
        told = read_title(title)
        if told is None:
            return f"groupItemTitle={title[:80]!r} is no strike or range"
        same = told in (question.bounds.lower, question.bounds.upper, question.bounds)
        if not same or (isinstance(told, Decimal) and question.bounds.kind is RangeKind.BETWEEN):
            return f"groupItemTitle={title[:80]!r} and the question differ"
    return question.bounds


def _tokens(draft: _Draft, override: MarketOverride) -> tuple[TokenId, TokenId] | str:
    # Both fields may be filled: the version decides which ids are traded.
    v3 = _generation(draft, override) is Generation.EXCHANGE_V3
    name = "positionIds" if v3 else "clobTokenIds"
    try:
        ids = [parse_token_id(value, name) for value in list_of(draft.fields.get(name))]
    except InputError as error:
        return str(error)
    if len(ids) != 2 or ids[0] == ids[1]:
        return f"{name} does not hold two tokens"
    yes = list_of(draft.fields.get("outcomes")).index("Yes")
    return ids[yes], ids[1 - yes]


def _asset(draft: _Draft, question: Question | None, rule: Rule) -> str:
    named = question.asset if question is not None else ""
    if named and rule.asset and named != rule.asset:
        draft.lacks("asset", f"the question is about {named}, the description about {rule.asset}")
        return ""
    if not (named or rule.asset):
        draft.lacks("asset", "neither question nor description name a coin that is known")
    return named or rule.asset


def _source(draft: _Draft, rule: Rule, override: MarketOverride) -> str:
    if override.source:
        return override.source
    if not rule.source:
        draft.lacks("source", rule.problem or "the description names no price of anybody")
        return ""
    told = draft.text("resolutionSource")
    if told and rule.pair not in told.upper().replace("_", "/").replace("-", "/"):
        draft.lacks("source", f"resolutionSource={told[:80]!r} is not about {rule.pair}")
        return ""
    return rule.source


def _inclusive(
    draft: _Draft, bounds: Bounds, rule: Rule, override: MarketOverride
) -> tuple[dict[str, bool | None], frozenset[str]]:
    """Return which bounds are inclusive, and for which of them the rule for ties says so."""
    sides: dict[str, bool | None] = {}
    ties = set()
    for side, bound, told, given in (
        ("lower", bounds.lower, rule.lower_inclusive, override.lower_inclusive),
        ("upper", bounds.upper, rule.upper_inclusive, override.upper_inclusive),
    ):
        sides[side] = None if bound is None else told if given is None else given
        if bound is None:
            continue
        if sides[side] is None:
            why = rule.problem or "the description does not say what a price on the bound does"
            draft.lacks(f"{side}_inclusive", why)
        elif given is None and rule.tie is not None:
            ties.add(side)
    return sides, frozenset(ties)


def _instant(draft: _Draft, question: Question | None, rule: Rule, override: MarketOverride) -> int:
    told = draft.text("endDate")
    try:
        end = datetime.fromisoformat(told)
    except ValueError:
        draft.lacks("instant", f"endDate={told[:80]!r} is not a time")
        return 0
    if end.tzinfo is None:
        draft.lacks("instant", f"endDate={told[:80]!r} has no time zone")
        return 0
    if not 2000 <= end.year <= 2200:
        draft.lacks("instant", f"endDate={told[:80]!r} is not a time of this or the next century")
        return 0
    end = end.astimezone(UTC)
    if not override.source and not _fits(end, question, rule):
        why = f"endDate={told} is not {rule.clock} in New York on the date of the question"
        draft.lacks("instant", rule.problem or why)
        return 0
    return int(end.timestamp() * 1000)


def _fits(end: datetime, question: Question | None, rule: Rule) -> bool:
    """Whether ``endDate`` is the stated time of day in New York on the stated date.

    Without a table of daylight saving either offset passes; that all legs have the same stated
    date, the same stated time and the same ``endDate`` is what the proof asks for.
    """
    if question is None or rule.minute_of_day is None:
        return False
    for hours in _ET_OFFSETS:
        local = end - timedelta(hours=hours)
        if (
            (local.month, local.day) == (question.month, question.day)
            and local.hour * 60 + local.minute == rule.minute_of_day
            and question.year in (None, local.year)
            and (question.minute_of_day in (None, rule.minute_of_day))
        ):
            return True
    return False


def _neg_risk(draft: _Draft) -> bool:
    value = draft.fields.get("negRisk")
    if not isinstance(value, bool):
        draft.lacks("neg_risk", f"negRisk={str(value)[:80]!r} is not true or false")
        return False
    if draft.fields.get("negRiskOther") not in (None, False):
        draft.lacks("neg_risk", "negRiskOther: it stands for every outcome that is not listed")
    return value


def _augmented(draft: _Draft, event: Mapping[str, Any], neg_risk: bool) -> bool | None:
    told = [where.get("negRiskAugmented") for where in (event, draft.fields)]
    if any(value is True for value in told):
        return True
    if not neg_risk or any(value is False for value in told):
        return False
    draft.lacks("augmented", _BOTH_WAYS)
    return None


def _is_open(draft: _Draft) -> bool:
    wanted = {
        "active": True,
        "closed": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
    }
    off = [name for name, value in wanted.items() if draft.fields.get(name) is not value]
    if draft.fields.get("archived") is True:
        off.append("archived")
    if off:
        draft.lacks("open", f"it takes no orders: {', '.join(off)}")
    return not off


def _terms(draft: _Draft, tokens: tuple[TokenId, TokenId], override: MarketOverride) -> Terms:
    rate, exponent = _gamma_fee(draft)
    generation = _generation(draft, override)
    is_position = any(int(token) >= 2**40 and is_position_id(token) for token in tokens)
    if generation is None:
        version = draft.fields.get("version")
        draft.lacks("generation", f"version={str(version)[:80]!r} is not v1 or v2")
    elif is_position != (generation is Generation.EXCHANGE_V3):
        draft.lacks("generation", f"version says {generation.name}, its token ids do not")
        generation = None
    return Terms(
        tick_e4=_number(draft, "orderPriceMinTickSize", parse_tick_e4, "tick"),
        min_order_size_micro=_number(draft, "orderMinSize", to_micro, "minimum"),
        fee_rate_micro=rate,
        fee_exponent=exponent,
        generation=generation,
        delay=_gamma_delay(draft),
    )


def _generation(draft: _Draft, override: MarketOverride) -> Generation | None:
    return override.generation or _GENERATIONS.get(draft.text("version"))


def _number(draft: _Draft, field: str, parse: Any, name: str) -> int | None:
    try:
        value: int = parse(draft.fields.get(field), field)
    except InputError as error:
        draft.lacks(name, str(error))
        return None
    if value <= 0:
        draft.lacks(name, f"{field}={value} is not above zero")
        return None
    return value


def _gamma_fee(draft: _Draft) -> tuple[int | None, int | None]:
    enabled, schedule = draft.fields.get("feesEnabled"), draft.fields.get("feeSchedule")
    if enabled is False:
        return 0, 1
    if enabled is not True or not isinstance(schedule, dict):
        draft.lacks("fee", "feesEnabled and feeSchedule do not tell the fee")
        return None, None
    return _fee(draft, schedule.get("rate"), schedule.get("exponent"), "feeSchedule")


def _fee(draft: _Draft, rate: Any, exponent: Any, field: str) -> tuple[int | None, int | None]:
    try:
        rate_micro = parse_rate_micro(rate, field)
    except InputError as error:
        draft.lacks("fee", str(error))
        return None, None
    if isinstance(exponent, bool) or exponent not in (0, 1, 2, 3, 4):
        draft.lacks("fee", f"{field}: exponent {str(exponent)[:80]!r} is no whole number up to 4")
        return None, None
    return rate_micro, int(exponent)


def _merge_fee(
    market: RangeMarket, draft: _Draft, known: dict[str, Any], gaps: dict[str, str]
) -> None:
    # No fee data is how a fee-free market looks to both official clients.
    data = draft.fields.get("fd") or {"r": 0, "e": 1}
    if not isinstance(data, dict):
        data = {}
    rate, exponent = _fee(draft, data.get("r"), data.get("e", 1), "fd")
    before = market.terms.fee_rate_micro, market.terms.fee_exponent
    if rate is not None and before[0] is not None and (rate, exponent) != before:
        gaps["fee"] = f"metadata and order book differ: {before} and {(rate, exponent)}"
        rate = exponent = None
    elif rate is not None and before[0] is None and not draft.fields.get("fd"):
        gaps["fee"] = (
            "the order book tells no fee, and the metadata does not say that there is none"
        )
        rate = exponent = None
    elif rate is not None:
        gaps.pop("fee", None)
    known["fee_rate_micro"], known["fee_exponent"] = rate, exponent


def _gamma_delay(draft: _Draft) -> MatchDelay | None:
    seconds = draft.fields.get("secondsDelay")
    if seconds is None or (type(seconds) is int and seconds == 0):
        # Whether takers are held back stands in the order book's record alone.
        draft.lacks("delay", "only the order book's record tells it (itode)")
        return None
    if type(seconds) is not int or seconds < 0:
        draft.lacks("seconds_delay", f"secondsDelay={str(seconds)[:80]!r} is not whole seconds")
        draft.lacks("delay", "secondsDelay cannot be read")
        return None
    return MatchDelay.SECONDS


def _settle_ties(
    market: RangeMarket, ties: frozenset[str], brackets: list[RangeMarket]
) -> RangeMarket:
    """Take back what the rule for ties says of a bound that no other bracket shares."""
    others = [other for other in brackets if other.condition_id != market.condition_id]
    touches = {
        "lower": any(other.upper == market.lower for other in others),
        "upper": any(other.lower == market.upper for other in others),
    }
    gaps = dict(market.missing)
    changes: dict[str, Any] = {}
    for side in sorted(ties):
        if not touches[side]:
            changes[f"{side}_inclusive"] = None
            gaps[f"{side}_inclusive"] = (
                "the rule for a price between two brackets does not apply: "
                f"its event has one bracket at the {side} bound"
            )
    return msgspec.structs.replace(market, missing=tuple(gaps.items()), **changes)
