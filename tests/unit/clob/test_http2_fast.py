"""The compiled framing alone: its bytes, what it refuses to send, and how it differs from h2."""

import pytest

from polyexec.clob.http2 import ConnectionLost, RequestRefused, Response
from tests.implementations import COMPILED

from .framings import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW,
    answer,
    block,
    frame,
    frames,
    number,
    pair,
    ready,
    settings,
)

pytestmark = COMPILED

CREDENTIALS = {
    "POLY_ADDRESS": "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23",
    "POLY_SIGNATURE": "p-Yh5oJXKJ0eQWtJ5E2ZcB5LgMWhGkYdsTbNYy8lR2g=",
    "POLY_TIMESTAMP": "1764000000",
    "POLY_API_KEY": "3e1c0a7e-9b1d-4e0c-8a65-6f2f1b7d5c11",
    "POLY_PASSPHRASE": "f00dfeedc0ffee1234567890abcdef42" * 5,
}


def asked(**options):
    client = ready("fast", **options)
    client.request("POST", "/orders", {}, b"[]")
    client.take_output()
    return client


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/orders", "/data/order/0x" + "a" * 200 + "?id=1"])
@pytest.mark.parametrize("length", [0, 1, 2300, 60_000])
def test_h2_server_reads_the_request_that_was_meant(method, path, length):
    client, server = pair("fast")
    other, other_server = pair("h2")
    body = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    for each in (client, other):
        assert each.request(method, path, CREDENTIALS, body) == 1
    ours = server.receive_data(client.take_output())
    theirs = other_server.receive_data(other.take_output())
    assert ours[0].headers == theirs[0].headers
    never = {h[0] for h in ours[0].headers if type(h).__name__ == "NeverIndexedHeaderTuple"}
    assert {name.lower() for name in CREDENTIALS} <= never
    assert b"".join(e.data for e in ours if hasattr(e, "data")) == body
    assert [type(e) for e in ours][-1] is [type(e) for e in theirs][-1]


def test_request_is_one_object_and_the_same_again():
    client = ready("fast")
    outputs = []
    for _ in range(3):
        client.request("POST", "/orders", CREDENTIALS, b"x" * 2300)
        outputs.append(client.take_output())
    # Nothing of a request depends on the ones before but its stream.
    heads = [[(k, f, p) for k, f, _, p in frames(output)] for output in outputs]
    assert heads[0] == heads[1] == heads[2]
    assert [k for k, _, _ in heads[0]] == [HEADERS, DATA]


def test_any_mapping_of_headers_will_do():
    from types import MappingProxyType

    client, server = pair("fast")
    client.request("GET", "/ok", MappingProxyType({"X-One": "\xe9"}), b"")
    headers = dict(server.receive_data(client.take_output())[0].headers)
    assert headers["x-one"] == "\xe9"


@pytest.mark.parametrize(
    ("method", "path", "headers", "words"),
    [
        ("GET", "/a b", {}, ":path"),
        ("GET", "", {}, ":path"),
        ("GET", "/\n", {}, ":path"),
        ("G T", "/", {}, ":method"),
        ("GET", "/", {":odd": "1"}, "':odd'"),
        ("GET", "/", {"": "1"}, "header"),
        ("GET", "/", {"x y": "1"}, "'x y'"),
        ("GET", "/", {"x\udc80": "1"}, "header"),
        ("GET", "/", {"Connection": "close"}, "'Connection'"),
        ("GET", "/", {"Content-Length": "1"}, "'Content-Length'"),
        ("GET", "/", {"x": "hidden\r\nInjected: 1"}, "header x"),
        ("GET", "/", {"x": "hidden\0"}, "header x"),
        ("GET", "/", {"x": " hidden"}, "header x"),
        ("GET", "/", {"x": "hidden\udc80"}, "header x"),
        ("GET", "/", {"x": "hidden" * 3000}, "16384"),
        ("GET", "/" + "x" * 17_000, {}, "16384"),
    ],
    ids=repr,
)
def test_what_cannot_be_sent_is_refused_and_nothing_of_it_exists(method, path, headers, words):
    client = ready("fast")
    with pytest.raises(RequestRefused, match=words) as caught:
        client.request(method, path, headers, b"")
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert client.take_output() == b""
    assert client.in_flight == 0
    # There is no state of an encoder that could be out of step: the next one goes.
    assert not client.closing
    assert client.request("GET", "/ok", {}, b"") == 1


@pytest.mark.parametrize("room", range(40))
def test_block_that_just_does_not_fit_is_refused(room):
    client = ready("fast")
    value = "v" * (16_384 - 70 + room)
    try:
        client.request("POST", "/orders", {"x": value}, b"[]")
    except RequestRefused:
        assert client.take_output() == b""
    else:
        (head, *_) = frames(client.take_output())
        assert len(head[3]) <= 16_384


