"""Questions to a store: by time, group and account, and the ways out into other tools."""

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from polyexec.errors import InputError, UsageError
from polyexec.journal.database import reading
from polyexec.journal.database.reading import TradeReader
from polyexec.signal_json import encode_signal
from polyexec.signals import ArbSignal
from tests.unit.journal.database.support import (
    NOW,
    SIGNAL,
    fill,
    final,
    news,
    order_id,
    result,
    skipped,
    store,
)

BTC = ArbSignal("X", group_key="btc")


@pytest.fixture
def reader(where: Any, tmp_path: Path) -> Iterator[TradeReader]:
    with store(where, tmp_path) as opened:
        opened.put_result(result(1, signal=BTC))
        opened.put_result(result(2, 3, finished_ms=NOW + 1000))
        opened.put_result(skipped(legs=(), finished_ms=NOW + 2000))
        opened.put_group(final(result(4, finished_ms=NOW + 3000)))
        opened.put_order(news(4, fill(4), fill(4), fill(4, trade_id="t-2")))
        assert opened.flush()
    reader = TradeReader(where)
    yield reader
    reader.close()


def times(rows: Any) -> list[int]:
    return [row.finished_ms - NOW for row in rows]


def test_trades_by_time_group_and_account(reader: TradeReader) -> None:
    assert times(reader.trades()) == [0, 1000, 2000, 3000]
    assert times(reader.trades(since=NOW + 1000, until=NOW + 3000)) == [1000, 2000]
    assert times(reader.trades(group="btc")) == [0]
    assert times(reader.trades(account="nobody")) == []
    assert times(reader.trades(sent=True)) == [0, 1000, 3000]
    assert times(reader.trades(sent=False)) == [2000]
    assert times(reader.trades(limit=2)) == [2000, 3000], "the newest, oldest first"


def test_a_time_may_be_said_in_every_way(reader: TradeReader) -> None:
    when = datetime.fromtimestamp((NOW + 1000) / 1000, UTC)
    assert times(reader.trades(since=when)) == [1000, 2000, 3000]
    assert times(reader.trades(since=when.replace(tzinfo=None))) == [1000, 2000, 3000]
    elsewhere = when.astimezone(timezone(timedelta(hours=7)))
    assert times(reader.trades(since=elsewhere.isoformat())) == [1000, 2000, 3000]
    assert times(reader.trades(until=when.date().isoformat())) == []


@pytest.mark.parametrize("since", ["yesterday", "", 1.5, True])
def test_what_is_no_time_is_refused(since: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="since="):
        TradeReader(tmp_path / "x.db").trades(since=since)


@pytest.mark.parametrize("limit", [0, -1, True, 2**63])
def test_what_is_no_limit_is_refused(limit: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="limit="):
        TradeReader(tmp_path / "x.db").trades(limit=limit)


def test_orders_and_fills(reader: TradeReader) -> None:
    assert [o.order_id for o in reader.orders(trade_id=order_id(2))] == [order_id(2), order_id(3)]
    assert len(reader.orders()) == 4
    fills = reader.fills(order_id=order_id(4))
    assert [f.exchange_trade_id for f in fills] == ["t-1", "t-1", "t-2"], "equal ones are two"
    assert not reader.fills(account="nobody")


def test_rows_are_a_sequence(reader: TradeReader) -> None:
    rows = reader.trades()
    assert rows[0] in rows
    assert rows[-1].finished_ms == NOW + 3000
    assert repr(rows) == "<4 rows of StoredTrade>"


def test_data_frames_hold_the_same(reader: TradeReader) -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    rows = reader.trades()
    frames = (rows.to_pandas(), rows.to_polars(), rows.to_arrow())
    assert isinstance(frames[0], pandas.DataFrame)
    assert isinstance(frames[1], polars.DataFrame)
    costs = [row.cost_micro for row in rows]
    assert frames[0]["cost_micro"].tolist() == costs
    assert frames[1]["cost_micro"].to_list() == costs
    assert frames[2].column("cost_micro").to_pylist() == costs
    assert frames[0]["cost_micro"].dtype == "int64"
    assert frames[1]["order_ids"].to_list()[1] == [order_id(2), order_id(3)]
    assert frames[2].column("success").to_pylist() == [row.success for row in rows]


def test_csv_holds_every_column(reader: TradeReader, tmp_path: Path) -> None:
    rows = reader.trades()
    rows.to_csv(tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert len(lines) == 4
    assert list(lines[0]) == [field.name for field in msgspec.structs.fields(reading.StoredTrade)]
    assert json.loads(lines[1]["order_ids"]) == [order_id(2), order_id(3)]
    assert lines[3]["final_pnl_micro"] == "990000"
    with pytest.raises(InputError, match="cannot be written"):
        rows.to_csv(tmp_path / "no" / "out.csv")


def test_parquet_comes_back(reader: TradeReader, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = reader.trades()
    rows.to_parquet(tmp_path / "out.parquet")
    table = parquet.read_table(tmp_path / "out.parquet")
    assert table.column("trade_id").to_pylist() == [row.trade_id for row in rows]
    assert table.column("signal").to_pylist()[1] == encode_signal(SIGNAL)
    with pytest.raises(InputError, match="cannot be written"):
        rows.to_parquet(tmp_path / "no" / "out.parquet")


def test_a_library_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(reading, "import_module", missing)
    with store(tmp_path / "x.db", tmp_path) as opened:
        for name in ("pandas", "polars"):
            with pytest.raises(
                UsageError, match=rf"needs {name}: pip install 'polyexec\[frames\]'"
            ):
                getattr(opened.reader.trades(), f"to_{name}")()
