"""Nobody but the configured host is contacted, and no variable weakens TLS."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.paper import PaperExchange

KEY = "0x" + "31" * 32
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def exchange() -> AsyncIterator[PaperExchange]:
    async with PaperExchange() as exchange:
        exchange.deposit(px.OrderSigner(KEY).address, 100)
        yield exchange


@pytest.fixture
def trap() -> Iterator[socket.socket]:
    """A port that every proxy variable names; nobody may knock."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def hostile_environment(trap: socket.socket, folder: Path) -> dict[str, str]:
    proxy = f"http://127.0.0.1:{trap.getsockname()[1]}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY", "SOCKS_PROXY")
    netrc = folder / "netrc"
    netrc.write_text("machine 127.0.0.1 login x password y\n")
    return {
        **{case(name): proxy for name in names for case in (str.upper, str.lower)},
        "NO_PROXY": "",
        "NETRC": str(netrc),
        "PYTHONHTTPSVERIFY": "0",
        "SSLKEYLOGFILE": str(folder / "keys.log"),
        "CURL_CA_BUNDLE": "",
        "REQUESTS_CA_BUNDLE": "",
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
    }


def logged_keys(folder: Path) -> list[str]:
    """Return the session keys on disk; making a context leaves a comment there, and no more."""
    path = folder / "keys.log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if not line.startswith("#")]


async def run_session(exchange: PaperExchange, environment: dict[str, str]) -> dict[str, Any]:
    credentials = exchange.credentials(KEY)
    market = exchange.add_market("m", fee_rate="0.07")
    exchange.seed_book(market.yes, asks=[("0.45", 100)])
    settings = {
        "private_key": KEY,
        "api_key": credentials.api_key,
        "api_secret": credentials.secret,
        "api_passphrase": credentials.passphrase,
        "clob_url": exchange.url,
        "ws_url": exchange.ws_url,
        "user_channel": True,
        "heartbeat": True,
        "trading_enabled": True,
        "opportunity_timeout_ms": 0,
    }
    kept = {n: os.environ[n] for n in ("PATH", "LANG", "PYTHONPATH") if n in os.environ}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hostile.audited"),
        cwd=ROOT,
        env=kept | environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    given = json.dumps({"settings": settings, "token": market.yes})
    output, _ = await child.communicate(given.encode())
    assert child.returncode == 0
    told: dict[str, Any] = json.loads(output)
    return told


async def test_no_host_but_the_configured_one_is_contacted(
    exchange: PaperExchange, trap: socket.socket, tmp_path: Path
) -> None:
    trust = {"SSL_CERT_FILE": str(exchange.write_ca(tmp_path / "ca.pem"))}
    told = await run_session(exchange, hostile_environment(trap, tmp_path) | trust)
    assert told.get("error") is None
    assert told["states"] == ["MATCHED"]
    assert told["proxies"]
    here = ["127.0.0.1", int(exchange.url.rpartition(":")[2])]
    assert [event for event, _ in told["contacts"]].count("socket.connect") >= 3
    assert [contact for contact in told["contacts"] if contact[1] != here] == []
    with pytest.raises(BlockingIOError):
        trap.accept()
    assert logged_keys(tmp_path) == []


async def test_the_environment_cannot_switch_verification_off(
    exchange: PaperExchange, trap: socket.socket, tmp_path: Path
) -> None:
    told = await run_session(exchange, hostile_environment(trap, tmp_path))
    assert "certificate" in told["error"]
    assert exchange.request_count == 0
    assert logged_keys(tmp_path) == []


@pytest.mark.parametrize("content", ["", "no certificate\n"], ids=["empty", "junk"])
async def test_a_broken_trust_file_trusts_nobody(
    exchange: PaperExchange, trap: socket.socket, tmp_path: Path, content: str
) -> None:
    broken = tmp_path / "ca.pem"
    broken.write_text(content)
    environment = hostile_environment(trap, tmp_path) | {"SSL_CERT_FILE": str(broken)}
    told = await run_session(exchange, environment)
    assert "error" in told
    assert exchange.request_count == 0
