"""What the market channel says, read into typed events. Pure, and never surprised.

Prices and sizes stay the texts that were sent: the price table turns them into integers, and the
hash of a book is over texts. Source: protocol notes, websocket.md 1.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from polyexec.core.answers import decode_json

__all__ = [
    "BestBidAsk",
    "BookEvent",
    "Ignored",
    "LastTradePrice",
    "Level",
    "MarketEvent",
    "MarketResolved",
    "NewMarket",
    "PriceChange",
    "PriceChanges",
    "TickSizeChange",
    "Unreadable",
    "decode_frame",
    "parse_time_ms",
    "read_books",
]

_MAX_TEXT: Final = 200
_MAX_NAMED: Final = 1000


class Level(msgspec.Struct, gc=False):
    """One price of a book, as it was sent: dollars and shares."""

    price: str
    size: str


class BookEvent(msgspec.Struct, tag_field="event_type", tag="book", kw_only=True):
    """A whole book, best level last on both sides."""

    asset_id: str
    timestamp: str
    bids: list[Level]
    asks: list[Level]
    market: str = ""
    hash: str | None = None
    tick_size: str | None = None
    last_trade_price: str | None = None
    min_order_size: str | None = None
    """REST only."""
    neg_risk: bool | None = None
    """REST only."""


class PriceChange(msgspec.Struct, gc=False):
    """The new total at one price of one token."""

    asset_id: str
    price: str
    size: str
    side: str
    hash: str | None = None
    """Of the whole book after the change."""
    best_bid: str | None = None
    """After the change, as :attr:`best_ask`."""
    best_ask: str | None = None


class PriceChanges(msgspec.Struct, tag_field="event_type", tag="price_change", kw_only=True):
    """Changes of one market at one time, of both tokens."""

    timestamp: str
    price_changes: list[PriceChange]
    market: str = ""


class TickSizeChange(msgspec.Struct, tag_field="event_type", tag="tick_size_change", kw_only=True):
    """The grid of prices of a token is another one from now on."""

    asset_id: str
    new_tick_size: str
    market: str = ""
    old_tick_size: str | None = None
    timestamp: str = ""


class LastTradePrice(msgspec.Struct, tag_field="event_type", tag="last_trade_price", kw_only=True):
    """A trade, in terms of its taker."""

    asset_id: str
    price: str
    market: str = ""
    size: str | None = None
    side: str | None = None
    fee_rate_bps: str | None = None
    transaction_hash: str | None = None
    timestamp: str = ""


class BestBidAsk(msgspec.Struct, tag_field="event_type", tag="best_bid_ask", kw_only=True):
    """The best prices of a token; a side that is empty has none, or an empty text."""

    asset_id: str
    market: str = ""
    best_bid: str | None = None
    best_ask: str | None = None
    spread: str | None = None
    timestamp: str = ""


class NewMarket(msgspec.Struct, tag_field="event_type", tag="new_market", kw_only=True):
    """A market has been opened; it need not be one that was asked for."""

    id: str
    market: str
    question: str | None = None
    slug: str | None = None
    condition_id: str | None = None
    assets_ids: list[str] | None = None
    outcomes: list[str] | None = None
    active: bool | None = None
    order_price_min_tick_size: str | None = None
    group_item_title: str | None = None
    timestamp: str = ""


class MarketResolved(msgspec.Struct, tag_field="event_type", tag="market_resolved", kw_only=True):
    """The outcome of a market is known."""

    market: str
    id: str = ""
    assets_ids: list[str] | None = None
    winning_asset_id: str | None = None
    winning_outcome: str | None = None
    timestamp: str = ""


class Ignored(msgspec.Struct, frozen=True):
    """An event of a type that is not known."""

    event_type: str


class Unreadable(msgspec.Struct, frozen=True):
    """Something that cannot be read.

    A frame that is no JSON can have been about anything. An event that could be told apart names
    what it was about, so that only those books are doubted.
    """

    kind: str
    """``bad_json``, ``not_an_event``, ``bad_book``, ``bad_price_change``, ..."""
    is_book_news: bool
    """A change of a book may be lost with it."""
    token_ids: tuple[str, ...] = ()
    market: str = ""


MarketEvent: TypeAlias = (
    BookEvent
    | PriceChanges
    | TickSizeChange
    | LastTradePrice
    | BestBidAsk
    | NewMarket
    | MarketResolved
    | Ignored
    | Unreadable
)

_Known: TypeAlias = (
    BookEvent
    | PriceChanges
    | TickSizeChange
    | LastTradePrice
    | BestBidAsk
    | NewMarket
    | MarketResolved
)
_Fields: TypeAlias = Mapping[str, Any]

_typed: Final = msgspec.json.Decoder(_Known | list[_Known])
_KEEP_ALIVE: Final = (b"PONG", b"PING", "PONG", "PING")


def decode_frame(data: bytes | str) -> Sequence[MarketEvent]:
    """Read a frame: one event, an array of them, or a keep-alive, which is none. Never raises."""
    try:
        found = _typed.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return () if data in _KEEP_ALIVE else _decode_loosely(data)
    return found if type(found) is list else (found,)


def read_books(data: bytes | str) -> Sequence[MarketEvent]:
    """Read the answer of ``/books`` (or ``/book``): books without an ``event_type``."""
    try:
        value = decode_json(data.encode() if isinstance(data, str) else data)
    except ValueError:
        return (Unreadable("bad_json", is_book_news=True),)
    items = value if isinstance(value, list) else [value]
    return [
        _read(item | {"event_type": "book"})
        if isinstance(item, dict)
        else Unreadable("not_an_event", is_book_news=True)
        for item in items
    ]


def parse_time_ms(text: str) -> int:
    """Return unix milliseconds; -1 when it is no time.

    Seconds, as in some documented examples, are told apart by their magnitude.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 17):
        return -1
    time_ms = int(text)
    return time_ms * 1000 if time_ms < 100_000_000_000 else time_ms


