"""What questions, titles and descriptions of price markets say, in the wordings known here.

A sentence that is not known makes the whole description unknown: it might change the meaning of
the others. See ``docs/topics/groups.md`` for the wordings and what follows from them.
"""

import re
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

__all__ = [
    "Bounds",
    "Question",
    "RangeKind",
    "Rule",
    "read_description",
    "read_question",
    "read_title",
]


class RangeKind(StrEnum):
    """On which side of its bounds a market says yes."""

    ABOVE = "above"
    BELOW = "below"
    BETWEEN = "between"


class Bounds(msgspec.Struct, frozen=True):
    """Dollars per coin; a bound that there is not is None."""

    lower: Decimal | None
    upper: Decimal | None

    @property
    def kind(self) -> RangeKind:
        """Which bounds there are."""
        if self.lower is None:
            return RangeKind.BELOW
        return RangeKind.ABOVE if self.upper is None else RangeKind.BETWEEN


class Question(msgspec.Struct, frozen=True):
    """What a question asks."""

    asset: str
    """Lower-case symbol; empty for a name that is not known."""
    bounds: Bounds
    month: int
    day: int
    year: int | None
    minute_of_day: int | None
    """In New York; None: the question says no time."""


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """What a description says; empty and None where it says nothing that is known."""

    asset: str = ""
    pair: str = ""
    """As ``BTC/USDT``."""
    source: str = ""
    clock: str = ""
    minute_of_day: int | None = None
    lower_inclusive: bool | None = None
    upper_inclusive: bool | None = None
    tie: str | None = None
    """``higher`` or ``lower``: which of two brackets gets a price on the bound between them."""
    problem: str = ""


_ASSETS: Final = {
    "bitcoin": "btc",
    "btc": "btc",
    "ethereum": "eth",
    "eth": "eth",
    "solana": "sol",
    "sol": "sol",
    "xrp": "xrp",
    "dogecoin": "doge",
    "doge": "doge",
    "bnb": "bnb",
    "hyperliquid": "hype",
    "hype": "hype",
}
_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sep sept",
            "october oct",
            "november nov",
            "december dec",
        ),
        1,
    )
    for name in names.split()
}
_UNITS: Final = {"": 1, "k": 1_000, "m": 1_000_000}
_NUMBER: Final = r"\$?(?:\d{1,3}(?:,\d{3}){1,4}|\d{1,15})(?:\.\d{1,12})?[km]?"
_QUESTION: Final = re.compile(
    r"will the price of (?P<name>[a-z ]{2,30}) be "
    rf"(?:(?:above|greater than|higher than) (?P<above>{_NUMBER})"
    rf"|(?:less than|below|lower than) (?P<below>{_NUMBER})"
    rf"|between (?P<low>{_NUMBER})(?: and |-)(?P<high>{_NUMBER}))"
    r" on (?P<month>[a-z]{3,9}) (?P<day>\d{1,2})(?:,? (?P<year>20\d\d))?"
    r"(?:,? at (?P<hour>\d{1,2})(?::(?P<minute>\d\d))? ?(?P<half>[ap]m) et)?\?",
    re.ASCII,
)
_STRIKE: Final = re.compile(_NUMBER, re.ASCII)
_ONE_SIDED: Final = re.compile(rf"([<>]) ?({_NUMBER})", re.ASCII)
_TWO_SIDED: Final = re.compile(rf"({_NUMBER}) ?- ?({_NUMBER})", re.ASCII)

