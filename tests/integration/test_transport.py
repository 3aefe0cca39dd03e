"""The order connection over real TLS: every fault gets the right verdict, exactly once."""

import asyncio
import os
import socket

import pytest

from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import Answer, Outcome
from polyexec.errors import (
    NotSentError,
    OutcomeUnknownError,
)

from . import h2_server as faults
from . import transport_tools
from .h2_server import Peer, Request, until
from .transport_tools import BODY, connected, error_of, post


@pytest.fixture(params=["fast", "h2"], autouse=True)
def framing(request, monkeypatch):
    """Every fault meets both framings."""
    monkeypatch.setattr(transport_tools, "FRAMING", request.param)


def test_post_arrives_whole_and_its_answer_comes_back(run):
    async def body():
        async with connected() as (server, transport):
            server.script.append(faults.answer(b'[{"success":true}]', x_limit="7"))
            outcome = await post(transport)
            assert isinstance(outcome, Answer)
            assert (outcome.status, outcome.body) == (200, b'[{"success":true}]')
            assert outcome.headers == {"x-limit": "7"}
            assert outcome.received_ns > 0
            (request,) = server.posts
            assert request.path == "/orders"
            assert request.body == BODY
            assert request.headers["poly_api_key"] == "key"
            assert request.headers["content-type"] == "application/json"
            assert request.headers["content-length"] == str(len(BODY))
            assert request.headers[":authority"] == f"127.0.0.1:{server.port}"

    run(body())


def test_headers_and_body_leave_in_one_record(run):
    async def body():
        async with connected() as (server, transport):
            before = server.reads
            await post(transport)
            # One TLS record is one data_received; the acknowledgement of SETTINGS came before.
            assert server.reads == before + 1

    run(body())


def test_error_status_is_an_answer(run):
    async def body():
        async with connected() as (server, transport):
            server.script.append(faults.answer(b"<html><title>Bad gateway</title>", 502))
            server.script.append(faults.answer(b'{"error":"x"}', 400, retry_after="3"))
            first, second = await post(transport), await post(transport)
            assert isinstance(first, Answer)
            assert isinstance(second, Answer)
            assert (first.status, second.status) == (502, 400)
            assert second.headers["retry-after"] == "3"

    run(body())


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (faults.hang_up, "closed the connection"),
        (faults.abort, "closed the connection"),
        (faults.half_answer, "closed the connection"),
        (faults.reset(8), "reset by the peer with CANCEL"),
        (faults.reset(2), "reset by the peer with INTERNAL_ERROR"),
    ],
    ids=["hang-up", "abort", "half-answer", "reset-cancel", "reset-internal"],
)
def test_fault_after_the_body_is_of_unknown_outcome(run, behaviour, words):
    async def body():
        async with connected() as (server, transport):
            server.script.append(behaviour)
            error = error_of(await post(transport))
            assert type(error) is OutcomeUnknownError
            assert words in str(error)
            await until(lambda: transport.connected)
            assert isinstance(await post(transport), Answer)

    run(body())


def test_timeout_after_body_is_of_unknown_outcome(run):
    async def body():
        async with connected(timeout_s=0.05) as (server, transport):
            server.script.append(faults.silent)
            error = error_of(await post(transport))
            assert type(error) is OutcomeUnknownError
            assert "no answer within 0.05 s" in str(error)

    run(body())


def test_silent_connection_is_replaced_after_a_timeout(run):
    async def body():
        async with connected(timeout_s=0.05) as (server, transport):
            server.script.append(faults.silent)
            await post(transport)
            await until(lambda: len(server.peers) == 2 and transport.connected)
            assert isinstance(await post(transport), Answer)

    run(body())


