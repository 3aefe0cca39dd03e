"""The market feed: as many connections as the tokens need, one price table.

What a connection told is void at the moment it is lost. A book counts again with its next
snapshot, and only as long as nothing speaks against it (:mod:`.keeping`).
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Protocol, Self

from polyexec._impl import PriceTable
from polyexec.clob.market_channel import IDS_PER_FRAME, MarketChannel
from polyexec.clob.markets import MarketCache
from polyexec.clob.websocket import ChannelCounts
from polyexec.core.market_events import BookEvent, MarketEvent, TickSizeChange, decode_frame
from polyexec.engine.following import FeedCounts, FeedSettings, Followed
from polyexec.engine.keeping import BookKeeper
from polyexec.errors import InputError, UsageError
from polyexec.models import Market, TokenId, TopOfBook
from polyexec.parsing import parse_token_id

__all__ = ["Feed", "FetchBooks", "Tap"]

log = logging.getLogger("polyexec.engine")

FetchBooks = Callable[[Sequence[TokenId]], Awaitable[Sequence[MarketEvent]]]
_RESET_S: Final = 60.0
_DEAD_TIMEOUTS: Final = 3


class Tap(Protocol):
    """What is told everything that comes in, before it is read: a recorder."""

    def on_frame(self, connection: int, frame: bytes, received_ns: int) -> None: ...  # noqa: D102
    def on_up(self, connection: int) -> None: ...  # noqa: D102
    def on_down(self, connection: int) -> None: ...  # noqa: D102


class _Connection:
    """A connection and its tokens; listens to its channel."""

    def __init__(self, feed: "Feed", number: int) -> None:
        self.feed = feed
        self.number = number
        self.tokens: dict[TokenId, Followed] = {}
        self.news_s = 0.0
        self.up_s = 0.0
        self.channel = feed._channel_for(self)
        self.task = asyncio.get_running_loop().create_task(self.channel.run())

    @property
    def is_up(self) -> bool:
        return self.channel.is_connected

    def on_frame(self, frame: bytes, received_ns: int) -> None:
        self.feed._on_frame(self, frame, received_ns)

    def on_up(self) -> None:
        self.feed._on_up(self)

    def on_down(self) -> None:
        self.feed._on_down(self)


class Feed:
    """Follows tokens on the market channel and keeps their books in a price table.

    Use it as an async context manager, or call :meth:`start` and :meth:`close`. Everything runs
    on the loop that started it; the methods are not for other threads.

    Parameters
    ----------
    url : str
        ``wss://host[:port][/path]``, the root of the channels.
    table : PriceTable
        The feed adds and removes tokens and is the only one that writes to it.
    on_touched : callable
        Called with the slot of a token whose book has changed, in the call in which the frame
        arrived: it must be quick. An exception is logged and counted.
    settings : FeedSettings
    on_event : callable or None
        Called with every event that is no news of a book: ``TickSizeChange``, ``LastTradePrice``,
        ``BestBidAsk``, ``NewMarket``, ``MarketResolved``.
    on_top : callable or None
        Called with a ``TopOfBook`` when the best price or size of a book has changed.
    fetch_books : async callable or None
        From token ids to :class:`~polyexec.core.market_events.BookEvent`, at most 100 at a time:
        ``ClobClient.book_events``. Silent tokens are compared with it; without it they are
        subscribed anew.
    markets : MarketCache or None
        Is told of new ticks.
    tap : Tap or None
        Is told of every frame, connect and loss.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted.
    time_ms, jitter : callable
        Unix time in milliseconds; a random number from 0 to 1.

    Raises
    ------
    ConfigError
        The URL is not a wss host.
    """

    def __init__(
        self,
        url: str,
        table: PriceTable,
        *,
        on_touched: Callable[[int], object],
        settings: FeedSettings | None = None,
        on_event: Callable[[MarketEvent], object] | None = None,
        on_top: Callable[[TopOfBook], object] | None = None,
        fetch_books: FetchBooks | None = None,
        markets: MarketCache | None = None,
        tap: Tap | None = None,
        ssl_context: ssl.SSLContext | None = None,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._url = url
        self._settings = settings or FeedSettings()
        self._observer = on_event
        self._fetch_books = fetch_books
        self._markets = markets
        self._tap = tap
        self._ssl_context = ssl_context
        self._time_ms = time_ms
        self._jitter = jitter
        self._keeper = BookKeeper(
            table,
            self._settings,
            on_touched=on_touched,
            on_wanted=self._on_wanted,
            on_event=self._on_event,
            on_top=on_top,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: list[_Connection] = []
        self._wanted: list[Followed] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        up = sum(one.is_up for one in self._connections)
        return f"Feed({len(self._keeper.tokens)} tokens, {up}/{len(self._connections)} connected)"

    # --- life ---------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Begin to watch; connections are made with the first tokens."""
        if self._loop is not None:
            raise UsageError("the feed runs already")
        self._loop = asyncio.get_running_loop()
        self._spawn(self._every(self._settings.watch_interval_s, self._watch))
        pause_s = 1 / max(1, min(self._settings.hash_checks_per_s, 50))
        if self._settings.hash_checks_per_s > 0:
            self._spawn(self._every(pause_s, self._check_hashes))
        return self

    async def close(self) -> None:
        """Hang up. What the table holds is void from then on."""
        connections, self._connections = self._connections, []
        tasks = [*self._tasks, *(one.task for one in connections)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for token in self._keeper.tokens.values():
            self._keeper.void(token)
        self._loop = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    # --- what is followed ---------------------------------------------------------------------

    @property
    def counts(self) -> FeedCounts:
        """What it has seen."""
        return self._keeper.counts

    @property
    def connections(self) -> tuple[tuple[bool, ChannelCounts], ...]:
        """Of each connection: whether it is up, and what it has seen."""
        return tuple((one.is_up, one.channel.counts) for one in self._connections)

    @property
    def tokens(self) -> tuple[TokenId, ...]:
        """What is subscribed to."""
        return tuple(one.token_id for one in self._keeper.tokens.values())

    def subscribe(self, token_ids: Iterable[TokenId | str | int]) -> None:
        """Follow more tokens; those that are followed already stay as they are.

        Raises
        ------
        InputError
            One is not a token id; none is subscribed then.
        UsageError
            The feed is not running.
        """
        wanted = [parse_token_id(token) for token in token_ids]
        if self._loop is None:
            raise UsageError("the feed is not running: start() it first")
        fresh = [token for token in dict.fromkeys(wanted) if token not in self._keeper.tokens]
        limit = self._settings.tokens_per_connection
        while fresh:
            # Neighbours stay together: the two tokens of a market change in the same message.
            connection = next((c for c in self._connections if len(c.tokens) < limit), None)
            if connection is None:
                connection = _Connection(self, len(self._connections))
                self._connections.append(connection)
            room = limit - len(connection.tokens)
            some, fresh = fresh[:room], fresh[room:]
            for token_id in some:
                token = self._keeper.follow(token_id, connection.number)
                connection.tokens[token_id] = token
                if connection.is_up:
                    self._note_asked(token)
            connection.channel.subscribe(some)

    def unsubscribe(self, token_ids: Iterable[TokenId | str | int]) -> None:
        """Follow these no longer. Their slots are given back: remove their forms before."""
        by_owner: dict[int, list[TokenId]] = {}
        for token_id in [parse_token_id(token) for token in token_ids]:
            token = self._keeper.drop(token_id)
            if token is not None:
                del self._connections[token.owner].tokens[token_id]
                by_owner.setdefault(token.owner, []).append(token_id)
        for owner, gone in by_owner.items():
            self._connections[owner].channel.unsubscribe(gone)

    def describe(self, market: Market) -> None:
        """Take in what hashes need of a token's market: minimum size, neg-risk, condition."""
        self._keeper.describe(market)

    # --- connections --------------------------------------------------------------------------

    def _channel_for(self, connection: _Connection) -> MarketChannel:
        settings = self._settings
        return MarketChannel(
            self._url,
            listener=connection,
            ssl_context=self._ssl_context,
            ping_interval_s=settings.ping_interval_s,
            silence_s=settings.silence_s,
            connect_timeout_s=settings.connect_timeout_s,
            jitter=self._jitter,
            custom_features=settings.custom_features,
        )

    def _on_frame(self, connection: _Connection, frame: bytes, received_ns: int) -> None:
        if self._tap is not None:
            self._tell_tap(self._tap.on_frame, connection.number, frame, received_ns)
        keeper = self._keeper
        keeper.counts.frames += 1
        now_s = self._now_s()
        if keeper.take(
            decode_frame(frame),
            owner=connection.number,
            now_s=now_s,
            now_ms=self._time_ms(),
            received_ns=received_ns,
        ):
            connection.news_s = now_s

    def _on_up(self, connection: _Connection) -> None:
        if self._tap is not None:
            self._tell_tap(self._tap.on_up, connection.number)
        connection.up_s = self._now_s()
        again: list[Followed] = []
        for token in connection.tokens.values():
            if token.is_loaded:
                continue  # its book was quicker than the first pong
            if token.has_answered:
                again.append(token)  # and was doubted before that: no other one is on its way
            else:
                self._note_asked(token)
        self._ask(again)

    def _on_down(self, connection: _Connection) -> None:
        if self._tap is not None:
            self._tell_tap(self._tap.on_down, connection.number)
        self._keeper.counts.losses += 1
        for token in connection.tokens.values():
            self._keeper.void(token)
            token.asked_s = token.ask_at_s = 0.0
            token.asks, token.has_answered = 0, False

    def _on_event(self, event: MarketEvent) -> None:
        if isinstance(event, TickSizeChange) and self._markets is not None:
            try:
                self._markets.tick_size_change(
                    event.asset_id, event.new_tick_size, condition_id=event.market
                )
            except InputError as error:
                log.warning("feed_tick_refused", extra={"reason": str(error)})
        if self._observer is not None:
            self._observer(event)

    def _tell_tap(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:
            self._keeper.counts.callback_errors += 1
            log.exception("feed_tap_failed")

    # --- asking for books ---------------------------------------------------------------------

    def _on_wanted(self, token: Followed) -> None:
        if not self._wanted and self._loop is not None:
            self._loop.call_soon(self._ask_wanted)
        self._wanted.append(token)

    def _ask_wanted(self) -> None:
        wanted, self._wanted = self._wanted, []
        self._ask(token for token in wanted if self._keeper.tokens.get(token.token_id) is token)

    def _ask(self, tokens: Iterable[Followed]) -> None:
        """Subscribe anew: the books come in order with the changes around them."""
        by_owner: dict[int, list[TokenId]] = {}
        for token in tokens:
            if self._connections[token.owner].is_up and not token.asked_s:
                self._note_asked(token)
                by_owner.setdefault(token.owner, []).append(token.token_id)
        for owner, token_ids in by_owner.items():
            self._connections[owner].channel.resubscribe(token_ids)

    def _note_asked(self, token: Followed) -> None:
        self._keeper.counts.asked += 1
        token.asked_s = token.last_asked_s = self._now_s()
        token.ask_at_s = 0.0
        token.is_verifying = False
        token.asks += 1

    # --- watching -----------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look at every token: is an answer overdue, is it silent, is it what was said of it?"""
        now_s = self._now_s()
        silent: list[Followed] = []
        again: list[Followed] = []
        for connection in self._connections:
            if connection.is_up:
                for token in connection.tokens.values():
                    self._look_at(connection, token, now_s, silent, again)
                self._look_at_connection(connection, now_s)
        self._keeper.counts.stale += len(silent)
        if self._fetch_books is None:
            again += silent
        else:
            for at in range(0, len(silent), IDS_PER_FRAME):
                some = silent[at : at + IDS_PER_FRAME]
                for token in some:
                    token.asked_s, token.is_verifying = now_s, True
                self._spawn(self._verify(self._fetch_books, some))
        self._ask(again)

    def _look_at(
        self,
        connection: _Connection,
        token: Followed,
        now_s: float,
        silent: list[Followed],
        again: list[Followed],
    ) -> None:
        if token.asked_s:
            if now_s - token.asked_s > self._settings.snapshot_timeout_s:
                self._miss(connection, token, now_s, again)
        elif token.ask_at_s:
            if now_s >= token.ask_at_s:
                again.append(token)
        elif not token.is_loaded:
            again.append(token)
        elif now_s - token.heard_s > self._settings.stale_after_s and not token.differs_s:
            silent.append(token)
        else:
            if token.asks and now_s - token.last_asked_s > _RESET_S:
                token.asks = 0
            self._keeper.review(token, now_s)

    def _miss(
        self, connection: _Connection, token: Followed, now_s: float, again: list[Followed]
    ) -> None:
        asked_s, token.asked_s = token.asked_s, 0.0
        if token.is_verifying:  # REST does not answer: ask the stream
            token.is_verifying = False
            again.append(token)
            return
        self._keeper.counts.missing += 1
        self._keeper.void(token)
        token.misses += 1
        token.ask_at_s = now_s + token.pause_s()
        # Pongs may come, but no books. A token that never answers is no proof: it may not exist.
        if token.has_answered and token.misses == 1 and connection.news_s < asked_s:
            self._give_up(connection, "books that were asked for do not come")

    def _look_at_connection(self, connection: _Connection, now_s: float) -> None:
        since_s = max(connection.up_s, connection.news_s)
        too_long_s = _DEAD_TIMEOUTS * self._settings.snapshot_timeout_s
        tokens = connection.tokens.values()
        if tokens and now_s - since_s > too_long_s and not any(one.is_loaded for one in tokens):
            self._give_up(connection, "no books come")

    def _give_up(self, connection: _Connection, reason: str) -> None:
        self._keeper.counts.freezes += 1
        connection.channel.give_up(reason)
        # The loss is told a moment later; nothing may be believed until then.
        for token in connection.tokens.values():
            self._keeper.void(token)

    async def _verify(self, fetch: FetchBooks, tokens: Sequence[Followed]) -> None:
        books: Sequence[MarketEvent] = ()
        try:
            async with asyncio.timeout(self._settings.snapshot_timeout_s):
                books = await fetch([token.token_id for token in tokens])
        except Exception as error:
            log.warning("feed_books_failed", extra={"reason": f"{type(error).__name__}: {error}"})
        found = {book.asset_id: book for book in books if isinstance(book, BookEvent)}
        again = []
        for token in tokens:
            if not token.is_verifying:
                continue  # news came first, or the connection was lost
            book = found.get(token.token_id)
            if book is None:
                token.asked_s, token.is_verifying = 0.0, False
                again.append(token)
            else:
                self._keeper.compare(
                    token, book, now_s=self._now_s(), received_ns=time.perf_counter_ns()
                )
        self._ask(again)

    def _check_hashes(self) -> None:
        rate = self._settings.hash_checks_per_s
        self._keeper.check_hashes(max(1, rate // 50), self._now_s())

    # --- helpers ------------------------------------------------------------------------------

    def _now_s(self) -> float:
        return 0.0 if self._loop is None else self._loop.time()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _every(self, pause_s: float, call: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                call()
            except Exception:  # whoever watches must not stop
                log.exception("feed_watch_failed")
