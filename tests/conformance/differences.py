"""Where the two framings may differ: each a rule of RFC 9113 that ``h2`` reads in its own way.

A difference holds for one frame and one pair of answers. It ends the comparison of its script, as
one of the two has given up the connection.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hpack import Decoder, HPACKError

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, CONTINUATION, ALTSVC = (
    0x0,
    0x1,
    0x2,
    0x3,
    0x4,
    0x8,
    0x9,
    0xA,
)
END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x4, 0x8, 0x20
INITIAL_WINDOW_SIZE = b"\0\x04"


class Frame(NamedTuple):
    """One frame as it stands on the wire."""

    kind: int
    flags: int
    stream: int
    payload: bytes


@dataclass
class Answer:
    """What came of an answer."""

    status: str = ""
    promised: str = ""
    """The content-length of its headers."""
    received: int = 0


@dataclass
class History:
    """What came before a frame, as the reader of a difference needs it."""

    next_stream: int = 1
    reset: set[int] = field(default_factory=set)
    """Streams that ended by a reset, of either side, or whose answer ended before the request."""
    opening: list[Frame] = field(default_factory=list)
    """The frames of a header block that is not complete."""
    windows: bool = False
    """A WINDOW_UPDATE or an INITIAL_WINDOW_SIZE came."""
    answers: dict[int, Answer] = field(default_factory=dict)

    def is_idle(self, stream: int) -> bool:
        return stream % 2 == 0 or stream >= self.next_stream

    def fields(self, frame: Frame) -> dict[str, str]:
        """Return the fields of the block that a frame completes; none when it does not."""
        frames = [*self.opening, frame]
        if frames[0].kind != HEADERS or not frame.flags & END_HEADERS:
            return {}
        first = frames[0]
        skipped = bool(first.flags & PADDED) + 5 * bool(first.flags & WITH_PRIORITY)
        padding = first.payload[0] if first.flags & PADDED and first.payload else 0
        parts = [first.payload[skipped : len(first.payload) - padding]]
        parts += [item.payload for item in frames[1:]]
        try:
            fields = Decoder().decode(b"".join(parts), raw=True)
        except HPACKError:
            return {}
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}

    def take(self, frame: Frame) -> None:
        """Add a frame that both framings took alike."""
        if frame.kind in {HEADERS, CONTINUATION}:
            fields = self.fields(frame)
            self.opening = [] if frame.flags & END_HEADERS else [*self.opening, frame]
            answer = self.answers.setdefault(frame.stream, Answer())
            if fields and not (answer.status or fields.get(":status", "1").startswith("1")):
                answer.status = fields[":status"]
                answer.promised = fields.get("content-length", "")
        elif frame.kind == DATA:
            self.answers.setdefault(frame.stream, Answer()).received += content_length(frame)
        elif frame.kind in {WINDOW_UPDATE, SETTINGS}:
            self.windows = True


def content_length(frame: Frame) -> int:
    """Return how much of a DATA frame is content."""
    padded = frame.flags & PADDED and frame.payload
    return len(frame.payload) - (1 + frame.payload[0] if padded else 0)


class Outcome(NamedTuple):
    """What one framing made of a frame."""

    lost: bool
    events: list[tuple[object, ...]]


Rule = Callable[[Frame, History, Outcome, Outcome], bool]
DIFFERENCES: dict[str, Rule] = {}


def difference(name: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        DIFFERENCES[name] = rule
        return rule

    return register


def explain(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> str:
    """Return the name of the difference that two answers to a frame are, or an empty text."""
    for name, rule in DIFFERENCES.items():
        if rule(frame, history, ours, theirs):
            return name
    return ""


def block_of(frame: Frame, history: History) -> Frame | None:
    """Return the HEADERS whose block a frame completes."""
    first = (*history.opening, frame)[0]
    return first if first.kind == HEADERS and frame.flags & END_HEADERS else None


def setting_names(frame: Frame) -> list[bytes]:
    """Return the names of the settings in a frame, as they stand there."""
    if frame.kind != SETTINGS:
        return []
    return [frame.payload[at : at + 2] for at in range(0, len(frame.payload), 6)]


@difference("reserved bit of WINDOW_UPDATE")
def reserved_bit(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 6.9: the bit is ignored. h2 counts it and finds the increment too large."""
    return (
        frame.kind == WINDOW_UPDATE
        and len(frame.payload) == 4
        and frame.payload[0] >= 0x80
        and theirs.lost
        and not ours.lost
    )


