"""The PMXT archive: real Parquet files of both schemas, sorted, filtered, with holes."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polyexec.backtest import Pmxt, open_source
from polyexec.backtest.readers import sorting
from polyexec.backtest.readers.parquet import ParquetRows
from polyexec.core.market_events import BookEvent, LastTradePrice, PriceChanges, TickSizeChange
from polyexec.errors import InputError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TOKENS = [str(n) * 70 for n in range(1, 7)]
MARKETS = [f"0x{n:064x}" for n in (1, 2, 3)]  # two tokens each
START = 1_776_150_000_000 // 3_600_000 * 3_600_000  # 2026-04-14T07
HOUR = 3_600_000
TIME = pa.timestamp("ms", tz="UTC")
PRICE, SIZE = pa.decimal128(9, 4), pa.decimal128(18, 6)
V2 = pa.schema(
    [
        ("timestamp_received", TIME),
        ("timestamp", TIME),
        ("market", pa.binary(66)),
        ("event_type", pa.string()),
        ("asset_id", pa.string()),
        ("bids", pa.string()),
        ("asks", pa.string()),
        ("price", PRICE),
        ("size", SIZE),
        ("side", pa.string()),
        ("best_bid", PRICE),
        ("best_ask", PRICE),
        ("fee_rate_bps", pa.uint16()),
        ("transaction_hash", pa.string()),
        ("old_tick_size", PRICE),
        ("new_tick_size", PRICE),
    ]
)
V1 = pa.schema(
    [
        ("timestamp_received", TIME),
        ("timestamp_created_at", TIME),
        ("market_id", pa.string()),
        ("update_type", pa.string()),
        ("data", pa.string()),
    ]
)


def row(received: int, token: int, kind: str = "price_change", **more: Any) -> dict[str, Any]:
    found = {
        "timestamp_received": START + received,
        "timestamp": START + received - 3,
        "market": MARKETS[token // 2].encode(),
        "event_type": kind,
        "asset_id": TOKENS[token],
    }
    if kind == "price_change":
        found |= {"price": Decimal("0.43"), "size": Decimal("42.6"), "side": "BUY"}
        found |= {"best_bid": Decimal("0.43"), "best_ask": Decimal("0.5")}
    if kind == "book":
        levels = {"bids": [["0.01", "2228.02"], ["0.42", "7"]], "asks": [["0.99", "5"]]}
        found |= {side: json.dumps(one) for side, one in levels.items()}
    return found | more


def row_v1(received: int, token: int, kind: str = "price_change") -> dict[str, Any]:
    data: dict[str, Any] = {
        "update_type": kind,
        "market_id": MARKETS[token // 2],
        "token_id": TOKENS[token],
        "side": "YES",
        "best_bid": "0.043",
        "best_ask": "0.045",
        "timestamp": (START + received - 3) / 1000 + 0.0001021,
    }
    if kind == "price_change":
        data |= {"change_price": "0.047", "change_size": "42.6", "change_side": "SELL"}
    else:
        data |= {"bids": [["0.01", "2228.02"]], "asks": [["0.99", "5"], ["0.5", "1"]]}
    return {
        "timestamp_received": START + received,
        "timestamp_created_at": START + received - 3,
        "market_id": MARKETS[token // 2],
        "update_type": kind,
        "data": json.dumps(data),
    }


def name(hour: int) -> str:
    start = datetime.fromtimestamp(START / 1000 + 3600 * hour, tz=UTC)
    return start.strftime("polymarket_orderbook_%Y-%m-%dT%H.parquet")


def write(path: Path, rows: list[dict[str, Any]], *, group: int = 1000, schema: Any = V2) -> Path:
    """Write rows as the archive does: by market, token and time, ZSTD."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if schema is V2:
        rows = sorted(rows, key=lambda r: (r["market"], r["asset_id"], r["timestamp_received"]))
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, path, row_group_size=group, compression="zstd")
    return path


