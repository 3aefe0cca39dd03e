"""Telegram messages: escaped, cut between lines, and no answer that can do harm."""

import html
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyexec.enums import NoticeKind
from polyexec.errors import ConfigError
from polyexec.observers.endpoints import Delivered, Later, Post, Refused
from polyexec.observers.notices import Batch, Notice
from polyexec.observers.telegram import Telegram
from polyexec.secret import Secret
from tests.unit.observers.support import notice

TOKEN = "123456:AAF-secret_part_of_the_token"


def telegram(chat_id: str = "42", **changes: str) -> Telegram:
    return Telegram(Secret(TOKEN), chat_id, label="0x12…cd", **changes)


def texts(posts: "list[Post] | tuple[Post, ...]") -> list[str]:
    return [json.loads(post.body)["text"] for post in posts]


def test_a_notice_is_a_message_that_shows_no_preview() -> None:
    batch = Batch(notices=(notice("Executed: X", cost="1 dollars"),), more={})
    (post,) = telegram().render(batch)
    assert json.loads(post.body) == {
        "chat_id": "42",
        "text": "<b>0x12…cd · Executed: X</b>\ncost: 1 dollars\n2023-11-14 22:13:20 UTC",
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": True},
    }
    assert post.notices == 1


def test_what_waited_together_is_one_message() -> None:
    batch = Batch(notices=(notice("a"), notice("b")), more={NoticeKind.SUCCESS: 37})
    (post,) = telegram().render(batch)
    (text,) = texts([post])
    assert text.count("<b>") == 2
    assert text.endswith("\nand 37 more of success")
    assert post.notices == 2


def test_text_from_outside_is_escaped() -> None:
    hostile = '<a href="tg://user?id=1">&amp;</a>'
    (text,) = texts(telegram().render(Batch(notices=(notice(hostile, error=hostile),), more={})))
    escaped = '&lt;a href="tg://user?id=1"&gt;&amp;amp;&lt;/a&gt;'
    assert text.splitlines()[:2] == [f"<b>0x12…cd · {escaped}</b>", f"error: {escaped}"]


@given(
    st.lists(
        st.tuples(
            st.text(max_size=500),
            st.lists(st.tuples(st.text(max_size=100), st.text(max_size=600)), max_size=6),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_messages_fit_and_hold_every_line_whole(content: list) -> None:
    notices = tuple(
        Notice(kind=NoticeKind.ALARM, title=title, at_ms=0, fields=tuple(fields))
        for title, fields in content
    )
    posts = telegram().render(Batch(notices=notices, more={}))
    assert sum(post.notices for post in posts) == len(notices)
    lines = 0
    for text in texts(posts):
        assert 0 < len(text.encode("utf-16-le")) // 2 <= 4096
        for line in text.split("\n"):
            lines += bool(line)
            bare = re.sub(r"^<b>(.*)</b>$", r"\1", line)
            assert "<" not in bare
            assert html.escape(html.unescape(bare), quote=False) == bare
    assert lines == sum(2 + len(fields) for _, fields in content)


@pytest.mark.parametrize("char", ["&", "\U0001f600", "x"])
def test_the_longest_lines_there_are_fit(char: str) -> None:
    long = notice(char * 5000, **{char * 500: char * 5000})
    for text in texts(telegram().render(Batch(notices=(long,) * 8, more={}))):
        assert len(text.encode("utf-16-le")) // 2 <= 4096


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b'{"ok":true,"result":{}}', Delivered()),
        (200, b"<html>a portal that wants a login</html>", Later("HTTP 200")),
        (200, b'{"ok":false,"description":"no"}', Later("HTTP 200, no")),
        (
            429,
            b'{"ok":false,"description":"Too Many Requests: retry after 35",'
            b'"parameters":{"retry_after":35}}',
            Later("HTTP 429, Too Many Requests: retry after 35", 35.0),
        ),
        (429, b"", Later("HTTP 429", 1.0)),
        (429, b'{"parameters":{"retry_after":-5}}', Later("HTTP 429", 1.0)),
        (429, b'{"parameters":{"retry_after":"soon"}}', Later("HTTP 429", 1.0)),
        (429, b'{"parameters":{"retry_after":1e300}}', Later("HTTP 429", 3600.0)),
        (429, b'{"parameters":[]}', Later("HTTP 429", 1.0)),
        (502, b"bad gateway", Later("HTTP 502")),
        (302, b"", Later("HTTP 302")),
        (
            403,
            b'{"ok":false,"description":"Forbidden: bot was blocked by the user"}',
            Refused(
                "HTTP 403, Forbidden: bot was blocked by the user; the chat does not let the bot "
                "write: unblock it, or make it a member"
            ),
        ),
        (401, b"[1", Refused("HTTP 401; the token is not valid: ask @BotFather")),
        (404, b"\xff", Refused("HTTP 404; no bot has this token: ask @BotFather")),
        (
            400,
            b'{"description":"group chat was upgraded","parameters":{"migrate_to_chat_id":-1001}}',
            Refused(
                "HTTP 400, group chat was upgraded; the chat has a new id, telegram_chat_id=-1001"
            ),
        ),
    ],
)
def test_an_answer_is_a_verdict(status: int, body: bytes, verdict: object) -> None:
    assert telegram().verdict(status, {}, body) == verdict


def test_an_answer_that_nests_without_end_is_a_verdict_too() -> None:
    assert telegram().verdict(200, {}, b"[" * 60_000) == Later("HTTP 200")


@pytest.mark.parametrize("chat_id", ["-100123", "@channel"])
def test_a_group_gets_at_most_20_messages_in_any_minute(chat_id: str) -> None:
    pace = telegram(chat_id).pace
    sent: list[int] = []
    now = 0
    while now < 300_000_000_000:
        wait = pace.wait_ns(1, now)
        if wait:
            now += wait
            continue
        pace.take(1, now)
        sent.append(now)
    assert max(sum(a <= b < a + 60_000_000_000 for b in sent) for a in sent) <= 20


@pytest.mark.parametrize(
    "token", ["", "98765", "bot123:abc", "1:a/b", "1:a b", "1:é", f"{TOKEN}\n"]
)
def test_a_token_that_is_none_is_refused_without_showing_it(token: str) -> None:
    with pytest.raises(ConfigError, match=r"^telegram_bot_token: is not a bot's token") as caught:
        Telegram(Secret(token), "42")
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize("chat_id", ["", "my chat", "@", "--1", "@a/b"])
def test_a_chat_id_that_is_none_is_refused(chat_id: str) -> None:
    with pytest.raises(ConfigError, match=r"^telegram_chat_id="):
        Telegram(Secret(TOKEN), chat_id)


@pytest.mark.parametrize(
    "url",
    [
        "api.telegram.org",
        "http://api.telegram.org",
        "ftp://host",
        "https://user:pw@host",
        "https://ho st",
        "https://host:99999",
        "https://",
    ],
)
def test_another_api_server_must_be_https(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^NOTIFY_TELEGRAM_API_URL: ") as caught:
        telegram(api_url=url)
    assert "pw" not in str(caught.value)


def test_a_server_on_this_machine_may_do_without_tls() -> None:
    url, _ = telegram(api_url="http://127.0.0.1:8081/").request(b"", 0)
    assert url == f"http://127.0.0.1:8081/bot{TOKEN}/sendMessage"


def test_the_token_shows_nowhere() -> None:
    assert "secret" not in repr(telegram())
    assert TOKEN in telegram().secrets
