"""Who signed this? Checked with nobody's code but pycryptodome (keccak) and eth-keys (recovery).

Nothing here is shared with the library's own signer: a mistake there must not be able to agree
with itself here. Words, type strings and contracts are those of the protocol; the contracts are
published in the exchange's documentation and its official clients.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from Crypto.Hash import keccak
from eth_keys.datatypes import Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from polyexec.enums import Generation, Side, SignatureType
from polyexec.paper.wire import OrderEntry

__all__ = ["OrderHasher", "clob_auth_digest", "keccak256", "l2_signature", "recover"]

_ZERO = "0x" + "00" * 20
_DOMAIN_NAME = "Polymarket CTF Exchange"
_WALLET_NAME = "DepositWallet"
_SENTENCE = "This message attests that I control the given wallet"
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0

_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
_AUTH_DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId)"
_AUTH_TYPE = "ClobAuth(address address,string timestamp,uint256 nonce,string message)"
_ORDER_V1_TYPE = (
    "Order(uint256 salt,address maker,address signer,address taker,uint256 tokenId,"
    "uint256 makerAmount,uint256 takerAmount,uint256 expiration,uint256 nonce,"
    "uint256 feeRateBps,uint8 side,uint8 signatureType)"
)
_ORDER_TYPE = (
    "Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,"
    "uint256 takerAmount,uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,"
    "bytes32 builder)"
)
_ENVELOPE_TYPE = (
    "TypedDataSign(Order contents,string name,string version,uint256 chainId,"
    "address verifyingContract,bytes32 salt)" + _ORDER_TYPE
)

_V2 = ("0xE111180000d2663C0091e4f400237545B87B996B", "0xe2222d279d744050d28e00520010520000310F59")
CONTRACTS: dict[int, dict[Generation, tuple[str, str]]] = {
    137: {
        Generation.CLOB_V1: (
            "0x4bFb41d5B3570DeFd03C39a9A4D8dE6Bd8B8982E",
            "0xC5d563A36AE78145C45a50134d48A1215220f80a",
        ),
        Generation.CLOB_V2: _V2,
        Generation.EXCHANGE_V3: ("0xe3333700cA9d93003F00f0F71f8515005F6c00Aa",) * 2,
    },
    80002: {
        Generation.CLOB_V1: (
            "0xdFE02Eb6733538f8Ea35D585af8DE5958AD99E40",
            "0xC5d563A36AE78145C45a50134d48A1215220f80a",
        ),
        Generation.CLOB_V2: _V2,
        Generation.EXCHANGE_V3: ("0x9fE6e61422AdB6F610d8597F9684b16912D50C3D",) * 2,
    },
}
"""Per chain and generation: the exchange of standard and of neg-risk markets."""


def keccak256(data: bytes) -> bytes:
    """Return the Keccak-256 digest."""
    return bytes(keccak.new(data=data, digest_bits=256).digest())


def _word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def _address(text: str) -> bytes:
    return bytes(12) + bytes.fromhex(text[2:])


def _text_hash(text: str) -> bytes:
    return keccak256(text.encode())


_ORDER_HASH = _text_hash(_ORDER_TYPE)
_ORDER_V1_HASH = _text_hash(_ORDER_V1_TYPE)
_ENVELOPE_HASH = _text_hash(_ENVELOPE_TYPE)
_ENVELOPE_TAIL = _ORDER_TYPE.encode() + len(_ORDER_TYPE).to_bytes(2, "big")


def recover(digest: bytes, signature: bytes) -> str | None:
    """Return the lower-case address that signed, or None for anything but a canonical signature."""
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
    if s > _HALF_ORDER:
        return None  # the contracts refuse the malleable twin
    try:
        key = Signature(vrs=(signature[64] - 27, r, s)).recover_public_key_from_msg_hash(digest)
    except (BadSignature, ValidationError):
        return None
    return "0x" + key.to_canonical_address().hex()


class OrderHasher:
    """Hashes and checks the orders of one chain; domain separators are computed once."""

    def __init__(self, chain_id: int) -> None:
        self.chain_id = chain_id
        self._separators = {
            (generation, neg_risk): self._separator(generation, contracts[neg_risk])
            for generation, contracts in CONTRACTS[chain_id].items()
            for neg_risk in (False, True)
        }

    def spenders(self) -> list[str]:
        """Return the contracts that an account approves."""
        by_generation = CONTRACTS[self.chain_id]
        return [
            *by_generation[Generation.CLOB_V2],
            by_generation[Generation.EXCHANGE_V3][0],
        ]

    def separator(self, generation: Generation, neg_risk: bool) -> bytes:
        """Return the domain separator of a market's exchange."""
        return self._separators[generation, neg_risk]

    def order_digest(self, entry: OrderEntry, generation: Generation, neg_risk: bool) -> bytes:
        """Return the EIP-712 digest of the plain order, which is its id."""
        separator = self.separator(generation, neg_risk)
        return keccak256(b"\x19\x01" + separator + _struct_hash(entry))

    def signer_of(self, entry: OrderEntry, generation: Generation, neg_risk: bool) -> str | None:
        """Return the address whose key made the signature, or None when the form is wrong."""
        separator = self.separator(generation, neg_risk)
        contents = _struct_hash(entry)
        if entry.signature_type is not SignatureType.POLY_1271:
            return recover(keccak256(b"\x19\x01" + separator + contents), entry.signature)
        # ERC-7739: the owner signs an envelope that binds the order to the deposit wallet.
        if entry.signature[65:] != separator + contents + _ENVELOPE_TAIL:
            return None
        envelope = keccak256(
            _ENVELOPE_HASH
            + contents
            + _text_hash(_WALLET_NAME)
            + _text_hash("1")
            + _word(self.chain_id)
            + _address(entry.maker)
            + bytes(32)
        )
        return recover(keccak256(b"\x19\x01" + separator + envelope), entry.signature[:65])

    def _separator(self, generation: Generation, contract: str) -> bytes:
        return keccak256(
            _text_hash(_DOMAIN_TYPE)
            + _text_hash(_DOMAIN_NAME)
            + _text_hash(str(int(generation)))
            + _word(self.chain_id)
            + _address(contract)
        )


