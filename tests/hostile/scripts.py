"""The cases that are written by hand: TLS, slowness, ends, bombs, floods, odd answers."""

import asyncio
import itertools
from collections.abc import Iterator

from tests.hostile.cases import NOT_SENT, UNKNOWN, Case
from tests.hostile.certificates import CONTEXTS
from tests.hostile.server import Script, Wire, good
from tests.unit.clob.framings import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    PADDED,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    answer,
    block,
    frame,
    number,
    settings,
)

SOON = {"timeout_s": 1.0}
"""For cases that wait for the deadline: they run side by side with nothing else."""
QUICK_CONNECT = {"connect_timeout_s": 0.5}
PAUSE_S = 0.02
STATUS_200 = b"\x88"
LARGEST = 2**31 - 1
STUCK = frozenset({NOT_SENT, UNKNOWN})


def refused(name: str, script: Script, **more: object) -> Case:
    """Return a case in which no connection comes about."""
    return Case(name, script, NOT_SENT, False, always=True, **more)  # type: ignore[arg-type]


def whole(stream: int, content: bytes = b"[]") -> bytes:
    return answer(stream) + frame(DATA, END_STREAM, stream, content)


# --- before there is a connection -----------------------------------------------------------------


async def silent(wire: Wire) -> None:
    await asyncio.Event().wait()


async def hang_up(wire: Wire) -> None:
    """Close at once; what the client has written is not read."""


async def reset(wire: Wire) -> None:
    wire.reset()


