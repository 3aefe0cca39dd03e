"""Read what the exchange's other endpoints say into typed records. No I/O.

Every parser raises ``UnexpectedResponseError`` naming the field that cannot be read, and never
quotes the answer: some answers are secrets.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from polyexec.cards import card, ladder, stacked
from polyexec.clob.heartbeat import Beat
from polyexec.core.answers import decode_json, parse_error
from polyexec.core.asset_ids import is_position_id
from polyexec.core.auth import ApiCredentials
from polyexec.core.ports import Fill, OrderStatus
from polyexec.enums import Generation, LegState, Side
from polyexec.errors import ConfigError, InputError, UnexpectedResponseError
from polyexec.models import ConditionId, Market, OrderId, TokenId
from polyexec.numbers import PRICE_SCALE, from_e4, from_micro, to_micro, to_price_e4
from polyexec.parsing import parse_rate_micro, parse_tick_e4, parse_token_id

__all__ = [
    "END_CURSOR",
    "FIRST_CURSOR",
    "BalanceAllowance",
    "Book",
    "BookLevel",
    "CancelAnswer",
    "Page",
    "generation_of",
    "parse_api_keys",
    "parse_balance",
    "parse_beat",
    "parse_body",
    "parse_book",
    "parse_books",
    "parse_cancel",
    "parse_condition_id",
    "parse_credentials",
    "parse_market",
    "parse_order",
    "parse_order_page",
    "parse_price",
    "parse_tick",
    "parse_trade",
    "parse_trade_page",
]

FIRST_CURSOR = "MA=="
END_CURSOR = "LTE="

T = TypeVar("T")

_ORDER_STATES = {
    "LIVE": LegState.LIVE,
    "MATCHED": LegState.MATCHED,
    "DELAYED": LegState.DELAYED,
    "UNMATCHED": LegState.UNMATCHED,
    "CANCELED": LegState.CANCELLED,
    "CANCELLED": LegState.CANCELLED,
    "CANCELED_EXPIRED_ORDER": LegState.EXPIRED,
    "EXPIRED": LegState.EXPIRED,
    "INVALID": LegState.REJECTED,
}


class BookLevel(msgspec.Struct, frozen=True):
    """One price of a book."""

    price_e4: int
    size_micro: int


def _level(level: BookLevel) -> tuple[str, str]:
    return f"{from_micro(level.size_micro)}", f"{from_e4(level.price_e4)}"


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """An order book, best level last on both sides, as the exchange lists it."""

    token_id: TokenId
    condition_id: ConditionId
    timestamp_ms: int
    hash: str
    bids: tuple[BookLevel, ...]
    """Ascending."""
    asks: tuple[BookLevel, ...]
    """Descending."""
    tick_e4: int | None = None
    min_order_size_micro: int | None = None
    neg_risk: bool = False

    @property
    def best_bid(self) -> BookLevel | None:
        """Highest bid."""
        return self.bids[-1] if self.bids else None

    @property
    def best_ask(self) -> BookLevel | None:
        """Lowest ask."""
        return self.asks[-1] if self.asks else None

    def _repr_html_(self) -> str:
        tick = "unknown" if self.tick_e4 is None else f"{from_e4(self.tick_e4)}"
        time = datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)
        head = [
            ("token", f"{self.token_id[:8]}…"),
            ("time", f"{time:%Y-%m-%d %H:%M:%S} UTC"),
            ("tick", tick),
        ]
        return stacked(card(head), ladder(*(map(_level, side) for side in (self.bids, self.asks))))


class BalanceAllowance(msgspec.Struct, frozen=True, kw_only=True):
    """A balance of the exchange's cache and what its contracts may spend, in micro-units."""

    balance_micro: int
    allowances: Mapping[str, int]
    """Capped at 2**63 - 1: an unlimited approval is 2**256 - 1."""


class CancelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Which orders were live and are gone, and the reason for each other one."""

    canceled: tuple[OrderId, ...]
    not_canceled: Mapping[OrderId, str]


class Page(msgspec.Struct, frozen=True):
    """A page of a list and the cursor of the next one; None at the end."""

    items: tuple[Any, ...]
    next_cursor: str | None


def parse_body(status: int, body: bytes, headers: Mapping[str, str]) -> Any:
    """Return the JSON of a 2xx answer; raise the exchange's error otherwise."""
    if not 200 <= status < 300:
        raise parse_error(status, body, headers)
    try:
        return decode_json(body)
    except ValueError:
        raise UnexpectedResponseError(status, "the answer is not JSON") from None


