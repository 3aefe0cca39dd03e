"""``make soak-live``: a bot with everything attached, on an exchange with faults, for an hour.

The exchange runs in another process: what is measured is the bot alone. A bound that is broken is
told, and the exit status is 1.
"""

import argparse
import asyncio
import contextlib
import ctypes
import gc
import json
import logging
import random
import sqlite3
import ssl
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import msgspec

import polyexec as px
from polyexec.control import Account
from polyexec.controlling import open_control
from tests.soak_live.exchange import KEY, TOKENS
from tests.wire_soak.run import descriptors, resident_bytes

__all__ = ["Summary", "soak"]

_PER_S: Final = 50
_MIB: Final = 2**20
_MOST_MIB: Final = 5.0
_MOST_FDS: Final = 8
"""More than in the middle: connections that are being replaced at that moment."""
_CANCEL_EVERY: Final = 5 * _PER_S
_SETTLE_S: Final = 120.0


class Summary(msgspec.Struct):
    """What a soak came to."""

    minutes: float = 0.0
    signals: int = 0
    rss_growth_mib: float = 0.0
    fds: int = 0
    """More than after the warm-up."""
    outcomes: Counter[str] = msgspec.field(default_factory=Counter)
    broken: list[str] = msgspec.field(default_factory=list)
    reconciled: bool = False

    def last_line(self) -> str:
        """Return the line that ends a soak."""
        return (
            f"minutes={self.minutes:g} signals={self.signals} "
            f"rss_growth_mib={self.rss_growth_mib:.2f} fds={self.fds} "
            f"reconciled={'yes' if self.reconciled else 'no'}"
        )


