"""Notifications around a real executor on the embedded paper exchange."""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

import polyexec as px
from polyexec.engine.engine import Engine
from polyexec.notifying import connection_losses, endpoints_of, open_notifications
from tests.unit.observers.support import Server, hang

KEY = "0x" + "17" * 32
TOKEN = "123456:AAF-secret_part_of_the_token"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def config(server: Server | None = None, **changes: Any) -> px.ExecutorConfig:
    given: dict[str, Any] = {
        "private_key": KEY,
        "executor_mode": "paper",
        "engine_mode": "paper",
        "trading_enabled": True,
        "opportunity_timeout_ms": 0,
    }
    if server is not None:
        given |= {
            "telegram_bot_token": TOKEN,
            "telegram_chat_id": "42",
            "notify": {
                "NOTIFY_TELEGRAM_API_URL": server.url,
                "NOTIFY_WEBHOOK_URL": f"{server.url}/hook",
                "NOTIFY_WEBHOOK_SECRET": "k" * 32,
            },
        }
    return px.ExecutorConfig(**given | changes)


def a_signal(executor: px.Executor, size: int = 10, slug: str = "m") -> px.LegsSignal:
    exchange = executor.exchange
    market = exchange.add_market(slug, fee_rate="0.07")
    exchange.seed_book(market.yes, asks=[("0.45", 100)])
    exchange.deposit(executor.address, 100)
    leg = px.Leg(market.yes, "BUY", "0.45", size, "FOK", tick_size="0.01", fee_rate="0.07")
    return px.LegsSignal([leg], group_key="g-1")


async def told(server: Server, *titles: str) -> list[str]:
    """Return the titles that the webhook was told, once these are among them."""
    count = 0
    while True:
        requests = await asyncio.to_thread(server.wait, count)
        count = len(requests) + 1
        found = [
            notice["title"]
            for request in requests
            if request.path == "/hook"
            for notice in request.json["notices"]
        ]
        if set(titles) <= set(found):
            return found


async def test_a_trade_a_halt_and_an_error_reach_both_endpoints(server: Server) -> None:
    settings = config(server)
    async with (
        px.Executor(settings) as executor,
        open_notifications(settings, executor, ssl_context=server.trust) as notifier,
    ):
        assert notifier is not None
        signal = a_signal(executor)
        await executor.refresh_balance()
        assert (await executor.submit(signal)).success
        await told(server, "Executed: 1 legs")
        executor.halt("by hand")
        logging.getLogger("polyexec.clob").error("clock_off")
        assert (await executor.submit(signal)).skipped is px.SkipReason.HALTED
        found = await told(server, "Executed: 1 legs", "Halted", "Error logged: clock_off")
        assert not any("HALTED" in title for title in found)
    texts = [r.json["text"] for r in server.requests if r.path.startswith("/bot")]
    assert any("0x" in text and "Executed: 1 legs" in text for text in texts)
    found = await told(server, "Started", "Stopped")
    assert (found[0], found[-1]) == ("Started", "Stopped")
    assert not any("Alarm" in type(h).__name__ for h in logging.getLogger("polyexec").handlers)


async def test_what_was_logged_to_nobody_is_still_shown(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a process that has not set logging up: a handler of ours would silence its warnings.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(logging.getLogger("polyexec"), "handlers", [])
    settings = config(server)
    async with (
        px.Executor(settings) as executor,
        open_notifications(settings, executor, ssl_context=server.trust),
    ):
        logging.getLogger("polyexec.clob").warning("connect_failed")
    assert capsys.readouterr().err.splitlines().count("connect_failed") == 1
    assert logging.lastResort not in logging.getLogger("polyexec").handlers


async def test_without_endpoints_nothing_is_opened() -> None:
    settings = config()
    async with (
        px.Executor(settings) as executor,
        open_notifications(settings, executor) as notifier,
    ):
        assert notifier is None


async def test_a_dead_endpoint_holds_up_neither_submits_nor_closing() -> None:
    with Server(then=hang) as server:
        settings = config(server)
        async with px.Executor(settings) as executor:
            signal = a_signal(executor)
            await executor.refresh_balance()
            async with open_notifications(
                settings, executor, ssl_context=server.trust, close_s=0.01
            ) as notifier:
                assert notifier is not None
                assert (await executor.submit(signal)).success
                await asyncio.to_thread(server.wait, 2)
                executor.set_trading_enabled(False)
                for _ in range(200):
                    await executor.submit(signal)
            assert {c.delivered for c in notifier.counts.values()} == {0}


async def test_losses_of_every_connection_are_read() -> None:
    settings = config()
    async with px.Executor(settings) as executor:
        assert connection_losses(executor) == {"orders": 0, "user channel": 0}
        engine = Engine(settings, executor)
        assert "market feed" not in connection_losses(executor, engine)
        async with engine:
            assert connection_losses(executor, engine)["market feed"] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"telegram_bot_token": TOKEN}, "telegram_chat_id: missing, while telegram_bot_token is"),
        ({"telegram_chat_id": "42"}, "telegram_bot_token: missing, while telegram_chat_id is"),
        ({"telegram_bot_token": "x", "telegram_chat_id": "1"}, "telegram_bot_token: is not a bot"),
        ({"notify": {"NOTIFY_WEBHOOK_SECRET": "k" * 32}}, "NOTIFY_WEBHOOK_URL: missing, while"),
        ({"notify": {"NOTIFY_WEBHOOK_URL": "http://example.com"}}, "NOTIFY_WEBHOOK_URL: must be"),
        ({"notify": {"NOTIFY_ON": "halt,everything"}}, "NOTIFY_ON='halt,everything': 'everything'"),
        ({"notify": {"NOTIFY_SUMMARY_AT": "25:00"}}, "NOTIFY_SUMMARY_AT='25:00': must be a time"),
        ({"notify": {"NOTIFY_SUMMARY_AT": "6:30"}}, "NOTIFY_SUMMARY_AT='6:30': must be a time"),
    ],
)
async def test_a_bad_setting_is_named(changes: dict[str, Any], message: str) -> None:
    settings = config(**changes)
    async with px.Executor(settings) as executor:
        with pytest.raises(px.ConfigError) as caught:
            async with open_notifications(settings, executor):
                pass
    assert str(caught.value).startswith(message)


