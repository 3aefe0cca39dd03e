"""Runs one script through both framings and says how the answers differ."""

import random
from collections.abc import Iterator
from typing import Any

from h2.stream import StreamState

from polyexec.clob.http2 import (
    Closing,
    ConnectionLost,
    Event,
    Framing,
    Pong,
    RequestRefused,
    Response,
    StreamLost,
    new_framing,
)
from tests.conformance.differences import Frame, History, Outcome, explain
from tests.conformance.scripts import Ask, GiveUp, Step, script

Facts = list[tuple[object, ...]]
MAX_RESPONSE_BYTES = 1000


def fact(event: Event) -> tuple[object, ...]:
    """Return what of an event both framings must agree on: all but the words of a reason."""
    if isinstance(event, Response):
        return ("response", event.stream_id, event.status, event.headers, event.body)
    if isinstance(event, StreamLost):
        return ("stream lost", event.stream_id, event.sent)
    if isinstance(event, Closing):
        return ("closing", event.reason)
    if isinstance(event, Pong):
        return ("pong", event.payload)
    return ("connection lost",) if isinstance(event, ConnectionLost) else ("ready",)


def pieces(source: random.Random, data: bytes) -> Iterator[bytes]:
    """Cut bytes as a network does."""
    size = source.choice((1, 3, 10, 100, 1000))
    at = 0
    while at < len(data):
        step = source.randint(1, size)
        yield data[at : at + step]
        at += step


class Client:
    """One framing under comparison."""

    def __init__(self, name: str) -> None:
        self.framing: Framing = new_framing(name, "host", max_response_bytes=MAX_RESPONSE_BYTES)
        self.framing.start()
        self.facts: Facts = []

    def act(self, step: Ask | GiveUp) -> None:
        if isinstance(step, GiveUp):
            self.framing.cancel(step.stream)
            return
        try:
            method = "POST" if step.length else "GET"
            stream = self.framing.request(method, "/", {"POLY_X": "1"}, bytes(step.length))
        except RequestRefused as error:
            # The words may differ once the connection is lost.
            self.facts.append(("refused", "concurrent" in str(error)))
        else:
            self.facts.append(("sent", stream))

    def read(self, data: bytes) -> None:
        self.facts += map(fact, self.framing.receive(data))

    def state(self) -> tuple[object, ...]:
        return (self.framing.ready, self.framing.in_flight, bool(self.framing.closing))


def differ(case: str) -> str:
    """Run one case; return "" (equal), the name of a documented difference, or "!" and a report."""
    source = random.Random(case)
    steps = script(source)
    ours, theirs = Client("fast"), Client("h2")
    cut = source.random() < 0.5
    waiting = b""
    for step in [*steps, None]:
        if isinstance(step, bytes):
            waiting += step
            continue
        if waiting:
            theirs.read(waiting)
            for piece in pieces(source, waiting) if cut else (waiting,):
                ours.read(piece)
            waiting = b""
        if step is not None:
            ours.act(step)
            theirs.act(step)
    if ours.facts == theirs.facts and ours.state() == theirs.state():
        return ""
    return locate(steps)


def frames_of(steps: list[Step]) -> Iterator[bytes | Ask | GiveUp]:
    """Cut the bytes between two acts into what a reader takes for frames."""
    rest = b""
    for step in steps:
        if not isinstance(step, bytes):
            yield step
            continue
        rest += step
        while len(rest) >= 9 and len(rest) >= 9 + int.from_bytes(rest[:3], "big"):
            size = 9 + int.from_bytes(rest[:3], "big")
            yield rest[:size]
            rest = rest[size:]
    if rest:
        yield rest


def locate(steps: list[Step]) -> str:
    """Find the frame on which the framings part, and look for a documented difference."""
    ours, theirs = Client("fast"), Client("h2")
    history = History()
    for step in frames_of(steps):
        before = len(ours.facts), len(theirs.facts)
        if not isinstance(step, bytes):
            ours.act(step)
            theirs.act(step)
            if isinstance(step, Ask) and ours.facts[-1][0] == "sent":
                history.next_stream += 2
        else:
            ours.read(step)
            theirs.read(step)
        mine, their = ours.facts[before[0] :], theirs.facts[before[1] :]
        frame = read_frame(step) if isinstance(step, bytes) else None
        if mine != their or ours.state() != theirs.state():
            if frame is not None:
                name = explain(frame, history, outcome(mine), outcome(their))
                if name:
                    return name
            return f"!{step!r}\n  ours   {mine} {ours.state()}\n  theirs {their} {theirs.state()}"
        if frame is not None:
            history.take(frame)
        history.reset = {n for n in range(1, history.next_stream, 2) if is_reset(theirs, n)}
    return "!only together do the frames make a difference"


def is_reset(theirs: Client, stream: int) -> bool:
    """Whether late frames of a stream are ignored, as h2 remembers it."""
    connection: Any = theirs.framing._h2  # type: ignore[attr-defined]
    live = connection.streams.get(stream)
    if live is not None and live.state_machine.state is StreamState.HALF_CLOSED_REMOTE:
        return True
    return bool(connection._stream_is_closed_by_reset(stream))


def outcome(facts: Facts) -> Outcome:
    """Return what one framing made of a frame."""
    return Outcome(("connection lost",) in facts, facts)


def read_frame(data: bytes) -> Frame:
    """Return a frame, or what there is of one."""
    padded = data.ljust(9, b"\0")
    stream = int.from_bytes(padded[5:9], "big") & 0x7FFFFFFF
    return Frame(padded[3], padded[4], stream, data[9:])
