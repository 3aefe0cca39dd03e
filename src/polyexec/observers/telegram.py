"""Telegram, send-only: the Bot API's ``sendMessage`` and no other method.

Source: https://core.telegram.org/bots/api#sendmessage and the FAQ on limits: about one message per
second to a chat, 20 per minute to a group, 4096 characters each; 429 says how long to wait.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

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

__all__ = ["DEFAULT_API_URL", "Telegram"]

DEFAULT_API_URL: Final = "https://api.telegram.org"
MOST_UNITS: Final = 4096
"""Of a message, in UTF-16 code units."""

_TOKEN: Final = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,200}")
_CHAT: Final = re.compile(r"-?[0-9]{1,20}|@[A-Za-z0-9_]{1,64}")
_SECOND: Final = 1_000_000_000
_MINUTE: Final = 60 * _SECOND
_MOST_WAIT_S: Final = 3600.0


class Telegram:
    """One chat, written to by a bot.

    Parameters
    ----------
    token : Secret
        Of the bot; part of the URL, so no URL is ever shown.
    chat_id : str
        A number (groups: negative) or ``@channel``.
    label : str
        Whose notices these are; heads each message.
    api_url : str
        Root of the Bot API: another one for a server of your own.
    now_ns : int
        Time of the clock that the pace goes by.

    Raises
    ------
    ConfigError
        Naming the setting; never showing the token.
    """

    name = "telegram"

    def __init__(
        self,
        token: Secret,
        chat_id: str,
        *,
        label: str = "",
        api_url: str = DEFAULT_API_URL,
        now_ns: int = 0,
    ) -> None:
        if not _TOKEN.fullmatch(token.reveal()):
            raise ConfigError(
                "telegram_bot_token: is not a bot's token; it looks like 123456:ABC-def, "
                "as @BotFather gives it"
            )
        if not _CHAT.fullmatch(chat_id):
            raise ConfigError(
                f"telegram_chat_id={chat_id!r}: must be a number or @channel; write to the bot, "
                "and getUpdates shows the id of your chat"
            )
        self._token = token
        self._chat_id = chat_id
        self._label = label
        self._api_url = parse_endpoint_url(api_url, "NOTIFY_TELEGRAM_API_URL").rstrip("/")
        is_group = chat_id[0] in "-@"
        # A group: a burst of 5 and 15 a minute make at most 20 in any minute.
        self.pace = (
            TokenBucket(5, 15, _MINUTE, now_ns) if is_group else TokenBucket(3, 1, _SECOND, now_ns)
        )

    def __repr__(self) -> str:
        return f"Telegram(chat_id={self._chat_id!r})"

    @property
    def secrets(self) -> Sequence[str]:
        """The token, as it is and as a URL may spell it."""
        token = self._token.reveal()
        return (token, quote(token, safe=""), token.partition(":")[2])

    def render(self, batch: Batch) -> Sequence[Post]:
        """Return messages of at most 4096 characters; no tag and no entity is ever cut."""
        posts: list[Post] = []
        lines: list[str] = []
        used = begun = 0
        for line, begins in self._lines(batch):
            size = _units(line) + 1
            if used + size > MOST_UNITS:
                posts.append(self._message(lines, begun))
                lines, used, begun = [], 0, 0
            lines.append(line)
            used += size
            begun += begins
        return [*posts, self._message(lines, begun)]

    def request(self, body: bytes, unix_s: int) -> tuple[str, Mapping[str, str]]:
        """Return where the message goes. The URL holds the token."""
        url = f"{self._api_url}/bot{self._token.reveal()}/sendMessage"
        return url, {"content-type": "application/json"}

    def verdict(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """Return what the answer means."""
        answer = _decode(body)
        if status == 200 and answer.get("ok") is True:
            return Delivered()
        said = answer.get("description")
        reason = f"HTTP {status}" + (f", {said}" if isinstance(said, str) else "")
        parameters = answer.get("parameters")
        parameters = parameters if isinstance(parameters, dict) else {}
        if status == 429:
            return Later(reason, _seconds(parameters.get("retry_after")))
        moved = parameters.get("migrate_to_chat_id")
        if isinstance(moved, int):
            return Refused(f"{reason}; the chat has a new id, telegram_chat_id={moved}")
        advice = {
            401: "the token is not valid: ask @BotFather",
            403: "the chat does not let the bot write: unblock it, or make it a member",
            404: "no bot has this token: ask @BotFather",
        }.get(status)
        if 400 <= status < 500:
            return Refused(f"{reason}; {advice}" if advice else reason)
        return Later(reason)

    def _lines(self, batch: Batch) -> Iterable[tuple[str, bool]]:
        """Yield every line, escaped, and whether a notice begins with it."""
        head = f"{self._label} · " if self._label else ""
        for notice in map(tidy, batch.notices):
            # Tidy lines fit a message, however much of them has to be escaped.
            yield f"<b>{html.escape(head + notice.title, quote=False)}</b>", True
            for line in notice_lines(notice):
                yield html.escape(line, quote=False), False
            yield "", False
        if batch.more:
            yield more_line(batch.more), False

    def _message(self, lines: Sequence[str], notices: int) -> Post:
        document = {
            "chat_id": self._chat_id,
            "text": "\n".join(lines).strip("\n"),
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        return Post(body=msgspec.json.encode(document), notices=notices)


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _decode(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 1.0
    return min(float(value), _MOST_WAIT_S)
