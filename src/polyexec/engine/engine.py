"""The market engine: from the feed to signals, and to the executor in the same call."""

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from polyexec._impl import Evaluator, PriceTable
from polyexec._pure.prices import BookState
from polyexec.clob.client import ClobClient
from polyexec.clob.gamma import GammaClient
from polyexec.clob.markets import MarketCache
from polyexec.clob.venue import ClobVenue
from polyexec.config import ExecutorConfig
from polyexec.core.forms import Form
from polyexec.core.market_events import MarketEvent, MarketResolved, TickSizeChange
from polyexec.core.opportunities import SignalBuilder
from polyexec.dispatch import Publisher
from polyexec.engine.feed import Feed, Tap
from polyexec.engine.following import FeedCounts, FeedSettings
from polyexec.engine.groups import GroupBook, GroupChange, load_overrides
from polyexec.errors import ConfigError, InputError, TransportError, UsageError, VenueError
from polyexec.executor import BaseExecutor
from polyexec.live_settings import check_live
from polyexec.models import TokenId, TopOfBook
from polyexec.signals import Signal

if TYPE_CHECKING:
    from polyexec.paper import PaperExchange

__all__ = ["Engine", "EngineCounts", "build_evaluator"]

_log = logging.getLogger("polyexec.engine")

_MAX_AGE_MS: Final = 60_000
_EXPIRE_S: Final = 1.0
_LEAST_PAUSE_S: Final = 5.0
_CLOSE_S: Final = 2.0


class EngineCounts(msgspec.Struct):
    """What an engine has done since it was opened."""

    signals: int = 0
    submitted: int = 0
    """Taken by the executor, whether it sent them or not."""
    skipped: int = 0
    """Of those, refused by its checks at once."""
    submit_errors: int = 0
    """The executor was closed, or broken: told once in the log."""
    refreshes: int = 0
    refresh_failures: int = 0
    unplaced: int = 0
    """Forms for which the table had no room."""


