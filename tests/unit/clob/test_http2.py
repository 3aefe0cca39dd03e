"""The framing without a socket: any bytes of a peer give events, never an exception."""

import random

import h2.config
import h2.connection
import h2.events
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyexec.clob.http2 import (
    Closing,
    ConnectionLost,
    Ready,
    RequestRefused,
    Response,
    StreamLost,
    new_framing,
)
from polyexec.enums import SentState

from .framings import FRAMINGS

FRAMING = "the fixture sets it"


@pytest.fixture(params=FRAMINGS, autouse=True)
def framing(request, monkeypatch):
    """Every test runs over both framings."""
    monkeypatch.setattr(f"{__name__}.FRAMING", request.param)
    return request.param


def fresh(**options):
    return new_framing(FRAMING, "host", **options)


def pair(**options):
    """A client whose handshake with an ``h2`` server is done."""
    client = fresh(**options)
    server = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
    )
    server.initiate_connection()
    client.start()
    server.receive_data(client.take_output())
    events = client.receive(server.data_to_send())
    server.receive_data(client.take_output())
    assert events == [Ready()]
    return client, server


def answered_bytes():
    """A client with one request in flight, and the bytes of its answer."""
    client, server = pair()
    stream = client.request("POST", "/orders", {"POLY_X": "1"}, b"[1,2,3]")
    server.receive_data(client.take_output())
    server.send_headers(stream, [(":status", "200"), ("content-type", "application/json")])
    server.send_data(stream, b'[{"success":true}]', end_stream=True)
    return client, server.data_to_send()


def test_request_is_refused_before_the_settings_of_the_peer():
    client = fresh()
    client.start()
    with pytest.raises(RequestRefused, match="settings"):
        client.request("GET", "/ok", {}, b"")


def test_answer_is_complete_whatever_pieces_it_comes_in():
    for size in (1, 2, 7, 1000):
        client, data = answered_bytes()
        events = []
        for start in range(0, len(data), size):
            events += client.receive(data[start : start + size])
        (response,) = [e for e in events if isinstance(e, Response)]
        assert (response.status, response.body) == (200, b'[{"success":true}]')
        assert response.headers == {"content-type": "application/json"}
        assert client.in_flight == 0


def test_credentials_are_never_indexed():
    client, server = pair()
    client.request("POST", "/orders", {"POLY_PASSPHRASE": "hidden"}, b"[]")
    first = client.take_output()
    # 0x10: literal, never indexed, new name.
    assert b"\x10" in first
    (event, *_) = server.receive_data(first)
    names = {h[0]: h for h in event.headers}
    assert type(names["poly_passphrase"]).__name__ == "NeverIndexedHeaderTuple"


def test_informational_and_trailers_are_not_the_answer():
    client, server = pair()
    stream = client.request("POST", "/orders", {}, b"[]")
    server.receive_data(client.take_output())
    server.send_headers(stream, [(":status", "103")])
    server.send_headers(stream, [(":status", "200")])
    server.send_data(stream, b"x")
    server.send_headers(stream, [("grpc-status", "0")], end_stream=True)
    (response,) = client.receive(server.data_to_send())
    assert (response.status, response.body, response.headers) == (200, b"x", {})


def test_second_goaway_lowers_the_line():
    client, server = pair()
    streams = [client.request("POST", "/orders", {}, b"[]") for _ in range(3)]
    server.receive_data(client.take_output())

    def goaway(last):
        return b"\0\0\x08\x07\0\0\0\0\0" + last.to_bytes(4, "big") + b"\0\0\0\0"

    assert client.receive(goaway(2**31 - 1)) == [Closing(client.closing)]
    _, *lost = client.receive(goaway(streams[0]))
    assert [(e.stream_id, e.sent) for e in lost] == [(s, SentState.NO) for s in streams[1:]]
    server.send_headers(streams[0], [(":status", "200")], end_stream=True)
    (response,) = client.receive(server.data_to_send())
    assert isinstance(response, Response)
    with pytest.raises(RequestRefused, match="GOAWAY NO_ERROR"):
        client.request("GET", "/ok", {}, b"")


@pytest.mark.parametrize(
    "frame",
    [
        b"\0\0\x04\x07\0\0\0\0\0" + b"\0\0\0\0",
        b"\0\0\x08\x07\0\0\0\0\x01" + b"\0" * 8,
        b"\xff\xff\xff\0\0\0\0\0\x01",
        b"\0\0\x01\x06\0\0\0\0\0\0",
        b"\0\0\0\x05\0\0\0\0\x02",
        b"\0\0\x04\x03\0\0\0\0\0\0\0\0\0",
        b"\0\0\x01\x01\x04\0\0\0\x01\xff",
    ],
    ids=["short-goaway", "goaway-on-stream", "huge", "short-ping", "push", "reset-0", "bad-hpack"],
)
def test_illegal_frame_loses_the_connection(frame):
    client, _ = answered_bytes()
    events = client.receive(frame)
    assert isinstance(events[-1], ConnectionLost)
    assert client.receive(b"\0" * 100) == []
    with pytest.raises(RequestRefused):
        client.request("GET", "/ok", {}, b"")


def test_unframable_header_is_refused():
    client, _ = pair()
    with pytest.raises(RequestRefused, match=r"could not be framed|may not be sent"):
        client.request("GET", "/ok", {":odd": "pseudo-header"}, b"")
    # The encoder of h2 may be out of step with the peer now; ours has no state.
    assert bool(client.closing) is (FRAMING == "h2")
    assert client.take_output() == b""
    assert client.in_flight == 0


def test_cancelled_stream_frees_its_place_and_its_late_answer_is_ignored():
    client, server = pair()
    stream = client.request("POST", "/orders", {}, b"[]")
    server.receive_data(client.take_output())
    server.send_headers(stream, [(":status", "200")])
    server.send_data(stream, b"late", end_stream=True)
    late = server.data_to_send()
    client.cancel(stream)
    client.cancel(stream)
    assert client.in_flight == 0
    assert client.receive(late) == []
    assert client.request("GET", "/ok", {}, b"") == stream + 2


def test_reset_stream_says_how_far_it_came():
    client, server = pair()
    stream = client.request("POST", "/orders", {}, b"[]")
    server.receive_data(client.take_output())
    server.reset_stream(stream, 99)
    (lost,) = client.receive(server.data_to_send())
    assert lost == StreamLost(stream, SentState.MAYBE, "stream reset by the peer with code 99")


def test_close_says_goodbye_once():
    client, server = pair()
    client.close()
    client.close()
    events = server.receive_data(client.take_output())
    assert [type(e) for e in events] == [h2.events.ConnectionTerminated]


@settings(max_examples=200)
@given(st.binary(max_size=400), st.booleans())
def test_rubbish_never_raises(rubbish, after_answer):
    client, data = answered_bytes()
    if after_answer:
        client.receive(data)
    for event in client.receive(rubbish):
        assert isinstance(event, (Ready, Response, StreamLost, Closing, ConnectionLost))
    client.take_output()


@settings(max_examples=200)
@given(st.integers(min_value=0, max_value=2**32))
def test_bent_answer_never_raises(seed):
    rng = random.Random(seed)
    client, data = answered_bytes()
    bent = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        bent[rng.randrange(len(bent))] = rng.randrange(256)
    for event in client.receive(bytes(bent)):
        assert isinstance(event, (Ready, Response, StreamLost, Closing, ConnectionLost))
    client.take_output()
