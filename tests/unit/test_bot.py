"""``polyexec run``: each pair of modes for real, and a clean end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import polyexec as px
from polyexec.bot import OnExit, read_lines, run_bot
from polyexec.errors import ConfigError, InputError

KEY = "0x" + "35" * 32
TOKEN = "7" * 70
BUY = px.LegsSignal([px.Leg(TOKEN, "BUY", "0.40", 10, "GTC", tick_size="0.01", fee_rate=0)])


def config(**changes: Any) -> px.ExecutorConfig:
    given: dict[str, Any] = {"engine_mode": "off", "executor_mode": "off", "order_type": "FOK"}
    return px.ExecutorConfig(**given | changes)


async def lines_of(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield line


async def test_signals_from_elsewhere_are_traded_until_they_end() -> None:
    shown: list[str] = []
    # The embedded exchange does not know the token: a refusal of the exchange, not of ours.
    summary = await run_bot(
        config(executor_mode="paper", opportunity_timeout_ms=0),
        lines=lines_of("", "junk", px.encode_signal(BUY), '{"strategy": "X"}'),
        show=shown.append,
    )
    assert (summary.signals, summary.rejected, summary.skipped, summary.unreadable) == (2, 1, 1, 1)
    assert any(line.startswith("not a signal: ") for line in shown)
    assert summary.last_line().startswith("signals=2 executed=0 rejected=1 skipped=1 unknown=0")


@pytest.fixture
async def exchange() -> AsyncIterator[px.paper.PaperExchange]:
    async with px.paper.PaperExchange() as exchange:
        exchange.add_market("m", tokens=(TOKEN, "8" * 70))
        exchange.deposit(px.OrderSigner(KEY).address, 100)
        yield exchange


def trading_on(exchange: px.paper.PaperExchange) -> px.ExecutorConfig:
    credentials = exchange.credentials(KEY)
    return config(
        executor_mode="live",
        private_key=KEY,
        api_key=credentials.api_key,
        api_secret=credentials.secret,
        api_passphrase=credentials.passphrase,
        clob_url=exchange.url,
        ssl_context=exchange.ssl_context,
        trading_enabled=True,
    )


@pytest.mark.parametrize(("on_exit", "cancelled"), [("cancel", 1), ("keep", 0)])
async def test_open_orders_are_cancelled_at_the_end_or_kept(
    on_exit: OnExit, cancelled: int, exchange: px.paper.PaperExchange
) -> None:
    lines = lines_of(px.encode_signal(BUY))
    summary = await run_bot(trading_on(exchange), lines=lines, on_exit=on_exit, show=str)
    assert (summary.executed, summary.cancelled) == (1, cancelled)
    assert len(exchange.engine.live) == 1 - cancelled


async def test_an_order_on_its_way_is_waited_for_and_then_cancelled(
    exchange: px.paper.PaperExchange,
) -> None:
    async def hold(request: px.paper.Request) -> None:
        if request.method == "POST" and request.path == "/orders":
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.2)  # a slow exchange: the shutdown is under way meanwhile

    exchange.on_request = hold
    lines = lines_of(px.encode_signal(BUY))
    summary = await run_bot(trading_on(exchange), lines=lines, show=str)
    assert (summary.executed, summary.cancelled) == (1, 1)
    assert not exchange.engine.live


async def test_engine_and_executor_run_together_until_sigterm() -> None:
    shown: list[str] = []

    def show(line: str) -> None:
        if not shown:
            os.kill(os.getpid(), signal.SIGTERM)
        shown.append(line)

    both = config(engine_mode="paper", executor_mode="paper", min_profit_abs="0.001")
    async with asyncio.timeout(60):
        summary = await run_bot(both, show=show)
    assert summary.signals == len(shown) > 0
    assert summary.executed + summary.rejected + summary.skipped + summary.unknown == len(shown)


async def test_an_engine_alone_tells_its_signals_as_json() -> None:
    shown: list[str] = []

    def show(line: str) -> None:
        if not shown:
            os.kill(os.getpid(), signal.SIGINT)
        shown.append(line)

    async with asyncio.timeout(60):
        summary = await run_bot(config(engine_mode="paper"), show=show)
    assert summary.signals == len(shown)
    found = px.decode_signal(shown[0])
    assert found.crypto == "btc"
    assert json.loads(shown[0])["group_key"] == found.group_key


async def test_modes_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigError, match="both 'off'"):
        await run_bot(config())
    with pytest.raises(ConfigError, match="made-up prices must not trade"):
        await run_bot(
            config(engine_mode="paper", executor_mode="live", private_key="0x" + "1" * 64)
        )


async def test_a_file_of_signals_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "signals"
    path.write_text("a\nb\n")
    assert [line async for line in read_lines(str(path))] == ["a\n", "b\n"]
    with pytest.raises(InputError, match=r"signals=.*cannot be read"):
        [line async for line in read_lines(str(tmp_path / "none"))]


def test_the_command_reads_a_pipe_and_ends_with_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from polyexec.cli import main; raise SystemExit(main(['run']))"],
        input='{"strategy": "X"}\n',
        env=os.environ | {"ENGINE_MODE": "off", "EXECUTOR_MODE": "paper"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1].startswith("signals=1 executed=0 rejected=0 skipped=1")
