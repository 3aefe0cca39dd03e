"""Results and notices to tell of, and a real server that misbehaves as told."""

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import trustme

from polyexec.enums import LegState, NoticeKind, RejectCode, Side, SkipReason
from polyexec.models import OrderId, TokenId
from polyexec.observers.notices import Notice
from polyexec.results import Latency, LegResult, TradeResult
from polyexec.signals import ArbSignal

WAIT_S = 10.0


def notice(title: str = "t", kind: NoticeKind = NoticeKind.SUCCESS, **fields: str) -> Notice:
    return Notice(kind=kind, title=title, at_ms=1_700_000_000_000, fields=tuple(fields.items()))


def leg_result(state: LegState = LegState.MATCHED, **changes: Any) -> LegResult:
    given: dict[str, Any] = {
        "state": state,
        "order_id": OrderId("0x" + "ab" * 32),
        "token_id": TokenId("123456789012"),
        "market_slug": "btc-above-100k",
        "side": Side.BUY,
        "order_type": "FOK",
        "neg_risk": False,
        "price_e4": 4500,
        "size_micro": 10_000_000,
        "filled_micro": 10_000_000 if state is LegState.MATCHED else 0,
    }
    return LegResult(**given | changes)


def result(*states: LegState, **changes: Any) -> TradeResult:
    signal = ArbSignal("POLYMARKET_TRIANGLE_BUY", group_key="BTC-1d", event_slug="btc-price")
    given: dict[str, Any] = {
        "signal": signal,
        "legs": tuple(leg_result(state) for state in states or (LegState.MATCHED,)),
        "cost_micro": 4_673_250,
        "expected_pnl_micro": 120_000,
        "latency": Latency(
            validate_us=2, sign_us=30, write_us=12, response_us=3000, total_us=3100.0
        ),
        "finished_ms": 1_700_000_000_000,
    }
    return TradeResult(**given | changes)


def skipped(reason: SkipReason = SkipReason.COOLDOWN_ACTIVE) -> TradeResult:
    return result(LegState.NOT_SENT, skipped=reason, legs=(), cost_micro=0, expected_pnl_micro=0)


def rejected() -> TradeResult:
    leg = leg_result(LegState.REJECTED, code=RejectCode.NOT_FILLED, error="no match <b>&</b>")
    return result(legs=(leg_result(), leg))


class Request(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def answer(status: int = 200, body: Any = None, **headers: str) -> Behaviour:
    """Answer with a status and a JSON body."""
    content = body if isinstance(body, bytes) else json.dumps(body or {"ok": True}).encode()

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        told = {"content-length": str(len(content)), "content-type": "application/json", **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in told.items())
        writer.write(f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + content)
        await writer.drain()

    return behave


async def hang(request: Request, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def drip(request: Request, writer: asyncio.StreamWriter) -> None:
    """Begin an answer and never end it, a byte at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


async def reset(request: Request, writer: asyncio.StreamWriter) -> None:
    """Cut the connection without an answer."""
    writer.transport.abort()


async def garbage(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer something that is not HTTP."""
    writer.write(b"\x00\xff\x00garbage\r\n\r\n")
    await writer.drain()
    writer.close()


class Server:
    """HTTP/1.1 over TLS on loopback, on a thread of its own, so that nobody's loop helps it.

    Attributes
    ----------
    behaviour : callable
        What is done with each request; ``behaviours`` come first, one each.
    """

    def __init__(self, *behaviours: Behaviour, then: Behaviour | None = None) -> None:
        self.authority = authority = trustme.CA()
        self.behaviours = list(behaviours)
        self.behaviour = then or answer()
        self.requests: list[Request] = []
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._tls)
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Server":
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def wait(self, count: int) -> list[Request]:
        """Wait until so many requests have come, and return them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, WAIT_S)
            return list(self.requests)

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._tls)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        # Handshakes that are not done, too.
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = await self._read(reader)
                behaviour = self.behaviours.pop(0) if self.behaviours else self.behaviour
                with self._changed:
                    self.requests.append(request)
                    self._changed.notify_all()
                await behaviour(request, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(first.split(" ")[1], headers, body)