class _Peer:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, command: str = "") -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if command:
            self._process.stdin.write(command.encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise SystemExit("the exchange of the soak has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.asynccontextmanager
async def _peer(seed: int) -> AsyncIterator[_Peer]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.soak_live.exchange", str(seed)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_MIB,
    )
    try:
        yield _Peer(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


def _config(opened: dict[str, Any], folder: Path) -> px.ExecutorConfig:
    return px.ExecutorConfig(
        private_key=KEY,
        executor_mode="live",
        trading_enabled=True,
        api_key=opened["api_key"],
        api_secret=opened["api_secret"],
        api_passphrase=opened["api_passphrase"],
        clob_url=opened["url"],
        ws_url=opened["ws_url"],
        user_channel=True,
        ssl_context=ssl.create_default_context(cadata=opened["ca"]),
        opportunity_timeout_ms=0,
        max_in_flight=20,
        max_unknown_groups=100,
        post_timeout_s=1.0,
        unknown_absent_after_s=5.0,
        group_policy=px.GroupPolicy("unwind"),
        journal_mode="os",
        journal_folder=str(folder / "state"),
        control_socket=str(folder / "run" / "bot.sock"),
        database={"DB_URL": str(folder / "trades.db")},
        balance={"BALANCE_INTERVAL_S": "1"},
        notify={"NOTIFY_WEBHOOK_URL": opened["hook"]},
        metrics={"METRICS_PORT": "0"},
    )


class Soak:
    """A bot under load.

    Parameters
    ----------
    seconds : float
    warm_s : float
        Of these, before the first look at what it uses.
    """

    def __init__(self, seconds: float, warm_s: float, seed: int) -> None:
        self._seconds, self._warm_s = seconds, warm_s
        self._rng = random.Random(seed)
        self.summary = Summary(minutes=seconds / 60)
        self._pending: set[asyncio.Task[None]] = set()

    async def run(self, folder: Path, seed: int) -> Summary:
        """Trade, and look at what it left."""
        async with _peer(seed) as peer:
            config = _config(await peer.ask(), folder)
            executor = px.Executor(config)
            async with px.attend(executor) as attendants:
                account = Account(executor)
                async with open_control(config, {"main": account}):
                    await self._trade(executor, attendants)
                    faults = await peer.ask("kind")
                    print(f"{faults['faults']} faults, {faults['posts']} posts to the webhook")
                    await self._settle(executor)
                await self._compare(executor, attendants, await peer.ask("truth"), folder)
        return self.summary

    async def _trade(self, executor: px.Executor, attendants: px.Attendants) -> None:
        started = time.monotonic()
        early_bytes = early_fds = 0
        told = started
        while (passed := time.monotonic() - started) < self._seconds:
            if not early_fds and passed >= self._warm_s:
                early_bytes, early_fds = await self._measure()
            # As many as are due: a pause that was too long is made up for.
            while self.summary.signals < (time.monotonic() - started) * _PER_S:
                self._submit(executor)
                if self.summary.signals % _CANCEL_EVERY == 0:
                    self._start(self._cancel(executor))
                    self._start(self._scrape(attendants))
            if time.monotonic() - told >= 60:
                told = time.monotonic()
                print(f"{passed / 60:.0f} min: {resident_bytes() / _MIB:.1f} MiB", flush=True)
            await asyncio.sleep(1 / _PER_S)
        late_bytes, late_fds = await self._measure()
        self.summary.rss_growth_mib = (late_bytes - early_bytes) / _MIB
        self.summary.fds = late_fds - early_fds
        if self.summary.fds > _MOST_FDS:
            self.summary.broken.append(f"{self.summary.fds} descriptors more")

    def _submit(self, executor: px.Executor) -> None:
        self.summary.signals += 1
        self._start(self._count(executor.submit(self._signal())))

    def _signal(self) -> px.LegsSignal:
        rng = self._rng
        token, _ = rng.choice(TOKENS)
        kind = rng.random()
        if kind < 0.5:
            legs = [_leg(token, "BUY", "0.41", "FOK")]
        elif kind < 0.7:
            legs = [_leg(token, "SELL", "0.39", "FAK")]
        elif kind < 0.8:
            legs = [_leg(token, "BUY", "0.30", "FOK")]  # killed
        elif kind < 0.9:
            legs = [_leg(token, "BUY", "0.35", "GTC")]  # rests until it is cancelled
        else:
            legs = [_leg(one, "BUY", "0.41", "FOK") for one, _ in rng.sample(TOKENS, 3)]
        return px.LegsSignal(legs, group_key=str(self.summary.signals))

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _count(self, submission: px.Submission) -> None:
        result = await submission
        if result.skipped is not None:
            word = f"skipped {result.skipped}"
        elif result.unknown_orders:
            word = "unknown"
        else:
            word = "executed" if result.success else "rejected"
        self.summary.outcomes[word] += 1

    async def _cancel(self, executor: px.Executor) -> None:
        with contextlib.suppress(px.TransportError, px.VenueError):
            await executor.cancel_all()

    async def _scrape(self, attendants: px.Attendants) -> dict[str, float]:
        assert attendants.metrics is not None
        url = f"http://127.0.0.1:{attendants.metrics.port}/metrics"

        def get() -> str:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return str(answer.read().decode())

        lines = (await asyncio.to_thread(get)).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    async def _measure(self) -> tuple[int, int]:
        """Return memory and descriptors, without what is only waiting to be given back."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        return resident_bytes(), descriptors()

    async def _settle(self, executor: px.Executor) -> None:
        """Let everything come to its end: no order open, no trade unsettled, nothing unknown."""
        executor.set_trading_enabled(False)
        await executor.drain()
        while self._pending:
            await asyncio.wait(self._pending)
        found: object = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SETTLE_S):
                while True:
                    await self._cancel(executor)
                    try:
                        found = told = await executor.reconcile()
                    except (px.TransportError, px.VenueError) as error:
                        found = error
                    else:
                        if told.is_exact and not executor.orders:
                            return
                    await asyncio.sleep(0.5)
        self.summary.broken.append(f"not settled: {found!r}")

    async def _compare(
        self,
        executor: px.Executor,
        attendants: px.Attendants,
        truth: dict[str, Any],
        folder: Path,
    ) -> None:
        """Hold books, store and counters against the exchange and against each other."""
        broken, signals = self.summary.broken, self.summary.signals
        ledger, store = executor.ledger, attendants.store
        assert store is not None
        await executor.flush_callbacks(30)
        if not await asyncio.to_thread(store.flush, 60):
            broken.append("the store is not done")
        scraped = await self._scrape(attendants)
        path = folder / "trades.db"
        rows = sqlite3.connect(path).execute("SELECT count(*) FROM polyexec_trades").fetchone()[0]
        counted = sum(
            count for name, count in scraped.items() if name.startswith("polyexec_results_total{")
        )
        ours = {token: ledger.balance(px.TokenId(token)) for token in truth["positions"]}
        for what, found, wanted in (
            ("money", ledger.balance(), truth["balance"]),
            ("shares", ours, truth["positions"]),
            ("reserved", ledger.held(), 0),
            ("conserved by the exchange", truth["conserved"], True),
            ("results", self.summary.outcomes.total(), signals),
            ("rows in the store", rows, signals),
            ("results counted", counted, signals),
            ("dropped by the store", store.counts.dropped, 0),
            ("refused by the store", store.counts.refused, 0),
            ("dropped callbacks", executor.dropped_callbacks, 0),
        ):
            if found != wanted:
                broken.append(f"{what}: {found}, not {wanted}")
        self.summary.reconciled = not any("descriptors" not in text for text in broken)


def _leg(token: str, side: str, price: str, order_type: str) -> px.Leg:
    return px.Leg(token, side, price, 5, order_type, tick_size="0.01", fee_rate="0.07")


def soak(
    seconds: float, *, seed: int = 1, warm_s: float | None = None, most_mib: float = _MOST_MIB
) -> Summary:
    """Run a bot so long; see :class:`Summary`."""
    # Errors are part of it: they become notices, and the log must not be full of them.
    logging.getLogger("polyexec").addHandler(logging.NullHandler())
    logging.getLogger("polyexec").propagate = False
    if warm_s is None:
        warm_s = min(300.0, seconds / 3)
    with tempfile.TemporaryDirectory() as folder:
        summary = asyncio.run(Soak(seconds, warm_s, seed).run(Path(folder), seed))
    if summary.rss_growth_mib > most_mib:
        summary.broken.append(f"memory grew by {summary.rss_growth_mib:.2f} MiB")
    return summary


def main() -> int:
    """Run, and print what it came to last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--most-mib", type=float, default=_MOST_MIB, help="growth allowed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    summary = soak(60 * options.minutes, seed=options.seed, most_mib=options.most_mib)
    for word, count in summary.outcomes.most_common():
        print(f"{count:8} {word}")
    for text in summary.broken:
        print(f"broken: {text}")
    print(summary.last_line())
    return 1 if summary.broken else 0


if __name__ == "__main__":
    sys.exit(main())