def test_late_answer_is_not_a_second_outcome(run):
    async def body():
        held: list[tuple[Peer, int]] = []
        async with connected(timeout_s=0.05) as (server, transport):
            server.script.append(lambda peer, stream, request: held.append((peer, stream)))
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, BODY, outcomes.append)
            # Another answer meanwhile: the connection lives, only this request is late.
            await until(lambda: held)
            assert isinstance(await post(transport), Answer)
            await until(lambda: outcomes)
            await until(lambda: server.resets)
            assert transport.connected == 1
            held[0][0].raw(b"\x00\x00\x05\x00\x01" + held[0][1].to_bytes(4, "big") + b"hello")
            assert isinstance(await post(transport), Answer)
            assert len(outcomes) == 1

    run(body())


def test_refused_stream_was_not_sent(run):
    async def body():
        async with connected() as (server, transport):
            server.script.append(faults.reset(7))
            error = error_of(await post(transport))
            assert type(error) is NotSentError
            assert transport.connected == 1

    run(body())


def test_refused_stream_after_headers_is_unknown(run):
    def behave(peer: Peer, stream: int, request: Request) -> None:
        peer.h2.send_headers(stream, [(":status", "200")])
        peer.h2.reset_stream(stream, 7)
        peer.flush()

    async def body():
        async with connected() as (server, transport):
            server.script.append(behave)
            assert type(error_of(await post(transport))) is OutcomeUnknownError

    run(body())


def test_goaway_tells_sent_from_not_sent(run):
    async def body():
        held: list[tuple[Peer, int]] = []
        async with connected() as (server, transport):
            server.default = lambda peer, stream, request: held.append((peer, stream))
            outcomes: dict[int, Outcome] = {}
            for index in range(3):
                transport.send(
                    "POST", "/orders", {}, BODY, lambda o, i=index: outcomes.setdefault(i, o)
                )
            await until(lambda: len(held) == 3)
            peer, middle = held[1]
            peer.goaway(middle)
            await until(lambda: 2 in outcomes)
            assert type(error_of(outcomes[2])) is NotSentError
            assert f"nothing after stream {middle}" in str(error_of(outcomes[2]))
            # Those that the peer still owes are answered on the old connection.
            peer.reply(held[0][1], b"first")
            peer.reply(held[1][1], b"second")
            await until(lambda: len(outcomes) == 3)
            assert outcomes[0].body == b"first"
            assert outcomes[1].body == b"second"
            await until(lambda: server.lost == 1)
            await until(lambda: transport.connected)
            assert len(server.peers) == 2

    run(body())


def test_graceful_goaway_moves_new_requests_to_a_new_connection(run):
    async def body():
        async with connected() as (server, transport):
            server.peers[0].goaway(2**31 - 1)
            await until(lambda: len(server.peers) == 2 and transport.connected)
            assert isinstance(await post(transport), Answer)
            await until(lambda: server.lost == 1)

    run(body())


def test_goaway_unread_in_the_kernel_stops_the_send(run):
    async def body():
        async with connected() as (server, transport):
            server.peers[0].goaway(2**31 - 1)
            # The loop does not run between the two: only the kernel knows of the GOAWAY.
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, BODY, outcomes.append)
            assert type(error_of(outcomes[0])) is NotSentError
            assert "GOAWAY" in str(error_of(outcomes[0]))
            await until(lambda: transport.connected)
            assert not server.posts

    run(body())


def test_close_unread_in_the_kernel_stops_the_send(run):
    async def body():
        async with connected() as (server, transport):
            # Behind the loop's back, so that only the kernel knows.
            descriptor = server.peers[0].transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(descriptor)) as peer:
                peer.shutdown(socket.SHUT_RDWR)
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, BODY, outcomes.append)
            assert type(error_of(outcomes[0])) is NotSentError
            assert "closed the connection" in str(error_of(outcomes[0]))

    run(body())


def break_for_writing(transport: OrderTransport) -> None:
    """Make the kernel refuse our next byte, as it does after the peer's RST."""
    with socket.socket(fileno=os.dup(transport._usable[0]._fd)) as ours:
        ours.shutdown(socket.SHUT_WR)


