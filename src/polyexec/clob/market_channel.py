"""The exchange's market channel: one connection, and the tokens that it is asked for."""

import asyncio
import random
import ssl
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, Protocol

import orjson

from polyexec.clob.websocket import Channel
from polyexec.models import TokenId

__all__ = ["IDS_PER_FRAME", "MarketChannel", "MarketListener"]

IDS_PER_FRAME: Final = 100
"""Thousands of ids in one frame make the exchange close the socket."""
_MAX_MESSAGE: Final = 32 * 1024 * 1024  # the books of a whole frame of ids come as one array


class MarketListener(Protocol):
    """What listens to a market channel. Called on the loop, in the order of arrival."""

    def on_frame(self, frame: bytes, received_ns: int) -> None:
        """Take in a message as it was sent; ``received_ns`` is of ``time.perf_counter_ns``."""
        ...

    def on_up(self) -> None:
        """The connection is there, and everything has been asked for."""
        ...

    def on_down(self) -> None:
        """What was known from this connection is void: it is gone, or has not come up."""
        ...


class MarketChannel(Channel):
    """Keeps one connection to the market channel.

    Parameters
    ----------
    url, ssl_context, ping_interval_s, silence_s, connect_timeout_s, jitter
        As for :class:`~polyexec.clob.websocket.Channel`.
    listener : MarketListener
    custom_features : bool
        Ask for ``best_bid_ask``, ``new_market`` and ``market_resolved`` too.
    """

    def __init__(
        self,
        url: str,
        *,
        listener: MarketListener,
        ssl_context: ssl.SSLContext | None = None,
        ping_interval_s: float = 10.0,
        silence_s: float = 30.0,
        connect_timeout_s: float = 10.0,
        jitter: Callable[[], float] = random.random,
        custom_features: bool = True,
    ) -> None:
        super().__init__(
            url,
            "market",
            ssl_context=ssl_context,
            ping_interval_s=ping_interval_s,
            silence_s=silence_s,
            connect_timeout_s=connect_timeout_s,
            jitter=jitter,
            max_message=_MAX_MESSAGE,
        )
        self._listener = listener
        self._custom_features = custom_features
        self._tokens: dict[TokenId, None] = {}
        self._is_greeted = False

    @property
    def tokens(self) -> tuple[TokenId, ...]:
        """What is asked for, now or with the next connection."""
        return tuple(self._tokens)

    def subscribe(self, token_ids: Iterable[TokenId]) -> None:
        """Ask for more tokens; their books come as an answer."""
        fresh = [token for token in dict.fromkeys(token_ids) if token not in self._tokens]
        self._tokens.update(dict.fromkeys(fresh))
        self._send("subscribe", fresh)

    def unsubscribe(self, token_ids: Iterable[TokenId]) -> None:
        """Ask for these no longer."""
        gone = [token for token in dict.fromkeys(token_ids) if token in self._tokens]
        for token in gone:
            del self._tokens[token]
        self._send("unsubscribe", gone)

    def resubscribe(self, token_ids: Iterable[TokenId]) -> None:
        """Ask for the books of tokens anew; they come in order with the changes around them."""
        again = [token for token in dict.fromkeys(token_ids) if token in self._tokens]
        # A token that is subscribed would be refused as a duplicate.
        self._send("unsubscribe", again)
        self._send("subscribe", again)

    def _send(self, operation: str, token_ids: list[TokenId]) -> None:
        if self._socket is None or not self._is_greeted:
            return  # all are asked for when the connection is there
        for some in _frames_of(token_ids):
            frame: dict[str, object] = {"operation": operation, "assets_ids": some}
            if operation == "subscribe":
                frame["custom_feature_enabled"] = self._custom_features
            self._socket.send(orjson.dumps(frame))

    def _first_frames(self) -> list[bytes]:
        self._is_greeted = True
        first, *rest = list(_frames_of(self._tokens)) or [[]]
        feature = {"custom_feature_enabled": self._custom_features}
        return [
            orjson.dumps({"type": "market", "assets_ids": first} | feature),
            *(
                orjson.dumps({"operation": "subscribe", "assets_ids": some} | feature)
                for some in rest
            ),
        ]

    def _take(self, message: bytes, received_ns: int) -> None:
        self._listener.on_frame(message, received_ns)

    def _on_up(self) -> list[asyncio.Task[None]]:
        self._listener.on_up()
        return []

    def _on_down(self, *, was_up: bool) -> None:
        self._is_greeted = False
        self._listener.on_down()


def _frames_of(token_ids: Iterable[TokenId]) -> Iterator[list[TokenId]]:
    rest = iter(token_ids)
    while some := list(islice(rest, IDS_PER_FRAME)):
        yield some
