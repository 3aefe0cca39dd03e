"""The trade store: what is told is kept, once, whatever the order, and nobody waits for it."""

import itertools
import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyexec.enums import LegState
from polyexec.errors import StoreError, UsageError
from polyexec.journal.database import store as store_module
from polyexec.journal.database import writing
from polyexec.journal.database.location import Location
from polyexec.journal.database.ports import RowRefusedError, UnavailableError
from polyexec.journal.database.rows import gathered, rows_of_order, rows_of_result
from polyexec.journal.database.schema import Rows
from polyexec.journal.database.spill import Spill
from polyexec.journal.database.store import TradeStore
from polyexec.signal_json import decode_signal
from tests.unit.journal.database.support import (
    ACCOUNT,
    NOW,
    SIGNAL,
    contents,
    fill,
    final,
    leg_result,
    news,
    order_id,
    rejected,
    result,
    skipped,
    store,
)


def test_a_result_is_a_row_with_everything_that_the_result_says(
    where: Location, tmp_path: Path
) -> None:
    with store(where, tmp_path) as opened:
        opened.put_result(result(1, 2, 3))
        assert opened.flush()
        (trade,) = opened.reader.trades()
        orders = opened.reader.orders(trade_id=trade.trade_id)
    assert (trade.trade_id, trade.account, trade.source) == (order_id(1), ACCOUNT, "live")
    assert (trade.success, trade.skipped, trade.failure_type) == (True, "", "")
    assert trade.order_ids == (order_id(1), order_id(2), order_id(3))
    assert (trade.cost_micro, trade.expected_pnl_micro) == (4_012_340, 987_654)
    assert (trade.final_pnl_micro, trade.is_whole) == (None, True)
    assert (trade.started_ms, trade.finished_ms) == (NOW - 2, NOW)
    assert json.loads(trade.latency)["sign_us"] == 12.5
    assert trade.signal is not None
    assert decode_signal(trade.signal) == SIGNAL
    assert [(o.position, o.purpose, o.state, o.filled_micro) for o in orders] == [
        (place, "leg", "MATCHED", 10_000_000) for place in range(3)
    ]
    assert orders[0].exchange_trade_ids == ("t-1",)


def test_refusals_are_rows_with_their_reason_and_equal_skips_are_two(
    where: Location, tmp_path: Path
) -> None:
    with store(where, tmp_path) as opened:
        opened.put_result(skipped())
        opened.put_result(skipped())
        opened.put_result(rejected(5))
        assert opened.flush()
        sent, not_sent = opened.reader.trades(sent=True), opened.reader.trades(sent=False)
    assert [(t.failure_type, t.error_messages) for t in sent] == [
        ("rejected", ("no orders found to match",))
    ]
    assert [(t.skipped, t.success, t.order_ids) for t in not_sent] == [
        ("PnlBelowThreshold", False, ())
    ] * 2


def test_a_signal_that_nobody_submits_is_a_row(tmp_path: Path) -> None:
    with store(tmp_path / "a.db", tmp_path) as opened:
        opened.put_signal(SIGNAL)
        assert opened.flush()
        (trade,) = opened.reader.trades(sent=False)
        assert not opened.reader.trades(sent=True)
    assert (trade.detail, trade.failure_type, trade.success) == (
        "not submitted",
        "not_sent",
        False,
    )


def test_what_changes_later_changes_the_row(where: Location, tmp_path: Path) -> None:
    first = result(1)
    retry = leg_result(2, state=LegState.PARTIAL)
    with store(where, tmp_path) as opened:
        opened.put_result(first)
        opened.put_group(final(first, follow_ups=(retry,), final_pnl_micro=None))
        opened.put_order(news(1, fill(1, "MINED")))
        opened.put_order(news(1, fill(1, "CONFIRMED")))
        opened.put_group(final(first, follow_ups=(retry,)))
        assert opened.flush()
        (trade,) = opened.reader.trades()
        orders = opened.reader.orders(trade_id=trade.trade_id)
        (stored,) = opened.reader.fills(order_id=order_id(1))
    assert (trade.final_pnl_micro, trade.retry_count) == (990_000, 1)
    assert trade.retry_order_ids == (order_id(2),)
    assert [(o.purpose, o.position) for o in orders] == [("leg", 0), ("follow_up", 0)]
    assert orders[0].fee_micro == 12_000, "the exact fee replaces the bound of the answer"
    assert (stored.settlement, stored.settled_ms) == ("CONFIRMED", NOW + 1000)


