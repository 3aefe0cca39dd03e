"""Floods: what the peer sends without end fills no memory and holds no deadline up."""

import tracemalloc
from typing import Any

import pytest

from tests.hostile.cases import UNKNOWN, Case
from tests.hostile.play import play
from tests.hostile.server import Script, Wire
from tests.implementations import COMPILED
from tests.unit.clob.framings import (
    CONTINUATION,
    DATA,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    WINDOW,
    answer,
    frame,
    number,
    settings,
)

MEGABYTE = 1024 * 1024
FLOOD = 200 * MEGABYTE
MAY_HOLD = 24 * MEGABYTE
"""Of both ends together: the longest answer that is taken is 4 MB, copied while it grows."""
CHUNK = 32_768


def flood(begin: bytes, again: bytes, sent: list[int]) -> Script:
    """Return a script that repeats a frame until so many bytes are taken, or the client leaves."""
    chunk = again * max(1, CHUNK // len(again))

    async def script(wire: Wire) -> None:
        await wire.warm()
        await wire.request()
        await wire.send(begin)
        while sent[0] < FLOOD:
            await wire.send(chunk)
            sent[0] += len(chunk)

    return script


LARGE = bytes(16_384)
FLOODS: dict[str, tuple[bytes, bytes]] = {
    "a body": (answer(3), frame(DATA, 0, 3, LARGE)),
    "a body of a said length": (
        answer(3, ("content-length", str(FLOOD))),
        frame(DATA, 0, 3, LARGE),
    ),
    "a body of padding": (answer(3), frame(DATA, PADDED, 3, b"\xff" + bytes(255))),
    "a body of another stream": (b"", frame(DATA, 0, 1, LARGE)),
    "DATA without content": (answer(3), frame(DATA, 0, 3)),
    "extensions": (b"", frame(0x42, 0, 0, LARGE)),
    "headers": (frame(HEADERS, 0, 3, b"\x88"), frame(CONTINUATION, 0, 3, LARGE)),
    "provisional answers": (b"", answer(3, status="103")),
    "SETTINGS": (b"", settings({})),
    "SETTINGS of unknown names": (b"", settings(dict.fromkeys(range(100, 200), 1))),
    "PING": (b"", frame(PING, 0, 0, bytes(8))),
    "PRIORITY": (b"", frame(PRIORITY, 0, 3, bytes(5))),
    "RST_STREAM of a closed stream": (b"", frame(RST_STREAM, 0, 1, number(8))),
    "windows": (b"", frame(WINDOW, 0, 1, number(1))),
    "acknowledgements": (b"", frame(PING, 1, 0, bytes(8))),
}


@pytest.mark.parametrize("framing", [pytest.param("fast", marks=COMPILED), "h2"])
@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_fills_no_memory(name: str, framing: Any) -> None:
    sent = [0]
    script = flood(*FLOODS[name], sent)
    # It ends with the verdict: more than one deadline of flood would only take longer.
    case = Case(name, script, UNKNOWN, False, options={"timeout_s": 0.5}, always=True)
    tracemalloc.start()
    try:
        seen = await play(case, framing)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (seen.verdict, seen.calls, seen.faults) == (UNKNOWN, 1, [])
    assert peak < MAY_HOLD
