"""The market and the user channel: who is told what, and what clients may ask for."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final

import orjson

from polyexec.paper import views
from polyexec.paper.accounts import ApiKey
from polyexec.paper.exchange import Exchange, MarketMessage
from polyexec.paper.matching import Event, OrderChanged, TradeChanged
from polyexec.paper.websocket import Session, WebSocket

__all__ = ["Channels"]

_FIRST_FRAME_S: Final = 10.0
_POLICY: Final = 1008
_BAD_FIRST: Final = "the first frame must name the channel and what it needs"
_BAD_KEY: Final = "Unauthorized/Invalid api key"


class Channels:
    """The sessions of an exchange's two channels.

    Attributes
    ----------
    silent : bool
        Say nothing at all, not even PONG: how a dead connection looks that is still open.
    withhold : callable or None
        Events for which it returns True are lost on their way.
    """

    def __init__(self, exchange: Exchange) -> None:
        self.silent = False
        self.withhold: Callable[[dict[str, Any]], bool] | None = None
        self._exchange = exchange
        self._users: set[_UserSession] = set()
        self._markets: set[_MarketSession] = set()
        self._best: dict[str, tuple[str, str]] = {}
        self._unsubscribe: Callable[[], None] | None = None
        exchange.watch(self._on_event)

    def __repr__(self) -> str:
        return f"Channels({len(self._markets)} market, {len(self._users)} user sessions)"

    @property
    def user_sessions(self) -> int:
        """Connections that have authenticated."""
        return sum(session.key is not None for session in self._users)

    @property
    def market_sessions(self) -> int:
        """Connections that have subscribed."""
        return sum(session.is_open for session in self._markets)

    def cut(self) -> None:
        """Drop every connection without a word."""
        for session in (*self._users, *self._markets):
            session.socket.abort()

    def open_session(self, path: str, socket: WebSocket) -> Session | None:
        """Return a session for a path, None when there is no such channel."""
        if path == "/ws/user":
            return _UserSession(self, socket)
        if path == "/ws/market":
            return _MarketSession(self, socket)
        return None

    def tell(self, socket: WebSocket, *messages: dict[str, Any]) -> None:
        """Send messages to one client, unless a fault is asked for."""
        kept = [m for m in messages if self.withhold is None or not self.withhold(m)]
        if kept and not self.silent:
            socket.send(*kept)

    # --- user channel -------------------------------------------------------------------------

    def add_user(self, session: "_UserSession") -> None:
        """Remember a session."""
        self._users.add(session)

    def remove_user(self, session: "_UserSession") -> None:
        """Forget a session."""
        self._users.discard(session)

    def check_key(self, auth: Any) -> ApiKey | None:
        """Return the key that raw credentials belong to."""
        if not isinstance(auth, dict):
            return None
        parts = [auth.get(name) for name in ("apiKey", "secret", "passphrase")]
        return self._exchange.accounts.check_raw(*(p if isinstance(p, str) else "" for p in parts))

    def _on_event(self, event: Event) -> None:
        if not self._users:
            return
        if isinstance(event, OrderChanged):
            order = event.order
            message = views.order_message(order, event.kind, self._exchange.clock())
            self._tell_user(order.owner_address, order.market.condition_id, message)
        elif isinstance(event, TradeChanged):
            trade = event.trade
            parties = (trade.taker.owner_address, *(f.order.owner_address for f in trade.makers))
            for address in dict.fromkeys(parties):
                message = views.trade_message(trade, address, self._exchange.clock())
                self._tell_user(address, trade.market.condition_id, message)

    def _tell_user(self, address: str, condition_id: str, message: dict[str, Any]) -> None:
        for session in tuple(self._users):
            if session.hears(address, condition_id):
                self.tell(session.socket, message)

    # --- market channel -----------------------------------------------------------------------

    def add_market(self, session: "_MarketSession") -> None:
        """Remember a session; the first one starts the flow."""
        self._markets.add(session)
        if self._unsubscribe is None:
            # It begins with the book of every token: no session hears them, but the best prices
            # are known from then on.
            self._unsubscribe = self._exchange.subscribe(self._on_message)

    def remove_market(self, session: "_MarketSession") -> None:
        """Forget a session; the last one stops the flow."""
        self._markets.discard(session)
        if not self._markets and self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
            self._best.clear()

    def snapshots(self, asset_ids: list[str]) -> list[MarketMessage]:
        """Return the books of those tokens that exist."""
        known = [a for a in asset_ids if a in self._exchange.engine.tokens]
        return [self._exchange.snapshot(asset_id) for asset_id in known]

    def _on_message(self, message: MarketMessage) -> None:
        changes = message.get("price_changes")
        assets = [c["asset_id"] for c in changes] if changes else [message["asset_id"]]
        self._tell_market(assets, message, custom=False)
        if message["event_type"] in ("price_change", "book"):
            for asset_id in assets:
                self._tell_best(asset_id)

    def _tell_best(self, asset_id: str) -> None:
        market, token = self._exchange.market_of(asset_id)
        book = self._exchange.engine.book(market)
        message = views.best_message(market, book, token, self._exchange.clock())
        best = (message["best_bid"], message["best_ask"])
        if self._best.get(asset_id) != best:
            self._best[asset_id] = best
            self._tell_market([asset_id], message, custom=True)

    def _tell_market(self, assets: list[str], message: MarketMessage, *, custom: bool) -> None:
        for session in tuple(self._markets):
            if not session.assets.isdisjoint(assets) and (session.wants_custom or not custom):
                self.tell(session.socket, message)


class _Session(ABC):
    """What both channels share: PING, and a first frame that must come in time and be right."""

    def __init__(self, channels: Channels, socket: WebSocket) -> None:
        self.channels = channels
        self.socket = socket
        self.is_open = False
        self._deadline = asyncio.get_running_loop().call_later(
            _FIRST_FRAME_S, socket.close, _POLICY, "no first frame in time"
        )

    def on_text(self, text: str) -> None:
        if text == "PING":
            if not self.channels.silent:
                self.socket.send_text(b"PONG")
            return
        try:
            frame = orjson.loads(text)
        except orjson.JSONDecodeError:
            frame = None
        if self.is_open:
            if isinstance(frame, dict):
                self.change(frame)
            return
        refusal = self.start(frame) if isinstance(frame, dict) else _BAD_FIRST
        if refusal:
            self.socket.close(_POLICY, refusal)
            return
        self._deadline.cancel()
        self.is_open = True

    def on_closed(self) -> None:
        self._deadline.cancel()

    @abstractmethod
    def start(self, frame: dict[str, Any]) -> str:
        """Take in the first frame; return why it is refused, or nothing."""

    @abstractmethod
    def change(self, frame: dict[str, Any]) -> None:
        """Take in a later frame; one without meaning is ignored."""


class _UserSession(_Session):
    def __init__(self, channels: Channels, socket: WebSocket) -> None:
        super().__init__(channels, socket)
        self.key: ApiKey | None = None
        self._markets: set[str] | None = None  # None: all
        channels.add_user(self)

    def on_closed(self) -> None:
        super().on_closed()
        self.channels.remove_user(self)

    def hears(self, address: str, condition_id: str) -> bool:
        """Return whether an account's event in a market is for this session."""
        if self.key is None or self.key.address != address:
            return False
        return self._markets is None or condition_id in self._markets

    def start(self, frame: dict[str, Any]) -> str:
        if frame.get("type") != "user":
            return _BAD_FIRST
        self.key = self.channels.check_key(frame.get("auth"))
        if self.key is None:
            return _BAD_KEY
        markets = _texts(frame.get("markets"))
        self._markets = set(markets) if markets else None
        return ""

    def change(self, frame: dict[str, Any]) -> None:
        markets = _texts(frame.get("markets"))
        if frame.get("operation") == "subscribe" and self._markets is not None:
            self._markets.update(markets)
        elif frame.get("operation") == "unsubscribe" and self._markets is not None:
            self._markets.difference_update(markets)