def life() -> list[Rows]:
    """Return everything that is told of one group with a follow-up, as rows."""
    first = result(1)
    retry = leg_result(2, state=LegState.LIVE, filled_micro=0, paid_micro=0, fee_micro=0)
    own = result(2, legs=(leg_result(2, state=LegState.UNKNOWN),))

    def trade(of: Any, revision: int) -> Rows:
        return gathered(
            rows_of_result(of, trade_id="", account=ACCOUNT, revision=revision, now_ms=NOW)
        )

    def order(of: Any, revision: int) -> Rows:
        return gathered(rows_of_order(of, account=ACCOUNT, revision=revision, now_ms=NOW))

    return [
        trade(first, 0),
        trade(final(first, follow_ups=(retry,), final_pnl_micro=None), 10),
        trade(final(first, follow_ups=(retry,)), 20),
        order(news(1, fill(1)), 11),
        order(news(1, fill(1, "CONFIRMED")), 13),
        order(news(2, state=LegState.CANCELLED, filled_micro=0, paid_micro=0, fee_micro=0), 14),
        # The journal does not know that the second order belongs to the first.
        trade(first, -1),
        trade(own, -1),
    ]


def test_news_of_an_order_before_its_trade_in_batches_of_one_row(tmp_path: Path) -> None:
    (trade, orders), update = life()[6].items(), life()[3]
    with store(tmp_path / "a.db", tmp_path) as opened:
        for rows in (update, dict([trade]), dict([orders])):
            opened._own_writer.put(lambda rows=rows: [rows])
            assert opened.flush()
        assert [t.source for t in opened.reader.trades()] == ["journal"]


@pytest.mark.parametrize("seed", range(12))
def test_any_order_and_any_repetition_leads_to_the_same_rows(seed: int, tmp_path: Path) -> None:
    def kept(events: list[Rows], name: str) -> Any:
        path = tmp_path / name
        with store(path, tmp_path / f"{name}-spill") as opened:
            for rows in events:
                opened._own_writer.put(lambda rows=rows: [rows])
                if rng.random() < 0.5:
                    assert opened.flush()
            assert opened.flush()
        return contents(path, tmp_path / f"{name}-again")

    rng = random.Random(seed)
    shuffled = life() + rng.sample(life(), 4)
    rng.shuffle(shuffled)
    wanted = kept(life(), "told.db")
    assert kept(shuffled, "shuffled.db") == wanted
    trades, orders, fills = wanted
    assert [(t.trade_id, t.source, t.final_pnl_micro) for t in trades] == [
        (order_id(1), "live", 990_000)
    ]
    assert [(o.trade_id, o.state) for o in orders] == [
        (order_id(1), "MATCHED"),
        (order_id(1), "CANCELLED"),
    ]
    assert [f.settlement for f in fills] == ["CONFIRMED"]


def test_the_same_rows_in_postgres_in_any_order(where: Location, tmp_path: Path) -> None:
    events = life()
    with store(where, tmp_path) as opened:
        for rows in (*reversed(events), *events):
            opened._own_writer.put(lambda rows=rows: [rows])
            assert opened.flush()
    trades, orders, _ = contents(where, tmp_path / "again")
    assert [t.trade_id for t in trades] == [order_id(1)]
    assert {o.trade_id for o in orders} == {order_id(1)}


def test_hostile_texts_and_the_largest_integers_are_kept(where: Location, tmp_path: Path) -> None:
    text = "nul \0, half a pair \ud800, 'quote'; DROP TABLE polyexec_trades; -- \U0001f4a5"
    leg = leg_result(1, error=text * 100, paid_micro=2**63 - 1, market_slug=text)
    with store(where, tmp_path) as opened:
        opened.put_result(result(legs=(leg,), detail=text))
        assert opened.flush()
        (trade,), (order,) = opened.reader.trades(), opened.reader.orders()
        assert opened.counts.refused == 0
    assert trade.detail.startswith("nul , half a pair ?, 'quote'; DROP")
    assert order.paid_micro == 2**63 - 1


