"""Trades, price histories, tables of vendors, and how markets ended."""

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from polyexec.backtest import (
    Columns,
    DataApiTrades,
    PriceHistory,
    Resolutions,
    open_source,
)
from polyexec.backtest.readers.sorting import Sorter
from polyexec.core.market_events import BookEvent, LastTradePrice, PriceChanges
from polyexec.errors import InputError

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TOKEN, OTHER = "7" * 70, "8" * 70
SECOND = 1_790_035_200  # 2026-09-22T00:00 UTC
MS = 1_000_000


def events(source: Any) -> list[tuple[int, Any]]:
    found = [one for one in source.events() if one.kind != "gap"]
    return [(one.received_ns // MS - SECOND * 1000, one.event) for one in found]


# --- trades -------------------------------------------------------------------------------------


def trade(second: int, **more: Any) -> dict[str, Any]:
    return {
        "proxyWallet": "0x11",
        "side": "BUY",
        "asset": TOKEN,
        "conditionId": "0xaa",
        "size": 12.5,
        "price": 0.43,
        "timestamp": SECOND + second,
        "transactionHash": f"0x{second:02x}",
    } | more


def test_pages_newest_first_become_prints_by_time(tmp_path: Path) -> None:
    pages = [[trade(9), trade(8)], [trade(8), trade(5, side="SELL", price=0.4350000000000001)]]
    path = tmp_path / "trades.json"
    path.write_text(json.dumps(pages, indent=1))
    source = open_source(path)
    assert isinstance(source, DataApiTrades)
    assert source.truth == "prints"
    found = events(source)
    assert [time for time, _ in found] == [5000, 8000, 9000]  # one was on both pages
    assert all(isinstance(event, LastTradePrice) for _, event in found)
    first = found[0][1]
    assert (first.side, first.price, first.size) == ("SELL", "0.4350000000000001", "12.5")
    assert first.timestamp == str((SECOND + 5) * 1000)
    told = source.coverage()
    assert (told.duplicates, told.tokens, told.is_partial) == (1, (TOKEN,), False)
    assert "1 duplicates left out" in told.detail


def test_two_alike_on_one_page_are_two_fills(tmp_path: Path) -> None:
    pages = [[trade(9), trade(8), trade(8)], [trade(8), trade(8), trade(7)]]
    (tmp_path / "a.json").write_text(json.dumps(pages[0]))
    (tmp_path / "b.json").write_text(json.dumps(pages[1]))
    lines = tmp_path / "pages.jsonl"
    lines.write_text("".join(json.dumps(page) + "\n" for page in pages))
    expected = [7000, 8000, 8000, 9000]
    assert [
        time for time, _ in events(DataApiTrades([tmp_path / "a.json", tmp_path / "b.json"]))
    ] == (expected)
    assert [time for time, _ in events(open_source(lines))] == expected


def test_csv_of_trades_and_only_some_tokens(tmp_path: Path) -> None:
    rows = [trade(5), trade(7, asset=OTHER), trade(7)]
    names = list(rows[0])
    text = "\n".join([",".join(names), *(",".join(str(r[n]) for n in names) for r in rows)])
    path = tmp_path / "trades.csv.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert len(events(open_source(path))) == 3
    found = events(open_source(path, tokens=[OTHER]))
    assert [(time, event.asset_id) for time, event in found] == [(7000, OTHER)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"price": None}, r"jsonl:2#1='price': is missing"),
        ({"price": "much"}, r"jsonl:2#1 price='much': is no number"),
        ({"side": "HOLD"}, r"jsonl:2#1 side='HOLD'"),
        ({"asset": "0xzz"}, r"jsonl:2#1 asset='0xzz'"),
        ({"timestamp": 7}, r"jsonl:2#1 timestamp=7: is no unix time"),
    ],
)
def test_a_trade_that_cannot_be_read_is_told(
    change: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "trades.jsonl"
    path.write_text(json.dumps(trade(1)) + "\n" + json.dumps(trade(2, **change)) + "\n")
    with pytest.raises(InputError, match=words):
        events(open_source(path))


# --- price history ------------------------------------------------------------------------------


def test_a_price_history_has_mids_and_no_book(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    points = [{"t": SECOND + 60, "p": 0.435}, {"t": SECOND, "p": 1}, {"t": SECOND, "p": 1}]
    path.write_text(json.dumps({"history": points}))
    source = open_source(path, token_id=TOKEN)
    assert isinstance(source, PriceHistory)
    assert source.truth == "mid only"
    found = list(source.events())
    assert [(one.kind, one.mid, one.tokens) for one in found] == [
        ("mid", "1", (TOKEN,)),
        ("mid", "0.435", (TOKEN,)),
    ]
    assert all(one.event is None and one.frame is None for one in found)
    assert source.coverage().truth == "mid only"
    assert source.coverage().duplicates == 1


def test_the_batch_form_names_its_tokens(tmp_path: Path) -> None:
    path = tmp_path / "history.json"
    point = {"t": SECOND, "p": 0.4}
    path.write_text(json.dumps({"history": {TOKEN: [point], OTHER: [point]}}))
    assert [one.tokens for one in open_source(path).events()] == [(TOKEN,), (OTHER,)]
    assert [one.tokens for one in open_source(path, token_id=OTHER).events()] == [(OTHER,)]


@pytest.mark.parametrize(
    ("history", "options", "words"),
    [
        ([{"t": SECOND, "p": 0.4}], {}, "token_id=None: is needed"),
        ([{"t": SECOND, "p": 4}], {"token_id": TOKEN}, "json#1 p=4: is no price"),
        ([{"t": SECOND}], {"token_id": TOKEN}, "json#1=.*needs t and p"),
        ([{"t": "x", "p": 1}], {"token_id": TOKEN}, "json#1 t='x': is no time"),
        (5, {}, "json=5: is no price history"),
    ],
)
def test_a_bad_history_is_told(
    history: Any, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "history.json"
    path.write_text(json.dumps({"history": history}))
    with pytest.raises(InputError, match=words):
        list(open_source(path, **options).events())


# --- tables of vendors --------------------------------------------------------------------------


def test_telonex_books_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    level = pa.struct([("price", pa.string()), ("size", pa.string())])
    schema = pa.schema(
        [
            ("timestamp_us", pa.int64()),
            ("local_timestamp_us", pa.int64()),
            ("outcome", pa.string()),
            ("bids", pa.list_(level)),
            ("asks", pa.list_(pa.list_(pa.string()))),
        ]
    )
    rows = [
        {
            "timestamp_us": (SECOND * 1000 + ms) * 1000,
            "local_timestamp_us": (SECOND * 1000 + ms + 9) * 1000 + 1,
            "outcome": outcome,
            "bids": [{"price": "0.42", "size": "10"}],
            "asks": [["0.44", "7.5"], ["0.43", "1"]],
        }
        for ms, outcome in ((1, "Up"), (2, "Down"), (3, "Else"))
    ]
    path = tmp_path / "book_snapshot_full.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    names = {
        "received": "local_timestamp_us",
        "time": "timestamp_us",
        "token": "outcome",
        "bids": "bids",
        "asks": "asks",
    }
    source = open_source(path, columns=names, unit="us", tokens={"Up": TOKEN, "Down": OTHER})
    assert isinstance(source, Columns)
    assert source.truth == "snapshots"
    (first, second) = source.events()
    assert first.received_ns == (SECOND * 1000 + 10) * MS + 1000
    book = first.event
    assert isinstance(book, BookEvent)
    assert (book.asset_id, book.timestamp) == (TOKEN, str(SECOND * 1000 + 1))
    assert [(one.price, one.size) for one in book.asks] == [("0.44", "7.5"), ("0.43", "1")]
    assert source.coverage().tokens == (TOKEN, OTHER)
    assert second.event is not None


def test_best_prices_are_books_of_one_level(shared_dir: Path) -> None:
    path = shared_dir / "data/captured/l2/updown_btc_1h_up_l1_events_2026-03-01.csv"
    names = {
        "received": "local_ts_ms",
        "time": "msg_ts_ms",
        "bid_price": "bid_price",
        "bid_size": "bid_qty",
        "ask_price": "ask_price",
        "ask_size": "ask_qty",
    }
    source = open_source(path, columns=names, token_id=TOKEN)
    found = [event for _, event in events(source)]
    assert len(found) == 474
    assert (found[0].bids[0].price, found[0].asks[0].size) == ("0.6", "444.96")
    with pytest.raises(InputError, match=r"csv:1=.*CSV of no format that is known: say with colu"):
        open_source(path)


TRADES = {"received": "when", "price": "px", "size": "qty", "side": "aggressor"}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def tick(ms: int, **more: Any) -> dict[str, Any]:
    return {"when": SECOND * 1000 + ms, "px": 0.07, "qty": 3, "aggressor": "buy"} | more


@pytest.mark.parametrize(("kind", "type_"), [("trades", LastTradePrice), ("changes", PriceChanges)])
def test_floats_are_their_shortest_text(kind: Any, type_: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [tick(1), tick(2)])
    found = events(Columns(path, columns=TRADES, kind=kind, token_id=TOKEN))
    event = found[0][1]
    assert isinstance(event, type_)
    one = event.price_changes[0] if isinstance(event, PriceChanges) else event
    assert (one.price, one.size, one.side) == ("0.07", "3", "BUY")


def test_a_table_out_of_order_is_refused_or_sorted(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [tick(90_000), tick(5), tick(7)])
    options: dict[str, Any] = {"columns": TRADES, "kind": "trades", "token_id": TOKEN}
    with pytest.raises(InputError, match=r"x.parquet:row 1=.*older than the record before"):
        events(Columns(path, **options))
    found = events(Columns(path, **options, is_sorted=False))
    assert [time for time, _ in found] == [5, 7, 90_000]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": TRADES}, "kind=None: say whether these are trades or changes"),
        ({"columns": TRADES | {"sice": "x"}}, "columns='sice': must be one of received"),
        ({"columns": {"received": "when", "bids": "b"}}, r"columns=\['asks'\]: must be named too"),
        ({"columns": TRADES | {"market": "mkt"}, "kind": "trades"}, r"\[market\]='mkt': is no col"),
        ({"columns": TRADES, "kind": "trades", "unit": "min"}, "unit='min': must be s, ms"),
        ({"columns": TRADES, "kind": "trades", "token_id": None}, "token_id=None: give it, or"),
        ({"columns": TRADES | {"token": "px"}, "kind": "trades"}, "give it, or a column"),
        ({"columns": TRADES, "kind": "trades", "unit": "s"}, "row 0 received=.*check clock and u"),
        (
            {"columns": TRADES | {"price": "aggressor"}, "kind": "trades"},
            "price='buy': is no",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_is_told(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.parquet", [tick(1)])
    with pytest.raises(InputError, match=words):
        events(open_source(path, **{"token_id": TOKEN} | options))


def test_an_empty_side_and_a_torn_csv_row(tmp_path: Path) -> None:
    path = tmp_path / "tops.csv"
    names = {name: name for name in ("received", "bid_price", "bid_size", "ask_price", "ask_size")}
    path.write_text(f"{','.join(names)}\n{SECOND}.5,,,0.5,7\n{SECOND}.7,0.4,1\n")
    source = Columns(path, columns=names, token_id=TOKEN).events()
    book = next(source).event
    assert isinstance(book, BookEvent)
    assert (book.bids, book.asks[0].price) == ([], "0.5")
    with pytest.raises(InputError, match=r"tops.csv:3=.*fewer fields than c"):
        next(source)


# --- resolutions --------------------------------------------------------------------------------


def market(**more: Any) -> dict[str, Any]:
    return {
        "slug": "x",
        "closed": True,
        "clobTokenIds": json.dumps([TOKEN, OTHER]),
        "outcomePrices": json.dumps(["0", "1"]),
        "endDate": "2026-09-22T00:00:00Z",
        "closedTime": "2026-09-22 00:00:16+00",
        "umaEndDate": "2026-09-22T00:00:20Z",
    } | more


def paid(source: Any) -> list[tuple[int, str, int]]:
    found = [one for one in source.events()]
    assert {one.kind for one in found} <= {"resolution"}
    return [(one.received_ns // MS - SECOND * 1000, *one.tokens, one.pays_micro) for one in found]


def test_a_market_has_paid_when_that_was_known(tmp_path: Path) -> None:
    path = tmp_path / "markets.json"
    path.write_text(json.dumps([market(), market()], indent=1))
    source = open_source(path)
    assert isinstance(source, Resolutions)
    assert paid(source) == [(20_000, TOKEN, 0), (20_000, OTHER, 1_000_000)]
    assert source.coverage().duplicates == 1
    path.write_text(json.dumps({"markets": [market(outcomePrices=["0.5", "0.5"])]}))
    assert [one[2] for one in paid(open_source(path))] == [500_000, 500_000]


@pytest.mark.parametrize(
    "more", [{"closed": False}, {"outcomePrices": '["0.0005", "0.9995"]'}, {"outcomePrices": None}]
)
def test_what_is_not_resolved_tells_nothing(more: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "markets.jsonl"
    path.write_text(json.dumps(market(**more)) + "\n" + json.dumps(market(**more)) + "\n")
    source = open_source(path)
    assert paid(source) == []
    assert "2 markets not resolved" in source.coverage().detail


def test_a_closed_market_without_a_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "markets.jsonl"
    path.write_text(json.dumps(market(closedTime=None, umaEndDate="")) + "\n")
    with pytest.raises(InputError, match=r"jsonl:1='x': has neither closedTime nor umaEndDate"):
        paid(open_source(path))


def test_a_recorded_day_of_markets(shared_dir: Path) -> None:
    path = shared_dir / "data/captured/gamma/btc-5m-markets_2026-07-24.jsonl.gz"
    with gzip.open(path) as lines:
        recorded = [json.loads(line) for line in lines]
    found = {token: (time, pays) for time, token, pays in paid(open_source(path))}
    for one in recorded:
        pays = [found[token][1] for token in one["token_ids"]]
        assert pays == [int(Decimal(price) * 1_000_000) for price in one["outcome_prices"]]
        times = {found[token][0] // 1000 + SECOND for token in one["token_ids"]}
        assert min(times) >= one["end_sec"]  # nobody knew it before


# --- sorting ------------------------------------------------------------------------------------


def test_the_sorter_gives_back_what_it_took_and_removes_its_files() -> None:
    sorter: Sorter[tuple[int, str]] = Sorter(tuple[int, str], run_bytes=4000, fan_in=4)
    with sorter:
        for row in range(3000):
            sorter.add(row * 7919 % 500, row, (row, "x" * (row % 9)))
        found = list(sorter.drain())
        assert sorter._folder is not None
        folder = Path(sorter._folder.name)
        assert sum(1 for _ in folder.iterdir()) < 16  # of some hundred
        assert sorter.files > 100
    assert not folder.exists()
    assert [one[:2] for one in found] == sorted((row * 7919 % 500, row) for row in range(3000))
    assert all(record == (row, "x" * (row % 9)) for _, row, record in found)