@difference("a stream that depends on itself")
def self_dependency(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 5.3.2: priorities mean nothing any more. h2 keeps to RFC 7540 and objects."""
    block = block_of(frame, history)
    if frame.kind == PRIORITY:
        depends = frame.payload[:4]
    elif block is not None and block.flags & WITH_PRIORITY:
        depends = block.payload[1:5] if block.flags & PADDED else block.payload[:4]
    else:
        return False
    on = int.from_bytes(depends, "big") & 0x7FFFFFFF
    return on == frame.stream and theirs.lost and not ours.lost


@difference("RST_STREAM on an idle stream")
def idle_reset(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 6.4: a connection error. h2 ignores it."""
    return (
        frame.kind == RST_STREAM
        and history.is_idle(frame.stream)
        and ours.lost
        and not theirs.lost
        and not theirs.events
    )


@difference("provisional answer on a reset stream")
def late_provisional(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 5.1: discarded. h2 does so with final answers only."""
    return (
        history.fields(frame).get(":status", "").startswith("1")
        and frame.stream in history.reset
        and theirs.lost
        and not ours.lost
        and not ours.events
    )


@difference("CONTINUATION alone on a reset stream")
def late_continuation(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 6.10: a connection error. h2 takes it for a frame that was on its way."""
    return (
        frame.kind == CONTINUATION
        and not history.opening
        and frame.stream in history.reset
        and ours.lost
        and not theirs.lost
        and not theirs.events
    )


@difference("content-length of an answer that HEADERS end")
def unchecked_length(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 8.1.1: malformed when the length differs. h2 looks only when DATA ends it."""
    block = block_of(frame, history)
    if block is None or not block.flags & END_STREAM:
        return False
    answer = history.answers.get(frame.stream, Answer())
    promised = answer.promised if answer.status else history.fields(frame).get("content-length", "")
    return (
        promised.isdigit()
        and int(promised) != answer.received
        and ours.lost
        and not theirs.lost
        and [event[0] for event in theirs.events] in (["response"], [])
    )


@difference("content-length of a 304")
def not_modified(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 8.1.1: it may name the length of what it leaves out. h2 wants the content."""
    answer = history.answers.get(frame.stream, Answer())
    return (
        frame.kind == DATA
        and answer.status == "304"
        and answer.promised.isdigit()
        and int(answer.promised) != answer.received + content_length(frame)
        and theirs.lost
        and not ours.lost
    )


@difference("padding of HEADERS")
def headers_padding(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 6.2: padding may fill what is left, not exceed it.

    h2 refuses that it fills all, and does not count the priority fields to what is taken.
    """
    if frame.kind != HEADERS or not frame.flags & PADDED or not frame.payload:
        return False
    padding, left = frame.payload[0], len(frame.payload) - 1
    if padding == left and not frame.flags & WITH_PRIORITY:
        return theirs.lost and not ours.lost
    return bool(frame.flags & WITH_PRIORITY) and left - 5 < padding < left and ours.lost


@difference("malformed ALTSVC")
def malformed_altsvc(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """RFC 7838, section 4: an extension, and ignored by who does not know it."""
    origin = int.from_bytes(frame.payload[:2], "big")
    return (
        frame.kind == ALTSVC
        and (len(frame.payload) < 2 or origin > len(frame.payload) - 2)
        and theirs.lost
        and not ours.lost
        and not ours.events
    )


@difference("a setting that comes twice")
def repeated_setting(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 6.5.3: values are processed in order. h2 looks at the last of each."""
    names = setting_names(frame)
    return len(names) != len(set(names)) and ours.lost and not theirs.lost


@difference("windows of closed streams")
def closed_windows(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 6.9.2: a first window changes the open streams. h2 still holds closed ones."""
    return (
        INITIAL_WINDOW_SIZE in setting_names(frame)
        and history.windows
        and theirs.lost
        and not ours.lost
    )


@difference("a request by the server")
def server_request(frame: Frame, history: History, ours: Outcome, theirs: Outcome) -> bool:
    """Section 5.1: HEADERS on a stream that nobody promised. h2 opens it."""
    return (
        block_of(frame, history) is not None
        and frame.stream % 2 == 0
        and ours.lost
        and not theirs.lost
        and not theirs.events
    )
