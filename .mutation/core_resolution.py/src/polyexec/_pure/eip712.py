"""EIP-712 hashes of orders, domains and ERC-7739 envelopes, as the standard writes them."""

from typing import Final

from eth_abi.abi import encode

from polyexec._pure.checks import checked_bytes, checked_range, checked_uint256
from polyexec._pure.keccak import keccak256
from polyexec._pure.type_strings import (
    DEPOSIT_WALLET_NAME,
    DEPOSIT_WALLET_VERSION,
    DOMAIN_TYPE,
    EXCHANGE_NAME,
    ORDER_TYPE_V1,
    ORDER_TYPE_V2,
    TYPED_DATA_SIGN_TYPE,
)

__all__ = [
    "exchange_domain_separator",
    "order_struct_hash_v1",
    "order_struct_hash_v2",
    "typed_data_hash",
    "typed_data_sign_hash",
]

_ORDER_V1: Final = keccak256(ORDER_TYPE_V1.encode())
_ORDER_V2: Final = keccak256(ORDER_TYPE_V2.encode())
_TYPED_DATA_SIGN: Final = keccak256(TYPED_DATA_SIGN_TYPE.encode())
_DOMAIN: Final = keccak256(DOMAIN_TYPE.encode())
_EXCHANGE_NAME: Final = keccak256(EXCHANGE_NAME.encode())
_WALLET_NAME: Final = keccak256(DEPOSIT_WALLET_NAME.encode())
_WALLET_VERSION: Final = keccak256(DEPOSIT_WALLET_VERSION.encode())


def order_struct_hash_v1(
    salt: int,
    maker: bytes,
    signer: bytes,
    taker: bytes,
    token_id: int,
    maker_amount: int,
    taker_amount: int,
    expiration: int,
    nonce: int,
    fee_rate_bps: int,
    side: int,
    signature_type: int,
) -> bytes:
    """Return the struct hash of a CLOB V1 order."""
    return keccak256(
        encode(
            ["bytes32", "uint256", "address", "address", "address"] + ["uint256"] * 8,
            [
                _ORDER_V1,
                checked_uint256(salt, "salt"),
                checked_bytes(maker, 20, "maker"),
                checked_bytes(signer, 20, "signer"),
                checked_bytes(taker, 20, "taker"),
                checked_uint256(token_id, "token_id"),
                checked_uint256(maker_amount, "maker_amount"),
                checked_uint256(taker_amount, "taker_amount"),
                checked_uint256(expiration, "expiration"),
                checked_uint256(nonce, "nonce"),
                checked_uint256(fee_rate_bps, "fee_rate_bps"),
                checked_range(side, 0, 1, "side"),
                checked_range(signature_type, 0, 3, "signature_type"),
            ],
        )
    )


def order_struct_hash_v2(
    salt: int,
    maker: bytes,
    signer: bytes,
    token_id: int,
    maker_amount: int,
    taker_amount: int,
    side: int,
    signature_type: int,
    timestamp_ms: int,
    metadata: bytes,
    builder: bytes,
) -> bytes:
    """Return the struct hash of a CLOB V2 or ExchangeV3 order."""
    return keccak256(
        encode(
            ["bytes32", "uint256", "address", "address"] + ["uint256"] * 6 + ["bytes32"] * 2,
            [
                _ORDER_V2,
                checked_uint256(salt, "salt"),
                checked_bytes(maker, 20, "maker"),
                checked_bytes(signer, 20, "signer"),
                checked_uint256(token_id, "token_id"),
                checked_uint256(maker_amount, "maker_amount"),
                checked_uint256(taker_amount, "taker_amount"),
                checked_range(side, 0, 1, "side"),
                checked_range(signature_type, 0, 3, "signature_type"),
                checked_uint256(timestamp_ms, "timestamp_ms"),
                checked_bytes(metadata, 32, "metadata"),
                checked_bytes(builder, 32, "builder"),
            ],
        )
    )


def typed_data_hash(domain_separator: bytes, struct_hash: bytes) -> bytes:
    """Return the EIP-712 digest: what is signed, and the exchange's order id."""
    return keccak256(
        b"\x19\x01"
        + checked_bytes(domain_separator, 32, "domain_separator")
        + checked_bytes(struct_hash, 32, "struct_hash")
    )


def typed_data_sign_hash(
    domain_separator: bytes, contents: bytes, chain_id: int, wallet: bytes
) -> bytes:
    """Return the ERC-7739 digest that the owner of a deposit wallet signs for an order.

    Parameters
    ----------
    domain_separator : bytes
        Of the exchange.
    contents : bytes
        Struct hash of the order.
    chain_id : int
    wallet : bytes
        The deposit wallet's address.
    """
    envelope = encode(
        ["bytes32"] * 4 + ["uint256", "address", "bytes32"],
        [
            _TYPED_DATA_SIGN,
            checked_bytes(contents, 32, "contents"),
            _WALLET_NAME,
            _WALLET_VERSION,
            checked_uint256(chain_id, "chain_id"),
            checked_bytes(wallet, 20, "wallet"),
            bytes(32),
        ],
    )
    return typed_data_hash(domain_separator, keccak256(envelope))


def exchange_domain_separator(version: int, chain_id: int, contract: bytes) -> bytes:
    """Return the domain separator of an exchange contract; ``version`` is 1, 2 or 3."""
    return keccak256(
        encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [
                _DOMAIN,
                _EXCHANGE_NAME,
                keccak256(b"%d" % checked_range(version, 1, 3, "version")),
                checked_uint256(chain_id, "chain_id"),
                checked_bytes(contract, 20, "contract"),
            ],
        )
    )
