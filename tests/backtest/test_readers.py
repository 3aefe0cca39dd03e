"""Recordings of frames: order, gaps, look-ahead, and what is no recording."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyexec.backtest import FrameLines, Recording, Stamped, TokenLines, merge, open_source
from polyexec.core.market_events import BookEvent, LastTradePrice, decode_frame
from polyexec.errors import InputError

zstandard = pytest.importorskip("zstandard")

TOKEN, OTHER = "7" * 70, "8" * 70
DAY = 1_790_035_200_000  # 2026-09-22T00:00 UTC
HOUR = 3_600_000
MS = 1_000_000


def book(time_ms: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_type": "book",
        "market": "0xaa",
        "asset_id": TOKEN,
        "timestamp": str(DAY + time_ms),
        "bids": [{"price": "0.4", "size": "10"}],
        "asks": [{"price": "0.5", "size": "10"}],
    } | changes


def change(time_ms: int, token: str = TOKEN) -> dict[str, Any]:
    entry = {"asset_id": token, "price": "0.4", "size": "9", "side": "BUY"}
    return {
        "event_type": "price_change",
        "market": "0xaa",
        "timestamp": str(DAY + time_ms),
        "price_changes": [entry],
    }


def resolved(time_ms: int) -> dict[str, Any]:
    return {
        "event_type": "market_resolved",
        "market": "0xaa",
        "assets_ids": [TOKEN, OTHER],
        "winning_asset_id": OTHER,
        "timestamp": str(DAY + time_ms),
    }


def own(time_ms: int, frame: Any = None, *, connection: int = 0, **more: Any) -> dict[str, Any]:
    line = {"received_ns": 5, "received_ms": DAY + time_ms, "connection": connection} | more
    return line if frame is None else line | {"frame": json.dumps(frame)}


def text(*values: Any) -> bytes:
    lines = (value if isinstance(value, str) else json.dumps(value) for value in values)
    return "".join(f"{line}\n" for line in lines).encode()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def write(path: Path, *values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PACKERS.get(path.suffix, bytes)(text(*values)))
    return path


def times(source: Any) -> list[int]:
    return [one.received_ns // MS - DAY for one in source.events()]


def kinds(source: Any) -> list[str]:
    return [one.kind for one in source.events()]


# --- packing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("lines", [[book(5), change(7)], [own(5, book(5)), own(7, change(6))]])
def test_packed_or_not_it_is_the_same(lines: list[Any], suffix: str, tmp_path: Path) -> None:
    source = open_source(write(tmp_path / f"market-1-0.jsonl{suffix}", *lines))
    assert times(source) == [5, 7]
    assert source.coverage().tokens == (TOKEN,)
    assert source.truth == "L2"


def test_members_one_after_the_other_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    for pack in (PACKERS[".gz"], PACKERS[".zst"]):
        path.write_bytes(pack(text(book(1))) + pack(text(book(2), change(3))))
        assert times(open_source(path)) == [1, 2, 3]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_member_is_told_with_its_line(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"frames{suffix}", *[change(n, str(n * 7919)) for n in range(9000)])
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = bytes(len(data) // 2)
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"frames{suffix}.*then the file is damaged|no market"):
        times(open_source(path))


def test_a_cut_zst_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl.zst", *[book(n, hash=str(n) * 99) for n in range(999)])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"frames.jsonl.zst=\d+: lines, then .* \(truncated\)"):
        times(open_source(path))


def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    path.write_bytes(text(book(1)) + b'{"event_type": "book", "asset_id": "' + b"7" * (17 << 20))
    with pytest.raises(InputError, match=r":2=.*longer than 16 MiB"):
        times(open_source(path))


# --- frames of others ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda ms, frame: {"ts": DAY + ms, "raw": json.dumps(frame)},
        lambda ms, frame: {"recv_ts_ns": (DAY + ms) * MS, "data": frame},
        lambda ms, frame: {"received_at": (DAY + ms) / 1000, "message": frame},
        lambda ms, frame: {"receivedAt": f"2026-09-22T00:00:00.{ms:03}Z", "payload": [frame]},
        lambda ms, frame: {"t": (DAY + ms) * 1000, "raw_frame": json.dumps([frame])},
        lambda ms, frame: frame | {"local_timestamp": str(DAY + ms)},
        lambda ms, frame: {"time": DAY + ms, "event": frame, "msg": "open"},
        lambda ms, frame: [(DAY + ms) / 1000, frame],
        lambda ms, frame: [str(DAY + ms), json.dumps(frame)],
    ],
)
def test_an_envelope_has_the_time_of_receipt(wrap: Any, tmp_path: Path) -> None:
    lines = [wrap(40, book(5)), wrap(41, change(6)), wrap(55, change(7, OTHER))]
    source = open_source(write(tmp_path / "frames.jsonl", *lines))
    assert isinstance(source, FrameLines)
    found = [one for one in source.events() if one.event is not None or one.frame is not None]
    assert [one.received_ns // MS - DAY for one in found] == [40, 41, 55]
    event = found[0].event or decode_frame(found[0].frame or b"")[0]
    assert isinstance(event, BookEvent)
    assert event.timestamp == str(DAY + 5)


def test_a_json_file_is_one_frame_or_a_list_of_them(tmp_path: Path) -> None:
    path = tmp_path / "capture.json"
    path.write_text(json.dumps([[book(5), book(6)], change(7)], indent=2))
    assert times(open_source(path)) == [6, 7]
    path.write_text(json.dumps([[book(5), book(6)], change(7)]))
    assert times(open_source(path)) == [6, 7]
    path.write_text(json.dumps(book(5), indent=2))
    assert times(open_source(path)) == [5]


def test_keep_alives_are_no_news(tmp_path: Path) -> None:
    assert times(open_source(write(tmp_path / "f", "PONG", book(5), "PONG", [], book(6)))) == [5, 6]


def test_the_answer_to_a_subscription_may_be_older(tmp_path: Path) -> None:
    lines = [book(9000), [book(5), book(7, asset_id=OTHER)], book(100, asset_id="9"), change(9001)]
    assert times(open_source(write(tmp_path / "f", *lines))) == [9000, 9000, 9000, 9001]


@pytest.mark.parametrize(
    "lines",
    [
        [book(5), change(9000), change(6)],
        [book(9000), change(9001), book(10)],
        # By market, not by time: it looks in order within each.
        [book(5), change(9000), book(6, asset_id=OTHER), change(7, OTHER)],
        [{"ts": DAY + 9000, "raw": book(5)}, {"ts": DAY + 8, "raw": change(6)}],
        [own(90_000, book(5)), own(9, change(6))],
    ],
)
def test_shuffled_is_refused(lines: list[Any], tmp_path: Path) -> None:
    path = write(tmp_path / "market-1-0.jsonl", *lines)
    with pytest.raises(InputError, match=rf"jsonl:{len(lines)}=.*older than the record before"):
        times(open_source(path))


def test_a_little_late_stands_where_it_is_and_is_told(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "f", book(5), change(900), change(890), change(901)))
    assert times(source) == [5, 900, 900, 901]
    assert source.coverage().late == 1
    assert "1 records late, by 10 ms at most" in source.coverage().detail


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([{"ts": DAY, "raw": book(5)}, change(6)], ":2=.*not of the layout of the first line"),
        ([book(5), {"ts": DAY, "raw": book(5)}], ":2=.*is no market event"),
        ([{"ts": DAY, "raw": book(5)}, {"ts": DAY, "note": "x"}], ":2=.*mixed formats"),
        ([{"ts": 81_240, "raw": book(5)}], ":1=.*81240.*no unix time"),
        ([{"ts": "soon", "raw": book(5)}], ":1='soon': is no time"),
        ([{"ts": DAY, "raw": book(5)}, "torn{"], ":2=.*layout of the first line"),
        ([{"a": 1}], ":1=.*neither a recording nor a market-channel frame"),
        ([{"ts": DAY, "event": "open"}], ":1=.*neither a recording nor a market-channel frame"),
        ([own(5, book(5)), {"a": 1}, own(6)], ":2=.*is no recorded line"),
    ],
)
def test_mixed_formats_are_refused_by_line(lines: list[Any], words: str, tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl", *lines)
    with pytest.raises(InputError, match=rf"frames.jsonl{words}"):
        times(open_source(path))


def test_a_folder_of_two_formats_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", book(5))
    write(tmp_path / "b.jsonl", own(5, book(5)))
    with pytest.raises(InputError, match=r"=2: formats in it: frames \(a.jsonl\), recording \(b"):
        open_source(tmp_path)


def test_a_second_file_of_one_day_is_refused(tmp_path: Path) -> None:
    for name in ("day.jsonl", "day_copy.jsonl"):
        write(tmp_path / name, book(5), change(HOUR // 2))
    with pytest.raises(InputError, match=r"day_copy.jsonl:1=.*overlaps another"):
        times(open_source(tmp_path))
    for name in ("market-20260922T000000Z-0.jsonl", "market-20260922T000000Z-1.jsonl"):
        write(tmp_path / "own" / name, own(5, book(5)), own(HOUR // 2, change(6)))
    with pytest.raises(InputError, match=r"Z-1.jsonl:1=.*overlaps another"):
        times(open_source(tmp_path / "own"))


@pytest.mark.parametrize(
    ("format", "options", "words"),
    [
        ("parket", {}, "format='parket': must be one of recording, frames"),
        (None, {"tokens": []}, "options=\\['tokens'\\]: do not fit frames"),
        ("token-lines", {}, "do not fit token-lines: .*token_id"),
    ],
)
def test_what_does_not_fit_the_format_is_told(
    format: str | None, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        open_source(write(tmp_path / "f", book(5)), format=format, **options)


# --- gaps and hours -----------------------------------------------------------------------------


def test_a_missing_hour_voids_every_book(tmp_path: Path) -> None:
    lines = [book(HOUR - 1), change(3 * HOUR + 5), change(4 * HOUR)]
    source = open_source(write(tmp_path / "f", *lines))
    assert [(one.kind, one.received_ns // MS - DAY) for one in source.events()] == [
        ("event", HOUR - 1),
        ("gap", HOUR),
        ("event", 3 * HOUR + 5),
        ("event", 4 * HOUR),
    ]
    told = source.coverage()
    assert told.is_partial
    assert told.hours == ("2026-09-22T00", "2026-09-22T03", "2026-09-22T04")
    assert told.missing_hours == ("2026-09-22T01", "2026-09-22T02")
    assert told.partial_days == ("2026-09-22",)
    assert "days that are partial: 2026-09-22 (3 of 24 hours)" in told.detail


def test_a_whole_day_is_whole_and_the_next_is_not(tmp_path: Path) -> None:
    lines = [book(hour * HOUR + 1) for hour in range(25)]
    source = open_source(write(tmp_path / "f", *lines))
    assert len(times(source)) == 25
    assert source.coverage().partial_days == ("2026-09-23",)
    whole = open_source(write(tmp_path / "f", *lines[:24]))
    assert len(times(whole)) == 24
    told = whole.coverage()
    assert (told.is_partial, told.detail, told.records) == (False, "", 24)
    assert (told.first_ns, told.last_ns) == ((DAY + 1) * MS, (DAY + 23 * HOUR + 1) * MS)


def test_silence_in_our_own_recording_voids_nothing_but_is_told(tmp_path: Path) -> None:
    lines = [own(5, [book(5)]), own(2 * HOUR, change(2 * HOUR))]
    source = open_source(write(tmp_path / "market-1-0.jsonl", *lines))
    assert kinds(source) == ["event", "event"]
    assert source.coverage().missing_hours == ("2026-09-22T01",)
    assert source.coverage().is_partial


def test_an_envelope_can_say_that_the_connection_was_lost(tmp_path: Path) -> None:
    lines = [
        {"ts": DAY + 5, "raw": book(5)},
        {"ts": DAY + 6, "type": "disconnected"},
        {"ts": DAY + 8, "type": "subscribed"},
        {"ts": DAY + 9, "raw": book(8)},
    ]
    assert kinds(open_source(write(tmp_path / "f", *lines))) == ["event", "gap", "event"]


def test_a_lost_connection_voids_its_own_books(tmp_path: Path) -> None:
    lines = [
        own(1, [book(1)], connection=0),
        own(2, event="up", connection=0),
        own(3, [book(1, asset_id=OTHER)], connection=1),
        own(4, event="down", connection=0),
        own(5, event="down", connection=2),
        own(6, event="lost", lines=7, connection=-1),
    ]
    source = open_source(write(tmp_path / "market-1-0.jsonl", *lines))
    assert isinstance(source, Recording)
    gaps = [one.tokens for one in source.events() if one.kind == "gap"]
    assert gaps == [(TOKEN,), ()]
    assert source.coverage().gaps == 2


def test_another_run_voids_what_the_one_before_has_left(tmp_path: Path) -> None:
    write(
        tmp_path / "market-1-0.jsonl",
        own(1, [book(1), book(1, asset_id=OTHER)]),
        own(2, event="up"),
    )
    write(tmp_path / "market-1-1.jsonl", own(500, [book(1)]), own(501, event="up"))
    gaps = [one.tokens for one in open_source(tmp_path).events() if one.kind == "gap"]
    assert gaps == [(OTHER,)]


def test_a_torn_end_of_our_own_is_read_and_told(tmp_path: Path) -> None:
    lines = [own(n, book(n, hash=str(n) * 40)) for n in range(200)]
    whole = write(tmp_path / "market-1-0.jsonl.gz", *lines)
    whole.write_bytes(whole.read_bytes()[:-300])
    write(tmp_path / "market-1-1.jsonl.gz", own(500, book(500)))
    source = open_source(tmp_path)
    found = kinds(source)
    assert found[-2:] == ["gap", "event"]
    assert 2 < len(found) < 200
    told = source.coverage()
    assert told.truncated == (str(whole),)
    assert f"{whole} ends in the middle" in told.detail
    assert told.is_partial


def test_a_recorder_that_was_killed_at_once_leaves_a_file_of_no_line(tmp_path: Path) -> None:
    write(tmp_path / "market-1-0.jsonl.gz", own(1, book(1)))
    begun = gzip.compress(text(own(2, book(2))))
    (tmp_path / "market-1-1.jsonl.gz").write_bytes(b"")
    (tmp_path / "market-1-2.jsonl.gz").write_bytes(begun[:12])
    (tmp_path / "market-1-3.jsonl.gz").write_bytes(begun[:-30])
    source = open_source(tmp_path)
    assert kinds(source) == ["event", "gap", "gap"]
    cut = [Path(name).name for name in source.coverage().truncated]
    assert cut == ["market-1-2.jsonl.gz", "market-1-3.jsonl.gz"]
    with pytest.raises(InputError, match=r"market-1-1.jsonl.gz=0: whole records are in it"):
        open_source(tmp_path / "market-1-1.jsonl.gz")


# --- look-ahead ---------------------------------------------------------------------------------


def facts(source: Any) -> list[tuple[int, str, tuple[str, ...], int]]:
    return [
        (one.received_ns // MS - DAY, one.kind, one.tokens, one.pays_micro)
        for one in source.events()
    ]


@pytest.mark.parametrize("place", range(4))
def test_a_resolution_comes_out_at_its_time_wherever_it_stands(place: int, tmp_path: Path) -> None:
    due = 30 * 60_000
    lines = [book(5), change(6), change(due + 50)]
    lines.insert(place, resolved(due))
    found = facts(open_source(write(tmp_path / "f", *lines)))
    if place == 3:
        due += 50  # after what was known to be received later
    told = [one for one in found if one[1] == "resolution"]
    assert told == [(due, "resolution", (OTHER,), 1_000_000), (due, "resolution", (TOKEN,), 0)]
    assert [one[0] for one in found] == sorted(one[0] for one in found)
    assert len(found) == 6


def test_a_resolution_among_others_in_a_frame_waits_alone(tmp_path: Path) -> None:
    lines = [own(5, [book(5), resolved(80)]), own(60, change(60)), own(90, change(90))]
    found = facts(open_source(write(tmp_path / "market-1-0.jsonl", *lines)))
    assert [one[:2] for one in found] == [
        (5, "event"),
        (60, "event"),
        (80, "event"),
        (80, "resolution"),
        (80, "resolution"),
        (90, "event"),
    ]


# --- several sources ----------------------------------------------------------------------------


class Listed:
    """A source in memory."""

    truth = "L2"

    def __init__(self, name: str, *received: int) -> None:
        self.name = name
        self.stamped = [
            Stamped(received_ns=one, tokens=(f"{name}{row}",)) for row, one in enumerate(received)
        ]

    def events(self) -> Any:
        return iter(self.stamped)


def test_the_merge_is_stable() -> None:
    first, second = Listed("a", 1, 3, 3, 9), Listed("b", 1, 3, 4)
    merged = [one.tokens[0] for one in merge([first, second])]  # type: ignore[list-item]
    assert merged == ["a0", "b0", "a1", "a2", "b1", "b2", "a3"]


# --- what others recorded -----------------------------------------------------------------------


def test_books_and_trades_without_an_id_are_of_the_token_that_is_named(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "captured" / "l2"
    books = open_source(folder / "updown_15m_sol_up_books_2025-12-11.jsonl.gz", token_id=TOKEN)
    trades = open_source(folder / "updown_15m_sol_up_trades_2025-12-11.jsonl.gz", token_id=TOKEN)
    assert isinstance(books, TokenLines)
    assert (books.truth, trades.truth) == ("snapshots", "prints")
    found = [one.event for one in books.events()]
    assert len(found) == 248
    assert all(isinstance(event, BookEvent) and event.asset_id == TOKEN for event in found)
    sides = {one.event.side for one in trades.events() if isinstance(one.event, LastTradePrice)}
    assert sides <= {"BUY", "SELL"}
    assert books.coverage().partial_days == ("2025-12-11",)
    assert not trades.coverage().is_partial


def test_every_recorded_frame_can_be_opened(shared_dir: Path) -> None:
    files = sorted((shared_dir / "data" / "captured" / "ws").glob("*_ws_*.json"))
    files = [file for file in files if "_user_" not in file.name]
    for file in files:
        source = open_source(file)
        assert isinstance(source, FrameLines)
        assert times(source), file
    source = open_source(shared_dir / "data/captured/ws/polyarb_ws_market_2026-06-30.json")
    assert kinds(source) == ["event"] * 5
    assert len(source.coverage().tokens) == 3
