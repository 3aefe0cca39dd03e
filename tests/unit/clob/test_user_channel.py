"""What the user channel sends, in every recorded shape, and what it must not be taken for."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from polyexec.clob.origin import parse_ws_url
from polyexec.clob.user_channel import ChannelEvents, UserChannel, decode_events
from polyexec.core.auth import ApiCredentials
from polyexec.enums import LegState, Side
from polyexec.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("POLYEXEC_SHARED", ROOT.parent / "shared"))
RECORDED = SHARED / "data" / "captured" / "ws"
ORDER = {
    "event_type": "order",
    "type": "PLACEMENT",
    "id": "0xab",
    "owner": "key",
    "market": "0x01",
    "asset_id": "123",
    "side": "BUY",
    "original_size": "5",
    "size_matched": "0",
    "price": "0.2",
    "associate_trades": [],
    "order_type": "GTC",
    "status": "LIVE",
    "timestamp": "1783140720516",
}
TRADE = {
    "event_type": "trade",
    "id": "t1",
    "taker_order_id": "0xab",
    "asset_id": "123",
    "side": "BUY",
    "size": "5",
    "price": "0.52",
    "status": "MATCHED",
    "match_time": "1725958681",
    "trader_side": "TAKER",
    "transaction_hash": None,
    "maker_orders": [
        {"order_id": "0xcd", "matched_amount": "5", "price": "0.52", "asset_id": "123"}
    ],
}


def order_of(**changes: Any) -> Any:
    found = decode_events(json.dumps(ORDER | changes))
    assert (found.ignored, found.unreadable, found.trades) == (0, 0, ())
    (order,) = found.orders
    return order


@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded messages beside the checkout")
@pytest.mark.parametrize(
    ("name", "state", "filled"),
    [
        ("nautilus_ws_user_order_placement_2024", LegState.LIVE, 0),
        ("nautilus_ws_user_order_cancel_2024", LegState.CANCELLED, 5_000_000),
        ("tui_ws_user_order_placement_2026-07-04", LegState.LIVE, 0),
        ("tui_ws_user_order_cancellation_2026-07-04", LegState.CANCELLED, 0),
    ],
)
def test_recorded_orders(name: str, state: LegState, filled: int) -> None:
    found = decode_events((RECORDED / f"{name}.json").read_bytes())
    assert (found.ignored, found.unreadable) == (0, 0)
    assert [(o.state, o.filled_micro) for o in found.orders] == [(state, filled)]


@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded messages beside the checkout")
def test_recorded_trade_of_a_maker_has_its_own_numbers() -> None:
    found = decode_events((RECORDED / "nautilus_ws_user_trade_maker_2024.json").read_bytes())
    (fills,) = found.trades
    mine = "0xab679e56242324e15e59cfd488cd0f12e4fd71b153b9bfb57518898b9983145e"
    (own,) = [fill for fill in fills if fill.order_id == mine]
    assert (own.side, own.price_e4, own.size_micro) == (Side.SELL, 5180, 5_000_000)
    assert not own.is_taker
    assert sum(fill.size_micro for fill in fills if fill.is_taker) == 1_096_870_000


@pytest.mark.skipif(not RECORDED.exists(), reason="no recorded messages beside the checkout")
def test_every_other_recorded_message_is_ignored_or_unreadable() -> None:
    names = [path for path in RECORDED.glob("*.json") if "_user_" not in path.name]
    assert names
    for path in names:
        found = decode_events(path.read_bytes())
        assert (found.orders, found.trades) == ((), ())
        assert found.ignored + found.unreadable


@pytest.mark.parametrize(
    ("changes", "state", "filled"),
    [
        ({"type": "UPDATE", "size_matched": "2"}, LegState.PARTIAL, 2_000_000),
        ({"status": "MATCHED", "size_matched": "5"}, LegState.MATCHED, 5_000_000),
        ({"status": None, "type": "CANCELLATION"}, LegState.CANCELLED, 0),
        ({"status": "", "type": "UPDATE", "size_matched": "1"}, LegState.PARTIAL, 1_000_000),
        ({"status": "CANCELED_EXPIRED_ORDER"}, LegState.EXPIRED, 0),
        ({"status": "CANCELED_NOT_ENOUGH_BALANCE"}, LegState.CANCELLED, 0),
        ({"status": "CANCELED_order couldn't be fully filled."}, LegState.CANCELLED, 0),
        (
            {"status": "CANCELED_FOK", "size_matched": "", "order_type": "FOK"},
            LegState.CANCELLED,
            0,
        ),
        # what is left of it was not told: no end to act on
        ({"status": "CANCELED", "size_matched": ""}, LegState.UNKNOWN, 0),
        ({"status": "SOMETHING_NEW"}, LegState.UNKNOWN, 0),
    ],
)
def test_states_of_an_order(changes: dict[str, Any], state: LegState, filled: int) -> None:
    order = order_of(**changes)
    assert (order.state, order.filled_micro) == (state, filled)


def test_old_spelling_of_the_match_time() -> None:
    event = {k: v for k, v in TRADE.items() if k != "match_time"} | {"matchtime": "1725958681"}
    (fills,) = decode_events(json.dumps(event)).trades
    assert {fill.match_time_s for fill in fills} == {1725958681}


def test_an_array_holds_several_events_and_one_bad_one_costs_no_other() -> None:
    events = [ORDER, {"event_type": "order"}, TRADE, {"event_type": "news"}, 7, {"id": "x"}]
    found = decode_events(json.dumps(events).encode())
    assert (len(found.orders), len(found.trades)) == (1, 1)
    assert (found.ignored, found.unreadable) == (1, 3)


@pytest.mark.parametrize(
    "data",
    ["", "PONG", "{", b"\xff\xfe", '{"a":"\ud800"}', "[" * 100_000, "null", "1e999999999"],
)
def test_garbage_is_counted_and_never_raises(data: str | bytes) -> None:
    assert decode_events(data) == ChannelEvents(unreadable=1)


def test_empty_array_says_nothing() -> None:
    assert decode_events("[]") == ChannelEvents()


@pytest.mark.parametrize(
    ("url", "authority", "path"),
    [
        ("wss://host", "host", ""),
        ("wss://host/", "host", ""),
        ("wss://host:8443/ws/", "host:8443", "/ws"),
        ("wss://[::1]:9/a/b", "[::1]:9", "/a/b"),
    ],
)
def test_channel_url(url: str, authority: str, path: str) -> None:
    origin, found = parse_ws_url(url)
    assert (origin.authority, found) == (authority, path)


@pytest.mark.parametrize(
    "url",
    ["", "ws://host", "https://host", "wss://", "wss://u:p@host", "wss://host/ws?x", "wss://h/a b"],
)
def test_channel_url_that_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="ws_url"):
        parse_ws_url(url)


def test_repr_shows_no_secret() -> None:
    async def main() -> str:
        credentials = ApiCredentials("key-id", "c2VjcmV0", "pass-phrase")
        return repr(UserChannel("wss://h/ws", credentials=credentials, events=None))  # type: ignore[arg-type]

    assert asyncio.run(main()) == "UserChannel('h', not connected)"
