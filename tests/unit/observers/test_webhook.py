"""The webhook: one JSON document, signed over time and body."""

import hashlib
import hmac
import json

import pytest

from polyexec.enums import NoticeKind
from polyexec.errors import ConfigError
from polyexec.observers.endpoints import Delivered, Later, Refused
from polyexec.observers.notices import Batch
from polyexec.observers.webhook import SIGNATURE_HEADER, Webhook, sign
from polyexec.secret import Secret
from tests.unit.observers.support import notice

URL = "https://hooks.example/T0/secret-part?key=1"
KEY = "k" * 32


def webhook(url: str = URL, key: str = "") -> Webhook:
    return Webhook(Secret(url), secret=Secret(key), label="0x12…cd", new_id=lambda: "id-1")


def test_a_batch_is_one_document_of_records_and_text() -> None:
    batch = Batch(
        notices=(notice("a", cost="1\n2"), notice("b", NoticeKind.HALT)),
        more={NoticeKind.SUCCESS: 3},
    )
    (post,) = webhook().render(batch)
    at = "2023-11-14 22:13:20 UTC"
    assert json.loads(post.body) == {
        "id": "id-1",
        "source": "polyexec",
        "account": "0x12…cd",
        "notices": [
            {
                "kind": "success",
                "title": "a",
                "at_ms": 1_700_000_000_000,
                "fields": {"cost": "1 2"},
            },
            {"kind": "halt", "title": "b", "at_ms": 1_700_000_000_000, "fields": {}},
        ],
        "more": {"success": 3},
        "text": f"a\ncost: 1 2\n{at}\n\nb\n{at}\n\nand 3 more of success",
    }
    assert post.notices == 2


def test_without_a_secret_nothing_is_signed() -> None:
    url, headers = webhook().request(b"{}", 5)
    assert (url, headers) == (URL, {"content-type": "application/json"})


def test_the_signature_can_be_checked_with_any_hmac() -> None:
    _, headers = webhook(key=KEY).request(b'{"a":1}', 1_700_000_000)
    expected = hmac.new(KEY.encode(), b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    assert headers[SIGNATURE_HEADER] == f"t=1700000000,v1={expected}"


def test_the_signature_is_that_of_openssl() -> None:
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk
    assert sign(Secret(KEY), b"{}", 1_700_000_000) == (
        "t=1700000000,v1=0b3b35525c10b3757ffa78df69037021fc3168d8390a51a4fcb4a8d56a25b557"
    )


@pytest.mark.parametrize(
    ("status", "headers", "verdict"),
    [
        (200, {}, Delivered()),
        (204, {}, Delivered()),
        (503, {}, Later("HTTP 503")),
        (429, {"retry-after": "30"}, Later("HTTP 429", 30.0)),
        (429, {"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, Later("HTTP 429")),
        (429, {"retry-after": "99999999"}, Later("HTTP 429", 3600.0)),
        (429, {"retry-after": "9" * 400}, Later("HTTP 429")),
        (408, {}, Later("HTTP 408")),
        (301, {}, Refused("HTTP 301: redirects are not followed; give the final URL")),
        (403, {}, Refused("HTTP 403")),
        (410, {}, Refused("HTTP 410")),
    ],
)
def test_an_answer_is_a_verdict(status: int, headers: dict[str, str], verdict: object) -> None:
    assert webhook().verdict(status, headers, b"whatever") == verdict


@pytest.mark.parametrize("url", ["", "hooks.example", "http://hooks.example/x", "https://a:b@c/"])
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^NOTIFY_WEBHOOK_URL: ") as caught:
        webhook(url)
    assert not url or url not in str(caught.value)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^NOTIFY_WEBHOOK_SECRET: .* at least 16") as caught:
        webhook(key="tooshort")
    assert "tooshort" not in str(caught.value)


def test_neither_url_nor_secret_show() -> None:
    assert repr(webhook(key=KEY)) == "Webhook(url=***, signed)"
    assert set(webhook(key=KEY).secrets) == {URL, KEY}
