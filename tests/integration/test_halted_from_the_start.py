"""A halt that Redis said before a bot was started holds before its first POST, of any account.

What a bot sends by itself when it opens are the follow-ups of an earlier run: each account here has
half a group in its journal, which its policy gives back as soon as it may.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.bot import run_bot
from polyexec.bots import run_bots
from polyexec.commands import request_of
from polyexec.control import Account
from polyexec.control_socket import ask
from polyexec.controlling import open_control
from polyexec.paper import Fault, PaperExchange, Request
from tests.unit.observers.redis_server import redis_server
from tests.unit.test_executor import until

redis = pytest.importorskip("redis")

KEYS = {"a": "0x" + "17" * 32, "b": "0x" + "19" * 32}
SWITCH = "polyexec:switch"
BOUGHT, MISSED = "7" * 70, "5" * 70
WAIT_S = 10
_LOOKS = 4
"""Questions that an engine asks for groups when it opens."""


class World:
    """An exchange, a Redis, and a folder with the journals of an earlier run."""

    def __init__(self, exchange: PaperExchange, redis_path: str, folder: Path) -> None:
        self.exchange = exchange
        self.folder = folder
        self.socket = folder / "run" / "bot.sock"
        self.posts: list[str] = []
        self.looks = 0
        self._redis_path = redis_path
        exchange.add_market("m", tokens=(BOUGHT, "8" * 70))
        exchange.add_market("n", tokens=(MISSED, "6" * 70))
        exchange.set_book(BOUGHT, bids=[("0.39", 1000)], asks=[("0.40", 1000)])
        exchange.on_request = self._count

    async def _count(self, request: Request) -> Fault | None:
        if request.method == "POST" and request.path == "/orders":
            orders = json.loads(request.body)
            self.posts += [f"{one['order']['side']} {one['order']['tokenId'][0]}" for one in orders]
        self.looks += request.path == "/events"
        return None

    def say(self, value: str) -> None:
        with redis.Redis(unix_socket_path=self._redis_path) as client:
            client.set(SWITCH, value)

    def config(self, name: str, **changes: Any) -> px.ExecutorConfig:
        credentials = self.exchange.credentials(KEYS[name])
        given: dict[str, Any] = {
            "private_key": KEYS[name],
            "api_key": credentials.api_key,
            "api_secret": credentials.secret,
            "api_passphrase": credentials.passphrase,
            "clob_url": self.exchange.url,
            "ws_url": self.exchange.ws_url,
            "gamma_url": self.exchange.url,
            "ssl_context": self.exchange.ssl_context,
            "user_channel": False,
            "trading_enabled": True,
            "engine_mode": "off",
            "group_policy": px.GroupPolicy("unwind"),
            "journal_mode": "os",
            "journal_folder": str(self.folder / "state"),
            "control_socket": str(self.socket),
            "redis": {
                "REDIS_URL": f"unix://{self._redis_path}",
                "REDIS_CONTROL_KEY": SWITCH,
                "REDIS_CONTROL_POLL_MS": "10",
            },
        }
        return px.ExecutorConfig(**given | changes)

    async def leave_half_a_group(self, name: str) -> None:
        """End a run between the answer to a group and the giving back of its half."""
        legs = [
            px.Leg(token, "BUY", "0.40", 10, "FAK", tick_size="0.01", fee_rate=0)
            for token in (BOUGHT, MISSED)
        ]
        config = self.config(name)
        self.exchange.deposit(px.OrderSigner(KEYS[name]).address, 100)
        async with px.Executor(config) as executor:
            submission = executor.submit(px.LegsSignal(legs, payout=1))
        result = await submission
        assert [leg.state for leg in result.legs] == ["MATCHED", "REJECTED"]
        assert self.posts == ["BUY 7", "BUY 5"]
        self.posts.clear()

    async def said(self, holds: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Return what is told of each account, once that holds for all."""
        async with asyncio.timeout(WAIT_S):
            while True:
                with contextlib.suppress(px.errors.PolyexecError):
                    told = await asyncio.to_thread(ask, self.socket, request_of("status"))
                    accounts = list(told["accounts"].values())
                    if all(map(holds, accounts)):
                        return accounts
                await asyncio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    with redis_server(tmp_path) as path:
        async with PaperExchange() as exchange:
            yield World(exchange, path, tmp_path)


async def run_one(world: World) -> None:
    async def nothing() -> AsyncIterator[str]:
        await asyncio.Event().wait()
        yield ""

    config = world.config("a")
    await run_bot(config, lines=nothing(), read=lambda: config, show=str)


async def run_several(world: World) -> None:
    def reader(name: str) -> Callable[[], px.ExecutorConfig]:
        return lambda: world.config(name, engine_mode="live")

    await run_bots({name: reader(name) for name in KEYS}, show=str)


async def run_own_code(world: World) -> None:
    config = world.config("a")
    executor = px.Executor(config)
    ended = asyncio.Event()
    async with (
        open_control(config, {"main": Account(executor)}, shutdown=ended.set),
        px.attend(executor),
    ):
        await ended.wait()


@pytest.mark.parametrize(
    ("run", "accounts"), [(run_one, "a"), (run_several, "ab"), (run_own_code, "a")]
)
async def test_follow_ups_of_an_earlier_run_wait_for_the_switch(
    world: World, run: Callable[[World], Any], accounts: str
) -> None:
    for name in accounts:
        await world.leave_half_a_group(name)
    world.say("halt: not yet")
    running = asyncio.create_task(run(world))
    try:
        # To know the balance is the last thing before it would act.
        told = await world.said(lambda one: bool(float(one["balance"])))
        assert {one["halted"] for one in told} == {"redis: not yet"}
        for _ in range(50):
            await asyncio.sleep(0)
        assert world.posts == []
        world.say("on")
        await until(lambda: len(world.posts) == len(accounts))
        assert set(world.posts) == {"SELL 7"}
        await world.said(lambda one: not one["open_orders"])
        if (
            run is run_several
        ):  # an httpx that is cancelled while it connects leaves a socket behind
            await until(lambda: world.looks >= _LOOKS * len(accounts))
        await asyncio.to_thread(ask, world.socket, request_of("shutdown"))
    finally:
        await asyncio.wait_for(running, WAIT_S)
