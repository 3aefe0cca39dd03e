"""Delivery over real TLS to a server that hangs, resets, refuses and drips; nobody waits for it."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from polyexec.enums import NoticeKind
from polyexec.errors import UsageError
from polyexec.observers.endpoints import Endpoint
from polyexec.observers.notices import Notice
from polyexec.observers.notify import Notifier
from polyexec.observers.telegram import Telegram
from polyexec.observers.webhook import Webhook
from polyexec.secret import Secret
from tests.unit.observers.support import (
    WAIT_S,
    Behaviour,
    Request,
    Server,
    answer,
    drip,
    garbage,
    hang,
    notice,
    reset,
)

TOKEN = "123456:AAF-secret_part_of_the_token"


class Pauses:
    """Waiting that takes no time, and is kept; everybody else has a turn meanwhile."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await asyncio.sleep(0.001)


class Ticks:
    """A clock that goes on by a second whenever it is asked: no pace makes anybody wait."""

    def __init__(self, step_s: float = 1.0) -> None:
        self.now_ns = 0
        self._step_ns = int(step_s * 1e9)

    def __call__(self) -> int:
        self.now_ns += self._step_ns
        return self.now_ns


def telegram(server: Server) -> Telegram:
    return Telegram(Secret(TOKEN), "42", api_url=server.url)


def webhook(server: Server) -> Webhook:
    return Webhook(Secret(f"{server.url}/hook"))


@contextmanager
def running(
    endpoint: Endpoint, server: Server, *more: Endpoint, close_s: float = WAIT_S, **changes: Any
) -> Iterator[Notifier]:
    settings: dict[str, Any] = {"sleep": Pauses(), "monotonic_ns": Ticks()}
    notifier = Notifier((endpoint, *more), ssl_context=server.trust, **settings | changes)
    notifier.start()
    try:
        yield notifier
    finally:
        notifier.close(close_s)


def titles(server: Server) -> list[str]:
    return [request.json["text"].split("\n")[0] for request in server.requests]


def test_a_notice_arrives_at_the_bot_api() -> None:
    with Server() as server, running(telegram(server), server) as notifier:
        notifier.notify(notice("Executed: X"))
        (request,) = server.wait(1)
        assert request.path == f"/bot{TOKEN}/sendMessage"
        assert request.json["chat_id"] == "42"
        assert request.json["text"].startswith("<b>Executed: X</b>\n")
        notifier.close(WAIT_S)
        counts = notifier.counts["telegram"]
        assert (counts.delivered, counts.lost, counts.attempts, counts.failures) == (1, 0, 1, 0)


@pytest.mark.parametrize(
    "trouble",
    [
        reset,
        garbage,
        answer(503),
        answer(500, b"x" * 1_000_000),
        answer(429, {"ok": False, "parameters": {"retry_after": 7}}),
        answer(200, {"ok": False}),
    ],
    ids=["reset", "garbage", "503", "long", "429", "not ok"],
)
def test_what_fails_once_is_sent_again(trouble: Behaviour) -> None:
    pauses = Pauses()
    with Server(trouble, trouble) as server:
        with running(telegram(server), server, sleep=pauses) as notifier:
            notifier.notify(notice("Executed: X"))
            requests = server.wait(3)
        assert len({request.body for request in requests}) == 1
        counts = notifier.counts["telegram"]
        assert (counts.delivered, counts.lost, counts.failures) == (1, 0, 2)


def test_a_429_is_waited_out_as_long_as_it_asks() -> None:
    pauses = Pauses()
    busy = answer(429, {"ok": False, "parameters": {"retry_after": 35}})
    with Server(busy) as server, running(telegram(server), server, sleep=pauses) as notifier:
        notifier.notify(notice())
        server.wait(2)
    assert pauses.asked == [35.0]


def test_pauses_grow_to_a_minute() -> None:
    pauses = Pauses()
    with Server(*[reset] * 12) as server, running(telegram(server), server, sleep=pauses) as one:
        one.notify(notice())
        server.wait(13)
    for number, pause in enumerate(pauses.asked):
        longest = min(2.0**number, 60.0)
        assert longest / 2 <= pause <= longest
    assert len(pauses.asked) == 12


@pytest.mark.parametrize("trouble", [hang, drip], ids=["hangs", "drips"])
def test_a_server_that_never_ends_an_answer_is_left_and_asked_again(trouble: Behaviour) -> None:
    with Server(trouble) as server:
        with running(telegram(server), server, timeout_s=0.2) as notifier:
            notifier.notify(notice())
            server.wait(2)
        assert notifier.counts["telegram"].delivered == 1


