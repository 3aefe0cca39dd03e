"""The cases that are made: each frame a server can send, well and badly, wherever it can.

Expectations are written here by hand, from RFC 9113 and the rule of verdicts: a request is not sent
only where the peer vouches for it or nothing of it was written, and unknown in doubt.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.hostile.server import Script, Wire
from tests.unit.clob.framings import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY,
    PUSH,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    WITH_PRIORITY,
    answer,
    block,
    frame,
    number,
    settings,
)

NOT_SENT, UNKNOWN = "not sent", "unknown"
CANCEL, REFUSED = 8, 7
OVERSIZED = bytes(16_385)
LARGEST = 2**31 - 1
DONE, LATER, EVEN, RESERVED = 1, 99, 2, 1 << 31
"""Streams: of the warming request, of one not yet made, of the server; and the bit to ignore."""

Effect = tuple[int | str, bool]  # the verdict, and whether the connection survives


@dataclass(frozen=True)
class Case:
    """One session and what must come of it."""

    name: str
    script: Script
    verdict: int | str
    survives: bool
    h2: Effect | None = None
    """What the framing by ``h2`` makes of it, where it reads the RFC in its own way."""
    certificate: str = "good"
    options: Mapping[str, Any] = field(default_factory=dict)
    always: bool = False
    """The server plays the script on every connection."""
    second: frozenset[str] = frozenset({NOT_SENT})
    """What a request after it may get until one is answered."""
    idle: bool = False
    """The fault comes before the request: wait for it."""

    def expected(self, framing: str) -> Effect:
        effect = (self.verdict, self.survives)
        return effect if framing == "fast" or self.h2 is None else self.h2


# --- when -----------------------------------------------------------------------------------------

FIRST, IDLE, HALF, WAITING, ANSWERING, ANSWERED = WHEN = (
    "before settings",
    "before the request",
    "between its headers and data",
    "before the answer",
    "in the answer",
    "after the answer",
)
FATAL: Mapping[str, Effect] = {
    FIRST: (NOT_SENT, False),
    IDLE: (NOT_SENT, False),
    HALF: (UNKNOWN, False),
    WAITING: (UNKNOWN, False),
    ANSWERING: (UNKNOWN, False),
    ANSWERED: (200, False),
}
IGNORED: Mapping[str, Effect] = dict.fromkeys(WHEN, (200, True)) | {FIRST: FATAL[FIRST]}
EARLY = (FIRST, IDLE)
OPEN = (HALF, WAITING)


def but(effects: Mapping[str, Effect], *when: str) -> Mapping[str, Effect]:
    """Return effects that are fatal at some points."""
    return {**effects, **{point: FATAL[point] for point in when}}


def at(effect: Effect, *when: str) -> Mapping[str, Effect]:
    return dict.fromkeys(when, effect)


def play(when: str, bad: bytes) -> Script:
    """Return a script that is good but for some bytes at one point."""

    async def script(wire: Wire) -> None:
        if when == FIRST:
            await wire.handshake()
            await wire.send(bad, settings({}))
        else:
            await wire.warm({INITIAL_WINDOW_SIZE: 0} if when == HALF else None)
        if when == IDLE:
            await wire.send(bad)
        if when in EARLY:
            wire.played.set()
            await wire.serve()
        stream = await (wire.headers() if when == HALF else wire.request())
        if when in OPEN:
            await wire.send(bad)
        if when == HALF:
            # Its rest, however much of the window was opened before.
            await wire.send(frame(WINDOW, 0, stream, number(10_000)))
        await wire.send(answer(stream), frame(DATA, 0, stream, b"["))
        if when == ANSWERING:
            await wire.send(bad)
        await wire.send(frame(DATA, END_STREAM, stream, b"]"))
        if when == ANSWERED:
            await wire.send(bad)
        if when == HALF:
            await wire.send(settings({INITIAL_WINDOW_SIZE: 65_535}))
        wire.played.set()
        await wire.serve(stream)

    return script


# --- what -----------------------------------------------------------------------------------------

OWN = 3  # the stream of the request
Bad = tuple[str, bytes, Mapping[str, Effect]]


def on_others(
    name: str, make: Callable[[int], bytes], *, closed: Mapping[str, Effect]
) -> list[Bad]:
    """Return a frame on the streams where it has no business."""
    return [
        (f"{name} on stream 0", make(0), FATAL),
        (f"{name} on a stream of the server", make(EVEN), FATAL),
        (f"{name} on a stream not yet open", make(LATER), FATAL),
        (f"{name} on a closed stream", make(DONE), closed),
    ]


def of_sizes(name: str, kind: int, stream: int, *sizes: int) -> list[Bad]:
    return [
        (f"{name} of {size} bytes", frame(kind, 0, stream, b"\1" * size), FATAL) for size in sizes
    ]


def oversized(name: str, kind: int, stream: int) -> list[Bad]:
    whole = frame(kind, END_HEADERS if kind == HEADERS else 0, stream, OVERSIZED)
    return [
        (f"{name} oversized", whole, FATAL),
        (f"{name} that only says it is oversized", whole[:9], FATAL),
    ]


def data() -> Iterator[Bad]:
    lazy = but(IGNORED, IDLE, *OPEN)
    yield "DATA", frame(DATA, 0, OWN, b"x"), lazy
    yield "DATA twice", frame(DATA, 0, OWN, b"x") * 2, lazy
    yield "DATA without content", frame(DATA, 0, OWN), lazy
    yield "DATA with the reserved bit", frame(DATA, 0, OWN | RESERVED, b"x"), lazy
    yield "DATA that ends", frame(DATA, END_STREAM, OWN, b"x"), lazy
    yield "DATA all padding", frame(DATA, PADDED, OWN, b"\x05" + bytes(5)), lazy
    yield "DATA padded beyond its end", frame(DATA, PADDED, OWN, b"\x06" + bytes(5)), FATAL
    yield "DATA padded without a length", frame(DATA, PADDED, OWN), FATAL
    yield from on_others("DATA", lambda s: frame(DATA, 0, s, b"x"), closed=IGNORED)
    yield from oversized("DATA", DATA, OWN)


def head(name: str, payload: bytes, flags: int = END_HEADERS) -> Bad:
    return name, frame(HEADERS, flags, OWN, payload), FATAL


def headers() -> Iterator[Bad]:
    fine = block((":status", "200"))
    yield head("HEADERS", fine)  # one more than there may be, wherever it stands
    yield "HEADERS twice", frame(HEADERS, END_HEADERS, OWN, fine) * 2, FATAL
    yield from on_others("HEADERS", lambda s: frame(HEADERS, END_HEADERS, s, fine), closed=FATAL)
    yield from oversized("HEADERS", HEADERS, OWN)
    yield "trailers", frame(HEADERS, 5, OWN, block(("x", "1"))), but(IGNORED, IDLE, *OPEN, ANSWERED)
    yield head("trailers that end nothing", block(("x", "1")))
    yield head(
        "a provisional answer that ends", block((":status", "100")), END_HEADERS | END_STREAM
    )
    early = frame(HEADERS, END_HEADERS, OWN, block((":status", "103"), ("link", "</x>")))
    yield "103", early, but(IGNORED, IDLE, ANSWERING, ANSWERED)
    yield "103 a hundred times", early * 100, but(IGNORED, IDLE, ANSWERING, ANSWERED)
    yield head("HEADERS padded beyond its end", b"\xff" + fine, END_HEADERS | PADDED)
    yield head("HEADERS padded without a length", b"", END_HEADERS | PADDED)
    yield head("HEADERS shorter than its priority", b"\0\0\0", END_HEADERS | WITH_PRIORITY)
    unfinished = frame(HEADERS, 0, OWN, fine)
    yield "PING in a header block", unfinished + frame(PING, 0, 0, bytes(8)), FATAL
    yield "an extension in a header block", unfinished + frame(0x42, 0, 0), FATAL
    yield "DATA in a header block", unfinished + frame(DATA, 0, OWN, b"x"), FATAL
    yield "another stream in a header block", unfinished + frame(CONTINUATION, 4, DONE), FATAL
    yield head("HPACK index 0", b"\x88\x80")
    yield head("HPACK index behind the tables", b"\x88\xbe")
    yield head("HPACK index without end", b"\x88" + b"\xff" * 12)
    yield head("HPACK table that grows", b"\x3f\xe1\x1f\x88")
    yield head("HPACK text cut short", b"\x88\x00\x05ab")
    yield head("HPACK text of 2 GB", b"\x88\x00\x7f\x80\xff\xff\xff\x07ab")
    yield head("HPACK Huffman end of string", b"\x88\x00\x84\xff\xff\xff\xff\x01a")
    yield head("an empty header block", b"")
    for name, *fields in (
        ("no status", ("x", "1")),
        ("two statuses", (":status", "200"), (":status", "200")),
        ("status behind a field", ("x", "1"), (":status", "200")),
        ("status of letters", (":status", "abc")),
        ("status of two digits", (":status", "20")),
        ("status 099", (":status", "099")),
        ("an upper-case name", (":status", "200"), ("X-A", "1")),
        ("a name with a space", (":status", "200"), ("x a", "1")),
        ("an empty name", (":status", "200"), ("", "1")),
        ("a line feed in a value", (":status", "200"), ("x", "a\nb")),
        ("a NUL in a value", (":status", "200"), ("x", "a\0b")),
        ("connection", (":status", "200"), ("connection", "close")),
        ("transfer-encoding", (":status", "200"), ("transfer-encoding", "chunked")),
        ("a pseudo-header of requests", (":status", "200"), (":path", "/")),
        ("a content-length of letters", (":status", "200"), ("content-length", "1x")),
        ("a negative content-length", (":status", "200"), ("content-length", "-1")),
    ):
        yield head(name, block(*fields))


def priority() -> Iterator[Bad]:
    yield "PRIORITY", frame(PRIORITY, 0, OWN, bytes(5)), IGNORED
    yield "PRIORITY of a stream not yet open", frame(PRIORITY, 0, LATER, bytes(5)), IGNORED
    yield "PRIORITY of a closed stream", frame(PRIORITY, 0, DONE, bytes(5)), IGNORED
    yield "PRIORITY a hundred times", frame(PRIORITY, 0, OWN, bytes(5)) * 100, IGNORED
    yield "PRIORITY on itself", frame(PRIORITY, 0, OWN, number(OWN) + b"\0"), IGNORED
    yield "PRIORITY on stream 0", frame(PRIORITY, 0, 0, bytes(5)), FATAL
    yield from of_sizes("PRIORITY", PRIORITY, OWN, 0, 4, 6)
    yield from oversized("PRIORITY", PRIORITY, OWN)


def resets() -> Iterator[Bad]:
    doubtful = {**but(IGNORED, IDLE), **at((UNKNOWN, True), *OPEN, ANSWERING)}
    for name, code in (
        ("NO_ERROR", 0),
        ("PROTOCOL_ERROR", 1),
        ("INTERNAL_ERROR", 2),
        ("CANCEL", CANCEL),
        ("ENHANCE_YOUR_CALM", 11),
        ("HTTP_1_1_REQUIRED", 13),
        ("an unknown code", 2**32 - 1),
    ):
        yield f"RST_STREAM with {name}", frame(RST_STREAM, 0, OWN, number(code)), doubtful
    refused = frame(RST_STREAM, 0, OWN, number(REFUSED))
    vouched = {**doubtful, **at((NOT_SENT, True), *OPEN)}
    yield "RST_STREAM with REFUSED_STREAM", refused, vouched
    yield "RST_STREAM twice", refused * 2, vouched
    # Who has begun to answer has read the request.
    heard = frame(HEADERS, END_HEADERS, OWN, block((":status", "103"))) + refused
    yield "REFUSED_STREAM behind a 103", heard, but(doubtful, ANSWERING, ANSWERED)
    # The first word counts.
    changed = frame(RST_STREAM, 0, OWN, number(CANCEL)) + refused
    yield "REFUSED_STREAM behind CANCEL", changed, doubtful
    yield from on_others(
        "RST_STREAM", lambda s: frame(RST_STREAM, 0, s, number(CANCEL)), closed=IGNORED
    )
    yield from of_sizes("RST_STREAM", RST_STREAM, OWN, 0, 3, 5)
    yield from oversized("RST_STREAM", RST_STREAM, OWN)


def setting() -> Iterator[Bad]:
    taken = {**IGNORED, FIRST: (200, True)}
    yield "SETTINGS", settings({}), taken
    yield "SETTINGS twice", settings({}) * 2, taken
    yield "SETTINGS a hundred times", settings({}) * 100, taken
    yield "SETTINGS of unknown names", settings({0x99: 5, 0xFFFF: 2**32 - 1}), taken
    yield "SETTINGS with a large table", settings({1: 2**32 - 1}), taken
    yield "SETTINGS with the largest frame", settings({MAX_FRAME_SIZE: 2**24 - 1}), taken
    yield "SETTINGS that push is off", settings({2: 0}), taken
    yield "SETTINGS with no room for headers", settings({6: 0}), taken
    yield "SETTINGS acknowledged again", frame(SETTINGS, ACK, 0), IGNORED
    for name, number_, value in (
        ("push", 2, 1),
        ("push 2", 2, 2),
        ("a window of 2^31", INITIAL_WINDOW_SIZE, 2**31),
        ("frames of 16383", MAX_FRAME_SIZE, 16_383),
        ("frames of 2^24", MAX_FRAME_SIZE, 2**24),
        ("CONNECT 2", 8, 2),
    ):
        yield f"SETTINGS with {name}", settings({number_: value}), FATAL
    yield "SETTINGS acknowledged with content", frame(SETTINGS, ACK, 0, bytes(6)), FATAL
    yield "SETTINGS on a stream", frame(SETTINGS, 0, OWN), FATAL
    yield from of_sizes("SETTINGS", SETTINGS, 0, 1, 5, 7)
    yield from oversized("SETTINGS", SETTINGS, 0)


def push() -> Iterator[Bad]:
    promise = number(EVEN) + block((":method", "GET"), (":path", "/"))
    for name, payload, stream in (
        ("PUSH_PROMISE", promise, OWN),
        ("PUSH_PROMISE of nothing", b"", OWN),
        ("PUSH_PROMISE of stream 0", number(0), OWN),
        ("PUSH_PROMISE of our stream", number(5), OWN),
        ("PUSH_PROMISE on stream 0", promise, 0),
        ("PUSH_PROMISE on a closed stream", promise, DONE),
    ):
        yield name, frame(PUSH, END_HEADERS, stream, payload), FATAL
    yield from oversized("PUSH_PROMISE", PUSH, OWN)


def ping() -> Iterator[Bad]:
    yield "PING", frame(PING, 0, 0, bytes(8)), IGNORED
    yield "PING a hundred times", frame(PING, 0, 0, bytes(8)) * 100, IGNORED
    yield "PING answered unasked", frame(PING, ACK, 0, b"unasked!"), IGNORED
    yield "PING with every flag", frame(PING, 0xFE, 0, bytes(8)), IGNORED
    yield "PING on a stream", frame(PING, 0, OWN, bytes(8)), FATAL
    yield from of_sizes("PING", PING, 0, 0, 7, 9)
    yield from oversized("PING", PING, 0)


def goaway() -> Iterator[Bad]:
    owed = {**FATAL, **at((200, False), HALF, WAITING, ANSWERING)}
    disowned = {**FATAL, **at((NOT_SENT, False), *OPEN)}

    def leave(last: int, code: int = 0, more: bytes = b"") -> bytes:
        return frame(GOAWAY, 0, 0, number(last) + number(code) + more)

    yield "GOAWAY that will answer", leave(LARGEST), owed
    yield "GOAWAY that answers this one", leave(OWN), owed
    yield "GOAWAY with the reserved bit", leave(OWN | RESERVED), owed
    yield "GOAWAY twice", leave(LARGEST) + leave(OWN), owed
    yield "GOAWAY with 16 kB of words", leave(OWN, 0, bytes(16_000)), owed
    yield "GOAWAY with an error", leave(OWN, 2), owed
    yield "GOAWAY that disowns", leave(DONE), disowned
    yield "GOAWAY that disowns everything", leave(0, 11), disowned
    yield "GOAWAY that first owes, then disowns", leave(LARGEST) + leave(DONE), disowned
    # The first word counts: the money may be in another order by now.
    yield "GOAWAY that disowns, then owes", leave(DONE) + leave(LARGEST), disowned
    yield "GOAWAY on a stream", frame(GOAWAY, 0, OWN, bytes(8)), FATAL
    yield from of_sizes("GOAWAY", GOAWAY, 0, 0, 7)
    yield from oversized("GOAWAY", GOAWAY, 0)


def window() -> Iterator[Bad]:
    def more(stream: int, by: int) -> bytes:
        return frame(WINDOW, 0, stream, number(by))

    yield "WINDOW_UPDATE of the connection", more(0, 1), IGNORED
    yield "WINDOW_UPDATE", more(OWN, 1), but(IGNORED, IDLE)
    yield "WINDOW_UPDATE a hundred times", more(OWN, 1) * 100, but(IGNORED, IDLE)
    yield "WINDOW_UPDATE with the reserved bit", more(0, 1 | RESERVED), IGNORED
    yield "WINDOW_UPDATE by nothing", more(OWN, 0), FATAL
    yield "WINDOW_UPDATE by nothing of the connection", more(0, 0), FATAL
    yield "WINDOW_UPDATE beyond 2^31 of the connection", more(0, LARGEST), FATAL
    too_far = {**but(IGNORED, IDLE), **at((UNKNOWN, True), *OPEN, ANSWERING)}
    yield "WINDOW_UPDATE beyond 2^31", more(OWN, LARGEST) + more(OWN, LARGEST), too_far
    yield "WINDOW_UPDATE on a stream of the server", more(EVEN, 1), FATAL
    yield "WINDOW_UPDATE on a stream not yet open", more(LATER, 1), FATAL
    yield "WINDOW_UPDATE on a closed stream", more(DONE, 1), IGNORED
    yield from of_sizes("WINDOW_UPDATE", WINDOW, 0, 0, 3, 5)
    yield from oversized("WINDOW_UPDATE", WINDOW, 0)


def continuation() -> Iterator[Bad]:
    yield "CONTINUATION alone", frame(CONTINUATION, END_HEADERS, OWN, b"\x88"), FATAL
    yield "CONTINUATION without content", frame(CONTINUATION, 0, OWN), FATAL
    yield from on_others(
        "CONTINUATION", lambda s: frame(CONTINUATION, END_HEADERS, s, b"\x88"), closed=FATAL
    )
    yield from oversized("CONTINUATION", CONTINUATION, OWN)


def extension() -> Iterator[Bad]:
    for kind in (0x0B, 0x0C, 0x10, 0x42, 0xFF):
        for name, stream in (("stream 0", 0), ("a stream", OWN)):
            yield f"frame of kind {kind} on {name}", frame(kind, 0xFF, stream, b"?" * 100), IGNORED
    yield "frame of an unknown kind, as large as may be", frame(0x42, 0, 0, bytes(16_384)), IGNORED
    yield from oversized("frame of an unknown kind", 0x42, 0)


MAKERS = (
    data,
    headers,
    priority,
    resets,
    setting,
    push,
    ping,
    goaway,
    window,
    continuation,
    extension,
)

# Where h2 reads the RFC in its own way; ``tests/conformance/differences.py`` says how.
_TOLD = ("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "CANCEL", "ENHANCE_YOUR_CALM")
_TOLD += ("HTTP_1_1_REQUIRED", "an unknown code", "REFUSED_STREAM")
_IDLE_RESETS = (*(f"RST_STREAM with {code}" for code in _TOLD), "RST_STREAM twice")
_IDLE_RESETS += ("REFUSED_STREAM behind CANCEL",)
H2: Mapping[str, Mapping[str, Effect]] = {
    "PRIORITY on itself": FATAL,
    "WINDOW_UPDATE with the reserved bit": FATAL,
    "RST_STREAM on a stream of the server": IGNORED,
    "RST_STREAM on a stream not yet open": IGNORED,
    **dict.fromkeys(_IDLE_RESETS, at((200, True), IDLE)),
}


def generated() -> Iterator[Case]:
    """Return every made case."""
    for maker in MAKERS:
        for name, bad, effects in maker():
            for when in WHEN:
                verdict, survives = effects[when]
                yield Case(
                    f"{name}, {when}",
                    play(when, bad),
                    verdict,
                    survives,
                    h2=H2.get(name, {}).get(when),
                    idle=when == IDLE,
                )
