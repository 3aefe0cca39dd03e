"""What a server sends: valid scripts of frames built with ``hyperframe`` and ``hpack``, then bent.

A script is a list of steps, in order: bytes of one frame for both framings, or something that the
client does. Everything comes from one seeded source.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from hpack import Encoder
from hyperframe.frame import (
    AltSvcFrame,
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)


@dataclass(frozen=True)
class Ask:
    """The client sends a request with so many bytes of body."""

    length: int


@dataclass(frozen=True)
class GiveUp:
    """The client no longer waits for a stream."""

    stream: int


Step = bytes | Ask | GiveUp
Fields = list[tuple[str, str]]

CONTENTS = (b"", b"x", b'[{"success":true}]', b"y" * 300)
FIELDS: Fields = [
    ("content-type", "application/json"),
    ("date", "Thu, 26 Nov 2026 10:00:00 GMT"),
    ("server", "cloudflare"),
    ("cf-ray", "8f3a1b2c3d4e5f60-LHR"),
    ("x-empty", ""),
    ("set-cookie", "a=b; path=/"),
    ("cookie", "a=b"),
    ("x-bytes", "\xe9\x80\xff"),
    ("retry-after", "3"),
    ("te", "trailers"),
    ("x-twice", "1"),
    ("x-twice", "2"),
]
# Each breaks a rule of RFC 9113, section 8, somewhere behind ":status".
BAD_FIELDS: Fields = [
    ("X-Upper", "1"),
    ("x space", "1"),
    ("x:colon", "1"),
    ("", "no name"),
    ("x-line", "a\nb"),
    ("x-nul", "a\0b"),
    ("x-return", "a\rb"),
    ("x-space", " a"),
    ("x-tab", "a\t"),
    ("connection", "close"),
    ("keep-alive", "1"),
    ("proxy-connection", "1"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "h2c"),
    ("te", "gzip"),
    (":status", "200"),
    (":path", "/"),
    (":odd", "1"),
    ("content-length", "1x"),
    ("content-length", ""),
    ("content-length", "+1"),
    ("x-\x7f", "1"),
]
STATUSES = ("200", "201", "400", "404", "429", "500", "503", "304", "204", "999")
BAD_STATUSES = (
    "",
    "2",
    "20",
    "2000",
    "099",
    "+20",
    "2_0",
    "abc",
    "1",
    "1xx",
    " 200",
    "\xb2\xb2\xb2",
)
SETTINGS = {
    SettingsFrame.HEADER_TABLE_SIZE: (0, 100, 4096, 65536),
    SettingsFrame.ENABLE_PUSH: (0, 0, 0, 1, 2),
    SettingsFrame.MAX_CONCURRENT_STREAMS: (100, 100, 2, 1, 0, 2**32 - 1),
    SettingsFrame.INITIAL_WINDOW_SIZE: (65_535, 0, 10, 1000, 2**20, 2**31 - 1, 2**31),
    SettingsFrame.MAX_FRAME_SIZE: (16_384, 20_000, 2**24 - 1, 16_383, 2**24),
    SettingsFrame.MAX_HEADER_LIST_SIZE: (0, 1000, 65_536),
    SettingsFrame.ENABLE_CONNECT_PROTOCOL: (0, 1, 2),
    0x99: (0, 2**32 - 1),
}


@cache
def encoded(fields: tuple[tuple[str, str], ...], huffman: bool, table: int = 0) -> bytes:
    """Return a header block; with a ``table`` it is one that we never allowed."""
    encoder = Encoder()
    encoder.header_table_size = table
    data = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return encoder.encode(data, huffman=huffman)


class Writer:
    """Writes one script.

    Parameters
    ----------
    source : random.Random
        All chance comes from it.
    """

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.steps: list[Step] = []
        self.streams: list[int] = []

    def chance(self, share: float) -> bool:
        return self.source.random() < share

    def add(self, frame: Frame) -> None:
        self.steps.append(frame.serialize())

    def script(self) -> list[Step]:
        """Return a script that is valid but for what a server may never say of a request."""
        first = self.settings(0.05) if self.chance(0.3) else {}
        if self.chance(0.15):
            # Requests are sent in part, and go on when a window opens.
            first[SettingsFrame.INITIAL_WINDOW_SIZE] = self.source.choice((0, 5, 1000))
        self.add(SettingsFrame(0, settings=first))
        for _ in range(self.source.choice((1, 1, 1, 2, 2, 3))):
            self.ask()
        if self.chance(0.5):
            self.add(SettingsFrame(0, flags=["ACK"]))
        answers = [self.answer(stream) for stream in self.streams]
        # The frames of one answer keep their order; those of several mix.
        while answers:
            answer = self.source.choice(answers)
            self.steps += answer.pop(0)
            if not answer:
                answers.remove(answer)
            if self.chance(0.3):
                self.source.choice(self.extras)(self)
        return self.steps

    def ask(self) -> None:
        self.steps.append(Ask(self.source.choice((0, 10, 10, 2000))))
        self.streams.append(2 * len(self.streams) + 1)

    def stream(self) -> int:
        """Return a stream, rarely one that is not open."""
        if self.chance(0.1):
            return self.source.choice((2, 4, self.streams[-1] + 2, 99, 2**31 - 1))
        return self.source.choice(self.streams)

    def settings(self, wrong: float) -> dict[int, int]:
        names = self.source.sample(list(SETTINGS), self.source.randint(1, 3))
        chosen = {}
        for name in names:
            values = SETTINGS[name]
            chosen[name] = self.source.choice(values) if self.chance(wrong) else values[0]
        return chosen

    # --- answers --------------------------------------------------------------------------------

    def answer(self, stream: int) -> list[list[bytes]]:
        """Return one answer in pieces between which other frames may come."""
        source = self.source
        content = source.choice(CONTENTS)
        pieces = []
        while self.chance(0.1):
            pieces.append(
                self.headers(stream, self.block(source.choice(("100", "103", "199")), None))
            )
        status = source.choice(STATUSES) if self.chance(0.4) else "200"
        promised = None
        if self.chance(0.4):
            promised = len(content) + (source.choice((-1, 1, 5)) if self.chance(0.05) else 0)
        trailers = self.chance(0.1)
        ends = not content and self.chance(0.7) and not trailers
        pieces.append(self.headers(stream, self.block(status, promised), ends))
        if not ends:
            pieces += self.content(stream, content, ends=not trailers)
        if trailers:
            fields = tuple(source.sample(FIELDS, source.randint(0, 2)))
            pieces.append(self.headers(stream, encoded(fields, self.chance(0.5)), True))
        return pieces

    def block(self, status: str, promised: int | None) -> bytes:
        source = self.source
        fields: Fields = [(":status", status)]
        fields += source.sample(FIELDS, source.randint(0, 3))
        if promised is not None:
            fields.insert(source.randint(1, len(fields)), ("content-length", str(promised)))
        if self.chance(0.04):
            self.spoil(fields)
        table = 4096 if self.chance(0.02) else 0
        return encoded(tuple(fields), self.chance(0.6), table)

    def spoil(self, fields: Fields) -> None:
        source = self.source
        kind = source.randrange(4)
        if kind == 0:
            fields[0] = (":status", source.choice(BAD_STATUSES))
        elif kind == 1:
            fields.append(fields.pop(0))
        elif kind == 2:
            fields.insert(source.randint(0, len(fields)), source.choice(BAD_FIELDS))
        else:
            del fields[0]

    def headers(self, stream: int, block: bytes, ends: bool = False) -> list[bytes]:
        """Return a header block as HEADERS and, now and then, CONTINUATION."""
        source = self.source
        frame = HeadersFrame(stream)
        if ends:
            frame.flags.add("END_STREAM")
        if self.chance(0.1):
            frame.flags.add("PADDED")
            frame.pad_length = source.choice((0, 1, 10, 255))
        if self.chance(0.1):
            frame.flags.add("PRIORITY")
            frame.depends_on = stream if self.chance(0.02) else 0
            frame.stream_weight = source.randrange(256)
        parts = [block]
        while self.chance(0.15):
            last = parts.pop()
            cut = source.randint(0, len(last))
            parts += (last[:cut], last[cut:])
        frame.data = parts[0]
        frames: list[HeadersFrame | ContinuationFrame] = [frame]
        frames += [ContinuationFrame(stream, part) for part in parts[1:]]
        frames[-1].flags.add("END_HEADERS")
        return [item.serialize() for item in frames]

    def content(self, stream: int, content: bytes, ends: bool) -> list[list[bytes]]:
        source = self.source
        parts = [content]
        while self.chance(0.25):
            last = parts.pop()
            cut = source.randint(0, len(last))
            parts += (last[:cut], last[cut:])
        frames = []
        for part in parts:
            frame = DataFrame(stream, part)
            if self.chance(0.1):
                frame.flags.add("PADDED")
                frame.pad_length = source.choice((0, 1, 100, 255))
            frames.append(frame)
        if ends:
            frames[-1].flags.add("END_STREAM")
        return [[frame.serialize()] for frame in frames]

    # --- what may come between ------------------------------------------------------------------

    def ping(self) -> None:
        self.add(PingFrame(0, self.source.randbytes(8), flags=["ACK"] if self.chance(0.5) else []))

    def change_settings(self) -> None:
        self.add(SettingsFrame(0, settings=self.settings(0.5)))

    def window(self) -> None:
        stream = self.stream() if self.chance(0.6) else 0
        sizes = (1, 1000, 65_535, 2**31 - 1 - 65_535, 2**31 - 1)
        self.add(WindowUpdateFrame(stream, self.source.choice(sizes)))

    def priority(self) -> None:
        self.add(PriorityFrame(self.stream(), depends_on=self.source.choice((0, 0, 0, 1, 7))))

    def reset(self) -> None:
        self.add(RstStreamFrame(self.stream(), self.source.choice((0, 1, 2, 7, 7, 8, 11, 99))))

    def goaway(self) -> None:
        last = self.source.choice((0, 1, 3, 5, 2**31 - 1))
        self.add(GoAwayFrame(0, last, self.source.choice((0, 0, 2, 11, 2**32 - 1)), b"debug"))

    def unknown(self) -> None:
        kind = self.source.choice((0x0B, 0x0C, 0x10, 0x42, 0xFF))
        self.add(
            ExtensionFrame(kind, self.source.choice((0, 1, 2)), self.source.randrange(256), b"?")
        )

    def alternative(self) -> None:
        origin = b"https://other" if self.chance(0.5) else b""
        self.add(AltSvcFrame(0 if origin else self.stream(), origin, b'h3=":443"'))

    def push(self) -> None:
        self.add(PushPromiseFrame(self.stream(), 2, encoded((), False), flags=["END_HEADERS"]))

    def give_up(self) -> None:
        self.steps.append(GiveUp(self.stream()))

    def ask_more(self) -> None:
        self.ask()

    def informational(self) -> None:
        self.steps += self.headers(self.stream(), self.block("103", None))

    def foreign_data(self) -> None:
        self.steps += self.content(self.stream(), b"data", self.chance(0.5))[0]

    extras: tuple[Callable[["Writer"], None], ...] = (
        ping,
        change_settings,
        window,
        window,
        priority,
        reset,
        reset,
        goaway,
        goaway,
        unknown,
        alternative,
        push,
        give_up,
        give_up,
        ask_more,
        informational,
        foreign_data,
    )


def bend(source: random.Random, steps: list[Step]) -> None:
    """Change a script as a broken or hostile server would."""
    places = [index for index, step in enumerate(steps) if isinstance(step, bytes)]
    # Less often the first: most bends of it end the script before it begins.
    place = source.choice(places[1:] if len(places) > 1 and source.random() < 0.9 else places)
    frame = bytearray(steps[place])  # type: ignore[arg-type]
    kind = source.randrange(10)
    if kind == 0:
        frame[source.randrange(len(frame))] ^= 1 << source.randrange(8)
    elif kind == 1:
        frame[source.randrange(len(frame))] = source.randrange(256)
    elif kind == 2:
        frame[4] = source.choice((0, 1, 4, 5, 8, 9, 13, 32, 37, 45, 255))
    elif kind == 3:
        frame[5:9] = source.choice((0, 1, 2, 3, 5, 7, 2**31 + 1)).to_bytes(4, "big")
    elif kind == 4:
        frame[3] = source.randrange(12)
    elif kind == 5:
        # Another size, with a length that agrees.
        size = max(0, len(frame) - 9 + source.choice((-6, -2, -1, 1, 2, 6)))
        frame = frame[: 9 + size].ljust(9 + size, source.choice((b"\0", b"\xff", b"\x01")))
        frame[:3] = size.to_bytes(3, "big")
    elif kind == 6:
        # Another length, with a size that does not.
        frame[:3] = source.choice((0, 1, 4, 5, 8, 9, 16_384, 16_385, 2**24 - 1)).to_bytes(3, "big")
    steps[place] = bytes(frame)
    if kind == 7:
        steps.insert(place, steps[place])
    elif kind == 8:
        del steps[place]
    elif kind == 9:
        other = source.choice(places)
        steps[place], steps[other] = steps[other], steps[place]


def script(source: random.Random) -> list[Step]:
    """Return one script."""
    steps = Writer(source).script()
    for _ in range(source.choice((0, 0, 0, 0, 1, 1, 2, 3))):
        if any(isinstance(step, bytes) for step in steps):
            bend(source, steps)
    return steps