def seen(source: Any) -> list[tuple[int, str]]:
    return [(one.received_ns // 1_000_000 - START, _what(one)) for one in source.events()]


def _what(one: Any) -> str:
    if one.kind != "event":
        return str(one.kind)
    event = one.event
    if isinstance(event, PriceChanges):
        return "+".join(change.asset_id[0] for change in event.price_changes)
    return f"{type(event).__name__} {event.asset_id[0]}"


def test_rows_by_token_come_out_by_time(tmp_path: Path) -> None:
    rows = [row(t, token) for token in range(4) for t in (10 + token, 40, 70 - token)]
    source = open_source(write(tmp_path / name(0), rows))
    assert isinstance(source, Pmxt)
    assert source.truth == "L2"
    assert seen(source) == [
        (10, "1"),
        (11, "2"),
        (12, "3"),
        (13, "4"),
        (40, "1+2"),  # both tokens of a market in one message, as it was sent
        (40, "3+4"),
        (67, "4"),
        (68, "3"),
        (69, "2"),
        (70, "1"),
    ]


def test_every_kind_of_v2_becomes_what_the_channel_sends(tmp_path: Path) -> None:
    rows = [
        row(1, 0, "book"),
        row(2, 0, best_ask=None),
        row(3, 0, "last_trade_price", price=Decimal("0.1690"), size=Decimal("128.090000"))
        | {"side": "SELL", "fee_rate_bps": 1000, "transaction_hash": "0xaa"},
        row(
            4, 0, "tick_size_change", old_tick_size=Decimal("0.01"), new_tick_size=Decimal("0.001")
        ),
        row(5, 0, "something_new"),
    ]
    source = Pmxt(write(tmp_path / name(0), rows))
    book, changes, trade, tick = (one.event for one in source.events())
    assert isinstance(book, BookEvent)
    assert [(level.price, level.size) for level in book.bids] == [
        ("0.01", "2228.02"),
        ("0.42", "7"),
    ]
    assert (book.market, book.timestamp) == (MARKETS[0], str(START - 2))
    assert isinstance(changes, PriceChanges)
    (change,) = changes.price_changes
    assert (change.price, change.size, change.side) == ("0.43", "42.6", "BUY")
    assert (change.best_bid, change.best_ask) == ("0.43", None)
    assert isinstance(trade, LastTradePrice)
    assert (trade.price, trade.size, trade.fee_rate_bps) == ("0.169", "128.09", "1000")
    assert isinstance(tick, TickSizeChange)
    assert (tick.old_tick_size, tick.new_tick_size) == ("0.01", "0.001")
    assert "1 rows of unknown types left out" in source.coverage().detail


def test_v1_says_the_same_in_json(tmp_path: Path) -> None:
    rows = [row_v1(1, 0, "book_snapshot"), row_v1(5, 3), row_v1(5, 2), row_v1(2, 0)]
    path = write(tmp_path / name(0), rows, schema=V1)
    assert seen(open_source(path)) == [(1, "BookEvent 1"), (2, "1"), (5, "4+3")]
    book, changes = (one.event for one in Pmxt(path, tokens=[TOKENS[0]]).events())
    assert isinstance(book, BookEvent)
    assert book.timestamp == str(START - 2)  # milliseconds of a float of seconds
    assert [(level.price, level.size) for level in book.asks] == [("0.99", "5"), ("0.5", "1")]
    assert isinstance(changes, PriceChanges)
    assert changes.price_changes[0].side == "SELL"
    assert len(seen(Pmxt(path, markets=[MARKETS[1]]))) == 1


def test_groups_without_the_token_are_not_read(tmp_path: Path, monkeypatch: Any) -> None:
    rows = [row(t, token) for token in range(6) for t in range(100)]
    path = write(tmp_path / name(0), rows, group=100)
    opened: list[ParquetRows] = []
    begin = ParquetRows.__init__
    monkeypatch.setattr(
        ParquetRows, "__init__", lambda self, file: (opened.append(self), begin(self, file))[1]
    )
    source = Pmxt(path, tokens=[TOKENS[3]])
    assert seen(source) == [(t, "4") for t in range(100)]
    assert opened[-1].groups_read == 1
    assert len(seen(Pmxt(path, markets=[MARKETS[2]]))) == 100
    assert opened[-1].groups_read == 2


def test_what_does_not_fit_in_memory_is_sorted_in_files(tmp_path: Path, monkeypatch: Any) -> None:
    made: list[sorting.Sorter[Any]] = []

    def small(kind: Any) -> sorting.Sorter[Any]:
        made.append(sorting.Sorter(kind, run_bytes=20_000, fan_in=3))
        return made[-1]

    rows = [row(t * 7 % 1000, token) for token in range(4) for t in range(1000)]
    path = write(tmp_path / name(0), rows)
    whole = seen(Pmxt(path))
    monkeypatch.setattr("polyexec.backtest.readers.pmxt.Sorter", small)
    assert seen(Pmxt(path)) == whole
    assert [time for time, _ in whole] == sorted(time for time, _ in whole)
    assert made[0].files > 30  # some of them made of others


def test_a_missing_hour_is_a_gap_and_an_hour_without_the_token_is_not(tmp_path: Path) -> None:
    for hour, token in ((0, 0), (1, 5), (2, 0), (4, 0)):
        write(tmp_path / "2026" / name(hour), [row(hour * HOUR + 9, token)])
    write(tmp_path / "2026" / name(3), [])  # a placeholder of the archive
    source = open_source(tmp_path, tokens=[TOKENS[0]])
    assert seen(source) == [(9, "1"), (2 * HOUR + 9, "1"), (3 * HOUR, "gap"), (4 * HOUR + 9, "1")]
    told = source.coverage()
    assert told.missing_hours == ("2026-04-14T10",)
    assert told.hours == ("2026-04-14T07", "2026-04-14T08", "2026-04-14T09", "2026-04-14T11")
    assert told.partial_days == ("2026-04-14",)
    assert told.gaps == 1
    assert told.is_partial


def test_a_row_behind_its_hour_does_not_make_the_next_one_there(tmp_path: Path) -> None:
    write(tmp_path / name(0), [row(9, 0), row(HOUR + 3, 0)])
    write(tmp_path / name(2), [row(2 * HOUR + 1, 0)])
    source = open_source(tmp_path)
    assert seen(source) == [(9, "1"), (HOUR + 3, "1"), (HOUR + 3, "gap"), (2 * HOUR + 1, "1")]
    assert source.coverage().missing_hours == ("2026-04-14T08",)


def test_an_hour_has_one_file(tmp_path: Path) -> None:
    write(tmp_path / "v1" / name(0), [row_v1(1, 0)], schema=V1)
    write(tmp_path / "v2" / name(0), [row(1, 0)])
    with pytest.raises(
        InputError, match=r"/v2/.*T07.parquet='2026-04-14T07': has a second file, .*/v1/"
    ):
        open_source(tmp_path)


def test_an_hour_that_holds_another_one_is_refused(tmp_path: Path) -> None:
    write(tmp_path / name(0), [row(HOUR - 1, 0)])
    write(tmp_path / name(1), [row(5, 0)])
    with pytest.raises(InputError, match=r"T08.parquet:row 0=.*overlaps another"):
        seen(open_source(tmp_path))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (V2.remove(V2.get_field_index("best_ask")), "='best_ask': is a column that is missing"),
        (V2.set(7, pa.field("price", pa.float64())), "='price': is a column of double, and has"),
        (V1.remove(4), "='data': is a column that is missing: wrong schema"),
        (pa.schema([("ts", TIME), ("px", PRICE)]), "='ts, px': are columns of neither PMXT v1"),
    ],
)
def test_another_schema_is_refused_by_column(schema: Any, words: str, tmp_path: Path) -> None:
    path = write(tmp_path / name(0), [], schema=schema)
    with pytest.raises(InputError, match=rf"T07.parquet{words}"):
        open_source(path)


