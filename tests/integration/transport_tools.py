"""What the tests of the order transport share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from polyexec.clob.http2 import FramingName
from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import NoAnswer, Outcome
from polyexec.errors import (
    TransportError,
)

from .h2_server import H2Server, client_context

FRAMING: FramingName = "fast"
BODY = b"[" + b"x" * 2288 + b"]"


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[H2Server, OrderTransport]]:
    server_options = {
        k: options.pop(k) for k in ("max_concurrent", "window", "acknowledge") if k in options
    }
    options.setdefault("framing", FRAMING)
    options.setdefault("size", 1)
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
