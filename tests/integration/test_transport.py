"""The order connection over real TLS: every fault gets the right verdict, exactly once."""

import asyncio
import gc
import logging
import os
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import Answer, NoAnswer, Outcome
from polyexec.errors import (
    ConfigError,
    NotSentError,
    OutcomeUnknownError,
    TransportError,
    UsageError,
)

from . import h2_server as faults
from .h2_server import H2Server, Peer, Request, client_context, until

BODY = b"[" + b"x" * 2288 + b"]"


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[H2Server, OrderTransport]]:
    server_options = {
        k: options.pop(k) for k in ("max_concurrent", "window", "acknowledge") if k in options
    }
    server = H2Server()
    for name, value in server_options.items():
        setattr(server, name, value)
    async with server:
        transport = OrderTransport(server.url, ssl_context=client_context(), **options)
        await transport.open()
        try:
            yield server, transport
        finally:
            await transport.close()


async def post(transport: OrderTransport, body: bytes = BODY) -> Outcome:
    return await transport.request("POST", "/orders", {"POLY_API_KEY": "key"}, body)


def error_of(outcome: Outcome) -> TransportError:
    assert isinstance(outcome, NoAnswer), outcome
    return outcome.error


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


def test_nothing_is_sent_without_a_connection(run):
    async def body():
        async with connected() as (server, transport):
            server.stop()
            await until(lambda: not transport.connected)
            error = error_of(await post(transport))
            assert type(error) is NotSentError
            assert "not sent" in str(error)

    run(body())


def test_before_open_and_after_close_is_an_outcome_not_an_exception(run):
    async def body():
        async with H2Server() as server:
            transport = OrderTransport(server.url, ssl_context=client_context())
            assert type(error_of(await post(transport))) is NotSentError
            await transport.open()
            with pytest.raises(UsageError):
                await transport.open()
            await transport.close()
            error = error_of(await post(transport))
            assert type(error) is NotSentError
            assert "closed" in str(error)
            await transport.close()

    run(body())


def test_close_leaves_a_request_in_flight_unknown(run):
    async def body():
        outcomes: list[Outcome] = []
        async with connected() as (server, transport):
            server.script.append(faults.silent)
            transport.send("POST", "/orders", {}, BODY, outcomes.append)
            await until(lambda: server.posts)
            await transport.close()
            assert type(error_of(outcomes[0])) is OutcomeUnknownError
            await until(lambda: server.goaways == 1)

    run(body())


def test_reconnects_by_itself(run):
    async def body():
        async with connected() as (server, transport):
            server.peers[0].transport.close()
            await until(lambda: len(server.peers) == 2 and transport.connected)
            assert isinstance(await post(transport), Answer)

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


def test_blocked_socket_is_finished_by_the_loop(run):
    async def body():
        async with connected(window=2**31 - 1, timeout_s=5) as (server, transport):
            peer = server.peers[0]
            peer.h2.increment_flow_control_window(64 * 1024 * 1024)
            peer.flush()
            await transport.request("GET", "/ok", {})
            peer.transport.pause_reading()
            outcomes: list[Outcome] = []
            big = os.urandom(16 * 1024 * 1024)
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
            peer.h2.increment_flow_control_window(64 * 1024 * 1024)
            peer.flush()
            await transport.request("GET", "/ok", {})
            peer.transport.pause_reading()
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, os.urandom(16 * 1024 * 1024), outcomes.append)
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


def test_slow_settings_hold_the_connection_back(run):
    async def body():
        async with H2Server() as server:
            server.settings_gate = asyncio.Event()
            transport = OrderTransport(server.url, ssl_context=client_context())
            opening = asyncio.ensure_future(transport.open())
            await until(lambda: server.peers and server.reads)
            assert type(error_of(await post(transport))) is NotSentError
            server.release_settings()
            await opening
            assert isinstance(await post(transport), Answer)
            await transport.close()

    run(body())


def test_settings_that_never_come_fail_the_open(run):
    async def body():
        async with H2Server() as server:
            server.settings_gate = asyncio.Event()
            transport = OrderTransport(
                server.url, ssl_context=client_context(), connect_timeout_s=0.1
            )
            with pytest.raises(NotSentError, match=r"was not ready within 0.1 s"):
                await transport.open()

    run(body())


def test_hundred_concurrent_requests_each_get_their_own_answer(run):
    async def body():
        async with connected() as (server, transport):
            server.default = lambda peer, stream, request: peer.reply(stream, request.body)
            bodies = [f"[{i}]".encode() + BODY for i in range(100)]
            outcomes = await asyncio.gather(*(post(transport, b) for b in bodies))
            assert [o.body for o in outcomes if isinstance(o, Answer)] == bodies
            assert len(server.peers) == 1

    run(body())


