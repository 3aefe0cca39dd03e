"""The dashboard: a view of real executors and engines, drawn on a console that is recorded."""

import asyncio
import contextlib
import io
import os
import pty
import signal as signal_module
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import polyexec as px
from polyexec.dashboard import View, Watcher, open_dashboard, render
from polyexec.demo.live import play_market
from polyexec.engine.engine import Engine
from tests.unit.core.support import leg, signal
from tests.unit.test_executor import config, until
from tests.unit.venues import ScriptedVenue, all_live, all_matched

_MAIN = "import sys; from polyexec.cli import main; sys.exit(main())"
rich_console = pytest.importorskip("rich.console")


def console(width: int = 140, **more: Any) -> Any:
    return rich_console.Console(
        file=io.StringIO(), width=width, record=True, force_terminal=True, **more
    )


def drawn(view: View, width: int = 140) -> str:
    screen = console(width)
    screen.print(render(view))
    text: str = screen.export_text()
    return text


async def test_money_orders_groups_skips_and_latency_are_shown() -> None:
    venue = ScriptedVenue(all_matched)
    async with px.Executor(config(max_in_flight=9), venue) as executor:
        watcher = Watcher(executor)
        await executor.submit(signal(group_key="btc-1"))
        venue.answer = all_live
        rests = px.LegsSignal([leg(7, price="0.40", size=25)], group_key="eth-2")
        await executor.submit(rests)
        executor.reduce_only()
        await executor.submit(px.LegsSignal([leg(8)], group_key="sol-3"))
        await until(lambda: watcher.look().counts.get("signals") == 3)
        view = watcher.look()
        assert view.counts == {"signals": 3, "executed": 2, "skipped": 1}
        assert view.skips == [(str(px.SkipReason.REDUCE_ONLY), 1)]
        assert [group.key for group in view.groups] == ["sol-3", "eth-2", "btc-1"]
        assert view.held_micro == executor.ledger.held() == 10_000_000
        assert [row.size for row in view.orders if row.state == "LIVE"] == ["25"]
        stages = {stage: percentiles for stage, *percentiles in view.latency_us}
        assert all(one > 0 for one in stages["total"])
        assert stages["total"] == sorted(stages["total"])
        text = drawn(view)
        watcher.close()
    for shown in ("executor live", "reduce-only", "btc-1", "eth-2", "Open orders: ", "10.00"):
        assert shown in text
    assert str(px.SkipReason.REDUCE_ONLY) in text


async def test_a_halt_is_seen_before_anything_else() -> None:
    async with px.Executor(config(), ScriptedVenue()) as executor:
        watcher = Watcher(executor)
        assert "trading" in drawn(watcher.look()).splitlines()[0]
        executor.halt("fat finger")
        assert "HALTED: fat finger" in drawn(watcher.look()).splitlines()[0]
        executor.resume()
        executor.set_trading_enabled(False)
        assert "trading is off" in drawn(watcher.look()).splitlines()[0]


async def test_an_engine_shows_its_feed_and_its_signals() -> None:
    given = config(
        engine_mode="paper", executor_mode="off", order_type="FOK", min_profit_abs="0.001"
    )
    async with Engine(given) as engine:
        watcher = Watcher(None, engine)
        playing = asyncio.create_task(play_market(engine.exchange, seed=1))
        await until(lambda: any(group.edge_bps for group in watcher.look().groups))
        view = watcher.look()
        playing.cancel()
    assert view.title == "engine paper"
    assert int(view.feed["live books"]) > 10
    assert view.feed["oldest book"].endswith(" s")
    edges = [group for group in view.groups if group.edge_bps]
    assert all(float(group.edge_bps) > 0 and float(group.net) > 0 for group in edges)
    assert edges
    text = drawn(view)
    assert edges[0].strategy in text
    assert "Money" not in text


def test_what_others_have_named_is_text_and_fits() -> None:
    lines = ["[red]x[/red]", "[/oops]", "y" * 500]
    view = View(title="executor live", venue_mode="NORMAL", lines=lines)
    text = drawn(view, width=60)
    assert "[red]x[/red]" in text
    assert "[/oops]" in text
    assert all(len(line) <= 60 for line in text.splitlines())


def test_an_empty_view_can_be_drawn() -> None:
    assert "trading is off" in drawn(View(title="executor off"))


@pytest.mark.parametrize("count", [1, 3, 1000])
async def test_old_groups_and_lines_are_let_go(count: int) -> None:
    async with px.Executor(config(), ScriptedVenue(all_live)) as executor:
        watcher = Watcher(executor)
        for number in range(count):
            watcher._note(px.LegsSignal([leg(1)], group_key=f"g{number}"), "x")
            watcher.show(str(number))
        view = watcher.look()
    assert [group.key for group in view.groups] == [
        f"g{number}" for number in reversed(range(max(0, count - 8), count))
    ]
    assert len(watcher._groups) <= 32
    assert view.lines == [str(number) for number in range(max(0, count - 8), count)]


# the loop -----------------------------------------------------------------------------------------


async def test_it_is_drawn_again_while_the_bot_runs() -> None:
    screen = console()
    seen: Callable[[], str] = screen.file.getvalue
    async with (
        px.Executor(config(), ScriptedVenue(all_live)) as executor,
        open_dashboard(executor, console=screen, pause_s=0.005) as show,
    ):
        show("a line of the bot")
        executor.halt("while it is drawn")
        await until(lambda: "HALTED: while it is drawn" in seen())
        await until(lambda: "a line of the bot" in seen())


async def test_without_a_terminal_lines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    plain = rich_console.Console(file=io.StringIO())
    async with (
        px.Executor(config(), ScriptedVenue(all_live)) as executor,
        open_dashboard(executor, console=plain) as show,
    ):
        show("a line of the bot")
    assert capsys.readouterr().out == "a line of the bot\n"
    assert plain.file.getvalue() == ""


def run(*arguments: str, **more: Any) -> subprocess.Popen[bytes]:
    env = os.environ | {"TERM": "xterm", "CONTROL_SOCKET": "off", "COLUMNS": "120", "LINES": "40"}
    command = [sys.executable, "-c", _MAIN, "run", "--paper", "--ui", *arguments]
    return subprocess.Popen(command, env=env, **more)


async def test_run_draws_on_a_terminal_and_ends_with_its_counts() -> None:
    terminal, inner = pty.openpty()
    process = run(stdout=inner, stdin=subprocess.DEVNULL)
    os.close(inner)
    seen = b""
    try:
        while b"Latency" not in seen:
            seen += await asyncio.wait_for(asyncio.to_thread(os.read, terminal, 65_536), 60)
        process.send_signal(signal_module.SIGTERM)
        with contextlib.suppress(OSError):  # the other end is closed
            while True:
                seen += await asyncio.wait_for(asyncio.to_thread(os.read, terminal, 65_536), 60)
        assert await asyncio.to_thread(process.wait, 60) == 0
    finally:
        process.kill()
        os.close(terminal)
    assert b"engine paper + executor paper" in seen
    assert b"signals=" in seen


async def test_run_prints_lines_into_a_pipe() -> None:
    process = run("--seconds", "1.5", stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    out, _ = await asyncio.to_thread(process.communicate)
    assert b"\x1b[" not in out
    assert out.splitlines()[-1].startswith(b"signals=")
