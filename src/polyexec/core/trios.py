"""From range markets to sets that pay the same whatever happens, each with its proof.

With ``parent`` "price above K1", ``parent_upper`` "price above K2" and children that tile what lies
between, parent = parent_upper + children at every price. A :class:`Trio` exists only with a proof
of everything this rests on; what fails is an :class:`Unproven` that says so in words.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice, pairwise
from typing import Final, TypeAlias

import msgspec

from polyexec.core.forms import Form, FormLeg
from polyexec.core.range_overrides import RangeOverrides
from polyexec.core.ranges import RangeKind, RangeMarket
from polyexec.core.strategy import STRATEGIES
from polyexec.enums import Side, Strategy
from polyexec.errors import InputError, InternalError
from polyexec.models import Market

__all__ = [
    "MOST_CHILDREN",
    "Check",
    "Group",
    "Trio",
    "TrioProof",
    "Unproven",
    "build_group",
    "build_groups",
    "forms_of",
    "group_key",
    "prove",
]

MOST_CHILDREN: Final = 13
"""With two parents they make a batch of 15."""
_MOST_CANDIDATES: Final = 2_000


class Check(msgspec.Struct, frozen=True):
    """One thing that a proof rests on."""

    name: str
    holds: bool
    detail: str
    """The value when it holds, what is missing when it does not."""


class TrioProof(msgspec.Struct, frozen=True):
    """Why a parent is worth its upper parent and the children together."""

    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """All checks hold."""
        return all(check.holds for check in self.checks)

    @property
    def failures(self) -> tuple[Check, ...]:
        """What is missing."""
        return tuple(check for check in self.checks if not check.holds)

    def __str__(self) -> str:
        return "; ".join(f"{check.name}: {check.detail}" for check in self.failures or self.checks)


class Trio(msgspec.Struct, frozen=True, kw_only=True):
    """parent = parent_upper + children at resolution, with the proof.

    Raises
    ------
    InputError
        The proof does not hold, or is not that of these legs.
    """

    parent: RangeMarket
    parent_upper: RangeMarket
    children: tuple[RangeMarket, ...]
    """From the lowest up; with one, the four strategies apply."""
    accept_boundary: bool = False
    """The person takes the risk of a price exactly on a bound."""
    proof: TrioProof

    def __post_init__(self) -> None:
        proof = prove(
            self.parent,
            self.parent_upper,
            self.children,
            accept_boundary=self.accept_boundary,
        )
        if proof != self.proof or not proof.holds:
            raise InputError("proof", str(proof), "must be that of these legs, and hold")

    @property
    def legs(self) -> tuple[RangeMarket, ...]:
        """Parent, upper parent, children."""
        return (self.parent, self.parent_upper, *self.children)


class Unproven(msgspec.Struct, frozen=True):
    """Legs that would make a trio if everything were known and right."""

    group_key: str
    legs: tuple[str, ...]
    """Slugs."""
    missing: tuple[Check, ...]

    def __str__(self) -> str:
        missing = "; ".join(f"{check.name}: {check.detail}" for check in self.missing)
        return f"{self.group_key} {' / '.join(self.legs)}: {missing}"


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What one asset and one instant give."""

    key: str
    asset: str
    instant_ms: int
    trios: tuple[Trio, ...]
    unproven: tuple[Unproven, ...]


def group_key(asset: str, instant_ms: int) -> str:
    """Return the name of a group, as ``btc-2026-01-07T17:00:00.000Z``."""
    time = datetime.fromtimestamp(instant_ms / 1000, UTC)
    return f"{asset}-{time:%Y-%m-%dT%H:%M:%S}.{instant_ms % 1000:03d}Z"


def prove(
    parent: RangeMarket,
    upper: RangeMarket,
    children: Sequence[RangeMarket],
    *,
    accept_boundary: bool = False,
) -> TrioProof:
    """Return what does and what does not speak for parent = upper + children."""
    legs = (parent, upper, *children)
    return TrioProof(
        (
            _same(legs, "asset", [leg.asset for leg in legs]),
            _same(legs, "source", [leg.source for leg in legs]),
            _same_instant(legs),
            _bounds(parent, upper, children),
            _boundary(parent, upper, children, accept_boundary=accept_boundary),
            _neg_risk(legs),
            _distinct(legs),
            *(_known(legs, name, field) for name, field in _TERMS),
            _delay(legs),
            _open(legs),
        )
    )