_PAIR: Final = r"[A-Z]{2,8}/?USDT?"
_TIME: Final = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?: ?(?P<half>[AP]M))? in the ET timezone(?: \(noon\))?"
)
_CANDLE: Final = (
    rf"(?P<venue>[A-Z][A-Za-z]{{2,20}}) 1[ -]minute candle for (?P<pair>{_PAIR}) {_TIME}"
)
_NO_OTHERWISE: Final = r'\. Otherwise, this market will resolve to "No"\.'
_RELATIONS: Final = {
    "higher than": (RangeKind.ABOVE, False),
    "greater than": (RangeKind.ABOVE, False),
    "above": (RangeKind.ABOVE, False),
    "equal to or higher than": (RangeKind.ABOVE, True),
    "equal to or greater than": (RangeKind.ABOVE, True),
    "higher than or equal to": (RangeKind.ABOVE, True),
    "greater than or equal to": (RangeKind.ABOVE, True),
    "at or above": (RangeKind.ABOVE, True),
    "lower than": (RangeKind.BELOW, False),
    "less than": (RangeKind.BELOW, False),
    "below": (RangeKind.BELOW, False),
    "equal to or lower than": (RangeKind.BELOW, True),
    "lower than or equal to": (RangeKind.BELOW, True),
    "less than or equal to": (RangeKind.BELOW, True),
    "at or below": (RangeKind.BELOW, True),
}
_THRESHOLD: Final = re.compile(
    rf'This market will resolve to "Yes" if the {_CANDLE} on the date specified in the title has a '
    rf'final "Close" price (?P<relation>[a-z ]{{5,30}}) the price specified in the title'
    + _NO_OTHERWISE,
    re.ASCII,
)
_BRACKET: Final = re.compile(
    rf'This market will resolve according to the final "Close" price of the {_CANDLE} on the date '
    rf"specified in the title" + _NO_OTHERWISE,
    re.ASCII,
)
_TIE: Final = re.compile(
    r"If the reported value falls exactly between two brackets, then this market will resolve to "
    r"the (higher|lower) range bracket\."
)
# Sentences that say where the same price is shown; the groups repeat venue and pair.
_REPEATS: Final = (
    re.compile(
        rf"The resolution source for this market is (?P<venue>[A-Za-z]+), specifically the "
        rf'(?P<pair>{_PAIR}) "Close" prices currently available at '
        r"https://www\.[a-z]+\.com/en/trade/(?P<shown>[A-Z]+_[A-Z]+) "
        r'with "1m" and "Candles" selected on the top bar\.'
    ),
    re.compile(
        rf"Please note that this market is about the price according to (?P<venue>[A-Za-z]+) "
        rf"(?P<pair>{_PAIR}), not according to other "
        r"(?:exchanges or trading pairs|sources or spot markets)\."
    ),
)
_HARMLESS: Final = "Price precision is determined by the number of decimal places in the source."


def read_question(text: str) -> Question | None:
    """Return what a question asks, or None when it is not known to ask where a price is."""
    match = _QUESTION.fullmatch(_plain(text).lower())
    if match is None:
        return None
    month, day = _MONTHS.get(match["month"]), int(match["day"])
    minute = _minute(match["hour"], match["minute"], match["half"])
    if month is None or not 1 <= day <= 31 or (match["hour"] and minute is None):
        return None
    if match["above"]:
        bounds = Bounds(_strike(match["above"]), None)
    elif match["below"]:
        bounds = Bounds(None, _strike(match["below"]))
    else:
        bounds = _between(match["low"], match["high"])
    if not _are_bounds(bounds):
        return None
    year = int(match["year"]) if match["year"] else None
    return Question(_ASSETS.get(match["name"], ""), bounds, month, day, year, minute)


def read_title(text: str) -> Bounds | Decimal | None:
    """Return what ``groupItemTitle`` says: bounds, a strike alone, or nothing that is known."""
    text = _plain(text).lower()
    if _STRIKE.fullmatch(text):
        return _strike(text)
    if match := _ONE_SIDED.fullmatch(text):
        strike = _strike(match[2])
        bounds = Bounds(strike, None) if match[1] == ">" else Bounds(None, strike)
    elif match := _TWO_SIDED.fullmatch(text):
        bounds = _between(match[1], match[2])
    else:
        return None
    return bounds if _are_bounds(bounds) else None