def test_a_row_that_the_database_refuses_costs_only_itself(where: Location, tmp_path: Path) -> None:
    with store(where, tmp_path) as opened:
        opened.put_result(result(1))
        opened.put_result(result(2, cost_micro=2**63))
        opened.put_result(result(3))
        assert opened.flush()
        assert {t.trade_id for t in opened.reader.trades()} == {order_id(1), order_id(3)}
        assert opened.counts.refused == 1
        assert opened.counts.spilled == 0


def test_a_row_that_breaks_the_tables_costs_only_itself(where: Location, tmp_path: Path) -> None:
    broken = life()[0]
    broken["polyexec_trades"].append([None] * len(broken["polyexec_trades"][0]))
    broken["polyexec_trades"].append(["id", *[object()] * (len(broken["polyexec_trades"][0]) - 1)])
    with store(where, tmp_path) as opened:
        opened._own_writer.put(lambda: [broken])
        assert opened.flush()
        assert [t.trade_id for t in opened.reader.trades()] == [order_id(1)]
        assert (opened.counts.refused, opened.counts.outages) == (2, 0)


def test_an_event_that_cannot_be_made_a_row_costs_only_itself(tmp_path: Path) -> None:
    with store(tmp_path / "trades.db", tmp_path) as opened:
        opened.put_result(result(1))
        opened.put_result(result(2, finished_ms=None))
        assert opened.flush()
        assert [t.trade_id for t in opened.reader.trades()] == [order_id(1)]
        assert opened.counts.refused == 1


