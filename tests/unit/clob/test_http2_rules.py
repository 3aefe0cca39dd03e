"""What a client must do by RFC 9113, over both framings: each rule once kept and once broken."""

import pytest

from polyexec.clob.http2 import Closing, ConnectionLost, Pong, RequestRefused, Response, StreamLost
from polyexec.enums import SentState

from .framings import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAMINGS,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
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
    frames,
    number,
    ready,
    settings,
)

pytestmark = pytest.mark.parametrize("name", FRAMINGS)

OK = block((":status", "200"))
LARGEST = 2**31 - 1


def asked(name, count=1, values=None, body=b"[]", **options):
    """A client with requests in flight on streams 1, 3, ..."""
    client = ready(name, values, **options)
    for _ in range(count):
        client.request("POST", "/orders", {}, body)
    client.take_output()
    return client


def is_lost(client, data):
    """Whether bytes lose the connection, and nothing that comes later is read."""
    events = client.receive(data)
    if not events or not isinstance(events[-1], ConnectionLost):
        return False
    assert client.in_flight == 0
    assert client.closing
    assert client.receive(answer(1, ends=True)) == []
    with pytest.raises(RequestRefused):
        client.request("GET", "/ok", {}, b"")
    return True


# --- frames that lose the connection ------------------------------------------------------------

BROKEN = {
    "data-on-connection": frame(DATA, 0, 0, b"x"),
    "data-idle": frame(DATA, 0, 9, b"x"),
    "data-even": frame(DATA, 0, 2, b"x"),
    "data-before-headers": frame(DATA, 0, 1, b"x"),
    "data-padding-missing": answer(1) + frame(DATA, PADDED, 1),
    "data-padding-too-long": answer(1) + frame(DATA, PADDED, 1, b"\x02a"),
    "headers-on-connection": frame(HEADERS, END_HEADERS, 0, OK),
    "headers-idle": answer(9),
    "headers-even": answer(2),
    "headers-padding-missing": frame(HEADERS, END_HEADERS | PADDED, 1),
    "headers-padding-too-long": frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + OK),
    "headers-priority-short": frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, b"\0" * 4),
    "headers-after-end": answer(1, ends=True) + answer(1, ends=True),
    "headers-bad-block": frame(HEADERS, END_HEADERS, 1, b"\xff"),
    "headers-dynamic-index": frame(HEADERS, END_HEADERS, 1, OK + b"\xbe"),
    "headers-table-too-large": frame(HEADERS, END_HEADERS, 1, b"\x21" + OK),
    "headers-late-table-update": frame(HEADERS, END_HEADERS, 1, OK + b"\x20"),
    "priority-on-connection": frame(PRIORITY, 0, 0, b"\0" * 5),
    "priority-short": frame(PRIORITY, 0, 1, b"\0" * 4),
    "priority-long": frame(PRIORITY, 0, 1, b"\0" * 6),
    "reset-on-connection": frame(RST_STREAM, 0, 0, number(8)),
    "reset-short": frame(RST_STREAM, 0, 1, b"\0" * 3),
    "reset-long": frame(RST_STREAM, 0, 1, b"\0" * 5),
    "settings-on-stream": frame(SETTINGS, 0, 1),
    "settings-short": frame(SETTINGS, 0, 0, b"\0" * 5),
    "settings-ack-with-payload": frame(SETTINGS, ACK, 0, b"\0\x03" + number(1)),
    "settings-push": settings({2: 1}),
    "settings-push-odd": settings({2: 2}),
    "settings-window": settings({INITIAL_WINDOW_SIZE: 2**31}),
    "settings-frame-small": settings({MAX_FRAME_SIZE: 16_383}),
    "settings-frame-large": settings({MAX_FRAME_SIZE: 2**24}),
    "settings-connect": settings({8: 2}),
    "settings-overflow": frame(WINDOW, 0, 1, number(LARGEST - 65_535))
    + settings({INITIAL_WINDOW_SIZE: 100_000}),
    "push": frame(PUSH, END_HEADERS, 1, number(2) + OK),
    "push-unfinished": frame(PUSH, 0, 1, number(2)),
    "ping-on-stream": frame(PING, 0, 1, b"p" * 8),
    "ping-short": frame(PING, 0, 0, b"p" * 7),
    "ping-long": frame(PING, 0, 0, b"p" * 9),
    "goaway-on-stream": frame(GOAWAY, 0, 1, b"\0" * 8),
    "goaway-short": frame(GOAWAY, 0, 0, b"\0" * 7),
    "window-short": frame(WINDOW, 0, 1, b"\0" * 3),
    "window-long": frame(WINDOW, 0, 1, b"\0" * 5),
    "window-zero": frame(WINDOW, 0, 0, number(0)),
    "window-zero-on-stream": frame(WINDOW, 0, 1, number(0)),
    "window-idle": frame(WINDOW, 0, 9, number(1)),
    "window-overflow": frame(WINDOW, 0, 0, number(LARGEST)),
    "continuation-alone": frame(CONTINUATION, END_HEADERS, 1, OK),
    "continuation-on-connection": frame(CONTINUATION, END_HEADERS, 0, OK),
    "continuation-of-another": frame(HEADERS, 0, 1, OK) + frame(CONTINUATION, END_HEADERS, 3),
    "ping-in-block": frame(HEADERS, 0, 1, OK) + frame(PING, 0, 0, b"p" * 8),
    "goaway-in-block": frame(HEADERS, 0, 1, OK) + frame(GOAWAY, 0, 0, b"\0" * 8),
    "unknown-in-block": frame(HEADERS, 0, 1, OK) + frame(0x42, 0, 0),
    "too-many-continuations": frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 64,
    "too-long": b"\x00\x40\x01" + frame(DATA, 0, 1)[3:],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_violation_loses_the_connection(name, data):
    client = asked(name, 2)
    assert is_lost(client, data)
    # The peer is told.
    assert frames(client.take_output())[-1][0] == GOAWAY