def test_write_that_the_kernel_refuses_was_not_sent(run):
    async def body():
        async with connected() as (server, transport):
            waiting: list[Outcome] = []
            server.script.append(faults.silent)
            transport.send("POST", "/orders", {}, BODY, waiting.append)
            await until(lambda: server.posts)
            break_for_writing(transport)
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, BODY, outcomes.append)
            assert type(error_of(outcomes[0])) is NotSentError
            assert "broke while writing" in str(error_of(outcomes[0]))
            # The one before was written: of that nobody knows.
            assert type(error_of(waiting[0])) is OutcomeUnknownError
            await until(lambda: transport.connected)
            assert len(server.posts) == 1

    run(body())


def test_long_write_that_the_kernel_refuses_is_of_unknown_outcome(run):
    async def body():
        async with connected() as (_server, transport):
            break_for_writing(transport)
            # Several TLS records: the first may have left.
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, b"x" * 40_000, outcomes.append)
            assert type(error_of(outcomes[0])) is OutcomeUnknownError

    run(body())


def test_refused_write_goes_to_the_other_connection(run):
    async def body():
        async with connected(size=2) as (server, transport):
            break_for_writing(transport)
            assert isinstance(await post(transport), Answer)
            assert len(server.posts) == 1

    run(body())


def test_peer_that_pings_and_never_reads_is_dropped(run, monkeypatch):
    monkeypatch.setattr("polyexec.clob.connection._MAX_BLOCKED", 10_000)

    async def body():
        async with connected(window=2**31 - 1) as (server, transport):
            peer = server.peers[0]
            await block(transport, peer)
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, bytes(_LONG), outcomes.append)
            ping = b"\0\0\x08\x06\0\0\0\0\0" + b"p" * 8
            peer.raw(ping * 1000)
            await until(lambda: outcomes)
            assert "does not read" in str(error_of(outcomes[0]))

    run(body())


def test_nothing_is_sent_without_a_connection(run):
    async def body():
        async with connected() as (server, transport):
            server.stop()
            await until(lambda: not transport.connected)
            error = error_of(await post(transport))
            assert type(error) is NotSentError
            assert "not sent" in str(error)

    run(body())


def test_too_long_answer_is_unknown_and_costs_the_connection(run):
    async def body():
        async with connected(max_response_bytes=10_000) as (server, transport):
            server.script.append(faults.answer(b"x" * 10_001))
            server.script.append(faults.answer(b"x" * 10_000))
            error = error_of(await post(transport))
            assert type(error) is OutcomeUnknownError
            assert "longer than 10000 bytes" in str(error)
            await until(lambda: transport.connected)
            outcome = await post(transport)
            assert isinstance(outcome, Answer)
            assert len(outcome.body) == 10_000

    run(body())


def test_long_answer_crosses_the_flow_control_windows(run):
    async def behave(peer: Peer, stream: int, request: Request) -> None:
        peer.h2.send_headers(stream, [(":status", "200")])
        left = 3_000_000
        while left:
            room = min(peer.h2.local_flow_control_window(stream), 16_384, left)
            if room:
                peer.h2.send_data(stream, b"y" * room)
                left -= room
            peer.flush()
            await asyncio.sleep(0)
        peer.h2.end_stream(stream)
        peer.flush()

    async def body():
        async with connected() as (server, transport):
            server.script.append(behave)
            outcome = await post(transport)
            assert isinstance(outcome, Answer)
            assert outcome.body == b"y" * 3_000_000

    run(body())


def test_body_larger_than_the_window_is_finished_when_it_opens(run):
    async def body():
        async with connected(window=1000) as (server, transport):
            big = os.urandom(50_000)
            outcome = await post(transport, big)
            assert isinstance(outcome, Answer)
            assert server.posts[0].body == big

    run(body())


