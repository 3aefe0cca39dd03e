"""A range group: the two ladders of one expiry and the trios that tile."""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from polyexec.enums import Strategy
from polyexec.models import Quote, TokenId, TopOfBook
from polyexec.numbers import from_e4, from_micro
from polyexec.signals import ArbSignal

__all__ = ["Group", "RangeMarket", "Trio", "build_signals"]


class RangeMarket(msgspec.Struct, frozen=True, kw_only=True):
    """One yes/no market on where a price ends up: at or above ``lower``, below ``upper``."""

    slug: str
    lower: int
    upper: int | None
    """None: a parent, "price >= lower"."""
    yes: TokenId
    no: TokenId
    neg_risk: bool
    tick_e4: int
    fee_rate_micro: int


class Trio(msgspec.Struct, frozen=True):
    """parent = parent_upper + child at resolution."""

    parent: RangeMarket
    parent_upper: RangeMarket
    child: RangeMarket


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Both ladders of one expiry."""

    key: str
    event_slug: str
    crypto: str
    markets: tuple[RangeMarket, ...]

    def trios(self) -> Iterator[Trio]:
        """Yield every child with the two parents at its bounds."""
        parents = {market.lower: market for market in self.markets if market.upper is None}
        for child in self.markets:
            if child.upper is None:
                continue
            lower, upper = parents.get(child.lower), parents.get(child.upper)
            if lower is not None and upper is not None:
                yield Trio(lower, upper, child)


def build_signals(
    group: Group,
    trio: Trio,
    tops: Mapping[TokenId, TopOfBook],
    *,
    timestamp_ms: int,
    inventory: Iterable[TokenId] = (),
) -> Iterator[ArbSignal]:
    """Yield a signal per strategy that the books and the inventory of a trio allow.

    Whether the edge is worth it is not decided here.
    """
    p, u, c = trio.parent, trio.parent_upper, trio.child
    forms = [
        (Strategy.POLYMARKET_TRIANGLE_BUY, p.yes, u.no, c.no),
        (Strategy.POLYMARKET_COMPLEMENT_BUY, p.no, u.yes, c.yes),
    ]
    held = set(inventory)
    if p.yes in held:
        forms.append((Strategy.SELL_PARENT_BUY_CHILDREN, p.yes, u.yes, c.yes))
    if u.yes in held and c.yes in held:
        forms.append((Strategy.BUY_PARENT_SELL_CHILDREN, p.yes, u.yes, c.yes))
    for strategy, *tokens in forms:
        parent, upper, child = (
            _quote(market, token, tops.get(token))
            for market, token in zip((p, u, c), tokens, strict=True)
        )
        if parent is None or upper is None or child is None:
            continue
        yield ArbSignal(
            strategy,
            parent,
            upper,
            child,
            timestamp_ms=timestamp_ms,
            group_key=group.key,
            event_slug=group.event_slug,
            crypto=group.crypto,
        )


def _quote(market: RangeMarket, token: TokenId, top: TopOfBook | None) -> Quote | None:
    if top is None or top.best_ask_e4 is None or top.best_bid_e4 is None:
        return None
    return Quote(
        token,
        market.slug,
        top.best_bid,
        top.best_ask,
        from_micro(top.best_bid_size_micro),
        from_micro(top.best_ask_size_micro),
        market.neg_risk,
        from_e4(market.tick_e4),
        fee_rate=from_micro(market.fee_rate_micro),
    )