class _MarketSession(_Session):
    def __init__(self, channels: Channels, socket: WebSocket) -> None:
        super().__init__(channels, socket)
        self.assets: set[str] = set()
        self.wants_custom = False
        channels.add_market(self)

    def on_closed(self) -> None:
        super().on_closed()
        self.channels.remove_market(self)

    def start(self, frame: dict[str, Any]) -> str:
        if frame.get("type") != "market" or not isinstance(frame.get("assets_ids"), list):
            return _BAD_FIRST
        self._subscribe(frame)
        return ""

    def change(self, frame: dict[str, Any]) -> None:
        if frame.get("operation") == "subscribe":
            self._subscribe(frame)
        elif frame.get("operation") == "unsubscribe":
            self.assets.difference_update(_texts(frame.get("assets_ids")))

    def _subscribe(self, frame: dict[str, Any]) -> None:
        # The flag counts even where every id is a duplicate and brings nothing else.
        if isinstance(frame.get("custom_feature_enabled"), bool):
            self.wants_custom = frame["custom_feature_enabled"]
        fresh = [a for a in dict.fromkeys(_texts(frame.get("assets_ids"))) if a not in self.assets]
        self.assets.update(fresh)
        books = self.channels.snapshots(fresh)
        if books:
            self.channels.tell(self.socket, *books)


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
