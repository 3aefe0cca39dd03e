"""How order connections are made and replaced, over real TLS: resumed, asked for life, rotated."""

import asyncio
import socket
from typing import Any

import pytest

from polyexec.clob import connection as connection_module
from polyexec.clob import dialing
from polyexec.clob.connection import OrderConnection
from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import Answer
from polyexec.errors import ConfigError

from .h2_server import H2Server, client_context, until
from .transport_tools import connected, post


def test_every_connection_after_the_first_resumes_its_tls_session(run):
    async def body():
        async with connected(size=3) as (_server, transport):
            assert transport.connected == 3
            assert transport._dialer.resumed == 2
            transport._usable[0].retire("test")
            await until(lambda: transport.connected == 3 and transport._dialer.resumed == 3)

    run(body())


def test_the_tls_session_is_looked_at_once_while_it_is_resumed(run, monkeypatch):
    looks = []
    look = OrderConnection.tls_session.fget

    def counted(connection: OrderConnection) -> Any:
        looks.append(connection)
        return look(connection)

    monkeypatch.setattr(OrderConnection, "tls_session", property(counted))

    async def body():
        async with connected(size=2, warm_interval_s=0.01) as (server, transport):
            await until(lambda: len(server.requests) > 10)
            transport._usable[0].retire("test")
            await until(lambda: transport._dialer.resumed == 2)
            assert len(looks) == 1
            # A host that has forgotten it: the next answer brings another.
            monkeypatch.setattr(transport._dialer, "_session", None)
            transport._usable[0].retire("test")
            await until(lambda: len(looks) == 2)
            assert transport._dialer._session is not None

    run(body())


def test_a_peer_that_answers_no_ping_gets_no_more_requests(run):
    async def body():
        async with connected(size=1, ping_interval_s=0.01, timeout_s=0.1) as (server, transport):
            first = transport._usable[0]
            await asyncio.sleep(0.05)
            assert first.reason == ""  # it answers so far
            server.peers[0].transport.pause_reading()
            await until(lambda: "PING" in first.reason)
            await until(lambda: transport._usable not in ((), (first,)))
            assert isinstance(await post(transport), Answer)

    run(body())


def test_a_worn_connection_is_replaced_before_it_is_retired(run, monkeypatch):
    monkeypatch.setattr(connection_module, "_MOST_REQUESTS", 5)

    async def body():
        async with connected(size=1) as (server, transport):
            first = transport._usable[0]
            fewest = 1
            for _ in range(30):
                assert isinstance(await post(transport), Answer)
                fewest = min(fewest, transport.connected)
            assert fewest == 1  # there was one at every moment
            await until(lambda: first not in transport._usable)
            assert first.reason == "it has carried many requests"
            assert all(request.path in ("/ok", "/orders") for request in server.requests)
            assert sum(request.path == "/orders" for request in server.requests) == 30

    run(body())


def test_a_worn_connection_that_cannot_be_replaced_stays_in_use(run, monkeypatch):
    monkeypatch.setattr(connection_module, "_MOST_REQUESTS", 3)

    async def body():
        async with connected(size=1) as (_server, transport):
            dialer = transport._dialer

            async def refuse() -> Any:
                raise ConnectionRefusedError

            monkeypatch.setattr(dialer, "_connect", refuse)
            for _ in range(10):
                assert isinstance(await post(transport), Answer)
            assert transport.connected == 1

    run(body())


def test_a_host_is_not_looked_up_again_for_a_new_connection(run, monkeypatch):
    async def body():
        asked: list[str] = []
        async with connected(size=1) as (_server, transport):
            monkeypatch.setattr(transport._dialer, "_resolve", _counted(transport, asked))
            transport._usable[0].retire("test")
            await until(lambda: transport.connected == 1 and not transport._usable[0].reason)
            assert asked == []

    run(body())


def _counted(transport: OrderTransport, asked: list[str]) -> Any:
    resolve = transport._dialer._resolve

    async def counted() -> None:
        asked.append(transport.origin.host)
        await resolve()

    return counted


def test_a_host_that_has_moved_is_looked_up_again(run, monkeypatch):
    async def body():
        async with H2Server() as server:
            transport = OrderTransport(server.url, ssl_context=client_context(), size=1)
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))  # refuses: nobody listens
                gone = (socket.AF_INET, socket.SOCK_STREAM, 0, "", taken.getsockname())
                transport._dialer._addresses = [gone]
                transport._dialer._resolved_at = asyncio.get_running_loop().time()
                await transport.open()
            assert isinstance(await post(transport), Answer)
            await transport.close()

    run(body())


def test_the_next_address_is_tried_when_one_refuses(run):
    async def body():
        async with H2Server() as server:
            transport = OrderTransport(server.url, ssl_context=client_context(), size=1)
            port = transport.origin.port
            with socket.socket() as taken:
                taken.bind(("127.0.0.1", 0))
                addresses = [taken.getsockname(), ("127.0.0.1", port)]
                transport._dialer._addresses = [
                    (socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses
                ]
                transport._dialer._resolved_at = asyncio.get_running_loop().time()
                await transport.open()
            assert transport.connected == 1
            await transport.close()

    run(body())


def test_addresses_are_refreshed_and_kept_when_the_name_server_fails(run, monkeypatch):
    monkeypatch.setattr(dialing, "_ADDRESS_AGE_S", 0.01)

    async def body():
        async with connected(size=1) as (_server, transport):
            dialer, calls = transport._dialer, []
            before = dialer._addresses

            async def fail() -> None:
                calls.append(1)
                raise socket.gaierror("no name server")

            monkeypatch.setattr(dialer, "_resolve", fail)
            await until(lambda: len(calls) >= 2)
            assert dialer._addresses is before
            assert isinstance(await post(transport), Answer)

    run(body())


@pytest.mark.parametrize("value", [0, -1, float("nan"), 1e9])
def test_a_ping_interval_that_cannot_be_is_refused(value):
    with pytest.raises(ConfigError, match="ping_interval_s"):
        OrderTransport("https://127.0.0.1", ping_interval_s=value)
