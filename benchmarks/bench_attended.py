"""``submit`` with everything attached, all of it dead, against ``submit`` with nothing attached."""

import contextlib
import logging
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polyexec as px
from benchmarks import bench_journal, bench_plan, inputs
from benchmarks.bench_wire import Paced
from benchmarks.harness import Row
from benchmarks.peers import floor
from benchmarks.peers.serve import answer_questions
from benchmarks.peers.worker import Remote, python_worker
from benchmarks.targets import NOTHING, NOTHING_AGAIN
from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import AnswerCallback, OrderBatch, OrderStatus, Outcome
from polyexec.errors import NotSentError, TransportError
from polyexec.looping import LoopThread

_BALANCE_MICRO = 10**12
_WARM_UP_CALLS = 200
_TURN_CALLS = 500
_TURNS = 60
# What answers at once would take the core before submit has returned, and no exchange does.
_ANSWER_US = 1000
_BARE, _DEAD = "bare", "dead"
# 300 signals a second. What is told of a result is told by the next signal, which would otherwise
# share the interpreter with it.
_PAUSE_S = 0.003


class _Venue:
    """Posts to the C server over TLS, which answers at once; nothing trades."""

    def __init__(self) -> None:
        self._transport = OrderTransport(
            floor.url(_ANSWER_US),
            ssl_context=floor.client_context(),
            size=2,
            warm_interval_s=3600,
            ping_interval_s=3600,
        )

    async def open(self) -> None:
        await self._transport.open()

    async def close(self) -> None:
        await self._transport.close()

    def post_orders(self, batch: OrderBatch, on_outcome: AnswerCallback) -> None:
        def answered(outcome: Outcome) -> None:
            # The server does not trade: the money is free again.
            on_outcome(px.NoAnswer(error=NotSentError("a benchmark")))

        self._transport.send("POST", batch.path, batch.headers, batch.body, answered)

    async def fetch_market(self, token_id: px.TokenId) -> px.Market:
        raise TransportError("a benchmark asks for no market")

    async def fetch_order(self, order_id: px.OrderId) -> OrderStatus | None:
        return None

    async def fetch_fills(self, order_id: px.OrderId) -> tuple[px.Fill, ...]:
        return ()

    async def fetch_balance(self) -> px.BalanceSnapshot:
        now_ms = px.SystemClock().time_ms()
        return px.BalanceSnapshot(balance_micro=_BALANCE_MICRO, as_of_ms=now_ms)

    async def fetch_position(self, token_id: px.TokenId) -> px.BalanceSnapshot:
        return px.BalanceSnapshot(balance_micro=0, as_of_ms=px.SystemClock().time_ms())

    async def cancel_orders(self, order_ids: Sequence[px.OrderId]) -> tuple[px.OrderId, ...]:
        return ()

    async def cancel_all(self) -> tuple[px.OrderId, ...]:
        return ()


class Attended:
    """An executor that submits from this thread; its loop runs in another."""

    def __init__(self, *, attended: bool) -> None:
        self._attended = attended
        self._loop = LoopThread()
        self._stack = contextlib.AsyncExitStack()
        self._holes: list[socket.socket] = []

    def write(self) -> None:
        self._submission = self._executor.submit(self._signal)

    def answer(self) -> None:
        async def wait() -> px.TradeResult:
            return await self._submission

        result = self._loop.run(wait())
        if result.skipped is not None:
            raise SystemExit(f"skipped: {result.skipped} {result.detail}")
        time.sleep(_PAUSE_S)

    def open(self) -> None:
        # That nothing answers is told in the log, again and again.
        logging.getLogger("polyexec").addHandler(logging.NullHandler())
        logging.getLogger("polyexec").propagate = False
        self._loop.run(self._open())
        for _ in range(_WARM_UP_CALLS):
            self.write()
            self.answer()

    def close(self) -> None:
        self._loop.run(self._stack.aclose())
        self._loop.stop()

    async def _open(self) -> None:
        folder = bench_journal.new_folder()
        config = px.ExecutorConfig(**self._settings(folder))
        executor = px.Executor(config, _Venue())
        self._signal = bench_plan.signal(px.SystemClock().time_ms())
        self._executor = executor
        if self._attended:
            await self._stack.enter_async_context(px.attend(executor))
        else:
            await self._stack.enter_async_context(executor)

    def _settings(self, folder: Path) -> dict[str, Any]:
        given: dict[str, Any] = {
            "private_key": inputs.PRIVATE_KEY,
            "api_key": "k",
            "api_secret": "c2VjcmV0",
            "api_passphrase": "p",
            "executor_mode": "live",
            "clob_url": floor.url(_ANSWER_US),
            "trading_enabled": True,
            "opportunity_timeout_ms": 0,
            "max_quote_age_ms": 86_400_000,
            "journal_mode": "os",
            "journal_folder": str(folder),
        }
        if self._attended:
            given |= {
                "database": {"DB_URL": f"postgresql://u:p@127.0.0.1:{self._hole()}/trades"},
                "notify": {"NOTIFY_WEBHOOK_URL": f"http://127.0.0.1:{self._hole()}/hook"},
                "metrics": {"METRICS_PORT": "0"},
                "balance": {"BALANCE_SOURCE": "redis"},
                "redis": {"REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(self._hole())},
            }
        return given

    def _hole(self) -> int:
        """Return a port that takes connections and says nothing."""
        listening = socket.create_server(("127.0.0.1", 0))
        self._holes.append(listening)
        return int(listening.getsockname()[1])


def rows() -> list[Row]:
    if floor.build():
        return []
    return [
        Row(
            "submit_attended",
            "signal to the last byte with the kernel, 300 signals a second, with store, "
            "notifications, balance watch and metrics attached whose servers take connections and "
            "never answer; the others: nothing attached, twice, which tells the noise; each in a "
            "process of its own",
            _remote(_DEAD),
            {NOTHING: _remote(_BARE), NOTHING_AGAIN: _remote(_BARE)},
            least=_TURNS * _TURN_CALLS,
            turn_calls=_TURN_CALLS,
        )
    ]


def _remote(case: str) -> Remote:
    """Return a case in a process that has nothing else, so that none disturbs another."""
    return Remote(python_worker(case, "benchmarks.bench_attended", case), case)


def main() -> int:
    """Open one case, and time it when asked, until the input ends."""
    (case,) = sys.argv[1:]
    contestant = Attended(attended=case == _DEAD)
    contestant.open()
    answer_questions({case: Paced(contestant.write, contestant.answer)})
    contestant.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
