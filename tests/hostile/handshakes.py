"""Connecting, with the connection cut, reset or held up behind any byte of it."""

import asyncio
from collections.abc import Iterable
from typing import Any

from polyexec.clob.pool import OrderTransport
from polyexec.core.ports import Answer
from polyexec.errors import NotSentError
from tests.hostile.certificates import client_context
from tests.hostile.proxy import Fault, Plan, Proxy, Way
from tests.hostile.server import HostileServer, good

WATCHDOG_S = 20.0
OPTIONS: dict[str, Any] = {
    "connect_timeout_s": WATCHDOG_S,
    "timeout_s": WATCHDOG_S,
    "size": 1,
    "ping_interval_s": 3600,
}


async def measure() -> dict[Way, int]:
    """Return how many bytes pass until a transport is open."""
    async with HostileServer(good, always=True) as server, Proxy(server.port) as proxy:
        plan = proxy.plan = Plan(Way.REQUEST, 0, None)
        transport = OrderTransport(proxy.url, ssl_context=client_context(), **OPTIONS)
        await transport.open()
        await transport.close()
        return dict(plan.passed)


async def _connect(proxy: Proxy, plan: Plan) -> bool:
    """Return whether a transport opened and then carried a request; refusing is as good."""
    proxy.plan = plan
    transport = OrderTransport(proxy.url, ssl_context=client_context(), **OPTIONS)
    opening = asyncio.ensure_future(transport.open())
    striking = asyncio.ensure_future(plan.struck.wait())
    await asyncio.wait({opening, striking}, return_when=asyncio.FIRST_COMPLETED)
    striking.cancel()
    plan.release()
    try:
        await opening
        proxy.plan = None
        while not isinstance(await transport.request("POST", "/o", {}, b"[]"), Answer):  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # connecting again
    except NotSentError:
        return False
    finally:
        await transport.close()
    return True


async def sweep(fault: Fault, way: Way, offsets: Iterable[int]) -> tuple[int, list[str]]:
    """Return how many cases were run, and what was wrong."""
    wrong: list[str] = []
    cases = 0
    async with HostileServer(good, always=True) as server, Proxy(server.port) as proxy:
        for offset in offsets:
            cases += 1
            where = f"{fault} of {way} at byte {offset} of the handshake"
            try:
                async with asyncio.timeout(WATCHDOG_S):
                    opened = await _connect(proxy, Plan(way, offset, fault))
            except TimeoutError:
                wrong.append(f"{where}: hangs")
                continue
            if fault is Fault.DELAY and not opened:
                wrong.append(f"{where}: not connected, and all that happened was a pause")
            while server.faults:
                wrong.append(f"{where}: the server: {server.faults.pop()!r}")
    return cases, wrong
