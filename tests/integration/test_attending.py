"""Everything that stands around an executor, at once: consistent, and harmless when it is dead."""

import asyncio
import contextlib
import http.server
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec import attending
from polyexec.bots import run_bots
from polyexec.enums import NoticeKind
from polyexec.errors import ConfigError
from polyexec.journal.database.reading import TradeReader
from polyexec.observers.balance import BalanceAlarm, BalanceFault
from tests.unit.observers.redis_server import redis_server
from tests.unit.observers.support import WAIT_S

KEY = "0x" + "17" * 32
TOKEN = "7" * 70
DAY_MS = 86_400_000
_FROM = "Balance from redis:WORKER_USDC_BALANCE: "
_MAIN = "import sys; from polyexec.cli import main; sys.exit(main())"


class Shifted(px.SystemClock):
    """The machine's clock, and as much later as a test wants."""

    later_ms = 0

    def time_ms(self) -> int:
        return super().time_ms() + self.later_ms


class Hook(http.server.ThreadingHTTPServer):
    """A webhook on this machine; ``hangs``: it takes a request and never answers."""

    def __init__(self, *, hangs: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hangs = hangs
        self.notices: list[dict[str, Any]] = []
        self.changed = threading.Condition()
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    def wait(self, title: str) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            return next((one for one in self.notices if one["title"].startswith(title)), None)

        with self.changed:
            assert self.changed.wait_for(find, WAIT_S), [one["title"] for one in self.notices]
            found = find()
        assert found is not None
        return found


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.changed:
            self.server.notices += json.loads(body)["notices"]
            self.server.changed.notify_all()
        if self.server.hangs:
            self.server.over.wait()
            return
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def webhook(*, hangs: bool = False) -> Iterator[Hook]:
    with Hook(hangs=hangs) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def black_hole() -> Iterator[int]:
    """Yield a port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def config(**changes: Any) -> px.ExecutorConfig:
    given: dict[str, Any] = {
        "private_key": KEY,
        "executor_mode": "paper",
        "trading_enabled": True,
        "opportunity_timeout_ms": 0,
    }
    return px.ExecutorConfig(**given | changes)


def stock(executor: px.Executor) -> None:
    exchange = executor.exchange
    exchange.add_market("m", tokens=(TOKEN, "8" * 70))
    exchange.set_book(TOKEN, bids=[("0.39", 1000)], asks=[("0.40", 1000)])
    exchange.deposit(executor.address, 1000)


def buy(price: str = "0.40") -> px.LegsSignal:
    leg = px.Leg(TOKEN, "BUY", price, 5, "FOK", tick_size="0.01", fee_rate=0)
    return px.LegsSignal([leg], group_key="btc")


async def scrape(port: int) -> dict[str, float]:
    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WAIT_S) as answer:
            return str(answer.read().decode())

    lines = (await asyncio.to_thread(get)).splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def test_store_counters_and_summary_tell_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "polyexec.trades")
    with webhook() as hook:
        settings = config(
            database={"DB_URL": str(tmp_path / "trades.db")},
            metrics={"METRICS_PORT": "0"},
            notify={"NOTIFY_WEBHOOK_URL": hook.url},
        )
        clock = Shifted()
        executor = px.Executor(settings, clock=clock)

        async def prepare() -> None:
            stock(executor)
            await executor.refresh_balance()

        async with px.attend(executor, prepare=prepare) as attendants:
            assert attendants.store is not None
            assert attendants.metrics is not None
            assert attendants.balance is None  # paper money
            results = [await executor.submit(buy()) for _ in range(3)]
            results.append(await executor.submit(buy("0.30")))  # killed by the exchange
            executor.set_trading_enabled(False)
            results.append(await executor.submit(buy()))
            await executor.flush_callbacks()
            assert await asyncio.to_thread(attendants.store.flush)
            found = await scrape(attendants.metrics.port)
            stored = attendants.store.reader.trades()
            attendants.alarm("told by hand")
            clock.later_ms = DAY_MS
            summary = await asyncio.to_thread(hook.wait, "Summary of ")
            await asyncio.to_thread(hook.wait, "told by hand")
        assert not executor.is_open
        stopped = await asyncio.to_thread(hook.wait, "Stopped")
    assert [result.success for result in results] == [True, True, True, False, False]
    cost = sum(result.cost_micro for result in results)
    assert [trade.success for trade in stored] == [True, True, True, False, False]
    assert sum(trade.cost_micro for trade in stored) == cost > 0
    for outcome, count in (("success", 3), ("failure", 1), ("skipped", 1), ("unknown", 0)):
        assert found[f'polyexec_results_total{{outcome="{outcome}"}}'] == count
    assert found["polyexec_cost_dollars_total"] == pytest.approx(cost / 1e6)
    assert found["polyexec_store_up"] == 1
    assert found['polyexec_store_total{what="dropped"}'] == 0
    fields = summary["fields"]
    assert [fields[name] for name in ("signals", "executed", "not executed")] == ["5", "3", "1"]
    assert fields["cost"] == f"{results[0].total_cost * 3} dollars"
    assert stopped["kind"] == NoticeKind.HALT
    logged = [record.getMessage() for record in caplog.records if record.name == "polyexec.trades"]
    assert logged == ["trade_result"] * 4 + ["signal_skipped"]


async def test_what_an_executor_says_last_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "trades.db"
    executor = px.Executor(config(database={"DB_URL": str(path)}))

    async def hold(request: px.paper.Request) -> None:
        if request.path == "/orders":
            posted.set()
            await asyncio.sleep(0.2)  # a slow exchange: the end comes meanwhile

    posted = asyncio.Event()
    async with px.attend(executor):
        stock(executor)
        await executor.refresh_balance()
        executor.exchange.on_request = hold
        for _ in range(10):
            executor.submit_nowait(buy())
        await posted.wait()
    reasons = [trade.skipped for trade in TradeReader(path).trades()]
    assert sorted(reasons) == ["", *["Closed"] * 9]


async def test_one_that_was_open_stays_open(tmp_path: Path) -> None:
    settings = config(database={"DB_URL": str(tmp_path / "trades.db")})
    async with px.Executor(settings) as executor:
        stock(executor)
        await executor.refresh_balance()
        async with px.attend(executor):
            pass
        assert executor.is_open
        assert (await executor.submit(buy())).success
    assert not TradeReader(tmp_path / "trades.db").trades()


@pytest.mark.parametrize(
    ("setting", "value", "part"),
    [
        ("database", {"DB_URL": "mysql://host/name"}, "trade store: DB_URL"),
        ("database", {"DB_URL": "/proc/none/trades.db"}, "trade store: "),
        ("notify", {"NOTIFY_WEBHOOK_URL": "http://example.com"}, "notifications: NOTIFY_WEBHOOK_U"),
        ("balance", {"BALANCE_SOURCE": "guess"}, "balance watch: BALANCE_SOURCE"),
        ("metrics", {"METRICS_PORT": "http"}, "metrics: METRICS_PORT"),
    ],
)
async def test_a_part_that_cannot_be_opened_is_named(
    setting: str, value: dict[str, str], part: str
) -> None:
    executor = px.Executor(config(**{setting: value}))
    with pytest.raises(ConfigError, match=f"^{part}"):
        async with px.attend(executor):
            pass
    assert not executor.is_open


async def test_a_port_that_is_taken_is_told_and_everything_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        executor = px.Executor(config(metrics={"METRICS_PORT": str(taken.getsockname()[1])}))
        with pytest.raises(ConfigError, match=r"^metrics: "):
            async with px.attend(executor):
                pass
    assert not executor.is_open


async def test_a_part_that_does_not_close_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextlib.asynccontextmanager
    async def open_forever(*arguments: object, **named: object) -> AsyncIterator[None]:
        yield
        await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def open_badly(*arguments: object, **named: object) -> AsyncIterator[None]:
        yield
        raise OSError("gone")

    monkeypatch.setattr(attending, "_CLOSE_S", 0.01)
    monkeypatch.setattr(attending, "open_metrics", open_forever)
    monkeypatch.setattr(attending, "open_follow_up", open_badly)
    executor = px.Executor(config())
    async with asyncio.timeout(WAIT_S), px.attend(executor):
        pass
    told = [
        (record.getMessage(), vars(record)["part"])
        for record in caplog.records
        if record.getMessage().startswith("attendant")
    ]
    assert told == [("attendant_left", "metrics"), ("attendant_not_closed", "order watch")]
    assert not executor.is_open


async def test_trouble_with_the_balance_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    with webhook() as hook:
        settings = config(
            notify={"NOTIFY_WEBHOOK_URL": hook.url},
            redis={
                "REDIS_URL": f"unix://{tmp_path / 'redis.sock'}",
                "REDIS_BALANCE_LAG_S": "0",
            },
            balance={"BALANCE_SOURCE": "redis", "BALANCE_INTERVAL_S": "0.05"},
        )
        async with px.attend(px.Executor(settings)) as attendants:
            await asyncio.to_thread(hook.wait, _FROM + "failed")
            with redis_server(tmp_path) as path:
                await asyncio.to_thread(subprocess.run, tell_redis(path, "12.5"), check=True)
                await asyncio.to_thread(hook.wait, _FROM + "well again")
            assert attendants.executor.ledger.balance() == 12_500_000
    told = [one["title"] for one in hook.notices]
    assert not any("balance_alarm" in title for title in told)


def tell_redis(path: str, balance: str) -> list[str]:
    code = "import redis, sys; redis.Redis(unix_socket_path=sys.argv[1]).set(*sys.argv[2:])"
    return [sys.executable, "-c", code, path, "WORKER_USDC_BALANCE", balance]


def test_an_alarm_without_anybody_to_tell_is_none() -> None:
    attendants = px.Attendants(px.Executor(config()))
    attendants._on_balance(
        BalanceAlarm(
            source="redis",
            asset="",
            fault=next(iter(BalanceFault)),
            detail="",
            since_ms=0,
            age_s=None,
        )
    )
    assert repr(attendants) == "Attendants()"


# a whole run --------------------------------------------------------------------------------------


def run_paper(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG")}
    environment |= {"CONTROL_SOCKET": "off", "JOURNAL_FOLDER": str(folder / "state")} | variables
    return subprocess.run(
        [sys.executable, "-c", _MAIN, "run", "--paper", *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def counts_of(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    assert run.returncode == 0, run.stderr
    pairs = (pair.split("=") for pair in run.stdout.splitlines()[-1].split())
    return {name: int(count) for name, count in pairs}


@pytest.mark.slow
def test_a_paper_run_with_everything_attached_is_consistent(tmp_path: Path) -> None:
    with webhook() as hook, redis_server(tmp_path) as path:
        subprocess.run(tell_redis(path, "25000"), check=True)
        run = run_paper(
            tmp_path,
            *("--seconds", "4", "--log-level", "info", "--log-json"),
            DB_URL=str(tmp_path / "trades.db"),
            METRICS_PORT="0",
            NOTIFY_WEBHOOK_URL=hook.url,
            BALANCE_SOURCE="redis",
            REDIS_URL=f"unix://{path}",
        )
    counts = counts_of(run)
    assert counts["executed"] > 0, run.stdout
    trades = TradeReader(tmp_path / "trades.db").trades()
    assert len(trades) == counts["signals"] == len(run.stdout.splitlines()) - 1
    assert sum(trade.success for trade in trades) == counts["executed"]
    assert sum(bool(trade.skipped) for trade in trades) == counts["skipped"]
    assert {trade.account[:8] for trade in trades} == {"paper-0x"}
    logged = [json.loads(line) for line in run.stderr.splitlines()]
    told = [one for one in logged if one["event"] == "trade_result"]
    assert len(told) == counts["signals"] - counts["skipped"]
    titles = [one["title"] for one in hook.notices]
    assert (titles[0], titles[-1]) == ("Started", "Stopped")


@pytest.mark.slow
def test_a_run_trades_on_when_everything_around_it_is_dead(tmp_path: Path) -> None:
    with webhook(hangs=True) as hook, black_hole() as database, black_hole() as redis:
        run = run_paper(
            tmp_path,
            *("--seconds", "3", "--log-json"),
            DB_URL=f"postgresql://u:p@127.0.0.1:{database}/trades",
            METRICS_PORT="0",
            NOTIFY_WEBHOOK_URL=hook.url,
            BALANCE_SOURCE="redis",
            BALANCE_TIMEOUT_S="0.5",
            REDIS_HOST="127.0.0.1",
            REDIS_PORT=str(redis),
        )
    counts = counts_of(run)
    assert counts["executed"] > 0, run.stdout
    assert list((tmp_path / "state").glob("paper-*.spill/*")), "nothing waits for the database"
    events = {json.loads(line)["event"] for line in run.stderr.splitlines()}
    assert {"store_unavailable", "balance_alarm"} <= events
    assert "attendant_left" not in events


_FULL_DISK = """
import asyncio, resource, signal, sys
from polyexec.attending import attend
from polyexec.executor import Executor
from tests.integration.test_attending import buy, config, stock

async def main():
    executor = Executor(config(database={"DB_URL": sys.argv[1]}))
    async def prepare():
        stock(executor)
        await executor.refresh_balance()
    async with attend(executor, prepare=prepare) as attendants:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file can grow any more
        results = [await executor.submit(buy()) for _ in range(10)]
        await executor.flush_callbacks()
        await asyncio.to_thread(attendants.store.flush)
        print(sum(one.success for one in results), attendants.store.counts.dropped > 0)

asyncio.run(main())
"""


def test_a_disk_that_is_full_costs_rows_not_trades(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "trades.db")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout == "10 True\n", run.stderr


async def test_accounts_store_side_by_side_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "trades.db"
    keys = {"a": KEY, "b": "0x" + "19" * 32}
    shown: list[str] = []

    def reader(key: str) -> px.ExecutorConfig:
        return config(
            private_key=key,
            engine_mode="paper",
            control_socket="off",
            min_profit_abs="0.001",
            database={"DB_URL": str(path)},
            metrics={"METRICS_PORT": "0"},
        )

    summaries = await asyncio.wait_for(
        run_bots(
            {name: lambda key=key: reader(key) for name, key in keys.items()},
            seconds=1.5,
            show=shown.append,
        ),
        60,
    )
    for name, key in keys.items():
        account = f"paper-{px.OrderSigner(key).address}-137"
        rows = TradeReader(path).trades(account=account)
        assert len(rows) == summaries[name].signals > 0