def test_peer_that_does_not_begin_with_settings_is_lost(name):
    from polyexec.clob.http2 import new_framing

    for first in (frame(PING, 0, 0, b"p" * 8), frame(SETTINGS, ACK, 0), frame(0x42, 0, 0)):
        client = new_framing(name, "host")
        client.start()
        assert isinstance(client.receive(first)[-1], ConnectionLost)


# --- frames that mean nothing -------------------------------------------------------------------

HARMLESS = {
    "unknown": frame(0x42, 0xFF, 7, b"?"),
    "priority": frame(PRIORITY, 0, 1, b"\0" * 5),
    "priority-idle": frame(PRIORITY, 0, 99, b"\0" * 5),
    "settings-ack": frame(SETTINGS, ACK, 0),
    "settings-unknown": settings({0x99: 7, 1: 4096, 6: 10}),
    "window-closed": frame(WINDOW, 0, 1, number(1)),
    "reset-closed": frame(RST_STREAM, 0, 1, number(8)),
    "data-closed": frame(DATA, 0, 1, b"late"),
    "reserved-stream-bit": frame(PRIORITY, 0, 2**31 + 1, b"\0" * 5),
}


@pytest.mark.parametrize("data", HARMLESS.values(), ids=HARMLESS)
def test_frame_without_meaning_is_ignored(name, data):
    client = asked(name, 2)
    assert len(client.receive(answer(1, ends=True))) == 1
    assert client.receive(data) == []
    assert [e.stream_id for e in client.receive(answer(3, ends=True))] == [3]


def test_late_frames_of_a_cancelled_stream_are_ignored(name):
    client = asked(name, 2)
    client.cancel(1)
    assert frames(client.take_output()) == [(RST_STREAM, 0, 1, number(8))]
    late = answer(1) + frame(DATA, END_STREAM, 1, b"late") + frame(WINDOW, 0, 1, number(1))
    assert client.receive(late) == []
    assert client.in_flight == 1
    assert len(client.receive(answer(3, ends=True))) == 1


def test_late_block_of_a_cancelled_stream_is_still_read(name):
    client = asked(name)
    client.cancel(1)
    assert is_lost(client, frame(HEADERS, END_HEADERS, 1, b"\xff"))


# --- answers ------------------------------------------------------------------------------------


def test_padding_and_priority_are_taken_off(name):
    client = asked(name)
    head = frame(
        HEADERS,
        END_HEADERS | PADDED | WITH_PRIORITY,
        1,
        b"\x03" + number(0x80000007) + b"\x10" + OK + b"\0\0\0",
    )
    content = frame(DATA, PADDED, 1, b"\x02good\0\0") + frame(DATA, PADDED | END_STREAM, 1, b"\0")
    (response,) = client.receive(head + content)
    assert response == Response(1, 200, {}, b"good")