def test_a_refusal_loses_the_notice_counts_it_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    blocked = answer(403, {"ok": False, "description": "Forbidden: bot was blocked by the user"})
    with Server(blocked) as server:
        with running(telegram(server), server) as notifier:
            notifier.notify(notice("lost"))
            server.wait(1)
            notifier.notify(notice("next"))
            server.wait(2)
        counts = notifier.counts["telegram"]
        assert (counts.delivered, counts.lost) == (1, 1)
    (record,) = [r for r in caplog.records if r.getMessage() == "notify_refused"]
    assert record.levelno == logging.WARNING
    assert record.reason.startswith("HTTP 403, Forbidden: bot was blocked by the user; ")


def test_what_is_not_taken_within_a_day_is_lost_and_counted() -> None:
    with Server(reset, reset, reset) as server:
        with running(telegram(server), server, monotonic_ns=Ticks(step_s=20_000)) as notifier:
            notifier.notify(notice("old"))
            server.wait(2)
            notifier.notify(notice("new"))
            server.wait(4)
        assert "new" in titles(server)[-1]
        assert notifier.counts["telegram"].lost == 1


def test_a_dead_endpoint_delays_neither_the_caller_nor_the_other_endpoint() -> None:
    with Server(then=hang) as dead, Server() as alive:
        dead.trust.load_verify_locations(cadata=pem_of(alive))
        stuck = telegram(dead)
        with running(stuck, dead, webhook(alive), close_s=0.01) as notifier:
            notifier.notify(notice("first"))
            dead.wait(1)
            for _ in range(10_000):
                notifier.notify(notice("flood"))
            notifier.notify(notice("halted", NoticeKind.HALT))
            alive.wait(1)
            while notifier.counts["webhook"].delivered < 2:
                notifier.notify(notice("more"))
                alive.wait(len(alive.requests))
            # 8 of a kind at most wait for the dead one, whatever comes.
            assert notifier.waiting <= 2 * 8 * 2
            assert notifier.folded > 0
            assert notifier.counts["telegram"].delivered == 0


def test_hours_of_outage_leave_one_short_message_of_all_that_happened() -> None:
    """Time passes by the pauses alone: hours of them, at full speed."""

    recovered = threading.Event()
    most_waiting = []

    async def take(request: Request, writer: asyncio.StreamWriter) -> None:
        await answer()(request, writer)
        if len(request.json["notices"]) > 1:
            recovered.set()

    class Outage:
        now_ns = 0

        def clock(self) -> int:
            return self.now_ns

        async def sleep(self, seconds: float) -> None:
            self.now_ns += int(seconds * 1e9)
            told = server.requests
            if self.now_ns > 3600 * 1_000_000_000:
                server.behaviour = take
            for _ in range(50):
                notifier.notify(notice(f"Executed {len(told)}"))
            notifier.notify(notice(f"Halted {len(told)}", NoticeKind.HALT))
            most_waiting.append(notifier.waiting)
            await asyncio.sleep(0)

    outage = Outage()
    with Server(then=answer(503)) as server:
        notifier = Notifier(
            [webhook(server)],
            ssl_context=server.trust,
            monotonic_ns=outage.clock,
            sleep=outage.sleep,
        )
        notifier.start()
        notifier.notify(notice("first"))
        assert recovered.wait(60)
        notifier.close(WAIT_S)
        counts = notifier.counts["webhook"]
        assert counts.lost == 0
        assert counts.failures > 50
        assert max(most_waiting) == 16
        last = server.requests[-1].json
        kinds = [one["kind"] for one in last["notices"]]
        assert (kinds.count("success"), kinds.count("halt")) == (8, 8)
        assert last["more"]["success"] > 2_000
        assert notifier.folded == sum(last["more"].values())
        assert len(server.requests[-1].body) < 10_000


def test_a_flood_becomes_one_message_with_a_number() -> None:
    with Server() as server:
        notifier = Notifier([telegram(server)], ssl_context=server.trust)
        for _ in range(45):
            notifier.notify(notice("Executed: X"))
        notifier.start()
        (request,) = server.wait(1)
        notifier.close(WAIT_S)
        assert request.json["text"].count("Executed: X") == 8
        assert request.json["text"].endswith("and 37 more of success")


def test_only_the_kinds_that_are_wanted_are_told() -> None:
    kinds = {NoticeKind.HALT}
    with Server() as server, running(telegram(server), server, kinds=kinds) as notifier:
        notifier.notify(notice("Executed: X"))
        notifier.notify(notice("Halted", NoticeKind.HALT))
        (request,) = server.wait(1)
        assert request.json["text"].startswith("<b>Halted</b>")