def test_a_setting_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(px.ConfigError, match=r"^notify\['NOTIFY_WEBHOK_URL'\]: no such setting"):
        config(notify={"NOTIFY_WEBHOK_URL": "https://x"})


def test_settings_come_from_the_environment_and_others_names_stay_out() -> None:
    env = {
        "TELEGRAM_BOT_TOKEN": TOKEN,
        "TELEGRAM_CHAT_ID": "42",
        "NOTIFY_WEBHOOK_URL": "https://hooks.example/secret",
        "NOTIFY_SOCKET": "/run/systemd/notify",
    }
    settings = px.ExecutorConfig.from_env(env)
    assert set(settings.notify) == {"NOTIFY_WEBHOOK_URL"}
    assert "hooks.example" not in repr(settings)
    names = [endpoint.name for endpoint in endpoints_of(settings, "0x" + "ab" * 20)]
    assert names == ["telegram", "webhook"]


async def test_the_exchange_s_modes_are_told_and_nothing_else_when_so_asked(
    server: Server,
) -> None:
    settings = config(
        server, notify={"NOTIFY_WEBHOOK_URL": f"{server.url}/hook", "NOTIFY_ON": " Venue, summary"}
    ).replace(telegram_bot_token="", telegram_chat_id="")
    async with (
        px.Executor(settings) as executor,
        open_notifications(settings, executor, ssl_context=server.trust),
    ):
        signal = a_signal(executor)
        await executor.refresh_balance()
        executor.exchange.set_mode(px.VenueMode.CANCEL_ONLY)
        assert not (await executor.submit(signal)).success
        assert await told(server, "Exchange is CANCEL_ONLY (was NORMAL)") == [
            "Exchange is CANCEL_ONLY (was NORMAL)"
        ]


async def test_a_group_that_settles_later_is_told(server: Server) -> None:
    settings = config(server, follow_interval_s=0.05)
    async with (
        px.Executor(settings) as executor,
        open_notifications(settings, executor, ssl_context=server.trust),
    ):
        signal = a_signal(executor)
        await executor.refresh_balance()
        assert (await executor.submit(signal)).success
        await told(server, "Settled: 1 legs")


class LaterClock(px.SystemClock):
    """The machine's clock, ahead by as much as a test wants."""

    ahead_ms = 0

    def time_ms(self) -> int:
        return super().time_ms() + self.ahead_ms


async def test_the_day_s_sum_tells_results_and_what_is_there(server: Server) -> None:
    # Twelve hours off, so that the day does not end while the test runs.
    at = time.strftime("%H:%M", time.gmtime(time.time() + 43_200))
    settings = config(server).replace(
        notify={"NOTIFY_WEBHOOK_URL": f"{server.url}/hook", "NOTIFY_SUMMARY_AT": at},
        telegram_bot_token="",
        telegram_chat_id="",
    )
    clock = LaterClock()
    async with (
        px.Executor(settings, clock=clock) as executor,
        open_notifications(settings, executor, ssl_context=server.trust),
    ):
        signal = a_signal(executor)
        await executor.refresh_balance()
        await executor.submit(signal)
        await told(server, "Executed: 1 legs")
        clock.ahead_ms = 86_400_000
        await told(server, "Summary of 24.0 hours")
    (fields,) = [
        notice["fields"]
        for request in server.requests
        if request.path == "/hook"
        for notice in request.json["notices"]
        if notice["kind"] == "summary"
    ]
    assert fields["executed"] == "1"
    assert fields["available"] == "95.32675 dollars"
    assert fields["exchange"] == "NORMAL"
    assert fields["notices not delivered"] == "0"
