"""The store of an executor: what it does is in the database, and a dead one changes nothing."""

from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.config import ExecutorConfig
from polyexec.core.journal import account_of
from polyexec.core.ports import NoAnswer
from polyexec.enums import LegState
from polyexec.errors import ConfigError, OutcomeUnknownError
from polyexec.executor import Executor
from polyexec.journal.database.reading import TradeReader
from polyexec.journal.wal import open_journal
from polyexec.policies import GroupPolicy
from polyexec.storing import open_store, store_location
from tests.unit.core.support import signal
from tests.unit.test_executor import ADDRESS, KEY, config
from tests.unit.test_grouping import Half
from tests.unit.venues import ScriptedVenue, all_live, all_matched

TOKEN = "7" * 70
BUY = px.LegsSignal(
    [px.Leg(TOKEN, "BUY", "0.40", 10, "FOK", tick_size="0.01", fee_rate=0)], group_key="btc"
)
ACCOUNT = f"{ADDRESS}-137"


def stored(tmp_path: Path, **changes: Any) -> ExecutorConfig:
    database = {"DB_URL": str(tmp_path / "trades.db")}
    return config(database=database, journal_folder=str(tmp_path / "state"), **changes)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_paper_trade_is_stored_with_its_fills_and_their_settlement(tmp_path: Path) -> None:
    settings = stored(tmp_path, executor_mode="paper")
    async with Executor(settings) as executor, open_store(settings, executor) as store:
        assert store is not None
        exchange = executor.exchange
        exchange.add_market("m", tokens=(TOKEN, "8" * 70))
        exchange.set_book(TOKEN, bids=[("0.39", 100)], asks=[("0.40", 100)])
        exchange.deposit(executor.address, 100)
        await executor.refresh_balance()
        result = await executor.submit(BUY)
        assert result.success
        await executor.reconcile()
        await executor.flush_callbacks()
        assert store.flush()
        (trade,) = store.reader.trades(group="btc")
        (order,) = store.reader.orders(trade_id=trade.trade_id)
        fills = store.reader.fills(order_id=order.order_id)
        assert store.counts.dropped == store.counts.refused == 0
    assert trade.account == f"paper-{ACCOUNT}"
    assert (trade.cost_micro, trade.success) == (result.cost_micro, True)
    assert (order.order_id, order.state) == (result.order_ids[0], "MATCHED")
    assert sum(fill.size_micro for fill in fills) == order.filled_micro == 10_000_000
    assert sum(f.price_e4 * f.size_micro for f in fills) // 10_000 == order.paid_micro


async def test_follow_ups_and_skips_are_stored_and_what_is_published_last_is_not_lost(
    tmp_path: Path,
) -> None:
    settings = stored(tmp_path, order_type="FOK", group_policy=GroupPolicy("complete"))
    venue = Half(all_matched)
    async with Executor(settings, venue) as executor, open_store(settings, executor) as store:
        assert store is not None
        result = await executor.submit(signal())
        executor.set_trading_enabled(False)
        assert (await executor.submit(signal())).skipped
    with_retry, skipped = TradeReader(tmp_path / "trades.db").trades()
    assert with_retry.retry_count == len(result.follow_ups) > 0
    assert with_retry.retry_order_ids == tuple(leg.order_id for leg in result.follow_ups)
    assert with_retry.error_messages
    assert (skipped.skipped, skipped.failure_type) == ("TradingDisabled", "skipped")


async def test_a_store_opened_first_hears_what_closing_the_executor_tells(tmp_path: Path) -> None:
    settings = stored(tmp_path)
    executor = Executor(settings, ScriptedVenue(all_live))
    async with open_store(settings, executor), executor:
        executor.submit(signal())
    assert len(TradeReader(tmp_path / "trades.db").trades()) == 1


async def test_a_killed_process_loses_no_order_the_journal_brings_it_back(tmp_path: Path) -> None:
    settings = stored(tmp_path)
    signer = px.OrderSigner(KEY)
    folder = tmp_path / "state" / ACCOUNT

    def answer(batch: Any) -> Any:
        return NoAnswer(error=OutcomeUnknownError("no answer")) if unknown else all_matched(batch)

    unknown = False
    account = account_of(signer)
    journal = open_journal(folder, account, mode="os")
    async with Executor(settings, ScriptedVenue(answer), journal=journal) as executor:
        first = await executor.submit(signal())
        unknown = True
        second = await executor.submit(signal())
    # Nobody stored anything. The next run finds both in the journal, and twice changes nothing.
    for _ in range(2):
        async with open_store(settings, Executor(settings, ScriptedVenue())) as store:
            assert store is not None
            assert store.catch_up()
            by_id = {trade.trade_id: trade for trade in store.reader.trades()}
            orders = store.reader.orders()
    assert len(by_id) == 2
    trades = [by_id[result.legs[0].order_id] for result in (first, second)]
    assert [(t.source, t.success, t.failure_type) for t in trades] == [
        ("journal", True, ""),
        ("journal", False, "unknown"),
    ]
    assert trades[0].cost_micro == first.cost_micro
    assert trades[0].signal is None
    assert {o.order_id for o in orders} == {leg.order_id for r in (first, second) for leg in r.legs}
    assert sum(o.state == LegState.UNKNOWN for o in orders) == len(second.legs)


