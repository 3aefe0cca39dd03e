"""Market metadata, as Gamma shows it, of the markets that somebody has listed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from polyexec.enums import Generation
from polyexec.numbers import MICRO, PRICE_SCALE
from polyexec.paper.book import PaperMarket
from polyexec.paper.errors import Refused
from polyexec.paper.views import number

__all__ = ["Listing", "Listings"]

_MOST = 500


@dataclass(slots=True, frozen=True, kw_only=True)
class Listing:
    """What a market's metadata says besides the terms of the market itself."""

    question: str
    description: str
    end_ms: int
    event_slug: str
    group_item_title: str = ""
    tags: tuple[str, ...] = ()
    augmented: bool = False
    accepting_orders: bool = True
    closed: bool = False


class Listings:
    """Every listing, and the answers of ``/events`` and ``/markets``."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[PaperMarket, Listing]] = {}

    def put(self, market: PaperMarket, listing: Listing) -> None:
        """List a market, or list it anew."""
        self._rows[market.condition_id] = (market, listing)

    def events(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return a page of the events that fit a query, each with all of its markets."""
        rows: dict[str, list[tuple[PaperMarket, Listing]]] = {}
        for market, listing in self._rows.values():
            rows.setdefault(listing.event_slug, []).append((market, listing))
        events: list[dict[str, Any]] = []
        for slug, markets in rows.items():
            head = markets[0][1]
            closed = all(listing.closed for _, listing in markets)
            if not (
                query.get("slug") in (None, slug)
                and _fits(query, closed=closed, end_ms=head.end_ms)
                and query.get("tag_slug") in (None, *head.tags)
            ):
                continue
            events.append(
                {
                    "id": str(len(events) + 1),
                    "slug": slug,
                    "ticker": slug,
                    "endDate": _iso(head.end_ms),
                    "active": True,
                    "closed": closed,
                    "negRisk": markets[0][0].neg_risk,
                    "negRiskAugmented": head.augmented,
                    "markets": [_market(*row) for row in markets],
                }
            )
        return _page(query, events)

    def markets(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Return a page of the markets that fit a query."""
        found = []
        for market, listing in self._rows.values():
            view = _market(market, listing)
            if (
                query.get("condition_ids") in (None, view["conditionId"])
                and query.get("slug") in (None, market.slug)
                and _fits(query, closed=listing.closed, end_ms=listing.end_ms)
            ):
                found.append(view)
        return _page(query, found)


def _market(market: PaperMarket, listing: Listing) -> dict[str, Any]:
    is_v3 = market.generation is Generation.EXCHANGE_V3
    ids = list(market.token_ids)
    view: dict[str, Any] = {
        # Protocol V2 conditions are shown with the 31 bytes that mean something.
        "conditionId": market.condition_id[:64] if is_v3 else market.condition_id,
        "id": str(int(market.condition_id[2:14], 16)),
        "slug": market.slug,
        "question": listing.question,
        "description": listing.description,
        "endDate": _iso(listing.end_ms),
        "outcomes": orjson.dumps(list(market.outcomes)).decode(),
        "clobTokenIds": orjson.dumps(ids).decode(),
        "version": "v2" if is_v3 else "v1",
        "active": True,
        "closed": listing.closed,
        "archived": False,
        "acceptingOrders": listing.accepting_orders and not listing.closed,
        "enableOrderBook": True,
        "negRisk": market.neg_risk,
        "negRiskOther": False,
        "orderPriceMinTickSize": number(market.tick_e4, PRICE_SCALE),
        "orderMinSize": number(market.min_order_size_micro, MICRO),
        "makerBaseFee": market.base_fee,
        "takerBaseFee": market.base_fee,
        "feesEnabled": market.fee_rate_micro > 0,
    }
    if is_v3:
        view["positionIds"] = ids
    if listing.group_item_title:
        view["groupItemTitle"] = listing.group_item_title
    if market.fee_rate_micro:
        rate = number(market.fee_rate_micro, MICRO)
        view["feeSchedule"] = {"rate": rate, "exponent": market.fee_exponent, "takerOnly": True}
    return view


def _fits(query: Mapping[str, str], *, closed: bool, end_ms: int) -> bool:
    earliest, latest = (_time(query, name) for name in ("end_date_min", "end_date_max"))
    return (
        query.get("closed") in (None, str(closed).lower())
        and (earliest is None or end_ms >= earliest)
        and (latest is None or end_ms <= latest)
    )


def _page(query: Mapping[str, str], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    start, limit = (
        _whole(query, name, default) for name, default in (("offset", 0), ("limit", 20))
    )
    return rows[start : start + min(limit, _MOST)]


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Refused(f"invalid {name}", 422)
    return int(text or default)


def _time(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Refused(f"invalid {name}", 422) from None


def _iso(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
