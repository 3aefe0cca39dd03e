"""EIP-712 type strings that both implementations hash (protocol notes, orders.md 2 and 3)."""

__all__ = [
    "DEPOSIT_WALLET_NAME",
    "DEPOSIT_WALLET_VERSION",
    "DOMAIN_TYPE",
    "EXCHANGE_NAME",
    "ORDER_TYPE_V1",
    "ORDER_TYPE_V2",
    "TYPED_DATA_SIGN_TYPE",
]

DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
EXCHANGE_NAME = "Polymarket CTF Exchange"
"""Domain name of every exchange: standard, neg-risk and ExchangeV3."""

ORDER_TYPE_V1 = (
    "Order(uint256 salt,address maker,address signer,address taker,uint256 tokenId,"
    "uint256 makerAmount,uint256 takerAmount,uint256 expiration,uint256 nonce,"
    "uint256 feeRateBps,uint8 side,uint8 signatureType)"
)
ORDER_TYPE_V2 = (
    "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,"
    "uint256 takerAmount,uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,"
    "bytes32 builder)"
)
"""CLOB V2 and ExchangeV3. The request body has another order of keys."""

TYPED_DATA_SIGN_TYPE = (
    "TypedDataSign(Order contents,string name,string version,uint256 chainId,"
    "address verifyingContract,bytes32 salt)" + ORDER_TYPE_V2
)
"""ERC-7739: what the owner of a deposit wallet signs."""

DEPOSIT_WALLET_NAME = "DepositWallet"
DEPOSIT_WALLET_VERSION = "1"