def generation_of(token_id: str) -> Generation:
    """Return the order generation that a token id implies.

    The compact market record does not tell the generation; the market's ``version`` in the Gamma
    metadata does, and outranks this. A conditional token id is a hash, so it passes for a Protocol
    V2 position id with a chance of 2**-64. Small made-up ids would pass too: they are excluded.
    """
    token_id = parse_token_id(token_id)
    is_position = int(token_id) >= 2**40 and is_position_id(token_id)
    return Generation.EXCHANGE_V3 if is_position else Generation.CLOB_V2


def parse_credentials(value: Any) -> ApiCredentials:
    """Read the answer of the API-key endpoints."""
    fields = _object(value, "the API key")
    parts = [_string(fields, name) for name in ("apiKey", "secret", "passphrase")]
    try:
        return ApiCredentials(*parts)
    except ConfigError:
        raise _odd("secret") from None


def parse_api_keys(value: Any) -> tuple[str, ...]:
    """Read ``{"apiKeys": [...]}``."""
    keys = _object(value, "the API keys").get("apiKeys")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _odd("apiKeys")
    return tuple(keys)


def parse_tick(value: Any) -> int:
    """Read ``{"minimum_tick_size": 0.01}`` into ten-thousandths of a dollar."""
    return _read(_object(value, "the tick size"), "minimum_tick_size", parse_tick_e4)


def parse_price(value: Any, field: str) -> Decimal:
    """Read ``{"price": "0.5"}`` or ``{"mid": "0.5"}``; a midpoint may lie between two ticks."""
    raw = _object(value, "the price").get(field)
    try:
        price = Decimal(raw) if isinstance(raw, str | int | Decimal) else Decimal("NaN")
    except ArithmeticError:
        price = Decimal("NaN")
    if not (price.is_finite() and 0 <= price <= 1):
        raise _odd(field)
    return price


def parse_condition_id(value: Any) -> ConditionId:
    """Read the condition of ``/markets-by-token``."""
    return ConditionId(_string(_object(value, "the market of a token"), "condition_id"))


def parse_market(value: Any, token_id: TokenId) -> Market:
    """Read the compact market record as the market of one of its tokens.

    Raises
    ------
    UnexpectedResponseError
        A field is missing or odd, or the token is not one of the market's.
    """
    fields = _object(value, "the market")
    tokens = fields.get("t")
    if not isinstance(tokens, list):
        raise _odd("t")
    if not any(isinstance(t, dict) and t.get("t") == token_id for t in tokens):
        raise UnexpectedResponseError(200, "the market does not hold the token that was asked for")
    neg_risk = fields.get("nr", False)
    if not isinstance(neg_risk, bool):
        raise _odd("nr")
    # No fee data is how a fee-free market looks; both official clients read it as zero.
    fee = fields.get("fd") or {"r": 0, "e": 1}
    if not isinstance(fee, dict):
        raise _odd("fd")
    exponent = fee.get("e", 1)
    if isinstance(exponent, bool) or exponent not in (0, 1, 2, 3, 4):
        raise _odd("fd.e")
    return Market(
        token_id=token_id,
        condition_id=ConditionId(_string(fields, "c")),
        tick_e4=_read(fields, "mts", parse_tick_e4),
        min_order_size_micro=_read(fields, "mos", to_micro),
        neg_risk=neg_risk,
        generation=generation_of(token_id),
        fee_rate_micro=_read(fee, "r", parse_rate_micro),
        fee_exponent=int(exponent),
    )


def parse_book(value: Any) -> Book:
    """Read a book; its sides may come in either order."""
    fields = _object(value, "the book")
    tick, minimum = fields.get("tick_size"), fields.get("min_order_size")
    timestamp = fields.get("timestamp", "0")
    if not (isinstance(timestamp, int) or (isinstance(timestamp, str) and timestamp.isdigit())):
        raise _odd("timestamp")
    return Book(
        token_id=TokenId(_string(fields, "asset_id")),
        condition_id=ConditionId(_string(fields, "market")),
        timestamp_ms=int(timestamp),
        hash=_optional_text(fields, "hash"),
        bids=_levels(fields, "bids", descending=False),
        asks=_levels(fields, "asks", descending=True),
        tick_e4=None if tick is None else _read(fields, "tick_size", parse_tick_e4),
        min_order_size_micro=None if minimum is None else _read(fields, "min_order_size", to_micro),
        neg_risk=fields.get("neg_risk") is True,
    )