def test_header_block_may_come_in_64_frames(name):
    client = asked(name)
    pieces = [OK[:1], *[b""] * 62, OK[1:]]
    data = frame(HEADERS, END_STREAM, 1, pieces[0])
    for piece in pieces[1:-1]:
        data += frame(CONTINUATION, 0, 1, piece)
    assert client.receive(data) == []
    assert len(client.receive(frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))) == 1


def test_header_list_has_a_limit(name):
    value = "v" * (65_536 - 32 - len("x") - len(":status") - 3 - 32)
    for extra, lost in (("", False), ("v", True)):
        client = asked(name)
        data = block((":status", "200"), ("x", value + extra))
        frames_of_it = [data[at : at + 16_384] for at in range(0, len(data), 16_384)]
        sent = frame(HEADERS, END_STREAM, 1, frames_of_it[0])
        for piece in frames_of_it[1:-1]:
            sent += frame(CONTINUATION, 0, 1, piece)
        sent += frame(CONTINUATION, END_HEADERS, 1, frames_of_it[-1])
        events = client.receive(sent)
        assert isinstance(events[-1], ConnectionLost) is lost


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [("x", "1"), (":status", "200")],
        [(":status", "200"), (":status", "200")],
        [(":status", "200"), (":path", "/")],
        [(":status", "200"), (":odd", "1")],
        [(":status", "20")],
        [(":status", "2000")],
        [(":status", "+20")],
        [(":status", "099")],
        [(":status", "1x3")],
        [(":status", "200"), ("X-Upper", "1")],
        [(":status", "200"), ("", "1")],
        [(":status", "200"), ("x y", "1")],
        [(":status", "200"), ("x:y", "1")],
        [(":status", "200"), ("x\x7f", "1")],
        [(":status", "200"), ("x", "a\nb")],
        [(":status", "200"), ("x", "a\rb")],
        [(":status", "200"), ("x", "a\0b")],
        [(":status", "200"), ("x", " a")],
        [(":status", "200"), ("x", "a\t")],
        [(":status", "200"), ("connection", "close")],
        [(":status", "200"), ("proxy-connection", "close")],
        [(":status", "200"), ("keep-alive", "1")],
        [(":status", "200"), ("transfer-encoding", "chunked")],
        [(":status", "200"), ("upgrade", "h2c")],
        [(":status", "200"), ("te", "gzip")],
        [(":status", "200"), ("content-length", "x")],
        [(":status", "200"), ("content-length", "")],
        [(":status", "200"), ("content-length", "1"), ("content-length", "2")],
    ],
    ids=str,
)
def test_malformed_answer_loses_the_connection(name, fields):
    assert is_lost(asked(name), frame(HEADERS, END_HEADERS, 1, block(*fields)))


def test_odd_header_values_are_taken(name):
    client = asked(name)
    fields = (("te", "Trailers"), ("x-empty", ""), ("x-high", "\xe9\xff"), ("x-two", "a"))
    (response,) = client.receive(answer(1, *fields, ("x-two", "b"), ends=True))
    assert response.headers == {
        "te": "Trailers",
        "x-empty": "",
        "x-high": "\xe9\xff",
        "x-two": "b",
    }


@pytest.mark.parametrize(
    ("promised", "content", "lost"),
    [("4", b"good", False), ("4", b"goo", True), ("4", b"goods", True), ("0", b"", False)],
)
def test_content_length_must_be_kept(name, promised, content, lost):
    client = asked(name)
    head = answer(1, ("content-length", promised))
    events = client.receive(head + frame(DATA, END_STREAM, 1, content))
    assert isinstance(events[-1], ConnectionLost if lost else Response)


def test_provisional_answer_may_not_end_the_stream(name):
    assert is_lost(asked(name), answer(1, status="103", ends=True))


def test_provisional_answer_after_the_final_one_is_a_violation(name):
    assert is_lost(asked(name), answer(1) + answer(1, status="103"))


def test_trailers_must_end_the_stream_and_have_no_status(name):
    trailers = block(("x-checksum", "1"))
    assert is_lost(asked(name), answer(1) + frame(HEADERS, END_HEADERS, 1, trailers))
    end = END_HEADERS | END_STREAM
    assert is_lost(asked(name), answer(1) + frame(HEADERS, end, 1, OK))
    (response,) = asked(name).receive(answer(1) + frame(HEADERS, end, 1, trailers))
    assert response == Response(1, 200, {}, b"")


