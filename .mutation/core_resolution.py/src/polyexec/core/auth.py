"""Authentication: L1 (a wallet signature, for API keys) and L2 (an HMAC, on every private call)."""

import base64
import hmac
from typing import NoReturn

from polyexec import _impl, _secp256k1, constants
from polyexec.core.keys import checksum_address, parse_address, parse_private_key
from polyexec.errors import ConfigError, InputError

__all__ = ["ApiCredentials", "L2Signer", "l1_headers", "l2_signature"]

_TO_STANDARD = str.maketrans("-_", "+/")


class ApiCredentials:
    """API key, secret and passphrase of an account. The repr shows none of them whole.

    Parameters
    ----------
    api_key : str
        UUID; also the ``owner`` of every order.
    secret : str
        Base64, standard or URL-safe, with or without padding.
    passphrase : str
        Secret and passphrase may both be empty, for a venue that authenticates by itself.

    Raises
    ------
    ConfigError
        The secret is not base64, or a part is missing. The message does not hold it.
    """

    __slots__ = ("_api_key", "_passphrase", "_secret")

    def __init__(self, api_key: str, secret: str, passphrase: str) -> None:
        for name, value in (("api_key", api_key), ("secret", secret), ("passphrase", passphrase)):
            if not isinstance(value, str):
                raise ConfigError(f"the {name} of the API credentials must be text")
            if not value and (name == "api_key" or secret or passphrase):
                raise ConfigError(f"the {name} of the API credentials is empty")
        if secret:
            _decode_secret(secret)
        self._api_key = api_key
        self._secret = secret
        self._passphrase = passphrase

    @property
    def api_key(self) -> str:
        """The key's id. Mask it in logs that others read."""
        return self._api_key

    @property
    def secret(self) -> str:
        """Base64 text. Never log it."""
        return self._secret

    @property
    def passphrase(self) -> str:
        """Never log it."""
        return self._passphrase

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ApiCredentials):
            return NotImplemented
        return (
            self._api_key == other._api_key
            and hmac.compare_digest(self._secret.encode(), other._secret.encode())
            and hmac.compare_digest(self._passphrase.encode(), other._passphrase.encode())
        )

    def __hash__(self) -> int:
        return hash(self._api_key)

    def __repr__(self) -> str:
        shown = f"{self._api_key[:4]}..." if len(self._api_key) > 8 else "..."
        return f"ApiCredentials(api_key={shown!r}, secret=<hidden>, passphrase=<hidden>)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("ApiCredentials hold a secret: they cannot be pickled or copied")


class L2Signer:
    """Makes the headers of private requests; the secret is decoded and prepared once.

    Parameters
    ----------
    address : str
        The EOA that the credentials belong to, for every signature type.
    credentials : ApiCredentials
    """

    __slots__ = ("_address", "_api_key", "_key", "_passphrase")

    def __init__(self, address: str, credentials: ApiCredentials) -> None:
        self._address = checksum_address(parse_address(address, "address"))
        self._api_key = credentials.api_key
        self._passphrase = credentials.passphrase
        self._key = _impl.L2Key(_decode_secret(credentials.secret) if credentials.secret else b"")

    @property
    def address(self) -> str:
        """The EOA, checksummed."""
        return self._address

    @property
    def api_key(self) -> str:
        """The key's id, ``owner`` of every order."""
        return self._api_key

    def headers(
        self, timestamp: int | str, method: str, path: str, body: bytes | str | None = b""
    ) -> dict[str, str]:
        """Return the five L2 headers; arguments as in :func:`l2_signature`."""
        text = str(timestamp)
        return {
            "POLY_ADDRESS": self._address,
            "POLY_SIGNATURE": _sign(self._key, text, method, path, body),
            "POLY_TIMESTAMP": text,
            "POLY_API_KEY": self._api_key,
            "POLY_PASSPHRASE": self._passphrase,
        }

    def __repr__(self) -> str:
        return f"L2Signer(address={self._address!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an L2Signer holds a secret: it cannot be pickled or copied")


def l2_signature(
    secret: str, timestamp: int | str, method: str, path: str, body: bytes | str | None = b""
) -> str:
    """Return the L2 signature of one request.

    Parameters
    ----------
    secret : str
        Base64 in either alphabet, with or without padding.
    timestamp : int or str
        Unix seconds; the same text goes into POLY_TIMESTAMP.
    method : str
    path : str
        Starts with ``/``, without host and query string.
    body : bytes, str or None
        Exactly what is sent; text is taken as UTF-8.

    Raises
    ------
    ConfigError
        The secret is not base64. The message does not hold it.
    """
    return _sign(_impl.L2Key(_decode_secret(secret)), str(timestamp), method, path, body)


def l1_headers(
    private_key: str | bytes | int, *, chain_id: int = 137, timestamp: int | str, nonce: int = 0
) -> dict[str, str]:
    """Return the L1 headers, for creating and deriving API credentials.

    Parameters
    ----------
    private_key : str, bytes or int
        Of the EOA; for wallets of every type the credentials belong to it.
    chain_id : int
    timestamp : int or str
        Unix seconds.
    nonce : int
        Other nonces give other credentials.

    Raises
    ------
    SigningError
        The private key cannot be one.
    InputError
        A chain id or nonce that does not fit.
    """
    for field, value in (("chain_id", chain_id), ("nonce", nonce)):
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 256:
            raise InputError(field, value, "must be an int of 0 to 2**256 - 1")
    key = parse_private_key(private_key)
    address = _secp256k1.public_address(key)
    text = str(timestamp)
    separator = _hash_words(
        _hash_text(constants.CLOB_AUTH_DOMAIN_TYPE),
        _hash_text(constants.CLOB_AUTH_DOMAIN_NAME),
        _hash_text(constants.CLOB_AUTH_DOMAIN_VERSION),
        chain_id.to_bytes(32, "big"),
    )
    struct_hash = _hash_words(
        _hash_text(constants.CLOB_AUTH_TYPE),
        address.rjust(32, b"\0"),
        _hash_text(text),
        nonce.to_bytes(32, "big"),
        _hash_text(constants.CLOB_AUTH_MESSAGE),
    )
    signature = _secp256k1.sign_digest(key, _impl.typed_data_hash(separator, struct_hash))
    return {
        "POLY_ADDRESS": checksum_address(address),
        "POLY_SIGNATURE": "0x" + signature.hex(),
        "POLY_TIMESTAMP": text,
        "POLY_NONCE": str(nonce),
    }


def _sign(
    key: _impl.L2Key, timestamp: str, method: str, path: str, body: bytes | str | None
) -> str:
    if type(body) is bytes and method == "POST":  # the hot path's: goes in as it is
        return key.sign(timestamp, method, path, body)
    # Adding to b"" takes other buffers as well, and does not copy bytes.
    content = body if isinstance(body, str) else b"" + (body or b"")
    return key.sign(timestamp, method.upper(), path, content)


def _decode_secret(secret: str) -> bytes:
    # from None: the decoder's own error can quote its input.
    try:
        text = secret.translate(_TO_STANDARD).rstrip("=")
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (AttributeError, TypeError, ValueError):
        raise ConfigError("the API secret is not base64") from None
    if not key:
        raise ConfigError("the API secret is empty")
    return key


def _hash_text(text: str) -> bytes:
    return _impl.keccak256(text.encode())


def _hash_words(*words: bytes) -> bytes:
    return _impl.keccak256(b"".join(words))
