"""``make feed-soak``: hours of market feed with faults; no book that is not the exchange's is live.

The real feed, the real paper exchange, TLS between them on one loop whose clock jumps over the time
in which nothing happens. After every step the table is compared with the exchange: a live book that
differs is stale, unless its change was withheld so recently that the feed cannot know yet.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from polyexec._impl import PriceTable
from polyexec._pure.prices import BookState
from polyexec.clob.client import ClobClient
from polyexec.core.market_events import MarketEvent
from polyexec.engine.feed import Feed
from polyexec.engine.following import FeedSettings
from polyexec.paper import PaperExchange, PaperMarket
from tests.engine.support import described, is_true
from tests.feed_soak.jumping import JumpingLoop

SETTINGS = FeedSettings(
    tokens_per_connection=8,
    stale_after_s=20.0,
    snapshot_timeout_s=5.0,
    watch_interval_s=1.0,
    hash_checks_per_s=5,
    hash_interval_s=5.0,
)
# A change that was withheld is noticed, at the latest, when its token has been silent: then REST is
# asked and given time to be wrong. With the stream of others alive, the hash is sooner.
DUE_S = SETTINGS.stale_after_s + SETTINGS.snapshot_timeout_s + SETTINGS.best_grace_s + 5.0
# How often what was sent is waited for, a millisecond each, and the turns of the loop a look takes.
_ARRIVAL_LOOKS = 200
_TURNS = 5
_START_MS = 1_790_000_000_000
_MALFORMED = (
    b"{",
    b"[1, 2",
    b"[]",
    b"null",
    b"\xc3\x28",
    b'"text"',
    b"PING",
    b'{"event_type":"news"}',
    b'{"event_type":7}',
    b'{"event_type":"price_change","market":"%s","timestamp":"x","price_changes":[{}]}',
    b'{"event_type":"price_change","timestamp":"9999999999999","price_changes":[{"asset_id":"%s",'
    b'"price":"0.5","size":"1","side":"BUY"}]}',
    b'{"event_type":"price_change","timestamp":"%t","price_changes":[{"asset_id":"%s",'
    b'"price":"0.5","size":"-1","side":"BUY"}]}',
    b'{"event_type":"price_change","timestamp":"%t","price_changes":[{"asset_id":"%s",'
    b'"price":"0.1234","size":"1","side":"BUY"}]}',
    b'{"event_type":"price_change","timestamp":"%t","price_changes":[{"asset_id":"%s",'
    b'"price":"0.5","size":"1","side":"HOLD"}]}',
    b'{"event_type":"price_change","timestamp":"1","price_changes":[{"asset_id":"77",'
    b'"price":"0.5","size":"1","side":"BUY"}]}',
    b'{"event_type":"book","asset_id":"%s","timestamp":"%t","bids":"many","asks":[]}',
    b'{"event_type":"book","asset_id":"%s","timestamp":"1","bids":[],"asks":[]}',
    b'{"event_type":"tick_size_change","asset_id":"%s","new_tick_size":"7","timestamp":"%t"}',
    b'{"event_type":"best_bid_ask","asset_id":"%s","best_bid":{},"timestamp":"%t"}',
)


class Count(msgspec.Struct):
    """What was done to the feed, and what it did."""

    steps: int = 0
    withheld: int = 0
    malformed: int = 0
    disconnects: int = 0
    silences: int = 0
    compared: int = 0
    live: int = 0
    """Of the compared books."""
    late: int = 0
    """Live and different while the feed cannot know yet."""
    stale: int = 0
    unrecovered: int = 0
    """Books that were not live again in the quiet at the end of an hour."""
    rss_early: int = 0
    rss_late: int = 0


class Soak:
    """One run."""

    def __init__(self, seed: int, *, blind: bool = False) -> None:
        self.source = random.Random(seed)
        self.count = Count()
        self.blind = blind  # a feed that doubts nothing: the soak must notice
        self.lost_at: dict[str, float] = {}
        """When the oldest change of a token was withheld that the feed has not seen since."""
        self.markets: list[PaperMarket] = []
        self._level = 0

    async def run(self, hours: float, early_share: float = 0.2) -> Feed:
        """Play so many hours, jumped over for the most part."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()

        def now_ms() -> int:
            return _START_MS + int((loop.time() - began_s) * 1000)

        exchange = PaperExchange(clock=now_ms)
        self.markets = [exchange.add_market(f"m{n}", neg_risk=n % 3 == 0) for n in range(10)]
        for market in self.markets:
            exchange.seed_book(market.yes, bids=[("0.40", 100)], asks=[("0.60", 100)])
        async with exchange, ClobClient(exchange.url, ssl_context=exchange.ssl_context) as client:
            self.exchange, self.table = exchange, PriceTable(32)

            async def books(token_ids: Any) -> list[MarketEvent]:
                if self.source.random() < 0.2:
                    raise OSError("REST is down")
                return list(await client.book_events(token_ids))

            feed = Feed(
                exchange.ws_url,
                self.table,
                on_touched=lambda slot: None,
                settings=SETTINGS,
                fetch_books=books,
                ssl_context=exchange.ssl_context,
                time_ms=now_ms,
                jitter=self.source.random,
            )
            if self.blind:
                feed._keeper.doubt = lambda token, kind: None  # type: ignore[method-assign]
            async with feed:
                for market in self.markets:
                    for record in described(market):
                        feed.describe(record)
                feed.subscribe([t for market in self.markets for t in market.token_ids])
                await self._hours(feed, hours, early_share, loop.time)
        return feed

    async def _hours(
        self, feed: Feed, hours: float, early_share: float, now: Callable[[], float]
    ) -> None:
        end_s, hour_s = now() + 3600 * hours, now() + 3600
        begin_s = now()
        while now() < end_s:
            self._step(now())
            await asyncio.sleep(self.source.choice((0.0, 0.0, 0.1, 1.0, 3.0, 10.0)))
            await self._arrived()
            self._compare(now())
            if now() > hour_s or now() >= end_s:
                hour_s += 3600
                await self._quiet(now)
            if not self.count.rss_early and now() - begin_s > 3600 * hours * early_share:
                self.count.rss_early = resident_bytes()
        self.count.rss_late = resident_bytes()

    async def _arrived(self) -> None:
        """Let what was sent arrive, in real time: the clock does not jump in the meantime.

        A busy machine may take the processor away between a byte and the task that reads it. A
        book that differs although nothing of it was withheld is looked at again for that long;
        what is not there by then is no delay.
        """
        for _ in range(_ARRIVAL_LOOKS):
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            silent = self.exchange.channels.silent
            if silent or all(map(self._is_right_or_lost, self._tokens())):
                return
            time.sleep(0.001)  # noqa: ASYNC251 - the loop must not jump over it

    def _is_right_or_lost(self, token: str) -> bool:
        if token in self.lost_at or self.table.state(self.table.slot(token)) is not BookState.LIVE:
            return True
        return is_true(self.exchange, self.table, token)

    async def _quiet(self, now: Callable[[], float]) -> None:
        """Let all faults end; every book must come back."""
        self._set_fault(None)
        self.exchange.channels.silent = False
        until_s = now() + 240
        while now() < until_s:
            await asyncio.sleep(1.0)
            await self._arrived()
            self._compare(now())
        wrong = [t for t in self._tokens() if not is_true(self.exchange, self.table, t)]
        self.count.unrecovered += len(wrong)

    def _step(self, now_s: float) -> None:
        self.count.steps += 1
        roll = self.source.random()
        channels = self.exchange.channels
        if roll < 0.006:
            self._set_fault(self.source.choice(("some", "market", "all", "types")))
        elif roll < 0.016:
            self._set_fault(None)
        elif roll < 0.020:
            storm = self.source.choice((1, 1, 1, 5))
            for _ in range(storm):
                self.count.disconnects += channels.market_sessions
                channels.cut()
        elif roll < 0.022:
            self.count.silences += 1
            channels.silent = True
        elif roll < 0.030:
            channels.silent = False
        elif roll < 0.050:
            self._send_malformed(now_s)
        elif roll < 0.055:
            market = self.source.choice(self.markets)
            self.exchange.set_tick_size(market.yes, self.source.choice(("0.01", "0.001")))
        for _ in range(self.source.choice((0, 1, 1, 2, 6))):
            self._change(now_s)

    def _change(self, now_s: float) -> None:
        market = self.source.choice(self.markets)
        side, low = self.source.choice((("BUY", 25), ("SELL", 60)))
        price = f"0.{low + self.source.randrange(15)}"
        self._level += 1
        size = self.source.choice((0, self._level % 977 + 1, self._level / 100))
        try:
            self.exchange.set_level(market.yes, side, price, size)
        except ValueError:  # off the tick of now
            return

    def _set_fault(self, kind: str | None) -> None:
        channels, source = self.exchange.channels, self.source
        if kind is None:
            channels.withhold = None
            return
        market = source.choice(self.markets).condition_id
        rules: dict[str, Callable[[dict[str, Any]], bool]] = {
            "some": lambda message: source.random() < 0.3,
            "market": lambda message: message.get("market") == market,
            "all": lambda message: True,
            "types": lambda message: message["event_type"] == "price_change",
        }
        rule = rules[kind]
        loop = asyncio.get_running_loop()

        def withhold(message: dict[str, Any]) -> bool:
            lost = rule(message)
            if lost:
                self.count.withheld += 1
                for change in message.get("price_changes", [message]):
                    self.lost_at.setdefault(change.get("asset_id", ""), loop.time())
            return lost

        channels.withhold = withhold

    def _send_malformed(self, now_s: float) -> None:
        market = self.source.choice(self.markets)
        text = self.source.choice(_MALFORMED)
        text = text.replace(b"%s", self.source.choice(market.token_ids).encode())
        text = text.replace(b"%t", str(self.exchange.engine.clock()).encode())
        for session in tuple(self.exchange.channels._markets):
            if not self.exchange.channels.silent:
                self.count.malformed += 1
                session.socket.send_text(text)

    def _tokens(self) -> list[str]:
        return [token for market in self.markets for token in market.token_ids]

    def _compare(self, now_s: float) -> None:
        # In silence every change is withheld.
        if self.exchange.channels.silent:
            for token in self._tokens():
                self.lost_at.setdefault(token, now_s)
        for token in self._tokens():
            self.count.compared += 1
            slot = self.table.slot(token)
            if self.table.state(slot) is not BookState.LIVE:
                # It will be loaded anew: what was lost before does not count. What is lost from
                # now on does.
                self.lost_at.pop(token, None)
                continue
            self.count.live += 1
            if is_true(self.exchange, self.table, token):
                self.lost_at.pop(token, None)
            elif now_s - self.lost_at.get(token, now_s - DUE_S) < DUE_S:
                self.count.late += 1
            else:
                self.count.stale += 1
                if self.count.stale <= 5:
                    since = now_s - self.lost_at.get(token, -1.0)
                    print(f"stale: {token[:8]} at {now_s:.3f}, change lost {since:.1f} s ago")


def resident_bytes() -> int:
    """Return the memory of this process that is in use now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main() -> int:
    """Run, and print the figures last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="of the jumping clock")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true", help="a feed without doubts: must fail")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    soak = Soak(options.seed, blind=options.blind)
    with asyncio.Runner(loop_factory=JumpingLoop) as runner, contextlib.suppress(KeyboardInterrupt):
        feed = runner.run(soak.run(options.hours))
    count, seen = soak.count, feed.counts
    print(f"seed={options.seed} {count}")
    print(f"{seen}")
    growth = max(0.0, (count.rss_late - count.rss_early) / 2**20)
    print(
        f"hours={options.hours:g} events={seen.events} disconnects={seen.losses} "
        f"stale={count.stale} rss_growth_mib={growth:.1f}"
    )
    return 1 if count.stale or count.unrecovered or growth > 8 else 0


if __name__ == "__main__":
    sys.exit(main())