def test_answer_to_head_has_a_length_and_no_content(name):
    client = ready(name)
    client.request("HEAD", "/ok", {}, b"")
    (response,) = client.receive(answer(1, ("content-length", "100"), ends=True))
    assert isinstance(response, Response)


# --- verdicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "code", "sent"),
    [
        (b"", 7, SentState.NO),
        (answer(1, status="103"), 7, SentState.MAYBE),
        (answer(1), 7, SentState.MAYBE),
        (b"", 0, SentState.MAYBE),
        (b"", 8, SentState.MAYBE),
        (b"", 2**32 - 1, SentState.MAYBE),
    ],
)
def test_only_a_stream_refused_before_any_answer_was_not_sent(name, before, code, sent):
    client = asked(name)
    (lost,) = client.receive(before + frame(RST_STREAM, 0, 1, number(code)))
    assert (type(lost), lost.sent) == (StreamLost, sent)
    assert client.in_flight == 0


def test_goaway_does_not_vouch_for_what_the_peer_began_to_answer(name):
    client = asked(name, 3)
    client.receive(answer(3, status="103"))
    closing, *lost = client.receive(frame(GOAWAY, 0, 0, number(1) + number(0) + b"debug"))
    assert isinstance(closing, Closing)
    assert client.closing == closing.reason
    assert [(e.stream_id, e.sent) for e in lost] == [(3, SentState.MAYBE), (5, SentState.NO)]
    assert client.in_flight == 1
    # Their late frames are read and mean nothing; the older request is still answered.
    assert client.receive(answer(5) + frame(DATA, END_STREAM, 5, b"late")) == []
    assert client.receive(frame(RST_STREAM, 0, 3, number(7))) == []
    assert [type(e) for e in client.receive(answer(1, ends=True))] == [Response]
    assert not [f for f in frames(client.take_output()) if f[0] == RST_STREAM]


def test_window_of_a_stream_that_overflows_loses_the_stream(name):
    client = asked(name, 2)
    (lost,) = client.receive(frame(WINDOW, 0, 1, number(LARGEST)))
    assert (lost.stream_id, lost.sent) == (1, SentState.MAYBE)
    assert "by us with FLOW_CONTROL_ERROR" in lost.reason
    assert frames(client.take_output()) == [(RST_STREAM, 0, 1, number(3))]
    assert len(client.receive(answer(3, ends=True))) == 1


# --- requests and windows -----------------------------------------------------------------------


def body_of(output):
    """The DATA frames of an output: (length, ends)."""
    return [(len(p), bool(f & END_STREAM)) for k, f, _, p in frames(output) if k == DATA]


def test_body_is_cut_into_frames_of_the_peers_size(name):
    client = ready(name, {INITIAL_WINDOW_SIZE: 100_000})
    client.request("POST", "/orders", {}, b"x" * 40_000)
    assert body_of(client.take_output()) == [(16_384, False), (16_384, False), (7232, True)]
    client = ready(name, {INITIAL_WINDOW_SIZE: 100_000, MAX_FRAME_SIZE: 30_000})
    client.request("POST", "/orders", {}, b"x" * 40_000)
    assert body_of(client.take_output()) == [(30_000, False), (10_000, True)]


def test_rest_of_a_body_waits_for_the_window(name):
    client = ready(name, {INITIAL_WINDOW_SIZE: 10})
    client.request("POST", "/orders", {}, b"x" * 25)
    assert body_of(client.take_output()) == [(10, False)]
    assert client.receive(frame(WINDOW, 0, 1, number(5))) == []
    assert body_of(client.take_output()) == [(5, False)]
    client.receive(settings({INITIAL_WINDOW_SIZE: 0}))
    # The window is 10 below zero now.
    client.receive(frame(WINDOW, 0, 1, number(10)))
    assert body_of(client.take_output()) == []
    client.receive(settings({INITIAL_WINDOW_SIZE: 100}))
    assert body_of(client.take_output()) == [(10, True)]


def test_window_of_the_connection_is_shared_in_order(name):
    client = ready(name, {INITIAL_WINDOW_SIZE: 100_000})
    for _ in range(2):
        client.request("POST", "/orders", {}, b"x" * 40_000)
    first = [f for f in frames(client.take_output()) if f[0] == DATA]
    assert sum(len(f[3]) for f in first) == 65_535
    client.receive(frame(WINDOW, 0, 0, number(100_000)))
    rest = [f for f in frames(client.take_output()) if f[0] == DATA]
    assert {f[2] for f in rest} == {3}
    assert sum(len(f[3]) for f in rest) == 80_000 - 65_535