def test_watches_are_asked_and_one_that_fails_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = threading.Event()

    def broken(now_ms: int) -> list[Notice]:
        raise ValueError("broken")

    def watch(now_ms: int) -> list[Notice]:
        if asked.is_set():
            return []
        asked.set()
        return [notice(f"at {now_ms}")]

    with Server() as server:
        watches = (broken, watch)
        with running(telegram(server), server, watches=watches, time_ms=lambda: 77):
            (request,) = server.wait(1)
        assert request.json["text"].startswith("<b>at 77</b>")
    assert [r.getMessage() for r in caplog.records].count("notify_watch_failed") == 1


def test_a_certificate_that_is_not_trusted_gets_nothing() -> None:
    with Server() as server, Server() as stranger:
        seen = threading.Event()

        async def sleep(seconds: float) -> None:
            seen.set()
            await asyncio.Event().wait()

        with running(telegram(server), stranger, sleep=sleep, close_s=0.01) as notifier:
            notifier.notify(notice())
            assert seen.wait(WAIT_S)
        assert server.requests == []
        assert notifier.counts["telegram"].delivered == 0


def test_redirects_are_not_followed() -> None:
    with Server() as other, Server() as server:
        server.behaviours.append(answer(302, location=f"{other.url}/stolen"))
        with running(webhook(server), server) as notifier:
            notifier.notify(notice())
            server.wait(1)
        assert notifier.counts["webhook"].lost == 1
        assert other.requests == []


def test_closing_a_notifier_with_a_dead_endpoint_ends_and_says_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Server(then=hang) as server, running(telegram(server), server) as notifier:
        notifier.notify(notice("in hand"))
        server.wait(1)
        notifier.notify(notice("waiting"))
        notifier.close(0.01)
    (record,) = [r for r in caplog.records if r.getMessage() == "notify_lost"]
    assert (record.endpoint, record.notices) == ("telegram", 2)
    assert notifier.counts["telegram"].lost == 2


def test_closing_delivers_what_waits() -> None:
    with Server() as server:
        for _ in range(10):
            with running(telegram(server), server) as notifier:
                notifier.notify(notice("last words"))
            assert notifier.counts["telegram"].delivered == 1


def test_life_is_one_way() -> None:
    with Server() as server:
        notifier = Notifier([telegram(server)], ssl_context=server.trust)
        notifier.close()  # never started: nothing to end
        with running(telegram(server), server) as started, pytest.raises(UsageError):
            started.start()
        with pytest.raises(UsageError):
            started.start()
        started.notify(notice("too late"))
        assert server.requests == []


def test_an_endpoint_that_cannot_render_costs_the_batch_and_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Server() as server:
        endpoint = telegram(server)
        render = endpoint.render
        told: list[Callable[..., Any]] = []

        def broken(batch: Any) -> Any:
            if told:
                return render(batch)
            told.append(render)
            raise RuntimeError("a fault of ours")

        monkeypatch.setattr(endpoint, "render", broken)
        with running(endpoint, server) as notifier:
            notifier.notify(notice("lost"))
            while not notifier.counts.get("telegram") or not notifier.counts["telegram"].lost:
                threading.Event().wait(0.001)
            notifier.notify(notice("next"))
            server.wait(1)
        assert (notifier.counts["telegram"].lost, notifier.counts["telegram"].delivered) == (1, 1)
    assert "notify_failed" in [r.getMessage() for r in caplog.records]


@pytest.mark.parametrize(
    "trouble",
    [
        reset,
        garbage,
        answer(404, {"ok": False, "description": f"no /bot{TOKEN}/sendMessage here"}),
        answer(403, {"ok": False, "description": TOKEN.replace(":", "%3A")}),
        answer(302, location=f"https://x/bot{TOKEN}"),
        answer(200, {"ok": True}),
        answer(500, f"bot{TOKEN}".encode()),
    ],
    ids=["reset", "garbage", "404", "403", "302", "200", "500"],
)
def test_the_token_is_in_no_log_line_of_any_library(
    trouble: Behaviour, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with Server(trouble) as server, running(telegram(server), server) as notifier:
        notifier.notify(notice("Executed: X"))
        server.wait(1)
        notifier.notify(notice("Executed: Y"))
        server.wait(2)
        repr(notifier)
    assert caplog.records
    formatter = logging.Formatter()
    for record in caplog.records:
        line = formatter.format(record) + repr(vars(record))
        assert "secret_part" not in line


def pem_of(server: Server) -> str:
    return server.authority.cert_pem.bytes().decode()
