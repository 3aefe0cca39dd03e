"""API keys (L1, L2) and which wallet belongs to whom."""

import hmac
import re
import secrets
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from polyexec.enums import SignatureType
from polyexec.paper.errors import Refused
from polyexec.paper.signatures import clob_auth_digest, l2_signature, recover

__all__ = ["Accounts", "ApiKey", "Wallets"]

_UNAUTHORIZED = "Unauthorized/Invalid api key"
_BAD_L1 = "Invalid L1 Request headers"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_SECONDS = re.compile(r"[0-9]{1,12}")


@dataclass(slots=True, frozen=True)
class ApiKey:
    """Credentials of one address; the repr keeps the secrets."""

    api_key: str
    secret: str
    passphrase: str
    address: str
    nonce: int

    def __repr__(self) -> str:
        return f"ApiKey(api_key='{self.api_key}', address='{self.address}')"


class Wallets:
    """Which address owns which wallet.

    An EOA owns itself. A proxy, Safe or deposit wallet belongs to whoever :meth:`register` names
    (a deposit can) or, when nobody did, to the signer of the first good order that uses it: this
    exchange has no chain to ask. From then on nobody else can trade from it.
    """

    def __init__(self) -> None:
        self._owner_of: dict[str, str] = {}
        self._wallet_of: dict[tuple[str, SignatureType], str] = {}

    def register(self, wallet: str, owner: str, signature_type: SignatureType) -> None:
        """Say that a wallet belongs to an EOA."""
        self._owner_of[wallet] = owner
        self._wallet_of[owner, signature_type] = wallet

    def can_claim(self, wallet: str, owner: str) -> bool:
        """Return whether a wallet is the owner's, or nobody's yet."""
        return self._owner_of.get(wallet, owner) == owner

    def wallet_of(self, owner: str, signature_type: SignatureType) -> str | None:
        """Return the wallet that an EOA uses with a signature type, if one is known."""
        if signature_type is SignatureType.EOA:
            return owner
        return self._wallet_of.get((owner, signature_type))


class Accounts:
    """Makes API keys and checks who is asking.

    Parameters
    ----------
    chain_id : int
        Chain that L1 signatures name.
    clock : callable
        Unix time in milliseconds.
    window_s : int
        How far the timestamp of a request may be from the clock, either way.
    """

    def __init__(self, chain_id: int, *, clock: Callable[[], int], window_s: int) -> None:
        self.window_s = window_s
        self._chain_id = chain_id
        self._clock = clock
        self._seed = secrets.token_bytes(32)
        self._keys: dict[str, ApiKey] = {}
        self._by_address: dict[tuple[str, int], str] = {}

    def create(self, address: str, nonce: int) -> ApiKey:
        """Make the key of an address and nonce; it must not exist."""
        address = address.lower()
        if (address, nonce) in self._by_address:
            raise Refused("Could not create api key")
        seed = hmac.new(self._seed, f"{address}/{nonce}".encode(), sha256).digest()
        key = ApiKey(
            api_key=str(uuid.UUID(bytes=sha256(seed + b"key").digest()[:16], version=4)),
            secret=urlsafe_b64encode(sha256(seed + b"secret").digest()).decode(),
            passphrase=sha256(seed + b"passphrase").hexdigest(),
            address=address,
            nonce=nonce,
        )
        self._keys[key.api_key] = key
        self._by_address[address, nonce] = key.api_key
        return key

    def derive(self, address: str, nonce: int) -> ApiKey:
        """Return a key that exists already."""
        api_key = self._by_address.get((address.lower(), nonce))
        if api_key is None:
            raise Refused("Could not derive api key!")
        return self._keys[api_key]

    def delete(self, key: ApiKey) -> None:
        """Forget a key."""
        del self._keys[key.api_key]
        del self._by_address[key.address, key.nonce]

    def keys_of(self, address: str) -> list[str]:
        """Return the ids of an address's keys."""
        return [key.api_key for key in self._keys.values() if key.address == address]

    def check_l1(self, headers: Mapping[str, str]) -> tuple[str, int]:
        """Return address and nonce of an L1 request."""
        address, timestamp = headers.get("poly_address", ""), headers.get("poly_timestamp", "")
        nonce, signature = headers.get("poly_nonce", ""), headers.get("poly_signature", "")
        if not (_ADDRESS.fullmatch(address) and nonce.isascii() and nonce.isdigit()):
            raise Refused(_BAD_L1, 401)
        if len(nonce) > 77 or not self._is_fresh(timestamp):
            raise Refused(_BAD_L1, 401)
        try:
            raw = bytes.fromhex(signature.removeprefix("0x"))
        except ValueError:
            raise Refused(_BAD_L1, 401) from None
        digest = clob_auth_digest(self._chain_id, address, timestamp, int(nonce))
        if recover(digest, raw) != address.lower():
            raise Refused(_BAD_L1, 401)
        return address.lower(), int(nonce)

    def check_l2(
        self, headers: Mapping[str, str], *, method: str, path: str, body: bytes
    ) -> ApiKey:
        """Return the key that a request proves to hold."""
        key = self._keys.get(headers.get("poly_api_key", ""))
        timestamp = headers.get("poly_timestamp", "")
        if key is None or headers.get("poly_address", "").lower() != key.address:
            raise Refused(_UNAUTHORIZED, 401)
        expected = l2_signature(key.secret, timestamp, method, path, body)
        good = hmac.compare_digest(expected, _ascii(headers.get("poly_signature")))
        known = hmac.compare_digest(key.passphrase, _ascii(headers.get("poly_passphrase")))
        if not (good and known and self._is_fresh(timestamp)):
            raise Refused(_UNAUTHORIZED, 401)
        return key

    def check_raw(self, api_key: str, secret: str, passphrase: str) -> ApiKey | None:
        """Return the key that raw credentials belong to, as a socket sends them."""
        key = self._keys.get(api_key)
        if key is None:
            return None
        good = hmac.compare_digest(key.secret, _ascii(secret))
        known = hmac.compare_digest(key.passphrase, _ascii(passphrase))
        return key if good and known else None

    def _is_fresh(self, timestamp: str) -> bool:
        if not _SECONDS.fullmatch(timestamp):
            return False
        return abs(int(timestamp) * 1000 - self._clock()) <= self.window_s * 1000


def _ascii(text: str | None) -> str:
    # compare_digest takes ASCII text only, and a header can hold anything.
    return text if text is not None and text.isascii() else ""
