"""``polyexec run`` in a process of its own, commanded by ``polyexec control`` and by signals."""

import asyncio
import contextlib
import json
import os
import signal as signal_module
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.commands import request_of
from polyexec.control_socket import ask, find_socket
from polyexec.paper import PaperExchange

KEY = "0x" + "35" * 32
TOKEN = "7" * 70
BUY = px.LegsSignal([px.Leg(TOKEN, "BUY", "0.40", 10, "GTC", tick_size="0.01", fee_rate=0)])
MAIN = "import sys; from polyexec.cli import main; sys.exit(main())"


class Bot:
    def __init__(self, env: dict[str, str], exchange: PaperExchange, folder: Path) -> None:
        self.env = env
        self.exchange = exchange
        self.dotenv = folder / ".env"
        self.dotenv.write_text("MAX_GROUP_COST=100\nMAX_DAILY_COST=500\n")
        self.errors = folder / "stderr"
        self.process: asyncio.subprocess.Process

    async def start(self) -> None:
        with self.errors.open("wb") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", MAIN, "run", "--dotenv", str(self.dotenv)),
                env=self.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    async def control(self, *words: str) -> tuple[int, Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MAIN, "control", *words),
            env=self.env | {"MAX_GROUP_COST": "malformed"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, error = await process.communicate()
        return process.returncode or 0, json.loads(out) if out else error.decode()

    async def said(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return a status in which that holds."""
        folder = Path(self.env["XDG_RUNTIME_DIR"], "polyexec")
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(px.errors.PolyexecError):  # it has not opened yet
                    path = await asyncio.to_thread(find_socket, folder)
                    told = await asyncio.to_thread(ask, path, request_of("status"))
                    main: dict[str, Any] = told["accounts"]["main"]
                    if holds(main):
                        return main
                await asyncio.sleep(0.02)

    async def submit(self) -> str:
        """Hand in a signal; return what the bot says of it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(px.encode_signal(BUY).encode() + b"\n")
        return (await asyncio.wait_for(self.process.stdout.readline(), 60)).decode()


@pytest.fixture
async def bot(tmp_path: Path) -> AsyncIterator[Bot]:
    async with PaperExchange() as exchange:
        exchange.add_market("m", tokens=(TOKEN, "8" * 70))
        exchange.deposit(px.OrderSigner(KEY).address, 100)
        credentials = exchange.credentials(KEY)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        env = kept | {
            "PRIVATE_KEY": KEY,
            "CLOB_URL": exchange.url,
            "SSL_CERT_FILE": str(exchange.write_ca(tmp_path / "ca.pem")),
            "POLYMARKET_API_KEY": credentials.api_key,
            "POLYMARKET_API_SECRET": credentials.secret,
            "POLYMARKET_API_PASSPHRASE": credentials.passphrase,
            "ENGINE_MODE": "off",
            "REAL_TRADING_ENABLED": "true",
            "ARB_COOLDOWN_MS": "0",
            "XDG_RUNTIME_DIR": str(tmp_path / "runtime"),
        }
        bot = Bot(env, exchange, tmp_path)
        await bot.start()
        try:
            yield bot
        finally:
            if bot.process.returncode is None:
                bot.process.kill()
                await bot.process.wait()


async def test_a_bot_is_halted_changed_and_ended_from_other_processes(bot: Bot) -> None:
    assert (await bot.said(lambda told: told["balance"] == "100"))["trading"]
    assert "LIVE" in await bot.submit()
    status, told = await bot.control("halt", "fat finger")
    assert (status, told["accounts"]["main"]["open_orders"]) == (0, 1)
    assert "skipped Halted: fat finger" in await bot.submit()
    assert len(bot.exchange.engine.live) == 1
    status, told = await bot.control("cancel-all")
    assert len(told["accounts"]["main"]["cancelled"]) == 1
    assert not bot.exchange.engine.live
    assert (await bot.control("resume"))[0] == 0
    bot.dotenv.write_text("MAX_GROUP_COST=1\nMAX_DAILY_COST=500\nCHAIN_ID=80002\n")
    status, told = await bot.control("reload")
    assert told["accounts"]["main"] == {
        "changed": {"max_group_cost": "100 -> 1"},
        "refused": {"chain_id": "needs a restart"},
    }
    assert "MaxGroupCost" in await bot.submit()
    assert (await bot.control("shutdown"))[0] == 0
    out, _ = await asyncio.wait_for(bot.process.communicate(), 60)
    assert bot.process.returncode == 0
    assert b"signals=3 executed=1" in out
    assert await bot.control("halt") == (2, f"polyexec: {await _nobody(bot)}")


async def _nobody(bot: Bot) -> str:
    folder = Path(bot.env["XDG_RUNTIME_DIR"], "polyexec")
    return f"no bot of this user listens in {folder}: name its socket (--socket)\n"


async def test_a_bot_obeys_signals(bot: Bot) -> None:
    await bot.said(lambda told: told["trading"])
    bot.process.send_signal(signal_module.SIGUSR1)
    await bot.said(lambda told: told["halted"] == "SIGUSR1")
    bot.dotenv.write_text("MAX_GROUP_COST=100\nMAX_DAILY_COST=7\n")
    bot.process.send_signal(signal_module.SIGHUP)
    await bot.said(lambda told: told["limits"]["max_daily_cost"] == "7")
    bot.process.send_signal(signal_module.SIGUSR2)
    await bot.said(lambda told: told["halted"] is None)
    assert "LIVE" in await bot.submit()
    bot.process.send_signal(signal_module.SIGTERM)
    assert await asyncio.wait_for(bot.process.wait(), 60) == 0
    assert not bot.exchange.engine.live


async def test_a_bot_without_its_socket_says_so_and_does_not_start(
    bot: Bot, tmp_path: Path
) -> None:
    await bot.said(lambda told: told["trading"])
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o755)
    second = Bot(bot.env | {"CONTROL_SOCKET": str(open_folder / "s")}, bot.exchange, tmp_path)
    await second.start()
    assert await asyncio.wait_for(second.process.wait(), 60) == 2
    assert "chmod 700" in second.errors.read_text()
