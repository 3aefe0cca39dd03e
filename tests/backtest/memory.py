"""Replay recordings of two sizes, each in a process of its own: memory must not grow with size.

Our own recording is read, and run; an hour of the PMXT archive is sorted by time.

``python -m tests.backtest.memory --mib 2048`` prints a row per replay and, last, the larger one's
``bytes=N peak_mib=N``; it fails above 500 MiB, or where the larger takes a tenth more.
"""

import argparse
import gzip
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import inputs, market
from polyexec.backtest import open_source, run
from tests.backtest import test_readers_pmxt

TRIOS = 100
MOST_MIB = 500
GROWTH = 1.1
CYCLE = 20_000
START_MS = inputs.TIMESTAMP_MS


def lines(most_bytes: int) -> Iterator[bytes]:
    """Yield lines of a recording: every book, then changes that come round again and again."""
    watched = market.watched(TRIOS)
    frames = [_book(token, *sides) for token, sides in watched.books.items()]
    changes = market.frames(watched.pairs, watched.books, CYCLE)
    stamp = str(START_MS).encode()
    size = 0
    for number, frame in enumerate(itertools.chain(frames, itertools.cycle(changes))):
        text = frame.replace(stamp, str(START_MS + number).encode()).decode()
        line = {"received_ns": number, "received_ms": START_MS + number, "connection": 0}
        data = json.dumps(line | {"frame": text}).encode() + b"\n"
        size += len(data)
        if size > most_bytes:
            return
        yield data


def _book(token: str, bids: market.Levels, asks: market.Levels) -> bytes:
    sides = {
        name: [{"price": market.text(p, 4), "size": market.text(s, 6)} for p, s in levels]
        for name, levels in (("bids", bids), ("asks", asks))
    }
    book = {"event_type": "book", "asset_id": token, "timestamp": str(START_MS)}
    return json.dumps(book | {"tick_size": "0.001"} | sides).encode()


def write(folder: Path, most_bytes: int) -> int:
    """Write a recording of so many bytes before packing; return how many they are."""
    size = 0
    with gzip.open(folder / "market-20260101T000000Z-0.jsonl.gz", "wb", compresslevel=1) as file:
        for line in lines(most_bytes):
            size += file.write(line)
    return size


def write_pmxt(folder: Path, most_bytes: int) -> int:
    """Write an hour of the PMXT archive, token by token; return how many bytes of rows it has."""
    schema, rows_at_once, tokens = test_readers_pmxt.V2, 5000, 6
    size = 0
    with pq.ParquetWriter(folder / test_readers_pmxt.name(0), schema, compression="zstd") as file:
        for token in range(tokens):
            times = itertools.count()
            while size < most_bytes * (token + 1) // tokens:
                times_of_rows = itertools.islice(times, rows_at_once)
                rows = [test_readers_pmxt.row(time, token) for time in times_of_rows]
                table = pa.Table.from_pylist(rows, schema=schema)
                file.write_table(table)
                size += table.nbytes
    return size


def replay(folder: Path) -> int:
    """Run the library's own evaluator over a recording; return the number of events."""
    # No edge is ever this large: the report has no rows, so all that could grow is the reading.
    settings = {"min_profit_bps": 9_999}
    forms = market.watched(TRIOS).forms
    report = run(None, open_source(folder), forms=forms, config=settings)
    assert not report.trades
    return report.events


def read(folder: Path) -> int:
    """Read a recording to its end; return the number of events."""
    return sum(1 for _ in open_source(folder).events())


def peak_mib() -> int:
    """Return the largest resident size of this process."""
    # Not ru_maxrss, which a child takes over from its parent.
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    raise RuntimeError("no VmHWM in /proc/self/status")


def measure(what: str, folder: Path) -> tuple[int, int]:
    """Return events and peak of a replay in a process of its own."""
    command = [sys.executable, "-m", "tests.backtest.memory", "--child", what, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    events, peak = output.split()
    return int(events), int(peak)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512, help="of the larger recording, unpacked")
    parser.add_argument("--child", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        what, folder = options.child
        events = (replay if what == "run" else read)(Path(folder))
        print(events, peak_mib())
        return 0
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        peaks: dict[str, list[int]] = {"read": [], "run": [], "sort": []}
        for mib in (max(1, options.mib // 8), options.mib):
            where = Path(folder) / str(mib)
            for kind, make in (("own", write), ("pmxt", write_pmxt)):
                (where / kind).mkdir(parents=True)
                size = make(where / kind, mib << 20)
                for what in ("read", "run") if kind == "own" else ("sort",):
                    events, peak = measure(what, where / kind)
                    peaks[what].append(peak)
                    print(f"{what:5} bytes={size} events={events} peak_mib={peak}", flush=True)
        for what, (small, large) in peaks.items():
            if large > MOST_MIB or large > small * GROWTH + 4:
                faults.append(f"{what}: {small} MiB, then {large} MiB")
    for fault in faults:
        print(f"memory grows, or is above {MOST_MIB} MiB: {fault}")
    print(f"bytes={size} peak_mib={max(found[-1] for found in peaks.values())}")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
