"""A webhook: notices as JSON, signed when both sides share a secret."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from polyexec.core.buckets import TokenBucket
from polyexec.errors import ConfigError
from polyexec.observers.endpoints import (
    Delivered,
    Later,
    Post,
    Refused,
    Verdict,
    parse_endpoint_url,
)
from polyexec.observers.notices import Batch, more_line, notice_lines, tidy
from polyexec.secret import Secret

__all__ = ["SIGNATURE_HEADER", "Webhook", "sign"]

SIGNATURE_HEADER: Final = "x-polyexec-signature"

_SECOND: Final = 1_000_000_000
_MOST_WAIT_S: Final = 3600.0
_SHORTEST_SECRET: Final = 16


class Webhook:
    """A URL that takes a JSON POST.

    Parameters
    ----------
    url : Secret
        Secret as a whole: many services put their key into it.
    secret : Secret
        Key of the signature header; empty: not signed.
    label : str
        Whose notices these are.
    new_id : callable
        Makes the id of a post, which stays the same when it is repeated.
    now_ns : int
        Time of the clock that the pace goes by.

    Raises
    ------
    ConfigError
        Naming the setting; showing neither URL nor secret.
    """

    name = "webhook"

    def __init__(
        self,
        url: Secret,
        *,
        secret: Secret | None = None,
        label: str = "",
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
        now_ns: int = 0,
    ) -> None:
        parse_endpoint_url(url.reveal(), "NOTIFY_WEBHOOK_URL")
        if secret and len(secret.reveal()) < _SHORTEST_SECRET:
            raise ConfigError(
                f"NOTIFY_WEBHOOK_SECRET: must have at least {_SHORTEST_SECRET} characters; "
                "make one with: openssl rand -hex 32"
            )
        self._url = url
        self._secret = secret or Secret("")
        self._label = label
        self._new_id = new_id
        self.pace = TokenBucket(5, 1, _SECOND, now_ns)

    def __repr__(self) -> str:
        return f"Webhook(url=***, {'signed' if self._secret else 'not signed'})"

    @property
    def secrets(self) -> Sequence[str]:
        """The URL and the key."""
        url, key = self._url.reveal(), self._secret.reveal()
        return (url, key) if key else (url,)

    def render(self, batch: Batch) -> Sequence[Post]:
        """Return one body: the notices as records, and as text for a chat."""
        notices = [tidy(notice) for notice in batch.notices]
        lines = []
        for notice in notices:
            lines += [notice.title, *notice_lines(notice), ""]
        if batch.more:
            lines.append(more_line(batch.more))
        document = {
            "id": self._new_id(),
            "source": "polyexec",
            "account": self._label,
            "notices": [
                {
                    "kind": notice.kind,
                    "title": notice.title,
                    "at_ms": notice.at_ms,
                    "fields": dict(notice.fields),
                }
                for notice in notices
            ],
            "more": batch.more,
            "text": "\n".join(lines).strip("\n"),
        }
        return [Post(body=msgspec.json.encode(document), notices=len(notices))]

    def request(self, body: bytes, unix_s: int) -> tuple[str, Mapping[str, str]]:
        """Return URL and headers; the signature covers time and body."""
        headers = {"content-type": "application/json"}
        if self._secret:
            headers[SIGNATURE_HEADER] = sign(self._secret, body, unix_s)
        return self._url.reveal(), headers

    def verdict(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Return what the answer means: any 2xx took it."""
        if 200 <= status < 300:
            return Delivered()
        reason = f"HTTP {status}"
        if status in (408, 425, 429) or status >= 500:
            asked = headers.get("retry-after", "").strip()
            waits = asked.isascii() and asked.isdigit() and len(asked) < 10
            return Later(reason, min(float(asked), _MOST_WAIT_S) if waits else 0.0)
        if 300 <= status < 400:
            return Refused(f"{reason}: redirects are not followed; give the final URL")
        return Refused(reason)


def sign(secret: Secret, body: bytes, unix_s: int) -> str:
    """Return the value of the signature header: ``t=<unix seconds>,v1=<hex>``.

    ``v1`` is HMAC-SHA256, keyed with the secret's UTF-8 bytes, of the time in digits, a full stop
    and the body. A receiver compares in constant time and refuses old times, so that a recorded
    request cannot be played back.
    """
    signed = b"%d.%b" % (unix_s, body)
    digest = hmac.new(secret.reveal().encode(), signed, hashlib.sha256).hexdigest()
    return f"t={unix_s},v1={digest}"