def test_threads_send_and_every_answer_comes_exactly_once(run):
    async def body():
        counts: dict[str, list[Outcome]] = {}
        async with connected() as (server, transport):
            server.default = lambda peer, stream, request: peer.reply(stream, request.body)

            def work(worker: int) -> None:
                for index in range(25):
                    name = f"{worker}-{index}"
                    done = threading.Event()
                    seen = counts.setdefault(name, [])

                    def on_outcome(
                        outcome: Outcome,
                        seen: list[Outcome] = seen,
                        done: threading.Event = done,
                    ) -> None:
                        seen.append(outcome)
                        done.set()

                    transport.send("POST", "/orders", {}, name.encode() + BODY, on_outcome)
                    assert done.wait(10)

            await asyncio.gather(*(asyncio.to_thread(work, w) for w in range(4)))
            assert len(counts) == 100
            for name, seen in counts.items():
                assert [o.body for o in seen] == [name.encode() + BODY]

    run(body())


def test_timeout_of_a_request_from_another_thread(run):
    async def body():
        async with connected(timeout_s=0.05) as (server, transport):
            server.script.append(faults.silent)
            outcomes: list[Outcome] = []
            await asyncio.to_thread(transport.send, "POST", "/orders", {}, BODY, outcomes.append)
            await until(lambda: outcomes)
            assert "no answer within" in str(error_of(outcomes[0]))

    run(body())


def test_the_bytes_are_with_the_kernel_when_send_returns(run):
    async def body():
        async with connected() as (server, transport):
            connection = transport._usable[0]
            taken: list[int] = []
            real = connection._tls.send

            def watched(data: bytes) -> int:
                taken.append(len(data))
                return real(data)

            connection._tls.send = watched  # type: ignore[method-assign]
            await asyncio.to_thread(
                transport.send, "POST", "/orders", {}, BODY, lambda outcome: None
            )
            assert len(taken) == 1
            assert taken[0] > len(BODY)
            await until(lambda: server.posts)

    run(body())


def test_raising_callback_costs_nobody_else_an_answer(run, caplog):
    async def body():
        async with connected() as (server, transport):
            server.default = faults.silent

            def broken(outcome: Outcome) -> None:
                raise ValueError("callback")

            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, BODY, broken)
            transport.send("POST", "/orders", {}, BODY, outcomes.append)
            await until(lambda: len(server.posts) == 2)
            server.peers[0].transport.close()
            await until(lambda: outcomes)
            await until(lambda: transport.connected)

    run(body())
    assert "outcome_callback_failed" in caplog.messages


def test_callback_may_send_again(run):
    async def body():
        async with connected() as (_server, transport):
            outcomes: list[Outcome] = []

            def again(outcome: Outcome) -> None:
                outcomes.append(outcome)
                if len(outcomes) < 3:
                    transport.send("POST", "/orders", {}, BODY, again)

            transport.send("POST", "/orders", {}, BODY, again)
            await until(lambda: len(outcomes) == 3)

    run(body())


def test_warmer_uses_the_order_connection(run):
    async def body():
        async with connected(warm_interval_s=0.01) as (server, _transport):
            await until(lambda: len([r for r in server.requests if r.path == "/ok"]) >= 4)
            assert len(server.peers) == 1

    run(body())


def test_warmer_without_an_answer_replaces_the_connection(run):
    async def body():
        async with connected(warm_interval_s=0.01, timeout_s=0.05) as (server, transport):
            server.warm = faults.silent
            await until(lambda: not transport.connected)
            server.warm = faults.answer(b'"OK"')
            await until(lambda: transport.connected)
            assert isinstance(await post(transport), Answer)

    run(body())


def test_two_connections_share_the_load(run):
    async def body():
        async with connected(size=2) as (server, transport):
            server.default = faults.silent
            for _ in range(2):
                transport.send("POST", "/orders", {}, BODY, lambda outcome: None)
            await until(lambda: len(server.posts) == 2)
            assert [len(p.h2.streams) for p in server.peers] == [1, 1]

    run(body())


def test_second_connection_carries_on_while_the_first_is_replaced(run):
    async def body():
        async with connected(size=2) as (server, transport):
            server.peers[0].goaway(2**31 - 1)
            assert isinstance(await post(transport), Answer)
            await until(lambda: len(server.peers) == 3 and transport.connected == 2)

    run(body())


def test_used_up_stream_ids_bring_a_new_connection(run):
    async def body():
        async with connected() as (server, transport):
            transport._usable[0]._framing._last_stream_id = 3
            assert isinstance(await post(transport), Answer)
            error = error_of(await post(transport))
            assert type(error) is NotSentError
            await until(lambda: len(server.peers) == 2 and transport.connected)
            assert isinstance(await post(transport), Answer)

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