def build_group(
    markets: Iterable[RangeMarket],
    *,
    accept_boundary: bool = False,
    most_children: int = MOST_CHILDREN,
) -> Group:
    """Return the trios of markets that have one asset and one instant.

    Parameters
    ----------
    markets : iterable of RangeMarket
        At least one, all of one asset and instant.
    accept_boundary : bool
        Take trios whose bounds meet but do not decide a price exactly on them.
    most_children : int
        1: only the trios of the four strategies; more, up to 13: the general form too.
    """
    markets = sorted(markets, key=lambda market: market.slug)
    asset, instant_ms = markets[0].asset, markets[0].instant_ms
    key = group_key(asset, instant_ms)
    parents: defaultdict[Decimal, list[RangeMarket]] = defaultdict(list)
    children: defaultdict[Decimal, list[RangeMarket]] = defaultdict(list)
    for market in markets:
        if market.lower is not None:
            kinds = parents if market.kind is RangeKind.ABOVE else children
            kinds[market.lower].append(market)
    trios: list[Trio] = []
    unproven = _gaps(key, parents, children)
    candidates = _candidates(parents, children, min(most_children, MOST_CHILDREN))
    for low, high, chain in islice(candidates, _MOST_CANDIDATES):
        proof = prove(low, high, chain, accept_boundary=accept_boundary)
        if proof.holds:
            trios.append(
                Trio(
                    parent=low,
                    parent_upper=high,
                    children=chain,
                    accept_boundary=accept_boundary,
                    proof=proof,
                )
            )
        elif not any(child.lower in parents for child in chain[1:]):
            # What fails in longer ones has been told of their parts.
            slugs = tuple(leg.slug for leg in (low, high, *chain))
            unproven.append(Unproven(key, slugs, proof.failures))
    if next(candidates, None) is not None:
        why = f"more than {_MOST_CANDIDATES} ways to tile; the longest were left out"
        unproven.append(Unproven(key, (), (Check("bounds", holds=False, detail=why),)))
    return Group(
        key=key,
        asset=asset,
        instant_ms=instant_ms,
        trios=tuple(trios),
        unproven=tuple(unproven),
    )


def build_groups(
    markets: Iterable[RangeMarket],
    overrides: RangeOverrides | None = None,
    *,
    most_children: int = MOST_CHILDREN,
) -> tuple[tuple[Group, ...], tuple[Unproven, ...]]:
    """Return the groups of any markets, and the markets that belong to none."""
    overrides = overrides or RangeOverrides()
    members: defaultdict[tuple[str, int], list[RangeMarket]] = defaultdict(list)
    stray = []
    for market in markets:
        if market.asset and market.instant_ms > 0:
            members[market.asset, market.instant_ms].append(market)
        else:
            one = (market,)
            checks = (
                _same(one, "asset", [market.asset]),
                _same(one, "source", [market.source]),
                _same_instant(one),
            )
            failures = tuple(check for check in checks if not check.holds)
            stray.append(Unproven("", (market.slug,), failures))
    groups = tuple(
        build_group(
            row,
            accept_boundary=overrides.accepts_boundary(asset, group_key(asset, instant_ms)),
            most_children=most_children,
        )
        for (asset, instant_ms), row in sorted(members.items())
    )
    return groups, tuple(stray)


def forms_of(trio: Trio) -> tuple[Form, ...]:
    """Return the sets that a trio can be traded as.

    One child: one form for each of the four strategies. More: parent YES, upper NO, children NO,
    which pays n + 1; and the mirror, parent NO, upper YES, children YES, which pays 1.
    """
    regions = len(trio.children) + 2
    # Where each leg's YES pays: below K1, in each child, from K2 up.
    yes = [
        tuple(int(region > 0) for region in range(regions)),
        tuple(int(region == regions - 1) for region in range(regions)),
        *(
            tuple(int(region == number) for region in range(regions))
            for number in range(1, regions - 1)
        ),
    ]
    if len(trio.children) == 1:
        return tuple(
            _form(
                trio,
                [(leg.side, leg.pays == pays) for leg, pays in zip(rule.legs, yes, strict=True)],
                yes,
                payout=rule.payout,
                strategy=strategy,
            )
            for strategy, rule in STRATEGIES.items()
        )
    count = len(trio.children)
    buys = [True, False, *[False] * count]
    return (
        _form(trio, [(Side.BUY, is_yes) for is_yes in buys], yes, payout=count + 1),
        _form(trio, [(Side.BUY, not is_yes) for is_yes in buys], yes, payout=1),
    )


# --- checks ----------------------------------------------------------------------------------

