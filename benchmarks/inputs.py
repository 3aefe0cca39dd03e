"""The inputs of every benchmark: three legs of one trade, with nothing left to chance."""

import json
from dataclasses import dataclass

import msgspec

import polyexec as px
from polyexec import _secp256k1

# A throwaway key; never fund its address.
PRIVATE_KEY = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
OWNER = "fe0d4178-bd63-47ca-895b-8690daccfce9"
SECRET = "c2VjcmV0LW9mLXRoZS1iZW5jaG1hcmstMzItYnl0ZXMhIQ=="
TIMESTAMP_MS = 1_767_225_600_000
TOKENS = (
    "71321045679252212594626385532706912750332728571942532289631379312455583992563",
    "52114319501245915516055106046884209969926127482827954674443846427813813222426",
    "86150365625267649141094288706504628826631881073820121152097146981939712851801",
)
PRICES = ("0.33", "0.34", "0.35")
SIZE = "10"
PASSPHRASE = "passphrase"


def orders() -> list[px.Order]:
    """Return three CLOB V2 orders, salt and time fixed: every library signs the same."""
    return [
        px.Order(
            generation=px.Generation.CLOB_V2,
            token_id=px.TokenId(token),
            side=px.Side.BUY,
            maker_micro=3_300_000 + 100_000 * number,
            taker_micro=10_000_000,
            salt=479_249_096_354 + number,
            timestamp_ms=TIMESTAMP_MS,
        )
        for number, token in enumerate(TOKENS)
    ]


def signer() -> px.OrderSigner:
    """Return a signer for an EOA on chain 137."""
    return px.OrderSigner(PRIVATE_KEY, chain_id=137)


def same(name: str, ours: object, theirs: object) -> None:
    """Raise when two libraries disagree: a difference makes the timing meaningless."""
    if ours != theirs:
        raise SystemExit(f"{name}: outputs differ, nothing was timed\n  {ours!r}\n  {theirs!r}")


@dataclass(frozen=True)
class Request:
    """What a client would send to POST /orders: its body and the HMAC headers."""

    body: bytes
    timestamp: str
    signature: str


def for_workers() -> dict[str, object]:
    """Return the same inputs for a process that is not Python."""
    legs = [
        {
            "token": order.token_id,
            "price": price,
            "size": SIZE,
            "salt": order.salt,
            "maker_micro": order.maker_micro,
            "taker_micro": order.taker_micro,
        }
        for order, price in zip(orders(), PRICES, strict=True)
    ]
    return {
        "private_key": PRIVATE_KEY,
        "owner": OWNER,
        "secret": SECRET,
        "exchange": signer().exchange_address(px.Generation.CLOB_V2, neg_risk=False),
        "timestamp_ms": TIMESTAMP_MS,
        "legs": legs,
    }


def check_request(who: str, request: Request) -> None:
    """Raise unless a request carries the three orders, our signatures and our HMAC.

    Salt and time are the client's own; with them, the deterministic signature must be ours too.
    """
    expected = px.l2_signature(SECRET, request.timestamp, "POST", "/orders", request.body)
    same(f"HMAC of {who}", expected, request.signature)
    check_orders(who, request.body)


def check_orders(who: str, body: bytes, *, deterministic: bool = True) -> None:
    """Raise unless a body carries the three orders, each signed by the account."""
    entries = json.loads(body)
    same(f"orders of {who}", len(TOKENS), len(entries))
    account = signer()
    for wanted, entry in zip(orders(), entries, strict=True):
        wire = entry["order"]
        same(f"owner of {who}", OWNER, entry["owner"])
        for name, value in (
            ("tokenId", wanted.token_id),
            ("makerAmount", str(wanted.maker_micro)),
            ("takerAmount", str(wanted.taker_micro)),
            ("side", "BUY"),
            ("signatureType", 0),
        ):
            same(f"{name} of {who}", value, wire[name])
        for name in ("maker", "signer"):  # some clients write the checksum's capitals, some not
            same(f"{name} of {who}", account.address.lower(), wire[name].lower())
        changed = {"salt": int(wire["salt"]), "timestamp_ms": int(wire["timestamp"])}
        signed = account.sign(msgspec.structs.replace(wanted, **changed))
        signature = "0x" + wire["signature"].removeprefix("0x")
        if deterministic:
            same(f"signature of {who}", signed.signature, signature)
        digest = bytes.fromhex(signed.order_id[2:])
        recovered = _secp256k1.recover_address(digest, bytes.fromhex(signature[2:]))
        same(f"signer of {who}", account.address.lower(), "0x" + recovered.hex())
