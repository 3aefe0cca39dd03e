"""Whatever stands in a file, it is read or refused by name: no other exception comes out."""

import json
import pickle
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from polyexec.backtest import open_source
from polyexec.errors import ConfigError, InputError
from tests.backtest import test_readers as frames
from tests.backtest import test_readers_pmxt as pmxt
from tests.backtest import test_readers_tables as tables

pytest.importorskip("pyarrow")

TIMES = range(1, 60)
VENDOR = {"columns": tables.TRADES, "kind": "trades", "token_id": tables.TOKEN}


def _lines(*values: Any) -> bytes:
    return frames.text(*values)


def _pmxt(folder: Path, schema: Any) -> bytes:
    rows = [
        (pmxt.row_v1(t, t % 4) if schema is pmxt.V1 else pmxt.row(t, t % 4, kind))
        for t in TIMES
        for kind in (("book", "price_change") if schema is pmxt.V2 else ("",))
    ]
    return pmxt.write(folder / pmxt.name(0), rows, schema=schema, group=20).read_bytes()


def samples(folder: Path) -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Return a file of each format, and the options to open it with."""
    book = {side: frames.book(1)[side] for side in ("bids", "asks")}
    token = {"token_id": frames.TOKEN}
    ticks = [tables.tick(t) for t in TIMES]
    csv = "\n".join([",".join(ticks[0]), *(",".join(map(str, one.values())) for one in ticks)])
    history = {"history": [{"t": tables.SECOND + t, "p": 0.4} for t in TIMES]}
    changes = [(t, frames.change(t)) for t in TIMES]
    own = [frames.own(t, frames.book(t)) for t in TIMES] + [frames.own(90, event="down")]
    return {
        "market-1-0.jsonl": (_lines(*own), {}),
        "frames.jsonl": (_lines(*(frames.book(t) for t in TIMES), frames.resolved(70)), {}),
        "envelopes.jsonl": (
            _lines(*({"ts": frames.DAY + t, "raw": one} for t, one in changes)),
            {},
        ),
        "pairs.jsonl": (_lines(*([frames.DAY + t, json.dumps(one)] for t, one in changes)), {}),
        "capture.json": (json.dumps([[frames.book(t)] for t in TIMES], indent=1).encode(), {}),
        "books.jsonl": (_lines(*(book | {"timestamp": str(frames.DAY + t)} for t in TIMES)), token),
        "trades.jsonl": (_lines(*([tables.trade(t), tables.trade(t)] for t in TIMES)), {}),
        "history.json": (json.dumps(history).encode(), token),
        "markets.jsonl": (_lines(*(tables.market() for _ in TIMES)), {}),
        "ticks.csv": (csv.encode(), VENDOR),
        "ticks.parquet": (tables.write(folder / "x.parquet", ticks).read_bytes(), VENDOR),
        "v1.parquet": (_pmxt(folder, pmxt.V1), {}),
        "v2.parquet": (_pmxt(folder, pmxt.V2), {"tokens": pmxt.TOKENS[:2]}),
    }


def damaged(data: bytes, random: Random) -> bytes:
    """Return a file of which something was lost, doubled, moved or overwritten."""
    start, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    part = data[start:end]
    noise = random.choice(
        (b"", b"\x00", b"\xff", b"null", b"[", b"}", b'"', b"-1", b"1e999", b"\n", b"\xed\xa0\x80")
    )
    return random.choice(
        (
            data[:start],
            data[:start] + data[end:],
            data[:end] + part + data[end:],
            part + data,
            data[:start] + noise + data[start + len(noise) :],
            data[:start] + noise + data[start:],
            data[:start] + random.randbytes(3) + data[start + 3 :],
        )
    )


NAMES = """
    market-1-0.jsonl envelopes.jsonl pairs.jsonl frames.jsonl capture.json books.jsonl trades.jsonl
    history.json markets.jsonl ticks.csv ticks.parquet v1.parquet v2.parquet
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_a_source_can_be_sent_to_another_process_and_read_again(name: str, tmp_path: Path) -> None:
    data, options = samples(tmp_path)[name]
    path = tmp_path / name
    path.write_bytes(data)
    source = open_source(path, **options)
    events = list(source.events())
    again = pickle.loads(pickle.dumps(source))
    assert list(again.events()) == list(source.events()) == events
    assert again.coverage() == source.coverage()


@pytest.mark.parametrize(
    ("package", "name"), [("pyarrow", "v2.parquet"), ("zstandard", "frames.jsonl")]
)
def test_a_package_that_is_not_installed_is_named(
    package: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(frames.PACKERS[".zst"](samples(tmp_path)[name][0]))
    if package == "pyarrow":
        path.write_bytes(samples(tmp_path)[name][0])
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"{package} is not installed: pip install 'polyexec\[b"):
        open_source(path)


CASES = [
    (name, packed)
    for name in NAMES.split()
    for packed in frames.PACKERS
    if not (packed and name.endswith(".parquet"))
]


@pytest.mark.parametrize(("name", "packed"), CASES)
def test_damage_is_read_or_refused_by_name(name: str, packed: str, tmp_path: Path) -> None:
    data, options = samples(tmp_path)[name]
    path = tmp_path / "damaged" / f"{name}{packed}"
    path.parent.mkdir()
    random = Random(f"{name}{packed}")
    refused: list[str] = []
    path.write_bytes(frames.PACKERS[packed](data))
    assert list(open_source(path, **options).events())
    for number in range(40):
        # Half of it before packing, half after.
        bad = frames.PACKERS[packed](damaged(data, random)) if number % 2 else b""
        path.write_bytes(bad or damaged(frames.PACKERS[packed](data), random))
        try:
            source = open_source(path, **options)
            list(source.events())
            source.coverage()
        except InputError as error:
            refused.append(f"{path}" if error.field == "token_id" else str(error))
    assert refused
    assert [message for message in refused if str(path) not in message] == []
