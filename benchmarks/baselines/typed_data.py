"""eth-account's generic EIP-712, which signs any typed data."""

from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

import polyexec as px

FIELDS = (
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
)
DOMAIN = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
)


def typed_data(order: px.Order, signer: px.OrderSigner) -> dict[str, Any]:
    """Return a CLOB V2 order as EIP-712 typed data."""
    return {
        "primaryType": "Order",
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in DOMAIN],
            "Order": [{"name": name, "type": kind} for name, kind in FIELDS],
        },
        "domain": {
            "name": "Polymarket CTF Exchange",
            "version": "2",
            "chainId": 137,
            "verifyingContract": signer.exchange_address(order.generation, order.neg_risk),
        },
        "message": {
            "salt": order.salt,
            "maker": signer.address,
            "signer": signer.address,
            "tokenId": int(order.token_id),
            "makerAmount": order.maker_micro,
            "takerAmount": order.taker_micro,
            "side": px.Side(order.side).code,
            "signatureType": 0,
            "timestamp": order.timestamp_ms,
            "metadata": bytes.fromhex(order.metadata[2:]),
            "builder": bytes.fromhex(order.builder[2:]),
        },
    }


def order_id(data: dict[str, Any]) -> str:
    """Return the EIP-712 digest."""
    message = encode_typed_data(full_message=data)
    return "0x" + keccak(b"\x19" + message.version + message.header + message.body).hex()


def signature(data: dict[str, Any], private_key: str) -> str:
    """Return the signature over the typed data."""
    return "0x" + Account.sign_typed_data(private_key, full_message=data).signature.hex()
