"""Frames of a server: cut anyhow they give the same events, no exception and no full memory."""

import random

from polyexec._impl import IMPLEMENTATION
from polyexec.clob.http2 import Event, Framing, RequestRefused, new_framing
from tests.conformance.compare import MAX_RESPONSE_BYTES, pieces
from tests.conformance.scripts import Ask, GiveUp, Step, script
from tests.fuzz.registry import target

OUTPUT = 2 * 1024 * 1024


def take(steps: list[Step], source: random.Random | None, name: str = "fast") -> tuple[object, ...]:
    """Run a script; with a source its bytes come in pieces. Return all that can be seen."""
    client: Framing = new_framing(name, "host", max_response_bytes=MAX_RESPONSE_BYTES)
    client.start()
    events: list[Event] = []
    output = b""
    for step in steps:
        if isinstance(step, Ask):
            try:
                client.request("POST", "/", {}, bytes(step.length))
            except RequestRefused:
                pass
        elif isinstance(step, GiveUp):
            client.cancel(step.stream)
        else:
            for piece in [step] if source is None else pieces(source, step):
                events += client.receive(piece)
        taken = client.take_output()
        assert len(taken) < OUTPUT
        output += taken
    return events, output, client.in_flight, client.closing


@target("http2.pieces")
def any_pieces(source: random.Random) -> None:
    steps = script(source)
    assert take(steps, source) == take(steps, None)


@target("http2.rubbish")
def rubbish(source: random.Random) -> None:
    valid = b"\0\0\0\x04\0\0\0\0\0"
    start = valid if source.random() < 0.9 else b""
    kinds = bytes(source.randrange(12) for _ in range(8))
    frames = b"".join(
        source.choice((0, 1, 4, 5, 8, 9, 30)).to_bytes(3, "big")
        + bytes([kind, source.choice((0, 1, 4, 5, 8, 0x20, 0x2D, source.randrange(256)))])
        + source.choice((0, 1, 1, 1, 2, 3)).to_bytes(4, "big")
        + source.randbytes(source.choice((0, 4, 5, 8, 9, 30)))
        for kind in kinds
    )
    steps: list[Step] = [start, Ask(10), frames, source.randbytes(source.randrange(100))]
    assert take(steps, source) == take(steps, None)


@target("http2.request", refuses=(RequestRefused, TypeError, ValueError))
def any_request(source: random.Random) -> None:
    if IMPLEMENTATION == "pure":
        return  # what is refused, and how, is only promised of ours
    client = new_framing("fast", "host")
    client.start()
    client.receive(b"\0\0\0\x04\0\0\0\0\0")
    client.take_output()
    alphabet = "aZ09-_:/ \r\n\0\t\xe9\udc80\u20ac"

    def text(longest: int) -> str:
        return "".join(source.choices(alphabet, k=source.randrange(longest)))

    size = source.choice((5, 50, 20_000))
    try:
        client.request(
            source.choice(("GET", "POST", text(5))),
            "/" + text(size) if source.random() < 0.5 else "/orders",
            {text(size): text(size) for _ in range(source.randrange(4))},
            source.randbytes(source.randrange(3000)),
        )
    except (RequestRefused, TypeError, ValueError):
        assert client.take_output() == b""
        assert client.in_flight == 0
        raise
