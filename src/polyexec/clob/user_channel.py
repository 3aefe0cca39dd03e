"""The exchange's user channel: our own order and trade events, as they happen.

A socket tells sooner than a question, but proves nothing by its silence: there are no sequence
numbers and no replay. So whoever listens is told of every gap, and asks for what it may have
missed. Source: protocol notes, websocket.md 2.
"""

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
import orjson

from polyexec.clob import wire
from polyexec.clob.websocket import Channel, ChannelCounts, backoff_s
from polyexec.core.answers import decode_json
from polyexec.core.auth import ApiCredentials
from polyexec.core.ports import Fill, OrderStatus
from polyexec.errors import UnexpectedResponseError

__all__ = ["ChannelCounts", "ChannelEvents", "UserChannel", "UserEvents", "decode_events"]

log = logging.getLogger("polyexec.clob")

_MAX_MESSAGE: Final = 4 * 1024 * 1024
_BY_TYPE: Final = {"PLACEMENT": "LIVE", "UPDATE": "LIVE", "CANCELLATION": "CANCELED"}


class UserEvents(Protocol):
    """What listens to a user channel. Called on the loop; an exception is logged, no more."""

    def on_order(self, status: OrderStatus) -> None:
        """Take in the state of an order. May come twice, late, or before the answer to its POST."""
        ...

    def on_fills(self, fills: Sequence[Fill]) -> None:
        """Take in the fills of a trade: our own and, in the same trade, those of others."""
        ...

    def on_gap(self) -> None:
        """Take note that from now on events are missed, until :meth:`backfill` has been called."""
        ...

    async def backfill(self, since_ms: int) -> None:
        """Ask for what may have been missed; called after every connect, while events come.

        ``since_ms`` is when the last connection was heard of, 0 for the first one. It is called
        again after a pause when it raises.
        """
        ...

    @property
    def is_owed(self) -> bool:
        """An event is certainly due for longer than the exchange takes: the channel is frozen."""
        ...


class ChannelEvents(msgspec.Struct, frozen=True):
    """One message of the channel, read."""

    orders: tuple[OrderStatus, ...] = ()
    trades: tuple[tuple[Fill, ...], ...] = ()
    ignored: int = 0
    """Of an event type that is not known."""
    unreadable: int = 0


def decode_events(data: str | bytes) -> ChannelEvents:
    """Read a message of the user channel, one event or an array of them. Never raises."""
    try:
        value = decode_json(data.encode() if isinstance(data, str) else data)
    except ValueError:  # a lone surrogate cannot be encoded, which is one too
        return ChannelEvents(unreadable=1)
    orders, trades, ignored, unreadable = [], [], 0, 0
    for item in value if isinstance(value, list) else [value]:
        kind = item.get("event_type") if isinstance(item, dict) else None
        try:
            if kind == "order":
                orders.append(wire.parse_order(_plain_order(item)))
            elif kind == "trade":
                trades.append(wire.parse_trade(_plain_trade(item)))
            elif isinstance(kind, str):
                ignored += 1
            else:
                unreadable += 1
        except UnexpectedResponseError:
            unreadable += 1
    return ChannelEvents(tuple(orders), tuple(trades), ignored, unreadable)


def _plain_order(fields: dict[str, Any]) -> dict[str, Any]:
    """Return an order event as the REST interface would show the order."""
    status = fields.get("status") or _BY_TYPE.get(str(fields.get("type")), "")
    size = fields.get("size_matched")
    if size in ("", None):
        # Seen on a killed FOK, of which nothing can have traded. Of any other end we do not know
        # what is left, so it is no end that may be acted on.
        size = "0"
        ended = str(status).upper().startswith("CANCELED")
        if ended and fields.get("order_type") != "FOK":
            status = "UNKNOWN"
    return fields | {"status": status, "size_matched": size}


def _plain_trade(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"match_time": fields.get("match_time") or fields.get("matchtime")}


class UserChannel(Channel):
    """Keeps one authenticated connection to the user channel, for all markets of the account.

    Parameters
    ----------
    url : str
        ``wss://host[:port][/path]``, the root of the channels; no other host is ever contacted,
        redirects are not followed and proxies not used.
    credentials : ApiCredentials
    events : UserEvents
        What listens.
    ssl_context : ssl.SSLContext or None
        The only way to change what is trusted. Its ALPN list is overwritten.
    ping_interval_s : float
        Seconds between pings.
    silence_s : float
        A connection on which nothing has come for so long is given up.
    connect_timeout_s : float
        For address, handshakes and the answer to the first ping, each.
    time_ms, jitter : callable
        Unix time in milliseconds; a random number from 0 to 1.

    Raises
    ------
    ConfigError
        The URL is not a wss host.
    """

    _refusal = "the credentials were not taken"

    def __init__(
        self,
        url: str,
        *,
        credentials: ApiCredentials,
        events: UserEvents,
        ssl_context: ssl.SSLContext | None = None,
        ping_interval_s: float = 10.0,
        silence_s: float = 30.0,
        connect_timeout_s: float = 10.0,
        time_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        super().__init__(
            url,
            "user",
            ssl_context=ssl_context,
            ping_interval_s=ping_interval_s,
            silence_s=silence_s,
            connect_timeout_s=connect_timeout_s,
            jitter=jitter,
            max_message=_MAX_MESSAGE,
        )
        self._credentials = credentials
        self._events = events
        self._time_ms = time_ms
        self._heard_ms = 0

    def _first_frames(self) -> list[bytes]:
        key = self._credentials
        auth = {"apiKey": key.api_key, "secret": key.secret, "passphrase": key.passphrase}
        return [orjson.dumps({"type": "user", "auth": auth})]

    def _on_up(self) -> list[asyncio.Task[None]]:
        since_ms, self._heard_ms = self._heard_ms, self._time_ms()
        return [asyncio.create_task(self._backfill(since_ms))]

    def _on_down(self, *, was_up: bool) -> None:
        if was_up:
            self._tell(self._events.on_gap)

    def _check_frozen(self) -> str:
        return "events that are due do not come" if self._events.is_owed else ""

    def _hear(self, message: bytes, received_ns: int) -> None:
        if self.is_connected:
            self._heard_ms = self._time_ms()
        super()._hear(message, received_ns)

    def _take(self, message: bytes, received_ns: int) -> None:
        found = decode_events(message)
        counts = self.counts
        counts.events += len(found.orders) + len(found.trades)
        counts.ignored += found.ignored
        if found.unreadable:
            counts.unreadable += found.unreadable
            log.warning("user_channel_unreadable", extra={"events": found.unreadable})
        for status in found.orders:
            self._tell(self._events.on_order, status)
        for fills in found.trades:
            self._tell(self._events.on_fills, fills)

    async def _backfill(self, since_ms: int) -> None:
        failed = 0
        while True:
            try:
                await self._events.backfill(since_ms)
            except Exception:
                failed += 1
                log.warning("user_channel_backfill_failed", exc_info=True)
                await asyncio.sleep(backoff_s(failed, self._jitter))
            else:
                self.counts.backfills += 1
                return

    def _tell(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:
            log.exception("user_event_failed")
