"""A trader that signs with eth-account, and an exchange that is asked without a socket."""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data

from polyexec import paper
from polyexec.enums import Generation
from polyexec.paper.http import Request
from polyexec.paper.signatures import CONTRACTS

NOW_MS = 1_795_000_000_000
ZERO32 = "0x" + "00" * 32
ORDER_FIELDS = [
    ("salt", "uint256"),
    ("maker", "address"),
    ("signer", "address"),
    ("tokenId", "uint256"),
    ("makerAmount", "uint256"),
    ("takerAmount", "uint256"),
    ("side", "uint8"),
    ("signatureType", "uint8"),
    ("timestamp", "uint256"),
    ("metadata", "bytes32"),
    ("builder", "bytes32"),
]
V1_FIELDS = [
    *ORDER_FIELDS[:3],
    ("taker", "address"),
    *ORDER_FIELDS[3:6],
    ("expiration", "uint256"),
    ("nonce", "uint256"),
    ("feeRateBps", "uint256"),
    *ORDER_FIELDS[6:8],
]
DOMAIN_FIELDS = [
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
]


def _types(fields: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"name": name, "type": kind} for name, kind in fields]


class Clock:
    """Time that tests move."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms


class Trader:
    """An account of one exchange, with its API key."""

    def __init__(self, exchange: paper.PaperExchange, key: int = 1) -> None:
        self.exchange = exchange
        self.key = "0x" + f"{key:064x}"
        self.address = Account.from_key(self.key).address
        self.credentials = exchange.credentials(self.key)
        self.salt = 1000 * (key % 1000)

    def digest_and_signature(
        self, order: dict[str, Any], generation: Generation, *, neg_risk: bool
    ) -> tuple[str, str]:
        """Return id and signature of the plain order, by eth-account alone."""
        fields = V1_FIELDS if generation is Generation.CLOB_V1 else ORDER_FIELDS
        message = {
            name: int(order[name]) if kind.startswith("uint") and name != "side" else order[name]
            for name, kind in fields
        }
        message["side"] = 0 if order["side"] == "BUY" else 1
        signable = encode_typed_data(
            full_message={
                "types": {"EIP712Domain": _types(DOMAIN_FIELDS), "Order": _types(fields)},
                "primaryType": "Order",
                "domain": {
                    "name": "Polymarket CTF Exchange",
                    "version": str(int(generation)),
                    "chainId": 137,
                    "verifyingContract": CONTRACTS[137][generation][neg_risk],
                },
                "message": message,
            }
        )
        signed = Account.sign_message(signable, self.key)
        return "0x" + signed.message_hash.hex().removeprefix("0x"), "0x" + signed.signature.hex()

    def entry(
        self,
        token: str,
        side: str,
        maker_micro: int,
        taker_micro: int,
        *,
        order_type: str = "GTC",
        generation: Generation | None = None,
        outer: dict[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Return a signed entry; ``changes`` go in before signing, ``outer`` around the order."""
        market = self.exchange.market(token)
        generation = generation or market.generation
        self.salt += 1
        order = {
            "salt": self.salt,
            "maker": self.address,
            "signer": self.address,
            "tokenId": str(token),
            "makerAmount": str(maker_micro),
            "takerAmount": str(taker_micro),
            "side": side,
            "expiration": "0",
            "signatureType": 0,
        }
        if generation is Generation.CLOB_V1:
            order |= {"taker": "0x" + "00" * 20, "nonce": "0", "feeRateBps": str(market.base_fee)}
        else:
            order |= {"timestamp": str(NOW_MS), "metadata": ZERO32, "builder": ZERO32}
        order |= changes
        _, order["signature"] = self.digest_and_signature(
            order, generation, neg_risk=market.neg_risk
        )
        return {
            "order": order,
            "owner": self.credentials.api_key,
            "orderType": order_type,
            "deferExec": False,
            "postOnly": False,
        } | (outer or {})

    def limit(
        self, token: str, side: str, price: str, size: str, order_type: str = "GTC", **rest: Any
    ) -> dict[str, Any]:
        """Return an entry with the exact amounts of price and size."""
        shares = round(float(size) * 1_000_000)
        money = shares * round(float(price) * 10_000) // 10_000
        maker, taker = (money, shares) if side == "BUY" else (shares, money)
        return self.entry(token, side, maker, taker, order_type=order_type, **rest)

    def headers(self, method: str, path: str, body: bytes = b"") -> dict[str, str]:
        """Return L2 headers, by the standard library alone."""
        timestamp = str(self.exchange.engine.clock() // 1000)
        message = f"{timestamp}{method}{path}".encode() + body
        digest = hmac.new(urlsafe_b64decode(self.credentials.secret), message, sha256).digest()
        return {
            "poly_address": self.address,
            "poly_signature": urlsafe_b64encode(digest).decode(),
            "poly_timestamp": timestamp,
            "poly_api_key": self.credentials.api_key,
            "poly_passphrase": self.credentials.passphrase,
        }

    def request(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        """Ask the handlers and return status and decoded body."""
        raw = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        return ask(self.exchange, method, path, raw, self.headers(method, path, raw), **query)

    def post(self, entry: dict[str, Any]) -> tuple[int, Any]:
        """POST /order."""
        return self.request("POST", "/order", entry)

    def error(self, entry: dict[str, Any]) -> str:
        """POST /order and return the text of the 400 it must get."""
        status, body = self.post(entry)
        assert status == 400, body
        assert list(body) == ["error"]
        return str(body["error"])


def ask(
    exchange: paper.PaperExchange,
    method: str,
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    **query: str,
) -> tuple[int, Any]:
    """Ask the handlers of an exchange without a socket."""
    request = Request(method, path, query=query, headers=headers or {}, body=body)
    response = exchange.handle(request)
    assert response.headers["content-type"] == "application/json"
    return response.status, json.loads(response.body)


def leg_errors(trader: Trader, entries: list[dict[str, Any]]) -> list[str]:
    status, legs = trader.request("POST", "/orders", entries)
    assert status == 200, legs
    return [leg["errorMsg"] for leg in legs]
