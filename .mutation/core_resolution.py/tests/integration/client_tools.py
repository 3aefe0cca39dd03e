"""What the tests of the cold client and the venue share."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from polyexec.models import ConditionId, OrderId, TokenId

from .h2_server import Request

# Throw-away wallet and random credentials of the shared vectors.
KEY = "0xd880637e9ba1fd478628ffdd001b183d63a63e0fb3898410b5ec3f8280466759"
ADDRESS = "0x90FB4b90cBb6c4659d2155C06A0513D8DBbA1C5A"
SECRET = "6r0DGBOpIrkqEQar-Bjktnhxe4yXTreZ"
CREDENTIALS = ("01234567-aaaa-bbbb-cccc-0123456789ab", SECRET, "pass-phrase-7")
TOKEN = TokenId("105955946702365014297053362985971231005691647824521281956010356611609364884791")
OTHER = TokenId("86535067147570507002635384075153744871406745354236984711518019842677747458838")
POSITION = TokenId("966371586375096546152495146890437258873087994805527848168028314014599611393")
CONDITION = ConditionId("0x" + "ab" * 32)
ORDER_ID = OrderId("0x" + "11" * 32)
KEYS = {"apiKey": CREDENTIALS[0], "secret": SECRET, "passphrase": CREDENTIALS[2]}
ORDER = {
    "id": ORDER_ID,
    "status": "LIVE",
    "asset_id": TOKEN,
    "side": "BUY",
    "original_size": "10",
    "size_matched": "5",
    "price": "0.4",
    "associate_trades": ["t1", "t2"],
}


def trade(trade_id: str, maker_id: str, size: str = "2.5") -> dict[str, Any]:
    """A trade in which our order was a maker, on the other token than the trade's own."""
    maker = {
        "order_id": maker_id,
        "asset_id": TOKEN,
        "matched_amount": size,
        "price": "0.4",
        "side": "BUY",
    }
    return {
        "id": trade_id,
        "taker_order_id": "0xsomebody",
        "asset_id": OTHER,
        "side": "BUY",
        "size": size,
        "price": "0.6",
        "status": "MATCHED",
        "match_time": "1726043102",
        "maker_orders": [maker],
    }


def query(request: Request) -> dict[str, str]:
    return {k: v[0] for k, v in parse_qs(urlsplit(request.path).query).items()}