def test_untrusted_certificate_refuses_to_open(run):
    async def body():
        async with H2Server() as server:
            transport = OrderTransport(server.url)
            with pytest.raises(NotSentError, match="certificate not trusted"):
                await transport.open()

    run(body())


def test_environment_cannot_switch_verification_off(run, monkeypatch):
    for name in ("PYTHONHTTPSVERIFY", "SSL_NO_VERIFY", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "0" if name.startswith("PY") else "")
    test_untrusted_certificate_refuses_to_open(run)


def test_certificate_of_another_host_refuses_to_open(run):
    async def body():
        async with H2Server() as server:
            transport = OrderTransport(
                f"https://127.0.0.2:{server.port}", ssl_context=client_context()
            )
            with pytest.raises(NotSentError):
                await transport.open()

    run(body())


def test_trust_comes_from_ssl_cert_file(run, monkeypatch, tmp_path):
    bundle = tmp_path / "ca.pem"
    faults.write_ca(bundle)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    keys = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))

    async def body():
        async with H2Server() as server:
            transport = OrderTransport(server.url)
            await transport.open()
            assert isinstance(await post(transport), Answer)
            await transport.close()

    run(body())
    assert not keys.exists() or "SECRET" not in keys.read_text()


def test_peer_without_http2_refuses_to_open(run):
    async def body():
        server = H2Server()
        server.alpn = ["http/1.1"]
        async with server:
            transport = OrderTransport(server.url, ssl_context=client_context())
            with pytest.raises((NotSentError, ssl.SSLError), match=r"HTTP/2|TLS"):
                await transport.open()

    run(body())


def test_refused_connection_fails_the_open(run):
    async def body():
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            transport = OrderTransport(f"https://127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(NotSentError, match="cannot connect"):
                await transport.open()

    run(body())


def test_unencodable_host_fails_the_open(run):
    async def body():
        transport = OrderTransport(f"https://{'a' * 70}.invalid")
        with pytest.raises(NotSentError, match="cannot connect"):
            await transport.open()

    run(body())


def test_peer_that_hangs_up_after_the_handshake_fails_the_open(run):
    async def body():
        server = H2Server()
        server.refuse_after_tls = True
        async with server:
            transport = OrderTransport(server.url, ssl_context=client_context())
            with pytest.raises(NotSentError):
                await transport.open()

    run(body())


def test_no_descriptor_is_left_behind(run):
    async def body():
        async with H2Server() as server:
            await until(lambda: True)
            before = len(os.listdir("/proc/self/fd"))
            for behaviour in (faults.hang_up, faults.half_answer, faults.answer(b"[]")):
                transport = OrderTransport(server.url, ssl_context=client_context())
                await transport.open()
                server.script.append(behaviour)
                await post(transport)
                await until(lambda t=transport: t.connected)
                await transport.close()
            await until(lambda: server.lost == len(server.peers))
            gc.collect()
            assert len(os.listdir("/proc/self/fd")) == before

    run(body())


def test_secrets_stay_out_of_logs_and_reprs(run, caplog):
    secrets = {"POLY_PASSPHRASE": "pass-secret-1", "POLY_SIGNATURE": "sig-secret-2"}
    shown: list[str] = []

    async def body():
        async with connected(timeout_s=0.05) as (server, transport):
            for behaviour in (faults.hang_up, faults.answer(b"[]"), faults.silent):
                server.script.append(behaviour)
                outcome = await transport.request("POST", "/orders", secrets, BODY)
                shown.extend((repr(outcome), repr(transport), repr(vars(transport))))
                await until(lambda: transport.connected)

    # uvloop and asyncio are not asked to be quiet: everything at DEBUG, from every library.
    with caplog.at_level(logging.DEBUG):
        run(body())
    text = "\n".join([*shown, *(str(vars(r)) for r in caplog.records), caplog.text])
    assert "connected" in text
    assert "secret-" not in text


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1",
        "127.0.0.1",
        "https://",
        "https://user:word@host",
        "https://host/path",
        "https://host?x=1",
        "https://host:99999",
        "ftp://host",
    ],
)
def test_url_that_is_not_an_https_host_is_refused(url):
    with pytest.raises(ConfigError) as caught:
        OrderTransport(url)
    assert "word" not in str(caught.value) or "password" in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"size": 11}, {"timeout_s": 0}, {"warm_interval_s": -1.0}]
)
def test_option_out_of_range_is_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        OrderTransport("https://127.0.0.1", **options)