async def plain_http(wire: Wire) -> None:
    await wire.raw(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def plain_http2(wire: Wire) -> None:
    await wire.raw(settings({}))


async def endless_noise(wire: Wire) -> None:
    while True:
        await wire.raw(b"\x16\x03\x03\x40\x00" + bytes(16_384))


async def alert(wire: Wire) -> None:
    await wire.raw(b"\x15\x03\x03\x00\x02\x02\x28")


async def no_settings(wire: Wire) -> None:
    await wire.handshake()
    await wire.drain()


async def dripped_handshake(wire: Wire) -> None:
    """Begin a record of the largest size and never finish it."""
    await wire.raw(b"\x16\x03\x03\x40\x00")
    while True:
        await wire.raw(b"\0")
        await asyncio.sleep(PAUSE_S)


async def dripped_settings(wire: Wire) -> None:
    """Announce a settings frame that takes longer than any patience."""
    await wire.handshake()
    await wire.send((16_380).to_bytes(3, "big") + b"\x04\0\0\0\0\0")
    for byte in itertools.cycle(b"\0\x99\0\0\0\0"):
        await wire.send(bytes([byte]))
        await asyncio.sleep(PAUSE_S)


async def goodbye_first(wire: Wire) -> None:
    await wire.handshake()
    await wire.goodbye()
    await wire.drain()


async def finish_first(wire: Wire) -> None:
    await wire.handshake()
    wire.finish()
    await wire.drain()


async def http1_answer(wire: Wire) -> None:
    """Speak HTTP/1.1 although HTTP/2 was agreed on."""
    await wire.handshake()
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
    await wire.drain()


async def goaway_first(wire: Wire) -> None:
    await wire.handshake()
    await wire.send(frame(GOAWAY, 0, 0, bytes(8)))
    await wire.drain()


def connecting() -> Iterator[Case]:
    for name in CONTEXTS:
        if name in {"good", "tls-1.2"}:
            yield Case(f"certificate {name}", good, 200, True, certificate=name)
        else:
            yield refused(f"certificate {name}", good, certificate=name)
    yield refused("closed at once", hang_up)
    yield refused("reset at once", reset)
    yield refused("plain HTTP/1.1", plain_http)
    yield refused("plain HTTP/2", plain_http2)
    yield refused("a record without end", endless_noise)
    yield refused("a TLS alert", alert)
    yield refused("TLS goodbye after the handshake", goodbye_first)
    yield refused("end of file after the handshake", finish_first)
    yield refused("HTTP/1.1 in place of HTTP/2", http1_answer)
    yield refused("GOAWAY in place of settings", goaway_first)
    yield refused("silent after accepting", silent, options=QUICK_CONNECT)
    yield refused("no settings", no_settings, options=QUICK_CONNECT)
    yield refused("a dripped handshake", dripped_handshake, options=QUICK_CONNECT)
    yield refused("dripped settings", dripped_settings, options=QUICK_CONNECT)


# --- ends -----------------------------------------------------------------------------------------

WHEN = ("before the request", "between its headers and data", "before the answer", "in the answer")


def ended(when: str, how: str) -> Script:
    """Return a script that ends the connection at one point, in one of seven ways."""

    async def script(wire: Wire) -> None:
        await wire.warm({INITIAL_WINDOW_SIZE: 0} if when == WHEN[1] else None)
        if when != WHEN[0]:
            stream = await (wire.headers() if when == WHEN[1] else wire.request())
            if when == WHEN[3]:
                await wire.send(
                    answer(stream, ("content-length", "9")), frame(DATA, 0, stream, b"[")
                )
        record = wire.seal(frame(PING, 0, 0, bytes(8)))
        if how == "reset":
            wire.played.set()
            wire.reset()
        elif how == "goodbye":
            await wire.goodbye()
        elif how == "end of file":
            wire.finish()
        elif how == "half a record":
            await wire.raw(record[: len(record) // 2])
            wire.finish()
        elif how == "a damaged record":
            await wire.raw(record[:-1] + bytes([record[-1] ^ 1]))
        elif how == "a record twice":
            await wire.raw(record * 2)
        elif how == "a plain alert":
            await wire.raw(b"\x15\x03\x03\x00\x02\x02\x28")
        elif how == "a record too large":
            await wire.raw(b"\x17\x03\x03\xff\xff" + bytes(100))
        wire.played.set()
        if how != "close":
            await wire.drain()

    return script


HOW = (
    "close",
    "reset",
    "goodbye",
    "end of file",
    "half a record",
    "a damaged record",
    "a record twice",
    "a plain alert",
    "a record too large",
)


def leaves_after(how: str) -> Script:
    """Return a script that answers, and ends the connection in the same breath."""

    async def script(wire: Wire) -> None:
        await wire.warm()
        await wire.send(whole(await wire.request()))
        wire.played.set()
        if how == "goodbye":
            await wire.goodbye()
            await wire.drain()
        elif how == "end of file":
            wire.finish()
            await wire.drain()
        elif how == "GOAWAY":
            await wire.send(frame(GOAWAY, 0, 0, number(3) + number(0)))

    return script


def ending() -> Iterator[Case]:
    for when, how in itertools.product(WHEN, HOW):
        idle = when == WHEN[0]
        verdict = NOT_SENT if idle else UNKNOWN
        yield Case(f"{how}, {when}", ended(when, how), verdict, False, idle=idle)
    for how in ("close", "goodbye", "end of file", "GOAWAY"):
        yield Case(f"{how} behind the answer", leaves_after(how), 200, False, second=STUCK)


# --- slowness -------------------------------------------------------------------------------------


def dripped(piece: int, *, sealed: bool) -> Script:
    """Return a script that answers in tiny pieces, of frames or of the records around them."""

    async def script(wire: Wire) -> None:
        await wire.warm()
        data = whole(await wire.request(), b'[{"success":true}]')
        data = wire.seal(data) if sealed else data
        for start in range(0, len(data), piece):
            part = data[start : start + piece]
            await (wire.raw(part) if sealed else wire.send(part))
            await asyncio.sleep(0)
        wire.played.set()
        await wire.serve(3)

    return script


def until_given_up(begin: bytes, again: bytes) -> Script:
    """Return a script that keeps the line busy until the client resets the request."""

    async def script(wire: Wire) -> None:
        await wire.warm()
        await wire.request()
        await wire.send(begin)
        given_up = asyncio.ensure_future(wire.hear(RST_STREAM))
        while not given_up.done():
            await wire.send(again)
            await asyncio.sleep(PAUSE_S)
        await given_up
        await wire.send(again)  # it was on its way
        wire.played.set()
        await wire.serve(3)

    return script


def stuck(begin: bytes) -> Script:
    """Return a script that says so much of an answer and then nothing."""

    async def script(wire: Wire) -> None:
        await wire.warm()
        await wire.request()
        await wire.send(begin)
        wire.played.set()
        await wire.drain()

    return script


async def no_window(wire: Wire) -> None:
    await wire.warm({INITIAL_WINDOW_SIZE: 0})
    await wire.headers()
    wire.played.set()
    await wire.drain()


async def tiny_windows(wire: Wire) -> None:
    """Take the body byte by byte."""
    await wire.warm({INITIAL_WINDOW_SIZE: 0})
    stream = await wire.headers()
    request = asyncio.ensure_future(wire.request())
    while not request.done():
        await wire.send(frame(WINDOW, 0, stream, number(1)))
        await asyncio.sleep(0)
    await request
    await wire.send(whole(stream), settings({INITIAL_WINDOW_SIZE: 65_535}))
    wire.played.set()
    await wire.serve(stream)


async def negative_window(wire: Wire) -> None:
    """Take the window back while the body is under way, then give it again."""
    await wire.warm({INITIAL_WINDOW_SIZE: 1000})
    stream = await wire.headers()
    await wire.send(settings({INITIAL_WINDOW_SIZE: 0}))
    await wire.hear(SETTINGS)
    await wire.send(frame(WINDOW, 0, stream, number(1000)), frame(WINDOW, 0, stream, number(9000)))
    await wire.request()
    await wire.send(whole(stream), settings({INITIAL_WINDOW_SIZE: 65_535}))
    wire.played.set()
    await wire.serve(stream)


def slowness() -> Iterator[Case]:
    yield Case("an answer byte by byte", dripped(1, sealed=False), 200, True)
    yield Case("an answer in sevens", dripped(7, sealed=False), 200, True)
    yield Case("a record byte by byte", dripped(1, sealed=True), 200, True)
    yield Case("no answer", stuck(b""), UNKNOWN, False, options=SOON, second=STUCK)
    for name, begin in (
        ("half a frame", b"\0\0\x10"),
        ("a header block without end", frame(HEADERS, 0, 3, STATUS_200)),
        ("headers only", answer(3)),
        ("a body without end", answer(3) + frame(DATA, 0, 3, b"[")),
        ("103 only", answer(3, status="103")),
        ("a frame that never comes whole", b"\0\x40\0\0\1\0\0\0\3" + bytes(100)),
    ):
        yield Case(
            f"{name}, then silence", stuck(begin), UNKNOWN, False, options=SOON, second=STUCK
        )
    ping = frame(PING, 0, 0, bytes(8))
    for name, begin, again in (
        ("nothing but PING", b"", ping),
        ("nothing but SETTINGS", b"", settings({})),
        ("nothing but 103", b"", answer(3, status="103")),
        ("a body byte by byte", answer(3), frame(DATA, 0, 3, b"x")),
        ("a body without bytes", answer(3), frame(DATA, 0, 3)),
        ("a body of padding", answer(3), frame(DATA, PADDED, 3, b"\x05" + bytes(5))),
        ("windows", b"", frame(WINDOW, 0, 3, number(1))),
        ("extensions", b"", frame(0x42, 0, 0, b"?")),
    ):
        # h2 objects to a provisional answer on a stream that was reset.
        h2 = (UNKNOWN, False) if name == "nothing but 103" else None
        script = until_given_up(begin, again)
        yield Case(f"{name}, for ever", script, UNKNOWN, True, h2=h2, options=SOON)
    # The connection stays: it gave an answer after the request was written.
    yield Case("a window that never opens", no_window, UNKNOWN, False, options=SOON, second=STUCK)
    yield Case(
        "a window of one byte at a time", tiny_windows, 200, True, options={"timeout_s": 40.0}
    )
    yield Case("a window below zero", negative_window, 200, True)


# --- header blocks --------------------------------------------------------------------------------


def answered_with(*frames: bytes) -> Script:
    """Return a script whose answer, on stream 3, is these frames."""

    async def script(wire: Wire) -> None:
        await wire.warm()
        await wire.request()
        await wire.send(*frames)
        wire.played.set()
        await wire.serve(3)

    return script


def head(payload: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return frame(HEADERS, flags, 3, payload)


def spread(payload: bytes, size: int = 16_000) -> bytes:
    """Return a header block in frames of a size."""
    parts = [payload[start : start + size] for start in range(0, len(payload), size)]
    frames = [frame(HEADERS, END_STREAM, 3, parts[0])]
    frames += [frame(CONTINUATION, 0, 3, part) for part in parts[1:]]
    return b"".join([*frames, frame(CONTINUATION, END_HEADERS, 3)])


def field(name: bytes, value: bytes) -> bytes:
    """Return a literal that enters no table."""

    def text(data: bytes) -> bytes:
        if len(data) < 127:
            return bytes([len(data)]) + data
        rest, out = len(data) - 127, bytearray(b"\x7f")
        while rest >= 128:
            out.append(rest & 127 | 128)
            rest >>= 7
        return bytes([*out, rest]) + data

    return b"\0" + text(name) + text(value)


def blocks() -> Iterator[Case]:
    def bad(name: str, *frames: bytes) -> Case:
        return Case(name, answered_with(*frames), UNKNOWN, False)

    def fine(name: str, *frames: bytes) -> Case:
        return Case(name, answered_with(*frames), 200, True)

    # 46 octets each by the rules of HPACK, one on the wire.
    yield bad("HPACK bomb of one static field", head(STATUS_200 + b"\x8f" * 16_000))
    stored = b"\x40" + field(b"x", b"y" * 4000)[1:]
    yield bad("HPACK bomb of one stored field", head(STATUS_200 + stored + b"\xbe" * 12_000))
    yield bad("HPACK bomb of long fields", spread(STATUS_200 + field(b"x", b"y" * 9000) * 20))
    yield bad("HPACK bomb of Huffman codes", spread(STATUS_200 + b"\0\1x\xff\x80\xe8\x07" * 1000))
    yield bad("a field of 128 kB", spread(STATUS_200 + field(b"x", b"y" * 131_072)))
    # Two are allowed and more are senseless, but each says what holds anyway.
    yield fine("a table of size 0, 16,000 times", head(b"\x20" * 16_000 + STATUS_200))
    yield fine("a thousand small fields", spread(STATUS_200 + field(b"x", b"y") * 1000))
    yield fine("a field of 60 kB", spread(STATUS_200 + field(b"x", b"y" * 60_000)))
    yield fine("ten CONTINUATION", spread(STATUS_200 + field(b"x", b"y" * 100), 11))
    yield fine(
        "CONTINUATION without content",
        head(STATUS_200, END_STREAM),
        *[frame(CONTINUATION, 0, 3)] * 20,
        frame(CONTINUATION, END_HEADERS, 3),
    )
    begun = head(STATUS_200, END_STREAM)
    yield bad("CONTINUATION flood, empty", begun, *[frame(CONTINUATION, 0, 3)] * 10_000)
    yield bad("CONTINUATION flood", begun, *[frame(CONTINUATION, 0, 3, b"\x8f" * 100)] * 10_000)
    yield bad("CONTINUATION flood, large", begun, *[frame(CONTINUATION, 0, 3, bytes(16_384))] * 99)


# --- answers --------------------------------------------------------------------------------------


def answers() -> Iterator[Case]:
    def case(name: str, verdict: int | str, *frames: bytes, **options: object) -> Case:
        return Case(name, answered_with(*frames), verdict, verdict != UNKNOWN, options=options)

    content = frame(DATA, 0, 3, b"[]")
    last = frame(DATA, END_STREAM, 3, b"[]")
    early = b"".join(answer(3, status=status) for status in ("100", "102", "103", "101", "199"))
    yield case("five provisional answers", 200, early, answer(3), last)
    yield case(
        "a thousand provisional answers", 200, answer(3, status="103") * 1000, answer(3), last
    )
    yield case("trailers", 200, answer(3), content, head(block(("x", "1"))))
    yield case("empty trailers", 200, answer(3), content, head(b""))
    yield case("trailers with a status", UNKNOWN, answer(3), content, head(STATUS_200))
    yield case("trailers with bad bytes", 200, answer(3), content, head(field(b"x", b"\xff\xfe")))
    yield case("trailers twice", UNKNOWN, answer(3), content, head(block(("x", "1")), 4) * 2)
    yield case("no content", 204, answer(3, ends=True, status="204"))
    yield case("status 600", 600, answer(3, ends=True, status="600"))
    yield case("status 999", 999, answer(3, ends=True, status="999"))
    yield case("not modified", 304, answer(3, ("content-length", "9"), ends=True, status="304"))
    yield case("too early", 425, answer(3, ends=True, status="425"))
    yield case(
        "bytes that are no text in a field", 200, head(STATUS_200 + field(b"x", b"\xff\x80"))
    )
    for name, length in (("shorter", "1"), ("longer", "3"), ("much longer", "200000000")):
        yield case(
            f"content {name} than said", UNKNOWN, answer(3, ("content-length", length)), last
        )
    yield case("the right length", 200, answer(3, ("content-length", "2")), last)
    for size, verdict in ((1000, 200), (1001, UNKNOWN)):
        body = frame(DATA, END_STREAM, 3, bytes(size))
        yield case(f"{size} bytes of 1000", verdict, answer(3), body, max_response_bytes=1000)
    yield case("a body in a thousand frames", 200, answer(3), frame(DATA, 0, 3, b"x") * 1000, last)
    yield case("a body of mostly padding", 200, answer(3), *[padded()] * 50, last)
    yield case("an answer and one more", 200, whole(3), frame(DATA, 0, 3, b"x") * 100)
    yield Case("an answer twice", answered_with(whole(3), whole(3)), 200, False)
    yield Case("no room for another", no_room, 200, True)
    yield Case("answered before the body is there", early_answer, 413, True)


def padded() -> bytes:
    return frame(DATA, PADDED, 3, b"\xff" + b"x" + bytes(255))


async def no_room(wire: Wire) -> None:
    """Forbid requests for a while."""
    await wire.warm()
    stream = await wire.request()
    await wire.send(whole(stream), settings({MAX_CONCURRENT_STREAMS: 0}))
    await wire.hear(SETTINGS)
    wire.played.set()
    await wire.send(settings({MAX_CONCURRENT_STREAMS: LARGEST}))
    await wire.serve(stream)


async def early_answer(wire: Wire) -> None:
    await wire.warm({INITIAL_WINDOW_SIZE: 100})
    stream = await wire.headers()
    await wire.send(answer(stream, ends=True, status="413"))
    await wire.hear(RST_STREAM)
    await wire.send(settings({INITIAL_WINDOW_SIZE: 65_535}), frame(SETTINGS, ACK, 0))
    wire.played.set()
    await wire.serve(stream)


def written() -> Iterator[Case]:
    for maker in (connecting, ending, slowness, blocks, answers):
        yield from maker()