def test_cancelled_body_is_not_continued(name):
    client = ready(name, {INITIAL_WINDOW_SIZE: 10})
    client.request("POST", "/orders", {}, b"x" * 25)
    client.cancel(1)
    client.take_output()
    client.receive(settings({INITIAL_WINDOW_SIZE: 100}))
    assert body_of(client.take_output()) == []


def test_answer_before_the_body_is_complete_resets_the_rest(name):
    client = ready(name, {INITIAL_WINDOW_SIZE: 10})
    client.request("POST", "/orders", {}, b"x" * 25)
    client.take_output()
    (response,) = client.receive(answer(1, ends=True, status="413"))
    assert response.status == 413
    assert (RST_STREAM, 0, 1, number(8)) in frames(client.take_output())
    assert client.receive(answer(1)) == []


def test_limit_of_streams_is_the_peers(name):
    client = ready(name, {MAX_CONCURRENT_STREAMS: 1})
    client.request("GET", "/ok", {}, b"")
    with pytest.raises(RequestRefused, match="concurrent"):
        client.request("GET", "/ok", {}, b"")
    client.receive(settings({MAX_CONCURRENT_STREAMS: 2}))
    assert client.request("GET", "/ok", {}, b"") == 3
    client.receive(answer(1, ends=True))
    assert client.request("GET", "/ok", {}, b"") == 5
    assert not client.closing


def test_used_up_stream_ids_refuse_and_close(name):
    client = ready(name, last_stream_id=3)
    client.request("GET", "/ok", {}, b"")
    client.request("GET", "/ok", {}, b"")
    with pytest.raises(RequestRefused, match="used up"):
        client.request("GET", "/ok", {}, b"")
    assert client.closing
    assert client.in_flight == 2


def test_window_is_given_back_in_batches(name):
    client = asked(name)
    client.receive(answer(1))
    for _ in range(31):
        client.receive(frame(DATA, 0, 1, b"x" * 16_384))
    assert client.take_output() == b""
    client.receive(frame(DATA, 0, 1, b"x" * 16_384))
    assert frames(client.take_output()) == [(WINDOW, 0, 1, number(512 * 1024))]


def test_padding_counts_for_the_window(name):
    client = asked(name)
    client.receive(answer(1))
    for _ in range(2046):
        client.receive(frame(DATA, PADDED, 1, b"\xff" + b"\0" * 255))
    assert client.take_output() == b""
    client.receive(frame(DATA, PADDED, 1, b"\xff" + b"\0" * 255) * 2)
    assert frames(client.take_output()) == [(WINDOW, 0, 1, number(512 * 1024))]


def test_answer_beyond_the_limit_loses_the_connection(name):
    client = asked(name, max_response_bytes=10)
    assert client.receive(answer(1) + frame(DATA, 0, 1, b"x" * 10)) == []
    assert is_lost(client, frame(DATA, 0, 1, b"x"))


# --- PING, floods -------------------------------------------------------------------------------


def test_ping_is_answered_and_its_answer_told(name):
    client = ready(name)
    client.receive(frame(PING, 0, 0, b"theirs!!"))
    assert frames(client.take_output()) == [(PING, ACK, 0, b"theirs!!")]
    client.ping(b"ours!!!!")
    assert frames(client.take_output()) == [(PING, 0, 0, b"ours!!!!")]
    assert client.receive(frame(PING, ACK, 0, b"ours!!!!")) == [Pong(b"ours!!!!")]
    assert client.take_output() == b""


def test_ping_has_eight_bytes(name):
    client = ready(name)
    with pytest.raises(ValueError, match="8"):
        client.ping(b"short")
    client.close()
    client.take_output()
    client.ping(b"ours!!!!")
    assert client.take_output() == b""


def test_first_output_is_preface_settings_and_window(name):
    from polyexec.clob.http2 import new_framing

    client = new_framing(name, "host")
    client.start()
    output = client.take_output()
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert output.startswith(preface)
    first, window = frames(output[len(preface) :])
    pairs = [first[3][at : at + 6] for at in range(0, len(first[3]), 6)]
    ours = {int.from_bytes(p[:2], "big"): int.from_bytes(p[2:], "big") for p in pairs}
    expected = {1: 0, 2: 0, 3: 100, 4: 1024 * 1024, 6: 65_536}
    assert expected.items() <= ours.items()
    assert window == (WINDOW, 0, 0, number(8 * 1024 * 1024))