def parse_books(value: Any) -> tuple[Book, ...]:
    """Read an array of books."""
    if not isinstance(value, list):
        raise _odd("the books")
    return tuple(parse_book(book) for book in value)


def parse_balance(value: Any) -> BalanceAllowance:
    """Read ``{"balance": "…", "allowances": {…}}``, base units of one millionth."""
    fields = _object(value, "the balance")
    allowances = fields.get("allowances")
    if allowances is None:
        allowances = {}
    if not isinstance(allowances, dict):
        raise _odd("allowances")
    return BalanceAllowance(
        balance_micro=_read(fields, "balance", _base_units),
        allowances={str(k): _read(allowances, k, _base_units) for k in allowances},
    )


def parse_cancel(value: Any) -> CancelAnswer:
    """Read ``{"canceled": [...], "not_canceled": {...}}``."""
    fields = _object(value, "the cancel answer")
    canceled, kept = fields.get("canceled"), fields.get("not_canceled")
    if canceled is None:
        canceled = []
    if kept is None:
        kept = {}
    if not isinstance(canceled, list) or not all(isinstance(i, str) for i in canceled):
        raise _odd("canceled")
    if not isinstance(kept, dict):
        raise _odd("not_canceled")
    return CancelAnswer(
        canceled=tuple(OrderId(i) for i in canceled),
        not_canceled={OrderId(str(k)): str(v) for k, v in kept.items()},
    )


def parse_beat(status: int, body: bytes, headers: Mapping[str, str]) -> Beat:
    """Read the answer to a heartbeat; a stale id is refused with 400 and the one to send."""
    if status == 400:
        try:
            value = decode_json(body)
        except ValueError:
            value = None
        expected = value.get("heartbeat_id") if isinstance(value, dict) else None
        if isinstance(expected, str) and expected:
            return Beat(expected, accepted=False)
    fields = _object(parse_body(status, body, headers), "the heartbeat")
    return Beat(_string(fields, "heartbeat_id"), accepted=True)


def parse_order(value: Any) -> OrderStatus:
    """Read one order of ``/data/order`` or ``/data/orders``."""
    fields = _object(value, "the order")
    word = _string(fields, "status").upper().removeprefix("ORDER_STATUS_")
    filled = _read(fields, "size_matched", to_micro) if "size_matched" in fields else 0
    state = _order_state(word)
    if state is LegState.LIVE and filled:
        state = LegState.PARTIAL
    trades = fields.get("associate_trades") or []
    return OrderStatus(
        order_id=OrderId(_string(fields, "id")),
        state=state,
        token_id=TokenId(_string(fields, "asset_id")),
        side=_read(fields, "side", _side),
        price_e4=_read(fields, "price", to_price_e4),
        size_micro=_read(fields, "original_size", to_micro),
        filled_micro=filled,
        status=word,
        trade_ids=tuple(t for t in trades if isinstance(t, str))
        if isinstance(trades, list)
        else (),
        created_s=_seconds(fields.get("created_at")),
    )


def _order_state(word: str) -> LegState:
    # The reason may follow, as one word or as a whole sentence.
    reasoned = LegState.CANCELLED if word.startswith("CANCELED") else LegState.UNKNOWN
    return _ORDER_STATES.get(word, reasoned)


def parse_order_page(value: Any) -> Page:
    """Read a page of orders."""
    items, cursor = _page(value)
    return Page(tuple(parse_order(item) for item in items), cursor)


def parse_trade(value: Any) -> tuple[Fill, ...]:
    """Read a trade as fills: for its taker one per maker it met, and one for each of the makers.

    Whose orders they are is not said reliably, so the caller picks its own by order id. A maker's
    numbers are those of its own entry: in a complementary match it trades the other token. The
    taker's are taken match by match, because the fee is charged so; from the top level only where
    the makers are missing or do not add up.
    """
    fields = _object(value, "the trade")
    status = _string(fields, "status").upper().removeprefix("TRADE_STATUS_")
    # Only REST tells the two apart, and nothing depends on it.
    status = "MATCHED" if status == "MATCHED_NOT_BROADCASTED" else status
    taker = Fill(
        trade_id=_string(fields, "id"),
        order_id=OrderId(_string(fields, "taker_order_id")),
        token_id=TokenId(_string(fields, "asset_id")),
        side=_read(fields, "side", _side),
        price_e4=_read(fields, "price", to_price_e4),
        size_micro=_read(fields, "size", to_micro),
        is_taker=True,
        status=status,
        match_time_s=_time(fields, "match_time"),
        update_time_s=_time(fields, "last_update"),
    )
    raw = fields.get("maker_orders") or []
    if not isinstance(raw, list):
        raise _odd("maker_orders")
    makers = [_maker_fill(_object(item, "a maker order"), taker) for item in raw]
    if not makers or sum(maker.size_micro for maker in makers) != taker.size_micro:
        return (taker, *makers)
    return (*(_taker_part(taker, maker) for maker in makers), *makers)