class Engine:
    """Watches markets and turns what pays, net of fees, into signals.

    Use it as ``async with Engine(config, executor)``. Everything runs on the loop that opened it.
    A signal goes to the executor in the call in which its frame arrived; whoever subscribes gets a
    copy through a bounded queue and can delay nothing.

    Parameters
    ----------
    config : ExecutorConfig
        ``engine_mode``, the hosts, the thresholds ``min_profit_abs`` (dollars per set) and
        ``min_profit_bps``, ``default_size`` (the most sets of a signal), ``order_type``,
        ``opportunity_timeout_ms`` (cooldown of each form) and ``max_quote_age_ms`` (60 s if None).
    executor : Executor or None
        Opened by the caller. None: signals are only told to subscribers.
    exchange : PaperExchange or None
        What ``engine_mode="paper"`` listens to. None: the executor's embedded exchange, else one of
        its own.
    groups : GroupBook or None
        Where the forms come from. None: made from the metadata host of ``config``, if it has one.
    feed_settings : FeedSettings or None
    tap : Tap or None
        Is told every frame before it is read: a recorder.
    refresh_interval_s : float
        Seconds between two looks at the metadata.
    capacity : int
        Most tokens that can be watched.

    Raises
    ------
    ConfigError
        ``engine_mode="live"`` without a host for the channels.
    """

    def __init__(
        self,
        config: ExecutorConfig,
        executor: BaseExecutor | None = None,
        *,
        exchange: "PaperExchange | None" = None,
        groups: GroupBook | None = None,
        feed_settings: FeedSettings | None = None,
        tap: Tap | None = None,
        refresh_interval_s: float = 60.0,
        capacity: int = 16_384,
    ) -> None:
        if not isinstance(config, ExecutorConfig):
            raise InputError("config", config, "must be an ExecutorConfig")
        if refresh_interval_s <= 0:
            raise InputError("refresh_interval_s", refresh_interval_s, "must be above 0")
        self._config = config
        self._executor = executor
        self._exchange = exchange
        self._groups = groups
        self._feed_settings = feed_settings
        self._tap = tap
        self._refresh_interval_s = refresh_interval_s
        self._table = PriceTable(capacity)
        self._evaluator = build_evaluator(self._table, config)
        self._builder = SignalBuilder()
        self._numbers: dict[Form, int] = {}
        self._wanted: Counter[TokenId] = Counter()
        self._signals: Publisher[Signal] = Publisher("signal")
        self._tops: Publisher[TopOfBook] = Publisher("top-of-book")
        self._feed: Feed | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = contextlib.AsyncExitStack()
        self._look_again = asyncio.Event()
        self._opened = self._closing = False
        self._submit_failed = False
        self.counts = EngineCounts()

    def __repr__(self) -> str:
        return f"Engine({self._config.engine_mode}, {len(self._numbers)} forms, {self._feed!r})"

    # --- life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self._opened:
            raise UsageError("an engine is opened once")
        self._opened = True
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop: no signal leaves after this has begun. The executor stays open."""
        self._closing = True
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.aclose()
        for publisher in (self._signals, self._tops):
            await asyncio.to_thread(publisher.close, _CLOSE_S)

    async def _open(self) -> None:
        config, mode = self._config, self._config.engine_mode
        if mode == "off":
            raise UsageError("engine_mode is 'off': this configuration watches no markets")
        loop = asyncio.get_running_loop()
        self._signals.bind(loop)
        self._tops.bind(loop)
        clob_url, ws_url, gamma_url = config.clob_url, config.channels_url, config.metadata_url
        trust = config.ssl_context
        if mode == "paper":
            exchange = await self._paper_exchange()
            clob_url, ws_url, gamma_url = exchange.url, exchange.ws_url, exchange.url
            trust = exchange.ssl_context
        if not ws_url:
            raise ConfigError("ws_url: the engine has no host for the market channel")
        client = await self._stack.enter_async_context(ClobClient(clob_url, ssl_context=trust))
        if self._groups is None and gamma_url:
            gamma = await self._stack.enter_async_context(GammaClient(gamma_url, ssl_context=trust))
            overrides = load_overrides(config.group_overrides)
            self._groups = GroupBook(gamma, client.market_record, overrides=overrides)
        self._feed = Feed(
            ws_url,
            self._table,
            on_touched=self._on_touched,
            settings=self._feed_settings,
            on_event=self._on_event,
            on_top=self._on_top,
            fetch_books=client.book_events,
            markets=self._executors_markets(),
            tap=self._tap,
            ssl_context=trust,
        )
        await self._stack.enter_async_context(self._feed)
        if self._groups is not None:
            self._spawn(self._keep_groups())
            self._spawn(self._expire_groups(self._groups))

    def _executors_markets(self) -> MarketCache | None:
        """Return what the executor prices with: a new tick has to reach it."""
        venue = None if self._executor is None else self._executor.venue
        return venue.markets if isinstance(venue, ClobVenue) else None

    async def _paper_exchange(self) -> "PaperExchange":
        if self._exchange is None and self._executor is not None:
            with contextlib.suppress(UsageError):  # it trades elsewhere
                self._exchange = self._executor.exchange
        if self._exchange is None:
            from polyexec.paper import PaperExchange  # noqa: PLC0415  a live bot needs none of it

            self._exchange = await self._stack.enter_async_context(
                PaperExchange(chain_id=self._config.chain_id)
            )
        return self._exchange

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    # --- what it watches ----------------------------------------------------------------------

    @property
    def exchange(self) -> "PaperExchange":
        """The paper exchange that it listens to.

        Raises
        ------
        UsageError
            It is not open, or listens elsewhere.
        """
        if self._exchange is None:
            raise UsageError("no paper exchange: open an engine with engine_mode='paper'")
        return self._exchange

    @property
    def config(self) -> ExecutorConfig:
        """The settings it was built with, or as changed last by :meth:`retune`."""
        return self._config

    @property
    def table(self) -> PriceTable:
        """Every book that it follows; only the feed writes to it."""
        return self._table

    @property
    def groups(self) -> GroupBook | None:
        """What the markets are, and in words why some make no trio."""
        return self._groups

    @property
    def forms(self) -> tuple[Form, ...]:
        """What is evaluated now."""
        return tuple(self._numbers)

    @property
    def looks(self) -> dict[str, int]:
        """What became of each look at a form; see ``Evaluator.counts``."""
        return self._evaluator.counts()

    @property
    def feed_counts(self) -> FeedCounts:
        """What the feed has seen.

        Raises
        ------
        UsageError
            The engine is not open.
        """
        return self._opened_feed().counts

    def book_ages_ms(self) -> list[float]:
        """Return the milliseconds since the last event of each book that is LIVE; on the loop."""
        table, now_ns = self._table, time.perf_counter_ns()
        tops = [table.top(slot) for token in self._wanted if (slot := table.slot(token)) >= 0]
        return [(now_ns - top.received_ns) / 1e6 for top in tops if top.state == BookState.LIVE]

    @property
    def dropped_events(self) -> int:
        """Signals and tops of book that subscribers were too slow for."""
        return self._signals.dropped + self._tops.dropped

    def watch(self, forms: Iterable[Form]) -> None:
        """Evaluate more forms, beside those of the groups; known ones stay as they are.

        Raises
        ------
        UsageError
            The engine is not open.
        """
        feed = self._opened_feed()
        fresh = [form for form in dict.fromkeys(forms) if form not in self._numbers]
        for form in fresh:
            tokens = list(dict.fromkeys(leg.token_id for leg in form.legs))
            missing = [token for token in tokens if self._table.slot(token) < 0]
            if len(self._table) + len(missing) > self._table.capacity:
                self.counts.unplaced += 1
                _log.warning("engine_table_full", extra={"form": repr(form.group_key)})
                continue
            feed.subscribe(missing)
            for leg in form.legs:
                feed.describe(leg.market)
            self._wanted.update(tokens)
            self._numbers[form] = self._evaluator.add(form)

    def unwatch(self, forms: Iterable[Form]) -> None:
        """Evaluate these no longer, and leave the tokens that no other form has."""
        gone: list[TokenId] = []
        for form in dict.fromkeys(forms):
            number = self._numbers.pop(form, None)
            if number is None:
                continue
            self._evaluator.remove(number)
            self._builder.forget(number)
            for token in dict.fromkeys(leg.token_id for leg in form.legs):
                self._wanted[token] -= 1
                if not self._wanted[token]:
                    del self._wanted[token]
                    gone.append(token)
        if gone and self._feed is not None:
            self._feed.unsubscribe(gone)

    def retune(self, config: ExecutorConfig) -> None:
        """Go on with other thresholds, sizes and ages; on the loop that opened it.

        The cooldown of each form begins anew, and so do the counts of :attr:`looks`.

        Raises
        ------
        ConfigError
            It differs in a setting that is not one of ``LIVE_SETTINGS``; nothing changes.
        """
        check_live(self._config, config)
        evaluator = build_evaluator(self._table, config)
        self._numbers = {form: evaluator.add(form) for form in self._numbers}
        self._evaluator, self._builder = evaluator, SignalBuilder()
        self._config = config

    async def refresh(self) -> GroupChange:
        """Look at the metadata now; return what changed.

        Raises
        ------
        TransportError, VenueError
            It could not be read; everything stays as it was.
        """
        self._opened_feed()
        if self._groups is None:
            return GroupChange()
        change = await self._groups.refresh()
        self.counts.refreshes += 1
        self._apply(change)
        return change

    def on_signal(self, callback: Callable[[Signal], object]) -> Callable[[], None]:
        """Call ``callback`` with every signal; return the way to stop it.

        A plain function runs in a thread of its own, a coroutine function on the loop. One that is
        slow loses its oldest ones, which are counted in :attr:`dropped_events`.
        """
        return self._signals.subscribe(callback)

    def on_top_of_book(self, callback: Callable[[TopOfBook], object]) -> Callable[[], None]:
        """Call ``callback`` with every change of a best price or size; as :meth:`on_signal`."""
        return self._tops.subscribe(callback)

    def _opened_feed(self) -> Feed:
        if self._feed is None:
            raise UsageError("the engine is not open: use `async with Engine(config)`")
        return self._feed

    def _apply(self, change: GroupChange) -> None:
        # What is new first: tokens that both sides name are not left and joined again.
        self.watch(change.added)
        self.unwatch(change.removed)

    # --- the path -----------------------------------------------------------------------------

    def _on_touched(self, slot: int) -> None:
        found = self._evaluator.touched(slot, time.perf_counter_ns())
        if not found or self._closing:
            return
        now_ms = time.time_ns() // 1_000_000
        # The executor takes one and rests: the best first.
        for one in sorted(found, key=lambda each: -each.net_micro) if len(found) > 1 else found:
            self._emit(self._builder.build(one, now_ms))

    def _emit(self, signal: Signal) -> None:
        counts = self.counts
        counts.signals += 1
        if self._executor is not None:
            try:
                submission = self._executor.submit(signal)
            except Exception:
                counts.submit_errors += 1
                if not self._submit_failed:
                    self._submit_failed = True
                    _log.exception("engine_submit_failed")
            else:
                counts.submitted += 1
                counts.skipped += submission.skipped is not None
        self._signals.publish(signal)

    def _on_top(self, top: TopOfBook) -> None:
        self._tops.publish(top)
        if self._executor is not None:
            self._executor.publish_top_of_book(top)

    def _on_event(self, event: MarketEvent) -> None:
        if self._groups is None:
            return
        if isinstance(event, TickSizeChange):
            self._groups.forget(event.market)  # type: ignore[arg-type]
            self._look_again.set()
        # New markets are told of the whole exchange, every few seconds: they wait for their turn.
        elif isinstance(event, MarketResolved) and any(
            token in self._wanted for token in event.assets_ids or ()
        ):
            self._look_again.set()

    # --- groups -------------------------------------------------------------------------------

    async def _keep_groups(self) -> None:
        while True:
            try:
                await self.refresh()
            except (TransportError, VenueError) as error:
                self.counts.refresh_failures += 1
                _log.warning("engine_refresh_failed", extra={"reason": str(error)})
            except Exception:  # nothing in the metadata may end the looking
                self.counts.refresh_failures += 1
                _log.exception("engine_refresh_failed")
            await asyncio.sleep(min(_LEAST_PAUSE_S, self._refresh_interval_s))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._refresh_interval_s):
                    await self._look_again.wait()
            self._look_again.clear()

    async def _expire_groups(self, groups: GroupBook) -> None:
        while True:
            await asyncio.sleep(_EXPIRE_S)
            self._apply(groups.expire())


def build_evaluator(table: PriceTable, config: ExecutorConfig) -> Evaluator:
    """Return an evaluator over ``table`` with the thresholds of ``config``; a replay has it too."""
    age_ms = config.limits.max_quote_age_ms
    return Evaluator(
        table,
        min_profit_micro=math.ceil(config.min_profit_abs * 1_000_000),
        min_profit_bps=math.ceil(config.min_profit_bps),
        cooldown_ns=config.opportunity_timeout_ms * 1_000_000,
        max_size_micro=config.default_size_micro,
        max_age_ns=(_MAX_AGE_MS if age_ms is None else age_ms) * 1_000_000,
        is_immediate=config.order_type.is_immediate,
    )
