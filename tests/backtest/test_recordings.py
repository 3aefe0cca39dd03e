"""What was recorded over the wire replays; what is no recording is refused by name."""

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.backtest import FrameLines, Recording, open_source, run
from polyexec.engine.engine import Engine
from polyexec.engine.recording import Recorder
from polyexec.errors import InputError
from tests.engine.test_engine import CHILD, Market, config, until, watching

TOKEN = "7" * 70
DAY = 1_790_000_000_000


async def test_a_recorded_hour_is_traded_again_as_the_engine_saw_it(tmp_path: Path) -> None:
    seen: list[px.ArbSignal | px.LegsSignal] = []
    async with px.paper.PaperExchange() as exchange:
        market = Market(exchange)
        off = config(executor_mode="off")
        with Recorder(tmp_path) as recorder:
            async with Engine(off, exchange=exchange, tap=recorder) as engine:
                engine.on_signal(seen.append)
                await watching(engine)
                forms = engine.forms
                market.offer_cheap(CHILD)
                await until(lambda: len(seen) >= 2)
    assert isinstance(open_source(tmp_path), Recording)

    def replay() -> px.backtest.Report:
        # The recording ends with the signal: later than at once, the books are void.
        return run(None, open_source(tmp_path), forms=forms, config=config(), latency_ms=(0, 0))

    report, again = await asyncio.to_thread(replay), await asyncio.to_thread(replay)
    assert report.digest == again.digest
    told = {one.group_key for one in report.trades}
    assert told == {signal.group_key for signal in seen}
    assert any(leg.filled_micro for leg in report.legs)
    assert report.partial  # the engine hung up at the end


def book(time_ms: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_type": "book",
        "asset_id": TOKEN,
        "timestamp": str(DAY + time_ms),
        "bids": [{"price": "0.4", "size": "10"}],
        "asks": [{"price": "0.5", "size": "10"}],
    } | changes


def write(path: Path, *values: Any) -> Path:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt") as stream:
        for value in values:
            stream.write(value if isinstance(value, str) else json.dumps(value))
            stream.write("\n")
    return path


@pytest.mark.parametrize("name", ["frames.jsonl", "frames.jsonl.gz"])
def test_frames_of_others_take_the_exchanges_time(name: str, tmp_path: Path) -> None:
    source = open_source(write(tmp_path / name, [book(5), book(7)], "", book(7), book(9)))
    assert isinstance(source, FrameLines)
    assert [one.received_ns for one in source.events()] == [
        (DAY + ms) * 1_000_000 for ms in (7, 7, 9)
    ]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["junk"], ":1='?b'junk.*is not JSON"),
        ([{"a": 1}], "neither a recording nor a market-channel frame"),
        ([book(9000), book(5)], ":2=1790000000005: is 8995 ms older than the record before"),
        ([book(9), "{}"], ":2=.*is no market event"),
    ],
)
def test_what_is_no_recording_is_refused_by_file_and_line(
    lines: list[Any], words: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "frames", *lines)
    with pytest.raises(InputError, match=words):
        list(open_source(path).events())


def test_a_cut_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "frames.jsonl.gz", *[book(n, hash=str(n) * 99) for n in range(1, 999)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="then the file is damaged"):
        list(open_source(path).events())
    with pytest.raises(InputError, match="none=None: cannot be read"):
        open_source(tmp_path / "none")