class Blocked:
    """A database that waits in every write until it is let go, then fails or not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.entered, self.release = threading.Event(), threading.Event()
        self.rows: list[Rows] = []

    def open(self) -> None:
        pass

    def write(self, rows: Rows) -> None:
        self.entered.set()
        assert self.release.wait(10)
        if self.error is not None:
            raise self.error
        self.rows.append(rows)

    def close(self) -> None:
        pass


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Blocked:
    database = Blocked()
    monkeypatch.setattr(store_module, "open_database", lambda location: database)
    return database


def test_nobody_waits_for_a_database_that_hangs_and_the_queue_is_bounded(
    blocked: Blocked, tmp_path: Path
) -> None:
    with store(tmp_path / "x.db", tmp_path, queue_size=50) as opened:
        opened.put_result(result(1))
        assert blocked.entered.wait(10)
        for number in range(2, 102):
            opened.put_result(result(number))  # returns, or this test would not end
        counts = opened.counts
        assert (counts.queued, counts.dropped) == (50, 50)
        blocked.release.set()
    assert sum(len(rows["polyexec_trades"]) for rows in blocked.rows) == 51


def test_what_waited_goes_to_disk_in_small_records_with_a_breath_between_the_rows(
    blocked: Blocked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records: list[int] = []
    breaths: list[None] = []
    append = Spill.append

    def counting(self: Spill, rows: Rows) -> bool:
        records.append(len(rows.get("polyexec_trades", ())))
        return append(self, rows)

    monkeypatch.setattr(Spill, "append", counting)
    monkeypatch.setattr(writing, "breathe", lambda: breaths.append(None))
    blocked.error = UnavailableError("connection lost")
    with store(tmp_path / "x.db", tmp_path, retry_s=1000) as opened:
        opened.put_result(result(1))
        assert blocked.entered.wait(10)
        for number in range(2, 102):
            opened.put_result(result(number))
        opened.put_order(news(1, fill(1), fill(2), fill(3)))
        blocked.release.set()
        assert opened.flush()
    assert sum(records) == 101
    assert max(records) <= 32
    assert len(breaths) == 2 * 101 + 4, "a trade and its orders; an order, and each fill"


def test_a_failure_in_the_middle_of_a_write_spills_the_batch_and_closing_does_not_wait(
    blocked: Blocked, tmp_path: Path
) -> None:
    blocked.error = UnavailableError("connection lost")
    blocked.release.set()
    with store(tmp_path / "x.db", tmp_path, retry_s=1000) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        assert opened.failure == "connection lost"
        assert "connection lost" in repr(opened)
        opened.put_result(result(2))
        assert opened.flush()
        counts = opened.counts
    assert (counts.spilled, counts.written, counts.outages) == (2, 0, 1)
    assert counts.spill_bytes > 0
    # The next process writes them, to a database that works.
    blocked.error = None
    with store(tmp_path / "x.db", tmp_path) as opened:
        assert opened.catch_up()
        assert opened.counts.spill_bytes == 0
    trades = {row[0] for rows in blocked.rows for row in rows["polyexec_trades"]}
    assert trades == {order_id(1), order_id(2)}


def test_a_database_that_opens_and_takes_nothing_is_one_outage(
    blocked: Blocked, tmp_path: Path
) -> None:
    blocked.error = UnavailableError("database or disk is full")
    blocked.release.set()
    with store(tmp_path / "x.db", tmp_path, retry_s=0.001) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        assert not opened.catch_up(0.1)
        blocked.error = None
        assert opened.catch_up()
        assert (opened.counts.outages, opened.counts.dropped) == (1, 0)
        blocked.error = UnavailableError("again")
        opened.put_result(result(2))
        assert opened.flush()
        assert opened.counts.outages == 2


def test_a_driver_that_cannot_even_close_does_not_end_the_writer(
    blocked: Blocked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> None:
        raise RuntimeError("a driver's bug")

    blocked.error = UnavailableError("gone")
    blocked.release.set()
    monkeypatch.setattr(blocked, "close", breaks)
    with store(tmp_path / "x.db", tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.flush()
        blocked.error = None
        assert opened.catch_up()
        monkeypatch.undo()


def test_beyond_the_bound_of_the_spill_events_are_dropped_and_counted(
    blocked: Blocked, tmp_path: Path
) -> None:
    blocked.error = UnavailableError("gone")
    blocked.release.set()
    with store(tmp_path / "x.db", tmp_path, retry_s=1000, max_spill_bytes=2000) as opened:
        for number in range(1, 20):
            opened.put_result(result(number))
            assert opened.flush()
        counts = opened.counts
    assert 0 < counts.spilled < 19
    assert counts.spilled + counts.dropped == 19
    assert counts.spill_bytes <= 2000


def test_a_refused_row_does_not_hold_up_a_spill(blocked: Blocked, tmp_path: Path) -> None:
    blocked.error = RowRefusedError("no")
    blocked.release.set()
    with store(tmp_path / "x.db", tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.catch_up()
        assert opened.counts.refused == 2  # trade and order


def test_one_store_for_an_account_at_a_time(tmp_path: Path) -> None:
    with store(tmp_path / "a.db", tmp_path):
        with pytest.raises(StoreError, match=r"process \d+ stores the trades of this account"):
            store(tmp_path / "a.db", tmp_path).open()
        # Another account beside it.
        with store(tmp_path / "a.db", tmp_path, account="other", spill_folder=None):
            pass
    with store(tmp_path / "a.db", tmp_path):
        pass


def test_a_store_that_is_not_open_says_so(tmp_path: Path) -> None:
    closed = store(tmp_path / "a.db", tmp_path)
    with pytest.raises(UsageError, match="not open"):
        closed.put_result(result(1))
    with closed, pytest.raises(UsageError, match="opened once"):
        closed.open()


async def test_it_is_opened_with_async_with_as_well(tmp_path: Path) -> None:
    async with store(tmp_path / "a.db", tmp_path) as opened:
        opened.put_result(result(1))
    assert len(TradeStore(tmp_path / "a.db", now_ms=int).reader.trades()) == 1


def test_many_threads_put_at_once(tmp_path: Path) -> None:
    numbers = itertools.count(1)

    def put() -> None:
        for _ in range(100):
            opened.put_result(result(next(numbers)))

    with store(tmp_path / "a.db", tmp_path) as opened:
        threads = [threading.Thread(target=put) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert opened.flush(30)
        assert len(opened.reader.trades()) == 800


def test_a_bug_in_the_writer_is_no_end_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = iter([True, False, False])
    merged: Callable[..., Any] = writing._merged

    def breaks_once(parts: Any) -> Any:
        if next(broken, False):
            raise RuntimeError("a bug")
        return merged(parts)

    monkeypatch.setattr(writing, "_merged", breaks_once)
    with store(tmp_path / "a.db", tmp_path) as opened:
        opened.put_result(result(1))
        assert opened.catch_up()
        assert len(opened.reader.trades()) == 1
