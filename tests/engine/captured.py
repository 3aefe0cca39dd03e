"""Every recording of the market: parsed, rebuilt, and held to what the events say of themselves.

``python -m tests.engine.captured`` prints a row per file, then each mismatch with its reason.
"""

import gzip
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from polyexec._impl import PriceTable
from polyexec.core.book_hash import HashedBook
from polyexec.core.market_events import (
    BestBidAsk,
    BookEvent,
    Ignored,
    MarketEvent,
    PriceChanges,
    Unreadable,
    decode_frame,
    parse_time_ms,
    read_books,
)
from polyexec.engine.following import FeedSettings
from polyexec.engine.keeping import BookKeeper
from polyexec.models import TokenId
from polyexec.numbers import to_price_e4

SHARED = Path(os.environ.get("POLYEXEC_SHARED", Path(__file__).resolve().parents[3] / "shared"))
CAPTURED = SHARED / "data" / "captured"
MIN_ORDER_SIZE = "5"  # of every recorded market; the stream does not say it
# Trimmed by whoever recorded them: their hash is of more levels than they have.
TRIMMED = {"polybot_ws_book_2026-06-12.json", "tui_ws_market_book_2026-07-04.json"}


class Row(msgspec.Struct):
    """What one file gave."""

    name: str
    frames: int = 0
    events: int = 0
    books: int = 0
    changes: int = 0
    stated: int = 0
    equal: int = 0
    hashes: int = 0
    hashes_equal: int = 0
    unknown: int = 0
    """Of the user channel, which is not read here."""
    orphans: int = 0
    """Changes of tokens of which the recording holds no snapshot."""
    mismatches: list[str] = msgspec.field(default_factory=list)


def run() -> list[Row]:
    """Play every recording."""
    files = sorted(
        path for folder in ("ws", "rest", "l2") for path in (CAPTURED / folder).iterdir()
    )
    rows = [play(path) for path in files if _is_market_data(path)]
    return [*rows, play_tops(CAPTURED / "l2" / "updown_btc_1h_up_l1_events_2026-03-01.csv")]


def play(path: Path) -> Row:
    """Play one file of frames or books."""
    row = Row(path.name)
    keeper = BookKeeper(
        PriceTable(1024), FeedSettings(), on_touched=lambda slot: None, on_wanted=lambda token: None
    )
    for frame in frames_of(path):
        row.frames += 1
        for event in frame:
            row.events += 1
            _play_event(row, keeper, event)
    return row


def _play_event(row: Row, keeper: BookKeeper, event: MarketEvent) -> None:
    if isinstance(event, Unreadable):
        row.mismatches.append(f"unreadable: {event.kind}")
        return
    if isinstance(event, Ignored):
        row.unknown += 1
        return
    if isinstance(event, BookEvent):
        keeper.follow(TokenId(event.asset_id), 0)
    before = dict(keeper.counts.faults)
    keeper.take([event], owner=0, now_s=1.0, now_ms=2**50, received_ns=1)
    faults = {kind for kind, count in keeper.counts.faults.items() if count > before.get(kind, 0)}
    row.mismatches += [f"{type(event).__name__}: {kind}" for kind in sorted(faults)]
    if isinstance(event, BookEvent):
        row.books += 1
        _check_book(row, keeper, event)
    elif isinstance(event, PriceChanges):
        for change in event.price_changes:
            row.changes += 1
            if change.asset_id not in keeper.tokens:
                row.orphans += 1
                continue
            _compare_best(row, keeper, change.asset_id, change.best_bid, change.best_ask)
            _check_hash(row, keeper, change.asset_id, event.timestamp, change.hash)
    elif isinstance(event, BestBidAsk) and event.asset_id in keeper.tokens:
        _compare_best(row, keeper, event.asset_id, event.best_bid, event.best_ask)


def _compare_best(
    row: Row, keeper: BookKeeper, token_id: str, bid: str | None, ask: str | None
) -> None:
    top = keeper.table.top(keeper.tokens[token_id].slot)
    for name, text, empty, ours in (
        ("best_bid", bid, "0", top.best_bid_e4),
        ("best_ask", ask, "1", top.best_ask_e4),
    ):
        if text is None:
            continue
        row.stated += 1
        stated = 0 if text in ("", empty) else to_price_e4(text, name)
        if stated == ours:
            row.equal += 1
        else:
            row.mismatches.append(f"{name} of {token_id[:8]}: stated {text}, ours {ours}")


def _check_book(row: Row, keeper: BookKeeper, event: BookEvent) -> None:
    """A snapshot states all of its levels; the best are last."""
    sides = (("BUY", event.bids), ("SELL", event.asks))
    slot = keeper.tokens[event.asset_id].slot
    for side, levels in sides:
        row.stated += 1
        best = to_price_e4(levels[-1].price, "price") if levels else 0
        ours = keeper.table.levels(slot, side)
        texts = HashedBook.levels_of(ours)
        if (ours[0][0] if ours else 0) == best and texts == HashedBook.texts_of(levels):
            row.equal += 1
        else:
            row.mismatches.append(f"{side} of {event.asset_id[:8]}: other levels than sent")
    if row.name not in TRIMMED:
        _check_hash(row, keeper, event.asset_id, event.timestamp, event.hash)


