"""Several accounts in one process: nothing of one is ever the other's."""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.account import build_signer
from polyexec.commands import Request
from polyexec.control import Account, Control
from polyexec.core.journal import account_of
from polyexec.errors import InputError, JournalError
from polyexec.journal.wal import open_journal
from polyexec.paper import PaperExchange, PaperMarket
from polyexec.sync import Executor as SyncExecutor

KEYS = {"a": "0x" + "17" * 32, "b": "0x" + "19" * 32}
ADDRESS = {name: px.OrderSigner(key).address for name, key in KEYS.items()}
DEPOSIT = {"a": 1_000, "b": 500}
SIZE = {"a": 10, "b": 7}
EACH = 15


class Exchange:
    """An exchange, and what each account was heard to send."""

    def __init__(self, exchange: PaperExchange) -> None:
        self.paper = exchange
        self.markets: dict[str, PaperMarket] = {}
        self.sent: dict[str, list[str]] = {name: [] for name in KEYS}
        self.mixed: list[str] = []
        exchange.on_request = self._hear
        for name in KEYS:
            exchange.deposit(ADDRESS[name], DEPOSIT[name])
            # One market each: what one trades must show nowhere with the other.
            self.markets[name] = market = exchange.add_market(name, fee_rate=0)
            exchange.set_book(market.yes, asks=[("0.40", 100_000)])

    async def _hear(self, request: Any) -> Any:
        if (request.method, request.path) != ("POST", "/orders"):
            return None
        address = request.headers["poly_address"]
        name = next(one for one in KEYS if ADDRESS[one].lower() == address.lower())
        credentials = self.paper.credentials(KEYS[name])
        for entry in json.loads(request.body):
            order = entry["order"]
            parties = {order["maker"].lower(), order["signer"].lower(), address.lower()}
            if len(parties) != 1 or entry["owner"] != credentials.api_key:
                self.mixed.append(f"{name}: {parties} {entry['owner']}")
            if order["tokenId"] != str(self.markets[name].yes):
                self.mixed.append(f"{name} trades the other's market")
        answer = self.paper.handle(request)
        self.sent[name] += [entry["orderID"] for entry in json.loads(answer.body)]
        return answer

    def config(self, name: str, folder: Path, **changes: Any) -> px.ExecutorConfig:
        credentials = self.paper.credentials(KEYS[name])
        given: dict[str, Any] = {
            "private_key": KEYS[name],
            "clob_url": self.paper.url,
            "ssl_context": self.paper.ssl_context,
            "api_key": credentials.api_key,
            "api_secret": credentials.secret,
            "api_passphrase": credentials.passphrase,
            "trading_enabled": True,
            "opportunity_timeout_ms": 0,
            "follow_interval_s": 0.05,
            "journal_mode": "os",
            "journal_folder": str(folder),
            "user_channel": True,
            "presign": 8,
        }
        return px.ExecutorConfig(**given | changes)

    def signal(self, name: str, **changes: Any) -> px.LegsSignal:
        given: dict[str, Any] = {"tick_size": "0.01", "fee_rate": 0, "order_type": "FOK"}
        market = self.markets[name]
        return px.LegsSignal(
            [px.Leg(market.yes, "BUY", "0.40", SIZE[name], **given | changes)], group_key=name
        )


@pytest.fixture
async def exchange() -> AsyncIterator[Exchange]:
    async with PaperExchange() as paper:
        yield Exchange(paper)


def spent(name: str) -> Decimal:
    return Decimal(EACH * SIZE[name]) * Decimal("0.40")


def check(
    exchange: Exchange, folder: Path, results: dict[str, list[px.TradeResult]], heard: Any
) -> None:
    """Compare what each account was told, sent and wrote down."""
    assert exchange.mixed == []
    for name, other in (("a", "b"), ("b", "a")):
        mine = [leg.order_id for result in results[name] for leg in result.legs]
        assert len(mine) == EACH
        assert all(result.success for result in results[name])
        assert sorted(mine) == sorted(exchange.sent[name])
        assert {result.signal.group_key for result in heard[name]} == {name}
        assert len(heard[name]) == EACH
        assert exchange.paper.balance(ADDRESS[name]) == DEPOSIT[name] - spent(name)
        assert exchange.paper.position(ADDRESS[name], exchange.markets[name].yes) == (
            EACH * SIZE[name]
        )
        assert exchange.paper.position(ADDRESS[name], exchange.markets[other].yes) == 0
        written = (folder / f"{ADDRESS[name]}-137" / "journal.wal").read_bytes()
        assert all(KEYS[one].removeprefix("0x").encode() not in written for one in KEYS)