def _maker_fill(maker: Mapping[str, Any], taker: Fill) -> Fill:
    named = maker.get("asset_id")
    token_id = TokenId(_string(maker, "asset_id")) if named else taker.token_id
    return msgspec.structs.replace(
        taker,
        order_id=OrderId(_string(maker, "order_id")),
        token_id=token_id,
        side=_maker_side(maker, taker.side, same_token=token_id == taker.token_id),
        price_e4=_read(maker, "price", to_price_e4),
        size_micro=_read(maker, "matched_amount", to_micro),
        is_taker=False,
        counter_order_id=taker.order_id,
    )


def _taker_part(taker: Fill, maker: Fill) -> Fill:
    same = maker.token_id == taker.token_id
    return msgspec.structs.replace(
        taker,
        price_e4=maker.price_e4 if same else PRICE_SCALE - maker.price_e4,
        size_micro=maker.size_micro,
        counter_order_id=maker.order_id,
    )


def parse_trade_page(value: Any) -> Page:
    """Read a page of trades; the items are fills."""
    items, cursor = _page(value)
    return Page(tuple(fill for item in items for fill in parse_trade(item)), cursor)


def _maker_side(maker: Mapping[str, Any], taker_side: Side, *, same_token: bool) -> Side:
    if maker.get("side"):
        return _read(maker, "side", _side)
    # Old records have no side: on the same token a match has two, on the complement (both buy and
    # a set is minted, both sell and it is merged) one.
    if not same_token:
        return taker_side
    return Side.SELL if taker_side is Side.BUY else Side.BUY


def _levels(fields: Mapping[str, Any], name: str, *, descending: bool) -> tuple[BookLevel, ...]:
    raw = fields.get(name)
    if raw is None:
        raw = []
    if not isinstance(raw, list):
        raise _odd(name)
    levels = []
    for item in raw:
        level = _object(item, name)
        size_micro = _read(level, "size", to_micro)
        levels.append(BookLevel(_read(level, "price", to_price_e4), size_micro))
    levels.sort(key=_price_of, reverse=descending)
    return tuple(levels)


def _price_of(level: BookLevel) -> int:
    return level.price_e4


def _page(value: Any) -> tuple[list[Any], str | None]:
    fields = _object(value, "the page")
    items = fields.get("data")
    if items is None:
        items = []
    if not isinstance(items, list):
        raise _odd("data")
    cursor = _optional_text(fields, "next_cursor")
    return items, None if cursor in ("", END_CURSOR) else cursor


def _side(value: Any, field: str) -> Side:
    try:
        return Side(value.upper())
    except (AttributeError, ValueError):
        raise InputError(field, value, "must be BUY or SELL") from None


def _whole(value: Any, field: str) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(field, value, "must be a whole number")
    if isinstance(value, str) and not (value.isascii() and value.isdigit() and len(value) < 80):
        raise InputError(field, value, "must be a whole number")
    return int(value)


def _time(fields: Mapping[str, Any], name: str) -> int:
    return _read(fields, name, _whole) if fields.get(name) else 0


def _seconds(value: Any) -> int:
    """Read a time that only helps to look in the right place: 0 when it cannot be read."""
    return int(value) if re.fullmatch(r"[0-9]{1,10}", str(value)) else 0


def _base_units(value: Any, field: str) -> int:
    number = _whole(value, field)
    if number < 0:
        raise InputError(field, value, "must not be negative")
    return min(number, 2**63 - 1)


def _read(fields: Mapping[str, Any], name: str, parse: Callable[[Any, str], T]) -> T:
    if name not in fields:
        raise _odd(name)
    try:
        return parse(fields[name], name)
    except InputError as error:
        raise UnexpectedResponseError(200, f"the answer cannot be read: {error}") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnexpectedResponseError(200, f"{what} is not an object")
    return value


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise _odd(name)
    return value


def _optional_text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _odd(name: str) -> UnexpectedResponseError:
    return UnexpectedResponseError(200, f"the answer has no readable {name!r}")