def _check_hash(
    row: Row, keeper: BookKeeper, token_id: str, timestamp: str, sha1: str | None
) -> None:
    token = keeper.tokens[token_id]
    if not sha1 or not token.tick_size or not token.market:
        return
    row.hashes += 1
    levels = [keeper.table.levels(token.slot, side) for side in ("BUY", "SELL")]
    bids, asks = map(HashedBook.levels_of, levels)
    book = HashedBook(
        market=token.market,
        token_id=token_id,
        timestamp=timestamp,
        bids=bids,
        asks=asks,
        min_order_size=token.min_order_size or MIN_ORDER_SIZE,
        tick_size=token.tick_size,
        neg_risk=token.neg_risk is True,
    )
    if book.sha1(token.last_trade or "") == sha1:
        row.hashes_equal += 1
    else:
        row.mismatches.append(f"hash of {token_id[:8]} at {timestamp}: other than sent")


def play_tops(path: Path) -> Row:
    """Play the one recording that has no levels but the top after each event, as rows of a table.

    Its rows are given to the table as books of one level, which is what they state.
    """
    row, table = Row(path.name), PriceTable(1)
    slot = table.add("1")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    names = header.split(",")
    latest = 0
    for line in lines:
        fields = dict(zip(names, line.split(","), strict=True))
        row.events += 1
        if fields["event_type"] == "last_trade_price":
            continue
        # best_bid_ask runs ahead of the change by 1 to 2 ms: it is not older news that follows.
        latest = max(latest, parse_time_ms(fields["msg_ts_ms"]))
        row.books += 1
        flags = table.load_book(
            slot,
            [(fields["bid_price"], fields["bid_qty"])],
            [(fields["ask_price"], fields["ask_qty"])],
            tick_e4=100,
            time_ms=latest,
            received_ns=1,
        )
        top = table.top(slot)
        for name, ours in (("bid_price", top.best_bid_e4), ("ask_price", top.best_ask_e4)):
            row.stated += 1
            if flags >= 0 and to_price_e4(fields[name], name) == ours:
                row.equal += 1
            else:
                row.mismatches.append(
                    f"{name} at {fields['msg_ts_ms']}: fault {flags}, ours {ours}"
                )
    return row


def _is_market_data(path: Path) -> bool:
    name = path.name
    if "l2" in path.parts:
        return "_books_" in name or "_trades_" in name
    return "ws" in path.parts or "get_book" in name or "post_books" in name


def frames_of(path: Path) -> Iterator[list[MarketEvent]]:
    """Yield the events of each frame, however the recorder has wrapped it."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if "l2" in path.parts:
        yield from _reformatted(path.name, data.splitlines())
    elif "get_book" in path.name:
        yield list(read_books(data))
    elif "post_books" in path.name:
        for books in _lists_of_books(msgspec.json.decode(data)):
            yield list(read_books(msgspec.json.encode(books)))
    elif path.name.startswith("polyarb_ws_market"):
        for message in msgspec.json.decode(data):
            yield list(decode_frame(msgspec.json.encode(message)))
    else:
        yield list(decode_frame(data))


def _lists_of_books(value: Any) -> Iterator[list[dict[str, Any]]]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _lists_of_books(inner)
    elif isinstance(value, list):
        if value and isinstance(value[0], dict) and "bids" in value[0]:
            yield value
        else:
            for inner in value:
                yield from _lists_of_books(inner)


def _reformatted(name: str, lines: Iterable[bytes]) -> Iterator[list[MarketEvent]]:
    """Give back what the recorder has dropped: the type of the event and the token, by the file."""
    kind = "book" if "_books_" in name else "last_trade_price"
    for line in lines:
        fields = msgspec.json.decode(line)
        fields |= {"event_type": kind, "asset_id": "1"}
        yield list(decode_frame(msgspec.json.encode(fields)))


def main() -> int:
    """Print the table; return 1 when anything does not match."""
    if not CAPTURED.is_dir():
        print(f"no recordings at {CAPTURED}")
        return 2
    rows = run()
    print(f"{'file':54} frames events  books changes stated  equal hashes  equal orphan unknown")
    for row in rows:
        print(
            f"{row.name:54} {row.frames:6} {row.events:6} {row.books:6} {row.changes:7} "
            f"{row.stated:6} {row.equal:6} {row.hashes:6} {row.hashes_equal:6} {row.orphans:6} "
            f"{row.unknown:7}"
        )
    for row in rows:
        for mismatch in row.mismatches:
            print(f"mismatch: {row.name}: {mismatch}")
    print(f"hashes={sum(r.hashes for r in rows)} hashes_equal={sum(r.hashes_equal for r in rows)}")
    mismatches = sum(len(row.mismatches) for row in rows)
    print(
        f"events={sum(row.events for row in rows)} stated={sum(row.stated for row in rows)} "
        f"equal={sum(row.equal for row in rows)} mismatches={mismatches}"
    )
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