async def test_two_accounts_on_one_loop_never_mix(exchange: Exchange, tmp_path: Path) -> None:
    heard: dict[str, list[px.TradeResult]] = {name: [] for name in KEYS}
    async with (
        px.Executor(exchange.config("a", tmp_path)) as a,
        px.Executor(exchange.config("b", tmp_path)) as b,
    ):
        both = {"a": a, "b": b}

        async def trade(name: str) -> list[px.TradeResult]:
            both[name].on_trade_result(heard[name].append)
            return [await both[name].submit(exchange.signal(name)) for _ in range(EACH)]

        results = dict(zip(KEYS, await asyncio.gather(*map(trade, KEYS)), strict=True))
        for name, executor in both.items():
            report = await executor.reconcile()
            assert report.is_exact
            expected = DEPOSIT[name] - spent(name)
            assert executor.ledger.balance() == int(expected * 1_000_000)
            known = set(executor.ledger.balances())
            assert exchange.markets["b" if name == "a" else "a"].yes not in known
    check(exchange, tmp_path, results, heard)


async def test_two_accounts_in_two_threads_never_mix(exchange: Exchange, tmp_path: Path) -> None:
    heard: dict[str, list[px.TradeResult]] = {name: [] for name in KEYS}
    results: dict[str, list[px.TradeResult]] = {}
    both_open = threading.Barrier(2)

    def trade(name: str) -> None:
        with SyncExecutor(exchange.config(name, tmp_path)) as executor:
            executor.on_trade_result(heard[name].append)
            both_open.wait(20)
            results[name] = [executor.submit(exchange.signal(name)).result(20) for _ in range(EACH)]
            assert executor.reconcile().is_exact

    await asyncio.gather(*(asyncio.to_thread(trade, name) for name in KEYS))
    check(exchange, tmp_path, results, heard)


async def test_limits_and_switches_of_one_are_not_the_others(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with (
        px.Executor(exchange.config("a", tmp_path, max_group_cost=1)) as a,
        px.Executor(exchange.config("b", tmp_path)) as b,
    ):
        assert a.submit(exchange.signal("a")).skipped is px.SkipReason.MAX_GROUP_COST
        assert (await b.submit(exchange.signal("b"))).success
        control = Control({"a": Account(a), "b": Account(b)})
        told = await control.carry_out(Request("halt", reason="a only", account="a"))
        assert list(told["accounts"]) == ["a"]
        assert a.submit(exchange.signal("a")).skipped is px.SkipReason.HALTED
        assert (await b.submit(exchange.signal("b"))).success
        # Full of b's orders, a has all of its places.
        a.resume()
        a.retune(a.config.replace(max_group_cost=None))
        assert (await a.submit(exchange.signal("a"))).success
        await control.carry_out(Request("halt", reason="both"))
        assert (a.halted, b.halted) == ("both", "both")
        with pytest.raises(InputError, match="account='c': is not one of this process: a, b"):
            await control.carry_out(Request("halt", account="c"))
        rests = exchange.signal("a", order_type="GTC")
        a.resume()
        b.resume()
        exchange.paper.set_book(exchange.markets["a"].yes, asks=[])
        exchange.paper.set_book(exchange.markets["b"].yes, asks=[])
        (mine,) = (await a.submit(rests)).legs
        (others,) = (await b.submit(exchange.signal("b", order_type="GTC"))).legs
        assert await a.cancel_all() == (mine.order_id,)
        assert set(exchange.paper.engine.live) == {others.order_id}
    assert exchange.mixed == []


async def test_a_second_executor_on_one_journal_is_refused_and_the_first_goes_on(
    exchange: Exchange, tmp_path: Path
) -> None:
    config = exchange.config("a", tmp_path)
    async with px.Executor(config) as first:
        assert (await first.submit(exchange.signal("a"))).success
        for _ in range(2):
            with pytest.raises(JournalError, match="journal") as caught:
                async with px.Executor(config):
                    pytest.fail("opened twice")
            assert KEYS["a"].removeprefix("0x") not in str(caught.value)
        assert (await first.submit(exchange.signal("a"))).success
        assert (await first.reconcile()).is_exact
    async with px.Executor(config) as second:  # given back, and whole
        assert (await second.submit(exchange.signal("a"))).success
    assert len(exchange.sent["a"]) == 3


async def test_a_second_process_on_one_journal_is_refused_with_the_firsts_id(
    exchange: Exchange, tmp_path: Path
) -> None:
    config = exchange.config("a", tmp_path)
    program = textwrap.dedent(
        f"""
        from polyexec import ExecutorConfig
        from polyexec.account import build_signer
        from polyexec.opening import open_own_journal

        config = ExecutorConfig(
            {KEYS["a"]!r}, journal_mode="os", journal_folder={str(tmp_path)!r}
        )
        open_own_journal(config, build_signer(config), is_exchange=True)
        """
    )
    async with px.Executor(config) as executor:
        ran = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True
        )
        assert ran.returncode == 1
        assert f"JournalError: {tmp_path}" in ran.stderr
        assert str(os.getpid()) in ran.stderr
        assert (await executor.submit(exchange.signal("a"))).success
    account = account_of(build_signer(config.replace(presign=0)))
    path = tmp_path / f"{account.address}-{account.chain_id}"
    open_journal(path, account, mode="os").close()  # nothing is damaged