def test_more_paths_and_names_than_are_remembered_still_go():
    client, server = pair("fast")
    for number_ in range(200):
        client.request("GET", f"/data/{number_}", {f"X-{number_}": "1"}, b"")
        headers = dict(server.receive_data(client.take_output())[0].headers)
        assert headers[":path"] == f"/data/{number_}"
        assert headers[f"x-{number_}"] == "1"
        client.cancel(2 * number_ + 1)
        server.receive_data(client.take_output())


@pytest.mark.parametrize(
    "arguments",
    [(1, "/", {}, b""), ("GET", 1, {}, b""), ("GET", "/", {}, "text"), ("GET", "/", {"x": 1}, b"")],
)
def test_wrong_types_are_refused(arguments):
    client = ready("fast")
    with pytest.raises(TypeError):
        client.request(*arguments)
    with pytest.raises(TypeError):
        client.receive("text")
    assert client.take_output() == b""
    assert client.in_flight == 0


# --- where RFC 9113 and h2 part (tests/conformance/differences.py) ------------------------------


def loses(client, data):
    events = client.receive(data)
    return bool(events) and isinstance(events[-1], ConnectionLost)


def test_reserved_bit_of_a_window_is_ignored():
    client = asked()
    assert client.receive(frame(WINDOW, 0, 0, number(2**31 + 5))) == []


def test_stream_may_depend_on_itself():
    client = asked()
    assert client.receive(frame(PRIORITY, 0, 1, number(1) + b"\0")) == []


def test_reset_of_an_idle_stream_loses_the_connection():
    assert loses(asked(), frame(RST_STREAM, 0, 9, number(8)))
    assert loses(asked(), frame(RST_STREAM, 0, 2, number(8)))


def test_content_length_is_checked_when_headers_end_the_answer():
    assert loses(asked(), answer(1, ("content-length", "5"), ends=True))
    trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, block(("x", "1")))
    head = answer(1, ("content-length", "5"))
    assert loses(asked(), head + frame(DATA, 0, 1, b"good") + trailers)
    (response,) = asked().receive(head + frame(DATA, 0, 1, b"goods") + trailers)
    assert response.body == b"goods"


def test_304_may_name_a_length():
    (response,) = asked().receive(answer(1, ("content-length", "5"), status="304", ends=True))
    assert isinstance(response, Response)
    head = answer(1, ("content-length", "5"), status="304")
    (response,) = asked().receive(head + frame(DATA, END_STREAM, 1))
    assert (response.status, response.body) == (304, b"")


def test_padding_of_headers_may_fill_the_frame():
    head = answer(1)
    trailers = frame(HEADERS, END_HEADERS | END_STREAM | PADDED, 1, b"\x03\0\0\0")
    (response,) = asked().receive(head + trailers)
    assert isinstance(response, Response)


def test_provisional_answer_of_a_reset_stream_is_ignored():
    client = asked()
    client.cancel(1)
    assert client.receive(answer(1, status="103")) == []
    assert loses(client, frame(CONTINUATION, END_HEADERS, 1))


def test_data_of_an_ended_stream_is_refused_once():
    client = asked()
    client.receive(answer(1, ends=True))
    client.take_output()
    client.receive(frame(DATA, 0, 1, b"more") * 3)
    assert frames(client.take_output()) == [(RST_STREAM, 0, 1, number(5))]
    assert loses(client, answer(1))


# --- a peer that wants to fill the memory -------------------------------------------------------


@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, 0, 0, b"p" * 8),
        frame(SETTINGS, 0, 0),
        settings({3: 100}),
        frame(DATA, 0, 1),
        frame(DATA, PADDED, 1, b"\0"),
        frame(RST_STREAM, 0, 1, number(7)),
        frame(WINDOW, 0, 1, number(1)),
        answer(1, status="103"),
        frame(0x42, 0, 0),
    ],
    ids=["ping", "settings", "setting", "empty-data", "padding", "reset", "window", "103", "other"],
)
def test_flood_does_not_fill_the_output(flood):
    client = asked()
    if flood[3] == DATA:
        client.receive(answer(1))
    for _ in range(40):
        client.receive(flood * 5000)
    assert len(client.take_output()) < 1_100_000
    assert client.in_flight <= 1


def test_compressed_block_has_a_limit():
    client = asked()
    data = frame(HEADERS, 0, 1, b"\x20" * 16_384)
    data += frame(CONTINUATION, 0, 1, b"\x20" * 16_384) * 16
    assert loses(client, data)


def test_reset_streams_are_not_remembered_for_ever():
    client = ready("fast")
    for _ in range(3000):
        client.cancel(client.request("GET", "/ok", {}, b""))
    assert client.in_flight == 0
    assert client.receive(answer(5999)) == []
