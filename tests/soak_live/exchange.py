"""The other side of the soak, in a process of its own: an exchange with faults, and a webhook.

Commands come in as lines, answers go out as lines of JSON. The end of the input is its end.
"""

import asyncio
import http.server
import json
import logging
import random
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import polyexec as px
from polyexec.numbers import to_micro

__all__ = ["KEY", "TOKENS"]

KEY: Final = "0x" + "2b" * 32
TOKENS: Final = tuple((str(number) * 70, str(number + 1) * 70) for number in (1, 3, 5, 7))
"""YES and NO of each market."""
_DEPOSIT: Final = "10000000"
_RESTART_EVERY_S: Final = 600.0
"""Each is followed by two minutes in which the customer sends resting orders alone."""
_CUT_EVERY_S: Final = 20.0
_REFILL_S: Final = 0.5


class _Hook(http.server.BaseHTTPRequestHandler):
    """Takes notices, refuses every fifth post, and now and then makes it wait."""

    protocol_version = "HTTP/1.1"
    posts = 0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        type(self).posts += 1
        if self.posts % 7 == 0:
            time.sleep(2)
        self.send_response(503 if self.posts % 5 == 0 else 204)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class World:
    """The exchange, its market, and what it does to a customer."""

    def __init__(self, exchange: px.paper.PaperExchange, seed: int) -> None:
        self.exchange = exchange
        self.address = px.OrderSigner(KEY).address
        self._rng = random.Random(seed)
        self._is_kind = False
        self.faults = 0
        exchange.on_request = self._on_request
        for number, tokens in enumerate(TOKENS):
            exchange.add_market(f"m{number}", tokens=tokens, fee_rate="0.07")
        exchange.deposit(self.address, _DEPOSIT)
        self.fill()

    def fill(self) -> None:
        """Offer as much as before."""
        for token, _ in TOKENS:
            self.exchange.set_book(token, bids=[("0.39", 5000)], asks=[("0.41", 5000)])

    async def live(self) -> None:
        """Refill the books; restart, and cut connections, now and then."""
        restart_at, cut_at = time.monotonic() + 150, time.monotonic() + 8
        while True:
            await asyncio.sleep(_REFILL_S)
            self.fill()
            now = time.monotonic()
            if self._is_kind:
                continue
            if now >= restart_at:
                restart_at = now + _RESTART_EVERY_S
                self.exchange.restart(down_s=1, post_only_s=1)
                self.faults += 1
            if now >= cut_at:
                cut_at = now + _CUT_EVERY_S
                self.exchange.channels.cut()
                self.faults += 1

    async def answer(self, command: str) -> dict[str, Any]:
        """Carry out a command."""
        if command == "kind":
            self._is_kind = True
            return {"faults": self.faults, "posts": _Hook.posts}
        # What is due is settled by then: the customer has asked until nothing is open.
        exchange = self.exchange
        positions = {
            token: to_micro(exchange.position(self.address, token), "position")
            for tokens in TOKENS
            for token in tokens
        }
        exchange.audit()
        return {
            "balance": to_micro(exchange.balance(self.address), "balance"),
            "positions": positions,
            "conserved": exchange.is_conserved(),
        }

    async def _on_request(
        self, request: px.paper.Request
    ) -> px.paper.Response | px.paper.Fault | None:
        if self._is_kind:
            return None
        draw = self._rng.random()
        if request.method == "POST" and request.path == "/orders":
            draw *= 1 if draw >= 0.02 else 0.5  # what costs most happens most
        if draw < 0.002:
            found: px.paper.Response | px.paper.Fault = px.paper.Fault.CLOSE
        elif draw < 0.004:
            found = px.paper.Fault.HANDLE_THEN_DROP
        elif draw < 0.006:
            found = px.paper.Fault.DROP
        elif draw < 0.010:
            found = px.paper.json_response({"error": "internal error"}, 500)
        elif draw < 0.03:
            await asyncio.sleep(0.2)
            return None
        else:
            return None
        self.faults += 1
        return found


async def _commands() -> AsyncIterator[str]:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line.decode().strip()


def _tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


async def serve(seed: int) -> None:
    """Serve until the input ends."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # writes to what it has cut off itself
    hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hook)
    hook.daemon_threads = True
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    conditions = px.paper.Conditions(
        settle_ms=400, failure_rate="0.01", reject_rate="0.02", seed=seed
    )
    async with px.paper.PaperExchange(conditions=conditions) as exchange:
        world = World(exchange, seed)
        credentials = exchange.credentials(KEY)
        _tell(
            {
                "url": exchange.url,
                "ws_url": exchange.ws_url,
                "ca": exchange.ca_pem,
                "hook": f"http://127.0.0.1:{hook.server_port}/hook",
                "api_key": credentials.api_key,
                "api_secret": credentials.secret,
                "api_passphrase": credentials.passphrase,
            }
        )
        life = asyncio.create_task(world.live())
        async for command in _commands():
            _tell(await world.answer(command))
        life.cancel()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