@pytest.mark.parametrize("option", ["tokens", "markets"])
def test_one_text_is_no_list_of_ids(option: str, tmp_path: Path) -> None:
    path = write(tmp_path / name(0), [row(1, 0)])
    with pytest.raises(InputError, match=rf"{option}='1+': must be a list of"):
        open_source(path, **{option: TOKENS[0][:9]})
    assert seen(open_source(path, **{option: []})) == []


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / name(0), [row(t, 0) for t in range(99)])
    data = path.read_bytes()
    path.write_bytes(data[:-30])
    with pytest.raises(InputError, match=r"T07.parquet=\d+: bytes are no whole Parquet file"):
        open_source(path)
    broken = bytearray(data)
    broken[40:400] = bytes(360)
    path.write_bytes(broken)
    with pytest.raises(InputError, match=r"T07.parquet='row group 0': is damaged"):
        seen(open_source(path))


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"bids": "[[1"}, "row 1='book': is a row that cannot be read"),
        ({"timestamp_received": None}, "row 1=None: has no time"),
    ],
)
def test_a_row_that_cannot_be_read_is_told(bad: dict[str, Any], words: str, tmp_path: Path) -> None:
    table = pa.Table.from_pylist([row(1, 0), row(2, 0, "book") | bad], schema=V2)
    pq.write_table(table, tmp_path / name(0))
    with pytest.raises(InputError, match=words):
        seen(open_source(tmp_path / name(0)))
