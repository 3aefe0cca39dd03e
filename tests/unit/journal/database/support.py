"""Results, news of orders and real databases for the tests of the trade store."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyexec.core.ports import Fill
from polyexec.core.tracking import OrderUpdate
from polyexec.enums import LegState, OrderType, RejectCode, Side, SkipReason
from polyexec.journal.database.location import Location, parse_location
from polyexec.journal.database.store import TradeStore
from polyexec.models import OrderId, TokenId
from polyexec.results import Latency, LegResult, TradeResult
from tests.unit.core.support import leg as plain_leg
from tests.unit.core.support import priced, signal

ACCOUNT = "0xabc-137"
NOW = 1_790_000_000_000
SIGNAL = signal()
PASSWORD = "p@ss/w:rd#?"
_SAFE_PASSWORD = "p%40ss%2Fw%3Ard%23%3F"
_POSTGRES_DIRS = ("/usr/lib/postgresql/*/bin", "/usr/local/bin", "/usr/bin")

PRICED = msgspec.structs.replace(
    *priced(plain_leg(7, price="0.40", size=10)),
    order_type=OrderType.FOK,
    market_slug="market-7",
)


def order_id(number: int) -> OrderId:
    return OrderId(f"0x{number:064x}")


def leg_result(number: int, **changes: Any) -> LegResult:
    given: dict[str, Any] = {
        "state": LegState.MATCHED,
        "order_id": order_id(number),
        "token_id": TokenId("7"),
        "market_slug": "market-7",
        "side": Side.BUY,
        "order_type": OrderType.FOK,
        "neg_risk": False,
        "price_e4": 4000,
        "size_micro": 10_000_000,
        "filled_micro": 10_000_000,
        "paid_micro": 4_000_000,
        "fee_micro": 12_340,
        "trade_ids": ("t-1",),
    }
    return LegResult(**given | changes)


def result(*numbers: int, **changes: Any) -> TradeResult:
    """Return a success of these orders."""
    given: dict[str, Any] = {
        "signal": SIGNAL,
        "legs": tuple(leg_result(number) for number in numbers),
        "cost_micro": 4_012_340,
        "expected_pnl_micro": 987_654,
        "latency": Latency(sign_us=12.5, total_us=2500.0),
        "finished_ms": NOW,
    }
    return TradeResult(**given | changes)


def skipped(**changes: Any) -> TradeResult:
    return result(skipped=SkipReason.PNL_BELOW_THRESHOLD, detail="0.05 % is below 0.1 %", **changes)


def rejected(number: int) -> TradeResult:
    leg = leg_result(
        number,
        state=LegState.REJECTED,
        filled_micro=0,
        paid_micro=0,
        fee_micro=0,
        code=RejectCode.NOT_FILLED,
        error="no orders found to match",
        trade_ids=(),
    )
    return result(legs=(leg,), detail=leg.error, cost_micro=0, expected_pnl_micro=0)


def fill(number: int, status: str = "MATCHED", **changes: Any) -> Fill:
    given: dict[str, Any] = {
        "trade_id": "t-1",
        "order_id": order_id(number),
        "token_id": TokenId("7"),
        "side": Side.BUY,
        "price_e4": 4000,
        "size_micro": 10_000_000,
        "is_taker": True,
        "status": status,
        "match_time_s": NOW // 1000,
        "counter_order_id": "0xother",
        "update_time_s": NOW // 1000 + 1,
    }
    return Fill(**given | changes)


def news(number: int, *fills: Fill, **changes: Any) -> OrderUpdate:
    given: dict[str, Any] = {
        "order_id": order_id(number),
        "leg": PRICED,
        "state": LegState.MATCHED,
        "filled_micro": 10_000_000,
        "paid_micro": 4_000_000,
        "fee_micro": 12_000,
        "fills": fills,
    }
    return OrderUpdate(**given | changes)


def final(of: TradeResult, **changes: Any) -> TradeResult:
    given: dict[str, Any] = {"final_pnl_micro": 990_000, "provisional_pnl_micro": 990_000}
    return msgspec.structs.replace(of, **given | changes)


class Clock:
    """Time that moves by a millisecond with each look."""

    def __init__(self) -> None:
        self.ms = NOW

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


def store(where: Location | Path, folder: Path, **changes: Any) -> TradeStore:
    given: dict[str, Any] = {
        "account": ACCOUNT,
        "spill_folder": folder / "spill",
        "now_ms": Clock(),
        "retry_s": 0.01,
    }
    return TradeStore(where, **given | changes)


def contents(where: Location | Path, folder: Path) -> tuple[list[Any], ...]:
    """Return every row of a store but the times at which it heard of them."""
    with store(where, folder) as opened:
        reader = opened.reader
        tables = (reader.trades(), reader.orders(), reader.fills())
    fixed = {"updated_ms": 0}
    return tuple(
        [
            msgspec.structs.replace(row, **fixed) if hasattr(row, "updated_ms") else row
            for row in rows
        ]
        for rows in tables
    )


class PostgresServer:
    """A real server in a folder of its own, as a user that is not root."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self._as = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres", "-N")
        hba = folder / "data" / "pg_hba.conf"
        hba.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.start()
        self.sql("postgres", f"CREATE ROLE trader LOGIN PASSWORD '{PASSWORD}'")

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self._folder} -F"
        log = str(self._folder / "log")
        data = str(self._folder / "data")
        self._run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "-t", "60", "start")

    def stop(self) -> None:
        data = str(self._folder / "data")
        self._run("pg_ctl", "-D", data, "-m", "immediate", "-w", "-t", "60", "stop")

    def sql(self, database: str, statement: str) -> str:
        return self._run(
            "psql",
            *("-h", str(self._folder), "-p", str(self.port), "-U", "postgres", "-d", database),
            *("-v", "ON_ERROR_STOP=1", "-X", "-A", "-t", "-c", statement),
        )

    def new_database(self, name: str) -> Location:
        self.sql("postgres", f"CREATE DATABASE {name} OWNER trader")
        return parse_location(self.url(name))

    def url(self, name: str, password: str = _SAFE_PASSWORD) -> str:
        return f"postgresql://trader:{password}@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [*self._as, str(self._binaries / program), *arguments],
            cwd=self._folder,
            # pg_ctl's server inherits a pipe and would keep it open: its output goes to a file.
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout
        return (done.stdout or "").strip()


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server, or skip where Debian's ``postgresql`` is not installed."""
    binaries = next(
        (
            path
            for pattern in _POSTGRES_DIRS
            for path in Path("/").glob(pattern.lstrip("/"))
            if (path / "initdb").exists() and (path / "psql").exists()
        ),
        None,
    )
    if binaries is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    if os.getuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no runuser")
    folder = Path(tempfile.mkdtemp(prefix="polyexec-pg-", dir="/tmp"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        server = PostgresServer(binaries, folder)
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