def _struct_hash(entry: OrderEntry) -> bytes:
    side = _word(0 if entry.side is Side.BUY else 1)
    kind = _word(int(entry.signature_type))
    head = _word(entry.salt) + _address(entry.maker) + _address(entry.signer)
    amounts = _word(int(entry.token_id)) + _word(entry.maker_micro) + _word(entry.taker_micro)
    if entry.is_v1:
        return keccak256(
            _ORDER_V1_HASH
            + head
            + _address(entry.taker or _ZERO)
            + amounts
            + _word(entry.expiration_s)
            + _word(entry.nonce)
            + _word(entry.fee_rate_bps)
            + side
            + kind
        )
    return keccak256(
        _ORDER_HASH
        + head
        + amounts
        + side
        + kind
        + _word(entry.timestamp_ms)
        + entry.metadata
        + entry.builder
    )


def clob_auth_digest(chain_id: int, address: str, timestamp: str, nonce: int) -> bytes:
    """Return the digest that an L1 signature covers."""
    domain = keccak256(
        _text_hash(_AUTH_DOMAIN_TYPE)
        + _text_hash("ClobAuthDomain")
        + _text_hash("1")
        + _word(chain_id)
    )
    struct = keccak256(
        _text_hash(_AUTH_TYPE)
        + _address(address)
        + _text_hash(timestamp)
        + _word(nonce)
        + _text_hash(_SENTENCE)
    )
    return keccak256(b"\x19\x01" + domain + struct)


def l2_signature(secret: str, timestamp: str, method: str, path: str, body: bytes) -> str:
    """Return the HMAC that an L2 request carries. The path has no query string."""
    message = f"{timestamp}{method}{path}".encode() + body
    digest = hmac.new(urlsafe_b64decode(secret), message, sha256).digest()
    return urlsafe_b64encode(digest).decode()