def test_answer_before_the_body_is_complete_is_taken(run):
    async def body():
        async with connected(window=1000, acknowledge=False) as (server, transport):
            server.on_headers = lambda peer, stream: peer.reply(stream, b"too large", 413)
            outcome = await post(transport, b"z" * 5000)
            assert isinstance(outcome, Answer)
            assert outcome.status == 413
            assert transport.connected == 1

    run(body())


_LONG = 512 * 1024


async def block(transport: OrderTransport, peer: Peer) -> None:
    """Make the peer stop reading, with little room in the kernel on both sides."""
    peer.h2.increment_flow_control_window(16 * 1024 * 1024)
    peer.flush()
    await transport.request("GET", "/ok", {})
    peer.transport.pause_reading()
    theirs = peer.transport.get_extra_info("socket").fileno()
    for descriptor, option in (
        (transport._usable[0]._fd, socket.SO_SNDBUF),
        (theirs, socket.SO_RCVBUF),
    ):
        with socket.socket(fileno=os.dup(descriptor)) as same:
            same.setsockopt(socket.SOL_SOCKET, option, 65_536)


def test_blocked_socket_is_finished_by_the_loop(run):
    async def body():
        async with connected(window=2**31 - 1, timeout_s=5) as (server, transport):
            peer = server.peers[0]
            await block(transport, peer)
            outcomes: list[Outcome] = []
            big = os.urandom(_LONG)
            transport.send("POST", "/orders", {}, big, outcomes.append)
            assert not outcomes
            # Behind a half-written request nothing else is queued: that one was certainly not sent.
            refused: list[Outcome] = []
            transport.send("POST", "/orders", {}, BODY, refused.append)
            assert type(error_of(refused[0])) is NotSentError
            assert "does not take bytes" in str(error_of(refused[0]))
            peer.transport.resume_reading()
            await until(lambda: outcomes, 20)
            assert isinstance(outcomes[0], Answer)
            assert server.posts[0].body == big
            assert isinstance(await post(transport), Answer)

    run(body())


def test_blocked_request_that_is_cut_is_of_unknown_outcome(run):
    async def body():
        async with connected(window=2**31 - 1) as (server, transport):
            peer = server.peers[0]
            await block(transport, peer)
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, os.urandom(_LONG), outcomes.append)
            peer.transport.abort()
            await until(lambda: outcomes)
            assert type(error_of(outcomes[0])) is OutcomeUnknownError
            assert not server.posts

    run(body())


def test_limit_of_concurrent_requests_is_not_sent(run):
    async def body():
        async with connected(max_concurrent=2) as (server, transport):
            server.default = faults.silent
            outcomes: list[Outcome] = []
            for _ in range(3):
                transport.send("POST", "/orders", {}, BODY, outcomes.append)
            (outcome,) = outcomes
            assert type(error_of(outcome)) is NotSentError
            assert "limit of concurrent requests" in str(error_of(outcome))

    run(body())


def test_garbage_from_the_peer_is_unknown(run):
    async def body():
        async with connected() as (server, transport):
            server.script.append(lambda peer, stream, request: peer.raw(b"HTTP/1.1 200 OK\r\n\r\n"))
            error = error_of(await post(transport))
            assert type(error) is OutcomeUnknownError
            await until(lambda: transport.connected)

    run(body())


def test_answer_before_a_broken_frame_is_kept(run):
    def behave(peer: Peer, stream: int, request: Request) -> None:
        peer.h2.send_headers(stream, [(":status", "200")])
        peer.h2.send_data(stream, b"good", end_stream=True)
        good = peer.h2.data_to_send()
        peer.transport.write(good + b"\x00\x00\x01\x06\x00\x00\x00\x00\x00\x00")  # a PING of 1 byte

    async def body():
        async with connected() as (server, transport):
            server.script.append(behave)
            outcome = await post(transport)
            assert isinstance(outcome, Answer)
            assert outcome.body == b"good"

    run(body())
