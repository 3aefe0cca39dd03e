"""The demo itself: exchange, market, executor, and the truth of every leg."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from polyexec.config import ExecutorConfig
from polyexec.core.candidates import (
    PricingPolicy,
    Skip,
    compute_edge,
    payout_per_set,
    price_signal,
)
from polyexec.demo.books import BookTable
from polyexec.demo.ladder import Group, RangeMarket, build_signals
from polyexec.demo.live import set_levels
from polyexec.demo.recordings import Recording, Step, read_recordings
from polyexec.demo.report import Summary, format_result, format_summary
from polyexec.demo.world import BookUpdate, generate_group, generate_updates
from polyexec.enums import OrderType
from polyexec.executor import Executor
from polyexec.models import Leg, TokenId, TopOfBook
from polyexec.numbers import MICRO, from_e4, from_micro
from polyexec.paper import PaperExchange
from polyexec.signals import LegsSignal, Signal

__all__ = ["run_demo"]

_START_MS: Final = 1_790_000_000_000
_STEP_MS: Final = 250
_COOLDOWN_MS: Final = 300
_DEPOSIT: Final = "25000"
_SETS: Final = 10
_RECONCILE_EVERY: Final = 50
_PROBE_MICRO: Final = 5 * MICRO


class ReplayClock:
    """Time that the market data drives: the exchange and the executor share it."""

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms

    def time_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._now_ms

    def monotonic_ns(self) -> int:
        """The same, in nanoseconds: it never steps back."""
        return self._now_ms * 1_000_000

    def advance(self, to_ms: int) -> None:
        """Move on; recordings that overlap do not move it back."""
        self._now_ms = max(self._now_ms, to_ms)


async def run_demo(
    *,
    seed: int = 1,
    steps: int = 400,
    replay: Path | None = None,
    show: Callable[[str], None] = print,
    quiet: bool = False,
) -> Summary:
    """Trade a generated market, or recorded ones, on a fresh paper exchange.

    Parameters
    ----------
    seed : int
        Of the generated market; the same seed makes the same decisions.
    steps : int
        Updates of the generated market.
    replay : Path or None
        Recording, or a folder of them, instead of the generated market.
    show : callable
        Takes each line.
    quiet : bool
        Leave out the line per result.
    """
    recordings = read_recordings(replay) if replay is not None else []
    start = min((r.steps[0].time_ms for r in recordings), default=_START_MS)
    clock = ReplayClock(start)
    async with PaperExchange(clock=clock.time_ms) as exchange:
        key = secrets.token_hex(32)
        credentials = exchange.credentials(key)
        config = ExecutorConfig(
            private_key=key,
            api_key=credentials.api_key,
            api_secret=credentials.secret,
            api_passphrase=credentials.passphrase,
            clob_url=exchange.url,
            ssl_context=exchange.ssl_context,
            trading_enabled=True,
            default_size=_SETS,
            order_type=OrderType.FOK,
            opportunity_timeout_ms=_COOLDOWN_MS,
        )
        executor = Executor(config, clock=clock)
        exchange.deposit(executor.address, _DEPOSIT)
        async with executor:
            stage = _Stage(exchange, executor, clock, show if not quiet else _say_nothing)
            stage.summary.balance_before_micro = executor.ledger.balance()
            for recording in recordings:
                show(f"replay {recording.name}: {len(recording.steps)} steps, {recording.kind}")
                await stage.play_recording(recording)
            if not recordings:
                await stage.play_generated(seed, steps)
            summary = await stage.finish()
    show("")
    for line in format_summary(summary):
        show(line)
    show(summary.last_line())
    return summary


class _Stage:
    """Feeds the exchange, watches its messages, and submits what they offer."""

    def __init__(
        self,
        exchange: PaperExchange,
        executor: Executor,
        clock: ReplayClock,
        show: Callable[[str], None],
    ) -> None:
        self.summary = Summary()
        self._exchange = exchange
        self._executor = executor
        self._clock = clock
        self._show = show
        self._known: dict[str, RangeMarket] = {}
        self._table = BookTable()
        self._touched: set[TokenId] = set()
        config = executor.config
        self._policy = PricingPolicy(
            default_size_micro=config.default_size_micro,
            order_type=config.order_type,
            slippage_enabled=False,
            min_pnl_percent=config.min_profit_abs,
        )
        exchange.subscribe(self._on_message)

    async def play_generated(self, seed: int, steps: int) -> None:
        group = generate_group(seed)
        for updates in generate_updates(group, seed, steps):
            self._clock.advance(self._clock.time_ms() + _STEP_MS)
            self._feed(updates)
            await self._trade_trios(group)

    async def play_recording(self, recording: Recording) -> None:
        recorded = BookTable()
        for condition, tokens in recording.pairs.items():
            self._exchange.add_market(
                condition[:10],
                condition_id=condition,
                tokens=tokens,
                tick_size="0.001",
                fee_rate="0.07",
            )
        for step in recording.steps:
            self._clock.advance(step.time_ms)
            if recording.kind == "ladder":
                for group, updates in step.updates:
                    self._feed(updates)
                    await self._trade_trios(group)
            else:
                await self._play_frame(step, recorded)
        self.summary.books_checked += recorded.checked
        self.summary.book_mismatches += len(recorded.mismatches)

    async def finish(self) -> Summary:
        await self._executor.cancel_all()
        self.summary.reconciliation = await self._executor.reconcile()
        self._exchange.audit()
        self.summary.fees_micro = self._exchange.fees_collected_micro
        return self.summary

    def _on_message(self, message: Mapping[str, Any]) -> None:
        for token in self._table.apply(message):
            self._touched.add(token)
            self._executor.publish_top_of_book(self._table.books[token].top(token))

    def _feed(self, updates: Iterable[BookUpdate]) -> None:
        for update in updates:
            market = update.market
            if market.slug not in self._known:
                self._known[market.slug] = market
                self._exchange.add_market(
                    market.slug,
                    tokens=(market.yes, market.no),
                    tick_size=from_e4(market.tick_e4),
                    neg_risk=market.neg_risk,
                    fee_rate=from_micro(market.fee_rate_micro),
                )
                for token in (market.yes, market.no):
                    self._on_message(self._exchange.snapshot(token))
            set_levels(self._exchange, market.yes, update.bids, update.asks)

    async def _trade_trios(self, group: Group) -> None:
        touched, self._touched = self._touched, set()
        for trio in group.trios():
            markets = (trio.parent, trio.parent_upper, trio.child)
            if not any(touched & {market.yes, market.no} for market in markets):
                continue
            tops = self._tops(token for market in markets for token in (market.yes, market.no))
            for signal in build_signals(
                group,
                trio,
                tops,
                timestamp_ms=self._clock.time_ms(),
                inventory=self._inventory(tops),
            ):
                if self._is_profitable(signal):
                    await self._submit(signal)

    def _tops(self, tokens: Iterable[TokenId]) -> dict[TokenId, TopOfBook]:
        return {
            token: book.top(token)
            for token in tokens
            if (book := self._table.books.get(token)) is not None and not book.is_crossed
        }

    def _inventory(self, tokens: Iterable[TokenId]) -> list[TokenId]:
        ledger = self._executor.ledger
        return [token for token in tokens if ledger.available(token) >= _SETS * MICRO]

    def _is_profitable(self, signal: Signal) -> bool:
        """Positive net of fees at the quotes; what the executor's own gate asks comes on top."""
        legs = price_signal(signal, self._policy)
        payout = payout_per_set(signal)
        if isinstance(legs, Skip) or payout is None or legs.unknown_fee_leg >= 0:
            return False
        return compute_edge(legs, payout).net_micro > 0

    async def _submit(self, signal: Signal) -> None:
        result = await self._executor.submit(signal)
        self.summary.add(result)
        self._show(format_result(self.summary.signals, result))
        if self.summary.signals % _RECONCILE_EVERY == 0:
            await self._executor.reconcile()

    async def _play_frame(self, step: Step, recorded: BookTable) -> None:
        """Lay the recorded books on the exchange and take a few shares at the ask."""
        changed: set[TokenId] = set()
        for message in step.messages:
            changed |= recorded.apply(message)
        for token in sorted(changed):
            book = recorded.books[token]
            if book.is_crossed:
                continue
            set_levels(
                self._exchange,
                token,
                sorted(book.bids.items(), reverse=True),
                sorted(book.asks.items()),
            )
            ask = book.best_ask_e4
            # below a dollar the exchange refuses a marketable BUY
            if ask is None or ask * _PROBE_MICRO < MICRO * 10_000:
                continue
            probe = Leg(
                token,
                "BUY",
                from_e4(ask),
                from_micro(_PROBE_MICRO),
                OrderType.FAK,
                available_size=from_micro(book.asks[ask]),
                tick_size="0.001",
                fee_rate="0.07",
            )
            await self._submit(LegsSignal([probe], timestamp_ms=step.time_ms))


def _say_nothing(line: str) -> None:
    """Take the place of a printer."""