def read_description(text: str, kind: RangeKind) -> Rule:
    """Return what a description says about a market of this kind."""
    paragraphs = [p.strip() for p in re.split(r"\n+", _plain(text, keep_lines=True)) if p.strip()]
    if not paragraphs:
        return Rule(problem="there is no description")
    threshold, bracket = (p.fullmatch(paragraphs[0]) for p in (_THRESHOLD, _BRACKET))
    head = threshold or bracket
    if head is None:
        return Rule(problem=f"the wording is not known: {paragraphs[0][:80]!r}")
    pair, venue, tie = _pair(head["pair"]), head["venue"], None
    for paragraph in paragraphs[1:]:
        if match := _TIE.fullmatch(paragraph):
            tie = match[1]
        elif paragraph != _HARMLESS and not _repeats(paragraph, venue, pair):
            return Rule(problem=f"the wording is not known: {paragraph[:80]!r}")
    minute = _minute(head["hour"], head["minute"], head["half"])
    if minute is None:
        return Rule(problem="the description says no time of day")
    clock = f"{minute // 60:02d}:{minute % 60:02d} ET"
    said = Rule(
        asset=pair.partition("/")[0].lower(),
        pair=pair,
        source=f"{venue} {pair} 1m close at {clock}",
        clock=clock,
        minute_of_day=minute,
    )
    if threshold is None:
        return _of_bracket(said, kind, tie)
    return _of_threshold(said, kind, threshold["relation"], tie)


def _of_threshold(said: Rule, kind: RangeKind, relation: str, tie: str | None) -> Rule:
    side, inclusive = _RELATIONS.get(relation, (None, False))
    if side is not kind:
        # Not a matter of the bounds alone: it may pay the other way round.
        return Rule(problem=f"the description says {relation!r}, the question {kind.value!r}")
    if tie is not None:
        why = "the description speaks of one strike and of two brackets"
        return msgspec.structs.replace(said, problem=why)
    lower, upper = (inclusive, None) if kind is RangeKind.ABOVE else (None, inclusive)
    return msgspec.structs.replace(said, lower_inclusive=lower, upper_inclusive=upper)


def _of_bracket(said: Rule, kind: RangeKind, tie: str | None) -> Rule:
    if tie is None:
        why = "the description does not say what a price between two brackets does"
        return msgspec.structs.replace(said, problem=why)
    return msgspec.structs.replace(
        said,
        tie=tie,
        lower_inclusive=None if kind is RangeKind.BELOW else tie == "higher",
        upper_inclusive=None if kind is RangeKind.ABOVE else tie == "lower",
    )


def _repeats(paragraph: str, venue: str, pair: str) -> bool:
    for pattern in _REPEATS:
        if match := pattern.fullmatch(paragraph):
            told = match.groupdict()
            shown = told.get("shown") or pair
            return (
                told["venue"] == venue
                and _pair(told["pair"]) == pair
                and shown.replace("_", "/") == pair
            )
    return False


def _pair(text: str) -> str:
    if "/" in text:
        return text
    quote = "USDT" if text.endswith("USDT") else "USD"
    return f"{text.removesuffix(quote)}/{quote}"


def _minute(hour: str | None, minute: str | None, half: str | None) -> int | None:
    if not hour:
        return None
    hours, minutes = int(hour), int(minute or 0)
    if half:
        if not 1 <= hours <= 12:
            return None
        hours = hours % 12 + (12 if half.lower() == "pm" else 0)
    return hours * 60 + minutes if hours < 24 and minutes < 60 else None


def _strike(text: str) -> Decimal | None:
    unit = text[-1] if text[-1] in "km" else ""
    value = Decimal(text.strip("$km").replace(",", "")) * _UNITS[unit]
    return value.normalize() if value > 0 else None


def _between(first: str, second: str) -> Bounds:
    """Return the bounds of ``103-105k`` and of ranges that are written from the top."""
    if second[-1] in "km" and first[-1] not in "km":
        first += second[-1]
    elif first[-1] in "km" and second[-1] not in "km":
        return Bounds(None, None)  # 103k-105: of what?
    ends = [strike for strike in (_strike(first), _strike(second)) if strike is not None]
    return Bounds(min(ends), max(ends)) if len(ends) == 2 else Bounds(None, None)


def _are_bounds(bounds: Bounds) -> bool:
    if bounds.lower is None or bounds.upper is None:
        return bounds != Bounds(None, None)
    return bounds.lower < bounds.upper


def _plain(text: str, *, keep_lines: bool = False) -> str:
    for odd, plain in (("“", '"'), ("”", '"'), ("–", "-"), ("—", "-"), ("\r\n", "\n")):
        text = text.replace(odd, plain)
    return re.sub(r"[^\S\n]+" if keep_lines else r"\s+", " ", text).strip()