def _decode_loosely(data: bytes | str) -> Sequence[MarketEvent]:
    """Read item by item what is not of the usual shape: older ones, news, and nonsense."""
    try:
        value = decode_json(data.encode() if isinstance(data, str) else data)
    except ValueError:  # a lone surrogate cannot be encoded, which is one too
        return (Unreadable("bad_json", is_book_news=True),)
    return [_read(item) for item in value] if isinstance(value, list) else (_read(value),)


def _read(item: Any) -> MarketEvent:
    if not isinstance(item, dict):
        return Unreadable("not_an_event", is_book_news=True)
    kind = item.get("event_type")
    if not isinstance(kind, str) or not kind:
        return _unreadable("not_an_event", item, is_book_news=True)
    reader = _READERS.get(kind)
    if reader is None:
        return Ignored(kind[:_MAX_TEXT])
    try:
        event: MarketEvent = reader(item)
    except (msgspec.ValidationError, KeyError, TypeError, ValueError, ArithmeticError):
        news = kind in ("book", "price_change", "tick_size_change")
        return _unreadable(f"bad_{kind}", item, is_book_news=news)
    return event


def _unreadable(kind: str, item: _Fields, *, is_book_news: bool) -> Unreadable:
    entries = item.get("price_changes")
    named = [item, *entries[:_MAX_NAMED]] if isinstance(entries, list) else [item]
    tokens = [one.get("asset_id") for one in named if isinstance(one, dict)]
    market = item.get("market")
    return Unreadable(
        kind,
        is_book_news=is_book_news,
        token_ids=tuple(token for token in tokens if isinstance(token, str)),
        market=market if isinstance(market, str) else "",
    )


def _book(item: _Fields) -> BookEvent:
    fields = {name: item.get(name) for name in ("hash", "tick_size", "last_trade_price")}
    return BookEvent(
        asset_id=_text(item["asset_id"]),
        timestamp=_text(item["timestamp"]),
        bids=_levels(item["bids"] if "bids" in item else item["buys"]),
        asks=_levels(item["asks"] if "asks" in item else item["sells"]),
        market=_text(item.get("market", "")),
        min_order_size=_optional(item.get("min_order_size")),
        neg_risk=msgspec.convert(item.get("neg_risk"), bool | None),
        **{name: _optional(value) for name, value in fields.items()},
    )


def _levels(value: Any) -> list[Level]:
    if value is None:  # how some encoders write an empty list
        return []
    if not isinstance(value, list):
        raise TypeError
    return [Level(_text(level["price"]), _text(level["size"])) for level in value]


def _price_changes(item: _Fields) -> PriceChanges:
    if "price_changes" in item:
        entries = [(entry, entry["asset_id"], entry.get("hash")) for entry in item["price_changes"]]
    else:
        # Until 2025-09-15 one token per message; the hash, of the book after all of its changes,
        # beside them. In 2024 one change, not in a list.
        changes = item.get("changes", [item])
        hashes = [None] * (len(changes) - 1) + [item.get("hash")]
        entries = [
            (change, item["asset_id"], sha1) for change, sha1 in zip(changes, hashes, strict=True)
        ]
    return PriceChanges(
        timestamp=_text(item["timestamp"]),
        market=_text(item.get("market", "")),
        price_changes=[
            PriceChange(
                asset_id=_text(asset_id),
                price=_text(entry["price"]),
                size=_text(entry["size"]),
                side=_text(entry["side"]),
                hash=_optional(sha1),
                best_bid=_optional(entry.get("best_bid")),
                best_ask=_optional(entry.get("best_ask")),
            )
            for entry, asset_id, sha1 in entries
        ],
    )


def _reader_of(kind: type[Any]) -> Callable[[_Fields], Any]:
    """Return a reader of plain fields, that takes a number for its text."""
    info = msgspec.structs.fields(kind)
    texts = {field.name for field in info if str in _options(field.type)}
    names = {field.name for field in info}

    def read(item: _Fields) -> Any:
        plain = {
            name: _optional(value) if name in texts else value
            for name, value in item.items()
            if name in names
        }
        kept = {name: value for name, value in plain.items() if value is not None}
        return msgspec.convert(kept | {"event_type": item["event_type"]}, kind)

    return read


def _options(annotation: Any) -> tuple[Any, ...]:
    return getattr(annotation, "__args__", (annotation,)) if annotation is not list else ()


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Decimal) and abs(value.adjusted()) < 40:
        return format(value, "f")
    raise TypeError


def _optional(value: Any) -> str | None:
    return None if value is None else _text(value)


_READERS: Final[dict[str, Callable[[_Fields], Any]]] = {
    "book": _book,
    "price_change": _price_changes,
    "tick_size_change": _reader_of(TickSizeChange),
    "last_trade_price": _reader_of(LastTradePrice),
    "best_bid_ask": _reader_of(BestBidAsk),
    "new_market": _reader_of(NewMarket),
    "market_resolved": _reader_of(MarketResolved),
}
