"""Recorded market data -> the steps of a replay.

Two kinds are understood, by content:

* ladder quotes: JSON lines, each a snapshot of both ladders of range groups (mid price in percent,
  spread; no sizes: ``ASSUMED_SIZE_MICRO`` stands in for them);
* raw market-channel frames: a JSON array of messages, or one message per line.

Files may be gzipped. A folder stands for every file in it that is one of the two.
"""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from polyexec.demo.ladder import Group, RangeMarket
from polyexec.demo.world import BookUpdate, make_token
from polyexec.errors import InputError
from polyexec.models import TokenId
from polyexec.numbers import to_scaled

__all__ = ["ASSUMED_SIZE_MICRO", "Recording", "Step", "read_recordings"]

ASSUMED_SIZE_MICRO: Final = 100_000_000
_TICK_E4: Final = 10
_FEE_RATE_MICRO: Final = 70_000
_ABOVE: Final = re.compile(r"([\d,]+)\Z")
_BETWEEN: Final = re.compile(r"([\d,]+)-([\d,]+)\Z")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What one record says: new ladder quotes, or raw messages."""

    time_ms: int
    updates: tuple[tuple[Group, tuple[BookUpdate, ...]], ...] = ()
    messages: tuple[Mapping[str, Any], ...] = ()


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """One file, decoded."""

    name: str
    kind: str
    steps: tuple[Step, ...]
    pairs: Mapping[str, tuple[TokenId, TokenId]] = {}
    """Frames only: condition id -> its two tokens."""


def read_recordings(path: Path) -> list[Recording]:
    """Read every recording at ``path``, ladders first.

    Raises
    ------
    InputError
        Nothing there can be replayed, or a file is damaged (named with the record).
    """
    if not path.exists():
        raise InputError("replay", str(path), "no such file or folder")
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    tokens = _read_token_ids(files if path.is_dir() else sorted(path.parent.glob("*.json")))
    found = []
    for file in files:
        if not re.search(r"\.jsonl?(\.gz)?\Z", file.name):
            continue
        recording = _read(file, tokens)
        if recording is not None:
            found.append(recording)
    if not found:
        raise InputError("replay", str(path), "holds no ladder quotes and no market-channel frames")
    return sorted(found, key=lambda recording: (recording.kind != "ladder", recording.name))


def _read(file: Path, tokens: Mapping[str, tuple[TokenId, TokenId]]) -> Recording | None:
    records = list(_records(file))
    first = records[0] if records else None
    if isinstance(first, dict) and {"commit_time", "rows"} <= first.keys():
        return Recording(
            name=file.name, kind="ladder", steps=tuple(_ladder_steps(file, records, tokens))
        )
    messages = list(_flatten(records))
    if messages and all("event_type" in m and "timestamp" in m for m in messages):
        books = [m for m in messages if m["event_type"] == "book"]
        if not books:
            return None  # changes without a snapshot rebuild nothing
        steps = tuple(
            Step(time_ms=int(batch[0]["timestamp"]), messages=tuple(batch))
            for record in records
            if (batch := list(_flatten([record])))
        )
        return Recording(name=file.name, kind="frames", steps=steps, pairs=_pairs(messages))
    return None


def _records(file: Path) -> Iterator[Any]:
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError("replay", file.name, f"cannot be read: {error}") from None
    if ".jsonl" not in file.suffixes:
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise InputError("replay", file.name, f"is not JSON: {error}") from None
        yield from document if isinstance(document, list) else [document]
        return
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            try:
                yield orjson.loads(line)
            except orjson.JSONDecodeError as error:
                raise InputError("replay", f"{file.name}:{number}", f"{error}") from None


def _flatten(records: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for record in records:
        for message in record if isinstance(record, list) else [record]:
            if isinstance(message, dict):
                yield message


def _pairs(messages: Iterable[Mapping[str, Any]]) -> dict[str, tuple[TokenId, TokenId]]:
    seen: dict[str, list[TokenId]] = {}
    for message in messages:
        entries = [message, *message.get("price_changes", ())]
        for token in (entry["asset_id"] for entry in entries if "asset_id" in entry):
            tokens = seen.setdefault(message["market"], [])
            if token not in tokens:
                tokens.append(TokenId(token))
    return {
        market: (tokens[0], tokens[1] if len(tokens) > 1 else make_token(market + "/other"))
        for market, tokens in seen.items()
    }


def _read_token_ids(files: Iterable[Path]) -> dict[str, tuple[TokenId, TokenId]]:
    """Return slug -> token ids from recorded groups, so that the replay trades the real tokens."""
    found: dict[str, tuple[TokenId, TokenId]] = {}
    for file in files:
        if not file.name.startswith("group_") or file.suffix != ".json":
            continue
        group = orjson.loads(file.read_bytes()).get("group", {})
        for market in (*group.get("parents", ()), *group.get("children", ())):
            yes, no = market["clobTokenIds"]
            found[market["slug"]] = (TokenId(yes), TokenId(no))
    return found


def _ladder_steps(
    file: Path, records: Iterable[Any], tokens: Mapping[str, tuple[TokenId, TokenId]]
) -> Iterator[Step]:
    known: dict[str, RangeMarket] = {}
    for number, record in enumerate(records, 1):
        ladders: dict[str, list[BookUpdate]] = {}
        try:
            for row in record["rows"]:
                update = _quote_update(row, known, tokens)
                if update is not None:
                    ladders.setdefault(row["slug"].split("-on-")[-1], []).append(update)
            stamp = datetime.fromisoformat(record["commit_time"])
        except (KeyError, ValueError, TypeError) as error:
            raise InputError("replay", f"{file.name}:{number}", f"bad quote row: {error}") from None
        yield Step(
            time_ms=int(stamp.timestamp() * 1000),
            updates=tuple(
                (
                    Group(
                        key=f"btc-{day}",
                        event_slug=f"bitcoin-above-on-{day}",
                        crypto="btc",
                        markets=tuple(update.market for update in updates),
                    ),
                    tuple(updates),
                )
                for day, updates in ladders.items()
            ),
        )


def _quote_update(
    row: Mapping[str, Any],
    known: dict[str, RangeMarket],
    tokens: Mapping[str, tuple[TokenId, TokenId]],
) -> BookUpdate | None:
    slug, bounds = row["ticker"], _bounds(row["question"])
    if bounds is None:
        return None  # the open ends of the "between" ladder belong to no trio
    market = known.get(slug)
    if market is None:
        yes, no = tokens.get(slug) or (make_token(slug + "/yes"), make_token(slug + "/no"))
        market = known[slug] = RangeMarket(
            slug=slug,
            lower=bounds[0],
            upper=bounds[1],
            yes=yes,
            no=no,
            neg_risk=bounds[1] is not None,
            tick_e4=_TICK_E4,
            fee_rate_micro=_FEE_RATE_MICRO,
        )
    middle = _percent_e4(row["prices"].split("Yes:")[1].split("|")[0])
    spread = _percent_e4(row["spread"])
    bid = (2 * middle - spread) // 2 // _TICK_E4 * _TICK_E4
    ask = max(bid + _TICK_E4, -(-(2 * middle + spread) // 2 // _TICK_E4) * _TICK_E4)
    return BookUpdate(
        market,
        ((bid, ASSUMED_SIZE_MICRO),) if 0 < bid < 10_000 else (),
        ((ask, ASSUMED_SIZE_MICRO),) if 0 < ask < 10_000 else (),
    )


def _bounds(question: str) -> tuple[int, int | None] | None:
    if match := _ABOVE.match(question):
        return int(match[1].replace(",", "")), None
    if match := _BETWEEN.match(question):
        return int(match[1].replace(",", "")), int(match[2].replace(",", ""))
    return None


def _percent_e4(text: str) -> int:
    return to_scaled(text.strip().removesuffix("%"), "percent", scale=100, unit="0.01 %")
