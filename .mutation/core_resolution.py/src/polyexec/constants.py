"""Addresses, type strings and ids of the exchange, each with its source.

Sources: the protocol notes (orders.md, section 2), which were checked against py-clob-client
0.34.6, py-clob-client-v2 1.2.1, polymarket-client 0.14.0 and ExchangeV3's Solidity.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from polyexec._pure.type_strings import (
    DEPOSIT_WALLET_NAME,
    DEPOSIT_WALLET_VERSION,
    DOMAIN_TYPE,
    EXCHANGE_NAME,
    ORDER_TYPE_V1,
    ORDER_TYPE_V2,
    TYPED_DATA_SIGN_TYPE,
)
from polyexec.enums import Generation

__all__ = [
    "AMOUNT_DECIMALS",
    "AMOY",
    "AUTO_REDEEMER",
    "BINARY_MODULE",
    "CLOB_AUTH_DOMAIN_NAME",
    "CLOB_AUTH_DOMAIN_TYPE",
    "CLOB_AUTH_DOMAIN_VERSION",
    "CLOB_AUTH_MESSAGE",
    "CLOB_AUTH_TYPE",
    "COLLATERAL_V1",
    "COMBINATORIAL_MODULE",
    "CONDITIONAL_TOKENS",
    "DEPOSIT_BEACON",
    "DEPOSIT_BEACON_INIT_CODE",
    "DEPOSIT_FACTORY",
    "DEPOSIT_IMPLEMENTATION",
    "DEPOSIT_UUPS_INIT_CODE",
    "DEPOSIT_WALLET_NAME",
    "DEPOSIT_WALLET_VERSION",
    "DOMAIN_TYPE",
    "EXCHANGES",
    "EXCHANGE_NAME",
    "MAX_BATCH",
    "MAX_SALT",
    "NEG_RISK_MODULE",
    "OFFRAMP",
    "ONRAMP",
    "ORDER_TYPE_V1",
    "ORDER_TYPE_V2",
    "POLYGON",
    "POSITION_MANAGER",
    "PROXY_FACTORY",
    "PROXY_IMPLEMENTATION",
    "PROXY_INIT_CODE_HASH",
    "PUSD",
    "ROUTER",
    "SAFE_FACTORY",
    "SAFE_INIT_CODE_HASH",
    "TYPED_DATA_SIGN_TYPE",
    "USDC_E",
    "ZERO_ADDRESS",
    "ZERO_BYTES32",
]

POLYGON: Final = 137
"""Production."""
AMOY: Final = 80002
"""Test network."""

EXCHANGES: Final[Mapping[tuple[int, Generation, bool], str]] = MappingProxyType(
    {
        # Legacy: production refuses V1 since 2026-04-28.
        (POLYGON, Generation.CLOB_V1, False): "0x4bFb41d5B3570DeFd03C39a9A4D8dE6Bd8B8982E",
        (POLYGON, Generation.CLOB_V1, True): "0xC5d563A36AE78145C45a50134d48A1215220f80a",
        (AMOY, Generation.CLOB_V1, False): "0xdFE02Eb6733538f8Ea35D585af8DE5958AD99E40",
        # Disputed: py-clob-client 0.34.6 has the neg-risk adapter 0xd91E... here; the order-utils
        # tests and py-clob-client-v2 have this one.
        (AMOY, Generation.CLOB_V1, True): "0xC5d563A36AE78145C45a50134d48A1215220f80a",
        (POLYGON, Generation.CLOB_V2, False): "0xE111180000d2663C0091e4f400237545B87B996B",
        (POLYGON, Generation.CLOB_V2, True): "0xe2222d279d744050d28e00520010520000310F59",
        (AMOY, Generation.CLOB_V2, False): "0xE111180000d2663C0091e4f400237545B87B996B",
        (AMOY, Generation.CLOB_V2, True): "0xe2222d279d744050d28e00520010520000310F59",
        # One exchange for every market.
        (POLYGON, Generation.EXCHANGE_V3, False): "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa",
        (POLYGON, Generation.EXCHANGE_V3, True): "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa",
        # Only py-clob-client-v2 knows ExchangeV3 on Amoy.
        (AMOY, Generation.EXCHANGE_V3, False): "0x9fE6e61422AdB6F610d8597F9684b16912D50C3D",
        (AMOY, Generation.EXCHANGE_V3, True): "0x9fE6e61422AdB6F610d8597F9684b16912D50C3D",
    }
)
"""(chain id, generation, neg-risk) -> verifying contract."""

# Tokens and contracts of chain 137. Source: orders.md 2, "Other addresses".
USDC_E: Final = "0x2791Bca1f2de4661ED88A30C99A7a9449Aa84174"
"""Collateral of V1, 6 decimals."""
PUSD: Final = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
"""Collateral of V2 and V3, 6 decimals."""
ONRAMP: Final = "0x93070a847efEf7F70739046A929D47a521F5B8ee"
"""USDC.e to pUSD."""
OFFRAMP: Final = "0x2957922Eb93258b93368531d39fAcCA3B4dC5854"
POSITION_MANAGER: Final = "0x006F54F7f9A22e0000CC2AB60031000000ae9fEF"
"""Outcome tokens of V3."""
ROUTER: Final = "0x12121212006e4CD160D18e3f00711DA5c3372600"
"""V3 split, merge, redeem."""
BINARY_MODULE: Final = "0x1000008dD9001B968442c1000017eaE6E0dA00Ba"
NEG_RISK_MODULE: Final = "0x200000900045e3B6259600682756002200028933"
COMBINATORIAL_MODULE: Final = "0x30000034706C7d8e12009DAB006Be20000c031A8"
AUTO_REDEEMER: Final = "0xa1200000d0002264C9a1698e001292D00E1b00af"

CONDITIONAL_TOKENS: Final[Mapping[int, str]] = MappingProxyType(
    {
        POLYGON: "0x4D97DCd97eC945f40cF65F87097ACe5EA0476045",
        AMOY: "0x69308FB512518e39F9b16112fA8d994F4e2Bf8bB",
    }
)
"""Outcome tokens of V1 and V2."""
COLLATERAL_V1: Final[Mapping[int, str]] = MappingProxyType(
    {POLYGON: USDC_E, AMOY: "0x9c4E1703476E875070EE25b56A58B008CFb8FA78"}
)

# Wallet factories of chain 137. Source: orders.md 2 and the unified SDK's environment table.
PROXY_FACTORY: Final = "0xaB45c5A4B0c941a2F231C04C3f49182e1A254052"
PROXY_IMPLEMENTATION: Final = "0x44e999d5c2F66Ef0861317f9A4805AC2e90aEB4f"
PROXY_INIT_CODE_HASH: Final = "0xd21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b"
"""Of the minimal proxy that PROXY_FACTORY deploys for PROXY_IMPLEMENTATION."""
SAFE_FACTORY: Final = "0xaacFeEa03eb1561C4e67d661e40682Bd20E3541b"
SAFE_INIT_CODE_HASH: Final = "0x2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf"
DEPOSIT_FACTORY: Final = "0x00000000000Fb5C9ADea0298D729A0CB3823Cc07"
DEPOSIT_BEACON: Final = "0x7A18EDfe055488A3128f01F563e5B479D92ffc3a"
DEPOSIT_IMPLEMENTATION: Final = "0x58CA52ebe0DadfdF531Cde7062e76746de4Db1eB"
"""Of the UUPS era."""
DEPOSIT_BEACON_INIT_CODE: Final = (
    "6100923d8160233d3973"
    + DEPOSIT_BEACON[2:]
    + "60195155f3363d3d373d3d363d602036600436635c60da"
    + "1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
    + "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"
)
"""ERC-1967 beacon proxy with 64 bytes of arguments; they follow this code."""
DEPOSIT_UUPS_INIT_CODE: Final = (
    "61007d3d8160233d3973"
    + DEPOSIT_IMPLEMENTATION[2:]
    + "6009"
    + "5155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
    + "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
)
"""ERC-1967 proxy with 64 bytes of arguments; they follow this code."""

# L1 authentication. Source: auth.md 1.
CLOB_AUTH_DOMAIN_TYPE: Final = "EIP712Domain(string name,string version,uint256 chainId)"
CLOB_AUTH_DOMAIN_NAME: Final = "ClobAuthDomain"
CLOB_AUTH_DOMAIN_VERSION: Final = "1"
CLOB_AUTH_TYPE: Final = "ClobAuth(address address,string timestamp,uint256 nonce,string message)"
CLOB_AUTH_MESSAGE: Final = "This message attests that I control the given wallet"

MAX_SALT: Final = 2**53 - 1
"""The exchange reads the salt as a double. Source: orders.md 4."""
MAX_BATCH: Final = 15
"""Orders in one POST /orders. Source: orders.md 5."""
AMOUNT_DECIMALS: Final[Mapping[int, int]] = MappingProxyType(
    {1000: 3, 100: 4, 50: 5, 25: 6, 10: 5, 1: 6}
)
"""Tick in ten-thousandths -> decimals of the product of a price and a size. orders.md 6."""

ZERO_ADDRESS: Final = "0x" + "00" * 20
ZERO_BYTES32: Final = "0x" + "00" * 32
