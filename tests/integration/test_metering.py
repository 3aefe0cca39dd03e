"""Metrics around a real executor and engine on the embedded paper exchange."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import polyexec as px
from polyexec.metering import open_metrics
from polyexec.notifying import open_notifications
from polyexec.observers.metrics import METRICS
from tests.integration.test_notifying import a_signal, config
from tests.unit.observers.support import WAIT_S, Server
from tests.unit.observers.test_metrics import scrape


async def scraped_until(server: Any, name: str, value: float, **labels: str) -> Any:
    """Scrape until a sample has a value; callbacks come a moment after what they tell of."""
    async with asyncio.timeout(WAIT_S):
        while True:
            found = await asyncio.to_thread(scrape, server)
            if found.get((name, tuple(labels.items()))) == value:
                return found


async def test_every_metric_is_exposed_by_a_trading_bot(tmp_path: Path) -> None:
    with Server() as hook:
        settings = config(
            hook,
            metrics={"METRICS_PORT": "0"},
            journal_mode="os",
            journal_folder=str(tmp_path),
            max_daily_cost=500,
            max_open_exposure=100,
        )
        async with (
            px.Executor(settings) as executor,
            px.Engine(settings, executor) as engine,
            open_notifications(settings, executor, engine, ssl_context=hook.trust) as notifier,
            open_metrics(settings, executor, engine, notifier) as server,
        ):
            assert server is not None
            signal = a_signal(executor)
            await executor.refresh_balance()
            assert (await executor.submit(signal)).success
            second = await executor.submit(a_signal(executor, 120, "n"))
            assert second.failed_orders, second.skipped
            executor.set_trading_enabled(False)
            assert (await executor.submit(signal)).skipped
            found = await scraped_until(server, "polyexec_results_total", 1, outcome="skipped")
    names = {name for name, _ in found}
    missing = {
        metric.name
        for metric in METRICS
        if (f"{metric.name}_bucket" if metric.kind == "histogram" else metric.name) not in names
    }
    # Nothing was unreadable, no book was loaded, no store is attached: these have nothing to tell.
    assert {name for name in missing if not name.startswith("polyexec_store_")} == {
        "polyexec_feed_faults_total",
        "polyexec_book_age_seconds",
    }

    def one(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert one("polyexec_results_total", outcome="success") == 1
    assert one("polyexec_results_total", outcome="failure") == 1
    assert one("polyexec_trading_enabled") == 0
    assert one("polyexec_venue_mode", mode="NORMAL") == 1
    assert one("polyexec_venue_mode", mode="RESTARTING") == 0
    assert one("polyexec_risk_limit_dollars", limit="daily_cost") == 500
    assert one("polyexec_risk_used_dollars", limit="daily_cost") == pytest.approx(4.67325)
    words = {
        word: one("polyexec_ledger_dollars", word=word)
        for word in ("balance", "available", "reserved", "pending")
    }
    assert words["balance"] == pytest.approx(100 - 4.67325)
    assert words["balance"] == pytest.approx(
        words["available"] + words["reserved"] + words["pending"]
    )
    assert one("polyexec_order_connections") == 2
    assert one("polyexec_user_channel_up") == 1
    assert one("polyexec_rate_limit_tokens", bucket="orders") > 0
    assert one("polyexec_journal_failed") == 0
    assert one("polyexec_scrape_errors_total") == 0


async def test_books_of_the_feed_are_aged() -> None:
    settings = config(metrics={"METRICS_PORT": "0"}, executor_mode="paper")
    async with (
        px.Executor(settings) as executor,
        px.Engine(settings, executor) as engine,
        open_metrics(settings, executor, engine) as server,
    ):
        market = executor.exchange.add_market("m", fee_rate="0.07")
        executor.exchange.seed_book(market.yes, bids=[("0.40", 9)], asks=[("0.45", 9)])
        engine._opened_feed().subscribe([market.yes])
        found = await scraped_until(server, "polyexec_books", 1, state="live")
        for rank in ("median", "oldest"):
            assert 0 <= found["polyexec_book_age_seconds", (("rank", rank),)] < 60


async def test_without_a_port_nothing_listens() -> None:
    settings = config()
    async with px.Executor(settings) as executor, open_metrics(settings, executor) as server:
        assert server is None


async def test_spans_go_to_the_provider_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    names: list[str] = []

    class Processor:
        def on_start(self, span: Any, parent_context: Any = None) -> None: ...
        def on_end(self, span: Any) -> None:
            names.append(span.name)
            if span.name == "polyexec.group":
                loop.call_soon_threadsafe(ended.set)

        def _on_ending(self, span: Any) -> None: ...
        def shutdown(self) -> None: ...

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Processor())  # type: ignore[arg-type]
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    settings = config(metrics={"METRICS_SPANS": "true"})
    async with px.Executor(settings) as executor, open_metrics(settings, executor) as server:
        assert server is None
        signal = a_signal(executor)
        await executor.refresh_balance()
        await executor.submit(signal)
        async with asyncio.timeout(WAIT_S):
            await ended.wait()
    assert {"polyexec.sign", "polyexec.response", "polyexec.group"} <= set(names)


@pytest.mark.parametrize("port", ["http", "-1", "65536", "1e3", "9" * 5000])
async def test_a_port_that_is_none_is_refused(port: str) -> None:
    settings = config(metrics={"METRICS_PORT": port})
    async with px.Executor(settings) as executor:
        with pytest.raises(px.ConfigError, match=r"^METRICS_PORT="):
            async with open_metrics(settings, executor):
                pass
