"""The life of the order transport over real TLS: opened, warmed, replaced, shared, closed."""

import asyncio
import gc
import logging
import os
import socket
import ssl
import threading
from functools import partial
from typing import Any

import pytest

from polyexec.clob.http2 import new_framing
from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import Answer, Outcome
from polyexec.errors import (
    ConfigError,
    NotSentError,
    OutcomeUnknownError,
    UsageError,
)

from . import h2_server as faults
from .h2_server import H2Server, client_context, until
from .transport_tools import BODY, connected, error_of, post


class _ClosingLoop:
    """A loop that closes between our look and the hand-over."""

    def is_closed(self) -> bool:
        return False

    def call_soon(self, *args: object) -> None:
        raise RuntimeError("Event loop is closed")


@pytest.mark.parametrize("closes_late", [False, True])
def test_closed_loop_is_an_outcome(run, closes_late):
    closed = asyncio.new_event_loop()
    closed.close()

    async def body():
        async with connected() as (_server, transport):
            connection = transport._usable[0]
            connection._timer_on = False
            loop, connection._loop = connection._loop, _ClosingLoop() if closes_late else closed
            outcomes: list[Outcome] = []
            transport.send("POST", "/orders", {}, BODY, outcomes.append)
            connection._loop = loop
            kind = OutcomeUnknownError if closes_late else NotSentError
            assert type(error_of(outcomes[0])) is kind
            assert "loop" in str(error_of(outcomes[0]))
            connection.close("end of the test")
            connection.retired.set()

    run(body())


def test_unexpected_fault_while_connecting_is_raised_by_open(run, monkeypatch):
    async def broken(*args: Any, **options: Any) -> None:
        raise RuntimeError("not foreseen")

    monkeypatch.setattr("polyexec.clob.dialing.Dialer.dial", broken)

    async def body():
        transport = OrderTransport("https://127.0.0.1:1")
        with pytest.raises(RuntimeError, match="not foreseen"):
            await transport.open()

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
            assert transport.losses == 1

    run(body())


def test_attempts_that_fail_are_losses_and_a_retired_connection_is_none(run):
    async def body():
        async with connected() as (server, transport):
            server.peers[0].goaway(2**31 - 1)
            await until(lambda: len(server.peers) == 2 and transport.connected)
            assert transport.losses == 0
            server.stop()
            server.peers[1].transport.abort()
            await until(lambda: transport.losses >= 3)

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


def test_used_up_stream_ids_bring_a_new_connection(run, monkeypatch):
    monkeypatch.setattr("polyexec.clob.dialing.new_framing", partial(new_framing, last_stream_id=3))

    async def body():
        async with connected() as (server, transport):
            assert isinstance(await post(transport), Answer)
            error = error_of(await post(transport))
            assert type(error) is NotSentError
            await until(lambda: len(server.peers) == 2 and transport.connected)
            assert isinstance(await post(transport), Answer)

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
