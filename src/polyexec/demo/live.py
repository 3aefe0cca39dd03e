"""A generated market that moves in real time on a paper exchange, listed as real ones are."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from polyexec.demo.ladder import Group, RangeMarket
from polyexec.demo.world import BookUpdate, generate_group, generate_updates
from polyexec.models import TokenId
from polyexec.numbers import from_e4, from_micro
from polyexec.paper import Listing, PaperExchange, PaperMarket

__all__ = ["list_group", "play_market", "set_books", "set_levels"]

_NOON_UTC_HOUR: Final = 16  # in New York, in summer
_MANY: Final = 1_000_000_000
_SOURCE: Final = (
    'The resolution source for this market is Binance, specifically the BTC/USDT "Close" prices '
    'currently available at https://www.binance.com/en/trade/BTC_USDT with "1m" and "Candles" '
    "selected on the top bar.\n\n"
    "Price precision is determined by the number of decimal places in the source."
)
# As the exchange words them, except that a price exactly on a strike counts as above it: so the
# ladders tile.
_ABOVE: Final = (
    'This market will resolve to "Yes" if the Binance 1 minute candle for BTC/USDT 12:00 in the ET '
    'timezone (noon) on the date specified in the title has a final "Close" price equal to or '
    "higher than the price specified in the title. Otherwise, this market will resolve to "
    '"No".\n\n' + _SOURCE
)
_BETWEEN: Final = (
    'This market will resolve according to the final "Close" price of the Binance 1 minute candle '
    "for BTC/USDT 12:00 in the ET timezone (noon) on the date specified in the title. Otherwise, "
    'this market will resolve to "No".\n\n'
    "If the reported value falls exactly between two brackets, then this market will resolve to "
    "the higher range bracket.\n\n" + _SOURCE
)


async def play_market(exchange: PaperExchange, *, seed: int = 1, interval_s: float = 0.25) -> None:
    """List a generated group and let its books move until cancelled."""
    group = generate_group(seed)
    list_group(exchange, group, days=2)
    for updates in generate_updates(group, seed, _MANY):
        set_books(exchange, updates)
        await asyncio.sleep(interval_s)


def list_group(
    exchange: PaperExchange, group: Group, *, days: int
) -> list[tuple[PaperMarket, Listing]]:
    """Open the markets of a group and show them in the metadata; they end after so many days."""
    listed = []
    end = datetime.now(UTC).replace(hour=_NOON_UTC_HOUR, minute=0, second=0, microsecond=0)
    end += timedelta(days=days)
    for market in group.markets:
        opened = exchange.add_market(
            market.slug,
            tokens=(market.yes, market.no),
            tick_size=from_e4(market.tick_e4),
            neg_risk=market.neg_risk,
            fee_rate=from_micro(market.fee_rate_micro),
        )
        listing = _listing(market, end)
        exchange.list_market(opened, listing)
        listed.append((opened, listing))
    return listed


def set_books(exchange: PaperExchange, updates: Iterable[BookUpdate]) -> None:
    """Let the exchange's house offer what the updates say."""
    for update in updates:
        set_levels(exchange, update.market.yes, update.bids, update.asks)


def set_levels(
    exchange: PaperExchange,
    token: TokenId,
    bids: Iterable[tuple[int, int]],
    asks: Iterable[tuple[int, int]],
) -> None:
    """Let it offer exactly these levels of a token: (price in ten-thousandths, micro-shares)."""
    exchange.set_book(
        token,
        bids=[(from_e4(price), from_micro(size)) for price, size in bids],
        asks=[(from_e4(price), from_micro(size)) for price, size in asks],
    )


def _listing(market: RangeMarket, end: datetime) -> Listing:
    day = f"{end:%B} {end.day}"
    if market.upper is None:
        question = f"Will the price of Bitcoin be above ${market.lower:,} on {day}?"
        title, description, event = f"{market.lower:,}", _ABOVE, "bitcoin-above-on-demo-day"
    else:
        bounds = f"${market.lower:,} and ${market.upper:,}"
        question = f"Will the price of Bitcoin be between {bounds} on {day}?"
        title = f"{market.lower:,}-{market.upper:,}"
        description, event = _BETWEEN, "bitcoin-price-on-demo-day"
    return Listing(
        question=question,
        description=description,
        end_ms=int(end.timestamp() * 1000),
        event_slug=event,
        group_item_title=title,
        tags=("bitcoin", "crypto"),
    )
