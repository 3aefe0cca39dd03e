"""The paper exchange over real TLS and HTTP/2, on both event loops."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest

from polyexec import paper
from polyexec.errors import UsageError

from ..unit.paper.support import Clock, Trader

Run = Callable[[Any], Any]


def client(exchange: paper.PaperExchange, **rest: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        http2=True, verify=exchange.ssl_context, base_url=exchange.url, trust_env=False, **rest
    )


def test_order_travels_over_http2(run: Run) -> None:
    async def main() -> None:
        async with paper.PaperExchange(clock=Clock()) as exchange:
            market = exchange.add_market("wire", fee_rate="0.07")
            alice = Trader(exchange)
            exchange.deposit(alice.address, 100)
            exchange.seed_book(market.yes, asks=[("0.40", 100)])
            async with client(exchange) as http:
                response = await http.get("/time")
                assert response.http_version == "HTTP/2"
                request = http.build_request(
                    "POST", "/order", json=alice.limit(market.yes, "BUY", "0.40", "10", "FOK")
                )
                request.headers.update(alice.headers("POST", "/order", request.content))
                response = await http.send(request)
            assert response.status_code == 200
            assert response.json()["takingAmount"] == "10"
            assert response.headers["content-type"] == "application/json"
            assert exchange.request_count == 2
            assert exchange.is_conserved()

    run(main())


def test_answer_larger_than_the_window_arrives_whole(run: Run) -> None:
    async def main() -> None:
        async with paper.PaperExchange() as exchange:
            market = exchange.add_market("deep", tick_size="0.0001")
            levels = [(f"{n / 10_000:.4f}", "12345.678901") for n in range(1, 3000)]
            exchange.seed_book(market.yes, bids=levels)
            async with client(exchange) as http:
                books = await asyncio.gather(
                    *(http.post("/books", json=[{"token_id": market.yes}] * 2) for _ in range(4))
                )
            for response in books:
                assert len(response.content) > 200_000
                assert len(response.json()[1]["bids"]) == 2999

    run(main())


def test_body_that_is_too_large_is_refused_and_the_connection_lives(run: Run) -> None:
    async def main() -> None:
        async with paper.PaperExchange() as exchange, client(exchange) as http:
            response = await http.post("/order", content=b"x" * 3_000_000)
            assert (response.status_code, response.json()) == (413, {"error": "Payload too large"})
            assert (await http.get("/ok")).json() == "OK"

    run(main())


def test_clients_without_h2_are_served_over_http11(run: Run) -> None:
    async def main() -> None:
        async with paper.PaperExchange(clock=Clock()) as exchange:
            market = exchange.add_market("wire")
            alice = Trader(exchange)
            exchange.deposit(alice.address, 100)
            plain = exchange.ssl_context
            plain.set_alpn_protocols(["http/1.1"])
            limits = httpx.Limits(max_connections=1)
            async with httpx.AsyncClient(
                verify=plain, trust_env=False, base_url=exchange.url, limits=limits
            ) as http:
                # One connection, one request after the other.
                for price in ("0.40", "0.41"):
                    request = http.build_request(
                        "POST", "/order", json=alice.limit(market.yes, "BUY", price, "10")
                    )
                    request.headers.update(alice.headers("POST", "/order", request.content))
                    response = await http.send(request)
                    assert (response.status_code, response.http_version) == (200, "HTTP/1.1")
                    assert response.json()["status"] == "live"
                book = await http.get("/book", params={"token_id": market.yes})
                assert [level["price"] for level in book.json()["bids"]] == ["0.4", "0.41"]
                assert (await http.post("/order", content=b"x" * (1 << 21))).status_code == 413
                assert (await http.get("/nowhere")).status_code == 404
            assert exchange.request_count == 4

    run(main())


@pytest.mark.parametrize(
    ("sent", "answers"),
    [
        (b"GET /ok HTTP/1.1\r\nhost: a\r\n\r\n" * 3, [b"200"] * 3),  # pipelined
        (b"GET /ok HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", [b"200"]),
        (b"nonsense\r\n\r\n", [b"400"]),
        (b"GET /ok HTTP/1.1\r\nx: " + b"y" * (1 << 17), [b"431"]),
        (b"POST /order HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n{", []),
    ],
)
def test_http11_of_any_shape_gets_an_answer_or_none(
    run: Run, sent: bytes, answers: list[bytes]
) -> None:
    async def main() -> None:
        async with paper.PaperExchange() as exchange:
            plain = exchange.ssl_context
            plain.set_alpn_protocols(["http/1.1"])
            reader, writer = await asyncio.open_connection("127.0.0.1", exchange._port, ssl=plain)
            for start in range(0, len(sent), 4096):  # a head may come in pieces
                writer.write(sent[start : start + 4096])
            await writer.drain()
            for status in answers:
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.split()[1] == status
                length = next(
                    int(line.split(b":")[1])
                    for line in head.splitlines()
                    if line.lower().startswith(b"content-length")
                )
                await reader.readexactly(length)
            writer.close()

    run(main())


def test_http11_has_the_faults_of_the_hook(run: Run) -> None:
    async def main() -> None:
        async with paper.PaperExchange() as exchange:

            async def hook(request: paper.Request) -> paper.Response | paper.Fault | None:
                return paper.Fault.CLOSE if request.path == "/time" else None

            exchange.on_request = hook
            plain = exchange.ssl_context
            plain.set_alpn_protocols(["http/1.1"])
            async with httpx.AsyncClient(
                verify=plain, trust_env=False, base_url=exchange.url
            ) as http:
                assert (await http.get("/ok")).status_code == 200
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.get("/time")

    run(main())


def test_stranger_does_not_trust_the_certificate(run: Run) -> None:
    async def main() -> None:
        strict = ssl.create_default_context()
        async with (
            paper.PaperExchange() as exchange,
            httpx.AsyncClient(http2=True, verify=strict, trust_env=False) as http,
        ):
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await http.get(exchange.url + "/ok")

    run(main())


def test_two_exchanges_do_not_trust_each_other(run: Run) -> None:
    async def main() -> None:
        async with paper.PaperExchange() as one, paper.PaperExchange() as two:
            assert one.url != two.url
            async with httpx.AsyncClient(
                http2=True, verify=one.ssl_context, trust_env=False
            ) as http:
                assert (await http.get(one.url + "/ok")).status_code == 200
                with pytest.raises(httpx.ConnectError):
                    await http.get(two.url + "/ok")

    run(main())


def test_hook_can_answer_delay_drop_and_close(run: Run) -> None:
    async def main() -> None:
        async with paper.PaperExchange(clock=Clock()) as exchange:
            market = exchange.add_market("hook")
            alice = Trader(exchange)
            exchange.deposit(alice.address, 100)
            gate = asyncio.Event()

            async def hook(request: paper.Request) -> paper.Response | paper.Fault | None:
                if request.path == "/time":
                    return paper.json_response({"error": "order timed out"}, 500)
                if request.path == "/version":
                    await gate.wait()
                if request.path == "/neg-risk":
                    return paper.Fault.DROP
                if request.path == "/tick-size":
                    return paper.Fault.CLOSE
                if request.path == "/order":
                    return paper.Fault.HANDLE_THEN_DROP
                if request.path == "/fee-rate":
                    raise RuntimeError("in the hook")
                return None

            exchange.on_request = hook
            assert exchange.on_request is hook
            async with client(exchange, timeout=httpx.Timeout(5)) as http:
                assert (await http.get("/time")).status_code == 500
                slow = asyncio.ensure_future(http.get("/version"))
                assert (await http.get("/ok")).json() == "OK"  # not held up by the slow one
                assert not slow.done()
                gate.set()
                assert (await slow).json() == {"version": 2}
                assert (await http.get("/fee-rate")).status_code == 500
                with pytest.raises(httpx.ReadTimeout):
                    await http.get("/neg-risk", timeout=0.005)
                request = http.build_request(
                    "POST", "/order", json=alice.limit(market.yes, "BUY", "0.40", "10")
                )
                request.headers.update(alice.headers("POST", "/order", request.content))
                request.extensions["timeout"] = httpx.Timeout(0.1).as_dict()
                with pytest.raises(httpx.ReadTimeout):
                    await http.send(request)
                assert len(alice.request("GET", "/data/orders")[1]["data"]) == 1
                with pytest.raises(httpx.RemoteProtocolError):
                    await http.get("/tick-size")
                exchange.on_request = None
                assert (await http.get("/neg-risk", params={"token_id": market.yes})).json() == {
                    "neg_risk": False
                }

    run(main())


def test_mistake_of_ours_is_a_500_and_the_connection_lives(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with paper.PaperExchange() as exchange, client(exchange) as http:
            monkeypatch.setattr(exchange.engine, "tokens", None)
            response = await http.get("/book", params={"token_id": "1"})
            assert (response.status_code, response.json()) == (
                500,
                {"error": "Internal server error"},
            )
            assert (await http.get("/ok")).json() == "OK"

    run(main())
    (record,) = (one for one in caplog.records if one.msg == "paper_request_failed")
    assert vars(record)["request"] == "GET /book"


def test_close_ends_open_connections_and_waiting_requests(run: Run) -> None:
    async def main() -> None:
        exchange = await paper.PaperExchange().start()
        with pytest.raises(UsageError):
            await exchange.start()
        arrived = asyncio.Event()

        async def hook(request: paper.Request) -> None:
            arrived.set()
            await asyncio.Event().wait()

        exchange.on_request = hook
        async with client(exchange) as http:
            waiting = asyncio.ensure_future(http.get("/ok"))
            await arrived.wait()
            await exchange.close()
            with pytest.raises(httpx.TransportError):
                await waiting
        with pytest.raises(UsageError):
            _ = exchange.url
        assert "not running" in repr(exchange)
        await exchange.start()  # and again
        assert exchange.url in repr(exchange)
        await exchange.close()

    run(main())


def raw_connection(exchange: paper.PaperExchange) -> ssl.SSLSocket:
    host, port = exchange.url.removeprefix("https://").split(":")
    sock = socket.create_connection((host, int(port)), timeout=5)
    return exchange.ssl_context.wrap_socket(sock, server_hostname=host)


def test_broken_frames_end_in_goaway_and_hurt_nobody_else(run: Run) -> None:
    def talk(exchange: paper.PaperExchange) -> list[h2.events.Event]:
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        peer.initiate_connection()
        events = []
        with raw_connection(exchange) as sock:
            sock.sendall(peer.data_to_send() + b"\x00\x00\x01\x00\x00\x00\x00\x00\x01x")
            while data := sock.recv(65536):
                events += peer.receive_data(data)
        return events

    async def main() -> None:
        async with paper.PaperExchange() as exchange, client(exchange) as http:
            assert (await http.get("/ok")).json() == "OK"
            events = await asyncio.to_thread(talk, exchange)
            assert any(isinstance(event, h2.events.ConnectionTerminated) for event in events)
            assert (await http.get("/ok")).json() == "OK"

    run(main())


def test_reset_stream_is_forgotten(run: Run) -> None:
    def talk(exchange: paper.PaperExchange, token_id: str) -> bytes:
        """Ask for a book with a window too small for it, reset, and ask for something else."""
        peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        peer.initiate_connection()
        peer.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 10})
        head = [(":method", "GET"), (":scheme", "https"), (":authority", "x")]
        peer.send_headers(1, [*head, (":path", f"/book?token_id={token_id}")], end_stream=True)
        body = b""
        with raw_connection(exchange) as sock:
            sock.sendall(peer.data_to_send())
            while True:
                for event in peer.receive_data(sock.recv(65536)):
                    if isinstance(event, h2.events.DataReceived) and event.stream_id == 1:
                        peer.reset_stream(1)
                        peer.send_headers(3, [*head, (":path", "/ok")], end_stream=True)
                    elif isinstance(event, h2.events.DataReceived):
                        body += event.data
                    elif isinstance(event, h2.events.StreamEnded):
                        return body
                sock.sendall(peer.data_to_send())

    async def main() -> None:
        async with paper.PaperExchange() as exchange:
            market = exchange.add_market("small")
            assert await asyncio.to_thread(talk, exchange, market.yes) == b'"OK"'

    run(main())


def test_certificate_is_written_for_others(tmp_path: Path) -> None:
    exchange = paper.PaperExchange()
    path = exchange.write_ca(tmp_path / "ca.pem")
    assert path.read_text() == exchange.ca_pem
    assert ssl.create_default_context(cafile=path).cert_store_stats()["x509_ca"] == 1
    assert "PRIVATE" not in exchange.ca_pem
