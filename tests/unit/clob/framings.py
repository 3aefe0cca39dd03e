"""What the tests of the two HTTP/2 framings share."""

from typing import Any

import h2.config
import h2.connection
import pytest
from hpack import Encoder

from polyexec.clob.http2 import Framing, FramingName, Ready, new_framing
from tests.implementations import COMPILED

FRAMINGS = [pytest.param("fast", marks=COMPILED), "h2"]

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
ACK, END_STREAM, END_HEADERS, PADDED, WITH_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 3, 4, 5


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame as it goes over the wire, valid or not."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    pairs = (n.to_bytes(2, "big") + v.to_bytes(4, "big") for n, v in values.items())
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def block(*fields: tuple[str, str]) -> bytes:
    """Return a header block that needs no table."""
    encoder = Encoder()
    encoder.header_table_size = 0
    return encoder.encode([(n.encode("latin-1"), v.encode("latin-1")) for n, v in fields])


def answer(stream: int, *fields: tuple[str, str], ends: bool = False, status: str = "200") -> bytes:
    """Return HEADERS with a status."""
    flags = END_HEADERS | (END_STREAM if ends else 0)
    return frame(HEADERS, flags, stream, block((":status", status), *fields))


def ready(name: FramingName, values: dict[int, int] | None = None, **options: Any) -> Framing:
    """Return a client that may send requests."""
    client = new_framing(name, "host", **options)
    client.start()
    assert client.receive(settings(values or {})) == [Ready()]
    client.take_output()
    return client


def pair(name: FramingName, **options: Any) -> tuple[Framing, Any]:
    """Return a client and an ``h2`` server with their handshake done."""
    client = new_framing(name, "host", **options)
    server = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    )
    server.initiate_connection()
    client.start()
    server.receive_data(client.take_output())
    assert client.receive(server.data_to_send()) == [Ready()]
    server.receive_data(client.take_output())
    return client, server


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    """Cut an output into (kind, flags, stream, payload)."""
    found = []
    while data:
        size = 9 + int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9:size]))
        data = data[size:]
    return found
