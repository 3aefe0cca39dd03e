"""A generated market for the notebooks: two strikes, the range between them, and a recording.

The prices are made up: a spot price walks, every market is quoted from it, and some makers look at
it later than others. That is what makes an edge here; how often and how large is a number of this
file, and says nothing about the real exchange.
"""

import hashlib
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polyexec as px

START_MS = 1_790_000_000_000
RECEIVED_AFTER_MS = 35  # a frame is known so long after the exchange has stamped it
SPREAD_OF_OUTCOMES = 1_500.0  # dollars: standard deviation of the price at expiry


def token_id(text: str) -> px.TokenId:
    """Return an id of the exchange's kind, the same in every run."""
    return px.TokenId(str(int.from_bytes(hashlib.sha256(text.encode()).digest())))


@dataclass(frozen=True, order=True)
class RangeMarket:
    """One market on where the price ends: at or above ``lower``, below ``upper``."""

    slug: str
    lower: int
    upper: int | None
    lag_s: int
    """How late its makers look at the price."""

    @property
    def yes(self) -> px.TokenId:
        return token_id(self.slug + "/yes")

    @property
    def no(self) -> px.TokenId:
        return token_id(self.slug + "/no")

    @property
    def condition_id(self) -> px.ConditionId:
        return px.ConditionId("0x" + hashlib.sha256(self.slug.encode()).hexdigest())

    def fair(self, spot: float) -> float:
        """Return the probability that it pays."""
        upper = 0.0 if self.upper is None else _above(self.upper, spot)
        return _above(self.lower, spot) - upper

    def pays(self, final: float) -> bool:
        return self.lower <= final and (self.upper is None or final < self.upper)

    def leg(self, outcome: str) -> px.FormLeg:
        """Return the leg that buys YES or NO."""
        token, other = (self.yes, self.no) if outcome == "yes" else (self.no, self.yes)
        market = px.Market(
            token_id=token,
            condition_id=self.condition_id,
            tick_e4=100,
            min_order_size_micro=5_000_000,
            neg_risk=self.upper is not None,
            generation=px.Generation.CLOB_V2,
            fee_rate_micro=70_000,
            market_slug=self.slug,
        )
        return px.FormLeg(market=market, side=px.Side.BUY, complement_token_id=other)


PARENT = RangeMarket("bitcoin-above-90k", 90_000, None, lag_s=0)
UPPER = RangeMarket("bitcoin-above-92k", 92_000, None, lag_s=1)
CHILD = RangeMarket("bitcoin-between-90k-92k", 90_000, 92_000, lag_s=4)
MARKETS = (PARENT, UPPER, CHILD)


def triangle() -> tuple[px.Form, ...]:
    """Return both ways to buy the triangle: above 90k = above 92k + between, at every price."""
    common: dict[str, Any] = {"group_key": "btc-generated", "event_slug": "bitcoin-generated"}
    return (
        px.Form(
            legs=(PARENT.leg("yes"), UPPER.leg("no"), CHILD.leg("no")),
            payout=2,
            strategy=px.Strategy.POLYMARKET_TRIANGLE_BUY,
            **common,
        ),
        px.Form(
            legs=(PARENT.leg("no"), UPPER.leg("yes"), CHILD.leg("yes")),
            payout=1,
            strategy=px.Strategy.POLYMARKET_COMPLEMENT_BUY,
            **common,
        ),
    )


def write_recording(path: Path, *, seconds: int = 1_800, seed: int = 1) -> Path:
    """Write what a recorder of the market channel hears: books that change, then the outcomes."""
    with path.open("w") as file:
        for received_ms, event in _events(seconds, random.Random(seed)):
            file.write(json.dumps({"recv_ts_ms": received_ms, "raw": event}) + "\n")
    return path


def _events(seconds: int, rng: random.Random) -> Iterator[tuple[int, dict[str, Any]]]:
    spots = [91_000.0]
    shown: dict[str, tuple[int, int]] = {}
    for second in range(seconds):
        jump = rng.gauss(0, 400) if rng.random() < 0.02 else 0.0
        spots.append(spots[-1] + rng.gauss(0, 6) + jump)
        moments = sorted((rng.randrange(1000), market) for market in MARKETS)
        for offset_ms, market in moments:
            now_ms = START_MS + 1000 * second + offset_ms
            seen = spots[max(0, len(spots) - 1 - market.lag_s)]
            middle = round(100 * market.fair(seen))
            bid, ask = max(1, middle - 1), min(99, middle + 1)
            if shown.get(market.slug) == (bid, ask) and second % 20:
                continue  # nothing new
            shown[market.slug] = bid, ask
            sizes = [rng.randint(10, 120) for _ in range(4)]
            for event in _books(market, bid, ask, sizes, now_ms):
                yield now_ms + RECEIVED_AFTER_MS, event
    end_ms = START_MS + 1000 * seconds
    for market in MARKETS:
        won = market.pays(spots[-1])
        yield (
            end_ms + RECEIVED_AFTER_MS,
            {
                "event_type": "market_resolved",
                "market": market.condition_id,
                "assets_ids": [market.yes, market.no],
                "winning_asset_id": market.yes if won else market.no,
                "winning_outcome": "Yes" if won else "No",
                "timestamp": str(end_ms),
            },
        )


def _books(
    market: RangeMarket, bid: int, ask: int, sizes: list[int], now_ms: int
) -> Iterator[dict[str, Any]]:
    """Yield the books of both tokens: they are one book, seen from two sides."""
    bids = [(bid - step, sizes[step]) for step in (0, 1) if bid - step > 0]
    asks = [(ask + step, sizes[2 + step]) for step in (0, 1) if ask + step < 100]
    mirrored = ([(100 - price, size) for price, size in side] for side in (asks, bids))
    for token, sides in ((market.yes, (bids, asks)), (market.no, mirrored)):
        below, above = sides
        yield {
            "event_type": "book",
            "market": market.condition_id,
            "asset_id": token,
            "timestamp": str(now_ms),
            "tick_size": "0.01",
            "bids": _levels(reversed(below)),
            "asks": _levels(reversed(above)),
        }


def _levels(side: Iterator[tuple[int, int]]) -> list[dict[str, str]]:
    return [{"price": f"{price / 100:.2f}", "size": str(size)} for price, size in side]


def _above(strike: float, spot: float) -> float:
    return 0.5 * math.erfc((strike - spot) / (SPREAD_OF_OUTCOMES * math.sqrt(2.0)))
