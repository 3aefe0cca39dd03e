"""Gamma events of made-up ladders, in the words of the real ones."""

import hashlib
import itertools
from decimal import Decimal
from typing import Any

from polyexec.core.ranges import RangeMarket, merge_record, read_event

END = "2026-07-04T16:00:00Z"
INSTANT_MS = 1_783_180_800_000
_SOURCE = (
    'The resolution source for this market is Binance, specifically the BTC/USDT "Close" prices '
    'currently available at https://www.binance.com/en/trade/BTC_USDT with "1m" and "Candles" '
    "selected on the top bar.\n\n"
    "Please note that this market is about the price according to Binance BTC/USDT, not according "
    "to other exchanges or trading pairs.\n\n"
    "Price precision is determined by the number of decimal places in the source."
)
ABOVE = (
    'This market will resolve to "Yes" if the Binance 1 minute candle for BTC/USDT 12:00 in the ET '
    'timezone (noon) on the date specified in the title has a final "Close" price higher than the '
    'price specified in the title. Otherwise, this market will resolve to "No".\n\n' + _SOURCE
)
AT_OR_ABOVE = ABOVE.replace("higher than the", "equal to or higher than the")
BRACKET = (
    'This market will resolve according to the final "Close" price of the Binance 1 minute candle '
    "for BTC/USDT 12:00 in the ET timezone (noon) on the date specified in the title. Otherwise, "
    'this market will resolve to "No".\n\n'
    "If the reported value falls exactly between two brackets, then this market will resolve to "
    "the higher range bracket.\n\n" + _SOURCE
)


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def token(name: str) -> str:
    return str(int.from_bytes(digest(name)))


def gamma_market(slug: str, asks: str, says: str, /, **changes: Any) -> dict[str, Any]:
    return {
        "id": slug,
        "question": asks,
        "conditionId": "0x" + digest(slug).hex(),
        "slug": slug,
        "endDate": END,
        "description": says,
        "outcomes": '["Yes", "No"]',
        "active": True,
        "closed": False,
        "archived": False,
        "acceptingOrders": True,
        "enableOrderBook": True,
        "orderPriceMinTickSize": 0.01,
        "orderMinSize": 5,
        "clobTokenIds": f'["{token(slug + "/yes")}", "{token(slug + "/no")}"]',
        "negRisk": False,
        "negRiskOther": False,
        "feesEnabled": True,
        "feeSchedule": {"rate": 0.07, "exponent": 1, "takerOnly": True, "rebateRate": 0.2},
        "version": "v1",
        **changes,
    }


def money(strike: Any) -> str:
    return f"{Decimal(strike):,f}"


def above(strike: Any, description: str = AT_OR_ABOVE, **changes: Any) -> dict[str, Any]:
    question = f"Will the price of Bitcoin be above ${money(strike)} on July 4?"
    changes = {"groupItemTitle": money(strike), **changes}
    return gamma_market(f"bitcoin-above-{strike}-on-july-4", question, description, **changes)


def between(low: Any, high: Any, description: str = BRACKET, **changes: Any) -> dict[str, Any]:
    question = f"Will the price of Bitcoin be between ${money(low)} and ${money(high)} on July 4?"
    title = f"{money(low)}-{money(high)}"
    changes = {"groupItemTitle": title, "negRisk": True, **changes}
    return gamma_market(f"bitcoin-between-{low}-{high}-on-july-4", question, description, **changes)


def below(strike: Any, description: str = BRACKET, **changes: Any) -> dict[str, Any]:
    question = f"Will the price of Bitcoin be less than ${money(strike)} on July 4?"
    changes = {"groupItemTitle": f"<{money(strike)}", "negRisk": True, **changes}
    return gamma_market(f"bitcoin-below-{strike}-on-july-4", question, description, **changes)


def tail(strike: Any, description: str = BRACKET, **changes: Any) -> dict[str, Any]:
    question = f"Will the price of Bitcoin be greater than ${money(strike)} on July 4?"
    changes = {"groupItemTitle": f">{money(strike)}", "negRisk": True, **changes}
    return gamma_market(f"bitcoin-tail-{strike}-on-july-4", question, description, **changes)


def event(slug: str, markets: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    return {"id": slug, "slug": slug, "negRiskAugmented": False, "markets": markets, **changes}


def ladders(strikes: Any, **above_changes: Any) -> list[dict[str, Any]]:
    """Return both events of one expiry: strikes, and the brackets they make."""
    strikes = list(strikes)
    brackets = [between(a, b) for a, b in itertools.pairwise(strikes)]
    return [
        event("bitcoin-above-on-july-4", [above(strike, **above_changes) for strike in strikes]),
        event("bitcoin-price-on-july-4", [below(strikes[0]), *brackets, tail(strikes[-1])]),
    ]


def record(fields: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return the order book's own record of a market."""
    return {
        "c": fields["conditionId"],
        "t": [
            {"t": token(fields["slug"] + "/yes"), "o": "Yes"},
            {"t": token(fields["slug"] + "/no"), "o": "No"},
        ],
        "mos": fields["orderMinSize"],
        "mts": fields["orderPriceMinTickSize"],
        "itode": False,
        "nr": fields["negRisk"],
        "fd": {"r": 0.07, "e": 1, "to": True},
        **changes,
    }


def read_all(events: list[dict[str, Any]], overrides: Any = None) -> list[RangeMarket]:
    """Read events, each market with the order book's record."""
    markets = []
    for each in events:
        records = {m["conditionId"]: record(m) for m in each["markets"]}
        read, _ = read_event(each, overrides)
        markets += [merge_record(market, records[market.condition_id]) for market in read]
    return markets