_Legs: TypeAlias = tuple[RangeMarket, ...]
_Ladder: TypeAlias = Mapping[Decimal, list[RangeMarket]]

_TERMS: Final = (
    ("tick", "tick_e4"),
    ("minimum", "min_order_size_micro"),
    ("fee", "fee_rate_micro"),
    ("generation", "generation"),
)


def _check(name: str, faults: list[str], detail: str) -> Check:
    return Check(name, not faults, "; ".join(faults) or detail)


def _told(legs: _Legs, *names: str) -> list[str]:
    """Return what the legs themselves say is missing of some facts."""
    return [f"{leg.slug}: {why}" for leg in legs for name, why in leg.missing if name in names]


def _same(legs: _Legs, name: str, values: list[str]) -> Check:
    faults = _told(legs, name)
    if not faults and not all(values):
        faults = [f"not known of {legs[values.index('')].slug}"]
    if not faults and len(set(values)) > 1:
        faults = ["differs: " + ", ".join(f"{legs[values.index(v)].slug} {v}" for v in set(values))]
    return _check(name, faults, values[0])


def _same_instant(legs: _Legs) -> Check:
    texts = [
        group_key("", leg.instant_ms).removeprefix("-") if leg.instant_ms > 0 else ""
        for leg in legs
    ]
    return _same(legs, "instant", texts)


def _bounds(parent: RangeMarket, upper: RangeMarket, children: Sequence[RangeMarket]) -> Check:
    if parent.kind is not RangeKind.ABOVE or upper.kind is not RangeKind.ABOVE:
        return Check("bounds", holds=False, detail="both parents have to be of the kind above")
    odd = [child.slug for child in children if child.kind is not RangeKind.BETWEEN]
    if odd:
        return Check("bounds", holds=False, detail=f"{', '.join(odd)}: not of the kind between")
    faults = []
    if not 1 <= len(children) <= MOST_CHILDREN:
        faults.append(f"{len(children)} children; from 1 to {MOST_CHILDREN} fit into a batch")
    edge = parent.lower
    for child in children:
        if child.lower != edge:
            faults.append(f"{child.slug} begins at {child.lower:f}, not at {edge:f}")
        edge = child.upper
    if edge != upper.lower:
        faults.append(f"the children end at {edge:f}, the upper parent begins at {upper.lower:f}")
    steps = [parent.lower, *(child.upper for child in children)]
    return _check("bounds", faults, " to ".join(f"{step:f}" for step in steps if step is not None))


def _boundary(
    parent: RangeMarket,
    upper: RangeMarket,
    children: Sequence[RangeMarket],
    *,
    accept_boundary: bool,
) -> Check:
    legs = (parent, upper, *children)
    edges = sorted({edge for leg in legs for edge in (leg.lower, leg.upper) if edge is not None})
    faults = []
    for edge in edges:
        paid = [leg.pays(edge) for leg in legs]
        if None in paid:
            faults.append(f"a price of exactly {edge:f} is not decided")
        elif paid[0] != sum(map(bool, paid[1:])):
            yes = [leg.slug for leg, pays in zip(legs, paid, strict=True) if pays] or ["no leg"]
            faults.append(f"at exactly {edge:f} yes is paid by {', '.join(yes)}")
    if faults and accept_boundary:
        return Check(
            "boundary", holds=True, detail="accepted by the overrides: " + "; ".join(faults)
        )
    return _check("boundary", faults, "every price exactly on a bound is decided, once")


def _neg_risk(legs: _Legs) -> Check:
    faults = _told(legs, "neg_risk", "augmented")
    faults += [
        f"{leg.slug}: its event is augmented, outcomes may be added to it"
        for leg in legs
        if leg.neg_risk and leg.augmented is not False and not leg.why_missing("augmented")
    ]
    return _check("neg_risk", faults, "no event is augmented")


def _distinct(legs: _Legs) -> Check:
    faults = _told(legs, "tokens", "record")
    tokens = [token for leg in legs for token in (leg.yes, leg.no)]
    if len(set(tokens)) < len(tokens) or len({leg.condition_id for leg in legs}) < len(legs):
        faults.append("two legs have the same tokens")
    return _check("tokens", faults, f"{len(tokens)} tokens")


def _known(legs: _Legs, name: str, field: str) -> Check:
    faults = _told(legs, name)
    values = [getattr(leg.terms, field) for leg in legs]
    if not faults and None in values:
        faults = [f"not known of {legs[values.index(None)].slug}"]
    return _check(name, faults, ", ".join(str(value) for value in values))