async def test_a_live_row_is_not_touched_by_the_journal(tmp_path: Path) -> None:
    settings = stored(tmp_path)
    journal = open_journal(tmp_path / "state" / ACCOUNT, account_of(px.OrderSigner(KEY)), mode="os")
    executor = Executor(settings, ScriptedVenue(all_matched), journal=journal)
    async with open_store(settings, executor), executor:
        await executor.submit(signal())
    before = TradeReader(tmp_path / "trades.db").trades()
    async with open_store(settings, Executor(settings, ScriptedVenue())) as store:
        assert store is not None
        assert store.catch_up()
    assert list(TradeReader(tmp_path / "trades.db").trades()) == list(before)
    assert before[0].source == "live"


async def test_the_journal_does_not_make_a_trade_of_a_follow_up(tmp_path: Path) -> None:
    settings = stored(tmp_path, order_type="FOK", group_policy=GroupPolicy("complete"))
    journal = open_journal(tmp_path / "state" / ACCOUNT, account_of(px.OrderSigner(KEY)), mode="os")
    executor = Executor(settings, Half(all_matched), journal=journal)
    async with open_store(settings, executor), executor:
        result = await executor.submit(signal())
    async with open_store(settings, Executor(settings, ScriptedVenue())) as store:
        assert store is not None
        assert store.catch_up()
        (trade,) = store.reader.trades()
        orders = store.reader.orders(trade_id=trade.trade_id)
    assert [o.order_id for o in orders if o.purpose == "follow_up"] == [
        leg.order_id for leg in result.follow_ups
    ]
    assert trade.retry_count == len(result.follow_ups) > 0


async def test_an_executor_trades_on_while_its_database_cannot_be_used(tmp_path: Path) -> None:
    settings = stored(tmp_path).replace(
        database={"DB_URL": "postgresql://trader:secret@127.0.0.1:1/trades"}
    )
    pytest.importorskip("asyncpg")
    executor = Executor(settings, ScriptedVenue(all_matched))
    async with open_store(settings, executor) as store, executor:
        assert store is not None
        assert (await executor.submit(signal())).success
        await executor.flush_callbacks()
        assert store.flush()
        assert store.failure
        assert store.counts.spilled == 1
        assert "secret" not in repr(store) + store.failure
    assert [path for path in files(tmp_path) if path.suffix == ".spill"]


def test_where_trades_are_kept(tmp_path: Path) -> None:
    state = {"journal_folder": str(tmp_path)}
    live = ExecutorConfig(**state)
    assert str(store_location(live)) == str(tmp_path / "trades.db")
    assert store_location(live.replace(executor_mode="paper")) is None
    assert store_location(live.replace(clob_url="https://localhost:1")) is None
    assert store_location(live.replace(database={"DB_URL": "off"})) is None
    paper = live.replace(executor_mode="paper", database={"DB_URL": "sqlite:///x.db"})
    assert str(store_location(paper)) == "x.db"


async def test_no_store_is_wanted(tmp_path: Path) -> None:
    settings = stored(tmp_path).replace(database={"DB_URL": "off"})
    async with open_store(settings, Executor(settings, ScriptedVenue())) as store:
        assert store is None
    assert not files(tmp_path)


async def test_settings_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    settings = stored(tmp_path).replace(database={"DB_URL": "x.db", "DB_HOST": "h"})
    with pytest.raises(ConfigError, match="DB_URL and DB_HOST are both set"):
        async with open_store(settings, Executor(settings, ScriptedVenue())):
            pass


async def test_what_is_stored_does_not_hold_the_key(tmp_path: Path) -> None:
    settings = stored(tmp_path)
    executor = Executor(settings, ScriptedVenue(all_matched))
    async with open_store(settings, executor), executor:
        await executor.submit(signal())
    data = b"".join(path.read_bytes() for path in files(tmp_path))
    assert KEY.removeprefix("0x").encode() not in data