def _delay(legs: _Legs) -> Check:
    faults = _told(legs, "delay", "seconds_delay")
    delays = [leg.terms.delay for leg in legs]
    if not faults and None in delays:
        faults = [f"not known of {legs[delays.index(None)].slug}"]
    if not faults and len(set(delays)) > 1:
        told = ", ".join(f"{leg.slug} {leg.terms.delay}" for leg in legs)
        faults = [f"legs that match later than others: {told}"]
    return _check("delay", faults, str(delays[0]))


def _open(legs: _Legs) -> Check:
    faults = _told(legs, "open")
    faults += [f"{leg.slug} takes no orders" for leg in legs if not leg.is_open and not faults]
    return _check("open", faults, "every market takes orders")


# --- search ----------------------------------------------------------------------------------


def _candidates(
    parents: _Ladder, children: _Ladder, longest: int
) -> Iterator[tuple[RangeMarket, RangeMarket, _Legs]]:
    """Yield lower parent, upper parent and children that meet, the shortest first."""
    chains: list[_Legs] = [(child,) for low in sorted(parents) for child in children.get(low, ())]
    for _ in range(longest):
        for chain in chains:
            lower, upper = chain[0].lower, chain[-1].upper
            if lower is not None and upper is not None:
                for low in parents[lower]:
                    for high in parents.get(upper, ()):
                        yield low, high, chain
        longer = (
            (*chain, child)
            for chain in chains
            if (upper := chain[-1].upper) is not None
            for child in children.get(upper, ())
        )
        chains = list(islice(longer, _MOST_CANDIDATES))


def _gaps(key: str, parents: _Ladder, children: _Ladder) -> list[Unproven]:
    """Say which markets have nobody to make a trio with."""
    if not parents or not children:
        what = "ranges" if children else "strikes"
        markets = [
            market for ladder in (parents, children) for row in ladder.values() for market in row
        ]
        why = f"{len(markets)} {what} and nothing to set against them"
        missing = Check("bounds", holds=False, detail=why)
        return [Unproven(key, tuple(market.slug for market in markets), (missing,))]
    found = []
    for row in children.values():
        for child in row:
            ends = [edge for edge in (child.lower, child.upper) if edge not in parents]
            if ends:
                why = "no market above " + " and none above ".join(f"{edge:f}" for edge in ends)
                missing = Check("bounds", holds=False, detail=why)
                found.append(Unproven(key, (child.slug,), (missing,)))
    for low, high in pairwise(sorted(parents)):
        if low not in children:
            why = f"no range begins at {low:f}, up to {high:f}"
            missing = Check("bounds", holds=False, detail=why)
            slugs = (parents[low][0].slug, parents[high][0].slug)
            found.append(Unproven(key, slugs, (missing,)))
    return found


# --- forms -----------------------------------------------------------------------------------


def _form(
    trio: Trio,
    legs: Sequence[tuple[Side, bool]],
    yes: Sequence[tuple[int, ...]],
    *,
    payout: int,
    strategy: Strategy | None = None,
) -> Form:
    paid = [
        pays if is_yes else tuple(1 - pay for pay in pays)
        for (_, is_yes), pays in zip(legs, yes, strict=True)
    ]
    return Form(
        legs=tuple(
            _leg(market, side, is_yes=is_yes)
            for market, (side, is_yes) in zip(trio.legs, legs, strict=True)
        ),
        payout=payout,
        strategy=strategy,
        outcomes=tuple(zip(*paid, strict=True)),
        group_key=group_key(trio.parent.asset, trio.parent.instant_ms),
        event_slug=trio.parent.event_slug,
        crypto=trio.parent.asset,
    )


def _leg(market: RangeMarket, side: Side, *, is_yes: bool) -> FormLeg:
    terms = market.terms
    traded, other = (market.yes, market.no) if is_yes else (market.no, market.yes)
    if (
        terms.tick_e4 is None
        or terms.min_order_size_micro is None
        or terms.generation is None
        or terms.fee_exponent is None
    ):
        raise InternalError(f"{market.slug}: a proven leg without terms")
    return FormLeg(
        Market(
            token_id=traded,
            condition_id=market.condition_id,
            tick_e4=terms.tick_e4,
            min_order_size_micro=terms.min_order_size_micro,
            neg_risk=market.neg_risk,
            generation=terms.generation,
            fee_rate_micro=terms.fee_rate_micro,
            fee_exponent=terms.fee_exponent,
            market_slug=market.slug,
        ),
        side,
        other,
    )
